/* Making a server's SSL_CTX: see server_ctx.h. */
#include "tls/server_ctx.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/secret.h"
#include "tls/opaque.h"
#include "tls/rkey.h"
#include "tls/sesentry.h"
#include "wire/keymsg.h"

#include <openssl/err.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Kept in the context's ex_data: what the callbacks need, freed with the context. */
struct extra {
    struct fk_ticket_site *tickets;
    struct fk_ticketdesk *desk;
    struct fk_sescache *cache;
    struct fk_sesstore *store;
    uint8_t owner[SHA256_DIGEST_LENGTH];
    const struct fk_clientca *clientca;
    bool promises; /* tickets that others make */
    bool sealed;
    size_t alpn_len;
    uint8_t alpn[]; /* wire form: names<u8> in order of preference */
};

static int extra_index = -1;
static pthread_once_t extra_once = PTHREAD_ONCE_INIT;

static void extra_free(void *parent, void *ptr, CRYPTO_EX_DATA *data, int index, long argl,
                       void *argp)
{
    (void)parent, (void)data, (void)index, (void)argl, (void)argp;
    free(ptr);
}

static void extra_init(void)
{
    extra_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, extra_free);
}

static const struct extra *extra_of(SSL *ssl)
{
    return SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), extra_index);
}

/* --- versions, suites, groups --- */

/* The suites: AEAD only, and forward secrecy where nobody asks for less. */
static const char suites13[] =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";

static const struct {
    unsigned exchange;
    const char *suites;
} suites12[] = {
    {FK_SERVER_ECDHE, "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
                      "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
                      "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"},
    {FK_SERVER_DHE,
     "DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305"},
    {FK_SERVER_RSA, "AES128-GCM-SHA256:AES256-GCM-SHA384"},
};

