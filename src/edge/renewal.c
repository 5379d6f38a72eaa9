/* Requests for the cache alone: see renewal.h. */
#include "edge/renewal.h"

#include "base/err.h"
#include "base/limits.h"
#include "edge/end.h"
#include "edge/hop.h"
#include "edge/sitecache.h"
#include "http/fetch.h"

#include <stdlib.h>

struct fk_renewals {
    struct fk_loop *loop;
    struct fk_list list; /* struct renewal */
    size_t count;
};

struct renewal {
    struct fk_list link;
    struct fk_renewals *all;
    struct fk_gen *gen;
    struct fk_exchange_conf conf;
    struct fk_http_request request;
    struct fk_fetch fetch;
    struct fk_site *site;
    struct fk_origin_use use;
    struct fk_io io;
    struct fk_end end;
    struct fk_defer start; /* the origin is connected to in a turn of its own */
    struct fk_timer patience;
};

int fk_renewals_new(struct fk_loop *loop, struct fk_renewals **ret)
{
    struct fk_renewals *renewals = calloc(1, sizeof *renewals);

    if (renewals == NULL)
        return FK_ERR_NOMEM;
    renewals->loop = loop;
    fk_list_init(&renewals->list);
    *ret = renewals;
    return FK_OK;
}

static void end_renewal(struct renewal *renewal)
{
    fk_list_del(&renewal->link);
    renewal->all->count--;
    fk_defer_stop(&renewal->start);
    fk_timer_stop(&renewal->patience);
    if (renewal->end.ops != NULL) {
        fk_io_want(&renewal->io, 0);
        fk_end_fini(&renewal->end);
    }
    fk_origin_stop(&renewal->use);
    fk_fetch_fini(&renewal->fetch);
    fk_http_request_fini(&renewal->request);
    fk_gen_unref(renewal->gen);
    free(renewal);
}

void fk_renewals_free(struct fk_renewals *renewals)
{
    struct fk_list *item, *next;

    if (renewals == NULL)
        return;
    fk_list_each_safe (item, next, &renewals->list)
        end_renewal(fk_container(item, struct renewal, link));
    free(renewals);
}

/* --- the exchange --- */

/* What the origin says goes to the cache, which has seen it by then. FK_ERR_AGAIN: there is more to
 * come; anything else: it is over. */
static int take_answer(struct renewal *renewal)
{
    struct fk_fetch *fetch = &renewal->fetch;
    struct fk_http_event event = {.kind = FK_HTTP_HEAD};
    size_t used = 0;
    int err;

    while ((err = fk_fetch_next(fetch, fk_exchange_piece(&renewal->conf), &used, &event)) ==
           FK_OK) {
        fk_buf_consume(&fetch->in, used);
        if (event.kind == FK_HTTP_END)
            return FK_OK;
    }
    return err;
}

static int read_origin(struct renewal *renewal, bool *ret_moved)
{
    struct fk_fetch *fetch = &renewal->fetch;
    uint8_t mem[FK_CACHE_RENEWAL_READ], *data;
    size_t room = fk_buf_room(&fetch->in);
    ssize_t n;

    if (!renewal->end.ready || !fk_fetch_reads(fetch))
        return FK_OK;
    n = renewal->end.ops->read(&renewal->end, mem, room < sizeof mem ? room : sizeof mem, &data);
    if (n == FK_ERR_AGAIN)
        return FK_OK;
    *ret_moved = true;
    if (n <= 0) {
        fetch->eof = true;
        fetch->broken = fetch->broken || n < 0;
        return FK_OK;
    }
    return fk_buf_append(&fetch->in, data, (size_t)n);
}

static void step(struct renewal *renewal)
{
    bool moved = true;
    int err = FK_ERR_AGAIN;

    while (moved && err == FK_ERR_AGAIN) {
        moved = false;
        err = read_origin(renewal, &moved);
        if (err == FK_OK)
            err = take_answer(renewal);
    }
    if (err == FK_ERR_AGAIN) {
        err = fk_end_drain(&renewal->end, &renewal->fetch.out);
        if (err == FK_OK || err == FK_ERR_AGAIN) {
            fk_io_want(&renewal->io, fk_end_wants(&renewal->end, fk_fetch_reads(&renewal->fetch),
                                                  &renewal->fetch.out));
            return;
        }
    }
    end_renewal(renewal);
}

