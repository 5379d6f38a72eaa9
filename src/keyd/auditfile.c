/*
 * The audit log's file, which only the master can open, and its head beside it. The lines
 * themselves never pass through the master.
 */
#include "keyd/master_priv.h"

#include "base/err.h"
#include "base/log.h"
#include "keyd/audit_log.h"
#include "loop/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int fk_keyd_audit_open(struct fk_keyd_master *master, const struct fk_keyd_conf *conf,
                       bool *ret_changed)
{
    const struct fk_keyd_audit_conf *audit = fk_keyd_conf_audit(conf);
    struct stat old, new;
    bool changed = true;
    int fd;

    if (audit == NULL)
        return FK_OK;
    fd = open(audit->file, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return FK_ERR_SYS;
    if (master->audit_fd >= 0 && fstat(master->audit_fd, &old) == 0 && fstat(fd, &new) == 0)
        changed = old.st_dev != new.st_dev || old.st_ino != new.st_ino;
    fk_close(&master->audit_fd);
    master->audit_fd = fd;
    *ret_changed = changed;
    return FK_OK;
}

/* As seen by its name: no link is followed, as when it is opened. */
static bool is_in_place(const struct fk_keyd_master *master, const char *path)
{
    struct stat named, open;

    return master->audit_fd >= 0 && lstat(path, &named) == 0 &&
           fstat(master->audit_fd, &open) == 0 && named.st_dev == open.st_dev &&
           named.st_ino == open.st_ino;
}

static void on_look(struct fk_timer *timer)
{
    static struct fk_log_limit limit;
    struct fk_keyd_master *master = fk_container(timer, struct fk_keyd_master, audit_look);
    const char *path = fk_keyd_conf_audit(master->current->conf)->file;
    bool was_open = master->audit_fd >= 0, changed = false;

    fk_timer_start(timer, FK_KEYD_AUDIT_LOOK_US);
    if (is_in_place(master, path))
        return;
    if (fk_keyd_audit_open(master, master->current->conf, &changed) != FK_OK) {
        fk_log_limited(&limit, FK_LOG_ERROR, "audit log cannot be opened anew",
                       fk_str("file", path), fk_errno(errno));
        return;
    }
    fk_log(FK_LOG_WARN,
           was_open ? "audit log was moved or deleted; going on in a new file"
                    : "audit log could be opened at last",
           fk_str("file", path));
    fk_keyd_switch_audit(master);
}

void fk_keyd_audit_watch(struct fk_keyd_master *master)
{
    if (master->current->conf->audit == NULL)
        return;
    fk_timer_init(&master->audit_look, master->loop, on_look);
    fk_timer_start(&master->audit_look, FK_KEYD_AUDIT_LOOK_US);
}

bool fk_keyd_audit_failing(const struct fk_keyd_master *master)
{
    return master->audit_fd < 0 ||
           fk_metric_total(master->audit_metrics, FK_AUDIT_METRIC_FAILING) != 0;
}

bool fk_keyd_audit_stops(const struct fk_keyd_master *master)
{
    const struct fk_keyd_audit_conf *audit = fk_keyd_conf_audit(master->current->conf);

    return audit != NULL && audit->on_failure == 1 && fk_keyd_audit_failing(master);
}

static int head_path(const struct fk_keyd_master *master, const char *suffix, char *ret,
                     size_t size)
{
    const struct fk_keyd_audit_conf *audit = fk_keyd_conf_audit(master->current->conf);
    int len = snprintf(ret, size, "%s.head%s", audit->file, suffix);

    return len < 0 || (size_t)len >= size ? FK_ERR_LIMIT : FK_OK;
}

/* The head line of before, if there is one. */
static size_t read_head(const struct fk_keyd_master *master, uint8_t *dst, size_t size)
{
    char path[PATH_MAX];
    ssize_t len;
    int fd;

    if (head_path(master, "", path, sizeof path) != FK_OK)
        return 0;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    len = fd >= 0 ? read(fd, dst, size) : -1;
    fk_close(&fd);
    return len > 0 ? (size_t)len : 0;
}

int fk_keyd_audit_send(struct fk_keyd_master *master, struct fk_child *child)
{
    const struct fk_keyd_audit_conf *audit = fk_keyd_conf_audit(master->current->conf);
    struct fk_procmsg msg = {.type = FK_PROC_LOG, .n_fds = 1, .fds = {master->audit_fd}};
    struct fk_audit_settings settings = {
        .checkpoint_lines = (uint32_t)audit->checkpoint_lines,
        .checkpoint_seconds = (uint32_t)(audit->checkpoint_interval / 1000000),
        .refuse = audit->on_failure == 1,
        .sync = audit->sync,
    };

    if (master->audit_fd < 0)
        return FK_ERR_SYS;
    memcpy(msg.data, &settings, sizeof settings);
    msg.len = sizeof settings +
              read_head(master, msg.data + sizeof settings, sizeof msg.data - sizeof settings);
    return fk_child_send(child, &msg);
}

/* Written beside and renamed: there is always a whole head. */
void fk_keyd_audit_head(struct fk_keyd_master *master, const struct fk_procmsg *msg)
{
    static struct fk_log_limit limit;
    char path[PATH_MAX], temporary[PATH_MAX];
    bool written;
    int fd;

    if (master->current->conf->audit == NULL || head_path(master, "", path, sizeof path) != FK_OK ||
        head_path(master, ".new", temporary, sizeof temporary) != FK_OK)
        return;
    fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    written = fd >= 0 && write(fd, msg->data, msg->len) == (ssize_t)msg->len;
    fk_close(&fd);
    if (!written || rename(temporary, path) < 0)
        fk_log_limited(&limit, FK_LOG_ERROR, "audit head not written", fk_str("file", path),
                       fk_errno(errno));
}
