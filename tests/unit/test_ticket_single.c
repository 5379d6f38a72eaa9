/* signer/ticket_single: each ticket its own keys, for one key and one use, as long as its secret
 * lives. */
#include "unit.h"

#include "unit_keys.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/secret.h"
#include "base/writer.h"
#include "signer/ops.h"
#include "signer/ticket_single.h"
#include "wire/keymsg.h"

#include <openssl/err.h>
#include <unistd.h>

#define LIFE    UINT64_C(4000000)
#define QUARTER (LIFE / 4)

static const uint8_t ski[20] = {1}, other_ski[20] = {2};
static const struct fk_ticket_use use = {.mode = FK_TICKET_MODE_SIGN, .owner = {3}};

static void rotate(struct fk_ticket_roots *roots, uint64_t now)
{
    uint64_t next;

    assert_ok(fk_ticket_roots_rotate(roots, LIFE, now, &next));
}

static struct fk_ticket_single make(const struct fk_ticket_roots *roots, uint64_t now)
{
    struct fk_ticket_singles singles;

    assert_ok(fk_ticket_singles_make(roots, ski, &use, now, 1, &singles));
    assert_int_equal(singles.count, 1);
    return singles.items[0];
}

static bool is_same(const struct fk_ticket_opened *opened, const struct fk_ticket_single *single)
{
    return fk_equal_ct(opened->aes, single->aes, sizeof opened->aes) &&
           fk_equal_ct(opened->mac, single->mac, sizeof opened->mac);
}

static void each_ticket_has_keys_of_its_own(void **state)
{
    struct fk_ticket_roots roots = {0};
    struct fk_ticket_singles singles;
    struct fk_ticket_opened opened;

    (void)state;
    rotate(&roots, 0);
    assert_ok(fk_ticket_singles_make(&roots, ski, &use, 0, FK_TICKET_SINGLES_MAX, &singles));
    assert_int_equal(singles.count, FK_TICKET_SINGLES_MAX);
    assert_int_equal(singles.life_ms, QUARTER / 1000);
    for (size_t i = 0; i < singles.count; i++) {
        for (size_t k = 0; k < i; k++) {
            assert_memory_not_equal(singles.items[i].name, singles.items[k].name, 16);
            assert_memory_not_equal(singles.items[i].aes, singles.items[k].aes, 32);
            assert_memory_not_equal(singles.items[i].mac, singles.items[k].mac, 32);
        }
        assert_memory_not_equal(singles.items[i].aes, singles.items[i].mac, 32);
        assert_ok(fk_ticket_single_find(&roots, ski, &use, 0, singles.items[i].name, &opened));
        assert_true(is_same(&opened, &singles.items[i]));
        assert_false(opened.renew);
    }
    assert_err(fk_ticket_singles_make(&roots, ski, &use, 0, FK_TICKET_SINGLES_MAX + 1, &singles),
               FK_ERR_LIMIT);
}

/* Asked for as something else, there are no keys, or keys of nothing. */
static void for_one_key_and_one_use(void **state)
{
    struct fk_ticket_use other_mode = use, other_owner = use;
    struct fk_ticket_roots roots = {0};
    struct fk_ticket_single single;
    struct fk_ticket_opened opened;

    (void)state;
    rotate(&roots, 0);
    single = make(&roots, 0);
    other_mode.mode = FK_TICKET_MODE_DECRYPT;
    other_owner.owner[31] = 1;
    assert_ok(fk_ticket_single_find(&roots, ski, &other_mode, 0, single.name, &opened));
    assert_false(is_same(&opened, &single));
    assert_ok(fk_ticket_single_find(&roots, ski, &other_owner, 0, single.name, &opened));
    assert_false(is_same(&opened, &single));
    assert_err(fk_ticket_single_find(&roots, other_ski, &use, 0, single.name, &opened),
               FK_ERR_EXPIRED);
    single.name[15] ^= 1;
    assert_ok(fk_ticket_single_find(&roots, ski, &use, 0, single.name, &opened));
    assert_false(is_same(&opened, &single));
    single.name[0] ^= 1;
    assert_err(fk_ticket_single_find(&roots, ski, &use, 0, single.name, &opened), FK_ERR_EXPIRED);
}

