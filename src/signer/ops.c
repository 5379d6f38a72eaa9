/* The table of a signer's operations, and the two that sign TLS structures: see ops.h. */
#include "signer/ops.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/secret.h"
#include "signer/audit_keys.h"
#include "signer/ops_local.h"
#include "wire/keymsg.h"
#include "wire/keyop.h"

#include <openssl/err.h>
#include <openssl/obj_mac.h>
#include <stdlib.h>
#include <string.h>

/*
 * A handshaker has permissions of no edge: what it does is one thing, and the key's policy has a
 * permission for that. A server's handshakes need no signature of a client.
 */
bool fk_op_allowed(const struct fk_op_call *call, unsigned need)
{
    const unsigned server = FK_PERM_SIGN13 | FK_PERM_SIGN12 | FK_PERM_DECRYPT;

    if (call->handshaker)
        need = (need & server) != 0 ? FK_PERM_HANDSHAKE : 0;
    return (call->permissions & need) != 0;
}

/* --- which scheme fits which key (RFC 8446 section 4.2.3, RFC 5246 section 7.4.1.4.1) --- */

struct scheme {
    uint16_t id;
    enum fk_key_type type;
    uint16_t bits13; /* EC in TLS 1.3: the one size of key; 0: any; 1: not in TLS 1.3 */
    enum fk_hash hash;
    enum fk_variant variant;
};

static const struct scheme schemes[] = {
    {0x0403, FK_KEY_EC, 256, FK_SHA256, 0},
    {0x0503, FK_KEY_EC, 384, FK_SHA384, 0},
    {0x0603, FK_KEY_EC, 521, FK_SHA512, 0},
    {0x0804, FK_KEY_RSA, 0, FK_SHA256, FK_RSA_PSS + FK_SHA256},
    {0x0805, FK_KEY_RSA, 0, FK_SHA384, FK_RSA_PSS + FK_SHA384},
    {0x0806, FK_KEY_RSA, 0, FK_SHA512, FK_RSA_PSS + FK_SHA512},
    {0x0807, FK_KEY_ED25519, 0, 0, 0},
    {0x0401, FK_KEY_RSA, 1, FK_SHA256, FK_RSA_PKCS1 + FK_SHA256},
    {0x0501, FK_KEY_RSA, 1, FK_SHA384, FK_RSA_PKCS1 + FK_SHA384},
    {0x0601, FK_KEY_RSA, 1, FK_SHA512, FK_RSA_PKCS1 + FK_SHA512},
};

/* The scheme's row, if this key may sign with it. FK_ERR_UNSUPPORTED. */
static int find_scheme(uint16_t id, bool tls13, const struct fk_key_public *public,
                       const struct scheme **ret)
{
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        const struct scheme *scheme = &schemes[i];

        if (scheme->id != id || scheme->type != public->type)
            continue;
        if (tls13 && scheme->bits13 != 0 && scheme->bits13 != public->bits)
            continue;
        *ret = scheme;
        return FK_OK;
    }
    return FK_ERR_UNSUPPORTED;
}

#define SIGN_PARTS_MAX (64 + FK_SIGNER_PAYLOAD_MAX)

/* Sign the concatenation of `parts` with a scheme that fits the key. */
static int sign_parts(struct fk_op_call *call, const struct scheme *scheme,
                      const struct fk_reader *parts, size_t n_parts)
{
    uint8_t digest[64], message[SIGN_PARTS_MAX];
    size_t len = 0;
    int err;

    if (scheme->type != FK_KEY_ED25519) {
        if ((err = fk_ops_digest(call->ops, scheme->hash, parts, n_parts, digest)) != FK_OK)
            return err;
        return fk_ops_sign_digest(call, scheme->variant, digest, fk_hash_size(scheme->hash));
    }
    for (size_t i = 0; i < n_parts; i++) {
        if (parts[i].left > sizeof message - len)
            return FK_ERR_LIMIT;
        memcpy(message + len, parts[i].next, parts[i].left);
        len += parts[i].left;
    }
    return fk_ops_sign_message(call, message, len);
}

