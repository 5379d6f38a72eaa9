/* Polynomials over GF(2^8): see shamir.h. */
#include "signer/shamir.h"

#include "base/err.h"
#include "base/secret.h"

#include <openssl/rand.h>
#include <stdbool.h>

/* Bit by bit, with masks in place of branches. */
static uint8_t multiply(uint8_t a, uint8_t b)
{
    uint8_t product = 0;

    for (int i = 0; i < 8; i++) {
        uint8_t high = (uint8_t) - (a >> 7);

        product ^= (uint8_t)(a & (uint8_t) - (b & 1));
        a = (uint8_t)(a << 1) ^ (high & 0x1b);
        b >>= 1;
    }
    return product;
}

/* a^254: the group of the field has 255 elements. */
static uint8_t invert(uint8_t a)
{
    uint8_t power = a, result = 1;

    for (int i = 1; i < 8; i++) {
        power = multiply(power, power);
        result = multiply(result, power);
    }
    return result;
}

/* The polynomial `secret` + c[0] x + c[1] x^2 + ... of one byte. */
static uint8_t evaluate(uint8_t secret, const uint8_t *c, unsigned n, uint8_t x)
{
    uint8_t sum = 0;

    for (unsigned i = n; i > 0; i--)
        sum = multiply(sum, x) ^ c[i - 1];
    return multiply(sum, x) ^ secret;
}

int fk_shamir_split(const uint8_t *secret, size_t len, unsigned k, unsigned n,
                    uint8_t *const shares[])
{
    uint8_t c[FK_SHARES_MAX];
    int err = FK_OK;

    if (k < 2 || k > n || n > FK_SHARES_MAX)
        return FK_ERR_INVAL;
    if (len > FK_SHARE_DATA_MAX)
        return FK_ERR_LIMIT;
    for (size_t i = 0; err == FK_OK && i < len; i++) {
        if (RAND_priv_bytes(c, (int)k - 1) != 1)
            err = FK_ERR_CRYPTO;
        for (unsigned x = 1; err == FK_OK && x <= n; x++)
            shares[x - 1][i] = evaluate(secret[i], c, k - 1, (uint8_t)x);
    }
    fk_wipe(c, sizeof c);
    return err;
}

/* Lagrange's coefficient of point i at 0: the product of x[j] / (x[j] - x[i]) over the others. */
static uint8_t coefficient(const uint8_t x[], unsigned k, unsigned i)
{
    uint8_t above = 1, below = 1;

    for (unsigned j = 0; j < k; j++) {
        if (j == i)
            continue;
        above = multiply(above, x[j]);
        below = multiply(below, x[j] ^ x[i]);
    }
    return multiply(above, invert(below));
}

static bool points_are_good(const uint8_t x[], unsigned k)
{
    for (unsigned i = 0; i < k; i++) {
        if (x[i] == 0)
            return false;
        for (unsigned j = 0; j < i; j++)
            if (x[i] == x[j])
                return false;
    }
    return k > 0 && k <= FK_SHARES_MAX;
}

int fk_shamir_combine(const uint8_t x[], const uint8_t *const shares[], unsigned k, size_t len,
                      uint8_t *ret)
{
    uint8_t c[FK_SHARES_MAX];

    if (!points_are_good(x, k))
        return FK_ERR_INVAL;
    for (unsigned j = 0; j < k; j++)
        c[j] = coefficient(x, k, j);
    for (size_t i = 0; i < len; i++) {
        uint8_t sum = 0;

        for (unsigned j = 0; j < k; j++)
            sum ^= multiply(c[j], shares[j][i]);
        ret[i] = sum;
    }
    return FK_OK;
}
