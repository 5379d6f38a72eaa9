/* One user of a signer: see peer.h. */
#include "signer/peer.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/secret.h"
#include "loop/sock.h"
#include "signer/signer.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define HEAD       sizeof(struct fk_signer_request)
#define RESULT_MAX (sizeof(struct fk_signer_result) + FK_SIGNER_RESULT_MAX)

_Static_assert(FK_SIGNER_IN_MAX >= HEAD + FK_SIGNER_PAYLOAD_MAX, "a request must fit");
_Static_assert(FK_SIGNER_OUT_MAX >= RESULT_MAX, "a result must fit");

const struct fk_metric fk_signer_metric_table[] = {
    [FK_SIGNER_METRIC_SIGN13] = {"farkey_signer_operations_total", "op=\"sign-1.3\"",
                                 FK_METRIC_COUNTER, "Operations carried out by signers."},
    [FK_SIGNER_METRIC_SIGN12] = {"farkey_signer_operations_total", "op=\"sign-1.2\"",
                                 FK_METRIC_COUNTER, "Operations carried out by signers."},
    [FK_SIGNER_METRIC_DECRYPT] = {"farkey_signer_operations_total", "op=\"decrypt\"",
                                  FK_METRIC_COUNTER, "Operations carried out by signers."},
    [FK_SIGNER_METRIC_DIALECT1] = {"farkey_signer_operations_total", "op=\"dialect1\"",
                                   FK_METRIC_COUNTER, "Operations carried out by signers."},
    [FK_SIGNER_METRIC_LEND] = {"farkey_signer_operations_total", "op=\"lend\"", FK_METRIC_COUNTER,
                               "Operations carried out by signers."},
    [FK_SIGNER_METRIC_OTHER] = {"farkey_signer_operations_total", "op=\"other\"", FK_METRIC_COUNTER,
                                "Operations carried out by signers."},
    [FK_SIGNER_METRIC_ERRORS] = {"farkey_signer_errors_total", NULL, FK_METRIC_COUNTER,
                                 "Operations that signers refused or that failed."},
    [FK_SIGNER_METRIC_TIME] = {"farkey_signer_operation_seconds", NULL, FK_METRIC_HISTOGRAM,
                               "Time of one operation in the signer."},
    [FK_SIGNER_METRIC_PEERS] = {"farkey_signer_peers", NULL, FK_METRIC_GAUGE,
                                "Processes connected to signers."},
    [FK_SIGNER_METRIC_KEYS] = {"farkey_signer_keys", NULL, FK_METRIC_GAUGE,
                               "Keys held by signers."},
    [FK_SIGNER_METRIC_HANDLES] = {"farkey_signer_handles", NULL, FK_METRIC_GAUGE,
                                  "Handshakes that signers keep a secret of."},
    {NULL, NULL, FK_METRIC_COUNTER, NULL},
};

int fk_signer_peer_new(int fd, enum fk_proc_peer kind, uint32_t index, struct fk_signer_peer **ret)
{
    struct fk_signer_peer *peer = calloc(1, sizeof *peer);

    if (peer == NULL)
        return FK_ERR_NOMEM;
    peer->fd = fd;
    peer->kind = kind;
    peer->index = index;
    *ret = peer;
    return FK_OK;
}

void fk_signer_peer_free(struct fk_signer_peer *peer)
{
    if (peer == NULL)
        return;
    fk_close(&peer->fd);
    fk_wipe(peer, sizeof *peer);
    free(peer);
}

/* --- what is in the buffers --- */

static bool has_room(const struct fk_signer_peer *peer)
{
    return sizeof peer->out - peer->out_tail >= RESULT_MAX;
}

/* The first request's header, if it is there. */
static bool peek_head(const struct fk_signer_peer *peer, struct fk_signer_request *ret)
{
    if (peer->in_tail - peer->in_head < HEAD)
        return false;
    memcpy(ret, peer->in + peer->in_head, HEAD);
    return true;
}

/* Whether the first request is there whole. One that is too long counts: it ends the peer. */
static bool has_request(const struct fk_signer_peer *peer)
{
    struct fk_signer_request request;

    return peek_head(peer, &request) && (request.len > FK_SIGNER_PAYLOAD_MAX ||
                                         peer->in_tail - peer->in_head - HEAD >= request.len);
}

short fk_signer_peer_events(const struct fk_signer_peer *peer)
{
    if (peer->out_tail > peer->out_head)
        return POLLOUT;
    return POLLIN;
}

bool fk_signer_peer_busy(const struct fk_signer_peer *peer)
{
    return peer->out_tail == peer->out_head && has_request(peer);
}

/* --- reading --- */

