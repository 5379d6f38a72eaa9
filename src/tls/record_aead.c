/*
 * Records under AEADs: TLS 1.3 (RFC 8446 section 5.2), TLS 1.2 with GCM (RFC 5288) and with
 * ChaCha20-Poly1305 (RFC 7905). No nonce is used twice: it is made of the sequence number, which
 * only grows (record.c); asserted where nonces are made.
 */
#include "tls/record_priv.h"

#include "base/err.h"

#include <assert.h>
#include <string.h>

#define EXPLICIT  8 /* bytes of a nonce that travel: TLS 1.2, GCM */
#define AAD12_LEN 13
#define AAD_MAX   13

static bool is_tls13(const struct fk_record *record)
{
    return record->keys->suite->version == FK_TLS13;
}

/* Bytes between header and ciphertext. */
static size_t explicit_len(const struct fk_record *record)
{
    const struct fk_suite *suite = record->keys->suite;

    return suite->protection == FK_PROTECT_GCM && suite->version == FK_TLS12 ? EXPLICIT : 0;
}

static size_t prefix(const struct fk_record *record)
{
    return FK_RECORD_HEAD + explicit_len(record);
}

static size_t overhead(const struct fk_record *record)
{
    return prefix(record) + FK_AEAD_TAG + (is_tls13(record) ? 1 : 0);
}

/* --- what a cipher is fed --- */

/* `number`: the sequence number, or what the peer sent in its place (GCM in TLS 1.2). */
static void make_nonce(const struct fk_record *record, const struct fk_traffic_keys *keys,
                       const uint8_t number[8], uint8_t ret[FK_AEAD_NONCE])
{
    size_t fixed = record->keys->suite->iv_len;

    memcpy(ret, keys->iv, fixed);
    if (fixed < FK_AEAD_NONCE) {
        memcpy(ret + fixed, number, EXPLICIT);
        return;
    }
    for (size_t i = 0; i < 8; i++)
        ret[FK_AEAD_NONCE - 8 + i] ^= number[i];
}

/* TLS 1.3: the header as it is on the wire; TLS 1.2: number, type, version, length of content. */
static size_t make_aad(const struct fk_record *record, const uint8_t number[8],
                       const uint8_t head[FK_RECORD_HEAD], size_t len, uint8_t ret[AAD_MAX])
{
    if (is_tls13(record)) {
        memcpy(ret, head, FK_RECORD_HEAD);
        return FK_RECORD_HEAD;
    }
    memcpy(ret, number, 8);
    memcpy(ret + 8, head, 3);
    fk_put_u16(ret + 11, len);
    return AAD12_LEN;
}

/* A direction's context, made when it is needed, and a record begun. FK_ERR_NOMEM, FK_ERR_CRYPTO.
 */
static int start(const struct fk_record *record, struct fk_record_half *half,
                 const uint8_t nonce[FK_AEAD_NONCE], const uint8_t *aad, size_t aad_len)
{
    int err;

    if (half->aead == NULL && (err = fk_aead_new(record->keys->suite, half->keys->key,
                                                 half == &record->write, &half->aead)) != FK_OK)
        return err;
    return fk_aead_start(half->aead, nonce, aad, aad_len) ? FK_OK : FK_ERR_CRYPTO;
}

/* --- sealing --- */

static bool encrypt_bytes(struct fk_aead *aead, const uint8_t *bytes, size_t len, uint8_t **at)
{
    if (!fk_aead_step(aead, *at, bytes, len))
        return false;
    *at += len;
    return true;
}

static bool encrypt_pieces(struct fk_aead *aead, struct fk_pieces *pieces, size_t len, uint8_t **at)
{
    size_t part;

    for (; len > 0; len -= part) {
        const uint8_t *bytes = fk_pieces_next(pieces, len, &part);

        if (!encrypt_bytes(aead, bytes, part, at))
            return false;
    }
    return true;
}

static bool in_place(const struct fk_pieces *pieces, size_t len, const uint8_t *at)
{
    return len > 0 && (const uint8_t *)pieces->first->iov_base + pieces->done == at &&
           pieces->first->iov_len - pieces->done == len;
}

/* In place the type is put behind the content, where the tag's room is, and both are one piece. */
static bool encrypt_content(const struct fk_record *record, uint8_t type, struct fk_pieces *pieces,
                            size_t len, uint8_t **at)
{
    struct fk_aead *aead = record->write.aead;

    if (!is_tls13(record))
        return encrypt_pieces(aead, pieces, len, at);
    if (!in_place(pieces, len, *at))
        return encrypt_pieces(aead, pieces, len, at) && encrypt_bytes(aead, &type, 1, at);
    (*at)[len] = type;
    return encrypt_bytes(aead, *at, len + 1, at);
}

