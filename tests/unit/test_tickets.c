/* Ticket keys: rotation, transport, derivation for each site, sealing and opening. */
#include "unit.h"

#include "base/err.h"
#include "tls/tickets.h"

#include <openssl/core_names.h>
#include <stdio.h>

#define LIFE 4000000ULL

static bool rotate(struct fk_ticket_keys *keys, uint64_t now, uint64_t *ret_next)
{
    bool changed;

    assert_ok(fk_ticket_keys_rotate(keys, LIFE, now, &changed, ret_next));
    return changed;
}

static void new_key_every_quarter(void **state)
{
    struct fk_ticket_keys keys = {0};
    uint64_t next, now = 5000;
    uint8_t first[16];

    (void)state;
    assert_true(rotate(&keys, now, &next));
    assert_int_equal(keys.count, 1);
    assert_int_equal(next, LIFE / 4);
    memcpy(first, keys.keys[0].id, sizeof first);
    assert_false(rotate(&keys, now + LIFE / 4 - 1, &next));
    assert_int_equal(next, 1);
    assert_true(rotate(&keys, now + LIFE / 4, &next));
    assert_int_equal(keys.count, 2);
    assert_memory_not_equal(keys.keys[0].id, first, sizeof first);
    assert_memory_equal(keys.keys[1].id, first, sizeof first);
}

static void keys_end_after_their_life(void **state)
{
    struct fk_ticket_keys keys = {0};
    uint64_t next;

    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        assert_true(rotate(&keys, i * LIFE / 4, &next));
        assert_true(keys.count <= FK_EDGE_TICKET_KEYS);
        for (size_t j = 0; j < keys.count; j++)
            assert_true(i * LIFE / 4 - keys.keys[j].made_us < LIFE);
    }
    assert_int_equal(keys.count, 4);
}

/* Asleep for longer than a life: one fresh key is all that is left. */
static void long_sleep(void **state)
{
    struct fk_ticket_keys keys = {0};
    uint64_t next;

    (void)state;
    (void)rotate(&keys, 0, &next);
    (void)rotate(&keys, LIFE / 4, &next);
    assert_true(rotate(&keys, 100 * LIFE, &next));
    assert_int_equal(keys.count, 1);
    assert_int_equal(keys.keys[0].made_us, 100 * LIFE);
}

static void a_key_can_be_renewed_at_any_time(void **state)
{
    struct fk_ticket_keys keys = {0};
    uint8_t first[16];
    uint64_t next;

    (void)state;
    (void)rotate(&keys, 1000, &next);
    memcpy(first, keys.keys[0].id, sizeof first);
    assert_ok(fk_ticket_keys_renew(&keys, LIFE, 1001, &next));
    assert_int_equal(keys.count, 2);
    assert_int_equal(next, LIFE / 4);
    assert_memory_not_equal(keys.keys[0].id, first, sizeof first);
    assert_memory_equal(keys.keys[1].id, first, sizeof first); /* it opens on */
    assert_false(rotate(&keys, 1001 + LIFE / 4 - 1, &next));
    assert_int_equal(next, 1);
    for (unsigned i = 0; i < 2 * FK_EDGE_TICKET_KEYS; i++)
        assert_ok(fk_ticket_keys_renew(&keys, LIFE, 1002, &next));
    assert_int_equal(keys.count, FK_EDGE_TICKET_KEYS);
    assert_ok(fk_ticket_keys_renew(&keys, LIFE, 1002 + LIFE, &next));
    assert_int_equal(keys.count, 1); /* the others' time is over */
}

static struct fk_ticket_keys some_keys(size_t count)
{
    struct fk_ticket_keys keys = {0};
    uint64_t next;

    for (size_t i = 0; i < count; i++)
        (void)rotate(&keys, i * LIFE / 4, &next);
    return keys;
}

