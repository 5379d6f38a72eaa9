/*
 * Two ends of a finished OpenSSL handshake in memory, and the session's keys as its hand-over has
 * them: what the record engine is compared with.
 */
#ifndef FK_TESTS_TLSPAIR_H
#define FK_TESTS_TLSPAIR_H

#include "tls/session_keys.h"

#include <openssl/ssl.h>

struct tlspair {
    SSL *client, *server;
    BIO *to_client, *to_server; /* bytes on their way: what one end has written, the other reads */
    struct fk_session_keys keys;
    uint8_t secrets[2][FK_SUITE_HASH_MAX]; /* of the key log: client's, server's */
};

/* Shake hands with this suite only; no tickets are sent. The server's key is RSA or P-256, as it
 * needs. `etm`: with encrypt-then-MAC, for CBC. */
void tlspair_open(struct tlspair *pair, uint16_t suite, bool etm);
void tlspair_close(struct tlspair *pair);

#endif
