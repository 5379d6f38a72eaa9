/* A flow's handshake: see wiretls.h. */
#include "edge/wiretls.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/secret.h"
#include "edge/metrics.h"
#include "edge/sites.h"
#include "tls/handover.h"
#include "tls/rkey.h"
#include "wire/client_hello.h"

#include <openssl/err.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* What only a handshake needs. */
struct setup {
    struct fk_rkey_session key;
    struct fk_handover seen;
    struct fk_gen *gen;
    struct fk_site *site;
    SSL *ssl;
    const uint8_t *bytes; /* of the flow's, while a step lasts */
    size_t len, used;
    size_t hello_needs;
    struct fk_buf out;
    char sni[FK_HOST_MAX + 1];
    struct wiretls *tls;
};

struct wiretls {
    struct fk_wiretls_env *env;
    struct fk_flow *flow;
    struct setup *setup; /* NULL: done */
    struct fk_list waiting;
    uint64_t began_us;
    struct fk_wiretls_info info;
};

/* --- OpenSSL's view of the flow --- */

static BIO_METHOD *method;
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

static int flow_read(BIO *bio, char *dst, int len)
{
    struct setup *setup = BIO_get_data(bio);
    size_t have = setup->len - setup->used;

    BIO_clear_retry_flags(bio);
    if (have == 0 || len <= 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    have = have < (size_t)len ? have : (size_t)len;
    memcpy(dst, setup->bytes + setup->used, have);
    setup->used += have;
    return (int)have;
}

static int flow_write(BIO *bio, const char *src, int len)
{
    struct setup *setup = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    if (len <= 0 || fk_buf_append(&setup->out, src, (size_t)len) != FK_OK)
        return len <= 0 ? 0 : -1;
    return len;
}

static long flow_ctrl(BIO *bio, int command, long number, void *ptr)
{
    (void)bio, (void)number, (void)ptr;
    return command == BIO_CTRL_FLUSH;
}

static void make_method(void)
{
    BIO_METHOD *made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "flow");

    if (made == NULL)
        return;
    BIO_meth_set_read(made, flow_read);
    BIO_meth_set_write(made, flow_write);
    BIO_meth_set_ctrl(made, flow_ctrl);
    method = made;
}

/* --- life --- */

static void on_wake(struct fk_rkey_session *session)
{
    struct setup *setup = fk_container(session, struct setup, key);
    struct fk_wiretls_env *env = setup->tls->env;

    env->wake(env->arg, setup->tls->flow);
}

static int tls_new(void *arg, struct fk_flow *flow, void **ret)
{
    struct fk_wiretls_env *env = arg;
    struct wiretls *tls;

    if (env->gen == NULL)
        return FK_ERR_UNAVAILABLE;
    tls = calloc(1, sizeof *tls);
    if (tls == NULL || (tls->setup = calloc(1, sizeof *tls->setup)) == NULL) {
        free(tls);
        return FK_ERR_NOMEM;
    }
    tls->env = env;
    tls->flow = flow;
    tls->began_us = fk_loop_now_us(env->loop);
    fk_list_init(&tls->waiting);
    tls->setup->tls = tls;
    tls->setup->gen = fk_gen_ref(env->gen);
    tls->setup->key.wake = on_wake;
    fk_buf_init(&tls->setup->out, FK_WIRETLS_OUT);
    *ret = tls;
    return FK_OK;
}

/* A paused job is ended, or it would leak: rkey.h. */
static void end_job(struct setup *setup)
{
    if (setup->ssl == NULL || SSL_waiting_for_async(setup->ssl) != 1)
        return;
    setup->bytes = NULL;
    setup->len = setup->used = 0;
    fk_rkey_abort(&setup->key, FK_ERR_CANCELLED);
    fk_rkey_enter(&setup->key);
    (void)SSL_do_handshake(setup->ssl);
    fk_rkey_leave();
    ERR_clear_error();
}

