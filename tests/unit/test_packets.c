/* wire/ip, wire/tcp, wire/inet_sum, wire/seq: against tests/vectors/packets.txt. */
#include "unit.h"
#include "vectors.h"

#include "base/err.h"
#include "base/limits.h"
#include "wire/inet_sum.h"
#include "wire/tcp.h"

static uint64_t number(const struct vector *vector, const char *field)
{
    return vector_has(vector, field) ? vector_uint(vector, field) : 0;
}

static void assert_ip(struct vector *vector, const struct fk_ip *ip)
{
    static const uint8_t src4[16] = {192, 0, 2, 1}, dst4[16] = {198, 51, 100, 7},
                         src6[16] = {0x20, 1, 0x0d, 0xb8, [15] = 1},
                         dst6[16] = {0x20, 1, 0x0d, 0xb8, [15] = 0xff};

    assert_int_equal(ip->version, vector_uint(vector, "v"));
    assert_int_equal(ip->protocol, vector_uint(vector, "proto"));
    assert_int_equal(ip->hops, vector_uint(vector, "hops"));
    assert_int_equal(ip->id, number(vector, "id"));
    assert_int_equal(ip->label, number(vector, "label"));
    assert_int_equal(ip->traffic, number(vector, "traffic"));
    assert_int_equal(ip->dont_fragment, vector_has(vector, "df"));
    assert_int_equal(ip->fragment, vector_has(vector, "piece"));
    assert_int_equal(ip->offset, number(vector, "piece"));
    assert_memory_equal(ip->src, ip->version == 4 ? src4 : src6, 16);
    assert_memory_equal(ip->dst, ip->version == 4 ? dst4 : dst6, 16);
}

static void assert_options(struct vector *vector, const struct fk_tcp_options *options)
{
    struct fk_reader sack = vector_bytes(vector, "sack");
    uint32_t start, end;

    assert_int_equal(options->mss, number(vector, "mss"));
    assert_int_equal(options->has_scale, vector_has(vector, "scale"));
    assert_int_equal(options->scale, number(vector, "scale"));
    assert_int_equal(options->sack_permitted, vector_has(vector, "sackok"));
    assert_int_equal(options->has_times, vector_has(vector, "tsval"));
    assert_int_equal(options->ts_val, number(vector, "tsval"));
    assert_int_equal(options->ts_ecr, number(vector, "tsecr"));
    assert_int_equal(options->n_sacks, sack.left / 8);
    for (size_t i = 0; i < options->n_sacks; i++) {
        assert_ok(fk_reader_u32(&sack, &start));
        assert_ok(fk_reader_u32(&sack, &end));
        assert_int_equal(options->sacks[i].start, start);
        assert_int_equal(options->sacks[i].end, end);
    }
    assert_int_equal(options->fast_open, vector_has(vector, "tfo"));
    assert_int_equal(options->multipath, vector_has(vector, "mptcp"));
    assert_int_equal(options->md5, vector_has(vector, "md5"));
    assert_int_equal(options->ao, vector_has(vector, "ao"));
}

static void assert_tcp(struct vector *vector, const struct fk_tcp *tcp)
{
    struct fk_reader payload = vector_bytes(vector, "payload");

    assert_int_equal(tcp->src_port, vector_uint(vector, "sport"));
    assert_int_equal(tcp->dst_port, vector_uint(vector, "dport"));
    assert_int_equal(tcp->seq, vector_uint(vector, "seq"));
    assert_int_equal(tcp->ack, vector_uint(vector, "ack"));
    assert_int_equal(tcp->flags, vector_uint(vector, "flags"));
    assert_int_equal(tcp->window, vector_uint(vector, "window"));
    assert_int_equal(tcp->urgent, number(vector, "urgent"));
    assert_options(vector, &tcp->options);
    assert_int_equal(tcp->payload.left, payload.left);
    if (payload.left > 0)
        assert_memory_equal(tcp->payload.next, payload.next, payload.left);
}

