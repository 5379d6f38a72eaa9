/* Shares: their bytes, splitting, combining: see share.h. What goes over the wire: share_wire.c. */
#include "signer/share.h"

#include "base/err.h"
#include "base/writer.h"
#include "signer/key_numbers.h"
#include "signer/keyset.h"
#include "signer/shamir.h"
#include "signer/share_priv.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <string.h>

#define VERSION  1
#define HASH     32
#define REJECT   32
#define SPKI_MAX 1024 /* of RSA-4096: 550 */
#define SHARE_MAX                                                                           \
    (5 + FK_KEYSHARE_SET + 2 + SPKI_MAX + HASH * FK_SHARES_MAX + 2 * FK_SEAL_KEY_SIZE + 1 + \
     REJECT + 2 + FK_SHARE_DATA_MAX)
#define PEM_NAME "FARKEY KEY SHARE"
#define PEM_MAX  16384

_Static_assert(FK_KEYSHARE_ID == HASH, "both are SHA-256");

/* SHA-256 of what a share says of the splitting, and of the share itself. */
int fk_share_hash(const struct fk_share *share, uint8_t index, struct fk_reader data,
                  uint8_t ret[HASH])
{
    static const char label[] = "farkey share hash 1";
    const uint8_t numbers[] = {share->k, share->n, index};
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 &&
              EVP_DigestUpdate(ctx, label, sizeof label) == 1 &&
              EVP_DigestUpdate(ctx, share->set, sizeof share->set) == 1 &&
              EVP_DigestUpdate(ctx, numbers, sizeof numbers) == 1 &&
              EVP_DigestUpdate(ctx, share->id, sizeof share->id) == 1 &&
              EVP_DigestUpdate(ctx, share->combiner, sizeof share->combiner) == 1 &&
              EVP_DigestUpdate(ctx, data.next, data.left) == 1 &&
              EVP_DigestFinal_ex(ctx, ret, NULL) == 1;

    EVP_MD_CTX_free(ctx);
    return ok ? FK_OK : FK_ERR_CRYPTO;
}

int fk_share_check(const struct fk_share *by, uint8_t index, struct fk_reader data)
{
    struct fk_reader hashes = by->hashes;
    uint8_t hash[HASH], expected[HASH];
    int err;

    if (index == 0 || index > by->n || data.left != by->data.left)
        return FK_ERR_SHARE_WRONG;
    if (fk_reader_skip(&hashes, (size_t)(index - 1) * HASH) != FK_OK ||
        fk_reader_copy(&hashes, expected, HASH) != FK_OK)
        return FK_ERR_FORMAT;
    if ((err = fk_share_hash(by, index, data, hash)) != FK_OK)
        return err;
    return fk_equal_ct(hash, expected, HASH) ? FK_OK : FK_ERR_SHARE_WRONG;
}

/* --- bytes --- */

static int decode_head(struct fk_reader *reader, struct fk_share *share)
{
    uint8_t version;
    int err;

    if ((err = fk_reader_u8(reader, &version)) != FK_OK ||
        (err = fk_reader_u8(reader, &share->scheme)) != FK_OK)
        return err;
    if (version != VERSION ||
        (share->scheme != FK_SHARE_SHAMIR && share->scheme != FK_SHARE_ADDITIVE))
        return FK_ERR_VERSION;
    if ((err = fk_reader_u8(reader, &share->k)) != FK_OK ||
        (err = fk_reader_u8(reader, &share->n)) != FK_OK ||
        (err = fk_reader_u8(reader, &share->index)) != FK_OK)
        return err;
    if (share->k < 2 || share->k > share->n || share->n > FK_SHARES_MAX || share->index == 0 ||
        share->index > share->n || (share->scheme == FK_SHARE_ADDITIVE && share->n != 2))
        return FK_ERR_FORMAT;
    return fk_reader_copy(reader, share->set, sizeof share->set);
}

