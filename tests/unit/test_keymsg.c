/* wire/keymsg: frames and items of both dialects, against tests/vectors. */
#include "failmalloc.h"
#include "unit.h"
#include "vectors.h"

#include "base/err.h"
#include "wire/keymsg.h"

static const char *const files[] = {"dialect1.txt", "farkey1.txt"};

static const struct {
    const char *field;
    size_t offset;
} items[] = {
    {"payload", offsetof(struct fk_keymsg, payload)},
    {"digest", offsetof(struct fk_keymsg, digest)},
    {"sni", offsetof(struct fk_keymsg, sni)},
    {"client_ip", offsetof(struct fk_keymsg, client_ip)},
    {"ski", offsetof(struct fk_keymsg, ski)},
    {"server_ip", offsetof(struct fk_keymsg, server_ip)},
    {"cert_id", offsetof(struct fk_keymsg, cert_id)},
    {"extra", offsetof(struct fk_keymsg, extra)},
    {"cert_hash", offsetof(struct fk_keymsg, cert_hash)},
    {"share", offsetof(struct fk_keymsg, share)},
};

#define N_ITEMS (sizeof items / sizeof items[0])

static struct fk_reader *slot(struct fk_keymsg *msg, size_t i)
{
    return (struct fk_reader *)(void *)((char *)msg + items[i].offset);
}

typedef void vector_case(struct vector *vector);

static void each_vector(vector_case *run)
{
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        struct vectors vectors;

        vectors_load(files[i], &vectors);
        for (size_t k = 0; k < vectors.count; k++) {
            print_message("  %s: %s\n", files[i], vectors.items[k].name);
            run(&vectors.items[k]);
        }
        vectors_free(&vectors);
    }
}

static void parse_whole(const struct vector *vector, struct fk_frame *ret)
{
    size_t used;

    assert_ok(fk_frame_parse(vector->bytes, vector->len, ret, &used));
    assert_int_equal(used, vector->len);
}

static void decodes(struct vector *vector)
{
    struct fk_keymsg msg = {.opcode = 0xee};
    struct fk_frame frame;

    parse_whole(vector, &frame);
    if (vector_has(vector, "error")) {
        assert_string_equal(fk_err_name(fk_keymsg_decode(&frame, &msg)),
                            vector_text(vector, "error", ""));
        assert_int_equal(msg.opcode, 0xee); /* untouched */
        return;
    }
    assert_ok(fk_keymsg_decode(&frame, &msg));
    assert_int_equal(msg.id, vector_uint(vector, "id"));
    assert_int_equal(msg.opcode, vector_uint(vector, "opcode"));
    if (vector_has(vector, "version"))
        assert_int_equal(frame.major << 8 | frame.minor, vector_uint(vector, "version"));
    else
        assert_int_equal(frame.major << 8 | frame.minor, 0x0100);
    for (size_t i = 0; i < N_ITEMS; i++) {
        struct fk_reader expected = vector_bytes(vector, items[i].field);

        assert_int_equal(fk_item_present(slot(&msg, i)), expected.next != NULL);
        assert_int_equal(slot(&msg, i)->left, expected.left);
        if (expected.left > 0)
            assert_memory_equal(slot(&msg, i)->next, expected.next, expected.left);
    }
}

static void vectors_decode(void **state)
{
    (void)state;
    each_vector(decodes);
}

static void encodes(struct vector *vector)
{
    struct fk_keymsg msg = {0};
    struct fk_buf out;

    if (vector_has(vector, "error") || vector_has(vector, "encode"))
        return;
    msg.id = (uint32_t)vector_uint(vector, "id");
    msg.opcode = (uint8_t)vector_uint(vector, "opcode");
    for (size_t i = 0; i < N_ITEMS; i++) {
        struct fk_reader bytes = vector_bytes(vector, items[i].field);

        if (vector_has(vector, items[i].field))
            *slot(&msg, i) = fk_item(bytes.next, bytes.left);
    }
    fk_buf_init(&out, FK_FRAME_MAX);
    assert_ok(fk_keymsg_encode(&msg, vector_has(vector, "pad"), &out));
    assert_int_equal(fk_buf_len(&out), vector->len);
    assert_memory_equal(fk_buf_data(&out), vector->bytes, vector->len);
    fk_buf_fini(&out);
}

static void vectors_encode(void **state)
{
    (void)state;
    each_vector(encodes);
}

static void waits(struct vector *vector)
{
    struct fk_frame frame = {.major = 0xee};
    size_t used;

    for (size_t len = 0; len < vector->len; len++) {
        assert_err(fk_frame_parse(vector->bytes, len, &frame, &used), FK_ERR_AGAIN);
        assert_int_equal(used, len < FK_FRAME_HEADER ? 0 : vector->len);
    }
    assert_int_equal(frame.major, 0xee); /* untouched */
}

static void every_prefix_of_a_frame_waits(void **state)
{
    (void)state;
    each_vector(waits);
}

