/*
 * The rules. Those without effect come first, so that a refused request takes nothing from rate
 * and quota.
 */
#include "keyd/policy.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/map.h"
#include "base/text.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fk_policy {
    struct fk_policy_edge *edges;
    size_t n_edges;
};

/* --- keys of an edge --- */

/* What it may use, to be found by a key's name: edges may list each of ten thousand keys. */
struct patterns {
    struct fk_map map; /* in lower case */
    char *memory;
    bool all; /* "*" */
};

static void fini_patterns(struct patterns *patterns)
{
    fk_map_fini(&patterns->map);
    free(patterns->memory);
}

static int init_patterns(struct patterns *patterns, const struct fk_conf_list *list)
{
    size_t bytes = 1;
    char *text;
    int err = FK_OK;

    for (size_t p = 0; p < list->count; p++)
        bytes += strlen(list->items[p]);
    if ((patterns->memory = text = malloc(bytes)) == NULL)
        return FK_ERR_NOMEM;
    for (size_t p = 0; err == FK_OK && p < list->count; p++) {
        size_t len = strlen(list->items[p]);

        fk_text_lower(list->items[p], len, text);
        err = fk_map_add(&patterns->map, text, len, text, NULL);
        text += len;
    }
    patterns->all = fk_map_find(&patterns->map, "*", 1) != NULL;
    return err;
}

/* As fk_text_host_matches() with each of them; an index's names are in lower case. */
static bool name_matches(const struct patterns *patterns, const char *name)
{
    char wild[FK_HOST_MAX + 2] = "*";
    const char *dot = strchr(name, '.');
    size_t len;

    if (fk_map_find(&patterns->map, name, strlen(name)) != NULL)
        return true;
    if (dot == NULL || dot == name || (len = strlen(dot)) > FK_HOST_MAX)
        return false;
    memcpy(wild + 1, dot, len);
    return fk_map_find(&patterns->map, wild, 1 + len) != NULL;
}

static bool key_matches(const struct patterns *patterns, const struct fk_index_key *key)
{
    for (size_t n = 0; !patterns->all && n < key->n_names; n++)
        if (name_matches(patterns, key->names[n]))
            return true;
    return patterns->all;
}

/* Another key server has what the share's policy gives it, no more than that. */
static bool is_for(const struct fk_keyd_edge_conf *conf, const struct fk_index_key *key)
{
    const char *sharer = fk_keyd_conf_sharer(conf);

    if (sharer == NULL)
        return true;
    for (size_t i = 0; i < key->n_sharers; i++)
        if (strcmp(key->sharers[i], sharer) == 0)
            return true;
    return false;
}

int fk_policy_keys(const struct fk_keyd_edge_conf *conf, const struct fk_index *index,
                   uint8_t **ret)
{
    struct patterns patterns = {.all = false};
    size_t count = fk_index_count(index);
    uint8_t *keys = calloc(count / 8 + 1, 1);
    int err;

    if (keys == NULL)
        return FK_ERR_NOMEM;
    err = init_patterns(&patterns, &conf->keys);
    for (size_t i = 0; err == FK_OK && i < count; i++)
        if (is_for(conf, fk_index_at(index, i)) && key_matches(&patterns, fk_index_at(index, i)))
            keys[i / 8] |= (uint8_t)(1U << (i % 8));
    fini_patterns(&patterns);
    if (err == FK_OK)
        *ret = keys;
    else
        free(keys);
    return err;
}

/* --- all of an edge --- */

static int load_edge(const struct fk_keyd_edge_conf *conf, const struct fk_index *index,
                     struct fk_quota *quota, struct fk_policy_edge *edge)
{
    int err;

    (void)snprintf(edge->name, sizeof edge->name, "%s", conf->block.title);
    fk_keyd_conf_identity(conf, edge->identity, sizeof edge->identity);
    SHA256((const uint8_t *)edge->identity, strlen(edge->identity), edge->owner);
    edge->permissions = (uint16_t)conf->allow;
    edge->rate = conf->rate;
    edge->burst = conf->burst;
    edge->quota = conf->quota;
    edge->connections = conf->connections;
    edge->outstanding = conf->outstanding;
    edge->signs = conf->request_key != NULL;
    if ((edge->slot = fk_quota_find(quota, edge->identity)) == NULL)
        return FK_ERR_NOT_FOUND;
    if ((err = fk_keyd_conf_ranges(&conf->addresses, &edge->allow)) != FK_OK ||
        (err = fk_keyd_conf_ranges(&conf->deny_addresses, &edge->deny)) != FK_OK)
        return err;
    return fk_policy_keys(conf, index, &edge->keys);
}

