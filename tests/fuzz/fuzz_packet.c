/*
 * wire/ip and wire/tcp: what parses can be built again, and then parses to the same; no length lies
 * outside of the packet; a checksum that was put in is right.
 */
#include "check.h"

#include "base/err.h"
#include "wire/tcp.h"

#include <string.h>

static uint8_t out[FK_IP_PACKET_MAX + 1];

static void check_same(const struct fk_tcp *a, const struct fk_tcp *b)
{
    const struct fk_tcp_options *x = &a->options, *y = &b->options;

    CHECK(a->seq == b->seq && a->ack == b->ack && a->flags == b->flags);
    CHECK(a->src_port == b->src_port && a->dst_port == b->dst_port && a->window == b->window);
    CHECK(a->urgent == b->urgent && a->payload.left == b->payload.left);
    CHECK(x->mss == y->mss && x->has_scale == y->has_scale && x->scale == y->scale);
    CHECK(x->sack_permitted == y->sack_permitted && x->has_times == y->has_times);
    CHECK(x->ts_val == y->ts_val && x->ts_ecr == y->ts_ecr && x->n_sacks == y->n_sacks);
    CHECK(memcmp(x->sacks, y->sacks, x->n_sacks * sizeof x->sacks[0]) == 0);
    CHECK(!y->fast_open && !y->multipath && !y->md5 && !y->ao);
    CHECK(memcmp(a->payload.next, b->payload.next, a->payload.left) == 0);
}

static void round_trip(const struct fk_ip *ip, const struct fk_tcp *tcp)
{
    size_t header = fk_tcp_header_len(tcp), segment = header + tcp->payload.left, at, len;
    struct fk_writer writer;
    struct fk_ip ip2;
    struct fk_tcp tcp2;

    fk_writer_init(&writer, out, sizeof out);
    fk_ip_build(ip, segment, &writer);
    at = writer.len;
    fk_tcp_build(tcp, &writer);
    if (writer.err == FK_OK)
        CHECK(writer.len == at + header);
    fk_writer_bytes(&writer, tcp->payload.next, tcp->payload.left);
    CHECK(header <= FK_TCP_HEADER_MAX);
    if (fk_writer_end(&writer, &len) != FK_OK)
        return; /* IPv6 can say 65,535 bytes after its header, we do not */
    fk_tcp_seal(ip, out + at, segment, false);
    CHECK(fk_ip_parse(out, len, &ip2) == FK_OK && fk_tcp_verify(&ip2));
    CHECK(ip2.header_len == at && ip2.payload.left == segment);
    CHECK(fk_tcp_parse(ip2.payload, &tcp2) == FK_OK);
    check_same(tcp, &tcp2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fk_ip ip;
    struct fk_tcp tcp;

    if (fk_ip_parse(data, size, &ip) != FK_OK)
        return 0;
    CHECK(ip.header_len + ip.payload.left <= size && ip.payload.next == data + ip.header_len);
    if (ip.fragment || fk_tcp_parse(ip.payload, &tcp) != FK_OK)
        return 0;
    CHECK(tcp.header_len + tcp.payload.left == ip.payload.left);
    CHECK(tcp.options.n_sacks <= FK_TCP_SACKS_MAX && tcp.options.scale <= FK_TCP_WSCALE_MAX);
    round_trip(&ip, &tcp);
    return 0;
}
