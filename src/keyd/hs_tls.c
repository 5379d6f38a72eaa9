/*
 * A handshake over memory: see hs_tls.h.
 *
 * Holds the session's secrets until its keys are out; never a private key: those are remote
 * (tls/rkey.h), asked for through the signers' sockets.
 */
#include "keyd/hs_tls.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/secret.h"
#include "tls/clientca.h"
#include "tls/handover.h"
#include "tls/rkey.h"
#include "tls/session_wire.h"

#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

struct fk_hs_tls {
    SSL *ssl;
    BIO *in, *out; /* the SSL object's */
    struct fk_rkey_session key;
    uint8_t *share; /* what came of a split key; NULL: nothing */
    uint8_t share_digest[FK_SHARE_DIGEST];
    bool expose; /* TLS 1.2: it ends with the master secret */
    struct fk_handover seen;
    void (*wake)(void *arg);
    void *arg;
    enum fk_hs_state state;
    size_t fed;      /* bytes of the client */
    unsigned rounds; /* in so many pieces */
    bool excess;     /* or more than a handshake may need */
    /* of a failed one */
    enum fk_handshake_cause cause;
    uint8_t alert;
    const char *reason; /* a static text */
};

/* --- the table --- */

#define NEXT(name) (1 + FK_HS_##name) /* 0 is the empty cell */

static const unsigned char cells[FK_HS_STATE_COUNT][FK_HS_FACT_COUNT] = {
    [FK_HS_WAITING] = {[FK_HS_FACT_RECORDS] = NEXT(RUNNING)},
    [FK_HS_RUNNING] = {[FK_HS_FACT_WANTED] = NEXT(WAITING),
                       [FK_HS_FACT_KEY_ASKED] = NEXT(ASKING),
                       [FK_HS_FACT_SHAKEN] = NEXT(DONE),
                       [FK_HS_FACT_BROKEN] = NEXT(FAILED)},
    [FK_HS_ASKING] = {[FK_HS_FACT_KEY_ANSWERED] = NEXT(RUNNING)},
};

enum fk_hs_state fk_hs_next(enum fk_hs_state state, enum fk_hs_fact fact)
{
    unsigned char next = cells[state][fact];

    return next == 0 ? FK_HS_STATE_COUNT : (enum fk_hs_state)(next - 1);
}

const char *fk_hs_state_name(enum fk_hs_state state)
{
    static const char *const names[] = {
#define STATE_NAME(name, text) text,
        FK_HS_STATES(STATE_NAME)
#undef STATE_NAME
    };

    return state < FK_HS_STATE_COUNT ? names[state] : "none";
}

const char *fk_hs_fact_name(enum fk_hs_fact fact)
{
    static const char *const names[] = {
#define FACT_NAME(name, text) text,
        FK_HS_FACTS(FACT_NAME)
#undef FACT_NAME
    };

    return fact < FK_HS_FACT_COUNT ? names[fact] : "none";
}

/* False: it cannot happen now. */
static bool advance(struct fk_hs_tls *tls, enum fk_hs_fact fact)
{
    enum fk_hs_state next = fk_hs_next(tls->state, fact);

    if (next == FK_HS_STATE_COUNT)
        return false;
    tls->state = next;
    return true;
}

/* --- life --- */

static void on_wake(struct fk_rkey_session *session)
{
    struct fk_hs_tls *tls = fk_container(session, struct fk_hs_tls, key);

    (void)advance(tls, FK_HS_FACT_KEY_ANSWERED);
    tls->wake(tls->arg);
}

/* Notes alerts, of either side. */
static void on_info(const SSL *ssl, int where, int ret)
{
    struct fk_hs_tls *tls = SSL_get_app_data(ssl);

    if ((where & SSL_CB_ALERT) == 0)
        return;
    tls->alert = (uint8_t)(ret & 0xff);
    if ((where & SSL_CB_READ) != 0)
        tls->cause = FK_HANDSHAKE_BY_CLIENT;
}

static int init(struct fk_hs_tls *tls, SSL_CTX *ctx)
{
    if ((tls->ssl = SSL_new(ctx)) == NULL || (tls->in = BIO_new(BIO_s_mem())) == NULL)
        return FK_ERR_NOMEM;
    if ((tls->out = BIO_new(BIO_s_mem())) == NULL) {
        BIO_free(tls->in);
        return FK_ERR_NOMEM;
    }
    BIO_set_mem_eof_return(tls->in, -1); /* more may come */
    SSL_set_bio(tls->ssl, tls->in, tls->out);
    SSL_set_accept_state(tls->ssl);
    if (SSL_set_app_data(tls->ssl, tls) != 1)
        return FK_ERR_NOMEM;
    SSL_set_info_callback(tls->ssl, on_info);
    return fk_handover_watch(tls->ssl, &tls->seen);
}

