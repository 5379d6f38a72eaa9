/*
 * What the files of the signer's operations share: the state of the process's cryptography, and
 * one function a row of the table in ops.c. Private to src/signer/ops*.c.
 */
#ifndef FK_SIGNER_OPS_LOCAL_H
#define FK_SIGNER_OPS_LOCAL_H

#include "base/limits.h"
#include "base/reader.h"
#include "signer/handles.h"
#include "signer/ops.h"
#include "signer/prf.h"
#include "signer/private.h"
#include "signer/ticket_roots.h"
#include "tls/session_keys.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/evp.h>

/* Contexts of one key, made at first use and kept: setting one up costs a tenth of a P-256
 * signature. EC uses cell 0 only. */
struct fk_key_state {
    EVP_PKEY_CTX *use[FK_VARIANT_COUNT];
    EVP_PKEY_CTX *verify[FK_VARIANT_COUNT];
    EVP_MD_CTX *message;    /* Ed25519 */
    uint8_t *modulus;       /* RSA: big-endian, as long as the key */
    uint8_t *reject;        /* in the secure heap: a token's key's secret of implicit rejection */
    struct fk_power *power; /* of an additive share */
};

struct fk_chain_state {
    uint8_t id[16];
    uint64_t ms; /* when it began */
    uint64_t lines;
};

struct fk_ops {
    struct fk_private file;     /* the private halves in `set` */
    struct fk_private *private; /* those in use: `file`, or a token's (borrowed) */
    const struct fk_keyset *set;
    struct fk_key_state *states; /* one an entry of the set */
    EVP_MD *md[FK_HASH_COUNT];
    EVP_MD_CTX *md_ctx[FK_HASH_COUNT];
    EC_GROUP *groups[3]; /* P-256, P-384, P-521 */
    EC_POINT *points[3];
    BN_CTX *bn_ctx;
    EVP_PKEY *audit_key; /* signs checkpoints; NULL: no audit secret in the bundle */
    struct fk_chain_state chains[FK_SIGNER_CHAINS_MAX];
    size_t n_chains;
    uint64_t forgotten_ms; /* the youngest chain that had to leave the table */
    struct fk_ephemerals *ephemerals;
    struct fk_handles *handles; /* NULL: nothing is kept here (a token's process) */
    struct fk_prf_maker *prf;
    struct fk_secret *roots;    /* struct fk_ticket_roots; NULL: none */
    struct fk_windows *windows; /* of signed requests; NULL: no edge signs */
    struct fk_loans *loans;     /* keys that are lent to this host; NULL: none can be */
    /* A key that is in no set, while an operation uses it, and its state; else NULL. */
    const struct fk_keyset_entry *guest;
    struct fk_key_state *guest_state;
};

/*
 * An operation that two signers carry out together. Who holds the other share goes through the
 * operation up to the use of the key: that is what it gives its share, or its power, for.
 */
struct fk_op_half {
    bool holds;                  /* else: combines, with what the other side has sent */
    struct fk_share_power power; /* of an additive share: made, or sent */
};

/* A call of an operation: what it works on and where its result goes. */
struct fk_op_call {
    struct fk_ops *ops;
    const struct fk_keyset_entry *entry; /* NULL for operations without a key */
    const uint8_t *ski;                  /* of the request: which key it names, if any */
    const struct fk_keyset_edge *edge;   /* who has signed the request; NULL: nobody */
    uint16_t permissions; /* FK_PERM_*: the key's, and of who asks if that is known */
    uint16_t detail;
    bool handshaker;                     /* for a process that makes whole handshakes */
    bool front;                          /* for a key server's front */
    const struct fk_handle_owner *owner; /* the edge; NULL: not known, or none */
    struct fk_op_half *half;             /* NULL: here is all that the operation needs */
    struct fk_reader payload;
    uint8_t *ret; /* FK_SIGNER_RESULT_MAX bytes */
    size_t ret_len;
};

/* ops_key.c: contexts, digests, signatures. */
int fk_ops_digest(struct fk_ops *ops, enum fk_hash hash, const struct fk_reader *parts,
                  size_t n_parts, uint8_t ret[64]);
