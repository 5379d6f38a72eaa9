/* "Too big": see icmp.h. What the router quotes is only the head of a packet, so that is read
 * without its lengths and sums. */
#include "wire/icmp.h"

#include "base/err.h"
#include "wire/inet_sum.h"

#include <string.h>

#define TYPE4        3 /* destination unreachable */
#define CODE4        4 /* fragmentation needed and not allowed */
#define TYPE6        2
#define IP4_OFFSET   0x1fff
#define SUM_OF_WHOLE 0xffff

static uint16_t sum_of(const struct fk_ip *ip, const uint8_t *message, size_t len)
{
    uint64_t sum = ip->version == 6 ? fk_ip_pseudo_sum(ip, len) : 0;

    return fk_inet_sum_fold(fk_inet_sum_add(sum, message, len));
}

static int head_parse(struct fk_reader *message, uint8_t version, struct fk_icmp_too_big *too_big)
{
    uint16_t sum, unused, mtu;
    uint8_t type, code;
    int err;

    if ((err = fk_reader_u8(message, &type)) != FK_OK ||
        (err = fk_reader_u8(message, &code)) != FK_OK)
        return err;
    if (version == 4 ? type != TYPE4 || code != CODE4 : type != TYPE6)
        return FK_ERR_UNSUPPORTED;
    if ((err = fk_reader_u16(message, &sum)) != FK_OK)
        return err;
    if (version == 6)
        return fk_reader_u32(message, &too_big->mtu);
    if ((err = fk_reader_u16(message, &unused)) != FK_OK ||
        (err = fk_reader_u16(message, &mtu)) != FK_OK)
        return err;
    too_big->mtu = mtu;
    return FK_OK;
}

static int quoted4_parse(struct fk_reader *message, struct fk_icmp_too_big *too_big)
{
    uint8_t first, skipped[5], protocol;
    uint16_t fragment, sum;
    int err;

    if ((err = fk_reader_u8(message, &first)) != FK_OK ||
        (err = fk_reader_copy(message, skipped, 5)) != FK_OK ||
        (err = fk_reader_u16(message, &fragment)) != FK_OK ||
        (err = fk_reader_u8(message, skipped)) != FK_OK ||
        (err = fk_reader_u8(message, &protocol)) != FK_OK ||
        (err = fk_reader_u16(message, &sum)) != FK_OK ||
        (err = fk_reader_copy(message, too_big->src, 4)) != FK_OK ||
        (err = fk_reader_copy(message, too_big->dst, 4)) != FK_OK)
        return err;
    if (first >> 4 != 4 || (first & 15) * 4 < FK_IP4_HEADER)
        return FK_ERR_FORMAT;
    if (protocol != FK_IP_TCP || (fragment & IP4_OFFSET) != 0)
        return FK_ERR_UNSUPPORTED;
    return fk_reader_skip(message, (size_t)(first & 15) * 4 - FK_IP4_HEADER);
}

/* With extension headers it is about nothing that the box has sent. */
static int quoted6_parse(struct fk_reader *message, struct fk_icmp_too_big *too_big)
{
    uint8_t next, hops;
    uint16_t length;
    uint32_t first;
    int err;

    if ((err = fk_reader_u32(message, &first)) != FK_OK ||
        (err = fk_reader_u16(message, &length)) != FK_OK ||
        (err = fk_reader_u8(message, &next)) != FK_OK ||
        (err = fk_reader_u8(message, &hops)) != FK_OK ||
        (err = fk_reader_copy(message, too_big->src, 16)) != FK_OK ||
        (err = fk_reader_copy(message, too_big->dst, 16)) != FK_OK)
        return err;
    if (first >> 28 != 6)
        return FK_ERR_FORMAT;
    return next == FK_IP_TCP ? FK_OK : FK_ERR_UNSUPPORTED;
}

int fk_icmp_too_big_parse(const struct fk_ip *ip, struct fk_icmp_too_big *ret)
{
    struct fk_icmp_too_big too_big = {.mtu = 0};
    struct fk_reader message = ip->payload;
    int err;

    if (ip->fragment || ip->protocol != (ip->version == 4 ? FK_IP_ICMP : FK_IP_ICMP6))
        return FK_ERR_UNSUPPORTED;
    if ((err = head_parse(&message, ip->version, &too_big)) != FK_OK)
        return err;
    err = ip->version == 4 ? quoted4_parse(&message, &too_big) : quoted6_parse(&message, &too_big);
    if (err != FK_OK || (err = fk_reader_u16(&message, &too_big.src_port)) != FK_OK ||
        (err = fk_reader_u16(&message, &too_big.dst_port)) != FK_OK)
        return err;
    too_big.seq_at = ip->payload.left - message.left;
    if ((err = fk_reader_u32(&message, &too_big.seq)) != FK_OK)
        return err;
    if (sum_of(ip, ip->payload.next, ip->payload.left) != SUM_OF_WHOLE)
        return FK_ERR_VERIFY;
    *ret = too_big;
    return FK_OK;
}

static void put_u32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (24 - 8 * i));
}

void fk_icmp_too_big_rewrite(const struct fk_ip *ip, const struct fk_icmp_too_big *too_big,
                             uint8_t *message, size_t len)
{
    uint16_t sum;

    put_u32(message + 4, too_big->mtu); /* IPv4: the upper half is not used */
    put_u32(message + too_big->seq_at, too_big->seq);
    message[2] = message[3] = 0;
    sum = (uint16_t)~sum_of(ip, message, len);
    message[2] = (uint8_t)(sum >> 8);
    message[3] = (uint8_t)sum;
}
