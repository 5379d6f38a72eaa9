/* edge/resp: commands as bytes, replies from bytes in pieces of any size, what is refused. */
#include "unit.h"

#include "base/err.h"
#include "edge/resp.h"

#include <stdio.h>

static struct fk_resp *resp;

static int setup(void **state)
{
    (void)state;
    assert_ok(fk_resp_new(&resp));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fk_resp_free(resp);
    return 0;
}

static void expect(enum fk_resp_kind kind, const char *text)
{
    const struct fk_resp_reply *reply;

    assert_ok(fk_resp_next(resp, &reply));
    assert_int_equal(reply->kind, kind);
    assert_int_equal(reply->len, strlen(text));
    assert_memory_equal(reply->data, text, reply->len);
}

static void nothing_yet(void)
{
    const struct fk_resp_reply *reply;

    assert_err(fk_resp_next(resp, &reply), FK_ERR_AGAIN);
}

static void replies_of_each_kind_cut_anywhere(void **state)
{
    static const char bytes[] = "+OK\r\n-ERR no\r\n:42\r\n$-1\r\n$3\r\na\r\n\r\n$0\r\n\r\n";
    size_t len = sizeof bytes - 1;

    (void)state;
    for (size_t piece = 1; piece <= len; piece++) {
        struct fk_resp_reply got[8];
        size_t count = 0;

        for (size_t at = 0; at < len; at += piece) {
            const struct fk_resp_reply *reply;

            assert_ok(fk_resp_feed(resp, bytes + at, len - at < piece ? len - at : piece));
            while (fk_resp_next(resp, &reply) == FK_OK)
                got[count++] = *reply;
        }
        assert_int_equal(count, 6);
        assert_int_equal(got[0].kind, FK_RESP_STATUS);
        assert_int_equal(got[1].kind, FK_RESP_ERROR);
        assert_memory_equal(got[1].data, "ERR no", got[1].len);
        assert_int_equal(got[2].kind, FK_RESP_NUMBER);
        assert_int_equal(got[3].kind, FK_RESP_NIL);
        assert_int_equal(got[4].kind, FK_RESP_STRING);
        assert_memory_equal(got[4].data, "a\r\n", 3);
        assert_int_equal(got[5].len, 0);
        nothing_yet();
    }
}

static void strings_up_to_the_longest_entry(void **state)
{
    char head[32], text[FK_SESENTRY_MAX + 1];
    const struct fk_resp_reply *reply;

    (void)state;
    memset(text, 'x', FK_SESENTRY_MAX);
    text[FK_SESENTRY_MAX] = '\0';
    (void)snprintf(head, sizeof head, "$%d\r\n", FK_SESENTRY_MAX);
    assert_ok(fk_resp_feed(resp, head, strlen(head)));
    assert_ok(fk_resp_feed(resp, text, FK_SESENTRY_MAX));
    nothing_yet();
    assert_ok(fk_resp_feed(resp, "\r\n", 2));
    expect(FK_RESP_STRING, text);
    (void)snprintf(head, sizeof head, "$%d\r\n", FK_SESENTRY_MAX + 1);
    assert_ok(fk_resp_feed(resp, head, strlen(head)));
    assert_ok(fk_resp_feed(resp, text, FK_SESENTRY_MAX));
    assert_ok(fk_resp_feed(resp, "x\r\n", 3));
    assert_err(fk_resp_next(resp, &reply), FK_ERR_FORMAT);
    assert_err(fk_resp_next(resp, &reply), FK_ERR_FORMAT);
    assert_err(fk_resp_feed(resp, "+OK\r\n", 5), FK_ERR_FORMAT);
}

/* A server that never ends its line, or promises more than we ever asked for. */
static void what_does_not_end_is_cut_off(void **state)
{
    static const char *const begin[] = {"+", "$1000000\r\n", "-"};

    (void)state;
    for (size_t i = 0; i < sizeof begin / sizeof begin[0]; i++) {
        const struct fk_resp_reply *reply;
        struct fk_resp *fresh;
        size_t fed = 0;
        int err;

        assert_ok(fk_resp_new(&fresh));
        assert_ok(fk_resp_feed(fresh, begin[i], strlen(begin[i])));
        while ((err = fk_resp_next(fresh, &reply)) == FK_ERR_AGAIN) {
            assert_ok(fk_resp_feed(fresh, "xxxxxxxxxxxxxxxx", 16));
            fed += 16;
        }
        assert_err(err, FK_ERR_FORMAT);
        assert_true(fed < 2 * FK_SESENTRY_MAX);
        fk_resp_free(fresh);
    }
}

static void arrays_and_nonsense_are_refused(void **state)
{
    static const char *const bad[] = {
        "*1\r\n$1\r\nx\r\n",       "*2147483647\r\n", "*0\r\n", "?\r\n", "$x\r\n",
        ":9223372036854775808\r\n"};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const struct fk_resp_reply *reply;
        struct fk_resp *fresh;

        assert_ok(fk_resp_new(&fresh));
        assert_ok(fk_resp_feed(fresh, bad[i], strlen(bad[i])));
        assert_err(fk_resp_next(fresh, &reply), FK_ERR_FORMAT);
        fk_resp_free(fresh);
    }
}

static void a_long_error_is_cut(void **state)
{
    char text[FK_SESENTRY_MAX + 33];
    const struct fk_resp_reply *reply;

    (void)state;
    memset(text, 'e', sizeof text);
    text[0] = '-';
    memcpy(text + sizeof text - 2, "\r\n", 2);
    assert_ok(fk_resp_feed(resp, text, sizeof text));
    assert_ok(fk_resp_next(resp, &reply));
    assert_int_equal(reply->kind, FK_RESP_ERROR);
    assert_int_equal(reply->len, FK_SESENTRY_MAX);
}

static void commands(void **state)
{
    static const char expected[] = "*3\r\n$3\r\nSET\r\n$2\r\nk:\r\n$4\r\n\0\r\n1\r\n";
    const struct fk_resp_arg args[] = {{"SET", 3}, {"k:", 2}, {"\0\r\n1", 4}};
    struct fk_resp_arg many[FK_RESP_ARGS_MAX + 1] = {{"", 0}};
    struct fk_buf out;

    (void)state;
    fk_buf_init(&out, sizeof expected - 1);
    assert_ok(fk_resp_command(&out, args, 3));
    assert_int_equal(fk_buf_len(&out), sizeof expected - 1);
    assert_memory_equal(fk_buf_data(&out), expected, sizeof expected - 1);
    assert_err(fk_resp_command(&out, args, 1), FK_ERR_LIMIT);
    assert_err(fk_resp_command(&out, many, FK_RESP_ARGS_MAX + 1), FK_ERR_LIMIT);
    assert_int_equal(fk_buf_len(&out), sizeof expected - 1);
    fk_buf_fini(&out);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(CASE(replies_of_each_kind_cut_anywhere), CASE(strings_up_to_the_longest_entry),
          CASE(what_does_not_end_is_cut_off), CASE(arrays_and_nonsense_are_refused),
          CASE(a_long_error_is_cut), CASE(commands))
