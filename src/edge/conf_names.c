/*
 * That each server name is one site's. Borrows everything from the configuration, but for copies of
 * the names in lower case.
 */
#include "edge/conf.h"

#include "base/err.h"
#include "base/map.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

/* Whether it is known which names a site has. */
static bool has_names(const struct fk_conf_block *site)
{
    const struct fk_conf_list *names = &((const struct fk_edge_site *)(const void *)site)->names;

    return !fk_conf_is_bad(site, "names") && (names->count > 0 || !fk_conf_is_bad(site, NULL));
}

static size_t bytes_of(const struct fk_edge_site *site)
{
    size_t bytes = 0;

    for (size_t i = 0; i < fk_edge_site_names(site); i++)
        bytes += strlen(fk_edge_site_name(site, i));
    return bytes;
}

/* The names of one site; the first that another has is told. *text: room for them, moved on. */
static int add_site(struct fk_map *names, struct fk_conf_block *site, char **text,
                    struct fk_conf *conf)
{
    const struct fk_edge_site *edge_site = (const void *)site;
    bool told = false;

    for (size_t i = 0; i < fk_edge_site_names(edge_site); i++) {
        const char *name = fk_edge_site_name(edge_site, i);
        const struct fk_conf_block *owner;
        size_t len = strlen(name);
        void *got;
        int err;

        fk_text_lower(name, len, *text);
        if ((err = fk_map_add(names, *text, len, site, &got)) != FK_OK)
            return err;
        *text += len;
        owner = got;
        if (owner != site && !told)
            fk_conf_complain(conf, &site->where,
                             "site \"%s\": the name \"%.*s\" is also site \"%s\"'s; "
                             "give it to one of them",
                             site->title, (int)len, *text - len, owner->title);
        told = told || owner != site;
    }
    return FK_OK;
}

void fk_edge_check_names(const struct fk_edge_conf *root, struct fk_conf *conf)
{
    struct fk_map names = {.count = 0};
    char *memory, *text;
    size_t bytes = 1;
    int err = FK_OK;

    for (struct fk_conf_block *b = root->sites; b != NULL; b = b->next)
        bytes += bytes_of((const void *)b);
    if ((memory = text = malloc(bytes)) == NULL)
        err = FK_ERR_NOMEM;
    for (struct fk_conf_block *b = root->sites; err == FK_OK && b != NULL; b = b->next)
        if (has_names(b))
            err = add_site(&names, b, &text, conf);
    if (err != FK_OK)
        fk_conf_no_memory(conf);
    fk_map_fini(&names);
    free(memory);
}
