/*
 * A bound on messages after the handshake: KeyUpdate, NewSessionTicket, requests to renegotiate.
 *
 * Each costs this side more than it costs the peer, and none carries data: a peer that sends little
 * else can keep a process from all others. It has FK_POST_MAX of them, and earns one more with each
 * FK_POST_EARNED bytes of data.
 */
#ifndef FK_TLS_POST_H
#define FK_TLS_POST_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of one session; zero at first. */
struct fk_post {
    uint64_t spent; /* messages, those that have been earned back left out */
    size_t earning; /* bytes of data towards the next */
    bool exhausted; /* the session is to be ended */
};

/* The peer has sent a message. Returns false from the first on that is too many. */
bool fk_post_message(struct fk_post *post);
/* The peer has sent so many bytes of data. */
void fk_post_data(struct fk_post *post, size_t len);

/*
 * Have OpenSSL's messages counted from now on, after the handshake; the owner counts data.
 * SSL_read() returns soon after post->exhausted has become true, and the owner then ends the
 * session whatever it returned. `post` must outlive the SSL object.
 */
void fk_post_watch(SSL *ssl, struct fk_post *post);

#endif
