/*
 * The kernel's packet queues (NFQUEUE): rules of a router's send packets to a queue by its number,
 * where they wait for a verdict. What the kernel says comes as netlink messages, one a packet; with
 * the offloads' packets as they are, neither cut nor with a checksum that a device will add.
 *
 * Without a reader, and when a queue is full, packets are dropped: neither of the kernel's ways to
 * let them pass then is used (fail-open; and rules must not say --queue-bypass).
 */
#ifndef FK_INLINE_NFQUEUE_H
#define FK_INLINE_NFQUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of a message beside its packet. */
#define FK_NFQUEUE_MORE 512

/*
 * Open the queue of this number for this process and those that are given the socket; whoever has
 * it already keeps it. Needs CAP_NET_ADMIN; reading does not, a verdict does. FK_ERR_SYS (errno:
 * EBUSY or EPERM when it is another's).
 */
int fk_nfqueue_open(uint16_t number, int *ret);

struct fk_nfqueue_packet {
    uint32_t id;
    const uint8_t *bytes; /* from the IP header on */
    size_t len;
    bool sum_ok; /* the kernel vouches for the transport's checksum */
};

/*
 * A message of the queue's. FK_ERR_TRUNCATED, FK_ERR_TRAILING; FK_ERR_UNEXPECTED: not about a
 * packet; FK_ERR_RANGE: not the whole packet, but its number is there for a verdict.
 */
int fk_nfqueue_parse(const uint8_t *bytes, size_t len, struct fk_nfqueue_packet *ret);

/* Let this packet pass. FK_ERR_SYS. */
int fk_nfqueue_accept(int fd, uint16_t number, uint32_t id);
/* Drop all packets of the queue up to this one that wait. FK_ERR_SYS. */
int fk_nfqueue_drop(int fd, uint16_t number, uint32_t last_id);

#endif
