/*
 * Who works with a token: a thread a session, which carry out operations (signer/ops.h) from one
 * bounded queue, and a keeper, which opens the token, looks whether it is there, and opens it again
 * when it was lost. The process's loop never waits for any of them.
 *
 * A PIN that the token has refused is not tried again in the life of a crew.
 */
#ifndef FK_TOKEN_CREW_H
#define FK_TOKEN_CREW_H

#include "base/list.h"
#include "loop/proc.h"
#include "signer/ops.h"
#include "signer/request.h"
#include "token/back.h"
#include "token/state.h"

/* One operation, from its request to its result. Its owner wipes it when it is done. */
struct fk_token_job {
    struct fk_list link;
    uint64_t owner;    /* the caller's */
    uint64_t since_us; /* the crew's: when it was submitted */
    enum fk_proc_peer kind;
    struct fk_signer_request request;
    uint8_t payload[FK_SIGNER_PAYLOAD_MAX];
    struct fk_signer_result result; /* all of it but `id` */
    uint8_t ret[FK_SIGNER_RESULT_MAX];
};

struct fk_crew;

struct fk_crew_status {
    enum fk_token_state state;
    uint32_t changes; /* how often it has changed */
    size_t n_found;   /* keys */
    uint64_t hung_us; /* how long the slowest call under way takes already */
    char why[FK_TOKEN_WHY_SIZE];
};

/* Starts the threads, and opens the token. `back` (taken) is of `set` (borrowed). FK_ERR_NOMEM,
 * FK_ERR_SYS, or as fk_ops_new(). */
int fk_crew_new(const struct fk_keyset *set, struct fk_token_back *back, struct fk_crew **ret);
/* Waits for what is under way; what waits is not carried out. */
void fk_crew_free(struct fk_crew *crew);

/* A descriptor (the crew's) that is readable when jobs are done or the state has changed. */
int fk_crew_fd(const struct fk_crew *crew);
/* Have a job done (taken); FK_ERR_TIMEOUT is its result when its turn comes after the settings'
 * deadline. FK_ERR_BUSY: too many wait; it stays the caller's. */
int fk_crew_submit(struct fk_crew *crew, struct fk_token_job *job);
/* All that are done, onto the end of `done`. Clears the descriptor. */
void fk_crew_collect(struct fk_crew *crew, struct fk_list *done);
void fk_crew_status(struct fk_crew *crew, struct fk_crew_status *ret);

#endif