static int set_versions(SSL_CTX *ctx, const struct fk_server_conf *conf)
{
    if (SSL_CTX_set_min_proto_version(ctx, conf->tls12 ? TLS1_2_VERSION : TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_max_proto_version(ctx, conf->tls13 ? TLS1_3_VERSION : TLS1_2_VERSION) != 1)
        return FK_ERR_CRYPTO;
    return FK_OK;
}

/* A group of RFC 7919 as strong as the RSA key; NIST SP 800-57 part 1, table 2. */
static uint16_t dhe_group(const struct fk_server_conf *conf)
{
    int bits = 0;

    for (size_t i = 0; i < conf->n_certs; i++)
        if (conf->certs[i].type == EVP_PKEY_RSA)
            bits = EVP_PKEY_get_bits(X509_get0_pubkey(conf->certs[i].leaf));
    return bits <= 2048 ? 0x0100 : bits <= 3072 ? 0x0101 : 0x0102;
}

static int set_dhe(SSL_CTX *ctx, const struct fk_server_conf *conf)
{
    EVP_PKEY *params;
    int err;

    if (!conf->opaque)
        return SSL_CTX_set_dh_auto(ctx, 1) == 1 ? FK_OK : FK_ERR_CRYPTO;
    if ((err = fk_opaque_dh_params(conf->libctx, dhe_group(conf), &params)) != FK_OK)
        return err;
    if (SSL_CTX_set0_tmp_dh_pkey(ctx, params) == 1)
        return FK_OK;
    EVP_PKEY_free(params);
    return FK_ERR_CRYPTO;
}

static int set_suites(SSL_CTX *ctx, const struct fk_server_conf *conf)
{
    char list[512] = "";
    size_t len = 0;

    for (size_t i = 0; i < sizeof suites12 / sizeof suites12[0]; i++)
        if ((conf->exchanges & suites12[i].exchange) != 0)
            len += (size_t)snprintf(list + len, sizeof list - len, "%s%s", len > 0 ? ":" : "",
                                    suites12[i].suites);
    if ((conf->tls12 && SSL_CTX_set_cipher_list(ctx, list) != 1) ||
        SSL_CTX_set_ciphersuites(ctx, suites13) != 1)
        return FK_ERR_CRYPTO;
    return (conf->exchanges & FK_SERVER_DHE) != 0 ? set_dhe(ctx, conf) : FK_OK;
}

/* Names as OpenSSL 3.0 takes them; the first of a number is what we call it. */
static const struct {
    uint16_t id; /* RFC 8446 section 4.2.7 */
    const char *name;
} groups[] = {
    {0x001d, "X25519"},    {0x0017, "P-256"},      {0x0018, "P-384"},     {0x0019, "P-521"},
    {0x001e, "X448"},      {0x0017, "prime256v1"}, {0x0017, "secp256r1"}, {0x0018, "secp384r1"},
    {0x0019, "secp521r1"}, {0x0100, "ffdhe2048"},  {0x0101, "ffdhe3072"}, {0x0102, "ffdhe4096"},
    {0x0103, "ffdhe6144"}, {0x0104, "ffdhe8192"},
};

uint16_t fk_server_group_id(const char *name)
{
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        if (strcasecmp(groups[i].name, name) == 0)
            return groups[i].id;
    return 0;
}

const char *fk_server_group_name(uint16_t id)
{
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        if (groups[i].id == id)
            return groups[i].name;
    return NULL;
}

/* --- ALPN --- */

static int choose_alpn(SSL *ssl, const unsigned char **ret, unsigned char *ret_len,
                       const unsigned char *in, unsigned len, void *arg)
{
    const struct extra *extra = arg;

    (void)ssl;
    /* RFC 7301 section 3.2: no protocol in common is fatal (no_application_protocol). */
    if (SSL_select_next_proto((unsigned char **)(uintptr_t)ret, ret_len, extra->alpn,
                              (unsigned)extra->alpn_len, in, len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    return SSL_TLSEXT_ERR_OK;
}

static int set_extra(SSL_CTX *ctx, const struct fk_server_conf *conf)
{
    struct extra *extra = calloc(1, sizeof *extra + conf->alpn_len);

    if (extra == NULL)
        return FK_ERR_NOMEM;
    extra->tickets = conf->tickets;
    extra->desk = conf->desk;
    extra->cache = conf->cache;
    extra->store = conf->store;
    memcpy(extra->owner, conf->id, sizeof extra->owner);
    extra->clientca = conf->clientca;
    extra->promises = conf->promises && conf->client != FK_CLIENT_NOT_ASKED;
    extra->sealed = conf->sealed;
    extra->alpn_len = conf->alpn_len;
    if (conf->alpn_len > 0)
        memcpy(extra->alpn, conf->alpn, conf->alpn_len);
    pthread_once(&extra_once, extra_init);
    if (extra_index < 0 || SSL_CTX_set_ex_data(ctx, extra_index, extra) != 1) {
        free(extra);
        return FK_ERR_NOMEM;
    }
    if (extra->alpn_len > 0)
        SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, extra);
    return FK_OK;
}

/* --- certificates of clients --- */

/* In OpenSSL's place: it makes the alert from the reason, and keeps the chain for
 * SSL_get0_verified_chain(). */
static int judge(X509_STORE_CTX *ctx, void *arg)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(ctx, SSL_get_ex_data_X509_STORE_CTX_idx());
    const struct extra *extra = extra_of(ssl);
    STACK_OF(X509) *chain = NULL;
    int reason = X509_V_OK, err = FK_OK;

    (void)arg;
    if (extra->clientca != NULL)
        err = fk_clientca_judge(extra->clientca, X509_STORE_CTX_get0_cert(ctx),
                                X509_STORE_CTX_get0_untrusted(ctx), &reason, &chain);
    if (chain != NULL)
        X509_STORE_CTX_set0_verified_chain(ctx, chain); /* moved */
    if (err != FK_OK && err != FK_ERR_VERIFY)
        reason = X509_V_ERR_OUT_OF_MEM;
    X509_STORE_CTX_set_error(ctx, reason);
    return err == FK_OK;
}

/* Whether its client is as good now as it was then. */
static bool is_still_good(const struct extra *extra, SSL_SESSION *session)
{
    X509 *leaf = SSL_SESSION_get0_peer(session);
    int reason;

    if (extra->clientca == NULL)
        return !extra->promises;
    if (leaf == NULL)
        return !fk_clientca_required(extra->clientca);
    return fk_clientca_judge(extra->clientca, leaf, NULL, &reason, NULL) == FK_OK;
}

/* Whether a session may go on; where the key server has it, it makes its keys now. */
static bool may_resume(const struct extra *extra, SSL_SESSION *session)
{
    return is_still_good(extra, session) &&
           (!extra->sealed || fk_opaque_resume(session, extra->owner) == FK_OK);
}

/* What of a ticket is not to be gone on with makes a full handshake, and gets another ticket. */
static SSL_TICKET_RETURN look_at_ticket(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
                                        size_t len, SSL_TICKET_STATUS status, void *arg)
{
    (void)name, (void)len, (void)arg;
    switch (status) {
    case SSL_TICKET_SUCCESS:
        return may_resume(extra_of(ssl), session) ? SSL_TICKET_RETURN_USE
                                                  : SSL_TICKET_RETURN_IGNORE_RENEW;
    case SSL_TICKET_SUCCESS_RENEW:
        return may_resume(extra_of(ssl), session) ? SSL_TICKET_RETURN_USE_RENEW
                                                  : SSL_TICKET_RETURN_IGNORE_RENEW;
    default:
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    }
}

static int ask_clients(SSL_CTX *ctx, const struct fk_server_conf *conf)
{
    int mode = SSL_VERIFY_PEER |
               (conf->client == FK_CLIENT_REQUIRED ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0);
    STACK_OF(X509_NAME) * names;

    if (conf->client == FK_CLIENT_NOT_ASKED)
        return FK_OK;
    names = sk_X509_NAME_deep_copy(conf->client_names, X509_NAME_dup, X509_NAME_free);
    if (names == NULL)
        return FK_ERR_NOMEM;
    SSL_CTX_set_client_CA_list(ctx, names); /* moved */
    SSL_CTX_set_verify(ctx, mode, NULL);
    SSL_CTX_set_cert_verify_callback(ctx, judge, NULL);
    SSL_CTX_set_max_cert_list(ctx, FK_CLIENT_CHAIN_MAX);
    return FK_OK;
}

/* --- resumption --- */

/* What libssl's callback is given. */
struct ticket {
    uint8_t *name, *iv;
    EVP_CIPHER_CTX *cipher;
    EVP_MAC_CTX *mac;
};

struct opening {
    struct fk_rkey_wait wait;
    struct fk_ticketdesk *desk;
    const uint8_t *name;
};

static int ask_desk(struct fk_rkey_wait *wait, fk_key_done_cb *done, void *arg, void **ret)
{
    const struct opening *opening = fk_container(wait, struct opening, wait);

    return opening->desk->ops->open(opening->desk, opening->name, fk_rkey_context(), done, arg,
                                    ret);
}

static void cancel_desk(struct fk_rkey_wait *wait, void *call)
{
    const struct opening *opening = fk_container(wait, struct opening, wait);

    opening->desk->ops->cancel(opening->desk, call);
}

/* The handshake pauses; without an answer it is a full one. */
static int open_at_desk(const struct extra *extra, const struct ticket *ticket)
{
    struct opening opening = {.wait = {.submit = ask_desk, .cancel = cancel_desk},
                              .desk = extra->desk,
                              .name = ticket->name};
    uint8_t bytes[FK_TICKET_OPENED_WIRE];
    struct fk_ticket_opened opened;
    int result = 0;
    size_t len;

    if (fk_rkey_await(&opening.wait, bytes, sizeof bytes, &len) == FK_OK &&
        fk_ticket_opened_decode(fk_item(bytes, len), &opened) == FK_OK) {
        result = fk_ticket_site_open_single(extra->tickets, &opened, ticket->iv, ticket->cipher,
                                            ticket->mac);
        if (result == 1 && opened.renew)
            result = 2;
        fk_wipe(&opened, sizeof opened);
    }
    fk_wipe(bytes, sizeof bytes);
    return result;
}

static int seal_at_desk(const struct extra *extra, const struct ticket *ticket)
{
    struct fk_ticket_single single;
    int result;

    if (extra->desk->ops->take(extra->desk, &single) != FK_OK)
        return 0;
    result = fk_ticket_site_seal_single(extra->tickets, &single, ticket->name, ticket->iv,
                                        ticket->cipher, ticket->mac);
    fk_wipe(&single, sizeof single);
    return result;
}

static int open_ticket(const struct extra *extra, const struct ticket *ticket)
{
    if (extra->desk != NULL)
        return open_at_desk(extra, ticket);
    return fk_ticket_site_open(extra->tickets, ticket->name, ticket->iv, ticket->cipher,
                               ticket->mac);
}

/*
 * Without keys TLS 1.2 has its empty ticket (RFC 5077 section 3.3). TLS 1.3 has none (RFC 8446
 * section 4.6.1: ticket<1..2^16-1>), and OpenSSL 3.0 would send a malformed message: the ticket is
 * then one that nobody opens.
 */
static int seal_ticket(SSL *ssl, const struct extra *extra, const struct ticket *ticket)
{
    int result = extra->desk != NULL ? seal_at_desk(extra, ticket)
                                     : fk_ticket_site_seal(extra->tickets, ticket->name, ticket->iv,
                                                           ticket->cipher, ticket->mac);

    if (result == 0 && SSL_version(ssl) == TLS1_3_VERSION)
        result = fk_ticket_site_seal_single(extra->tickets, NULL, ticket->name, ticket->iv,
                                            ticket->cipher, ticket->mac);
    return result;
}

static int handle_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                         EVP_MAC_CTX *mac, int seal)
{
    const struct extra *extra = extra_of(ssl);
    const struct ticket ticket = {.name = name, .iv = iv, .cipher = cipher, .mac = mac};

    return seal ? seal_ticket(ssl, extra, &ticket) : open_ticket(extra, &ticket);
}

