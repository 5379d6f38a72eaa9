/*
 * inline/flow: every flag at every state. One segment without payload, its numbers right, from
 * either side, with every combination of the flags that mean something to a box: what it causes is
 * a cell of a table. The flags that mean nothing to it change nothing. Then, with any numbers and
 * payload: nothing leaks, and what is not reset goes on.
 */
#include "unit.h"

#include "flowhand.h"

#include "base/err.h"

#include <stdio.h>

#define SIGNIFICANT 16 /* combinations of FIN, SYN, RST, ACK */
#define OTHERS      16 /* of PSH, URG, ECE, CWR */

/* --- ways into each state --- */

static void shaking(void)
{
    established();
    hand.waits = true;
    client_says(0, 0, FK_TCP_ACK, "\x16hello!", 7);
}

static void passing(void)
{
    hand.conf.pass_non_tls = true;
    established();
    client_says(0, 0, FK_TCP_ACK, "GET", 3);
    server_says(0, 3, FK_TCP_ACK, NULL, 0);
}

static void over(void)
{
    hand.conf.pass_non_tls = true;
    passing();
    client_says(3, 0, FK_TCP_ACK | FK_TCP_FIN, NULL, 0);
    server_says(0, 4, FK_TCP_ACK | FK_TCP_FIN, NULL, 0);
    client_says(4, 1, FK_TCP_ACK, NULL, 0);
}

static void was_reset(void)
{
    secured();
    server_says(0, 0, FK_TCP_ACK | FK_TCP_RST, NULL, 0);
    assert_int_equal(hand.counters[FK_FLOW_N_PEER_RESETS], 1);
    assert_int_equal(hand.counters[FK_FLOW_N_RESETS], 0);
}

static void gone(void)
{
    was_reset();
    hand.now = fk_flow_deadline(hand.flow);
    fk_flow_expire(hand.flow, hand.now, &hand.out);
}

/* Where the streams are then. */
static const struct way {
    enum fk_flow_state state;
    void (*go)(void);
    uint32_t client, server; /* what each sends next */
    uint32_t client_acks; /* of the server's stream, by the client; the server acknowledges all */
} ways[] = {
    {FK_FLOW_SYN, opening, 0, 0, 0},       {FK_FLOW_SYNACK, opened, 0, 0, 0},
    {FK_FLOW_HELLO, established, 0, 0, 0}, {FK_FLOW_HANDSHAKE, shaking, 7, 0, 0},
    {FK_FLOW_RECORDS, secured, 7, 0, 6},   {FK_FLOW_PASS, passing, 3, 0, 0},
    {FK_FLOW_OVER, over, 4, 1, 1},         {FK_FLOW_RESET, was_reset, 7, 0, 6},
    {FK_FLOW_GONE, gone, 7, 0, 6},
};

#define WAYS (sizeof ways / sizeof ways[0])

static void go(const struct way *way)
{
    hand_begin();
    way->go();
    assert_int_equal(fk_flow_state(hand.flow), way->state);
    hand.out.n = hand.out.used = 0;
}

/* What the server has acknowledged of the client's: what has become of it. */
static uint32_t server_acks(const struct way *way)
{
    return way->state == FK_FLOW_PASS || way->state == FK_FLOW_OVER ? way->client : 0;
}

static void say(const struct way *way, enum fk_inline_side from, uint16_t flags, int32_t seq,
                int32_t ack, size_t len)
{
    bool syn = (flags & FK_TCP_SYN) != 0; /* of its own number */

    if (from == FK_INLINE_CLIENT)
        client_says(way->client + (uint32_t)seq - syn, way->client_acks + (uint32_t)ack, flags,
                    "payload", len);
    else
        server_says(way->server + (uint32_t)seq - syn, server_acks(way) + (uint32_t)ack, flags,
                    "payload", len);
}

/* --- the table --- */

static uint16_t significant(unsigned n)
{
    return (uint16_t)(((n & 1) != 0 ? FK_TCP_FIN : 0) | ((n & 2) != 0 ? FK_TCP_SYN : 0) |
                      ((n & 4) != 0 ? FK_TCP_RST : 0) | ((n & 8) != 0 ? FK_TCP_ACK : 0));
}

static uint16_t other(unsigned n)
{
    return (uint16_t)(((n & 1) != 0 ? FK_TCP_PSH : 0) | ((n & 2) != 0 ? FK_TCP_URG : 0) |
                      ((n & 4) != 0 ? FK_TCP_ECE : 0) | ((n & 8) != 0 ? FK_TCP_CWR : 0));
}

