/*
 * The key bundle, written by a master and read by signers, and the signer's table of keys: see
 * keyset.h.
 *
 * Bundle: "FKKEYS04" | count u32 | lend u8 | lend key 32 | audit u8 | audit secret 32 | keys, each:
 * kind u8 | permissions u16 | name<u8> | bytes<u16>: PKCS#8 DER, a share of a split key (share.h),
 * or a key in a token (keyset_token.h) | edges (keyset_edges.c) | token (keyset_token.c).
 * Big-endian. What else is known about a key the signer works out from the key itself.
 */
#include "signer/keyset.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/reader.h"
#include "base/secret.h"
#include "base/writer.h"
#include "signer/keyset_edges.h"
#include "signer/keyset_token.h"
#include "wire/keymsg.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUNDLE_MAGIC "FKKEYS04"
#define MAGIC_SIZE   8
#define HEAD_SIZE    (MAGIC_SIZE + 4 + 1 + 32 + 1 + 32)
/* An unencrypted PKCS#8 of RSA-4096 has 2,375 bytes. */
#define DER_MAX    4096
#define RECORD_MAX (1 + 2 + 1 + 64 + 2 + DER_MAX)
#define BUNDLE_MAX                                                                      \
    ((size_t)HEAD_SIZE + (size_t)FK_KEYS_MAX * RECORD_MAX + FK_SIGNER_EDGES_BYTES_MAX + \
     FK_TOKEN_SETTINGS_MAX)
#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

enum { KIND_KEY = 1, KIND_SHARE, KIND_TOKEN }; /* of a record */

/* --- building --- */

struct fk_keyset_builder {
    struct fk_buf records;
    uint32_t count;
    bool has_audit, has_lend_key;
    uint8_t audit[32], lend_key[32];
    struct fk_edges_builder edges;
    struct fk_secret *token; /* settings, encoded; NULL: none */
};

int fk_keyset_builder_new(struct fk_keyset_builder **ret)
{
    struct fk_keyset_builder *builder = calloc(1, sizeof *builder);

    if (builder == NULL)
        return FK_ERR_NOMEM;
    fk_buf_init_secret(&builder->records, (size_t)FK_KEYS_MAX * RECORD_MAX);
    fk_edges_builder_init(&builder->edges);
    *ret = builder;
    return FK_OK;
}

void fk_keyset_builder_free(struct fk_keyset_builder *builder)
{
    if (builder == NULL)
        return;
    fk_buf_fini(&builder->records);
    fk_edges_builder_fini(&builder->edges);
    fk_secret_free(builder->token);
    fk_wipe(builder, sizeof *builder);
    free(builder);
}

/* Unencrypted PKCS#8 DER; the caller frees with OPENSSL_clear_free(). */
static int encode_pkcs8(EVP_PKEY *pkey, uint8_t **ret, size_t *ret_len)
{
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(pkey);
    unsigned char *der = NULL;
    int len = info == NULL ? -1 : i2d_PKCS8_PRIV_KEY_INFO(info, &der);

    PKCS8_PRIV_KEY_INFO_free(info);
    if (len <= 0) {
        ERR_clear_error();
        return FK_ERR_CRYPTO;
    }
    *ret = der;
    *ret_len = (size_t)len;
    return FK_OK;
}

static int add_record(struct fk_keyset_builder *builder, uint8_t kind,
                      const struct fk_key_public *public, const uint8_t *bytes, size_t size)
{
    size_t name_len = strnlen(public->name, sizeof public->name), len;
    struct fk_writer writer;
    uint8_t *at;
    int err;

    if (builder->count >= FK_KEYS_MAX)
        return FK_ERR_LIMIT;
    if (size > DER_MAX)
        return FK_ERR_UNSUPPORTED;
    if ((err = fk_buf_reserve(&builder->records, RECORD_MAX, &at)) != FK_OK)
        return err;
    fk_writer_init(&writer, at, RECORD_MAX);
    fk_writer_u8(&writer, kind);
    fk_writer_u16(&writer, public->permissions);
    fk_writer_vec8(&writer, public->name, name_len);
    fk_writer_vec16(&writer, bytes, size);
    if ((err = fk_writer_end(&writer, &len)) != FK_OK)
        return err;
    fk_buf_commit(&builder->records, len);
    builder->count++;
    return FK_OK;
}

