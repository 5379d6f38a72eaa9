/* Frames by packet sockets, TAP devices, or queues: see pktio.h. */
#include "inline/pktio.h"

#include "base/err.h"
#include "base/limits.h"
#include "inline/nfqueue.h"
#include "loop/sock.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define ETHER     14
#define FRAME_MAX (65536 + FK_NFQUEUE_MORE) /* a link's header is shorter */
#define TX_MAX    64

struct sending {
    struct virtio_net_hdr header;
    struct fk_link link;
    struct iovec pieces[3];
};

struct queue {
    size_t n;
    struct sending items[TX_MAX];
    struct mmsghdr msgs[TX_MAX];
};

/* What frames are read from. */
enum kind { BY_PACKET, BY_TAP, BY_QUEUE };

struct fk_pktio {
    int fds[FK_PKTIO_SOCKETS];
    enum kind kind;
    uint64_t lost;
    /* Of the batch that was read from a queue: its last packet's number, then of those that pass.
     */
    uint32_t ids[1 + FK_PKTIO_BATCH];
    size_t n_ids;
    uint8_t *mem; /* FK_PKTIO_BATCH frames */
    struct fk_pktio_frame frames[FK_PKTIO_BATCH];
    struct mmsghdr msgs[FK_PKTIO_BATCH];
    struct iovec pieces[FK_PKTIO_BATCH][2];
    uint8_t control[FK_PKTIO_BATCH][CMSG_SPACE(sizeof(struct tpacket_auxdata))];
    struct queue queues[2]; /* by the side that they go to */
};

/* --- life --- */

static enum kind kind_of(int fd)
{
    int domain;
    socklen_t len = sizeof domain;

    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) != 0)
        return BY_TAP;
    return domain == AF_NETLINK ? BY_QUEUE : BY_PACKET;
}

/* Whether all are there. */
static bool is_complete(const int fds[FK_PKTIO_SOCKETS])
{
    size_t n = FK_PKTIO_SOCKETS;

    if (fds[FK_PKTIO_READ_CLIENT] < 0)
        return false;
    if (kind_of(fds[FK_PKTIO_READ_CLIENT]) != BY_QUEUE)
        n = FK_PKTIO_VERDICT_CLIENT;
    for (size_t i = 0; i < n; i++)
        if (fds[i] < 0)
            return false;
    return true;
}

int fk_pktio_new(const int fds[FK_PKTIO_SOCKETS], struct fk_pktio **ret)
{
    struct fk_pktio *io;

    if (!is_complete(fds))
        return FK_ERR_UNEXPECTED;
    if ((io = calloc(1, sizeof *io)) != NULL)
        io->mem = malloc((size_t)FK_PKTIO_BATCH * FRAME_MAX);
    if (io == NULL || io->mem == NULL) {
        free(io);
        return FK_ERR_NOMEM;
    }
    memcpy(io->fds, fds, sizeof io->fds);
    io->kind = kind_of(fds[FK_PKTIO_READ_CLIENT]);
    *ret = io;
    return FK_OK;
}

void fk_pktio_free(struct fk_pktio *io)
{
    if (io == NULL)
        return;
    for (size_t i = 0; i < FK_PKTIO_SOCKETS; i++)
        fk_close(&io->fds[i]);
    free(io->mem);
    free(io);
}

int fk_pktio_fd(const struct fk_pktio *io, enum fk_pktio_socket which)
{
    return io->fds[which];
}

uint64_t fk_pktio_lost(const struct fk_pktio *io)
{
    return io->lost;
}

/* --- reading --- */

static void prepare(struct fk_pktio *io, size_t i)
{
    struct msghdr *msg = &io->msgs[i].msg_hdr;

    io->pieces[i][0] = (struct iovec){&io->frames[i].header, sizeof io->frames[i].header};
    io->pieces[i][1] = (struct iovec){io->mem + i * FRAME_MAX, FRAME_MAX};
    *msg = (struct msghdr){.msg_iov = io->pieces[i], .msg_iovlen = 2};
    msg->msg_control = io->control[i];
    msg->msg_controllen = sizeof io->control[i];
}

/* The kernel takes a VLAN's tag out of the frame and tells of it beside. */
static bool tag_beside(struct msghdr *msg, uint8_t ret[4])
{
    struct tpacket_auxdata aux;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA)
            continue;
        memcpy(&aux, CMSG_DATA(c), sizeof aux);
        if ((aux.tp_status & TP_STATUS_VLAN_VALID) == 0)
            return false;
        if ((aux.tp_status & TP_STATUS_VLAN_TPID_VALID) == 0)
            aux.tp_vlan_tpid = ETHERTYPE_VLAN;
        ret[0] = (uint8_t)(aux.tp_vlan_tpid >> 8);
        ret[1] = (uint8_t)aux.tp_vlan_tpid;
        ret[2] = (uint8_t)(aux.tp_vlan_tci >> 8);
        ret[3] = (uint8_t)aux.tp_vlan_tci;
        return true;
    }
    return false;
}