int fk_ops_sign12_parts(struct fk_op_call *call, uint16_t id, const struct fk_reader *parts,
                        size_t n_parts)
{
    const struct scheme *scheme;
    int err;

    if ((err = find_scheme(id, false, &call->entry->public, &scheme)) != FK_OK)
        return err;
    return sign_parts(call, scheme, parts, n_parts);
}

int fk_ops_sign13(struct fk_op_call *call, const struct fk_sign13 *op)
{
    uint8_t tbs[FK_SIGN13_TBS_MAX];
    const struct scheme *scheme;
    struct fk_reader part;
    size_t len;
    int err;

    if ((err = find_scheme(op->scheme, true, &call->entry->public, &scheme)) != FK_OK)
        return err;
    fk_sign13_tbs(op, tbs, &len);
    fk_reader_init(&part, tbs, len);
    return sign_parts(call, scheme, &part, 1);
}

int fk_op_sign13(struct fk_op_call *call)
{
    struct fk_sign13 op;
    unsigned need;
    int err;

    if ((err = fk_sign13_decode(call->payload, &op)) != FK_OK)
        return err;
    need = op.role == FK_ROLE_CLIENT ? FK_PERM_CLIENT : FK_PERM_SIGN13;
    if (!fk_op_allowed(call, need))
        return FK_ERR_DENIED;
    return fk_ops_sign13(call, &op);
}

static int check_params(struct fk_op_call *call, const struct fk_sign12 *op)
{
    switch (op->kx) {
    case FK_KX_ECDHE:
        return fk_ops_check_ecdh(call->ops, op->params);
    case FK_KX_DHE: /* RFC 5246 has no DHE_ECDSA */
        if (call->entry->public.type != FK_KEY_RSA)
            return FK_ERR_UNSUPPORTED;
        return fk_ops_check_dh(op->params);
    }
    return FK_ERR_FORMAT;
}

int fk_op_sign12(struct fk_op_call *call)
{
    struct fk_reader parts[3];
    struct fk_sign12 op;
    int err;

    if (!fk_op_allowed(call, FK_PERM_SIGN12))
        return FK_ERR_DENIED;
    if ((err = fk_sign12_decode(call->payload, &op)) != FK_OK ||
        (err = check_params(call, &op)) != FK_OK)
        return err;
    fk_reader_init(&parts[0], op.client_random, sizeof op.client_random);
    fk_reader_init(&parts[1], op.server_random, sizeof op.server_random);
    parts[2] = op.params;
    return fk_ops_sign12_parts(call, op.scheme, parts, 3);
}

static int run_ping(struct fk_op_call *call)
{
    return fk_reader_end(&call->payload);
}

/* --- the table --- */

#define PEER(kind) (1U << (kind))
#define USERS      (PEER(FK_PEER_FRONT) | PEER(FK_PEER_WORKER))
#define SERVERS    (USERS | PEER(FK_PEER_HANDSHAKER))

struct row {
    unsigned peers; /* kinds that may ask */
    bool keyed;     /* names a key */
    bool whole;     /* ... and uses all of it */
    int (*run)(struct fk_op_call *call);
};

