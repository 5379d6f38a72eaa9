/*
 * The audit process: see audit_log.h.
 *
 * Fronts are read only while their lines can be written: a chain is begun, no checkpoint is being
 * signed (it covers all lines before it), and the file takes bytes. What is not read waits in the
 * fronts' queues, whose bound makes them refuse operations. After each batch the fronts rest for a
 * moment: under load lines come one by one, and this process would run once for each of them.
 */
#include "keyd/audit_log.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/reader.h"
#include "base/secret.h"
#include "keyd/audit_book.h"
#include "loop/loop.h"
#include "loop/proc.h"
#include "loop/sandbox.h"
#include "loop/sock.h"
#include "signer/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define TICK_US         1000000
#define SIGNER_US       2000000 /* a signer that is busy longer than this does not sign this one */
#define FRONT_IN        16384
#define DEFAULT_LINES   1000
#define DEFAULT_SECONDS 10

const struct fk_metric fk_audit_metric_table[] = {
    [FK_AUDIT_METRIC_LINES] = {"farkey_audit_lines_total", NULL, FK_METRIC_COUNTER,
                               "Lines written to the audit log."},
    [FK_AUDIT_METRIC_CHECKPOINTS] = {"farkey_audit_checkpoints_total", NULL, FK_METRIC_COUNTER,
                                     "Signed checkpoints written to the audit log."},
    [FK_AUDIT_METRIC_BATCHES] = {"farkey_audit_writes_total", NULL, FK_METRIC_COUNTER,
                                 "Writes to the audit log: lines in one batch take one."},
    [FK_AUDIT_METRIC_WRITE_ERRORS] = {"farkey_audit_write_errors_total", NULL, FK_METRIC_COUNTER,
                                      "Writes to the audit log that failed."},
    [FK_AUDIT_METRIC_FAILING] = {"farkey_audit_failing", NULL, FK_METRIC_GAUGE,
                                 "1 while the audit log cannot be written."},
    {NULL, NULL, FK_METRIC_COUNTER, NULL},
};

struct audit {
    struct fk_loop *loop;
    struct fk_io control;
    struct fk_timer tick;
    struct fk_defer batch_end; /* all fronts that had lines were read */
    struct fk_timer rest;      /* active: the fronts rest */
    bool behind;               /* some front had more lines than are read at once */
    struct fk_signer_pool *pool;
    struct fk_signer_call *call; /* START or CHECKPOINT under way */
    uint32_t n_signers;          /* ever: the newest one is asked */
    struct fk_metrics *metrics;
    struct fk_audit_settings settings;
    struct fk_audit_head previous;
    bool has_previous;
    struct fk_audit_book book;
    struct fk_list fronts;
    size_t n_fronts;
    bool serving;            /* GO was said */
    bool failing;            /* the file takes no bytes */
    bool head_news;          /* the master does not know the present head */
    uint64_t unsigned_lines; /* since the last checkpoint */
    uint64_t checkpoint_us;  /* when it was */
    bool draining;
    bool final; /* the checkpoint of the end was asked for */
    uint64_t deadline_us;
    int status;
};

struct front {
    struct fk_list link;
    struct fk_io io;
    struct audit *audit;
    int fd;
    unsigned index;
    uint32_t written; /* lines to acknowledge */
    bool news;        /* `failing` has changed */
    size_t len;
    char in[FRONT_IN];
};

/* --- fronts: what they are told, and when they are read --- */

static bool may_read(const struct audit *audit)
{
    return audit->serving && audit->book.open && audit->call == NULL && !audit->failing &&
           !fk_timer_active(&audit->rest);
}

static void watch_front(struct front *front)
{
    const struct audit *audit = front->audit;
    bool waiting = front->news || (front->written > 0 && !audit->failing);

    fk_io_want(&front->io, (may_read(audit) ? FK_IO_READ : 0U) | (waiting ? FK_IO_WRITE : 0U));
}

static void watch_fronts(struct audit *audit)
{
    struct fk_list *item;

    fk_list_each (item, &audit->fronts)
        watch_front(fk_container(item, struct front, link));
}

/*
 * Tell a front what is written; what its socket does not take waits. While the file takes nothing
 * no line counts as written: the last ones are in our buffer. FK_ERR_CLOSED.
 */
static int send_ack(struct front *front)
{
    bool failing = front->audit->failing;
    struct fk_audit_ack ack = {.lines = failing ? 0 : front->written, .failing = failing};
    ssize_t n;

    if (ack.lines == 0 && !front->news)
        return FK_OK;
    n = send(front->fd, &ack, sizeof ack, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == ENOBUFS || errno == EINTR))
        return FK_OK;
    if (n != sizeof ack)
        return FK_ERR_CLOSED;
    front->written -= ack.lines;
    front->news = false;
    return FK_OK;
}

