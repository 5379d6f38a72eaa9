/* Master secrets that leave a signer sealed: see session_seal.h. */
#include "signer/session_seal.h"

#include "base/err.h"
#include "base/reader.h"
#include "base/secret.h"
#include "base/writer.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/rand.h>
#include <string.h>

#define SELECT 4
#define NONCE  12
#define TAG    16
#define PLAIN  (1 + 2 + 8 + FK_MASTER_SIZE)
#define HEAD   (1 + SELECT + NONCE)

_Static_assert(HEAD + PLAIN + TAG == FK_SEALED_SESSION, "as the wire has it");

/* What a secret gives for one private key. */
struct desk {
    uint8_t select[SELECT]; /* public: how sealed sessions name it */
    uint8_t key[32];
};

_Static_assert(sizeof(struct desk) == 36, "derived in one piece");

/* Scratch of one call, wiped once. */
struct scratch {
    EVP_KDF_CTX *kdf;
    EVP_CIPHER_CTX *cipher;
    struct desk desk;
    uint8_t plain[PLAIN];
};

/* What is authenticated, but not sealed. */
struct aad {
    uint8_t scope;
    uint8_t has_signed;
    uint8_t owner[32];
    uint8_t context[FK_SESSION_CONTEXT];
};

_Static_assert(sizeof(struct aad) == 66, "no padding");

static int start(struct scratch *scratch)
{
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_HKDF, NULL);

    scratch->kdf = kdf == NULL ? NULL : EVP_KDF_CTX_new(kdf);
    EVP_KDF_free(kdf);
    scratch->cipher = EVP_CIPHER_CTX_new();
    return scratch->kdf == NULL || scratch->cipher == NULL ? FK_ERR_CRYPTO : FK_OK;
}

static void finish(struct scratch *scratch)
{
    EVP_KDF_CTX_free(scratch->kdf);
    EVP_CIPHER_CTX_free(scratch->cipher);
    fk_wipe(scratch, sizeof *scratch);
    ERR_clear_error();
}

static int derive(struct scratch *scratch, const struct fk_ticket_root *root, const uint8_t *ski)
{
    return fk_ticket_root_derive(scratch->kdf, root, "farkey sealed sessions", ski,
                                 (uint8_t *)&scratch->desk, sizeof scratch->desk);
}

static struct aad aad_of(uint8_t scope, const struct fk_session_bound *bound)
{
    struct aad aad = {.scope = scope};

    if (scope == FK_SESSION_OWN) {
        aad.has_signed = bound->owner->has_signed ? 1 : 0;
        memcpy(aad.owner, bound->owner->id, sizeof aad.owner);
    }
    memcpy(aad.context, bound->context, sizeof aad.context);
    return aad;
}

/* --- sealing --- */

static int encrypt(struct scratch *scratch, const struct aad *aad, uint8_t *ret)
{
    EVP_CIPHER_CTX *ctx = scratch->cipher;
    uint8_t *nonce = ret + 1 + SELECT, *out = ret + HEAD;
    int len;

    if (RAND_bytes(nonce, NONCE) != 1 ||
        EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, scratch->desk.key, nonce) != 1 ||
        EVP_EncryptUpdate(ctx, NULL, &len, (const uint8_t *)aad, sizeof *aad) != 1 ||
        EVP_EncryptUpdate(ctx, out, &len, scratch->plain, PLAIN) != 1 ||
        EVP_EncryptFinal_ex(ctx, out + PLAIN, &len) != 1 ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG, out + PLAIN) != 1)
        return FK_ERR_CRYPTO;
    return FK_OK;
}

int fk_session_seal(const struct fk_ticket_roots *roots, enum fk_session_scope scope,
                    const struct fk_session_bound *bound, const struct fk_session_kept *kept,
                    uint64_t now_us, uint8_t ret[FK_SEALED_SESSION])
{
    const struct fk_ticket_root *root = fk_ticket_roots_sealing(roots, now_us);
    const struct aad aad = aad_of((uint8_t)scope, bound);
    struct scratch scratch = {.kdf = NULL};
    struct fk_writer writer;
    int err;

    if (root == NULL)
        return FK_ERR_UNAVAILABLE;
    fk_writer_init(&writer, scratch.plain, sizeof scratch.plain);
    fk_writer_u8(&writer, (uint8_t)kept->prf);
    fk_writer_u16(&writer, kept->suite);
    fk_writer_u64(&writer, kept->ends_us);
    fk_writer_bytes(&writer, kept->master, sizeof kept->master);
    if ((err = start(&scratch)) == FK_OK && (err = derive(&scratch, root, bound->ski)) == FK_OK) {
        ret[0] = (uint8_t)scope;
        memcpy(ret + 1, scratch.desk.select, SELECT);
        err = encrypt(&scratch, &aad, ret);
    }
    finish(&scratch);
    return err;
}

