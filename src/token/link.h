/*
 * One process that uses a token's process: its socket and bounded buffers. Makes jobs for the crew
 * of what it asks, and answers in whatever order they are done.
 */
#ifndef FK_TOKEN_LINK_H
#define FK_TOKEN_LINK_H

#include "base/buf.h"
#include "base/limits.h"
#include "base/list.h"
#include "loop/loop.h"
#include "loop/proc.h"
#include "token/crew.h"

struct fk_token_link;

/* Told of an operation that was refused without the token, and of the end: `err` is FK_ERR_CLOSED,
 * or FK_ERR_FORMAT when what it sends is not requests. It frees the link then. */
struct fk_token_link_owner {
    void (*refused)(struct fk_token_link_owner *owner);
    void (*ended)(struct fk_token_link_owner *owner, struct fk_token_link *link, int err);
};

struct fk_token_link {
    struct fk_list link; /* the owner's */
    struct fk_token_link_owner *owner;
    struct fk_crew *crew;
    struct fk_io io;
    int fd;
    uint64_t id; /* struct fk_token_job's owner */
    enum fk_proc_peer kind;
    uint32_t index;
    struct fk_buf out;
    size_t in_head, in_tail; /* unread part of `in` */
    uint8_t in[FK_SIGNER_IN_MAX];
};

/* Who uses the crew over `fd` (taken). FK_ERR_NOMEM. */
int fk_token_link_new(struct fk_loop *loop, int fd, struct fk_crew *crew,
                      struct fk_token_link_owner *owner, struct fk_token_link **ret);
void fk_token_link_free(struct fk_token_link *link); /* closes, wipes */

/* Give the result of a job of this link. May end it. */
void fk_token_link_answer(struct fk_token_link *link, const struct fk_signer_result *result,
                          const uint8_t *data);

#endif
