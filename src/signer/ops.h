/*
 * The operations of a signer: one function a row of a table. Each believes nothing that it is
 * told: it checks the key's permissions, the structure of what is to be signed, and works lengths
 * out from its own key.
 *
 * ECDSA nonces are hedged: OpenSSL mixes the private key and the digest into the random generator's
 * output (BN_generate_dsa_nonce), so that a weak generator does not give the key away. RSA is
 * blinded by OpenSSL, and each RSA signature is verified before it leaves: a fault in a CRT half
 * would factor the modulus.
 */
#ifndef FK_SIGNER_OPS_H
#define FK_SIGNER_OPS_H

#include "loop/proc.h"
#include "signer/keyset.h"
#include "signer/private.h"
#include "signer/request.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fk_ops;

/*
 * Operations on the keys of `set` (borrowed, must outlive it), of the signer of this number and
 * generation: both stand in the names of what it keeps (signer/handles.h). FK_ERR_NOMEM,
 * FK_ERR_CRYPTO.
 */
int fk_ops_new(const struct fk_keyset *set, uint8_t index, uint32_t generation,
               struct fk_ops **ret);
/*
 * The same, with the private halves of a token in place of those in the set; `private` is borrowed.
 * All that it signs is verified, if it says so. Nothing is kept under handles: several of these
 * work for one token, and the next step of a handshake may come to another one.
 */
int fk_ops_new_private(const struct fk_keyset *set, struct fk_private *private,
                       struct fk_ops **ret);
void fk_ops_free(struct fk_ops *ops);

/* Take the secrets of ticket keys, as FK_PROC_TICKETS has them (signer/ticket_roots.h); until then
 * there are none. The caller wipes its copy. As fk_ticket_roots_decode(), FK_ERR_NOMEM. */
int fk_ops_take_roots(struct fk_ops *ops, const void *data, size_t len);

/* Whether a peer of this kind (enum fk_proc_peer) may ask for this operation at all. */
bool fk_ops_permitted(enum fk_proc_peer kind, uint16_t op);

/*
 * Carry out one request; `payload` is request->len bytes. FK_OK with the result's length, else why
 * not: FK_ERR_OPCODE, FK_ERR_KEY_NOT_FOUND, FK_ERR_DENIED (permission), FK_ERR_UNSUPPORTED (the
 * scheme does not fit the key, a group that is not served), FK_ERR_FORMAT, FK_ERR_TRUNCATED,
 * FK_ERR_TRAILING, FK_ERR_RANGE (a point or number that is not valid), FK_ERR_REPLAY (a checkpoint
 * older than one already signed), FK_ERR_CRYPTO, FK_ERR_VERIFY (a signature came out wrong),
 * FK_ERR_SHARE_* (a split key, signer/share.h), FK_ERR_EXPIRED (no such handle, or not for this
 * edge, key and operation), FK_ERR_UNAVAILABLE (no ticket keys), FK_ERR_NOMEM. The caller wipes
 * `ret` when it is sent: it may hold a secret.
 */
int fk_ops_run(struct fk_ops *ops, const struct fk_signer_request *request, const uint8_t *payload,
               uint8_t ret[FK_SIGNER_RESULT_MAX], size_t *ret_len);

/*
 * The same for a peer of this kind: FK_ERR_DENIED also when that may not ask for it. A handshaker
 * has one permission, whatever it asks for: FK_PERM_HANDSHAKE of the key.
 */
int fk_ops_serve(struct fk_ops *ops, enum fk_proc_peer kind,
                 const struct fk_signer_request *request, const uint8_t *payload,
                 uint8_t ret[FK_SIGNER_RESULT_MAX], size_t *ret_len);

/*
 * When something that is lent to this host, or kept of a handshake, ends next, by fk_clock_us();
 * UINT64_MAX: nothing is. fk_ops_expire() wipes all that has ended.
 */
uint64_t fk_ops_end_us(const struct fk_ops *ops);
void fk_ops_expire(struct fk_ops *ops, uint64_t now_us);

/* How many handles there are. */
size_t fk_ops_handles(const struct fk_ops *ops);

#endif
