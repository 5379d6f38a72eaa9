/* The shared session cache: what comes back, to whom, and what a damaged slot does. */
#include "tls/sescache.h"
#include "failmalloc.h"
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
    int fd;
    struct fk_sescache *cache, *other_process;
    struct fk_tickets *tickets;
    struct fk_ticket_keys keys;
    struct fk_ticket_site *site, *other_site;
    SSL_CTX *ctx;
};

static void rotate(struct fixture *f, uint64_t now_us)
{
    uint64_t next;
    bool changed;

    assert_ok(fk_ticket_keys_rotate(&f->keys, 400, now_us, &changed, &next));
    fk_tickets_set(f->tickets, &f->keys);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    assert_non_null(f);
    assert_ok(fk_sescache_create(4, &f->fd));
    assert_ok(fk_sescache_open(f->fd, &f->cache));
    assert_ok(fk_sescache_open(f->fd, &f->other_process));
    assert_ok(fk_tickets_new(NULL, &f->tickets));
    assert_ok(fk_ticket_site_new(f->tickets, "a.example", &f->site));
    assert_ok(fk_ticket_site_new(f->tickets, "b.example", &f->other_site));
    f->ctx = SSL_CTX_new(TLS_server_method());
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    SSL_CTX_free(f->ctx);
    fk_ticket_site_free(f->site);
    fk_ticket_site_free(f->other_site);
    fk_tickets_free(f->tickets);
    fk_sescache_close(f->cache);
    fk_sescache_close(f->other_process);
    close(f->fd);
    free(f);
    return 0;
}

static SSL_SESSION *make_session(const struct fixture *f, uint8_t first)
{
    static const uint8_t master[48] = "a master secret that must not be seen";
    SSL_SESSION *session = SSL_SESSION_new();
    SSL *ssl = SSL_new(f->ctx);
    uint8_t id[32] = {0};

    id[31] = id[8] = first;
    assert_int_equal(SSL_SESSION_set1_id(session, id, sizeof id), 1);
    assert_int_equal(SSL_SESSION_set_protocol_version(session, TLS1_2_VERSION), 1);
    assert_int_equal(SSL_SESSION_set1_master_key(session, master, sizeof master), 1);
    /* ECDHE-RSA-AES128-GCM-SHA256 */
    assert_int_equal(
        SSL_SESSION_set_cipher(session, SSL_CIPHER_find(ssl, (const uint8_t *)"\xc0\x2f")), 1);
    SSL_SESSION_set_timeout(session, 100);
    SSL_free(ssl);
    return session;
}

static bool has(struct fk_sescache *cache, struct fk_ticket_site *site, uint8_t first)
{
    uint8_t id[32] = {0};
    SSL_SESSION *session;

    id[31] = id[8] = first;
    session = fk_sescache_get(cache, site, id, sizeof id);
    SSL_SESSION_free(session);
    return session != NULL;
}

static void put(struct fixture *f, uint8_t first)
{
    SSL_SESSION *session = make_session(f, first);

    assert_ok(fk_sescache_put(f->cache, f->site, session));
    SSL_SESSION_free(session);
}

static void another_process_finds_it(void **state)
{
    struct fixture *f = *state;
    uint8_t id[32] = {0}, master[48];
    SSL_SESSION *session;

    rotate(f, 1);
    put(f, 1);
    id[31] = id[8] = 1;
    session = fk_sescache_get(f->other_process, f->site, id, sizeof id);
    assert_non_null(session);
    assert_int_equal(SSL_SESSION_get_master_key(session, master, sizeof master), 48);
    assert_string_equal((char *)master, "a master secret that must not be seen");
    SSL_SESSION_free(session);
    assert_false(has(f->cache, f->site, 2));
    assert_null(fk_sescache_get(f->cache, f->site, id, 31));
    assert_null(fk_sescache_get(f->cache, f->site, id, 0));
}

static void another_site_does_not(void **state)
{
    struct fixture *f = *state;

    rotate(f, 1);
    put(f, 1);
    assert_false(has(f->cache, f->other_site, 1));
    assert_true(has(f->cache, f->site, 1));
}

static void without_keys_nothing_is_kept(void **state)
{
    struct fixture *f = *state;
    SSL_SESSION *session = make_session(f, 1);

    assert_err(fk_sescache_put(f->cache, f->site, session), FK_ERR_NOT_FOUND);
    SSL_SESSION_free(session);
}

