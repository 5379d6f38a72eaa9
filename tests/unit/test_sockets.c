/* edge/sockets: what a master gives its successor, and what that one takes and adds. */
#include "unit.h"

#include "base/err.h"
#include "edge/sockets.h"
#include "loop/sock.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define WORKERS 6 /* more than the descriptors of one message */

/* Two ports and one that a key server dials, bound to a device. */
struct blocks {
    struct fk_edge_listen listens[2];
    struct fk_edge_keyserver server;
    struct fk_edge_conf conf;
};

static void fill_blocks(struct blocks *blocks)
{
    static char first[] = "127.0.0.1:0", second[] = "[::1]:0", dialled[] = "127.0.0.2:0",
                lo[] = "lo";

    memset(blocks, 0, sizeof *blocks);
    blocks->listens[0].block.title = first;
    blocks->listens[0].block.next = &blocks->listens[1].block;
    blocks->listens[1].block.title = second;
    blocks->listens[1].device = lo;
    blocks->server.accept = dialled;
    blocks->conf.listens = &blocks->listens[0].block;
    blocks->conf.keyservers = &blocks->server.block;
}

static struct fk_sockets *open_all(const struct blocks *blocks, unsigned workers)
{
    struct fk_sockets *sockets;
    struct fk_why why;

    assert_ok(fk_sockets_new(workers, &sockets));
    assert_ok(fk_sockets_open(sockets, &blocks->conf, &why));
    return sockets;
}

static void assert_same(int a, int b)
{
    struct stat first, second;

    assert_int_equal(fstat(a, &first), 0);
    assert_int_equal(fstat(b, &second), 0);
    assert_int_equal(first.st_ino, second.st_ino);
}

/* As over a link: the messages' descriptors are others for the same sockets. */
static unsigned give_all(const struct fk_sockets *from, struct fk_sockets *to)
{
    struct fk_sockets_place place = {.group = 0};
    struct fk_procmsg sent, received;
    unsigned n = 0;
    int link[2];

    assert_ok(fk_sock_pair(SOCK_SEQPACKET, link));
    while (fk_sockets_give(from, &place, &sent) == FK_OK) {
        assert_ok(fk_proc_send(link[0], &sent));
        assert_ok(fk_proc_recv(link[1], &received));
        assert_ok(fk_sockets_take(to, &received));
        fk_procmsg_close(&received);
        n++;
    }
    fk_close(&link[0]);
    fk_close(&link[1]);
    return n;
}

static void successor_has_the_same(void **state)
{
    struct fk_sockets *old, *new;
    struct fk_why why;
    struct blocks blocks;

    (void)state;
    fill_blocks(&blocks);
    old = open_all(&blocks, WORKERS);
    assert_ok(fk_sockets_new(WORKERS, &new));
    assert_int_equal(give_all(old, new), 6);
    assert_ok(fk_sockets_open(new, &blocks.conf, &why));
    for (unsigned i = 0; i < WORKERS; i++) {
        for (unsigned k = 0; k < 2; k++)
            assert_same(fk_sockets_get(old, &blocks.listens[k], i),
                        fk_sockets_get(new, &blocks.listens[k], i));
        assert_same(fk_sockets_get_dialled(old, &blocks.server, i),
                    fk_sockets_get_dialled(new, &blocks.server, i));
    }
    /* What the new configuration does not name goes. */
    blocks.conf.listens = &blocks.listens[1].block;
    fk_sockets_prune(new, &blocks.conf);
    assert_int_equal(fk_sockets_get(new, &blocks.listens[0], 0), -1);
    assert_true(fk_sockets_get(new, &blocks.listens[1], 0) >= 0);
    fk_sockets_free(old);
    fk_sockets_free(new);
}

/* More workers get sockets of their own at the same port, fewer leave some. */
static void successor_has_other_workers(void **state)
{
    static const unsigned counts[] = {1, 2, 5, 7, 9};
    struct blocks blocks;

    (void)state;
    fill_blocks(&blocks);
    for (size_t k = 0; k < sizeof counts / sizeof counts[0]; k++) {
        struct fk_sockets *old = open_all(&blocks, WORKERS), *new;
        struct fk_addr first, other;
        struct fk_why why;

        assert_ok(fk_sockets_new(counts[k], &new));
        (void)give_all(old, new);
        assert_ok(fk_sockets_open(new, &blocks.conf, &why));
        assert_ok(fk_sock_local(fk_sockets_get(old, &blocks.listens[0], 0), &first));
        for (unsigned i = 0; i < counts[k]; i++) {
            assert_ok(fk_sock_local(fk_sockets_get(new, &blocks.listens[0], i), &other));
            assert_int_equal(fk_addr_port(&first), fk_addr_port(&other));
            assert_true(fk_sockets_get_dialled(new, &blocks.server, i) >= 0);
        }
        fk_sockets_free(old);
        fk_sockets_free(new);
    }
}

/* Whatever is cut off is refused, and the descriptors are left to be closed. */
static void broken_messages(void **state)
{
    struct fk_sockets_place place = {.group = 1}; /* with a device */
    struct fk_sockets *old, *new;
    struct fk_procmsg msg = {.type = 0};
    struct blocks blocks;
    size_t len;

    (void)state;
    fill_blocks(&blocks);
    old = open_all(&blocks, WORKERS);
    assert_ok(fk_sockets_new(WORKERS, &new));
    assert_ok(fk_sockets_give(old, &place, &msg));
    len = msg.len;
    msg.n_fds = 0;
    for (msg.len = 0; msg.len < len; msg.len++) {
        if (msg.len == 1 + 2 + strlen("[::1]:0"))
            assert_ok(fk_sockets_take(new, &msg)); /* a whole one, for any device */
        else
            assert_err(fk_sockets_take(new, &msg), FK_ERR_TRUNCATED);
    }
    msg.data[msg.len++] = 0;
    assert_err(fk_sockets_take(new, &msg), FK_ERR_FORMAT);
    msg.len--;
    msg.data[0] = 2;
    assert_err(fk_sockets_take(new, &msg), FK_ERR_FORMAT);
    fk_sockets_free(old);
    fk_sockets_free(new);
}

UNIT_MAIN(cmocka_unit_test(successor_has_the_same), cmocka_unit_test(successor_has_other_workers),
          cmocka_unit_test(broken_messages))
