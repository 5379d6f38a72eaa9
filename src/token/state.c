/* The states of a token: see state.h. */
#include "token/state.h"

#define STAY      0 /* the table holds states + 1 */
#define TO(state) ((unsigned char)((state) + 1))

static const unsigned char table[FK_TOKEN_STATES][FK_TOKEN_EVENTS] = {
    [FK_TOKEN_OPENING] = {[FK_TOKEN_OPENED] = TO(FK_TOKEN_OPEN),
                          [FK_TOKEN_FAILED] = TO(FK_TOKEN_LOST),
                          [FK_TOKEN_PIN_WRONG] = TO(FK_TOKEN_REFUSED)},
    [FK_TOKEN_OPEN] = {[FK_TOKEN_GONE] = TO(FK_TOKEN_OPENING),
                       [FK_TOKEN_GONE_SOON] = TO(FK_TOKEN_LOST),
                       [FK_TOKEN_PIN_WRONG] = TO(FK_TOKEN_REFUSED)},
    [FK_TOKEN_LOST] = {[FK_TOKEN_DUE] = TO(FK_TOKEN_OPENING)},
    [FK_TOKEN_REFUSED] = {STAY},
};

enum fk_token_state fk_token_next(enum fk_token_state state, enum fk_token_event event)
{
    unsigned char cell = table[state][event];

    return cell == STAY ? state : (enum fk_token_state)(cell - 1);
}

const char *fk_token_state_name(enum fk_token_state state)
{
    static const char *const names[FK_TOKEN_STATES] = {"opening", "open", "lost", "PIN refused"};

    return names[state];
}
