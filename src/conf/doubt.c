/* What of a configuration with mistakes can still be judged: see fk_conf_is_bad(). */
#include "conf/conf.h"

#include "conf/store.h"

#include <string.h>

/* The bit of a kind of block in a block, 0 when `name` is an option's. */
static uint64_t kid_bit(const struct fk_conf_kind *kind, const char *name)
{
    for (size_t i = 0; kind->kids != NULL && kind->kids[i] != NULL; i++)
        if (strcmp(kind->kids[i]->name, name) == 0)
            return UINT64_C(1) << i;
    return 0;
}

static uint64_t option_bit(const struct fk_conf_kind *kind, const char *name)
{
    return UINT64_C(1) << fk_conf_option_index(kind, name);
}

bool fk_conf_is_bad(const struct fk_conf_block *block, const char *name)
{
    const struct fk_conf_doubt *doubt = block->doubt;
    uint64_t bit;

    if (doubt == NULL) /* not of the parser's making */
        return false;
    if (name == NULL)
        return doubt->title;
    if ((bit = kid_bit(block->kind, name)) != 0)
        return doubt->absent_kids || (doubt->kids & bit) != 0;
    bit = option_bit(block->kind, name);
    return (doubt->options & bit) != 0 || (doubt->absent_options && (block->set & bit) == 0);
}

void fk_conf_doubt(const struct fk_conf_block *block, const char *name)
{
    struct fk_conf_doubt *doubt = block->doubt;
    uint64_t bit;

    if (name == NULL)
        doubt->title = true;
    else if ((bit = kid_bit(block->kind, name)) != 0)
        doubt->kids |= bit;
    else
        doubt->options |= option_bit(block->kind, name);
}

void fk_conf_doubt_absent(const struct fk_conf_block *block)
{
    block->doubt->absent_options = block->doubt->absent_kids = true;
}

void fk_conf_blame(struct fk_conf *conf, const struct fk_conf_block *block, const char *name,
                   const char *format, ...)
{
    struct fk_conf_where where =
        name != NULL ? fk_conf_option_where(conf, block, name) : block->where;
    va_list args;

    va_start(args, format);
    fk_conf_vcomplain(conf, &where, format, args);
    va_end(args);
    fk_conf_doubt(block, name);
}