static void transport(void **state)
{
    struct fk_ticket_keys keys = some_keys(3), back;
    uint8_t wire[FK_TICKET_KEYS_WIRE_MAX + 1] = {0};
    size_t len = fk_ticket_keys_encode(&keys, wire);

    (void)state;
    assert_int_equal(len, 1 + 3 * 48);
    assert_ok(fk_ticket_keys_decode(wire, len, &back));
    assert_int_equal(back.count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_memory_equal(back.keys[i].id, keys.keys[i].id, 16);
        assert_memory_equal(back.keys[i].secret, keys.keys[i].secret, 32);
    }
    for (size_t cut = 0; cut < len; cut++)
        assert_err(fk_ticket_keys_decode(wire, cut, &back), FK_ERR_TRUNCATED);
    assert_err(fk_ticket_keys_decode(wire, len + 1, &back), FK_ERR_TRAILING);
    wire[0] = 0;
    assert_err(fk_ticket_keys_decode(wire, 1, &back), FK_ERR_FORMAT);
    wire[0] = FK_EDGE_TICKET_KEYS + 1;
    assert_err(fk_ticket_keys_decode(wire, sizeof wire, &back), FK_ERR_FORMAT);
}

/* --- sealing --- */

struct fixture {
    struct fk_tickets *tickets;
    struct fk_ticket_site *a, *b;
    EVP_CIPHER_CTX *cipher;
    EVP_MAC *hmac;
    EVP_MAC_CTX *mac;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    assert_non_null(f);
    assert_ok(fk_tickets_new(NULL, &f->tickets));
    assert_ok(fk_ticket_site_new(f->tickets, "a.example", &f->a));
    assert_ok(fk_ticket_site_new(f->tickets, "b.example", &f->b));
    f->cipher = EVP_CIPHER_CTX_new();
    f->hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    f->mac = EVP_MAC_CTX_new(f->hmac);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    EVP_CIPHER_CTX_free(f->cipher);
    EVP_MAC_CTX_free(f->mac);
    EVP_MAC_free(f->hmac);
    fk_ticket_site_free(f->a);
    fk_ticket_site_free(f->b);
    fk_tickets_free(f->tickets);
    free(f);
    return 0;
}

struct ticket {
    uint8_t name[16], iv[16], body[64], tag[32];
    int len;
};

static int seal(struct fixture *f, struct fk_ticket_site *site, struct ticket *ret)
{
    static const uint8_t text[] = "a session of nobody in particular";
    int result = fk_ticket_site_seal(site, ret->name, ret->iv, f->cipher, f->mac);
    int last;
    size_t tag_len;

    if (result != 1)
        return result;
    assert_int_equal(EVP_EncryptUpdate(f->cipher, ret->body, &ret->len, text, sizeof text), 1);
    assert_int_equal(EVP_EncryptFinal_ex(f->cipher, ret->body + ret->len, &last), 1);
    ret->len += last;
    assert_int_equal(EVP_MAC_init(f->mac, NULL, 0, NULL), 1);
    assert_int_equal(EVP_MAC_update(f->mac, ret->body, (size_t)ret->len), 1);
    assert_int_equal(EVP_MAC_final(f->mac, ret->tag, &tag_len, sizeof ret->tag), 1);
    return 1;
}

/* What OpenSSL does with a ticket: the callback, the MAC, then decryption. */
static int unseal(struct fixture *f, struct fk_ticket_site *site, const struct ticket *ticket)
{
    uint8_t tag[32], text[96];
    int result = fk_ticket_site_open(site, ticket->name, ticket->iv, f->cipher, f->mac);
    int len, last;
    size_t tag_len;

    if (result <= 0)
        return result;
    assert_int_equal(EVP_MAC_init(f->mac, NULL, 0, NULL), 1);
    assert_int_equal(EVP_MAC_update(f->mac, ticket->body, (size_t)ticket->len), 1);
    assert_int_equal(EVP_MAC_final(f->mac, tag, &tag_len, sizeof tag), 1);
    assert_memory_equal(tag, ticket->tag, sizeof tag);
    assert_int_equal(EVP_DecryptUpdate(f->cipher, text, &len, ticket->body, ticket->len), 1);
    assert_int_equal(EVP_DecryptFinal_ex(f->cipher, text + len, &last), 1);
    assert_string_equal((char *)text, "a session of nobody in particular");
    return result;
}

static void without_keys_no_ticket(void **state)
{
    struct fixture *f = *state;
    struct ticket ticket = {0};

    assert_int_equal(seal(f, f->a, &ticket), 0);
    assert_int_equal(unseal(f, f->a, &ticket), 0);
}

static void sealed_ticket_opens(void **state)
{
    struct fixture *f = *state;
    struct fk_ticket_keys keys = some_keys(2);
    struct ticket one, two;

    fk_tickets_set(f->tickets, &keys);
    assert_int_equal(seal(f, f->a, &one), 1);
    assert_int_equal(seal(f, f->a, &two), 1);
    assert_int_equal(unseal(f, f->a, &one), 1);
    assert_int_equal(unseal(f, f->a, &two), 1);
    assert_memory_not_equal(one.iv, two.iv, sizeof one.iv);
}

