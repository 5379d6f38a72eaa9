/*
 * What a proxy changes in a message that it passes on (RFC 9110 section 7.6, RFC 7239): fields of
 * the connection go, its own are added. The order is the safety of it: first whatever claims to be
 * ours goes, then what the sender's Connection names, last our own fields come. So Connection can
 * name what it likes and takes nothing away that the edge says.
 */
#ifndef FK_HTTP_FORWARD_H
#define FK_HTTP_FORWARD_H

#include "http/message.h"

/* One thing that is said of a client's certificate. */
struct fk_http_said {
    const char *name;
    struct fk_reader value;
    enum { FK_SAID_FIELD, FK_SAID_COOKIE, FK_SAID_APPENDED } kind;
};

/* What the edge knows of a client by its certificate, and says of it in each request. */
struct fk_http_identity {
    bool proven;    /* it has shown a good one */
    bool too_large; /* what is to be said does not fit: nothing is passed on */
    struct fk_http_said *said;
    size_t n_said;
    size_t bytes;     /* of all their names and values */
    const char *kept; /* a field of ours that this client may send; NULL: none */
    bool (*kept_ok)(struct fk_reader value);
};

/* Who asks, as the edge knows it. Texts outlive the call. */
struct fk_http_client {
    const char *address; /* IPv4 or IPv6 without brackets; NULL: unknown (a UNIX socket) */
    uint16_t port;       /* 0: unknown */
    bool tls;            /* it came over TLS */
    bool trusted;        /* it is a proxy whose own X-Forwarded-* and Forwarded are believed: they
                            are kept and added to */
    const char *local_address; /* where it connected to; NULL: not told to origins */
    uint16_t local_port;
    const struct fk_http_identity *identity; /* NULL: none, and nothing is said */
};

struct fk_http_forward {
    const char *via;         /* this proxy in Via: a pseudonym, a token */
    bool forwarded;          /* add Forwarded (RFC 7239) */
    bool x_forwarded;        /* add X-Forwarded-For, -Proto, -Host, -Port */
    const char *const *ours; /* further names that only the edge may say (relayed certificates),
                                removed with their aliases however trusted the client is */
    size_t n_ours;
    const char *const *cookies; /* names of cookies that only the edge may set */
    size_t n_cookies;
    const char *const *guarded; /* paths for clients with a good certificate only */
    size_t n_guarded;
    /* Whether a host is served under other rules for certificates than these; NULL: none is. */
    bool (*foreign)(const void *arg, struct fk_reader host);
    const void *foreign_arg;
    const char *const *upgrades; /* protocols that may be changed to, as Upgrade names them */
    size_t n_upgrades;
};

/*
 * Make a request fit for an origin. Removed: names of `forward->ours` and `forward->cookies`,
 * X-Forwarded-*, Forwarded and
 * other names by which origins believe proxies (if not trusted), all in every letter case and with
 * aliases; Connection and what it names, Keep-Alive, Proxy-Connection, TE, Upgrade, Proxy. Added:
 * Via, the fields asked for, what is said of the client's certificate, TE: trailers if the client
 * takes trailers, Upgrade if a protocol of `forward->upgrades` was asked for: request->upgrade says
 * so after the call, and is false for any other. The crumbs of a Cookie become one.
 *
 * FK_ERR_FORMAT with why in *ret_fault: refuse the request. That and FK_ERR_NOMEM: the request is
 * of no more use.
 */
int fk_http_forward_request(struct fk_http_request *request, const struct fk_http_forward *forward,
                            const struct fk_http_client *client, enum fk_http_fault *ret_fault);

/*
 * Make an origin's response fit for a client: Connection and what it names, Keep-Alive,
 * Proxy-Connection, TE, Upgrade (but of 101) removed, Via added; Vary by a name of `forward->ours`
 * becomes "*", as nobody on the client's side sees by what. Names of
 * `forward->ours` are left: what an origin says of them is for its client. FK_ERR_LIMIT,
 * FK_ERR_NOMEM.
 */
int fk_http_forward_response(struct fk_http_response *response,
                             const struct fk_http_forward *forward);

/* Remove from trailers what they must not bring past the head: names of `forward->ours`, of
 * proxies, with aliases. */
void fk_http_forward_trailers(struct fk_http_headers *trailers,
                              const struct fk_http_forward *forward);

#endif
