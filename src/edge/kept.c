/* Kept connections: see kept.h. */
#include "edge/kept.h"

#include "base/limits.h"
#include "edge/origintls.h"
#include "loop/sock.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

struct entry {
    struct fk_list link;
    struct fk_kept *kept;
    int fd;
    SSL *ssl;
    struct fk_io io;
    struct fk_timer timer;
};

static void end(struct entry *entry)
{
    fk_io_want(&entry->io, 0);
    fk_timer_stop(&entry->timer);
    fk_list_del(&entry->link);
    entry->kept->n--;
    fk_origintls_end(entry->ssl);
    fk_close(&entry->fd);
    free(entry);
}

static void on_io(struct fk_io *io, unsigned events)
{
    (void)events;
    end(fk_container(io, struct entry, io));
}

static void on_timer(struct fk_timer *timer)
{
    end(fk_container(timer, struct entry, timer));
}

void fk_kept_init(struct fk_kept *kept, struct fk_loop *loop)
{
    *kept = (struct fk_kept){.loop = loop};
    fk_list_init(&kept->list);
}

void fk_kept_drop(struct fk_kept *kept)
{
    if (!fk_list_empty(&kept->list))
        end(fk_container(kept->list.next, struct entry, link));
}

void fk_kept_fini(struct fk_kept *kept)
{
    struct fk_list *item, *next;

    fk_list_each_safe (item, next, &kept->list)
        end(fk_container(item, struct entry, link));
}

void fk_kept_put(struct fk_kept *kept, int fd, SSL *ssl, uint64_t for_us)
{
    struct entry *entry = calloc(1, sizeof *entry);

    if (entry == NULL) {
        fk_origintls_end(ssl);
        fk_close(&fd);
        return;
    }
    if (kept->n == FK_EDGE_KEPT_MAX)
        fk_kept_drop(kept);
    entry->kept = kept;
    entry->fd = fd;
    entry->ssl = ssl;
    fk_list_append(&kept->list, &entry->link);
    kept->n++;
    fk_io_init(&entry->io, kept->loop, fd, on_io);
    fk_io_want(&entry->io, FK_IO_READ);
    fk_timer_init(&entry->timer, kept->loop, on_timer);
    fk_timer_start(&entry->timer, for_us);
}

/* Its end may have come since the loop last looked. */
static bool is_quiet(int fd)
{
    char byte;

    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
           (errno == EAGAIN || errno == EWOULDBLOCK);
}

int fk_kept_take(struct fk_kept *kept, SSL **ret_ssl)
{
    struct fk_list *item, *before;
    int taken = -1;

    for (item = kept->list.prev; taken < 0 && item != &kept->list; item = before) {
        struct entry *entry = fk_container(item, struct entry, link);

        before = item->prev;
        if (is_quiet(entry->fd)) {
            taken = entry->fd;
            *ret_ssl = entry->ssl;
            entry->fd = -1; /* moved */
            entry->ssl = NULL;
        }
        end(entry);
    }
    return taken;
}
