/* signer/shamir, signer/key_numbers, signer/share: splitting keys, combining, shares that lie. */
#include "failmalloc.h"
#include "unit.h"
#include "unit_keys.h"

#include "base/secret.h"
#include "signer/key_numbers.h"
#include "signer/shamir.h"
#include "signer/share.h"

#include <openssl/err.h>

static const char *const kinds[] = {"rsa2048", "P-256", "P-384", "P-521", "ed25519"};

/* One splitting, decoded. */
struct set {
    EVP_PKEY *key;
    unsigned n;
    struct fk_secret *bytes[FK_SHARES_MAX];
    struct fk_share shares[FK_SHARES_MAX];
};

static struct fk_reader reader_of(const struct fk_secret *secret)
{
    struct fk_reader reader;

    fk_reader_init(&reader, fk_secret_bytes(secret), fk_secret_len(secret));
    return reader;
}

static void set_init(struct set *set, EVP_PKEY *key, unsigned k, unsigned n)
{
    *set = (struct set){.key = key, .n = n};
    assert_ok(fk_share_split(key, k, n, set->bytes));
    for (unsigned i = 0; i < n; i++)
        assert_ok(fk_share_decode(reader_of(set->bytes[i]), &set->shares[i]));
}

static void set_fini(struct set *set)
{
    for (unsigned i = 0; i < set->n; i++)
        fk_secret_free(set->bytes[i]);
    EVP_PKEY_free(set->key);
}

/* --- the field and the polynomials --- */

/* FIPS 197 section 4.2: {57} x {83} = {c1}; so {57} x + 0 is {c1} at {83} and {57} at 1. */
static void the_field_is_that_of_fips_197(void **state)
{
    const uint8_t x[] = {0x83, 1}, at_83 = 0xc1, at_1 = 0x57;
    const uint8_t *const shares[] = {&at_83, &at_1};
    uint8_t secret = 0xff;

    (void)state;
    assert_ok(fk_shamir_combine(x, shares, 2, 1, &secret));
    assert_int_equal(secret, 0);
}

/* Every byte value, every pair of three. */
static void any_k_of_n_give_the_secret(void **state)
{
    uint8_t secret[256], data[5][256], got[256];
    uint8_t *const out[] = {data[0], data[1], data[2], data[3], data[4]};

    (void)state;
    for (int i = 0; i < 256; i++)
        secret[i] = (uint8_t)i;
    for (unsigned k = 2; k <= 5; k++) {
        assert_ok(fk_shamir_split(secret, sizeof secret, k, 5, out));
        for (unsigned mask = 0; mask < 32; mask++) {
            const uint8_t *shares[5];
            uint8_t x[5];
            unsigned n = 0;

            for (unsigned i = 0; i < 5; i++)
                if ((mask >> i & 1) != 0) {
                    x[n] = (uint8_t)(i + 1);
                    shares[n++] = data[i];
                }
            if (n == 0)
                continue;
            assert_ok(fk_shamir_combine(x, shares, n, sizeof got, got));
            assert_int_equal(fk_equal_ct(got, secret, sizeof got), n >= k);
        }
    }
}

static void numbers_that_cannot_be_are_refused(void **state)
{
    uint8_t byte = 1, data[2];
    uint8_t *const out[] = {&data[0], &data[1]};
    const uint8_t *const in[] = {&data[0], &data[1]};

    (void)state;
    assert_err(fk_shamir_split(&byte, 1, 1, 2, out), FK_ERR_INVAL);
    assert_err(fk_shamir_split(&byte, 1, 3, 2, out), FK_ERR_INVAL);
    assert_err(fk_shamir_split(&byte, 1, 2, FK_SHARES_MAX + 1, out), FK_ERR_INVAL);
    assert_err(fk_shamir_split(&byte, FK_SHARE_DATA_MAX + 1, 2, 2, out), FK_ERR_LIMIT);
    assert_err(fk_shamir_combine((const uint8_t[]){1, 1}, in, 2, 1, &byte), FK_ERR_INVAL);
    assert_err(fk_shamir_combine((const uint8_t[]){0, 1}, in, 2, 1, &byte), FK_ERR_INVAL);
    assert_err(fk_shamir_combine((const uint8_t[]){1}, in, 0, 1, &byte), FK_ERR_INVAL);
}

