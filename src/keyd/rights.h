/*
 * Whether a new configuration takes something from somebody: what edges got while they had the
 * right (ticket keys) must then be worth nothing any more.
 */
#ifndef FK_KEYD_RIGHTS_H
#define FK_KEYD_RIGHTS_H

#include "keyd/conf.h"
#include "keyd/load.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * Whether an edge that could get ticket keys is gone, or has lost that permission, or one of the
 * names of its keys. What a key's own policy permits is not looked at: it concerns all edges alike.
 */
bool fk_rights_edge_lost(const struct fk_keyd_conf *old, const struct fk_keyd_conf *new);

/* Whether the lists in `new` (PEM, NULL: none) revoke a certificate that those in `old` do not.
 * What cannot be read counts as if it did. */
bool fk_rights_revoked(const uint8_t *old, size_t old_len, const uint8_t *new, size_t new_len);

/* Either of these between two loads, or another CA. */
bool fk_rights_lost(const struct fk_keyd_load *old, const struct fk_keyd_load *new);

#endif
