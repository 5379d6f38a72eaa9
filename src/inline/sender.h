/*
 * The sending half of a TCP connection, for the bytes of one direction that go on from the box:
 * stored from the moment they were made until the sink has acknowledged them, so that what is sent
 * again is what was sent before. Who repairs what gets lost depends on whose the first
 * unacknowledged byte is: the source's (it will send again, which fk_sender_resend() answers) or
 * the box's own, because the box has acknowledged it or has made it. Then the retransmission timer
 * (RFC 6298) and the scoreboard of selective acknowledgements (RFC 6675, one segment a trigger)
 * work here.
 *
 * There is no congestion window: the source has one, and sees the sink's signals. Sans-I/O, owns
 * its memory, which may hold plaintext and is wiped.
 */
#ifndef FK_INLINE_SENDER_H
#define FK_INLINE_SENDER_H

#include "base/buf.h"
#include "base/limits.h"
#include "wire/seq.h"

struct fk_sender {
    struct fk_buf store; /* from `una` on */
    uint32_t una, nxt;   /* first byte not acknowledged, not sent */
    uint32_t right;      /* first byte that the sink has no room for */
    uint32_t mss;        /* bytes of payload a segment at most */
    bool fin, fin_acked; /* FIN follows the last byte stored */
    bool own;            /* the byte at `una` is the box's to repair */
    bool want_room;      /* the owner has more, and waits for the sink's window */

    struct fk_seq_range sacked[FK_SENDER_SACKS];
    size_t n_sacked;          /* sorted, disjoint, behind `una` */
    unsigned dups;            /* acknowledgements that say: something is missing at `una` */
    bool recovering;          /* until `recover` is acknowledged */
    uint32_t recover, resent; /* repaired up to here */
    bool has_due, probe_due;
    struct fk_seq_range due; /* to be sent again */

    uint64_t srtt, rttvar, rto; /* us; srtt 0: not measured */
    bool timing;                /* one segment is: until `timed` is acknowledged */
    uint32_t timed;
    uint64_t timed_at, deadline; /* us; no deadline: 0 */
    unsigned backoff;            /* times the timer went off and nothing came of it */
    unsigned tries;              /* of these, since the sink was heard of */
};

struct fk_sender_segment {
    uint32_t seq;
    const uint8_t *data; /* in the store, until the next call */
    size_t len;
    bool fin, push;
};

/* What a segment of the sink says. */
struct fk_sender_ack {
    uint32_t ack;
    uint32_t right; /* the first byte that it has no room for */
    bool bare;      /* no payload, SYN or FIN: it may be a duplicate acknowledgement */
    const struct fk_seq_range *sacks;
    size_t n_sacks;
};

/* A stream that begins at `seq`; `max`: bytes stored at most. The sink's window is closed. */
void fk_sender_init(struct fk_sender *sender, uint32_t seq, uint32_t mss, size_t max);
void fk_sender_fini(struct fk_sender *sender);

/* Append bytes: as fk_buf_reserve() and fk_buf_commit(). Not after fk_sender_finish(). */
int fk_sender_reserve(struct fk_sender *sender, size_t len, uint8_t **ret);
void fk_sender_commit(struct fk_sender *sender, size_t len);
int fk_sender_put(struct fk_sender *sender, const void *bytes, size_t len);

/* FIN follows. */
void fk_sender_finish(struct fk_sender *sender);

/* One past the last byte stored, FIN not counted. */
static inline uint32_t fk_sender_end(const struct fk_sender *sender)
{
    return sender->fin_acked ? sender->una - 1 : sender->una + (uint32_t)fk_buf_len(&sender->store);
}

/* Bytes stored, and FIN, that have not been sent. */
static inline uint32_t fk_sender_unsent(const struct fk_sender *sender)
{
    return fk_sender_end(sender) + sender->fin - sender->nxt;
}

/* Whether the sink has acknowledged all there is. */
static inline bool fk_sender_idle(const struct fk_sender *sender)
{
    return sender->una == fk_sender_end(sender) + sender->fin;
}

/*
 * What the sink says. False: it acknowledges what has not been sent, and nothing else was believed
 * (RFC 9293 section 3.10.7.4). `own` must be up to date, here and below.
 */
bool fk_sender_acked(struct fk_sender *sender, const struct fk_sender_ack *ack, uint64_t now);

/* The source has sent again what became these bytes: repair those of them that the sink is not
 * known to have. A packet of the source's may be several segments that a device has put together.
 */
void fk_sender_resend(struct fk_sender *sender, struct fk_seq_range range);

/* Segments have so many bytes from now on, fewer than before: what is under way was too big, and
 * goes again. */
void fk_sender_shrink(struct fk_sender *sender, uint32_t mss);

/*
 * The next segment to be sent now, `max` bytes of payload at most, or one mss if that is more; what
 * is repaired comes first, one mss at a time. False: none. Call it until then, after everything.
 */
bool fk_sender_next(struct fk_sender *sender, uint32_t max, uint64_t now,
                    struct fk_sender_segment *ret);

/* Whether the sink's window should be asked for, by a segment without payload at una - 1; asked
 * once. */
bool fk_sender_probe(struct fk_sender *sender);

/* When fk_sender_expire() is due; 0: never. */
static inline uint64_t fk_sender_deadline(const struct fk_sender *sender)
{
    return sender->deadline;
}

/* Time has come to `now`. False: the sink has not answered FK_SENDER_TRIES times, it is gone. */
bool fk_sender_expire(struct fk_sender *sender, uint64_t now);

#endif
