/* wire/keyop: payloads of farkey/1's operations, against tests/vectors/keyop.txt. */
#include "unit.h"
#include "vectors.h"

#include "base/err.h"
#include "wire/keyop.h"
#include "wire/keyticket.h"

#include <stdio.h>

static void assert_bytes(struct fk_reader actual, struct fk_reader expected)
{
    assert_int_equal(actual.left, expected.left);
    if (expected.left > 0)
        assert_memory_equal(actual.next, expected.next, expected.left);
}

static struct fk_reader reader_of(const void *data, size_t len)
{
    struct fk_reader reader;

    fk_reader_init(&reader, data, len);
    return reader;
}

static uint8_t scratch[65536];

static struct fk_writer start(void)
{
    struct fk_writer writer;

    fk_writer_init(&writer, scratch, sizeof scratch);
    return writer;
}

static void finish(const struct fk_writer *writer, const struct vector *vector)
{
    size_t len;

    assert_ok(fk_writer_end(writer, &len));
    assert_int_equal(len, vector->len);
    assert_memory_equal(scratch, vector->bytes, len);
}

/* Decode a payload of any operation, the keys of an INFO answer included. */
static int decode_ticket(const char *op, struct fk_reader payload)
{
    struct fk_ticket_singles singles;
    struct fk_ticket_grants grants;
    struct fk_ticket_opened opened;
    struct fk_ticket_use use;
    uint8_t name[16], count;

    if (strcmp(op, "ticket_keys") == 0)
        return fk_ticket_grants_decode(payload, &grants);
    if (strcmp(op, "ticket_seal") == 0)
        return fk_ticket_seal_decode(payload, &count, &use);
    if (strcmp(op, "ticket_singles") == 0)
        return fk_ticket_singles_decode(payload, &singles);
    if (strcmp(op, "ticket_unseal") == 0)
        return fk_ticket_open_decode(payload, name, &use);
    assert_string_equal(op, "ticket_unsealed");
    return fk_ticket_opened_decode(payload, &opened);
}

static int decode(const char *op, struct fk_reader payload)
{
    struct fk_info_answer answer;
    struct fk_decrypt decrypt;
    struct fk_info_key key;
    struct fk_sign13 s13;
    struct fk_sign12 s12;
    uint32_t cursor;
    uint64_t generation;
    int err;

    if (strcmp(op, "sign13") == 0)
        return fk_sign13_decode(payload, &s13);
    if (strcmp(op, "sign12") == 0)
        return fk_sign12_decode(payload, &s12);
    if (strcmp(op, "decrypt") == 0)
        return fk_decrypt_decode(payload, &decrypt);
    if (strcmp(op, "info_request") == 0)
        return fk_info_request_decode(payload, &cursor);
    if (strcmp(op, "pong") == 0)
        return fk_pong_decode(payload, &generation);
    if (strncmp(op, "ticket_", 7) == 0)
        return decode_ticket(op, payload);
    assert_string_equal(op, "info");
    if ((err = fk_info_answer_decode(payload, &answer)) != FK_OK)
        return err;
    while ((err = fk_info_key_next(&answer, &key)) == FK_OK)
        ;
    return err == FK_ERR_NOT_FOUND ? FK_OK : err;
}

static void check_sign13(struct vector *vector)
{
    struct fk_reader tbs = vector_bytes(vector, "tbs");
    uint8_t made[FK_SIGN13_TBS_MAX];
    struct fk_writer writer = start();
    struct fk_sign13 op;
    size_t len;

    assert_ok(fk_sign13_decode(reader_of(vector->bytes, vector->len), &op));
    assert_int_equal(op.scheme, vector_uint(vector, "scheme"));
    assert_int_equal(op.role, vector_uint(vector, "role"));
    assert_bytes(reader_of(op.hash, op.hash_len), vector_bytes(vector, "hash"));
    fk_sign13_tbs(&op, made, &len);
    assert_bytes(reader_of(made, len), tbs);
    memset(&op, 0, sizeof op);
    assert_ok(fk_sign13_from_tbs(tbs.next, tbs.left, (uint16_t)vector_uint(vector, "scheme"), &op));
    fk_sign13_encode(&op, &writer);
    finish(&writer, vector);
}

static void check_params(struct vector *vector, const struct fk_sign12 *op)
{
    struct fk_ecdh_params ecdh;
    struct fk_dh_params dh;

    if (op->kx == FK_KX_ECDHE) {
        assert_ok(fk_ecdh_params_decode(op->params, &ecdh));
        assert_int_equal(ecdh.group, vector_uint(vector, "group"));
        assert_bytes(ecdh.point, vector_bytes(vector, "point"));
    } else {
        assert_ok(fk_dh_params_decode(op->params, &dh));
        assert_bytes(dh.p, vector_bytes(vector, "p"));
        assert_bytes(dh.g, vector_bytes(vector, "g"));
        assert_bytes(dh.ys, vector_bytes(vector, "ys"));
    }
}

