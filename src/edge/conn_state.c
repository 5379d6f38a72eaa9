/* The table: see conn_state.h. An empty cell is something that cannot happen. */
#include "edge/conn_state.h"

#include <stddef.h>

#define NEXT(name) (1 + FK_CONN_##name) /* 0 is the empty cell */

struct row {
    enum fk_conn_limit limit;
    unsigned char next[FK_FACT_COUNT];
};

/* clang-format off */
static const struct row rows[FK_CONN_STATE_COUNT] = {
    [FK_CONN_PROXY] = {FK_LIMIT_HANDSHAKE, {
        [FK_FACT_PROXY_READ]     = NEXT(HELLO),
        [FK_FACT_PROXY_PLAIN]    = NEXT(PLAIN),
        [FK_FACT_REFUSED]        = NEXT(CLOSING),
        [FK_FACT_TIMEOUT]        = NEXT(DEAD),
        [FK_FACT_LOST]           = NEXT(DEAD)}},
    [FK_CONN_PLAIN] = {FK_LIMIT_HANDSHAKE, {
        [FK_FACT_SITE_GIVEN]     = NEXT(RELAY),
        [FK_FACT_TIMEOUT]        = NEXT(DEAD),
        [FK_FACT_LOST]           = NEXT(DEAD)}},
    [FK_CONN_HELLO] = {FK_LIMIT_HANDSHAKE, {
        [FK_FACT_HELLO_READ]     = NEXT(HANDSHAKE),
        [FK_FACT_HELLO_PASSED]   = NEXT(PASS),
        [FK_FACT_NO_CERTIFICATE] = NEXT(WAIT),
        [FK_FACT_REFUSED]        = NEXT(CLOSING),
        [FK_FACT_TIMEOUT]        = NEXT(DEAD),
        [FK_FACT_LOST]           = NEXT(DEAD)}},
    [FK_CONN_WAIT] = {FK_LIMIT_HANDSHAKE, {
        [FK_FACT_CERTIFICATE]    = NEXT(HANDSHAKE),
        [FK_FACT_REFUSED]        = NEXT(CLOSING),
        [FK_FACT_TIMEOUT]        = NEXT(CLOSING),
        [FK_FACT_LOST]           = NEXT(DEAD)}},
    [FK_CONN_HANDSHAKE] = {FK_LIMIT_HANDSHAKE, {
        [FK_FACT_HELLO_PASSED]   = NEXT(PASS),
        [FK_FACT_KEY_ASKED]      = NEXT(KEY),
        [FK_FACT_SECURED]        = NEXT(RELAY),
        [FK_FACT_REFUSED]        = NEXT(CLOSING),
        [FK_FACT_TIMEOUT]        = NEXT(CLOSING),
        [FK_FACT_LOST]           = NEXT(DEAD)}},
    [FK_CONN_KEY] = {FK_LIMIT_KEY, {
        [FK_FACT_KEY_ANSWERED]   = NEXT(HANDSHAKE),
        [FK_FACT_TIMEOUT]        = NEXT(CLOSING),
        [FK_FACT_LOST]           = NEXT(DEAD)}},
    [FK_CONN_PASS] = {FK_LIMIT_HANDSHAKE, {
        [FK_FACT_KEY_ASKED]      = NEXT(PASS_KEY),
        [FK_FACT_SECURED]        = NEXT(RELAY),
        [FK_FACT_REFUSED]        = NEXT(CLOSING),
        [FK_FACT_TIMEOUT]        = NEXT(CLOSING),
        [FK_FACT_LOST]           = NEXT(DEAD)}},
    [FK_CONN_PASS_KEY] = {FK_LIMIT_KEY, {
        [FK_FACT_KEY_ANSWERED]   = NEXT(PASS),
        [FK_FACT_TIMEOUT]        = NEXT(CLOSING),
        [FK_FACT_LOST]           = NEXT(DEAD)}},
    [FK_CONN_RELAY] = {FK_LIMIT_IDLE, {
        [FK_FACT_ONE_ENDED]      = NEXT(HALF),
        [FK_FACT_BOTH_ENDED]     = NEXT(DEAD),
        [FK_FACT_ORIGIN_GONE]    = NEXT(CLOSING),
        [FK_FACT_TIMEOUT]        = NEXT(DEAD),
        [FK_FACT_LOST]           = NEXT(DEAD)}},
    [FK_CONN_HALF] = {FK_LIMIT_HALF, {
        [FK_FACT_BOTH_ENDED]     = NEXT(DEAD),
        [FK_FACT_ORIGIN_GONE]    = NEXT(CLOSING),
        [FK_FACT_TIMEOUT]        = NEXT(DEAD),
        [FK_FACT_LOST]           = NEXT(DEAD)}},
    [FK_CONN_CLOSING] = {FK_LIMIT_LINGER, {
        [FK_FACT_BOTH_ENDED]     = NEXT(DEAD),
        [FK_FACT_TIMEOUT]        = NEXT(DEAD),
        [FK_FACT_LOST]           = NEXT(DEAD)}},
    [FK_CONN_DEAD] = {FK_LIMIT_NONE, {0}},
};
/* clang-format on */

enum fk_conn_state fk_conn_next(enum fk_conn_state state, enum fk_conn_fact fact)
{
    unsigned char next = rows[state].next[fact];

    return next == 0 ? FK_CONN_STATE_COUNT : (enum fk_conn_state)(next - 1);
}

enum fk_conn_limit fk_conn_limit_of(enum fk_conn_state state)
{
    return rows[state].limit;
}

const char *fk_conn_state_name(enum fk_conn_state state)
{
    static const char *const names[] = {
#define STATE_NAME(name, text) text,
        FK_CONN_STATES(STATE_NAME)
#undef STATE_NAME
    };

    return state < FK_CONN_STATE_COUNT ? names[state] : "none";
}

const char *fk_conn_fact_name(enum fk_conn_fact fact)
{
    static const char *const names[] = {"nothing",
#define FACT_NAME(name, text) text,
                                        FK_CONN_FACTS(FACT_NAME)
#undef FACT_NAME
    };

    return fact < FK_FACT_COUNT ? names[fact] : "none";
}
