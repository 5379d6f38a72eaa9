/* Session keys out of an SSL object: see handover.h. */
#include "tls/handover.h"

#include "base/err.h"
#include "base/secret.h"
#include "base/text.h"

#include <pthread.h>
#include <string.h>

#define MASTER_LEN 48
#define RANDOM_LEN 32

static int seen_index = -1;
static pthread_once_t index_once = PTHREAD_ONCE_INIT;

static void make_index(void)
{
    seen_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
}

/* --- watching --- */

/* The secret of a keylog line: label, client random, secret, all but the label in hex. */
static size_t read_secret(const char *line, const char *label, uint8_t ret[FK_SUITE_HASH_MAX])
{
    size_t label_len = strlen(label), skip = label_len + 2 * (size_t)RANDOM_LEN + 1, len;

    if (strncmp(line, label, label_len) != 0 || strlen(line) < skip)
        return 0;
    len = strlen(line + skip) / 2;
    if (len > FK_SUITE_HASH_MAX || fk_text_unhex(line + skip, 2 * len, ret, len) != FK_OK)
        return 0;
    return len;
}

static void on_keylog(const SSL *ssl, const char *line)
{
    struct fk_handover *seen = SSL_get_ex_data(ssl, seen_index);
    size_t len;

    if (seen == NULL)
        return;
    if ((len = read_secret(line, "CLIENT_TRAFFIC_SECRET_0 ", seen->client_secret)) != 0)
        seen->client_len = len;
    else if ((len = read_secret(line, "SERVER_TRAFFIC_SECRET_0 ", seen->server_secret)) != 0)
        seen->server_len = len;
    if (len != 0)
        SSL_CTX_set_keylog_callback(SSL_get_SSL_CTX(ssl), NULL);
}

/*
 * Each line of the log costs its hex. Those that matter are made right after a Finished: the
 * server's secret when its own is written, the client's when the client's is read. So the log is on
 * from there to the line; nothing else runs between.
 */
static void on_message(int written, int version, int type, const void *bytes, size_t len, SSL *ssl,
                       void *arg)
{
    struct fk_handover *seen = arg;

    (void)version;
    if (type == SSL3_RT_HANDSHAKE && seen->message != NULL)
        seen->message(seen->message_arg, bytes, len);
    if (type == SSL3_RT_HANDSHAKE && len > 0 && SSL_version(ssl) == TLS1_3_VERSION &&
        *(const uint8_t *)bytes == SSL3_MT_FINISHED)
        SSL_CTX_set_keylog_callback(SSL_get_SSL_CTX(ssl), on_keylog);
    /* The header of each record that is written: after the secret has been derived, under it. */
    if (written == 1 && type == SSL3_RT_HEADER && seen->server_len > 0)
        seen->sent++;
}

int fk_handover_watch(SSL *ssl, struct fk_handover *seen)
{
    pthread_once(&index_once, make_index);
    if (seen_index < 0 || SSL_set_ex_data(ssl, seen_index, seen) != 1)
        return FK_ERR_NOMEM;
    SSL_set_msg_callback(ssl, on_message);
    SSL_set_msg_callback_arg(ssl, seen);
    return FK_OK;
}

void fk_handover_forget(SSL *ssl)
{
    (void)SSL_set_ex_data(ssl, seen_index, NULL);
    SSL_set_msg_callback(ssl, NULL);
    SSL_set_msg_callback_arg(ssl, NULL);
}

/* --- taking --- */

static int take_tls13(const struct fk_suite *suite, const struct fk_handover *seen,
                      struct fk_session_keys *ret)
{
    int err;

    if (seen->client_len != suite->hash_len || seen->server_len != suite->hash_len)
        return FK_ERR_INTERNAL;
    if ((err = fk_session_keys_tls13(suite, seen->client_secret, seen->server_secret, ret)) ==
        FK_OK)
        ret->server.seq = seen->sent; /* NewSessionTickets */
    return err;
}

/*
 * GCM: OpenSSL has written one record, its Finished, with a random explicit nonce; the engine's are
 * sequence numbers from 1 on. Among 2^64 they do not meet.
 */
static int take_tls12(const SSL *ssl, const struct fk_suite *suite, const struct fk_handover *seen,
                      struct fk_session_keys *ret)
{
    uint8_t master[MASTER_LEN], client[RANDOM_LEN], server[RANDOM_LEN];
    int err = FK_ERR_INTERNAL;

    if (seen->key_block.left > 0)
        return fk_session_keys_block(suite, seen->key_block.next, seen->key_block.left, ret);
    if (SSL_SESSION_get_master_key(SSL_get0_session(ssl), master, sizeof master) == MASTER_LEN &&
        SSL_get_client_random(ssl, client, sizeof client) == RANDOM_LEN &&
        SSL_get_server_random(ssl, server, sizeof server) == RANDOM_LEN)
        err = fk_session_keys_tls12(suite, master, client, server, false, ret);
    fk_wipe(master, sizeof master);
    return err;
}

int fk_handover_take(SSL *ssl, const struct fk_handover *seen, struct fk_session_keys *ret)
{
    const SSL_CIPHER *cipher = SSL_get_current_cipher(ssl);
    const struct fk_suite *suite;

    if (cipher == NULL || SSL_is_init_finished(ssl) != 1)
        return FK_ERR_INTERNAL;
    suite = fk_suite_find(SSL_CIPHER_get_protocol_id(cipher));
    /* Whether MAC or encryption came first with CBC, OpenSSL does not tell. */
    if (suite == NULL || suite->protection == FK_PROTECT_CBC || SSL_has_pending(ssl) == 1)
        return FK_ERR_UNSUPPORTED;
    return suite->version == FK_TLS13 ? take_tls13(suite, seen, ret)
                                      : take_tls12(ssl, suite, seen, ret);
}