static void it_ends_with_its_key(void **state)
{
    struct fixture *f = *state;

    rotate(f, 1);
    put(f, 1);
    rotate(f, 150);
    assert_true(has(f->cache, f->site, 1));
    rotate(f, 401);
    rotate(f, 402);
    assert_false(has(f->cache, f->site, 1));
}

static void it_ends_with_its_time(void **state)
{
    struct fixture *f = *state;
    SSL_SESSION *session = make_session(f, 1);

    rotate(f, 1);
    SSL_SESSION_set_timeout(session, 0);
    assert_ok(fk_sescache_put(f->cache, f->site, session));
    assert_false(has(f->cache, f->site, 1));
    SSL_SESSION_free(session);
}

static void a_session_that_does_not_fit_is_refused(void **state)
{
    struct fixture *f = *state;
    SSL_SESSION *session = make_session(f, 1);
    char name[256];

    rotate(f, 1);
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(SSL_SESSION_set1_hostname(session, name), 1);
    assert_int_equal(SSL_SESSION_set1_alpn_selected(session, (uint8_t *)name, 200), 1);
    assert_err(fk_sescache_put(f->cache, f->site, session), FK_ERR_LIMIT);
    SSL_SESSION_free(session);
}

static void room_is_bounded(void **state)
{
    struct fixture *f = *state;
    unsigned kept = 0;

    rotate(f, 1);
    for (uint8_t i = 1; i <= 20; i++) {
        put(f, i);
        assert_true(has(f->cache, f->site, i)); /* the newest is there */
    }
    for (uint8_t i = 1; i <= 20; i++)
        kept += has(f->cache, f->site, i);
    assert_int_equal(kept, 4);
}

/* Every byte of the memory, one after the other: a writer that died in the middle. */
static void damage_is_absence(void **state)
{
    struct fixture *f = *state;
    struct stat stat;
    uint8_t *mem;
    unsigned found = 0;

    rotate(f, 1);
    put(f, 1);
    assert_int_equal(fstat(f->fd, &stat), 0);
    mem = mmap(NULL, (size_t)stat.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 0);
    assert_ptr_not_equal(mem, MAP_FAILED);
    assert_null(memmem(mem, (size_t)stat.st_size, "a master secret", 15));
    for (size_t i = 0; i < 512; i++) {
        mem[i] ^= 0x20;
        found += has(f->cache, f->site, 1);
        mem[i] ^= 0x20;
    }
    /* Only the room behind the sealed session may change unnoticed. */
    assert_true(found < 350);
    for (size_t i = 0; i < 40 + 100; i++) {
        mem[i] ^= 0x20;
        assert_false(has(f->cache, f->site, 1));
        mem[i] ^= 0x20;
    }
    assert_true(has(f->cache, f->site, 1));
    munmap(mem, (size_t)stat.st_size);
}

static void sizes_are_checked(void **state)
{
    struct fk_sescache *cache = NULL;
    int fd = -1;

    (void)state;
    assert_err(fk_sescache_create(0, &fd), FK_ERR_INVAL);
    assert_err(fk_sescache_create(FK_EDGE_SESSIONS_MAX + 1, &fd), FK_ERR_INVAL);
    assert_int_equal(fd, -1);
    fd = memfd_create("x", MFD_CLOEXEC);
    assert_err(fk_sescache_open(fd, &cache), FK_ERR_FORMAT);
    assert_int_equal(ftruncate(fd, 2048), 0);
    assert_err(fk_sescache_open(fd, &cache), FK_ERR_FORMAT); /* could shrink under us */
    assert_null(cache);
    close(fd);
}

static int map_again(void *context)
{
    const struct fixture *f = context;
    struct fk_sescache *cache = NULL;
    int err = fk_sescache_open(f->fd, &cache);

    fk_sescache_close(cache);
    return err;
}

static void every_failed_allocation_is_survived(void **state)
{
    assert_int_equal(failmalloc_try(map_again, *state), 2);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
UNIT_MAIN(CASE(another_process_finds_it), CASE(another_site_does_not),
          CASE(without_keys_nothing_is_kept), CASE(it_ends_with_its_key),
          CASE(it_ends_with_its_time), CASE(a_session_that_does_not_fit_is_refused),
          CASE(room_is_bounded), CASE(every_failed_allocation_is_survived), CASE(damage_is_absence),
          CASE(sizes_are_checked))
