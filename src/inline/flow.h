/*
 * One TCP connection that the box is in the path of: the box shakes hands with the client in the
 * server's name, then opens records towards the server and seals them towards the client. The
 * connection stays one from end to end: addresses, ports, and who opens, closes, and slows down.
 * Modes: flow_mode.h.
 *
 * Sans-I/O: packets and time come in, packets go to an outbox, and a deadline says when time
 * matters next. It never lets ciphertext reach the server, nor plaintext the client: what cannot be
 * translated ends in RST both ways.
 */
#ifndef FK_INLINE_FLOW_H
#define FK_INLINE_FLOW_H

#include "base/arena.h"
#include "inline/flow_state.h"
#include "inline/outbox.h"
#include "tls/session_keys.h"
#include "wire/icmp.h"
#include "wire/tcp.h"

struct fk_flow;
struct fk_flow_mode;

/* Who shakes hands. One object a flow, made when the client's first bytes have come. */
struct fk_flow_tls_ops {
    int (*new)(void *arg, struct fk_flow *flow, void **ret);
    /*
     * Bytes of the client's that follow those taken before, perhaps none; *ret_used of them are
     * taken. FK_OK: the handshake is done, and no byte behind it was taken; FK_ERR_AGAIN: it waits,
     * for more or for something else (then the owner calls fk_flow_wake() in time); else it has
     * failed. Called again until it says so.
     */
    int (*step)(void *tls, const uint8_t *bytes, size_t len, size_t *ret_used);
    /* Move up to `size` bytes for the client out; 0: there are none. After each step. */
    size_t (*output)(void *tls, uint8_t *out, size_t size);
    /* After FK_OK. Only free() follows, when the flow ends. */
    int (*keys)(void *tls, struct fk_session_keys *ret);
    void (*free)(void *tls);
};

struct fk_flow_conf {
    const struct fk_flow_tls_ops *tls;
    void *tls_arg;
    struct fk_arena *arena;          /* of fk_record_arena_new() */
    const struct fk_flow_mode *mode; /* NULL: buffered */
    bool pass_non_tls;               /* else RST */
    bool accept_truncation; /* a client's FIN without close_notify is a FIN, not an attack */
    uint32_t gso_max;       /* payload bytes of a packet that a device will cut; 0: it cannot */
    bool partial_sums;      /* a device completes checksums */
};

/* X(id, name, help): counted for each flow and summed up by its owner */
#define FK_FLOW_COUNTERS(X)                                                                      \
    X(PACKETS_IN, "packets_in", "Packets of flows.")                                             \
    X(BAD_SEGMENT, "bad_segment", "Segments that say what cannot be: no ACK, numbers far away.") \
    X(OLD_TIMES, "old_times", "Segments dropped by their timestamps (PAWS).")                    \
    X(OUT_OF_ORDER, "out_of_order", "Segments held because others are missing.")                 \
    X(NOT_HELD, "not_held", "Segments dropped because others are missing: mode mac_decides.")    \
    X(DUPLICATES, "duplicates", "Segments whose bytes had come before.")                         \
    X(REFUSED, "refused", "Segments with bytes behind the window or beyond a bound.")            \
    X(RECORDS_OPENED, "records_opened", "Records opened.")                                       \
    X(RECORDS_EARLY, "records_early", "Records of which bytes went on before they were whole.")  \
    X(RECORDS_SEALED, "records_sealed", "Records sealed.")                                       \
    X(BAD_RECORDS, "bad_records", "Records that did not verify or are none.")                    \
    X(TRUNCATED, "truncated", "Streams that ended without close_notify.")                        \
    X(NOT_TLS, "not_tls", "Flows whose client did not begin with TLS.")                          \
    X(HANDSHAKE_FAILED, "handshake_failed", "Handshakes that failed.")                           \
    X(RESENT, "resent", "Segments sent again.")                                                  \
    X(RESETS, "resets", "Flows reset by the box.")                                               \
    X(PEER_RESETS, "peer_resets", "Flows reset by one of their ends.")                           \
    X(TIMEOUTS, "timeouts", "Flows whose time was over, or whose peer did not answer.")

enum fk_flow_counter {
#define FK_FLOW_COUNTER_ENUM(id, name, help) FK_FLOW_N_##id,
    FK_FLOW_COUNTERS(FK_FLOW_COUNTER_ENUM)
#undef FK_FLOW_COUNTER_ENUM
        FK_FLOW_N_COUNT
};

