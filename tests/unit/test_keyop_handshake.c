/* wire/keyop_handshake: payloads of mode `handshake`, against tests/vectors/handshake.txt. */
#include "unit.h"
#include "vectors.h"

#include "base/err.h"
#include "wire/keyop_handshake.h"

static uint8_t scratch[65536];

static void assert_bytes(struct fk_reader actual, struct fk_reader expected)
{
    assert_int_equal(actual.left, expected.left);
    if (expected.left > 0)
        assert_memory_equal(actual.next, expected.next, expected.left);
}

static int decode(const char *op, const uint8_t *bytes, size_t len)
{
    struct fk_handshake_answer answer;
    struct fk_handshake_open open;
    struct fk_handshake_data data;
    uint8_t id[FK_HANDSHAKE_ID];
    struct fk_reader payload;

    fk_reader_init(&payload, bytes, len);
    if (strcmp(op, "open") == 0)
        return fk_handshake_open_decode(payload, &open);
    if (strcmp(op, "data") == 0)
        return fk_handshake_data_decode(payload, &data);
    if (strcmp(op, "close") == 0)
        return fk_handshake_close_decode(payload, id);
    assert_string_equal(op, "answer");
    return fk_handshake_answer_decode(payload, &answer);
}

static void finish(const struct fk_writer *out, const struct vector *vector)
{
    size_t len;

    assert_ok(fk_writer_end(out, &len));
    assert_int_equal(len, vector->len);
    assert_memory_equal(scratch, vector->bytes, len);
}

static struct fk_reader payload_of(const struct vector *vector)
{
    struct fk_reader payload;

    fk_reader_init(&payload, vector->bytes, vector->len);
    return payload;
}

static void check_open(struct vector *v)
{
    struct fk_handshake_open op;
    struct fk_writer out;

    assert_ok(fk_handshake_open_decode(payload_of(v), &op));
    assert_int_equal(op.versions, vector_uint(v, "versions"));
    assert_int_equal(op.options, vector_uint(v, "options"));
    assert_int_equal(op.tickets, vector_uint(v, "tickets"));
    assert_int_equal(op.lifetime, vector_uint(v, "lifetime"));
    assert_bytes(op.groups, vector_bytes(v, "groups"));
    assert_bytes(op.alpn, vector_bytes(v, "alpn"));
    assert_int_equal(op.client, vector_uint(v, "client"));
    assert_bytes(op.cas, vector_bytes(v, "cas"));
    assert_bytes(op.title, vector_bytes(v, "title"));
    assert_bytes(op.name, vector_bytes(v, "name"));
    assert_bytes(op.records, vector_bytes(v, "records"));
    fk_writer_init(&out, scratch, sizeof scratch);
    fk_handshake_open_encode(&op, &out);
    finish(&out, v);
}

static void check_data(struct vector *v)
{
    struct fk_handshake_data op;
    struct fk_writer out;

    assert_ok(fk_handshake_data_decode(payload_of(v), &op));
    assert_bytes((struct fk_reader){op.id, sizeof op.id}, vector_bytes(v, "id"));
    assert_bytes(op.records, vector_bytes(v, "records"));
    fk_writer_init(&out, scratch, sizeof scratch);
    fk_handshake_data_encode(&op, &out);
    finish(&out, v);
}

static void check_close(struct vector *v)
{
    uint8_t id[FK_HANDSHAKE_ID];
    struct fk_writer out;

    assert_ok(fk_handshake_close_decode(payload_of(v), id));
    assert_bytes((struct fk_reader){id, sizeof id}, vector_bytes(v, "id"));
    fk_writer_init(&out, scratch, sizeof scratch);
    fk_handshake_close_encode(id, &out);
    finish(&out, v);
}

static void check_answer(struct vector *v)
{
    struct fk_handshake_answer answer;
    struct fk_writer out;

    assert_ok(fk_handshake_answer_decode(payload_of(v), &answer));
    assert_int_equal(answer.state, vector_uint(v, "state"));
    assert_bytes((struct fk_reader){answer.id, sizeof answer.id}, vector_bytes(v, "id"));
    assert_bytes(answer.records, vector_bytes(v, "records"));
    if (answer.state == FK_HANDSHAKE_DONE) {
        assert_int_equal(answer.resumed, vector_uint(v, "resumed"));
        assert_int_equal(answer.rest, vector_uint(v, "rest"));
        assert_bytes(answer.alpn, vector_bytes(v, "alpn"));
        assert_bytes(answer.keys, vector_bytes(v, "keys"));
        assert_bytes(answer.chain, vector_bytes(v, "chain"));
    } else if (answer.state == FK_HANDSHAKE_FAILED) {
        assert_int_equal(answer.cause, vector_uint(v, "cause"));
        assert_int_equal(answer.alert, vector_uint(v, "alert"));
        assert_bytes(answer.reason, vector_bytes(v, "reason"));
    } else if (answer.state == FK_HANDSHAKE_EXPOSED) {
        assert_bytes(answer.alpn, vector_bytes(v, "alpn"));
        assert_bytes(answer.master, vector_bytes(v, "master"));
        assert_bytes(answer.chain, vector_bytes(v, "chain"));
    }
    fk_writer_init(&out, scratch, sizeof scratch);
    fk_handshake_answer_encode(&answer, &out);
    finish(&out, v);
}

static void each_vector_both_ways(void **state)
{
    static const struct {
        const char *op;
        void (*check)(struct vector *v);
    } checks[] = {{"open", check_open},
                  {"data", check_data},
                  {"close", check_close},
                  {"answer", check_answer}};
    struct vectors vectors;
    size_t checked = 0;

    (void)state;
    vectors_load("handshake.txt", &vectors);
    for (size_t i = 0; i < vectors.count; i++) {
        struct vector *v = &vectors.items[i];
        const char *op = vector_text(v, "op", ""), *error = vector_text(v, "error", NULL);

        if (error != NULL) {
            assert_string_equal(fk_err_name(decode(op, v->bytes, v->len)), error);
            checked++;
            continue;
        }
        for (size_t c = 0; c < sizeof checks / sizeof checks[0]; c++)
            if (strcmp(op, checks[c].op) == 0) {
                checks[c].check(v);
                checked++;
            }
    }
    assert_int_equal(checked, vectors.count);
    vectors_free(&vectors);
}

/* Cut anywhere it is truncated, with one more byte it trails. */
static void nothing_is_optional(void **state)
{
    struct vectors vectors;

    (void)state;
    vectors_load("handshake.txt", &vectors);
    for (size_t i = 0; i < vectors.count; i++) {
        struct vector *v = &vectors.items[i];
        const char *op = vector_text(v, "op", "");
        uint8_t *longer;

        if (vector_has(v, "error"))
            continue;
        for (size_t len = 0; len < v->len; len++)
            assert_err(decode(op, v->bytes, len), FK_ERR_TRUNCATED);
        longer = calloc(1, v->len + 1);
        memcpy(longer, v->bytes, v->len);
        assert_err(decode(op, longer, v->len + 1), FK_ERR_TRAILING);
        free(longer);
    }
    vectors_free(&vectors);
}

UNIT_MAIN(cmocka_unit_test(each_vector_both_ways), cmocka_unit_test(nothing_is_optional))