int fk_ops_sign_digest(struct fk_op_call *call, enum fk_variant variant, const uint8_t *digest,
                       size_t len);
int fk_ops_sign_message(struct fk_op_call *call, const uint8_t *message, size_t len);
int fk_ops_rsa_raw(struct fk_op_call *call, const uint8_t *in, uint8_t *out, size_t size);
/* Check the signature in call->ret, and wipe it if it is wrong. FK_ERR_VERIFY. */
int fk_ops_verify(struct fk_op_call *call, const struct fk_private_ask *ask, size_t sig_len);
void fk_key_state_fini(struct fk_key_state *state);
extern const struct fk_private_ops fk_private_file_ops;
struct fk_key_state *fk_ops_state(struct fk_ops *ops, const struct fk_keyset_entry *entry);
const uint8_t *fk_ops_modulus(struct fk_ops *ops, const struct fk_keyset_entry *entry);

/* ops_half.c: use a share where the whole key would be used. As those of ops_key.c. */
int fk_half_sign_digest(struct fk_op_call *call, const struct fk_private_ask *ask);
int fk_half_sign_message(struct fk_op_call *call);
int fk_half_rsa_raw(struct fk_op_call *call, const struct fk_private_ask *ask, uint8_t *out);

/* ops.c: whether the key's policy lets this peer do what needs `need` (FK_PERM_*). */
bool fk_op_allowed(const struct fk_op_call *call, unsigned need);
/* ops_reject.c: the 32-byte secret of implicit rejection of the call's key, borrowed. */
int fk_ops_reject_secret(struct fk_op_call *call, const uint8_t **ret);

/* ops.c: sign the concatenation of `parts` as TLS 1.2 does by a SignatureScheme that fits the key.
 */
int fk_ops_sign12_parts(struct fk_op_call *call, uint16_t scheme, const struct fk_reader *parts,
                        size_t n_parts);

/* ops.c: sign a CertificateVerify of TLS 1.3; whether that is allowed is the caller's to know. */
int fk_ops_sign13(struct fk_op_call *call, const struct fk_sign13 *op);

/* ops_params.c: the ephemeral parameters of TLS 1.2. */
int fk_ops_check_ecdh(struct fk_ops *ops, struct fk_reader params);
int fk_ops_check_dh(struct fk_reader params);

/* ops_agree.c: the permissions (FK_PERM_*) of which AGREE_INIT needs one. */
unsigned fk_ops_agree_needs(enum fk_agree_form form);
/* ops_agree.c: the premaster secret of a handle and the client's share; the handle is used up,
 * whatever comes of it. */
int fk_ops_agreed(struct fk_op_call *call, const struct fk_agree_finish *op,
                  uint8_t ret[FK_EPHEMERAL_SECRET_MAX], size_t *ret_len);

/* ops_secret.c: a session of mode `keys`. Wiped by who has it. */
struct fk_ops_session {
    union fk_handle_secret secret; /* the master secret, to be kept */
    uint8_t key_block[FK_KEY_BLOCK_MAX];
    uint8_t verify_data[FK_VERIFY_DATA_SIZE];
};

/* Whether sessions are kept for who asks: FK_ERR_DENIED, FK_ERR_UNSUPPORTED. */
int fk_ops_may_keep(const struct fk_op_call *call);
/* Derive all of it, and keep the master secret under a handle; *ret borrows `session`. */
int fk_ops_make_session(struct fk_op_call *call, const struct fk_keys_op *op,
                        struct fk_ops_session *session, struct fk_keys_answer *ret);
/* The length of an AEAD suite's key block, if it is one of TLS 1.2 with this PRF; else
 * FK_ERR_UNSUPPORTED. */
int fk_ops_block_len(uint16_t suite, enum fk_prf prf, size_t *ret_len);
/* Its key block, by its master secret. */
int fk_ops_key_block(struct fk_op_call *call, const uint8_t server_random[32],
                     const uint8_t client_random[32], size_t len, struct fk_ops_session *session);
/* The master secret goes under a handle, for FINISHED. */
int fk_ops_keep_master(struct fk_op_call *call, const struct fk_ops_session *session,
                       uint8_t ret[FK_HANDLE_SIZE]);

