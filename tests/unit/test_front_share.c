/* keyd/frontop: shares of split keys for other key servers; the signer is played. */
#include "frontworld.h"
#include "unit.h"

#include "base/err.h"
#include "signer/share.h"
#include "wire/keymsg.h"

/* Keys of these tests: combined here, of either kind, and held for others. */
enum { SHAMIR = 1, ADDITIVE, HELD, HELD_ELSEWHERE };

#define SHARER "edge \"s2\" { identity = \"farkey:keyserver:s2\" allow = {share} keys = {\"*\"} }\n"

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

static void start(struct edge *edge)
{
    shape_key = shape;
    start_front_with(EDGES SHARER, "");
    connect_edge(edge, client_ctx);
}

static void stop(struct edge *edge)
{
    hang_up(edge);
    stop_front();
    shape_key = NULL;
}

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
        cmocka_unit_test(share_is_given_to_whom_it_is_for),
        cmocka_unit_test(share_is_asked_for_with_a_whole_operation),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(cases, front_setup, front_teardown);
}
