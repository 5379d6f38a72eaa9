/* keyd/frontask, keyd/frontop: split keys between key servers, at both ends; the asker and the
 * signer are played. */
#include "frontworld.h"
#include "unit.h"

#include "base/err.h"
#include "base/writer.h"
#include "keyd/hs_link.h"
#include "loop/sock.h"
#include "signer/share.h"
#include "wire/keymsg.h"
#include "wire/keyshare.h"

#include <sys/socket.h>

/* Keys of these tests: combined here, of either kind, and held for others. */
enum { SHAMIR = 1, ADDITIVE, HELD, HELD_ELSEWHERE };

#define KEYSERVER "keyserver \"s2\" { address = \"127.0.0.1:1\" }\n"
#define SHARER    "edge \"s2\" { identity = \"farkey:keyserver:s2\" allow = {share} keys = {\"*\"} }\n"

static void shape(struct fk_index_key *key, size_t i)
{
    static char s2[] = "s2", s3[] = "s3";
    static char *names[] = {s2, s3};

    if (i < SHAMIR || i > HELD_ELSEWHERE)
        return;
    key->split = i == ADDITIVE ? FK_SHARE_ADDITIVE : FK_SHARE_SHAMIR;
    key->held = i >= HELD;
    key->sharers = &names[i == HELD_ELSEWHERE];
    key->n_sharers = key->held;
    if (key->held)
        key->public.permissions |= FK_PERM_SHARE;
}

/* --- the asker that this test plays --- */

static struct fk_hs_link asker;
static bool asker_lost;
static size_t n_questions;
static struct fk_hs_head question;
static uint8_t question_payload[512];
static size_t question_len;

static void on_question(struct fk_hs_link *link, const struct fk_hs_head *head,
                        struct fk_reader payload)
{
    (void)link;
    n_questions++;
    question = *head;
    question_len = payload.left;
    assert_true(payload.left <= sizeof question_payload);
    memcpy(question_payload, payload.next, payload.left);
}

static void on_lost(struct fk_hs_link *link)
{
    asker_lost = true;
    fk_hs_link_close(link);
}

static void start_asker(void)
{
    static const struct fk_hs_link_ops ops = {.message = on_question, .lost = on_lost};
    int fds[2];

    n_questions = 0;
    asker_lost = false;
    assert_ok(fk_sock_pair(SOCK_STREAM, fds));
    fk_hs_link_open(&asker, loop, fds[0], &ops);
    assert_ok(fk_front_add_asker(front, fds[1], 0));
}

static void answer_question(int err, const char *item)
{
    struct fk_hs_head head = {.id = question.id, .err = err};

    assert_ok(fk_hs_link_send(&asker, &head, fk_item((const uint8_t *)item, strlen(item))));
}

static void start(struct edge *edge)
{
    listen_block = "listen \"127.0.0.1:1\" { }\n" KEYSERVER;
    shape_key = shape;
    start_front_with(EDGES SHARER, "");
    start_asker();
    connect_edge(edge, client_ctx);
}

static void stop(struct edge *edge)
{
    hang_up(edge);
    stop_front();
    if (!asker_lost)
        fk_hs_link_close(&asker);
    shape_key = NULL;
    listen_block = "listen \"127.0.0.1:1\" { }";
}

/* --- the server that combines --- */

static void share_is_asked_for_and_goes_with_the_request(void **state)
{
    struct edge edge;
    uint8_t ski[20];
    size_t rest;

    (void)state;
    memset(ski, SHAMIR + 1, sizeof ski);
    start(&edge);
    ask(&edge, 7, SHAMIR, FK_ROLE_SERVER);
    UNTIL(n_questions == 1);
    assert_int_equal(question.opcode, FK_OP_SHARE);
    assert_int_equal(question.n_keys, 1);
    assert_memory_equal(question.skis[0], ski, sizeof ski);
    assert_int_equal(question_payload[0], 0); /* no name */
    assert_int_equal(question_payload[1], 0); /* no address */
    assert_int_equal(question_payload[2], FK_OP_SIGN13);
    rest = question_len - 3; /* all of the operation */
    settle();
    assert_int_equal(n_asked, 0);
    answer_question(FK_OK, "item");
    UNTIL(n_asked == 1);
    assert_int_equal(asked[0].op, FK_SIGNER_SPLIT);
    assert_int_equal(asked[0].detail, FK_OP_SIGN13);
    assert_memory_equal(asked[0].ski, ski, sizeof ski);
    assert_int_equal(asked[0].len, 2 + 4 + rest);
    assert_memory_equal(asked_payload, "\0\4item", 6);
    assert_memory_equal(asked_payload + 6, question_payload + 3, rest);
    answer_request(0, FK_OK, "signature", 9);
    UNTIL(edge.n_answers == 1);
    assert_int_equal(edge.answers[0].id, 7);
    assert_int_equal(edge.answers[0].opcode, FK_OP_RESPONSE);
    assert_memory_equal(edge.answers[0].payload, "signature", 9);
    stop(&edge);
}