static void store_session(const struct extra *extra, const SSL_SESSION *session)
{
    uint8_t entry[FK_SESENTRY_MAX];
    unsigned id_len;
    const uint8_t *id = SSL_SESSION_get_id(session, &id_len);
    size_t len;

    if (fk_sesentry_seal(extra->tickets, extra->owner, session, entry, &len) == FK_OK)
        extra->store->ops->put(extra->store, id, entry, len,
                               (uint64_t)SSL_SESSION_get_timeout(session) * 1000);
}

/* Only sessions of TLS 1.2 without a ticket have an id that means anything. */
static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    const struct extra *extra = extra_of(ssl);

    if (SSL_SESSION_get_protocol_version(session) == TLS1_2_VERSION) {
        if (extra->cache != NULL)
            (void)fk_sescache_put(extra->cache, extra->tickets, session);
        if (extra->store != NULL)
            store_session(extra, session);
    }
    return 0; /* not kept as an object */
}

struct search {
    struct fk_rkey_wait wait;
    struct fk_sesstore *store;
    const uint8_t *id;
};

static int ask_store(struct fk_rkey_wait *wait, fk_key_done_cb *done, void *arg, void **ret)
{
    const struct search *search = fk_container(wait, struct search, wait);
    struct fk_sesstore_find *find;
    int err = search->store->ops->find(search->store, search->id, done, arg, &find);

    if (err == FK_OK)
        *ret = find;
    return err;
}

