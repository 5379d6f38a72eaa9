/* Partial RSA powers: see power.h. */
#include "signer/power.h"

#include "base/err.h"
#include "base/secret.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <stdbool.h>
#include <stdlib.h>

/* Powers between two fresh blindings, as OpenSSL's own: squared in between (Kocher 1996). */
#define BLIND_USES 32

struct fk_power {
    BN_CTX *ctx; /* in the secure heap */
    BN_MONT_CTX *mont;
    BIGNUM *n, *e;
    BIGNUM *part;
    /* A random r and r^-part, in Montgomery form: base * r is raised, its power multiplied by the
     * other. */
    BIGNUM *blind, *unblind;
    unsigned uses;
    size_t size;
};

void fk_power_free(struct fk_power *power)
{
    if (power == NULL)
        return;
    BN_clear_free(power->part);
    BN_clear_free(power->blind);
    BN_clear_free(power->unblind);
    BN_free(power->n);
    BN_free(power->e);
    BN_MONT_CTX_free(power->mont);
    BN_CTX_free(power->ctx);
    free(power);
}

size_t fk_power_size(const struct fk_power *power)
{
    return power->size;
}

static bool fill(struct fk_power *power, EVP_PKEY *public_key, struct fk_reader part)
{
    if ((power->ctx = BN_CTX_secure_new()) == NULL || (power->mont = BN_MONT_CTX_new()) == NULL ||
        (power->part = BN_secure_new()) == NULL || (power->blind = BN_secure_new()) == NULL ||
        (power->unblind = BN_secure_new()) == NULL)
        return false;
    if (EVP_PKEY_get_bn_param(public_key, OSSL_PKEY_PARAM_RSA_N, &power->n) != 1 ||
        EVP_PKEY_get_bn_param(public_key, OSSL_PKEY_PARAM_RSA_E, &power->e) != 1 ||
        BN_bin2bn(part.next, (int)part.left, power->part) == NULL)
        return false;
    BN_set_flags(power->part, BN_FLG_CONSTTIME);
    return BN_MONT_CTX_set(power->mont, power->n, power->ctx) == 1;
}

int fk_power_new(EVP_PKEY *public_key, struct fk_reader part, struct fk_power **ret)
{
    struct fk_power *power;
    int err = FK_OK;

    if (EVP_PKEY_get_base_id(public_key) != EVP_PKEY_RSA || part.left > FK_POWER_MAX ||
        part.left != (size_t)EVP_PKEY_get_size(public_key))
        return FK_ERR_INVAL;
    if ((power = calloc(1, sizeof *power)) == NULL)
        return FK_ERR_NOMEM;
    power->size = part.left;
    if (!fill(power, public_key, part))
        err = FK_ERR_NOMEM;
    else if (BN_is_zero(power->part) || BN_cmp(power->part, power->n) >= 0)
        err = FK_ERR_INVAL;
    ERR_clear_error();
    if (err == FK_OK)
        *ret = power;
    else
        fk_power_free(power);
    return err;
}

/* --- blinding --- */

static bool blind_anew(struct fk_power *power)
{
    BIGNUM *r, *s;
    bool ok;

    BN_CTX_start(power->ctx);
    r = BN_CTX_get(power->ctx);
    s = BN_CTX_get(power->ctx);
    ok = s != NULL && BN_priv_rand_range_ex(r, power->n, 0, power->ctx) == 1 && !BN_is_zero(r) &&
         BN_mod_exp_mont_consttime(s, r, power->part, power->n, power->ctx, power->mont) == 1;
    if (ok) {
        BN_set_flags(s, BN_FLG_CONSTTIME);
        ok = BN_mod_inverse(s, s, power->n, power->ctx) != NULL &&
             BN_to_montgomery(power->blind, r, power->mont, power->ctx) == 1 &&
             BN_to_montgomery(power->unblind, s, power->mont, power->ctx) == 1;
    }
    BN_CTX_end(power->ctx);
    power->uses = 0;
    return ok;
}

/* Another pair for each use. */
static bool blind_next(struct fk_power *power)
{
    BIGNUM *a = power->blind, *b = power->unblind;

    if (BN_is_zero(a) || ++power->uses == BLIND_USES)
        return blind_anew(power);
    return BN_mod_mul_montgomery(a, a, a, power->mont, power->ctx) == 1 &&
           BN_mod_mul_montgomery(b, b, b, power->mont, power->ctx) == 1;
}

/* --- powers --- */

/* *ret = base^part. */
static bool raise(struct fk_power *power, const BIGNUM *base, BIGNUM *ret)
{
    return blind_next(power) &&
           BN_mod_mul_montgomery(ret, base, power->blind, power->mont, power->ctx) == 1 &&
           BN_mod_exp_mont_consttime(ret, ret, power->part, power->n, power->ctx, power->mont) ==
               1 &&
           BN_mod_mul_montgomery(ret, ret, power->unblind, power->mont, power->ctx) == 1;
}

