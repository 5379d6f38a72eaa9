/*
 * The master's tokens: a process for each, which lives on over reloads as long as nothing about its
 * token changes, and what it tells of it. A process is a token's by the token's number (store.h).
 */
#include "base/err.h"
#include "base/log.h"
#include "keyd/master_priv.h"

#include <string.h>

static const struct fk_store_token *find_in(const struct fk_keyd_load *load, uint16_t number)
{
    const struct fk_store_token *token;

    for (size_t i = 0; load != NULL && (token = fk_store_token_at(load->store, i)) != NULL; i++)
        if (token->number == number)
            return token;
    return NULL;
}

const struct fk_store_token *fk_keyd_token_of(const struct fk_keyd_master *master,
                                              const struct fk_keyd_place *place)
{
    const struct fk_store_token *token = find_in(master->current, place->token);

    return token != NULL ? token : find_in(master->pending, place->token);
}

struct fk_child *fk_keyd_find_token(const struct fk_keyd_master *master, uint16_t number)
{
    struct fk_child *child = NULL;

    while ((child = fk_super_next(master->super, child)) != NULL)
        if (fk_keyd_place(child)->role == FK_KEYD_TOKEN && !fk_child_retired(child) &&
            fk_keyd_place(child)->token == number)
            return child;
    return NULL;
}

int fk_keyd_add_tokens(struct fk_keyd_master *master, const struct fk_keyd_load *load)
{
    const struct fk_store_token *token;
    int err = FK_OK;

    for (unsigned i = 0; err == FK_OK && (token = fk_store_token_at(load->store, i)) != NULL; i++) {
        const struct fk_keyd_place place = {.role = FK_KEYD_TOKEN,
                                            .generation = load->generation,
                                            .token = token->number,
                                            .report = {.state = FK_TOKEN_OPENING}};

        if (fk_keyd_find_token(master, token->number) == NULL)
            err = fk_keyd_add_child(master, &place, i);
    }
    return err;
}

void fk_keyd_retire_tokens(struct fk_keyd_master *master)
{
    struct fk_child *child = NULL;

    while ((child = fk_super_next(master->super, child)) != NULL) {
        const struct fk_keyd_place *place = fk_keyd_place(child);

        if (place->role == FK_KEYD_TOKEN && !fk_child_retired(child) &&
            find_in(master->current, place->token) == NULL)
            fk_super_retire(child, fk_keyd_drain_seconds(master));
    }
}

void fk_keyd_token_report(struct fk_child *child, const struct fk_procmsg *msg)
{
    struct fk_keyd_place *place = fk_keyd_place(child);
    struct fk_token_report report;

    if (msg->len != sizeof report) {
        fk_log(FK_LOG_ERROR, "a token's process does not talk like one",
               fk_uint("token", place->token));
        return;
    }
    memcpy(&report, msg->data, sizeof report);
    if (report.state >= FK_TOKEN_STATES)
        return;
    report.why[sizeof report.why - 1] = '\0';
    place->report = report;
}

void fk_keyd_renew_tokens(struct fk_keyd_master *master)
{
    struct fk_child *child = NULL;

    while (master->current != NULL && (child = fk_super_next(master->super, child)) != NULL) {
        const struct fk_keyd_place *place = fk_keyd_place(child);

        if (place->role == FK_KEYD_TOKEN && place->report.state == FK_TOKEN_REFUSED)
            fk_store_renew_token(master->current->store, place->token);
    }
}