/* What only the combining signer has. */
static int decode_own(struct fk_reader *reader, struct fk_share *share)
{
    bool combines = share->index == FK_SHARE_COMBINER;
    struct fk_reader own;
    int err;

    if ((err = fk_reader_vec8(reader, &own)) != FK_OK)
        return err;
    if (fk_reader_take(&own, combines ? FK_SEAL_KEY_SIZE : 0, &share->seal_key) != FK_OK ||
        fk_reader_take(&own, combines && share->scheme == FK_SHARE_ADDITIVE ? REJECT : 0,
                       &share->reject) != FK_OK ||
        fk_reader_end(&own) != FK_OK)
        return FK_ERR_FORMAT;
    return FK_OK;
}

int fk_share_decode(struct fk_reader bytes, struct fk_share *ret)
{
    struct fk_share share;
    int err;

    if ((err = decode_head(&bytes, &share)) != FK_OK ||
        (err = fk_reader_vec16(&bytes, &share.spki)) != FK_OK ||
        (err = fk_reader_take(&bytes, (size_t)share.n * HASH, &share.hashes)) != FK_OK ||
        (err = fk_reader_copy(&bytes, share.combiner, sizeof share.combiner)) != FK_OK ||
        (err = decode_own(&bytes, &share)) != FK_OK ||
        (err = fk_reader_vec16(&bytes, &share.data)) != FK_OK ||
        (err = fk_reader_end(&bytes)) != FK_OK)
        return err;
    if (share.spki.left == 0 || share.spki.left > SPKI_MAX || share.data.left == 0 ||
        share.data.left > FK_SHARE_DATA_MAX)
        return FK_ERR_FORMAT;
    if (EVP_Digest(share.spki.next, share.spki.left, share.id, NULL, EVP_sha256(), NULL) != 1)
        return FK_ERR_CRYPTO;
    if ((err = fk_share_check(&share, share.index, share.data)) != FK_OK)
        return err;
    *ret = share;
    return FK_OK;
}

static void encode(const struct fk_share *share, struct fk_writer *out)
{
    size_t mark;

    fk_writer_u8(out, VERSION);
    fk_writer_u8(out, share->scheme);
    fk_writer_u8(out, share->k);
    fk_writer_u8(out, share->n);
    fk_writer_u8(out, share->index);
    fk_writer_bytes(out, share->set, sizeof share->set);
    fk_writer_vec16(out, share->spki.next, share->spki.left);
    fk_writer_bytes(out, share->hashes.next, share->hashes.left);
    fk_writer_bytes(out, share->combiner, sizeof share->combiner);
    mark = fk_writer_begin8(out);
    fk_writer_bytes(out, share->seal_key.next, share->seal_key.left);
    fk_writer_bytes(out, share->reject.next, share->reject.left);
    fk_writer_end8(out, mark);
    fk_writer_vec16(out, share->data.next, share->data.left);
}

/* How long a share of that key is; 0: there is none. */
static size_t data_size(const struct fk_share *share, EVP_PKEY *key)
{
    if (share->scheme == FK_SHARE_SHAMIR)
        return fk_key_numbers_size(key);
    return EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA ? (size_t)EVP_PKEY_get_size(key) : 0;
}

int fk_share_public(const struct fk_share *share, EVP_PKEY **ret)
{
    const unsigned char *at = share->spki.next;
    EVP_PKEY *key = d2i_PUBKEY(NULL, &at, (long)share->spki.left);
    int err = FK_ERR_FORMAT;

    ERR_clear_error();
    if (key == NULL)
        return FK_ERR_FORMAT;
    if (at == share->spki.next + share->spki.left && (err = fk_key_check(key)) == FK_OK &&
        data_size(share, key) != share->data.left)
        err = FK_ERR_FORMAT;
    if (err != FK_OK)
        EVP_PKEY_free(key);
    else
        *ret = key;
    return err;
}

/* --- files --- */