int fk_keyset_builder_add(struct fk_keyset_builder *builder, const struct fk_key_public *public,
                          EVP_PKEY *pkey)
{
    uint8_t *der;
    size_t len;
    int err;

    if ((err = encode_pkcs8(pkey, &der, &len)) != FK_OK)
        return err;
    err = add_record(builder, KIND_KEY, public, der, len);
    OPENSSL_clear_free(der, len);
    return err;
}

int fk_keyset_builder_add_share(struct fk_keyset_builder *builder,
                                const struct fk_key_public *public, const struct fk_secret *share)
{
    return add_record(builder, KIND_SHARE, public, fk_secret_bytes(share), fk_secret_len(share));
}

int fk_keyset_builder_add_token(struct fk_keyset_builder *builder,
                                const struct fk_key_public *public, EVP_PKEY *pkey,
                                const struct fk_token_place *place)
{
    uint8_t bytes[DER_MAX];
    size_t len;
    int err = fk_token_key_encode(pkey, place, bytes, sizeof bytes, &len);

    if (err == FK_OK)
        err = add_record(builder, KIND_TOKEN, public, bytes, len);
    fk_wipe(bytes, sizeof bytes);
    return err;
}

int fk_keyset_builder_token(struct fk_keyset_builder *builder,
                            const struct fk_token_settings *settings)
{
    struct fk_secret *token;
    int err = fk_token_settings_encode(settings, &token);

    if (err != FK_OK)
        return err;
    fk_secret_free(builder->token);
    builder->token = token;
    return FK_OK;
}

int fk_keyset_builder_audit(struct fk_keyset_builder *builder, const uint8_t secret[32])
{
    memcpy(builder->audit, secret, sizeof builder->audit);
    builder->has_audit = true;
    return FK_OK;
}

void fk_keyset_builder_lend_key(struct fk_keyset_builder *builder, const uint8_t key[32])
{
    memcpy(builder->lend_key, key, sizeof builder->lend_key);
    builder->has_lend_key = true;
}

int fk_keyset_builder_edge(struct fk_keyset_builder *builder, const struct fk_keyset_edge *edge)
{
    return fk_edges_builder_add(&builder->edges, edge);
}

int fk_keyset_builder_signed(struct fk_keyset_builder *builder, const char *server, bool only)
{
    return fk_edges_builder_rule(&builder->edges, server, only);
}

static int write_all(int fd, const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);

        if (n <= 0)
            return FK_ERR_SYS;
        data += n;
        len -= (size_t)n;
    }
    return FK_OK;
}

static int write_token(int fd, const struct fk_secret *token)
{
    const uint8_t present = token != NULL ? 1 : 0;
    int err = write_all(fd, &present, 1);

    if (err != FK_OK || token == NULL)
        return err;
    return write_all(fd, fk_secret_bytes(token), fk_secret_len(token));
}

int fk_keyset_builder_seal(const struct fk_keyset_builder *builder, int *ret_fd)
{
    uint8_t head[HEAD_SIZE], edges[FK_EDGES_HEAD];
    struct fk_writer writer;
    int err, fd;

    fk_writer_init(&writer, head, sizeof head);
    fk_writer_bytes(&writer, BUNDLE_MAGIC, MAGIC_SIZE);
    fk_writer_u32(&writer, builder->count);
    fk_writer_u8(&writer, builder->has_lend_key ? 1 : 0);
    fk_writer_bytes(&writer, builder->lend_key, sizeof builder->lend_key);
    fk_writer_u8(&writer, builder->has_audit ? 1 : 0);
    fk_writer_bytes(&writer, builder->audit, sizeof builder->audit);
    fd = memfd_create("farkey-keys", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        err = FK_ERR_SYS;
        goto out;
    }
    if ((err = write_all(fd, head, sizeof head)) != FK_OK ||
        (err = write_all(fd, fk_buf_data(&builder->records), fk_buf_len(&builder->records))) !=
            FK_OK ||
        (err = fk_edges_head(&builder->edges, edges)) != FK_OK ||
        (err = write_all(fd, edges, sizeof edges)) != FK_OK ||
        (err = write_all(fd, fk_buf_data(&builder->edges.records),
                         fk_buf_len(&builder->edges.records))) != FK_OK ||
        (err = write_token(fd, builder->token)) != FK_OK)
        goto out;
    if (fcntl(fd, F_ADD_SEALS, SEALS) != 0) {
        err = FK_ERR_SYS;
        goto out;
    }
    *ret_fd = fd;
    fd = -1; /* moved */
out:
    fk_wipe(head, sizeof head);
    if (fd >= 0)
        close(fd);
    return err;
}

