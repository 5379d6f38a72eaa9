/* tls/session_wire: session keys as bytes, for each suite that the record engine knows. */
#include "unit.h"

#include "base/err.h"
#include "tls/session_wire.h"

static const uint16_t suites[] = {0x1301, 0x1302, 0x1303, 0xc02b, 0xc030, 0xcca8, 0x009c, 0xc027};

static void fill(struct fk_traffic_keys *keys, const struct fk_suite *suite, uint8_t byte)
{
    keys->seq = 0x0102030405060700 + byte;
    memset(keys->key, byte, suite->key_len);
    memset(keys->iv, byte + 1, suite->iv_len);
    memset(keys->mac_key, byte + 2, suite->mac_len);
    if (suite->version == FK_TLS13)
        memset(keys->secret, byte + 3, suite->hash_len);
}

static size_t make(uint16_t id, struct fk_session_keys *keys, uint8_t wire[FK_SESSION_WIRE_MAX])
{
    struct fk_writer out;
    size_t len;

    *keys = (struct fk_session_keys){.suite = fk_suite_find(id)};
    assert_non_null(keys->suite);
    keys->encrypt_then_mac = keys->suite->protection == FK_PROTECT_CBC;
    fill(&keys->client, keys->suite, 0x10);
    fill(&keys->server, keys->suite, 0x20);
    fk_writer_init(&out, wire, FK_SESSION_WIRE_MAX);
    fk_session_wire_encode(keys, &out);
    assert_ok(fk_writer_end(&out, &len));
    return len;
}

static int decode(const uint8_t *wire, size_t len, struct fk_session_keys *ret)
{
    return fk_session_wire_decode((struct fk_reader){wire, len}, ret);
}

static void each_suite_there_and_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof suites / sizeof suites[0]; i++) {
        uint8_t wire[FK_SESSION_WIRE_MAX + 1];
        struct fk_session_keys keys, back;
        size_t len = make(suites[i], &keys, wire);

        memset(&back, 0xee, sizeof back);
        assert_ok(decode(wire, len, &back));
        assert_ptr_equal(back.suite, keys.suite);
        assert_int_equal(back.encrypt_then_mac, keys.encrypt_then_mac);
        assert_memory_equal(&back.client, &keys.client, sizeof keys.client);
        assert_memory_equal(&back.server, &keys.server, sizeof keys.server);
        for (size_t cut = 0; cut < len; cut++)
            assert_err(decode(wire, cut, &back), FK_ERR_TRUNCATED);
        wire[len] = 0;
        assert_err(decode(wire, len + 1, &back), FK_ERR_TRAILING);
    }
}

/* The bytes of docs/wire-key.md: TLS_AES_128_GCM_SHA256. */
static void bytes_are_as_written(void **state)
{
    uint8_t wire[FK_SESSION_WIRE_MAX], head[] = {0x13, 0x01, 0, 1, 2, 3, 4, 5, 6, 7, 0x10, 16};
    struct fk_session_keys keys;

    (void)state;
    assert_int_equal(make(0x1301, &keys, wire), 3 + 2 * (8 + 1 + 16 + 1 + 12 + 1 + 1 + 32));
    assert_memory_equal(wire, head, sizeof head);
}

static void lengths_are_the_suites(void **state)
{
    /* TLS 1.3: each length byte of the first direction, one more and one less. */
    static const size_t lengths[] = {11, 28, 41, 42};
    struct fk_session_keys keys, back = {.suite = NULL};
    uint8_t wire[FK_SESSION_WIRE_MAX];
    size_t len = make(0x1301, &keys, wire);

    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        wire[lengths[i]]++;
        assert_err(decode(wire, len, &back), FK_ERR_FORMAT);
        wire[lengths[i]]--;
    }
    wire[2] = 1; /* encrypt-then-MAC without a MAC */
    assert_err(decode(wire, len, &back), FK_ERR_FORMAT);
    wire[2] = 2;
    assert_err(decode(wire, len, &back), FK_ERR_FORMAT);
    wire[2] = 0;
    wire[1] = 0x05; /* TLS_AES_128_CCM_8_SHA256 */
    assert_err(decode(wire, len, &back), FK_ERR_UNSUPPORTED);
    assert_null(back.suite); /* untouched */
}

UNIT_MAIN(cmocka_unit_test(each_suite_there_and_back), cmocka_unit_test(bytes_are_as_written),
          cmocka_unit_test(lengths_are_the_suites))
