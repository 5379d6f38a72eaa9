/* TCP segments: see tcp.h. Options are a table: kind, length, reader. */
#include "wire/tcp.h"

#include "base/err.h"
#include "wire/inet_sum.h"

#include <string.h>

enum {
    OPTION_END = 0,
    OPTION_NOP = 1,
    OPTION_MSS = 2,
    OPTION_SCALE = 3,
    OPTION_SACK_PERMITTED = 4,
    OPTION_SACK = 5,
    OPTION_TIMES = 8,
    OPTION_MD5 = 19,
    OPTION_AO = 29,
    OPTION_MULTIPATH = 30,
    OPTION_FAST_OPEN = 34,
    OPTION_EXPERIMENT = 254, /* RFC 4727; Fast Open before it had a number of its own */
};

#define FAST_OPEN_EXPERIMENT 0xf989
#define CHECKSUM_AT          16

/* --- options, read --- */

typedef int option_read(struct fk_reader *body, struct fk_tcp_options *options);

static int read_mss(struct fk_reader *body, struct fk_tcp_options *options)
{
    return fk_reader_u16(body, &options->mss);
}

static int read_scale(struct fk_reader *body, struct fk_tcp_options *options)
{
    uint8_t scale;
    int err = fk_reader_u8(body, &scale);

    if (err != FK_OK)
        return err;
    options->has_scale = true;
    options->scale = scale > FK_TCP_WSCALE_MAX ? FK_TCP_WSCALE_MAX : scale;
    return FK_OK;
}

static int read_sack_permitted(struct fk_reader *body, struct fk_tcp_options *options)
{
    (void)body;
    options->sack_permitted = true;
    return FK_OK;
}

static int read_sack(struct fk_reader *body, struct fk_tcp_options *options)
{
    struct fk_seq_range *sack;
    int err;

    options->n_sacks = 0;
    while (body->left > 0) {
        if (options->n_sacks == FK_TCP_SACKS_MAX)
            return FK_ERR_FORMAT;
        sack = &options->sacks[options->n_sacks];
        if ((err = fk_reader_u32(body, &sack->start)) != FK_OK ||
            (err = fk_reader_u32(body, &sack->end)) != FK_OK)
            return err;
        options->n_sacks++;
    }
    return FK_OK;
}

static int read_times(struct fk_reader *body, struct fk_tcp_options *options)
{
    int err;

    if ((err = fk_reader_u32(body, &options->ts_val)) != FK_OK ||
        (err = fk_reader_u32(body, &options->ts_ecr)) != FK_OK)
        return err;
    options->has_times = true;
    return FK_OK;
}

static int read_md5(struct fk_reader *body, struct fk_tcp_options *options)
{
    options->md5 = true;
    return fk_reader_skip(body, body->left);
}

static int read_ao(struct fk_reader *body, struct fk_tcp_options *options)
{
    options->ao = true;
    return fk_reader_skip(body, body->left);
}

static int read_multipath(struct fk_reader *body, struct fk_tcp_options *options)
{
    options->multipath = true;
    return fk_reader_skip(body, body->left);
}

static int read_fast_open(struct fk_reader *body, struct fk_tcp_options *options)
{
    options->fast_open = true;
    return fk_reader_skip(body, body->left);
}

static int read_experiment(struct fk_reader *body, struct fk_tcp_options *options)
{
    uint16_t id;

    if (fk_reader_u16(body, &id) == FK_OK && id == FAST_OPEN_EXPERIMENT)
        options->fast_open = true;
    return fk_reader_skip(body, body->left);
}

static const struct {
    uint8_t kind;
    option_read *read; /* reads the whole body, or the option is malformed */
} option_rows[] = {
    {OPTION_MSS, read_mss},
    {OPTION_SCALE, read_scale},
    {OPTION_SACK_PERMITTED, read_sack_permitted},
    {OPTION_SACK, read_sack},
    {OPTION_TIMES, read_times},
    {OPTION_MD5, read_md5},
    {OPTION_AO, read_ao},
    {OPTION_MULTIPATH, read_multipath},
    {OPTION_FAST_OPEN, read_fast_open},
    {OPTION_EXPERIMENT, read_experiment},
};

static int read_option(uint8_t kind, struct fk_reader body, struct fk_tcp_options *options)
{
    for (size_t i = 0; i < sizeof option_rows / sizeof option_rows[0]; i++) {
        if (option_rows[i].kind != kind)
            continue;
        if (option_rows[i].read(&body, options) != FK_OK || body.left != 0)
            return FK_ERR_FORMAT;
    }
    return FK_OK;
}

static int read_options(struct fk_reader rest, struct fk_tcp_options *options)
{
    struct fk_reader body;
    uint8_t kind, len;

    while (fk_reader_u8(&rest, &kind) == FK_OK && kind != OPTION_END) {
        if (kind == OPTION_NOP)
            continue;
        if (fk_reader_u8(&rest, &len) != FK_OK || len < 2 ||
            fk_reader_take(&rest, (size_t)len - 2, &body) != FK_OK ||
            read_option(kind, body, options) != FK_OK)
            return FK_ERR_FORMAT;
    }
    return FK_OK;
}