/* --- private numbers --- */

static void numbers_make_the_key_again(void **state)
{
    uint8_t numbers[FK_SHARE_DATA_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        EVP_PKEY *key = unit_key(kinds[i]), *again = NULL;
        size_t len = fk_key_numbers_size(key);
        unsigned char *der = NULL, *der_again = NULL;
        int n;

        assert_true(len > 0 && len <= sizeof numbers);
        assert_ok(fk_key_numbers_get(key, numbers));
        assert_ok(fk_key_numbers_join(key, numbers, len, &again));
        n = i2d_PrivateKey(key, &der);
        assert_int_equal(i2d_PrivateKey(again, &der_again), n);
        assert_memory_equal(der, der_again, (size_t)n);
        assert_err(fk_key_numbers_join(key, numbers, len - 1, &again), FK_ERR_FORMAT);
        assert_int_equal(ERR_peek_error(), 0);
        OPENSSL_free(der);
        OPENSSL_free(der_again);
        EVP_PKEY_free(again);
        EVP_PKEY_free(key);
    }
}

/* --- shares --- */

static void every_key_type_is_split_and_combined(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        EVP_PKEY *again, *public;
        struct set set;

        set_init(&set, unit_key(kinds[i]), 2, 3);
        for (unsigned a = 0; a < 3; a++)
            for (unsigned b = 0; b < 3; b++) {
                const struct fk_share pair[] = {set.shares[a], set.shares[b]};

                if (a == b)
                    continue;
                again = NULL;
                assert_ok(fk_share_combine(pair, 2, &again));
                assert_int_equal(EVP_PKEY_eq(set.key, again), 1);
                EVP_PKEY_free(again);
            }
        assert_ok(fk_share_public(&set.shares[1], &public));
        assert_int_equal(EVP_PKEY_eq(set.key, public), 1);
        EVP_PKEY_free(public);
        set_fini(&set);
    }
}

/* No share has the key's numbers in it, and no two splittings are alike. */
static void a_share_is_not_the_key(void **state)
{
    uint8_t numbers[FK_SHARE_DATA_MAX];
    struct set set, other;
    EVP_PKEY *key = unit_key("P-256");

    (void)state;
    assert_ok(fk_key_numbers_get(key, numbers));
    assert_int_equal(EVP_PKEY_up_ref(key), 1);
    set_init(&set, key, 2, 2);
    set_init(&other, key, 2, 2);
    for (int i = 0; i < 2; i++) {
        assert_memory_not_equal(set.shares[i].data.next, numbers, 32);
        assert_memory_not_equal(set.shares[i].data.next, other.shares[i].data.next, 32);
    }
    assert_memory_not_equal(set.shares[0].set, other.shares[0].set, FK_KEYSHARE_SET);
    set_fini(&set);
    set_fini(&other);
}

