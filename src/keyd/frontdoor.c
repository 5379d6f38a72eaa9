/*
 * Who gets a place at a front before anything is spent on him.
 *
 * An edge's handshake takes milliseconds. A peer that only holds its place loses it to a newcomer:
 * the oldest handshake of an address that has too many of them, or of all when no place is left. So
 * whoever wants to keep edges out has to fill all the places anew within milliseconds, from many
 * addresses.
 */
#include "keyd/front_priv.h"

#include "base/err.h"

static bool has_place(const struct fk_front *front)
{
    const uint64_t max = front->set->limits->connections;

    /* Half of the places are for peers that have proved who they are. */
    return front->n_conns < max && front->n_handshaking < max / 2 + 1;
}

/* The oldest peer that has not proved who it is: of the address, or (NULL) of all. */
static struct fk_front_conn *oldest(const struct fk_front *front, const struct fk_peer *address)
{
    struct fk_list *at;

    fk_list_each (at, &front->handshakes) {
        struct fk_front_conn *conn = fk_container(at, struct fk_front_conn, handshake);

        if (address == NULL || conn->stranger == address)
            return conn;
    }
    return NULL;
}

/* False: nobody of the address can. */
static bool give_way(struct fk_front *front, const struct fk_peer *address)
{
    struct fk_front_conn *conn = oldest(front, address);
    char text[FK_ADDR_TEXT_SIZE];

    if (conn == NULL)
        return false;
    fk_front_count(front, FK_KEYD_REFUSED_FULL);
    fk_addr_format(&conn->peer, text);
    fk_log_limited(&front->accept_limit, FK_LOG_WARN, "handshake gives way to a newer one",
                   fk_str("peer", text));
    fk_front_conn_close(conn);
    return true;
}

/* Count it for its address. */
static int join(struct fk_front *front, const struct fk_addr *addr, struct fk_peer **ret)
{
    uint64_t max = front->set->limits->address_handshakes;
    int err = fk_peers_join(front->strangers, addr, max, ret);

    if (err == FK_ERR_LIMIT && give_way(front, fk_peers_find(front->strangers, addr)))
        err = fk_peers_join(front->strangers, addr, max, ret);
    return err;
}

int fk_front_admit(const struct fk_front_listener *listener, const struct fk_addr *addr,
                   struct fk_peer **ret_stranger, enum fk_keyd_metric *ret_metric)
{
    struct fk_front *front = listener->front;

    *ret_metric = FK_KEYD_REFUSED_ADDRESS;
    if (!fk_addr_permitted(addr, &listener->allow, &listener->deny))
        return FK_ERR_DENIED;
    *ret_metric = FK_KEYD_REFUSED_FULL;
    if (!has_place(front) && (!give_way(front, NULL) || !has_place(front)))
        return FK_ERR_LIMIT;
    return join(front, addr, ret_stranger);
}

void fk_front_stranger(struct fk_front_conn *conn, struct fk_peer *stranger)
{
    conn->stranger = stranger;
    conn->front->n_handshaking++;
    fk_list_append(&conn->front->handshakes, &conn->handshake);
}

void fk_front_acquainted(struct fk_front_conn *conn)
{
    fk_peers_leave(conn->front->strangers, &conn->stranger);
    conn->front->n_handshaking--;
    fk_list_del(&conn->handshake);
}
