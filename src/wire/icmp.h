/*
 * A router's message that a TCP segment was too big for the next link: ICMP's "fragmentation
 * needed" (RFC 1191) and ICMPv6's "packet too big" (RFC 4443 section 3.2), with the head of the
 * packet that it is about. Sans-I/O, owns nothing.
 */
#ifndef FK_WIRE_ICMP_H
#define FK_WIRE_ICMP_H

#include "wire/ip.h"

struct fk_icmp_too_big {
    uint32_t mtu;             /* of the link; IPv4: 0 when the router does not say */
    uint8_t src[16], dst[16]; /* of the packet that was too big, as struct fk_ip has them */
    uint16_t src_port, dst_port;
    uint32_t seq;  /* of its segment */
    size_t seq_at; /* where that stands, from the message's beginning */
};

/*
 * Parse an IP packet's payload as such a message. FK_ERR_UNSUPPORTED: another message, or about
 * something else than the beginning of a TCP packet; FK_ERR_TRUNCATED; FK_ERR_FORMAT: the packet in
 * it is none; FK_ERR_VERIFY: the message's checksum.
 */
int fk_icmp_too_big_parse(const struct fk_ip *ip, struct fk_icmp_too_big *ret);

/* Put another mtu and seq (of `too_big`) into a copy of the message that it was parsed from, which
 * `ip` carries, and sum it up. */
void fk_icmp_too_big_rewrite(const struct fk_ip *ip, const struct fk_icmp_too_big *too_big,
                             uint8_t *message, size_t len);

#endif
