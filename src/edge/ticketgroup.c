/* Keeping shared ticket keys: see ticketgroup.h. */
#include "edge/ticketgroup.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/secret.h"

#include <stdlib.h>
#include <string.h>

/* A key with its times, as fk_clock_us() has them. */
struct held {
    uint8_t id[FK_TICKET_ID];
    uint8_t secret[FK_TICKET_SECRET];
    uint64_t seals_us, ends_us;
};

/* Of one server; newest first. */
struct source {
    size_t count;
    struct held items[FK_TICKET_GRANTS_MAX];
};

/* All that is secret of a group. */
struct contents {
    struct fk_ticket_keys keys; /* as they were given to `tickets` */
    struct source sources[FK_EDGE_SERVERS_MAX];
};

struct fk_ticketgroups {
    OSSL_LIB_CTX *libctx;
    struct fk_list groups;
    size_t count;
};

struct fk_ticketgroup {
    struct fk_list link;
    struct fk_ticketgroups *groups;
    unsigned refs;
    uint8_t ski[20];
    size_t n_servers;
    char *servers[FK_EDGE_SERVERS_MAX];
    struct fk_tickets *tickets;
    struct fk_secret *secret; /* struct contents */
};

/* --- groups --- */

int fk_ticketgroups_new(OSSL_LIB_CTX *libctx, struct fk_ticketgroups **ret)
{
    struct fk_ticketgroups *groups = calloc(1, sizeof *groups);

    if (groups == NULL)
        return FK_ERR_NOMEM;
    groups->libctx = libctx;
    fk_list_init(&groups->groups);
    *ret = groups;
    return FK_OK;
}

void fk_ticketgroups_free(struct fk_ticketgroups *groups)
{
    free(groups);
}

static bool is_of(const struct fk_ticketgroup *group, const uint8_t ski[20],
                  const struct fk_conf_list *servers)
{
    if (memcmp(group->ski, ski, sizeof group->ski) != 0 || group->n_servers != servers->count)
        return false;
    for (size_t i = 0; i < group->n_servers; i++)
        if (strcmp(group->servers[i], servers->items[i]) != 0)
            return false;
    return true;
}

static void release(struct fk_ticketgroup *group)
{
    fk_tickets_free(group->tickets);
    fk_secret_free(group->secret);
    for (size_t i = 0; i < group->n_servers; i++)
        free(group->servers[i]);
    free(group);
}

static int make(OSSL_LIB_CTX *libctx, const uint8_t ski[20], const struct fk_conf_list *servers,
                struct fk_ticketgroup **ret)
{
    struct fk_ticketgroup *group = calloc(1, sizeof *group);
    int err = FK_OK;

    if (group == NULL)
        return FK_ERR_NOMEM;
    fk_list_init(&group->link);
    group->refs = 1;
    memcpy(group->ski, ski, sizeof group->ski);
    for (; err == FK_OK && group->n_servers < servers->count; group->n_servers++)
        if ((group->servers[group->n_servers] = strdup(servers->items[group->n_servers])) == NULL)
            err = FK_ERR_NOMEM;
    if (err == FK_OK && (err = fk_tickets_new(libctx, &group->tickets)) == FK_OK)
        err = fk_secret_new(sizeof(struct contents), &group->secret);
    if (err != FK_OK) {
        release(group);
        return err;
    }
    *ret = group;
    return FK_OK;
}

int fk_ticketgroup_get(struct fk_ticketgroups *groups, const uint8_t ski[20],
                       const struct fk_conf_list *servers, struct fk_ticketgroup **ret)
{
    struct fk_list *item;
    int err;

    if (servers->count > FK_EDGE_SERVERS_MAX)
        return FK_ERR_LIMIT;
    fk_list_each (item, &groups->groups) {
        struct fk_ticketgroup *group = fk_container(item, struct fk_ticketgroup, link);

        if (!is_of(group, ski, servers))
            continue;
        group->refs++;
        *ret = group;
        return FK_OK;
    }
    if (groups->count == FK_EDGE_TICKET_GROUPS_MAX)
        return FK_ERR_LIMIT;
    if ((err = make(groups->libctx, ski, servers, ret)) != FK_OK)
        return err;
    (*ret)->groups = groups;
    fk_list_append(&groups->groups, &(*ret)->link);
    groups->count++;
    return FK_OK;
}