static bool is_tag(const uint8_t *type)
{
    return (type[0] == 0x81 && type[1] == 0x00) || (type[0] == 0x88 && type[1] == 0xa8);
}

/* Offsets of the offload header are those of the frame as it will be sent, with its tag. */
static bool describe(struct fk_pktio *io, size_t i, enum fk_inline_side side)
{
    struct fk_pktio_frame *got = &io->frames[i];
    struct fk_link *link = &got->frame.link;
    const uint8_t *bytes = io->mem + i * FRAME_MAX;
    size_t len = io->msgs[i].msg_len, used = ETHER;
    uint8_t tag[4];

    if (len < sizeof got->header + ETHER || (io->msgs[i].msg_hdr.msg_flags & MSG_TRUNC) != 0)
        return false;
    len -= sizeof got->header;
    memcpy(link->bytes, bytes, ETHER);
    link->len = ETHER;
    if (tag_beside(&io->msgs[i].msg_hdr, tag)) {
        memcpy(link->bytes + 12, tag, sizeof tag);
        memcpy(link->bytes + 16, bytes + 12, 2);
        link->len = FK_LINK_MAX;
        got->header.csum_start = (uint16_t)(got->header.csum_start + sizeof tag);
        got->header.hdr_len = (uint16_t)(got->header.hdr_len + sizeof tag);
    } else if (is_tag(bytes + 12) && len >= FK_LINK_MAX) {
        memcpy(link->bytes, bytes, FK_LINK_MAX);
        link->len = FK_LINK_MAX;
        used = FK_LINK_MAX;
    }
    got->frame.from = side;
    got->frame.packet = bytes + used;
    got->frame.len = len - used;
    got->frame.sum_ok =
        (got->header.flags & (VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID)) != 0;
    got->header.flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
    return true;
}

/* A device gives one frame a call. */
static int read_device(struct fk_pktio *io, int fd)
{
    int n = 0;

    for (; n < FK_PKTIO_BATCH; n++) {
        ssize_t len = readv(fd, io->pieces[n], 2);

        if (len < 0)
            break;
        io->msgs[n].msg_len = (unsigned)len;
        io->msgs[n].msg_hdr.msg_controllen = 0;
    }
    return n;
}

/* A packet in place of a frame, behind a link's header that is never sent. False: it is dropped. */
static bool describe_queued(struct fk_pktio *io, size_t i, enum fk_inline_side side)
{
    struct fk_pktio_frame *got = &io->frames[i];
    struct fk_nfqueue_packet packet = {.id = 0};
    int err = fk_nfqueue_parse(io->mem + i * FRAME_MAX, io->msgs[i].msg_len, &packet);

    if (err != FK_OK && err != FK_ERR_RANGE)
        return false;
    io->ids[0] = packet.id;
    io->n_ids = 1;
    if (err != FK_OK || packet.len == 0 || (io->msgs[i].msg_hdr.msg_flags & MSG_TRUNC) != 0)
        return false;
    *got = (struct fk_pktio_frame){
        .queued = true,
        .id = packet.id,
        .frame = {
            .from = side, .packet = packet.bytes, .len = packet.len, .sum_ok = packet.sum_ok}};
    got->frame.link.len = ETHER;
    got->frame.link.bytes[12] = packet.bytes[0] >> 4 == 4 ? 0x08 : 0x86;
    got->frame.link.bytes[13] = packet.bytes[0] >> 4 == 4 ? 0x00 : 0xdd;
    return true;
}

static size_t read_queue(struct fk_pktio *io, int fd, enum fk_inline_side side)
{
    size_t good = 0;
    int n;

    for (size_t i = 0; i < FK_PKTIO_BATCH; i++) {
        prepare(io, i);
        io->msgs[i].msg_hdr.msg_iov = &io->pieces[i][1];
        io->msgs[i].msg_hdr.msg_iovlen = 1;
    }
    n = recvmmsg(fd, io->msgs, FK_PKTIO_BATCH, 0, NULL);
    for (int i = 0; i < n; i++)
        if (describe_queued(io, (size_t)i, side))
            io->frames[good++] = io->frames[i];
    return good;
}

/* The worker's verdicts go to who may tell the kernel: one that is lost is made good for by the
 * next, which drops all up to its own packets. */
void fk_pktio_done(struct fk_pktio *io, enum fk_inline_side side)
{
    int fd = io->fds[side == FK_INLINE_CLIENT ? FK_PKTIO_VERDICT_CLIENT : FK_PKTIO_VERDICT_SERVER];

    if (io->n_ids > 0)
        (void)send(fd, io->ids, io->n_ids * sizeof io->ids[0], MSG_DONTWAIT | MSG_NOSIGNAL);
    io->n_ids = 0;
}