static const struct row rows[] = {
    [FK_SIGNER_SIGN13] = {SERVERS, true, true, fk_op_sign13},
    [FK_SIGNER_SIGN12] = {SERVERS, true, true, fk_op_sign12},
    [FK_SIGNER_DECRYPT] = {SERVERS, true, true, fk_op_decrypt},
    [FK_SIGNER_DIALECT1] = {PEER(FK_PEER_FRONT), true, true, fk_op_dialect1},
    [FK_SIGNER_PING] = {SERVERS | PEER(FK_PEER_AUDIT), false, false, run_ping},
    [FK_SIGNER_AUDIT_START] = {PEER(FK_PEER_AUDIT), false, false, fk_op_audit_start},
    [FK_SIGNER_AUDIT_CHECKPOINT] = {PEER(FK_PEER_AUDIT), false, false, fk_op_audit_checkpoint},
    [FK_SIGNER_SIGNED] = {PEER(FK_PEER_FRONT), false, false, fk_op_signed},
    [FK_SIGNER_SPLIT] = {PEER(FK_PEER_FRONT), true, false, fk_op_split},
    [FK_SIGNER_SPLIT_OPEN] = {PEER(FK_PEER_HANDSHAKER), true, false, fk_op_split_open},
    [FK_SIGNER_SHARE] = {USERS, true, false, fk_op_share},
    [FK_SIGNER_OWNED] = {PEER(FK_PEER_FRONT), true, false, fk_op_owned},
    [FK_SIGNER_AGREE_INIT] = {0, true, true, fk_op_agree_init},
    [FK_SIGNER_AGREE_FINISH] = {0, true, false, fk_op_agree_finish},
    [FK_SIGNER_MASTER] = {0, true, false, fk_op_master},
    [FK_SIGNER_KEYS] = {0, true, false, fk_op_keys},
    [FK_SIGNER_FINISHED] = {0, true, false, fk_op_finished},
    [FK_SIGNER_EXPOSE] = {0, true, false, fk_op_expose},
    [FK_SIGNER_KEYS_KEEP] = {0, true, false, fk_op_keys_keep},
    [FK_SIGNER_RESUME] = {0, true, false, fk_op_resume},
    [FK_SIGNER_HELLO13] = {0, true, false, fk_op_hello13},
    [FK_SIGNER_FLIGHT13] = {0, true, true, fk_op_flight13},
    [FK_SIGNER_LEND] = {PEER(FK_PEER_FRONT), true, false, fk_op_lend},
    [FK_SIGNER_LEND_ASK] = {PEER(FK_PEER_WORKER), false, false, fk_op_lend_ask},
    [FK_SIGNER_BORROW] = {PEER(FK_PEER_WORKER), false, false, fk_op_borrow},
    [FK_SIGNER_LENT] = {PEER(FK_PEER_WORKER), false, false, fk_op_lent},
    [FK_SIGNER_TICKET_KEYS] = {PEER(FK_PEER_FRONT), true, false, fk_op_ticket_keys},
    [FK_SIGNER_TICKET_SEAL] = {PEER(FK_PEER_FRONT), true, false, fk_op_ticket_seal},
    [FK_SIGNER_TICKET_UNSEAL] = {PEER(FK_PEER_FRONT), true, false, fk_op_ticket_open},
};

static const struct row *find_row(uint16_t op)
{
    return op < sizeof rows / sizeof rows[0] && rows[op].run != NULL ? &rows[op] : NULL;
}

bool fk_ops_permitted(enum fk_proc_peer kind, uint16_t op)
{
    const struct row *row = find_row(op);

    return row != NULL && (row->peers & PEER(kind)) != 0;
}

uint16_t fk_ops_of_opcode(uint16_t opcode)
{
    static const struct {
        uint16_t opcode, op;
    } operations[] = {{FK_OP_SIGN13, FK_SIGNER_SIGN13},
                      {FK_OP_SIGN12, FK_SIGNER_SIGN12},
                      {FK_OP_DECRYPT, FK_SIGNER_DECRYPT},
                      {FK_OP_AGREE_INIT, FK_SIGNER_AGREE_INIT},
                      {FK_OP_AGREE_FINISH, FK_SIGNER_AGREE_FINISH},
                      {FK_OP_MASTER, FK_SIGNER_MASTER},
                      {FK_OP_KEYS, FK_SIGNER_KEYS},
                      {FK_OP_FINISHED, FK_SIGNER_FINISHED},
                      {FK_OP_EXPOSE, FK_SIGNER_EXPOSE},
                      {FK_OP_KEYS_KEEP, FK_SIGNER_KEYS_KEEP},
                      {FK_OP_RESUME, FK_SIGNER_RESUME},
                      {FK_OP_HELLO13, FK_SIGNER_HELLO13},
                      {FK_OP_FLIGHT13, FK_SIGNER_FLIGHT13},
                      {FK_OP_LEND, FK_SIGNER_LEND},
                      {FK_OP_TICKET_SEAL, FK_SIGNER_TICKET_SEAL},
                      {FK_OP_TICKET_UNSEAL, FK_SIGNER_TICKET_UNSEAL},
                      {FK_OP_TICKET_KEYS, FK_SIGNER_TICKET_KEYS}};

    for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++)
        if (operations[i].opcode == opcode)
            return operations[i].op;
    return 0;
}

