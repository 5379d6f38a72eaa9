/* The end of TLS 1.2 handshakes: see finish12.h. */
#include "tls/finish12.h"

#include "base/err.h"
#include "base/secret.h"
#include "tls/session_keys.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_HANDSHAKE 22

/* --- the transcript --- */

/* Which hash counts is known with the suite only. */
struct fk_transcript12 {
    EVP_MD_CTX *sha256, *sha384;
};

int fk_transcript12_new(struct fk_transcript12 **ret)
{
    struct fk_transcript12 *transcript = calloc(1, sizeof *transcript);
    int err = FK_ERR_NOMEM;

    if (transcript != NULL && (transcript->sha256 = EVP_MD_CTX_new()) != NULL &&
        (transcript->sha384 = EVP_MD_CTX_new()) != NULL) {
        if (EVP_DigestInit_ex(transcript->sha256, EVP_sha256(), NULL) == 1 &&
            EVP_DigestInit_ex(transcript->sha384, EVP_sha384(), NULL) == 1) {
            *ret = transcript;
            return FK_OK;
        }
        err = FK_ERR_CRYPTO;
    }
    fk_transcript12_free(transcript);
    return err;
}

void fk_transcript12_free(struct fk_transcript12 *transcript)
{
    if (transcript == NULL)
        return;
    EVP_MD_CTX_free(transcript->sha256);
    EVP_MD_CTX_free(transcript->sha384);
    free(transcript);
}

int fk_transcript12_message(struct fk_transcript12 *transcript, const void *message, size_t len)
{
    return EVP_DigestUpdate(transcript->sha256, message, len) == 1 &&
                   EVP_DigestUpdate(transcript->sha384, message, len) == 1
               ? FK_OK
               : FK_ERR_CRYPTO;
}

int fk_transcript12_records(struct fk_transcript12 *transcript, struct fk_reader records)
{
    struct fk_reader fragment;
    uint16_t version;
    uint8_t type;
    int err;

    while (records.left > 0) {
        if ((err = fk_reader_u8(&records, &type)) != FK_OK ||
            (err = fk_reader_u16(&records, &version)) != FK_OK ||
            (err = fk_reader_vec16(&records, &fragment)) != FK_OK)
            return err;
        if (type != RECORD_HANDSHAKE)
            return FK_ERR_UNEXPECTED;
        if ((err = fk_transcript12_message(transcript, fragment.next, fragment.left)) != FK_OK)
            return err;
    }
    return FK_OK;
}

/* The hash of what has passed; more may pass. */
static int hash_now(const EVP_MD_CTX *running, uint8_t ret[EVP_MAX_MD_SIZE], unsigned *ret_len)
{
    EVP_MD_CTX *copy = EVP_MD_CTX_new();
    bool ok = copy != NULL && EVP_MD_CTX_copy_ex(copy, running) == 1 &&
              EVP_DigestFinal_ex(copy, ret, ret_len) == 1;

    EVP_MD_CTX_free(copy);
    return ok ? FK_OK : FK_ERR_CRYPTO;
}

int fk_transcript12_finished(const struct fk_transcript12 *transcript, const struct fk_suite *suite,
                             const uint8_t master[FK_MASTER12], bool client,
                             uint8_t ret[FK_FINISHED12])
{
    const EVP_MD_CTX *running =
        strcmp(suite->hash, "SHA384") == 0 ? transcript->sha384 : transcript->sha256;
    uint8_t hash[EVP_MAX_MD_SIZE];
    unsigned len;
    int err = hash_now(running, hash, &len);

    if (err != FK_OK)
        return err;
    return fk_tls12_prf(suite, master, client ? "client finished" : "server finished",
                        (struct fk_reader){hash, len}, ret, FK_FINISHED12);
}

/* --- the session --- */

/* Tags of DER (X.690). */
enum { INTEGER = 0x02, OCTETS = 0x04, SEQUENCE = 0x30, EXPLICIT = 0xA0 };

/* Fields of OpenSSL's SSL_SESSION_ASN1 that are tagged, and its numbers. */
enum {
    FIELD_TIME = 1,
    FIELD_TIMEOUT = 2,
    FIELD_PEER = 3,
    FIELD_CONTEXT = 4,
    FIELD_HINT = 9,
    FIELD_FLAGS = 13,
    STRUCTURE_VERSION = 1,
    FLAG_EXTENDED_MASTER = 1,
};

static void put_octets(struct fk_writer *out, const void *data, size_t len)
{
    fk_writer_u8(out, OCTETS);
    fk_writer_vec8(out, data, len); /* below 128 bytes */
}