static void set_failing(struct audit *audit, bool failing)
{
    struct fk_list *item;

    if (audit->failing == failing)
        return;
    audit->failing = failing;
    fk_metric_set(audit->metrics, FK_AUDIT_METRIC_FAILING, failing);
    if (failing)
        fk_log(FK_LOG_ERROR, "audit log cannot be written", fk_errno(errno),
               fk_str("operations", audit->settings.refuse != 0 ? "refused" : "go on"));
    else
        fk_log(FK_LOG_WARN, "audit log is written again", fk_uint("line", audit->book.chain.lines));
    fk_list_each (item, &audit->fronts) {
        struct front *front = fk_container(item, struct front, link);

        front->news = true;
        (void)send_ack(front); /* one that has gone is noticed when it is read */
    }
    watch_fronts(audit);
}

static void begin_rest(struct fk_defer *defer)
{
    struct audit *audit = fk_container(defer, struct audit, batch_end);

    if (!audit->behind)
        fk_timer_start(&audit->rest, FK_AUDIT_REST_US);
    audit->behind = false;
    watch_fronts(audit);
}

static void end_rest(struct fk_timer *timer)
{
    watch_fronts(fk_container(timer, struct audit, rest));
}

static int flush_book(struct audit *audit)
{
    int err;

    if (audit->book.len == 0)
        return FK_OK;
    err = fk_audit_book_flush(&audit->book);
    fk_metric_add(audit->metrics,
                  err == FK_OK ? FK_AUDIT_METRIC_BATCHES : FK_AUDIT_METRIC_WRITE_ERRORS, 1);
    set_failing(audit, err != FK_OK);
    audit->head_news = true;
    return err;
}

/* The master keeps the head beside the log: only what is in the file may be in it. Called once a
 * second, not at each checkpoint: the master writes and renames a file. */
static void report_head(struct audit *audit)
{
    struct fk_procmsg msg = {.type = FK_PROC_STATUS};
    struct fk_audit_head head;

    if (!audit->head_news || audit->book.len > 0 || !audit->book.open)
        return;
    fk_audit_chain_head(&audit->book.chain, &head);
    msg.len = fk_audit_head_format(&head, (char *)msg.data);
    if (fk_proc_send(FK_PROC_CONTROL_FD, &msg) == FK_OK)
        audit->head_news = false;
}

/* --- signers: new chains and checkpoints --- */

static void finish(struct audit *audit, int status)
{
    (void)flush_book(audit);
    report_head(audit);
    audit->status = status;
    fk_loop_stop(audit->loop);
}

static void chain_begun(void *arg, int err, const uint8_t *data, size_t len, uint32_t micros)
{
    struct audit *audit = arg;

    (void)micros;
    audit->call = NULL;
    if (err == FK_OK && len != FK_AUDIT_START_ANSWER)
        err = FK_ERR_FORMAT;
    if (err == FK_OK)
        err = fk_audit_book_begin(&audit->book, data, data + FK_AUDIT_ID_SIZE,
                                  audit->has_previous ? &audit->previous : NULL);
    if (err != FK_OK) { /* the next tick asks again */
        fk_log(FK_LOG_ERROR, "no new chain for the audit log", fk_error(err));
        return;
    }
    audit->checkpoint_us = fk_loop_now_us(audit->loop);
    (void)flush_book(audit);
    report_head(audit);
    watch_fronts(audit);
}

static void request_chain(struct audit *audit)
{
    const struct fk_signer_ask ask = {.op = FK_SIGNER_AUDIT_START};

    if (!audit->serving || audit->book.open || audit->call != NULL)
        return;
    (void)fk_signer_pool_submit(audit->pool, &ask, chain_begun, audit, &audit->call);
}

static void checkpoint_signed(void *arg, int err, const uint8_t *data, size_t len, uint32_t micros)
{
    static struct fk_log_limit limit;
    struct audit *audit = arg;
    struct fk_reader reader;
    uint64_t when;

    (void)micros;
    audit->call = NULL;
    audit->checkpoint_us = fk_loop_now_us(audit->loop);
    audit->unsigned_lines = 0;
    fk_reader_init(&reader, data, len);
    if (err == FK_OK &&
        (len != FK_AUDIT_CHECKPOINT_ANSWER || fk_reader_u64(&reader, &when) != FK_OK))
        err = FK_ERR_FORMAT;
    if (err == FK_OK)
        err = fk_audit_book_checkpoint(&audit->book, when, reader.next);
    if (err == FK_OK)
        fk_metric_add(audit->metrics, FK_AUDIT_METRIC_CHECKPOINTS, 1);
    else
        fk_log_limited(&limit, FK_LOG_ERROR, "audit checkpoint not signed", fk_error(err));
    (void)flush_book(audit);
    if (audit->final)
        finish(audit, 0);
    else
        watch_fronts(audit);
}