static size_t read_from(struct fk_pktio *io, enum fk_pktio_socket which, enum fk_inline_side side)
{
    bool told = which == FK_PKTIO_TOLD_CLIENT || which == FK_PKTIO_TOLD_SERVER;
    size_t good = 0;
    int n;

    if (io->kind == BY_QUEUE && !told)
        return read_queue(io, io->fds[which], side);
    for (size_t i = 0; i < FK_PKTIO_BATCH; i++)
        prepare(io, i);
    n = io->kind == BY_TAP && !told ? read_device(io, io->fds[which])
                                    : recvmmsg(io->fds[which], io->msgs, FK_PKTIO_BATCH, 0, NULL);
    for (int i = 0; i < n; i++)
        if (describe(io, (size_t)i, side))
            io->frames[good++] = io->frames[i];
    return good;
}

size_t fk_pktio_read(struct fk_pktio *io, enum fk_inline_side side,
                     const struct fk_pktio_frame **ret)
{
    *ret = io->frames;
    return read_from(io, side == FK_INLINE_CLIENT ? FK_PKTIO_READ_CLIENT : FK_PKTIO_READ_SERVER,
                     side);
}

size_t fk_pktio_read_told(struct fk_pktio *io, enum fk_inline_side side,
                          const struct fk_pktio_frame **ret)
{
    *ret = io->frames;
    return read_from(io, side == FK_INLINE_CLIENT ? FK_PKTIO_TOLD_CLIENT : FK_PKTIO_TOLD_SERVER,
                     side);
}

/* --- sending --- */

/* How many of the first were taken; none: -1. */
static int write_some(const struct fk_pktio *io, int fd, struct mmsghdr *msgs, size_t n)
{
    const struct msghdr *msg = &msgs->msg_hdr;

    if (io->kind == BY_PACKET)
        return sendmmsg(fd, msgs, (unsigned)n, 0);
    return writev(fd, msg->msg_iov, (int)msg->msg_iovlen) < 0 ? -1 : 1;
}

/* What is refused is lost, as on any wire that is full; the rest is tried. */
static void flush(struct fk_pktio *io, enum fk_inline_side to)
{
    int fd = io->fds[to == FK_INLINE_CLIENT ? FK_PKTIO_WRITE_CLIENT : FK_PKTIO_WRITE_SERVER];
    struct queue *queue = &io->queues[to];
    size_t done = 0;

    while (done < queue->n) {
        int n = write_some(io, fd, queue->msgs + done, queue->n - done);

        if (n > 0) {
            done += (size_t)n;
        } else if (errno != EINTR) {
            done++;
            io->lost++;
        }
    }
    queue->n = 0;
}

void fk_pktio_flush(struct fk_pktio *io)
{
    flush(io, FK_INLINE_CLIENT);
    flush(io, FK_INLINE_SERVER);
}

/* A TUN device takes packets. */
static void take_link_away(struct sending *item)
{
    if ((item->header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0)
        item->header.csum_start = (uint16_t)(item->header.csum_start - item->link.len);
    if (item->header.gso_type != VIRTIO_NET_HDR_GSO_NONE)
        item->header.hdr_len = (uint16_t)(item->header.hdr_len - item->link.len);
    item->link.len = 0;
}

static void put(struct fk_pktio *io, enum fk_inline_side to, const struct sending *item,
                const uint8_t *bytes, size_t len)
{
    struct queue *queue = &io->queues[to];
    struct sending *slot;

    if (queue->n == TX_MAX)
        flush(io, to);
    slot = &queue->items[queue->n];
    *slot = *item;
    if (io->kind == BY_QUEUE)
        take_link_away(slot);
    slot->pieces[0] = (struct iovec){&slot->header, sizeof slot->header};
    slot->pieces[1] = (struct iovec){slot->link.bytes, slot->link.len};
    slot->pieces[2] = (struct iovec){(void *)(uintptr_t)bytes, len};
    queue->msgs[queue->n++] =
        (struct mmsghdr){.msg_hdr = {.msg_iov = slot->pieces, .msg_iovlen = 3}};
}

void fk_pktio_pass(struct fk_pktio *io, const struct fk_pktio_frame *frame)
{
    struct sending item = {.header = frame->header, .link = frame->frame.link};

    if (frame->queued) {
        io->ids[io->n_ids++] = frame->id;
        return;
    }
    put(io, fk_inline_other(frame->frame.from), &item, frame->frame.packet, frame->frame.len);
}

/* Fact 8: a packet that is not longer than a segment says nothing of cutting. */
void fk_pktio_send(struct fk_pktio *io, const struct fk_outbox_packet *packet,
                   const struct fk_link *link)
{
    struct sending item = {.link = *link};
    const uint8_t *tcp = packet->bytes + packet->transport;

    if (packet->partial_sum) {
        item.header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
        item.header.csum_start = (uint16_t)(link->len + packet->transport);
        item.header.csum_offset = 16;
    }
    if (packet->gso_size > 0) {
        item.header.gso_type =
            packet->bytes[0] >> 4 == 4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
        item.header.gso_size = packet->gso_size;
        item.header.hdr_len = (uint16_t)(link->len + packet->transport + (tcp[12] >> 4) * 4U);
    }
    put(io, packet->to, &item, packet->bytes, packet->len);
}
