/* Opening and handing over of listening sockets. */
#include "keyd/sockets.h"

#include "base/err.h"
#include "loop/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* The folder of a UNIX socket may not be there yet (run/). */
static void make_folder(const char *path)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');

    if (slash == NULL || slash == path)
        return;
    (void)snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
    (void)mkdir(folder, 0755); /* whether it worked shows when the socket is bound */
}

static int open_new(const struct fk_keyd_socket *wanted, unsigned mode, int *ret_fd)
{
    const struct fk_listen_options options = {.mode = mode, .device = wanted->device};
    struct fk_addr addr;
    int err;

    if (wanted->text == NULL)
        return FK_ERR_INVAL;
    if ((err = fk_addr_parse(wanted->text, &addr)) != FK_OK)
        return err;
    if (strncmp(wanted->text, "unix:", 5) == 0)
        make_folder(wanted->text + 5);
    return fk_sock_listen(&addr, &options, ret_fd);
}

/* As `old` if that is the same socket, else anew. */
static int open_socket(const struct fk_keyd_socket *old, unsigned mode, struct fk_keyd_socket *ret)
{
    if (old == NULL || old->fd < 0 || !same_text(old->text, ret->text) ||
        !same_text(old->device, ret->device))
        return open_new(ret, mode, &ret->fd);
    ret->fd = fcntl(old->fd, F_DUPFD_CLOEXEC, 3);
    return ret->fd < 0 ? FK_ERR_SYS : FK_OK;
}

static const struct fk_keyd_socket *find(const struct fk_keyd_sockets *sockets, const char *text)
{
    for (size_t i = 0; sockets != NULL && i < sockets->n_listens; i++)
        if (strcmp(sockets->listens[i].text, text) == 0)
            return &sockets->listens[i];
    return NULL;
}

static int copy_text(const char *text, char **ret)
{
    *ret = text != NULL ? strdup(text) : NULL;
    return text != NULL && *ret == NULL ? FK_ERR_NOMEM : FK_OK;
}

static int open_listens(const struct fk_keyd_conf *conf, const struct fk_keyd_sockets *previous,
                        struct fk_keyd_sockets *sockets, const char **ret_what)
{
    size_t count = 0;
    int err;

    for (const struct fk_conf_block *block = conf->listens; block != NULL; block = block->next)
        count++;
    if ((sockets->listens = calloc(count + 1, sizeof *sockets->listens)) == NULL)
        return FK_ERR_NOMEM;
    for (const struct fk_conf_block *block = conf->listens; block != NULL; block = block->next) {
        const struct fk_keyd_listen_conf *listen = (const void *)block;
        struct fk_keyd_socket *socket = &sockets->listens[sockets->n_listens++];

        *ret_what = block->title;
        socket->fd = -1;
        if ((err = copy_text(block->title, &socket->text)) != FK_OK ||
            (err = copy_text(listen->device, &socket->device)) != FK_OK ||
            (err = open_socket(find(previous, block->title), 0, socket)) != FK_OK)
            return err;
    }
    return FK_OK;
}

static int open_control(const struct fk_keyd_conf *conf, const struct fk_keyd_sockets *previous,
                        struct fk_keyd_sockets *sockets)
{
    size_t size = strlen(conf->control) + sizeof "unix:";

    if ((sockets->control.text = malloc(size)) == NULL)
        return FK_ERR_NOMEM;
    (void)snprintf(sockets->control.text, size, "unix:%s", conf->control);
    return open_socket(previous != NULL ? &previous->control : NULL, 0600, &sockets->control);
}

static int open_http(const struct fk_keyd_conf *conf, const struct fk_keyd_sockets *previous,
                     struct fk_keyd_sockets *sockets)
{
    const struct fk_keyd_admin_conf *admin = fk_keyd_conf_admin(conf);
    int err;

    if (admin == NULL)
        return FK_OK;
    if ((err = copy_text(admin->listen, &sockets->http.text)) != FK_OK)
        return err;
    return open_socket(previous != NULL ? &previous->http : NULL, 0600, &sockets->http);
}

int fk_keyd_sockets_open(const struct fk_keyd_conf *conf, const struct fk_keyd_sockets *previous,
                         struct fk_keyd_sockets *ret, const char **ret_what)
{
    struct fk_keyd_sockets sockets = {.http = {.fd = -1}, .control = {.fd = -1}};
    int err = open_listens(conf, previous, &sockets, ret_what), number;

    if (err == FK_OK) {
        *ret_what = conf->control;
        err = open_control(conf, previous, &sockets);
    }
    if (err == FK_OK && conf->admin != NULL) {
        *ret_what = fk_keyd_conf_admin(conf)->listen;
        err = open_http(conf, previous, &sockets);
    }
    if (err != FK_OK) {
        number = errno;
        fk_keyd_sockets_close(&sockets);
        errno = number;
        return err;
    }
    *ret = sockets;
    return FK_OK;
}

static void close_one(struct fk_keyd_socket *socket)
{
    fk_close(&socket->fd);
    free(socket->text);
    free(socket->device);
    *socket = (struct fk_keyd_socket){.fd = -1};
}

void fk_keyd_sockets_close(struct fk_keyd_sockets *sockets)
{
    for (size_t i = 0; i < sockets->n_listens; i++)
        close_one(&sockets->listens[i]);
    free(sockets->listens);
    sockets->listens = NULL;
    sockets->n_listens = 0;
    close_one(&sockets->http);
    close_one(&sockets->control);
}