/* It opens for a life after its secret began to seal; its client gets another one before. */
static void in_time(void **state)
{
    struct fk_ticket_roots roots = {0};
    struct fk_ticket_single single;
    struct fk_ticket_opened opened;

    (void)state;
    rotate(&roots, 0);
    single = make(&roots, QUARTER - 1);
    for (uint64_t now = QUARTER; now < LIFE; now += QUARTER) {
        rotate(&roots, now);
        assert_ok(fk_ticket_single_find(&roots, ski, &use, now, single.name, &opened));
        assert_true(is_same(&opened, &single));
        assert_true(opened.renew);
        assert_memory_not_equal(make(&roots, now).name, single.name, 4);
    }
    assert_err(fk_ticket_single_find(&roots, ski, &use, LIFE, single.name, &opened),
               FK_ERR_EXPIRED);
}

static void without_a_secret_that_seals(void **state)
{
    struct fk_ticket_roots roots = {0};
    struct fk_ticket_singles singles;
    struct fk_ticket_opened opened;
    uint8_t name[16] = {0};

    (void)state;
    assert_err(fk_ticket_singles_make(&roots, ski, &use, 0, 1, &singles), FK_ERR_UNAVAILABLE);
    assert_err(fk_ticket_single_find(&roots, ski, &use, 0, name, &opened), FK_ERR_EXPIRED);
    rotate(&roots, 1000);
    assert_err(fk_ticket_singles_make(&roots, ski, &use, 999, 1, &singles), FK_ERR_UNAVAILABLE);
    assert_err(fk_ticket_singles_make(&roots, ski, &use, 1000 + QUARTER + LIFE, 1, &singles),
               FK_ERR_UNAVAILABLE);
}

/* Neither gives keys of the other: whoever may only ask for single tickets opens no shared ones. */
static void they_are_not_the_keys_that_edges_share(void **state)
{
    struct fk_ticket_roots roots = {0};
    struct fk_ticket_grants grants;
    struct fk_ticket_single single;

    (void)state;
    rotate(&roots, 0);
    single = make(&roots, 0);
    assert_ok(fk_ticket_roots_grant(&roots, ski, 0, &grants));
    for (size_t i = 0; i < grants.count; i++) {
        assert_memory_not_equal(grants.items[i].secret, single.aes, 32);
        assert_memory_not_equal(grants.items[i].secret, single.mac, 32);
        assert_memory_not_equal(grants.items[i].id, single.name, 4);
    }
}

/* --- in a signer --- */

static struct fk_keyset *set;
static struct fk_ops *ops;
static uint8_t key_ski[20], result[FK_SIGNER_RESULT_MAX];
static size_t result_len;

static void open_signer(unsigned permissions)
{
    struct fk_keyset_builder *builder;
    EVP_PKEY *key = unit_key("P-256");
    int fd;

    assert_ok(fk_keyset_builder_new(&builder));
    unit_bundle_add(builder, "key", key, (uint16_t)permissions, key_ski);
    assert_ok(fk_keyset_builder_seal(builder, &fd));
    fk_keyset_builder_free(builder);
    assert_ok(fk_keyset_open(fd, &set));
    close(fd);
    assert_ok(fk_ops_new(set, 0, 1, &ops));
    EVP_PKEY_free(key);
}

static void give_roots(void)
{
    struct fk_ticket_roots roots = {0};
    uint8_t wire[FK_TICKET_ROOTS_WIRE_MAX];

    rotate(&roots, fk_clock_us());
    assert_ok(fk_ops_take_roots(ops, wire, fk_ticket_roots_encode(&roots, wire)));
}

static void close_signer(void)
{
    fk_ops_free(ops);
    fk_keyset_free(set);
    assert_int_equal(ERR_peek_error(), 0);
}