static bool wants_tcp(const struct vector *vector)
{
    return !vector_has(vector, "error") && !vector_has(vector, "tcp_error") &&
           !vector_has(vector, "piece") && !vector_has(vector, "sum") &&
           vector_uint(vector, "proto") == FK_IP_TCP;
}

static void check_parse(struct vector *vector)
{
    struct fk_ip ip = {.version = 99};
    struct fk_tcp tcp = {.window = 9999};
    int err = fk_ip_parse(vector->bytes, vector->len, &ip);

    print_message("  %s\n", vector->name);
    assert_string_equal(fk_err_name(err), vector_text(vector, "error", "OK"));
    if (err != FK_OK) {
        assert_int_equal(ip.version, 99); /* untouched */
        return;
    }
    if (vector_has(vector, "v"))
        assert_ip(vector, &ip);
    if (vector_has(vector, "tcp_error")) {
        err = fk_tcp_parse(ip.payload, &tcp);
        assert_string_equal(fk_err_name(err), vector_text(vector, "tcp_error", "OK"));
        assert_int_equal(tcp.window, 9999);
    }
    if (vector_has(vector, "sum"))
        assert_false(fk_tcp_verify(&ip));
    if (!wants_tcp(vector))
        return;
    assert_ok(fk_tcp_parse(ip.payload, &tcp));
    assert_tcp(vector, &tcp);
    assert_true(fk_tcp_verify(&ip));
    assert_int_equal(ip.header_len + tcp.header_len + tcp.payload.left,
                     (size_t)(tcp.payload.next - vector->bytes) + tcp.payload.left);
}

static void vectors_parse(void **state)
{
    struct vectors vectors;

    (void)state;
    vectors_load("packets.txt", &vectors);
    for (size_t i = 0; i < vectors.count; i++)
        check_parse(&vectors.items[i]);
    vectors_free(&vectors);
}

/* The packet built again of what was parsed; returns its length. */
static size_t rebuild(const struct vector *vector, bool partial, uint8_t *out, size_t size)
{
    struct fk_writer writer;
    size_t segment, at, len;
    struct fk_tcp tcp;
    struct fk_ip ip;

    assert_ok(fk_ip_parse(vector->bytes, vector->len, &ip));
    assert_ok(fk_tcp_parse(ip.payload, &tcp));
    segment = fk_tcp_header_len(&tcp) + tcp.payload.left;
    fk_writer_init(&writer, out, size);
    fk_ip_build(&ip, segment, &writer);
    at = writer.len;
    fk_tcp_build(&tcp, &writer);
    fk_writer_bytes(&writer, tcp.payload.next, tcp.payload.left);
    assert_ok(fk_writer_end(&writer, &len));
    assert_int_equal(len, at + segment);
    fk_tcp_seal(&ip, out + at, segment, partial);
    return len;
}

static void vectors_build(void **state)
{
    uint8_t out[256];
    struct vectors vectors;

    (void)state;
    vectors_load("packets.txt", &vectors);
    for (size_t i = 0; i < vectors.count; i++) {
        struct vector *vector = &vectors.items[i];

        if (!wants_tcp(vector) || vector_has(vector, "build"))
            continue;
        print_message("  %s\n", vector->name);
        assert_int_equal(rebuild(vector, false, out, sizeof out), vector->len);
        assert_memory_equal(out, vector->bytes, vector->len);
    }
    vectors_free(&vectors);
}

static void every_prefix_is_truncated(void **state)
{
    struct vectors vectors;
    struct fk_ip ip;

    (void)state;
    vectors_load("packets.txt", &vectors);
    for (size_t i = 0; i < vectors.count; i++) {
        struct vector *vector = &vectors.items[i];

        if (fk_ip_parse(vector->bytes, vector->len, &ip) != FK_OK)
            continue;
        for (size_t len = 0; len < ip.header_len + ip.payload.left; len++)
            assert_err(fk_ip_parse(vector->bytes, len, &ip), FK_ERR_TRUNCATED);
        assert_ok(fk_ip_parse(vector->bytes, vector->len, &ip));
    }
    vectors_free(&vectors);
}

