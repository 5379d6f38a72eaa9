/* inline/streammap: against a model that notes for each byte of either stream what it is. */
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "failmalloc.h"
#include "inline/streammap.h"

/* One span of a TLS 1.3 record of `n` bytes, opened and sealed; of a handshake; of a stream that
 * passes. */
static struct fk_span opened(uint32_t n)
{
    return (struct fk_span){.in_len = n + 22, .out_len = n, .content = n, .in_head = 5};
}

static struct fk_span sealed(uint32_t n)
{
    return (struct fk_span){.in_len = n, .out_len = n + 22, .content = n, .out_head = 5};
}

static struct fk_span passed(uint32_t n)
{
    return (struct fk_span){.in_len = n, .out_len = n, .content = n};
}

static struct fk_span taken(uint32_t n)
{
    return (struct fk_span){.in_len = n};
}

static struct fk_span made(uint32_t n)
{
    return (struct fk_span){.out_len = n};
}

static void add(struct fk_stream_map *map, struct fk_span span)
{
    assert_ok(fk_stream_map_add(map, &span));
}

/* --- by hand --- */

static void an_empty_map_has_its_ends(void **state)
{
    struct fk_seq_range range = {1, 2};
    struct fk_stream_map map;
    uint32_t at;

    (void)state;
    fk_stream_map_init(&map, 100, 200);
    assert_int_equal(fk_stream_map_acked(&map, 200), 100);
    assert_false(fk_stream_map_sent(&map, range, &range));
    assert_false(fk_stream_map_sacked(&map, range, &range));
    assert_false(fk_stream_map_source(&map, 200, &at));
    fk_stream_map_prune(&map, 200);
    fk_stream_map_fini(&map);
}

/* Fact 5: the last byte of plaintext waits for the record's tag. */
static void last_byte_waits_for_the_tag(void **state)
{
    struct fk_stream_map map;

    (void)state;
    fk_stream_map_init(&map, 1000, 5000);
    add(&map, sealed(10));
    assert_int_equal(fk_stream_map_acked(&map, 5000), 1000);
    assert_int_equal(fk_stream_map_acked(&map, 5005), 1000);
    assert_int_equal(fk_stream_map_acked(&map, 5006), 1001);
    for (uint32_t out = 5014; out < 5032; out++)
        assert_int_equal(fk_stream_map_acked(&map, out), 1009);
    assert_int_equal(fk_stream_map_acked(&map, 5032), 1010);
    fk_stream_map_fini(&map);
}

static void records_taken_whole_or_in_part(void **state)
{
    struct fk_stream_map map;
    struct fk_seq_range range;
    uint32_t at;

    (void)state;
    fk_stream_map_init(&map, 0xffffff00, 0xfffffff0); /* both wrap */
    add(&map, taken(100));
    add(&map, opened(200));
    assert_int_equal(fk_stream_map_acked(&map, 0xfffffff0), 0xffffff64);
    assert_int_equal(fk_stream_map_acked(&map, 0xfffffff1), 0xffffff64 + 6);
    assert_int_equal(fk_stream_map_acked(&map, 0xb8), 0xffffff64 + 222);
    /* Who sends the header again wants to hear of what it led to: the first byte. */
    assert_true(
        fk_stream_map_sent(&map, (struct fk_seq_range){0xffffff00, 0xffffff64 + 5}, &range));
    assert_true(
        fk_stream_map_sent(&map, (struct fk_seq_range){0xffffff00, 0xffffff64 + 6}, &range));
    assert_int_equal(range.start, 0xfffffff0);
    assert_int_equal(range.end, 0xfffffff1);
    /* The tag became nothing. */
    assert_false(fk_stream_map_sent(&map, (struct fk_seq_range){0xffffff64 + 206, 0xffffff64 + 222},
                                    &range));
    assert_true(fk_stream_map_source(&map, 0xfffffff0, &at));
    assert_int_equal(at, 0xffffff64 + 5);
    fk_stream_map_fini(&map);
}

static void what_the_box_made_has_no_source(void **state)
{
    struct fk_stream_map map;
    uint32_t at;

    (void)state;
    fk_stream_map_init(&map, 0, 0);
    add(&map, made(50));
    add(&map, sealed(1));
    assert_false(fk_stream_map_source(&map, 49, &at));
    assert_true(fk_stream_map_source(&map, 50, &at));
    assert_int_equal(at, 0);
    assert_true(fk_stream_map_source(&map, 72, &at));
    assert_int_equal(at, 0);
    fk_stream_map_fini(&map);
}

static void spans_of_one_kind_become_one(void **state)
{
    struct fk_stream_map map;

    (void)state;
    fk_stream_map_init(&map, 0, 0);
    for (int i = 0; i < 10; i++)
        add(&map, passed(100));
    assert_int_equal(map.count, 1);
    for (int i = 0; i < 10; i++)
        add(&map, made(7));
    for (int i = 0; i < 10; i++)
        add(&map, taken(7));
    assert_int_equal(map.count, 3);
    add(&map, opened(1));
    add(&map, opened(1));
    assert_int_equal(map.count, 5);
    assert_int_equal(fk_stream_map_acked(&map, 555), 555);
    fk_stream_map_fini(&map);
}