static void on_io(struct fk_io *io, unsigned events)
{
    struct renewal *renewal = fk_container(io, struct renewal, io);

    fk_end_notify(&renewal->end, events);
    step(renewal);
}

static void connected(struct renewal *renewal)
{
    fk_io_init(&renewal->io, renewal->all->loop, renewal->use.fd, on_io);
    fk_end_origin(&renewal->end, &renewal->use);
    fk_fetch_attached(&renewal->fetch, false);
    step(renewal);
}

static void on_origin(struct fk_origin_use *use, int err)
{
    struct renewal *renewal = fk_container(use, struct renewal, use);

    if (err == FK_OK)
        connected(renewal);
    else
        end_renewal(renewal);
}

static void on_start(struct fk_defer *defer)
{
    struct renewal *renewal = fk_container(defer, struct renewal, start);
    int err = fk_origin_start(&renewal->use, renewal->site->origins, on_origin);

    if (err == FK_OK)
        connected(renewal);
    else if (err != FK_ERR_AGAIN)
        end_renewal(renewal);
}

static void on_patience_over(struct fk_timer *timer)
{
    end_renewal(fk_container(timer, struct renewal, patience));
}

/* --- begin --- */

static int copy_part(const struct fk_http_request *from, struct fk_http_part part,
                     struct fk_http_request *to, struct fk_http_part *ret)
{
    return fk_http_headers_keep(&to->headers, fk_http_request_part(from, part), ret);
}

static int copy_request(const struct fk_http_request *from, struct fk_http_request *to)
{
    int err;

    fk_http_headers_widen(&to->headers, from->headers.len, from->headers.count);
    if ((err = fk_http_headers_copy(&to->headers, &from->headers)) != FK_OK ||
        (err = copy_part(from, from->method, to, &to->method)) != FK_OK ||
        (err = copy_part(from, from->scheme, to, &to->scheme)) != FK_OK ||
        (err = copy_part(from, from->authority, to, &to->authority)) != FK_OK)
        return err;
    return copy_part(from, from->path, to, &to->path);
}

/* Nobody waits here: whoever is woken is a client's request. */
static void no_wake(void *arg)
{
    (void)arg;
}

static void describe(struct renewal *renewal)
{
    renewal->conf = (struct fk_exchange_conf){
        .limits = &fk_http_limits_default,
        .forward = fk_siterelays_forward(renewal->gen->relays, renewal->site),
        .buffer = renewal->gen->limits->buffer,
        .read_most = FK_CACHE_RENEWAL_READ,
        .cache = fk_sitecaches_view(renewal->gen->caches, renewal->site),
        .wake = no_wake,
    };
}

void fk_renewals_begin(struct fk_renewals *renewals, struct fk_gen *gen, struct fk_site *site,
                       const struct fk_http_request *request)
{
    struct renewal *renewal;

    if (renewals->count >= FK_CACHE_RENEWALS_MAX || (renewal = calloc(1, sizeof *renewal)) == NULL)
        return;
    renewal->all = renewals;
    renewal->gen = fk_gen_ref(gen);
    renewal->site = site;
    fk_list_append(&renewals->list, &renewal->link);
    renewals->count++;
    describe(renewal);
    fk_origin_init(&renewal->use);
    fk_defer_init(&renewal->start, renewals->loop, on_start);
    fk_timer_init(&renewal->patience, renewals->loop, on_patience_over);
    fk_http_request_init(&renewal->request, &fk_http_limits_default);
    fk_fetch_init(&renewal->fetch, &renewal->conf);
    if (copy_request(request, &renewal->request) != FK_OK ||
        fk_fetch_renew(&renewal->fetch, &renewal->request) != FK_OK) {
        end_renewal(renewal);
        return;
    }
    fk_defer_start(&renewal->start);
    fk_timer_start(&renewal->patience, FK_CACHE_RENEWAL_US);
}