static int encrypt(struct fk_record *record, uint8_t type, struct fk_pieces *pieces, size_t len,
                   uint8_t *out, size_t *ret_len)
{
    struct fk_traffic_keys *keys = record->write.keys;
    size_t before = explicit_len(record), total = overhead(record) + len, aad_len;
    uint8_t number[8], nonce[FK_AEAD_NONCE], aad[AAD_MAX], *at = out + prefix(record);
    int err;

    assert(keys->seq >= record->write.used); /* whatever has failed: never the same nonce again */
    record->write.used = keys->seq + 1;
    fk_put_u64(number, keys->seq);
    make_nonce(record, keys, number, nonce);
    out[0] = is_tls13(record) ? FK_CONTENT_APPLICATION : type;
    fk_put_u16(out + 1, FK_TLS12);
    fk_put_u16(out + 3, total - FK_RECORD_HEAD);
    memcpy(out + FK_RECORD_HEAD, number, before);
    aad_len = make_aad(record, number, out, len, aad);
    if ((err = start(record, &record->write, nonce, aad, aad_len)) != FK_OK)
        return err;
    if (!encrypt_content(record, type, pieces, len, &at) || !fk_aead_seal(record->write.aead, at))
        return FK_ERR_CRYPTO;
    *ret_len = total;
    return FK_OK;
}

/* --- opening --- */

/* TLSInnerPlaintext: content, type, zeros. RFC 8446 section 5.4. */
static int unpad(struct fk_cryptogram *gram)
{
    size_t len = gram->len;

    if (len > FK_RECORD_PLAIN_MAX + 1)
        return FK_ERR_LIMIT;
    while (len > 0 && gram->body[len - 1] == 0)
        len--;
    if (len == 0)
        return FK_ERR_UNEXPECTED;
    gram->type = gram->body[len - 1];
    gram->len = len - 1;
    return FK_OK;
}

/* The tag is right: what is in the record counts. */
static int accept(const struct fk_record *record, struct fk_cryptogram *gram)
{
    if (is_tls13(record))
        return unpad(gram);
    return gram->len > FK_RECORD_PLAIN_MAX ? FK_ERR_LIMIT : FK_OK;
}

/*
 * Step over what travels of the nonce, and begin to decrypt, unless that has been done. `gram`: the
 * body, as long as its header says, of which explicit_len() bytes at least are there. Then: the
 * ciphertext without its tag.
 */
static int begin(struct fk_record *record, struct fk_cryptogram *gram)
{
    struct fk_record_half *half = &record->read;
    size_t before = explicit_len(record), aad_len;
    uint8_t number[8], nonce[FK_AEAD_NONCE], aad[AAD_MAX];
    int err;

    fk_put_u64(number, half->keys->seq);
    make_nonce(record, half->keys, before > 0 ? gram->body : number, nonce);
    gram->body += before;
    gram->len -= before + FK_AEAD_TAG;
    if (half->begun)
        return FK_OK;
    aad_len = make_aad(record, number, gram->head, gram->len, aad);
    if ((err = start(record, half, nonce, aad, aad_len)) != FK_OK)
        return err;
    half->begun = true;
    half->early = 0;
    return FK_OK;
}

/* On to `len` bytes of the ciphertext, in place. */
static int advance(struct fk_record_half *half, uint8_t *body, size_t len)
{
    if (len <= half->early)
        return FK_OK;
    if (!fk_aead_step(half->aead, body + half->early, body + half->early, len - half->early))
        return FK_ERR_CRYPTO;
    half->early = len;
    return FK_OK;
}

/* The tag comes behind the ciphertext. */
static int finish(struct fk_record_half *half, const struct fk_cryptogram *gram)
{
    half->begun = false;
    return fk_aead_open(half->aead, gram->body + gram->len);
}

static int decrypt(struct fk_record *record, struct fk_cryptogram *gram)
{
    struct fk_record_half *half = &record->read;
    int err;

    if (gram->len < explicit_len(record) + FK_AEAD_TAG)
        return FK_ERR_VERIFY; /* RFC 8446 section 5.2: too short for its tag is a bad tag */
    if ((err = begin(record, gram)) != FK_OK ||
        (err = advance(half, gram->body, gram->len)) != FK_OK ||
        (err = finish(half, gram)) != FK_OK)
        return err;
    return accept(record, gram);
}

/* In TLS 1.3 the last byte is no content; what else is none shows when all is there. */
static int decrypt_early(struct fk_record *record, struct fk_cryptogram *gram, size_t there)
{
    size_t before = explicit_len(record), last = is_tls13(record) ? 1 : 0;
    int err;

    if (there < before || gram->len < before + FK_AEAD_TAG + last) {
        gram->len = 0;
        return FK_OK;
    }
    if ((err = begin(record, gram)) != FK_OK)
        return err;
    there -= before;
    err = advance(&record->read, gram->body, there < gram->len ? there : gram->len);
    gram->len -= last;
    return err;
}

const struct fk_record_ops fk_record_aead_ops = {.prefix = prefix,
                                                 .overhead = overhead,
                                                 .encrypt = encrypt,
                                                 .decrypt = decrypt,
                                                 .decrypt_early = decrypt_early};