static void it_is_bounded(void **state)
{
    struct fk_stream_map map;
    struct fk_span span = sealed(1);

    (void)state;
    fk_stream_map_init(&map, 7, 7);
    for (size_t i = 0; i < FK_STREAM_MAP_SPANS_MAX; i++) {
        assert_true(fk_stream_map_room(&map, 1));
        add(&map, span);
    }
    assert_false(fk_stream_map_room(&map, 1));
    assert_err(fk_stream_map_add(&map, &span), FK_ERR_LIMIT);
    fk_stream_map_prune(&map, 7 + 23);
    assert_true(fk_stream_map_room(&map, 1));
    fk_stream_map_fini(&map);

    fk_stream_map_init(&map, 7, 7);
    add(&map, passed(FK_STREAM_MAP_REACH));
    span = passed(1);
    assert_err(fk_stream_map_add(&map, &span), FK_ERR_LIMIT);
    assert_int_equal(map.in_end - map.in, FK_STREAM_MAP_REACH);
    fk_stream_map_fini(&map);
}

static void a_stream_that_passes_goes_on_for_ever(void **state)
{
    struct fk_stream_map map;

    (void)state;
    fk_stream_map_init(&map, 0, 100);
    for (int i = 0; i < 64; i++) {
        add(&map, passed(FK_STREAM_MAP_REACH / 8));
        fk_stream_map_prune(&map, map.out_end - 5);
        assert_int_equal(map.out, map.out_end - 5);
        assert_int_equal(fk_stream_map_acked(&map, map.out_end - 2), map.in_end - 2);
    }
    fk_stream_map_fini(&map);
}

static int grow_it(void *context)
{
    struct fk_stream_map map;
    struct fk_span span = sealed(1);
    int err = FK_OK;

    (void)context;
    fk_stream_map_init(&map, 0, 0);
    for (int i = 0; i < 40 && err == FK_OK; i++)
        err = fk_stream_map_add(&map, &span);
    fk_stream_map_fini(&map);
    return err;
}

static void without_memory(void **state)
{
    (void)state;
    assert_int_equal(failmalloc_try(grow_it, NULL), 4);
}

/* --- by a model --- */

#define MODEL_MAX 4096

/* For each byte of the sink's stream the source's byte that it belongs to, and so the other way:
 * first and one past the last counterpart. */
struct model {
    uint32_t in0, out0;
    size_t n_in, n_out;
    int source[MODEL_MAX];                 /* -1: none */
    size_t from[MODEL_MAX], to[MODEL_MAX]; /* from == to: none */
    bool bare[MODEL_MAX];                  /* of the source: without any counterpart */
};

static uint64_t random_state;

static uint32_t pick(uint32_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)((random_state >> 16) % n);
}

static void model_add(struct model *model, const struct fk_span *span)
{
    size_t in = model->n_in, out = model->n_out;

    model->n_in += span->in_len;
    model->n_out += span->out_len;
    for (size_t i = 0; i < span->in_len; i++) {
        size_t c = i - span->in_head;
        bool content = i >= span->in_head && c < span->content;

        model->bare[in + i] = !content;
        if (i < span->in_head && span->content > 0)
            c = 0; /* a head stands for what it leads to */
        content = c < span->content;
        model->from[in + i] = out + (!content || c == 0 ? 0 : span->out_head + c);
        model->to[in + i] = !content                 ? model->from[in + i]
                            : c == span->content - 1 ? out + span->out_len
                                                     : out + span->out_head + c + 1;
    }
    for (size_t i = 0; i < span->out_len; i++) {
        size_t c = i < span->out_head ? 0 : i - span->out_head;
        bool tail = c >= span->content;

        model->source[out + i] = span->in_len == 0    ? -1
                                 : i < span->out_head ? (int)in
                                 : tail               ? (int)(in + span->in_len) - 1
                                                      : (int)(in + span->in_head + c);
    }
}

static struct fk_span any_span(void)
{
    uint32_t n = 1 + pick(pick(4) == 0 ? 200 : 5);

    switch (pick(5)) {
    case 0:
        return opened(n);
    case 1:
        return sealed(n);
    case 2:
        return passed(n);
    case 3:
        return taken(n);
    default:
        return made(n);
    }
}

/* All of the source before the first byte that still waits for some byte at or behind `out`. Bare
 * bytes count with the content before them, or, as heads, with the content behind. */
static size_t model_acked(const struct model *model, size_t out)
{
    size_t i = 0, done = 0;

    for (; i < model->n_in; i++) {
        if (model->bare[i])
            continue;
        if (model->to[i] > out)
            break;
        done = i + 1;
    }
    return i == model->n_in ? model->n_in : done;
}

