/* A list of names, and who wants to know of it: see setdown.h. */
#include "edge/setdown.h"

#include "base/err.h"
#include "base/limits.h"

#include <stdlib.h>
#include <string.h>

struct fk_setdown {
    struct fk_list sites;
    size_t n;
    char *names[FK_EDGE_SET_DOWN_MAX];
};

int fk_setdown_new(struct fk_setdown **ret)
{
    struct fk_setdown *down = calloc(1, sizeof *down);

    if (down == NULL)
        return FK_ERR_NOMEM;
    fk_list_init(&down->sites);
    *ret = down;
    return FK_OK;
}

void fk_setdown_free(struct fk_setdown *down)
{
    if (down == NULL)
        return;
    for (size_t i = 0; i < down->n; i++)
        free(down->names[i]);
    free(down);
}

const char *fk_setdown_origin(const char *name, const char *site)
{
    size_t len = strlen(site);

    return strncmp(name, site, len) == 0 && name[len] == '/' ? name + len + 1 : NULL;
}

/* down->n: it is not there. */
static size_t find(const struct fk_setdown *down, const char *name)
{
    size_t i = 0;

    while (i < down->n && strcmp(down->names[i], name) != 0)
        i++;
    return i;
}

static int add(struct fk_setdown *down, const char *name)
{
    if (find(down, name) < down->n)
        return FK_OK;
    if (down->n == FK_EDGE_SET_DOWN_MAX)
        return FK_ERR_LIMIT;
    if ((down->names[down->n] = strdup(name)) == NULL)
        return FK_ERR_NOMEM;
    down->n++;
    return FK_OK;
}

static void take_out(struct fk_setdown *down, const char *name)
{
    size_t i = find(down, name);

    if (i == down->n)
        return;
    free(down->names[i]);
    down->names[i] = down->names[--down->n];
}

int fk_setdown_change(struct fk_setdown *down, const char *name, enum fk_setdown_change change)
{
    struct fk_list *item;
    const char *origin;
    int err;

    if (change != FK_SETDOWN_DOWN)
        take_out(down, name);
    else if ((err = add(down, name)) != FK_OK)
        return err;
    if (change == FK_SETDOWN_FORGET)
        return FK_OK;
    fk_list_each (item, &down->sites) {
        struct fk_setdown_site *site = fk_container(item, struct fk_setdown_site, link);

        if ((origin = fk_setdown_origin(name, site->name)) != NULL)
            site->changed(site, origin, change == FK_SETDOWN_DOWN);
    }
    return FK_OK;
}

bool fk_setdown_has(const struct fk_setdown *down, const char *site, const char *origin)
{
    for (size_t i = 0; i < down->n; i++) {
        const char *of = fk_setdown_origin(down->names[i], site);

        if (of != NULL && strcmp(of, origin) == 0)
            return true;
    }
    return false;
}

const char *fk_setdown_at(const struct fk_setdown *down, size_t i)
{
    return i < down->n ? down->names[i] : NULL;
}

void fk_setdown_follow(struct fk_setdown *down, struct fk_setdown_site *site)
{
    fk_list_append(&down->sites, &site->link);
}

void fk_setdown_leave(struct fk_setdown_site *site)
{
    fk_list_del(&site->link);
}
