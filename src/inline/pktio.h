/*
 * Frames from and to two network interfaces, by packet sockets with the kernel's offload header
 * (AF_PACKET, PACKET_VNET_HDR): a frame may be as long as a device cuts and adds checksums to.
 *
 * Several workers share an interface: the kernel gives both directions of a flow to the same one,
 * by a hash that is the same for both (PACKET_FANOUT_HASH). Reads no header but the link's.
 */
#ifndef FK_INLINE_PKTIO_H
#define FK_INLINE_PKTIO_H

#include "inline/box.h"

#include <linux/virtio_net.h>

/* --- opening, with rights (CAP_NET_RAW) --- */

/* The sockets of one worker. */
enum fk_pktio_socket {
    FK_PKTIO_READ_CLIENT,
    FK_PKTIO_READ_SERVER,
    FK_PKTIO_TOLD_CLIENT,
    FK_PKTIO_TOLD_SERVER,
    FK_PKTIO_WRITE_CLIENT,
    FK_PKTIO_WRITE_SERVER,
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
 * belong to no flow, so any worker may have the flow. */
int fk_pktio_open_told(const char *interface, int *ret);
/* A socket that only writes to an interface. */
int fk_pktio_open_write(const char *interface, int *ret);

/* --- reading and writing --- */

struct fk_pktio_frame {
    struct virtio_net_hdr header; /* as for sending it as it is, but for its link's header */
    struct fk_box_frame frame;
};

struct fk_pktio;

/* Takes the four sockets. FK_ERR_NOMEM: they are closed. */
int fk_pktio_new(const int fds[FK_PKTIO_SOCKETS], struct fk_pktio **ret);
/* NULL is fine. */
void fk_pktio_free(struct fk_pktio *io);
int fk_pktio_fd(const struct fk_pktio *io, enum fk_pktio_socket which);

/* Read up to FK_PKTIO_BATCH frames that `side` has sent; valid until the next call. */
size_t fk_pktio_read(struct fk_pktio *io, enum fk_inline_side side,
                     const struct fk_pktio_frame **ret);

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
