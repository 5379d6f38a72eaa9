/* Rotation, transport and derivation of ticket secrets: see ticket_roots.h. */
#include "signer/ticket_roots.h"

#include "base/err.h"
#include "base/reader.h"
#include "base/secret.h"
#include "base/writer.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <stdbool.h>
#include <string.h>

#define SKI_SIZE 20
/* What follows must know of a new one before it seals: so often within a quarter they ask. */
#define REFRESHES_A_QUARTER 4

_Static_assert(FK_TICKET_ROOTS_MAX <= FK_TICKET_GRANTS_MAX, "all of them are granted");

/* --- rotation --- */

/* One more, which seals after the newest has done so for a quarter of a life. */
static int add(struct fk_ticket_roots *roots, uint64_t now_us)
{
    struct fk_ticket_root root = {.seals_us = now_us};

    if (roots->count > 0 && roots->items[0].seals_us + roots->life_us / 4 > now_us)
        root.seals_us = roots->items[0].seals_us + roots->life_us / 4;
    if (RAND_bytes(root.id, sizeof root.id) != 1 ||
        RAND_priv_bytes(root.secret, sizeof root.secret) != 1) {
        ERR_clear_error();
        return FK_ERR_CRYPTO;
    }
    memmove(&roots->items[1], &roots->items[0], sizeof root * (FK_TICKET_ROOTS_MAX - 1));
    roots->items[0] = root;
    if (roots->count < FK_TICKET_ROOTS_MAX)
        roots->count++;
    fk_wipe(&root, sizeof root);
    return FK_OK;
}

static bool is_over(const struct fk_ticket_roots *roots, size_t i, uint64_t now_us)
{
    return roots->items[i].seals_us + roots->life_us <= now_us;
}

int fk_ticket_roots_rotate(struct fk_ticket_roots *roots, uint64_t life_us, uint64_t now_us,
                           uint64_t *ret_next_us)
{
    int err;

    roots->life_us = life_us;
    while (roots->count == 0 || roots->items[0].seals_us <= now_us)
        if ((err = add(roots, now_us)) != FK_OK)
            return err;
    while (is_over(roots, roots->count - 1, now_us))
        fk_wipe(&roots->items[--roots->count], sizeof roots->items[0]);
    if (roots->count == 1) { /* a life that has become shorter: none is left that seals */
        roots->items[0].seals_us = now_us;
        if ((err = add(roots, now_us)) != FK_OK)
            return err;
    }
    *ret_next_us = roots->items[0].seals_us - now_us;
    return FK_OK;
}

int fk_ticket_roots_renew(struct fk_ticket_roots *roots, uint64_t life_us, uint64_t now_us,
                          uint64_t *ret_next_us)
{
    struct fk_ticket_root *next = &roots->items[0];
    uint64_t planned = next->seals_us;
    int err;

    if (roots->count > 0 && planned > now_us)
        next->seals_us = now_us;
    if ((err = fk_ticket_roots_rotate(roots, life_us, now_us, ret_next_us)) != FK_OK)
        next->seals_us = planned; /* nothing was added: it is where it was */
    return err;
}

/* --- transport --- */

size_t fk_ticket_roots_encode(const struct fk_ticket_roots *roots,
                              uint8_t ret[FK_TICKET_ROOTS_WIRE_MAX])
{
    struct fk_writer out;

    fk_writer_init(&out, ret, FK_TICKET_ROOTS_WIRE_MAX);
    fk_writer_u64(&out, roots->life_us);
    fk_writer_u8(&out, (uint8_t)roots->count);
    for (size_t i = 0; i < roots->count; i++) {
        fk_writer_bytes(&out, roots->items[i].id, sizeof roots->items[i].id);
        fk_writer_bytes(&out, roots->items[i].secret, sizeof roots->items[i].secret);
        fk_writer_u64(&out, roots->items[i].seals_us);
    }
    return out.len;
}

static int read_roots(struct fk_reader *in, struct fk_ticket_roots *ret)
{
    uint8_t count;
    int err;

    if ((err = fk_reader_u64(in, &ret->life_us)) != FK_OK ||
        (err = fk_reader_u8(in, &count)) != FK_OK)
        return err;
    if (count == 0 || count > FK_TICKET_ROOTS_MAX)
        return FK_ERR_FORMAT;
    for (; ret->count < count; ret->count++) {
        struct fk_ticket_root *root = &ret->items[ret->count];

        if ((err = fk_reader_copy(in, root->id, sizeof root->id)) != FK_OK ||
            (err = fk_reader_copy(in, root->secret, sizeof root->secret)) != FK_OK ||
            (err = fk_reader_u64(in, &root->seals_us)) != FK_OK)
            return err;
    }
    return fk_reader_end(in);
}

