/* IP headers: see ip.h. Each parser reads like its header's drawing; a packet that is not what its
 * own lengths say is refused rather than guessed at. */
#include "wire/ip.h"

#include "base/err.h"
#include "base/limits.h"
#include "wire/inet_sum.h"

#include <string.h>

#define IP4_DONT_FRAGMENT  0x4000
#define IP4_MORE_FRAGMENTS 0x2000
#define IP4_OFFSET         0x1fff
#define IP6_MORE_FRAGMENTS 0x0001
#define IP6_OFFSET         0xfff8

/* IPv6's extension headers (RFC 8200 section 4; AH: RFC 4302; the registry's others, RFC 7045). */
enum {
    NEXT_HOP_BY_HOP = 0,
    NEXT_ROUTING = 43,
    NEXT_FRAGMENT = 44,
    NEXT_ESP = 50,
    NEXT_AH = 51,
    NEXT_NONE = 59,
    NEXT_DESTINATION = 60,
    NEXT_MOBILITY = 135,
    NEXT_HIP = 139,
    NEXT_SHIM6 = 140,
};

/* --- version 4 --- */

static void ip4_fragment(uint16_t field, struct fk_ip *ip)
{
    ip->dont_fragment = (field & IP4_DONT_FRAGMENT) != 0;
    ip->offset = (uint16_t)((field & IP4_OFFSET) * 8);
    ip->fragment = (field & (IP4_MORE_FRAGMENTS | IP4_OFFSET)) != 0;
}

static int ip4_parse(struct fk_reader packet, struct fk_ip *ip)
{
    struct fk_reader whole = packet;
    uint16_t total, fragment, sum;
    uint8_t first;
    int err;

    if ((err = fk_reader_u8(&packet, &first)) != FK_OK ||
        (err = fk_reader_u8(&packet, &ip->traffic)) != FK_OK ||
        (err = fk_reader_u16(&packet, &total)) != FK_OK ||
        (err = fk_reader_u16(&packet, &ip->id)) != FK_OK ||
        (err = fk_reader_u16(&packet, &fragment)) != FK_OK ||
        (err = fk_reader_u8(&packet, &ip->hops)) != FK_OK ||
        (err = fk_reader_u8(&packet, &ip->protocol)) != FK_OK ||
        (err = fk_reader_u16(&packet, &sum)) != FK_OK ||
        (err = fk_reader_copy(&packet, ip->src, 4)) != FK_OK ||
        (err = fk_reader_copy(&packet, ip->dst, 4)) != FK_OK)
        return err;
    ip->header_len = (size_t)(first & 15) * 4;
    if (ip->header_len < FK_IP4_HEADER || total < ip->header_len)
        return FK_ERR_FORMAT;
    if (total > whole.left)
        return FK_ERR_TRUNCATED;
    if (fk_inet_sum_fold(fk_inet_sum_add(0, whole.next, ip->header_len)) != 0xffff)
        return FK_ERR_VERIFY;
    ip4_fragment(fragment, ip);
    if ((err = fk_reader_skip(&whole, ip->header_len)) != FK_OK)
        return err;
    return fk_reader_take(&whole, total - ip->header_len, &ip->payload);
}

static void ip4_build(const struct fk_ip *ip, size_t total, struct fk_writer *out)
{
    uint8_t header[FK_IP4_HEADER];
    struct fk_writer writer;
    uint16_t sum;

    fk_writer_init(&writer, header, sizeof header);
    fk_writer_u8(&writer, 0x45);
    fk_writer_u8(&writer, ip->traffic);
    fk_writer_u16(&writer, (uint16_t)total);
    fk_writer_u16(&writer, ip->id);
    fk_writer_u16(&writer, ip->dont_fragment ? IP4_DONT_FRAGMENT : 0);
    fk_writer_u8(&writer, ip->hops);
    fk_writer_u8(&writer, ip->protocol);
    fk_writer_u16(&writer, 0);
    fk_writer_bytes(&writer, ip->src, 4);
    fk_writer_bytes(&writer, ip->dst, 4);
    sum = (uint16_t)~fk_inet_sum_fold(fk_inet_sum_add(0, header, sizeof header));
    fk_writer_bytes(out, header, 10);
    fk_writer_u16(out, sum);
    fk_writer_bytes(out, header + 12, 8);
}

/* --- version 6 --- */

/* What travels behind a header of options: its length is in units of 8 bytes, the first not
 * counted; AH's in units of 4, the first two not counted. */
static int ip6_skip_options(struct fk_reader *rest, uint8_t type, uint8_t *ret_next)
{
    uint8_t next, units;
    int err;

    if ((err = fk_reader_u8(rest, &next)) != FK_OK || (err = fk_reader_u8(rest, &units)) != FK_OK ||
        (err = fk_reader_skip(rest, type == NEXT_AH ? units * (size_t)4 + 6
                                                    : units * (size_t)8 + 6)) != FK_OK)
        return err;
    *ret_next = next;
    return FK_OK;
}