static void each_wrong_set_of_shares_has_its_name(void **state)
{
    EVP_PKEY *key = unit_key("P-256"), *ret = NULL;
    struct fk_share shares[4];
    struct set set, again, other;
    uint8_t bytes[32];

    (void)state;
    assert_int_equal(EVP_PKEY_up_ref(key), 1);
    set_init(&set, key, 3, 4);
    set_init(&again, key, 3, 4);
    set_init(&other, unit_key("P-256"), 3, 4);
    memcpy(shares, set.shares, sizeof shares);

    assert_ok(fk_share_combine(shares, 3, &ret));
    EVP_PKEY_free(ret);
    assert_ok(fk_share_combine(shares, 4, &ret));
    EVP_PKEY_free(ret);
    ret = NULL;
    assert_err(fk_share_combine(shares, 2, &ret), FK_ERR_SHARE_MISSING);
    assert_err(fk_share_combine(shares, 0, &ret), FK_ERR_SHARE_MISSING);
    shares[2] = set.shares[0];
    assert_err(fk_share_combine(shares, 3, &ret), FK_ERR_SHARE_REPEATED);
    shares[2] = again.shares[2];
    assert_err(fk_share_combine(shares, 3, &ret), FK_ERR_SHARE_FOREIGN);
    shares[2] = other.shares[2];
    assert_err(fk_share_combine(shares, 3, &ret), FK_ERR_SHARE_FOREIGN);
    shares[2] = set.shares[2];
    memcpy(bytes, shares[2].data.next, sizeof bytes);
    bytes[31] ^= 1;
    shares[2].data.next = bytes;
    assert_err(fk_share_combine(shares, 3, &ret), FK_ERR_SHARE_WRONG);
    assert_null(ret);
    set_fini(&set);
    set_fini(&again);
    set_fini(&other);
}

static void splitting_is_refused_what_it_cannot_do(void **state)
{
    struct fk_secret *ret[FK_SHARES_MAX];
    EVP_PKEY *key = unit_key("P-256"), *x25519 = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");

    (void)state;
    assert_err(fk_share_split(key, 1, 2, ret), FK_ERR_INVAL);
    assert_err(fk_share_split(key, 3, 2, ret), FK_ERR_INVAL);
    assert_err(fk_share_split(key, 2, FK_SHARES_MAX + 1, ret), FK_ERR_INVAL);
    assert_err(fk_share_split(x25519, 2, 2, ret), FK_ERR_UNSUPPORTED);
    EVP_PKEY_free(key);
    EVP_PKEY_free(x25519);
}

static void every_byte_of_a_share_counts(void **state)
{
    struct fk_reader reader;
    struct fk_share share;
    struct set set;
    uint8_t bytes[1024];
    size_t len, hashes;

    (void)state;
    set_init(&set, unit_key("P-256"), 2, 3);
    reader = reader_of(set.bytes[1]);
    len = reader.left;
    assert_true(len < sizeof bytes);
    memcpy(bytes, reader.next, len);
    hashes = (size_t)(set.shares[1].hashes.next - reader.next);
    for (size_t i = 0; i < len; i++) {
        fk_reader_init(&reader, bytes, i);
        assert_err(fk_share_decode(reader, &share), FK_ERR_TRUNCATED);
    }
    bytes[len] = 0;
    fk_reader_init(&reader, bytes, len + 1);
    assert_err(fk_share_decode(reader, &share), FK_ERR_TRAILING);
    fk_reader_init(&reader, bytes, len);
    for (size_t i = 0; i < len; i++) {
        bytes[i] ^= 1;
        if (i < hashes || i >= hashes + 96 || (i >= hashes + 32 && i < hashes + 64))
            assert_int_not_equal(fk_share_decode(reader, &share), FK_OK);
        else /* the hashes of other shares: those shares will not fit */
            assert_ok(fk_share_decode(reader, &share));
        bytes[i] ^= 1;
    }
    bytes[0] = 2;
    assert_err(fk_share_decode(reader, &share), FK_ERR_VERSION);
    bytes[0] = 1;
    bytes[len - 1] ^= 0x80;
    assert_err(fk_share_decode(reader, &share), FK_ERR_SHARE_WRONG);
    set_fini(&set);
}