static void check_sign12(struct vector *vector)
{
    struct fk_writer writer = start();
    struct fk_writer message;
    uint8_t tbs[4096];
    struct fk_sign12 op;
    size_t len;

    assert_ok(fk_sign12_decode(reader_of(vector->bytes, vector->len), &op));
    assert_int_equal(op.scheme, vector_uint(vector, "scheme"));
    assert_int_equal(op.kx, vector_uint(vector, "kx"));
    assert_bytes(reader_of(op.client_random, 32), vector_bytes(vector, "client_random"));
    assert_bytes(reader_of(op.server_random, 32), vector_bytes(vector, "server_random"));
    assert_bytes(op.params, vector_bytes(vector, "params"));
    check_params(vector, &op);

    fk_writer_init(&message, tbs, sizeof tbs);
    fk_writer_bytes(&message, op.client_random, 32);
    fk_writer_bytes(&message, op.server_random, 32);
    fk_writer_bytes(&message, op.params.next, op.params.left);
    assert_ok(fk_writer_end(&message, &len));
    memset(&op, 0, sizeof op);
    assert_ok(fk_sign12_from_tbs(tbs, len, (uint16_t)vector_uint(vector, "scheme"), &op));
    fk_sign12_encode(&op, &writer);
    finish(&writer, vector);
    for (size_t cut = 0; cut < len; cut++)
        assert_err(fk_sign12_from_tbs(tbs, cut, 0x0804, &op), FK_ERR_FORMAT);
    assert_err(fk_sign12_from_tbs(tbs, len + 1, 0x0804, &op), FK_ERR_FORMAT);
}

static void check_decrypt(struct vector *vector)
{
    struct fk_writer writer = start();
    struct fk_decrypt op;

    assert_ok(fk_decrypt_decode(reader_of(vector->bytes, vector->len), &op));
    assert_int_equal(op.client_version, vector_uint(vector, "client_version"));
    assert_bytes(op.ciphertext, vector_bytes(vector, "ciphertext"));
    fk_decrypt_encode(&op, &writer);
    finish(&writer, vector);
}

static void check_info_request(struct vector *vector)
{
    struct fk_writer writer = start();
    uint32_t cursor;

    assert_ok(fk_info_request_decode(reader_of(vector->bytes, vector->len), &cursor));
    assert_int_equal(cursor, vector_uint(vector, "cursor"));
    fk_info_request_encode(cursor, &writer);
    finish(&writer, vector);
}

static const char *numbered(const char *field, size_t i)
{
    static char name[32];

    snprintf(name, sizeof name, "%s%zu", field, i);
    return name;
}

static void check_info(struct vector *vector)
{
    struct fk_writer writer = start();
    struct fk_info_answer answer;
    struct fk_info_key key;
    size_t mark;

    assert_ok(fk_info_answer_decode(reader_of(vector->bytes, vector->len), &answer));
    assert_int_equal(answer.generation, vector_uint(vector, "generation"));
    assert_int_equal(answer.capabilities, vector_uint(vector, "capabilities"));
    assert_int_equal(answer.next_cursor, vector_uint(vector, "next_cursor"));
    mark = fk_info_answer_begin(&answer, &writer);
    for (size_t i = 0; i < vector_uint(vector, "count"); i++) {
        assert_ok(fk_info_key_next(&answer, &key));
        assert_bytes(reader_of(key.ski, 20), vector_bytes(vector, numbered("ski", i)));
        assert_int_equal(key.type, vector_uint(vector, numbered("type", i)));
        assert_int_equal(key.permissions, vector_uint(vector, numbered("permissions", i)));
        assert_bytes(key.name, vector_bytes(vector, numbered("name", i)));
        assert_bytes(key.chain, vector_bytes(vector, numbered("chain", i)));
        fk_info_key_encode(&key, &writer);
    }
    assert_err(fk_info_key_next(&answer, &key), FK_ERR_NOT_FOUND);
    fk_writer_end16(&writer, mark);
    finish(&writer, vector);
}

static void check_pong(struct vector *vector)
{
    struct fk_writer writer = start();
    uint64_t generation;

    assert_ok(fk_pong_decode(reader_of(vector->bytes, vector->len), &generation));
    assert_int_equal(generation, vector_uint(vector, "generation"));
    fk_pong_encode(generation, &writer);
    finish(&writer, vector);
}

