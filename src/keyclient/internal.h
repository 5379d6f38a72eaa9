/*
 * Inside of the key client: what its files share. Not for anybody else.
 *
 * A ticket is one request of a pool. It is in exactly one place: parked in its pool (no server can
 * take it now), or with one server (waiting for its channel, or sent and in a slot of its table).
 * Whoever takes a ticket off its place either places it again or finishes it.
 */
#ifndef FK_KEYCLIENT_INTERNAL_H
#define FK_KEYCLIENT_INTERNAL_H

#include "base/limits.h"
#include "base/log.h"
#include "base/map.h"
#include "keyclient/keyclient.h"
#include "keyclient/proof.h"
#include "keyclient/spread.h"
#include "loop/dns.h"
#include "loop/door.h"
#include "loop/sock.h"
#include "wire/keymsg.h"

struct fk_keyclient {
    struct fk_loop *loop;
    struct fk_dns *dns;
    struct fk_list servers;
    struct fk_list pools;
};

/* --- one request --- */

struct fk_key_ticket {
    struct fk_list pool_link;   /* all of a pool */
    struct fk_list server_link; /* all of a server, or the parked ones of a pool */
    struct fk_keypool *pool;
    struct fk_keyserver *server; /* NULL: parked */
    fk_key_done_cb *done;
    void *arg;
    struct fk_timer timer; /* end of this try, or of all */
    uint64_t deadline_us;
    uint64_t sent_us;  /* 0: not sent to the present server */
    uint32_t id;       /* with the present server, when sent */
    uint64_t tried;    /* one bit a member of the pool that has answered or timed out */
    unsigned attempts; /* servers that were given this request */
    int last_err;
    struct fk_key_ticket *twin; /* hedged: the other one of the two, see hedge.c */
    bool is_twin;
    bool hedge_next; /* that is what its timer waits for */
    bool hedged;     /* it had, or could not have, a twin */
    bool reached;    /* was sent to anybody */
    bool parked;
    bool replaceable; /* see tls/keyback.h */
    uint8_t opcode;
    uint16_t scheme;
    uint8_t ski[FK_SKI_SIZE];
    uint8_t signature[FK_KEYPROOF_SIGNATURE]; /* of the request as it was sent, when it is signed */
    EVP_PKEY *public_key;                     /* borrowed */
    struct fk_key_route *route;               /* borrowed, NULL: any server */
    uint8_t client_ip[16], server_ip[16];
    uint8_t client_ip_len, server_ip_len;
    size_t payload_len, tbs_len, sni_len, share_len;
    uint8_t bytes[]; /* payload, tbs, sni, sealed share */
};

/* A ticket of a copy of `request`, in no place. FK_ERR_NOMEM, FK_ERR_LIMIT, FK_ERR_INVAL. */
int fk_ticket_new(struct fk_keypool *pool, const struct fk_key_request *request,
                  fk_key_done_cb *done, void *arg, struct fk_key_ticket **ret);
/* Free one that is in no place. */
void fk_ticket_free(struct fk_key_ticket *ticket);
/* Append it as a frame with ticket->id, signed if `proof` is on. Errors of fk_keymsg_encode() and
 * fk_proof_sign(). */
int fk_ticket_encode(struct fk_key_ticket *ticket, struct fk_proof *proof, struct fk_buf *out);
/* Bytes that it takes, all included. */
size_t fk_ticket_size(const struct fk_key_ticket *ticket);
const uint8_t *fk_ticket_tbs(const struct fk_key_ticket *ticket);

/* --- signatures --- */

struct fk_verify {
    unsigned of_channel; /* signatures checked since the channel opened, up to the first few */
    unsigned all_left;   /* check so many more, whatever chance says */
};

void fk_verify_channel_opened(struct fk_verify *verify);
void fk_verify_suspect(struct fk_verify *verify);
/*
 * Look at an answer: its size always, the signature by sampling. FK_ERR_VERIFY, FK_ERR_FORMAT
 * (size).
 */
int fk_verify_answer(struct fk_verify *verify, const struct fk_key_ticket *ticket,
                     const uint8_t *data, size_t len);

/* --- one server --- */

enum fk_server_state {
    FK_SERVER_IDLE,    /* no channel, and none needed now */
    FK_SERVER_RESOLVE, /* its name is being looked up */
    FK_SERVER_CONNECT, /* TCP */
    FK_SERVER_AWAIT,   /* it has to dial in: see dialled.c */
    FK_SERVER_TLS,
    FK_SERVER_OPEN, /* for us: the server has not answered yet, and may not take us */
    FK_SERVER_UP,
    FK_SERVER_BACKOFF, /* could not be reached or was lost: waiting before the next try */
};

enum fk_slot_kind {
    FK_SLOT_FREE,
    FK_SLOT_TICKET,
    FK_SLOT_PING,
    FK_SLOT_INFO,
    FK_SLOT_GIVEN_UP, /* an answer may still come and is dropped */
};

struct fk_slot {
    uint32_t id;
    enum fk_slot_kind kind;
    struct fk_key_ticket *ticket;
};

