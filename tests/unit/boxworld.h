/*
 * A box in memory: frames of any client and server port to it, and what it sends, one after the
 * other. Hands are shaken when seven bytes have come, by six; then the client's records have keys
 * that the test knows.
 */
#ifndef FK_TESTS_BOXWORLD_H
#define FK_TESTS_BOXWORLD_H

#include "inline/box.h"
#include "tls/record.h"

#define BOX_HELLO   "\x16hello!"
#define BOX_ANSWER  6
#define BOX_ISN     UINT32_C(1000) /* the client's */
#define BOX_SISN    UINT32_C(5000) /* the server's */
#define BOX_ARRIVED (FK_IP_PACKET_MAX + 1)

struct box_world {
    struct fk_box *box;
    struct fk_box_conf conf;
    struct fk_arena *arena;
    struct fk_session_keys keys;
    struct fk_record *client; /* of the one flow that speaks records */
    uint16_t ports[2];
    uint64_t now;
    bool waits; /* handshakes do, though they have what they need */
    struct fk_flow *waiting;
};

/* A segment. Sequence numbers count from the first byte behind a SYN. */
struct box_says {
    enum fk_inline_side from;
    uint16_t client, server; /* ports; server 0: 443 */
    uint32_t seq, ack;
    uint16_t flags;
    const void *bytes;
    size_t len;
    bool v6, md5;
    uint16_t vlan;
};

extern struct box_world box_world;

/* A box for `flows` flows, of which `half_open` may wait for their answer. */
void box_begin(size_t flows, size_t half_open);
void box_end(void);

/* The frame of a segment. `bytes` has room for BOX_ARRIVED. */
void box_build(const struct box_says *says, uint8_t *bytes, struct fk_box_frame *ret);

/* Let it come: what was sent before is forgotten. */
enum fk_box_verdict box_take(const struct fk_box_frame *frame);
enum fk_box_verdict box_say(struct box_says says);

/* How many packets came of it. */
size_t box_came(void);
/* The i-th: whereto, and what is in it. */
enum fk_inline_side box_packet(size_t i, struct fk_ip *ret_ip, struct fk_tcp *ret_tcp);

uint64_t box_count(enum fk_box_counter counter);
uint64_t box_flow_count(enum fk_flow_counter counter);

/* A connection of the client's port, as far as is wanted. */
void box_open(uint16_t client);   /* SYN, its answer, and the ACK of that */
void box_secure(uint16_t client); /* and hands are shaken */

/* A record of the client's whose content these bytes are; its length. */
size_t box_record(const void *bytes, size_t len, uint8_t *out, size_t size);

/* Time goes on to `until`: all that is due before happens. */
void box_pass_time(uint64_t until);

#endif
