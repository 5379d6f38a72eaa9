/* Sockets that outlive configurations: see sockets.h. */
#include "edge/sockets.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/log.h"
#include "base/reader.h"
#include "base/writer.h"
#include "loop/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

/* What a block asks for. */
struct wanted {
    const char *address, *device; /* device NULL: any */
    bool shared;                  /* by all workers: a key server dials in, for whoever needs it */
    uint64_t backlog, defer_accept_us;
};

/* What makes two blocks mean the same sockets, and the sockets. */
struct group {
    struct fk_list link;
    char *address;
    char *device; /* NULL: any */
    bool shared;
    bool fresh; /* opened by the present fk_sockets_open() */
    int fds[];  /* one a worker */
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

static bool is_for(const struct group *group, const struct wanted *want)
{
    if (strcmp(group->address, want->address) != 0 || group->shared != want->shared)
        return false;
    if (group->device == NULL || want->device == NULL)
        return group->device == want->device;
    return strcmp(group->device, want->device) == 0;
}

static struct group *find(const struct fk_sockets *sockets, const struct wanted *want)
{
    struct fk_list *item;

    fk_list_each (item, &sockets->groups) {
        struct group *group = fk_container(item, struct group, link);

        if (is_for(group, want))
            return group;
    }
    return NULL;
}

static struct group *make_group(struct fk_sockets *sockets, const struct wanted *want)
{
    struct group *group = calloc(1, sizeof *group + sockets->n_workers * sizeof group->fds[0]);