int fk_ticket_roots_decode(const void *data, size_t len, struct fk_ticket_roots *ret)
{
    struct fk_ticket_roots roots = {.count = 0};
    struct fk_reader in;
    int err;

    fk_reader_init(&in, data, len);
    if ((err = read_roots(&in, &roots)) == FK_OK)
        *ret = roots;
    fk_wipe(&roots, sizeof roots);
    return err;
}

/* --- derivation --- */

struct derived {
    uint8_t id[FK_TICKET_ID];
    uint8_t secret[FK_TICKET_SECRET];
};

/* OSSL_PARAMs of bytes are not written to by a derivation. */
static void *bytes_of(const void *value)
{
    return (void *)(uintptr_t)value;
}

int fk_ticket_root_derive(EVP_KDF_CTX *hkdf, const struct fk_ticket_root *root, const char *label,
                          const uint8_t ski[SKI_SIZE], uint8_t *ret, size_t len)
{
    const OSSL_PARAM params[] = {
        OSSL_PARAM_utf8_string(OSSL_KDF_PARAM_DIGEST, bytes_of("SHA256"), 0),
        OSSL_PARAM_octet_string(OSSL_KDF_PARAM_KEY, bytes_of(root->secret), sizeof root->secret),
        OSSL_PARAM_octet_string(OSSL_KDF_PARAM_SALT, bytes_of(root->id), sizeof root->id),
        OSSL_PARAM_octet_string(OSSL_KDF_PARAM_INFO, bytes_of(label), strlen(label) + 1),
        OSSL_PARAM_octet_string(OSSL_KDF_PARAM_INFO, bytes_of(ski), SKI_SIZE),
        OSSL_PARAM_END,
    };

    EVP_KDF_CTX_reset(hkdf);
    if (EVP_KDF_derive(hkdf, ret, len, params) == 1)
        return FK_OK;
    ERR_clear_error();
    return FK_ERR_CRYPTO;
}

const struct fk_ticket_root *fk_ticket_roots_sealing(const struct fk_ticket_roots *roots,
                                                     uint64_t now_us)
{
    for (size_t i = 0; i < roots->count; i++) {
        const struct fk_ticket_root *root = &roots->items[i];

        if (root->seals_us <= now_us && now_us < root->seals_us + roots->life_us)
            return root;
    }
    return NULL;
}

static uint32_t milliseconds(uint64_t us)
{
    return us / 1000 > UINT32_MAX ? UINT32_MAX : (uint32_t)(us / 1000);
}

static int grant_one(EVP_KDF_CTX *ctx, const struct fk_ticket_root *root, const uint8_t *ski,
                     struct fk_ticket_grant *ret)
{
    struct derived derived;
    int err = fk_ticket_root_derive(ctx, root, "farkey ticket keys", ski, (uint8_t *)&derived,
                                    sizeof derived);

    if (err == FK_OK) {
        memcpy(ret->id, derived.id, sizeof ret->id);
        memcpy(ret->secret, derived.secret, sizeof ret->secret);
    }
    fk_wipe(&derived, sizeof derived);
    return err;
}

static int grant_all(const struct fk_ticket_roots *roots, const uint8_t *ski, uint64_t now_us,
                     struct fk_ticket_grants *ret)
{
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_HKDF, NULL);
    EVP_KDF_CTX *ctx = kdf == NULL ? NULL : EVP_KDF_CTX_new(kdf);
    int err = ctx == NULL ? FK_ERR_CRYPTO : FK_OK;

    for (size_t i = 0; err == FK_OK && i < roots->count; i++) {
        const struct fk_ticket_root *root = &roots->items[i];
        uint64_t ends_us = root->seals_us + roots->life_us;
        struct fk_ticket_grant *grant = &ret->items[ret->count];

        if (ends_us < now_us + 1000)
            continue; /* a master that is late has not taken it away yet */
        err = grant_one(ctx, root, ski, grant);
        grant->seals_ms = root->seals_us > now_us ? milliseconds(root->seals_us - now_us + 999) : 0;
        grant->ends_ms = milliseconds(ends_us - now_us);
        ret->count++;
    }
    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
    return err;
}

int fk_ticket_roots_grant(const struct fk_ticket_roots *roots, const uint8_t ski[20],
                          uint64_t now_us, struct fk_ticket_grants *ret)
{
    struct fk_ticket_grants grants = {.count = 0};
    int err = grant_all(roots, ski, now_us, &grants);

    grants.refresh_ms = milliseconds(roots->life_us / 4 / REFRESHES_A_QUARTER);
    if (grants.refresh_ms == 0)
        grants.refresh_ms = 1;
    if (err == FK_OK && grants.count == 0)
        err = FK_ERR_UNAVAILABLE;
    if (err == FK_OK)
        *ret = grants;
    fk_wipe(&grants, sizeof grants);
    return err;
}
