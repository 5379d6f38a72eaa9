/* signer/ephemeral: keys agree with OpenSSL's as a client, and shares that are none are refused. */
#include "unit.h"

#include "base/err.h"
#include "signer/ephemeral.h"
#include "wire/keyop.h"
#include "wire/keyop_agree.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/dh.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>

static const struct {
    uint16_t id;
    const char *algorithm, *group;
} groups[] = {
    {FK_AGREE_P256, "EC", "P-256"},          {FK_AGREE_P384, "EC", "P-384"},
    {FK_AGREE_X25519, "X25519", NULL},       {FK_AGREE_FFDHE2048, "DH", "ffdhe2048"},
    {FK_AGREE_FFDHE3072, "DH", "ffdhe3072"}, {FK_AGREE_FFDHE4096, "DH", "ffdhe4096"},
};
#define N_GROUPS (sizeof groups / sizeof groups[0])

/* A key made here, as its client sees it. */
struct pair {
    struct fk_ephemeral key;
    uint8_t params[2048];
    struct fk_reader share; /* of `params`: point or Ys */
};

static void make(uint16_t group, struct pair *ret)
{
    const struct fk_agree_group *facts = fk_agree_group_find(group);
    struct fk_ephemerals *makers;
    struct fk_ecdh_params ecdh;
    struct fk_dh_params dh;
    struct fk_writer out;
    struct fk_reader params;
    size_t len;

    assert_ok(fk_ephemerals_new(&makers));
    fk_writer_init(&out, ret->params, sizeof ret->params);
    assert_ok(fk_ephemeral_make(makers, group, &ret->key, &out));
    assert_ok(fk_writer_end(&out, &len));
    fk_reader_init(&params, ret->params, len);
    if (facts->is_dh) {
        assert_ok(fk_dh_params_decode(params, &dh));
        assert_int_equal(dh.p.left, facts->share_len);
        assert_true(dh.g.left == 1 && dh.g.next[0] == 2);
        assert_in_range(ret->key.private_len, 1, 48);
        ret->share = dh.ys;
    } else {
        assert_ok(fk_ecdh_params_decode(params, &ecdh));
        assert_int_equal(ecdh.group, group);
        assert_int_equal(ret->key.private_len, facts->secret_len);
        ret->share = ecdh.point;
    }
    fk_ephemerals_free(makers);
}

static EVP_PKEY *client_key(size_t i)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, groups[i].algorithm, NULL);
    EVP_PKEY *key = NULL;

    assert_int_equal(EVP_PKEY_keygen_init(ctx), 1);
    if (groups[i].group != NULL)
        assert_int_equal(EVP_PKEY_CTX_set_group_name(ctx, groups[i].group), 1);
    assert_int_equal(EVP_PKEY_generate(ctx, &key), 1);
    EVP_PKEY_CTX_free(ctx);
    return key;
}

/* What the client sends. */
static struct fk_reader share_of(EVP_PKEY *key, bool is_dh, uint8_t ret[512])
{
    struct fk_reader share;
    BIGNUM *ys = NULL;
    size_t len;

    if (is_dh) {
        assert_int_equal(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_PUB_KEY, &ys), 1);
        len = (size_t)BN_bn2bin(ys, ret);
        BN_free(ys);
    } else {
        assert_int_equal(EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY,
                                                         ret, 512, &len),
                         1);
    }
    fk_reader_init(&share, ret, len);
    return share;
}

/* The client's side of the agreement, padded with zeros for DHE: SSL's own stripping is not used.
 */
static size_t client_derive(EVP_PKEY *key, const struct pair *pair, bool is_dh, uint8_t ret[512])
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    EVP_PKEY *peer = EVP_PKEY_new();
    uint8_t padded[512];
    size_t len = 512, size = (size_t)EVP_PKEY_get_size(key);

    assert_int_equal(EVP_PKEY_copy_parameters(peer, key), 1);
    memset(padded, 0, sizeof padded);
    if (is_dh) {
        memcpy(padded + size - pair->share.left, pair->share.next, pair->share.left);
        assert_int_equal(EVP_PKEY_set1_encoded_public_key(peer, padded, size), 1);
    } else {
        assert_int_equal(EVP_PKEY_set1_encoded_public_key(peer, pair->share.next, pair->share.left),
                         1);
    }
    assert_int_equal(EVP_PKEY_derive_init(ctx), 1);
    if (is_dh)
        assert_int_equal(EVP_PKEY_CTX_set_dh_pad(ctx, 1), 1);
    assert_int_equal(EVP_PKEY_derive_set_peer(ctx, peer), 1);
    assert_int_equal(EVP_PKEY_derive(ctx, ret, &len), 1);
    EVP_PKEY_free(peer);
    EVP_PKEY_CTX_free(ctx);
    return len;
}