static int read_pem(BIO *bio, struct fk_secret **ret)
{
    char *name = NULL, *header = NULL;
    unsigned char *data = NULL;
    int err = FK_ERR_FORMAT;
    long len = 0;

    if (PEM_read_bio_ex(bio, &name, &header, &data, &len, PEM_FLAG_SECURE) == 1 &&
        strcmp(name, PEM_NAME) == 0 && header[0] == '\0' && len > 0 && len <= SHARE_MAX)
        err = fk_secret_dup(data, (size_t)len, ret);
    ERR_clear_error();
    OPENSSL_secure_free(name);
    OPENSSL_secure_free(header);
    OPENSSL_secure_clear_free(data, len > 0 ? (size_t)len : 0);
    return err;
}

int fk_share_from_pem(const void *text, size_t len, struct fk_secret **ret)
{
    BIO *bio;
    int err;

    if (len > PEM_MAX)
        return FK_ERR_LIMIT;
    if (len == 0)
        return FK_ERR_FORMAT;
    if ((bio = BIO_new_mem_buf(text, (int)len)) == NULL)
        return FK_ERR_NOMEM;
    err = read_pem(bio, ret);
    BIO_free(bio);
    return err;
}

int fk_share_to_pem(const struct fk_secret *share, struct fk_secret **ret_text, size_t *ret_len)
{
    BIO *bio = BIO_new(BIO_s_secmem());
    char *text;
    long len = 0;
    int err = FK_ERR_CRYPTO;

    if (bio == NULL)
        return FK_ERR_NOMEM;
    if (PEM_write_bio(bio, PEM_NAME, "", fk_secret_bytes(share), (long)fk_secret_len(share)) > 0 &&
        (len = BIO_get_mem_data(bio, &text)) > 0)
        err = fk_secret_dup(text, (size_t)len, ret_text);
    if (len > 0)
        fk_wipe(text, (size_t)len);
    BIO_free(bio);
    ERR_clear_error();
    if (err == FK_OK)
        *ret_len = (size_t)len;
    return err;
}

/* --- splitting --- */

/* All secrets of one splitting, wiped as one. */
struct splitting {
    struct fk_share share; /* what all have in common */
    unsigned char *spki;
    uint8_t hashes[FK_SHARES_MAX * HASH];
    uint8_t seal_key[FK_SEAL_KEY_SIZE];
    uint8_t reject[REJECT];
    uint8_t numbers[FK_SHARE_DATA_MAX];
    uint8_t data[FK_SHARES_MAX][FK_SHARE_DATA_MAX];
};

static int make_seal_key(struct splitting *split)
{
    size_t len = sizeof split->seal_key;
    EVP_PKEY *key;
    int err;

    if ((err = fk_seal_key_new(&key, split->share.combiner)) != FK_OK)
        return err;
    if (EVP_PKEY_get_raw_private_key(key, split->seal_key, &len) != 1)
        err = FK_ERR_CRYPTO;
    EVP_PKEY_free(key);
    return err;
}

/* What all shares say. */
static int describe(EVP_PKEY *key, struct splitting *split)
{
    struct fk_share *share = &split->share;
    int len = i2d_PUBKEY(key, &split->spki);

    if (len <= 0 || len > SPKI_MAX)
        return FK_ERR_CRYPTO;
    fk_reader_init(&share->spki, split->spki, (size_t)len);
    if (EVP_Digest(split->spki, (size_t)len, share->id, NULL, EVP_sha256(), NULL) != 1 ||
        RAND_bytes(share->set, sizeof share->set) != 1)
        return FK_ERR_CRYPTO;
    fk_reader_init(&share->hashes, split->hashes, (size_t)share->n * HASH);
    return make_seal_key(split);
}

static int divide_numbers(EVP_PKEY *key, struct splitting *split, size_t len)
{
    uint8_t *data[FK_SHARES_MAX];
    int err;

    if ((err = fk_key_numbers_get(key, split->numbers)) != FK_OK)
        return err;
    for (unsigned i = 0; i < split->share.n; i++)
        data[i] = split->data[i];
    return fk_shamir_split(split->numbers, len, split->share.k, split->share.n, data);
}

