/* wire/icmp: "too big" of both versions, what is none, and what is put in its place. */
#include "unit.h"

#include "base/err.h"
#include "wire/icmp.h"
#include "wire/inet_sum.h"

/* A message in an IP packet, made as a router does; the tests change a byte each. */
struct message {
    struct fk_ip ip;
    uint8_t bytes[128];
    size_t len;
};

/* The head of a packet from port 0xdc04 to 443, sequence number 0x01020304. */
static const uint8_t quoted4[] = {0x45, 0, 0x05, 0xdc, 0x12, 0x34, 0x40, 0,  0x3f, 6,
                                  0,    0, 192,  0,    2,    1,    198,  51, 100,  7,
                                  0xdc, 4, 0x01, 0xbb, 1,    2,    3,    4};
static const uint8_t quoted6[] = {0x60, 0, 0,    0,    0x05, 0xb4, 6,    64,   0x20, 1, 0x0d, 0xb8,
                                  0,    0, 0,    0,    0,    0,    0,    0,    0,    0, 0,    1,
                                  0x20, 1, 0x0d, 0xb8, 0,    0,    0,    0,    0,    0, 0,    0,
                                  0,    0, 0,    9,    0xdc, 4,    0x01, 0xbb, 1,    2, 3,    4};

static void sum_up(struct message *message)
{
    uint64_t sum = message->ip.version == 6 ? fk_ip_pseudo_sum(&message->ip, message->len) : 0;
    uint16_t folded;

    message->bytes[2] = message->bytes[3] = 0;
    folded = (uint16_t)~fk_inet_sum_fold(fk_inet_sum_add(sum, message->bytes, message->len));
    message->bytes[2] = (uint8_t)(folded >> 8);
    message->bytes[3] = (uint8_t)folded;
    fk_reader_init(&message->ip.payload, message->bytes, message->len);
}

static void make(uint8_t version, struct message *ret)
{
    const uint8_t *quoted = version == 4 ? quoted4 : quoted6;
    size_t len = version == 4 ? sizeof quoted4 : sizeof quoted6;

    *ret = (struct message){.len = 8 + len};
    ret->ip = (struct fk_ip){.version = version, .src = {203, 0, 113, 1}, .dst = {192, 0, 2, 1}};
    ret->ip.protocol = version == 4 ? FK_IP_ICMP : FK_IP_ICMP6;
    ret->bytes[0] = version == 4 ? 3 : 2;
    ret->bytes[1] = version == 4 ? 4 : 0;
    ret->bytes[6] = 0x05;
    ret->bytes[7] = 0x14; /* 1300 */
    memcpy(ret->bytes + 8, quoted, len);
    sum_up(ret);
}

static void both_versions(void **state)
{
    struct fk_icmp_too_big too_big;
    struct message message;

    (void)state;
    for (uint8_t version = 4; version <= 6; version += 2) {
        make(version, &message);
        assert_ok(fk_icmp_too_big_parse(&message.ip, &too_big));
        assert_int_equal(too_big.mtu, 1300);
        assert_int_equal(too_big.src_port, 0xdc04);
        assert_int_equal(too_big.dst_port, 443);
        assert_int_equal(too_big.seq, 0x01020304);
        assert_int_equal(too_big.seq_at, message.len - 4);
        assert_memory_equal(too_big.src, version == 4 ? quoted4 + 12 : quoted6 + 8,
                            fk_ip_address_len(&message.ip));
        assert_memory_equal(too_big.dst, version == 4 ? quoted4 + 16 : quoted6 + 24,
                            fk_ip_address_len(&message.ip));
    }
}

