/*
 * Whose certificates a site's clients may show: the CAs, their revocation lists, and judging a
 * certificate by them, with OpenSSL's handshake or after somebody else's. Made when a configuration
 * is loaded, used by all connections; what it judges by is never the system's.
 */
#ifndef FK_TLS_CLIENTCA_H
#define FK_TLS_CLIENTCA_H

#include "base/reader.h"
#include "base/writer.h"

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

struct fk_clientca;

struct fk_clientca_conf {
    OSSL_LIB_CTX *libctx;
    struct fk_reader ca;  /* PEM: trust anchors, and certificates between them and clients */
    struct fk_reader crl; /* PEM; empty: revocation is not looked at */
    unsigned depth;       /* CAs between a client and an anchor, at most */
    bool required;        /* a client without a certificate is refused */
    char *const *allow;   /* rules (tls/clientrules.h) of which a certificate must fit one */
    size_t n_allow;       /* 0: whatever the CAs vouch for is good */
};

/*
 * FK_ERR_FORMAT (CAs, lists or rules are damaged, or there is none in a text that is not empty),
 * FK_ERR_LIMIT (more than FK_CLIENT_CAS_MAX bytes of names), FK_ERR_CRYPTO, FK_ERR_NOMEM.
 */
int fk_clientca_new(const struct fk_clientca_conf *conf, struct fk_clientca **ret);
void fk_clientca_free(struct fk_clientca *ca); /* NULL is fine */

bool fk_clientca_required(const struct fk_clientca *ca);
/* The CAs' names, for who asks clients: borrowed. */
const STACK_OF(X509_NAME) * fk_clientca_names(const struct fk_clientca *ca);
/* SHA-256 of the CAs and of what else decides but the lists: sessions are good under one policy. */
const uint8_t *fk_clientca_print(const struct fk_clientca *ca);
/* SHA-256 of the lists, as they were given. */
const uint8_t *fk_clientca_lists(const struct fk_clientca *ca);

/*
 * Judge a client's certificate; `rest` (may be NULL) came with it. FK_OK, or FK_ERR_VERIFY and why:
 * *ret_reason is X509_V_ERR_*, of which APPLICATION_VERIFICATION says that no rule allows it.
 * *ret_chain (may be NULL) is the chain by which it is good, leaf to anchor; the caller's.
 * FK_ERR_NOMEM.
 */
int fk_clientca_judge(const struct fk_clientca *ca, X509 *leaf, STACK_OF(X509) * rest,
                      int *ret_reason, STACK_OF(X509) * *ret_chain);
/* Why, as people read it: "certificate revoked". */
const char *fk_clientca_why(int reason);

/* The TLS alert for a reason (RFC 8446 section 6.2). */
uint8_t fk_clientca_alert(int reason);

/* --- names, for others to ask with --- */

/* Names<u16>, each DER; FK_CLIENT_CAS_MAX bytes at most. */
void fk_clientca_encode_names(const struct fk_clientca *ca, struct fk_writer *out);
/* Their inverse; the caller's. FK_ERR_TRUNCATED, FK_ERR_FORMAT, FK_ERR_NOMEM. */
int fk_clientca_decode_names(struct fk_reader names, STACK_OF(X509_NAME) * *ret);

/* --- chains --- */

/* A client's chain as it is handed over: certificates<u16>, DER, leaf first; nothing: there was
 * none. */
void fk_clientca_encode_chain(const SSL *ssl, struct fk_writer *out);
/*
 * Judge a chain that was handed over. *ret_chain is given with FK_OK, leaf to anchor, NULL for no
 * certificate where none is required; the caller's. Else as fk_clientca_judge(); FK_ERR_TRUNCATED,
 * FK_ERR_FORMAT: also when there is none and there must be one.
 */
int fk_clientca_judge_chain(const struct fk_clientca *ca, struct fk_reader chain, int *ret_reason,
                            STACK_OF(X509) * *ret_chain);

#endif