static int fill(struct fk_signer_peer *peer)
{
    size_t left = peer->in_tail - peer->in_head;
    ssize_t n;

    if (peer->in_head > 0) {
        memmove(peer->in, peer->in + peer->in_head, left);
        peer->in_head = 0;
        peer->in_tail = left;
    }
    if (left == sizeof peer->in)
        return FK_OK;
    n = recv(peer->fd, peer->in + left, sizeof peer->in - left, MSG_DONTWAIT);
    if (n == 0)
        return FK_ERR_CLOSED;
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? FK_OK : FK_ERR_CLOSED;
    peer->in_tail += (size_t)n;
    return FK_OK;
}

/* --- working --- */

static void count(struct fk_metrics *metrics, uint16_t op, int err, uint64_t us)
{
    static const uint8_t ids[] = {
        [FK_SIGNER_SIGN13] = FK_SIGNER_METRIC_SIGN13,
        [FK_SIGNER_SIGN12] = FK_SIGNER_METRIC_SIGN12,
        [FK_SIGNER_DECRYPT] = FK_SIGNER_METRIC_DECRYPT,
        [FK_SIGNER_DIALECT1] = FK_SIGNER_METRIC_DIALECT1,
        [FK_SIGNER_PING] = FK_SIGNER_METRIC_OTHER,
        [FK_SIGNER_AUDIT_START] = FK_SIGNER_METRIC_OTHER,
        [FK_SIGNER_AUDIT_CHECKPOINT] = FK_SIGNER_METRIC_OTHER,
        [FK_SIGNER_SIGNED] = FK_SIGNER_METRIC_OTHER,
        [FK_SIGNER_SPLIT] = FK_SIGNER_METRIC_OTHER,
        [FK_SIGNER_SHARE] = FK_SIGNER_METRIC_OTHER,
        [FK_SIGNER_LEND] = FK_SIGNER_METRIC_LEND,
    };
    bool known = op >= FK_SIGNER_SIGN13 && op < sizeof ids;

    fk_metric_add(metrics, known ? ids[op] : FK_SIGNER_METRIC_OTHER, 1);
    if (err != FK_OK)
        fk_metric_add(metrics, FK_SIGNER_METRIC_ERRORS, 1);
    fk_metric_observe(metrics, FK_SIGNER_METRIC_TIME, us);
}

/*
 * Carry out the first request, which is there whole, and put its result behind the others. `now`
 * is the time before; the time after is returned: one reading of the clock an operation.
 */
static uint64_t work(struct fk_signer_peer *peer, const struct fk_signer_request *request,
                     struct fk_ops *ops, struct fk_metrics *metrics, uint64_t now)
{
    uint8_t *at = peer->out + peer->out_tail, *payload = peer->in + peer->in_head + HEAD;
    struct fk_signer_result result = {.id = request->id};
    uint64_t end;
    size_t len = 0;

    result.err = fk_ops_serve(ops, peer->kind, request, payload, at + sizeof result, &len);
    end = fk_clock_us();
    result.len = result.err == FK_OK ? (uint32_t)len : 0;
    result.micros = (uint32_t)(end - now);
    memcpy(at, &result, sizeof result);
    peer->out_tail += sizeof result + result.len;
    fk_wipe(payload, request->len);
    peer->in_head += HEAD + request->len;
    count(metrics, request->op, result.err, end - now);
    return end;
}

static int work_for_a_while(struct fk_signer_peer *peer, struct fk_ops *ops,
                            struct fk_metrics *metrics)
{
    size_t stop = peer->in_head + (peer->in_tail - peer->in_head) / FK_SIGNER_TURN_PART;
    struct fk_signer_request request;
    uint64_t now, end;

    if (!has_request(peer))
        return FK_OK;
    now = fk_clock_us();
    end = now + FK_SIGNER_QUANTUM_US;
    do {
        if (!peek_head(peer, &request) || request.len > FK_SIGNER_PAYLOAD_MAX)
            return FK_ERR_FORMAT;
        now = work(peer, &request, ops, metrics, now);
    } while (now < end && peer->in_head < stop && has_room(peer) && has_request(peer));
    return FK_OK;
}

/* --- sending --- */

static int flush(struct fk_signer_peer *peer)
{
    size_t len = peer->out_tail - peer->out_head;
    ssize_t n;

    if (len == 0)
        return FK_OK;
    n = send(peer->fd, peer->out + peer->out_head, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR || errno == ENOBUFS ? FK_OK : FK_ERR_CLOSED;
    fk_wipe(peer->out + peer->out_head, (size_t)n);
    peer->out_head += (size_t)n;
    if (peer->out_head == peer->out_tail) {
        peer->out_head = 0;
        peer->out_tail = 0;
    }
    return FK_OK;
}

int fk_signer_peer_turn(struct fk_signer_peer *peer, struct fk_ops *ops, struct fk_metrics *metrics,
                        bool readable)
{
    int err;

    if (peer->out_tail > peer->out_head) /* it has not read its last results yet */
        return flush(peer);
    if (readable && (err = fill(peer)) != FK_OK)
        return err;
    if ((err = work_for_a_while(peer, ops, metrics)) != FK_OK)
        return err;
    return flush(peer);
}
