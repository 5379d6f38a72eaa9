/*
 * The signer process: start-up by its master's messages, then a loop over the processes that use
 * it: see signer.h. Holds private keys; must never open a file or a socket, and never waits for one
 * peer while another has work.
 */
#include "signer/signer.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/secret.h"
#include "loop/proc.h"
#include "loop/sandbox.h"
#include "loop/sock.h"
#include "signer/keyset.h"
#include "signer/ops.h"
#include "signer/peer.h"

#include <errno.h>
#include <limits.h>
#include <openssl/rand.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

struct signer {
    struct fk_keyset *set;
    struct fk_ops *ops;
    struct fk_metrics *metrics;
    struct fk_signer_peer *peers[FK_SIGNER_PEERS_MAX];
    size_t n_peers;
    size_t handles; /* as counted last */
    unsigned index;
    uint32_t generation;
    bool serving;         /* GO was said */
    bool draining;        /* DRAIN was said: no peers left means the end */
    uint64_t deadline_us; /* of draining */
    int status;           /* exit status, -1: go on */
};

/*
 * All of this process's memory stays in RAM where the system allows: OpenSSL keeps copies of
 * primes outside its secure heap (Montgomery contexts). A limit below what is needed would make
 * later allocations fail, so it is all or nothing.
 */
static void lock_memory(void)
{
    const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
    struct rlimit limit;

    (void)setrlimit(RLIMIT_MEMLOCK, &all); /* works for root only */
    if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur == RLIM_INFINITY)
        (void)mlockall(MCL_CURRENT | MCL_FUTURE);
}

/* --- the master's messages --- */

static void refuse(struct signer *signer, int err)
{
    struct fk_procmsg msg = {.type = FK_PROC_FAILED, .arg = signer->generation};
    int len = snprintf((char *)msg.data, sizeof msg.data, "signer: %s", fk_err_text(err));

    msg.len = len > 0 ? (size_t)len : 0;
    fk_log(FK_LOG_ERROR, "signer cannot start", fk_error(err));
    (void)fk_proc_send(FK_PROC_CONTROL_FD, &msg);
    signer->status = 1;
}

static int take_keys(struct signer *signer, struct fk_procmsg *msg)
{
    int err;

    if (msg->n_fds != 1 || signer->set != NULL)
        return FK_ERR_UNEXPECTED;
    signer->generation = msg->arg;
    if ((err = fk_keyset_open(msg->fds[0], &signer->set)) != FK_OK)
        return err;
    return fk_ops_new(signer->set, (uint8_t)signer->index, signer->generation, &signer->ops);
}

static int take_metrics(struct signer *signer, struct fk_procmsg *msg)
{
    int err;

    if (msg->n_fds != 1 || signer->metrics != NULL || signer->serving)
        return FK_ERR_UNEXPECTED;
    if ((err = fk_metrics_open(fk_signer_metric_table, msg->fds[0], &signer->metrics)) != FK_OK)
        return err;
    fk_metrics_own(signer->metrics, msg->arg);
    return FK_OK;
}

static int take_peer(struct signer *signer, struct fk_procmsg *msg)
{
    int err;

    if (msg->n_fds != 1)
        return FK_ERR_UNEXPECTED;
    if (signer->n_peers == FK_SIGNER_PEERS_MAX)
        return FK_ERR_LIMIT;
    if ((err = fk_signer_peer_new(msg->fds[0], msg->arg >> 16, msg->arg & 0xffff,
                                  &signer->peers[signer->n_peers])) != FK_OK)
        return err;
    msg->fds[0] = -1; /* moved */
    signer->n_peers++;
    fk_metric_set(signer->metrics, FK_SIGNER_METRIC_PEERS, signer->n_peers);
    return FK_OK;
}

static int take_tickets(struct signer *signer, struct fk_procmsg *msg)
{
    return signer->ops == NULL ? FK_ERR_UNEXPECTED
                               : fk_ops_take_roots(signer->ops, msg->data, msg->len);
}

/* From here on this process can do nothing but answer. */
static int begin_serving(struct signer *signer, const struct fk_procmsg *msg)
{
    char user[64] = "";
    uint8_t warm[32];
    int err;

    if (signer->set == NULL || signer->serving || msg->len >= sizeof user)
        return FK_ERR_UNEXPECTED;
    memcpy(user, msg->data, msg->len);
    if (RAND_bytes(warm, sizeof warm) != 1 || RAND_priv_bytes(warm, sizeof warm) != 1)
        return FK_ERR_CRYPTO;
    if ((err = fk_proc_drop(user[0] == '\0' ? NULL : user)) != FK_OK ||
        (err = fk_sandbox_enter(FK_SANDBOX_SIGNER)) != FK_OK)
        return err;
    signer->serving = true;
    fk_metric_set(signer->metrics, FK_SIGNER_METRIC_KEYS, fk_keyset_count(signer->set));
    fk_metric_set(signer->metrics, FK_SIGNER_METRIC_PEERS, signer->n_peers);
    fk_log(FK_LOG_INFO, "signer serves", fk_uint("keys", fk_keyset_count(signer->set)),
           fk_uint("generation", signer->generation));
    return fk_proc_send_fd(FK_PROC_CONTROL_FD, FK_PROC_READY, signer->generation, -1);
}

