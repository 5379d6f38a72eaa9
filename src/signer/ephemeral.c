/*
 * Ephemeral keys by OpenSSL: see ephemeral.h.
 *
 * Between the two steps of a handshake only the private value is kept, in a few bytes; OpenSSL's
 * objects, some kilobytes each, are made for each step and freed with it. Their private numbers are
 * in the secure heap.
 */
#include "signer/ephemeral.h"

#include "base/err.h"
#include "base/secret.h"
#include "wire/keyop_agree.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <stdbool.h>
#include <stdlib.h>

static const struct kind {
    enum fk_agree_group_id id;
    const char *algorithm; /* OpenSSL's names */
    const char *group;     /* NULL: the algorithm says it */
} kinds[] = {
    {FK_AGREE_P256, "EC", "P-256"},          {FK_AGREE_P384, "EC", "P-384"},
    {FK_AGREE_X25519, "X25519", NULL},       {FK_AGREE_FFDHE2048, "DH", "ffdhe2048"},
    {FK_AGREE_FFDHE3072, "DH", "ffdhe3072"}, {FK_AGREE_FFDHE4096, "DH", "ffdhe4096"},
};

#define KINDS (sizeof kinds / sizeof kinds[0])

struct fk_ephemerals {
    EVP_PKEY_CTX *generators[KINDS];
};

static const struct kind *find_kind(uint16_t id)
{
    for (size_t i = 0; i < KINDS; i++)
        if (kinds[i].id == id)
            return &kinds[i];
    return NULL;
}

/* --- start and end --- */

static EVP_PKEY_CTX *new_generator(const struct kind *kind)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, kind->algorithm, NULL);

    if (ctx != NULL && EVP_PKEY_keygen_init(ctx) == 1 &&
        (kind->group == NULL || EVP_PKEY_CTX_set_group_name(ctx, kind->group) == 1))
        return ctx;
    EVP_PKEY_CTX_free(ctx);
    ERR_clear_error();
    return NULL;
}

int fk_ephemerals_new(struct fk_ephemerals **ret)
{
    struct fk_ephemerals *makers = calloc(1, sizeof *makers);

    if (makers == NULL)
        return FK_ERR_NOMEM;
    for (size_t i = 0; i < KINDS; i++) {
        makers->generators[i] = new_generator(&kinds[i]);
        if (makers->generators[i] == NULL) {
            fk_ephemerals_free(makers);
            return FK_ERR_NOMEM;
        }
    }
    *ret = makers;
    return FK_OK;
}

void fk_ephemerals_free(struct fk_ephemerals *makers)
{
    if (makers == NULL)
        return;
    for (size_t i = 0; i < KINDS; i++)
        EVP_PKEY_CTX_free(makers->generators[i]);
    free(makers);
}

/* --- making a key --- */

/* A number of the key, `len` bytes with zeros in front; 0: as long as it is. */
static int write_number(EVP_PKEY *pkey, const char *name, size_t len, struct fk_writer *out)
{
    uint8_t bytes[FK_DH_PRIME_MAX];
    BIGNUM *number = NULL;
    int err = FK_ERR_CRYPTO;

    if (EVP_PKEY_get_bn_param(pkey, name, &number) == 1) {
        if (len == 0)
            len = (size_t)BN_num_bytes(number);
        if (len <= sizeof bytes && BN_bn2binpad(number, bytes, (int)len) == (int)len)
            err = FK_OK;
    }
    BN_free(number);
    if (err == FK_OK)
        fk_writer_vec16(out, bytes, len);
    return err;
}

static int write_point(EVP_PKEY *pkey, const struct fk_agree_group *group, struct fk_writer *out)
{
    uint8_t point[128];
    size_t len;

    if (EVP_PKEY_get_octet_string_param(pkey, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, point,
                                        sizeof point, &len) != 1 ||
        len != group->share_len)
        return FK_ERR_CRYPTO;
    fk_writer_u8(out, 3); /* named_curve */
    fk_writer_u16(out, group->id);
    fk_writer_vec8(out, point, len);
    return FK_OK;
}

static int write_params(EVP_PKEY *pkey, const struct fk_agree_group *group, struct fk_writer *out)
{
    int err;

    if (!group->is_dh)
        return write_point(pkey, group, out);
    if ((err = write_number(pkey, OSSL_PKEY_PARAM_FFC_P, 0, out)) != FK_OK ||
        (err = write_number(pkey, OSSL_PKEY_PARAM_FFC_G, 0, out)) != FK_OK)
        return err;
    return write_number(pkey, OSSL_PKEY_PARAM_PUB_KEY, group->share_len, out);
}