static void both_ends_agree(void **state)
{
    uint8_t bytes[512], theirs[512], ours[FK_EPHEMERAL_SECRET_MAX];

    (void)state;
    for (size_t i = 0; i < N_GROUPS; i++) {
        bool is_dh = fk_agree_group_find(groups[i].id)->is_dh;
        EVP_PKEY *client = client_key(i);
        size_t len, zeros = 0, ours_len = 0;
        struct pair pair;

        make(groups[i].id, &pair);
        len = client_derive(client, &pair, is_dh, theirs);
        assert_ok(fk_ephemeral_agree(&pair.key, share_of(client, is_dh, bytes), ours, &ours_len));
        while (is_dh && theirs[zeros] == 0)
            zeros++;
        assert_int_equal(ours_len, len - zeros);
        assert_memory_equal(ours, theirs + zeros, ours_len);
        EVP_PKEY_free(client);
    }
    assert_int_equal(ERR_peek_error(), 0);
}

/* RFC 5246 section 8.1.2; one secret in 256 begins with a zero. */
static void leading_zeros_are_stripped(void **state)
{
    enum { I = 3 };
    uint8_t bytes[512], theirs[512], ours[FK_EPHEMERAL_SECRET_MAX];
    EVP_PKEY *client = NULL;
    struct pair pair;
    size_t zeros = 0, len;

    (void)state;
    make(groups[I].id, &pair);
    do {
        EVP_PKEY_free(client);
        client = client_key(I);
        assert_int_equal(client_derive(client, &pair, true, theirs), 256);
    } while (theirs[0] != 0);
    while (theirs[zeros] == 0)
        zeros++;
    assert_ok(fk_ephemeral_agree(&pair.key, share_of(client, true, bytes), ours, &len));
    assert_int_equal(len, 256 - zeros);
    assert_memory_equal(ours, theirs + zeros, len);
    EVP_PKEY_free(client);
}

/* The coordinate of a point keeps its zeros (RFC 8422 section 5.10). */
static void coordinates_keep_their_zeros(void **state)
{
    uint8_t bytes[512], theirs[512], ours[FK_EPHEMERAL_SECRET_MAX];
    EVP_PKEY *client = NULL;
    struct pair pair;
    size_t len;

    (void)state;
    make(groups[0].id, &pair);
    do {
        EVP_PKEY_free(client);
        client = client_key(0);
        assert_int_equal(client_derive(client, &pair, false, theirs), 32);
    } while (theirs[0] != 0);
    assert_ok(fk_ephemeral_agree(&pair.key, share_of(client, false, bytes), ours, &len));
    assert_int_equal(len, 32);
    assert_memory_equal(ours, theirs, 32);
    EVP_PKEY_free(client);
}

/* What is kept, or handed over, is the private half of what was sent. */
static void private_values_belong(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        EC_GROUP *group =
            EC_GROUP_new_by_curve_name(OBJ_sn2nid(i == 0 ? "prime256v1" : "secp384r1"));
        EC_POINT *point = EC_POINT_new(group);
        struct pair pair;
        BIGNUM *number;
        uint8_t bytes[97];

        make(groups[i].id, &pair);
        number = BN_bin2bn(pair.key.private_value, pair.key.private_len, NULL);
        assert_int_equal(EC_POINT_mul(group, point, number, NULL, NULL, NULL), 1);
        assert_int_equal(EC_POINT_point2oct(group, point, POINT_CONVERSION_UNCOMPRESSED, bytes,
                                            sizeof bytes, NULL),
                         pair.share.left);
        assert_memory_equal(bytes, pair.share.next, pair.share.left);
        BN_free(number);
        EC_POINT_free(point);
        EC_GROUP_free(group);
    }
    for (size_t i = 3; i < N_GROUPS; i++) {
        struct fk_dh_params dh;
        struct fk_reader params;
        BIGNUM *x, *p, *g = BN_new(), *ys;
        BN_CTX *ctx = BN_CTX_new();
        struct pair pair;

        make(groups[i].id, &pair);
        fk_reader_init(&params, pair.params,
                       2 + fk_agree_group_find(groups[i].id)->share_len * 2 + 5);
        assert_ok(fk_dh_params_decode(params, &dh));
        x = BN_bin2bn(pair.key.private_value, pair.key.private_len, NULL);
        p = BN_bin2bn(dh.p.next, (int)dh.p.left, NULL);
        ys = BN_bin2bn(dh.ys.next, (int)dh.ys.left, NULL);
        assert_int_equal(BN_set_word(g, 2), 1);
        assert_int_equal(BN_mod_exp(g, g, x, p, ctx), 1);
        assert_int_equal(BN_cmp(g, ys), 0);
        assert_int_equal(BN_check_prime(p, ctx, NULL), 1);
        BN_free(x);
        BN_free(p);
        BN_free(g);
        BN_free(ys);
        BN_CTX_free(ctx);
    }
}

static int agree(const struct pair *pair, const void *share, size_t len)
{
    uint8_t secret[FK_EPHEMERAL_SECRET_MAX], *copy = malloc(len + 1);
    struct fk_reader reader;
    size_t secret_len;
    int err;

    memcpy(copy, share, len);
    fk_reader_init(&reader, copy, len);
    err = fk_ephemeral_agree(&pair->key, reader, secret, &secret_len);
    free(copy);
    assert_int_equal(ERR_peek_error(), 0);
    return err;
}