    if (group == NULL)
        return NULL;
    for (unsigned i = 0; i < sockets->n_workers; i++)
        group->fds[i] = -1;
    fk_list_init(&group->link);
    group->fresh = true;
    group->shared = want->shared;
    group->address = strdup(want->address);
    group->device = want->device == NULL ? NULL : strdup(want->device);
    if (group->address == NULL || (want->device != NULL && group->device == NULL)) {
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

/* One socket for each worker that has none, or one for all. UNIX sockets are shared: a path can be
 * bound once. */
static int open_sockets(const struct fk_sockets *sockets, struct fk_addr *addr,
                        const struct fk_listen_options *options, bool shared, int fds[])
{
    bool local = addr->storage.ss_family == AF_UNIX;
    int err = FK_OK;

    if (fds[0] < 0 && !local && !shared && !is_ours(sockets, addr))
        err = fk_sock_probe(addr, options);
    for (unsigned i = 0; err == FK_OK && i < sockets->n_workers; i++) {
        if (fds[i] < 0 && i > 0 && (local || shared))
            err = duplicate(fds[0], &fds[i]);
        else if (fds[i] < 0)
            err = fk_sock_listen(addr, options, &fds[i]);
        /* Port 0: the kernel's choice for the first worker is the port of all. */
        if (err == FK_OK && i == 0 && !local && fk_addr_port(addr) == 0)
            err = fk_sock_local(fds[0], addr);
    }
    return err;
}

/* What is there already is left as it is: a predecessor's may be those of fewer workers. */
static int open_group(struct fk_sockets *sockets, const struct wanted *want, struct fk_why *why)
{
    struct group *known = find(sockets, want);
    struct group *group = known != NULL ? known : make_group(sockets, want);
    struct fk_listen_options options = {
        .reuse_port = !want->shared,
        .backlog = (int)want->backlog,
        .defer_accept = (int)((want->defer_accept_us + 999999) / 1000000),
        .device = want->device,
    };
    struct fk_addr addr;
    int err;

    if (group == NULL)
        return FK_ERR_NOMEM;
    if ((err = fk_addr_parse(want->address, &addr)) == FK_OK)
        err = open_sockets(sockets, &addr, &options, want->shared, group->fds);
    if (err != FK_OK) {
        int number = errno;

        fk_log(FK_LOG_ERROR, "cannot listen", fk_str("address", want->address),
               err == FK_ERR_SYS ? fk_errno(number) : fk_error(err));
        fk_why_set(why, err, "cannot listen on %s: %s", want->address,
                   err == FK_ERR_SYS ? strerror(number) : fk_err_text(err));
        if (known == NULL)
            close_group(sockets, group);
        return err;
    }
    if (known == NULL)
        fk_list_append(&sockets->groups, &group->link);
    return FK_OK;
}

static struct wanted want_listen(const struct fk_edge_listen *listen)
{
    return (struct wanted){.address = listen->block.title,
                           .device = listen->device,
                           .backlog = listen->backlog,
                           .defer_accept_us = listen->defer_accept_us};
}

static struct wanted want_keyserver(const struct fk_edge_keyserver *server)
{
    return (struct wanted){.address = server->accept,
                           .device = server->device,
                           .shared = true,
                           .backlog = FK_DIALLED_BACKLOG};
}

/* What the next block wants, of the listen blocks and then of the key servers that dial in; both
 * lists are moved past it. False: there is none. */
static bool next_wanted(const struct fk_conf_block **listens, const struct fk_conf_block **servers,
                        struct wanted *ret)
{
    if (*listens != NULL) {
        *ret = want_listen((const void *)*listens);
        *listens = (*listens)->next;
        return true;
    }
    while (*servers != NULL) {
        *ret = want_keyserver((const void *)*servers);
        *servers = (*servers)->next;
        if (ret->address != NULL)
            return true;
    }
    return false;
}

int fk_sockets_open(struct fk_sockets *sockets, const struct fk_edge_conf *conf, struct fk_why *why)
{
    const struct fk_conf_block *listens = conf->listens, *servers = conf->keyservers;
    struct fk_list *item, *temp;
    struct wanted want;
    struct fk_why later;
    int err = FK_OK, failed;

    fk_list_each (item, &sockets->groups)
        fk_container(item, struct group, link)->fresh = false;
    while (next_wanted(&listens, &servers, &want)) {
        failed = open_group(sockets, &want, err == FK_OK ? why : &later);
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

static bool is_wanted(const struct group *group, const struct fk_edge_conf *conf)
{
    const struct fk_conf_block *listens = conf->listens, *servers = conf->keyservers;
    struct wanted want;

    while (next_wanted(&listens, &servers, &want))
        if (is_for(group, &want))
            return true;
    return false;
}

void fk_sockets_prune(struct fk_sockets *sockets, const struct fk_edge_conf *conf)
{
    struct fk_list *item, *temp;

    fk_list_each_safe (item, temp, &sockets->groups) {
        struct group *group = fk_container(item, struct group, link);

        if (!is_wanted(group, conf))
            close_group(sockets, group);
    }
}

static int get(const struct fk_sockets *sockets, const struct wanted *want, unsigned worker)
{
    const struct group *group = find(sockets, want);

    return group == NULL ? -1 : group->fds[worker];
}

int fk_sockets_get(const struct fk_sockets *sockets, const struct fk_edge_listen *listen,
                   unsigned worker)
{
    const struct wanted want = want_listen(listen);

    return get(sockets, &want, worker);
}

int fk_sockets_get_dialled(const struct fk_sockets *sockets, const struct fk_edge_keyserver *server,
                           unsigned worker)
{
    const struct wanted want = want_keyserver(server);

    return get(sockets, &want, worker);
}

/* --- from one master to its successor --- */

/* The group at a place; NULL: there is none. */
static const struct group *group_at(const struct fk_sockets *sockets, size_t place)
{
    const struct fk_list *item;

    fk_list_each (item, &sockets->groups)
        if (place-- == 0)
            return fk_container(item, const struct group, link);
    return NULL;
}

int fk_sockets_give(const struct fk_sockets *sockets, struct fk_sockets_place *place,
                    struct fk_procmsg *ret)
{
    const struct group *group = group_at(sockets, place->group);
    struct fk_writer writer;

    if (group == NULL)
        return FK_ERR_NOT_FOUND;
    ret->type = FK_PROC_LISTEN;
    ret->arg = place->worker;
    for (ret->n_fds = 0; ret->n_fds < FK_PROC_FDS_MAX && place->worker < sockets->n_workers;
         ret->n_fds++)
        ret->fds[ret->n_fds] = group->fds[place->worker++];
    if (place->worker == sockets->n_workers)
        *place = (struct fk_sockets_place){.group = place->group + 1};
    fk_writer_init(&writer, ret->data, sizeof ret->data);
    fk_writer_u8(&writer, group->shared);
    fk_writer_vec16(&writer, group->address, strlen(group->address));
    if (group->device != NULL)
        fk_writer_vec16(&writer, group->device, strlen(group->device));
    return fk_writer_end(&writer, &ret->len);
}

/* A text of a message, in `room`; FK_ERR_LIMIT, FK_ERR_TRUNCATED. */
static int read_text(struct fk_reader *reader, char *room, size_t size)
{
    struct fk_reader text;
    int err = fk_reader_vec16(reader, &text);

    if (err != FK_OK)
        return err;
    if (text.left >= size)
        return FK_ERR_LIMIT;
    room[text.left] = '\0';
    return fk_reader_copy(&text, room, text.left);
}

int fk_sockets_take(struct fk_sockets *sockets, struct fk_procmsg *msg)
{
    char address[FK_PROC_DATA_MAX], device[FK_PROC_DATA_MAX];
    struct wanted want = {.address = address};
    struct fk_reader reader;
    struct group *group;
    uint8_t shared;
    int err;

    fk_reader_init(&reader, msg->data, msg->len);
    if ((err = fk_reader_u8(&reader, &shared)) != FK_OK ||
        (err = read_text(&reader, address, sizeof address)) != FK_OK)
        return err;
    if (reader.left > 0) {
        want.device = device;
        if ((err = read_text(&reader, device, sizeof device)) != FK_OK)
            return err;
    }
    if (fk_reader_end(&reader) != FK_OK || shared > 1)
        return FK_ERR_FORMAT;
    want.shared = shared;
    if ((group = find(sockets, &want)) == NULL) {
        if ((group = make_group(sockets, &want)) == NULL)
            return FK_ERR_NOMEM;
        fk_list_append(&sockets->groups, &group->link);
    }
    for (size_t i = 0; i < msg->n_fds && msg->arg + i < sockets->n_workers; i++) {
        fk_close(&group->fds[msg->arg + i]);
        group->fds[msg->arg + i] = msg->fds[i];
        msg->fds[i] = -1; /* moved */
    }
    return FK_OK;
}
