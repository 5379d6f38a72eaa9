/*
 * The box: all flows of one pair of wires. It says of each frame whether it passes as it is, finds
 * the flow that it belongs to, and keeps the time of all of them. What it must never do is let a
 * segment of a protected port pass that no flow of it knows.
 *
 * Sans-I/O: frames and time in, packets out, which the owner sends and then calls fk_box_sent().
 */
#ifndef FK_INLINE_BOX_H
#define FK_INLINE_BOX_H

#include "inline/flow.h"

/* The header of the link: two addresses, perhaps a VLAN's tag, the type of what follows. */
#define FK_LINK_MAX 18

struct fk_link {
    uint8_t bytes[FK_LINK_MAX];
    uint8_t len; /* 14 or 18 */
};

struct fk_box_conf {
    struct fk_flow_conf flow;
    const uint16_t *ports; /* protected ones, of servers; borrowed */
    size_t n_ports;
    size_t half_open_max; /* flows that have not answered yet: beyond, the oldest is forgotten */
};

/* X(id, name, help) */
#define FK_BOX_COUNTERS(X)                                                                        \
    X(PASSED, "passed", "Frames passed as they are.")                                             \
    X(MALFORMED, "malformed", "Frames dropped for their headers: lengths, options, IPv4's sum.")  \
    X(BAD_SUM, "bad_sum", "Segments of protected ports dropped for their checksum.")              \
    X(FRAGMENTS, "fragments", "Pieces of TCP packets dropped: nobody can tell whose they are.")   \
    X(UNKNOWN, "unknown", "Segments of protected ports that belong to no flow: answered by RST.") \
    X(FLOWS, "flows", "Flows begun.")                                                             \
    X(HALF_OPEN_FULL, "half_open_full",                                                           \
      "Flows forgotten because too many had not been answered (SYN flood).")                      \
    X(FLOWS_FULL, "flows_full",                                                                   \
      "SYNs dropped because there are as many flows as there may be, or no memory.")              \
    X(WAITING, "waiting",                                                                         \
      "SYNs dropped because the box is about to end: its successor takes them.")                  \
    X(TOO_BIG, "too_big", "Routers' messages that a packet of a flow was too big for a link.")    \
    X(BYPASSED, "bypassed",                                                                       \
      "Flows that pass as they are, since their segments are signed (MD5, AO).")

enum fk_box_counter {
#define FK_BOX_COUNTER_ENUM(id, name, help) FK_BOX_N_##id,
    FK_BOX_COUNTERS(FK_BOX_COUNTER_ENUM)
#undef FK_BOX_COUNTER_ENUM
        FK_BOX_N_COUNT
};

struct fk_box;

/* A frame, as it came. */
struct fk_box_frame {
    enum fk_inline_side from;
    struct fk_link link;
    const uint8_t *packet; /* what follows the link's header */
    size_t len;
    bool sum_ok; /* a device vouches for the transport's checksum */
};

enum fk_box_verdict {
    FK_BOX_PASS, /* to the other side, as it is */
    FK_BOX_DONE, /* taken or dropped */
};

/*
 * A box for at most `flows_max` flows at once. `conf` is copied; what it points to outlives the
 * box. FK_ERR_NOMEM, FK_ERR_SYS (no randomness).
 */
int fk_box_new(const struct fk_box_conf *conf, size_t flows_max, struct fk_box **ret);
/* NULL is fine. Flows just end, without a packet. */
void fk_box_free(struct fk_box *box);

/* Another configuration, for flows that are there, too. */
void fk_box_configure(struct fk_box *box, const struct fk_box_conf *conf);
/* No new flows from now on. */
void fk_box_drain(struct fk_box *box);

enum fk_box_verdict fk_box_frame(struct fk_box *box, const struct fk_box_frame *frame,
                                 uint64_t now);

/*
 * A router's message that a packet was too big, if it is about one of this box's flows; else
 * FK_BOX_DONE and nothing. Of several boxes that share an interface each is given all of them, as
 * nobody knows whose they are; to fk_box_frame() those about protected ports are nothing.
 */
enum fk_box_verdict fk_box_told(struct fk_box *box, const struct fk_box_frame *frame, uint64_t now);

/* A handshake of this flow can go on. The flow may be gone afterwards. */
void fk_box_wake(struct fk_box *box, struct fk_flow *flow, uint64_t now);

/* When fk_box_expire() is due; UINT64_MAX: never. */
uint64_t fk_box_deadline(const struct fk_box *box);
/* Some of what is due; more may be, so ask for the deadline again. */
void fk_box_expire(struct fk_box *box, uint64_t now);

/* Packets that are to be sent: packet `i` with its link's header; NULL past the last. Valid until
 * fk_box_sent(), which forgets them all. */
const struct fk_outbox_packet *fk_box_packet(const struct fk_box *box, size_t i,
                                             const struct fk_link **ret_link);
void fk_box_sent(struct fk_box *box);
/* Whether there is little room for more: send first. */
bool fk_box_is_full(const struct fk_box *box);

size_t fk_box_flows(const struct fk_box *box);
/* Of these, connections that have not ended: the others only answer what is sent again. */
size_t fk_box_busy(const struct fk_box *box);
/* Packets for which there was no room. */
uint64_t fk_box_dropped(const struct fk_box *box);
/* Of all flows, and of the box: FK_FLOW_N_COUNT and FK_BOX_N_COUNT of them. */
const uint64_t *fk_box_flow_counters(const struct fk_box *box);
const uint64_t *fk_box_counters(const struct fk_box *box);

/* Walk the flows: the first is after NULL, NULL is after the last. Bypassed ones are not shown. */
struct fk_flow *fk_box_next(const struct fk_box *box, const struct fk_flow *flow);

#endif
