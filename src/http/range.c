/* Ranges of bytes: see range.h. */
#include "http/range.h"

#include "base/err.h"
#include "http/text.h"

#include <inttypes.h>
#include <stdio.h>

/* A number behind or before the dash; what is larger than any body counts as the largest. */
static int read_number(struct fk_reader text, uint64_t *ret)
{
    int err = fk_http_decimal(text, ret);

    if (err == FK_ERR_RANGE) {
        *ret = INT64_MAX;
        err = FK_OK;
    }
    return err;
}

/* "-500": the last 500 bytes. */
static struct fk_http_range suffix(struct fk_reader text, uint64_t length)
{
    struct fk_http_range range = {0};
    uint64_t n;

    if (read_number(text, &n) != FK_OK)
        return range;
    range.kind = n == 0 || length == 0 ? FK_RANGE_OUTSIDE : FK_RANGE_PART;
    range.first = n < length ? length - n : 0;
    range.last = length - 1;
    return range;
}

struct fk_http_range fk_http_range_parse(struct fk_reader value, uint64_t length)
{
    struct fk_http_range range = {0};
    struct fk_reader unit, first, last = value;

    if (fk_reader_until(&last, '=', &unit) != FK_OK || !fk_http_equal_case(unit, "bytes"))
        return range;
    last = fk_http_trim(last);
    if (fk_reader_until(&last, '-', &first) != FK_OK)
        return range;
    if (first.left == 0)
        return suffix(last, length);
    if (read_number(first, &range.first) != FK_OK)
        return range;
    range.last = INT64_MAX;
    if (last.left > 0 && (read_number(last, &range.last) != FK_OK || range.last < range.first))
        return range; /* a comma, too: several */
    range.kind = range.first < length ? FK_RANGE_PART : FK_RANGE_OUTSIDE;
    if (range.kind == FK_RANGE_PART && range.last >= length)
        range.last = length - 1;
    return range;
}

void fk_http_range_format(const struct fk_http_range *range, uint64_t length,
                          char dst[FK_HTTP_RANGE_TEXT_SIZE])
{
    if (range->kind == FK_RANGE_PART)
        snprintf(dst, FK_HTTP_RANGE_TEXT_SIZE, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64,
                 range->first, range->last, length);
    else
        snprintf(dst, FK_HTTP_RANGE_TEXT_SIZE, "bytes */%" PRIu64, length);
}
