/* The Internet checksum: see inet_sum.h. Ones' complement sums do not care about byte order or
 * word size (RFC 1071 section 2), so words of 32 bits are added as they lie. */
#include "wire/inet_sum.h"

#include <arpa/inet.h>
#include <string.h>

/* What does not fit is added at the other end. */
static uint64_t add_carry(uint64_t sum, uint64_t value)
{
    sum += value;
    return sum + (sum < value);
}

uint64_t fk_inet_sum_add(uint64_t sum, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    uint64_t word;

    for (; len >= sizeof word; at += sizeof word, len -= sizeof word) {
        memcpy(&word, at, sizeof word);
        sum = add_carry(sum, word);
    }
    if (len > 0) {
        word = 0;
        memcpy(&word, at, len);
        sum = add_carry(sum, word);
    }
    return sum;
}

uint64_t fk_inet_sum_add_u16(uint64_t sum, uint16_t value)
{
    return add_carry(sum, htons(value));
}

uint16_t fk_inet_sum_fold(uint64_t sum)
{
    sum = (sum >> 32) + (sum & 0xffffffff);
    sum = (sum >> 32) + (sum & 0xffffffff);
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    return ntohs((uint16_t)sum);
}