/* Each packet that came: back to who spoke or on to the other, its flags; then the new state. */
static void describe(const struct way *way, enum fk_inline_side from, char *dst, size_t size)
{
    size_t len = 0;

    dst[0] = '\0';
    for (size_t i = 0; i < hand.out.n; i++) {
        enum fk_inline_side to = hand.packets[i].to;
        uint16_t flags = came(i, to).flags;

        len += (size_t)snprintf(
            dst + len, size - len, "%c%s%s%s%s", to == from ? '<' : '>',
            (flags & FK_TCP_SYN) != 0 ? "S" : "", (flags & FK_TCP_FIN) != 0 ? "F" : "",
            (flags & FK_TCP_RST) != 0 ? "R" : "", (flags & FK_TCP_ACK) != 0 ? "A" : "");
    }
    if (fk_flow_state(hand.flow) != way->state)
        snprintf(dst + len, size - len, " %s", fk_flow_state_name(fk_flow_state(hand.flow)));
}

/*
 * For each state, from the client and from the server: without ACK, then with it, each time
 * nothing, FIN, SYN, SYN FIN, and the same with RST. An ACK back is a challenge (RFC 5961); a SYN
 * where none belongs never is more than that.
 */
static const char *const cells[WAYS][2][SIGNIFICANT] = {
    {
        /* SYN */
        {"", "", ">S", ">S", ">R RESET", ">R RESET", "", "", "", "", "", "", ">RA RESET",
         ">RA RESET", "", ""},
        {"", "", "", "", "", "", "", "", "", "", ">SA SYNACK", ">SA SYNACK", ">RA RESET",
         ">RA RESET", ">RA RESET", ">RA RESET"},
    },
    {
        /* SYNACK */
        {"", "", ">S", ">S", ">R RESET", ">R RESET", "", "", ">A HELLO", "<RA>RA RESET", "", "",
         ">RA RESET", ">RA RESET", "", ""},
        {"", "", "", "", "", "", "", "", "", "", ">SA", ">SA", ">RA RESET", ">RA RESET",
         ">RA RESET", ">RA RESET"},
    },
    {
        /* HELLO */
        {"<A", "<A", "<A", "<A", "<RA>RA RESET", "<RA>RA RESET", "<A", "<A", "", "<RA>RA RESET",
         "<A", "<A", "<RA>RA RESET", "<RA>RA RESET", "<A", "<A"},
        {"<A", "<A", "<A", "<A", ">RA<RA RESET", ">RA<RA RESET", "<A", "<A", "", "", "<A", "<A",
         ">RA<RA RESET", ">RA<RA RESET", "<A", "<A"},
    },
    {
        /* HANDSHAKE */
        {"<A", "<A", "<A", "<A", "<RA>RA RESET", "<RA>RA RESET", "<A", "<A", "", "<RA>RA RESET",
         "<A", "<A", "<RA>RA RESET", "<RA>RA RESET", "<A", "<A"},
        {"<A", "<A", "<A", "<A", ">RA<RA RESET", ">RA<RA RESET", "<A", "<A", "", "", "<A", "<A",
         ">RA<RA RESET", ">RA<RA RESET", "<A", "<A"},
    },
    {
        /* RECORDS */
        {"<A", "<A", "<A", "<A", "<RA>RA RESET", "<RA>RA RESET", "<A", "<A", ">A", "<RA>RA RESET",
         "<A", "<A", "<RA>RA RESET", "<RA>RA RESET", "<A", "<A"},
        {"<A", "<A", "<A", "<A", ">RA<RA RESET", ">RA<RA RESET", "<A", "<A", ">A", ">FA", "<A",
         "<A", ">RA<RA RESET", ">RA<RA RESET", "<A", "<A"},
    },
    {
        /* PASS */
        {"<A", "<A", "<A", "<A", "<RA>RA RESET", "<RA>RA RESET", "<A", "<A", ">A", ">FA", "<A",
         "<A", "<RA>RA RESET", "<RA>RA RESET", "<A", "<A"},
        {"<A", "<A", "<A", "<A", ">RA<RA RESET", ">RA<RA RESET", "<A", "<A", ">A", ">FA", "<A",
         "<A", ">RA<RA RESET", ">RA<RA RESET", "<A", "<A"},
    },
    {
        /* OVER */
        {"<A", "<A", "<A", "<A", "<RA>RA RESET", "<RA>RA RESET", "<RA>RA RESET", "<RA>RA RESET", "",
         "<A", "<A", "<A", "<RA>RA RESET", "<RA>RA RESET", "<RA>RA RESET", "<RA>RA RESET"},
        {"<A", "<A", "<A", "<A", ">RA<RA RESET", ">RA<RA RESET", ">RA<RA RESET", ">RA<RA RESET", "",
         "<A", "<A", "<A", ">RA<RA RESET", ">RA<RA RESET", ">RA<RA RESET", ">RA<RA RESET"},
    },
    {
        /* RESET */
        {"", "", "", "", "", "", "", "", "<RA", "<RA", "<RA", "<RA", "", "", "", ""},
        {"", "", "", "", "", "", "", "", "<RA", "<RA", "<RA", "<RA", "", "", "", ""},
    },
    {
        /* GONE */
        {"", "", "", "", "", "", "", "", "", "", "", "", "", "", "", ""},
        {"", "", "", "", "", "", "", "", "", "", "", "", "", "", "", ""},
    },
};