void fk_ticketgroup_unref(struct fk_ticketgroup *group)
{
    if (group == NULL || --group->refs > 0)
        return;
    fk_list_del(&group->link);
    group->groups->count--;
    release(group);
}

struct fk_tickets *fk_ticketgroup_tickets(struct fk_ticketgroup *group)
{
    return group->tickets;
}

const uint8_t *fk_ticketgroup_ski(const struct fk_ticketgroup *group)
{
    return group->ski;
}

/* --- keys --- */

static struct contents *contents_of(const struct fk_ticketgroup *group)
{
    return (void *)fk_secret_data(group->secret);
}

size_t fk_ticketgroup_count(const struct fk_ticketgroup *group)
{
    return contents_of(group)->keys.count;
}

static const struct held *find_sealing(const struct fk_ticketgroup *group, uint64_t now_us)
{
    for (size_t s = 0; s < group->n_servers; s++) {
        const struct source *source = &contents_of(group)->sources[s];

        for (size_t i = 0; i < source->count; i++)
            if (source->items[i].seals_us <= now_us && source->items[i].ends_us > now_us)
                return &source->items[i];
    }
    return NULL;
}

static void add(struct fk_ticket_keys *keys, const struct held *held)
{
    struct fk_ticket_key *key = &keys->keys[keys->count];

    if (keys->count == FK_EDGE_TICKET_KEYS)
        return;
    memcpy(key->id, held->id, sizeof key->id);
    memcpy(key->secret, held->secret, sizeof key->secret);
    keys->count++;
}

/* The one that seals, then the newest of each server, the second newest of each, and so on: of many
 * servers the oldest keys find no room. */
static void collect(const struct fk_ticketgroup *group, uint64_t now_us, struct fk_ticket_keys *ret)
{
    const struct held *sealing = find_sealing(group, now_us);

    if (sealing == NULL) /* whatever came first would seal */
        return;
    add(ret, sealing);
    for (size_t i = 0; i < FK_TICKET_GRANTS_MAX; i++)
        for (size_t s = 0; s < group->n_servers; s++) {
            const struct source *source = &contents_of(group)->sources[s];
            const struct held *held = &source->items[i];

            if (i < source->count && held != sealing && held->ends_us > now_us)
                add(ret, held);
        }
}

void fk_ticketgroup_tick(struct fk_ticketgroup *group, uint64_t now_us)
{
    struct fk_ticket_keys *present = &contents_of(group)->keys;
    struct fk_ticket_keys keys;

    memset(&keys, 0, sizeof keys); /* padding, too: they are compared */
    collect(group, now_us, &keys);
    if (!fk_equal_ct(&keys, present, sizeof keys)) {
        memcpy(present, &keys, sizeof keys);
        fk_tickets_set(group->tickets, &keys);
    }
    fk_wipe(&keys, sizeof keys);
}

void fk_ticketgroup_take(struct fk_ticketgroup *group, size_t server,
                         const struct fk_ticket_grants *grants, uint64_t now_us)
{
    struct source *source = &contents_of(group)->sources[server];

    fk_wipe(source, sizeof *source);
    for (; source->count < grants->count; source->count++) {
        const struct fk_ticket_grant *grant = &grants->items[source->count];
        struct held *held = &source->items[source->count];

        memcpy(held->id, grant->id, sizeof held->id);
        memcpy(held->secret, grant->secret, sizeof held->secret);
        held->seals_us = now_us + grant->seals_ms * UINT64_C(1000);
        held->ends_us = now_us + grant->ends_ms * UINT64_C(1000);
    }
    fk_ticketgroup_tick(group, now_us);
}

void fk_ticketgroup_drop(struct fk_ticketgroup *group, size_t server, uint64_t now_us)
{
    fk_wipe(&contents_of(group)->sources[server], sizeof(struct source));
    fk_ticketgroup_tick(group, now_us);
}