/* --- segments --- */

int fk_tcp_parse(struct fk_reader segment, struct fk_tcp *ret)
{
    struct fk_tcp tcp = {.src_port = 0};
    uint16_t bits, checksum;
    struct fk_reader options;
    int err;

    if ((err = fk_reader_u16(&segment, &tcp.src_port)) != FK_OK ||
        (err = fk_reader_u16(&segment, &tcp.dst_port)) != FK_OK ||
        (err = fk_reader_u32(&segment, &tcp.seq)) != FK_OK ||
        (err = fk_reader_u32(&segment, &tcp.ack)) != FK_OK ||
        (err = fk_reader_u16(&segment, &bits)) != FK_OK ||
        (err = fk_reader_u16(&segment, &tcp.window)) != FK_OK ||
        (err = fk_reader_u16(&segment, &checksum)) != FK_OK ||
        (err = fk_reader_u16(&segment, &tcp.urgent)) != FK_OK)
        return err;
    tcp.header_len = (size_t)(bits >> 12) * 4;
    tcp.flags = bits & 0xff;
    if (tcp.header_len < FK_TCP_HEADER)
        return FK_ERR_FORMAT;
    if ((err = fk_reader_take(&segment, tcp.header_len - FK_TCP_HEADER, &options)) != FK_OK ||
        (err = read_options(options, &tcp.options)) != FK_OK)
        return err;
    tcp.payload = segment;
    *ret = tcp;
    return FK_OK;
}

bool fk_tcp_verify(const struct fk_ip *ip)
{
    uint64_t sum = fk_ip_pseudo_sum(ip, ip->payload.left);

    return fk_inet_sum_fold(fk_inet_sum_add(sum, ip->payload.next, ip->payload.left)) == 0xffff;
}

/* --- built --- */

static size_t options_len(const struct fk_tcp_options *options)
{
    size_t len = 0;

    if (options->mss != 0)
        len += 4;
    if (options->has_scale)
        len += 3;
    if (options->sack_permitted)
        len += 2;
    if (options->has_times)
        len += 10;
    if (options->n_sacks > 0)
        len += 2 + (size_t)options->n_sacks * 8;
    return len;
}

size_t fk_tcp_header_len(const struct fk_tcp *tcp)
{
    return FK_TCP_HEADER + ((options_len(&tcp->options) + 3) & ~(size_t)3);
}

static void put_option(struct fk_writer *out, uint8_t kind, size_t len)
{
    fk_writer_u8(out, kind);
    fk_writer_u8(out, (uint8_t)len);
}

static void build_sacks(const struct fk_tcp_options *options, struct fk_writer *out)
{
    if (options->n_sacks == 0)
        return;
    put_option(out, OPTION_SACK, 2 + (size_t)options->n_sacks * 8);
    for (size_t i = 0; i < options->n_sacks; i++) {
        fk_writer_u32(out, options->sacks[i].start);
        fk_writer_u32(out, options->sacks[i].end);
    }
}

/* NOPs come first, so that what is longest stands on a boundary of four bytes. */
static void build_options(const struct fk_tcp_options *options, struct fk_writer *out)
{
    fk_writer_fill(out, OPTION_NOP, (4 - options_len(options) % 4) % 4);
    if (options->has_scale) {
        put_option(out, OPTION_SCALE, 3);
        fk_writer_u8(out, options->scale);
    }
    if (options->sack_permitted)
        put_option(out, OPTION_SACK_PERMITTED, 2);
    if (options->mss != 0) {
        put_option(out, OPTION_MSS, 4);
        fk_writer_u16(out, options->mss);
    }
    if (options->has_times) {
        put_option(out, OPTION_TIMES, 10);
        fk_writer_u32(out, options->ts_val);
        fk_writer_u32(out, options->ts_ecr);
    }
    build_sacks(options, out);
}

void fk_tcp_build(const struct fk_tcp *tcp, struct fk_writer *out)
{
    size_t words = fk_tcp_header_len(tcp) / 4;

    fk_writer_u16(out, tcp->src_port);
    fk_writer_u16(out, tcp->dst_port);
    fk_writer_u32(out, tcp->seq);
    fk_writer_u32(out, tcp->ack);
    fk_writer_u16(out, (uint16_t)(words << 12 | (tcp->flags & 0xff)));
    fk_writer_u16(out, tcp->window);
    fk_writer_u16(out, 0);
    fk_writer_u16(out, tcp->urgent);
    build_options(&tcp->options, out);
}

void fk_tcp_seal(const struct fk_ip *ip, uint8_t *segment, size_t len, bool partial)
{
    uint64_t sum = fk_ip_pseudo_sum(ip, len);
    struct fk_writer writer;
    uint16_t value;

    if (!partial)
        sum = fk_inet_sum_add(sum, segment, len);
    value = fk_inet_sum_fold(sum);
    fk_writer_init(&writer, segment + CHECKSUM_AT, 2);
    fk_writer_u16(&writer, partial ? value : (uint16_t)~value);
}
