/* tls/sesentry: what opens, for whom, and that nothing changed or moved does. */
#include "tls/sesentry.h"
#include "unit.h"

#include "base/err.h"

static struct fk_tickets *tickets;
static struct fk_ticket_keys keys;
static struct fk_ticket_site *site, *other_site;
static SSL_CTX *ctx;
static const uint8_t owner[32] = {1}, other_owner[32] = {2};
static const uint8_t master[48] = "a master secret that must not be seen";
static uint8_t id[32] = {7};

static void rotate(uint64_t now_us)
{
    uint64_t next;
    bool changed;

    assert_ok(fk_ticket_keys_rotate(&keys, 400, now_us, &changed, &next));
    fk_tickets_set(tickets, &keys);
}

static int setup(void **state)
{
    (void)state;
    memset(&keys, 0, sizeof keys);
    assert_ok(fk_tickets_new(NULL, &tickets));
    assert_ok(fk_ticket_site_new(tickets, "a.example", &site));
    assert_ok(fk_ticket_site_new(tickets, "b.example", &other_site));
    ctx = SSL_CTX_new(TLS_server_method());
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    SSL_CTX_free(ctx);
    fk_ticket_site_free(site);
    fk_ticket_site_free(other_site);
    fk_tickets_free(tickets);
    return 0;
}

static SSL_SESSION *make_session(size_t id_len)
{
    SSL_SESSION *session = SSL_SESSION_new();
    SSL *ssl = SSL_new(ctx);

    assert_int_equal(SSL_SESSION_set1_id(session, id, (unsigned)id_len), 1);
    assert_int_equal(SSL_SESSION_set_protocol_version(session, TLS1_2_VERSION), 1);
    assert_int_equal(SSL_SESSION_set1_master_key(session, master, sizeof master), 1);
    /* ECDHE-RSA-AES128-GCM-SHA256 */
    assert_int_equal(
        SSL_SESSION_set_cipher(session, SSL_CIPHER_find(ssl, (const uint8_t *)"\xc0\x2f")), 1);
    SSL_free(ssl);
    return session;
}

static size_t seal(uint8_t entry[FK_SESENTRY_MAX])
{
    SSL_SESSION *session = make_session(sizeof id);
    size_t len;

    assert_ok(fk_sesentry_seal(site, owner, session, entry, &len));
    SSL_SESSION_free(session);
    return len;
}

static int open_as(struct fk_ticket_site *by, const uint8_t *as, const uint8_t *of,
                   const uint8_t *entry, size_t len)
{
    const struct fk_sesentry_bound bound = {.id = as, .owner = of};
    SSL_SESSION *session = NULL;
    int err = fk_sesentry_open(by, &bound, entry, len, &session);

    if (err == FK_OK) {
        uint8_t secret[48];

        assert_int_equal(SSL_SESSION_get_master_key(session, secret, sizeof secret), 48);
        assert_memory_equal(secret, master, sizeof secret);
    }
    SSL_SESSION_free(session);
    return err;
}

static void an_entry_opens_for_its_site_id_and_owner_alone(void **state)
{
    uint8_t entry[FK_SESENTRY_MAX], other_id[32] = {8};
    size_t len;

    (void)state;
    rotate(0);
    len = seal(entry);
    assert_null(memmem(entry, len, master, 16));
    assert_ok(open_as(site, id, owner, entry, len));
    assert_err(open_as(other_site, id, owner, entry, len), FK_ERR_NOT_FOUND);
    assert_err(open_as(site, other_id, owner, entry, len), FK_ERR_CRYPTO);
    assert_err(open_as(site, id, other_owner, entry, len), FK_ERR_CRYPTO);
}

static void nothing_changed_opens(void **state)
{
    uint8_t entry[FK_SESENTRY_MAX];
    size_t len;

    (void)state;
    rotate(0);
    len = seal(entry);
    for (size_t i = 0; i < len; i++) {
        entry[i] ^= 1;
        assert_int_not_equal(open_as(site, id, owner, entry, len), FK_OK);
        entry[i] ^= 1;
    }
    for (size_t cut = 0; cut < len; cut++)
        assert_int_not_equal(open_as(site, id, owner, entry, cut), FK_OK);
    assert_err(open_as(site, id, owner, entry, 0), FK_ERR_TRUNCATED);
    assert_err(open_as(site, id, owner, entry, 37), FK_ERR_TRUNCATED);
    entry[0] = 2;
    assert_err(open_as(site, id, owner, entry, len), FK_ERR_VERSION);
    entry[0] = 1;
    assert_ok(open_as(site, id, owner, entry, len));
}

static void the_longest_input_is_bounded(void **state)
{
    uint8_t entry[2 * FK_SESENTRY_MAX] = {1};

    (void)state;
    rotate(0);
    assert_err(open_as(site, id, owner, entry, sizeof entry), FK_ERR_LIMIT);
    assert_err(open_as(site, id, owner, entry, FK_SESENTRY_MAX), FK_ERR_NOT_FOUND);
}

static void it_ends_with_its_key(void **state)
{
    uint8_t entry[FK_SESENTRY_MAX];
    SSL_SESSION *session = make_session(sizeof id);
    size_t len;

    (void)state;
    assert_err(fk_sesentry_seal(site, owner, session, entry, &len), FK_ERR_NOT_FOUND);
    rotate(0);
    len = seal(entry);
    for (uint64_t now = 100; now < 400; now += 100) {
        rotate(now);
        assert_ok(open_as(site, id, owner, entry, len));
    }
    rotate(400);
    assert_err(open_as(site, id, owner, entry, len), FK_ERR_NOT_FOUND);
    SSL_SESSION_free(session);
}

/* Of another length is only an id that is not ours; and an entry has a place for so much. */
static void sessions_that_have_no_entry(void **state)
{
    uint8_t entry[FK_SESENTRY_MAX];
    SSL_SESSION *session = make_session(16);
    static char name[1001];
    size_t len;

    (void)state;
    rotate(0);
    assert_err(fk_sesentry_seal(site, owner, session, entry, &len), FK_ERR_LIMIT);
    SSL_SESSION_free(session);
    session = make_session(sizeof id);
    memset(name, 'a', sizeof name - 1);
    assert_int_equal(SSL_SESSION_set1_hostname(session, name), 1);
    assert_err(fk_sesentry_seal(site, owner, session, entry, &len), FK_ERR_LIMIT);
    SSL_SESSION_free(session);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(CASE(an_entry_opens_for_its_site_id_and_owner_alone), CASE(nothing_changed_opens),
          CASE(the_longest_input_is_bounded), CASE(it_ends_with_its_key),
          CASE(sessions_that_have_no_entry))