bool fk_ops_uses_key(uint16_t opcode)
{
    const struct row *row = find_row(fk_ops_of_opcode(opcode));

    return row != NULL && row->whole;
}

int fk_ops_key_operation(struct fk_op_call *call, uint16_t op)
{
    const struct row *row = find_row(op);

    if (row == NULL || !row->keyed)
        return FK_ERR_OPCODE;
    return row->whole && call->entry->is_split && call->half == NULL ? fk_ops_lacks(call, op)
                                                                     : row->run(call);
}

int fk_ops_with_key(struct fk_op_call *call, const struct fk_keyset_entry *entry,
                    struct fk_key_state *state, uint16_t op)
{
    const struct fk_keyset_entry *before = call->entry;
    struct fk_ops *ops = call->ops;
    int err;

    ops->guest = entry;
    ops->guest_state = state;
    call->entry = entry;
    err = fk_ops_key_operation(call, op);
    call->entry = before;
    ops->guest = NULL;
    ops->guest_state = NULL;
    return err;
}

static int run(struct fk_op_call *call, const struct fk_signer_request *request,
               const uint8_t *payload)
{
    const struct row *row = find_row(request->op);

    if (row == NULL)
        return FK_ERR_OPCODE;
    if (request->len > FK_SIGNER_PAYLOAD_MAX)
        return FK_ERR_LIMIT;
    if (row->keyed) {
        if (fk_keyset_signed_only(call->ops->set))
            return FK_ERR_DENIED;
        if ((call->entry = fk_keyset_find(call->ops->set, request->ski)) == NULL)
            return FK_ERR_KEY_NOT_FOUND;
        call->permissions = call->entry->public.permissions;
    }
    call->ski = request->ski;
    fk_reader_init(&call->payload, payload, request->len);
    return row->keyed ? fk_ops_key_operation(call, request->op) : row->run(call);
}

static int finish(const struct fk_op_call *call, int err, size_t *ret_len)
{
    if (err == FK_ERR_CRYPTO || err == FK_ERR_VERIFY || err == FK_ERR_NOMEM)
        ERR_clear_error();
    if (err == FK_OK)
        *ret_len = call->ret_len;
    return err;
}

int fk_ops_run(struct fk_ops *ops, const struct fk_signer_request *request, const uint8_t *payload,
               uint8_t ret[FK_SIGNER_RESULT_MAX], size_t *ret_len)
{
    struct fk_op_call call = {.ops = ops, .detail = request->detail, .ret = ret};

    return finish(&call, run(&call, request, payload), ret_len);
}

int fk_ops_serve(struct fk_ops *ops, enum fk_proc_peer kind,
                 const struct fk_signer_request *request, const uint8_t *payload,
                 uint8_t ret[FK_SIGNER_RESULT_MAX], size_t *ret_len)
{
    struct fk_op_call call = {.ops = ops,
                              .detail = request->detail,
                              .handshaker = kind == FK_PEER_HANDSHAKER,
                              .front = kind == FK_PEER_FRONT,
                              .ret = ret};

    if (!fk_ops_permitted(kind, request->op))
        return FK_ERR_DENIED;
    return finish(&call, run(&call, request, payload), ret_len);
}

/* --- start and end --- */

static int start_digests(struct fk_ops *ops)
{
    static const char *const names[FK_HASH_COUNT] = {"SHA1", "SHA224", "SHA256", "SHA384",
                                                     "SHA512"};

    for (int i = 0; i < FK_HASH_COUNT; i++) {
        ops->md[i] = EVP_MD_fetch(NULL, names[i], NULL);
        ops->md_ctx[i] = EVP_MD_CTX_new();
        if (ops->md[i] == NULL || ops->md_ctx[i] == NULL)
            return FK_ERR_NOMEM;
    }
    return FK_OK;
}

