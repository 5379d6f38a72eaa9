/* Tokens and their keys in a key bundle: see keyset_token.h. */
#include "signer/keyset_token.h"

#include "base/err.h"
#include "base/writer.h"
#include "signer/keyset.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <string.h>

/* --- the token --- */

static void put_text(struct fk_writer *writer, const char *text, size_t size)
{
    fk_writer_vec16(writer, text, strnlen(text, size));
}

/* Text of fewer than `size` bytes, without NUL. */
static int get_text(struct fk_reader *reader, char *ret, size_t size)
{
    struct fk_reader text;

    if (fk_reader_vec16(reader, &text) != FK_OK || text.left >= size ||
        memchr(text.next, '\0', text.left) != NULL)
        return FK_ERR_FORMAT;
    ret[text.left] = '\0';
    return fk_reader_copy(&text, ret, text.left);
}

int fk_token_settings_encode(const struct fk_token_settings *settings, struct fk_secret **ret)
{
    uint8_t bytes[FK_TOKEN_SETTINGS_MAX];
    struct fk_writer writer;
    size_t len;
    int err;

    fk_writer_init(&writer, bytes, sizeof bytes);
    put_text(&writer, settings->name, sizeof settings->name);
    fk_writer_u8(&writer, (uint8_t)settings->type);
    fk_writer_u16(&writer, settings->sessions);
    fk_writer_u16(&writer, settings->queue);
    fk_writer_u64(&writer, settings->deadline_us);
    put_text(&writer, settings->module, sizeof settings->module);
    put_text(&writer, settings->label, sizeof settings->label);
    put_text(&writer, settings->serial, sizeof settings->serial);
    fk_writer_u8(&writer, settings->has_slot ? 1 : 0);
    fk_writer_u64(&writer, settings->slot);
    put_text(&writer, settings->tcti, sizeof settings->tcti);
    fk_writer_vec8(&writer, settings->pin, settings->pin_len);
    fk_writer_u8(&writer, (uint8_t)settings->n_paths);
    for (size_t i = 0; i < settings->n_paths; i++)
        put_text(&writer, settings->paths[i], sizeof settings->paths[i]);
    if ((err = fk_writer_end(&writer, &len)) == FK_OK)
        err = fk_secret_dup(bytes, len, ret);
    fk_wipe(bytes, sizeof bytes);
    return err;
}

static int get_pin(struct fk_reader *reader, struct fk_token_settings *ret)
{
    struct fk_reader pin;

    if (fk_reader_vec8(reader, &pin) != FK_OK || pin.left > sizeof ret->pin)
        return FK_ERR_FORMAT;
    ret->pin_len = pin.left;
    return fk_reader_copy(&pin, ret->pin, pin.left);
}

static int get_paths(struct fk_reader *reader, struct fk_token_settings *ret)
{
    uint8_t n;
    int err = FK_OK;

    if (fk_reader_u8(reader, &n) != FK_OK || n > FK_TOKEN_PATHS_MAX)
        return FK_ERR_FORMAT;
    ret->n_paths = n;
    for (size_t i = 0; err == FK_OK && i < n; i++)
        err = get_text(reader, ret->paths[i], sizeof ret->paths[i]);
    return err;
}

static int get_how(struct fk_reader *reader, struct fk_token_settings *ret)
{
    uint8_t type;

    if (fk_reader_u8(reader, &type) != FK_OK || type < FK_TOKEN_PKCS11 || type > FK_TOKEN_TPM2 ||
        fk_reader_u16(reader, &ret->sessions) != FK_OK || ret->sessions == 0 ||
        ret->sessions > FK_TOKEN_SESSIONS_MAX || fk_reader_u16(reader, &ret->queue) != FK_OK ||
        ret->queue == 0 || ret->queue > FK_TOKEN_QUEUE_MAX ||
        fk_reader_u64(reader, &ret->deadline_us) != FK_OK)
        return FK_ERR_FORMAT;
    ret->type = (enum fk_token_type)type;
    return FK_OK;
}

