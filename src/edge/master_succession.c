/*
 * A master's place is taken by a new one, perhaps of another version, without a moment in which
 * nobody listens: SIGUSR2, or the command "upgrade".
 *
 * The present master executes the program's file anew. The new one loads the configuration for
 * itself and gets over the link between them, in this order: FK_PROC_CONFIG (arg:
 * FK_SUCCESSION_VERSION), FK_PROC_LISTEN for its listening sockets (edge/sockets.h) and for the
 * admin process's (data: the address; arg: LISTEN_ADMIN and enum fk_admin_listener),
 * FK_PROC_ORIGIN for each origin that is set down (data: "SITE/ORIGIN"),
 * FK_PROC_TICKETS (data: keys as in tls/tickets.h, then when each was made, u64), FK_PROC_GO. When
 * all of its workers serve it says FK_PROC_READY, and the old one finishes what it has begun and
 * ends. A new one that ends before that, or is late, changes nothing.
 */
#include "edge/master_priv.h"

#include "admin/admin.h"
#include "admin/conf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/reader.h"
#include "base/writer.h"
#include "edge/setdown.h"
#include "loop/notify.h"
#include "loop/proc.h"
#include "loop/sock.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Grows with every change of what is said over the link. */
#define FK_SUCCESSION_VERSION 1

/* Above any number of a worker. */
#define LISTEN_ADMIN 0x10000

/* --- what goes from one to the other --- */

enum step {
    STEP_CONFIG,
    STEP_SOCKETS,
    STEP_CONTROL,
    STEP_HTTP,
    STEP_DOWN,
    STEP_TICKETS,
    STEP_GO,
    STEP_END
};

/* The address of a listener of the admin process. */
static const char *admin_address(const struct fk_edge_conf *root, unsigned listener)
{
    const struct fk_admin_conf *admin = (const void *)root->admin;

    if (listener == FK_ADMIN_CONTROL)
        return root->control;
    return admin == NULL ? NULL : admin->listen;
}

static int *admin_fd(struct fk_master *master, unsigned listener)
{
    return listener == FK_ADMIN_CONTROL ? &master->control_fd : &master->http_fd;
}

/* FK_ERR_NOT_FOUND: it has none. */
static int make_admin(struct fk_master *master, unsigned listener, struct fk_procmsg *ret)
{
    const char *address = admin_address(master->loaded->root, listener);

    if (*admin_fd(master, listener) < 0 || address == NULL || strlen(address) > sizeof ret->data)
        return FK_ERR_NOT_FOUND;
    ret->type = FK_PROC_LISTEN;
    ret->arg = LISTEN_ADMIN + listener;
    ret->fds[0] = *admin_fd(master, listener);
    ret->n_fds = 1;
    ret->len = strlen(address);
    memcpy(ret->data, address, ret->len);
    return FK_OK;
}

static int make_tickets(const struct fk_master *master, struct fk_procmsg *ret)
{
    const struct fk_ticket_keys *keys = (const void *)fk_secret_bytes(master->tickets);
    size_t len = fk_ticket_keys_encode(keys, ret->data), times;
    struct fk_writer writer;
    int err;

    ret->type = FK_PROC_TICKETS;
    fk_writer_init(&writer, ret->data + len, sizeof ret->data - len);
    for (size_t i = 0; i < keys->count; i++)
        fk_writer_u64(&writer, keys->keys[i].made_us);
    err = fk_writer_end(&writer, &times);
    ret->len = len + times;
    return err;
}

/* FK_ERR_NOT_FOUND: no more is set down. */
static int make_down(const struct fk_master *master, size_t i, struct fk_procmsg *ret)
{
    const char *name = fk_setdown_at(master->down, i);

    if (name == NULL)
        return FK_ERR_NOT_FOUND;
    ret->type = FK_PROC_ORIGIN;
    ret->arg = FK_SETDOWN_DOWN;
    ret->len = strlen(name);
    memcpy(ret->data, name, ret->len); /* it came as an argument, which fits */
    return FK_OK;
}

