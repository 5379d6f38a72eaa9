/*
 * Places of connections whose peer has yet to prove who it is. A peer of ours does that in no time;
 * one that only holds its place loses it to a newcomer: the oldest of an address that has too many,
 * or, when all places are taken, the oldest of the address that has the most. So whoever wants to
 * keep others out has to take all places anew all the time, from as many addresses as there are
 * places.
 *
 * Addresses are counted as in loop/peers.h. Nothing is closed here: the owner of a connection
 * does that, and leaves.
 */
#ifndef FK_LOOP_DOOR_H
#define FK_LOOP_DOOR_H

#include "base/list.h"
#include "loop/peers.h"

#include <stddef.h>

struct fk_door;

/* Within the connection that has it. */
struct fk_door_place {
    struct fk_list link;
    struct fk_door *door;    /* NULL: it has no place */
    struct fk_peer *address; /* NULL: it has no address that can be counted */
};

/* FK_ERR_NOMEM, FK_ERR_SYS. */
int fk_door_new(struct fk_door **ret);
/* Nobody may have a place any more. NULL is fine. */
void fk_door_free(struct fk_door *door);

size_t fk_door_count(const struct fk_door *door);

/* Whose turn to leave it is: the oldest of the address that has the most. NULL: nobody is there. */
struct fk_door_place *fk_door_first(const struct fk_door *door);

/* Who has to leave before one of `addr` comes, of which there may be `max` (0: any number). NULL:
 * nobody. */
struct fk_door_place *fk_door_first_of(const struct fk_door *door, const struct fk_addr *addr,
                                       uint64_t max);

/* Take a place, whoever is there. FK_ERR_NOMEM: it has none. */
int fk_door_enter(struct fk_door *door, const struct fk_addr *addr, struct fk_door_place *place);
/* Give it up; fine for one that has none. */
void fk_door_leave(struct fk_door_place *place);

#endif
