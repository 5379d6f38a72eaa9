/* Shared by the files that make up a front; see front.h. */
#ifndef FK_KEYD_FRONT_PRIV_H
#define FK_KEYD_FRONT_PRIV_H

#include "base/limits.h"
#include "base/list.h"
#include "base/log.h"
#include "keyd/front.h"
#include "keyd/hs_pool.h"
#include "keyd/metrics.h"
#include "loop/door.h"
#include "signer/client.h"
#include "wire/keyop_agree.h"
#include "tls/channel.h"
#include "wire/keymsg.h"
#include "wire/keyproof.h"

/* What one front keeps of an edge for all its channels. It outlives them: an edge that connects
 * anew again and again is still the same edge. */
struct fk_front_account {
    struct fk_log_limit opened, closed; /* bound its lines about channels */
    size_t outstanding;                 /* its requests with the signers */
    uint64_t talk_us; /* PING and INFO: when their bucket would be full again, see may_talk() */
};

struct fk_front {
    struct fk_loop *loop;
    struct fk_front_options options;
    struct fk_front_set *set;
    struct fk_signer_pool *pool;
    struct fk_hs_pool *handshakers;
    struct fk_hs_pool *askers;
    struct fk_list tokens;    /* struct fk_front_token */
    struct fk_list listeners; /* struct fk_front_listener */
    struct fk_list conns;     /* struct fk_front_conn */
    size_t n_conns;
    struct fk_door *door; /* of them: peer not known yet */
    unsigned dials_used;  /* channels of all dial blocks since then */
    uint64_t dials_since_us;
    uint64_t last_conn; /* id given last */
    struct fk_list free_requests;
    size_t outstanding;     /* requests with the signers */
    size_t outstanding_max; /* of the set's limits, or what there is memory for */
    struct fk_list orphans; /* requests whose channel is gone */
    struct fk_timer tick;   /* looks for channels that time has run out for */
    struct fk_defer resume; /* goes on with channels that were stalled or hold operations */
    struct fk_timer gap;    /* active: operations are held; its end, see fronthold.c */
    size_t held;            /* bytes of all that are held */
    bool some_stalled;
    bool draining;
    uint64_t day; /* since 1970, renewed by the tick */
    struct fk_log_limit accept_limit, deny_limit, tls_limit, error_limit, dial_limit, share_limit;
    struct fk_front_account accounts[FK_KEYD_EDGES_MAX]; /* by the number of the edge's slot */
};

/* A listening socket and the block that it was made from. */
struct fk_front_listener {
    struct fk_list link;
    struct fk_front *front;
    struct fk_io io;
    int fd;
    const struct fk_keyd_listen_conf *conf; /* of front->set */
    struct fk_ranges allow, deny;
};

/*
 * An edge that this front dials: one connection to it is kept ready, and the next one is made when
 * the edge has made a channel of that.
 */
struct fk_front_dial {
    struct fk_front *front;               /* NULL: it does not dial (any more) */
    const struct fk_keyd_dial_conf *conf; /* of the same set */
    unsigned number;
    bool asked;                  /* the master is connecting */
    unsigned failures;           /* in a row */
    unsigned used;               /* since front->dials_since_us */
    struct fk_timer timer;       /* until the next try, or until the answer is taken for lost */
    struct fk_front_conn *ready; /* NULL: none */
};

/* A connection from its acceptance on. */
struct fk_front_conn {
    struct fk_list link;
    struct fk_door_place place; /* until the peer is known */
    struct fk_front *front;
    struct fk_channel_io *io;
    struct fk_front_dial *dial; /* it is the one that is kept ready, NULL: no (more) */
    bool dialled;               /* `listen` is in a dial block */
    uint64_t id;
    uint32_t generation; /* of the set that its TLS was made from */
    struct fk_addr peer;
    const struct fk_keyd_listen_conf *listen; /* where it came in; of front->set */
    const struct fk_policy_edge *edge;        /* NULL until the handshake is done; of front->set */
    char identity[FK_IDENTITY_SIZE];
    struct fk_quota_slot *slot;       /* where this channel is counted, NULL: nowhere yet */
    struct fk_front_account *account; /* of the edge, NULL until it is known */
    enum fk_key_dialect dialect;
    uint8_t exporter[FK_KEYPROOF_EXPORTER]; /* if the edge signs its requests */
    uint64_t counter;                       /* of its last one */
    bool stalled;                           /* frames may wait in the queue, reading is paused */
    bool doomed;                            /* to be closed when the stack has unwound */
    bool partial;                           /* the beginning of a frame waits for its rest */
    struct fk_defer more;                   /* goes on with frames that were left for fairness */
    struct fk_list requests;
    struct fk_buf held; /* frames of operations that wait for an audit process */
    size_t n_held;
    size_t inflight;       /* requests and held ones */
    uint64_t judge_us;     /* when its certificate is to be judged again */
    uint64_t since_us;     /* of the connection, then of the last whole frame */
    uint64_t partial_us;   /* since when the partial frame is there */
    uint64_t taken;        /* bytes of answers queued in all */
    uint64_t written_mark; /* bytes written at the time below */
    uint64_t written_us;
    struct fk_log_limit refusals; /* bounds the audit lines of refused requests */
};

