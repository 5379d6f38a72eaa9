/* inline/reasm: the hold queue, against a model that notes for each byte what came first. */
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "failmalloc.h"
#include "inline/reasm.h"

static struct fk_reasm reasm;
static struct fk_reasm_put result;

static void put(uint32_t seq, const char *bytes)
{
    struct fk_reader payload;

    fk_reader_init(&payload, bytes, strlen(bytes));
    fk_reasm_put(&reasm, seq, payload, false, reasm.next + 100000, &result);
}

static void assert_ready(const char *expected)
{
    size_t len;
    const uint8_t *bytes = fk_reasm_data(&reasm, &len);

    assert_int_equal(len, strlen(expected));
    if (len > 0)
        assert_memory_equal(bytes, expected, len);
}

static void in_order(void **state)
{
    (void)state;
    fk_reasm_init(&reasm, 0xfffffffe, 100);
    put(0xfffffffe, "abc");
    assert_true(result.news && result.advanced && !result.refused && !result.has_again);
    put(1, "def");
    assert_ready("abcdef");
    assert_int_equal(reasm.next, 4);
    fk_reasm_take(&reasm, 2);
    assert_ready("cdef");
    fk_reasm_fini(&reasm);
}

static void a_hole_is_filled(void **state)
{
    struct fk_seq_range sacks[4];

    (void)state;
    fk_reasm_init(&reasm, 10, 10000);
    put(16, "ghi");
    assert_true(result.news && !result.advanced);
    put(12, "cd");
    assert_ready("");
    assert_int_equal(fk_reasm_sacks(&reasm, 4, sacks), 2);
    assert_int_equal(sacks[0].start, 12); /* the most recent first */
    assert_int_equal(sacks[0].end, 14);
    assert_int_equal(sacks[1].start, 16);
    assert_int_equal(sacks[1].end, 19);
    assert_int_equal(fk_reasm_sacks(&reasm, 1, sacks), 1);
    assert_int_equal(fk_reasm_sacks(&reasm, 0, sacks), 0);
    put(14, "ef"); /* joins both */
    assert_int_equal(fk_reasm_sacks(&reasm, 4, sacks), 1);
    assert_int_equal(sacks[0].end, 19);
    put(10, "ab");
    assert_true(result.advanced);
    assert_ready("abcdefghi");
    assert_int_equal(fk_reasm_sacks(&reasm, 4, sacks), 0);
    assert_int_equal(reasm.held, 0);
    fk_reasm_fini(&reasm);
}

static void the_first_bytes_count(void **state)
{
    (void)state;
    fk_reasm_init(&reasm, 0, 10000);
    put(4, "ef");
    put(2, "CDEFGH"); /* around what is there */
    assert_true(result.news && result.has_again);
    assert_int_equal(result.again.start, 4);
    assert_int_equal(result.again.end, 6);
    put(0, "abXXXXXXij");
    assert_ready("abCDefGHij");
    put(0, "##########");
    assert_false(result.news);
    assert_int_equal(result.again.end, 10);
    assert_ready("abCDefGHij");
    fk_reasm_fini(&reasm);
}

static void nothing_behind_the_window(void **state)
{
    struct fk_reader payload;

    (void)state;
    fk_reasm_init(&reasm, 0, 10000);
    fk_reader_init(&payload, "abcdef", 6);
    fk_reasm_put(&reasm, 0, payload, true, 4, &result);
    assert_true(result.refused && result.advanced);
    assert_ready("abcd");
    assert_false(reasm.has_fin); /* it lies behind, too */
    fk_reasm_put(&reasm, 9, payload, false, 4, &result);
    assert_true(result.refused && !result.news);
    fk_reasm_fini(&reasm);
}

static void the_end(void **state)
{
    struct fk_reader payload;

    (void)state;
    fk_reasm_init(&reasm, 0, 10000);
    fk_reader_init(&payload, "cd", 2);
    fk_reasm_put(&reasm, 2, payload, true, 100, &result);
    assert_true(reasm.has_fin && !fk_reasm_ended(&reasm));
    put(0, "abcdef"); /* there is nothing behind the end */
    assert_true(fk_reasm_ended(&reasm) && result.refused);
    assert_ready("abcd");
    fk_reasm_put(&reasm, 7, payload, true, 100, &result);
    assert_int_equal(reasm.fin, 4); /* the first one counts */
    fk_reasm_fini(&reasm);

    fk_reasm_init(&reasm, 0, 10000);
    put(4, "ef");
    fk_reasm_put(&reasm, 0, payload, true, 100, &result); /* an end before known bytes is none */
    assert_false(reasm.has_fin);
    fk_reasm_fini(&reasm);
}