static void free_setup(struct wiretls *tls)
{
    struct setup *setup = tls->setup;

    if (setup == NULL)
        return;
    tls->setup = NULL;
    fk_list_del(&tls->waiting);
    end_job(setup);
    if (setup->site != NULL)
        setup->site->active--;
    SSL_free(setup->ssl);
    fk_buf_fini(&setup->out);
    fk_gen_unref(setup->gen);
    fk_wipe(setup, sizeof *setup);
    free(setup);
}

static void tls_free(void *arg)
{
    struct wiretls *tls = arg;

    if (tls->setup != NULL && tls->setup->ssl != NULL)
        fk_metric_add(tls->env->metrics, FK_EDGE_HS_LOST, 1);
    free_setup(tls);
    free(tls->info.site);
    free(tls->info.sni);
    free(tls->info.client);
    free(tls);
}

/* --- the beginning --- */

/* An alert record of ours: nothing has been negotiated that would protect it. */
static int alert(struct setup *setup, uint8_t number, int err)
{
    const uint8_t record[] = {21, 3, 3, 0, 2, 2, number};

    (void)fk_buf_append(&setup->out, record, sizeof record); /* RST follows in any case */
    fk_metric_add(setup->tls->env->metrics, FK_EDGE_HS_REFUSED, 1);
    return err;
}

static void note_addresses(struct wiretls *tls)
{
    struct fk_key_context *context = &tls->setup->key.context;
    const struct fk_ip *client = fk_flow_ip(tls->flow, FK_INLINE_CLIENT);

    *context = (struct fk_key_context){.sni = tls->info.sni, .connection = ++tls->env->next_id};
    context->client_ip_len = context->server_ip_len = (uint8_t)fk_ip_address_len(client);
    memcpy(context->client_ip, client->src, context->client_ip_len);
    memcpy(context->server_ip, client->dst, context->server_ip_len);
}

static int choose(struct wiretls *tls, const struct fk_client_hello *hello)
{
    static const struct fk_edge_listen anywhere = {.strict_sni = false};
    struct setup *setup = tls->setup;
    const char *name = hello->server_name[0] == '\0' ? NULL : hello->server_name;
    int err;

    if (name != NULL && (tls->info.sni = strdup(name)) == NULL)
        return FK_ERR_NOMEM;
    err = fk_sites_choose(setup->gen->sites, &anywhere, name, name == NULL ? 0 : strlen(name), NULL,
                          &setup->site);
    if (err != FK_OK) {
        fk_metric_add(tls->env->metrics, FK_EDGE_UNKNOWN_NAME, 1);
        return alert(setup, SSL_AD_UNRECOGNIZED_NAME, err);
    }
    setup->site->connections++;
    setup->site->active++;
    tls->info.site = strdup(setup->site->conf->block.title);
    return tls->info.site == NULL ? FK_ERR_NOMEM : FK_OK;
}

static int look(struct wiretls *tls)
{
    struct setup *setup = tls->setup;
    struct fk_client_hello hello;
    struct fk_buf scratch;
    int err;

    if (setup->site != NULL)
        return FK_OK;
    if (setup->len < setup->hello_needs)
        return FK_ERR_AGAIN;
    fk_buf_init(&scratch, FK_CLIENT_HELLO_MAX);
    err = fk_client_hello_parse(setup->bytes, setup->len, &scratch, &hello, &setup->hello_needs);
    if (err == FK_OK)
        err = choose(tls, &hello);
    else if (err != FK_ERR_AGAIN)
        err = alert(setup, err == FK_ERR_VERSION ? SSL_AD_PROTOCOL_VERSION : SSL_AD_DECODE_ERROR,
                    err);
    fk_buf_fini(&scratch);
    return err;
}