/* One key operation from its frame to its answer. Reused; never freed while the front lives. */
struct fk_front_request {
    struct fk_list link;
    struct fk_front *front;
    struct fk_front_conn *conn;       /* NULL: the channel is gone, only the audit line is due */
    struct fk_front_account *account; /* where it is counted while it is with the signers */
    struct fk_signer_call *call;
    struct fk_front_asking *asking; /* while another key server's share is waited for; else NULL */
    uint64_t started_us;
    uint32_t id;
    uint8_t opcode;
    uint8_t sni_len, client_ip_len, hash_len;
    bool exposes; /* HS_OPEN: the edge may be told a master secret */
    char edge[64];
    char key[64];
    uint8_t client_ip[16];
    uint8_t hash[64];
    char sni[FK_HOST_MAX];
};

/* --- frontconn.c --- */

/* Take an accepted socket. Closes it when it is turned away. */
void fk_front_conn_accept(const struct fk_front_listener *listener, int fd,
                          const struct fk_addr *peer);
/* Close at once; its requests under way become orphans. */
void fk_front_conn_close(struct fk_front_conn *conn);
/* Whether time has run out; logs why. */
bool fk_front_conn_expired(struct fk_front_conn *conn, uint64_t now);
/* Handle frames that wait, as far as limits allow. May close the connection. */
void fk_front_conn_resume(struct fk_front_conn *conn);
/* Queue a frame; a queue that is full dooms the connection. */
void fk_front_conn_send(struct fk_front_conn *conn, const struct fk_keymsg *msg);
void fk_front_conn_send_error(struct fk_front_conn *conn, uint32_t id, int err);
/* Close it if it is doomed, or idle while the front drains. */
void fk_front_conn_settle(struct fk_front_conn *conn);

/* A dialled connection. FK_ERR_LIMIT, or as fk_channel_io_new(); fd is taken in any case. */
int fk_front_conn_dialled(struct fk_front_dial *dial, int fd, const struct fk_addr *peer);

/* --- frontdial.c --- */

/* For a set, to be freed by free(). FK_ERR_NOMEM. */
int fk_front_dials_new(const struct fk_keyd_conf *conf, struct fk_front_dial **ret, size_t *ret_n);
/* Begin with the set's dial blocks, and end with them, ready connections included. */
void fk_front_dials_start(struct fk_front *front);
void fk_front_dials_stop(struct fk_front *front);
/* The edge has made a channel of the connection that was ready; or it is lost. */
void fk_front_dial_used(struct fk_front_conn *conn);
void fk_front_dial_lost(struct fk_front_conn *conn);

/* --- frontdoor.c --- */

/*
 * Why a connection from `addr` cannot be taken; FK_OK: it can, others may have been closed for it.
 * ret_metric counts why.
 */
int fk_front_admit(const struct fk_front_listener *listener, const struct fk_addr *addr,
                   enum fk_keyd_metric *ret_metric);

/* --- frontjudge.c --- */

/* Why the peer's certificate does not hold now, by the present set; NULL: it does. */
const char *fk_front_judge(struct fk_front_conn *conn);
/* After a change of sets: false when the peer may not stay; logs why. */
bool fk_front_conn_recheck(struct fk_front_conn *conn);
/* In the course of time: false when its certificate was due to be judged again and does not hold;
 * logs why. At most *left are judged. */
bool fk_front_conn_holds(struct fk_front_conn *conn, uint64_t now, unsigned *left);

/* --- frontop.c --- */

/* Carry out one message of an authenticated edge, by the table of operations. */
void fk_front_op(struct fk_front_conn *conn, const struct fk_keymsg *msg);
/* A key operation that was held: its form was found good when it came. */
void fk_front_op_held(struct fk_front_conn *conn, const struct fk_keymsg *msg);
/* Count an answer by its result. */
void fk_front_count_result(struct fk_front *front, int err);
/* Free requests kept for reuse. */
void fk_front_requests_fini(struct fk_front *front);

