/* keyd/index: keys are found by everything that names them, and by nothing else. */
#include "failmalloc.h"
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "keyd/index.h"
#include "signer/share.h"

#define ANY ~0U

static char shop[] = "shop", shop_ec[] = "shop-ec", example[] = "example.com";
static char wild[] = "*.example.com";
static char *rsa_names[] = {shop, example, wild};
static char *ec_names[] = {shop_ec, example};
static char keys3[] = "keys3", Keys4[] = "Keys4";
static char *sharers[] = {keys3, Keys4};
static struct fk_index_address addresses[] = {{{10, 0, 0, 1}, 4}, {{0x20, 1, 0xd, 0xb8}, 16}};
static uint8_t chain[] = {0, 3, 1, 2, 3};

static void fill(struct fk_index_key keys[2])
{
    memset(keys, 0, 2 * sizeof *keys);
    keys[0].public = (struct fk_key_public){.name = "shop", .type = FK_KEY_RSA, .bits = 2048};
    memset(keys[0].public.ski, 0xaa, 20);
    memset(keys[0].public.digest, 0xab, 32);
    memset(keys[0].cert_hash, 0xac, 32);
    keys[0].public.permissions = FK_PERM_SIGN13 | FK_PERM_DECRYPT;
    keys[0].names = rsa_names;
    keys[0].n_names = 3;
    keys[0].addresses = addresses;
    keys[0].n_addresses = 2;
    keys[0].chain = chain;
    keys[0].chain_len = sizeof chain;
    keys[1].public = (struct fk_key_public){.name = "shop-ec", .type = FK_KEY_EC, .bits = 256};
    memset(keys[1].public.ski, 0xba, 20);
    memset(keys[1].public.digest, 0xbb, 32);
    keys[1].names = ec_names;
    keys[1].n_names = 2;
    keys[1].retired = true;
    keys[1].split = FK_SHARE_ADDITIVE;
    keys[1].held = true;
    keys[1].sharers = sharers;
    keys[1].n_sharers = 2;
}

static struct fk_index *load(void)
{
    struct fk_index_key keys[2];
    struct fk_index *index;
    uint8_t *data;
    size_t len;

    fill(keys);
    assert_ok(fk_index_encode(keys, 2, &data, &len));
    assert_ok(fk_index_load(data, len, &index));
    free(data);
    return index;
}

static void survives_the_bundle(void **state)
{
    struct fk_index *index = load();
    const struct fk_index_key *key = fk_index_at(index, 0);

    (void)state;
    assert_int_equal(fk_index_count(index), 2);
    assert_string_equal(key->public.name, "shop");
    assert_int_equal(key->public.bits, 2048);
    assert_int_equal(key->public.permissions, FK_PERM_SIGN13 | FK_PERM_DECRYPT);
    assert_int_equal(key->chain_len, sizeof chain);
    assert_memory_equal(key->chain, chain, sizeof chain);
    assert_false(key->retired);
    assert_true(fk_index_at(index, 1)->retired);
    assert_int_equal(key->split, 0);
    assert_false(key->held);
    assert_int_equal(key->n_sharers, 0);
    key = fk_index_at(index, 1);
    assert_int_equal(key->split, FK_SHARE_ADDITIVE);
    assert_true(key->held);
    assert_int_equal(key->n_sharers, 2);
    assert_string_equal(key->sharers[0], "keys3");
    assert_string_equal(key->sharers[1], "Keys4"); /* as in a certificate: no host name */
    assert_null(fk_index_at(index, 2));
    assert_int_equal(fk_index_position(index, fk_index_at(index, 1)), 1);
    fk_index_free(index);
}

static void every_prefix_is_truncated(void **state)
{
    struct fk_index_key keys[2];
    struct fk_index *index;
    uint8_t *data;
    size_t len;

    (void)state;
    fill(keys);
    assert_ok(fk_index_encode(keys, 2, &data, &len));
    for (size_t n = 0; n < len; n++)
        assert_err(fk_index_load(data, n, &index), FK_ERR_TRUNCATED);
    data = realloc(data, len + 1);
    data[len] = 0;
    assert_err(fk_index_load(data, len + 1, &index), FK_ERR_TRAILING);
    memset(data, 0xff, 4);
    assert_err(fk_index_load(data, len, &index), FK_ERR_LIMIT);
    free(data);
}

static void unknown_type_is_refused(void **state)
{
    struct fk_index_key keys[2];
    struct fk_index *index;
    uint8_t *data;
    size_t len;

    (void)state;
    fill(keys);
    keys[1].public.type = (enum fk_key_type)9;
    assert_ok(fk_index_encode(keys, 2, &data, &len));
    assert_err(fk_index_load(data, len, &index), FK_ERR_FORMAT);
    free(data);
}