static void check_ticket_keys(struct vector *vector)
{
    struct fk_writer writer = start();
    struct fk_ticket_grants grants;

    assert_ok(fk_ticket_grants_decode(reader_of(vector->bytes, vector->len), &grants));
    assert_int_equal(grants.refresh_ms, vector_uint(vector, "refresh"));
    assert_int_equal(grants.count, vector_uint(vector, "count"));
    for (size_t i = 0; i < grants.count; i++) {
        const struct fk_ticket_grant *grant = &grants.items[i];

        assert_bytes(reader_of(grant->id, 16), vector_bytes(vector, numbered("id", i)));
        assert_bytes(reader_of(grant->secret, 32), vector_bytes(vector, numbered("secret", i)));
        assert_int_equal(grant->seals_ms, vector_uint(vector, numbered("seals", i)));
        assert_int_equal(grant->ends_ms, vector_uint(vector, numbered("ends", i)));
    }
    fk_ticket_grants_encode(&grants, &writer);
    finish(&writer, vector);
}

static void check_use(struct vector *vector, const struct fk_ticket_use *use)
{
    assert_int_equal(use->mode, vector_uint(vector, "mode"));
    assert_bytes(reader_of(use->owner, 32), vector_bytes(vector, "owner"));
}

static void check_ticket_seal(struct vector *vector)
{
    struct fk_writer writer = start();
    struct fk_ticket_use use;
    uint8_t count;

    assert_ok(fk_ticket_seal_decode(reader_of(vector->bytes, vector->len), &count, &use));
    assert_int_equal(count, vector_uint(vector, "count"));
    check_use(vector, &use);
    fk_ticket_seal_encode(count, &use, &writer);
    finish(&writer, vector);
}

static void check_ticket_singles(struct vector *vector)
{
    struct fk_writer writer = start();
    struct fk_ticket_singles singles;

    assert_ok(fk_ticket_singles_decode(reader_of(vector->bytes, vector->len), &singles));
    assert_int_equal(singles.life_ms, vector_uint(vector, "life"));
    assert_int_equal(singles.count, vector_uint(vector, "count"));
    for (size_t i = 0; i < singles.count; i++) {
        const struct fk_ticket_single *single = &singles.items[i];

        assert_bytes(reader_of(single->name, 16), vector_bytes(vector, numbered("name", i)));
        assert_bytes(reader_of(single->aes, 32), vector_bytes(vector, numbered("aes", i)));
        assert_bytes(reader_of(single->mac, 32), vector_bytes(vector, numbered("mac", i)));
    }
    fk_ticket_singles_encode(&singles, &writer);
    finish(&writer, vector);
}

static void check_ticket_unseal(struct vector *vector)
{
    struct fk_writer writer = start();
    struct fk_ticket_use use;
    uint8_t name[16];

    assert_ok(fk_ticket_open_decode(reader_of(vector->bytes, vector->len), name, &use));
    assert_bytes(reader_of(name, 16), vector_bytes(vector, "name"));
    check_use(vector, &use);
    fk_ticket_open_encode(name, &use, &writer);
    finish(&writer, vector);
}

static void check_ticket_unsealed(struct vector *vector)
{
    struct fk_writer writer = start();
    struct fk_ticket_opened opened;

    assert_ok(fk_ticket_opened_decode(reader_of(vector->bytes, vector->len), &opened));
    assert_int_equal(opened.renew, vector_uint(vector, "renew"));
    assert_bytes(reader_of(opened.aes, 32), vector_bytes(vector, "aes"));
    assert_bytes(reader_of(opened.mac, 32), vector_bytes(vector, "mac"));
    fk_ticket_opened_encode(&opened, &writer);
    finish(&writer, vector);
}

static const struct {
    const char *op;
    void (*check)(struct vector *vector);
} checks[] = {
    {"sign13", check_sign13},
    {"sign12", check_sign12},
    {"decrypt", check_decrypt},
    {"info", check_info},
    {"pong", check_pong},
    {"info_request", check_info_request},
    {"ticket_keys", check_ticket_keys},
    {"ticket_seal", check_ticket_seal},
    {"ticket_singles", check_ticket_singles},
    {"ticket_unseal", check_ticket_unseal},
    {"ticket_unsealed", check_ticket_unsealed},
};

static void vectors_decode_and_encode(void **state)
{
    struct vectors vectors;
    size_t checked = 0;

    (void)state;
    vectors_load("keyop.txt", &vectors);
    for (size_t i = 0; i < vectors.count; i++) {
        struct vector *vector = &vectors.items[i];

        print_message("  %s\n", vector->name);
        for (size_t k = 0; k < sizeof checks / sizeof checks[0]; k++) {
            if (strcmp(checks[k].op, vector_text(vector, "op", "")) == 0 &&
                !vector_has(vector, "error")) {
                checks[k].check(vector);
                checked++;
            }
        }
    }
    assert_true(checked > 20);
    vectors_free(&vectors);
}

