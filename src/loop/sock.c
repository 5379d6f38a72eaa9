/*
 * Sockets: see sock.h. Every descriptor made here is non-blocking and close-on-exec from birth.
 * Nothing here waits, logs or resolves.
 */
#include "loop/sock.h"

#include "base/err.h"

#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define SOCK_FLAGS (SOCK_NONBLOCK | SOCK_CLOEXEC)

/* A peer that leaves three probes unanswered, 5 s apart, is gone. */
#define KEEPALIVE_INTERVAL_S 5
#define KEEPALIVE_PROBES     3

static bool set_int(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof value) == 0;
}

static bool set_device(int fd, const char *device)
{
    return device == NULL ||
           setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, (socklen_t)strlen(device) + 1) == 0;
}

static bool is_any6(const struct fk_addr *addr)
{
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)&addr->storage;

    return IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr);
}

/* Options that must be set before bind(2). */
static bool prepare_listener(int fd, const struct fk_addr *addr,
                             const struct fk_listen_options *options)
{
    if (addr->storage.ss_family == AF_UNIX)
        return true;
    if (!set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1))
        return false;
    if (options->reuse_port && !set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1))
        return false;
    if (addr->storage.ss_family == AF_INET6 &&
        !set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, is_any6(addr) ? 0 : 1))
        return false;
    if (options->defer_accept > 0 &&
        !set_int(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, options->defer_accept))
        return false;
    return set_device(fd, options->device);
}

/* Remove a UNIX socket that no process listens on any more. */
static bool remove_stale(const struct fk_addr *addr)
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)(const void *)&addr->storage;
    bool stale = false;
    struct stat st;
    int fd;

    if (un->sun_path[0] == '\0' || lstat(un->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode))
        return false;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_FLAGS, 0);
    if (fd < 0)
        return false;
    if (connect(fd, (const struct sockaddr *)un, addr->len) != 0 && errno == ECONNREFUSED)
        stale = unlink(un->sun_path) == 0;
    fk_close(&fd);
    return stale;
}

/* bind(2) with the permissions asked for: a umask leaves no moment with wider ones. */
static bool bind_listener(int fd, const struct fk_addr *addr, unsigned mode)
{
    const struct sockaddr *sa = (const struct sockaddr *)&addr->storage;
    bool local = addr->storage.ss_family == AF_UNIX;
    mode_t old = 0;
    int result;

    if (local && mode != 0)
        old = umask((mode_t)(0777 & ~mode));
    result = bind(fd, sa, addr->len);
    if (result != 0 && errno == EADDRINUSE && local) {
        if (remove_stale(addr))
            result = bind(fd, sa, addr->len);
        else
            errno = EADDRINUSE;
    }
    if (local && mode != 0)
        umask(old);
    return result == 0;
}

/* A bound socket that listens if `backlog` is positive. */
static int open_listener(const struct fk_addr *addr, const struct fk_listen_options *options,
                         int backlog, int *ret_fd)
{
    int fd = socket(addr->storage.ss_family, SOCK_STREAM | SOCK_FLAGS, 0);
    int saved;

    if (fd < 0)
        return FK_ERR_SYS;
    if (!prepare_listener(fd, addr, options) || !bind_listener(fd, addr, options->mode) ||
        (backlog > 0 && listen(fd, backlog) != 0)) {
        saved = errno;
        fk_close(&fd);
        errno = saved;
        return FK_ERR_SYS;
    }
    *ret_fd = fd;
    return FK_OK;
}

int fk_sock_listen(const struct fk_addr *addr, const struct fk_listen_options *options, int *ret_fd)
{
    return open_listener(addr, options, options->backlog > 0 ? options->backlog : INT_MAX, ret_fd);
}

int fk_sock_probe(const struct fk_addr *addr, const struct fk_listen_options *options)
{
    struct fk_listen_options alone = *options;
    int fd;
    int err;

    alone.reuse_port = false;
    if ((err = open_listener(addr, &alone, 0, &fd)) == FK_OK)
        fk_close(&fd);
    return err;
}