/* A body cut inside an item is truncated; cut between two it is a shorter message. */
static void cuts(struct vector *vector)
{
    struct fk_frame frame;
    struct fk_keymsg msg;
    size_t boundary = 0, body_len;

    if (vector_has(vector, "error"))
        return;
    parse_whole(vector, &frame);
    body_len = frame.body.left;
    for (size_t len = 0; len < body_len; len++) {
        int err;

        frame.body.left = len;
        err = fk_keymsg_decode(&frame, &msg);
        if (len == boundary) {
            const uint8_t *at = frame.body.next + len;

            boundary += 3U + (size_t)(at[1] << 8 | at[2]);
            assert_true(err == FK_OK || err == FK_ERR_FORMAT); /* no opcode yet */
        } else {
            assert_err(err, FK_ERR_TRUNCATED);
        }
    }
    assert_int_equal(boundary, body_len);
}

static void every_cut_inside_an_item_is_truncated(void **state)
{
    (void)state;
    each_vector(cuts);
}

static void bytes_after_a_frame_are_the_next_frame(void **state)
{
    struct vectors vectors;
    struct vector *ping;
    struct fk_frame frame;
    uint8_t two[2048];
    size_t used;

    (void)state;
    vectors_load("farkey1.txt", &vectors);
    ping = vectors_find(&vectors, "ping");
    memcpy(two, ping->bytes, ping->len);
    memcpy(two + ping->len, ping->bytes, ping->len);
    assert_ok(fk_frame_parse(two, 2 * ping->len, &frame, &used));
    assert_int_equal(used, ping->len);
    assert_ok(fk_frame_parse(two + used, ping->len, &frame, &used));
    assert_err(fk_frame_parse(two + used, 1, &frame, &used), FK_ERR_AGAIN);
    vectors_free(&vectors);
}

static void one_byte_after_the_last_item_is_truncated(void **state)
{
    static const uint8_t body[] = {0x11, 0, 1, 0xf1, 0x12, 0, 0, 0x20};
    struct fk_frame frame = {.major = 1, .body = {body, sizeof body}};
    struct fk_keymsg msg;

    (void)state;
    assert_err(fk_keymsg_decode(&frame, &msg), FK_ERR_TRUNCATED);
    frame.body.left--;
    assert_ok(fk_keymsg_decode(&frame, &msg));
}

static void largest_frame_is_encoded_and_one_more_byte_refused(void **state)
{
    static uint8_t payload[65535];
    struct fk_keymsg msg = {.opcode = FK_OP_RESPONSE};
    struct fk_frame frame;
    struct fk_buf out;
    size_t used;

    (void)state;
    fk_buf_init(&out, 2 * (size_t)FK_FRAME_MAX);
    msg.payload = fk_item(payload, 65535 - 4 - 3);
    assert_ok(fk_keymsg_encode(&msg, true, &out));
    assert_int_equal(fk_buf_len(&out), FK_FRAME_MAX);
    assert_ok(fk_frame_parse(fk_buf_data(&out), fk_buf_len(&out), &frame, &used));
    assert_ok(fk_keymsg_decode(&frame, &msg));
    assert_int_equal(msg.payload.left, 65535 - 4 - 3);

    msg.payload = fk_item(payload, 65535 - 4 - 2);
    assert_err(fk_keymsg_encode(&msg, false, &out), FK_ERR_LIMIT);
    msg.payload = fk_item(payload, SIZE_MAX);
    assert_err(fk_keymsg_encode(&msg, false, &out), FK_ERR_LIMIT);
    assert_int_equal(fk_buf_len(&out), FK_FRAME_MAX);
    fk_buf_fini(&out);
}

static void full_queue_takes_nothing(void **state)
{
    struct fk_keymsg msg = {.opcode = FK_OP_PING, .payload = fk_item(NULL, 0)};
    struct fk_buf out;

    (void)state;
    fk_buf_init(&out, 14);
    assert_err(fk_keymsg_encode(&msg, false, &out), FK_ERR_LIMIT);
    assert_int_equal(fk_buf_len(&out), 0);
    fk_buf_fini(&out);
    fk_buf_init(&out, 15);
    assert_ok(fk_keymsg_encode(&msg, false, &out));
    assert_err(fk_keymsg_encode(&msg, true, &out), FK_ERR_LIMIT);
    assert_int_equal(fk_buf_len(&out), 15);
    fk_buf_fini(&out);
}

static int encode_twice(void *context)
{
    static uint8_t payload[2000];
    struct fk_keymsg msg = {.opcode = FK_OP_PING, .payload = fk_item(payload, sizeof payload)};
    struct fk_buf out;
    size_t before;
    int err;

    (void)context;
    fk_buf_init(&out, FK_FRAME_MAX);
    if ((err = fk_keymsg_encode(&msg, true, &out)) == FK_OK) {
        before = fk_buf_len(&out);
        err = fk_keymsg_encode(&msg, true, &out);
        assert_int_equal(fk_buf_len(&out), err == FK_OK ? 2 * before : before);
    }
    fk_buf_fini(&out);
    return err;
}

static void out_of_memory_appends_nothing(void **state)
{
    (void)state;
    assert_int_equal(failmalloc_try(encode_twice, NULL), 2);
}