int fk_hs_tls_new(SSL_CTX *ctx, void (*wake)(void *arg), void *arg, struct fk_hs_tls **ret)
{
    struct fk_hs_tls *tls = calloc(1, sizeof *tls);
    int err;

    if (tls == NULL)
        return FK_ERR_NOMEM;
    tls->key.wake = on_wake;
    tls->wake = wake;
    tls->arg = arg;
    if ((err = init(tls, ctx)) != FK_OK) {
        ERR_clear_error();
        fk_hs_tls_free(tls);
        return err;
    }
    *ret = tls;
    return FK_OK;
}

int fk_hs_tls_share(struct fk_hs_tls *tls, struct fk_reader share,
                    const uint8_t digest[FK_SHARE_DIGEST])
{
    if ((tls->share = malloc(share.left)) == NULL)
        return FK_ERR_NOMEM;
    memcpy(tls->share, share.next, share.left);
    memcpy(tls->share_digest, digest, FK_SHARE_DIGEST);
    tls->key.share = tls->share;
    tls->key.share_len = share.left;
    tls->key.share_digest = tls->share_digest;
    return FK_OK;
}

void fk_hs_tls_expose(struct fk_hs_tls *tls)
{
    tls->expose = true;
}

/* A paused job has to end before its SSL object may go. */
static void end_job(struct fk_hs_tls *tls)
{
    if (!SSL_waiting_for_async(tls->ssl))
        return;
    fk_rkey_abort(&tls->key, FK_ERR_CANCELLED);
    fk_rkey_enter(&tls->key);
    (void)SSL_do_handshake(tls->ssl);
    fk_rkey_leave();
    ERR_clear_error();
}

void fk_hs_tls_free(struct fk_hs_tls *tls)
{
    if (tls == NULL)
        return;
    if (tls->ssl != NULL) {
        end_job(tls);
        /* OpenSSL forgets sessions of connections that were not shut down in order. */
        if (tls->state == FK_HS_DONE)
            SSL_set_shutdown(tls->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        SSL_free(tls->ssl);
    }
    free(tls->share); /* sealed */
    fk_wipe(tls, sizeof *tls);
    free(tls);
}

/* --- steps --- */

int fk_hs_tls_feed(struct fk_hs_tls *tls, struct fk_reader records)
{
    if (tls->state != FK_HS_WAITING)
        return FK_ERR_UNEXPECTED;
    tls->excess =
        records.left > FK_HANDSHAKE_IN_MAX - tls->fed || tls->rounds == FK_HANDSHAKE_ROUNDS_MAX;
    if (!tls->excess) {
        if (BIO_write(tls->in, records.next, (int)records.left) != (int)records.left)
            return FK_ERR_NOMEM;
        tls->fed += records.left;
        tls->rounds++;
    }
    (void)advance(tls, FK_HS_FACT_RECORDS);
    return FK_OK;
}

static enum fk_hs_fact failed(struct fk_hs_tls *tls)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());

    if (tls->key.err != FK_OK) {
        tls->cause = FK_HANDSHAKE_BY_KEY;
        reason = fk_err_text(tls->key.err);
    }
    tls->reason = reason == NULL ? "TLS failure" : reason;
    return FK_HS_FACT_BROKEN;
}

int fk_hs_tls_key_error(const struct fk_hs_tls *tls)
{
    return tls->key.err;
}

/* Whether the master secret is what is asked for: not of a session that is resumed. */
static bool exposes(const struct fk_hs_tls *tls)
{
    return tls->expose && SSL_version(tls->ssl) == TLS1_2_VERSION &&
           SSL_session_reused(tls->ssl) == 0;
}

/* It is there as soon as the client's share has been read; that a certificate is the client's, when
 * its CertificateVerify has. */
static bool exchanged(const struct fk_hs_tls *tls)
{
    const OSSL_HANDSHAKE_STATE last =
        SSL_get0_peer_certificate(tls->ssl) == NULL ? TLS_ST_SR_KEY_EXCH : TLS_ST_SR_CERT_VRFY;

    return exposes(tls) && SSL_get_state(tls->ssl) == last &&
           SSL_SESSION_get_master_key(SSL_get0_session(tls->ssl), NULL, 0) == FK_HANDSHAKE_MASTER;
}

static enum fk_hs_fact run(struct fk_hs_tls *tls)
{
    int result;

