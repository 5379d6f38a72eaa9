/* Opening and handing over of listening sockets. */
#include "keyd/sockets.h"

#include "base/err.h"
#include "base/log.h"
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

/* The first of what could not be opened. */
struct failure {
    const char *what;
    int err, number;
};

/* Each is logged: whoever mends the first should know of the others. */
static void note(struct failure *first, const char *what, int err)
{
    int number = errno;

    if (err == FK_OK)
        return;
    fk_log(FK_LOG_ERROR, "cannot listen", fk_str("address", what),
           err == FK_ERR_SYS ? fk_errno(number) : fk_error(err));
    if (first->err == FK_OK)
        *first = (struct failure){what, err, number};
}

static int open_listen(const struct fk_keyd_listen_conf *listen,
                       const struct fk_keyd_sockets *previous, struct fk_keyd_socket *socket)
{
    const char *text = listen->block.title;
    int err;

    socket->fd = -1;
    if ((err = copy_text(text, &socket->text)) != FK_OK ||
        (err = copy_text(listen->device, &socket->device)) != FK_OK)
        return err;
    return open_socket(find(previous, text), 0, socket);
}

static int open_listens(const struct fk_keyd_conf *conf, const struct fk_keyd_sockets *previous,
                        struct fk_keyd_sockets *sockets, struct failure *first)
{
    size_t count = 0;

    for (const struct fk_conf_block *block = conf->listens; block != NULL; block = block->next)
        count++;
    if ((sockets->listens = calloc(count + 1, sizeof *sockets->listens)) == NULL)
        return FK_ERR_NOMEM;
    for (const struct fk_conf_block *block = conf->listens; block != NULL; block = block->next)
        note(first, block->title,
             open_listen((const void *)block, previous, &sockets->listens[sockets->n_listens++]));
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

static int open_http(const struct fk_admin_conf *admin, const struct fk_keyd_sockets *previous,
                     struct fk_keyd_sockets *sockets)
{
    int err;

    if ((err = copy_text(admin->listen, &sockets->http.text)) != FK_OK)
        return err;
    return open_socket(previous != NULL ? &previous->http : NULL, 0600, &sockets->http);
}

int fk_keyd_sockets_open(const struct fk_keyd_conf *conf, const struct fk_keyd_sockets *previous,
                         struct fk_keyd_sockets *ret, const char **ret_what)
{
    struct fk_keyd_sockets sockets = {.http = {.fd = -1}, .control = {.fd = -1}};
    const struct fk_admin_conf *admin = fk_keyd_conf_admin(conf);
    struct failure first = {.err = FK_OK};
    int err;

    if ((err = open_listens(conf, previous, &sockets, &first)) != FK_OK)
        return err;
    note(&first, conf->control, open_control(conf, previous, &sockets));
    if (admin != NULL)
        note(&first, admin->listen, open_http(admin, previous, &sockets));
    if (first.err != FK_OK) {
        fk_keyd_sockets_close(&sockets);
        *ret_what = first.what;
        errno = first.number;
        return first.err;
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

void fk_keyd_sockets_refuse(struct fk_keyd_sockets *sockets)
{
    for (size_t i = 0; i < sockets->n_listens; i++)
        fk_close(&sockets->listens[i].fd);
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