static void of_additive_shares_the_power_is_asked_for(void **state)
{
    struct edge edge;

    (void)state;
    start(&edge);
    ask(&edge, 7, ADDITIVE, FK_ROLE_SERVER);
    UNTIL(n_questions == 1);
    assert_int_equal(question.opcode, FK_OP_PARTIAL);
    ask(&edge, 8, 0, FK_ROLE_SERVER); /* a whole key waits for nobody */
    UNTIL(n_asked == 1);
    assert_int_equal(asked[0].op, FK_SIGNER_SIGN13);
    stop(&edge);
}

static void without_a_share_it_is_missing(void **state)
{
    static const int errors[] = {FK_ERR_UNAVAILABLE, FK_ERR_TIMEOUT, FK_ERR_DENIED,
                                 FK_ERR_KEY_NOT_FOUND};
    struct edge edge;

    (void)state;
    start(&edge);
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        ask(&edge, (uint32_t)i, SHAMIR, FK_ROLE_SERVER);
        UNTIL(n_questions == i + 1);
        answer_question(errors[i], "");
        UNTIL(edge.n_answers == i + 1);
        assert_int_equal(edge.answers[i].opcode, FK_OP_ERROR);
        assert_int_equal(edge.answers[i].payload[0], FK_KEYERR_SHARE_MISSING);
    }
    settle();
    assert_int_equal(n_asked, 0);
    stop(&edge);
}

static void asker_that_goes_takes_its_questions_along(void **state)
{
    struct edge edge;

    (void)state;
    start(&edge);
    ask(&edge, 1, SHAMIR, FK_ROLE_SERVER);
    UNTIL(n_questions == 1);
    fk_hs_link_close(&asker);
    asker_lost = true;
    UNTIL(edge.n_answers == 1);
    assert_int_equal(edge.answers[0].payload[0], FK_KEYERR_SHARE_MISSING);
    ask(&edge, 2, SHAMIR, FK_ROLE_SERVER); /* waits for the next one */
    settle();
    assert_int_equal(edge.n_answers, 1);
    start_asker();
    UNTIL(n_questions == 1);
    answer_question(FK_OK, "item");
    UNTIL(n_asked == 1);
    stop(&edge);
}

static void what_cannot_be_asked_about_is_not(void **state)
{
    struct edge edge;

    (void)state;
    start(&edge);
    ask(&edge, 1, SHAMIR, FK_ROLE_CLIENT); /* not its right */
    UNTIL(edge.n_answers == 1);
    assert_int_equal(edge.answers[0].payload[0], FK_KEYERR_DENIED);
    settle();
    assert_int_equal(n_questions, 0);
    stop(&edge);
}

static void share_for_a_channel_that_is_gone(void **state)
{
    struct edge edge;

    (void)state;
    start(&edge);
    ask(&edge, 1, SHAMIR, FK_ROLE_SERVER);
    UNTIL(n_questions == 1);
    hang_up(&edge);
    UNTIL(front->n_conns == 0);
    answer_question(FK_OK, "item");
    settle();
    assert_int_equal(n_asked, 0);
    connect_edge(&edge, client_ctx);
    ask(&edge, 2, SHAMIR, FK_ROLE_SERVER); /* and the front ends with one under way */
    UNTIL(n_questions == 2);
    stop(&edge);
}

