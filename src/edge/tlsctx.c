/* Making a site's SSL_CTX: see tlsctx.h. */
#include "edge/tlsctx.h"

#include "base/err.h"
#include "base/limits.h"
#include "tls/rkey.h"

#include <openssl/err.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* Kept in the context's ex_data: what the callbacks need, freed with the context. */
struct extra {
    struct fk_ticket_site *tickets;
    struct fk_sescache *cache;
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

/* The suites: forward secrecy and AEAD; the rest only where the site asks for it. */
static const char suites13[] =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
static const char suites_ecdhe[] = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
                                   "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
                                   "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
static const char suites_dhe[] =
    ":DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305";
static const char suites_rsa[] = ":AES128-GCM-SHA256:AES256-GCM-SHA384";

static int set_versions(SSL_CTX *ctx, const struct fk_edge_site *site)
{
    bool only12 = site->mode == FK_MODE_DECRYPT || (site->tls & FK_EDGE_TLS13) == 0;
    bool only13 = (site->tls & FK_EDGE_TLS12) == 0;

    if (SSL_CTX_set_min_proto_version(ctx, only13 ? TLS1_3_VERSION : TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_max_proto_version(ctx, only12 ? TLS1_2_VERSION : TLS1_3_VERSION) != 1)
        return FK_ERR_CRYPTO;
    return FK_OK;
}

static int set_suites(SSL_CTX *ctx, const struct fk_edge_site *site)
{
    char list[512];

    if (site->mode == FK_MODE_DECRYPT)
        snprintf(list, sizeof list, "%s", suites_rsa + 1);
    else
        snprintf(list, sizeof list, "%s%s%s", suites_ecdhe, site->dhe ? suites_dhe : "",
                 site->rsa_key_exchange ? suites_rsa : "");
    if (SSL_CTX_set_cipher_list(ctx, list) != 1 || SSL_CTX_set_ciphersuites(ctx, suites13) != 1)
        return FK_ERR_CRYPTO;
    if (site->dhe && SSL_CTX_set_dh_auto(ctx, 1) != 1)
        return FK_ERR_CRYPTO;
    return FK_OK;
}

static int set_groups(SSL_CTX *ctx, const struct fk_edge_site *site)
{
    char list[256];
    size_t len = 0;

    for (size_t i = 0; i < site->groups.count; i++) {
        int n = snprintf(list + len, sizeof list - len, "%s%s", i > 0 ? ":" : "",
                         site->groups.items[i]);

        if (n < 0 || (size_t)n >= sizeof list - len)
            return FK_ERR_LIMIT;
        len += (size_t)n;
    }
    return len == 0 || SSL_CTX_set1_groups_list(ctx, list) == 1 ? FK_OK : FK_ERR_CRYPTO;
}

int fk_tlsctx_check_groups(const struct fk_edge_site *site, const char **ret_bad)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    const char *bad = NULL;
    int err;

    if (ctx == NULL)
        return FK_ERR_NOMEM;
    err = set_groups(ctx, site);
    for (size_t i = 0; err == FK_ERR_CRYPTO && bad == NULL && i < site->groups.count; i++)
        if (strchr(site->groups.items[i], ':') != NULL ||
            SSL_CTX_set1_groups_list(ctx, site->groups.items[i]) != 1)
            bad = site->groups.items[i];
    ERR_clear_error();
    SSL_CTX_free(ctx);
    if (err != FK_OK)
        *ret_bad = bad;
    return err;
}

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

static int handle_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                         EVP_MAC_CTX *mac, int seal)
{
    const struct extra *extra = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), extra_index);

    return seal ? fk_ticket_site_seal(extra->tickets, name, iv, cipher, mac)
                : fk_ticket_site_open(extra->tickets, name, iv, cipher, mac);
}

static int set_extra(SSL_CTX *ctx, const struct fk_tlsctx_config *config)
{
    const struct fk_conf_list *alpn = &config->site->alpn;
    struct extra *extra;
    size_t size = 0;

    for (size_t i = 0; i < alpn->count; i++)
        size += 1 + strlen(alpn->items[i]);
    if ((extra = calloc(1, sizeof *extra + size)) == NULL)
        return FK_ERR_NOMEM;
    for (size_t i = 0; i < alpn->count; i++) {
        size_t len = strlen(alpn->items[i]);

        extra->alpn[extra->alpn_len] = (uint8_t)len;
        memcpy(extra->alpn + extra->alpn_len + 1, alpn->items[i], len);
        extra->alpn_len += 1 + len;
    }
    extra->tickets = config->tickets;
    extra->cache = config->cache;
    pthread_once(&extra_once, extra_init);
    if (extra_index < 0 || SSL_CTX_set_ex_data(ctx, extra_index, extra) != 1) {
        free(extra);
        return FK_ERR_NOMEM;
    }
    if (extra->alpn_len > 0)
        SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, extra);
    return FK_OK;
}