    if (tls->excess) { /* no alert: who does that is no client in need of one */
        tls->reason = "handshake too long";
        return FK_HS_FACT_BROKEN;
    }
    ERR_clear_error();
    fk_rkey_enter(&tls->key);
    result = SSL_do_handshake(tls->ssl);
    fk_rkey_leave();
    if (result == 1)
        return FK_HS_FACT_SHAKEN;
    switch (SSL_get_error(tls->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return exchanged(tls) ? FK_HS_FACT_SHAKEN : FK_HS_FACT_WANTED;
    case SSL_ERROR_WANT_ASYNC:
        return FK_HS_FACT_KEY_ASKED;
    default: /* memory takes all that is written: there is no WANT_WRITE */
        return failed(tls);
    }
}

enum fk_hs_state fk_hs_tls_step(struct fk_hs_tls *tls)
{
    while (tls->state == FK_HS_RUNNING)
        (void)advance(tls, run(tls));
    ERR_clear_error();
    return tls->state;
}

/* --- the answer --- */

static int put_keys(struct fk_hs_tls *tls, uint8_t wire[FK_SESSION_WIRE_MAX], size_t *ret_len)
{
    struct fk_session_keys keys;
    struct fk_writer out;
    int err = fk_handover_take(tls->ssl, &tls->seen, &keys);

    if (err != FK_OK)
        return err;
    fk_writer_init(&out, wire, FK_SESSION_WIRE_MAX);
    fk_session_wire_encode(&keys, &out);
    fk_wipe(&keys, sizeof keys);
    return fk_writer_end(&out, ret_len);
}

/* What the client has shown: the edge judges it. FK_ERR_LIMIT. */
static int put_chain(const struct fk_hs_tls *tls, struct fk_reader *ret)
{
    static uint8_t bytes[FK_CLIENT_CHAIN_MAX + 512]; /* one loop; nothing secret; and lengths */
    struct fk_writer out;
    size_t len;
    int err;

    fk_writer_init(&out, bytes, sizeof bytes);
    fk_clientca_encode_chain(tls->ssl, &out);
    if ((err = fk_writer_end(&out, &len)) == FK_OK)
        fk_reader_init(ret, bytes, len);
    return err;
}

static int describe_done(struct fk_hs_tls *tls, uint8_t wire[FK_SESSION_WIRE_MAX],
                         struct fk_handshake_answer *answer)
{
    const unsigned char *alpn;
    unsigned alpn_len;
    size_t len;
    int err = put_keys(tls, wire, &len);

    if (err != FK_OK || (err = put_chain(tls, &answer->chain)) != FK_OK)
        return err;
    SSL_get0_alpn_selected(tls->ssl, &alpn, &alpn_len);
    answer->state = FK_HANDSHAKE_DONE;
    answer->resumed = SSL_session_reused(tls->ssl) == 1;
    answer->rest = (uint16_t)BIO_ctrl_pending(tls->in);
    answer->alpn = (struct fk_reader){alpn, alpn_len};
    answer->keys = (struct fk_reader){wire, len};
    return FK_OK;
}

static int describe_exposed(const struct fk_hs_tls *tls, uint8_t master[FK_HANDSHAKE_MASTER],
                            struct fk_handshake_answer *answer)
{
    const unsigned char *alpn;
    unsigned alpn_len;
    int err;

    if (BIO_ctrl_pending(tls->in) > 0)
        return FK_ERR_FORMAT; /* the edge has sent more than was asked for */
    if ((err = put_chain(tls, &answer->chain)) != FK_OK)
        return err;
    (void)SSL_SESSION_get_master_key(SSL_get0_session(tls->ssl), master, FK_HANDSHAKE_MASTER);
    SSL_get0_alpn_selected(tls->ssl, &alpn, &alpn_len);
    answer->state = FK_HANDSHAKE_EXPOSED;
    answer->alpn = (struct fk_reader){alpn, alpn_len};
    answer->master = (struct fk_reader){master, FK_HANDSHAKE_MASTER};
    return FK_OK;
}

static void describe_failed(const struct fk_hs_tls *tls, struct fk_handshake_answer *answer)
{
    size_t len = strlen(tls->reason);

    answer->state = FK_HANDSHAKE_FAILED;
    answer->cause = tls->cause;
    answer->alert = tls->alert;
    fk_reader_init(&answer->reason, tls->reason, len < UINT8_MAX ? len : UINT8_MAX);
}

/* TLS 1.2: the client's flight ends with Finished, which one call takes with all before it. */
static enum fk_handshake_state next_wanted(const struct fk_hs_tls *tls)
{
    if (exposes(tls))
        return FK_HANDSHAKE_EXCHANGE;
    return SSL_version(tls->ssl) == TLS1_2_VERSION ? FK_HANDSHAKE_FLIGHT : FK_HANDSHAKE_ANY;
}

int fk_hs_tls_answer(struct fk_hs_tls *tls, const uint8_t id[FK_HANDSHAKE_ID],
                     struct fk_writer *out)
{
    struct fk_handshake_answer answer = {.state = next_wanted(tls)};
    uint8_t wire[FK_SESSION_WIRE_MAX];
    char *records;
    long n = BIO_get_mem_data(tls->out, &records);
    size_t len;
    int err = FK_OK;

    memcpy(answer.id, id, sizeof answer.id);
    fk_reader_init(&answer.records, records, n > 0 ? (size_t)n : 0);
    if (tls->state == FK_HS_DONE && SSL_is_init_finished(tls->ssl) != 1)
        err = describe_exposed(tls, wire, &answer);
    else if (tls->state == FK_HS_DONE)
        err = describe_done(tls, wire, &answer);
    else if (tls->state == FK_HS_FAILED)
        describe_failed(tls, &answer);
    if (err == FK_OK) {
        fk_handshake_answer_encode(&answer, out);
        err = fk_writer_end(out, &len);
    }
    fk_wipe(wire, sizeof wire);
    (void)BIO_reset(tls->out);
    return err;
}