/* --- the server that holds a share --- */

static void ask_share(struct edge *edge, uint32_t id, unsigned key, const char *payload, size_t len)
{
    struct fk_keymsg msg = {.id = id, .opcode = FK_OP_SHARE};
    uint8_t ski[20];

    memset(ski, (int)key + 1, sizeof ski);
    msg.payload = fk_item((const uint8_t *)payload, len);
    msg.ski = fk_item(ski, sizeof ski);
    assert_ok(fk_keymsg_encode(&msg, false, fk_channel_io_out(edge->io)));
    fk_channel_io_flush(edge->io);
}

/* SIGN13 by ECDSA with SHA-256, as a server: what a share is asked for. */
static const char about[37] = "\x41\x04\x03\x01\x20";

static void share_is_given_to_whom_it_is_for(void **state)
{
    SSL_CTX *ctx = make_peer_ctx("URI:farkey:keyserver:s2");
    struct edge edge, sharer;

    (void)state;
    start(&edge);
    connect_edge(&sharer, ctx);
    ask_share(&sharer, 1, HELD, about, sizeof about);
    UNTIL(n_asked == 1);
    assert_int_equal(asked[0].op, FK_SIGNER_SHARE);
    assert_int_equal(asked[0].detail, FK_OP_SHARE);
    assert_int_equal(asked[0].len, sizeof about);
    assert_memory_equal(asked_payload, about, sizeof about);
    answer_request(0, FK_OK, "item", 4);
    UNTIL(sharer.n_answers == 1);
    assert_memory_equal(sharer.answers[0].payload, "item", 4);

    ask_share(&sharer, 2, HELD_ELSEWHERE, about, sizeof about);
    ask_share(&sharer, 3, SHAMIR, about, sizeof about); /* nobody else has that one */
    ask_share(&edge, 4, HELD, about, sizeof about);     /* an edge has none of them */
    ask(&sharer, 5, HELD, FK_ROLE_SERVER);              /* nor a key server an operation */
    UNTIL(sharer.n_answers == 4 && edge.n_answers == 1);
    for (size_t i = 1; i < 4; i++)
        assert_int_equal(sharer.answers[i].payload[0], FK_KEYERR_DENIED);
    assert_int_equal(edge.answers[0].payload[0], FK_KEYERR_DENIED);
    settle();
    assert_int_equal(n_asked, 1);
    hang_up(&sharer);
    stop(&edge);
    SSL_CTX_free(ctx);
}

static void share_is_asked_for_with_a_whole_operation(void **state)
{
    SSL_CTX *ctx = make_peer_ctx("URI:farkey:keyserver:s2");
    struct edge edge, sharer;
    char changed[sizeof about];

    (void)state;
    start(&edge);
    connect_edge(&sharer, ctx);
    for (size_t len = 0; len < sizeof about; len++)
        ask_share(&sharer, 1, HELD, about, len);
    memcpy(changed, about, sizeof changed);
    changed[0] = FK_OP_SHARE; /* a share of a share */
    ask_share(&sharer, 1, HELD, changed, sizeof changed);
    changed[0] = FK_OP_INFO;
    ask_share(&sharer, 1, HELD, changed, sizeof changed);
    UNTIL(sharer.n_answers == sizeof about + 2);
    for (size_t i = 0; i < sharer.n_answers; i++)
        assert_int_equal(sharer.answers[i].payload[0], FK_KEYERR_FORMAT);
    settle();
    assert_int_equal(n_asked, 0);
    hang_up(&sharer);
    stop(&edge);
    SSL_CTX_free(ctx);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(share_is_asked_for_and_goes_with_the_request),
        cmocka_unit_test(of_additive_shares_the_power_is_asked_for),
        cmocka_unit_test(without_a_share_it_is_missing),
        cmocka_unit_test(asker_that_goes_takes_its_questions_along),
        cmocka_unit_test(what_cannot_be_asked_about_is_not),
        cmocka_unit_test(share_for_a_channel_that_is_gone),
        cmocka_unit_test(share_is_given_to_whom_it_is_for),
        cmocka_unit_test(share_is_asked_for_with_a_whole_operation),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(cases, front_setup, front_teardown);
}