/*
 * A flow that begins with this SYN of a client's, which goes on at once. `conf` and `counters`
 * (FK_FLOW_N_COUNT of them) outlive it. FK_ERR_UNSUPPORTED: a connection that cannot be translated
 * (MD5 or AO: its segments are signed) and should pass untouched; FK_ERR_INVAL: no plain SYN;
 * FK_ERR_NOMEM.
 */
int fk_flow_new(const struct fk_flow_conf *conf, uint64_t *counters, const struct fk_ip *ip,
                const struct fk_tcp *syn, struct fk_flow **ret);
/* NULL is fine. */
void fk_flow_free(struct fk_flow *flow);

/* A packet from one side, the first SYN included: what it causes goes to `out`. Its checksum has
 * been verified, or a device vouches for it. */
void fk_flow_packet(struct fk_flow *flow, enum fk_inline_side from, const struct fk_ip *ip,
                    const struct fk_tcp *tcp, uint64_t now, struct fk_outbox *out);

/*
 * A router says in `ip` that a packet on its way to `to` was too big: what goes there is cut
 * smaller from now on, and sent again; the other side, which sent the bytes, is told what this
 * means for it. False: it is about no packet under way, and is to be dropped.
 */
bool fk_flow_too_big(struct fk_flow *flow, enum fk_inline_side to, const struct fk_ip *ip,
                     struct fk_icmp_too_big *too_big, uint64_t now, struct fk_outbox *out);

/* Whose it is: fk_flow_new() leaves that NULL. */
void fk_flow_set_owner(struct fk_flow *flow, void *owner);
void *fk_flow_owner(const struct fk_flow *flow);

/* The object of who shakes or shook hands; NULL: there was none. */
const void *fk_flow_tls(const struct fk_flow *flow);

/* The address, as that of packets of this side's (`src`), and the port. */
const struct fk_ip *fk_flow_ip(const struct fk_flow *flow, enum fk_inline_side side);
uint16_t fk_flow_port(const struct fk_flow *flow, enum fk_inline_side side);

/* The sequence number of this side's SYN. */
uint32_t fk_flow_isn(const struct fk_flow *flow, enum fk_inline_side side);

/* What operators may know of one side's stream. */
struct fk_flow_stream {
    uint32_t seq;    /* the next byte that is expected from it */
    uint32_t ack;    /* acknowledged to it */
    uint32_t window; /* bytes that it may send beyond that */
    uint32_t record; /* of the client's: bytes of the record that is begun; 0: none is */
};

void fk_flow_stream(const struct fk_flow *flow, enum fk_inline_side side,
                    struct fk_flow_stream *ret);
/* The keys that its records are under; NULL: there are none. For looking whether, not at them. */
const struct fk_session_keys *fk_flow_keys(const struct fk_flow *flow);

/* Bytes of one side's that the box has: held, since others are missing, or ready for the other. */
struct fk_flow_queued {
    struct fk_seq_range range; /* held: in that side's numbers; ready: in the other's */
    enum { FK_FLOW_HOLD, FK_FLOW_READY } state;
};

/* Up to `max` of them, in order; returns their number. */
size_t fk_flow_queue(const struct fk_flow *flow, enum fk_inline_side side, size_t max,
                     struct fk_flow_queued *ret);

/* A RST to `to`, who has sent this segment of no connection: RFC 9293 section 3.5.2. */
void fk_flow_refuse(enum fk_inline_side to, const struct fk_ip *ip, const struct fk_tcp *tcp,
                    struct fk_outbox *out);

/* Give back what it needs only while bytes come and go: it makes that anew. */
void fk_flow_rest(struct fk_flow *flow);

/* What the handshake waited for is there. */
void fk_flow_wake(struct fk_flow *flow, uint64_t now, struct fk_outbox *out);

/* When fk_flow_expire() is due, in us of the same clock as `now`. */
uint64_t fk_flow_deadline(const struct fk_flow *flow);
void fk_flow_expire(struct fk_flow *flow, uint64_t now, struct fk_outbox *out);

/* Bytes of memory that it holds, who shakes hands and the record engine not counted:
 * FK_FLOW_MEMORY at most. */
size_t fk_flow_memory(const struct fk_flow *flow);

/* FK_FLOW_GONE: it is to be freed. */
enum fk_flow_state fk_flow_state(const struct fk_flow *flow);

#endif