/* Requests under way on a channel, by id: slot id & mask, so that ids may wrap. */
struct fk_table {
    struct fk_slot *slots;
    uint32_t mask;
    uint32_t next_id;
};

int fk_table_init(struct fk_table *table, uint32_t max_outstanding);
void fk_table_fini(struct fk_table *table);
/* Forget everything and begin at a random id: for a new channel. */
void fk_table_reset(struct fk_table *table);
/* A free slot with the next id; slots given up are used again. NULL when full. */
struct fk_slot *fk_table_take(struct fk_table *table, enum fk_slot_kind kind);
/* The slot of an id under way or given up; NULL for any other id. */
struct fk_slot *fk_table_find(struct fk_table *table, uint32_t id);

struct fk_keylist {
    struct fk_info_key *keys; /* each borrows from its own allocation, memory[i] */
    uint8_t **memory;
    struct fk_map skis; /* what is listed */
    size_t n, size;
    size_t bytes;
    uint64_t generation;
    bool complete;
};

void fk_keylist_clear(struct fk_keylist *list);
/* Copy one page's keys to the end. FK_ERR_FORMAT and the like, FK_ERR_LIMIT, FK_ERR_NOMEM. */
int fk_keylist_add(struct fk_keylist *list, struct fk_info_answer *page);
bool fk_keylist_equal(const struct fk_keylist *a, const struct fk_keylist *b);
bool fk_keylist_has(const struct fk_keylist *list, const uint8_t ski[FK_SKI_SIZE]);

/* Texts of a configuration, owned. */
struct fk_server_texts {
    char *name, *address, *accept, *device, *zone; /* an address, or where it dials in */
};

struct fk_keyserver {
    struct fk_keyclient *client;
    struct fk_list link;
    struct fk_list members; /* its places in pools */
    struct fk_server_texts texts;
    struct fk_addr bind;
    bool has_bind;
    struct fk_keyserver_config config; /* its texts are not used */
    SSL_CTX *ctx;

    enum fk_server_state state;
    struct fk_timer timer; /* by state: time-out, next try, idle */
    struct fk_defer kick;  /* begin to connect, or leave when retired */
    struct fk_dns_query query;
    struct fk_addr addrs[FK_KEYSERVER_ADDRS_MAX];
    size_t n_addrs, next_addr;
    int fd; /* while connecting */
    struct fk_io connect_io;
    int listen_fd; /* where it dials in; -1: not (yet) */
    struct fk_io listen_io;
    struct fk_timer queue_timer; /* the next look at how many wait there */
    struct fk_door *door;        /* who dialled in and has not proved who he is; NULL: we connect */
    struct fk_ranges allow, deny; /* owned */
    struct fk_channel_io *io;
    unsigned failures; /* since it was last up */
    unsigned losses;   /* in a row, of channels that did not last */
    bool damped;       /* backing off for these: longer than for its failures */
    uint64_t up_since_us;
    uint64_t down_since_us; /* when it could last be used */
    bool complained;        /* that it is down has been logged */
    bool draining;          /* it said so: no new requests on this channel */
    bool retired;

    struct fk_timer ping_timer;  /* next ping, or end of waiting for the pong */
    struct fk_timer judge_timer; /* while up: its certificate is to be judged again */
    bool ping_out;
    uint64_t ping_sent_us;
    uint64_t last_use_us;
    uint64_t answered_us; /* last answer to any request */

    struct fk_table table;
    struct fk_list tickets; /* waiting and sent */
    uint32_t outstanding;   /* their number */
    struct fk_verify verify;
    struct fk_proof proof;   /* of the present channel */
    uint64_t deviation_us;   /* mean deviation from stats.average_us */
    struct fk_spread spread; /* of the times of its answers, pings not among them */

    fk_keylist_cb *watch;
    void *watch_arg;
    struct fk_keylist list, next_list; /* complete; being fetched */
    bool listing;
    uint64_t listings; /* different ones so far */
    struct fk_defer tell_watch;

    struct fk_keyserver_stats stats;
    struct fk_log_limit strange_limit, signature_limit, dial_limit;
};

/* How usable a server is for a new request, best first. */
enum fk_usable { FK_USABLE_NOW, FK_USABLE_SOON, FK_USABLE_LATER, FK_USABLE_NOT };

enum fk_usable fk_server_usable(const struct fk_keyserver *server);
/* Give it a ticket that is in no place. FK_ERR_LIMIT, FK_ERR_NOMEM: it still is in no place. */
int fk_server_take(struct fk_keyserver *server, struct fk_key_ticket *ticket);
/* Take a ticket back, whatever became of it there; a late answer will be dropped. */
void fk_server_give_up(struct fk_keyserver *server, struct fk_key_ticket *ticket);
/* Nobody else can serve any more: do not stay away longer than its failures ask for. */
void fk_server_hurry(struct fk_keyserver *server);
/* A response time, or the time waited in vain. */
void fk_server_sample(struct fk_keyserver *server, uint64_t us);
/* Time after which another server is asked: mean and four deviations (as in RFC 6298). */
uint64_t fk_server_patience(const struct fk_keyserver *server);

