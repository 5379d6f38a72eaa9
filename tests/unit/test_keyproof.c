/* wire/keyproof: signed requests: what is signed of a frame, and that each counts once. */
#include "unit.h"

#include "base/buf.h"
#include "base/err.h"
#include "wire/keyproof.h"

static struct fk_buf buf;

/* A message in a buffer of its own, with a proof of all 7 as the last item, or before the SNI. */
static struct fk_keymsg make(bool last)
{
    static uint8_t proof[FK_KEYPROOF_SIZE];
    struct fk_keymsg msg = {.id = 5, .opcode = FK_OP_SIGN13}, ret;
    struct fk_frame frame;
    size_t used;

    memset(proof, 7, sizeof proof);
    msg.payload = fk_item("payload", 7);
    msg.proof = fk_item(proof, sizeof proof);
    fk_buf_fini(&buf);
    fk_buf_init(&buf, 4096);
    assert_ok(fk_keymsg_encode(&msg, !last, &buf)); /* padding comes behind everything */
    assert_ok(fk_frame_parse(fk_buf_data(&buf), fk_buf_len(&buf), &frame, &used));
    assert_ok(fk_keymsg_decode(&frame, &ret));
    return ret;
}

static void part_is_what_comes_before(void **state)
{
    static const uint8_t expected[] = {0x11, 0,   1,   FK_OP_SIGN13, 0x12, 0,   7,
                                       'p',  'a', 'y', 'l',          'o',  'a', 'd'};
    struct fk_keymsg msg = make(true);
    struct fk_reader part;

    (void)state;
    assert_ok(fk_keyproof_part(&msg, &part));
    assert_int_equal(part.left, sizeof expected);
    assert_memory_equal(part.next, expected, sizeof expected);
    msg = make(false);
    assert_err(fk_keyproof_part(&msg, &part), FK_ERR_FORMAT); /* something unsigned is behind it */
    msg.proof = (struct fk_reader){NULL, 0};
    assert_err(fk_keyproof_part(&msg, &part), FK_ERR_NOT_FOUND);
    fk_buf_fini(&buf);
}

static void encoding_is_reversible(void **state)
{
    struct fk_keyproof proof = {.counter = 0x0102030405060708}, got;
    uint8_t bytes[FK_KEYPROOF_SIZE];
    struct fk_writer writer;
    size_t len;

    (void)state;
    memset(proof.reply_key, 0x11, sizeof proof.reply_key);
    memset(proof.signature, 0x22, sizeof proof.signature);
    fk_writer_init(&writer, bytes, sizeof bytes);
    fk_keyproof_encode(&proof, &writer);
    assert_ok(fk_writer_end(&writer, &len));
    assert_int_equal(len, sizeof bytes);
    assert_memory_equal(bytes, "\1\2\3\4\5\6\7\10\x11", 9);
    assert_ok(fk_keyproof_decode(fk_item(bytes, len), &got));
    assert_memory_equal(&got, &proof, sizeof got);
    for (size_t cut = 0; cut < len; cut++)
        assert_err(fk_keyproof_decode(fk_item(bytes, cut), &got), FK_ERR_TRUNCATED);
}

/* As docs/wire-key.md has it. */
static void what_is_signed(void **state)
{
    struct fk_keyproof proof = {.counter = 9};
    struct fk_keyproof_place place = {.server = "keys1"};
    uint8_t bytes[FK_KEYPROOF_FRAME + 4];
    struct fk_writer writer;
    size_t len;

    (void)state;
    memset(proof.reply_key, 0x33, sizeof proof.reply_key);
    memset(place.exporter, 0x44, sizeof place.exporter);
    fk_writer_init(&writer, bytes, sizeof bytes);
    fk_keyproof_tbs(&proof, &place, fk_item("body", 4), &writer);
    assert_ok(fk_writer_end(&writer, &len));
    assert_int_equal(len, 17 + 32 + 6 + 4 + 8 + 32);
    assert_memory_equal(bytes, "farkey request 1", 17);
    assert_memory_equal(bytes + 17, place.exporter, 32);
    assert_memory_equal(bytes + 49, "\5keys1body\0\0\0\0\0\0\0\x09", 18);
    assert_memory_equal(bytes + 67, proof.reply_key, 32);
}

/* --- counters --- */

static void each_counter_counts_once(void **state)
{
    struct fk_keyproof_window window = {0};

    (void)state;
    assert_err(fk_keyproof_take(&window, 0), FK_ERR_REPLAY);
    for (uint64_t n = 1; n < 5000; n++) {
        assert_ok(fk_keyproof_take(&window, n));
        assert_err(fk_keyproof_take(&window, n), FK_ERR_REPLAY);
    }
    assert_err(fk_keyproof_take(&window, 1), FK_ERR_REPLAY);
    assert_ok(fk_keyproof_take(&window, UINT64_MAX));
    assert_err(fk_keyproof_take(&window, UINT64_MAX), FK_ERR_REPLAY);
    assert_ok(fk_keyproof_take(&window, UINT64_MAX - 1));
    assert_err(fk_keyproof_take(&window, 6000), FK_ERR_REPLAY); /* older than the window */
}

/* Against a model that remembers everything: any order, with repetitions and jumps. */
static void any_order(void **state)
{
    enum { COUNTERS = 20000 };
    static bool seen[COUNTERS];
    struct fk_keyproof_window window = {0};
    uint64_t highest = 0, random = 88172645463325252;

    (void)state;
    for (unsigned i = 0; i < 200000; i++) {
        uint64_t low = highest > 1500 ? highest - 1500 : 1, n;
        bool fresh;

        random ^= random << 13, random ^= random >> 7, random ^= random << 17; /* xorshift */
        n = low + random % 1600;
        if (n >= COUNTERS)
            break;
        fresh = !seen[n] && (n > highest || highest - n < FK_KEYPROOF_WINDOW);
        assert_err(fk_keyproof_take(&window, n), fresh ? FK_OK : FK_ERR_REPLAY);
        seen[n] = seen[n] || fresh;
        highest = n > highest ? n : highest;
    }
    assert_true(highest > COUNTERS - 200);
}

/* The last counters there are: an edge may begin where it likes. */
static void counters_end(void **state)
{
    struct fk_keyproof_window window = {0};

    (void)state;
    for (uint64_t n = UINT64_MAX - 5; n != 0; n += 2) { /* ... - 1, then past it */
        assert_ok(fk_keyproof_take(&window, n));
        assert_err(fk_keyproof_take(&window, n), FK_ERR_REPLAY);
        if (n == UINT64_MAX - 1)
            break;
    }
    assert_ok(fk_keyproof_take(&window, UINT64_MAX));
    assert_err(fk_keyproof_take(&window, UINT64_MAX), FK_ERR_REPLAY);
    assert_ok(fk_keyproof_take(&window, UINT64_MAX - 2)); /* late, and once */
    assert_err(fk_keyproof_take(&window, UINT64_MAX - 2), FK_ERR_REPLAY);
}

UNIT_MAIN(cmocka_unit_test(part_is_what_comes_before), cmocka_unit_test(encoding_is_reversible),
          cmocka_unit_test(what_is_signed), cmocka_unit_test(each_counter_counts_once),
          cmocka_unit_test(any_order), cmocka_unit_test(counters_end))