/* Ask for a checkpoint; until it is there no line is added. False: there is no signer. */
static bool request_checkpoint(struct audit *audit)
{
    uint8_t payload[FK_AUDIT_CHECKPOINT_SIZE];
    const struct fk_signer_ask ask = {
        .op = FK_SIGNER_AUDIT_CHECKPOINT, .payload = payload, .len = sizeof payload};

    if (!audit->book.open || audit->call != NULL)
        return false;
    fk_audit_chain_checkpoint(&audit->book.chain, payload);
    if (fk_signer_pool_submit(audit->pool, &ask, checkpoint_signed, audit, &audit->call) != FK_OK)
        return false;
    watch_fronts(audit);
    return true;
}

/* Drained: the last checkpoint, then the end. */
static void check_end(struct audit *audit)
{
    if (!audit->draining || audit->final ||
        (audit->n_fronts > 0 && fk_loop_now_us(audit->loop) < audit->deadline_us))
        return;
    if (audit->call != NULL && fk_loop_now_us(audit->loop) < audit->deadline_us)
        return; /* the tick comes back */
    audit->final = true;
    if (audit->failing || audit->unsigned_lines == 0 || !request_checkpoint(audit))
        finish(audit, audit->failing ? 1 : 0);
}

/* --- fronts: their lines --- */

static void drop_front(struct front *front)
{
    struct audit *audit = front->audit;

    fk_io_want(&front->io, 0);
    fk_close(&front->fd);
    fk_list_del(&front->link);
    free(front);
    audit->n_fronts--;
    check_end(audit);
}

/* Chain the whole lines that are there. FK_ERR_FORMAT: no line is that long. */
static int take_lines(struct front *front)
{
    struct audit *audit = front->audit;
    size_t at = 0;
    uint32_t count = 0;
    char *end;
    int err;

    while ((end = memchr(front->in + at, '\n', front->len - at)) != NULL) {
        size_t len = (size_t)(end - (front->in + at));

        if (!fk_audit_book_room(&audit->book) && flush_book(audit) != FK_OK)
            break;
        if ((err = fk_audit_book_line(&audit->book, front->index, front->in + at, len)) != FK_OK)
            return err == FK_ERR_LIMIT ? FK_ERR_FORMAT : err;
        at += len + 1;
        count++;
    }
    memmove(front->in, front->in + at, front->len - at);
    front->len -= at;
    front->written += count;
    audit->unsigned_lines += count;
    fk_metric_add(audit->metrics, FK_AUDIT_METRIC_LINES, count);
    return end == NULL && front->len > FK_AUDIT_LINE_MAX ? FK_ERR_FORMAT : FK_OK;
}

/* Write the lines of a front, and tell it so. */
static int take_and_write(struct front *front)
{
    int err = take_lines(front);

    if (err != FK_OK)
        return err;
    return flush_book(front->audit) == FK_OK ? send_ack(front) : FK_OK;
}

