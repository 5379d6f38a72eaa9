/* The sending half: see sender.h. */
#include "inline/sender.h"

#include "base/err.h"

#include <assert.h>
#include <string.h>

/* --- the store --- */

void fk_sender_init(struct fk_sender *sender, uint32_t seq, uint32_t mss, size_t max)
{
    *sender = (struct fk_sender){.una = seq,
                                 .nxt = seq,
                                 .right = seq,
                                 .mss = mss,
                                 .own = true,
                                 .rto = FK_SENDER_RTO_FIRST_US};
    fk_buf_init_secret(&sender->store, max);
    fk_buf_keep(&sender->store);
}

void fk_sender_fini(struct fk_sender *sender)
{
    fk_buf_fini(&sender->store);
    sender->deadline = 0;
}

int fk_sender_reserve(struct fk_sender *sender, size_t len, uint8_t **ret)
{
    assert(!sender->fin);
    return fk_buf_reserve(&sender->store, len, ret);
}

void fk_sender_commit(struct fk_sender *sender, size_t len)
{
    fk_buf_commit(&sender->store, len);
}

int fk_sender_put(struct fk_sender *sender, const void *bytes, size_t len)
{
    assert(!sender->fin);
    return fk_buf_append(&sender->store, bytes, len);
}

void fk_sender_finish(struct fk_sender *sender)
{
    sender->fin = true;
}

static bool in_flight(const struct fk_sender *sender)
{
    return sender->una != sender->nxt;
}

/* --- the scoreboard --- */

static void forget_acked(struct fk_sender *sender)
{
    size_t n = 0;

    for (size_t i = 0; i < sender->n_sacked; i++) {
        struct fk_seq_range range = sender->sacked[i];

        range.start = fk_seq_max(range.start, sender->una);
        if (fk_seq_lt(range.start, range.end))
            sender->sacked[n++] = range;
    }
    sender->n_sacked = n;
}

/* Ranges that touch the new one are joined to it. When there is no place the one furthest behind is
 * forgotten: its bytes may be sent once more than needed. */
static void note_sack(struct fk_sender *sender, struct fk_seq_range range)
{
    struct fk_seq_range kept[FK_SENDER_SACKS + 1];
    size_t n = 0, at = 0;

    for (size_t i = 0; i < sender->n_sacked; i++) {
        struct fk_seq_range other = sender->sacked[i];

        if (fk_seq_lt(other.end, range.start)) {
            kept[n++] = other;
            at = n;
        } else if (fk_seq_lt(range.end, other.start)) {
            kept[n++] = other;
        } else {
            range.start = fk_seq_min(range.start, other.start);
            range.end = fk_seq_max(range.end, other.end);
        }
    }
    memmove(kept + at + 1, kept + at, (n - at) * sizeof kept[0]);
    kept[at] = range;
    n = n + 1 < FK_SENDER_SACKS ? n + 1 : FK_SENDER_SACKS;
    memcpy(sender->sacked, kept, n * sizeof kept[0]);
    sender->n_sacked = n;
}

static uint32_t bytes_sacked(const struct fk_sender *sender)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < sender->n_sacked; i++)
        sum += sender->sacked[i].end - sender->sacked[i].start;
    return sum;
}

/* Whether the sink has said anything new. Blocks that lie elsewhere (a DSACK, an old segment, a
 * lie) are passed over. */
static bool take_sacks(struct fk_sender *sender, const struct fk_sender_ack *ack)
{
    uint32_t before = bytes_sacked(sender);

    for (size_t i = 0; i < ack->n_sacks; i++) {
        struct fk_seq_range range = ack->sacks[i];

        if (fk_seq_lt(sender->una, range.start) && fk_seq_lt(range.start, range.end) &&
            fk_seq_le(range.end, sender->nxt))
            note_sack(sender, range);
    }
    return bytes_sacked(sender) > before;
}

/* The first bytes in `range` that were sent and are not known to be there, one mss at most. */
static bool first_missing(const struct fk_sender *sender, struct fk_seq_range range,
                          struct fk_seq_range *ret)
{
    range.start = fk_seq_max(range.start, sender->una);
    range.end = fk_seq_min(range.end, sender->nxt);
    for (size_t i = 0; i < sender->n_sacked && fk_seq_lt(range.start, range.end); i++) {
        const struct fk_seq_range *sacked = &sender->sacked[i];

        if (fk_seq_le(sacked->end, range.start))
            continue;
        if (fk_seq_lt(range.start, sacked->start)) {
            range.end = fk_seq_min(range.end, sacked->start);
            break;
        }
        range.start = sacked->end;
    }
    if (!fk_seq_lt(range.start, range.end))
        return false;
    if (range.end - range.start > sender->mss)
        range.end = range.start + sender->mss;
    *ret = range;
    return true;
}

