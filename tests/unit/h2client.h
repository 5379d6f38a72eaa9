/* A client of HTTP/2 (nghttp2's) for tests: it asks, and keeps what it is told as one line of text.
 */
#ifndef FK_TESTS_H2CLIENT_H
#define FK_TESTS_H2CLIENT_H

#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define H2CLIENT_STORY   65536
#define H2CLIENT_STREAMS 16384

struct h2client {
    nghttp2_session *session;
    char seen[H2CLIENT_STORY]; /* heads, trailers, ends and GOAWAY, in order */
    size_t len;
    bool tells_bodies; /* they are in `seen`, too */
    size_t body;       /* bytes of all answers' bodies */
    size_t got[H2CLIENT_STREAMS],
        left[H2CLIENT_STREAMS]; /* by stream / 2: bytes of the answer's
                                   body, and of the request's to be sent */
    bool trailers;              /* requests with a body have some */
    uint32_t goaway;
};

/* With `holds` windows are opened by h2client_take() only. */
void h2client_new(struct h2client *client, bool holds);
void h2client_free(struct h2client *client);

/* Fields as "name: value|name: value|" become a request, with `body` bytes; its stream.
 * `raw_names`: as they are; nghttp2's copies are in lower case. */
int32_t h2client_ask(struct h2client *client, const char *fields, size_t body, bool raw_names);

/* The client that holds has done with `len` bytes of a stream's answer. */
void h2client_take(struct h2client *client, int32_t stream, size_t len);

/* Append to a text of H2CLIENT_STORY bytes. */
__attribute__((format(printf, 3, 4))) void h2client_tell(char *text, size_t *len,
                                                         const char *format, ...);

#endif
