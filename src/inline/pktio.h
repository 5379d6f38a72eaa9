/*
 * Frames from and to two network interfaces, with the kernel's offload header: a frame may be as
 * long as a device cuts and adds checksums to. Either by packet sockets (AF_PACKET,
 * PACKET_VNET_HDR), which are given all that the interfaces receive; or by two TAP devices, which
 * rules of the kernel's (tc, mirred) send some frames to, and whose own frames they send on; or, on
 * a router, by queues (nfqueue.h), to which rules send some packets, and a TUN device, whose
 * packets the router forwards.
 *
 * Several workers share an interface: the kernel gives both directions of a flow to the same one,
 * by a hash that is the same for both (PACKET_FANOUT_HASH; a TAP's queues; --queue-balance). Reads
 * no header but the link's.
 */
#ifndef FK_INLINE_PKTIO_H
#define FK_INLINE_PKTIO_H

#include "inline/box.h"

#include <linux/virtio_net.h>

/* --- opening, with rights (CAP_NET_RAW; of a TAP CAP_NET_ADMIN or the device's ownership) --- */

/* The descriptors of one worker. Of a TAP one is read and written: two names for it. Of queues, one
 * a side is read, one TUN is written, and to each side's last one it is told what of a queue passes
 * (edge/wireverdicts.h). */
enum fk_pktio_socket {
    FK_PKTIO_READ_CLIENT,
    FK_PKTIO_READ_SERVER,
    FK_PKTIO_TOLD_CLIENT,
    FK_PKTIO_TOLD_SERVER,
    FK_PKTIO_WRITE_CLIENT,
    FK_PKTIO_WRITE_SERVER,
    FK_PKTIO_VERDICT_CLIENT,
    FK_PKTIO_VERDICT_SERVER,
    FK_PKTIO_SOCKETS
};

/*
 * A socket that reads what an interface receives, promiscuous. *group is the kernel's number of
 * those who share the interface: -1 for the first one that opens it, who is given it, else that.
 * Sockets of two interfaces serve the same flows when they were opened in the same order.
 * FK_ERR_SYS (errno), FK_ERR_NOT_FOUND: no such interface.
 */
int fk_pktio_open_read(const char *interface, int *group, int *ret);
/* A socket that reads routers' messages that a packet was too big, all of them: to the kernel they
 * belong to no flow, so any worker may have the flow. Of what the interface receives, or
 * (`outgoing`) of what the kernel sends through it: to a TAP. */
int fk_pktio_open_told(const char *interface, bool outgoing, int *ret);
/* A socket that only writes to an interface. */
int fk_pktio_open_write(const char *interface, int *ret);
/* One more queue of a TAP device that exists (multi_queue, vnet_hdr); as for
 * fk_pktio_open_read(), the order says which flows. FK_ERR_SYS (errno), FK_ERR_NOT_FOUND. */
int fk_pktio_open_tap(const char *device, int *ret);
/* The same of a TUN device. */
int fk_pktio_open_tun(const char *device, int *ret);

/* --- reading and writing --- */

struct fk_pktio_frame {
    struct virtio_net_hdr header; /* as for sending it as it is, but for its link's header */
    struct fk_box_frame frame;
    bool queued; /* the kernel has it, under this number */
    uint32_t id;
};

struct fk_pktio;

/* Takes the descriptors; not when it fails: FK_ERR_NOMEM, FK_ERR_UNEXPECTED (not all of them). */
int fk_pktio_new(const int fds[FK_PKTIO_SOCKETS], struct fk_pktio **ret);
/* NULL is fine. */
void fk_pktio_free(struct fk_pktio *io);
int fk_pktio_fd(const struct fk_pktio *io, enum fk_pktio_socket which);

/* Read up to FK_PKTIO_BATCH frames that `side` has sent; valid until the next call. When they are
 * dealt with: fk_pktio_done(), or those of a queue stay in the kernel. */
size_t fk_pktio_read(struct fk_pktio *io, enum fk_inline_side side,
                     const struct fk_pktio_frame **ret);
void fk_pktio_done(struct fk_pktio *io, enum fk_inline_side side);

/* The same of routers' messages: fk_box_told(). */
size_t fk_pktio_read_told(struct fk_pktio *io, enum fk_inline_side side,
                          const struct fk_pktio_frame **ret);

/* What is sent: either of these, to be gathered and sent in one call when there are many. The
 * frame's bytes must stay until fk_pktio_flush(). */
void fk_pktio_pass(struct fk_pktio *io, const struct fk_pktio_frame *frame);
void fk_pktio_send(struct fk_pktio *io, const struct fk_outbox_packet *packet,
                   const struct fk_link *link);
void fk_pktio_flush(struct fk_pktio *io);

/* Frames that an interface did not take. */
uint64_t fk_pktio_lost(const struct fk_pktio *io);

#endif