static void files_are_pem(void **state)
{
    static const char other[] = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
    struct fk_secret *text, *bytes = NULL;
    struct set set;
    size_t len;

    (void)state;
    set_init(&set, unit_key("rsa2048"), 2, 2);
    assert_ok(fk_share_to_pem(set.bytes[0], &text, &len));
    assert_memory_equal(fk_secret_bytes(text), "-----BEGIN FARKEY KEY SHARE-----\n", 33);
    assert_ok(fk_share_from_pem(fk_secret_bytes(text), len, &bytes));
    assert_int_equal(fk_secret_len(bytes), fk_secret_len(set.bytes[0]));
    assert_memory_equal(fk_secret_bytes(bytes), fk_secret_bytes(set.bytes[0]),
                        fk_secret_len(bytes));
    fk_secret_free(bytes);
    for (size_t i = 0; i + 1 < len; i++) /* but for the last line's end */
        assert_err(fk_share_from_pem(fk_secret_bytes(text), i, &bytes), FK_ERR_FORMAT);
    assert_err(fk_share_from_pem(other, sizeof other - 1, &bytes), FK_ERR_FORMAT);
    assert_err(fk_share_from_pem(other, 1 << 20, &bytes), FK_ERR_LIMIT);
    fk_secret_free(text);
    set_fini(&set);
}

/* --- on the way --- */

struct way {
    struct set set;
    EVP_PKEY *public;
    uint8_t binding[FK_SHARE_BINDING];
    uint8_t item[FK_SHARE_ITEM_MAX];
    size_t len;
};

static void way_init(struct way *way, const char *kind)
{
    static const uint8_t ski[20];

    set_init(&way->set, unit_key(kind), 2, 3);
    assert_ok(fk_share_public(&way->set.shares[0], &way->public));
    assert_ok(fk_share_binding(0x41, ski, "payload", 7, way->binding));
    assert_ok(fk_share_seal(&way->set.shares[1], way->set.shares[1].data, way->binding, way->item,
                            &way->len));
}

static void way_fini(struct way *way)
{
    EVP_PKEY_free(way->public);
    set_fini(&way->set);
}

static int rebuild(const struct way *way, EVP_PKEY **ret)
{
    struct fk_reader item;

    fk_reader_init(&item, way->item, way->len);
    return fk_share_rebuild(&way->set.shares[0], way->public, item, way->binding, ret);
}

static void a_sealed_share_rebuilds_the_key(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        EVP_PKEY *key = NULL;
        struct way way;

        way_init(&way, kinds[i]);
        assert_ok(rebuild(&way, &key));
        assert_int_equal(EVP_PKEY_eq(key, way.set.key), 1);
        EVP_PKEY_free(key);
        assert_null(memmem(way.item, way.len, way.set.shares[1].data.next, 16));
        way_fini(&way);
    }
}

/* Changed, cut, for another occasion, to another signer, again, of another key. */
static void each_wrong_share_on_the_way_has_its_name(void **state)
{
    EVP_PKEY *key = NULL;
    struct way way, other;
    size_t len;

    (void)state;
    way_init(&way, "P-256");
    way_init(&other, "P-256");
    len = way.len;
    for (size_t i = 0; i < len; i++) {
        int expected = i < FK_KEYSHARE_HEAD - 1 ? FK_ERR_SHARE_FOREIGN : FK_ERR_SHARE_WRONG;

        way.item[i] ^= i == FK_KEYSHARE_HEAD - 1 ? 1 : 4;
        assert_err(rebuild(&way, &key), expected);
        way.item[i] ^= i == FK_KEYSHARE_HEAD - 1 ? 1 : 4;
    }
    for (way.len = 0; way.len < len; way.len++)
        assert_err(rebuild(&way, &key),
                   way.len <= FK_KEYSHARE_HEAD ? FK_ERR_TRUNCATED : FK_ERR_SHARE_WRONG);
    way.len = len;
    way.binding[0] ^= 1;
    assert_err(rebuild(&way, &key), FK_ERR_SHARE_WRONG);
    way.binding[0] ^= 1;
    memcpy(way.set.shares[1].combiner, other.set.shares[1].combiner, FK_SEAL_KEY_SIZE);
    assert_ok(
        fk_share_seal(&way.set.shares[1], way.set.shares[1].data, way.binding, way.item, &way.len));
    assert_err(rebuild(&way, &key), FK_ERR_SHARE_WRONG);
    assert_ok(
        fk_share_seal(&way.set.shares[0], way.set.shares[0].data, way.binding, way.item, &way.len));
    assert_err(rebuild(&way, &key), FK_ERR_SHARE_REPEATED);
    way.item[FK_KEYSHARE_HEAD - 1] = 0;
    assert_err(rebuild(&way, &key), FK_ERR_FORMAT);
    assert_ok(fk_share_seal(&other.set.shares[1], other.set.shares[1].data, way.binding, way.item,
                            &way.len));
    assert_err(rebuild(&way, &key), FK_ERR_SHARE_FOREIGN);
    assert_null(key);
    way_fini(&way);
    way_fini(&other);
}