static void found_by_each_kind(void **state)
{
    struct fk_index *index = load();
    const struct fk_index_key *rsa = fk_index_at(index, 0), *ec = fk_index_at(index, 1);
    uint8_t want[32];

    (void)state;
    memset(want, 0xaa, 20);
    assert_ptr_equal(fk_index_find(index, FK_INDEX_SKI, want, 20, ANY), rsa);
    assert_null(fk_index_find(index, FK_INDEX_SKI, want, 20, 1U << FK_KEY_EC));
    assert_null(fk_index_find(index, FK_INDEX_SKI, want, 19, ANY));
    assert_null(fk_index_find(index, FK_INDEX_ADDRESS, want, 20, ANY));
    memset(want, 0xbb, 32);
    assert_ptr_equal(fk_index_find(index, FK_INDEX_DIGEST, want, 32, ANY), ec);
    memset(want, 0xac, 32);
    assert_ptr_equal(fk_index_find(index, FK_INDEX_CERT_HASH, want, 32, ANY), rsa);
    memset(want, 0, 32); /* what a key without certificate has in its place */
    assert_null(fk_index_find(index, FK_INDEX_CERT_HASH, want, 32, ANY));
    assert_ptr_equal(fk_index_find(index, FK_INDEX_ADDRESS, "\x0a\0\0\1", 4, ANY), rsa);
    assert_null(fk_index_find(index, FK_INDEX_ADDRESS, "\x0a\0\0\2", 4, ANY));
    fk_index_free(index);
}

static void names_have_types_case_and_wildcards(void **state)
{
    struct fk_index *index = load();
    const struct fk_index_key *rsa = fk_index_at(index, 0), *ec = fk_index_at(index, 1);
    static const struct {
        const char *name;
        unsigned types;
        int want; /* 0 RSA, 1 EC, -1 none */
    } rows[] = {
        {"example.com", ANY, 0},
        {"example.com", 1U << FK_KEY_EC, 1},
        {"EXAMPLE.Com", ANY, 0},
        {"www.example.com", ANY, 0},
        {"www.example.com", 1U << FK_KEY_EC, -1},
        {"a.b.example.com", ANY, -1},
        {".example.com", ANY, -1},
        {"shop-ec", ANY, 1},
        {"nobody", ANY, -1},
        {"", ANY, -1},
        {"example.com.", ANY, -1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct fk_index_key *want = rows[i].want == 0 ? rsa : rows[i].want == 1 ? ec : NULL;

        assert_ptr_equal(
            fk_index_find(index, FK_INDEX_NAME, rows[i].name, strlen(rows[i].name), rows[i].types),
            want);
    }
    fk_index_free(index);
}

static void longest_name_and_longer(void **state)
{
    struct fk_index *index = load();
    char name[FK_HOST_MAX + 2];

    (void)state;
    memset(name, 'a', sizeof name);
    name[1] = '.';
    assert_null(fk_index_find(index, FK_INDEX_NAME, name, FK_HOST_MAX, ANY));
    assert_null(fk_index_find(index, FK_INDEX_NAME, name, FK_HOST_MAX + 1, ANY));
    assert_null(fk_index_find(index, FK_INDEX_NAME, NULL, 0, ANY));
    fk_index_free(index);
}

static void empty_index_has_nothing(void **state)
{
    struct fk_index *index;
    uint8_t *data;
    size_t len;

    (void)state;
    assert_ok(fk_index_encode(NULL, 0, &data, &len));
    assert_ok(fk_index_load(data, len, &index));
    assert_null(fk_index_find(index, FK_INDEX_NAME, "a", 1, ANY));
    fk_index_free(index);
    free(data);
}

static int encode_and_load(void *context)
{
    struct fk_index_key keys[2];
    struct fk_index *index;
    uint8_t *data;
    size_t len;
    int err;

    (void)context;
    fill(keys);
    if ((err = fk_index_encode(keys, 2, &data, &len)) != FK_OK)
        return err;
    if ((err = fk_index_load(data, len, &index)) == FK_OK)
        fk_index_free(index);
    free(data);
    return err;
}

static void every_failed_allocation_is_survived(void **state)
{
    (void)state;
    assert_true(failmalloc_try(encode_and_load, NULL) > 3);
}

UNIT_MAIN(cmocka_unit_test(survives_the_bundle), cmocka_unit_test(every_prefix_is_truncated),
          cmocka_unit_test(unknown_type_is_refused), cmocka_unit_test(found_by_each_kind),
          cmocka_unit_test(names_have_types_case_and_wildcards),
          cmocka_unit_test(longest_name_and_longer), cmocka_unit_test(empty_index_has_nothing),
          cmocka_unit_test(every_failed_allocation_is_survived))