static int run(uint16_t op, const uint8_t *payload, size_t len)
{
    struct fk_signer_request request = {.len = (uint32_t)len, .op = op};

    memcpy(request.ski, key_ski, sizeof request.ski);
    return fk_ops_run(ops, &request, payload, result, &result_len);
}

static size_t seal_request(uint8_t count, uint8_t *ret)
{
    struct fk_writer writer;
    size_t len;

    fk_writer_init(&writer, ret, 64);
    fk_ticket_seal_encode(count, &use, &writer);
    assert_ok(fk_writer_end(&writer, &len));
    return len;
}

static size_t unseal_request(const uint8_t name[16], uint8_t *ret)
{
    struct fk_writer writer;
    size_t len;

    fk_writer_init(&writer, ret, 64);
    fk_ticket_open_encode(name, &use, &writer);
    assert_ok(fk_writer_end(&writer, &len));
    return len;
}

static void a_signer_seals_and_unseals(void **state)
{
    struct fk_ticket_singles singles;
    struct fk_ticket_opened opened;
    uint8_t payload[64];
    size_t len = seal_request(FK_TICKET_SINGLES_MAX, payload);

    (void)state;
    open_signer(FK_PERM_TICKETS);
    assert_err(run(FK_SIGNER_TICKET_SEAL, payload, len), FK_ERR_UNAVAILABLE);
    give_roots();
    assert_err(run(FK_SIGNER_TICKET_SEAL, payload, len - 1), FK_ERR_TRUNCATED);
    assert_ok(run(FK_SIGNER_TICKET_SEAL, payload, len));
    assert_int_equal(result_len, FK_TICKET_SINGLES_WIRE_MAX);
    assert_ok(fk_ticket_singles_decode(fk_item(result, result_len), &singles));
    assert_int_equal(singles.count, FK_TICKET_SINGLES_MAX);
    len = unseal_request(singles.items[3].name, payload);
    assert_err(run(FK_SIGNER_TICKET_UNSEAL, payload, len + 1), FK_ERR_TRAILING);
    assert_ok(run(FK_SIGNER_TICKET_UNSEAL, payload, len));
    assert_int_equal(result_len, FK_TICKET_OPENED_WIRE);
    assert_ok(fk_ticket_opened_decode(fk_item(result, result_len), &opened));
    assert_true(is_same(&opened, &singles.items[3]));
    give_roots(); /* others: what was made with the old ones is nobody's any more */
    assert_err(run(FK_SIGNER_TICKET_UNSEAL, payload, len), FK_ERR_EXPIRED);
    close_signer();
}

static void the_permission_is_needed(void **state)
{
    static const uint16_t both[] = {FK_SIGNER_TICKET_SEAL, FK_SIGNER_TICKET_UNSEAL};
    uint8_t payload[64], name[16] = {0};
    size_t len = seal_request(1, payload);

    (void)state;
    open_signer(0xffff & ~FK_PERM_TICKETS);
    give_roots();
    assert_err(run(FK_SIGNER_TICKET_SEAL, payload, len), FK_ERR_DENIED);
    len = unseal_request(name, payload);
    assert_err(run(FK_SIGNER_TICKET_UNSEAL, payload, len), FK_ERR_DENIED);
    close_signer();
    for (size_t i = 0; i < 2; i++) {
        assert_true(fk_ops_permitted(FK_PEER_FRONT, both[i]));
        assert_false(fk_ops_permitted(FK_PEER_WORKER, both[i]));
        assert_false(fk_ops_permitted(FK_PEER_HANDSHAKER, both[i]));
    }
}

UNIT_MAIN(cmocka_unit_test(each_ticket_has_keys_of_its_own),
          cmocka_unit_test(for_one_key_and_one_use), cmocka_unit_test(in_time),
          cmocka_unit_test(without_a_secret_that_seals),
          cmocka_unit_test(they_are_not_the_keys_that_edges_share),
          cmocka_unit_test(a_signer_seals_and_unseals), cmocka_unit_test(the_permission_is_needed))
