/* Packet sockets: see pktio.h. */
#include "inline/pktio.h"

#include "base/err.h"
#include "base/limits.h"
#include "loop/sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define ETHER     14
#define FRAME_MAX (65536 + FK_LINK_MAX)
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

struct fk_pktio {
    int fds[FK_PKTIO_SOCKETS];
    uint64_t lost;
    uint8_t *mem; /* FK_PKTIO_BATCH frames */
    struct fk_pktio_frame frames[FK_PKTIO_BATCH];
    struct mmsghdr msgs[FK_PKTIO_BATCH];
    struct iovec pieces[FK_PKTIO_BATCH][2];
    uint8_t control[FK_PKTIO_BATCH][CMSG_SPACE(sizeof(struct tpacket_auxdata))];
    struct queue queues[2]; /* by the side that they go to */
};

/* --- opening --- */

static int set(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof value) == 0 ? FK_OK : FK_ERR_SYS;
}

static int bind_to(int fd, unsigned index, uint16_t protocol)
{
    struct sockaddr_ll addr = {
        .sll_family = AF_PACKET, .sll_protocol = htons(protocol), .sll_ifindex = (int)index};

    return bind(fd, (const struct sockaddr *)&addr, sizeof addr) == 0 ? FK_OK : FK_ERR_SYS;
}

static int watch_all(int fd, unsigned index)
{
    struct packet_mreq request = {.mr_ifindex = (int)index, .mr_type = PACKET_MR_PROMISC};

    return setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &request, sizeof request) == 0
               ? FK_OK
               : FK_ERR_SYS;
}

#ifndef PACKET_FANOUT_FLAG_IGNORE_OUTGOING /* of headers older than Linux 6.2 */
#define PACKET_FANOUT_FLAG_IGNORE_OUTGOING 0x4000
#endif

/* Each of a group's sockets may ignore what goes out, but only the group's own flag counts. */
static int join(int fd, int *group)
{
    unsigned flags = PACKET_FANOUT_HASH | PACKET_FANOUT_FLAG_IGNORE_OUTGOING;
    socklen_t len = sizeof flags;
    int err;

    if (*group >= 0)
        return set(fd, SOL_PACKET, PACKET_FANOUT, (int)((unsigned)*group | flags << 16));
    flags |= PACKET_FANOUT_FLAG_UNIQUEID;
    if ((err = set(fd, SOL_PACKET, PACKET_FANOUT, (int)(flags << 16))) != FK_OK)
        return err;
    if (getsockopt(fd, SOL_PACKET, PACKET_FANOUT, &flags, &len) != 0)
        return FK_ERR_SYS;
    *group = (int)(flags & 0xffff);
    return FK_OK;
}

/* Between bind and join the socket would get frames of other workers' flows: it takes none. */
static int set_filter(int fd, bool none)
{
    struct sock_filter code[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
    struct sock_fprog program = {1, code};

    return setsockopt(fd, SOL_SOCKET, none ? SO_ATTACH_FILTER : SO_DETACH_FILTER, &program,
                      sizeof program) == 0
               ? FK_OK
               : FK_ERR_SYS;
}

/* "Too big" of ICMP and ICMPv6, as wire/icmp.h reads it; behind IPv6's header, as routers put it.
 */
static int take_told_only(int fd)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETHERTYPE_IPV6, 8, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETHERTYPE_IP, 0, 11),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, ETHER + 9), /* protocol */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FK_IP_ICMP, 0, 9),
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, ETHER + 6),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x1fff, 7, 0), /* a later piece */
        BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, ETHER),
        BPF_STMT(BPF_LD | BPF_H | BPF_IND, ETHER),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x0304, 5, 4), /* type and code */
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, ETHER + 6),     /* next header */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FK_IP_ICMP6, 0, 2),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, ETHER + FK_IP6_HEADER),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 2, 1, 0), /* type */
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
    };
    struct sock_fprog program = {sizeof code / sizeof code[0], code};

    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0 ? FK_OK
                                                                                       : FK_ERR_SYS;
}

static int make(const char *interface, unsigned *ret_index, int *ret)
{
    int fd, err;

    if ((*ret_index = if_nametoindex(interface)) == 0)
        return FK_ERR_NOT_FOUND;
    if ((fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) < 0)
        return FK_ERR_SYS;
    if ((err = set(fd, SOL_PACKET, PACKET_VNET_HDR, 1)) != FK_OK) {
        fk_close(&fd);
        return err;
    }
    *ret = fd;
    return FK_OK;
}

