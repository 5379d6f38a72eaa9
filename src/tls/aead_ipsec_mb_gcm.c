/*
 * AES-GCM by Intel's Multi-Buffer Crypto for IPsec Library: see aead.h. Contexts are ours and hold
 * all of a message's state.
 */
#include "tls/aead_priv.h"

#include "base/err.h"
#include "base/list.h"
#include "base/secret.h"
#include "tls/aead_ipsec_mb.h"

#include <openssl/crypto.h>
#include <pthread.h>
#include <stdlib.h>

/* What the functions need that are faster than OpenSSL's at every size; and that the library wipes
 * what it leaves in registers and on the stack. */
#define NEEDED \
    (IMB_FEATURE_AESNI | IMB_FEATURE_PCLMULQDQ | IMB_FEATURE_AVX2 | IMB_FEATURE_SAFE_DATA)

struct functions {
    aes_gcm_pre_t expand;
    aes_gcm_init_t start;
    aes_gcm_enc_dec_update_t seal, open;
    aes_gcm_enc_dec_finalize_t seal_end, open_end;
};

struct mb_aead {
    _Alignas(64) struct gcm_key_data key; /* its type asks for it with -DLINUX only */
    struct gcm_context_data message;
    struct fk_aead aead;
    const struct functions *functions;
    bool seal;
};

static struct functions aes128, aes256;
static pthread_once_t looked = PTHREAD_ONCE_INIT;
static bool usable;

static void look(void)
{
    const IMB_MGR *mgr = fk_ipsec_mb(NEEDED);

    if (mgr == NULL)
        return;
    aes128 = (struct functions){.expand = mgr->gcm128_pre,
                                .start = mgr->gcm128_init,
                                .seal = mgr->gcm128_enc_update,
                                .open = mgr->gcm128_dec_update,
                                .seal_end = mgr->gcm128_enc_finalize,
                                .open_end = mgr->gcm128_dec_finalize};
    aes256 = (struct functions){.expand = mgr->gcm256_pre,
                                .start = mgr->gcm256_init,
                                .seal = mgr->gcm256_enc_update,
                                .open = mgr->gcm256_dec_update,
                                .seal_end = mgr->gcm256_enc_finalize,
                                .open_end = mgr->gcm256_dec_finalize};
    usable = true;
}

static struct mb_aead *mb_of(struct fk_aead *aead)
{
    return fk_container(aead, struct mb_aead, aead);
}

static bool knows(const struct fk_suite *suite)
{
    (void)pthread_once(&looked, look);
    return usable && suite->protection == FK_PROTECT_GCM;
}

static struct fk_aead *make(const struct fk_suite *suite, const uint8_t *key, bool seal)
{
    struct mb_aead *mb = aligned_alloc(_Alignof(struct mb_aead), sizeof *mb);

    if (mb == NULL)
        return NULL;
    mb->aead.library = &fk_aead_ipsec_mb_gcm;
    mb->seal = seal;
    mb->functions = suite->key_len == 16 ? &aes128 : &aes256;
    mb->functions->expand(key, &mb->key);
    return &mb->aead;
}

static void free_aead(struct fk_aead *aead)
{
    struct mb_aead *mb = mb_of(aead);

    fk_wipe(mb, sizeof *mb);
    free(mb);
}

static bool start(struct fk_aead *aead, const uint8_t nonce[FK_AEAD_NONCE], const uint8_t *aad,
                  size_t aad_len)
{
    struct mb_aead *mb = mb_of(aead);

    mb->functions->start(&mb->key, &mb->message, nonce, aad, aad_len);
    return true;
}

static bool step(struct fk_aead *aead, uint8_t *out, const uint8_t *in, size_t len)
{
    struct mb_aead *mb = mb_of(aead);

    (mb->seal ? mb->functions->seal : mb->functions->open)(&mb->key, &mb->message, out, in, len);
    return true;
}

static bool seal_end(struct fk_aead *aead, uint8_t ret_tag[FK_AEAD_TAG])
{
    struct mb_aead *mb = mb_of(aead);

    mb->functions->seal_end(&mb->key, &mb->message, ret_tag, FK_AEAD_TAG);
    return true;
}

static int open_end(struct fk_aead *aead, const uint8_t tag[FK_AEAD_TAG])
{
    struct mb_aead *mb = mb_of(aead);
    uint8_t due[FK_AEAD_TAG];
    bool same;

    mb->functions->open_end(&mb->key, &mb->message, due, FK_AEAD_TAG);
    same = CRYPTO_memcmp(due, tag, FK_AEAD_TAG) == 0;
    fk_wipe(due, sizeof due); /* a forger would like to know it */
    return same ? FK_OK : FK_ERR_VERIFY;
}

const struct fk_aead_library fk_aead_ipsec_mb_gcm = {.name = "ipsec-mb",
                                                     .knows = knows,
                                                     .make = make,
                                                     .free = free_aead,
                                                     .start = start,
                                                     .step = step,
                                                     .seal = seal_end,
                                                     .open = open_end};
