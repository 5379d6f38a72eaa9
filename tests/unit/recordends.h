/* Both ends of one session as record engines, with RFC 8448's secrets, and the wire between. */
#ifndef FK_TEST_RECORDENDS_H
#define FK_TEST_RECORDENDS_H

#include "tls/record_priv.h"

#define BIG 70000

struct ends {
    struct fk_arena *arena;
    struct fk_session_keys keys;
    struct fk_record *client, *server;
    uint8_t wire[4 * BIG];
    size_t len;
};

/* With encrypt-then-MAC, for CBC. */
#define ETM 0x10000

size_t unhex(const char *text, uint8_t *ret);

/* `suite`: its TLS number, or with ETM. */
void make_keys(uint32_t suite, struct fk_session_keys *ret);
void open_ends(struct ends *ends, uint32_t suite);
void close_ends(struct ends *ends);

/* A record of the client's with any type and content. */
void put(struct ends *ends, uint8_t type, const void *data, size_t len);

/* The server opens the next record. */
int take(struct ends *ends, struct fk_opened *ret);

/* The server refuses what is there with this error, and tells the client so by this alert. Closes
 * the ends. */
void assert_refused(struct ends *ends, int expected, uint8_t alert);

#endif
