/*
 * Times as HTTP writes them (RFC 9110 section 5.6.7): read in all three forms that ever were,
 * written in the one of today.
 */
#ifndef FK_HTTP_DATE_H
#define FK_HTTP_DATE_H

#include "base/reader.h"

#include <stdint.h>

/* "Sun, 06 Nov 1994 08:49:37 GMT" plus NUL. */
#define FK_HTTP_DATE_SIZE 30

/*
 * Seconds since 1970. `now`, the same, tells the century of a year of two digits: one that would be
 * more than 50 years ahead is past. The day of the week must be one, but is not checked against the
 * date. FK_ERR_FORMAT: no date, or one that does not exist.
 */
int fk_http_date_parse(struct fk_reader text, int64_t now, int64_t *ret);

/* Of the years 0 to 9999; others are cut to these. */
void fk_http_date_format(int64_t seconds, char dst[FK_HTTP_DATE_SIZE]);

#endif