/* Nobody will have the private key any more to work the rejection secret out. */
static int divide_exponent(EVP_PKEY *key, struct splitting *split, size_t len)
{
    int err = fk_keyset_reject_secret(key, split->reject);

    return err != FK_OK ? err : fk_power_divide(key, split->data[0], split->data[1], len);
}

static int divide(EVP_PKEY *key, struct splitting *split)
{
    size_t len = data_size(&split->share, key);
    struct fk_reader reader;
    int err;

    if (len == 0)
        return FK_ERR_UNSUPPORTED;
    err = split->share.scheme == FK_SHARE_SHAMIR ? divide_numbers(key, split, len)
                                                 : divide_exponent(key, split, len);
    for (uint8_t i = 0; err == FK_OK && i < split->share.n; i++) {
        fk_reader_init(&reader, split->data[i], len);
        err = fk_share_hash(&split->share, i + 1, reader, split->hashes + (size_t)i * HASH);
    }
    return err;
}

static int encode_one(struct splitting *split, uint8_t index, size_t len, struct fk_secret **ret)
{
    struct fk_share *share = &split->share;
    bool combines = index == FK_SHARE_COMBINER, additive = share->scheme == FK_SHARE_ADDITIVE;
    uint8_t bytes[SHARE_MAX];
    struct fk_writer writer;
    size_t total;
    int err;

    share->index = index;
    fk_reader_init(&share->data, split->data[index - 1], len);
    fk_reader_init(&share->seal_key, split->seal_key, combines ? sizeof split->seal_key : 0);
    fk_reader_init(&share->reject, split->reject, combines && additive ? sizeof split->reject : 0);
    fk_writer_init(&writer, bytes, sizeof bytes);
    encode(share, &writer);
    if ((err = fk_writer_end(&writer, &total)) == FK_OK)
        err = fk_secret_dup(bytes, total, ret);
    fk_wipe(bytes, sizeof bytes);
    return err;
}

/* As `how` says: scheme, k and n. */
static int split_key(EVP_PKEY *key, const struct fk_share *how, struct fk_secret *ret[])
{
    struct splitting split = {.share = *how};
    struct fk_secret *made[FK_SHARES_MAX] = {NULL};
    unsigned n = how->n;
    int err;

    if ((err = describe(key, &split)) == FK_OK)
        err = divide(key, &split);
    for (uint8_t i = 0; err == FK_OK && i < n; i++)
        err = encode_one(&split, i + 1, data_size(how, key), &made[i]);
    for (unsigned i = 0; i < n; i++) {
        if (err == FK_OK)
            ret[i] = made[i];
        else
            fk_secret_free(made[i]);
    }
    OPENSSL_free(split.spki);
    fk_wipe(&split, sizeof split);
    return err;
}

int fk_share_split(EVP_PKEY *key, unsigned k, unsigned n, struct fk_secret *ret[])
{
    struct fk_share how = {.scheme = FK_SHARE_SHAMIR, .k = (uint8_t)k, .n = (uint8_t)n};

    if (k < 2 || k > n || n > FK_SHARES_MAX)
        return FK_ERR_INVAL;
    return split_key(key, &how, ret);
}

int fk_share_split_additive(EVP_PKEY *key, struct fk_secret *ret[2])
{
    const struct fk_share how = {.scheme = FK_SHARE_ADDITIVE, .k = 2, .n = 2};

    return split_key(key, &how, ret);
}

/* --- combining --- */

/* Whether it is of the same splitting of the same key as the first. */
static int belongs(const struct fk_share *first, const struct fk_share *share)
{
    if (memcmp(first->id, share->id, sizeof first->id) != 0 || /* public */
        memcmp(first->set, share->set, sizeof first->set) != 0 || first->k != share->k ||
        first->n != share->n || first->scheme != share->scheme)
        return FK_ERR_SHARE_FOREIGN;
    return fk_share_check(first, share->index, share->data);
}

