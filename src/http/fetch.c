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
    fk_h1resp_fini(&fetch->resp);
    fk_buf_fini(&fetch->in);
    fk_buf_fini(&fetch->out);
}

int fk_fetch_begin(struct fk_fetch *fetch, struct fk_http_request *request,
                   enum fk_http_fault *ret_fault)
{
    const struct fk_exchange_conf *conf = fetch->conf;
    int err = fk_http_forward_request(request, conf->forward, &conf->client, ret_fault);

    return err == FK_OK ? fk_fetch_again(fetch, request) : err;
}

int fk_fetch_again(struct fk_fetch *fetch, const struct fk_http_request *request)
{
    fk_h1resp_expect(&fetch->resp, fk_http_request_is(request, "HEAD"), request->upgrade);
    return fk_h1_write_request(request, request->upgrade ? FK_H1_UPGRADE : FK_H1_KEEP, &fetch->out);
}

int fk_fetch_next(struct fk_fetch *fetch, size_t most, size_t *ret_used, struct fk_http_event *ret)
{
    size_t len = fk_buf_len(&fetch->in);
    int err;

    len = len < most ? len : most;
    err = fk_h1resp_next(&fetch->resp, fk_buf_data(&fetch->in), len, ret_used, ret);
    if (err == FK_ERR_AGAIN) {
        fk_buf_consume(&fetch->in, *ret_used);
        *ret_used = 0;
        if (fetch->eof)
            err = fk_h1resp_eof(&fetch->resp, fk_buf_len(&fetch->in) > 0, ret);
    }
    if (err == FK_ERR_FORMAT)
        fetch->gone_wrong = fetch->resp.h1.fault;
    return err;
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
    fetch->spent = fetch->eof = false;
}

void fk_fetch_detached(struct fk_fetch *fetch, bool unsent)
{
    fetch->attached = fetch->spent = fetch->retry = false;
    fk_buf_consume(&fetch->in, fk_buf_len(&fetch->in));
    if (unsent)
        fk_buf_consume(&fetch->out, fk_buf_len(&fetch->out));
}
