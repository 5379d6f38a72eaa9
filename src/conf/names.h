/*
 * Names of options and blocks as the parser meets them. Private to src/conf.
 */
#ifndef FK_CONF_NAMES_H
#define FK_CONF_NAMES_H

#include "base/limits.h"
#include "conf/lexer.h"
#include "conf/store.h"

/* The blocks that are open, from the root (depth 0) to the one whose items are read. */
struct fk_conf_nest {
    const struct fk_conf_block *blocks[FK_CONF_NEST_MAX + 1];
    unsigned depth;
};

/* What a block is called in a message; returns ret->text. */
const char *fk_conf_block_name(const struct fk_conf_block *block, struct fk_conf_text *ret);

bool fk_token_is(const struct fk_token *token, const char *name);

/* NULL: the kind has none of that name. */
const struct fk_conf_option *fk_conf_find_option(const struct fk_conf_kind *kind,
                                                 const struct fk_token *name);
const struct fk_conf_kind *fk_conf_find_kid(const struct fk_conf_kind *kind,
                                            const struct fk_token *name);

/* Complain of an option or block that the innermost block does not know; doubt what it may mean. */
void fk_conf_complain_unknown(struct fk_conf *conf, const struct fk_conf_nest *nest,
                              const struct fk_conf_where *where, const struct fk_token *name,
                              bool is_block);

#endif
