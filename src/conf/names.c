/* Names of options and blocks, and what is said of those that no table has: see names.h. */
#include "conf/names.h"

#include <string.h>

const char *fk_conf_block_name(const struct fk_conf_block *block, struct fk_conf_text *ret)
{
    char quoted[FK_CONF_QUOTE_SIZE];

    ret->len = 0;
    fk_conf_put(ret, "%s", block->kind->name);
    if (block->title != NULL)
        fk_conf_put(ret, " %s", fk_conf_quote(block->title, strlen(block->title), quoted));
    return ret->text;
}

bool fk_token_is(const struct fk_token *token, const char *name)
{
    return token->len == strlen(name) && memcmp(token->text, name, token->len) == 0;
}

const struct fk_conf_option *fk_conf_find_option(const struct fk_conf_kind *kind,
                                                 const struct fk_token *name)
{
    for (const struct fk_conf_option *option = kind->options; option->name != NULL; option++)
        if (fk_token_is(name, option->name))
            return option;
    return NULL;
}

const struct fk_conf_kind *fk_conf_find_kid(const struct fk_conf_kind *kind,
                                            const struct fk_token *name)
{
    for (size_t i = 0; kind->kids != NULL && kind->kids[i] != NULL; i++)
        if (fk_token_is(name, kind->kids[i]->name))
            return kind->kids[i];
    return NULL;
}

/* Options or blocks that a block takes, for a message. */
static void put_known(const struct fk_conf_kind *kind, bool blocks, struct fk_conf_text *ret)
{
    const char *separator = "";

    ret->len = 0;
    ret->text[0] = '\0';
    if (!blocks) {
        for (size_t i = 0; kind->options[i].name != NULL; i++, separator = ", ")
            fk_conf_put(ret, "%s%s", separator, kind->options[i].name);
        return;
    }
    for (size_t i = 0; kind->kids != NULL && kind->kids[i] != NULL; i++, separator = ", ")
        fk_conf_put(ret, "%s%s", separator, kind->kids[i]->name);
}

/* The name as the table has it, or NULL. */
static const char *known_name(const struct fk_conf_kind *kind, const struct fk_token *name,
                              bool is_block)
{
    const struct fk_conf_option *option = is_block ? NULL : fk_conf_find_option(kind, name);
    const struct fk_conf_kind *kid = is_block ? fk_conf_find_kid(kind, name) : NULL;

    return option != NULL ? option->name : kid != NULL ? kid->name : NULL;
}

/* The block around this one that would take the name, or NULL. */
static const struct fk_conf_block *find_home(const struct fk_conf_nest *nest,
                                             const struct fk_token *name, bool is_block)
{
    for (unsigned i = nest->depth; i-- > 0;)
        if (known_name(nest->blocks[i]->kind, name, is_block) != NULL)
            return nest->blocks[i];
    return NULL;
}

/* What an unknown name may have been meant for is not complained of again when it is absent. */
static void doubt_unknown(const struct fk_conf_nest *nest, const struct fk_token *name,
                          bool is_block, const char *nearest)
{
    const struct fk_conf_block *home = find_home(nest, name, is_block);
    const struct fk_conf_block *block = nest->blocks[nest->depth];

    if (home != NULL)
        fk_conf_doubt(home, known_name(home->kind, name, is_block));
    else if (nearest != NULL)
        fk_conf_doubt(block, nearest);
    else if (is_block)
        block->doubt->absent_kids = true;
    else
        block->doubt->absent_options = true;
}

void fk_conf_complain_unknown(struct fk_conf *conf, const struct fk_conf_nest *nest,
                              const struct fk_conf_where *where, const struct fk_token *name,
                              bool is_block)
{
    const struct fk_conf_block *block = nest->blocks[nest->depth];
    const struct fk_conf_block *home = find_home(nest, name, is_block);
    const struct fk_conf_kind *kind = block->kind;
    struct fk_conf_nearest nearest = {NULL, 0};
    const char *what = is_block ? "block" : "option";
    char quoted[FK_CONF_QUOTE_SIZE];
    struct fk_conf_text owner, known;

    for (size_t i = 0; !is_block && kind->options[i].name != NULL; i++)
        fk_conf_consider(&nearest, name->text, name->len, kind->options[i].name);
    for (size_t i = 0; is_block && kind->kids != NULL && kind->kids[i] != NULL; i++)
        fk_conf_consider(&nearest, name->text, name->len, kind->kids[i]->name);
    fk_conf_quote(name->text, name->len, quoted);
    fk_conf_block_name(block, &owner);
    put_known(kind, is_block, &known);
    if (home != NULL)
        fk_conf_complain(conf, where,
                         "%s %s does not belong in %s; write it in %s, or the "
                         "\"}\" that is missing before it",
                         what, quoted, owner.text, home->kind->name);
    else if (nearest.best != NULL)
        fk_conf_complain(conf, where, "unknown %s %s in %s; did you mean %s?", what, quoted,
                         owner.text, nearest.best);
    else if (known.text[0] != '\0')
        fk_conf_complain(conf, where, "unknown %s %s in %s; write one of: %s", what, quoted,
                         owner.text, known.text);
    else
        fk_conf_complain(conf, where, "unknown %s %s in %s; it takes no %ss, remove it", what,
                         quoted, owner.text, what);
    conf->unknown++;
    doubt_unknown(nest, name, is_block, nearest.best);
}
