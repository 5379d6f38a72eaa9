/* wire/proxy: both versions, both directions, against tests/vectors/proxy.txt. */
#include "unit.h"
#include "vectors.h"

#include "base/err.h"
#include "base/limits.h"
#include "wire/proxy.h"

static const struct {
    const char *field;
    size_t offset;
} texts[] = {
    {"alpn", offsetof(struct fk_proxy, alpn)},
    {"authority", offsetof(struct fk_proxy, authority)},
    {"unique_id", offsetof(struct fk_proxy, unique_id)},
    {"ssl_version", offsetof(struct fk_proxy, ssl.version)},
    {"ssl_cn", offsetof(struct fk_proxy, ssl.common_name)},
    {"ssl_cipher", offsetof(struct fk_proxy, ssl.cipher)},
    {"ssl_sig", offsetof(struct fk_proxy, ssl.sig_alg)},
    {"ssl_key", offsetof(struct fk_proxy, ssl.key_alg)},
};

#define N_TEXTS (sizeof texts / sizeof texts[0])

static struct fk_reader *slot(struct fk_proxy *proxy, size_t i)
{
    return (struct fk_reader *)(void *)((char *)proxy + texts[i].offset);
}

/* What a vector's fields say. */
static void expectation(struct vector *vector, struct fk_proxy *ret)
{
    struct fk_reader src = vector_bytes(vector, "src"), dst = vector_bytes(vector, "dst");

    *ret = (struct fk_proxy){.local = vector_has(vector, "local"),
                             .crc32c = vector_has(vector, "crc"),
                             .ip_len = (uint8_t)src.left};
    if (src.next != NULL) {
        memcpy(ret->src_ip, src.next, src.left);
        memcpy(ret->dst_ip, dst.next, src.left);
        ret->src_port = (uint16_t)vector_uint(vector, "sport");
        ret->dst_port = (uint16_t)vector_uint(vector, "dport");
    }
    for (size_t i = 0; i < N_TEXTS; i++)
        *slot(ret, i) = vector_bytes(vector, texts[i].field);
    if (vector_has(vector, "ssl_client")) {
        ret->ssl.present = true;
        ret->ssl.client = (uint8_t)vector_uint(vector, "ssl_client");
        ret->ssl.verify = (uint32_t)vector_uint(vector, "ssl_verify");
    }
}

static void assert_same(struct fk_proxy *actual, struct fk_proxy *expected)
{
    assert_int_equal(actual->local, expected->local);
    assert_int_equal(actual->ip_len, expected->ip_len);
    assert_memory_equal(actual->src_ip, expected->src_ip, 16);
    assert_memory_equal(actual->dst_ip, expected->dst_ip, 16);
    assert_int_equal(actual->src_port, expected->src_port);
    assert_int_equal(actual->dst_port, expected->dst_port);
    assert_int_equal(actual->crc32c, expected->crc32c);
    assert_int_equal(actual->ssl.present, expected->ssl.present);
    assert_int_equal(actual->ssl.client, expected->ssl.client);
    assert_int_equal(actual->ssl.verify, expected->ssl.verify);
    for (size_t i = 0; i < N_TEXTS; i++) {
        const struct fk_reader *a = slot(actual, i), *e = slot(expected, i);

        assert_int_equal(a->next != NULL, e->next != NULL);
        assert_int_equal(a->left, e->left);
        if (e->left > 0)
            assert_memory_equal(a->next, e->next, e->left);
    }
}

static void encode(const struct vector *vector, const struct fk_proxy *proxy,
                   struct fk_writer *writer)
{
    if (vector_uint(vector, "version") == 1)
        fk_proxy_encode_v1(proxy, writer);
    else
        fk_proxy_encode_v2(proxy, writer);
}

static void vectors_decode(void **state)
{
    struct fk_proxy actual, expected;
    struct vectors vectors;
    size_t used;

    (void)state;
    vectors_load("proxy.txt", &vectors);
    for (size_t i = 0; i < vectors.count; i++) {
        struct vector *vector = &vectors.items[i];
        int err;

        print_message("  %s\n", vector->name);
        actual = (struct fk_proxy){.ip_len = 99};
        err = fk_proxy_decode(vector->bytes, vector->len, &actual, &used);
        assert_string_equal(fk_err_name(err), vector_text(vector, "error", "OK"));
        if (err != FK_OK) {
            assert_int_equal(actual.ip_len, 99); /* untouched */
            continue;
        }
        assert_int_equal(used, vector->len);
        expectation(vector, &expected);
        assert_same(&actual, &expected);
    }
    vectors_free(&vectors);
}