static void every_prefix_is_truncated(void **state)
{
    struct fk_icmp_too_big too_big;
    struct message message;
    size_t len;

    (void)state;
    for (uint8_t version = 4; version <= 6; version += 2) {
        make(version, &message);
        len = message.len;
        for (message.len = 4; message.len < len; message.len++) {
            sum_up(&message); /* right for what is there */
            assert_err(fk_icmp_too_big_parse(&message.ip, &too_big), FK_ERR_TRUNCATED);
        }
        for (message.len = 0; message.len < 4; message.len++) {
            fk_reader_init(&message.ip.payload, message.bytes, message.len);
            assert_err(fk_icmp_too_big_parse(&message.ip, &too_big), FK_ERR_TRUNCATED);
        }
    }
}

/* More of the packet than eight bytes of its segment is as good. */
static void what_follows_is_not_read(void **state)
{
    struct fk_icmp_too_big too_big;
    struct message message;

    (void)state;
    make(4, &message);
    message.len += 21;
    sum_up(&message);
    assert_ok(fk_icmp_too_big_parse(&message.ip, &too_big));
    assert_int_equal(too_big.seq, 0x01020304);
    /* With IPv4 options in the packet: the segment is behind them. */
    make(4, &message);
    message.bytes[8] = 0x46;
    memmove(message.bytes + 8 + 24, message.bytes + 8 + 20, 8);
    message.len += 4;
    sum_up(&message);
    assert_ok(fk_icmp_too_big_parse(&message.ip, &too_big));
    assert_int_equal(too_big.seq, 0x01020304);
}

static void one_byte_is_another(void **state)
{
    static const struct {
        uint8_t version, at, value;
        int err;
    } changes[] = {
        {4, 0, 11, FK_ERR_UNSUPPORTED},     /* time exceeded */
        {4, 1, 1, FK_ERR_UNSUPPORTED},      /* host unreachable */
        {4, 8, 0x65, FK_ERR_FORMAT},        /* the quoted packet's version */
        {4, 8, 0x44, FK_ERR_FORMAT},        /* its header's length */
        {4, 8 + 7, 1, FK_ERR_UNSUPPORTED},  /* a later piece */
        {4, 8 + 9, 17, FK_ERR_UNSUPPORTED}, /* UDP */
        {6, 0, 3, FK_ERR_UNSUPPORTED},      {6, 8, 0x40, FK_ERR_FORMAT},
        {6, 8 + 6, 44, FK_ERR_UNSUPPORTED}, /* a piece */
    };
    struct fk_icmp_too_big too_big;
    struct message message;

    (void)state;
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        make(changes[i].version, &message);
        message.bytes[changes[i].at] = changes[i].value;
        sum_up(&message);
        assert_err(fk_icmp_too_big_parse(&message.ip, &too_big), changes[i].err);
    }
    for (uint8_t version = 4; version <= 6; version += 2) {
        make(version, &message);
        message.bytes[7] ^= 1;
        assert_err(fk_icmp_too_big_parse(&message.ip, &too_big), FK_ERR_VERIFY);
        message.ip.protocol = FK_IP_TCP;
        assert_err(fk_icmp_too_big_parse(&message.ip, &too_big), FK_ERR_UNSUPPORTED);
        make(version, &message);
        message.ip.fragment = true;
        assert_err(fk_icmp_too_big_parse(&message.ip, &too_big), FK_ERR_UNSUPPORTED);
    }
}

static void rewritten(void **state)
{
    struct fk_icmp_too_big too_big, again;
    struct message message;

    (void)state;
    for (uint8_t version = 4; version <= 6; version += 2) {
        make(version, &message);
        assert_ok(fk_icmp_too_big_parse(&message.ip, &too_big));
        too_big.mtu = 1271;
        too_big.seq = 0xfffffffe;
        fk_icmp_too_big_rewrite(&message.ip, &too_big, message.bytes, message.len);
        assert_ok(fk_icmp_too_big_parse(&message.ip, &again));
        assert_memory_equal(&again, &too_big, sizeof again);
    }
}

UNIT_MAIN(cmocka_unit_test(both_versions), cmocka_unit_test(every_prefix_is_truncated),
          cmocka_unit_test(what_follows_is_not_read), cmocka_unit_test(one_byte_is_another),
          cmocka_unit_test(rewritten))
