/*
 * Who gets a place at a front before anything is spent on him.
 *
 * An edge's handshake takes milliseconds. A peer that only holds its place loses it to a newcomer,
 * as loop/door.h says.
 */
#include "keyd/front_priv.h"

#include "base/err.h"

static bool has_place(const struct fk_front *front)
{
    const uint64_t max = front->set->limits->connections;

    /* Half of the places are for peers that have proved who they are. */
    return front->n_conns < max && fk_door_count(front->door) < max / 2 + 1;
}

static void give_way(struct fk_front *front, struct fk_door_place *place)
{
    struct fk_front_conn *conn = fk_container(place, struct fk_front_conn, place);
    char text[FK_ADDR_TEXT_SIZE];

    fk_front_count(front, FK_KEYD_REFUSED_FULL);
    fk_addr_format(&conn->peer, text);
    fk_log_limited(&front->accept_limit, FK_LOG_WARN, "handshake gives way to a newer one",
                   fk_str("peer", text));
    fk_front_conn_close(conn);
}

int fk_front_admit(const struct fk_front_listener *listener, const struct fk_addr *addr,
                   enum fk_keyd_metric *ret_metric)
{
    struct fk_front *front = listener->front;
    struct fk_door_place *place;

    *ret_metric = FK_KEYD_REFUSED_ADDRESS;
    if (!fk_addr_permitted(addr, &listener->allow, &listener->deny))
        return FK_ERR_DENIED;
    *ret_metric = FK_KEYD_REFUSED_FULL;
    place = fk_door_first_of(front->door, addr, front->set->limits->address_handshakes);
    if (place == NULL && !has_place(front) && (place = fk_door_first(front->door)) == NULL)
        return FK_ERR_LIMIT;
    if (place != NULL)
        give_way(front, place);
    return has_place(front) ? FK_OK : FK_ERR_LIMIT;
}