/* --- opening --- */

/* A sealed session, by its parts. */
struct parts {
    uint8_t scope;
    uint8_t select[SELECT], nonce[NONCE], sealed[PLAIN], tag[TAG];
};

static int parse(struct fk_reader in, struct parts *ret)
{
    int err;

    if ((err = fk_reader_u8(&in, &ret->scope)) != FK_OK ||
        (err = fk_reader_copy(&in, ret->select, sizeof ret->select)) != FK_OK ||
        (err = fk_reader_copy(&in, ret->nonce, sizeof ret->nonce)) != FK_OK ||
        (err = fk_reader_copy(&in, ret->sealed, sizeof ret->sealed)) != FK_OK ||
        (err = fk_reader_copy(&in, ret->tag, sizeof ret->tag)) != FK_OK ||
        (err = fk_reader_end(&in)) != FK_OK)
        return err;
    return FK_OK;
}

/* The secret that it names, among those that are alive; left in scratch->desk. */
static int find_desk(struct scratch *scratch, const struct fk_ticket_roots *roots,
                     const struct parts *parts, const uint8_t *ski, uint64_t now_us)
{
    int err;

    for (size_t i = 0; i < roots->count; i++) {
        const struct fk_ticket_root *root = &roots->items[i];

        if (root->seals_us > now_us || now_us >= root->seals_us + roots->life_us)
            continue;
        if ((err = derive(scratch, root, ski)) != FK_OK)
            return err;
        if (fk_equal_ct(scratch->desk.select, parts->select, SELECT))
            return FK_OK;
    }
    return FK_ERR_EXPIRED;
}

static int decrypt(struct scratch *scratch, const struct aad *aad, struct parts *parts)
{
    EVP_CIPHER_CTX *ctx = scratch->cipher;
    int len;

    if (EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, scratch->desk.key, parts->nonce) != 1 ||
        EVP_DecryptUpdate(ctx, NULL, &len, (const uint8_t *)aad, sizeof *aad) != 1 ||
        EVP_DecryptUpdate(ctx, scratch->plain, &len, parts->sealed, PLAIN) != 1 ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG, parts->tag) != 1)
        return FK_ERR_CRYPTO;
    return EVP_DecryptFinal_ex(ctx, scratch->plain + len, &len) == 1 ? FK_OK : FK_ERR_EXPIRED;
}

/* Ours, as it is authentic: it can only be too old. */
static int take(const struct scratch *scratch, uint64_t now_us, struct fk_session_kept *ret)
{
    struct fk_session_kept kept;
    struct fk_reader in;
    uint8_t prf;
    int err;

    fk_reader_init(&in, scratch->plain, sizeof scratch->plain);
    if ((err = fk_reader_u8(&in, &prf)) == FK_OK &&
        (err = fk_reader_u16(&in, &kept.suite)) == FK_OK &&
        (err = fk_reader_u64(&in, &kept.ends_us)) == FK_OK &&
        (err = fk_reader_copy(&in, kept.master, sizeof kept.master)) == FK_OK &&
        now_us >= kept.ends_us)
        err = FK_ERR_EXPIRED;
    if (err == FK_OK) {
        kept.prf = (enum fk_prf)prf;
        *ret = kept;
    }
    fk_wipe(&kept, sizeof kept);
    return err;
}

int fk_session_open(const struct fk_ticket_roots *roots, struct fk_reader sealed,
                    const struct fk_session_bound *bound, uint64_t now_us,
                    struct fk_session_kept *ret)
{
    struct scratch scratch = {.kdf = NULL};
    struct parts parts;
    struct aad aad;
    int err;

    if (parse(sealed, &parts) != FK_OK)
        return FK_ERR_EXPIRED;
    aad = aad_of(parts.scope, bound);
    if ((err = start(&scratch)) == FK_OK &&
        (err = find_desk(&scratch, roots, &parts, bound->ski, now_us)) == FK_OK &&
        (err = decrypt(&scratch, &aad, &parts)) == FK_OK)
        err = take(&scratch, now_us, ret);
    finish(&scratch);
    return err;
}
