/* The Internet checksum (RFC 1071): of IPv4 headers and of TCP segments with their pseudo-header.
 */
#ifndef FK_WIRE_INET_SUM_H
#define FK_WIRE_INET_SUM_H

#include <stddef.h>
#include <stdint.h>

/*
 * Add bytes to a sum that began as 0. Any number of pieces; only the last one may have an odd
 * length. The sum is in the machine's byte order: fk_inet_sum_fold() makes a number of it.
 */
uint64_t fk_inet_sum_add(uint64_t sum, const void *bytes, size_t len);

/* As fk_inet_sum_add() with the two bytes of a big-endian number. */
uint64_t fk_inet_sum_add_u16(uint64_t sum, uint16_t value);

/* The sum as the 16-bit number it is, not complemented: 0xffff over bytes whose own checksum is
 * right and among them. */
uint16_t fk_inet_sum_fold(uint64_t sum);

#endif
