/*
 * A front: terminates the channels of edges, decides what they may do, has it done by signers.
 * Holds the channel's certificate and key, no key of a site.
 *
 * This is the part without a process around it: front_main.c feeds it with what the master sends,
 * tests feed it directly. Everything happens in one loop; nothing here blocks.
 */
#ifndef FK_KEYD_FRONT_H
#define FK_KEYD_FRONT_H

#include "keyd/audit_sink.h"
#include "keyd/frontset.h"
#include "loop/loop.h"
#include "loop/metrics.h"

#include <stdbool.h>
#include <stdint.h>

/* The child "keyd-front"; its exit status. See keyd.h for what its master sends. */
int fk_front_main(unsigned index);

struct fk_front;

struct fk_front_options {
    unsigned index;             /* of this front: its column in the shared counters */
    struct fk_quota *quota;     /* borrowed */
    struct fk_metrics *metrics; /* borrowed, may be NULL */
    struct fk_audit_sink *sink; /* borrowed, NULL: no audit log */
    /* After fk_front_drain(): no channel is left. Not called from within it. */
    void (*drained)(void *arg);
    /* Ask for a connection to the edge of dial block `number`: fk_front_dialled() answers. May be
     * NULL: none is asked for. Not called from within that. */
    void (*dial)(void *arg, unsigned number, uint32_t generation);
    void *arg;
};

/* A front that serves `set` (taken) from now on. FK_ERR_NOMEM. */
int fk_front_new(struct fk_loop *loop, const struct fk_front_options *options,
                 struct fk_front_set *set, struct fk_front **ret);
/* Close everything at once. NULL is fine. */
void fk_front_free(struct fk_front *front);

/*
 * Serve another set (taken). Channels stay if the new set would admit them: listener (by address
 * and device), its dialect and ranges, edge and its ranges, certificate (which is judged again in
 * the course of time, too). Listeners of the old set are closed: those of the new follow.
 */
void fk_front_use(struct fk_front *front, struct fk_front_set *set);

/* Accept on `fd` (taken) by the listen block number `block`. FK_ERR_NOT_FOUND: there is none (fd
 * closed), FK_ERR_NOMEM. */
int fk_front_listen(struct fk_front *front, int fd, unsigned block);

/*
 * The answer to `dial`: a connection to the edge (taken), or -1: there is none. One that was asked
 * for by another set is closed.
 */
void fk_front_dialled(struct fk_front *front, unsigned number, uint32_t generation, int fd);

/* A signer's socket (taken) of the set that is served. Errors as fk_signer_pool_add(). */
int fk_front_add_signer(struct fk_front *front, int fd, unsigned index);

/* Handshaker `index`: its socket (taken). Errors as fk_hs_pool_add(). */
int fk_front_add_handshaker(struct fk_front *front, int fd, unsigned index);

/* The socket (taken) of token `number`'s process. FK_ERR_NOMEM, or as fk_signer_pool_add(). */
int fk_front_add_token(struct fk_front *front, int fd, uint16_t number);

/* Asker `index` (keyd/asker.h): its socket (taken). Errors as fk_hs_pool_add(). */
int fk_front_add_asker(struct fk_front *front, int fd, unsigned index);

/*
 * A (new) audit process: its socket (taken) for the sink of the options, which is not NULL. What
 * was held for want of one goes on.
 */
int fk_front_attach_audit(struct fk_front *front, int fd);

/* Take no more connections and requests, answer what is under way, close what is idle. */
void fk_front_drain(struct fk_front *front);

size_t fk_front_channels(const struct fk_front *front);

#endif