static void points_are_looked_at(void **state)
{
    uint8_t bytes[600] = {0};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct pair pair, other;
        size_t size = fk_agree_group_find(groups[i].id)->share_len;

        make(groups[i].id, &pair);
        make(groups[i].id, &other);
        memcpy(bytes, other.share.next, size);
        assert_ok(agree(&pair, bytes, size));
        assert_err(agree(&pair, bytes, size - 1), FK_ERR_FORMAT);
        assert_err(agree(&pair, bytes, size + 1), FK_ERR_FORMAT);
        assert_err(agree(&pair, "", 1), FK_ERR_FORMAT); /* infinity */
        bytes[size - 1] ^= 1;                           /* off the curve */
        assert_err(agree(&pair, bytes, size), FK_ERR_RANGE);
        bytes[size - 1] ^= 1;
        bytes[0] = 2 + (bytes[size - 1] & 1); /* compressed */
        assert_err(agree(&pair, bytes, (size + 1) / 2), FK_ERR_FORMAT);
        bytes[0] += 4; /* hybrid */
        assert_err(agree(&pair, bytes, size), FK_ERR_FORMAT);
        memset(bytes, 0, size);
        bytes[0] = 4; /* 0, 0 is on neither curve */
        assert_err(agree(&pair, bytes, size), FK_ERR_RANGE);
        memset(bytes + 1, 0xff, size - 1); /* not below the field's prime */
        assert_err(agree(&pair, bytes, size), FK_ERR_RANGE);
    }
}

/* RFC 7748 section 6.1: all points of small order make zeros. */
static void small_orders_of_x25519(void **state)
{
    static const uint8_t orders[][32] = {
        {0},
        {1},
        {0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3,
         0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32,
         0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00},
        {0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1,
         0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c,
         0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57},
    };
    uint8_t prime[32];
    struct pair pair;

    (void)state;
    make(FK_AGREE_X25519, &pair);
    for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++)
        assert_err(agree(&pair, orders[i], 32), FK_ERR_RANGE);
    memset(prime, 0xff, sizeof prime); /* p - 1, p, p + 1: little-endian 2^255 - 19 */
    prime[31] = 0x7f;
    for (uint8_t low = 0xec; low <= 0xee; low++) {
        prime[0] = low;
        assert_err(agree(&pair, prime, 32), FK_ERR_RANGE);
    }
    assert_err(agree(&pair, prime, 31), FK_ERR_FORMAT);
    assert_err(agree(&pair, orders, 33), FK_ERR_FORMAT);
}

static void numbers_are_looked_at(void **state)
{
    struct fk_dh_params dh;
    uint8_t bytes[514] = {0};
    struct fk_reader params;
    struct pair pair;

    (void)state;
    make(FK_AGREE_FFDHE2048, &pair);
    fk_reader_init(&params, pair.params, 2 + 256 + 3 + 2 + 256);
    assert_ok(fk_dh_params_decode(params, &dh));
    assert_err(agree(&pair, bytes, 1), FK_ERR_RANGE); /* 0 */
    assert_err(agree(&pair, bytes, 256), FK_ERR_RANGE);
    bytes[255] = 1;
    assert_err(agree(&pair, bytes, 256), FK_ERR_RANGE);
    bytes[255] = 2;
    assert_ok(agree(&pair, bytes, 256));
    assert_ok(agree(&pair, bytes + 255, 1)); /* without its zeros */
    assert_err(agree(&pair, bytes, 0), FK_ERR_FORMAT);
    assert_err(agree(&pair, bytes, 257), FK_ERR_FORMAT);
    memcpy(bytes, dh.p.next, 256); /* p ends with ones */
    assert_err(agree(&pair, bytes, 256), FK_ERR_RANGE);
    bytes[255]--;
    assert_err(agree(&pair, bytes, 256), FK_ERR_RANGE);
    bytes[255]--; /* p - 2 */
    assert_ok(agree(&pair, bytes, 256));
    memset(bytes, 0xff, 256);
    assert_err(agree(&pair, bytes, 256), FK_ERR_RANGE);
}

static void other_groups(void **state)
{
    static const uint16_t ids[] = {0x0019, 0x001e, 0x0103, 0, 0xffff};
    struct fk_ephemerals *makers;
    struct pair pair;
    uint8_t bytes[64];
    struct fk_writer out;

    (void)state;
    assert_ok(fk_ephemerals_new(&makers));
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        fk_writer_init(&out, bytes, sizeof bytes);
        assert_err(fk_ephemeral_make(makers, ids[i], &pair.key, &out), FK_ERR_UNSUPPORTED);
        pair.key.group = ids[i];
        assert_err(agree(&pair, bytes, 32), FK_ERR_UNSUPPORTED);
    }
    fk_ephemerals_free(makers);
}

UNIT_MAIN(cmocka_unit_test(both_ends_agree), cmocka_unit_test(leading_zeros_are_stripped),
          cmocka_unit_test(coordinates_keep_their_zeros), cmocka_unit_test(private_values_belong),
          cmocka_unit_test(points_are_looked_at), cmocka_unit_test(small_orders_of_x25519),
          cmocka_unit_test(numbers_are_looked_at), cmocka_unit_test(other_groups))