static void what_is_sealed_is_one_operation(void **state)
{
    uint8_t ski[20] = {1}, a[FK_SHARE_BINDING], b[FK_SHARE_BINDING];

    (void)state;
    assert_ok(fk_share_binding(1, ski, "ab", 2, a));
    assert_ok(fk_share_binding(1, ski, "ab", 2, b));
    assert_memory_equal(a, b, sizeof a);
    assert_ok(fk_share_binding(2, ski, "ab", 2, b));
    assert_memory_not_equal(a, b, sizeof a);
    assert_ok(fk_share_binding(1, ski, "ac", 2, b));
    assert_memory_not_equal(a, b, sizeof a);
    ski[19] = 1;
    assert_ok(fk_share_binding(1, ski, "ab", 2, b));
    assert_memory_not_equal(a, b, sizeof a);
}

/* A third share is needed, and there is no way for two. */
static void one_sealed_share_is_not_enough_for_three(void **state)
{
    EVP_PKEY *key = NULL;
    struct way way;

    (void)state;
    way_init(&way, "P-256");
    set_fini(&way.set);
    set_init(&way.set, unit_key("P-256"), 3, 3);
    assert_ok(
        fk_share_seal(&way.set.shares[1], way.set.shares[1].data, way.binding, way.item, &way.len));
    assert_err(rebuild(&way, &key), FK_ERR_SHARE_MISSING);
    way_fini(&way);
}

/* --- additive ones --- */

static void additive_init(struct set *set, EVP_PKEY *key)
{
    *set = (struct set){.key = key, .n = 2};
    assert_ok(fk_share_split_additive(key, set->bytes));
    for (unsigned i = 0; i < 2; i++)
        assert_ok(fk_share_decode(reader_of(set->bytes[i]), &set->shares[i]));
}

static void additive_shares_are_proved_by_their_powers(void **state)
{
    static const char *const rsa[] = {"rsa2048", "rsa3072"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct set set, again;
        struct fk_share shares[2];
        EVP_PKEY *public = NULL, *key = NULL;

        additive_init(&set, unit_key(rsa[i]));
        assert_int_equal(EVP_PKEY_up_ref(set.key), 1);
        additive_init(&again, set.key);
        for (int swap = 0; swap < 2; swap++) {
            shares[swap] = set.shares[0];
            shares[1 - swap] = set.shares[1];
            assert_ok(fk_share_prove(shares, 2, &public));
            assert_int_equal(EVP_PKEY_eq(public, set.key), 1);
            EVP_PKEY_free(public);
        }
        assert_err(fk_share_combine(shares, 2, &key), FK_ERR_UNSUPPORTED);
        assert_err(fk_share_prove(shares, 1, &public), FK_ERR_SHARE_MISSING);
        shares[1] = shares[0];
        assert_err(fk_share_prove(shares, 2, &public), FK_ERR_SHARE_REPEATED);
        shares[1] = again.shares[1];
        assert_err(fk_share_prove(shares, 2, &public), FK_ERR_SHARE_FOREIGN);
        assert_memory_not_equal(set.shares[0].data.next, again.shares[0].data.next, 32);
        assert_int_equal(set.shares[0].reject.left, 32);
        assert_int_equal(set.shares[1].reject.left, 0);
        set_fini(&set);
        set_fini(&again);
    }
}