int fk_sock_queue(int listener, unsigned *ret_waiting, unsigned *ret_places)
{
    struct tcp_info info;
    socklen_t len = sizeof info;

    if (getsockopt(listener, IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
        return FK_ERR_SYS;
    if (info.tcpi_state != TCP_LISTEN)
        return FK_ERR_INVAL;
    /* Linux tells a listener's queue and its bound in these two (tcp_get_info()). */
    *ret_waiting = info.tcpi_unacked;
    *ret_places = info.tcpi_sacked;
    return FK_OK;
}

/* Failures of the connection that was waiting, not of the listener: see accept(2). */
static bool connection_is_gone(int number)
{
    static const int gone[] = {EAGAIN,       ECONNABORTED, EINTR,       EPROTO,
                               ENETDOWN,     ENOPROTOOPT,  EHOSTDOWN,   ENONET,
                               EHOSTUNREACH, EOPNOTSUPP,   ENETUNREACH, ETIMEDOUT};

    for (size_t i = 0; i < sizeof gone / sizeof gone[0]; i++)
        if (gone[i] == number)
            return true;
    return false;
}

int fk_sock_accept(int listener, int *ret_fd, struct fk_addr *ret_peer)
{
    struct fk_addr peer = {.len = sizeof peer.storage};
    int fd = accept4(listener, (struct sockaddr *)&peer.storage, &peer.len, SOCK_FLAGS);

    if (fd < 0)
        return connection_is_gone(errno) ? FK_ERR_AGAIN : FK_ERR_SYS;
    *ret_fd = fd;
    if (ret_peer != NULL)
        *ret_peer = peer;
    return FK_OK;
}

static bool bind_source(int fd, const struct fk_addr *source)
{
    if (source == NULL)
        return true;
    /* Leave the choice of the port to connect(2): it then knows the whole pair and can reuse. */
    if (source->storage.ss_family != AF_UNIX && fk_addr_port(source) == 0 &&
        !set_int(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1))
        return false;
    return bind(fd, (const struct sockaddr *)&source->storage, source->len) == 0;
}

int fk_sock_connect(const struct fk_addr *addr, const struct fk_addr *bind, const char *device,
                    int *ret_fd)
{
    int fd = socket(addr->storage.ss_family, SOCK_STREAM | SOCK_FLAGS, 0);
    int saved;

    if (fd < 0)
        return FK_ERR_SYS;
    if (!set_device(fd, device) || !bind_source(fd, bind) ||
        (connect(fd, (const struct sockaddr *)&addr->storage, addr->len) != 0 &&
         errno != EINPROGRESS)) {
        saved = errno;
        fk_close(&fd);
        errno = saved;
        return FK_ERR_SYS;
    }
    *ret_fd = fd;
    return FK_OK;
}

int fk_sock_error(int fd)
{
    socklen_t len = sizeof(int);
    int number = 0;

    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &number, &len) != 0)
        return errno;
    return number;
}

int fk_sock_pair(int type, int ret_fds[2])
{
    int fds[2];

    if (socketpair(AF_UNIX, type | SOCK_FLAGS, 0, fds) != 0)
        return FK_ERR_SYS;
    ret_fds[0] = fds[0];
    ret_fds[1] = fds[1];
    return FK_OK;
}

void fk_sock_nodelay(int fd)
{
    set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

void fk_sock_keepalive(int fd, unsigned idle_s)
{
    if (!set_int(fd, SOL_SOCKET, SO_KEEPALIVE, idle_s > 0) || idle_s == 0)
        return;
    set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle_s > INT16_MAX ? INT16_MAX : (int)idle_s);
    set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
    set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
}

int fk_sock_local(int fd, struct fk_addr *ret)
{
    struct fk_addr addr = {.len = sizeof addr.storage};

    if (getsockname(fd, (struct sockaddr *)&addr.storage, &addr.len) != 0)
        return FK_ERR_SYS;
    *ret = addr;
    return FK_OK;
}

bool fk_sock_is_device(const char *name)
{
    size_t len = strlen(name);

    return len > 0 && len < IFNAMSIZ && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
           strcspn(name, "/: \t\n\v\f\r") == len;
}

void fk_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}
