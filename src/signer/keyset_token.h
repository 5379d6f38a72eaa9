/*
 * Keys in a token (an HSM or TPM) and the token itself, as a key bundle carries them: what the
 * token's process must know to open it and to find its keys. The bundle of such keys has no private
 * one; it has the token's PIN.
 *
 * A key in a token: SPKI<u16> | label<u8> | id<u8> | handle u32 | file<u16>.
 */
#ifndef FK_SIGNER_KEYSET_TOKEN_H
#define FK_SIGNER_KEYSET_TOKEN_H

#include "base/limits.h"
#include "base/reader.h"
#include "base/secret.h"

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fk_token_type { FK_TOKEN_PKCS11 = 1, FK_TOKEN_TPM2 };

struct fk_token_settings {
    char name[FK_NAME_MAX];
    enum fk_token_type type;
    uint16_t sessions;              /* operations at one time */
    uint16_t queue;                 /* operations that may wait */
    uint64_t deadline_us;           /* who has waited for so long is not waited for any more */
    char module[FK_TOKEN_TEXT_MAX]; /* PKCS#11: path */
    char label[33];                 /* of the token; empty: any */
    char serial[17];                /* empty: any */
    bool has_slot;
    uint64_t slot;
    char tcti[FK_TOKEN_TEXT_MAX];  /* TPM: how to reach it; empty: as the libraries find it */
    uint8_t pin[FK_TOKEN_PIN_MAX]; /* PIN of the user; authorisation value of a TPM's keys */
    size_t pin_len;                /* 0: none */
    size_t n_paths;
    char paths[FK_TOKEN_PATHS_MAX][FK_TOKEN_TEXT_MAX]; /* what the process may use, too */
};

/* Where in its token a key is. */
struct fk_token_place {
    char label[FK_TOKEN_LABEL_MAX];  /* CKA_LABEL; empty: any */
    uint8_t id[FK_TOKEN_ID_MAX];     /* CKA_ID */
    size_t id_len;                   /* 0: any */
    uint32_t handle;                 /* TPM: a persistent handle; 0: none */
    uint8_t file[FK_TOKEN_FILE_MAX]; /* TPM: a key file */
    size_t file_len;                 /* 0: none */
};

/* FK_ERR_LIMIT, FK_ERR_NOMEM, FK_ERR_CRYPTO. The caller frees *ret. */
int fk_token_settings_encode(const struct fk_token_settings *settings, struct fk_secret **ret);
/* To a struct of zeros. FK_ERR_FORMAT. */
int fk_token_settings_decode(struct fk_reader *reader, struct fk_token_settings *ret);

/* A key: its public half and its place. FK_ERR_LIMIT, FK_ERR_CRYPTO. */
int fk_token_key_encode(EVP_PKEY *pkey, const struct fk_token_place *place, uint8_t *ret,
                        size_t size, size_t *ret_len);
/* The caller owns both: EVP_PKEY_free(), OPENSSL_secure_clear_free(). FK_ERR_FORMAT,
 * FK_ERR_UNSUPPORTED (not a key that is served), FK_ERR_NOMEM. */
int fk_token_key_decode(struct fk_reader bytes, EVP_PKEY **ret_pkey,
                        struct fk_token_place **ret_place);

#endif