static void cancel_store(struct fk_rkey_wait *wait, void *call)
{
    const struct search *search = fk_container(wait, struct search, wait);

    search->store->ops->cancel(search->store, call);
}

/* The handshake pauses; without an answer it is a full one. */
static SSL_SESSION *search_store(const struct extra *extra, const uint8_t *id)
{
    struct search search = {
        .wait = {.submit = ask_store, .cancel = cancel_store}, .store = extra->store, .id = id};
    const struct fk_sesentry_bound bound = {.id = id, .owner = extra->owner};
    SSL_SESSION *session = NULL;
    uint8_t entry[FK_SESENTRY_MAX];
    size_t len;

    if (fk_rkey_await(&search.wait, entry, sizeof entry, &len) == FK_OK)
        (void)fk_sesentry_open(extra->tickets, &bound, entry, len, &session);
    return session;
}

static SSL_SESSION *find_session(SSL *ssl, const unsigned char *id, int len, int *ret_copy)
{
    const struct extra *extra = extra_of(ssl);
    SSL_SESSION *session = NULL;

    *ret_copy = 0; /* OpenSSL owns what it gets */
    if (len != FK_SESSTORE_ID)
        return NULL;
    if (extra->cache != NULL)
        session = fk_sescache_get(extra->cache, extra->tickets, id, (size_t)len);
    if (session == NULL && extra->store != NULL && fk_ticket_site_count(extra->tickets) > 0)
        session = search_store(extra, id);
    if (session == NULL || may_resume(extra, session))
        return session;
    SSL_SESSION_free(session);
    return NULL;
}

/* Not where others judge clients, see struct fk_server_conf. */
static bool resumes(const struct fk_server_conf *conf)
{
    return conf->client == FK_CLIENT_NOT_ASKED || conf->clientca != NULL;
}

