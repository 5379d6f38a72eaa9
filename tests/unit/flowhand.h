/* A flow that is fed by hand: single packets, one after another, with numbers that count from 0
 * after each SYN. One at a time, in static memory. */
#ifndef FK_TESTS_FLOWHAND_H
#define FK_TESTS_FLOWHAND_H

#include "inline/flow.h"
#include "tls/record.h"

#define CLIENT_ISN UINT32_C(1000)
#define SERVER_ISN UINT32_C(5000)

struct flow_hand {
    struct fk_flow *flow;
    struct fk_flow_conf conf;
    struct fk_arena *arena;
    struct fk_session_keys keys;
    struct fk_record *client;
    uint64_t counters[FK_FLOW_N_COUNT], now;
    struct fk_outbox out; /* what came of the last packet */
    struct fk_outbox_packet packets[64];
    size_t given;
    bool waits; /* the back-end has what it needs but is not done */
    uint8_t mem[300000];
};

extern struct flow_hand hand;

/* With TLS_AES_128_GCM_SHA256, or with another suite, by its number. */
void hand_begin(void);
void hand_begin_with(uint32_t suite);
void hand_end(void);

/* A packet; a window of 0 is one of 20,000. */
void give(enum fk_inline_side from, struct fk_tcp tcp, const void *bytes, size_t len);
void client_says(uint32_t seq, uint32_t ack, uint16_t flags, const void *bytes, size_t len);
void server_says(uint32_t seq, uint32_t ack, uint16_t flags, const void *bytes, size_t len);

/* The i-th packet that came of it; its numbers from 0 after the SYN. */
struct fk_tcp came(size_t i, enum fk_inline_side to);
void assert_came(size_t i, enum fk_inline_side to, uint32_t seq, uint32_t ack, uint16_t flags,
                 size_t len);

/* A connection as far as is wanted: the client's SYN; the answer; the client's ACK; the handshake,
 * seven bytes from the client, six to it. Each does what the ones before it do. */
void opening(void);
void opened(void);
void established(void);
void secured(void);

/* Seal a record of the client's. Returns its length. */
size_t record(const void *bytes, size_t len, uint8_t *out, size_t size);

#endif
