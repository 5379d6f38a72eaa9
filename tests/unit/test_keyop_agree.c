/* wire/keyop_agree, wire/keyop_secret, wire/keyop_resume: payloads of modes `agree`, `master` and
 * `keys`, against tests/vectors/agree.txt. */
#include "unit.h"
#include "vectors.h"

#include "base/err.h"
#include "wire/keyop_resume.h"

static uint8_t scratch[65536];

static void assert_bytes(struct fk_reader actual, struct fk_reader expected)
{
    assert_int_equal(actual.left, expected.left);
    if (expected.left > 0)
        assert_memory_equal(actual.next, expected.next, expected.left);
}

static void assert_array(const uint8_t *actual, size_t len, struct fk_reader expected)
{
    assert_bytes((struct fk_reader){actual, len}, expected);
}

static struct fk_reader payload_of(const struct vector *vector)
{
    struct fk_reader payload;

    fk_reader_init(&payload, vector->bytes, vector->len);
    return payload;
}

static struct fk_writer start(void)
{
    struct fk_writer writer;

    fk_writer_init(&writer, scratch, sizeof scratch);
    return writer;
}

static void finish(const struct fk_writer *out, const struct vector *vector)
{
    size_t len;

    assert_ok(fk_writer_end(out, &len));
    assert_array(scratch, len, payload_of(vector));
}

/* The request that a `made` answers. */
static struct fk_agree_init asked(const struct vector *v)
{
    return (struct fk_agree_init){.group = (uint16_t)vector_uint(v, "group"),
                                  .form = (enum fk_agree_form)vector_uint(v, "form")};
}

static int decode(const struct vector *v, size_t len)
{
    const char *op = vector_text(v, "op", "");
    struct fk_reader payload;
    union {
        struct fk_agree_init init;
        struct fk_agree_made made;
        struct fk_agree_finish finish;
        struct fk_master_op master;
        struct fk_keys_op keys;
        struct fk_keys_answer answer;
        struct fk_exposed_answer exposed;
        struct fk_finished_op finished;
        struct fk_keep_op keep;
        struct fk_keep_answer kept;
        struct fk_resume_op resume;
        struct fk_resume_answer resumed;
    } u;

    fk_reader_init(&payload, v->bytes, len);
    if (strcmp(op, "init") == 0)
        return fk_agree_init_decode(payload, &u.init);
    if (strcmp(op, "made") == 0) {
        const struct fk_agree_init init = asked(v);

        return fk_agree_made_decode(payload, &init, &u.made);
    }
    if (strcmp(op, "finish") == 0)
        return fk_agree_finish_decode(payload, &u.finish);
    if (strcmp(op, "master") == 0)
        return fk_master_op_decode(payload, &u.master);
    if (strcmp(op, "keys") == 0)
        return fk_keys_op_decode(payload, &u.keys);
    if (strcmp(op, "keys_answer") == 0)
        return fk_keys_answer_decode(payload, &u.answer);
    if (strcmp(op, "exposed_answer") == 0)
        return fk_exposed_answer_decode(payload, &u.exposed);
    if (strcmp(op, "keep") == 0)
        return fk_keep_op_decode(payload, &u.keep);
    if (strcmp(op, "keep_answer") == 0)
        return fk_keep_answer_decode(payload, &u.kept);
    if (strcmp(op, "resume") == 0)
        return fk_resume_op_decode(payload, &u.resume);
    if (strcmp(op, "resume_answer") == 0)
        return fk_resume_answer_decode(payload, &u.resumed);
    assert_string_equal(op, "finished");
    return fk_finished_op_decode(payload, &u.finished);
}

static void check_init(struct vector *v)
{
    struct fk_writer out = start();
    struct fk_agree_init op;

    assert_ok(fk_agree_init_decode(payload_of(v), &op));
    assert_int_equal(op.scheme, vector_uint(v, "scheme"));
    assert_int_equal(op.group, vector_uint(v, "group"));
    assert_int_equal(op.form, vector_uint(v, "form"));
    assert_array(op.client_random, 32, vector_bytes(v, "client_random"));
    assert_array(op.server_random, 32, vector_bytes(v, "server_random"));
    fk_agree_init_encode(&op, &out);
    finish(&out, v);
}

static void check_made(struct vector *v)
{
    const struct fk_agree_init op = asked(v);
    struct fk_writer out = start();
    struct fk_agree_made made;

    assert_ok(fk_agree_made_decode(payload_of(v), &op, &made));
    assert_array(made.handle, FK_HANDLE_SIZE, vector_bytes(v, "handle"));
    assert_bytes(made.params, vector_bytes(v, "params"));
    assert_bytes(made.signature, vector_bytes(v, "signature"));
    assert_bytes(made.private_value, vector_bytes(v, "private"));
    fk_agree_made_encode(&made, &out);
    finish(&out, v);
}

