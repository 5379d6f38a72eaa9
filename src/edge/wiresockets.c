/* Packet sockets of all workers: see wiresockets.h. */
#include "edge/wiresockets.h"

#include "base/err.h"
#include "base/log.h"
#include "loop/sock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct fk_wiresockets {
    char *client, *server;
    unsigned n_workers;
    int fds[][FK_PKTIO_SOCKETS];
};

void fk_wiresockets_free(struct fk_wiresockets *sockets)
{
    if (sockets == NULL)
        return;
    for (unsigned i = 0; i < sockets->n_workers; i++)
        for (unsigned j = 0; j < FK_PKTIO_SOCKETS; j++)
            fk_close(&sockets->fds[i][j]);
    free(sockets->client);
    free(sockets->server);
    free(sockets);
}

/* The sockets of one side, by what they do. */
struct side {
    enum fk_pktio_socket read, told, write;
};

static const struct side client_side = {FK_PKTIO_READ_CLIENT, FK_PKTIO_TOLD_CLIENT,
                                        FK_PKTIO_WRITE_CLIENT};
static const struct side server_side = {FK_PKTIO_READ_SERVER, FK_PKTIO_TOLD_SERVER,
                                        FK_PKTIO_WRITE_SERVER};

/* Workers in the same order at both interfaces: pktio.h. */
static int open_side(struct fk_wiresockets *sockets, const char *interface, const struct side *side)
{
    int group = -1, err = FK_OK;

    for (unsigned i = 0; err == FK_OK && i < sockets->n_workers; i++)
        if ((err = fk_pktio_open_read(interface, &group, &sockets->fds[i][side->read])) == FK_OK &&
            (err = fk_pktio_open_told(interface, &sockets->fds[i][side->told])) == FK_OK)
            err = fk_pktio_open_write(interface, &sockets->fds[i][side->write]);
    if (err != FK_OK)
        fk_log(FK_LOG_ERROR,
               "cannot open a network interface; it must exist, and root (or "
               "CAP_NET_RAW) is needed",
               fk_str("interface", interface), err == FK_ERR_SYS ? fk_errno(errno) : fk_error(err));
    return err;
}

int fk_wiresockets_new(const struct fk_edge_wire *wire, unsigned n_workers,
                       struct fk_wiresockets **ret)
{
    struct fk_wiresockets *sockets =
        calloc(1, sizeof *sockets + n_workers * sizeof sockets->fds[0]);
    int err;

    if (sockets == NULL)
        return FK_ERR_NOMEM;
    sockets->n_workers = n_workers;
    for (unsigned i = 0; i < n_workers; i++)
        for (unsigned j = 0; j < FK_PKTIO_SOCKETS; j++)
            sockets->fds[i][j] = -1;
    sockets->client = strdup(wire->client);
    sockets->server = strdup(wire->server);
    err = sockets->client == NULL || sockets->server == NULL ? FK_ERR_NOMEM : FK_OK;
    if (err == FK_OK && (err = open_side(sockets, wire->client, &client_side)) == FK_OK)
        err = open_side(sockets, wire->server, &server_side);
    if (err != FK_OK) {
        fk_wiresockets_free(sockets);
        return err;
    }
    *ret = sockets;
    return FK_OK;
}

int fk_wiresockets_get(const struct fk_wiresockets *sockets, unsigned worker, unsigned which)
{
    return sockets->fds[worker][which];
}

bool fk_wiresockets_match(const struct fk_wiresockets *sockets, const struct fk_edge_wire *wire)
{
    return strcmp(sockets->client, wire->client) == 0 && strcmp(sockets->server, wire->server) == 0;
}
