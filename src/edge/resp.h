/*
 * Redis's protocol (RESP 2) as far as a store of sessions needs it: commands as bytes, replies from
 * bytes, by hiredis. Sans-I/O: hiredis's own connections look names up in the foreground and have
 * buffers without bounds.
 *
 * A reply is a status, an error, a number, nothing, or one string of FK_SESENTRY_MAX bytes at most:
 * what else comes was not asked for, and is refused before there is memory for it.
 */
#ifndef FK_EDGE_RESP_H
#define FK_EDGE_RESP_H

#include "base/buf.h"
#include "tls/sesentry.h"

#include <stddef.h>
#include <stdint.h>

enum fk_resp_kind { FK_RESP_STATUS, FK_RESP_ERROR, FK_RESP_NUMBER, FK_RESP_STRING, FK_RESP_NIL };

struct fk_resp_reply {
    enum fk_resp_kind kind;
    size_t len; /* of STATUS, ERROR (cut when longer) and STRING */
    uint8_t data[FK_SESENTRY_MAX];
};

struct fk_resp; /* the replies of one connection */

/* FK_ERR_NOMEM. */
int fk_resp_new(struct fk_resp **ret);
void fk_resp_free(struct fk_resp *resp);

/* Bytes that came. FK_ERR_FORMAT (an earlier reply was malformed), FK_ERR_NOMEM. */
int fk_resp_feed(struct fk_resp *resp, const void *data, size_t len);

/*
 * The next whole reply, borrowed until the next call. FK_ERR_AGAIN: more bytes are needed;
 * FK_ERR_FORMAT: malformed, or a kind or a size that no command of ours has for an answer. After
 * that it gives nothing more.
 */
int fk_resp_next(struct fk_resp *resp, const struct fk_resp_reply **ret);

/* One argument of a command. */
struct fk_resp_arg {
    const void *data;
    size_t len;
};

#define FK_RESP_ARGS_MAX 8

/* Append a command of FK_RESP_ARGS_MAX arguments at most. FK_ERR_LIMIT, FK_ERR_NOMEM. */
int fk_resp_command(struct fk_buf *out, const struct fk_resp_arg *args, size_t count);

#endif