/* d is the sum of the two modulo (p-1)(q-1), and neither of them. */
static void additive_shares_are_random(void **state)
{
    BIGNUM *d = NULL, *p = NULL, *q = NULL, *sum = BN_new(), *one, *other;
    BN_CTX *ctx = BN_CTX_new();
    struct set set;

    (void)state;
    additive_init(&set, unit_key("rsa2048"));
    one = BN_bin2bn(set.shares[0].data.next, 256, NULL);
    other = BN_bin2bn(set.shares[1].data.next, 256, NULL);
    assert_int_equal(EVP_PKEY_get_bn_param(set.key, "d", &d), 1);
    assert_int_equal(EVP_PKEY_get_bn_param(set.key, "rsa-factor1", &p), 1);
    assert_int_equal(EVP_PKEY_get_bn_param(set.key, "rsa-factor2", &q), 1);
    assert_int_equal(BN_sub_word(p, 1) & BN_sub_word(q, 1) & BN_mul(p, p, q, ctx), 1);
    assert_true(BN_num_bits(one) > 1980 && BN_num_bits(other) > 1980);
    assert_true(BN_cmp(one, p) < 0 && BN_cmp(other, p) < 0);
    assert_int_not_equal(BN_cmp(one, d), 0);
    assert_int_not_equal(BN_cmp(other, d), 0);
    assert_int_equal(BN_mod_add(sum, one, other, p, ctx), 1);
    assert_int_equal(BN_nnmod(d, d, p, ctx), 1);
    assert_int_equal(BN_cmp(sum, d), 0);
    BN_free(one);
    BN_free(other);
    BN_free(sum);
    BN_free(d);
    BN_free(p);
    BN_free(q);
    BN_CTX_free(ctx);
    set_fini(&set);
}

static void only_rsa_keys_have_additive_shares(void **state)
{
    struct fk_secret *ret[2];

    (void)state;
    for (size_t i = 1; i < sizeof kinds / sizeof kinds[0]; i++) {
        EVP_PKEY *key = unit_key(kinds[i]);

        assert_err(fk_share_split_additive(key, ret), FK_ERR_UNSUPPORTED);
        EVP_PKEY_free(key);
    }
}

/* A scheme's number, or what only share 1 has, in the wrong place. */
static void additive_shares_have_their_form(void **state)
{
    struct fk_reader reader;
    struct fk_share share;
    EVP_PKEY *public;
    uint8_t bytes[2048];
    struct set set;

    (void)state;
    additive_init(&set, unit_key("rsa2048"));
    for (int i = 0; i < 2; i++) {
        reader = reader_of(set.bytes[i]);
        memcpy(bytes, reader.next, reader.left);
        for (size_t len = 0; len < reader.left; len++) {
            struct fk_reader part;

            fk_reader_init(&part, bytes, len);
            assert_err(fk_share_decode(part, &share), FK_ERR_TRUNCATED);
        }
        reader.next = bytes;
        bytes[3] = 3; /* n */
        assert_err(fk_share_decode(reader, &share), FK_ERR_FORMAT);
        bytes[3] = 2;
        bytes[1] = 3;
        assert_err(fk_share_decode(reader, &share), FK_ERR_VERSION);
        bytes[1] = FK_SHARE_SHAMIR; /* share 2 looks alike until its length is compared */
        if (i == 0) {
            assert_err(fk_share_decode(reader, &share), FK_ERR_FORMAT);
        } else {
            assert_ok(fk_share_decode(reader, &share));
            assert_err(fk_share_public(&share, &public), FK_ERR_FORMAT);
        }
        bytes[1] = FK_SHARE_ADDITIVE;
        bytes[reader.left - 1] ^= 1;
        assert_err(fk_share_decode(reader, &share), FK_ERR_SHARE_WRONG);
    }
    set_fini(&set);
}