/* ops_tickets.c: the secrets that tickets and sessions are sealed by. FK_ERR_UNAVAILABLE. */
int fk_ops_find_roots(const struct fk_op_call *call, const struct fk_ticket_roots **ret);

/* ops_decrypt.c: the premaster secret of RSA key exchange, by implicit rejection. */
int fk_ops_premaster(struct fk_op_call *call, const struct fk_decrypt *op,
                     uint8_t ret[FK_PREMASTER_SIZE]);

/* ops_signed.c */
int fk_windows_new(struct fk_windows **ret);
void fk_windows_free(struct fk_windows *windows);
int fk_op_signed(struct fk_op_call *call);

/* ops.c: carry out a key operation with what the call says. FK_ERR_OPCODE: it is none. */
int fk_ops_key_operation(struct fk_op_call *call, uint16_t op);
/* Which key operation an opcode of farkey/1 is; 0: none. */
uint16_t fk_ops_of_opcode(uint16_t opcode);
/* Whether it is one that uses the private key: others do not need it whole. */
bool fk_ops_uses_key(uint16_t opcode);

/*
 * ops_split.c: the key operation `opcode` (of farkey/1) with the other share of a split key, as the
 * wire brought it. A key that is whole needs none. FK_ERR_SHARE_*; FK_ERR_UNSUPPORTED: with
 * additive shares that cannot be done.
 */
int fk_ops_with_share(struct fk_op_call *call, uint16_t opcode, struct fk_reader item);
/* What key operation `op` fails with if nothing was sent: FK_ERR_SHARE_MISSING, or
 * FK_ERR_UNSUPPORTED as above. */
int fk_ops_lacks(const struct fk_op_call *call, uint16_t op);

/* ops.c: the same with a key that is in no set: `state` is empty at first, and the caller's. */
int fk_ops_with_key(struct fk_op_call *call, const struct fk_keyset_entry *entry,
                    struct fk_key_state *state, uint16_t op);

/* ops_lent.c: what this host borrows, by its private lend key. FK_ERR_NOMEM, FK_ERR_CRYPTO. */
int fk_loans_new(const uint8_t lend_key[32], struct fk_loans **ret);
void fk_loans_free(struct fk_loans *loans);
/* When one ends next; wipe those that have ended. */
uint64_t fk_loans_end_us(const struct fk_loans *loans);
void fk_loans_expire(struct fk_loans *loans, uint64_t now_us);

/* Rows of the table. */
int fk_op_lend(struct fk_op_call *call);
int fk_op_lend_ask(struct fk_op_call *call);
int fk_op_borrow(struct fk_op_call *call);
int fk_op_lent(struct fk_op_call *call);
int fk_op_split(struct fk_op_call *call);
int fk_op_split_open(struct fk_op_call *call);
int fk_op_share(struct fk_op_call *call);
int fk_op_owned(struct fk_op_call *call);
int fk_op_agree_init(struct fk_op_call *call);
int fk_op_agree_finish(struct fk_op_call *call);
int fk_op_master(struct fk_op_call *call);
int fk_op_keys(struct fk_op_call *call);
int fk_op_finished(struct fk_op_call *call);
int fk_op_expose(struct fk_op_call *call);
int fk_op_keys_keep(struct fk_op_call *call);
int fk_op_resume(struct fk_op_call *call);
int fk_op_hello13(struct fk_op_call *call);
int fk_op_flight13(struct fk_op_call *call);
int fk_op_sign13(struct fk_op_call *call);
int fk_op_sign12(struct fk_op_call *call);
int fk_op_decrypt(struct fk_op_call *call);
int fk_op_d1_decrypt(struct fk_op_call *call);
int fk_op_dialect1(struct fk_op_call *call);
int fk_op_ticket_keys(struct fk_op_call *call);
int fk_op_ticket_seal(struct fk_op_call *call);
int fk_op_ticket_open(struct fk_op_call *call);
int fk_op_audit_start(struct fk_op_call *call);
int fk_op_audit_checkpoint(struct fk_op_call *call);

#endif
