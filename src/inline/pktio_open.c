/* Descriptors of frames, opened with rights: see pktio.h. */
#include "inline/pktio.h"

#include "base/err.h"
#include "base/limits.h"
#include "loop/sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define ETHER 14

/* --- packet sockets --- */

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
 * Of what goes out, or of all else. */
static int take_told_only(int fd, bool outgoing)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_PKTTYPE)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_OUTGOING, outgoing ? 0 : 14, outgoing ? 14 : 0),
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

int fk_pktio_open_told(const char *interface, bool outgoing, int *ret)
{
    unsigned index;
    int fd, err;

    if ((err = make(interface, &index, &fd)) != FK_OK)
        return err;
    if ((err = set(fd, SOL_PACKET, PACKET_AUXDATA, 1)) != FK_OK ||
        (err = set(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, !outgoing)) != FK_OK ||
        (err = take_told_only(fd, outgoing)) != FK_OK ||
        (err = bind_to(fd, index, ETH_P_ALL)) != FK_OK) {
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

/* --- devices that a process is behind --- */

/* What a device may leave to us: checksums, and cutting. */
#define LEFT_TO_US (TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6)

static int open_device(const char *device, unsigned kind, int *ret)
{
    struct ifreq request = {.ifr_flags =
                                (short)(kind | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE)};
    int size = sizeof(struct virtio_net_hdr), fd;

    if (if_nametoindex(device) == 0)
        return FK_ERR_NOT_FOUND;
    if (strlen(device) >= sizeof request.ifr_name)
        return FK_ERR_RANGE;
    memcpy(request.ifr_name, device, strlen(device));
    if ((fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC)) < 0)
        return FK_ERR_SYS;
    if (ioctl(fd, TUNSETIFF, &request) != 0 || ioctl(fd, TUNSETVNETHDRSZ, &size) != 0 ||
        ioctl(fd, TUNSETOFFLOAD, LEFT_TO_US) != 0) {
        fk_close(&fd);
        return FK_ERR_SYS;
    }
    *ret = fd;
    return FK_OK;
}

int fk_pktio_open_tap(const char *device, int *ret)
{
    return open_device(device, IFF_TAP, ret);
}

int fk_pktio_open_tun(const char *device, int *ret)
{
    return open_device(device, IFF_TUN, ret);
}