/* --- the table --- */

struct fk_keyset {
    struct fk_keyset_entry *entries; /* in the secure heap: they hold the reject secrets */
    size_t count;
    uint32_t *index;           /* hash by SKI, open addressing: entry + 1, 0 empty */
    size_t mask;               /* its size - 1, a power of two at least twice the count */
    uint8_t *audit, *lend_key; /* in the secure heap, NULL: none */
    struct fk_edges edges;
    struct fk_token_settings *token; /* in the secure heap, NULL: none */
};

static size_t hash_ski(const uint8_t ski[20])
{
    size_t hash;

    memcpy(&hash, ski, sizeof hash); /* SHA-1: any bytes of it are evenly spread */
    return hash;
}

/* The cell of this SKI: its entry's, or the empty one where it belongs. */
static uint32_t *find_cell(const struct fk_keyset *set, const uint8_t ski[20])
{
    size_t at = hash_ski(ski) & set->mask;

    while (set->index[at] != 0 &&
           memcmp(set->entries[set->index[at] - 1].public.ski, ski, FK_SKI_SIZE) != 0)
        at = (at + 1) & set->mask;
    return &set->index[at];
}

const struct fk_keyset_entry *fk_keyset_find(const struct fk_keyset *set, const uint8_t ski[20])
{
    uint32_t cell = *find_cell(set, ski);

    return cell == 0 ? NULL : &set->entries[cell - 1];
}

const struct fk_keyset_entry *fk_keyset_at(const struct fk_keyset *set, size_t index)
{
    return &set->entries[index];
}

size_t fk_keyset_count(const struct fk_keyset *set)
{
    return set->count;
}

const uint8_t *fk_keyset_audit(const struct fk_keyset *set)
{
    return set->audit;
}

const struct fk_keyset_edge *fk_keyset_edge(const struct fk_keyset *set, const char *name,
                                            size_t len)
{
    return fk_edges_find(&set->edges, name, len);
}

const uint8_t *fk_keyset_lend_key(const struct fk_keyset *set)
{
    return set->lend_key;
}

bool fk_keyset_has_signing(const struct fk_keyset *set)
{
    return set->edges.signing > 0;
}

bool fk_keyset_signed_only(const struct fk_keyset *set)
{
    return set->edges.only;
}

const struct fk_token_settings *fk_keyset_token(const struct fk_keyset *set)
{
    return set->token;
}

const char *fk_keyset_server(const struct fk_keyset *set)
{
    return set->edges.server;
}

void fk_keyset_free(struct fk_keyset *set)
{
    if (set == NULL)
        return;
    fk_edges_fini(&set->edges);
    for (size_t i = 0; set->entries != NULL && i < set->count; i++) {
        EVP_PKEY_free(set->entries[i].pkey);
        OPENSSL_secure_clear_free(set->entries[i].share_bytes, set->entries[i].share_len);
        OPENSSL_secure_clear_free(set->entries[i].place, sizeof *set->entries[i].place);
    }
    OPENSSL_secure_clear_free(set->token, sizeof *set->token);
    OPENSSL_secure_clear_free(set->entries, (set->count + 1) * sizeof *set->entries);
    OPENSSL_secure_clear_free(set->audit, 32);
    OPENSSL_secure_clear_free(set->lend_key, 32);
    free(set->index);
    free(set);
}

/* --- loading --- */

/*
 * OpenSSL's secure heap: RSA-4096 needs 2 KiB for d, p, q, dp, dq and qinv, twice that while it is
 * decoded, and the heap rounds up to powers of two; the rest is for numbers of operations.
 */
static int start_secure_heap(size_t n_keys)
{
    size_t need = 256 * 1024 + n_keys * 8192, size = 65536;

    if (CRYPTO_secure_malloc_initialized())
        return FK_OK;
    while (size < need)
        size *= 2;
    return CRYPTO_secure_malloc_init(size, 32) == 0 ? FK_ERR_NOMEM : FK_OK;
}

