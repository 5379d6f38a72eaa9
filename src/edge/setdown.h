/*
 * Origins that an operator has set down: no new connection goes to them until he sets them up
 * again. Master and workers have such a list each; the master's is the one that counts, and every
 * worker is told all of it when it starts and each change after that (FK_PROC_ORIGIN).
 */
#ifndef FK_EDGE_SETDOWN_H
#define FK_EDGE_SETDOWN_H

#include "base/list.h"

#include <stdbool.h>
#include <stddef.h>

/* `arg` of FK_PROC_ORIGIN; its data is "SITE/ORIGIN". */
enum fk_setdown_change {
    FK_SETDOWN_UP,
    FK_SETDOWN_DOWN,
    FK_SETDOWN_FORGET, /* the configuration has it no more: connections of before are to go on */
};

struct fk_setdown;

/* The origins of one site, which want to be told. */
struct fk_setdown_site {
    struct fk_list link;
    const char *name;
    void (*changed)(struct fk_setdown_site *site, const char *origin, bool down);
};

/* FK_ERR_NOMEM. */
int fk_setdown_new(struct fk_setdown **ret);
/* No site may follow it any more. */
void fk_setdown_free(struct fk_setdown *down);

/* Note a change of "SITE/ORIGIN" and tell those that follow. Once more is harmless. FK_ERR_LIMIT,
 * FK_ERR_NOMEM: it was not noted, and nobody was told. */
int fk_setdown_change(struct fk_setdown *down, const char *name, enum fk_setdown_change change);

bool fk_setdown_has(const struct fk_setdown *down, const char *site, const char *origin);
/* "SITE/ORIGIN"; NULL past the end. A change may move those behind it. */
const char *fk_setdown_at(const struct fk_setdown *down, size_t i);
/* The origin in "SITE/ORIGIN", if it is one of this site; else NULL. Either may have a "/". */
const char *fk_setdown_origin(const char *name, const char *site);

/* Be told of changes; what is down already is to be asked for. */
void fk_setdown_follow(struct fk_setdown *down, struct fk_setdown_site *site);
/* Harmless for one that does not follow, when its link is an empty list. */
void fk_setdown_leave(struct fk_setdown_site *site);

#endif