static void bad_vectors_are_refused(void **state)
{
    struct vectors vectors;

    (void)state;
    vectors_load("keyop.txt", &vectors);
    for (size_t i = 0; i < vectors.count; i++) {
        struct vector *vector = &vectors.items[i];

        print_message("  %s\n", vector->name);
        assert_string_equal(fk_err_name(decode(vector_text(vector, "op", ""),
                                               reader_of(vector->bytes, vector->len))),
                            vector_text(vector, "error", "OK"));
    }
    vectors_free(&vectors);
}

static void every_prefix_is_truncated_and_one_more_byte_trailing(void **state)
{
    struct vectors vectors;
    uint8_t longer[4096];

    (void)state;
    vectors_load("keyop.txt", &vectors);
    for (size_t i = 0; i < vectors.count; i++) {
        const struct vector *vector = &vectors.items[i];
        const char *op = vector_text(vector, "op", "");

        if (vector_has(vector, "error"))
            continue;
        print_message("  %s\n", vector->name);
        for (size_t len = 0; len < vector->len; len++)
            assert_err(decode(op, reader_of(vector->bytes, len)), FK_ERR_TRUNCATED);
        memcpy(longer, vector->bytes, vector->len);
        longer[vector->len] = 0;
        assert_err(decode(op, reader_of(longer, vector->len + 1)), FK_ERR_TRAILING);
    }
    vectors_free(&vectors);
}

/* What libssl hands to a TLS 1.3 signature is taken only in exactly this form. */
static void sign13_takes_only_the_exact_message(void **state)
{
    struct fk_sign13 op = {.scheme = 0x0804, .role = FK_ROLE_SERVER, .hash_len = 48};
    struct fk_sign13 back = {.scheme = 0xeeee};
    uint8_t tbs[FK_SIGN13_TBS_MAX + 1] = {0};
    size_t len;

    (void)state;
    fk_sign13_tbs(&op, tbs, &len);
    assert_int_equal(len, FK_SIGN13_TBS_MAX);
    for (size_t cut = 0; cut <= sizeof tbs; cut++) {
        bool whole = cut == 98 + 32 || cut == 98 + 48;

        if (!whole)
            assert_err(fk_sign13_from_tbs(tbs, cut, 1, &back), FK_ERR_FORMAT);
    }
    /* Any change to the 64 spaces, the context string or its NUL. */
    for (size_t i = 0; i < 98; i++) {
        tbs[i] ^= 0x20;
        assert_err(fk_sign13_from_tbs(tbs, len, 1, &back), FK_ERR_FORMAT);
        tbs[i] ^= 0x20;
    }
    assert_int_equal(back.scheme, 0xeeee); /* untouched */
    assert_ok(fk_sign13_from_tbs(tbs, len, 1, &back));
}

static void info_walk_stops_at_a_bad_key(void **state)
{
    struct vectors vectors;
    struct vector *vector;
    struct fk_info_answer answer;
    struct fk_info_key key;
    struct fk_reader before;

    (void)state;
    vectors_load("keyop.txt", &vectors);
    vector = vectors_find(&vectors, "bad_info_key_ski_cut");
    assert_ok(fk_info_answer_decode(reader_of(vector->bytes, vector->len), &answer));
    assert_ok(fk_info_key_next(&answer, &key));
    before = answer.keys;
    assert_err(fk_info_key_next(&answer, &key), FK_ERR_TRUNCATED);
    assert_ptr_equal(answer.keys.next, before.next); /* nothing was consumed */
    vectors_free(&vectors);
}

static void encoder_reports_a_full_buffer(void **state)
{
    struct fk_sign13 op = {.scheme = 0x0804, .role = FK_ROLE_SERVER, .hash_len = 32};
    struct fk_writer writer;
    uint8_t out[36];
    size_t len;

    (void)state;
    for (size_t size = 0; size < sizeof out; size++) {
        fk_writer_init(&writer, out, size);
        fk_sign13_encode(&op, &writer);
        assert_err(fk_writer_end(&writer, &len), FK_ERR_LIMIT);
    }
    fk_writer_init(&writer, out, sizeof out);
    fk_sign13_encode(&op, &writer);
    assert_ok(fk_writer_end(&writer, &len));
}

UNIT_MAIN(cmocka_unit_test(vectors_decode_and_encode), cmocka_unit_test(bad_vectors_are_refused),
          cmocka_unit_test(every_prefix_is_truncated_and_one_more_byte_trailing),
          cmocka_unit_test(sign13_takes_only_the_exact_message),
          cmocka_unit_test(info_walk_stops_at_a_bad_key),
          cmocka_unit_test(encoder_reports_a_full_buffer))