static void check_finish(struct vector *v)
{
    struct fk_writer out = start();
    struct fk_agree_finish op;

    assert_ok(fk_agree_finish_decode(payload_of(v), &op));
    assert_array(op.handle, FK_HANDLE_SIZE, vector_bytes(v, "handle"));
    assert_bytes(op.share, vector_bytes(v, "share"));
    fk_agree_finish_encode(&op, &out);
    finish(&out, v);
}

static void check_source(struct vector *v, const struct fk_premaster_source *source)
{
    assert_int_equal(source->kind, vector_uint(v, "kind"));
    if (source->kind == FK_PREMASTER_AGREED) {
        assert_array(source->agreed.handle, FK_HANDLE_SIZE, vector_bytes(v, "handle"));
        assert_bytes(source->agreed.share, vector_bytes(v, "share"));
    } else {
        assert_int_equal(source->rsa.client_version, vector_uint(v, "client_version"));
        assert_bytes(source->rsa.ciphertext, vector_bytes(v, "ciphertext"));
        assert_array(source->random_seed, FK_RANDOM_SEED_SIZE, vector_bytes(v, "random_seed"));
    }
}

static void check_derivation(struct vector *v, const struct fk_master_derivation *derivation)
{
    assert_int_equal(derivation->prf, vector_uint(v, "prf"));
    assert_int_equal(derivation->ems, vector_uint(v, "ems"));
    assert_bytes(derivation->seed, vector_bytes(v, "seed"));
}

static void check_master(struct vector *v)
{
    struct fk_writer out = start();
    struct fk_master_op op;

    assert_ok(fk_master_op_decode(payload_of(v), &op));
    check_source(v, &op.source);
    check_derivation(v, &op.derivation);
    fk_master_op_encode(&op, &out);
    finish(&out, v);
}

static void check_asked_keys(struct vector *v, const struct fk_keys_op *op)
{
    check_source(v, &op->source);
    check_derivation(v, &op->derivation);
    assert_int_equal(op->suite, vector_uint(v, "suite"));
    assert_array(op->client_random, 32, vector_bytes(v, "client_random"));
    assert_array(op->server_random, 32, vector_bytes(v, "server_random"));
    assert_bytes(op->finished_hash, vector_bytes(v, "finished_hash"));
}

static void check_keys(struct vector *v)
{
    struct fk_writer out = start();
    struct fk_keys_op op;

    assert_ok(fk_keys_op_decode(payload_of(v), &op));
    check_asked_keys(v, &op);
    fk_keys_op_encode(&op, &out);
    finish(&out, v);
}

static void check_given_keys(struct vector *v, const struct fk_keys_answer *answer)
{
    assert_array(answer->handle, FK_HANDLE_SIZE, vector_bytes(v, "handle"));
    assert_bytes(answer->key_block, vector_bytes(v, "key_block"));
    assert_bytes(answer->verify_data, vector_bytes(v, "verify_data"));
}

static void check_keys_answer(struct vector *v)
{
    struct fk_writer out = start();
    struct fk_keys_answer answer;

    assert_ok(fk_keys_answer_decode(payload_of(v), &answer));
    check_given_keys(v, &answer);
    fk_keys_answer_encode(&answer, &out);
    finish(&out, v);
}

static void check_keep(struct vector *v)
{
    struct fk_writer out = start();
    struct fk_keep_op op;

    assert_ok(fk_keep_op_decode(payload_of(v), &op));
    assert_int_equal(op.scope, vector_uint(v, "scope"));
    assert_array(op.context, sizeof op.context, vector_bytes(v, "context"));
    assert_int_equal(op.lifetime_s, vector_uint(v, "lifetime"));
    check_asked_keys(v, &op.keys);
    fk_keep_op_encode(&op, &out);
    finish(&out, v);
}

static void check_keep_answer(struct vector *v)
{
    struct fk_writer out = start();
    struct fk_keep_answer answer;

    assert_ok(fk_keep_answer_decode(payload_of(v), &answer));
    assert_bytes(answer.sealed, vector_bytes(v, "sealed"));
    check_given_keys(v, &answer.keys);
    fk_keep_answer_encode(&answer, &out);
    finish(&out, v);
}

static void check_resume(struct vector *v)
{
    struct fk_writer out = start();
    struct fk_resume_op op;

    assert_ok(fk_resume_op_decode(payload_of(v), &op));
    assert_bytes(op.sealed, vector_bytes(v, "sealed"));
    assert_array(op.context, sizeof op.context, vector_bytes(v, "context"));
    assert_array(op.random_seed, sizeof op.random_seed, vector_bytes(v, "random_seed"));
    assert_array(op.client_random, 32, vector_bytes(v, "client_random"));
    assert_array(op.server_random, 32, vector_bytes(v, "server_random"));
    fk_resume_op_encode(&op, &out);
    finish(&out, v);
}