int fk_pktio_open_read(const char *interface, int *group, int *ret)
{
    unsigned index;
    int fd, err;

    if ((err = make(interface, &index, &fd)) != FK_OK)
        return err;
    (void)set(fd, SOL_SOCKET, SO_RCVBUFFORCE, FK_PKTIO_QUEUE);
    if ((err = set(fd, SOL_PACKET, PACKET_AUXDATA, 1)) != FK_OK ||
        (err = set_filter(fd, true)) != FK_OK || (err = watch_all(fd, index)) != FK_OK ||
        (err = bind_to(fd, index, ETH_P_ALL)) != FK_OK || (err = join(fd, group)) != FK_OK ||
        (err = set_filter(fd, false)) != FK_OK) {
        fk_close(&fd);
        return err;
    }
    *ret = fd;
    return FK_OK;
}

int fk_pktio_open_told(const char *interface, int *ret)
{
    unsigned index;
    int fd, err;

    if ((err = make(interface, &index, &fd)) != FK_OK)
        return err;
    if ((err = set(fd, SOL_PACKET, PACKET_AUXDATA, 1)) != FK_OK ||
        (err = set(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)) != FK_OK ||
        (err = take_told_only(fd)) != FK_OK || (err = bind_to(fd, index, ETH_P_ALL)) != FK_OK) {
        fk_close(&fd);
        return err;
    }
    *ret = fd;
    return FK_OK;
}

int fk_pktio_open_write(const char *interface, int *ret)
{
    unsigned index;
    int fd, err;

    if ((err = make(interface, &index, &fd)) != FK_OK)
        return err;
    (void)set(fd, SOL_SOCKET, SO_SNDBUFFORCE, FK_PKTIO_QUEUE);
    if ((err = bind_to(fd, index, 0)) != FK_OK) {
        fk_close(&fd);
        return err;
    }
    *ret = fd;
    return FK_OK;
}

/* --- life --- */

int fk_pktio_new(const int fds[FK_PKTIO_SOCKETS], struct fk_pktio **ret)
{
    struct fk_pktio *io = calloc(1, sizeof *io);

    if (io != NULL)
        io->mem = malloc((size_t)FK_PKTIO_BATCH * FRAME_MAX);
    if (io == NULL || io->mem == NULL) {
        free(io);
        for (size_t i = 0; i < FK_PKTIO_SOCKETS; i++) {
            int fd = fds[i];

            fk_close(&fd);
        }
        return FK_ERR_NOMEM;
    }
    memcpy(io->fds, fds, sizeof io->fds);
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

static size_t read_from(struct fk_pktio *io, enum fk_pktio_socket which, enum fk_inline_side side)
{
    size_t good = 0;
    int n;

    for (size_t i = 0; i < FK_PKTIO_BATCH; i++)
        prepare(io, i);
    n = recvmmsg(io->fds[which], io->msgs, FK_PKTIO_BATCH, 0, NULL);
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

/* What is refused is lost, as on any wire that is full; the rest is tried. */
static void flush(struct fk_pktio *io, enum fk_inline_side to)
{
    int fd = io->fds[to == FK_INLINE_CLIENT ? FK_PKTIO_WRITE_CLIENT : FK_PKTIO_WRITE_SERVER];
    struct queue *queue = &io->queues[to];
    size_t done = 0;

    while (done < queue->n) {
        int n = sendmmsg(fd, queue->msgs + done, (unsigned)(queue->n - done), 0);

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

static void put(struct fk_pktio *io, enum fk_inline_side to, const struct sending *item,
                const uint8_t *bytes, size_t len)
{
    struct queue *queue = &io->queues[to];
    struct sending *slot;

    if (queue->n == TX_MAX)
        flush(io, to);
    slot = &queue->items[queue->n];
    *slot = *item;
    slot->pieces[0] = (struct iovec){&slot->header, sizeof slot->header};
    slot->pieces[1] = (struct iovec){slot->link.bytes, slot->link.len};
    slot->pieces[2] = (struct iovec){(void *)(uintptr_t)bytes, len};
    queue->msgs[queue->n++] =
        (struct mmsghdr){.msg_hdr = {.msg_iov = slot->pieces, .msg_iovlen = 3}};
}

void fk_pktio_pass(struct fk_pktio *io, const struct fk_pktio_frame *frame)
{
    struct sending item = {.header = frame->header, .link = frame->frame.link};

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
