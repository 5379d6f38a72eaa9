/*
 * What is derived from the audit secret (RFC 5869, without the extract step: the secret is 32
 * uniformly random bytes): the first MAC key of each chain, and the Ed25519 key that signs
 * checkpoints. Used by signers, which hold the secret, and by `farkey audit verify`.
 */
#ifndef FK_SIGNER_AUDIT_KEYS_H
#define FK_SIGNER_AUDIT_KEYS_H

#include <openssl/evp.h>
#include <stdint.h>

/* A chain's id: milliseconds u48 | random 4 | tag 6, which only holders of the secret can make. */
#define FK_AUDIT_ID_SIZE  16
#define FK_AUDIT_KEY_SIZE 32
#define FK_AUDIT_MAC_SIZE 32
#define FK_AUDIT_SIG_SIZE 64

/* Payload of FK_SIGNER_AUDIT_CHECKPOINT: chain id | lines u64 | MAC of the last line. */
#define FK_AUDIT_CHECKPOINT_SIZE (FK_AUDIT_ID_SIZE + 8 + FK_AUDIT_MAC_SIZE)
/* Its answer: time u64 (microseconds since 1970, the signer's clock) | signature. */
#define FK_AUDIT_CHECKPOINT_ANSWER (8 + FK_AUDIT_SIG_SIZE)
/* The answer to FK_SIGNER_AUDIT_START: chain id | first MAC key. */
#define FK_AUDIT_START_ANSWER (FK_AUDIT_ID_SIZE + FK_AUDIT_KEY_SIZE)

/* A new chain's id, of the time `wall_us`. FK_ERR_CRYPTO. */
int fk_audit_id_new(const uint8_t secret[32], uint64_t wall_us, uint8_t ret[FK_AUDIT_ID_SIZE]);
/* FK_ERR_VERIFY: not made by fk_audit_id_new(). *ret_ms: when it was. FK_ERR_CRYPTO. */
int fk_audit_id_check(const uint8_t secret[32], const uint8_t id[FK_AUDIT_ID_SIZE],
                      uint64_t *ret_ms);

/* The first MAC key of a chain. FK_ERR_CRYPTO. */
int fk_audit_chain_key(const uint8_t secret[32], const uint8_t id[FK_AUDIT_ID_SIZE],
                       uint8_t ret[FK_AUDIT_KEY_SIZE]);

/* The key that signs checkpoints; the caller frees it. FK_ERR_CRYPTO. */
int fk_audit_sign_key(const uint8_t secret[32], EVP_PKEY **ret);

/* What a checkpoint's signature is made over: a label, the payload, the time. */
#define FK_AUDIT_TBS_SIZE (32 + FK_AUDIT_CHECKPOINT_SIZE + 8)
void fk_audit_checkpoint_tbs(const uint8_t payload[FK_AUDIT_CHECKPOINT_SIZE], uint64_t wall_us,
                             uint8_t ret[FK_AUDIT_TBS_SIZE]);

#endif