static void vectors_encode(void **state)
{
    uint8_t out[FK_PROXY_V2_MAX];
    struct fk_proxy proxy;
    struct vectors vectors;
    struct fk_writer writer;
    size_t len;

    (void)state;
    vectors_load("proxy.txt", &vectors);
    for (size_t i = 0; i < vectors.count; i++) {
        struct vector *vector = &vectors.items[i];

        if (vector_has(vector, "error") || vector_has(vector, "encode"))
            continue;
        print_message("  %s\n", vector->name);
        expectation(vector, &proxy);
        fk_writer_init(&writer, out, sizeof out);
        encode(vector, &proxy, &writer);
        assert_ok(fk_writer_end(&writer, &len));
        assert_int_equal(len, vector->len);
        assert_memory_equal(out, vector->bytes, len);
        /* One byte less of room fails instead of writing a shorter header. */
        for (size_t room = 0; room < len; room++) {
            fk_writer_init(&writer, out, room);
            encode(vector, &proxy, &writer);
            assert_err(fk_writer_end(&writer, &len), FK_ERR_LIMIT);
            len = vector->len;
        }
    }
    vectors_free(&vectors);
}

static void every_prefix_waits_and_what_follows_is_left(void **state)
{
    uint8_t longer[FK_PROXY_V2_MAX + 1];
    struct fk_proxy proxy;
    struct vectors vectors;
    size_t used;

    (void)state;
    vectors_load("proxy.txt", &vectors);
    for (size_t i = 0; i < vectors.count; i++) {
        struct vector *vector = &vectors.items[i];

        if (vector_has(vector, "error"))
            continue;
        print_message("  %s\n", vector->name);
        for (size_t len = 0; len < vector->len; len++) {
            assert_err(fk_proxy_decode(vector->bytes, len, &proxy, &used), FK_ERR_AGAIN);
            assert_true(used > len && used <= vector->len);
        }
        memcpy(longer, vector->bytes, vector->len);
        longer[vector->len] = 0x16;
        assert_ok(fk_proxy_decode(longer, vector->len + 1, &proxy, &used));
        assert_int_equal(used, vector->len);
    }
    vectors_free(&vectors);
}

/* Bytes that were refused stay refused, whatever comes after them. */
static void refusal_is_final(void **state)
{
    struct fk_proxy proxy;
    struct vectors vectors;
    size_t used;

    (void)state;
    vectors_load("proxy.txt", &vectors);
    for (size_t i = 0; i < vectors.count; i++) {
        struct vector *vector = &vectors.items[i];
        int refused = FK_ERR_AGAIN;

        for (size_t len = 0; len <= vector->len && vector_has(vector, "error"); len++) {
            int err = fk_proxy_decode(vector->bytes, len, &proxy, &used);

            if (refused != FK_ERR_AGAIN)
                assert_err(err, refused);
            refused = err;
        }
    }
    vectors_free(&vectors);
}

static void tls_bytes_are_no_header(void **state)
{
    static const uint8_t hello[] = {0x16, 0x03, 0x01, 0x00};
    struct fk_proxy proxy;
    size_t used;

    (void)state;
    assert_err(fk_proxy_decode(hello, 1, &proxy, &used), FK_ERR_FORMAT);
    assert_err(fk_proxy_decode(hello, sizeof hello, &proxy, &used), FK_ERR_FORMAT);
}

static void version_1_says_unknown_for_a_local_connection(void **state)
{
    struct fk_proxy proxy = {.local = true, .ip_len = 4};
    struct fk_writer writer;
    char out[64];
    size_t len;

    (void)state;
    fk_writer_init(&writer, out, sizeof out);
    fk_proxy_encode_v1(&proxy, &writer);
    assert_ok(fk_writer_end(&writer, &len));
    assert_int_equal(len, 15);
    assert_memory_equal(out, "PROXY UNKNOWN\r\n", 15);
}

static void unique_id_too_long_is_not_encoded(void **state)
{
    uint8_t id[129] = {0}, out[512];
    struct fk_proxy proxy = {.unique_id = {id, sizeof id}};
    struct fk_writer writer;
    size_t len;

    (void)state;
    fk_writer_init(&writer, out, sizeof out);
    fk_proxy_encode_v2(&proxy, &writer);
    assert_err(fk_writer_end(&writer, &len), FK_ERR_RANGE);
}

/* A header is appended: what stands before it in the buffer is not part of its checksum. */
static void header_is_appended(void **state)
{
    struct fk_proxy proxy = {.crc32c = true}, back;
    struct fk_writer writer;
    uint8_t out[64];
    size_t len, used;

    (void)state;
    fk_writer_init(&writer, out, sizeof out);
    fk_writer_bytes(&writer, "before", 6);
    fk_proxy_encode_v2(&proxy, &writer);
    assert_ok(fk_writer_end(&writer, &len));
    assert_memory_equal(out, "before", 6);
    assert_ok(fk_proxy_decode(out + 6, len - 6, &back, &used));
    assert_true(back.crc32c);
}

UNIT_MAIN(cmocka_unit_test(vectors_decode), cmocka_unit_test(vectors_encode),
          cmocka_unit_test(every_prefix_waits_and_what_follows_is_left),
          cmocka_unit_test(refusal_is_final), cmocka_unit_test(tls_bytes_are_no_header),
          cmocka_unit_test(version_1_says_unknown_for_a_local_connection),
          cmocka_unit_test(unique_id_too_long_is_not_encoded), cmocka_unit_test(header_is_appended))
