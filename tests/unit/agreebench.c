/* See agreebench.h. */
#include "agreebench.h"

#include "base/writer.h"
#include "unit_keys.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <unistd.h>

static const char *const kinds[KEYS] = {"rsa2048", "P-256", "ed25519"};
EVP_PKEY *bench_keys[KEYS], *bench_request_key;
uint8_t bench_skis[KEYS][20];

EVP_PKEY *bench_key(int k)
{
    if (bench_keys[k] == NULL)
        bench_keys[k] = unit_key(kinds[k]);
    return bench_keys[k];
}

void bench_open(struct bench *bench, unsigned permissions, struct fk_keyset_edge *edge)
{
    struct fk_keyset_builder *builder;
    size_t len = 32;
    int fd;

    assert_ok(fk_keyset_builder_new(&builder));
    for (int k = 0; k < KEYS; k++)
        unit_bundle_add(builder, kinds[k], bench_key(k), (uint16_t)permissions, bench_skis[k]);
    if (edge != NULL) {
        if (bench_request_key == NULL)
            bench_request_key = unit_key("ed25519");
        assert_int_equal(EVP_PKEY_get_raw_public_key(bench_request_key, edge->request_key, &len),
                         1);
        assert_ok(fk_keyset_builder_edge(builder, edge));
        assert_ok(fk_keyset_builder_signed(builder, "keys1", false));
    }
    assert_ok(fk_keyset_builder_seal(builder, &fd));
    fk_keyset_builder_free(builder);
    *bench = (struct bench){.len = 0};
    assert_ok(fk_keyset_open(fd, &bench->set));
    close(fd);
    assert_ok(fk_ops_new(bench->set, 3, 0x10002, &bench->ops));
}

void bench_close(struct bench *bench)
{
    fk_ops_free(bench->ops);
    fk_keyset_free(bench->set);
    assert_int_equal(ERR_peek_error(), 0);
}

int bench_run(struct bench *bench, uint16_t op, uint16_t detail, const uint8_t ski[20],
              const uint8_t *payload, size_t len)
{
    struct fk_signer_request request = {.len = (uint32_t)len, .op = op, .detail = detail};
    uint8_t *copy = malloc(len + 1); /* its own block: a sanitizer sees a read past the end */
    int err;

    memcpy(request.ski, ski, 20);
    memcpy(copy, payload, len);
    bench->len = 0;
    err = fk_ops_serve(bench->ops, FK_PEER_FRONT, &request, copy, bench->ret, &bench->len);
    free(copy);
    return err;
}

int bench_ask(struct bench *bench, const struct asked *asked, const void *payload,
              size_t payload_len)
{
    uint8_t bytes[FK_SIGNER_PAYLOAD_MAX];
    struct fk_writer out;
    size_t len;

    fk_writer_init(&out, bytes, sizeof bytes);
    fk_writer_fill(&out, asked->edge, 32);
    fk_writer_vec16(&out, asked->share.next, asked->share.left);
    fk_writer_bytes(&out, payload, payload_len);
    assert_ok(fk_writer_end(&out, &len));
    return bench_run(bench, FK_SIGNER_OWNED, asked->opcode, bench_skis[asked->key], bytes, len);
}

struct fk_agree_init init_op(uint16_t scheme, uint16_t group, enum fk_agree_form form)
{
    struct fk_agree_init op = {.scheme = scheme, .group = group, .form = form};

    memset(op.client_random, 0xc1, 32);
    memset(op.server_random, 0x51, 32);
    return op;
}

size_t init_payload(const struct fk_agree_init *op, uint8_t ret[128])
{
    struct fk_writer out;
    size_t len;

    fk_writer_init(&out, ret, 128);
    fk_agree_init_encode(op, &out);
    assert_ok(fk_writer_end(&out, &len));
    return len;
}

int bench_init(struct bench *bench, uint8_t edge, int key, const struct fk_agree_init *op)
{
    const struct asked asked = {.edge = edge, .key = key, .opcode = FK_OP_AGREE_INIT};
    uint8_t payload[128];
    size_t len = init_payload(op, payload);

    return bench_ask(bench, &asked, payload, len);
}

size_t finish_payload(const uint8_t handle[FK_HANDLE_SIZE], struct fk_reader share,
                      uint8_t ret[600])
{
    struct fk_agree_finish op = {.share = share};
    struct fk_writer out;
    size_t len;

    memcpy(op.handle, handle, sizeof op.handle);
    fk_writer_init(&out, ret, 600);
    fk_agree_finish_encode(&op, &out);
    assert_ok(fk_writer_end(&out, &len));
    return len;
}

int bench_finish(struct bench *bench, uint8_t edge, int key, const uint8_t handle[FK_HANDLE_SIZE],
                 struct fk_reader share)
{
    const struct asked asked = {.edge = edge, .key = key, .opcode = FK_OP_AGREE_FINISH};
    uint8_t payload[600];
    size_t len = finish_payload(handle, share, payload);

    return bench_ask(bench, &asked, payload, len);
}

/* --- the client --- */

static const char *curve_of(uint16_t group)
{
    return group == FK_AGREE_P256 ? "P-256" : group == FK_AGREE_P384 ? "P-384" : NULL;
}

void client_init(struct client *client, uint16_t group)
{
    const char *curve = curve_of(group);
    size_t len;

    client->key = curve != NULL ? EVP_EC_gen(curve) : EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
    assert_int_equal(EVP_PKEY_get_octet_string_param(client->key,
                                                     OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY,
                                                     client->bytes, sizeof client->bytes, &len),
                     1);
    fk_reader_init(&client->share, client->bytes, len);
}

void client_agree(struct client *client, struct fk_reader params)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, client->key, NULL);
    EVP_PKEY *peer = EVP_PKEY_new();
    struct fk_ecdh_params ecdh;

    assert_ok(fk_ecdh_params_decode(params, &ecdh));
    assert_int_equal(EVP_PKEY_copy_parameters(peer, client->key), 1);
    assert_int_equal(EVP_PKEY_set1_encoded_public_key(peer, ecdh.point.next, ecdh.point.left), 1);
    client->secret_len = sizeof client->secret;
    assert_int_equal(EVP_PKEY_derive_init(ctx), 1);
    assert_int_equal(EVP_PKEY_derive_set_peer(ctx, peer), 1);
    assert_int_equal(EVP_PKEY_derive(ctx, client->secret, &client->secret_len), 1);
    EVP_PKEY_free(peer);
    EVP_PKEY_CTX_free(ctx);
}

struct fk_agree_made bench_made(const struct bench *bench, const struct fk_agree_init *op)
{
    struct fk_agree_made made;

    assert_ok(fk_agree_made_decode(fk_item(bench->ret, bench->len), op, &made));
    return made;
}

void bench_free_keys(void)
{
    for (int k = 0; k < KEYS; k++)
        EVP_PKEY_free(bench_keys[k]);
    EVP_PKEY_free(bench_request_key);
}
