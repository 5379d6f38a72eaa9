/*
 * TCP segments (RFC 9293 section 3.1) with their options: maximum segment size, window scale and
 * timestamps (RFC 7323), selective acknowledgements (RFC 2018), and those that only matter by being
 * there: Fast Open (RFC 7413), Multipath TCP (RFC 8684), MD5 (RFC 2385) and AO (RFC 5925).
 * Sans-I/O, owns nothing.
 */
#ifndef FK_WIRE_TCP_H
#define FK_WIRE_TCP_H

#include "wire/ip.h"
#include "wire/seq.h"

#define FK_TCP_HEADER      20
#define FK_TCP_HEADER_MAX  60
#define FK_TCP_SACKS_MAX   4  /* what 40 bytes of options hold */
#define FK_TCP_WSCALE_MAX  14 /* RFC 7323 section 2.3 */
#define FK_TCP_TIMES_BYTES 12 /* of a segment's options, when timestamps are on */

enum fk_tcp_flag {
    FK_TCP_FIN = 0x001,
    FK_TCP_SYN = 0x002,
    FK_TCP_RST = 0x004,
    FK_TCP_PSH = 0x008,
    FK_TCP_ACK = 0x010,
    FK_TCP_URG = 0x020,
    FK_TCP_ECE = 0x040,
    FK_TCP_CWR = 0x080,
};

struct fk_tcp_options {
    uint16_t mss;   /* 0: absent; an option of 0 counts as absent */
    bool has_scale; /* window scale */
    uint8_t scale;  /* FK_TCP_WSCALE_MAX at most: more means that */
    bool sack_permitted;
    bool has_times;
    uint32_t ts_val, ts_ecr;
    uint8_t n_sacks;
    struct fk_seq_range sacks[FK_TCP_SACKS_MAX];
    bool fast_open, multipath, md5, ao; /* seen; never written */
};

struct fk_tcp {
    uint16_t src_port, dst_port;
    uint32_t seq, ack;
    uint16_t flags;  /* FK_TCP_* */
    uint16_t window; /* as it stands there, not scaled */
    uint16_t urgent;
    struct fk_tcp_options options;
    size_t header_len;
    struct fk_reader payload;
};

/*
 * Parse a segment: the payload of an IP packet that is no piece. *ret borrows it. The checksum is
 * not looked at: see fk_tcp_verify(). FK_ERR_TRUNCATED; FK_ERR_FORMAT: an offset or an option's
 * length that cannot be. Unknown options are passed over, of one that comes twice the last counts.
 */
int fk_tcp_parse(struct fk_reader segment, struct fk_tcp *ret);

/* Whether the checksum of a packet's segment (ip->payload) is right. */
bool fk_tcp_verify(const struct fk_ip *ip);

/* Bytes that the header takes with its options. */
size_t fk_tcp_header_len(const struct fk_tcp *tcp);

/* Append a header, options in an order of our own, the checksum 0. */
void fk_tcp_build(const struct fk_tcp *tcp, struct fk_writer *out);

/*
 * Put the checksum into a segment of `len` bytes, which begins with its header and whose checksum
 * is 0. `partial`: only the pseudo-header's sum, for a device that adds up the rest.
 */
void fk_tcp_seal(const struct fk_ip *ip, uint8_t *segment, size_t len, bool partial);

/* Sequence numbers that a segment takes: its payload's bytes, SYN and FIN. */
static inline uint32_t fk_tcp_span(const struct fk_tcp *tcp)
{
    return (uint32_t)tcp->payload.left + ((tcp->flags & FK_TCP_SYN) != 0) +
           ((tcp->flags & FK_TCP_FIN) != 0);
}

#endif