static void check_resume_answer(struct vector *v)
{
    struct fk_writer out = start();
    struct fk_resume_answer answer;

    assert_ok(fk_resume_answer_decode(payload_of(v), &answer));
    assert_array(answer.handle, FK_HANDLE_SIZE, vector_bytes(v, "handle"));
    assert_bytes(answer.key_block, vector_bytes(v, "key_block"));
    fk_resume_answer_encode(&answer, &out);
    finish(&out, v);
}

static void check_exposed_answer(struct vector *v)
{
    struct fk_writer out = start();
    struct fk_exposed_answer answer;

    assert_ok(fk_exposed_answer_decode(payload_of(v), &answer));
    assert_bytes(answer.key_block, vector_bytes(v, "key_block"));
    assert_bytes(answer.master, vector_bytes(v, "master"));
    fk_exposed_answer_encode(&answer, &out);
    finish(&out, v);
}

static void check_finished(struct vector *v)
{
    struct fk_writer out = start();
    struct fk_finished_op op;

    assert_ok(fk_finished_op_decode(payload_of(v), &op));
    assert_array(op.handle, FK_HANDLE_SIZE, vector_bytes(v, "handle"));
    assert_int_equal(op.end, vector_uint(v, "end"));
    assert_bytes(op.hash, vector_bytes(v, "hash"));
    fk_finished_op_encode(&op, &out);
    finish(&out, v);
}

static void each_vector_both_ways(void **state)
{
    static const struct {
        const char *op;
        void (*check)(struct vector *v);
    } checks[] = {{"init", check_init},
                  {"made", check_made},
                  {"finish", check_finish},
                  {"master", check_master},
                  {"keys", check_keys},
                  {"keys_answer", check_keys_answer},
                  {"exposed_answer", check_exposed_answer},
                  {"finished", check_finished},
                  {"keep", check_keep},
                  {"keep_answer", check_keep_answer},
                  {"resume", check_resume},
                  {"resume_answer", check_resume_answer}};
    struct vectors vectors;
    size_t checked = 0;

    (void)state;
    vectors_load("agree.txt", &vectors);
    for (size_t i = 0; i < vectors.count; i++) {
        struct vector *v = &vectors.items[i];
        const char *error = vector_text(v, "error", NULL);

        print_message("  %s\n", v->name);
        if (error != NULL) {
            assert_string_equal(fk_err_name(decode(v, v->len)), error);
            checked++;
            continue;
        }
        for (size_t c = 0; c < sizeof checks / sizeof checks[0]; c++)
            if (strcmp(vector_text(v, "op", ""), checks[c].op) == 0) {
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
    vectors_load("agree.txt", &vectors);
    for (size_t i = 0; i < vectors.count; i++) {
        struct vector *v = &vectors.items[i];
        uint8_t *longer, *bytes = v->bytes;

        if (vector_has(v, "error"))
            continue;
        for (size_t len = 0; len < v->len; len++)
            assert_err(decode(v, len), FK_ERR_TRUNCATED);
        longer = calloc(1, v->len + 1);
        memcpy(longer, v->bytes, v->len);
        v->bytes = longer;
        assert_err(decode(v, v->len + 1), FK_ERR_TRAILING);
        v->bytes = bytes;
        free(longer);
    }
    vectors_free(&vectors);
}

static void lengths_of_secrets(void **state)
{
    (void)state;
    assert_ok(fk_agree_secret_check(FK_AGREE_P256, 32));
    assert_ok(fk_agree_secret_check(FK_AGREE_P384, 48));
    assert_ok(fk_agree_secret_check(FK_AGREE_X25519, 32));
    assert_ok(fk_agree_secret_check(FK_AGREE_FFDHE2048, 256));
    assert_ok(fk_agree_secret_check(FK_AGREE_FFDHE2048, 1));
    assert_err(fk_agree_secret_check(FK_AGREE_P256, 31), FK_ERR_FORMAT);
    assert_err(fk_agree_secret_check(FK_AGREE_FFDHE2048, 0), FK_ERR_FORMAT);
    assert_err(fk_agree_secret_check(FK_AGREE_FFDHE2048, 257), FK_ERR_FORMAT);
    assert_err(fk_agree_secret_check(0x0019, 66), FK_ERR_FORMAT);
}

UNIT_MAIN(cmocka_unit_test(each_vector_both_ways), cmocka_unit_test(nothing_is_optional),
          cmocka_unit_test(lengths_of_secrets))