static void ticket_of_another_site_is_unknown(void **state)
{
    struct fixture *f = *state;
    struct fk_ticket_keys keys = some_keys(2);
    struct ticket ticket;

    fk_tickets_set(f->tickets, &keys);
    assert_int_equal(seal(f, f->a, &ticket), 1);
    assert_int_equal(unseal(f, f->b, &ticket), 0);
    assert_int_equal(unseal(f, f->a, &ticket), 1);
}

static void old_key_opens_and_renews(void **state)
{
    struct fixture *f = *state;
    struct fk_ticket_keys keys = some_keys(1);
    struct ticket ticket;
    uint64_t next;

    fk_tickets_set(f->tickets, &keys);
    assert_int_equal(seal(f, f->a, &ticket), 1);
    (void)rotate(&keys, LIFE / 4, &next);
    fk_tickets_set(f->tickets, &keys);
    assert_int_equal(unseal(f, f->a, &ticket), 2);
    (void)rotate(&keys, 2 * LIFE, &next);
    fk_tickets_set(f->tickets, &keys);
    assert_int_equal(unseal(f, f->a, &ticket), 0);
}

/* Two processes with the same keys make the same of a ticket. */
static void workers_share(void **state)
{
    struct fixture *f = *state;
    struct fk_ticket_keys keys = some_keys(2);
    struct fk_ticket_site *site;
    struct fk_tickets *other;
    struct ticket ticket;

    assert_ok(fk_tickets_new(NULL, &other));
    assert_ok(fk_ticket_site_new(other, "a.example", &site));
    fk_tickets_set(other, &keys);
    fk_tickets_set(f->tickets, &keys);
    assert_int_equal(seal(f, f->a, &ticket), 1);
    assert_int_equal(unseal(f, site, &ticket), 1);
    fk_ticket_site_free(site);
    fk_tickets_free(other);
}

/* More sites than share a secret, in changing number: each keeps its own keys. */
static void many_sites_keep_their_keys(void **state)
{
    enum { SITES = 3 * FK_EDGE_TICKET_SLAB + 1 };
    struct fixture *f = *state;
    struct fk_ticket_keys keys = some_keys(FK_EDGE_TICKET_KEYS);
    struct fk_ticket_site *sites[SITES];
    struct ticket tickets[SITES];
    char name[16];

    fk_tickets_set(f->tickets, &keys);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < SITES; i++) {
            if (round > 0 && i % (round + 1) == 0)
                continue; /* kept from the round before */
            snprintf(name, sizeof name, "%u.example", i);
            assert_ok(fk_ticket_site_new(f->tickets, name, &sites[i]));
            assert_int_equal(seal(f, sites[i], &tickets[i]), 1);
        }
        for (unsigned i = 0; i < SITES; i++) {
            assert_int_equal(unseal(f, sites[i], &tickets[i]), 1);
            assert_int_equal(unseal(f, sites[i], &tickets[(i + 1) % SITES]), 0);
        }
        for (unsigned i = 0; i < SITES; i++)
            if (round == 2 || i % (round + 2) != 0)
                fk_ticket_site_free(sites[i]);
    }
}

static size_t mappings(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    size_t count = 0;
    int c;

    assert_non_null(maps);
    while ((c = fgetc(maps)) != EOF)
        count += c == '\n';
    fclose(maps);
    return count;
}

/* Derived keys are in guarded memory, which comes and goes with the sites and not with tickets. */
static void sites_share_mappings(void **state)
{
    enum { SITES = 10 * FK_EDGE_TICKET_SLAB };
    struct fixture *f = *state;
    struct fk_ticket_keys keys = some_keys(2);
    struct fk_ticket_site *sites[SITES];
    size_t before = mappings(), with_sites;
    struct ticket ticket;

    fk_tickets_set(f->tickets, &keys);
    for (unsigned i = 0; i < SITES; i++)
        assert_ok(fk_ticket_site_new(f->tickets, "many.example", &sites[i]));
    with_sites = mappings();
    assert_true(with_sites >= before + 10);
    assert_true(with_sites <= before + 40);
    for (unsigned i = 0; i < SITES; i++)
        assert_int_equal(seal(f, sites[i], &ticket), 1);
    assert_true(mappings() <= with_sites + 4);
    for (unsigned i = 0; i < SITES; i++)
        fk_ticket_site_free(sites[i]);
    assert_true(mappings() <= before + 8);
}

