/* The table: see flow_state.h. An empty cell is something that cannot happen. */
#include "inline/flow_state.h"

#include "base/limits.h"

#include <stddef.h>

#define NEXT(name) (1 + FK_FLOW_##name) /* 0 is the empty cell */

struct row {
    uint64_t limit;
    unsigned char next[FK_FLOW_FACT_COUNT];
};

/* clang-format off */
static const struct row rows[FK_FLOW_STATE_COUNT] = {
    [FK_FLOW_SYN] = {FK_FLOW_OPENING_US, {
        [FK_FLOW_FACT_ANSWERED]    = NEXT(SYNACK),
        [FK_FLOW_FACT_BROKEN]      = NEXT(RESET),
        [FK_FLOW_FACT_TIMEOUT]     = NEXT(GONE)}},
    [FK_FLOW_SYNACK] = {FK_FLOW_OPENING_US, {
        [FK_FLOW_FACT_ESTABLISHED] = NEXT(HELLO),
        [FK_FLOW_FACT_BROKEN]      = NEXT(RESET),
        [FK_FLOW_FACT_TIMEOUT]     = NEXT(GONE)}},
    [FK_FLOW_HELLO] = {FK_FLOW_HANDSHAKE_US, {
        [FK_FLOW_FACT_TLS]         = NEXT(HANDSHAKE),
        [FK_FLOW_FACT_NOT_TLS]     = NEXT(PASS),
        [FK_FLOW_FACT_BROKEN]      = NEXT(RESET),
        [FK_FLOW_FACT_TIMEOUT]     = NEXT(RESET)}},
    [FK_FLOW_HANDSHAKE] = {FK_FLOW_HANDSHAKE_US, {
        [FK_FLOW_FACT_SECURED]     = NEXT(RECORDS),
        [FK_FLOW_FACT_BROKEN]      = NEXT(RESET),
        [FK_FLOW_FACT_TIMEOUT]     = NEXT(RESET)}},
    [FK_FLOW_RECORDS] = {FK_FLOW_IDLE_US, {
        [FK_FLOW_FACT_ENDED]       = NEXT(OVER),
        [FK_FLOW_FACT_BROKEN]      = NEXT(RESET),
        [FK_FLOW_FACT_TIMEOUT]     = NEXT(RESET)}},
    [FK_FLOW_PASS] = {FK_FLOW_IDLE_US, {
        [FK_FLOW_FACT_ENDED]       = NEXT(OVER),
        [FK_FLOW_FACT_BROKEN]      = NEXT(RESET),
        [FK_FLOW_FACT_TIMEOUT]     = NEXT(RESET)}},
    [FK_FLOW_OVER] = {FK_FLOW_LINGER_US, {
        [FK_FLOW_FACT_BROKEN]      = NEXT(RESET),
        [FK_FLOW_FACT_TIMEOUT]     = NEXT(GONE)}},
    [FK_FLOW_RESET] = {FK_FLOW_LINGER_US, {
        [FK_FLOW_FACT_TIMEOUT]     = NEXT(GONE)}},
};
/* clang-format on */

enum fk_flow_state fk_flow_state_next(enum fk_flow_state state, enum fk_flow_fact fact)
{
    unsigned char next = rows[state].next[fact];

    return next == 0 ? FK_FLOW_STATE_COUNT : (enum fk_flow_state)(next - 1);
}

uint64_t fk_flow_state_limit(enum fk_flow_state state)
{
    return rows[state].limit;
}

const char *fk_flow_state_name(enum fk_flow_state state)
{
    static const char *const names[] = {
#define STATE_NAME(name) #name,
        FK_FLOW_STATES(STATE_NAME)
#undef STATE_NAME
    };

    return names[state];
}

const char *fk_flow_fact_name(enum fk_flow_fact fact)
{
    static const char *const names[] = {
#define FACT_NAME(name) #name,
        FK_FLOW_FACTS(FACT_NAME)
#undef FACT_NAME
    };

    return names[fact];
}
