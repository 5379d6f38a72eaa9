/* Requests to origins: see fetch.h. */
#include "http/fetch.h"

#include "base/err.h"
#include "base/limits.h"
#include "http/h1write.h"

#include <assert.h>

size_t fk_exchange_piece(const struct fk_exchange_conf *conf)
{
    size_t least = FK_HTTP_TRAILERS_MAX + FK_HTTP_CHUNK_LINE_MAX;

    return conf->buffer > least ? conf->buffer : least;
}

size_t fk_exchange_head(const struct fk_exchange_conf *conf)
{
    const struct fk_http_identity *identity = conf->client.identity;

    return 3 * conf->limits->head + 2 * FK_HTTP_FORWARD_BYTES +
           (identity == NULL ? 0 : 2 * identity->bytes);
}

size_t fk_exchange_in_max(const struct fk_exchange_conf *conf)
{
    size_t in = conf->limits->head + 2, piece = fk_exchange_piece(conf);

    return (in > piece ? in : piece) + conf->read_most;
}

size_t fk_exchange_out_max(const struct fk_exchange_conf *conf)
{
    return conf->buffer + fk_exchange_head(conf) + fk_exchange_piece(conf) + FK_H1_CHUNK_OVERHEAD;
}

void fk_fetch_init(struct fk_fetch *fetch, const struct fk_exchange_conf *conf)
{
    *fetch = (struct fk_fetch){.conf = conf};
    fk_h1resp_init(&fetch->resp, conf->limits);
    fk_buf_init_secret(&fetch->in, fk_exchange_in_max(conf));
    fk_buf_init_secret(&fetch->out, fk_exchange_out_max(conf));
}

void fk_fetch_fini(struct fk_fetch *fetch)
{
    fk_fetch_abandon(fetch);
    fk_h1resp_fini(&fetch->resp);
    fk_buf_fini(&fetch->in);
    fk_buf_fini(&fetch->out);
}

/* --- the cache in between --- */

static enum fk_cachevisit_state state_of(const struct fk_fetch *fetch)
{
    return fetch->visit == NULL ? FK_VISIT_PASS : fk_cachevisit_state(fetch->visit);
}

bool fk_fetch_at_cache(const struct fk_fetch *fetch)
{
    return state_of(fetch) == FK_VISIT_WAIT || state_of(fetch) == FK_VISIT_SERVE;
}

void fk_fetch_abandon(struct fk_fetch *fetch)
{
    fk_cachevisit_free(fetch->visit);
    fetch->visit = NULL;
}

static int begin_visit(struct fk_fetch *fetch, struct fk_http_request *request, bool renewal)
{
    const struct fk_exchange_conf *conf = fetch->conf;
    const struct fk_http_identity *identity = conf->client.identity;
    const struct fk_cachevisit_conf visit = {
        .view = conf->cache,
        /* shown to us, or to a proxy that tells us of it */
        .certificate = identity != NULL && (identity->proven || identity->kept != NULL),
        .renewal = renewal,
        .wake = conf->wake,
        .wake_arg = conf->wake_arg,
    };

    fk_fetch_abandon(fetch);
    fetch->request = request;
    fetch->resp.response.keep_alive = true; /* of a connection that no answer has come by */
    return conf->cache == NULL ? FK_OK : fk_cachevisit_new(&visit, request, &fetch->visit);
}

/* In FK_VISIT_WAIT: look whether there are news. */
static int poll_visit(struct fk_fetch *fetch)
{
    int err = fk_cachevisit_poll(fetch->visit);

    return err == FK_OK && !fk_fetch_at_cache(fetch) ? fk_fetch_again(fetch, fetch->request) : err;
}

/* The cache's own event. */
static int next_of_cache(struct fk_fetch *fetch, size_t most, struct fk_http_event *ret)
{
    int err = fk_cachevisit_serve(fetch->visit, &fetch->resp.response, most, ret);

    if (err == FK_OK && ret->kind == FK_HTTP_END)
        fk_fetch_abandon(fetch);
    return err;
}

/* The head of an answer that is not passed on is done with, and what follows it: a 304 has no more,
 * and the connection of another serves nobody else. */
static int replace_answer(struct fk_fetch *fetch, size_t *ret_used, size_t most,
                          struct fk_http_event *ret)
{
    bool bodyless = fetch->resp.response.framing == FK_HTTP_NO_BODY;
    struct fk_http_event end;
    size_t used;

    fk_buf_consume(&fetch->in, *ret_used);
    *ret_used = 0;
    if (!bodyless || fk_h1resp_next(&fetch->resp, fk_buf_data(&fetch->in), fk_buf_len(&fetch->in),
                                    &used, &end) != FK_OK)
        fetch->spent = true;
    return next_of_cache(fetch, most, ret);
}

/* The cache sees what the origin says, before anybody else. */
static int show_cache(struct fk_fetch *fetch, size_t *ret_used, size_t most,
                      struct fk_http_event *ret)
{
    int err;

    switch (ret->kind) {
    case FK_HTTP_HEAD:
        if (fetch->resp.response.status < 200)
            return FK_OK;
        if ((err = fk_cachevisit_answered(fetch->visit, &fetch->resp.response)) != FK_OK)
            return err;
        return state_of(fetch) == FK_VISIT_SERVE ? replace_answer(fetch, ret_used, most, ret)
                                                 : FK_OK;
    case FK_HTTP_BODY:
        fk_cachevisit_body(fetch->visit, ret->body);
        break;
    case FK_HTTP_TRAILERS:
        fk_cachevisit_trailers(fetch->visit);
        break;
    case FK_HTTP_END:
        fk_cachevisit_whole(fetch->visit);
        fk_fetch_abandon(fetch);
        break;
    }
    return FK_OK;
}

