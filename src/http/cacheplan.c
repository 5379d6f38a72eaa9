/* Answers from what is stored: see cacheplan.h. */
#include "http/cacheplan.h"

#include "base/err.h"
#include "http/text.h"
#include "http/validator.h"

#include <inttypes.h>
#include <stdio.h>

static size_t length_of(const struct fk_cached *stored)
{
    return fk_cachebody_len(stored->body);
}

void fk_cacheplan_make(struct fk_cacheplan *plan, const struct fk_cache_ask *ask,
                       const struct fk_http_request *request, const struct fk_cached *stored,
                       const struct fk_cache_now *now)
{
    const struct fk_http_headers *headers = &request->headers;
    struct fk_reader value;

    *plan = (struct fk_cacheplan){.kind = ask->head ? FK_PLAN_HEAD : FK_PLAN_WHOLE};
    if (stored->status != 200) /* conditions are about what is there */
        return;
    if (ask->conditional && fk_http_not_modified(headers, &stored->headers, now->wall)) {
        plan->kind = FK_PLAN_NOT_MODIFIED;
        return;
    }
    if (!ask->get || fk_http_headers_count(headers, "Range") != 1 ||
        fk_http_headers_find(headers, "Range", &value) != FK_OK ||
        !fk_http_if_range(headers, &stored->headers, now->wall))
        return;
    plan->range = fk_http_range_parse(value, length_of(stored));
    if (plan->range.kind == FK_RANGE_PART)
        plan->kind = FK_PLAN_PART;
    else if (plan->range.kind == FK_RANGE_OUTSIDE)
        plan->kind = FK_PLAN_OUTSIDE;
}

void fk_cacheplan_start(struct fk_cacheplan *plan, const struct fk_cached *stored)
{
    size_t from = 0;

    plan->begun = false;
    plan->left = 0;
    if (plan->kind == FK_PLAN_WHOLE) {
        plan->left = length_of(stored);
    } else if (plan->kind == FK_PLAN_PART) {
        from = (size_t)plan->range.first;
        plan->left = (size_t)(plan->range.last - plan->range.first) + 1;
    }
    plan->cursor = fk_cachebody_seek(stored->body, from);
}

/* What describes a body that is not there (RFC 9110 section 15.4.5). */
static void remove_content(struct fk_http_headers *headers)
{
    static const char *const names[] = {"Content-Type", "Content-Encoding", "Content-Language",
                                        "Content-Range"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        fk_http_headers_remove(headers, fk_http_text(names[i]), false);
}

static int copy_fields(const struct fk_cached *stored, const struct fk_cache_now *now,
                       struct fk_http_headers *headers)
{
    char age[16];
    int err = fk_http_headers_copy(headers, &stored->headers);

    if (err != FK_OK)
        return err;
    snprintf(age, sizeof age, "%" PRIu32, fk_cache_age(&stored->life, now));
    fk_http_headers_remove(headers, fk_http_text("Age"), false);
    return fk_http_headers_add_text(headers, "Age", age);
}

static int add_range(const struct fk_cacheplan *plan, const struct fk_cached *stored,
                     struct fk_http_headers *headers)
{
    char text[FK_HTTP_RANGE_TEXT_SIZE];

    fk_http_range_format(&plan->range, length_of(stored), text);
    return fk_http_headers_add_text(headers, "Content-Range", text);
}

/* The edge's own answers: nothing of what is stored. */
static int own_head(const struct fk_cacheplan *plan, const struct fk_cached *stored,
                    struct fk_http_response *response)
{
    if (plan->kind == FK_PLAN_OUTSIDE) {
        response->status = 416;
        return add_range(plan, stored, &response->headers);
    }
    response->status = 504;
    return fk_http_headers_add_text(&response->headers, "Cache-Control", "no-store");
}

static void frame(const struct fk_cacheplan *plan, const struct fk_cached *stored,
                  struct fk_http_response *response)
{
    bool bodyless = response->status == 204 || response->status == 304;

    response->framing = bodyless || plan->kind == FK_PLAN_HEAD ? FK_HTTP_NO_BODY : FK_HTTP_LENGTH;
    response->has_length = !bodyless;
    if (!bodyless)
        response->length = plan->kind == FK_PLAN_HEAD ? length_of(stored) : plan->left;
}

int fk_cacheplan_head(struct fk_cacheplan *plan, const struct fk_cached *stored,
                      const struct fk_cache_now *now, struct fk_http_response *response)
{
    bool keep_alive = response->keep_alive;
    int err;

    fk_http_response_reset(response);
    response->keep_alive = keep_alive;
    plan->begun = true;
    if (plan->kind == FK_PLAN_OUTSIDE || plan->kind == FK_PLAN_TIMEOUT) {
        err = own_head(plan, stored, response);
        frame(plan, stored, response);
        return err;
    }
    response->status = stored->status;
    response->version = stored->version;
    err = copy_fields(stored, now, &response->headers);
    if (plan->kind == FK_PLAN_NOT_MODIFIED) {
        response->status = 304;
        remove_content(&response->headers);
    } else if (plan->kind == FK_PLAN_PART) {
        response->status = 206;
        err = err == FK_OK ? add_range(plan, stored, &response->headers) : err;
    }
    frame(plan, stored, response);
    return err;
}

void fk_cacheplan_next(struct fk_cacheplan *plan, size_t most, struct fk_http_event *ret)
{
    *ret = (struct fk_http_event){.kind = FK_HTTP_END};
    if (plan->left == 0)
        return;
    ret->kind = FK_HTTP_BODY;
    ret->body = fk_cachecursor_next(&plan->cursor, plan->left < most ? plan->left : most);
    plan->left -= ret->body.left;
}
