/* base/buf: a queue in order, within its bound, that gives memory back and wipes secrets. */
#include "failmalloc.h"
#include "unit.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"

static void bytes_leave_in_the_order_they_came(void **state)
{
    struct fk_buf buf;
    uint32_t in = 0, out = 0, seed = 1;

    (void)state;
    fk_buf_init(&buf, 5000);
    for (int step = 0; step < 20000; step++) {
        uint8_t chunk[300];
        size_t n;

        seed = seed * 1103515245 + 12345;
        n = seed >> 16 & 0xff;
        if ((seed >> 30 & 1) == 0 && n <= fk_buf_room(&buf)) {
            for (size_t i = 0; i < n; i++)
                chunk[i] = (uint8_t)in++;
            assert_ok(fk_buf_append(&buf, chunk, n));
        } else if (n <= fk_buf_len(&buf)) {
            for (size_t i = 0; i < n; i++)
                assert_int_equal(fk_buf_data(&buf)[i], (uint8_t)out++);
            fk_buf_consume(&buf, n);
        }
        assert_int_equal(fk_buf_len(&buf), in - out);
        assert_int_equal(fk_buf_len(&buf) + fk_buf_room(&buf), 5000);
    }
    assert_true(in > 100000);
    fk_buf_fini(&buf);
}

static void bound_is_never_exceeded(void **state)
{
    static const uint8_t bytes[101];
    struct fk_buf buf;
    uint8_t *at = NULL;

    (void)state;
    fk_buf_init(&buf, 100);
    assert_err(fk_buf_append(&buf, bytes, 101), FK_ERR_LIMIT);
    assert_int_equal(fk_buf_len(&buf), 0);
    assert_ok(fk_buf_append(&buf, bytes, 100));
    assert_err(fk_buf_append(&buf, bytes, 1), FK_ERR_LIMIT);
    assert_err(fk_buf_reserve(&buf, 1, &at), FK_ERR_LIMIT);
    assert_err(fk_buf_reserve(&buf, SIZE_MAX, &at), FK_ERR_LIMIT);
    assert_null(at);
    assert_ok(fk_buf_append(&buf, NULL, 0));
    fk_buf_consume(&buf, 1);
    assert_ok(fk_buf_append(&buf, bytes, 1));
    assert_int_equal(fk_buf_len(&buf), 100);
    fk_buf_fini(&buf);
}

static void reserved_room_is_contiguous_and_kept(void **state)
{
    struct fk_buf buf;
    uint8_t *at;

    (void)state;
    fk_buf_init(&buf, 1 << 20);
    assert_ok(fk_buf_append(&buf, "0123456789", 10));
    fk_buf_consume(&buf, 4);
    /* More than is free behind the tail, less than the memory: moves to the front. */
    assert_ok(fk_buf_reserve(&buf, buf.cap - 6, &at));
    assert_int_equal(buf.head, 0);
    assert_memory_equal(fk_buf_data(&buf), "456789", 6);
    memset(at, 'x', buf.cap - 6);
    fk_buf_commit(&buf, buf.cap - 6);
    assert_int_equal(fk_buf_len(&buf), FK_BUF_MIN);
    /* Not more than the bound, though doubling would be. */
    assert_ok(fk_buf_reserve(&buf, fk_buf_room(&buf), &at));
    assert_memory_equal(fk_buf_data(&buf), "456789x", 7);
    fk_buf_fini(&buf);
}

static void empty_queue_gives_its_memory_back(void **state)
{
    static const uint8_t bytes[FK_BUF_KEEP + 1];
    struct fk_buf buf;

    (void)state;
    fk_buf_init(&buf, 1 << 20);
    assert_null(fk_buf_data(&buf));
    assert_ok(fk_buf_append(&buf, bytes, 100));
    fk_buf_consume(&buf, 100);
    assert_non_null(buf.mem); /* small: kept for the next message */
    assert_ok(fk_buf_append(&buf, bytes, sizeof bytes));
    fk_buf_consume(&buf, sizeof bytes - 1);
    assert_non_null(buf.mem);
    fk_buf_consume(&buf, 1);
    assert_null(buf.mem);
    assert_ok(fk_buf_append(&buf, bytes, 1)); /* and goes on */
    fk_buf_fini(&buf);
    fk_buf_fini(&buf);
    assert_ok(fk_buf_append(&buf, bytes, 1));
    fk_buf_fini(&buf);
}

/* Called for memory that is given back: whether it still holds the secret. */
static size_t blocks_with_secret, blocks_freed;