static void check_sink_side(const struct model *model, const struct fk_stream_map *map)
{
    for (uint32_t out = map->out - model->out0; out <= model->n_out; out++) {
        uint32_t acked = fk_stream_map_acked(map, model->out0 + out) - model->in0, at;
        size_t expected = model_acked(model, out);

        /* Bare bytes in between may count or not; a byte with counterparts may not. */
        assert_true(acked >= expected || acked >= map->in - model->in0);
        for (size_t i = expected; i < acked; i++)
            assert_true(model->bare[i]);
        if (out == model->n_out)
            assert_int_equal(acked, model->n_in);
        else if (model->source[out] < 0)
            assert_false(fk_stream_map_source(map, model->out0 + out, &at));
        else {
            assert_true(fk_stream_map_source(map, model->out0 + out, &at));
            assert_int_equal(at - model->in0, model->source[out]);
        }
    }
}

static void check_sacked(const struct model *model, const struct fk_stream_map *map)
{
    uint32_t base = map->out - model->out0, a, b;
    struct fk_seq_range out, in;

    if (base == model->n_out)
        return;
    a = base + pick((uint32_t)model->n_out - base);
    b = a + 1 + pick((uint32_t)model->n_out - a);
    out = (struct fk_seq_range){model->out0 + a, model->out0 + b};
    if (!fk_stream_map_sacked(map, out, &in))
        in = (struct fk_seq_range){model->in0, model->in0};
    for (size_t i = map->in - model->in0; i < model->n_in; i++) {
        bool said = i >= in.start - model->in0 && i < in.end - model->in0;
        bool had = !model->bare[i] && model->from[i] >= a && model->to[i] <= b;

        if (had && !said) /* the box's own bytes are before it, and not in the block */
            assert_true(model->from[i] > 0 && model->source[model->from[i] - 1] < 0);
        else if (!model->bare[i])
            assert_int_equal(said, had);
    }
}

static void check_sent(const struct model *model, const struct fk_stream_map *map)
{
    uint32_t base = map->in - model->in0, a, b;
    size_t from = SIZE_MAX, to = 0;
    struct fk_seq_range in, out;
    bool sent;

    if (base == model->n_in)
        return;
    a = base + pick((uint32_t)model->n_in - base);
    b = a + 1 + pick((uint32_t)model->n_in - a);
    in = (struct fk_seq_range){model->in0 + a, model->in0 + b};
    for (size_t i = a; i < b; i++) {
        if (model->from[i] == model->to[i])
            continue;
        from = model->from[i] < from ? model->from[i] : from;
        to = model->to[i] > to ? model->to[i] : to;
    }
    sent = fk_stream_map_sent(map, in, &out);
    if (to == 0) {
        assert_true(!sent || out.end - out.start > 0);
        return;
    }
    assert_true(sent);
    /* At least what they became; what the box put in between may come with it at the edges. */
    assert_true(out.start - model->out0 <= from && out.end - model->out0 >= to);
    for (size_t i = out.start - model->out0; i < from; i++)
        assert_true(model->source[i] < 0);
    for (size_t i = to; i < out.end - model->out0; i++)
        assert_true(model->source[i] < 0);
}

static void like_the_model(void **state)
{
    static struct model model;
    struct fk_stream_map map;

    (void)state;
    random_state = 42;
    for (int round = 0; round < 1500; round++) {
        model.in0 = pick(2) == 0 ? pick(UINT32_MAX) : (uint32_t)-pick(300);
        model.out0 = pick(2) == 0 ? pick(UINT32_MAX) : (uint32_t)-pick(300);
        model.n_in = model.n_out = 0;
        fk_stream_map_init(&map, model.in0, model.out0);
        for (uint32_t n = pick(30);
             n > 0 && model.n_in < MODEL_MAX - 250 && model.n_out < MODEL_MAX - 250; n--) {
            struct fk_span span = any_span();

            add(&map, span);
            model_add(&model, &span);
            if (pick(3) == 0)
                fk_stream_map_prune(&map, map.out + pick(map.out_end - map.out + 1));
        }
        check_sink_side(&model, &map);
        for (int i = 0; i < 20; i++) {
            check_sacked(&model, &map);
            check_sent(&model, &map);
        }
        fk_stream_map_fini(&map);
    }
}

UNIT_MAIN(cmocka_unit_test(an_empty_map_has_its_ends),
          cmocka_unit_test(last_byte_waits_for_the_tag),
          cmocka_unit_test(records_taken_whole_or_in_part),
          cmocka_unit_test(what_the_box_made_has_no_source),
          cmocka_unit_test(spans_of_one_kind_become_one), cmocka_unit_test(it_is_bounded),
          cmocka_unit_test(a_stream_that_passes_goes_on_for_ever), cmocka_unit_test(without_memory),
          cmocka_unit_test(like_the_model))