static int check_all(const struct fk_share *shares, size_t count)
{
    int err;

    if (count == 0)
        return FK_ERR_SHARE_MISSING;
    for (size_t i = 0; i < count; i++) {
        if ((err = belongs(&shares[0], &shares[i])) != FK_OK)
            return err;
        for (size_t j = 0; j < i; j++)
            if (shares[j].index == shares[i].index)
                return FK_ERR_SHARE_REPEATED;
    }
    return count < shares[0].k ? FK_ERR_SHARE_MISSING : FK_OK;
}

int fk_share_join(const struct fk_share *by, EVP_PKEY *public_key, const uint8_t x[],
                  const uint8_t *const data[], EVP_PKEY **ret)
{
    uint8_t numbers[FK_SHARE_DATA_MAX];
    size_t len = by->data.left;
    int err = fk_shamir_combine(x, data, by->k, len, numbers);

    if (err == FK_OK)
        err = fk_key_numbers_join(public_key, numbers, len, ret);
    fk_wipe(numbers, sizeof numbers);
    return err;
}

int fk_share_combine(const struct fk_share *shares, size_t count, EVP_PKEY **ret)
{
    const uint8_t *data[FK_SHARES_MAX];
    uint8_t x[FK_SHARES_MAX];
    EVP_PKEY *public_key;
    int err;

    if (count > 0 && shares[0].scheme != FK_SHARE_SHAMIR)
        return FK_ERR_UNSUPPORTED;
    if ((err = check_all(shares, count)) != FK_OK ||
        (err = fk_share_public(&shares[0], &public_key)) != FK_OK)
        return err;
    for (size_t i = 0; i < shares[0].k; i++) {
        x[i] = shares[i].index;
        data[i] = shares[i].data.next;
    }
    err = fk_share_join(&shares[0], public_key, x, data, ret);
    EVP_PKEY_free(public_key);
    return err;
}

/* --- proof --- */

/* With a number that nobody chose. */
static int prove_powers(const struct fk_share shares[2], EVP_PKEY *public_key)
{
    uint8_t base[FK_POWER_MAX] = {0}, one[FK_POWER_MAX], product[FK_POWER_MAX];
    struct fk_power *powers[2] = {NULL, NULL};
    size_t size = shares[0].data.left;
    int err = FK_ERR_CRYPTO;

    if (RAND_bytes(base + 1, (int)size - 1) == 1 &&
        (err = fk_power_new(public_key, shares[0].data, &powers[0])) == FK_OK &&
        (err = fk_power_new(public_key, shares[1].data, &powers[1])) == FK_OK &&
        (err = fk_power_raise(powers[0], base, one)) == FK_OK)
        err = fk_power_complete(powers[1], base, one, product);
    fk_power_free(powers[0]);
    fk_power_free(powers[1]);
    return err;
}

static int prove_key(const struct fk_share *shares, size_t count)
{
    EVP_PKEY *key;
    int err = fk_share_combine(shares, count, &key);

    if (err != FK_OK)
        return err;
    err = fk_key_prove(key);
    EVP_PKEY_free(key);
    return err;
}

int fk_share_prove(const struct fk_share *shares, size_t count, EVP_PKEY **ret_public)
{
    EVP_PKEY *public_key;
    int err;

    if ((err = check_all(shares, count)) != FK_OK ||
        (err = fk_share_public(&shares[0], &public_key)) != FK_OK)
        return err;
    err = shares[0].scheme == FK_SHARE_ADDITIVE ? prove_powers(shares, public_key)
                                                : prove_key(shares, count);
    if (err == FK_OK)
        *ret_public = public_key;
    else
        EVP_PKEY_free(public_key);
    return err == FK_ERR_INVAL ? FK_ERR_SHARE_WRONG : err;
}