int fk_policy_new(const struct fk_keyd_conf *conf, const struct fk_index *index,
                  struct fk_quota *quota, struct fk_policy **ret)
{
    struct fk_policy *policy = calloc(1, sizeof *policy);
    const struct fk_conf_block *block;
    size_t count = 0;
    int err = FK_ERR_NOMEM;

    if (policy == NULL)
        return FK_ERR_NOMEM;
    for (block = conf->edges; block != NULL; block = block->next)
        count++;
    if (count > 0 && (policy->edges = calloc(count, sizeof *policy->edges)) == NULL)
        goto out;
    for (block = conf->edges; block != NULL; block = block->next) {
        err = load_edge((const void *)block, index, quota, &policy->edges[policy->n_edges++]);
        if (err != FK_OK)
            goto out;
    }
    *ret = policy;
    policy = NULL; /* moved */
    err = FK_OK;
out:
    fk_policy_free(policy);
    return err;
}

void fk_policy_free(struct fk_policy *policy)
{
    if (policy == NULL)
        return;
    for (size_t i = 0; i < policy->n_edges; i++) {
        free(policy->edges[i].keys);
        free(policy->edges[i].allow.items);
        free(policy->edges[i].deny.items);
    }
    free(policy->edges);
    free(policy);
}

const struct fk_policy_edge *fk_policy_find(const struct fk_policy *policy, const char *identity)
{
    for (size_t i = 0; i < policy->n_edges; i++)
        if (strcmp(policy->edges[i].identity, identity) == 0)
            return &policy->edges[i];
    return NULL;
}

bool fk_policy_has_key(const struct fk_policy_edge *edge, size_t position)
{
    return ((unsigned)edge->keys[position / 8] >> (position % 8) & 1U) != 0;
}

static bool is_serving(const struct fk_policy_ask *ask)
{
    return ask->is_step || !ask->draining;
}

static bool has_key(const struct fk_policy_ask *ask)
{
    return fk_policy_has_key(ask->edge, ask->position);
}

static bool permits(const struct fk_policy_ask *ask, unsigned permissions)
{
    return (ask->permission | ask->any) != 0 &&
           (permissions & ask->permission) == ask->permission &&
           (ask->any == 0 || (permissions & ask->any) != 0);
}

static bool edge_permits(const struct fk_policy_ask *ask)
{
    return permits(ask, ask->edge->permissions);
}

static bool key_permits(const struct fk_policy_ask *ask)
{
    return permits(ask, ask->key_permissions & ask->edge->permissions);
}

static bool within_rate(const struct fk_policy_ask *ask)
{
    return ask->is_step ||
           fk_quota_rate(ask->edge->slot, ask->edge->rate, ask->edge->burst, ask->now_us);
}

static bool within_quota(const struct fk_policy_ask *ask)
{
    return ask->is_step || fk_quota_day(ask->edge->slot, ask->edge->quota, ask->day);
}

static const struct rule {
    bool (*holds)(const struct fk_policy_ask *ask);
    int err;
    const char *why;
} rules[] = {
    {is_serving, FK_ERR_DRAINING, "draining"}, {has_key, FK_ERR_DENIED, "key"},
    {edge_permits, FK_ERR_DENIED, "edge"},     {key_permits, FK_ERR_DENIED, "policy"},
    {within_rate, FK_ERR_RATE, "rate"},        {within_quota, FK_ERR_RATE, "quota"},
};

int fk_policy_decide(const struct fk_policy_ask *ask, const char **ret_why)
{
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        if (!rules[i].holds(ask)) {
            *ret_why = rules[i].why;
            return rules[i].err;
        }
    }
    if (!ask->is_step)
        fk_quota_count(ask->edge->slot, ask->now_us);
    return FK_OK;
}
