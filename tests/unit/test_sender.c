/* inline/sender: windows, repair, timers, in virtual time. */
#include "unit.h"

#include "base/err.h"

#include "inline/sender.h"

#define MSS 100

static struct fk_sender sender;
static struct fk_sender_segment segment;
static uint64_t now;

static void begin(uint32_t seq, uint32_t window)
{
    now = 1000;
    fk_sender_init(&sender, seq, MSS, 1000000);
    sender.right = seq + window;
}

static void store(size_t len)
{
    uint8_t *at;

    assert_ok(fk_sender_reserve(&sender, len, &at));
    memset(at, 'x', len);
    fk_sender_commit(&sender, len);
}

static bool next(void)
{
    return fk_sender_next(&sender, MSS, now, &segment);
}

static void assert_next(uint32_t seq, size_t len)
{
    assert_true(next());
    assert_int_equal(segment.seq, seq);
    assert_int_equal(segment.len, len);
}

static void flush(void)
{
    while (next())
        ;
}

/* `window` from `ack` on; one SACK block when `to` > `from`. */
static bool acked(uint32_t ack, uint32_t window, uint32_t from, uint32_t to)
{
    const struct fk_seq_range range = {from, to};
    const struct fk_sender_ack said = {
        .ack = ack, .right = ack + window, .bare = true, .sacks = &range, .n_sacks = to != from};

    return fk_sender_acked(&sender, &said, now);
}

static void expire(void)
{
    assert_int_not_equal(fk_sender_deadline(&sender), 0);
    now = fk_sender_deadline(&sender);
    assert_true(fk_sender_expire(&sender, now - 1));
    assert_true(fk_sender_expire(&sender, now));
}

static void sends_what_the_window_allows(void **state)
{
    (void)state;
    begin(0xffffffb0, 250);
    store(1000);
    assert_next(0xffffffb0, 100);
    assert_next(0x14, 100);
    assert_false(next()); /* 50 bytes wait: only the window makes them small */
    assert_true(acked(0x14, 350, 0, 0));
    assert_next(0x78, 100);
    assert_next(0xdc, 100);
    assert_false(next());
    fk_sender_fini(&sender);
}

static void a_window_of_one_byte(void **state)
{
    (void)state;
    begin(0, 1);
    store(3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_next(i, 1);
        assert_int_equal(segment.push, i == 2);
        assert_false(next());
        assert_true(acked(i + 1, 1, 0, 0));
    }
    assert_true(fk_sender_idle(&sender));
    assert_int_equal(fk_sender_deadline(&sender), 0);
    fk_sender_fini(&sender);
}

static void large_segments_when_the_device_cuts_them(void **state)
{
    (void)state;
    begin(0, 10000);
    store(1000);
    assert_true(fk_sender_next(&sender, 700, now, &segment));
    assert_int_equal(segment.len, 700);
    fk_sender_resend(&sender, (struct fk_seq_range){0, 350});
    for (uint32_t at = 0; at < 350; at += MSS) { /* repaired: segments */
        assert_true(fk_sender_next(&sender, 700, now, &segment));
        assert_int_equal(segment.seq, at);
        assert_int_equal(segment.len, at < 300 ? MSS : 50);
    }
    assert_true(fk_sender_next(&sender, 700, now, &segment));
    assert_int_equal(segment.seq, 700);
    fk_sender_fini(&sender);
}

static void fin_comes_last_and_again(void **state)
{
    (void)state;
    begin(0, 1000);
    store(150);
    fk_sender_finish(&sender);
    assert_next(0, 100);
    assert_false(segment.fin);
    assert_next(100, 50);
    assert_true(segment.fin && segment.push);
    assert_true(acked(150, 1000, 0, 0));
    assert_false(fk_sender_idle(&sender));
    expire();
    assert_next(150, 0);
    assert_true(segment.fin);
    assert_true(acked(151, 1000, 0, 0));
    assert_true(fk_sender_idle(&sender));
    assert_int_equal(fk_sender_end(&sender), 150);
    assert_int_equal(fk_sender_deadline(&sender), 0);
    assert_false(acked(152, 1000, 0, 0));
    fk_sender_fini(&sender);
}

