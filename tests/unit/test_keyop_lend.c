/* wire/keyop_lend: payloads of LEND, against tests/vectors/lend.txt. */
#include "unit.h"
#include "vectors.h"

#include "base/err.h"
#include "wire/keyop_lend.h"

static uint8_t scratch[256];

static void assert_bytes(struct fk_reader actual, struct fk_reader expected)
{
    assert_int_equal(actual.left, expected.left);
    if (expected.left > 0)
        assert_memory_equal(actual.next, expected.next, expected.left);
}

static int decode(bool answer, const uint8_t *bytes, size_t len)
{
    struct fk_lend_answer lent;
    struct fk_reader payload;
    struct fk_lend op;

    fk_reader_init(&payload, bytes, len);
    return answer ? fk_lend_answer_decode(payload, &lent) : fk_lend_decode(payload, &op);
}

static void check_lend(struct vector *v, struct fk_reader payload, struct fk_writer *out)
{
    struct fk_lend op;

    assert_int_equal(v->len, FK_LEND_SIZE);
    assert_ok(fk_lend_decode(payload, &op));
    assert_bytes((struct fk_reader){op.recipient, sizeof op.recipient},
                 vector_bytes(v, "recipient"));
    assert_bytes((struct fk_reader){op.once, sizeof op.once}, vector_bytes(v, "once"));
    assert_int_equal(op.seconds, vector_uint(v, "seconds"));
    fk_lend_encode(&op, out);
}

/* What is sealed stands last, behind the head that it is sealed for. */
static void check_answer(struct vector *v, struct fk_reader payload, struct fk_writer *out)
{
    struct fk_lend_answer answer;
    struct fk_writer head;
    size_t len;

    assert_ok(fk_lend_answer_decode(payload, &answer));
    assert_int_equal(answer.seconds, vector_uint(v, "seconds"));
    assert_int_equal(answer.permissions, vector_uint(v, "permissions"));
    assert_bytes(answer.spki, vector_bytes(v, "spki"));
    assert_bytes(answer.sealed, vector_bytes(v, "sealed"));
    fk_writer_init(&head, scratch, sizeof scratch);
    fk_lend_answer_encode_head(&answer, &head);
    assert_ok(fk_writer_end(&head, &len));
    assert_int_equal(len, v->len - 2 - answer.sealed.left);
    assert_memory_equal(scratch, v->bytes, len);
    fk_lend_answer_encode(&answer, out);
}

static void each_vector_both_ways(void **state)
{
    struct vectors vectors;

    (void)state;
    vectors_load("lend.txt", &vectors);
    assert_true(vectors.count > 0);
    for (size_t i = 0; i < vectors.count; i++) {
        struct vector *v = &vectors.items[i];
        bool answer = strcmp(vector_text(v, "op", ""), "answer") == 0;
        const char *error = vector_text(v, "error", NULL);
        struct fk_reader payload;
        struct fk_writer out;
        size_t len;

        if (error != NULL) {
            assert_string_equal(fk_err_name(decode(answer, v->bytes, v->len)), error);
            continue;
        }
        fk_reader_init(&payload, v->bytes, v->len);
        fk_writer_init(&out, scratch, sizeof scratch);
        (answer ? check_answer : check_lend)(v, payload, &out);
        assert_ok(fk_writer_end(&out, &len));
        assert_int_equal(len, v->len);
        assert_memory_equal(scratch, v->bytes, len);
    }
    vectors_free(&vectors);
}

static void prefixes_are_truncated_and_more_is_trailing(void **state)
{
    struct vectors vectors;

    (void)state;
    vectors_load("lend.txt", &vectors);
    for (size_t i = 0; i < vectors.count; i++) {
        struct vector *v = &vectors.items[i];
        bool answer = strcmp(vector_text(v, "op", ""), "answer") == 0;

        if (vector_has(v, "error"))
            continue;
        for (size_t len = 0; len < v->len; len++)
            assert_err(decode(answer, v->bytes, len), FK_ERR_TRUNCATED);
        memcpy(scratch, v->bytes, v->len);
        scratch[v->len] = 0;
        assert_err(decode(answer, scratch, v->len + 1), FK_ERR_TRAILING);
    }
    vectors_free(&vectors);
}

UNIT_MAIN(cmocka_unit_test(each_vector_both_ways),
          cmocka_unit_test(prefixes_are_truncated_and_more_is_trailing))
