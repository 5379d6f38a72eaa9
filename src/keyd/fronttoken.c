/*
 * A front's way to keys in tokens: a pool for each token's process, by the token's number. As
 * requests of a token wait in its own pool, a slow one keeps no other key waiting; how many may
 * wait for it its process decides, which refuses more at once (FK_ERR_BUSY).
 */
#include "base/err.h"
#include "keyd/front_priv.h"
#include "loop/sock.h"

#include <stdlib.h>

struct fk_front_token {
    struct fk_list link;
    uint16_t number;
    uint32_t connected; /* processes that it had: of them the last one is asked */
    struct fk_signer_pool *pool;
    bool retired; /* the set does not have it any more */
};

static struct fk_front_token *find(const struct fk_front *front, uint16_t number)
{
    struct fk_list *item;

    fk_list_each (item, &front->tokens) {
        struct fk_front_token *token = fk_container(item, struct fk_front_token, link);

        if (token->number == number)
            return token;
    }
    return NULL;
}

struct fk_signer_pool *fk_front_pool_of(struct fk_front *front, const struct fk_index_key *key)
{
    struct fk_front_token *token;

    if (key->token == 0)
        return front->pool;
    token = find(front, key->token);
    return token != NULL ? token->pool : NULL;
}

static int new_token(struct fk_front *front, uint16_t number, struct fk_front_token **ret)
{
    const struct fk_keyd_limits_conf *limits = front->set->limits;
    struct fk_front_token *token = calloc(1, sizeof *token);
    int err;

    if (token == NULL)
        return FK_ERR_NOMEM;
    token->number = number;
    if ((err = fk_signer_pool_new(front->loop, limits->deadline, (uint32_t)limits->outstanding,
                                  &token->pool)) != FK_OK) {
        free(token);
        return err;
    }
    fk_list_append(&front->tokens, &token->link);
    *ret = token;
    return FK_OK;
}

int fk_front_add_token(struct fk_front *front, int fd, uint16_t number)
{
    struct fk_front_token *token = find(front, number);
    int err;

    if (token == NULL && (err = new_token(front, number, &token)) != FK_OK) {
        fk_close(&fd);
        return err;
    }
    return fk_signer_pool_add(token->pool, fd, ++token->connected, number);
}

static void free_token(struct fk_front_token *token)
{
    fk_list_del(&token->link);
    fk_signer_pool_free(token->pool);
    free(token);
}

static bool is_used(const struct fk_index *index, uint16_t number)
{
    for (size_t i = 0; i < fk_index_count(index); i++)
        if (fk_index_at(index, i)->token == number)
            return true;
    return false;
}

void fk_front_tokens_use(struct fk_front *front)
{
    const struct fk_keyd_limits_conf *limits = front->set->limits;
    struct fk_list *item;

    fk_list_each (item, &front->tokens) {
        struct fk_front_token *token = fk_container(item, struct fk_front_token, link);

        token->retired = !is_used(front->set->index, token->number);
        (void)fk_signer_pool_set(token->pool, limits->deadline,
                                 (uint32_t)limits->outstanding); /* without memory: as before */
    }
    fk_front_tokens_sweep(front);
}

void fk_front_tokens_sweep(struct fk_front *front)
{
    struct fk_list *item, *next;

    fk_list_each_safe (item, next, &front->tokens) {
        struct fk_front_token *token = fk_container(item, struct fk_front_token, link);

        if (token->retired && fk_signer_pool_outstanding(token->pool) == 0)
            free_token(token);
    }
}

void fk_front_tokens_fini(struct fk_front *front)
{
    struct fk_list *item;

    while ((item = fk_list_pop(&front->tokens)) != NULL)
        free_token(fk_container(item, struct fk_front_token, link));
}