/* Only sessions of TLS 1.2 without a ticket have an id that means anything. */
static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    const struct extra *extra = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), extra_index);

    if (SSL_SESSION_get_protocol_version(session) == TLS1_2_VERSION)
        (void)fk_sescache_put(extra->cache, extra->tickets, session);
    return 0; /* not kept as an object */
}

static SSL_SESSION *find_session(SSL *ssl, const unsigned char *id, int len, int *ret_copy)
{
    const struct extra *extra = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), extra_index);

    *ret_copy = 0; /* OpenSSL owns what it gets */
    return fk_sescache_get(extra->cache, extra->tickets, id, (size_t)len);
}

/* Resumption: a session belongs to one site, whatever the client offers it to. */
static int set_resumption(SSL_CTX *ctx, const struct fk_tlsctx_config *config)
{
    const struct fk_edge_tickets *resumption = config->resumption;
    const char *title = config->site->block.title;
    uint8_t id[SHA256_DIGEST_LENGTH];

    SHA256((const uint8_t *)title, strlen(title), id);
    if (SSL_CTX_set_session_id_context(ctx, id, sizeof id) != 1)
        return FK_ERR_CRYPTO;
    SSL_CTX_set_timeout(ctx, (long)(resumption->lifetime_us / 1000000));
    if (resumption->cache > 0 && config->cache != NULL) {
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(ctx, keep_session);
        SSL_CTX_sess_set_get_cb(ctx, find_session);
    } else {
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    }
    if (!resumption->enabled) {
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
        return SSL_CTX_set_num_tickets(ctx, 0) == 1 ? FK_OK : FK_ERR_CRYPTO;
    }
    if (SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, handle_ticket) != 1 ||
        SSL_CTX_set_num_tickets(ctx, resumption->count) != 1)
        return FK_ERR_CRYPTO;
    return FK_OK;
}

static int add_certificate(SSL_CTX *ctx, const struct fk_tlsctx_config *config,
                           const struct fk_cert *cert)
{
    EVP_PKEY *key;
    int err;

    err = fk_rkey_new(config->libctx, X509_get0_pubkey(cert->leaf), config->back, &key);
    if (err != FK_OK)
        return err;
    if (SSL_CTX_use_cert_and_key(ctx, cert->leaf, key, cert->chain, 1) != 1)
        err = FK_ERR_CRYPTO;
    EVP_PKEY_free(key);
    return err;
}

static void set_modes(SSL_CTX *ctx)
{
    SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA |
                                 SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(ctx, SSL_MODE_ASYNC | SSL_MODE_RELEASE_BUFFERS |
                              SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_quiet_shutdown(ctx, 0);
}

int fk_tlsctx_new(const struct fk_tlsctx_config *config, struct fk_why *why, SSL_CTX **ret)
{
    SSL_CTX *ctx = SSL_CTX_new_ex(config->libctx, NULL, TLS_server_method());
    int err;

    if (ctx == NULL)
        return FK_ERR_NOMEM;
    set_modes(ctx);
    /* What OpenSSL has read ahead cannot be got back, so with the engine it must not: edge/bio.h.
     * Without: one recv a record, not two. */
    SSL_CTX_set_read_ahead(ctx, config->site->records == FK_RECORDS_OPENSSL);
    if ((err = set_versions(ctx, config->site)) != FK_OK ||
        (err = set_suites(ctx, config->site)) != FK_OK ||
        (err = set_groups(ctx, config->site)) != FK_OK || (err = set_extra(ctx, config)) != FK_OK ||
        (err = set_resumption(ctx, config)) != FK_OK)
        goto out;
    for (size_t i = 0; i < config->n_certs; i++)
        if ((err = add_certificate(ctx, config, &config->certs[i])) != FK_OK)
            goto out;
    *ret = ctx;
    ctx = NULL; /* moved */
out:
    if (err == FK_ERR_CRYPTO && ERR_peek_last_error() != 0)
        ERR_error_string_n(ERR_peek_last_error(), why->text, sizeof why->text);
    ERR_clear_error();
    SSL_CTX_free(ctx);
    return err;
}