static int start_groups(struct fk_ops *ops)
{
    static const int curves[3] = {NID_X9_62_prime256v1, NID_secp384r1, NID_secp521r1};

    for (int i = 0; i < 3; i++) {
        ops->groups[i] = EC_GROUP_new_by_curve_name(curves[i]);
        ops->points[i] = ops->groups[i] == NULL ? NULL : EC_POINT_new(ops->groups[i]);
        if (ops->points[i] == NULL)
            return FK_ERR_NOMEM;
    }
    ops->bn_ctx = BN_CTX_new();
    return ops->bn_ctx == NULL ? FK_ERR_NOMEM : FK_OK;
}

int fk_ops_new(const struct fk_keyset *set, uint8_t index, uint32_t generation, struct fk_ops **ret)
{
    struct fk_ops *ops;
    int err;

    if ((err = fk_ops_new_private(set, NULL, &ops)) != FK_OK)
        return err;
    if ((err = fk_handles_new(index, (uint16_t)generation, &ops->handles)) != FK_OK) {
        fk_ops_free(ops);
        return err;
    }
    *ret = ops;
    return FK_OK;
}

int fk_ops_new_private(const struct fk_keyset *set, struct fk_private *private, struct fk_ops **ret)
{
    struct fk_ops *ops = calloc(1, sizeof *ops);
    const uint8_t *secret = fk_keyset_audit(set);
    int err;

    if (ops == NULL)
        return FK_ERR_NOMEM;
    ops->set = set;
    ops->file.ops = &fk_private_file_ops;
    ops->private = private != NULL ? private : &ops->file;
    ops->states = calloc(fk_keyset_count(set) + 1, sizeof *ops->states);
    if (ops->states == NULL) {
        err = FK_ERR_NOMEM;
        goto out;
    }
    if ((err = start_digests(ops)) != FK_OK || (err = start_groups(ops)) != FK_OK ||
        (err = fk_ephemerals_new(&ops->ephemerals)) != FK_OK ||
        (err = fk_prf_maker_new(&ops->prf)) != FK_OK)
        goto out;
    if (fk_keyset_has_signing(set) && (err = fk_windows_new(&ops->windows)) != FK_OK)
        goto out;
    if (fk_keyset_lend_key(set) != NULL &&
        (err = fk_loans_new(fk_keyset_lend_key(set), &ops->loans)) != FK_OK)
        goto out;
    if (secret != NULL && (err = fk_audit_sign_key(secret, &ops->audit_key)) != FK_OK)
        goto out;
    *ret = ops;
    ops = NULL; /* moved */
out:
    fk_ops_free(ops);
    return err;
}

uint64_t fk_ops_end_us(const struct fk_ops *ops)
{
    uint64_t loan = ops->loans == NULL ? UINT64_MAX : fk_loans_end_us(ops->loans);
    uint64_t handle = ops->handles == NULL ? UINT64_MAX : fk_handles_end_us(ops->handles);

    return loan < handle ? loan : handle;
}

void fk_ops_expire(struct fk_ops *ops, uint64_t now_us)
{
    if (ops->loans != NULL)
        fk_loans_expire(ops->loans, now_us);
    if (ops->handles != NULL)
        fk_handles_expire(ops->handles, now_us);
}

size_t fk_ops_handles(const struct fk_ops *ops)
{
    return ops->handles == NULL ? 0 : fk_handles_count(ops->handles);
}

void fk_ops_free(struct fk_ops *ops)
{
    if (ops == NULL)
        return;
    for (size_t i = 0; ops->states != NULL && i < fk_keyset_count(ops->set); i++)
        fk_key_state_fini(&ops->states[i]);
    free(ops->states);
    for (int i = 0; i < FK_HASH_COUNT; i++) {
        EVP_MD_CTX_free(ops->md_ctx[i]);
        EVP_MD_free(ops->md[i]);
    }
    for (int i = 0; i < 3; i++) {
        EC_POINT_free(ops->points[i]);
        EC_GROUP_free(ops->groups[i]);
    }
    BN_CTX_free(ops->bn_ctx);
    EVP_PKEY_free(ops->audit_key);
    fk_windows_free(ops->windows);
    fk_handles_free(ops->handles);
    fk_ephemerals_free(ops->ephemerals);
    fk_prf_maker_free(ops->prf);
    fk_loans_free(ops->loans);
    fk_secret_free(ops->roots);
    free(ops);
}