static int begin(struct wiretls *tls)
{
    struct setup *setup = tls->setup;
    BIO *bio;

    note_addresses(tls);
    pthread_once(&method_once, make_method);
    if (method == NULL || (setup->ssl = SSL_new(setup->site->ctx)) == NULL ||
        (bio = BIO_new(method)) == NULL)
        return FK_ERR_NOMEM;
    BIO_set_data(bio, setup);
    BIO_set_init(bio, 1);
    SSL_set_bio(setup->ssl, bio, bio);
    SSL_set_accept_state(setup->ssl);
    if (setup->site->desk != NULL)
        fk_desk_want(setup->site->desk);
    return fk_handover_watch(setup->ssl, &setup->seen);
}

/* --- the end --- */

/* A name for the session that its secrets cannot be found by. */
static void name_session(const SSL_SESSION *session, uint8_t ret[8])
{
    static const char label[] = "farkey inline session";
    struct {
        uint8_t bytes[sizeof label + SSL_MAX_MASTER_KEY_LENGTH];
        uint8_t digest[SHA256_DIGEST_LENGTH];
    } scratch;
    size_t len;

    memcpy(scratch.bytes, label, sizeof label);
    len = SSL_SESSION_get_master_key(session, scratch.bytes + sizeof label,
                                     SSL_MAX_MASTER_KEY_LENGTH);
    SHA256(scratch.bytes, sizeof label + len, scratch.digest);
    memcpy(ret, scratch.digest, 8);
    fk_wipe(&scratch, sizeof scratch);
}

static char *name_client(const SSL *ssl)
{
    X509 *cert = SSL_get0_peer_certificate(ssl);
    char text[256];

    if (cert == NULL)
        return NULL;
    X509_NAME_oneline(X509_get_subject_name(cert), text, sizeof text);
    return strdup(text);
}

static int succeeded(struct wiretls *tls)
{
    struct setup *setup = tls->setup;
    struct fk_wiretls_info *info = &tls->info;
    struct fk_metrics *metrics = tls->env->metrics;
    SSL_SESSION *session = SSL_get0_session(setup->ssl);
    bool tls13 = SSL_version(setup->ssl) == TLS1_3_VERSION;

    info->resumed = SSL_session_reused(setup->ssl) == 1;
    setup->site->shaken[info->resumed]++;
    info->version = tls13 ? "TLSv1.3" : "TLSv1.2";
    info->cipher = SSL_CIPHER_get_name(SSL_get_current_cipher(setup->ssl));
    info->client = name_client(setup->ssl);
    info->waited_us = setup->key.waited_us;
    info->expires_us =
        ((uint64_t)SSL_SESSION_get_time(session) + (uint64_t)SSL_SESSION_get_timeout(session)) *
        1000000;
    name_session(session, info->session);
    if (tls13)
        fk_metric_add(metrics, info->resumed ? FK_EDGE_HS_TLS13_RES : FK_EDGE_HS_TLS13, 1);
    else
        fk_metric_add(metrics, info->resumed ? FK_EDGE_HS_TLS12_RES : FK_EDGE_HS_TLS12, 1);
    fk_metric_observe(metrics, FK_EDGE_HS_SECONDS, fk_loop_now_us(tls->env->loop) - tls->began_us);
    if (setup->key.operations > 0)
        fk_metric_observe(metrics, FK_EDGE_KEY_SECONDS, info->waited_us);
    return FK_OK;
}

static int failed(struct wiretls *tls)
{
    struct setup *setup = tls->setup;
    bool key = setup->key.err != FK_OK;
    const char *reason = ERR_reason_error_string(ERR_peek_error());

    fk_metric_add(tls->env->metrics, key ? FK_EDGE_HS_KEY : FK_EDGE_HS_REFUSED, 1);
    fk_log_limited(&tls->env->limit, FK_LOG_WARN, "handshake failed",
                   fk_str("site", tls->info.site), fk_str("sni", tls->info.sni),
                   fk_str("why", key ? "private key operation failed" : reason),
                   fk_error(key ? setup->key.err : FK_ERR_TLS));
    if (!key && ERR_GET_REASON(ERR_peek_error()) == SSL_R_TLSV1_ALERT_DECRYPT_ERROR &&
        setup->key.operations > 0 && setup->site->back->ops->suspect != NULL)
        setup->site->back->ops->suspect(setup->site->back);
    SSL_free(setup->ssl); /* counted */
    setup->ssl = NULL;
    return FK_ERR_TLS;
}

