/* Validators and conditions: see validator.h. */
#include "http/validator.h"

#include "base/err.h"
#include "http/date.h"
#include "http/text.h"

#include <string.h>

/* Take one from the front. FK_ERR_FORMAT. */
static int take_etag(struct fk_reader *text, struct fk_http_etag *ret)
{
    struct fk_reader rest = *text;
    struct fk_http_etag etag = {0};
    uint8_t c;

    if (rest.left >= 2 && memcmp(rest.next, "W/", 2) == 0) { /* case-sensitive */
        (void)fk_reader_skip(&rest, 2);
        etag.weak = true;
    }
    if (fk_reader_u8(&rest, &c) != FK_OK || c != '"' ||
        fk_reader_until(&rest, '"', &etag.opaque) != FK_OK)
        return FK_ERR_FORMAT;
    for (size_t i = 0; i < etag.opaque.left; i++) /* etagc: no space, no control */
        if (etag.opaque.next[i] <= ' ' || etag.opaque.next[i] == 0x7f)
            return FK_ERR_FORMAT;
    *text = rest;
    *ret = etag;
    return FK_OK;
}

int fk_http_etag_parse(struct fk_reader text, struct fk_http_etag *ret)
{
    struct fk_http_etag etag;

    if (take_etag(&text, &etag) != FK_OK || text.left > 0)
        return FK_ERR_FORMAT;
    *ret = etag;
    return FK_OK;
}

int fk_http_etag_of(const struct fk_http_headers *headers, struct fk_http_etag *ret)
{
    struct fk_reader value;

    if (fk_http_headers_count(headers, "ETag") != 1 ||
        fk_http_headers_find(headers, "ETag", &value) != FK_OK ||
        fk_http_etag_parse(value, ret) != FK_OK)
        return FK_ERR_NOT_FOUND;
    return FK_OK;
}

bool fk_http_etag_same(const struct fk_http_etag *a, const struct fk_http_etag *b, bool strong)
{
    if (strong && (a->weak || b->weak))
        return false;
    return a->opaque.left == b->opaque.left &&
           (a->opaque.left == 0 || memcmp(a->opaque.next, b->opaque.next, a->opaque.left) == 0);
}

/* Whether a list of entity tags has this one, weakly compared. What cannot be read ends the list.
 */
static bool lists(struct fk_reader list, const struct fk_http_etag *etag)
{
    struct fk_http_etag one;

    for (;;) {
        list = fk_http_trim(list);
        if (list.left > 0 && list.next[0] == ',') {
            (void)fk_reader_skip(&list, 1);
            continue;
        }
        if (take_etag(&list, &one) != FK_OK)
            return false;
        if (fk_http_etag_same(&one, etag, false))
            return true;
    }
}

static bool none_match_says_304(const struct fk_http_headers *request,
                                const struct fk_http_headers *stored)
{
    size_t i = fk_http_headers_index(request, "If-None-Match", 0);
    bool one = fk_http_headers_count(request, "If-None-Match") == 1;
    struct fk_http_etag etag;

    if (one && fk_http_equal(fk_http_headers_value(request, i), "*"))
        return true; /* there is a representation: it is stored */
    if (fk_http_etag_of(stored, &etag) != FK_OK)
        return false;
    for (; i < request->count; i = fk_http_headers_index(request, "If-None-Match", i + 1))
        if (lists(fk_http_headers_value(request, i), &etag))
            return true;
    return false;
}

/* A date in the only field of this name. */
static bool date_of(const struct fk_http_headers *headers, const char *name, int64_t now,
                    int64_t *ret)
{
    struct fk_reader value;

    return fk_http_headers_count(headers, name) == 1 &&
           fk_http_headers_find(headers, name, &value) == FK_OK &&
           fk_http_date_parse(value, now, ret) == FK_OK;
}

bool fk_http_not_modified(const struct fk_http_headers *request,
                          const struct fk_http_headers *stored, int64_t now)
{
    int64_t since, changed;

    if (fk_http_headers_count(request, "If-None-Match") > 0)
        return none_match_says_304(request, stored);
    if (!date_of(request, "If-Modified-Since", now, &since))
        return false;
    /* Of one without Last-Modified it is known that it was so at its Date. */
    return (date_of(stored, "Last-Modified", now, &changed) ||
            date_of(stored, "Date", now, &changed)) &&
           changed <= since;
}

bool fk_http_if_range(const struct fk_http_headers *request, const struct fk_http_headers *stored,
                      int64_t now)
{
    struct fk_http_etag wanted, etag;
    int64_t since, changed, date;
    struct fk_reader value;

    if (fk_http_headers_find(request, "If-Range", &value) != FK_OK)
        return true;
    if (fk_http_headers_count(request, "If-Range") > 1)
        return false;
    if (fk_http_etag_parse(value, &wanted) == FK_OK)
        return fk_http_etag_of(stored, &etag) == FK_OK && fk_http_etag_same(&wanted, &etag, true);
    /* A date is a strong validator if the answer was made later (section 8.8.2.2). */
    return fk_http_date_parse(value, now, &since) == FK_OK &&
           date_of(stored, "Last-Modified", now, &changed) && date_of(stored, "Date", now, &date) &&
           changed == since && date > changed;
}
