/* See tlspair.h. */
#include "tlspair.h"

#include "base/err.h"
#include "pki.h"
#include "unit.h"

#include <stdio.h>

static int pair_index = -1;

static void read_hex(const char *text, uint8_t *ret, size_t max)
{
    unsigned value;

    for (size_t i = 0; i < max && sscanf(text + 2 * i, "%2x", &value) == 1; i++)
        ret[i] = (uint8_t)value;
}

static void on_keylog(const SSL *ssl, const char *line)
{
    static const char *const labels[] = {"CLIENT_TRAFFIC_SECRET_0 ", "SERVER_TRAFFIC_SECRET_0 "};
    struct tlspair *pair = SSL_get_ex_data(ssl, pair_index);

    for (int i = 0; i < 2; i++)
        if (strncmp(line, labels[i], strlen(labels[i])) == 0)
            read_hex(line + strlen(labels[i]) + 65, pair->secrets[i], FK_SUITE_HASH_MAX);
}

static SSL_CTX *make_ctx(const struct fk_suite *suite, const char *name, const char *key_type)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    EVP_PKEY *key = pki_key(key_type);
    X509 *certificate = pki_issue(&(struct pki_cert){.subject = "/CN=pair", .key = key});

    assert_non_null(ctx);
    assert_int_equal(SSL_CTX_set_min_proto_version(ctx, suite->version), 1);
    assert_int_equal(SSL_CTX_set_max_proto_version(ctx, suite->version), 1);
    if (suite->version == FK_TLS13)
        assert_int_equal(SSL_CTX_set_ciphersuites(ctx, name), 1);
    else
        assert_int_equal(SSL_CTX_set_cipher_list(ctx, name), 1);
    assert_int_equal(SSL_CTX_set_num_tickets(ctx, 0), 1);
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    SSL_CTX_set_dh_auto(ctx, 1);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
    assert_int_equal(SSL_CTX_use_certificate(ctx, certificate), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, key), 1);
    SSL_CTX_set_keylog_callback(ctx, on_keylog);
    X509_free(certificate);
    return ctx;
}

static SSL *make_end(struct tlspair *pair, SSL_CTX *ctx, BIO *in, BIO *out)
{
    SSL *ssl = SSL_new(ctx);

    assert_non_null(ssl);
    SSL_set_ex_data(ssl, pair_index, pair);
    BIO_up_ref(in);
    BIO_up_ref(out);
    SSL_set_bio(ssl, in, out);
    return ssl;
}

static void take_keys(struct tlspair *pair, const struct fk_suite *suite, bool encrypt_then_mac)
{
    uint8_t master[48], randoms[2][32];

    if (suite->version == FK_TLS13) {
        assert_ok(fk_session_keys_tls13(suite, pair->secrets[0], pair->secrets[1], &pair->keys));
        return;
    }
    assert_int_equal(SSL_SESSION_get_master_key(SSL_get_session(pair->server), master, 48), 48);
    assert_int_equal(SSL_get_client_random(pair->server, randoms[0], 32), 32);
    assert_int_equal(SSL_get_server_random(pair->server, randoms[1], 32), 32);
    assert_ok(fk_session_keys_tls12(suite, master, randoms[0], randoms[1], encrypt_then_mac,
                                    &pair->keys));
}

/* OpenSSL's own name of a suite, and the key that a server needs for it. */
static const char *name_suite(uint16_t id, const char **ret_key)
{
    const uint8_t bytes[] = {(uint8_t)(id >> 8), (uint8_t)id};
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    SSL *ssl = SSL_new(ctx);
    const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, bytes);
    const char *name;

    assert_non_null(cipher);
    name = SSL_CIPHER_get_name(cipher);
    *ret_key = SSL_CIPHER_get_auth_nid(cipher) == NID_auth_ecdsa ? "P-256" : "RSA";
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    return name; /* static in OpenSSL */
}

void tlspair_open(struct tlspair *pair, uint16_t id, bool etm)
{
    const struct fk_suite *suite = fk_suite_find(id);
    const char *key, *name = name_suite(id, &key);
    SSL_CTX *ctx;

    assert_non_null(suite);
    if (pair_index < 0)
        pair_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    memset(pair, 0, sizeof *pair);
    ctx = make_ctx(suite, name, key);
    if (!etm)
        SSL_CTX_set_options(ctx, SSL_OP_NO_ENCRYPT_THEN_MAC);
    pair->to_client = BIO_new(BIO_s_mem());
    pair->to_server = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(pair->to_client, -1);
    BIO_set_mem_eof_return(pair->to_server, -1);
    pair->client = make_end(pair, ctx, pair->to_client, pair->to_server);
    pair->server = make_end(pair, ctx, pair->to_server, pair->to_client);
    SSL_set_connect_state(pair->client);
    SSL_set_accept_state(pair->server);
    SSL_CTX_free(ctx);
    for (int i = 0; i < 4; i++) {
        SSL_do_handshake(pair->client);
        SSL_do_handshake(pair->server);
    }
    assert_true(SSL_is_init_finished(pair->client) && SSL_is_init_finished(pair->server));
    assert_int_equal(SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(pair->server)), id);
    take_keys(pair, suite, etm);
}

void tlspair_close(struct tlspair *pair)
{
    SSL_free(pair->client);
    SSL_free(pair->server);
    BIO_free(pair->to_client);
    BIO_free(pair->to_server);
}