/* FK_ERR_RANGE: not below n. */
static int read_number(const struct fk_power *power, const uint8_t *bytes, BIGNUM *ret)
{
    if (ret == NULL || BN_bin2bn(bytes, (int)power->size, ret) == NULL)
        return FK_ERR_NOMEM;
    return BN_cmp(ret, power->n) < 0 ? FK_OK : FK_ERR_RANGE;
}

static int write_number(const struct fk_power *power, const BIGNUM *number, uint8_t *ret)
{
    int size = (int)power->size;

    return BN_bn2binpad(number, ret, size) == size ? FK_OK : FK_ERR_CRYPTO;
}

/* End of BN_CTX_start(): its numbers stay in the pool, the result must not. */
static void leave(struct fk_power *power, BIGNUM *result)
{
    if (result != NULL)
        BN_clear(result);
    BN_CTX_end(power->ctx);
}

int fk_power_raise(struct fk_power *power, const uint8_t *base, uint8_t *ret)
{
    BIGNUM *x, *y;
    int err;

    BN_CTX_start(power->ctx);
    x = BN_CTX_get(power->ctx);
    y = BN_CTX_get(power->ctx);
    if ((err = read_number(power, base, x)) == FK_OK)
        err = y != NULL && raise(power, x, y) ? write_number(power, y, ret) : FK_ERR_CRYPTO;
    leave(power, y);
    if (err != FK_OK)
        ERR_clear_error();
    return err;
}

/*
 * *ret = *ret * other, if its e-th power is x. Fixed-width multiplications: with a decrypted block
 * the product is what nobody may learn of.
 */
static int multiply(struct fk_power *power, const BIGNUM *x, const uint8_t *other, BIGNUM *ret)
{
    BIGNUM *y = BN_CTX_get(power->ctx), *check = BN_CTX_get(power->ctx);
    int err;

    if (check == NULL)
        return FK_ERR_NOMEM;
    if ((err = read_number(power, other, y)) != FK_OK)
        return err == FK_ERR_RANGE ? FK_ERR_SHARE_WRONG : err;
    if (BN_to_montgomery(y, y, power->mont, power->ctx) != 1 ||
        BN_mod_mul_montgomery(ret, ret, y, power->mont, power->ctx) != 1 ||
        BN_mod_exp_mont_consttime(check, ret, power->e, power->n, power->ctx, power->mont) != 1)
        return FK_ERR_CRYPTO;
    return BN_cmp(check, x) == 0 ? FK_OK : FK_ERR_SHARE_WRONG;
}

int fk_power_complete(struct fk_power *power, const uint8_t *base, const uint8_t *other,
                      uint8_t *ret)
{
    BIGNUM *x, *y;
    int err;

    BN_CTX_start(power->ctx);
    x = BN_CTX_get(power->ctx);
    y = BN_CTX_get(power->ctx);
    if ((err = read_number(power, base, x)) == FK_OK)
        err = y != NULL && raise(power, x, y) ? multiply(power, x, other, y) : FK_ERR_CRYPTO;
    if (err == FK_OK)
        err = write_number(power, y, ret);
    leave(power, y);
    if (err != FK_OK)
        ERR_clear_error();
    return err;
}

/* --- parts --- */

struct numbers {
    BN_CTX *ctx;
    BIGNUM *d, *p, *q, *one, *other;
};

/* phi = (p-1)(q-1) in p; one is random below it, other = d - one. */
static bool divide(struct numbers *n, EVP_PKEY *key)
{
    if (n->ctx == NULL || (n->d = BN_secure_new()) == NULL || (n->p = BN_secure_new()) == NULL ||
        (n->q = BN_secure_new()) == NULL || (n->one = BN_secure_new()) == NULL ||
        (n->other = BN_secure_new()) == NULL)
        return false;
    if (EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_D, &n->d) != 1 ||
        EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_FACTOR1, &n->p) != 1 ||
        EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_FACTOR2, &n->q) != 1)
        return false;
    BN_set_flags(n->d, BN_FLG_CONSTTIME);
    BN_set_flags(n->p, BN_FLG_CONSTTIME);
    return BN_sub_word(n->p, 1) == 1 && BN_sub_word(n->q, 1) == 1 &&
           BN_mul(n->p, n->p, n->q, n->ctx) == 1 &&
           BN_priv_rand_range_ex(n->one, n->p, 0, n->ctx) == 1 &&
           BN_mod_sub(n->other, n->d, n->one, n->p, n->ctx) == 1 && !BN_is_zero(n->one) &&
           !BN_is_zero(n->other);
}

int fk_power_divide(EVP_PKEY *key, uint8_t *ret_one, uint8_t *ret_other, size_t size)
{
    struct numbers n = {.ctx = BN_CTX_secure_new()};
    int err = FK_ERR_CRYPTO;

    if (divide(&n, key) && BN_bn2binpad(n.one, ret_one, (int)size) == (int)size &&
        BN_bn2binpad(n.other, ret_other, (int)size) == (int)size)
        err = FK_OK;
    BN_clear_free(n.d);
    BN_clear_free(n.p);
    BN_clear_free(n.q);
    BN_clear_free(n.one);
    BN_clear_free(n.other);
    BN_CTX_free(n.ctx);
    ERR_clear_error();
    return err;
}
