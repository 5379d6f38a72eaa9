/* Which library an AEAD is done by: see aead.h. */
#include "tls/aead_priv.h"

#include "base/err.h"

const struct fk_aead_library *const fk_aead_libraries[] = {
#ifdef FK_IPSEC_MB
    &fk_aead_ipsec_mb_gcm, &fk_aead_ipsec_mb_chacha,
#endif
    &fk_aead_evp, NULL};

int fk_aead_new(const struct fk_suite *suite, const uint8_t *key, bool seal, struct fk_aead **ret)
{
    const struct fk_aead_library *const *library = fk_aead_libraries;
    struct fk_aead *aead;

    while (*library != NULL && !(*library)->knows(suite))
        library++;
    aead = *library == NULL ? NULL : (*library)->make(suite, key, seal);
    if (aead == NULL)
        return FK_ERR_NOMEM;
    *ret = aead;
    return FK_OK;
}

void fk_aead_free(struct fk_aead *aead)
{
    if (aead != NULL)
        aead->library->free(aead);
}
