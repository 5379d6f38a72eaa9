/* HKDF of TLS 1.3: see hkdf.h. */
#include "tls/hkdf.h"

#include "base/err.h"
#include "base/secret.h"
#include "base/writer.h"
#include "tls/suite.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_MAX 128 /* of SHA-384 */
/* An HkdfLabel: length, label<7..255>, context<0..255>. */
#define INFO_MAX (2 + 1 + sizeof FK_HKDF_PREFIX - 1 + FK_HKDF_LABEL_MAX + 1 + FK_SUITE_HASH_MAX)

/* --- a thread's digests --- */

static const struct hash {
    size_t len, block;
    const char *name;
} hashes[] = {{32, 64, "SHA256"}, {48, BLOCK_MAX, "SHA384"}};

#define N_HASHES (sizeof hashes / sizeof hashes[0])

struct contexts {
    EVP_MD_CTX *of[N_HASHES];
};

static pthread_key_t slot;
static bool have_slot;
static EVP_MD *digests[N_HASHES];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void drop(void *arg)
{
    struct contexts *contexts = arg;

    for (size_t i = 0; i < N_HASHES; i++)
        EVP_MD_CTX_free(contexts->of[i]);
    free(contexts);
}

static void prepare(void)
{
    have_slot = pthread_key_create(&slot, drop) == 0;
    for (size_t i = 0; i < N_HASHES; i++)
        digests[i] = EVP_MD_fetch(NULL, hashes[i].name, NULL);
}

static struct contexts *thread_contexts(void)
{
    struct contexts *contexts;

    pthread_once(&once, prepare);
    if (!have_slot)
        return NULL;
    if ((contexts = pthread_getspecific(slot)) != NULL)
        return contexts;
    if ((contexts = calloc(1, sizeof *contexts)) != NULL &&
        pthread_setspecific(slot, contexts) != 0) {
        free(contexts);
        return NULL;
    }
    return contexts;
}

static EVP_MD_CTX *make_context(const EVP_MD *digest)
{
    EVP_MD_CTX *ctx = digest == NULL ? NULL : EVP_MD_CTX_new();

    if (ctx != NULL && EVP_DigestInit_ex2(ctx, digest, NULL) == 1)
        return ctx;
    EVP_MD_CTX_free(ctx);
    return NULL;
}

/* A hash and where this thread computes it. */
struct work {
    const struct hash *hash;
    EVP_MD_CTX *ctx;
};

static int find_work(size_t hash_len, struct work *ret)
{
    struct contexts *contexts = thread_contexts();
    size_t which = 0;

    while (which < N_HASHES && hashes[which].len != hash_len)
        which++;
    if (which == N_HASHES)
        return FK_ERR_INVAL;
    if (contexts == NULL)
        return FK_ERR_NOMEM;
    if (contexts->of[which] == NULL && (contexts->of[which] = make_context(digests[which])) == NULL)
        return FK_ERR_CRYPTO;
    *ret = (struct work){.hash = &hashes[which], .ctx = contexts->of[which]};
    return FK_OK;
}

/* --- HMAC (RFC 2104), of keys that are no longer than a block --- */

/* hash(key xor pad | parts); a context that knows its digest begins anew without looking it up. */
static bool hash_keyed(const struct work *work, struct fk_reader key, uint8_t pad,
                       const struct fk_reader *parts, size_t n_parts, uint8_t *ret)
{
    uint8_t block[BLOCK_MAX];
    bool ok;

    memset(block, pad, work->hash->block);
    for (size_t i = 0; i < key.left; i++)
        block[i] ^= key.next[i];
    ok = EVP_DigestInit_ex2(work->ctx, NULL, NULL) == 1 &&
         EVP_DigestUpdate(work->ctx, block, work->hash->block) == 1;
    for (size_t i = 0; i < n_parts && ok; i++)
        ok = EVP_DigestUpdate(work->ctx, parts[i].next, parts[i].left) == 1;
    fk_wipe(block, sizeof block);
    return ok && EVP_DigestFinal_ex(work->ctx, ret, NULL) == 1;
}

static int hmac(const struct work *work, struct fk_reader key, const struct fk_reader *parts,
                size_t n_parts, uint8_t *ret)
{
    uint8_t inner[FK_SUITE_HASH_MAX];
    const struct fk_reader outer = {inner, work->hash->len};
    bool ok = key.left <= work->hash->block && hash_keyed(work, key, 0x36, parts, n_parts, inner) &&
              hash_keyed(work, key, 0x5c, &outer, 1, ret);

    /* The last state is the result; a beginning takes its place. */
    ok = EVP_DigestInit_ex2(work->ctx, NULL, NULL) == 1 && ok;
    fk_wipe(inner, sizeof inner);
    return ok ? FK_OK : FK_ERR_CRYPTO;
}

/* --- HKDF --- */

int fk_hkdf_extract(size_t hash_len, struct fk_reader salt, struct fk_reader secret, uint8_t *ret)
{
    struct work work;
    int err = find_work(hash_len, &work);

    /* No salt is one of zeros (RFC 5869 section 2.2), as which HMAC takes it. */
    return err != FK_OK ? err : hmac(&work, salt, &secret, 1, ret);
}

static int write_info(const struct fk_hkdf_label *label, size_t len, uint8_t info[INFO_MAX],
                      size_t *ret_len)
{
    struct fk_writer writer;

    fk_writer_init(&writer, info, INFO_MAX);
    fk_writer_u16(&writer, (uint16_t)len);
    fk_writer_u8(&writer, (uint8_t)(strlen(FK_HKDF_PREFIX) + label->name.left));
    fk_writer_bytes(&writer, FK_HKDF_PREFIX, strlen(FK_HKDF_PREFIX));
    fk_writer_bytes(&writer, label->name.next, label->name.left);
    fk_writer_u8(&writer, (uint8_t)label->context.left);
    fk_writer_bytes(&writer, label->context.next, label->context.left);
    return fk_writer_end(&writer, ret_len);
}

int fk_hkdf_expand_label(size_t hash_len, const uint8_t *secret, const struct fk_hkdf_label *label,
                         uint8_t *ret, size_t len)
{
    uint8_t info[INFO_MAX], block[FK_SUITE_HASH_MAX], number = 1;
    /* T(i) = HMAC(secret, T(i - 1) | info | i), RFC 5869 section 2.3 */
    struct fk_reader parts[] = {{.left = 0}, {.next = info}, {&number, 1}};
    const struct fk_reader key = {secret, hash_len};
    struct work work;
    int err;

    if (len > 255 * hash_len || label->name.left > FK_HKDF_LABEL_MAX ||
        write_info(label, len, info, &parts[1].left) != FK_OK)
        return FK_ERR_INVAL;
    if ((err = find_work(hash_len, &work)) != FK_OK)
        return err;
    for (size_t done = 0, part; done < len && err == FK_OK; done += part, number++) {
        part = len - done < hash_len ? len - done : hash_len;
        if ((err = hmac(&work, key, parts, 3, block)) == FK_OK)
            memcpy(ret + done, block, part);
        parts[0] = (struct fk_reader){block, hash_len};
    }
    if (err != FK_OK)
        fk_wipe(ret, len);
    fk_wipe(block, sizeof block);
    return err;
}
