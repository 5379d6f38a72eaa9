/* Packet queues: see nfqueue.h. Messages: linux/netlink.h, linux/netfilter/nfnetlink_queue.h. */
#include "inline/nfqueue.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/reader.h"
#include "loop/sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>

/* --- messages to the kernel --- */

struct message {
    struct nlmsghdr head;
    struct nfgenmsg queue;
    uint8_t more[128]; /* attributes */
};

static void begin(struct message *msg, uint16_t number, unsigned type, unsigned flags)
{
    *msg = (struct message){
        .head = {.nlmsg_len = NLMSG_LENGTH(sizeof msg->queue),
                 .nlmsg_type = (uint16_t)(NFNL_SUBSYS_QUEUE << 8 | type),
                 .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags)},
        .queue = {.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0, .res_id = htons(number)}};
}

static void add(struct message *msg, unsigned type, const void *value, size_t len)
{
    struct nlattr attr = {.nla_len = (uint16_t)(sizeof attr + len), .nla_type = (uint16_t)type};
    uint8_t *at = (uint8_t *)msg + msg->head.nlmsg_len;

    memcpy(at, &attr, sizeof attr);
    memcpy(at + sizeof attr, value, len);
    msg->head.nlmsg_len += (uint32_t)(sizeof attr + (len + 3) / 4 * 4);
}

static void add_u32(struct message *msg, unsigned type, uint32_t value)
{
    value = htonl(value);
    add(msg, type, &value, sizeof value);
}

static int tell(int fd, const struct message *msg)
{
    return send(fd, msg, msg->head.nlmsg_len, 0) < 0 ? FK_ERR_SYS : FK_OK;
}

/* The kernel answers within the call that asks. */
static int ask(int fd, const struct message *msg)
{
    struct {
        struct nlmsghdr head;
        struct nlmsgerr error;
        uint8_t more[256];
    } answer;
    ssize_t n;

    if (tell(fd, msg) != FK_OK || (n = recv(fd, &answer, sizeof answer, 0)) < 0)
        return FK_ERR_SYS;
    if ((size_t)n < sizeof answer.head + sizeof answer.error.error ||
        answer.head.nlmsg_type != NLMSG_ERROR)
        return FK_ERR_UNEXPECTED;
    errno = -answer.error.error;
    return answer.error.error == 0 ? FK_OK : FK_ERR_SYS;
}

/* --- opening --- */

static int configure(int fd, uint16_t number)
{
    const struct nfqnl_msg_config_cmd bind_to = {.command = NFQNL_CFG_CMD_BIND};
    const struct nfqnl_msg_config_params whole = {.copy_range = htonl(UINT16_MAX),
                                                  .copy_mode = NFQNL_COPY_PACKET};
    struct message msg;

    begin(&msg, number, NFQNL_MSG_CONFIG, NLM_F_ACK);
    add(&msg, NFQA_CFG_CMD, &bind_to, sizeof bind_to);
    add(&msg, NFQA_CFG_PARAMS, &whole, sizeof whole);
    add_u32(&msg, NFQA_CFG_QUEUE_MAXLEN, FK_NFQUEUE_LENGTH);
    add_u32(&msg, NFQA_CFG_MASK, NFQA_CFG_F_GSO | NFQA_CFG_F_FAIL_OPEN);
    add_u32(&msg, NFQA_CFG_FLAGS, NFQA_CFG_F_GSO);
    return ask(fd, &msg);
}

int fk_nfqueue_open(uint16_t number, int *ret)
{
    static const struct sockaddr_nl any = {.nl_family = AF_NETLINK};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER);
    int size = FK_PKTIO_QUEUE, one = 1, err = FK_ERR_SYS;

    if (fd < 0)
        return FK_ERR_SYS;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    /* A message that has no room: the kernel drops its packet, and that is all. */
    if (setsockopt(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, &one, sizeof one) == 0 &&
        bind(fd, (const struct sockaddr *)&any, sizeof any) == 0)
        err = configure(fd, number);
    if (err != FK_OK) {
        fk_close(&fd);
        return err;
    }
    *ret = fd;
    return FK_OK;
}

