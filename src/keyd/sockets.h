/*
 * The listening sockets of a key server, opened by the master before a configuration is committed
 * to. A reload takes over those that stay, so that no waiting connection is lost.
 */
#ifndef FK_KEYD_SOCKETS_H
#define FK_KEYD_SOCKETS_H

#include "keyd/conf.h"

struct fk_keyd_sockets {
    struct fk_keyd_socket {
        char *text;   /* the address as configured */
        char *device; /* NULL: any */
        int fd;
    } * listens; /* in the order of the listen blocks */
    size_t n_listens;
    struct fk_keyd_socket http, control; /* fd -1: none */
};

/*
 * Open all; `previous` may be NULL. On FK_ERR_SYS (errno), FK_ERR_FORMAT or FK_ERR_NOMEM *ret_what
 * is the address that failed first (each is logged), borrowed from `conf`; nothing is left open.
 */
int fk_keyd_sockets_open(const struct fk_keyd_conf *conf, const struct fk_keyd_sockets *previous,
                         struct fk_keyd_sockets *ret, const char **ret_what);
/* Close those that edges connect to; their texts stay. */
void fk_keyd_sockets_refuse(struct fk_keyd_sockets *sockets);
void fk_keyd_sockets_close(struct fk_keyd_sockets *sockets);

#endif
