/*
 * inline/flow: why held bytes are acknowledged. The literal reading of a box that buffers, which is
 * in no product, keeps a record's segments until all are there, and says nothing meanwhile. A
 * sender that may not send a whole record before it hears an acknowledgement then never sends the
 * rest, and the box never has it: docs/inline.md has what this test prints.
 */
#include "unit.h"

#include "inlinesim.h"

#define UP       100000 /* bytes, in records of one size */
#define BEGIN_MS 1000   /* when the client's first SYN goes */

static const struct fk_flow_mode literal = {
    .name = "literal",
    .whole_max = SIZE_MAX,
    .holds = true,
    .acknowledges = false,
};

static void send_records(const struct fk_flow_mode *mode, size_t record, struct sim_result *ret)
{
    const struct sim_conf conf = {.seed = 1,
                                  .suite = 0x1301,
                                  .mode = mode,
                                  .record = record,
                                  .up = UP,
                                  .down = 1,
                                  .client_mss = 1460,
                                  .server_mss = 1460,
                                  .client_window = 65535,
                                  .server_window = 65535,
                                  .times = true,
                                  .sack = true};

    sim_run(&conf, ret);
    if (ret->arrived == 0)
        print_message("%6zu bytes a record, %-11s none arrived\n", record, mode->name);
    else
        print_message("%6zu bytes a record, %-11s %6zu arrived after %5.1f ms\n", record,
                      mode->name, ret->arrived, (double)ret->arrived_at / 1000 - BEGIN_MS);
}

/* Ten segments are what a sender begins with (RFC 6928). */
static void a_record_larger_than_the_first_window(void **state)
{
    static const size_t sizes[] = {1000, 4096, 8192, 13000, 15000, 16384};
    static const struct fk_flow_mode *const modes[] = {
        &literal, &fk_flow_buffered, &fk_flow_streaming, &fk_flow_hybrid, &fk_flow_mac_decides};
    struct sim_result result;

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (size_t k = 0; k < 5; k++) {
            send_records(modes[k], sizes[i], &result);
            if (modes[k] == &literal && sizes[i] > 14600) {
                assert_false(result.done); /* the sender gives up in the end */
                assert_int_equal(result.arrived, 0);
            } else {
                assert_true(result.done);
                assert_int_equal(result.arrived, UP);
            }
        }
}

UNIT_MAIN(cmocka_unit_test(a_record_larger_than_the_first_window))