/*
 * For operations that others than signers carry out. A request for a message, about `key` (NULL:
 * none); NULL without memory: the edge has been told.
 */
struct fk_front_request *fk_front_request_new(struct fk_front_conn *conn,
                                              const struct fk_keymsg *msg,
                                              const struct fk_index_key *key);
/* What an operation needs. */
struct fk_front_need {
    uint16_t permission; /* FK_PERM_*: all of these */
    uint16_t any;        /* and one of these; 0: no more */
    bool is_step;        /* of what has been decided on before */
};
/* Whether the edge may do what needs this with the key: taken from its rate and quota, unless it
 * is a step. */
int fk_front_decide(struct fk_front_conn *conn, const struct fk_front_need *need,
                    const struct fk_index_key *key, const char **ret_why);
/* It is under way: fk_front_request_done() follows, a fk_signer_done_cb. */
void fk_front_request_begin(struct fk_front_request *request);
fk_signer_done_cb fk_front_request_done;
/* It is refused: an answer, and lines in the logs. */
void fk_front_request_refuse(struct fk_front_request *request, int err, const char *why);

/* --- frontask.c --- */

/* A request that waits for a share. The channel may go meanwhile, the key may be another's. */
struct fk_front_asking {
    /* Carry it out with the share: fk_front_request_done() follows. `msg` is a copy. */
    int (*go_on)(struct fk_front_request *request, const struct fk_front_asking *asking,
                 const struct fk_keymsg *msg, struct fk_reader share);
    /* of a key operation */
    enum fk_signer_op op;
    bool keeps, is_step;
    uint8_t ski[FK_SKI_SIZE];
    uint8_t handle[FK_HANDLE_SIZE]; /* of what it goes on with */
    /* of a handshake */
    struct fk_hs_head head;
    size_t len;
    uint8_t body[]; /* of the message */
};

/* Whether a key is split, the other share is not here, and somebody may have it. */
bool fk_front_lacks_share(const struct fk_front_conn *conn, const struct fk_index_key *key,
                          const struct fk_keymsg *msg);
/* Ask the other key servers for it, for an operation with `payload`. `about`: all but the copy of
 * the message. */
int fk_front_ask_share(struct fk_front_request *request, const struct fk_front_asking *about,
                       const struct fk_index_key *key, const struct fk_keymsg *msg,
                       struct fk_reader payload);

/*
 * Have a signer carry a key operation out, if need be with a share that another key server holds:
 * fk_front_request_done() follows. `ask` says all but the payload, and is not needed afterwards.
 * FK_ERR_LIMIT, FK_ERR_UNAVAILABLE, FK_ERR_NOMEM: it does not.
 */
int fk_front_ask(struct fk_front_request *request, const struct fk_signer_ask *ask,
                 const struct fk_index_key *key, const struct fk_keymsg *msg);
/* Forget what was kept of the request for that. */
void fk_front_unask(struct fk_front_request *request);

/* --- fronths.c: mode `handshake` --- */

void fk_front_hs_open(struct fk_front_conn *conn, const struct fk_keymsg *msg);
void fk_front_hs_data(struct fk_front_conn *conn, const struct fk_keymsg *msg);

/* --- fronttoken.c: keys in tokens --- */

/* Who is asked about a key: the signers, or its token's process. NULL: there is none. */
struct fk_signer_pool *fk_front_pool_of(struct fk_front *front, const struct fk_index_key *key);
/* After a change of sets: tokens that the set does not have go, when their last answer has come;
 * the others get the set's bounds. */
void fk_front_tokens_use(struct fk_front *front);
void fk_front_tokens_sweep(struct fk_front *front);
void fk_front_tokens_fini(struct fk_front *front);

/* --- fronthold.c --- */

void fk_front_hold_init(struct fk_front *front);
/* Keep an operation for later when there is no audit process now but soon. False: decide now. */
bool fk_front_hold(struct fk_front_conn *conn, const struct fk_keymsg *msg);
/* Decide on what is held, if it need not wait any more. May doom the connection. */
void fk_front_release(struct fk_front_conn *conn);
/* Forget what is held. */
void fk_front_unhold(struct fk_front_conn *conn);

/* --- frontinfo.c --- */

/* Answer INFO from key position `cursor` on. */
void fk_front_info(struct fk_front_conn *conn, uint32_t id, uint32_t cursor);

static inline void fk_front_count(struct fk_front *front, enum fk_keyd_metric id)
{
    fk_metric_add(front->options.metrics, (unsigned)id, 1);
}

#endif