bool fk_fetch_speaks(const struct fk_fetch *fetch)
{
    return fk_fetch_at_cache(fetch) || (fetch->attached && !fetch->spent);
}

bool fk_fetch_needs_origin(const struct fk_fetch *fetch)
{
    return !fetch->attached && !fk_fetch_at_cache(fetch);
}

bool fk_fetch_rescued(struct fk_fetch *fetch)
{
    if (fetch->visit == NULL)
        return false;
    if (fk_fetch_at_cache(fetch) || fk_cachevisit_failed(fetch->visit))
        return true;
    fk_fetch_abandon(fetch);
    return false;
}

/* --- requests --- */

int fk_fetch_begin(struct fk_fetch *fetch, struct fk_http_request *request,
                   enum fk_http_fault *ret_fault)
{
    const struct fk_exchange_conf *conf = fetch->conf;
    int err = fk_http_forward_request(request, conf->forward, &conf->client, ret_fault);

    if (err == FK_OK)
        err = begin_visit(fetch, request, false);
    return err == FK_OK && !fk_fetch_at_cache(fetch) ? fk_fetch_again(fetch, request) : err;
}

int fk_fetch_renew(struct fk_fetch *fetch, struct fk_http_request *request)
{
    int err = begin_visit(fetch, request, true);

    if (err == FK_OK && state_of(fetch) != FK_VISIT_ASK)
        err = FK_ERR_CANCELLED;
    return err == FK_OK ? fk_fetch_again(fetch, request) : err;
}

int fk_fetch_again(struct fk_fetch *fetch, const struct fk_http_request *request)
{
    fk_h1resp_expect(&fetch->resp, fk_http_request_is(request, "HEAD"), request->upgrade);
    return fk_h1_write_request(request, request->upgrade ? FK_H1_UPGRADE : FK_H1_KEEP, &fetch->out);
}

/* A body that lasts to the end of the connection, and that end not in order: some of it may be
 * missing (RFC 9112 section 9.8). */
static bool is_cut(const struct fk_fetch *fetch)
{
    return fetch->broken && fetch->resp.h1.state == FK_H1_CLOSE;
}

static int next_of_origin(struct fk_fetch *fetch, size_t most, size_t *ret_used,
                          struct fk_http_event *ret)
{
    size_t len = fk_buf_len(&fetch->in);
    int err;

    len = len < most ? len : most;
    err = fk_h1resp_next(&fetch->resp, fk_buf_data(&fetch->in), len, ret_used, ret);
    if (err == FK_ERR_AGAIN) {
        fk_buf_consume(&fetch->in, *ret_used);
        *ret_used = 0;
        if (fetch->eof)
            err = fk_h1resp_eof(&fetch->resp, fk_buf_len(&fetch->in) > 0 || is_cut(fetch), ret);
    }
    if (err == FK_ERR_FORMAT)
        fetch->gone_wrong = fetch->resp.h1.fault;
    return err;
}

int fk_fetch_next(struct fk_fetch *fetch, size_t most, size_t *ret_used, struct fk_http_event *ret)
{
    int err;

    *ret_used = 0;
    if (state_of(fetch) == FK_VISIT_WAIT && (err = poll_visit(fetch)) != FK_OK)
        return err;
    if (state_of(fetch) == FK_VISIT_SERVE)
        return next_of_cache(fetch, most, ret);
    if (!fk_fetch_speaks(fetch) || state_of(fetch) == FK_VISIT_WAIT)
        return FK_ERR_AGAIN;
    err = next_of_origin(fetch, most, ret_used, ret);
    return err == FK_OK && fetch->visit != NULL ? show_cache(fetch, ret_used, most, ret) : err;
}

bool fk_fetch_may_repeat(const struct fk_fetch *fetch, const struct fk_http_request *request)
{
    static const char *const methods[] = {"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PROPFIND"};

    if (!fetch->reused || request->framing != FK_HTTP_NO_BODY)
        return false;
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        if (fk_http_request_is(request, methods[i]))
            return true;
    return false;
}

bool fk_fetch_reads(const struct fk_fetch *fetch)
{
    size_t room = fk_buf_room(&fetch->in);

    return fetch->attached && !fetch->spent && !fetch->eof && room > 0 &&
           room >= fetch->conf->read_most;
}

bool fk_fetch_reusable(const struct fk_fetch *fetch)
{
    return fetch->attached && !fetch->spent && !fetch->eof && fk_buf_len(&fetch->in) == 0 &&
           fk_buf_len(&fetch->out) == 0;
}

void fk_fetch_attached(struct fk_fetch *fetch, bool reused)
{
    assert(!fetch->attached);
    fetch->attached = true;
    fetch->reused = reused;
    fetch->spent = fetch->eof = fetch->broken = false;
}

void fk_fetch_detached(struct fk_fetch *fetch, bool unsent)
{
    fetch->attached = fetch->spent = fetch->retry = false;
    fk_buf_consume(&fetch->in, fk_buf_len(&fetch->in));
    if (unsent)
        fk_buf_consume(&fetch->out, fk_buf_len(&fetch->out));
}