static int read_front(struct front *front)
{
    size_t room = sizeof front->in - front->len;
    ssize_t n;
    int err;

    if (room == 0)
        return take_and_write(front);
    n = recv(front->fd, front->in + front->len, room, MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? FK_OK : FK_ERR_CLOSED;
    front->len += (size_t)n;
    if ((size_t)n == room)
        front->audit->behind = true;
    if ((err = take_and_write(front)) != FK_OK)
        return err;
    return n == 0 ? FK_ERR_CLOSED : FK_OK;
}

static void front_ready(struct fk_io *io, unsigned events)
{
    struct front *front = fk_container(io, struct front, io);
    struct audit *audit = front->audit;
    int err = FK_OK;

    if ((events & FK_IO_WRITE) != 0)
        err = send_ack(front);
    if (err == FK_OK && (events & FK_IO_READ) != 0 && may_read(audit)) {
        err = read_front(front);
        fk_defer_start(&audit->batch_end);
    }
    if (err != FK_OK) {
        if (err != FK_ERR_CLOSED)
            fk_log(FK_LOG_ERROR, "front closed: not lines of the audit log",
                   fk_uint("front", front->index), fk_error(err));
        drop_front(front);
    } else {
        watch_front(front);
    }
    if (audit->unsigned_lines >= audit->settings.checkpoint_lines && !audit->failing)
        (void)request_checkpoint(audit);
}

static int add_front(struct audit *audit, int fd, unsigned index)
{
    struct front *front;

    if (audit->n_fronts >= FK_AUDIT_PEERS_MAX)
        return FK_ERR_LIMIT;
    front = calloc(1, sizeof *front);
    if (front == NULL)
        return FK_ERR_NOMEM;
    front->audit = audit;
    front->fd = fd;
    front->index = index;
    front->news = audit->failing;
    fk_io_init(&front->io, audit->loop, fd, front_ready);
    fk_list_append(&audit->fronts, &front->link);
    audit->n_fronts++;
    watch_front(front);
    return FK_OK;
}

/* --- time --- */

/* The file takes bytes again: first the lines that were read and had no room. */
static void resume(struct audit *audit)
{
    struct fk_list *item, *temp;

    fk_list_each_safe (item, temp, &audit->fronts) {
        struct front *front = fk_container(item, struct front, link);

        if (take_and_write(front) != FK_OK)
            drop_front(front);
    }
    watch_fronts(audit);
}

static void ticked(struct fk_timer *timer)
{
    struct audit *audit = fk_container(timer, struct audit, tick);
    uint64_t now = fk_loop_now_us(audit->loop);

    fk_timer_start(timer, TICK_US);
    request_chain(audit);
    if (audit->failing && flush_book(audit) == FK_OK)
        resume(audit);
    if (audit->unsigned_lines > 0 && !audit->failing &&
        now - audit->checkpoint_us >= (uint64_t)audit->settings.checkpoint_seconds * 1000000)
        (void)request_checkpoint(audit);
    report_head(audit);
    check_end(audit);
}

/* --- the master's messages --- */

/* The data of the first FK_PROC_LOG: settings, and the head of the log so far. */
static int take_settings(struct audit *audit, const struct fk_procmsg *msg)
{
    struct fk_audit_settings *settings = &audit->settings;
    const char *head = (const char *)msg->data + sizeof *settings;
    size_t len;
    int err;

    if (msg->len < sizeof *settings)
        return FK_ERR_FORMAT;
    memcpy(settings, msg->data, sizeof *settings);
    if (settings->checkpoint_lines == 0)
        settings->checkpoint_lines = DEFAULT_LINES;
    if (settings->checkpoint_seconds == 0)
        settings->checkpoint_seconds = DEFAULT_SECONDS;
    audit->book.sync = settings->sync != 0;
    len = msg->len - sizeof *settings;
    while (len > 0 && (head[len - 1] == '\n' || head[len - 1] == '\0'))
        len--;
    if (len == 0)
        return FK_OK;
    if ((err = fk_audit_head_parse(head, len, &audit->previous)) != FK_OK)
        return err;
    audit->has_previous = true;
    return FK_OK;
}

static int take_log(struct audit *audit, struct fk_procmsg *msg)
{
    int err, fd;

    if (msg->n_fds != 1)
        return FK_ERR_UNEXPECTED;
    if (audit->book.fd < 0 && (err = take_settings(audit, msg)) != FK_OK)
        return err;
    if (audit->book.open && audit->call != NULL) { /* a checkpoint covers all lines before it */
        fk_signer_pool_cancel(audit->pool, audit->call);
        audit->call = NULL;
        audit->final = false;
    }
    fd = msg->fds[0];
    msg->fds[0] = -1; /* moved */
    if ((err = fk_audit_book_use(&audit->book, fd)) != FK_OK || !audit->book.open)
        return err;
    if (flush_book(audit) == FK_OK)
        resume(audit);
    report_head(audit);
    return FK_OK;
}

static int take_peer(struct audit *audit, struct fk_procmsg *msg)
{
    int fd, err = FK_ERR_UNEXPECTED;

    if (msg->n_fds != 1)
        return err;
    fd = msg->fds[0];
    if (msg->arg >> 16 == FK_PEER_SIGNER) {
        msg->fds[0] = -1; /* moved */
        err = fk_signer_pool_add(audit->pool, fd, audit->n_signers++, msg->arg & 0xffff);
    } else if (msg->arg >> 16 == FK_PEER_FRONT) {
        err = add_front(audit, fd, msg->arg & 0xffff);
        if (err == FK_OK)
            msg->fds[0] = -1; /* moved */
    }
    request_chain(audit);
    return err;
}

static int take_metrics(struct audit *audit, struct fk_procmsg *msg)
{
    int err;

    if (msg->n_fds != 1 || audit->metrics != NULL || audit->serving)
        return FK_ERR_UNEXPECTED;
    if ((err = fk_metrics_open(fk_audit_metric_table, msg->fds[0], &audit->metrics)) != FK_OK)
        return err;
    fk_metrics_own(audit->metrics, msg->arg);
    return FK_OK;
}

static int begin_serving(struct audit *audit, const struct fk_procmsg *msg)
{
    char user[64] = "";
    int err;

    if (audit->book.fd < 0 || audit->serving || msg->len >= sizeof user)
        return FK_ERR_UNEXPECTED;
    memcpy(user, msg->data, msg->len);
    if ((err = fk_proc_drop(user[0] == '\0' ? NULL : user)) != FK_OK ||
        (err = fk_sandbox_enter(FK_SANDBOX_AUDIT)) != FK_OK)
        return err;
    audit->serving = true;
    fk_timer_start(&audit->tick, TICK_US);
    request_chain(audit);
    return fk_proc_send_fd(FK_PROC_CONTROL_FD, FK_PROC_READY, 0, -1);
}

static int take_drain(struct audit *audit, const struct fk_procmsg *msg)
{
    audit->draining = true;
    audit->deadline_us = fk_loop_now_us(audit->loop) + (uint64_t)msg->arg * 1000000;
    check_end(audit);
    return FK_OK;
}

static int take_message(struct audit *audit, struct fk_procmsg *msg)
{
    switch (msg->type) {
    case FK_PROC_LOG:
        return take_log(audit, msg);
    case FK_PROC_PEER:
        return take_peer(audit, msg);
    case FK_PROC_METRICS:
        return take_metrics(audit, msg);
    case FK_PROC_GO:
        return begin_serving(audit, msg);
    case FK_PROC_DRAIN:
        return take_drain(audit, msg);
    default:
        return FK_ERR_UNEXPECTED;
    }
}

static void refuse(struct audit *audit, int err)
{
    struct fk_procmsg msg = {.type = FK_PROC_FAILED};
    int len = snprintf((char *)msg.data, sizeof msg.data, "audit: %s", fk_err_text(err));

    msg.len = len > 0 ? (size_t)len : 0;
    fk_log(FK_LOG_ERROR, "audit process cannot start", fk_error(err));
    (void)fk_proc_send(FK_PROC_CONTROL_FD, &msg);
    audit->status = 1;
    fk_loop_stop(audit->loop);
}

static void control_ready(struct fk_io *io, unsigned events)
{
    struct audit *audit = fk_container(io, struct audit, control);
    struct fk_procmsg msg;
    int err = fk_proc_next(&msg);

    (void)events;
    if (err == FK_ERR_AGAIN)
        return;
    if (err == FK_ERR_CLOSED) {
        finish(audit, 0);
        return;
    }
    if (err == FK_OK) {
        err = take_message(audit, &msg);
        fk_procmsg_close(&msg);
    }
    if (err == FK_OK)
        return;
    if (audit->serving)
        fk_log(FK_LOG_ERROR, "message of master refused", fk_error(err));
    else
        refuse(audit, err);
}

static int start(struct audit *audit)
{
    int err;

    fk_list_init(&audit->fronts);
    audit->status = 1;
    if ((err = fk_audit_book_init(&audit->book)) != FK_OK ||
        (err = fk_loop_new(&audit->loop)) != FK_OK ||
        (err = fk_signer_pool_new(audit->loop, SIGNER_US, 4, &audit->pool)) != FK_OK)
        return err;
    fk_timer_init(&audit->tick, audit->loop, ticked);
    fk_defer_init(&audit->batch_end, audit->loop, begin_rest);
    fk_timer_init(&audit->rest, audit->loop, end_rest);
    fk_io_init(&audit->control, audit->loop, FK_PROC_CONTROL_FD, control_ready);
    fk_io_want(&audit->control, FK_IO_READ);
    return FK_OK;
}

int fk_audit_main(unsigned index)
{
    struct fk_list *item;
    struct audit *audit;
    int status;

    fk_proc_child_init("keyd-audit", index);
    audit = calloc(1, sizeof *audit);
    if (audit == NULL || start(audit) != FK_OK) {
        fk_log(FK_LOG_ERROR, "audit process cannot start", fk_error(FK_ERR_NOMEM));
        return 1;
    }
    fk_loop_run(audit->loop);
    status = audit->status;
    audit->draining = false; /* fronts dropped from here on end nothing */
    while ((item = fk_list_pop(&audit->fronts)) != NULL)
        drop_front(fk_container(item, struct front, link));
    fk_signer_pool_free(audit->pool);
    fk_audit_book_fini(&audit->book);
    fk_metrics_close(audit->metrics);
    fk_loop_free(audit->loop);
    free(audit);
    return status;
}