/* Fact 8: a device that is asked to (NEEDS_CSUM) adds the segment up over what stands there. */
static void partial_sum_is_completed_by_a_device(void **state)
{
    uint8_t out[256];
    struct vectors vectors;
    struct vector *vector;
    struct fk_ip ip;
    uint16_t sum;
    size_t len;

    (void)state;
    vectors_load("packets.txt", &vectors);
    vector = vectors_find(&vectors, "data_odd");
    len = rebuild(vector, true, out, sizeof out);
    assert_memory_not_equal(out, vector->bytes, len);
    assert_ok(fk_ip_parse(out, len, &ip));
    sum = (uint16_t)~fk_inet_sum_fold(fk_inet_sum_add(0, ip.payload.next, ip.payload.left));
    out[ip.header_len + 16] = (uint8_t)(sum >> 8);
    out[ip.header_len + 17] = (uint8_t)sum;
    assert_memory_equal(out, vector->bytes, len);
    vectors_free(&vectors);
}

static void packet_too_long_for_its_header(void **state)
{
    static uint8_t out[FK_IP_PACKET_MAX];
    struct fk_ip ip = {.version = 4, .protocol = FK_IP_TCP};
    struct fk_writer writer;
    size_t len;

    (void)state;
    fk_writer_init(&writer, out, sizeof out);
    fk_ip_build(&ip, FK_IP_PACKET_MAX - FK_IP4_HEADER, &writer);
    assert_ok(fk_writer_end(&writer, &len));
    fk_writer_init(&writer, out, sizeof out);
    fk_ip_build(&ip, FK_IP_PACKET_MAX - FK_IP4_HEADER + 1, &writer);
    assert_err(fk_writer_end(&writer, &len), FK_ERR_RANGE);
}

/* RFC 1071 section 3's example, in one piece and in two, and sums that carry more than once. */
static void sums(void **state)
{
    static const uint8_t bytes[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
    uint8_t ones[4096];

    (void)state;
    assert_int_equal(fk_inet_sum_fold(fk_inet_sum_add(0, bytes, 8)), 0xddf2);
    for (size_t i = 0; i <= 8; i += 2)
        assert_int_equal(
            fk_inet_sum_fold(fk_inet_sum_add(fk_inet_sum_add(0, bytes, i), bytes + i, 8 - i)),
            0xddf2);
    assert_int_equal(fk_inet_sum_fold(fk_inet_sum_add(0, bytes, 7)), 0xdcfb);
    memset(ones, 0xff, sizeof ones);
    assert_int_equal(fk_inet_sum_fold(fk_inet_sum_add(0, ones, sizeof ones)), 0xffff);
    assert_int_equal(fk_inet_sum_fold(fk_inet_sum_add_u16(fk_inet_sum_add(0, ones, 4095), 2)),
                     0xff02);
}

static void sequence_numbers_on_a_circle(void **state)
{
    (void)state;
    assert_true(fk_seq_lt(0xffffffff, 0));
    assert_false(fk_seq_lt(0, 0xffffffff));
    assert_true(fk_seq_le(7, 7));
    assert_int_equal(fk_seq_diff(5, 0xfffffffb), 10);
    assert_int_equal(fk_seq_max(0xfffffff0, 0x10), 0x10);
    assert_int_equal(fk_seq_min(0xfffffff0, 0x10), 0xfffffff0);
}

UNIT_MAIN(cmocka_unit_test(vectors_parse), cmocka_unit_test(vectors_build),
          cmocka_unit_test(every_prefix_is_truncated),
          cmocka_unit_test(partial_sum_is_completed_by_a_device),
          cmocka_unit_test(packet_too_long_for_its_header), cmocka_unit_test(sums),
          cmocka_unit_test(sequence_numbers_on_a_circle))