static int read_private(EVP_PKEY *pkey, const struct fk_agree_group *group,
                        struct fk_ephemeral *ret)
{
    size_t len = group->secret_len;
    BIGNUM *number = NULL;
    int err = FK_ERR_CRYPTO;

    ret->group = group->id;
    if (group->id == FK_AGREE_X25519) {
        if (EVP_PKEY_get_raw_private_key(pkey, ret->private_value, &len) != 1)
            return FK_ERR_CRYPTO;
        ret->private_len = (uint8_t)len;
        return FK_OK;
    }
    if ((number = BN_secure_new()) == NULL)
        return FK_ERR_NOMEM;
    if (EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_PRIV_KEY, &number) == 1) {
        if (group->is_dh)
            len = (size_t)BN_num_bytes(number);
        if (len <= sizeof ret->private_value &&
            BN_bn2binpad(number, ret->private_value, (int)len) == (int)len) {
            ret->private_len = (uint8_t)len;
            err = FK_OK;
        }
    }
    BN_clear_free(number);
    return err;
}

int fk_ephemeral_make(struct fk_ephemerals *makers, uint16_t id, struct fk_ephemeral *ret,
                      struct fk_writer *params)
{
    const struct fk_agree_group *group = fk_agree_group_find(id);
    const struct kind *kind = find_kind(id);
    EVP_PKEY *pkey = NULL;
    int err = FK_ERR_CRYPTO;

    if (kind == NULL || group == NULL)
        return FK_ERR_UNSUPPORTED;
    if (EVP_PKEY_generate(makers->generators[kind - kinds], &pkey) == 1 &&
        (err = write_params(pkey, group, params)) == FK_OK)
        err = read_private(pkey, group, ret);
    EVP_PKEY_free(pkey);
    if (err != FK_OK) {
        ERR_clear_error();
        fk_wipe(ret, sizeof *ret);
    }
    return err;
}

/* --- agreeing --- */

/* A key of this kind from its parts. FK_ERR_RANGE: they are none; FK_ERR_NOMEM. */
static int from_parts(const struct kind *kind, int selection, OSSL_PARAM_BLD *parts, EVP_PKEY **ret)
{
    OSSL_PARAM *params = NULL;
    EVP_PKEY_CTX *ctx = NULL;
    EVP_PKEY *pkey = NULL;
    int err = FK_ERR_NOMEM;

    if (OSSL_PARAM_BLD_push_utf8_string(parts, OSSL_PKEY_PARAM_GROUP_NAME, kind->group, 0) == 1 &&
        (params = OSSL_PARAM_BLD_to_param(parts)) != NULL &&
        (ctx = EVP_PKEY_CTX_new_from_name(NULL, kind->algorithm, NULL)) != NULL) {
        if (EVP_PKEY_fromdata_init(ctx) == 1 &&
            EVP_PKEY_fromdata(ctx, &pkey, selection, params) == 1) {
            *ret = pkey;
            err = FK_OK;
        } else {
            err = FK_ERR_RANGE;
        }
    }
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params); /* what is from the secure heap is wiped */
    return err;
}

static int private_key(const struct kind *kind, const struct fk_ephemeral *key, EVP_PKEY **ret)
{
    OSSL_PARAM_BLD *parts;
    BIGNUM *number;
    int err = FK_ERR_NOMEM;

    if (kind->group == NULL) {
        *ret = EVP_PKEY_new_raw_private_key_ex(NULL, kind->algorithm, NULL, key->private_value,
                                               key->private_len);
        return *ret == NULL ? FK_ERR_CRYPTO : FK_OK;
    }
    parts = OSSL_PARAM_BLD_new();
    number = BN_secure_new();
    if (parts != NULL && number != NULL &&
        BN_bin2bn(key->private_value, key->private_len, number) != NULL &&
        OSSL_PARAM_BLD_push_BN(parts, OSSL_PKEY_PARAM_PRIV_KEY, number) == 1)
        err = from_parts(kind, EVP_PKEY_KEYPAIR, parts, ret);
    OSSL_PARAM_BLD_free(parts);
    BN_clear_free(number);
    return err == FK_ERR_RANGE ? FK_ERR_CRYPTO : err; /* it is our own */
}

/* 2 <= Yc <= p - 2 (RFC 7919 section 5.1). p is a safe prime and the key is used once: there is no
 * small subgroup to be confined to. */
static bool is_in_range(EVP_PKEY *own, const BIGNUM *yc)
{
    BIGNUM *last = NULL; /* p - 1 */
    bool ok = EVP_PKEY_get_bn_param(own, OSSL_PKEY_PARAM_FFC_P, &last) == 1 &&
              BN_sub_word(last, 1) == 1 && BN_cmp(yc, BN_value_one()) > 0 && BN_cmp(yc, last) < 0;

    BN_free(last);
    return ok;
}