/* Fact 4: what the source sends again is sent again from the store, that and no more. */
static void the_source_sends_again(void **state)
{
    (void)state;
    begin(0, 1000);
    sender.own = false;
    store(500);
    flush();
    fk_sender_resend(&sender, (struct fk_seq_range){50, 150});
    assert_next(50, 100);
    assert_false(next());
    assert_true(acked(100, 1000, 200, 300));
    fk_sender_resend(&sender, (struct fk_seq_range){0, 250});
    assert_next(100, 100); /* not what the sink has */
    assert_false(next());
    /* Several segments at once, as the source's host or a device may have put them together. */
    fk_sender_resend(&sender, (struct fk_seq_range){120, 450});
    assert_next(120, 80);
    assert_next(300, 100);
    assert_next(400, 50);
    assert_false(next());
    fk_sender_resend(&sender, (struct fk_seq_range){120, 450});
    assert_next(120, 80);
    assert_true(acked(420, 1000, 0, 0)); /* meanwhile */
    assert_next(420, 30);
    assert_false(next());
    fk_sender_resend(&sender, (struct fk_seq_range){200, 300});
    assert_false(next());
    fk_sender_resend(&sender, (struct fk_seq_range){500, 600}); /* never sent */
    assert_false(next());
    fk_sender_fini(&sender);
}

/* Fact 4: the real sender sees the duplicates, and repairs its own bytes. */
static void duplicates_are_the_sources_business(void **state)
{
    (void)state;
    begin(0, 1000);
    sender.own = false;
    store(500);
    flush();
    for (int i = 0; i < 5; i++)
        assert_true(acked(0, 1000, 100, 500));
    assert_false(next());
    assert_int_equal(sender.dups, 5);
    expire();
    assert_false(next()); /* nor does the timer repair them */
    fk_sender_fini(&sender);
}

/* Fact 3: bytes that the box has acknowledged are the box's to repair. */
static void three_duplicates_of_owned_bytes(void **state)
{
    (void)state;
    begin(0, 1000);
    store(900);
    flush();
    assert_true(acked(0, 1000, 100, 200));
    assert_true(acked(0, 1000, 100, 300));
    assert_false(next());
    assert_true(acked(0, 1000, 100, 400));
    assert_next(0, 100);
    assert_false(next());
    assert_true(acked(0, 1000, 500, 600)); /* one more hole: one more segment */
    assert_next(400, 100);
    assert_true(acked(0, 1000, 500, 700)); /* both were repaired: wait */
    assert_false(next());
    assert_true(acked(400, 1000, 500, 800)); /* a partial acknowledgement */
    assert_false(next());
    assert_true(acked(900, 1000, 0, 0));
    assert_false(sender.recovering);
    fk_sender_fini(&sender);
}

static void repair_without_selective_acknowledgements(void **state)
{
    (void)state;
    begin(0, 1000);
    store(500);
    flush();
    for (int i = 0; i < 3; i++)
        assert_true(acked(0, 1000, 0, 0));
    assert_next(0, 100);
    assert_true(acked(200, 1000, 0, 0)); /* the next hole begins here */
    assert_next(200, 100);
    assert_true(acked(200, 1000, 0, 0));
    assert_false(next());
    assert_true(acked(500, 1000, 0, 0));
    assert_true(fk_sender_idle(&sender));
    fk_sender_fini(&sender);
}

static void the_timer_repairs_and_backs_off(void **state)
{
    uint64_t wait = FK_SENDER_RTO_FIRST_US, before;

    (void)state;
    begin(0, 1000);
    store(300);
    flush();
    for (unsigned i = 0; i < FK_SENDER_TRIES - 1; i++) {
        before = now;
        expire();
        assert_int_equal(now - before, wait);
        wait = wait * 2 < FK_SENDER_RTO_MAX_US ? wait * 2 : FK_SENDER_RTO_MAX_US;
        assert_next(0, 100);
        assert_false(next());
    }
    assert_false(fk_sender_expire(&sender, fk_sender_deadline(&sender)));
    fk_sender_fini(&sender);
}

/* After the timer went off, each acknowledgement brings the next segment. */
static void after_the_timer_all_is_repaired(void **state)
{
    (void)state;
    begin(0, 1000);
    store(300);
    flush();
    assert_true(acked(0, 1000, 100, 200));
    expire();
    assert_int_equal(sender.n_sacked, 0); /* the sink may have thrown it away */
    assert_next(0, 100);
    assert_true(acked(200, 1000, 0, 0));
    assert_next(200, 100);
    assert_true(acked(300, 1000, 0, 0));
    assert_true(fk_sender_idle(&sender));
    fk_sender_fini(&sender);
}

/* RFC 6298 section 2, and Karn's rule. */
static void round_trips_are_measured(void **state)
{
    (void)state;
    begin(0, 1000);
    store(100);
    flush();
    now += 400000;
    assert_true(acked(100, 1000, 0, 0));
    assert_int_equal(sender.srtt, 400000);
    assert_int_equal(sender.rto, 400000 + 4 * 200000);
    store(100);
    flush();
    now += 200000;
    assert_true(acked(200, 1000, 0, 0));
    assert_int_equal(sender.srtt, (7 * 400000 + 200000) / 8);
    assert_int_equal(sender.rttvar, (3 * 200000 + 200000) / 4);
    store(100);
    flush();
    expire();
    flush();
    now += 5;
    assert_true(acked(300, 1000, 0, 0));
    assert_int_equal(sender.srtt, 375000); /* which one was answered? */
    fk_sender_fini(&sender);
}

