/*
 * Whether a channel that is open may stay: what its handshake was judged by may have changed, or
 * time has passed.
 *
 * Lists of addresses, edges and listeners change with a set only, and are looked at then; the
 * certificate is judged then and as time goes on. Nothing here closes a channel.
 */
#include "keyd/front_priv.h"

#include "base/err.h"

#include <stdlib.h>
#include <string.h>

const char *fk_front_judge(struct fk_front_conn *conn)
{
    const SSL *ssl = fk_channel_io_ssl(conn->io);
    const char *why = NULL;

    if (fk_channel_peer_judge(ssl, conn->front->set->tls13, &why) == FK_OK)
        conn->judge_us = fk_loop_now_us(conn->front->loop) + fk_channel_peer_judge_us(ssl);
    return why;
}

/* The block of the present set that stands for one of the old: same address, same device. */
static const struct fk_keyd_listen_conf *find_listen(const struct fk_conf_block *blocks,
                                                     const struct fk_keyd_listen_conf *old)
{
    const char *device = old->device != NULL ? old->device : "";

    for (const struct fk_conf_block *at = blocks; at != NULL; at = at->next) {
        const struct fk_keyd_listen_conf *listen = (const void *)at;

        if (strcmp(at->title, old->block.title) == 0 &&
            strcmp(listen->device != NULL ? listen->device : "", device) == 0)
            return listen;
    }
    return NULL;
}

/* Without memory for the ranges: no. */
static bool listen_permits(const struct fk_keyd_listen_conf *listen, const struct fk_addr *peer)
{
    struct fk_ranges allow = {.items = NULL}, deny = {.items = NULL};
    bool permitted = fk_keyd_conf_ranges(&listen->allow, &allow) == FK_OK &&
                     fk_keyd_conf_ranges(&listen->deny, &deny) == FK_OK &&
                     fk_addr_permitted(peer, &allow, &deny);

    free(allow.items);
    free(deny.items);
    return permitted;
}

/* Whether the listener that took it would take it now. */
static bool listener_would(struct fk_front_conn *conn)
{
    const struct fk_keyd_conf *conf = conn->front->set->conf;

    conn->listen = find_listen(conn->dialled ? conf->dials : conf->listens, conn->listen);
    return conn->listen != NULL && listen_permits(conn->listen, &conn->peer);
}

/* Why its edge may not come like this any more, or NULL. */
static const char *objection_to_edge(struct fk_front_conn *conn)
{
    if (conn->edge == NULL) /* in its handshake: that is judged by the new set when it ends */
        return NULL;
    conn->edge = fk_policy_find(conn->front->set->policy, conn->identity);
    if (conn->edge == NULL)
        return "no such edge";
    if (conn->dialect == FK_DIALECT_1 && !conn->listen->dialect1)
        return "no dialect 1 here";
    if (!fk_addr_permitted(&conn->peer, &conn->edge->allow, &conn->edge->deny))
        return "address not permitted";
    return fk_front_judge(conn);
}

static void log_objection(struct fk_front_conn *conn, const char *why)
{
    struct fk_log_limit *limit =
        conn->account != NULL ? &conn->account->closed : &conn->front->tls_limit;

    fk_log_limited(limit, FK_LOG_WARN, "channel closed: no longer allowed",
                   fk_uint("channel", conn->id), fk_str("identity", conn->identity),
                   fk_uint("unanswered", conn->inflight), fk_str("why", why));
}

bool fk_front_conn_recheck(struct fk_front_conn *conn)
{
    const char *why = listener_would(conn)
                          ? objection_to_edge(conn)
                          : "its listen or dial block is gone, or permits its address no more";

    if (why != NULL)
        log_objection(conn, why);
    return why == NULL;
}

bool fk_front_conn_holds(struct fk_front_conn *conn, uint64_t now, unsigned *left)
{
    const char *why;

    if (conn->edge == NULL || now < conn->judge_us || *left == 0)
        return true;
    (*left)--;
    if ((why = fk_front_judge(conn)) != NULL)
        log_objection(conn, why);
    return why == NULL;
}
