/*
 * The process that tells the kernel what becomes of packets in its queues (inline/nfqueue.h). The
 * kernel takes a verdict only from who has CAP_NET_ADMIN, by which one could do much else: so
 * workers, which read what peers send, do not have it, and say over a socket of their own which
 * packets pass; this process has it and reads nothing but numbers.
 */
#ifndef FK_EDGE_WIREVERDICTS_H
#define FK_EDGE_WIREVERDICTS_H

#define FK_WIREVERDICTS_ROLE "inline-verdicts"

/*
 * Child of that role. FK_PROC_LISTEN, for each queue: its number, its socket, and this process's
 * end of the socket (SOCK_SEQPACKET) on which a worker says of a batch the number of its last
 * packet and those that pass: fk_pktio_done(). FK_PROC_GO: the user to become. FK_PROC_DRAIN.
 */
int fk_wireverdicts_main(unsigned index);

#endif
