/*
 * A front with everything around it that tests need: its sets, TLS channels to it, and a signer
 * that the test plays, all in one loop. front_setup() and front_teardown() are for the group.
 */
#ifndef FK_TESTS_FRONTWORLD_H
#define FK_TESTS_FRONTWORLD_H

#include "keyd/front_priv.h"
#include "signer/request.h"
#include "tls/channel.h"
#include "wire/keyop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEYS        8 /* in the index: "k0" to "k7"; the edge may use all but k7 */
#define CHAIN       20000
#define REQUESTS    64
#define PATIENCE_US 20000000

extern struct fk_loop *loop;
extern struct fk_timer watchdog;
extern struct fk_quota *quota;
extern struct fk_front *front;
extern struct fk_audit_sink *sink; /* of the next front; NULL: it has none */
extern SSL_CTX *client_ctx, *other_ctx, *stranger_ctx, *dialect1_ctx;
extern const char *listen_block;                              /* of the next set */
extern void (*shape_key)(struct fk_index_key *key, size_t i); /* of the next set's; or NULL */
extern char folder[64];
extern uint16_t port;
extern bool drained;

/* The signer that the test plays: requests seen. */
extern int signer_fd;
extern size_t n_asked;
extern struct fk_signer_request asked[REQUESTS];
extern uint8_t asked_payload[FK_SIGNER_PAYLOAD_MAX]; /* of the last one */

/* --- an edge --- */

struct edge {
    struct fk_channel_io *io;
    bool open, closed;
    size_t n_answers;
    struct answer {
        uint32_t id;
        uint8_t opcode;
        size_t len;
        uint8_t payload[64];
    } answers[REQUESTS];
};

int front_setup(void **state);
int front_teardown(void **state);

/* Let the loop run for one short turn, the played signer included. */
void turn(void);

/* Until a condition holds; the watchdog fails the test when it never does. */
#define UNTIL(condition)                        \
    do {                                        \
        fk_timer_start(&watchdog, PATIENCE_US); \
        while (!(condition))                    \
            turn();                             \
        fk_timer_stop(&watchdog);               \
    } while (0)

/* Enough turns for everything under way to arrive, where nothing is to happen. */
void settle(void);

/* The edge "e" with another certificate: its serial number, and for how many seconds it lasts. */
SSL_CTX *make_edge_ctx(long serial, long seconds);
/* Another peer, by its URI SAN. */
SSL_CTX *make_peer_ctx(const char *san);
/* The list of the next sets, revoking one serial number (0: none), good for so many seconds; or
 * none at all. */
void put_list(long serial, long seconds);
void remove_list(void);

/* A set with these edges blocks and limits, from files as in life. */
#define EDGE(name, more) \
    "edge \"" name "\" { keys = {\"k0\",\"k1\",\"k2\",\"k3\",\"k4\",\"k5\",\"k6\"} " more " }\n"
#define EDGES EDGE("e", "outstanding = 65536")
struct fk_front_set *make_set(uint32_t generation, const char *edges, const char *limits);

/* A front with a listener and one signer, and its end. */
void start_front_with(const char *edges, const char *limits);
void start_front(const char *limits);
void stop_front(void);
void listen_on(void);
void add_signer(unsigned index);

/* A channel over a connection (taken), not waited for. */
void edge_over(struct edge *edge, int fd, SSL_CTX *ctx);

/* A channel to it, waited for until it is open or closed. */
void connect_edge(struct edge *edge, SSL_CTX *ctx);
void hang_up(struct edge *edge);

/* Ask to sign with key number `key`; answer the request asked[i]. */
void ask(struct edge *edge, uint32_t id, unsigned key, enum fk_key_role role);
void answer_request(size_t i, int err, const void *data, size_t len);

#endif
