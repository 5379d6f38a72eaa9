/*
 * A client's certificate in the fields of its requests: which formats a site relays it in, under
 * which names, and the texts themselves, made once a connection (docs/relay.md).
 */
#ifndef FK_HTTP_CERTRELAY_H
#define FK_HTTP_CERTRELAY_H

#include "http/forward.h"
#include "tls/certtext.h"

#include <stdbool.h>
#include <stddef.h>

/* X(id, name, name of its field, cookie or fields' beginning) */
#define FK_CERTRELAY_FORMATS(X)                          \
    X(RFC9440, "rfc9440", "Client-Cert")                 \
    X(COOKIE, "cookie", "CERT")                          \
    X(XFCC, "xfcc", "X-Forwarded-Client-Cert")           \
    X(NGINX, "nginx", "X-SSL-Client-")                   \
    X(HAPROXY, "haproxy", "X-SSL-")                      \
    X(TRAEFIK, "traefik", "X-Forwarded-Tls-Client-Cert") \
    X(ALB, "alb", "X-Amzn-Mtls-Clientcert")              \
    X(CUSTOM, "custom", NULL)

enum fk_certrelay_format {
#define FK_CERTRELAY_ENUM(id, name, field) FK_CERTRELAY_##id,
    FK_CERTRELAY_FORMATS(FK_CERTRELAY_ENUM)
#undef FK_CERTRELAY_ENUM
        FK_CERTRELAY_FORMAT_COUNT
};

/* What becomes of the field of xfcc that a trusted proxy has sent. */
enum fk_certrelay_xfcc {
    FK_XFCC_SANITIZE, /* ours takes its place, as with everybody */
    FK_XFCC_APPEND,   /* ours comes behind it */
    FK_XFCC_FORWARD,  /* it passes as it is */
};

struct fk_certrelay_conf {
    enum fk_certrelay_format format;
    const char *name;      /* NULL: the format's own */
    const char *template_; /* custom, xfcc; NULL: the format's own */
    bool chain;            /* with the CAs above it, where the format has a place for them */
    bool pem_spaces;       /* cookie: PEM with spaces, else Base64 for URLs */
    enum fk_certrelay_xfcc xfcc;
};

struct fk_certrelay;

/* FK_ERR_NOT_FOUND. */
int fk_certrelay_format_find(const char *name, enum fk_certrelay_format *ret);

/* What is wrong with one, as "x; what to write instead"; NULL: nothing. */
const char *fk_certrelay_fault(const struct fk_certrelay_conf *conf);

/*
 * Those of one site; each without fault. `bytes`: the most that their texts may have together.
 * FK_ERR_DUPLICATE: two have the same name (aliases counted); FK_ERR_LIMIT, FK_ERR_NOMEM. Texts of
 * `confs` must outlive it.
 */
int fk_certrelay_new(const struct fk_certrelay_conf *confs, size_t n, size_t bytes,
                     struct fk_certrelay **ret);
void fk_certrelay_free(struct fk_certrelay *relay); /* NULL is fine */

/* Names that no client may send: field `i`, cookie `i`; NULL: there are no more. */
const char *fk_certrelay_field(const struct fk_certrelay *relay, size_t i);
const char *fk_certrelay_cookie(const struct fk_certrelay *relay, size_t i);

/* Fields of every format by its own names, which are never a client's to send, relayed or not. */
const char *fk_certrelay_known(size_t i); /* NULL: there are no more */

/*
 * What the requests of one connection say. `of` NULL: no certificate was shown. `trusted`: it is
 * a proxy's whose xfcc is believed. Texts that are too long are none, and the identity says so.
 * FK_ERR_NOMEM, FK_ERR_CRYPTO.
 */
int fk_certrelay_say(const struct fk_certrelay *relay, const struct fk_certtext_of *of,
                     bool trusted, struct fk_http_identity **ret);
void fk_certrelay_unsay(struct fk_http_identity *identity); /* NULL is fine */

/* Whether a value is a well-formed X-Forwarded-Client-Cert: elements of KEY=value pairs, values
 * with separators in quotes. */
bool fk_certrelay_xfcc_ok(struct fk_reader value);

#endif
