/* Sockets that outlive configurations: see sockets.h. */
#include "edge/sockets.h"

#include "base/err.h"
#include "base/list.h"
#include "base/log.h"
#include "loop/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

/* What makes two listen blocks mean the same sockets, and the sockets. */
struct group {
    struct fk_list link;
    char *address;
    char *device; /* NULL: any */
    bool fresh;   /* opened by the present fk_sockets_open() */
    int fds[];    /* one a worker */
};

struct fk_sockets {
    unsigned n_workers;
    struct fk_list groups;
};

int fk_sockets_new(unsigned n_workers, struct fk_sockets **ret)
{
    struct fk_sockets *sockets = calloc(1, sizeof *sockets);

    if (sockets == NULL)
        return FK_ERR_NOMEM;
    sockets->n_workers = n_workers;
    fk_list_init(&sockets->groups);
    *ret = sockets;
    return FK_OK;
}

static void close_group(const struct fk_sockets *sockets, struct group *group)
{
    fk_list_del(&group->link);
    for (unsigned i = 0; i < sockets->n_workers; i++)
        fk_close(&group->fds[i]);
    free(group->address);
    free(group->device);
    free(group);
}

void fk_sockets_close(struct fk_sockets *sockets)
{
    struct fk_list *item, *temp;

    fk_list_each_safe (item, temp, &sockets->groups)
        close_group(sockets, fk_container(item, struct group, link));
}

void fk_sockets_free(struct fk_sockets *sockets)
{
    if (sockets == NULL)
        return;
    fk_sockets_close(sockets);
    free(sockets);
}

static bool is_for(const struct group *group, const struct fk_edge_listen *listen)
{
    if (strcmp(group->address, listen->block.title) != 0)
        return false;
    if (group->device == NULL || listen->device == NULL)
        return group->device == listen->device;
    return strcmp(group->device, listen->device) == 0;
}

static struct group *find(const struct fk_sockets *sockets, const struct fk_edge_listen *listen)
{
    struct fk_list *item;

    fk_list_each (item, &sockets->groups) {
        struct group *group = fk_container(item, struct group, link);

        if (is_for(group, listen))
            return group;
    }
    return NULL;
}

static struct group *make_group(struct fk_sockets *sockets, const struct fk_edge_listen *listen)
{
    struct group *group = calloc(1, sizeof *group + sockets->n_workers * sizeof group->fds[0]);

    if (group == NULL)
        return NULL;
    for (unsigned i = 0; i < sockets->n_workers; i++)
        group->fds[i] = -1;
    fk_list_init(&group->link);
    group->fresh = true;
    group->address = strdup(listen->block.title);
    group->device = listen->device == NULL ? NULL : strdup(listen->device);
    if (group->address == NULL || (listen->device != NULL && group->device == NULL)) {
        close_group(sockets, group);
        return NULL;
    }
    return group;
}

static int duplicate(int fd, int *ret)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

    if (copy < 0)
        return FK_ERR_SYS;
    *ret = copy;
    return FK_OK;
}

/* Whether a socket of ours has this port, on whatever address: only then may it be shared. */
static bool is_ours(const struct fk_sockets *sockets, const struct fk_addr *addr)
{
    const struct fk_list *item;
    struct fk_addr local;

    fk_list_each (item, &sockets->groups) {
        const struct group *group = fk_container(item, struct group, link);

        if (fk_sock_local(group->fds[0], &local) == FK_OK && local.storage.ss_family != AF_UNIX &&
            fk_addr_port(&local) == fk_addr_port(addr))
            return true;
    }
    return false;
}

/* One socket for each worker. UNIX sockets share one: a path can be bound once. */
static int open_sockets(const struct fk_sockets *sockets, struct fk_addr *addr,
                        const struct fk_listen_options *options, int fds[])
{
    bool local = addr->storage.ss_family == AF_UNIX;
    int err = FK_OK;

    if (!local && !is_ours(sockets, addr))
        err = fk_sock_probe(addr, options);
    for (unsigned i = 0; err == FK_OK && i < sockets->n_workers; i++) {
        if (i > 0 && local)
            err = duplicate(fds[0], &fds[i]);
        else
            err = fk_sock_listen(addr, options, &fds[i]);
        /* Port 0: the kernel's choice for the first worker is the port of all. */
        if (err == FK_OK && i == 0 && !local && fk_addr_port(addr) == 0)
            err = fk_sock_local(fds[0], addr);
    }
    return err;
}

static int open_group(struct fk_sockets *sockets, const struct fk_edge_listen *listen,
                      struct fk_why *why)
{
    struct group *group = make_group(sockets, listen);
    struct fk_listen_options options = {
        .reuse_port = true,
        .backlog = (int)listen->backlog,
        .defer_accept = (int)((listen->defer_accept_us + 999999) / 1000000),
        .device = listen->device,
    };
    struct fk_addr addr;
    int err;

    if (group == NULL)
        return FK_ERR_NOMEM;
    if ((err = fk_addr_parse(listen->block.title, &addr)) == FK_OK)
        err = open_sockets(sockets, &addr, &options, group->fds);
    if (err != FK_OK) {
        int number = errno;

        fk_log(FK_LOG_ERROR, "cannot listen", fk_str("address", listen->block.title),
               err == FK_ERR_SYS ? fk_errno(number) : fk_error(err));
        fk_why_set(why, err, "cannot listen on %s: %s", listen->block.title,
                   err == FK_ERR_SYS ? strerror(number) : fk_err_text(err));
        close_group(sockets, group);
        return err;
    }
    fk_list_append(&sockets->groups, &group->link);
    return FK_OK;
}

int fk_sockets_open(struct fk_sockets *sockets, const struct fk_edge_conf *conf, struct fk_why *why)
{
    struct fk_list *item, *temp;
    struct fk_why later;
    int err = FK_OK, failed;

    fk_list_each (item, &sockets->groups)
        fk_container(item, struct group, link)->fresh = false;
    for (const struct fk_conf_block *b = conf->listens; b != NULL; b = b->next) {
        if (find(sockets, (const void *)b) != NULL)
            continue;
        failed = open_group(sockets, (const void *)b, err == FK_OK ? why : &later);
        if (err == FK_OK)
            err = failed;
    }
    if (err == FK_OK)
        return FK_OK;
    fk_list_each_safe (item, temp, &sockets->groups) {
        struct group *group = fk_container(item, struct group, link);

        if (group->fresh)
            close_group(sockets, group);
    }
    return err;
}

static bool wanted(const struct group *group, const struct fk_edge_conf *conf)
{
    for (const struct fk_conf_block *b = conf->listens; b != NULL; b = b->next)
        if (is_for(group, (const void *)b))
            return true;
    return false;
}

void fk_sockets_prune(struct fk_sockets *sockets, const struct fk_edge_conf *conf)
{
    struct fk_list *item, *temp;

    fk_list_each_safe (item, temp, &sockets->groups) {
        struct group *group = fk_container(item, struct group, link);

        if (!wanted(group, conf))
            close_group(sockets, group);
    }
}

int fk_sockets_get(const struct fk_sockets *sockets, const struct fk_edge_listen *listen,
                   unsigned worker)
{
    const struct group *group = find(sockets, listen);

    return group == NULL ? -1 : group->fds[worker];
}
