/* Descriptors of frames of all workers: see wiresockets.h. */
#include "edge/wiresockets.h"

#include "base/err.h"
#include "base/log.h"
#include "inline/nfqueue.h"
#include "loop/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct worker {
    int fds[FK_PKTIO_SOCKETS];
    int judge[2]; /* by side: the other ends of FK_PKTIO_VERDICT_* */
};

struct fk_wiresockets {
    char *client, *server, *device;
    int by;
    uint16_t queue;
    unsigned n_workers;
    struct worker workers[];
};

void fk_wiresockets_free(struct fk_wiresockets *sockets)
{
    if (sockets == NULL)
        return;
    for (unsigned i = 0; i < sockets->n_workers; i++) {
        for (unsigned j = 0; j < FK_PKTIO_SOCKETS; j++)
            fk_close(&sockets->workers[i].fds[j]);
        fk_close(&sockets->workers[i].judge[0]);
        fk_close(&sockets->workers[i].judge[1]);
    }
    free(sockets->client);
    free(sockets->server);
    free(sockets->device);
    free(sockets);
}

/* --- opening --- */

/* One side of one worker. */
struct side {
    struct fk_wiresockets *sockets;
    const char *interface;
    enum fk_inline_side side;
    struct worker *worker;
    int *read, *write, *told, *verdict; /* of its descriptors */
    int *group;
};

static int copy(int fd, int *ret)
{
    return (*ret = fcntl(fd, F_DUPFD_CLOEXEC, 0)) < 0 ? FK_ERR_SYS : FK_OK;
}

static int open_packet(const struct side *side)
{
    int err = fk_pktio_open_read(side->interface, side->group, side->read);

    return err == FK_OK ? fk_pktio_open_write(side->interface, side->write) : err;
}

static int open_tap(const struct side *side)
{
    int err = fk_pktio_open_tap(side->interface, side->read);

    return err == FK_OK ? copy(*side->read, side->write) : err;
}

static uint16_t queue_number(const struct fk_wiresockets *sockets, unsigned worker,
                             enum fk_inline_side side)
{
    return (uint16_t)(sockets->queue + (side == FK_INLINE_SERVER ? sockets->n_workers : 0) +
                      worker);
}

static int open_queue(const struct side *side)
{
    const struct fk_wiresockets *sockets = side->sockets;
    unsigned number = (unsigned)(side->worker - sockets->workers);
    int pair[2], err;

    if ((err = fk_nfqueue_open(queue_number(sockets, number, side->side), side->read)) != FK_OK ||
        (err = fk_sock_pair(SOCK_SEQPACKET, pair)) != FK_OK)
        return err;
    *side->verdict = pair[0];
    side->worker->judge[side->side] = pair[1];
    if (side->side == FK_INLINE_SERVER)
        return copy(side->worker->fds[FK_PKTIO_WRITE_CLIENT], side->write);
    return fk_pktio_open_tun(sockets->device, side->write);
}

static const struct {
    int (*open)(const struct side *side);
    const char *failed;
} ways[] = {
    [FK_WIRE_PACKET] = {open_packet, "cannot open a network interface; it must exist, and root (or "
                                     "CAP_NET_RAW) is needed"},
    [FK_WIRE_TAP] = {open_tap, "cannot open a TAP device; it must exist, with multi_queue and "
                               "vnet_hdr, and root (or CAP_NET_ADMIN and CAP_NET_RAW) is needed"},
    [FK_WIRE_QUEUE] = {open_queue,
                       "cannot open the queues of a network interface; nobody else may have them, "
                       "the interface and the TUN device (multi_queue, vnet_hdr) must exist, and "
                       "root (or CAP_NET_ADMIN and CAP_NET_RAW) is needed"},
};

/* Workers in the same order at both interfaces: pktio.h. */
static int open_side(struct fk_wiresockets *sockets, const char *interface,
                     enum fk_inline_side which)
{
    int group = -1, err = FK_OK;