/* server.c: birth, death, and channels. */
void fk_server_init(struct fk_keyserver *server, struct fk_loop *loop);
void fk_server_free(struct fk_keyserver *server);
/* Frames may be sent. */
bool fk_server_has_channel(const struct fk_keyserver *server);
/* It has answered something: it takes us. */
void fk_server_heard(struct fk_keyserver *server);
/* The channel, or the attempt at one, came to nothing: the next address, or wait. */
void fk_server_lost(struct fk_keyserver *server, int err, const char *reason);
void fk_server_retire_check(struct fk_keyserver *server);
/* See fk_keyclient_use() and fk_keyclient_step_back(). */
void fk_server_use(struct fk_keyserver *server, SSL_CTX *ctx);
void fk_server_step_back(struct fk_keyserver *server);

/* What is wrong with the peer of a channel whose handshake is done; NULL: it is this server. */
const char *fk_server_check_peer(const struct fk_keyserver *server, const SSL *ssl);
/* Serve over a channel (taken) whose peer was checked. */
void fk_server_adopt(struct fk_keyserver *server, struct fk_channel_io *io);
/* It could not be had for so long that nobody should wait for it. */
void fk_server_missing(struct fk_keyserver *server);

/* dialled.c: servers that dial in. */
/* For any server; what one that dials in needs as well (FK_ERR_NOMEM, FK_ERR_SYS); the end. */
void fk_dialled_prepare(struct fk_keyserver *server, struct fk_loop *loop);
int fk_dialled_init(struct fk_keyserver *server);
void fk_dialled_fini(struct fk_keyserver *server);
/* Take connections until one of them is the server's, which is then adopted. */
void fk_dialled_begin(struct fk_keyserver *server);
/* Take no more, and drop those that have not proved who they are. */
void fk_dialled_stop(struct fk_keyserver *server);

/* exchange.c: frames of an open channel. */
int fk_server_opened(struct fk_keyserver *server); /* FK_ERR_CRYPTO */
void fk_server_read(struct fk_keyserver *server);
int fk_server_send_ping(struct fk_keyserver *server);
void fk_server_send_waiting(struct fk_keyserver *server);
int fk_server_send_info(struct fk_keyserver *server, uint32_t cursor);

/* --- pools --- */

struct fk_keymember {
    struct fk_list link; /* of the server's */
    struct fk_keypool *pool;
    struct fk_keyserver *server; /* NULL: it is gone */
    int64_t current;             /* weighted round robin */
};

struct fk_keypool {
    struct fk_keyback back;
    struct fk_keyclient *client;
    struct fk_list link;
    enum fk_keypool_strategy strategy;
    bool hedge;
    char *zone;
    struct fk_keymember *members;
    size_t n_members;
    size_t cursor;         /* of the strategies */
    uint64_t suspected_us; /* the last complaint of a client that was heeded, 0: none */
    struct fk_list tickets;
    struct fk_list parked;
    size_t n_parked;
    bool dying;
    struct fk_defer reap;
};

/* strategy.c: which of these members (at least one); an index of pool->members. */
size_t fk_strategy_choose(struct fk_keypool *pool, const size_t *candidates, size_t n);

/* A ticket taken off its server (and off every list) comes back: with an answer, or to be placed
 * elsewhere. */
void fk_pool_answered(struct fk_key_ticket *ticket, const struct fk_keyserver *from,
                      const uint8_t *data, size_t len);
void fk_pool_failed(struct fk_key_ticket *ticket, struct fk_keyserver *from, int err);
/* How usable a member is for this ticket. */
enum fk_usable fk_pool_usable(const struct fk_keypool *pool, size_t member,
                              const struct fk_key_ticket *ticket);
/* Whether another server of the pool can be used now. */
bool fk_pool_spares(const struct fk_keypool *pool, const struct fk_keyserver *server);
/* A server can be used (again): place what is parked. */
void fk_pool_unpark(struct fk_keypool *pool);
/* Fail all that is left and free a dying pool. */
void fk_pool_reap(struct fk_keypool *pool);

/* --- hedging --- */

/* After what time with its server another one shall be asked as well; 0: never. */
uint64_t fk_hedge_delay(const struct fk_key_ticket *ticket);
/* Ask another one as well, if there is one; once for each request. */
void fk_hedge(struct fk_key_ticket *ticket);
/* Take its twin back, if it has one. */
void fk_hedge_drop(struct fk_key_ticket *ticket);
/* A twin off its server has the answer: freed. Returns the ticket that it stood for, which is still
 * with its own server. */
struct fk_key_ticket *fk_hedge_won(struct fk_key_ticket *twin, uint64_t now);
/* A twin off its server has failed: freed, the other one goes on. */
void fk_hedge_lost(struct fk_key_ticket *twin);
/* A ticket in no place that has a twin takes over from it. */
void fk_hedge_adopt(struct fk_key_ticket *ticket);

#endif
