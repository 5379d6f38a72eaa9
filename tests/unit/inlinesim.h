/*
 * Two small but honest TCP endpoints with the box between them, in virtual time: windows, slow
 * start, retransmission by timer and by duplicates, delayed and selective acknowledgements,
 * timestamps; wires that lose, delay, reorder and repeat, all by a seed. The client speaks records
 * with session keys that the test knows, after a handshake that is a number of bytes each way.
 */
#ifndef FK_TESTS_INLINESIM_H
#define FK_TESTS_INLINESIM_H

#include "inline/flow.h"
#include "inline/flow_mode.h"
#include "tls/record.h"

struct sim_conf {
    uint64_t seed;
    uint32_t suite;
    const struct fk_flow_mode *mode; /* NULL: buffered */
    unsigned loss, again, reorder;   /* of 1000 packets, on each of the four wires */
    unsigned corrupt;                /* a bit flips, and the checksum is wrong */
    unsigned forge;                  /* of the client's: a bit flips, and the checksum is right */
    size_t up, down;                 /* bytes of application data */
    size_t record;                   /* of the client's, and all at once; 0: any sizes */
    bool zeros, pads;                /* half of it is zeros; the client's records have padding */
    uint32_t client_isn, server_isn;
    uint16_t client_mss, server_mss;
    uint32_t client_window, server_window; /* bytes of receive buffer */
    bool times, sack, scale, v6;
    bool device;    /* the box's devices cut large packets, and complete checksums */
    bool plain;     /* no TLS at all: the box passes it */
    bool tiny;      /* segments of a byte or two */
    bool slow_read; /* the applications read now and then */
    bool rewrites;  /* what is sent again has other bytes; what was sent first has arrived */
    bool lies;      /* the client's only, and perhaps the other bytes are the first to arrive */
    size_t damage;  /* flip a bit of this byte of the client's records; 0: none */
};

struct sim_result {
    bool done;  /* both streams came to their ends, whole */
    bool reset; /* an end saw a RST, or sent one because nobody answered any more */
    uint64_t time;
    size_t memory_max; /* of the flow */
    size_t arrived;    /* bytes that the server got, in order, and when the last of them came */
    uint64_t arrived_at;
    uint64_t counters[FK_FLOW_N_COUNT];
};

/* A choice by the seed: the conditions that a case of a property test is made of. */
void sim_choose(uint64_t seed, struct sim_conf *ret);

/* Whether such a connection cannot come to its end, or need not. */
bool sim_must_end(const struct sim_conf *conf);
bool sim_may_end(const struct sim_conf *conf);

/* Run one connection until it is over or stands still. What must never happen fails the test. */
void sim_run(const struct sim_conf *conf, struct sim_result *ret);

#endif
