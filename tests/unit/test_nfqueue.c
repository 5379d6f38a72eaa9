/* inline/nfqueue: messages of the kernel's about packets in a queue, as they come and as they do
 * not. */
#include "unit.h"

#include "base/err.h"
#include "inline/nfqueue.h"

#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>

static union {
    struct nlmsghdr head;
    uint8_t bytes[512];
} msg;

static struct fk_nfqueue_packet got;

static void begin(unsigned type)
{
    memset(&msg, 0, sizeof msg);
    msg.head.nlmsg_len = NLMSG_LENGTH(sizeof(struct nfgenmsg));
    msg.head.nlmsg_type = (uint16_t)(NFNL_SUBSYS_QUEUE << 8 | type);
}

static void add(unsigned type, const void *value, size_t len, bool padded)
{
    struct nlattr attr = {(uint16_t)(sizeof attr + len), (uint16_t)type};

    memcpy(msg.bytes + msg.head.nlmsg_len, &attr, sizeof attr);
    memcpy(msg.bytes + msg.head.nlmsg_len + sizeof attr, value, len);
    msg.head.nlmsg_len += (uint32_t)(sizeof attr + len);
    while (padded && msg.head.nlmsg_len % 4 != 0)
        msg.head.nlmsg_len++;
}

static void add_u32(unsigned type, uint32_t value)
{
    value = htonl(value);
    add(type, &value, sizeof value, true);
}

static void add_id(uint32_t id)
{
    const struct nfqnl_msg_packet_hdr head = {.packet_id = htonl(id), .hw_protocol = htons(0x800)};

    add(NFQA_PACKET_HDR, &head, sizeof head, true);
}

static int parse(void)
{
    got = (struct fk_nfqueue_packet){.id = 99};
    return fk_nfqueue_parse(msg.bytes, msg.head.nlmsg_len, &got);
}

static void a_packet(void **state)
{
    (void)state;
    for (unsigned padded = 0; padded < 2; padded++) {
        begin(NFQNL_MSG_PACKET);
        add_id(0x01020304);
        add_u32(NFQA_IFINDEX_INDEV, 7);
        add(NFQA_PAYLOAD, "hello", 5, padded == 1);
        assert_ok(parse());
        assert_int_equal(got.id, 0x01020304);
        assert_int_equal(got.len, 5);
        assert_memory_equal(got.bytes, "hello", 5);
        assert_true(got.sum_ok);
    }
}

/* A checksum that a device is still to complete is right; one that nobody has looked at may not be.
 */
static void checksums(void **state)
{
    static const struct {
        uint32_t info;
        bool ok;
    } cases[] = {{0, true},
                 {NFQA_SKB_CSUMNOTREADY | NFQA_SKB_GSO, true},
                 {NFQA_SKB_CSUM_NOTVERIFIED, false},
                 {NFQA_SKB_CSUM_NOTVERIFIED | NFQA_SKB_GSO, false}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        begin(NFQNL_MSG_PACKET);
        add_id(1);
        add_u32(NFQA_SKB_INFO, cases[i].info);
        add(NFQA_PAYLOAD, "hello", 5, true);
        assert_ok(parse());
        assert_int_equal(got.sum_ok, cases[i].ok);
    }
}

/* Their number is there, to drop them by. */
static void packets_that_are_not_whole(void **state)
{
    (void)state;
    begin(NFQNL_MSG_PACKET);
    add_id(5);
    assert_err(parse(), FK_ERR_RANGE);
    assert_int_equal(got.id, 5);
    begin(NFQNL_MSG_PACKET);
    add_id(6);
    add_u32(NFQA_CAP_LEN, 70000);
    add(NFQA_PAYLOAD, "hello", 5, true);
    assert_err(parse(), FK_ERR_RANGE);
    assert_int_equal(got.id, 6);
}

static void what_is_no_packet(void **state)
{
    (void)state;
    begin(NFQNL_MSG_VERDICT);
    add_id(5);
    assert_err(parse(), FK_ERR_UNEXPECTED);
    begin(NFQNL_MSG_PACKET);
    msg.head.nlmsg_type = NLMSG_ERROR;
    assert_err(parse(), FK_ERR_UNEXPECTED);
    begin(NFQNL_MSG_PACKET); /* no number */
    add(NFQA_PAYLOAD, "hello", 5, true);
    assert_err(parse(), FK_ERR_UNEXPECTED);
    begin(NFQNL_MSG_PACKET);
    add_id(1);
    add(NFQA_PAYLOAD, "hello", 5, true);
    assert_err(fk_nfqueue_parse(msg.bytes, msg.head.nlmsg_len + 1, &got), FK_ERR_TRAILING);
    assert_int_equal(got.id, 99); /* a mistake leaves it as it was */
}

static void lengths_that_lie(void **state)
{
    uint32_t at;

    (void)state;
    begin(NFQNL_MSG_PACKET);
    add_id(1);
    at = msg.head.nlmsg_len;
    add(NFQA_PAYLOAD, "hello", 5, true);
    msg.bytes[at] = 3; /* of an attribute: less than its own header, then beyond the message */
    assert_err(parse(), FK_ERR_TRUNCATED);
    msg.bytes[at] = 200;
    assert_err(parse(), FK_ERR_TRUNCATED);
    begin(NFQNL_MSG_PACKET);
    add(NFQA_PACKET_HDR, "abc", 3, true);
    assert_err(parse(), FK_ERR_TRUNCATED);
    begin(NFQNL_MSG_PACKET);
    add_id(1);
    add(NFQA_SKB_INFO, "abcde", 5, true);
    assert_err(parse(), FK_ERR_TRAILING);
}

static void every_strict_prefix(void **state)
{
    uint32_t whole;

    (void)state;
    begin(NFQNL_MSG_PACKET);
    add_id(1);
    add_u32(NFQA_SKB_INFO, 0);
    add(NFQA_PAYLOAD, "hello", 5, false);
    whole = msg.head.nlmsg_len;
    for (size_t len = 0; len < whole; len++)
        assert_err(fk_nfqueue_parse(msg.bytes, len, &got), FK_ERR_TRUNCATED);
}

UNIT_MAIN(cmocka_unit_test(a_packet), cmocka_unit_test(checksums),
          cmocka_unit_test(packets_that_are_not_whole), cmocka_unit_test(what_is_no_packet),
          cmocka_unit_test(lengths_that_lie), cmocka_unit_test(every_strict_prefix))