/* --- repair --- */

static void make_due(struct fk_sender *sender, struct fk_seq_range range)
{
    sender->due = range;
    sender->has_due = true;
    sender->timing = false; /* Karn: nobody can tell which one is answered */
}

void fk_sender_resend(struct fk_sender *sender, struct fk_seq_range range)
{
    struct fk_seq_range missing;

    if (!sender->has_due && first_missing(sender, range, &missing))
        make_due(sender, (struct fk_seq_range){missing.start, range.end});
}

/* The next hole that this recovery has not filled. Behind what the sink has selectively
 * acknowledged nothing is known to be missing, but for the first hole. */
static void repair_next(struct fk_sender *sender)
{
    struct fk_seq_range range = {fk_seq_max(sender->resent, sender->una), sender->recover};

    if (sender->n_sacked > 0)
        range.end = sender->sacked[sender->n_sacked - 1].start;
    else if (sender->resent != sender->una && fk_seq_lt(sender->una, sender->resent))
        return;
    if (sender->has_due || !first_missing(sender, range, &range))
        return;
    make_due(sender, range);
    sender->resent = range.end;
}

static void recover_from(struct fk_sender *sender)
{
    sender->recovering = true;
    sender->recover = sender->nxt;
    sender->resent = sender->una;
    repair_next(sender);
}

void fk_sender_shrink(struct fk_sender *sender, uint32_t mss)
{
    sender->mss = mss;
    sender->has_due = false; /* one that is due may be too big */
    if (in_flight(sender))
        recover_from(sender);
}

/* RFC 5681 section 3.2 and RFC 6675 section 5: three duplicates, or as much known to be there. */
static void on_duplicate(struct fk_sender *sender)
{
    sender->dups++;
    if (!sender->own)
        return;
    if (sender->recovering)
        repair_next(sender);
    else if (sender->dups >= FK_SENDER_DUPS || bytes_sacked(sender) >= FK_SENDER_DUPS * sender->mss)
        recover_from(sender);
}

/* --- time --- */

/* RFC 6298 section 2. */
static void measure(struct fk_sender *sender, uint64_t now)
{
    uint64_t rtt = now - sender->timed_at, off;

    sender->timing = false;
    if (sender->srtt == 0) {
        sender->srtt = rtt;
        sender->rttvar = rtt / 2;
    } else {
        off = rtt > sender->srtt ? rtt - sender->srtt : sender->srtt - rtt;
        sender->rttvar = (3 * sender->rttvar + off) / 4;
        sender->srtt = (7 * sender->srtt + rtt) / 8;
    }
    sender->rto = sender->srtt + 4 * sender->rttvar;
    if (sender->rto < FK_SENDER_RTO_MIN_US)
        sender->rto = FK_SENDER_RTO_MIN_US;
    if (sender->rto > FK_SENDER_RTO_MAX_US)
        sender->rto = FK_SENDER_RTO_MAX_US;
}

static uint64_t backed_off(const struct fk_sender *sender)
{
    uint64_t wait = sender->rto;

    for (unsigned i = 0; i < sender->backoff && wait < FK_SENDER_RTO_MAX_US; i++)
        wait *= 2;
    return wait < FK_SENDER_RTO_MAX_US ? wait : FK_SENDER_RTO_MAX_US;
}

/* The timer runs while something is under way, or waits for the sink's window. */
static void arm(struct fk_sender *sender, uint64_t now)
{
    bool waits = fk_sender_unsent(sender) > 0 || sender->want_room;

    sender->deadline = in_flight(sender) || waits ? now + backed_off(sender) : 0;
}

bool fk_sender_expire(struct fk_sender *sender, uint64_t now)
{
    if (sender->deadline == 0 || now < sender->deadline)
        return true;
    if (in_flight(sender) && sender->own) {
        /* The sink may have thrown away what it said it had: RFC 2018 section 8. */
        sender->n_sacked = 0;
        sender->has_due = false;
        sender->dups = 0;
        recover_from(sender);
        sender->backoff++;
        sender->tries++;
    } else if (!in_flight(sender)) {
        sender->probe_due = fk_sender_unsent(sender) > 0 || sender->want_room;
        sender->backoff += sender->probe_due;
        sender->tries += sender->probe_due;
    }
    arm(sender, now);
    return sender->tries < FK_SENDER_TRIES;
}

