/*
 * ChaCha20-Poly1305 by Intel's Multi-Buffer Crypto for IPsec Library: see aead.h. Contexts are ours
 * and hold all of a message's state.
 */
#include "tls/aead_priv.h"

#include "base/err.h"
#include "base/list.h"
#include "base/secret.h"
#include "tls/aead_ipsec_mb.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

/* Only with these is it faster than OpenSSL's at every size. SAFE_DATA: the library wipes what it
 * leaves in registers and on the stack. */
#define NEEDED (IMB_FEATURE_AVX512_SKX | IMB_FEATURE_AVX512_IFMA | IMB_FEATURE_SAFE_DATA)

#define KEY_SIZE 32

struct mb_aead {
    struct chacha20_poly1305_context_data message;
    uint8_t key[KEY_SIZE];
    struct fk_aead aead;
    const IMB_MGR *functions;
    bool seal;
};

static struct mb_aead *mb_of(struct fk_aead *aead)
{
    return fk_container(aead, struct mb_aead, aead);
}

static bool knows(const struct fk_suite *suite)
{
    return suite->protection == FK_PROTECT_CHACHA && fk_ipsec_mb(NEEDED) != NULL;
}

static struct fk_aead *make(const struct fk_suite *suite, const uint8_t *key, bool seal)
{
    struct mb_aead *mb = calloc(1, sizeof *mb);

    (void)suite; /* there is one length of key */
    if (mb == NULL)
        return NULL;
    mb->aead.library = &fk_aead_ipsec_mb_chacha;
    mb->functions = fk_ipsec_mb(NEEDED);
    mb->seal = seal;
    memcpy(mb->key, key, KEY_SIZE);
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

    mb->functions->chacha20_poly1305_init(mb->key, &mb->message, nonce, aad, aad_len);
    return true;
}

static bool step(struct fk_aead *aead, uint8_t *out, const uint8_t *in, size_t len)
{
    struct mb_aead *mb = mb_of(aead);
    chacha_poly_enc_dec_update_t update = mb->seal ? mb->functions->chacha20_poly1305_enc_update
                                                   : mb->functions->chacha20_poly1305_dec_update;

    update(mb->key, &mb->message, out, in, len);
    return true;
}

static bool seal_end(struct fk_aead *aead, uint8_t ret_tag[FK_AEAD_TAG])
{
    struct mb_aead *mb = mb_of(aead);

    mb->functions->chacha20_poly1305_finalize(&mb->message, ret_tag, FK_AEAD_TAG);
    return true;
}

static int open_end(struct fk_aead *aead, const uint8_t tag[FK_AEAD_TAG])
{
    struct mb_aead *mb = mb_of(aead);
    uint8_t due[FK_AEAD_TAG];
    bool same;

    mb->functions->chacha20_poly1305_finalize(&mb->message, due, FK_AEAD_TAG);
    same = CRYPTO_memcmp(due, tag, FK_AEAD_TAG) == 0;
    fk_wipe(due, sizeof due); /* a forger would like to know it */
    return same ? FK_OK : FK_ERR_VERIFY;
}

const struct fk_aead_library fk_aead_ipsec_mb_chacha = {.name = "ipsec-mb",
                                                        .knows = knows,
                                                        .make = make,
                                                        .free = free_aead,
                                                        .start = start,
                                                        .step = step,
                                                        .seal = seal_end,
                                                        .open = open_end};