/* --- reading --- */

static int read_u32(struct fk_reader value, uint32_t *ret)
{
    int err = fk_reader_u32(&value, ret);

    return err == FK_OK ? fk_reader_end(&value) : err;
}

/* The last one may lack its padding. */
static int next_attr(struct fk_reader *reader, struct nlattr *attr, struct fk_reader *ret)
{
    unsigned padding;
    int err;

    if ((err = fk_reader_copy(reader, attr, sizeof *attr)) != FK_OK)
        return err;
    if (attr->nla_len < sizeof *attr)
        return FK_ERR_TRUNCATED;
    if ((err = fk_reader_take(reader, attr->nla_len - sizeof *attr, ret)) != FK_OK)
        return err;
    padding = (4U - attr->nla_len % 4U) % 4U;
    return fk_reader_skip(reader, padding < reader->left ? padding : reader->left);
}

struct seen {
    bool id, payload, cut;
};

static int take_attr(const struct nlattr *attr, struct fk_reader value, struct seen *seen,
                     struct fk_nfqueue_packet *ret)
{
    uint32_t flags;
    int err = FK_OK;

    switch (attr->nla_type & NLA_TYPE_MASK) {
    case NFQA_PACKET_HDR:
        seen->id = true;
        err = fk_reader_u32(&value, &ret->id);
        break;
    case NFQA_SKB_INFO:
        if ((err = read_u32(value, &flags)) == FK_OK)
            ret->sum_ok = (flags & NFQA_SKB_CSUM_NOTVERIFIED) == 0;
        break;
    case NFQA_CAP_LEN:
        seen->cut = true;
        break;
    case NFQA_PAYLOAD:
        seen->payload = true;
        ret->bytes = value.next;
        ret->len = value.left;
        break;
    default:
        break;
    }
    return err;
}

static int read_head(struct fk_reader *reader, size_t len)
{
    struct nlmsghdr head;
    int err = fk_reader_copy(reader, &head, sizeof head);

    if (err != FK_OK)
        return err;
    if (head.nlmsg_len > len)
        return FK_ERR_TRUNCATED;
    if (head.nlmsg_type != (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET))
        return FK_ERR_UNEXPECTED;
    if (head.nlmsg_len < len)
        return FK_ERR_TRAILING; /* the kernel sends each on its own */
    return fk_reader_skip(reader, sizeof(struct nfgenmsg));
}

int fk_nfqueue_parse(const uint8_t *bytes, size_t len, struct fk_nfqueue_packet *ret)
{
    struct fk_nfqueue_packet packet = {.sum_ok = true};
    struct seen seen = {.id = false};
    struct fk_reader reader, value;
    struct nlattr attr;
    int err;

    fk_reader_init(&reader, bytes, len);
    if ((err = read_head(&reader, len)) != FK_OK)
        return err;
    while (reader.left > 0)
        if ((err = next_attr(&reader, &attr, &value)) != FK_OK ||
            (err = take_attr(&attr, value, &seen, &packet)) != FK_OK)
            return err;
    if (!seen.id)
        return FK_ERR_UNEXPECTED;
    *ret = packet;
    return seen.cut || !seen.payload ? FK_ERR_RANGE : FK_OK;
}

/* --- verdicts --- */

static int judge(int fd, uint16_t number, unsigned type, uint32_t verdict, uint32_t id)
{
    const struct nfqnl_msg_verdict_hdr head = {htonl(verdict), htonl(id)};
    struct message msg;

    begin(&msg, number, type, 0);
    add(&msg, NFQA_VERDICT_HDR, &head, sizeof head);
    return tell(fd, &msg);
}

int fk_nfqueue_accept(int fd, uint16_t number, uint32_t id)
{
    return judge(fd, number, NFQNL_MSG_VERDICT, NF_ACCEPT, id);
}

int fk_nfqueue_drop(int fd, uint16_t number, uint32_t last_id)
{
    return judge(fd, number, NFQNL_MSG_VERDICT_BATCH, NF_DROP, last_id);
}
