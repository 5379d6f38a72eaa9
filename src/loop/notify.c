/* One datagram to the service manager a call: see notify.h. Only masters call this. */
#include "loop/notify.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/text.h"
#include "loop/sock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* An absolute path, or "@name" in the abstract name space. */
static int manager_address(const char *name, struct sockaddr_un *ret, socklen_t *ret_len)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    size_t len = strlen(name);

    if ((name[0] != '/' && name[0] != '@') || len < 2 || len >= sizeof un.sun_path)
        return FK_ERR_INVAL;
    memcpy(un.sun_path, name, len);
    if (name[0] == '@')
        un.sun_path[0] = '\0';
    *ret = un;
    *ret_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    return FK_OK;
}

static int tell(const char *state)
{
    const char *name = getenv("NOTIFY_SOCKET");
    struct sockaddr_un un;
    socklen_t un_len;
    size_t len = strlen(state);
    ssize_t n;
    int fd, err;

    if (name == NULL)
        return FK_OK;
    err = manager_address(name, &un, &un_len);
    if (err != FK_OK)
        return err;
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return FK_ERR_SYS;
    n = sendto(fd, state, len, MSG_NOSIGNAL, (const struct sockaddr *)&un, un_len);
    fk_close(&fd);
    return n == (ssize_t)len ? FK_OK : FK_ERR_SYS;
}

int fk_notify_ready(void)
{
    char state[64];

    snprintf(state, sizeof state, "READY=1\nMAINPID=%ld", (long)getpid());
    return tell(state);
}

int fk_notify_reloading(void)
{
    char state[64];

    snprintf(state, sizeof state, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, fk_clock_us());
    return tell(state);
}

int fk_notify_stopping(void)
{
    return tell("STOPPING=1");
}

int fk_notify_main(long pid)
{
    char state[32];

    snprintf(state, sizeof state, "MAINPID=%ld", pid);
    return tell(state);
}

int fk_notify_watchdog(void)
{
    return tell("WATCHDOG=1");
}

int fk_notify_status(const char *text)
{
    char state[256];

    snprintf(state, sizeof state, "STATUS=%.*s", (int)strcspn(text, "\n"), text);
    return tell(state);
}

void fk_notify_inherit(void)
{
    char pid[24];

    snprintf(pid, sizeof pid, "%ld", (long)getpid());
    if (getenv("WATCHDOG_PID") != NULL)
        (void)setenv("WATCHDOG_PID", pid, 1);
}

uint64_t fk_notify_watchdog_us(void)
{
    const char *period = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    uint64_t us, number;

    if (period == NULL || fk_text_u64(period, strlen(period), &us) != FK_OK)
        return 0;
    if (pid != NULL &&
        (fk_text_u64(pid, strlen(pid), &number) != FK_OK || number != (uint64_t)getpid()))
        return 0;
    return us / 2;
}

static void on_watchdog(struct fk_timer *timer)
{
    (void)fk_notify_watchdog();
    fk_timer_start(timer, fk_notify_watchdog_us());
}

void fk_notify_watch(struct fk_timer *timer, struct fk_loop *loop)
{
    fk_timer_init(timer, loop, on_watchdog);
    if (fk_notify_watchdog_us() != 0)
        on_watchdog(timer);
}
