/*
 * One client connection, from accept to its end: PROXY header, ClientHello, handshake, relay. The
 * order of things is the table of conn_state.h.
 */
#ifndef FK_EDGE_CONN_H
#define FK_EDGE_CONN_H

#include "base/log.h"
#include "edge/admit.h"
#include "edge/gen.h"
#include "edge/relay.h"
#include "loop/metrics.h"

/* Kinds of failure, each with a bound of its own on its log lines: junk, which anybody can send,
 * must not hide that the key server or an origin fails. */
enum fk_conn_class {
    FK_CLASS_HELLO,  /* not TLS, no acceptable ClientHello, no such site */
    FK_CLASS_LIMIT,  /* by address or rate */
    FK_CLASS_TLS,    /* the handshake failed between the client and us */
    FK_CLASS_KEY,    /* no key operation or no certificate from the key's holder */
    FK_CLASS_ORIGIN, /* no origin could be reached */
    FK_CLASS_COUNT,
};

/* What the connections of a worker share. */
struct fk_conn_env {
    struct fk_loop *loop;
    struct fk_metrics *metrics; /* may be NULL */
    struct fk_admit *admit;
    struct fk_scratch scratch, seal; /* `seal`: FK_EDGE_SEALED_MAX bytes */
    struct fk_arena *records;        /* keys of sessions: see fk_record_arena_new() */
    struct fk_list awake;            /* connections with cipher contexts, longest idle first */
    uint64_t n_awake;
    struct fk_timer rest; /* lets those rest that have been idle */
    struct fk_list conns;
    uint64_t next_id;
    bool draining;                                /* see fk_conn_drain_all() */
    const struct fk_gen *served;                  /* see fk_conn_renew_all(); NULL: not yet */
    struct fk_log_limit failures[FK_CLASS_COUNT]; /* bound the log lines that clients can cause */
    /* A connection has ended: for draining, and to accept again after a limit. */
    void (*on_end)(struct fk_conn_env *env);
};

struct fk_conn;

/* Its rest timer, its lists and areas; zero before. FK_ERR_NOMEM, then fk_conn_env_fini() too. */
int fk_conn_env_init(struct fk_conn_env *env, struct fk_loop *loop);
/* No connection is left. */
void fk_conn_env_fini(struct fk_conn_env *env);

/*
 * A connection was accepted on the listener of block `listen`, whose socket is bound to `bound`.
 * Takes `fd`, and a reference of `gen`. Failures are logged and counted here.
 */
void fk_conn_accept(struct fk_conn_env *env, struct fk_gen *gen,
                    const struct fk_edge_listen *listen, const struct fk_addr *bound, int fd,
                    const struct fk_addr *peer);

/* Connections that waited for the site's certificate go on. */
void fk_conn_resume(struct fk_site *site);

/* Connections that know where a request ends are to end there: the others end by themselves. */
void fk_conn_drain_all(struct fk_conn_env *env);

/* `gen` is served from now on: clients of HTTP that came before learn, without losing a request,
 * that they are to come again. */
void fk_conn_renew_all(struct fk_conn_env *env, const struct fk_gen *gen);

/* End every connection now. */
void fk_conn_end_all(struct fk_conn_env *env);

#endif
