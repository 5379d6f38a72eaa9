/* keyd/front while its audit process restarts: operations wait, not for ever, not without bound. */
#include "frontworld.h"
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "loop/sock.h"
#include "wire/keymsg.h"

static void send_pings(struct edge *edge, uint32_t count)
{
    struct fk_keymsg msg = {.opcode = FK_OP_PING};

    while (count-- > 0)
        assert_ok(fk_keymsg_encode(&msg, false, fk_channel_io_out(edge->io)));
    fk_channel_io_flush(edge->io);
}

static void begin_without_audit(const char *limits)
{
    assert_ok(fk_audit_sink_new(loop, true, &sink));
    start_front(limits);
}

static void end_with_audit(void)
{
    stop_front();
    fk_audit_sink_free(sink);
    sink = NULL;
}

/* An audit process that takes what it gets. */
static int attach_audit(void)
{
    int fds[2];

    assert_ok(fk_sock_pair(SOCK_STREAM, fds));
    assert_ok(fk_front_attach_audit(front, fds[0]));
    return fds[1];
}

static void operations_wait_for_the_audit_process(void **state)
{
    struct edge edge;
    int audit;

    (void)state;
    begin_without_audit("");
    connect_edge(&edge, client_ctx);
    audit = attach_audit();
    ask(&edge, 1, 0, FK_ROLE_SERVER);
    UNTIL(n_asked == 1);
    fk_close(&audit);
    settle();
    ask(&edge, 2, 1, FK_ROLE_SERVER);
    ask(&edge, 3, 2, FK_ROLE_SERVER);
    send_pings(&edge, 1); /* all but operations goes on */
    UNTIL(edge.n_answers == 1);
    assert_int_equal(edge.answers[0].opcode, FK_OP_PONG);
    settle();
    assert_int_equal(n_asked, 1);
    audit = attach_audit();
    UNTIL(n_asked == 3);
    for (size_t i = 0; i < 3; i++)
        answer_request(i, FK_OK, "s", 1);
    UNTIL(edge.n_answers == 4);
    for (uint32_t i = 1; i < 4; i++) {
        assert_int_equal(edge.answers[i].id, i);
        assert_int_equal(edge.answers[i].opcode, FK_OP_RESPONSE);
    }
    hang_up(&edge);
    end_with_audit();
    fk_close(&audit);
}

static void operations_do_not_wait_for_ever(void **state)
{
    struct edge edge;

    (void)state;
    begin_without_audit("");
    connect_edge(&edge, client_ctx);
    ask(&edge, 1, 0, FK_ROLE_SERVER);
    UNTIL(edge.n_answers == 1);
    assert_int_equal(edge.answers[0].opcode, FK_OP_ERROR);
    assert_int_equal(edge.answers[0].payload[0], FK_KEYERR_INTERNAL);
    ask(&edge, 2, 0, FK_ROLE_SERVER);
    UNTIL(edge.n_answers == 2);
    assert_int_equal(edge.answers[1].payload[0], FK_KEYERR_INTERNAL);
    assert_int_equal(n_asked, 0);
    hang_up(&edge);
    end_with_audit();
}

/* What is held counts as under way: for the bound of a channel, and until that has gone. */
static void held_operations_are_bounded(void **state)
{
    struct edge one, other;
    int audit;

    (void)state;
    begin_without_audit("channel_outstanding = 2");
    connect_edge(&one, client_ctx);
    connect_edge(&other, client_ctx);
    for (uint32_t i = 0; i < 4; i++)
        ask(&one, i, 0, FK_ROLE_SERVER);
    ask(&other, 9, 1, FK_ROLE_SERVER);
    settle();
    hang_up(&other);
    UNTIL(fk_front_channels(front) == 1);
    audit = attach_audit();
    UNTIL(n_asked == 2); /* those of the channel that has gone are nobody's */
    settle();
    assert_int_equal(n_asked, 2);
    for (size_t i = 0; i < 4; i++) {
        UNTIL(n_asked > i);
        answer_request(i, FK_OK, "s", 1);
    }
    UNTIL(one.n_answers == 4);
    fk_close(&audit);
    settle();
    ask(&one, 5, 0, FK_ROLE_SERVER);
    settle();
    end_with_audit(); /* with one held */
    hang_up(&one);
}

#define CASE(name) cmocka_unit_test(name)

int main(int argc, char **argv)
{
    const struct CMUnitTest cases[] = {
        CASE(operations_wait_for_the_audit_process),
        CASE(operations_do_not_wait_for_ever),
        CASE(held_operations_are_bounded),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(cases, front_setup, front_teardown);
}
