/*
 * Whether a token can be used: a table of states and what happens in them. Who holds the state
 * (crew.c) locks it.
 */
#ifndef FK_TOKEN_STATE_H
#define FK_TOKEN_STATE_H

enum fk_token_state {
    FK_TOKEN_OPENING, /* it is being opened, or about to be */
    FK_TOKEN_OPEN,    /* operations are carried out */
    FK_TOKEN_LOST,    /* it is not there; tried again after a pause */
    FK_TOKEN_REFUSED, /* it refuses the PIN, which is never tried again: that would lock it */
    FK_TOKEN_STATES
};

enum fk_token_event {
    FK_TOKEN_OPENED,
    FK_TOKEN_FAILED,    /* it could not be opened */
    FK_TOKEN_PIN_WRONG, /* its answer to the PIN */
    FK_TOKEN_GONE,      /* an operation found it gone */
    FK_TOKEN_GONE_SOON, /* the same, right after it was opened */
    FK_TOKEN_DUE,       /* the pause is over */
    FK_TOKEN_EVENTS
};

/* The next state; the same where an event means nothing. */
enum fk_token_state fk_token_next(enum fk_token_state state, enum fk_token_event event);

/* For status and logs: "opening", "open", "lost", "PIN refused". */
const char *fk_token_state_name(enum fk_token_state state);

#endif
