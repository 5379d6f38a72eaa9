/* The states of a flow, as a table: docs/inline-states.md shows it. */
#ifndef FK_INLINE_FLOW_STATE_H
#define FK_INLINE_FLOW_STATE_H

#include <stdint.h>

/* X(name): see fk_flow_state */
#define FK_FLOW_STATES(X)                                                   \
    X(SYN)       /* the client's SYN went on */                             \
    X(SYNACK)    /* the server's answer, too */                             \
    X(HELLO)     /* established: the first bytes say what it will be */     \
    X(HANDSHAKE) /* the box shakes hands; the server's window is closed */  \
    X(RECORDS)   /* records are opened and sealed */                        \
    X(PASS)      /* not TLS: bytes pass as they are */                      \
    X(OVER)      /* both ends were acknowledged: for what is sent again */  \
    X(RESET)     /* reset both ways: whoever still speaks is reset again */ \
    X(GONE)      /* nothing is left to be done */

/* X(name): what may happen to a flow */
#define FK_FLOW_FACTS(X)                                                       \
    X(ANSWERED)    /* the server's SYN, ACK */                                 \
    X(ESTABLISHED) /* the client's ACK of it */                                \
    X(TLS)         /* the first byte is a handshake record's */                \
    X(NOT_TLS)     /* it is not, and that may pass */                          \
    X(SECURED)     /* the handshake is done */                                 \
    X(ENDED)       /* both FINs are acknowledged */                            \
    X(BROKEN)      /* a peer's RST, a forged record, a failed handshake ... */ \
    X(TIMEOUT)     /* the state's time is over */

enum fk_flow_state {
#define FK_FLOW_STATE_ENUM(name) FK_FLOW_##name,
    FK_FLOW_STATES(FK_FLOW_STATE_ENUM)
#undef FK_FLOW_STATE_ENUM
        FK_FLOW_STATE_COUNT
};

enum fk_flow_fact {
#define FK_FLOW_FACT_ENUM(name) FK_FLOW_FACT_##name,
    FK_FLOW_FACTS(FK_FLOW_FACT_ENUM)
#undef FK_FLOW_FACT_ENUM
        FK_FLOW_FACT_COUNT
};

/* The state after a fact; FK_FLOW_STATE_COUNT: this cannot happen in this state. */
enum fk_flow_state fk_flow_state_next(enum fk_flow_state state, enum fk_flow_fact fact);

/* How long a flow may stay in a state, in us; in RECORDS, PASS: without a packet. */
uint64_t fk_flow_state_limit(enum fk_flow_state state);

const char *fk_flow_state_name(enum fk_flow_state state);
const char *fk_flow_fact_name(enum fk_flow_fact fact);

#endif
