/* Packets that the core wants sent: bytes in memory of the owner's, who sends and then empties it.
 * Sans-I/O. When it is full a packet is dropped, as on any wire, and counted. */
#ifndef FK_INLINE_OUTBOX_H
#define FK_INLINE_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The two sides of the box, by who is there. */
enum fk_inline_side { FK_INLINE_CLIENT, FK_INLINE_SERVER };

static inline enum fk_inline_side fk_inline_other(enum fk_inline_side side)
{
    return side == FK_INLINE_CLIENT ? FK_INLINE_SERVER : FK_INLINE_CLIENT;
}

struct fk_outbox_packet {
    enum fk_inline_side to;
    uint8_t *bytes; /* from the IP header on */
    size_t len;
    size_t transport;  /* where the TCP header begins */
    uint16_t gso_size; /* payload bytes of each segment that a device makes of it; 0: it is one */
    bool partial_sum;  /* the TCP checksum is the pseudo-header's: a device adds the rest */
};

struct fk_outbox {
    uint8_t *mem;
    size_t size, used;
    struct fk_outbox_packet *packets;
    size_t max, n;
    uint64_t dropped;
};

#endif
