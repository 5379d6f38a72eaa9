/* wire/keyop_keys13: payloads of mode `keys` in TLS 1.3, against tests/vectors/keys13.txt. */
#include "unit.h"
#include "vectors.h"

#include "base/err.h"
#include "wire/keyop_keys13.h"

static uint8_t scratch[4096];

static void assert_bytes(struct fk_reader actual, struct vector *v, const char *field)
{
    struct fk_reader expected = vector_bytes(v, field);

    assert_int_equal(actual.left, expected.left);
    if (expected.left > 0)
        assert_memory_equal(actual.next, expected.next, expected.left);
}

static void assert_written(const struct fk_writer *out, const uint8_t *expected,
                           size_t expected_len)
{
    size_t len;

    assert_ok(fk_writer_end(out, &len));
    assert_int_equal(len, expected_len);
    assert_memory_equal(scratch, expected, len);
}

/* The request that a vector's answer is to. */
static struct fk_hello13 asked(const struct vector *v)
{
    struct fk_hello13 op = {.group = (uint16_t)vector_uint(v, "group"),
                            .suite = (uint16_t)vector_uint(v, "suite")};

    op.share.left = fk_agree_group_find(op.group)->share_len;
    return op;
}

union payload {
    struct fk_hello13 hello;
    struct fk_hello13_answer hello_answer;
    struct fk_flight13 flight;
    struct fk_flight13_answer flight_answer;
};

static int decode(const struct vector *v, size_t len, union payload *ret)
{
    const char *op = vector_text(v, "op", "");
    struct fk_reader payload;

    fk_reader_init(&payload, v->bytes, len);
    if (strcmp(op, "hello") == 0)
        return fk_hello13_decode(payload, &ret->hello);
    if (strcmp(op, "hello_answer") == 0) {
        const struct fk_hello13 request = asked(v);

        return fk_hello13_answer_decode(payload, &request, &ret->hello_answer);
    }
    if (strcmp(op, "flight") == 0)
        return fk_flight13_decode(payload, &ret->flight);
    assert_string_equal(op, "flight_answer");
    return fk_flight13_answer_decode(payload, (enum fk_prf)vector_uint(v, "hash"),
                                     &ret->flight_answer);
}

static void check_hello(struct vector *v, const union payload *u, struct fk_writer *out)
{
    const struct fk_hello13 *op = &u->hello;
    struct fk_reader server = vector_bytes(v, "server");

    assert_int_equal(op->group, vector_uint(v, "group"));
    assert_int_equal(op->suite, vector_uint(v, "suite"));
    assert_bytes((struct fk_reader){op->server_random, 32}, v, "server_random");
    assert_bytes(op->share, v, "share");
    assert_bytes(op->hello, v, "hello");
    assert_bytes(op->client_random, v, "client_random");
    assert_bytes(op->session_id, v, "session_id");
    fk_hello13_write_server(op, op->share, out);
    assert_true(server.left <= FK_SERVER_HELLO13_MAX);
    assert_written(out, server.next, server.left);
    fk_writer_init(out, scratch, sizeof scratch);
    fk_hello13_encode(op, out);
}

static void check_hello_answer(struct vector *v, const union payload *u, struct fk_writer *out)
{
    assert_bytes((struct fk_reader){u->hello_answer.handle, FK_HANDLE_SIZE}, v, "handle");
    assert_bytes(u->hello_answer.share, v, "share");
    assert_bytes(u->hello_answer.client_secret, v, "client_secret");
    assert_bytes(u->hello_answer.server_secret, v, "server_secret");
    fk_hello13_answer_encode(&u->hello_answer, out);
}

static void check_flight(struct vector *v, const union payload *u, struct fk_writer *out)
{
    assert_bytes((struct fk_reader){u->flight.handle, FK_HANDLE_SIZE}, v, "handle");
    assert_int_equal(u->flight.scheme, vector_uint(v, "scheme"));
    assert_bytes(u->flight.transcript, v, "transcript");
    assert_bytes(u->flight.hellos, v, "hellos");
    assert_bytes(u->flight.client_random, v, "client_random");
    fk_flight13_encode(&u->flight, out);
}

static void check_flight_answer(struct vector *v, const union payload *u, struct fk_writer *out)
{
    assert_bytes(u->flight_answer.signature, v, "signature");
    assert_bytes(u->flight_answer.client_secret, v, "client_secret");
    assert_bytes(u->flight_answer.server_secret, v, "server_secret");
    fk_flight13_answer_encode(&u->flight_answer, out);
}

static void check(struct vector *v)
{
    static const struct {
        const char *op;
        void (*check)(struct vector *v, const union payload *u, struct fk_writer *out);
    } checks[] = {{"hello", check_hello},
                  {"hello_answer", check_hello_answer},
                  {"flight", check_flight},
                  {"flight_answer", check_flight_answer}};
    struct fk_writer out;
    union payload u;
    size_t i = 0;

    while (strcmp(vector_text(v, "op", ""), checks[i].op) != 0)
        assert_true(++i < sizeof checks / sizeof checks[0]);
    assert_ok(decode(v, v->len, &u));
    fk_writer_init(&out, scratch, sizeof scratch);
    checks[i].check(v, &u, &out);
    assert_written(&out, v->bytes, v->len);
}

/* Cut anywhere it is truncated, with one more byte it trails. */
static void check_ends(struct vector *v)
{
    uint8_t *longer = calloc(1, v->len + 1), *bytes = v->bytes;
    union payload u;

    for (size_t len = 0; len < v->len; len++)
        assert_err(decode(v, len, &u), FK_ERR_TRUNCATED);
    memcpy(longer, bytes, v->len);
    v->bytes = longer;
    assert_err(decode(v, v->len + 1, &u), FK_ERR_TRAILING);
    v->bytes = bytes;
    free(longer);
}

static void each_vector_both_ways(void **state)
{
    struct vectors vectors;
    union payload u;

    (void)state;
    vectors_load("keys13.txt", &vectors);
    assert_true(vectors.count > 30);
    for (size_t i = 0; i < vectors.count; i++) {
        struct vector *v = &vectors.items[i];
        const char *error = vector_text(v, "error", NULL);

        print_message("  %s\n", v->name);
        if (error != NULL) {
            assert_string_equal(fk_err_name(decode(v, v->len, &u)), error);
            continue;
        }
        check(v);
        check_ends(v);
    }
    vectors_free(&vectors);
}

UNIT_MAIN(cmocka_unit_test(each_vector_both_ways))