static void look_for_secret(const void *block, size_t size)
{
    blocks_freed++;
    if (memmem(block, size, "SECRET", 6) != NULL)
        blocks_with_secret++;
}

static void secret_contents_are_wiped(void **state)
{
    struct fk_buf buf;

    (void)state;
    blocks_with_secret = 0;
    blocks_freed = 0;
    failmalloc_arm(0);
    failmalloc_on_free(look_for_secret);
    fk_buf_init_secret(&buf, 1 << 20);
    for (int i = 0; i < 1000; i++)
        assert_ok(fk_buf_append(&buf, "-SECRET-", 8)); /* grows a few times */
    fk_buf_consume(&buf, 4000);
    fk_buf_consume(&buf, 4000);
    assert_ok(fk_buf_append(&buf, "-SECRET-", 8));
    fk_buf_consume(&buf, 8); /* small, and yet not kept */
    assert_null(buf.mem);
    assert_ok(fk_buf_append(&buf, "-SECRET-", 8));
    fk_buf_fini(&buf);
    assert_int_equal(blocks_freed, 7);
    assert_int_equal(blocks_with_secret, 0);
    /* The test would see it: */
    fk_buf_init(&buf, 100);
    assert_ok(fk_buf_append(&buf, "-SECRET-", 8));
    fk_buf_fini(&buf);
    assert_int_equal(blocks_with_secret, 1);
    failmalloc_disarm();
}

static void moved_secret_leaves_no_copy_behind(void **state)
{
    struct fk_buf buf;
    uint8_t *at;

    (void)state;
    fk_buf_init_secret(&buf, 1 << 20);
    assert_ok(fk_buf_append(&buf, "0123456789SECRET", 16));
    fk_buf_consume(&buf, 10);
    assert_ok(fk_buf_reserve(&buf, buf.cap - 6, &at));
    assert_memory_equal(fk_buf_data(&buf), "SECRET", 6);
    assert_null(memmem(at, buf.cap - 6, "SECRET", 6));
    fk_buf_fini(&buf);
}

static int append_twice(void *context)
{
    struct fk_buf buf;
    int err;

    (void)context;
    fk_buf_init(&buf, 1 << 20);
    if ((err = fk_buf_append(&buf, "first", 5)) == FK_OK) {
        static const uint8_t bytes[4096];

        if ((err = fk_buf_append(&buf, bytes, sizeof bytes)) != FK_OK)
            assert_memory_equal(fk_buf_data(&buf), "first", 5); /* nothing lost */
    }
    fk_buf_fini(&buf);
    return err;
}

/* Its memory stays until it rests; what was in it does not. */
static void kept_memory_is_wiped_and_given_back_at_rest(void **state)
{
    static const uint8_t bytes[FK_BUF_KEEP + 1] = {1, 2, 3};
    static const uint8_t zeros[sizeof bytes];
    struct fk_buf buf;
    const uint8_t *mem;

    (void)state;
    fk_buf_init_secret(&buf, sizeof bytes);
    fk_buf_keep(&buf);
    for (int i = 0; i < 2; i++) {
        assert_ok(fk_buf_append(&buf, bytes, sizeof bytes));
        mem = buf.mem;
        fk_buf_rest(&buf); /* not while there is something in it */
        assert_ptr_equal(buf.mem, mem);
        fk_buf_consume(&buf, sizeof bytes);
        assert_ptr_equal(buf.mem, mem);
        assert_memory_equal(mem, zeros, sizeof zeros);
    }
    fk_buf_rest(&buf);
    assert_null(buf.mem);
    assert_int_equal(buf.cap, 0);
    assert_ok(fk_buf_append(&buf, bytes, 1)); /* and is usable again */
    fk_buf_fini(&buf);
}

static void failed_growth_loses_nothing(void **state)
{
    (void)state;
    assert_int_equal(failmalloc_try(append_twice, NULL), 2);
}

UNIT_MAIN(cmocka_unit_test(bytes_leave_in_the_order_they_came),
          cmocka_unit_test(bound_is_never_exceeded),
          cmocka_unit_test(reserved_room_is_contiguous_and_kept),
          cmocka_unit_test(empty_queue_gives_its_memory_back),
          cmocka_unit_test(secret_contents_are_wiped),
          cmocka_unit_test(moved_secret_leaves_no_copy_behind),
          cmocka_unit_test(kept_memory_is_wiped_and_given_back_at_rest),
          cmocka_unit_test(failed_growth_loses_nothing))