#define HOURS (3600 * UINT64_C(1000000))

static struct fk_ticket_keys shared_keys(uint8_t first, uint64_t wall)
{
    uint8_t secret[FK_TICKET_SHARED_SECRET];
    struct fk_ticket_keys keys;
    uint64_t next;

    for (size_t i = 0; i < sizeof secret; i++)
        secret[i] = (uint8_t)(first + i);
    assert_ok(fk_ticket_keys_shared(secret, 12 * HOURS, wall, &keys, &next));
    assert_int_equal((wall + next) % (3 * HOURS), 0);
    assert_true(next > 0 && next <= 3 * HOURS);
    return keys;
}

/* HKDF-SHA256 of 00 01 .. 1f and quarter 92592, worked out elsewhere. */
static void shared_keys_are_the_same_for_all(void **state)
{
    static const uint8_t id[16] = {0x38, 0xd5, 0x51, 0x49, 0x9c, 0x03, 0x7a, 0x2b,
                                   0x3f, 0xd1, 0xb2, 0x7f, 0xac, 0xfe, 0x40, 0xa7};
    static const uint8_t secret[32] = {0x49, 0x14, 0x99, 0xe5, 0x06, 0x1e, 0x16, 0x7f,
                                       0x33, 0x94, 0x1b, 0xec, 0x4b, 0x3d, 0x28, 0x34,
                                       0xa6, 0x57, 0x48, 0x1d, 0x57, 0x96, 0xeb, 0x46,
                                       0xb9, 0xb7, 0x99, 0x1a, 0xd9, 0x5a, 0xe5, 0x75};
    const uint64_t wall = UINT64_C(1000000000) * 1000000;
    struct fk_ticket_keys keys = shared_keys(0, wall), other = shared_keys(1, wall);

    (void)state;
    assert_int_equal(keys.count, 5);
    assert_memory_equal(keys.keys[0].id, id, sizeof id);
    assert_memory_equal(keys.keys[0].secret, secret, sizeof secret);
    for (size_t i = 0; i < keys.count; i++)
        for (size_t j = 0; j < other.count; j++)
            assert_memory_not_equal(keys.keys[i].secret, other.keys[j].secret, sizeof secret);
}

/* What was sealed opens for three quarters more, and where the clock is one quarter behind. */
static void shared_keys_open_for_nine_hours(void **state)
{
    static const int results[] = {[0] = 0, [1] = 2, [2] = 1, [3] = 2, [4] = 2, [5] = 2, [6] = 0};
    struct fixture *f = *state;
    const uint64_t wall = 100 * 3 * HOURS;
    struct fk_ticket_keys keys = shared_keys(7, wall);
    struct ticket ticket;

    fk_tickets_set(f->tickets, &keys);
    assert_int_equal(seal(f, f->a, &ticket), 1);
    for (size_t i = 0; i < sizeof results / sizeof results[0]; i++) {
        keys = shared_keys(7, wall + (i * 3 * HOURS) - 2 * 3 * HOURS);
        fk_tickets_set(f->tickets, &keys);
        assert_int_equal(unseal(f, f->a, &ticket), results[i]);
        keys = shared_keys(7, wall + (i * 3 * HOURS) - 2 * 3 * HOURS + 3 * HOURS - 1);
        fk_tickets_set(f->tickets, &keys);
        assert_int_equal(unseal(f, f->a, &ticket), results[i]);
    }
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

UNIT_MAIN(cmocka_unit_test(new_key_every_quarter), cmocka_unit_test(keys_end_after_their_life),
          cmocka_unit_test(long_sleep), cmocka_unit_test(a_key_can_be_renewed_at_any_time),
          cmocka_unit_test(transport), WITH(without_keys_no_ticket), WITH(sealed_ticket_opens),
          WITH(ticket_of_another_site_is_unknown), WITH(old_key_opens_and_renews),
          WITH(workers_share), WITH(many_sites_keep_their_keys), WITH(sites_share_mappings),
          cmocka_unit_test(shared_keys_are_the_same_for_all), WITH(shared_keys_open_for_nine_hours))