static void a_closed_window_is_probed(void **state)
{
    (void)state;
    begin(0, 0);
    store(100);
    flush();
    assert_false(fk_sender_probe(&sender));
    for (int i = 0; i < 3; i++) {
        expire();
        assert_true(fk_sender_probe(&sender));
        assert_false(fk_sender_probe(&sender));
        assert_false(next());
    }
    assert_true(acked(0, 0, 0, 0)); /* it is there, but shut: less and less often asked */
    assert_int_equal(sender.tries, 0);
    assert_int_equal(sender.backoff, 3);
    assert_true(acked(0, 100, 0, 0));
    assert_int_equal(sender.backoff, 0);
    assert_next(0, 100);
    assert_false(fk_sender_probe(&sender));
    fk_sender_fini(&sender);

    begin(0, 0); /* nothing stored, but somebody waits */
    sender.want_room = true;
    flush();
    expire();
    assert_true(fk_sender_probe(&sender));
    fk_sender_fini(&sender);
}

/* A router says that what is under way was too big: all of it again, smaller, by and by. */
static void what_was_too_big_goes_again(void **state)
{
    (void)state;
    begin(0, 10000);
    store(200);
    fk_sender_shrink(&sender, MSS); /* nothing is under way */
    flush();
    fk_sender_resend(&sender, (struct fk_seq_range){0, MSS});
    fk_sender_shrink(&sender, 60);
    assert_next(0, 60); /* the one that was due, too */
    assert_false(next());
    assert_true(acked(60, 10000, 0, 0));
    assert_next(60, 60);
    assert_true(acked(120, 10000, 0, 0));
    assert_next(120, 60);
    assert_true(acked(180, 10000, 0, 0));
    assert_next(180, 20);
    assert_true(acked(200, 10000, 0, 0));
    assert_false(next());
    fk_sender_fini(&sender);
}

static void nonsense_is_not_believed(void **state)
{
    (void)state;
    begin(1000, 1000);
    store(500);
    flush();
    assert_false(acked(1501, 1000, 0, 0));
    assert_int_equal(sender.una, 1000);
    assert_true(acked(999, 60000, 0, 0)); /* old */
    assert_int_equal(sender.right, 2000);
    assert_true(acked(1000, 1000, 1400, 1600)); /* never sent */
    assert_true(acked(1000, 1000, 900, 1100));  /* a DSACK */
    assert_int_equal(sender.n_sacked, 0);
    assert_true(acked(1000, 500, 0, 0)); /* a window does not shrink */
    assert_int_equal(sender.right, 2000);
    fk_sender_fini(&sender);
}

static void more_ranges_than_are_remembered(void **state)
{
    uint32_t last = 100 * (2 * (FK_SENDER_SACKS + 5) + 2);

    (void)state;
    begin(0, 100000);
    store(last);
    flush();
    for (uint32_t i = 1; i <= FK_SENDER_SACKS + 5; i++)
        assert_true(acked(0, 100000, 200 * i, 200 * i + 100));
    assert_int_equal(sender.n_sacked, FK_SENDER_SACKS);
    assert_int_equal(sender.sacked[0].start, 200);
    for (size_t i = 1; i < sender.n_sacked; i++)
        assert_true(fk_seq_lt(sender.sacked[i - 1].end, sender.sacked[i].start));
    assert_true(acked(0, 100000, 100, last - 100)); /* all of them become one */
    assert_int_equal(sender.n_sacked, 1);
    assert_true(acked(last, 100000, 0, 0));
    assert_int_equal(sender.n_sacked, 0);
    fk_sender_fini(&sender);
}

UNIT_MAIN(cmocka_unit_test(sends_what_the_window_allows), cmocka_unit_test(a_window_of_one_byte),
          cmocka_unit_test(large_segments_when_the_device_cuts_them),
          cmocka_unit_test(fin_comes_last_and_again), cmocka_unit_test(the_source_sends_again),
          cmocka_unit_test(duplicates_are_the_sources_business),
          cmocka_unit_test(three_duplicates_of_owned_bytes),
          cmocka_unit_test(repair_without_selective_acknowledgements),
          cmocka_unit_test(the_timer_repairs_and_backs_off),
          cmocka_unit_test(after_the_timer_all_is_repaired),
          cmocka_unit_test(round_trips_are_measured), cmocka_unit_test(a_closed_window_is_probed),
          cmocka_unit_test(what_was_too_big_goes_again), cmocka_unit_test(nonsense_is_not_believed),
          cmocka_unit_test(more_ranges_than_are_remembered))