static void it_is_bounded(void **state)
{
    static char big[4001];
    size_t taken = 0;

    (void)state;
    memset(big, 'x', sizeof big - 1);
    fk_reasm_init(&reasm, 0, 10000);
    for (uint32_t i = 0; i < 10; i++) {
        put(1 + i * 4000, big);
        taken += !result.refused;
        assert_true(reasm.held <= 10000);
    }
    assert_int_equal(taken, 2);
    fk_reasm_fini(&reasm);

    fk_reasm_init(&reasm, 0, 10000000);
    for (uint32_t i = 0; i < FK_REASM_CHUNKS_MAX; i++) {
        put(1 + 2 * i, "x");
        assert_false(result.refused);
    }
    put(1 + 2 * FK_REASM_CHUNKS_MAX, "x");
    assert_true(result.refused);
    fk_reasm_fini(&reasm);

    fk_reasm_init(&reasm, 0, 5000); /* in order: what does not fit comes when there is room */
    put(4000, big);
    put(0, big);
    assert_int_equal(reasm.next, 4000);
    fk_reasm_take(&reasm, 4000);
    assert_int_equal(reasm.next, 8000);
    fk_reasm_fini(&reasm);
}

/* Bytes that come one by one in order, but behind a hole, cost little more than themselves. */
static void small_pieces_share_memory(void **state)
{
    (void)state;
    fk_reasm_init(&reasm, 0, 100000);
    for (uint32_t i = 0; i < 5000; i++)
        put(1 + i, "x");
    assert_true(reasm.n_chunks <= 10);
    fk_reasm_fini(&reasm);
}

static void without_memory(void **state)
{
    (void)state;
    for (size_t n = 1; n <= 2; n++) {
        failmalloc_arm(n);
        fk_reasm_init(&reasm, 0, 1000);
        put(1, "b");
        assert_int_equal(result.refused, n == 1);
        put(0, "a");
        assert_int_equal(result.refused, n == 2);
        put(0, "ab"); /* sent again, as after any loss */
        assert_ready("ab");
        fk_reasm_fini(&reasm);
        assert_true(failmalloc_disarm());
        assert_int_equal(failmalloc_live(), 0);
    }
}

/* --- any order, any cut, other bytes --- */

#define STREAM 600

static uint64_t random_state;

static uint32_t pick(uint32_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)((random_state >> 16) % n);
}

struct model {
    uint32_t start;
    bool known[STREAM];
    uint8_t bytes[STREAM];
    size_t taken;
};

static void model_put(struct model *model, uint32_t at, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (model->known[at + i])
            continue;
        model->known[at + i] = true;
        model->bytes[at + i] = bytes[i];
    }
}

static void any_segment(struct model *model)
{
    uint8_t bytes[200];
    uint32_t len = 1 + pick(pick(3) == 0 ? 200 : 4), at;
    struct fk_reader payload;

    at = pick(2) == 0 && model->taken + 50 < STREAM ? (uint32_t)model->taken + pick(50)
                                                    : pick(STREAM);
    if (at + len > STREAM)
        len = STREAM - at;
    for (uint32_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)pick(256);
    fk_reader_init(&payload, bytes, len);
    fk_reasm_put(&reasm, model->start + at, payload, at + len == STREAM, model->start + STREAM,
                 &result);
    if (!result.refused)
        model_put(model, at, bytes, len);
    else
        assert_int_equal(reasm.n_chunks, FK_REASM_CHUNKS_MAX);
}

static void check_sacks(const struct model *model)
{
    struct fk_seq_range sacks[FK_REASM_SACKS_MAX];
    size_t n = fk_reasm_sacks(&reasm, FK_REASM_SACKS_MAX, sacks);

    for (size_t i = 0; i < n; i++) {
        uint32_t from = sacks[i].start - model->start, to = sacks[i].end - model->start;

        assert_true(fk_seq_lt(reasm.next, sacks[i].start));
        assert_false(model->known[from - 1]);
        assert_true(to == STREAM || !model->known[to]);
        for (; from < to; from++)
            assert_true(model->known[from]);
    }
}

static void check_ready(struct model *model)
{
    size_t len, part;
    const uint8_t *bytes = fk_reasm_data(&reasm, &len);

    assert_int_equal(model->start + (uint32_t)(model->taken + len), reasm.next);
    for (size_t i = 0; i < len; i++) {
        assert_true(model->known[model->taken + i]);
        assert_int_equal(bytes[i], model->bytes[model->taken + i]);
    }
    if (model->taken + len < STREAM)
        assert_false(model->known[model->taken + len]);
    part = len > 0 ? pick((uint32_t)len + 1) : 0;
    fk_reasm_take(&reasm, part);
    model->taken += part;
}

static void like_the_model(void **state)
{
    static struct model model;

    (void)state;
    random_state = 7;
    for (int round = 0; round < 300; round++) {
        memset(&model, 0, sizeof model);
        model.start = pick(2) == 0 ? pick(UINT32_MAX) : (uint32_t)-pick(STREAM);
        fk_reasm_init(&reasm, model.start, 4 * STREAM * FK_REASM_CHUNK_MIN);
        while (!fk_reasm_ended(&reasm)) {
            any_segment(&model);
            check_ready(&model);
            check_sacks(&model);
        }
        fk_reasm_fini(&reasm);
    }
}

UNIT_MAIN(cmocka_unit_test(in_order), cmocka_unit_test(a_hole_is_filled),
          cmocka_unit_test(the_first_bytes_count), cmocka_unit_test(nothing_behind_the_window),
          cmocka_unit_test(the_end), cmocka_unit_test(it_is_bounded),
          cmocka_unit_test(small_pieces_share_memory), cmocka_unit_test(without_memory),
          cmocka_unit_test(like_the_model))