static void one_cell(const struct way *way, enum fk_inline_side from, unsigned n)
{
    const char *expected = cells[way - ways][from][n];
    char text[80];

    for (unsigned k = 0; k < OTHERS; k++) {
        go(way);
        say(way, from, significant(n) | other(k), 0, 0, 0);
        describe(way, from, text, sizeof text);
        assert_string_equal(text, expected);
        hand_end();
    }
}

static void every_flag_at_every_state(void **state)
{
    (void)state;
    for (size_t i = 0; i < WAYS; i++)
        for (unsigned n = 0; n < SIGNIFICANT; n++) {
            one_cell(&ways[i], FK_INLINE_CLIENT, n);
            one_cell(&ways[i], FK_INLINE_SERVER, n);
        }
}

/* --- any numbers, any payload --- */

/* Nothing reaches the server but what may: of a flow that is no plain one, no byte that no record
 * that verified has brought. */
static void look(const struct way *way)
{
    for (size_t i = 0; i < hand.out.n; i++) {
        enum fk_inline_side to = hand.packets[i].to;
        struct fk_tcp tcp = came(i, to);

        if (to == FK_INLINE_SERVER && way->state != FK_FLOW_PASS)
            assert_int_equal(tcp.payload.left, 0);
        assert_true((tcp.flags & FK_TCP_SYN) == 0 || way->state <= FK_FLOW_SYNACK);
        assert_int_equal(tcp.flags & (FK_TCP_URG | FK_TCP_ECE | FK_TCP_CWR), 0);
    }
}

/* Records still go through, or nothing ever does. */
static void goes_on_or_is_reset(void)
{
    uint8_t bytes[300];
    size_t len = record("still here", 10, bytes, sizeof bytes);
    bool found = false;

    client_says(7, 6, FK_TCP_ACK, bytes, len);
    for (size_t i = 0; i < hand.out.n; i++)
        if (hand.packets[i].to == FK_INLINE_SERVER && came(i, FK_INLINE_SERVER).payload.left == 10)
            found = true;
    assert_true(found || fk_flow_state(hand.flow) == FK_FLOW_RESET);
}

static void one_segment(const struct way *way, enum fk_inline_side from, uint16_t flags,
                        const int32_t off[2], size_t len)
{
    bool exact = off[0] == 0;

    go(way);
    say(way, from, flags, off[0], off[1], len);
    look(way);
    if (way->state == FK_FLOW_RECORDS) {
        /* Fact 6: no RST but the exact one is believed. */
        if ((flags & FK_TCP_RST) != 0 && !exact && off[0] != (flags & FK_TCP_SYN) / FK_TCP_SYN)
            assert_int_equal(fk_flow_state(hand.flow), FK_FLOW_RECORDS);
        if (from == FK_INLINE_SERVER || len == 0)
            goes_on_or_is_reset();
    }
    hand_end();
}

static void any_numbers_and_payload(void **state)
{
    static const int32_t offs[] = {0, -1, 1, 100000};

    (void)state;
    for (size_t i = 0; i < WAYS * 2; i++)
        for (unsigned flags = 0; flags < 256; flags++)
            for (size_t n = 0; n < 32; n++)
                one_segment(&ways[i / 2], (enum fk_inline_side)(i % 2), (uint16_t)flags,
                            (const int32_t[2]){offs[n % 4], offs[n / 4 % 4]}, n < 16 ? 0 : 7);
}

UNIT_MAIN(cmocka_unit_test(every_flag_at_every_state), cmocka_unit_test(any_numbers_and_payload))
