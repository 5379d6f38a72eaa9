/*
 * A small server of requests and answers: a listener and its connections, one request at a time on
 * each, bounded buffers, a time limit in each state. What is spoken is a protocol's business. Used
 * by the admin process and by the demonstration's origin.
 */
#ifndef FK_ADMIN_SERVE_H
#define FK_ADMIN_SERVE_H

#include "base/buf.h"
#include "base/list.h"
#include "base/log.h"
#include "loop/addr.h"
#include "loop/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct fk_serve_conn;

/* What is spoken on a listener's connections. */
struct fk_serve_protocol {
    size_t size;       /* of the connection's struct, which begins with a struct fk_serve_conn */
    size_t in_max;     /* bytes of a request that may wait */
    size_t out_max;    /* bytes of an answer */
    unsigned max;      /* connections at once */
    bool same_owner;   /* UNIX socket: peers of the server's owner and of root only */
    uint64_t patience; /* microseconds for a request to come, or an answer to go */
    uint64_t first;    /* for a new connection's first byte; 0: `patience` */
    bool evict; /* full: a new connection takes the place of the one that is idle for longest */
    uint64_t asking; /* for an answer to be found elsewhere */
    /* Both may be NULL. */
    void (*opened)(struct fk_serve_conn *conn);
    void (*closing)(struct fk_serve_conn *conn);
    /*
     * Bytes wait in `in`: begin at most one request, answer it by fk_serve_conn_answer() or say
     * fk_serve_conn_asking(). Called again when more bytes came or the answer was sent.
     */
    void (*received)(struct fk_serve_conn *conn);
    /* `asking` has passed: answer at last. NULL: the connection is closed. */
    void (*late)(struct fk_serve_conn *conn);
};

struct fk_serve {
    struct fk_loop *loop;
    const struct fk_serve_protocol *protocol;
    void *ctx;   /* the owner's */
    uid_t owner; /* for same_owner */
    bool started;
    void (*drained)(struct fk_serve *server); /* NULL: it is not drained */
    struct fk_io listener;                    /* fd -1: none */
    struct fk_timer retry;                    /* of a failed accept */
    struct fk_list conns;
    unsigned count;
    struct fk_log_limit limit;
};

enum fk_serve_state {
    FK_SERVE_READING, /* waiting for a whole request */
    FK_SERVE_ASKING,  /* the answer is being found */
    FK_SERVE_WRITING, /* sending the answer */
    FK_SERVE_CLOSING, /* sending the last answer */
};

struct fk_serve_conn {
    struct fk_list link;
    struct fk_serve *server;
    enum fk_serve_state state;
    struct fk_io io;
    struct fk_timer timer;
    uint64_t idle_us; /* since when it is in its state */
    bool served;      /* it has had an answer */
    struct fk_buf in;
    struct fk_buf out;
    struct fk_addr peer;
};

void fk_serve_init(struct fk_serve *server, struct fk_loop *loop,
                   const struct fk_serve_protocol *protocol, void *ctx);
/* Take a listening socket, in place of the one before. */
void fk_serve_listen(struct fk_serve *server, int fd);
/* Accept from now on. */
void fk_serve_start(struct fk_serve *server);
/*
 * Take no connections any more. Those that are there get the answer that they have asked for or
 * (the first one) are about to, and are closed; `drained`, which may be now, tells that none is
 * left.
 */
void fk_serve_drain(struct fk_serve *server, void (*drained)(struct fk_serve *server));
/* Close the listener and all connections. */
void fk_serve_fini(struct fk_serve *server);

/* The request now waits for its answer. */
void fk_serve_conn_asking(struct fk_serve_conn *conn);
/* `out` holds the whole answer: send it, then go on reading, or with `last` close. */
void fk_serve_conn_answer(struct fk_serve_conn *conn, bool last);

#endif