static void set_ids(SSL_CTX *ctx, const struct fk_server_conf *conf)
{
    if (!conf->ids || (conf->cache == NULL && conf->store == NULL) || !resumes(conf)) {
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
        return;
    }
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, keep_session);
    SSL_CTX_sess_set_get_cb(ctx, find_session);
}

static int set_resumption(SSL_CTX *ctx, const struct fk_server_conf *conf)
{
    const unsigned n_tickets = resumes(conf) ? conf->n_tickets : 0;

    if (SSL_CTX_set_session_id_context(ctx, conf->id, SHA256_DIGEST_LENGTH) != 1)
        return FK_ERR_CRYPTO;
    SSL_CTX_set_timeout(ctx, (long)(conf->lifetime_us / 1000000));
    set_ids(ctx, conf);
    if ((conf->sealed || conf->client != FK_CLIENT_NOT_ASKED) &&
        SSL_CTX_set_session_ticket_cb(ctx, NULL, look_at_ticket, NULL) != 1)
        return FK_ERR_CRYPTO;
    if (n_tickets == 0 && (!conf->promises || conf->n_tickets == 0))
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    else if (SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, handle_ticket) != 1)
        return FK_ERR_CRYPTO;
    /* Of a TLS 1.3 session whose resumption secret nobody has there is none. */
    return SSL_CTX_set_num_tickets(ctx, conf->sealed ? 0 : n_tickets) == 1 ? FK_OK : FK_ERR_CRYPTO;
}

/* --- all --- */

static int add_certificate(SSL_CTX *ctx, const struct fk_server_conf *conf,
                           const struct fk_cert *cert)
{
    EVP_PKEY *key;
    int err;

    err = fk_rkey_new(conf->libctx, X509_get0_pubkey(cert->leaf), conf->back, &key);
    if (err != FK_OK)
        return err;
    if (SSL_CTX_use_cert_and_key(ctx, cert->leaf, key, cert->chain, 1) != 1)
        err = FK_ERR_CRYPTO;
    EVP_PKEY_free(key);
    return err;
}

static void set_modes(SSL_CTX *ctx, const struct fk_server_conf *conf)
{
    SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA |
                                 SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(ctx, SSL_MODE_ASYNC | SSL_MODE_RELEASE_BUFFERS |
                              SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_quiet_shutdown(ctx, 0);
    SSL_CTX_set_read_ahead(ctx, conf->read_ahead);
}

/* OpenSSL asks for a certificate when it has found no session, and before it answers. */
static int stop(SSL *ssl, void *arg)
{
    (void)ssl, (void)arg;
    return -1;
}

static int fill(SSL_CTX *ctx, const struct fk_server_conf *conf)
{
    bool groups_given = conf->groups != NULL && conf->groups[0] != '\0';
    int err;

    set_modes(ctx, conf);
    if ((err = set_versions(ctx, conf)) != FK_OK || (err = set_suites(ctx, conf)) != FK_OK)
        return err;
    if (groups_given && SSL_CTX_set1_groups_list(ctx, conf->groups) != 1)
        return FK_ERR_CRYPTO;
    if ((err = set_extra(ctx, conf)) != FK_OK || (err = set_resumption(ctx, conf)) != FK_OK ||
        (err = ask_clients(ctx, conf)) != FK_OK)
        return err;
    for (size_t i = 0; err == FK_OK && i < conf->n_certs; i++)
        err = add_certificate(ctx, conf, &conf->certs[i]);
    if (conf->only_resumes)
        SSL_CTX_set_cert_cb(ctx, stop, NULL);
    return err;
}

int fk_server_ctx_new(const struct fk_server_conf *conf, SSL_CTX **ret)
{
    SSL_CTX *ctx;
    int err;

    if (conf->opaque && conf->tls13 && !conf->sealed)
        return FK_ERR_INVAL;
    ctx = SSL_CTX_new_ex(conf->libctx, conf->opaque ? FK_OPAQUE_QUERY : NULL, TLS_server_method());
    if (ctx == NULL)
        return FK_ERR_NOMEM;
    if ((err = fill(ctx, conf)) != FK_OK) {
        SSL_CTX_free(ctx);
        return err;
    }
    *ret = ctx;
    return FK_OK;
}