/* The next message; FK_ERR_NOT_FOUND: none for this step, or no more. */
static int make_message(struct fk_master *master, struct fk_procmsg *ret)
{
    struct fk_master_succession *succession = &master->succession;

    switch ((enum step)succession->step) {
    case STEP_CONFIG:
        ret->type = FK_PROC_CONFIG;
        ret->arg = FK_SUCCESSION_VERSION;
        return FK_OK;
    case STEP_SOCKETS:
        return fk_sockets_give(master->sockets, &succession->place, ret);
    case STEP_CONTROL:
        return make_admin(master, FK_ADMIN_CONTROL, ret);
    case STEP_HTTP:
        return make_admin(master, FK_ADMIN_HTTP, ret);
    case STEP_DOWN:
        return make_down(master, succession->down, ret);
    case STEP_TICKETS:
        return make_tickets(master, ret);
    case STEP_GO:
        ret->type = FK_PROC_GO;
        return FK_OK;
    case STEP_END:
        break;
    }
    return FK_ERR_NOT_FOUND;
}

/* --- the predecessor --- */

static void answer(struct fk_master *master, json_t *json)
{
    struct fk_master_question *from = &master->succession.from;

    if (from->asker != NULL)
        fk_master_answer(from->asker, from->id, json);
    else
        json_decref(json);
    from->asker = NULL;
}

static void forget(struct fk_master *master)
{
    struct fk_master_succession *succession = &master->succession;

    fk_io_want(&succession->io, 0);
    fk_io_want(&succession->end, 0);
    fk_timer_stop(&succession->timer);
    fk_close(&succession->link);
    fk_close(&succession->pidfd);
    succession->pid = 0;
}

/* It has ended before it served. */
static void failed(struct fk_master *master, const char *why)
{
    fk_log(FK_LOG_ERROR, "no successor; serving on", fk_str("why", why));
    forget(master);
    answer(master, json_pack("{s:s}", "error", why));
    fk_master_reload_release(master);
}

static void take_leave(struct fk_master *master)
{
    pid_t pid = master->succession.pid;

    fk_log(FK_LOG_INFO, "the successor serves", fk_int("pid", pid));
    (void)fk_notify_main(pid);
    forget(master);
    fk_timer_stop(&master->watchdog);
    master->succeeded = true;
    fk_master_stop(master);
    /* Whoever gets the answer finds the successor from then on. */
    fk_master_admin_retire(master);
    answer(master, json_pack("{s:b, s:i}", "ok", 1, "pid", (int)pid));
}

/* As much as its socket takes. */
static int give(struct fk_master *master)
{
    struct fk_master_succession *succession = &master->succession;
    int err = FK_OK;

    while (err == FK_OK && succession->step != STEP_END) {
        struct fk_sockets_place before = succession->place;
        struct fk_procmsg msg = {.type = 0};

        err = make_message(master, &msg);
        if (err == FK_ERR_NOT_FOUND) {
            succession->step++;
            err = FK_OK;
            continue;
        }
        if (err == FK_OK)
            err = fk_proc_send(succession->link, &msg);
        if (err == FK_ERR_AGAIN)
            succession->place = before;
        if (err == FK_OK && succession->step == STEP_DOWN)
            succession->down++;
        else if (err == FK_OK && succession->step != STEP_SOCKETS)
            succession->step++;
        fk_wipe(&msg, sizeof msg);
    }
    fk_io_want(&succession->io, err == FK_ERR_AGAIN ? FK_IO_READ | FK_IO_WRITE : FK_IO_READ);
    return err == FK_ERR_AGAIN ? FK_OK : err;
}

static void on_link(struct fk_io *io, unsigned events)
{
    struct fk_master *master = fk_container(io, struct fk_master, succession.io);
    struct fk_procmsg msg = {.type = 0};
    int err = FK_OK;

    if ((events & FK_IO_READ) != 0 && (err = fk_proc_recv(master->succession.link, &msg)) == FK_OK)
        fk_procmsg_close(&msg);
    if (err == FK_OK && msg.type == FK_PROC_READY) {
        take_leave(master);
        return;
    }
    if (err == FK_OK || err == FK_ERR_AGAIN)
        err = give(master);
    if (err != FK_OK)
        fk_io_want(io, 0); /* how it ends is seen at `end`, or in time */
}