/*
 * HMAC-SHA256(d, label): whoever holds the private key, and nobody else, can work it out. The
 * number d is written with the modulus's length, so that its own length does not matter.
 */
int fk_keyset_reject_secret(EVP_PKEY *pkey, uint8_t ret[32])
{
    static const uint8_t label[] = "farkey implicit rejection 1";
    int size = EVP_PKEY_get_size(pkey);
    int err = FK_ERR_CRYPTO;
    uint8_t bytes[512];
    BIGNUM *d = NULL;

    if (size > (int)sizeof bytes || EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_D, &d) != 1)
        return FK_ERR_CRYPTO;
    if (BN_bn2binpad(d, bytes, size) == size &&
        HMAC(EVP_sha256(), bytes, size, label, sizeof label - 1, ret, NULL) != NULL)
        err = FK_OK;
    BN_clear_free(d);
    fk_wipe(bytes, sizeof bytes);
    return err;
}

static int load_name(struct fk_reader *name, char ret[64])
{
    size_t len = name->left;

    if (len >= 64)
        return FK_ERR_FORMAT;
    memset(ret, 0, 64);
    return fk_reader_copy(name, ret, len);
}

static int load_share(struct fk_keyset_entry *entry, struct fk_reader bytes)
{
    uint8_t *copy = OPENSSL_secure_malloc(bytes.left);
    struct fk_reader reader;
    int err;

    if (copy == NULL)
        return FK_ERR_NOMEM;
    fk_reader_init(&reader, copy, bytes.left);
    memcpy(copy, bytes.next, bytes.left);
    if ((err = fk_share_decode(reader, &entry->share)) != FK_OK ||
        (err = fk_share_public(&entry->share, &entry->pkey)) != FK_OK) {
        OPENSSL_secure_clear_free(copy, bytes.left);
        return err;
    }
    entry->is_split = true;
    entry->share_bytes = copy; /* moved */
    entry->share_len = bytes.left;
    if (entry->share.reject.left > 0)
        memcpy(entry->reject_secret, entry->share.reject.next, sizeof entry->reject_secret);
    return FK_OK;
}

static int load_private(struct fk_keyset_entry *entry, uint8_t kind, struct fk_reader bytes)
{
    switch (kind) {
    case KIND_KEY:
        return fk_key_decode(bytes.next, bytes.left, NULL, &entry->pkey);
    case KIND_SHARE:
        return bytes.left > 0 ? load_share(entry, bytes) : FK_ERR_FORMAT;
    case KIND_TOKEN:
        entry->in_token = true;
        return fk_token_key_decode(bytes, &entry->pkey, &entry->place);
    default:
        return FK_ERR_FORMAT;
    }
}

/* One record into set->entries[set->count]. */
static int load_key(struct fk_keyset *set, struct fk_reader *reader)
{
    struct fk_keyset_entry *entry = &set->entries[set->count];
    struct fk_reader name, bytes;
    uint16_t permissions;
    uint32_t *cell;
    uint8_t kind;
    int err;

    if (fk_reader_u8(reader, &kind) != FK_OK || fk_reader_u16(reader, &permissions) != FK_OK ||
        fk_reader_vec8(reader, &name) != FK_OK || fk_reader_vec16(reader, &bytes) != FK_OK)
        return FK_ERR_FORMAT;
    if ((err = load_private(entry, kind, bytes)) != FK_OK)
        return err;
    set->count++; /* from here on fk_keyset_free() frees it */
    if ((err = fk_key_describe(entry->pkey, &entry->public)) != FK_OK ||
        (err = load_name(&name, entry->public.name)) != FK_OK)
        return err;
    entry->public.permissions = permissions;
    if (entry->public.type == FK_KEY_RSA && kind == KIND_KEY &&
        (err = fk_keyset_reject_secret(entry->pkey, entry->reject_secret)) != FK_OK)
        return err;
    cell = find_cell(set, entry->public.ski);
    if (*cell != 0)
        return FK_ERR_DUPLICATE;
    *cell = (uint32_t)set->count;
    return FK_OK;
}