int fk_token_settings_decode(struct fk_reader *reader, struct fk_token_settings *ret)
{
    uint8_t has_slot;

    if (get_text(reader, ret->name, sizeof ret->name) != FK_OK || get_how(reader, ret) != FK_OK ||
        get_text(reader, ret->module, sizeof ret->module) != FK_OK ||
        get_text(reader, ret->label, sizeof ret->label) != FK_OK ||
        get_text(reader, ret->serial, sizeof ret->serial) != FK_OK ||
        fk_reader_u8(reader, &has_slot) != FK_OK || has_slot > 1 ||
        fk_reader_u64(reader, &ret->slot) != FK_OK ||
        get_text(reader, ret->tcti, sizeof ret->tcti) != FK_OK || get_pin(reader, ret) != FK_OK)
        return FK_ERR_FORMAT;
    ret->has_slot = has_slot == 1;
    return get_paths(reader, ret);
}

/* --- its keys --- */

int fk_token_key_encode(EVP_PKEY *pkey, const struct fk_token_place *place, uint8_t *ret,
                        size_t size, size_t *ret_len)
{
    unsigned char *spki = NULL;
    int len = i2d_PUBKEY(pkey, &spki);
    struct fk_writer writer;

    if (len <= 0) {
        ERR_clear_error();
        return FK_ERR_CRYPTO;
    }
    fk_writer_init(&writer, ret, size);
    fk_writer_vec16(&writer, spki, (size_t)len);
    fk_writer_vec8(&writer, place->label, strnlen(place->label, sizeof place->label));
    fk_writer_vec8(&writer, place->id, place->id_len);
    fk_writer_u32(&writer, place->handle);
    fk_writer_vec16(&writer, place->file, place->file_len);
    OPENSSL_free(spki);
    return fk_writer_end(&writer, ret_len);
}

static int get_place(struct fk_reader *reader, struct fk_token_place *ret)
{
    struct fk_reader label, id, file;

    if (fk_reader_vec8(reader, &label) != FK_OK || label.left >= sizeof ret->label ||
        fk_reader_vec8(reader, &id) != FK_OK || id.left > sizeof ret->id ||
        fk_reader_u32(reader, &ret->handle) != FK_OK || fk_reader_vec16(reader, &file) != FK_OK ||
        file.left > sizeof ret->file)
        return FK_ERR_FORMAT;
    ret->id_len = id.left;
    ret->file_len = file.left;
    if (fk_reader_copy(&label, ret->label, label.left) != FK_OK ||
        fk_reader_copy(&id, ret->id, id.left) != FK_OK ||
        fk_reader_copy(&file, ret->file, file.left) != FK_OK)
        return FK_ERR_FORMAT;
    return fk_reader_end(reader) == FK_OK ? FK_OK : FK_ERR_FORMAT;
}

static int get_spki(struct fk_reader spki, EVP_PKEY **ret)
{
    const unsigned char *at = spki.next;
    EVP_PKEY *key = spki.left == 0 ? NULL : d2i_PUBKEY(NULL, &at, (long)spki.left);
    int err = FK_ERR_FORMAT;

    ERR_clear_error();
    if (key == NULL || at != spki.next + spki.left || (err = fk_key_check(key)) != FK_OK) {
        EVP_PKEY_free(key);
        return err;
    }
    *ret = key;
    return FK_OK;
}

int fk_token_key_decode(struct fk_reader bytes, EVP_PKEY **ret_pkey,
                        struct fk_token_place **ret_place)
{
    struct fk_token_place *place = OPENSSL_secure_zalloc(sizeof *place);
    EVP_PKEY *pkey = NULL;
    struct fk_reader spki;
    int err = FK_ERR_FORMAT;

    if (place == NULL)
        return FK_ERR_NOMEM;
    if (fk_reader_vec16(&bytes, &spki) == FK_OK && (err = get_place(&bytes, place)) == FK_OK &&
        (err = get_spki(spki, &pkey)) == FK_OK) {
        *ret_pkey = pkey;
        *ret_place = place;
        return FK_OK;
    }
    OPENSSL_secure_clear_free(place, sizeof *place);
    return err;
}
