/*
 * Headers of IPv4 (RFC 791) and IPv6 (RFC 8200), for packets that pass through: what a packet's
 * transport is, whose it is, and whether it is only a piece of one. Sans-I/O, owns nothing.
 */
#ifndef FK_WIRE_IP_H
#define FK_WIRE_IP_H

#include "base/reader.h"
#include "base/writer.h"

#include <stdbool.h>

#define FK_IP_ICMP  1
#define FK_IP_TCP   6
#define FK_IP_ICMP6 58

#define FK_IP4_HEADER 20
#define FK_IP6_HEADER 40
/* What an IPv4 packet's length field can say; IPv6's can say 40 more, which nobody needs. */
#define FK_IP_PACKET_MAX 65535

struct fk_ip {
    uint8_t version;    /* 4 or 6 */
    uint8_t protocol;   /* of the payload: FK_IP_*, or any other */
    uint8_t traffic;    /* DSCP and ECN: type of service, or traffic class */
    uint8_t hops;       /* time to live, or hop limit */
    uint32_t label;     /* IPv6: the flow label, 20 bits */
    uint16_t id;        /* IPv4 */
    bool dont_fragment; /* IPv4 */
    bool fragment;      /* a piece: there is more before or behind it */
    uint16_t offset;    /* of a piece, in bytes; with one of 0 the transport's header begins here */
    uint8_t src[16], dst[16]; /* an IPv4 address is the first four bytes, the rest is 0 */
    size_t header_len;        /* bytes before the payload: options and extension headers, too */
    struct fk_reader payload; /* as long as the header says; what the link padded is left out */
};

/*
 * Parse a packet that begins with its IP header; *ret borrows it. FK_ERR_TRUNCATED: shorter than
 * its header says; FK_ERR_VERSION; FK_ERR_FORMAT: a length that cannot be; FK_ERR_VERIFY: IPv4's
 * header checksum; FK_ERR_LIMIT: more extension headers than FK_IP_EXTENSIONS_MAX;
 * FK_ERR_UNSUPPORTED: IPv6 behind ESP or "no next header": there is no transport to be seen.
 */
int fk_ip_parse(const void *packet, size_t len, struct fk_ip *ret);

/*
 * Append a header without options for `payload_len` bytes that follow: version, protocol, traffic,
 * hops, label, id, dont_fragment, src and dst count. FK_ERR_RANGE sticks in the writer when the
 * packet would be longer than FK_IP_PACKET_MAX.
 */
void fk_ip_build(const struct fk_ip *ip, size_t payload_len, struct fk_writer *out);

/* Bytes of an address. */
static inline size_t fk_ip_address_len(const struct fk_ip *ip)
{
    return ip->version == 4 ? 4 : 16;
}

/* The sum over the pseudo-header of a payload of `len` bytes (RFC 9293 section 3.1): what a
 * checksum is begun with. For fk_inet_sum_add(). */
uint64_t fk_ip_pseudo_sum(const struct fk_ip *ip, size_t len);

#endif