bool fk_sender_probe(struct fk_sender *sender)
{
    bool due = sender->probe_due;

    sender->probe_due = false;
    return due;
}

/* --- what the sink says --- */

static void advance(struct fk_sender *sender, uint32_t ack, uint64_t now)
{
    uint32_t bytes = ack - sender->una, stored = (uint32_t)fk_buf_len(&sender->store);

    if (bytes > stored) {
        sender->fin_acked = true;
        bytes = stored;
    }
    fk_buf_consume(&sender->store, bytes);
    sender->una = ack;
    forget_acked(sender);
    if (sender->has_due && fk_seq_le(sender->due.end, ack))
        sender->has_due = false;
    if (sender->timing && fk_seq_le(sender->timed, ack))
        measure(sender, now);
    sender->dups = 0;
    if (sender->recovering && fk_seq_le(sender->recover, ack))
        sender->recovering = false;
    else if (sender->recovering && sender->own)
        repair_next(sender); /* a partial one: RFC 6582 section 3.2 */
}

bool fk_sender_acked(struct fk_sender *sender, const struct fk_sender_ack *ack, uint64_t now)
{
    bool advances = fk_seq_lt(sender->una, ack->ack), more_room, sacked;

    if (fk_seq_lt(sender->nxt, ack->ack))
        return false;
    if (fk_seq_lt(ack->ack, sender->una))
        return true; /* old: RFC 9293 section 3.10.7.4 */
    sender->tries = 0;
    if (advances)
        advance(sender, ack->ack, now);
    more_room = fk_seq_lt(sender->right, ack->right);
    sender->right = fk_seq_max(sender->right, ack->right);
    if (advances || more_room)
        sender->backoff = 0;
    sacked = take_sacks(sender, ack);
    if (!advances && in_flight(sender) && (sacked || (ack->bare && !more_room)))
        on_duplicate(sender);
    if (advances || more_room || !in_flight(sender))
        arm(sender, now);
    return true;
}

/* --- what is sent --- */

static void cut(const struct fk_sender *sender, struct fk_seq_range range,
                struct fk_sender_segment *ret)
{
    uint32_t end = fk_sender_end(sender);
    struct fk_sender_segment segment = {.seq = range.start};

    segment.fin = sender->fin && range.end == end + 1;
    segment.len = range.end - range.start - segment.fin;
    segment.push = range.end - segment.fin == end;
    segment.data =
        segment.len == 0 ? NULL : fk_buf_data(&sender->store) + (range.start - sender->una);
    *ret = segment;
}

/* New bytes that may go now. Small ones wait while others are under way, if it is only the sink's
 * window that makes them small (RFC 9293 section 3.8.6.2.1). */
static bool fresh(const struct fk_sender *sender, uint32_t max, struct fk_seq_range *ret)
{
    uint32_t unsent = fk_sender_unsent(sender), room, len;

    room = fk_seq_lt(sender->nxt, sender->right) ? sender->right - sender->nxt : 0;
    len = unsent < room ? unsent : room;
    if (len > max)
        len = max;
    if (len == 0 || (len < unsent && len < sender->mss && in_flight(sender)))
        return false;
    *ret = (struct fk_seq_range){sender->nxt, sender->nxt + len};
    return true;
}

/* A segment of what is due, of which some may have been acknowledged meanwhile. */
static bool take_due(struct fk_sender *sender, struct fk_seq_range *ret)
{
    if (!sender->has_due)
        return false;
    sender->has_due = first_missing(sender, sender->due, ret);
    if (!sender->has_due)
        return false;
    sender->due.start = ret->end;
    sender->has_due = fk_seq_lt(sender->due.start, sender->due.end);
    return true;
}

bool fk_sender_next(struct fk_sender *sender, uint32_t max, uint64_t now,
                    struct fk_sender_segment *ret)
{
    struct fk_seq_range range;

    if (max < sender->mss)
        max = sender->mss;
    if (!take_due(sender, &range)) {
        if (!fresh(sender, max, &range)) {
            if (sender->deadline == 0)
                arm(sender, now);
            return false;
        }
        sender->nxt = range.end;
        if (!sender->timing) {
            sender->timing = true;
            sender->timed = range.end;
            sender->timed_at = now;
        }
        if (sender->deadline == 0)
            arm(sender, now);
    }
    cut(sender, range, ret);
    return true;
}
