/*
 * Random bytes as libssl draws them in the library context of opaque secrets. A server random is
 * made of a seed that the handshake keeps (tls/fresh.h): libssl does not say what its bytes are
 * for, so that all draws of that size are made so. All others, and all of others than handshakes,
 * are of the default library context.
 */
#include "tls/opaque_priv.h"

#include "base/err.h"

#include <limits.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>

/* In bits, as the default library context's generators have. */
#define STRENGTH    256
#define REQUEST_MAX 65536

struct generator {
    int state; /* EVP_RAND_STATE_* */
};

static void *newctx(void *provctx, void *parent, const OSSL_DISPATCH *parent_calls)
{
    struct generator *generator = OPENSSL_zalloc(sizeof *generator);

    (void)provctx;
    (void)parent; /* nothing is drawn from it */
    (void)parent_calls;
    if (generator != NULL)
        generator->state = EVP_RAND_STATE_UNINITIALISED;
    return generator;
}

static void freectx(void *vctx)
{
    OPENSSL_free(vctx);
}

static int instantiate(void *vctx, unsigned int strength, int prediction_resistance,
                       const unsigned char *text, size_t text_len, const OSSL_PARAM params[])
{
    struct generator *generator = vctx;

    (void)prediction_resistance;
    (void)text;
    (void)text_len;
    (void)params;
    if (strength > STRENGTH)
        return 0;
    generator->state = EVP_RAND_STATE_READY;
    return 1;
}

static int uninstantiate(void *vctx)
{
    struct generator *generator = vctx;

    generator->state = EVP_RAND_STATE_UNINITIALISED;
    return 1;
}

static int generate(void *vctx, unsigned char *out, size_t len, unsigned int strength,
                    int prediction_resistance, const unsigned char *more, size_t more_len)
{
    struct fk_opaque *opaque = fk_opaque_current();
    const struct generator *generator = vctx;

    (void)prediction_resistance;
    (void)more;
    (void)more_len;
    if (generator->state != EVP_RAND_STATE_READY || strength > STRENGTH || len > INT_MAX)
        return 0;
    if (len == FK_FRESH_RANDOM_SIZE && opaque != NULL && fk_opaque_keeps_rsa(opaque))
        return fk_opaque_draw(opaque, out) == FK_OK;
    return RAND_priv_bytes(out, (int)len) == 1;
}

/* A library context with this provider is one thread's. */
static int enable_locking(void *vctx)
{
    (void)vctx;
    return 1;
}

static int lock(void *vctx)
{
    (void)vctx;
    return 1;
}

static void unlock(void *vctx)
{
    (void)vctx;
}

static const OSSL_PARAM *gettable_ctx_params(void *vctx, void *provctx)
{
    static const OSSL_PARAM table[] = {OSSL_PARAM_int(OSSL_RAND_PARAM_STATE, NULL),
                                       OSSL_PARAM_uint(OSSL_RAND_PARAM_STRENGTH, NULL),
                                       OSSL_PARAM_size_t(OSSL_RAND_PARAM_MAX_REQUEST, NULL),
                                       OSSL_PARAM_END};

    (void)vctx;
    (void)provctx;
    return table;
}

static int get_ctx_params(void *vctx, OSSL_PARAM params[])
{
    const struct generator *generator = vctx;
    OSSL_PARAM *p = OSSL_PARAM_locate(params, OSSL_RAND_PARAM_STATE);

    if (p != NULL && !OSSL_PARAM_set_int(p, generator->state))
        return 0;
    p = OSSL_PARAM_locate(params, OSSL_RAND_PARAM_STRENGTH);
    if (p != NULL && !OSSL_PARAM_set_uint(p, STRENGTH))
        return 0;
    p = OSSL_PARAM_locate(params, OSSL_RAND_PARAM_MAX_REQUEST);
    return p == NULL || OSSL_PARAM_set_size_t(p, REQUEST_MAX);
}

const OSSL_DISPATCH fk_opaque_rand[] = {
    {OSSL_FUNC_RAND_NEWCTX, (void (*)(void))newctx},
    {OSSL_FUNC_RAND_FREECTX, (void (*)(void))freectx},
    {OSSL_FUNC_RAND_INSTANTIATE, (void (*)(void))instantiate},
    {OSSL_FUNC_RAND_UNINSTANTIATE, (void (*)(void))uninstantiate},
    {OSSL_FUNC_RAND_GENERATE, (void (*)(void))generate},
    {OSSL_FUNC_RAND_ENABLE_LOCKING, (void (*)(void))enable_locking},
    {OSSL_FUNC_RAND_LOCK, (void (*)(void))lock},
    {OSSL_FUNC_RAND_UNLOCK, (void (*)(void))unlock},
    {OSSL_FUNC_RAND_GETTABLE_CTX_PARAMS, (void (*)(void))gettable_ctx_params},
    {OSSL_FUNC_RAND_GET_CTX_PARAMS, (void (*)(void))get_ctx_params},
    {0, NULL}};
