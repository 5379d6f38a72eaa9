/* Places for peers that are not known yet: see door.h. */
#include "loop/door.h"

#include "base/err.h"

#include <stdint.h>
#include <stdlib.h>

struct fk_door {
    struct fk_peers *peers;
    struct fk_list places; /* oldest first */
    size_t count;
};

int fk_door_new(struct fk_door **ret)
{
    struct fk_door *door = calloc(1, sizeof *door);
    int err;

    if (door == NULL)
        return FK_ERR_NOMEM;
    if ((err = fk_peers_new(&door->peers)) != FK_OK) {
        free(door);
        return err;
    }
    fk_list_init(&door->places);
    *ret = door;
    return FK_OK;
}

void fk_door_free(struct fk_door *door)
{
    if (door == NULL)
        return;
    fk_peers_free(door->peers);
    free(door);
}

size_t fk_door_count(const struct fk_door *door)
{
    return door->count;
}

struct fk_door_place *fk_door_first(const struct fk_door *door)
{
    struct fk_door_place *first = NULL;
    uint32_t most = 0;
    struct fk_list *at;

    fk_list_each (at, &door->places) {
        struct fk_door_place *place = fk_container(at, struct fk_door_place, link);
        uint32_t connections = fk_peer_connections(place->address);

        if (first == NULL || connections > most) {
            first = place;
            most = connections;
        }
    }
    return first;
}

struct fk_door_place *fk_door_first_of(const struct fk_door *door, const struct fk_addr *addr,
                                       uint64_t max)
{
    const struct fk_peer *address = fk_peers_find(door->peers, addr);
    struct fk_list *at;

    if (max == 0 || fk_peer_connections(address) < max)
        return NULL;
    fk_list_each (at, &door->places) {
        struct fk_door_place *place = fk_container(at, struct fk_door_place, link);

        if (place->address == address)
            return place;
    }
    return NULL;
}

int fk_door_enter(struct fk_door *door, const struct fk_addr *addr, struct fk_door_place *place)
{
    int err = fk_peers_join(door->peers, addr, UINT32_MAX, &place->address);

    if (err != FK_OK)
        return err;
    place->door = door;
    door->count++;
    fk_list_append(&door->places, &place->link);
    return FK_OK;
}

void fk_door_leave(struct fk_door_place *place)
{
    if (place->door == NULL)
        return;
    fk_peers_leave(place->door->peers, &place->address);
    place->door->count--;
    place->door = NULL;
    fk_list_del(&place->link);
}
