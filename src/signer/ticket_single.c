/* Keys of single tickets: see ticket_single.h. */
#include "signer/ticket_single.h"

#include "base/err.h"
#include "base/secret.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/rand.h>
#include <string.h>

#define SKI_SIZE    20
#define SELECT_SIZE 4

/* What one secret gives for one private key. */
struct desk {
    uint8_t select[SELECT_SIZE]; /* public: how names of its tickets begin */
    uint8_t secret[32];
};

struct keys {
    uint8_t aes[32];
    uint8_t mac[32];
};

_Static_assert(sizeof(struct desk) == 36 && sizeof(struct keys) == 64, "derived in one piece");

/* Scratch of one call, wiped once. */
struct scratch {
    EVP_KDF_CTX *kdf;
    struct desk desk;
    struct keys keys;
};

static int start(struct scratch *scratch)
{
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_HKDF, NULL);

    scratch->kdf = kdf == NULL ? NULL : EVP_KDF_CTX_new(kdf);
    EVP_KDF_free(kdf);
    return scratch->kdf == NULL ? FK_ERR_CRYPTO : FK_OK;
}

static void finish(struct scratch *scratch)
{
    EVP_KDF_CTX_free(scratch->kdf);
    fk_wipe(scratch, sizeof *scratch);
    ERR_clear_error();
}

/* OSSL_PARAMs of bytes are not written to by a derivation. */
static void *bytes_of(const void *value)
{
    return (void *)(uintptr_t)value;
}

static int derive_desk(struct scratch *scratch, const struct fk_ticket_root *root,
                       const uint8_t ski[SKI_SIZE])
{
    return fk_ticket_root_derive(scratch->kdf, root, "farkey single tickets", ski,
                                 (uint8_t *)&scratch->desk, sizeof scratch->desk);
}

/* HKDF-SHA256 (RFC 5869): the salt is the ticket's name; all parts have fixed lengths. */
static int derive_keys(struct scratch *scratch, const struct fk_ticket_use *use,
                       const uint8_t name[16])
{
    static const char label[] = "farkey single ticket";
    const OSSL_PARAM params[] = {
        OSSL_PARAM_utf8_string(OSSL_KDF_PARAM_DIGEST, bytes_of("SHA256"), 0),
        OSSL_PARAM_octet_string(OSSL_KDF_PARAM_KEY, scratch->desk.secret,
                                sizeof scratch->desk.secret),
        OSSL_PARAM_octet_string(OSSL_KDF_PARAM_SALT, bytes_of(name), 16),
        OSSL_PARAM_octet_string(OSSL_KDF_PARAM_INFO, bytes_of(label), sizeof label),
        OSSL_PARAM_octet_string(OSSL_KDF_PARAM_INFO, bytes_of(&use->mode), 1),
        OSSL_PARAM_octet_string(OSSL_KDF_PARAM_INFO, bytes_of(use->owner), sizeof use->owner),
        OSSL_PARAM_END,
    };

    EVP_KDF_CTX_reset(scratch->kdf);
    return EVP_KDF_derive(scratch->kdf, (uint8_t *)&scratch->keys, sizeof scratch->keys, params) ==
                   1
               ? FK_OK
               : FK_ERR_CRYPTO;
}

/* --- new tickets --- */

/* It seals until the next one does, a quarter of a life after it. */
static uint32_t life_ms(const struct fk_ticket_roots *roots, const struct fk_ticket_root *root,
                        uint64_t now_us)
{
    uint64_t end_us = root->seals_us + roots->life_us / 4;
    uint64_t ms = end_us > now_us ? (end_us - now_us) / 1000 : 0;

    return ms == 0 ? 1 : ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
}

static int make_one(struct scratch *scratch, const struct fk_ticket_use *use,
                    struct fk_ticket_single *ret)
{
    int err;

    memcpy(ret->name, scratch->desk.select, SELECT_SIZE);
    if (RAND_bytes(ret->name + SELECT_SIZE, sizeof ret->name - SELECT_SIZE) != 1)
        return FK_ERR_CRYPTO;
    if ((err = derive_keys(scratch, use, ret->name)) != FK_OK)
        return err;
    memcpy(ret->aes, scratch->keys.aes, sizeof ret->aes);
    memcpy(ret->mac, scratch->keys.mac, sizeof ret->mac);
    return FK_OK;
}

int fk_ticket_singles_make(const struct fk_ticket_roots *roots, const uint8_t ski[20],
                           const struct fk_ticket_use *use, uint64_t now_us, uint8_t count,
                           struct fk_ticket_singles *ret)
{
    struct fk_ticket_singles singles = {.count = 0};
    struct scratch scratch = {.kdf = NULL};
    const struct fk_ticket_root *root;
    int err;

    if (count > FK_TICKET_SINGLES_MAX)
        return FK_ERR_LIMIT;
    if ((root = fk_ticket_roots_sealing(roots, now_us)) == NULL)
        return FK_ERR_UNAVAILABLE;
    singles.life_ms = life_ms(roots, root, now_us);
    if ((err = start(&scratch)) == FK_OK)
        err = derive_desk(&scratch, root, ski);
    for (; err == FK_OK && singles.count < count; singles.count++)
        err = make_one(&scratch, use, &singles.items[singles.count]);
    if (err == FK_OK)
        *ret = singles;
    fk_wipe(&singles, sizeof singles);
    finish(&scratch);
    return err;
}

/* --- tickets that come back --- */

/* The secret that the name begins with; left in scratch->desk. */
static int find_desk(struct scratch *scratch, const struct fk_ticket_roots *roots,
                     const uint8_t ski[20], uint64_t now_us, const uint8_t name[16],
                     const struct fk_ticket_root **ret)
{
    int err = FK_OK;

    for (size_t i = 0; err == FK_OK && i < roots->count; i++) {
        const struct fk_ticket_root *root = &roots->items[i];

        if (root->seals_us > now_us || now_us >= root->seals_us + roots->life_us)
            continue;
        if ((err = derive_desk(scratch, root, ski)) == FK_OK &&
            fk_equal_ct(scratch->desk.select, name, SELECT_SIZE)) {
            *ret = root;
            return FK_OK;
        }
    }
    return err == FK_OK ? FK_ERR_EXPIRED : err;
}

int fk_ticket_single_find(const struct fk_ticket_roots *roots, const uint8_t ski[20],
                          const struct fk_ticket_use *use, uint64_t now_us, const uint8_t name[16],
                          struct fk_ticket_opened *ret)
{
    struct scratch scratch = {.kdf = NULL};
    const struct fk_ticket_root *found;
    int err;

    if ((err = start(&scratch)) == FK_OK &&
        (err = find_desk(&scratch, roots, ski, now_us, name, &found)) == FK_OK &&
        (err = derive_keys(&scratch, use, name)) == FK_OK) {
        ret->renew = found != fk_ticket_roots_sealing(roots, now_us);
        memcpy(ret->aes, scratch.keys.aes, sizeof ret->aes);
        memcpy(ret->mac, scratch.keys.mac, sizeof ret->mac);
    }
    finish(&scratch);
    return err;
}
