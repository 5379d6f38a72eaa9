/* One user of a token's process: see link.h. */
#include "token/link.h"

#include "base/err.h"
#include "base/secret.h"
#include "loop/sock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define HEAD       sizeof(struct fk_signer_request)
#define RESULT_MAX (sizeof(struct fk_signer_result) + FK_SIGNER_RESULT_MAX)
/* Results of all that may be under way, and of what is refused until no more is read. */
#define OUT_MAX                                                                              \
    ((size_t)(FK_TOKEN_QUEUE_MAX + FK_TOKEN_SESSIONS_MAX) * RESULT_MAX + FK_SIGNER_OUT_MAX + \
     FK_SIGNER_IN_MAX)

_Static_assert(FK_SIGNER_IN_MAX >= HEAD + FK_SIGNER_PAYLOAD_MAX, "a request must fit");

/* --- writing --- */

static void want(struct fk_token_link *link)
{
    size_t waiting = fk_buf_len(&link->out);

    fk_io_want(&link->io,
               (waiting > 0 ? FK_IO_WRITE : 0) | (waiting < FK_SIGNER_OUT_MAX ? FK_IO_READ : 0));
}

static int flush(struct fk_token_link *link)
{
    ssize_t n = 1;

    while (n > 0 && fk_buf_len(&link->out) > 0) {
        n = send(link->fd, fk_buf_data(&link->out), fk_buf_len(&link->out),
                 MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0)
            fk_buf_consume(&link->out, (size_t)n);
    }
    if (n < 0 && errno != EAGAIN && errno != EINTR && errno != ENOBUFS)
        return FK_ERR_CLOSED;
    want(link);
    return FK_OK;
}

static int put_result(struct fk_token_link *link, const struct fk_signer_result *result,
                      const uint8_t *data)
{
    uint8_t *at;
    int err = fk_buf_reserve(&link->out, sizeof *result + result->len, &at);

    if (err != FK_OK)
        return err;
    memcpy(at, result, sizeof *result);
    if (result->len > 0)
        memcpy(at + sizeof *result, data, result->len);
    fk_buf_commit(&link->out, sizeof *result + result->len);
    return FK_OK;
}

void fk_token_link_answer(struct fk_token_link *link, const struct fk_signer_result *result,
                          const uint8_t *data)
{
    int err;

    if ((err = put_result(link, result, data)) != FK_OK || (err = flush(link)) != FK_OK)
        link->owner->ended(link->owner, link, err);
}

/* --- reading --- */

static int fill(struct fk_token_link *link)
{
    size_t left = link->in_tail - link->in_head;
    ssize_t n;

    if (link->in_head > 0) {
        memmove(link->in, link->in + link->in_head, left);
        link->in_head = 0;
        link->in_tail = left;
    }
    n = recv(link->fd, link->in + left, sizeof link->in - left, MSG_DONTWAIT);
    if (n == 0)
        return FK_ERR_CLOSED;
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? FK_OK : FK_ERR_CLOSED;
    link->in_tail += (size_t)n;
    return FK_OK;
}

/* The first request's header. FK_ERR_AGAIN: it is not there whole; FK_ERR_FORMAT. */
static int peek(const struct fk_token_link *link, struct fk_signer_request *ret)
{
    size_t left = link->in_tail - link->in_head;

    if (left < HEAD)
        return FK_ERR_AGAIN;
    memcpy(ret, link->in + link->in_head, HEAD);
    if (ret->len > FK_SIGNER_PAYLOAD_MAX)
        return FK_ERR_FORMAT;
    return left - HEAD < ret->len ? FK_ERR_AGAIN : FK_OK;
}

static int submit(struct fk_token_link *link, const struct fk_signer_request *request,
                  const uint8_t *payload)
{
    struct fk_token_job *job = malloc(sizeof *job);
    int err;

    if (job == NULL)
        return FK_ERR_NOMEM;
    job->owner = link->id;
    job->kind = link->kind;
    job->request = *request;
    memcpy(job->payload, payload, request->len);
    if ((err = fk_crew_submit(link->crew, job)) != FK_OK) {
        fk_wipe(job->payload, request->len);
        free(job);
    }
    return err;
}

/* What cannot be taken is answered at once. */
static int take_requests(struct fk_token_link *link)
{
    struct fk_signer_request request;
    int err;

    while ((err = peek(link, &request)) == FK_OK) {
        uint8_t *payload = link->in + link->in_head + HEAD;

        err = submit(link, &request, payload);
        fk_wipe(payload, request.len);
        link->in_head += HEAD + request.len;
        if (err != FK_OK) {
            struct fk_signer_result result = {.id = request.id, .err = err};

            link->owner->refused(link->owner);
            if ((err = put_result(link, &result, NULL)) != FK_OK)
                return err;
        }
    }
    return err == FK_ERR_AGAIN ? FK_OK : err;
}

static void on_io(struct fk_io *io, unsigned events)
{
    struct fk_token_link *link = fk_container(io, struct fk_token_link, io);
    int err = FK_OK;

    if ((events & FK_IO_READ) != 0 && (err = fill(link)) == FK_OK)
        err = take_requests(link);
    if (err == FK_OK)
        err = flush(link);
    if (err != FK_OK)
        link->owner->ended(link->owner, link, err);
}

int fk_token_link_new(struct fk_loop *loop, int fd, struct fk_crew *crew,
                      struct fk_token_link_owner *owner, struct fk_token_link **ret)
{
    struct fk_token_link *link = calloc(1, sizeof *link);

    if (link == NULL) {
        fk_close(&fd);
        return FK_ERR_NOMEM;
    }
    fk_list_init(&link->link);
    link->owner = owner;
    link->crew = crew;
    link->fd = fd;
    fk_buf_init_secret(&link->out, OUT_MAX);
    fk_io_init(&link->io, loop, fd, on_io);
    fk_io_want(&link->io, FK_IO_READ);
    *ret = link;
    return FK_OK;
}

void fk_token_link_free(struct fk_token_link *link)
{
    fk_io_want(&link->io, 0);
    fk_close(&link->fd);
    fk_list_del(&link->link);
    fk_buf_fini(&link->out);
    fk_wipe(link->in, sizeof link->in);
    free(link);
}