/* In as few bytes as it takes, the first below 0x80. */
static void put_integer(struct fk_writer *out, uint64_t value)
{
    size_t bytes = 1;

    while (bytes < 8 && value >> (8 * bytes - 1) != 0)
        bytes++;
    fk_writer_u8(out, INTEGER);
    fk_writer_u8(out, (uint8_t)bytes);
    while (bytes-- > 0)
        fk_writer_u8(out, (uint8_t)(value >> (8 * bytes)));
}

static void put_tagged_integer(struct fk_writer *out, uint8_t field, uint64_t value)
{
    size_t mark;

    fk_writer_u8(out, (uint8_t)(EXPLICIT + field));
    mark = fk_writer_begin8(out);
    put_integer(out, value);
    fk_writer_end8(out, mark);
}

/* 0x81 and 0x82: the length is in a byte, or two. */
static void put_peer(struct fk_writer *out, struct fk_reader peer)
{
    fk_writer_u8(out, EXPLICIT + FIELD_PEER);
    fk_writer_u8(out, 0x82);
    fk_writer_vec16(out, peer.next, peer.left);
}

static void put_context(struct fk_writer *out, const uint8_t *context)
{
    size_t mark;

    fk_writer_u8(out, EXPLICIT + FIELD_CONTEXT);
    mark = fk_writer_begin8(out);
    put_octets(out, context, 32);
    fk_writer_end8(out, mark);
}

void fk_session12_encode(const struct fk_session12 *session, struct fk_writer *out)
{
    const uint8_t suite[] = {(uint8_t)(session->suite >> 8), (uint8_t)session->suite};
    const bool is_long = session->peer.left > 0;
    size_t mark;

    fk_writer_u8(out, SEQUENCE);
    fk_writer_u8(out, is_long ? 0x82 : 0x81); /* 128 and more, as master and context are there */
    mark = is_long ? fk_writer_begin16(out) : fk_writer_begin8(out);
    put_integer(out, STRUCTURE_VERSION);
    put_integer(out, FK_TLS12);
    put_octets(out, suite, sizeof suite);
    put_octets(out, session->id.next, session->id.left);
    put_octets(out, session->master, FK_MASTER12);
    put_tagged_integer(out, FIELD_TIME, session->made_s);
    put_tagged_integer(out, FIELD_TIMEOUT, session->lifetime_s);
    if (is_long)
        put_peer(out, session->peer);
    put_context(out, session->context);
    put_tagged_integer(out, FIELD_HINT, session->lifetime_s);
    if (session->extended_master_secret)
        put_tagged_integer(out, FIELD_FLAGS, FLAG_EXTENDED_MASTER);
    if (is_long)
        fk_writer_end16(out, mark);
    else
        fk_writer_end8(out, mark);
}

/* --- its ticket --- */

/* name 16 | IV 16 | ciphertext, all of them under the MAC that follows. */
static int seal_ticket(struct fk_ticket_site *site, struct fk_reader session,
                       EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, struct fk_writer *out)
{
    uint8_t ticket[FK_TICKET12_MAX], *at = ticket + 32;
    size_t mac_len;
    int len, last, sealed;

    if (session.left > FK_SESSION12_MAX)
        return FK_ERR_LIMIT;
    if ((sealed = fk_ticket_site_seal(site, ticket, ticket + 16, cipher, mac)) <= 0)
        return sealed == 0 ? FK_ERR_NOT_FOUND : FK_ERR_CRYPTO;
    if (EVP_EncryptUpdate(cipher, at, &len, session.next, (int)session.left) != 1 ||
        EVP_EncryptFinal_ex(cipher, at + len, &last) != 1)
        return FK_ERR_CRYPTO;
    at += len + last;
    if (EVP_MAC_update(mac, ticket, (size_t)(at - ticket)) != 1 ||
        EVP_MAC_final(mac, at, &mac_len, sizeof ticket - (size_t)(at - ticket)) != 1)
        return FK_ERR_CRYPTO;
    fk_writer_bytes(out, ticket, (size_t)(at - ticket) + mac_len);
    return FK_OK;
}

int fk_session12_ticket(struct fk_ticket_site *site, struct fk_reader session,
                        struct fk_writer *out)
{
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    EVP_MAC_CTX *mac = EVP_MAC_CTX_new(fk_suite_hmac());
    int err = FK_ERR_NOMEM;

    if (cipher != NULL && mac != NULL)
        err = seal_ticket(site, session, cipher, mac, out);
    EVP_CIPHER_CTX_free(cipher);
    EVP_MAC_CTX_free(mac);
    return err;
}