static int allocate_table(struct fk_keyset *set, size_t count)
{
    size_t size = 16;

    while (size < 2 * count)
        size *= 2;
    set->mask = size - 1;
    set->index = calloc(size, sizeof *set->index);
    set->entries = OPENSSL_secure_zalloc((count + 1) * sizeof *set->entries);
    return set->index == NULL || set->entries == NULL ? FK_ERR_NOMEM : FK_OK;
}

/* One of the head's, which may be absent. */
static int load_secret(struct fk_reader *reader, bool present, uint8_t **ret)
{
    if (!present)
        return fk_reader_skip(reader, 32) == FK_OK ? FK_OK : FK_ERR_FORMAT;
    *ret = OPENSSL_secure_malloc(32);
    if (*ret == NULL)
        return FK_ERR_NOMEM;
    return fk_reader_copy(reader, *ret, 32) == FK_OK ? FK_OK : FK_ERR_FORMAT;
}

static int load_flag(struct fk_reader *reader, bool *ret)
{
    uint8_t flag;

    if (fk_reader_u8(reader, &flag) != FK_OK || flag > 1)
        return FK_ERR_FORMAT;
    *ret = flag != 0;
    return FK_OK;
}

/* The head's secrets, and memory for all: a signer that borrows will have more keys than these. */
static int load_head(struct fk_keyset *set, struct fk_reader *reader, uint32_t count)
{
    bool present;
    int err;

    if ((err = load_flag(reader, &present)) != FK_OK ||
        (err = start_secure_heap(count + (present ? FK_SIGNER_LENT_MAX : 0))) != FK_OK ||
        (err = load_secret(reader, present, &set->lend_key)) != FK_OK ||
        (err = load_flag(reader, &present)) != FK_OK ||
        (err = load_secret(reader, present, &set->audit)) != FK_OK)
        return err;
    return allocate_table(set, count);
}

static int load_token(struct fk_keyset *set, struct fk_reader *reader)
{
    uint8_t present;

    if (fk_reader_u8(reader, &present) != FK_OK || present > 1)
        return FK_ERR_FORMAT;
    if (present == 0)
        return FK_OK;
    set->token = OPENSSL_secure_zalloc(sizeof *set->token);
    return set->token == NULL ? FK_ERR_NOMEM : fk_token_settings_decode(reader, set->token);
}

static int load_bundle(struct fk_reader *reader, struct fk_keyset *set)
{
    uint8_t magic[MAGIC_SIZE];
    uint32_t count;
    int err;

    if (fk_reader_copy(reader, magic, sizeof magic) != FK_OK ||
        memcmp(magic, BUNDLE_MAGIC, sizeof magic) != 0 || fk_reader_u32(reader, &count) != FK_OK ||
        count > FK_KEYS_MAX)
        return FK_ERR_FORMAT;
    if ((err = load_head(set, reader, count)) != FK_OK)
        return err;
    for (uint32_t i = 0; i < count; i++)
        if ((err = load_key(set, reader)) != FK_OK)
            return err;
    if ((err = fk_edges_load(&set->edges, reader)) != FK_OK ||
        (err = load_token(set, reader)) != FK_OK)
        return err;
    return fk_reader_end(reader) == FK_OK ? FK_OK : FK_ERR_FORMAT;
}

int fk_keyset_open(int fd, struct fk_keyset **ret)
{
    struct fk_keyset *set = NULL;
    struct fk_reader reader;
    struct stat st;
    int err, seals;
    size_t size;
    void *map;

    /* Unsealed memory could change under the reader, or shrink and fault. */
    if ((seals = fcntl(fd, F_GET_SEALS)) < 0 || (seals & SEALS) != SEALS || fstat(fd, &st) != 0)
        return FK_ERR_FORMAT;
    if (st.st_size < HEAD_SIZE || (uint64_t)st.st_size > BUNDLE_MAX)
        return FK_ERR_FORMAT;
    size = (size_t)st.st_size;
    map = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED)
        return errno == ENOMEM ? FK_ERR_NOMEM : FK_ERR_SYS;
    set = calloc(1, sizeof *set);
    if (set == NULL) {
        err = FK_ERR_NOMEM;
        goto out;
    }
    fk_reader_init(&reader, map, size);
    if ((err = load_bundle(&reader, set)) != FK_OK)
        goto out;
    *ret = set;
    set = NULL; /* moved */
out:
    fk_keyset_free(set);
    munmap(map, size);
    return err;
}
