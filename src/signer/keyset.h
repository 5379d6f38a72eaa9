/*
 * Reading keys: from a key directory into a key bundle (in a master: the only moment a private key
 * file is read), and from the bundle into a signer.
 *
 * A directory holds NAME.key (PEM or DER: PKCS#8, PKCS#1, SEC1; encrypted ones with a passphrase
 * file), with NAME.crt (PEM chain) and NAME.policy beside it.
 */
#ifndef FK_SIGNER_KEYSET_H
#define FK_SIGNER_KEYSET_H

#include "wire/keyop.h"

#include <openssl/evp.h>
#include <stddef.h>
#include <stdint.h>

/* What is public about a key: all that a front, an edge or a status page may know. */
struct fk_key_public {
    char name[64]; /* file name without ".key" */
    uint8_t ski[20];
    uint8_t digest[32]; /* dialect 1's: SHA-256 of the upper-case hex of modulus or point */
    enum fk_key_type type;
    uint16_t bits;
    uint16_t permissions; /* FK_PERM_* */
};

/*
 * Parse one private key and write it as unencrypted PKCS#8 DER. `passphrase` may be NULL.
 * FK_ERR_FORMAT, FK_ERR_PASSPHRASE, FK_ERR_UNSUPPORTED (type or size not in the list).
 */
int fk_key_parse(const void *data, size_t len, const char *passphrase, EVP_PKEY **ret);

/* The public facts of a key (name and permissions left empty). */
int fk_key_describe(EVP_PKEY *key, struct fk_key_public *ret);

struct fk_keyset; /* a signer's keys: parsed, in locked memory, found by SKI */

struct fk_keyset_entry {
    struct fk_key_public public;
    EVP_PKEY *pkey;
    uint8_t reject_secret[32]; /* PRF key of implicit rejection, derived from the private key */
};

/* Load the key bundle of a sealed memfd (FK_PROC_KEYS). */
int fk_keyset_open(int fd, struct fk_keyset **ret);
void fk_keyset_free(struct fk_keyset *set);
const struct fk_keyset_entry *fk_keyset_find(const struct fk_keyset *set, const uint8_t ski[20]);
size_t fk_keyset_count(const struct fk_keyset *set);

/* Building the bundle, in the master. */
struct fk_keyset_builder;
int fk_keyset_builder_new(struct fk_keyset_builder **ret);
void fk_keyset_builder_free(struct fk_keyset_builder *builder); /* wipes */
int fk_keyset_builder_add(struct fk_keyset_builder *builder, const struct fk_key_public *public,
                          EVP_PKEY *pkey);
/* The audit log's secret (32 bytes), from which the signer derives chain keys and its log key. */
int fk_keyset_builder_audit(struct fk_keyset_builder *builder, const uint8_t secret[32]);
int fk_keyset_builder_seal(const struct fk_keyset_builder *builder, int *ret_fd);

#endif
