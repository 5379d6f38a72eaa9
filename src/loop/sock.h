/*
 * Sockets, always non-blocking and close-on-exec. Functions that return a descriptor give it to the
 * caller. On FK_ERR_SYS errno tells why.
 */
#ifndef FK_LOOP_SOCK_H
#define FK_LOOP_SOCK_H

#include "loop/addr.h"

#include <stdbool.h>

struct fk_listen_options {
    bool reuse_port;    /* SO_REUSEPORT: one socket a worker */
    int backlog;        /* 0: the system's maximum */
    int defer_accept;   /* TCP_DEFER_ACCEPT seconds, 0 off */
    unsigned mode;      /* permissions of a UNIX socket, 0 leaves the umask's */
    const char *device; /* SO_BINDTODEVICE, NULL for any */
};

int fk_sock_listen(const struct fk_addr *addr, const struct fk_listen_options *options,
                   int *ret_fd);

/*
 * Whether fk_sock_listen() would have the address to itself: with reuse_port another process of the
 * same user could share it unnoticed. For IP addresses only. FK_ERR_SYS (EADDRINUSE).
 */
int fk_sock_probe(const struct fk_addr *addr, const struct fk_listen_options *options);

/* FK_ERR_AGAIN when nobody waits; other failures are FK_ERR_SYS (EMFILE included). */
int fk_sock_accept(int listener, int *ret_fd, struct fk_addr *ret_peer);

/* How many wait to be accepted on a TCP listener, and how many may. FK_ERR_SYS, FK_ERR_INVAL. */
int fk_sock_queue(int listener, unsigned *ret_waiting, unsigned *ret_places);

/* Begin to connect; writable when done, then ask fk_sock_error(). `bind` may be NULL. */
int fk_sock_connect(const struct fk_addr *addr, const struct fk_addr *bind, const char *device,
                    int *ret_fd);

/* The pending error of a socket (SO_ERROR), 0 when none. */
int fk_sock_error(int fd);

int fk_sock_pair(int type, int ret_fds[2]);
void fk_sock_nodelay(int fd);
void fk_sock_keepalive(int fd, unsigned idle_s);
int fk_sock_local(int fd, struct fk_addr *ret);

/* close(2) unless negative, and set to -1. */
void fk_close(int *fd);

/* Whether an interface may have this name; it need not be there (Linux: dev_valid_name()). */
bool fk_sock_is_device(const char *name);

#endif