static int take_message(struct signer *signer, struct fk_procmsg *msg)
{
    switch (msg->type) {
    case FK_PROC_KEYS:
        return take_keys(signer, msg);
    case FK_PROC_METRICS:
        return take_metrics(signer, msg);
    case FK_PROC_PEER:
        return take_peer(signer, msg);
    case FK_PROC_TICKETS:
        return take_tickets(signer, msg);
    case FK_PROC_GO:
        return begin_serving(signer, msg);
    case FK_PROC_DRAIN:
        signer->draining = true;
        signer->deadline_us = fk_clock_us() + (uint64_t)msg->arg * 1000000;
        return FK_OK;
    default:
        return FK_ERR_UNEXPECTED;
    }
}

static void read_control(struct signer *signer)
{
    struct fk_procmsg msg;
    int err = fk_proc_next(&msg);

    if (err == FK_ERR_AGAIN)
        return;
    if (err == FK_ERR_CLOSED) {
        signer->status = 0; /* the master has gone */
        return;
    }
    if (err == FK_OK) {
        err = take_message(signer, &msg);
        fk_procmsg_close(&msg);
        fk_wipe(msg.data, msg.len);
    }
    if (err == FK_OK)
        return;
    if (signer->serving)
        fk_log(FK_LOG_ERROR, "message of master refused", fk_error(err));
    else
        refuse(signer, err);
}

/* --- serving --- */

static void drop_peer(struct signer *signer, size_t i, int err)
{
    static struct fk_log_limit limit;
    struct fk_signer_peer *peer = signer->peers[i];

    if (err != FK_ERR_CLOSED)
        fk_log_limited(&limit, FK_LOG_ERROR, "peer closed: not a request",
                       fk_uint("kind", peer->kind), fk_uint("index", peer->index), fk_error(err));
    fk_signer_peer_free(peer);
    signer->peers[i] = signer->peers[--signer->n_peers];
    fk_metric_set(signer->metrics, FK_SIGNER_METRIC_PEERS, signer->n_peers);
}

static void count_handles(struct signer *signer)
{
    size_t handles = fk_ops_handles(signer->ops);

    if (handles == signer->handles)
        return;
    signer->handles = handles;
    fk_metric_set(signer->metrics, FK_SIGNER_METRIC_HANDLES, handles);
}

/* What comes next without anybody's asking. */
static uint64_t next_us(const struct signer *signer)
{
    uint64_t end = signer->serving ? fk_ops_end_us(signer->ops) : UINT64_MAX;

    return signer->draining && signer->deadline_us < end ? signer->deadline_us : end;
}

/* How long poll(2) may wait, in milliseconds: -1 for ever. */
static int wait_time(const struct signer *signer)
{
    uint64_t next = next_us(signer), now, ms;

    for (size_t i = 0; signer->serving && i < signer->n_peers; i++)
        if (fk_signer_peer_busy(signer->peers[i]))
            return 0;
    if (next == UINT64_MAX)
        return -1;
    now = fk_clock_us();
    if (now >= next)
        return 0;
    ms = (next - now) / 1000 + 1;
    return ms < INT_MAX ? (int)ms : INT_MAX;
}

/* Each peer that can do something gets one turn. Backwards: a dropped peer's place is taken by the
 * last one, which had its turn. */
static void serve_peers(struct signer *signer, const struct pollfd *fds)
{
    for (size_t i = signer->n_peers; i > 0; i--) {
        struct fk_signer_peer *peer = signer->peers[i - 1];
        bool ready = fds[i].revents != 0;
        int err;

        if (!ready && !fk_signer_peer_busy(peer))
            continue;
        err = fk_signer_peer_turn(peer, signer->ops, signer->metrics, ready);
        if (err != FK_OK)
            drop_peer(signer, i - 1, err);
    }
}

static void wait_and_serve(struct signer *signer)
{
    struct pollfd fds[1 + FK_SIGNER_PEERS_MAX];
    nfds_t count = 1;

    fds[0] = (struct pollfd){.fd = FK_PROC_CONTROL_FD, .events = POLLIN};
    for (size_t i = 0; signer->serving && i < signer->n_peers; i++)
        fds[count++] = (struct pollfd){.fd = signer->peers[i]->fd,
                                       .events = fk_signer_peer_events(signer->peers[i])};
    if (poll(fds, count, wait_time(signer)) < 0) {
        if (errno != EINTR)
            signer->status = 1;
        return;
    }
    if (signer->serving)
        fk_ops_expire(signer->ops, fk_clock_us());
    /* The master first: a peer may ask because of what the master has just changed. */
    if (fds[0].revents != 0)
        read_control(signer);
    else if (count > 1)
        serve_peers(signer, fds);
    if (signer->serving)
        count_handles(signer);
    if (signer->draining && (signer->n_peers == 0 || fk_clock_us() >= signer->deadline_us))
        signer->status = 0;
}

int fk_signer_main(unsigned index)
{
    struct signer *signer;
    int status;

    fk_proc_child_init("signer", index);
    fk_proc_give_way();
    lock_memory();
    signer = calloc(1, sizeof *signer);
    if (signer == NULL)
        return 1;
    signer->index = index;
    signer->status = -1;
    while (signer->status < 0)
        wait_and_serve(signer);
    status = signer->status;
    while (signer->n_peers > 0)
        fk_signer_peer_free(signer->peers[--signer->n_peers]);
    fk_ops_free(signer->ops);
    fk_keyset_free(signer->set);
    fk_metrics_close(signer->metrics);
    free(signer);
    return status;
}
