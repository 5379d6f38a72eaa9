/*
 * One handshake, made here for a client that somebody else has a connection with: OpenSSL over
 * memory, pausing while a signer is asked. Records in, records out, in the end the session's keys.
 *
 * Its life is a table of states and facts; see hs_tls.c.
 */
#ifndef FK_KEYD_HS_TLS_H
#define FK_KEYD_HS_TLS_H

#include "base/writer.h"
#include "signer/share.h"
#include "wire/keyop_handshake.h"

#include <openssl/ssl.h>
#include <stdbool.h>

/* X(name, text) */
#define FK_HS_STATES(X)                                                           \
    X(WAITING, "waiting") /* for records of the client: the last answer is out */ \
    X(RUNNING, "running") /* OpenSSL has them */                                  \
    X(ASKING, "asking")   /* a signer is asked */                                 \
    X(DONE, "done")       /* shaken: keys are there */                            \
    X(FAILED, "failed")   /* over */

enum fk_hs_state {
#define FK_HS_STATE_ENUM(name, text) FK_HS_##name,
    FK_HS_STATES(FK_HS_STATE_ENUM)
#undef FK_HS_STATE_ENUM
        FK_HS_STATE_COUNT
};

/* X(name, text) */
#define FK_HS_FACTS(X)               \
    X(RECORDS, "records came")       \
    X(WANTED, "more records wanted") \
    X(KEY_ASKED, "key asked")        \
    X(KEY_ANSWERED, "key answered")  \
    X(SHAKEN, "handshake done")      \
    X(BROKEN, "handshake failed")

enum fk_hs_fact {
#define FK_HS_FACT_ENUM(name, text) FK_HS_FACT_##name,
    FK_HS_FACTS(FK_HS_FACT_ENUM)
#undef FK_HS_FACT_ENUM
        FK_HS_FACT_COUNT
};

/* The state that `fact` leads to, FK_HS_STATE_COUNT when it cannot happen in `state`. */
enum fk_hs_state fk_hs_next(enum fk_hs_state state, enum fk_hs_fact fact);
const char *fk_hs_state_name(enum fk_hs_state state);
const char *fk_hs_fact_name(enum fk_hs_fact fact);

struct fk_hs_tls;

/*
 * A handshake that has not begun; `wake` is called (from the loop) when the signer has answered and
 * fk_hs_tls_step() is to be called. FK_ERR_NOMEM.
 */
int fk_hs_tls_new(SSL_CTX *ctx, void (*wake)(void *arg), void *arg, struct fk_hs_tls **ret);
/*
 * The share of a split key that came with HS_OPEN, sealed to the signers, and the SHA-256 of that
 * payload: what signers are asked for is asked with it. Copied. FK_ERR_NOMEM.
 */
int fk_hs_tls_share(struct fk_hs_tls *tls, struct fk_reader share,
                    const uint8_t digest[FK_SHARE_DIGEST]);

/* In TLS 1.2 the handshake ends with the key exchange, and its answer is the master secret. */
void fk_hs_tls_expose(struct fk_hs_tls *tls);

/* Also in the midst of it: what a signer is asked for is given up. Wipes. NULL is fine. */
void fk_hs_tls_free(struct fk_hs_tls *tls);

/*
 * Take records of the client (copied). With more than FK_HANDSHAKE_IN_MAX bytes in all, or in more
 * than FK_HANDSHAKE_ROUNDS_MAX pieces, the next step fails the handshake. FK_ERR_UNEXPECTED: not
 * now, an answer is due first; FK_ERR_NOMEM.
 */
int fk_hs_tls_feed(struct fk_hs_tls *tls, struct fk_reader records);

/* Go on, as far as it goes: WAITING, DONE and FAILED have an answer, ASKING will. */
enum fk_hs_state fk_hs_tls_step(struct fk_hs_tls *tls);

/* Why a signer did not do what the handshake needed of the private key; FK_OK: it did. */
int fk_hs_tls_key_error(const struct fk_hs_tls *tls);

/* The answer for the edge. FK_ERR_LIMIT: `out` is too small; FK_ERR_NOMEM, FK_ERR_CRYPTO,
 * FK_ERR_UNSUPPORTED: the session cannot be handed over. The caller wipes `out`. */
int fk_hs_tls_answer(struct fk_hs_tls *tls, const uint8_t id[FK_HANDSHAKE_ID],
                     struct fk_writer *out);

#endif