    for (unsigned i = 0; err == FK_OK && i < sockets->n_workers; i++) {
        int *fds = sockets->workers[i].fds;
        struct side side = {.sockets = sockets,
                            .interface = interface,
                            .side = which,
                            .worker = &sockets->workers[i],
                            .read = &fds[FK_PKTIO_READ_CLIENT + which],
                            .write = &fds[FK_PKTIO_WRITE_CLIENT + which],
                            .told = &fds[FK_PKTIO_TOLD_CLIENT + which],
                            .verdict = &fds[FK_PKTIO_VERDICT_CLIENT + which],
                            .group = &group};

        if ((err = ways[sockets->by].open(&side)) == FK_OK)
            err = fk_pktio_open_told(interface, sockets->by == FK_WIRE_TAP, side.told);
    }
    if (err != FK_OK)
        fk_log(FK_LOG_ERROR, ways[sockets->by].failed, fk_str("interface", interface),
               err == FK_ERR_SYS ? fk_errno(errno) : fk_error(err));
    return err;
}

static int copy_names(struct fk_wiresockets *sockets, const struct fk_edge_wire *wire)
{
    sockets->client = strdup(wire->client);
    sockets->server = strdup(wire->server);
    sockets->device = strdup(wire->device == NULL ? "" : wire->device);
    return sockets->client == NULL || sockets->server == NULL || sockets->device == NULL
               ? FK_ERR_NOMEM
               : FK_OK;
}

int fk_wiresockets_new(const struct fk_edge_wire *wire, unsigned n_workers,
                       struct fk_wiresockets **ret)
{
    struct fk_wiresockets *sockets =
        calloc(1, sizeof *sockets + n_workers * sizeof sockets->workers[0]);
    int err;

    if (sockets == NULL)
        return FK_ERR_NOMEM;
    sockets->by = wire->by;
    sockets->queue = (uint16_t)wire->queue;
    sockets->n_workers = n_workers;
    for (unsigned i = 0; i < n_workers; i++) {
        for (unsigned j = 0; j < FK_PKTIO_SOCKETS; j++)
            sockets->workers[i].fds[j] = -1;
        sockets->workers[i].judge[0] = sockets->workers[i].judge[1] = -1;
    }
    if ((err = copy_names(sockets, wire)) != FK_OK ||
        (err = open_side(sockets, wire->client, FK_INLINE_CLIENT)) != FK_OK ||
        (err = open_side(sockets, wire->server, FK_INLINE_SERVER)) != FK_OK) {
        fk_wiresockets_free(sockets);
        return err;
    }
    *ret = sockets;
    return FK_OK;
}

/* --- asking --- */

int fk_wiresockets_get(const struct fk_wiresockets *sockets, unsigned worker, unsigned which)
{
    return sockets->workers[worker].fds[which];
}

bool fk_wiresockets_queue(const struct fk_wiresockets *sockets, unsigned i, uint16_t *ret_number,
                          int ret_fds[2])
{
    const struct worker *worker = &sockets->workers[i / 2];
    enum fk_inline_side side = i % 2 == 0 ? FK_INLINE_CLIENT : FK_INLINE_SERVER;

    if (sockets->by != FK_WIRE_QUEUE || i / 2 >= sockets->n_workers)
        return false;
    *ret_number = queue_number(sockets, i / 2, side);
    ret_fds[0] = worker->fds[FK_PKTIO_READ_CLIENT + side];
    ret_fds[1] = worker->judge[side];
    return true;
}

bool fk_wiresockets_match(const struct fk_wiresockets *sockets, const struct fk_edge_wire *wire)
{
    return sockets->by == wire->by && sockets->queue == wire->queue &&
           strcmp(sockets->client, wire->client) == 0 &&
           strcmp(sockets->server, wire->server) == 0 &&
           strcmp(sockets->device, wire->device == NULL ? "" : wire->device) == 0;
}
