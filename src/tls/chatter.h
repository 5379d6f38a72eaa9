/*
 * What a TLS peer may send beside data once the handshake is over. Each KeyUpdate is 27 bytes on
 * the wire and some 15 us of our work, and nothing in TLS bounds their number; nor that of requests
 * to renegotiate. So such messages are counted for the whole session, and data pays for them: see
 * FK_TLS_MESSAGES_MAX. One rule for the record engine and for sessions that OpenSSL protects.
 *
 * OpenSSL's SSL_read() takes such messages one after the other until there is data
 * (SSL_MODE_AUTO_RETRY): with these bounds some 30 of them, half a millisecond. It is left so:
 * without that mode OpenSSL 3.0 also returns when it has only written the answer to one message and
 * holds the record of the next. The socket does not tell of it, and SSL_has_pending() says the same
 * of a record that is not there whole.
 */
#ifndef FK_TLS_CHATTER_H
#define FK_TLS_CHATTER_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of one session, one direction; zero at first. */
struct fk_chatter {
    uint16_t bytes;   /* of data, towards the next message that they pay for */
    uint8_t messages; /* handshake messages that no data has paid for */
    uint8_t idle;     /* records in a row without data */
    bool over;        /* more than is borne: the session has to end */
};

/* A handshake message has come, or a record that carries no data. FK_ERR_UNEXPECTED: one too many.
 */
int fk_chatter_message(struct fk_chatter *chatter);
int fk_chatter_idle(struct fk_chatter *chatter);

/* Data has come, or what else is of use (no bytes of it). */
void fk_chatter_data(struct fk_chatter *chatter, size_t len);

/*
 * Count what `ssl`, whose handshake is done, receives; whoever reads tells of data. When it is too
 * much, the SSL_read() that is under way gets nothing any more, and `over` says why. `chatter` must
 * stay as long as anything is read. Takes the place of another message callback.
 */
void fk_chatter_watch(SSL *ssl, struct fk_chatter *chatter);

#endif
