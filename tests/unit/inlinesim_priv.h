/* The simulator inside: shared by inlinesim.c, inlinepeer.c and inlineapps.c only. One world at a
 * time, in static memory. */
#ifndef FK_TESTS_INLINESIM_PRIV_H
#define FK_TESTS_INLINESIM_PRIV_H

#include "inlinesim.h"

#define SIM_STREAM 150000 /* bytes of a stream at most */
#define SIM_WIRE   4096
#define SIM_PACKET 1600
#define SIM_NEVER  UINT64_MAX

/* One end. Offsets count from the first byte after the SYN. */
struct sim_peer {
    enum fk_inline_side side;
    bool opened, established, reset;
    uint32_t isn, peer_isn;
    uint16_t own_mss, mss;
    uint32_t buffer;

    size_t out_len, avail; /* made, and given to TCP */
    bool closing;          /* no more will be made: FIN is behind out_len */
    size_t una, nxt, top, sent, right, cwnd, ssthresh, recover;
    unsigned dups, backoff;
    uint64_t rto_at, app_at, delack_at, read_at;

    size_t next, read, told, edge;
    uint64_t next_at; /* when `next` last grew */
    bool fin_seen;
    size_t fin_at;
    struct fk_seq_range recent; /* the last arrival out of order, offsets */
    unsigned unacked;
    uint32_t ts_recent;

    /* What follows is cleared as far as it was used. */
    size_t in_top, sacked_top;
    uint8_t out[SIM_STREAM];
    bool out_sacked[SIM_STREAM + 2];
    uint8_t in[SIM_STREAM];
    bool got[SIM_STREAM];
};

struct sim_packet {
    bool used, to_box;
    enum fk_inline_side side; /* whose wire */
    uint64_t at, number;
    size_t len;
    uint8_t bytes[SIM_PACKET];
};

struct sim_world {
    const struct sim_conf *conf;
    uint64_t random, now;
    size_t n_wire;
    uint64_t n_sent;
    struct fk_flow *flow;
    struct fk_flow_conf flow_conf;
    uint64_t counters[FK_FLOW_N_COUNT];
    struct fk_session_keys keys;
    struct fk_record *client;
    size_t hello, answer; /* bytes of the handshake, each way */
    size_t taken, given;  /* by the back-end */
    size_t n_opened, parsed;
    bool sealed, client_end, traced;
    uint32_t last_times[2];
    bool told_times[2];
    size_t memory_max;

    /* What follows stays, or is made anew as far as it is used. */
    struct fk_arena *arena;
    struct sim_peer peers[2];
    uint8_t up[SIM_STREAM], down[SIM_STREAM], opened[SIM_STREAM];
    struct sim_packet wire[SIM_WIRE];
};

extern struct sim_world sim;

/* A number below `n`, by the seed; 0 of 0. */
uint32_t sim_pick(uint32_t n);

/* --- inlinesim.c --- */

/* False: it was corrupted on its way. */
bool sim_parse(const uint8_t *bytes, size_t len, struct fk_ip *ret_ip, struct fk_tcp *ret_tcp);

void sim_put_on_wire(bool to_box, enum fk_inline_side side, const uint8_t *bytes, size_t len);

/* --- inlinepeer.c: TCP --- */

void sim_peer_init(enum fk_inline_side side);
void sim_peer_open(struct sim_peer *peer);
void sim_peer_packet(struct sim_peer *peer, const uint8_t *bytes, size_t len);
/* Send what may be sent. */
void sim_peer_push(struct sim_peer *peer);
/* When it has something to do, and that. */
uint64_t sim_peer_deadline(const struct sim_peer *peer);
void sim_peer_due(struct sim_peer *peer);

/* --- inlineapps.c: what is above TCP --- */

/* What both have to say, but for what the client says after the handshake. */
void sim_apps_init(void);
/* What the application does with what is there. */
void sim_app_read(struct sim_peer *peer);
/* More of what it has is given to TCP. */
void sim_app_write(struct sim_peer *peer);
/* What arrived is the beginning of what was sent, always; `ret->done`: all of it. */
void sim_judge(struct sim_result *ret);

#endif
