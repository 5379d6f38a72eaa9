/* A flow inside: shared by flow*.c only. */
#ifndef FK_INLINE_FLOW_PRIV_H
#define FK_INLINE_FLOW_PRIV_H

#include "inline/flow.h"
#include "inline/flow_mode.h"
#include "inline/reasm.h"
#include "inline/sender.h"
#include "inline/streammap.h"
#include "tls/record.h"

/* What is known of one of the two peers. */
struct fk_flow_end {
    struct fk_ip ip; /* as its packets say: source is it, destination the other */
    uint16_t port;
    uint32_t isn;
    uint32_t mss;       /* payload bytes that it takes in a segment, timestamps subtracted */
    uint8_t scale;      /* of its own window */
    struct fk_tcp syn;  /* options of its SYN; what it said about itself */
    uint32_t ts_recent; /* RFC 7323 section 4.3: echoed to it */
    uint32_t ts_max;    /* the newest that it sent: what the other is told (fact 2) */
};

/* A record that is not whole, of which bytes have gone on. */
struct fk_flow_early {
    size_t in, out;     /* its bytes that are in the map, its content's that have gone on */
    size_t seen, solid; /* see flow_open.c */
};

/* One direction: what comes from `source`, becomes something else, and goes on. */
struct fk_flow_pipe {
    enum fk_inline_side source;
    struct fk_reasm reasm;
    struct fk_stream_map map;
    struct fk_sender sender;
    struct fk_flow_early early; /* of the record that `reasm` begins with */
    uint32_t told, told_right;  /* acknowledged to the source; where its window ends */
    uint32_t said, said_right;  /* as the last packet to it had them */
    uint32_t must_tell;         /* selectively acknowledged, and in order by now (fact 3) */
    bool fin_gone;              /* the FIN has become one of the sender's */
    bool closed;                /* close_notify has been opened: what follows is nothing */
    bool ack_due;               /* the source is to hear from us, whatever has changed */
    bool has_again;             /* for a DSACK */
    struct fk_seq_range again;
};

struct fk_flow {
    const struct fk_flow_conf *conf;
    uint64_t *counters;
    enum fk_flow_state state;
    uint64_t until; /* the state's time is over */
    struct fk_flow_end ends[2];
    struct fk_flow_pipe pipes[2]; /* by source */
    bool times, sack;             /* both ends want them */
    void *tls;
    struct fk_record *record;
    uint16_t id; /* of the next IPv4 packet */
    void *owner;
};

/* One event, while it lasts. */
struct fk_flow_turn {
    struct fk_flow *flow;
    uint64_t now;
    struct fk_outbox *out;
};

static inline void fk_flow_count(struct fk_flow *flow, enum fk_flow_counter counter)
{
    flow->counters[counter]++;
}

/* --- flow_emit.c: packets --- */

/* A segment to one side with what is told to it; `tcp` says seq, flags, and payload. */
void fk_flow_emit(struct fk_flow_turn *turn, enum fk_inline_side to, struct fk_tcp *tcp);
void fk_flow_emit_ack(struct fk_flow_turn *turn, enum fk_inline_side to);
void fk_flow_emit_probe(struct fk_flow_turn *turn, enum fk_inline_side to);
void fk_flow_emit_rst(struct fk_flow_turn *turn, enum fk_inline_side to, uint32_t seq);
/* A segment of the opening (SYN, its answer, RST) of the other side, with what the box changes. */
void fk_flow_emit_open(struct fk_flow_turn *turn, enum fk_inline_side to, const struct fk_tcp *syn);
/* A router's message to `to`, as `ip` carried it, with what the box has changed. */
void fk_flow_emit_too_big(struct fk_flow_turn *turn, enum fk_inline_side to, const struct fk_ip *ip,
                          const struct fk_icmp_too_big *too_big);
/* All that the pipe's sender may send. */
void fk_flow_emit_data(struct fk_flow_turn *turn, struct fk_flow_pipe *pipe);

static inline const struct fk_flow_mode *fk_flow_mode(const struct fk_flow *flow)
{
    return flow->conf->mode == NULL ? &fk_flow_buffered : flow->conf->mode;
}

/* --- flow_open.c: records towards the server --- */

/* As fk_flow_transform(). */
int fk_flow_open_records(struct fk_flow *flow, struct fk_flow_pipe *pipe);

/* --- flow_pipe.c: from one stream to the other --- */

/* Note what became what; nothing is fine. */
int fk_flow_note(struct fk_flow_pipe *pipe, struct fk_span span);
/* Whether the pipe may transform another record, with one of the engine's own: else the sink has to
 * acknowledge first. */
bool fk_flow_has_room(const struct fk_flow_pipe *pipe);
/* The source's end becomes the sender's. */
void fk_flow_pass_fin(struct fk_flow_pipe *pipe);

/* Transform what can be. FK_ERR_VERIFY and others: the flow must end, see flow.c. */
int fk_flow_transform(struct fk_flow *flow);
/* What the record engine has to say by itself, into the client's stream. */
int fk_flow_say_control(struct fk_flow *flow);
/* Bytes that the box makes itself, into the client's stream. */
int fk_flow_say(struct fk_flow *flow, const uint8_t *bytes, size_t len);

/* --- flow_ack.c: what the source is told --- */

/* Bring `told`, `told_right`, and who repairs what up to date. */
void fk_flow_tell(struct fk_flow *flow, struct fk_flow_pipe *pipe);
/* Send the source an acknowledgement, if it needs one. */
void fk_flow_ack(struct fk_flow_turn *turn, struct fk_flow_pipe *pipe);
/* SACK blocks for the source: `max` at most. */
size_t fk_flow_sacks(const struct fk_flow_pipe *pipe, size_t max, struct fk_seq_range *ret);

#endif
