/*
 * Writing HTTP/1.1 (RFC 9112): heads from messages, chunks. What is written frames itself in one
 * way: Host, Content-Length, Transfer-Encoding and Connection come from the message's facts, never
 * from its fields. Appends to a queue, all or nothing.
 */
#ifndef FK_HTTP_H1WRITE_H
#define FK_HTTP_H1WRITE_H

#include "base/buf.h"
#include "http/message.h"

/* What becomes of the connection after a message: its Connection field. */
enum fk_h1_connection {
    FK_H1_KEEP,
    FK_H1_KEEP_OLD, /* said to a client of HTTP/1.0 in so many words */
    FK_H1_LAST,     /* "close" */
    FK_H1_UPGRADE,  /* "upgrade": the message has the field Upgrade */
};

/*
 * The head of a request for an origin: origin-form (or "*"), HTTP/1.1, then Host, the fields, and
 * framing. The fields must be without those of fk_http_forward_request(); asserted for Host,
 * Connection and framing. An authority is required. FK_ERR_LIMIT, FK_ERR_NOMEM.
 */
int fk_h1_write_request(const struct fk_http_request *request, enum fk_h1_connection connection,
                        struct fk_buf *out);

/*
 * The head of a response for a client of HTTP/1.1, or of 1.0: then FK_HTTP_CHUNKED is not possible
 * (asserted; use FK_HTTP_CLOSE). FK_ERR_LIMIT, FK_ERR_NOMEM.
 */
int fk_h1_write_response(const struct fk_http_response *response, enum fk_http_version client,
                         enum fk_h1_connection connection, struct fk_buf *out);

/* "100 Continue". FK_ERR_LIMIT, FK_ERR_NOMEM. */
int fk_h1_write_continue(struct fk_buf *out);

/* Bytes that a chunk takes beside its data: the queue needs len + FK_H1_CHUNK_OVERHEAD. */
#define FK_H1_CHUNK_OVERHEAD 20

/* One chunk of `len` bytes, one at least. FK_ERR_LIMIT, FK_ERR_NOMEM. */
int fk_h1_write_chunk(const void *data, size_t len, struct fk_buf *out);

/* The last chunk and the trailers (NULL: none). FK_ERR_LIMIT, FK_ERR_NOMEM. */
int fk_h1_write_last_chunk(const struct fk_http_headers *trailers, struct fk_buf *out);

/* RFC 9110's phrase of a status; "" of one that it does not have. */
const char *fk_http_reason(int status);

#endif
