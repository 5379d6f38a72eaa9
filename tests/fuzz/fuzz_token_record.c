/* signer/keyset_token: the token and the keys of a token's bundle, by the first byte. */
#include "check.h"

#include "base/err.h"
#include "base/reader.h"
#include "signer/keyset_token.h"

#include <openssl/crypto.h>
#include <string.h>

static void try_key(struct fk_reader reader)
{
    struct fk_token_place *place;
    EVP_PKEY *key;
    uint8_t bytes[4096];
    size_t len;

    if (fk_token_key_decode(reader, &key, &place) != FK_OK)
        return;
    CHECK(place->id_len <= sizeof place->id && place->file_len <= sizeof place->file);
    CHECK(memchr(place->label, '\0', sizeof place->label) != NULL);
    CHECK(fk_token_key_encode(key, place, bytes, sizeof bytes, &len) == FK_OK);
    EVP_PKEY_free(key);
    OPENSSL_secure_clear_free(place, sizeof *place);
}

static void try_settings(struct fk_reader reader)
{
    struct fk_token_settings settings = {.n_paths = 0};
    struct fk_secret *bytes;
    struct fk_reader rest = reader;

    if (fk_token_settings_decode(&rest, &settings) != FK_OK)
        return;
    CHECK(fk_token_settings_encode(&settings, &bytes) == FK_OK);
    CHECK(fk_secret_len(bytes) == reader.left - rest.left);
    CHECK(fk_equal_ct(fk_secret_bytes(bytes), reader.next, fk_secret_len(bytes)));
    fk_secret_free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fk_reader reader;

    if (size == 0)
        return 0;
    fk_reader_init(&reader, data + 1, size - 1);
    if (data[0] == 0)
        try_settings(reader);
    else
        try_key(reader);
    return 0;
}