static void on_end(struct fk_io *io, unsigned events)
{
    struct fk_master *master = fk_container(io, struct fk_master, succession.end);
    int status;

    (void)events;
    if (waitpid(master->succession.pid, &status, WNOHANG) == master->succession.pid)
        failed(master, master->succession.late ? "the successor did not serve in time"
                                               : "the successor has ended; its log lines say why");
}

static void on_late(struct fk_timer *timer)
{
    struct fk_master *master = fk_container(timer, struct fk_master, succession.timer);

    master->succession.late = true;
    (void)kill(master->succession.pid, SIGKILL); /* on_end() follows */
}

/* The program's file as it was at the start, with the arguments of the start. */
static int spawn(struct fk_master *master)
{
    struct fk_master_succession *succession = &master->succession;
    char program[] = "farkey", role[FK_NAME_MAX], conf_option[] = "-c", verbose[] = "-v";
    char *argv[] = {program,
                    role,
                    conf_option,
                    (char *)(uintptr_t)master->path,
                    master->verbose ? verbose : NULL,
                    NULL};
    int err;

    snprintf(role, sizeof role, "%s", master->role->name);
    if ((err = fk_proc_spawn_successor(succession->program, argv, &succession->pid,
                                       &succession->link)) != FK_OK)
        return err;
    succession->pidfd = (int)syscall(SYS_pidfd_open, succession->pid, 0);
    if (succession->pidfd >= 0)
        return FK_OK;
    (void)kill(succession->pid, SIGKILL);
    while (waitpid(succession->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return FK_ERR_SYS;
}

/* Why there can be no successor now; NULL: there can. */
static const char *refusal(struct fk_master *master)
{
    if (master->wire != NULL)
        return "connections through the inline box live in its workers: restart it";
    if (master->stopping)
        return fk_err_text(FK_ERR_DRAINING);
    if (!master->ready)
        return "this one does not serve yet";
    if (master->succession.pid != 0)
        return "a successor is starting already";
    if (!fk_master_reload_hold(master))
        return "a reload is under way; try again";
    return NULL;
}

void fk_master_succeed(struct fk_master *master, const struct fk_master_question *from)
{
    struct fk_master_succession *succession = &master->succession;
    const char *why = refusal(master);

    if (why != NULL) {
        fk_log(FK_LOG_WARN, "no successor is started", fk_str("why", why));
        if (from != NULL)
            fk_master_answer(from->asker, from->id, json_pack("{s:s}", "error", why));
        return;
    }
    succession->from = from == NULL ? (struct fk_master_question){.asker = NULL} : *from;
    succession->step = STEP_CONFIG;
    succession->place = (struct fk_sockets_place){.group = 0};
    succession->down = 0;
    succession->late = false;
    if (spawn(master) != FK_OK) {
        failed(master, strerror(errno));
        return;
    }
    fk_log(FK_LOG_INFO, "a successor starts", fk_str("program", succession->program),
           fk_int("pid", succession->pid));
    fk_io_init(&succession->io, master->loop, succession->link, on_link);
    fk_io_init(&succession->end, master->loop, succession->pidfd, on_end);
    fk_io_want(&succession->io, FK_IO_READ | FK_IO_WRITE);
    fk_io_want(&succession->end, FK_IO_READ);
    fk_timer_start(&succession->timer, FK_EDGE_SUCCESSOR_US);
}

void fk_master_succession_init(struct fk_master *master)
{
    struct fk_master_succession *succession = &master->succession;
    ssize_t len = readlink("/proc/self/exe", succession->program, sizeof succession->program - 1);

    succession->program[len < 0 ? 0 : len] = '\0';
    succession->link = succession->pidfd = succession->predecessor = -1;
    fk_io_init(&succession->io, master->loop, -1, on_link);
    fk_io_init(&succession->end, master->loop, -1, on_end);
    fk_timer_init(&succession->timer, master->loop, on_late);
}

void fk_master_succession_cancel(struct fk_master *master)
{
    if (master->succession.pid == 0)
        return;
    (void)kill(master->succession.pid, SIGTERM); /* it is not to outlive the order to end */
    forget(master);
    answer(master, json_pack("{s:s}", "error", fk_err_text(FK_ERR_DRAINING)));
}

void fk_master_succession_fini(struct fk_master *master)
{
    forget(master);
    fk_close(&master->succession.predecessor);
}

/* --- the successor --- */

static int take_admin(struct fk_master *master, struct fk_procmsg *msg)
{
    unsigned listener = msg->arg - LISTEN_ADMIN;
    const char *address =
        listener <= FK_ADMIN_CONTROL ? admin_address(master->loaded->root, listener) : NULL;

    if (address == NULL || msg->n_fds != 1 || strlen(address) != msg->len ||
        memcmp(address, msg->data, msg->len) != 0)
        return FK_OK; /* not where this one listens */
    fk_close(admin_fd(master, listener));
    *admin_fd(master, listener) = msg->fds[0];
    msg->fds[0] = -1; /* moved */
    return FK_OK;
}

static int take_tickets(struct fk_master *master, const struct fk_procmsg *msg)
{
    struct fk_ticket_keys *keys = (void *)fk_secret_data(master->tickets);
    size_t count = msg->len > 0 ? msg->data[0] : 0, times = count * sizeof(uint64_t);
    struct fk_reader reader;
    int err;

    if (times > msg->len)
        return FK_ERR_TRUNCATED;
    if ((err = fk_ticket_keys_decode(msg->data, msg->len - times, keys)) != FK_OK)
        return err;
    fk_reader_init(&reader, msg->data + msg->len - times, times);
    for (size_t i = 0; err == FK_OK && i < keys->count; i++)
        err = fk_reader_u64(&reader, &keys->keys[i].made_us);
    return err;
}

static int take_down(struct fk_master *master, const struct fk_procmsg *msg)
{
    char name[FK_PROC_DATA_MAX + 1];

    memcpy(name, msg->data, msg->len);
    name[msg->len] = '\0';
    return fk_setdown_change(master->down, name, FK_SETDOWN_DOWN);
}

static int take(struct fk_master *master, struct fk_procmsg *msg)
{
    switch (msg->type) {
    case FK_PROC_CONFIG:
        return msg->arg == FK_SUCCESSION_VERSION ? FK_OK : FK_ERR_VERSION;
    case FK_PROC_LISTEN:
        return msg->arg < LISTEN_ADMIN ? fk_sockets_take(master->sockets, msg)
                                       : take_admin(master, msg);
    case FK_PROC_ORIGIN:
        return take_down(master, msg);
    case FK_PROC_TICKETS:
        return take_tickets(master, msg);
    case FK_PROC_GO:
        fk_master_orders_commit(master); /* what this configuration does not have is forgotten */
        return FK_OK;
    default:
        return FK_ERR_UNEXPECTED;
    }
}

/* The next message, waited for. */
static int receive(int link, struct fk_procmsg *ret)
{
    struct pollfd poll_fd = {link, POLLIN, 0};
    int err;

    while ((err = fk_proc_recv(link, ret)) == FK_ERR_AGAIN) {
        int n = poll(&poll_fd, 1, FK_EDGE_INHERIT_MS);

        if (n == 0)
            return FK_ERR_TIMEOUT;
        if (n < 0 && errno != EINTR)
            return FK_ERR_SYS;
    }
    return err;
}

int fk_master_inherit(struct fk_master *master)
{
    uint32_t expected = FK_PROC_CONFIG, last = 0;
    int link = fk_proc_predecessor(), err = FK_OK;
    struct fk_procmsg msg;

    master->succession.predecessor = link;
    if (link < 0)
        return FK_OK;
    fk_notify_inherit();
    while (err == FK_OK && last != FK_PROC_GO) {
        if ((err = receive(link, &msg)) != FK_OK)
            break;
        last = msg.type;
        err = expected == 0 || last == expected ? take(master, &msg) : FK_ERR_UNEXPECTED;
        expected = 0;
        fk_procmsg_close(&msg);
        fk_wipe(&msg, sizeof msg);
    }
    if (err != FK_OK)
        fk_log(FK_LOG_ERROR, "cannot take over from the predecessor", fk_error(err));
    return err;
}

void fk_master_tell_predecessor(struct fk_master *master)
{
    if (master->succession.predecessor >= 0)
        (void)fk_proc_send_fd(master->succession.predecessor, FK_PROC_READY, 0, -1);
    fk_close(&master->succession.predecessor);
}
