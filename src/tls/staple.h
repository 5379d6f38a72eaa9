/*
 * OCSP responses that a server shows with its certificates (stapling: RFC 6066 section 8, RFC 8446
 * section 4.4.2.1): reading one, telling whether it is a good word of the right CA, and giving it
 * to clients that ask for it. Responses come from files; nothing here speaks to a responder.
 */
#ifndef FK_TLS_STAPLE_H
#define FK_TLS_STAPLE_H

#include "base/reader.h"
#include "tls/cert.h"

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A response as it was read; not changed any more. */
struct fk_staple;

/*
 * One response in DER, or in PEM ("OCSP RESPONSE"). FK_ERR_FORMAT: it is none, or there is more.
 * FK_ERR_DENIED: an answer without a response, which says that the responder gives none.
 * FK_ERR_UNSUPPORTED: of another type than basic. FK_ERR_LIMIT: longer than FK_STAPLE_MAX.
 * FK_ERR_NOMEM.
 */
int fk_staple_new(struct fk_reader data, struct fk_staple **ret);
struct fk_staple *fk_staple_ref(struct fk_staple *staple);
void fk_staple_unref(struct fk_staple *staple); /* NULL is fine */

/* Bytes that it takes in a Certificate message of TLS 1.3, its extension's head included. */
size_t fk_staple_wire_len(const struct fk_staple *staple);

/* Why a response is not shown with a certificate. */
enum fk_staple_fault {
    FK_STAPLE_FOREIGN,  /* it is about others */
    FK_STAPLE_ORPHAN,   /* the chain has no issuer who could have signed it */
    FK_STAPLE_UNSIGNED, /* neither the issuer nor somebody that it has charged with that signed it
                         */
    FK_STAPLE_REVOKED,
    FK_STAPLE_UNKNOWN, /* the responder does not know the certificate */
    FK_STAPLE_ENDLESS, /* it does not say until when it counts */
    FK_STAPLE_LONG,    /* for whoever has to take it: not found here */
};

/* What is wrong, as it is told of a file: "is about none of the certificates". */
const char *fk_staple_fault_text(enum fk_staple_fault fault);

/* Seconds since 1970: it counts from `from` until before `until`. */
struct fk_staple_term {
    int64_t from, until;
};

/*
 * Judge a response as a word about a leaf by its issuer, which is in its chain: whatever the time
 * is. FK_ERR_VERIFY: *ret_fault tells why it is none. FK_ERR_NOMEM.
 */
int fk_staple_judge(const struct fk_staple *staple, const struct fk_cert *cert,
                    enum fk_staple_fault *ret_fault, struct fk_staple_term *ret);

/* Whether it counts at a time. */
static inline bool fk_staple_in_force(const struct fk_staple_term *term, int64_t now)
{
    return term->from <= now && now < term->until;
}

/* --- a server's --- */

/* A response that has been judged, and the certificate with which it is shown: borrowed. */
struct fk_staple_use {
    struct fk_staple *staple;
    X509 *leaf;
    struct fk_staple_term term;
};

/* A client has asked for the response of a certificate that has one, which was sent, or was not as
 * it is out of its term. Called in a handshake: it must do nothing to it. */
typedef void fk_staple_told_cb(void *arg, bool sent);

/*
 * Have a context show these, at most FK_EDGE_CERTS_MAX, while they count by the wall clock; it
 * keeps references to them. `leaf` is the context's own object. FK_ERR_NOMEM, FK_ERR_LIMIT.
 */
int fk_staple_serve(SSL_CTX *ctx, const struct fk_staple_use *uses, size_t n,
                    fk_staple_told_cb *told, void *arg);

/* What a context shows, from 0; borrowed. FK_ERR_NOT_FOUND: no more. */
int fk_staple_served(const SSL_CTX *ctx, size_t i, struct fk_staple_use *ret);

#endif