static void empty_item_is_present(void **state)
{
    struct fk_reader item = fk_item(NULL, 0);

    (void)state;
    assert_true(fk_item_present(&item));
    item = (struct fk_reader){0};
    assert_false(fk_item_present(&item));
}

static void errors_have_codes_in_both_dialects(void **state)
{
    static const struct {
        int err;
        uint8_t dialect2, dialect1;
    } rows[] = {{FK_ERR_CRYPTO, 0x01, 0x01},      {FK_ERR_VERIFY, 0x01, 0x01},
                {FK_ERR_KEY_NOT_FOUND, 0x02, 2},  {FK_ERR_VERSION, 0x04, 0x04},
                {FK_ERR_OPCODE, 0x05, 0x05},      {FK_ERR_UNEXPECTED, 0x06, 0x06},
                {FK_ERR_FORMAT, 0x07, 0x07},      {FK_ERR_TRUNCATED, 0x07, 0x07},
                {FK_ERR_TRAILING, 0x07, 0x07},    {FK_ERR_DUPLICATE, 0x07, 0x07},
                {FK_ERR_RANGE, 0x07, 0x07},       {FK_ERR_UNSUPPORTED, 0x07, 0x07},
                {FK_ERR_INTERNAL, 0x08, 0x08},    {FK_ERR_NOMEM, 0x08, 0x08},
                {FK_ERR_TIMEOUT, 0x08, 0x08},     {FK_ERR_UNAVAILABLE, 0x08, 0x08},
                {FK_ERR_EXPIRED, 0x44, 0x0a},     {FK_ERR_DENIED, 0x40, 0x02},
                {FK_ERR_RATE, 0x41, 0x08},        {FK_ERR_LIMIT, 0x41, 0x08},
                {FK_ERR_DRAINING, 0x42, 0x08},    {FK_ERR_REPLAY, 0x43, 0x08},
                {-9999, FK_KEYERR_INTERNAL, 0x08}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(fk_key_error_to_wire(rows[i].err, FK_DIALECT_2), rows[i].dialect2);
        assert_int_equal(fk_key_error_to_wire(rows[i].err, FK_DIALECT_1), rows[i].dialect1);
    }
}

static void every_code_comes_back_as_an_error(void **state)
{
    (void)state;
    for (unsigned code = 0; code < 256; code++) {
        int err = fk_key_error_from_wire((uint8_t)code);

        assert_int_not_equal(err, FK_OK);
        assert_string_not_equal(fk_err_name(err), "UNKNOWN");
        /* Dialect 1 never sends a code that it does not know. */
        assert_true(fk_key_error_to_wire(err, FK_DIALECT_1) < 0x40);
    }
    assert_err(fk_key_error_from_wire(0x02), FK_ERR_KEY_NOT_FOUND);
    assert_err(fk_key_error_from_wire(0x40), FK_ERR_DENIED);
    assert_err(fk_key_error_from_wire(0x41), FK_ERR_RATE);
    assert_err(fk_key_error_from_wire(0x42), FK_ERR_DRAINING);
    assert_err(fk_key_error_from_wire(0x44), FK_ERR_EXPIRED);
    for (int i = 0; i < 4; i++) {
        static const int errs[] = {FK_ERR_SHARE_MISSING, FK_ERR_SHARE_WRONG, FK_ERR_SHARE_REPEATED,
                                   FK_ERR_SHARE_FOREIGN};

        assert_int_equal(fk_key_error_to_wire(errs[i], FK_DIALECT_2), 0x48 + i);
        assert_int_equal(fk_key_error_to_wire(errs[i], FK_DIALECT_1), FK_KEYERR_INTERNAL);
        assert_err(fk_key_error_from_wire((uint8_t)(0x48 + i)), errs[i]);
    }
    assert_err(fk_key_error_from_wire(0x99), FK_ERR_INTERNAL);
}

static void opcodes_have_names(void **state)
{
    (void)state;
    assert_string_equal(fk_key_opcode_name(FK_OP_SIGN13), "sign-1.3");
    assert_string_equal(fk_key_opcode_name(FK_OP_RSA_SHA256), "rsa-sha256");
    assert_string_equal(fk_key_opcode_name(0x99), "unknown");
}

UNIT_MAIN(cmocka_unit_test(vectors_decode), cmocka_unit_test(vectors_encode),
          cmocka_unit_test(every_prefix_of_a_frame_waits),
          cmocka_unit_test(every_cut_inside_an_item_is_truncated),
          cmocka_unit_test(bytes_after_a_frame_are_the_next_frame),
          cmocka_unit_test(one_byte_after_the_last_item_is_truncated),
          cmocka_unit_test(largest_frame_is_encoded_and_one_more_byte_refused),
          cmocka_unit_test(full_queue_takes_nothing),
          cmocka_unit_test(out_of_memory_appends_nothing), cmocka_unit_test(empty_item_is_present),
          cmocka_unit_test(errors_have_codes_in_both_dialects),
          cmocka_unit_test(every_code_comes_back_as_an_error), cmocka_unit_test(opcodes_have_names))