static int dh_peer(const struct kind *kind, EVP_PKEY *own, const struct fk_reader *share,
                   EVP_PKEY **ret)
{
    OSSL_PARAM_BLD *parts = OSSL_PARAM_BLD_new();
    BIGNUM *yc = BN_bin2bn(share->next, (int)share->left, NULL);
    int err = FK_ERR_NOMEM;

    if (parts != NULL && yc != NULL &&
        OSSL_PARAM_BLD_push_BN(parts, OSSL_PKEY_PARAM_PUB_KEY, yc) == 1)
        err =
            is_in_range(own, yc) ? from_parts(kind, EVP_PKEY_PUBLIC_KEY, parts, ret) : FK_ERR_RANGE;
    OSSL_PARAM_BLD_free(parts);
    BN_free(yc);
    return err;
}

/* That the point lies on the curve is looked at as it is read. */
static int ec_peer(const struct kind *kind, const struct fk_reader *share, EVP_PKEY **ret)
{
    OSSL_PARAM_BLD *parts = OSSL_PARAM_BLD_new();
    int err = FK_ERR_NOMEM;

    if (parts != NULL && OSSL_PARAM_BLD_push_octet_string(parts, OSSL_PKEY_PARAM_PUB_KEY,
                                                          share->next, share->left) == 1)
        err = from_parts(kind, EVP_PKEY_PUBLIC_KEY, parts, ret);
    OSSL_PARAM_BLD_free(parts);
    return err;
}

static int check_form(const struct fk_agree_group *group, const struct fk_reader *share)
{
    if (group->is_dh)
        return share->left > 0 && share->left <= group->share_len ? FK_OK : FK_ERR_FORMAT;
    if (share->left != group->share_len)
        return FK_ERR_FORMAT;
    /* Uncompressed (RFC 8422 section 5.4.1): the point at infinity has no such form. */
    return group->id == FK_AGREE_X25519 || share->next[0] == 4 ? FK_OK : FK_ERR_FORMAT;
}

static int peer_key(const struct kind *kind, bool is_dh, EVP_PKEY *own,
                    const struct fk_reader *share, EVP_PKEY **ret)
{
    if (kind->group != NULL)
        return is_dh ? dh_peer(kind, own, share, ret) : ec_peer(kind, share, ret);
    *ret = EVP_PKEY_new_raw_public_key_ex(NULL, kind->algorithm, NULL, share->next, share->left);
    return *ret == NULL ? FK_ERR_CRYPTO : FK_OK; /* any bytes are a point (RFC 7748 section 5) */
}

/* The peer has been looked at: `validate` 0 spares a second look, for DH an exponentiation. */
static int derive(EVP_PKEY *own, EVP_PKEY *peer, uint8_t *ret, size_t *ret_len)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, own, NULL);
    size_t len = FK_EPHEMERAL_SECRET_MAX;
    int err = FK_ERR_RANGE;

    if (ctx == NULL)
        return FK_ERR_NOMEM;
    if (EVP_PKEY_derive_init(ctx) != 1 || EVP_PKEY_derive_set_peer_ex(ctx, peer, 0) != 1) {
        err = FK_ERR_CRYPTO;
    } else if (EVP_PKEY_derive(ctx, ret, &len) == 1) { /* fails with x25519's zeros */
        *ret_len = len;
        err = FK_OK;
    }
    EVP_PKEY_CTX_free(ctx);
    return err;
}

int fk_ephemeral_agree(const struct fk_ephemeral *key, struct fk_reader share,
                       uint8_t ret[FK_EPHEMERAL_SECRET_MAX], size_t *ret_len)
{
    const struct fk_agree_group *group = fk_agree_group_find(key->group);
    const struct kind *kind = find_kind(key->group);
    EVP_PKEY *own = NULL, *peer = NULL;
    int err;

    if (kind == NULL || group == NULL)
        return FK_ERR_UNSUPPORTED;
    if ((err = check_form(group, &share)) != FK_OK)
        return err;
    if ((err = private_key(kind, key, &own)) == FK_OK &&
        (err = peer_key(kind, group->is_dh, own, &share, &peer)) == FK_OK)
        err = derive(own, peer, ret, ret_len);
    EVP_PKEY_free(own);
    EVP_PKEY_free(peer);
    if (err != FK_OK)
        ERR_clear_error();
    return err == FK_OK ? fk_agree_secret_check(key->group, *ret_len) : err;
}
