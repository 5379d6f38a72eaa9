/*
 * Where TLS records end in a stream of bytes, seen from outside: for whoever passes them on whole
 * and does not open them. Sans-I/O.
 */
#ifndef FK_WIRE_RECORDS_H
#define FK_WIRE_RECORDS_H

#include "base/reader.h"

#include <stdbool.h>

struct fk_records {
    size_t whole;     /* bytes of the records that are there whole */
    size_t clear;     /* of those before the first ChangeCipherSpec */
    bool flight;      /* among them ChangeCipherSpec, with another record behind it, or an alert */
    bool pending_ccs; /* the last of them is ChangeCipherSpec: there is more to come */
};

/*
 * FK_ERR_NOT_TLS: a record begins with what is no content type of a handshake, or no TLS version;
 * FK_ERR_LIMIT: one is longer than any may be (RFC 5246 section 6.2.3). *ret is of what comes
 * before, then.
 */
int fk_records_scan(struct fk_reader bytes, struct fk_records *ret);

#endif
