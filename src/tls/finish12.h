/*
 * The end of a TLS 1.2 handshake that others have made, for who is told its master secret: hash
 * what passes, verify the client's Finished and make the server's (RFC 5246 section 7.4.9), and
 * keep the session so that OpenSSL resumes it. Sans-I/O.
 */
#ifndef FK_TLS_FINISH12_H
#define FK_TLS_FINISH12_H

#include "base/reader.h"
#include "base/writer.h"
#include "tls/suite.h"
#include "tls/tickets.h"

#include <stdbool.h>

#define FK_MASTER12   48
#define FK_FINISHED12 12 /* verify_data */
#define FK_SESSION12_PEER_MAX                                           \
    2048 /* of a client's certificate: tickets are sent in ClientHellos \
          */
#define FK_SESSION12_MAX (256 + FK_SESSION12_PEER_MAX)

/* --- the transcript --- */

struct fk_transcript12;

int fk_transcript12_new(struct fk_transcript12 **ret); /* FK_ERR_NOMEM, FK_ERR_CRYPTO */
void fk_transcript12_free(struct fk_transcript12 *transcript);

/* Whole records in the clear, of either side, as they passed. FK_ERR_TRUNCATED; FK_ERR_UNEXPECTED:
 * among them is one that is no handshake; FK_ERR_CRYPTO. */
int fk_transcript12_records(struct fk_transcript12 *transcript, struct fk_reader records);
/* One message, with its header. FK_ERR_CRYPTO. */
int fk_transcript12_message(struct fk_transcript12 *transcript, const void *message, size_t len);

/* verify_data of a Finished that comes next, the client's or the server's. FK_ERR_CRYPTO. */
int fk_transcript12_finished(const struct fk_transcript12 *transcript, const struct fk_suite *suite,
                             const uint8_t master[FK_MASTER12], bool client,
                             uint8_t ret[FK_FINISHED12]);

/* --- the session --- */

struct fk_session12 {
    uint16_t suite;
    bool extended_master_secret;
    const uint8_t *master;  /* FK_MASTER12 bytes */
    const uint8_t *context; /* 32 bytes: the SSL_CTX's session id context */
    struct fk_reader id;    /* 32 bytes at most; empty with a ticket */
    struct fk_reader peer;  /* the client's certificate in DER, or empty */
    uint64_t made_s;        /* wall clock, seconds */
    uint32_t lifetime_s;
};

/* As OpenSSL keeps it: what d2i_SSL_SESSION() takes; FK_SESSION12_MAX bytes at most, with the
 * master secret among them. */
void fk_session12_encode(const struct fk_session12 *session, struct fk_writer *out);

/*
 * A ticket of that, as OpenSSL opens it with fk_ticket_site_open() (RFC 5077 section 4).
 * FK_ERR_NOT_FOUND: there are no ticket keys; FK_ERR_CRYPTO, FK_ERR_NOMEM; FK_ERR_LIMIT.
 */
#define FK_TICKET12_MAX (16 + 16 + FK_SESSION12_MAX + 16 + 32)
int fk_session12_ticket(struct fk_ticket_site *site, struct fk_reader session,
                        struct fk_writer *out);

#endif