static int shake(struct wiretls *tls)
{
    struct setup *setup = tls->setup;
    int result, why;

    ERR_clear_error();
    fk_rkey_enter(&setup->key);
    result = SSL_do_handshake(setup->ssl);
    fk_rkey_leave();
    why = result == 1 ? SSL_ERROR_NONE : SSL_get_error(setup->ssl, result);
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_ASYNC)
        result = FK_ERR_AGAIN;
    else
        result = result == 1 ? succeeded(tls) : failed(tls);
    ERR_clear_error();
    return result;
}

static int advance(struct wiretls *tls)
{
    struct setup *setup = tls->setup;
    int err;

    if ((err = look(tls)) != FK_OK)
        return err;
    if (setup->ssl == NULL && setup->site->ctx == NULL) {
        fk_list_del(&tls->waiting);
        fk_list_append(&tls->env->waiting, &tls->waiting);
        fk_gen_want(setup->gen, setup->site);
        return FK_ERR_AGAIN;
    }
    if (setup->ssl == NULL && (err = begin(tls)) != FK_OK)
        return alert(setup, SSL_AD_INTERNAL_ERROR, err);
    /* Only the answer moves what waits for the private key. */
    return setup->key.waiting ? FK_ERR_AGAIN : shake(tls);
}

static int tls_step(void *arg, const uint8_t *bytes, size_t len, size_t *ret_used)
{
    struct wiretls *tls = arg;
    struct setup *setup = tls->setup;
    int err;

    setup->bytes = bytes;
    setup->len = len;
    setup->used = 0;
    err = advance(tls);
    *ret_used = setup->used;
    setup->bytes = NULL;
    setup->len = setup->used = 0;
    return err;
}

static size_t tls_output(void *arg, uint8_t *out, size_t size)
{
    struct setup *setup = ((struct wiretls *)arg)->setup;
    size_t len = fk_buf_len(&setup->out);

    len = len < size ? len : size;
    if (len == 0)
        return 0;
    memcpy(out, fk_buf_data(&setup->out), len);
    fk_buf_consume(&setup->out, len);
    return len;
}

static int tls_keys(void *arg, struct fk_session_keys *ret)
{
    struct wiretls *tls = arg;
    int err = fk_handover_take(tls->setup->ssl, &tls->setup->seen, ret);

    if (err != FK_OK)
        return err;
    fk_metric_add(tls->env->metrics, FK_EDGE_HANDED_OVER, 1);
    SSL_free(tls->setup->ssl);
    tls->setup->ssl = NULL;
    free_setup(tls);
    return FK_OK;
}

const struct fk_flow_tls_ops fk_wiretls_ops = {tls_new, tls_step, tls_output, tls_keys, tls_free};

/* --- all of a worker --- */

void fk_wiretls_env_init(struct fk_wiretls_env *env, struct fk_loop *loop)
{
    env->loop = loop;
    fk_list_init(&env->waiting);
}

void fk_wiretls_resume(struct fk_wiretls_env *env)
{
    struct fk_list ready, *item;

    fk_list_init(&ready);
    while ((item = fk_list_pop(&env->waiting)) != NULL)
        fk_list_append(&ready, item);
    /* Whoever still has none comes back to the list. */
    while ((item = fk_list_pop(&ready)) != NULL)
        env->wake(env->arg, fk_container(item, struct wiretls, waiting)->flow);
}

const struct fk_wiretls_info *fk_wiretls_info(const void *arg)
{
    const struct wiretls *tls = arg;

    return tls == NULL || tls->setup != NULL ? NULL : &tls->info;
}
