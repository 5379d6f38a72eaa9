/*
 * Ranges of bytes (RFC 9110 section 14): what of a whole representation a request wants.
 */
#ifndef FK_HTTP_RANGE_H
#define FK_HTTP_RANGE_H

#include "base/reader.h"

#include <stdint.h>

enum fk_http_range_kind {
    FK_RANGE_WHOLE,   /* not ranges of bytes, malformed, or several: the field is passed over, as
                         section 14.2 lets any server do */
    FK_RANGE_PART,    /* `first` to `last`, both of it */
    FK_RANGE_OUTSIDE, /* nothing of it is there: 416 */
};

struct fk_http_range {
    enum fk_http_range_kind kind;
    uint64_t first, last; /* of FK_RANGE_PART */
};

/* What a value of Range means for a representation of `length` bytes. */
struct fk_http_range fk_http_range_parse(struct fk_reader value, uint64_t length);

/* A value of Content-Range: of a part, or of FK_RANGE_OUTSIDE. */
#define FK_HTTP_RANGE_TEXT_SIZE 72
void fk_http_range_format(const struct fk_http_range *range, uint64_t length,
                          char dst[FK_HTTP_RANGE_TEXT_SIZE]);

#endif
