/*
 * What requests and responses of HTTP/1 have in common: sections of lines, bodies, chunks. Internal
 * to http; see h1req.h and h1resp.h.
 *
 * Two parsers read every message: ours, strict, from which the message is taken, and llhttp. They
 * must agree about where the head, each chunk and the message end; where they do not, somebody
 * behind us could read it either way, and it is refused.
 */
#ifndef FK_HTTP_H1_H
#define FK_HTTP_H1_H

#include "http/message.h"

#include <llhttp.h>

enum fk_h1_state {
    FK_H1_HEAD,
    FK_H1_LENGTH,     /* in a body of known length */
    FK_H1_CHUNK_LINE, /* before a chunk */
    FK_H1_CHUNK_DATA,
    FK_H1_CHUNK_END, /* before the CRLF that ends it */
    FK_H1_TRAILERS,
    FK_H1_CLOSE,  /* in a body that the end of the connection ends */
    FK_H1_END,    /* about to say so */
    FK_H1_OVER,   /* said; the next message is not begun */
    FK_H1_TUNNEL, /* not HTTP any more */
    FK_H1_FAILED,
    FK_H1_STATES
};

/* What a step found. */
enum fk_h1_outcome {
    FK_H1_MORE, /* more bytes are needed */
    FK_H1_BAD,  /* `fault` says why, or there is no memory */
    FK_H1_GOT_INTERIM,
    FK_H1_GOT_BODYLESS,
    FK_H1_GOT_LENGTH,
    FK_H1_GOT_CHUNKED,
    FK_H1_GOT_CLOSE,
    FK_H1_GOT_TUNNEL,
    FK_H1_PIECE,
    FK_H1_LAST_PIECE,
    FK_H1_CHUNK,
    FK_H1_LAST_CHUNK,
    FK_H1_PASSED,
    FK_H1_GOT_TRAILERS,
    FK_H1_ENDED,
    FK_H1_OUTCOMES
};

struct fk_h1;

/* Read a whole head (with its empty line) into the message; *ret_outcome is one of FK_H1_GOT_*,
 * and h1->left the length of FK_H1_GOT_LENGTH. FK_ERR_NOMEM; FK_ERR_FORMAT with h1->fault. */
typedef int fk_h1_head_fn(struct fk_h1 *h1, struct fk_reader head, enum fk_h1_outcome *ret_outcome);

struct fk_h1 {
    enum fk_h1_state state;
    enum fk_http_fault fault; /* in FK_H1_FAILED */
    int err;                  /* in FK_H1_FAILED: FK_ERR_FORMAT or FK_ERR_NOMEM */
    const struct fk_http_limits *limits;
    fk_h1_head_fn *read_head;
    size_t line;       /* where in the present section its present line begins */
    size_t scanned;    /* so much of the section has no LF behind `line` */
    size_t extensions; /* bytes of chunk extensions so far */
    uint64_t left;     /* of the body or chunk */
    bool blank;        /* the empty line that may precede a request was there */
    struct fk_http_headers trailers;
    llhttp_t second;
    /* What llhttp has said of the piece that it was last given: */
    bool saw_head, saw_chunk, saw_end;
    bool bodyless; /* to tell it: this response has no body */
    size_t saw_body;
};

/* `limits` are borrowed. */
void fk_h1_init(struct fk_h1 *h1, llhttp_type_t type, const struct fk_http_limits *limits,
                fk_h1_head_fn *read_head);
void fk_h1_fini(struct fk_h1 *h1);

/* Expect the head of another message. */
void fk_h1_restart(struct fk_h1 *h1);

/* The same as fk_h1req_next() and fk_h1resp_next(). */
int fk_h1_next(struct fk_h1 *h1, const void *data, size_t len, size_t *ret_used,
               struct fk_http_event *ret);

/* The next state of the machine; FK_H1_STATES: there is none. For tests. */
enum fk_h1_state fk_h1_transition(enum fk_h1_state state, enum fk_h1_outcome outcome);

/* The next line of a checked section, without CRLF. FK_ERR_NOT_FOUND at its end. */
int fk_h1_take_line(struct fk_reader *section, struct fk_reader *ret);

/* The field lines of a section up to its empty line, `max` at most, added to `headers`.
 * FK_ERR_NOMEM; FK_ERR_FORMAT with h1->fault. */
int fk_h1_read_fields(struct fk_h1 *h1, struct fk_reader *section, size_t max,
                      struct fk_http_headers *headers);

/* Note what is wrong: returns FK_ERR_FORMAT, for a head function to return. */
int fk_h1_refuse(struct fk_h1 *h1, enum fk_http_fault fault);

#endif