static int ip6_take_fragment(struct fk_reader *rest, struct fk_ip *ip, uint8_t *ret_next)
{
    uint8_t next, reserved;
    uint16_t field;
    uint32_t id;
    int err;

    if ((err = fk_reader_u8(rest, &next)) != FK_OK ||
        (err = fk_reader_u8(rest, &reserved)) != FK_OK ||
        (err = fk_reader_u16(rest, &field)) != FK_OK || (err = fk_reader_u32(rest, &id)) != FK_OK)
        return err;
    ip->offset = field & IP6_OFFSET;
    /* One that is whole all the same (an atomic fragment, RFC 6946) is no piece. */
    ip->fragment = (field & (IP6_OFFSET | IP6_MORE_FRAGMENTS)) != 0;
    *ret_next = next;
    return FK_OK;
}

/* Step over extension headers to the transport's, or to the end of what a later piece shows. */
static int ip6_walk(struct fk_reader *rest, struct fk_ip *ip)
{
    int err = FK_OK;

    for (int n = 0; n < FK_IP_EXTENSIONS_MAX && err == FK_OK; n++) {
        uint8_t type = ip->protocol;

        if (ip->offset > 0)
            return FK_OK;
        switch (type) {
        case NEXT_HOP_BY_HOP:
        case NEXT_ROUTING:
        case NEXT_DESTINATION:
        case NEXT_MOBILITY:
        case NEXT_HIP:
        case NEXT_SHIM6:
        case NEXT_AH:
            err = ip6_skip_options(rest, type, &ip->protocol);
            break;
        case NEXT_FRAGMENT:
            err = ip6_take_fragment(rest, ip, &ip->protocol);
            break;
        case NEXT_ESP:
        case NEXT_NONE:
            return FK_ERR_UNSUPPORTED;
        default:
            return FK_OK;
        }
    }
    return err == FK_OK ? FK_ERR_LIMIT : err;
}

static int ip6_parse(struct fk_reader packet, struct fk_ip *ip)
{
    struct fk_reader rest;
    uint16_t length;
    uint32_t first;
    int err;

    if ((err = fk_reader_u32(&packet, &first)) != FK_OK ||
        (err = fk_reader_u16(&packet, &length)) != FK_OK ||
        (err = fk_reader_u8(&packet, &ip->protocol)) != FK_OK ||
        (err = fk_reader_u8(&packet, &ip->hops)) != FK_OK ||
        (err = fk_reader_copy(&packet, ip->src, 16)) != FK_OK ||
        (err = fk_reader_copy(&packet, ip->dst, 16)) != FK_OK ||
        (err = fk_reader_take(&packet, length, &rest)) != FK_OK)
        return err;
    ip->traffic = (uint8_t)(first >> 20);
    ip->label = first & 0xfffff;
    if ((err = ip6_walk(&rest, ip)) != FK_OK)
        return err == FK_ERR_TRUNCATED ? FK_ERR_FORMAT : err; /* not the packet: what is in it */
    ip->header_len = FK_IP6_HEADER + (length - rest.left);
    ip->payload = rest;
    return FK_OK;
}

static void ip6_build(const struct fk_ip *ip, size_t payload_len, struct fk_writer *out)
{
    fk_writer_u32(out, UINT32_C(6) << 28 | (uint32_t)ip->traffic << 20 | (ip->label & 0xfffff));
    fk_writer_u16(out, (uint16_t)payload_len);
    fk_writer_u8(out, ip->protocol);
    fk_writer_u8(out, ip->hops);
    fk_writer_bytes(out, ip->src, 16);
    fk_writer_bytes(out, ip->dst, 16);
}

/* --- both --- */

int fk_ip_parse(const void *packet, size_t len, struct fk_ip *ret)
{
    struct fk_reader reader, peek;
    struct fk_ip ip = {.version = 0};
    uint8_t first;
    int err;

    fk_reader_init(&reader, packet, len);
    peek = reader;
    if ((err = fk_reader_u8(&peek, &first)) != FK_OK)
        return err;
    ip.version = first >> 4;
    if (ip.version != 4 && ip.version != 6)
        return FK_ERR_VERSION;
    if ((err = ip.version == 4 ? ip4_parse(reader, &ip) : ip6_parse(reader, &ip)) != FK_OK)
        return err;
    *ret = ip;
    return FK_OK;
}

void fk_ip_build(const struct fk_ip *ip, size_t payload_len, struct fk_writer *out)
{
    size_t header = ip->version == 4 ? FK_IP4_HEADER : FK_IP6_HEADER;

    if (payload_len > FK_IP_PACKET_MAX - header) {
        if (out->err == FK_OK)
            out->err = FK_ERR_RANGE;
        return;
    }
    if (ip->version == 4)
        ip4_build(ip, payload_len + header, out);
    else
        ip6_build(ip, payload_len, out);
}

uint64_t fk_ip_pseudo_sum(const struct fk_ip *ip, size_t len)
{
    uint64_t sum = fk_inet_sum_add(0, ip->src, fk_ip_address_len(ip));

    sum = fk_inet_sum_add(sum, ip->dst, fk_ip_address_len(ip));
    sum = fk_inet_sum_add_u16(sum, ip->protocol);
    sum = fk_inet_sum_add_u16(sum, (uint16_t)len);
    return fk_inet_sum_add_u16(sum, (uint16_t)(len >> 16));
}