static void a_power_goes_sealed(void **state)
{
    struct fk_share_power power = {.salt_len = 32, .size = 256}, got;
    uint8_t binding[FK_SHARE_BINDING] = {1}, plain[1024], item[FK_SHARE_ITEM_MAX];
    struct fk_reader reader;
    struct fk_writer writer;
    struct set set;
    size_t len, item_len;

    (void)state;
    additive_init(&set, unit_key("rsa2048"));
    memset(power.salt, 's', 32);
    memset(power.power, 'p', 256);
    fk_writer_init(&writer, plain, sizeof plain);
    fk_share_power_encode(&power, &writer);
    assert_ok(fk_writer_end(&writer, &len));
    for (size_t i = 0; i < len; i++) {
        fk_reader_init(&reader, plain, i);
        assert_err(fk_share_power_decode(reader, 256, &got), FK_ERR_SHARE_WRONG);
    }
    fk_reader_init(&reader, plain, len + 1);
    assert_err(fk_share_power_decode(reader, 256, &got), FK_ERR_SHARE_WRONG);
    fk_reader_init(&reader, plain, len);
    assert_ok(fk_share_seal(&set.shares[1], reader, binding, item, &item_len));
    fk_reader_init(&reader, item, item_len);
    assert_ok(fk_share_power_open(&set.shares[0], reader, binding, &got));
    assert_int_equal(got.salt_len, 32);
    assert_memory_equal(got.salt, power.salt, 32);
    assert_memory_equal(got.power, power.power, 256);
    binding[0] = 2;
    assert_err(fk_share_power_open(&set.shares[0], reader, binding, &got), FK_ERR_SHARE_WRONG);
    set_fini(&set);
}

static int split_once(void *arg)
{
    struct fk_secret *shares[2];
    int err = fk_share_split(arg, 2, 2, shares);

    for (int i = 0; err == FK_OK && i < 2; i++)
        fk_secret_free(shares[i]);
    return err;
}

static int prove_once(void *arg)
{
    const struct set *set = arg;
    EVP_PKEY *public = NULL;
    int err = fk_share_prove(set->shares, 2, &public);

    EVP_PKEY_free(public);
    return err;
}

static void memory_may_end(void **state)
{
    EVP_PKEY *key = unit_key("P-256");
    struct set set;

    (void)state;
    assert_true(failmalloc_try(split_once, key) > 0);
    EVP_PKEY_free(key);
    additive_init(&set, unit_key("rsa2048"));
    assert_int_equal(failmalloc_try(prove_once, &set), 2); /* each side's struct fk_power */
    set_fini(&set);
}

UNIT_MAIN(cmocka_unit_test(the_field_is_that_of_fips_197),
          cmocka_unit_test(any_k_of_n_give_the_secret),
          cmocka_unit_test(numbers_that_cannot_be_are_refused),
          cmocka_unit_test(numbers_make_the_key_again),
          cmocka_unit_test(every_key_type_is_split_and_combined),
          cmocka_unit_test(a_share_is_not_the_key),
          cmocka_unit_test(each_wrong_set_of_shares_has_its_name),
          cmocka_unit_test(splitting_is_refused_what_it_cannot_do),
          cmocka_unit_test(every_byte_of_a_share_counts), cmocka_unit_test(files_are_pem),
          cmocka_unit_test(a_sealed_share_rebuilds_the_key),
          cmocka_unit_test(each_wrong_share_on_the_way_has_its_name),
          cmocka_unit_test(what_is_sealed_is_one_operation),
          cmocka_unit_test(one_sealed_share_is_not_enough_for_three),
          cmocka_unit_test(additive_shares_are_proved_by_their_powers),
          cmocka_unit_test(additive_shares_are_random),
          cmocka_unit_test(only_rsa_keys_have_additive_shares),
          cmocka_unit_test(additive_shares_have_their_form), cmocka_unit_test(a_power_goes_sealed),
          cmocka_unit_test(memory_may_end))
