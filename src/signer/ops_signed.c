/*
 * Requests that edges have signed (wire/keyproof.h). The front that brings them is not believed:
 * who asks, for what, with which key, all comes from what the edge's key has signed, and whether
 * the edge may is looked up here.
 *
 * A front can still bring a request twice. The counters of each channel are remembered, by each
 * signer for itself: so a request is carried out once by each signer at most, and whoever brings it
 * again gets the signature that the edge has got, or a secret sealed to the edge once more.
 */
#include "base/err.h"
#include "base/secret.h"
#include "signer/ops_local.h"
#include "tls/seal.h"
#include "wire/keyproof.h"

#include <openssl/err.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

/* --- counters --- */

struct window {
    uint8_t exporter[FK_KEYPROOF_EXPORTER]; /* names the channel */
    uint64_t used;                          /* when last, in requests */
    struct fk_keyproof_window window;
};

struct fk_windows {
    struct window items[FK_SIGNER_WINDOWS_MAX];
    size_t count;
    uint64_t requests;
};

int fk_windows_new(struct fk_windows **ret)
{
    struct fk_windows *windows = calloc(1, sizeof *windows);

    if (windows == NULL)
        return FK_ERR_NOMEM;
    *ret = windows;
    return FK_OK;
}

void fk_windows_free(struct fk_windows *windows)
{
    free(windows);
}

/* The channel's, or a fresh one: in the place of that which has not been used for longest. */
static struct window *find_window(struct fk_windows *windows,
                                  const uint8_t exporter[FK_KEYPROOF_EXPORTER])
{
    struct window *oldest = &windows->items[0];

    for (size_t i = 0; i < windows->count; i++) {
        struct window *item = &windows->items[i];

        if (memcmp(item->exporter, exporter, FK_KEYPROOF_EXPORTER) == 0)
            return item;
        if (item->used < oldest->used)
            oldest = item;
    }
    if (windows->count < FK_SIGNER_WINDOWS_MAX)
        oldest = &windows->items[windows->count++];
    *oldest = (struct window){.used = 0};
    memcpy(oldest->exporter, exporter, FK_KEYPROOF_EXPORTER);
    return oldest;
}

/* --- a request --- */

struct asked {
    const struct fk_keyset_edge *edge;
    struct fk_keyproof_place place;
    struct fk_reader share; /* not signed: it is sealed for this operation; empty: none */
    struct fk_keymsg msg;
    struct fk_keyproof proof;
    struct fk_reader part; /* what is signed of the body */
};

static int read_request(const struct fk_keyset *set, struct fk_reader payload, struct asked *ret)
{
    struct fk_frame frame = {.major = 1};
    struct fk_reader name;
    int err;

    if ((err = fk_reader_vec8(&payload, &name)) != FK_OK ||
        (err = fk_reader_copy(&payload, ret->place.exporter, sizeof ret->place.exporter)) !=
            FK_OK ||
        (err = fk_reader_vec16(&payload, &ret->share)) != FK_OK)
        return err;
    ret->place.server = fk_keyset_server(set);
    ret->edge = fk_keyset_edge(set, (const char *)name.next, name.left);
    if (ret->edge == NULL || !ret->edge->signs)
        return FK_ERR_DENIED;
    frame.body = payload;
    if ((err = fk_keymsg_decode(&frame, &ret->msg)) != FK_OK)
        return err;
    if ((err = fk_keyproof_part(&ret->msg, &ret->part)) != FK_OK)
        return err == FK_ERR_NOT_FOUND ? FK_ERR_DENIED : err;
    return fk_keyproof_decode(ret->msg.proof, &ret->proof);
}

static bool is_signed(const struct asked *asked)
{
    uint8_t message[FK_KEYPROOF_FRAME + FK_SIGNER_PAYLOAD_MAX];
    EVP_PKEY *key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, asked->edge->request_key,
                                                sizeof asked->edge->request_key);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    struct fk_writer writer;
    size_t len;
    bool ok;

    fk_writer_init(&writer, message, sizeof message);
    fk_keyproof_tbs(&asked->proof, &asked->place, asked->part, &writer);
    ok = key != NULL && ctx != NULL && fk_writer_end(&writer, &len) == FK_OK &&
         EVP_DigestVerifyInit_ex(ctx, NULL, NULL, NULL, NULL, key, NULL) == 1 &&
         EVP_DigestVerify(ctx, asked->proof.signature, sizeof asked->proof.signature, message,
                          len) == 1;
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
    if (!ok)
        ERR_clear_error();
    return ok;
}

/* The key, named by its SKI: nothing else is as exact. */
static int find_key(struct fk_op_call *call, const struct asked *asked)
{
    const struct fk_keyset_edge *edge = asked->edge;

    if (!fk_item_present(&asked->msg.ski))
        return FK_ERR_FORMAT;
    if (!fk_keyset_edge_may(edge, asked->msg.ski.next))
        return FK_ERR_DENIED;
    if ((call->entry = fk_keyset_find(call->ops->set, asked->msg.ski.next)) == NULL)
        return FK_ERR_KEY_NOT_FOUND;
    call->permissions = call->entry->public.permissions & edge->permissions;
    call->edge = edge;
    return FK_OK;
}

static bool wants_sealing(const struct asked *asked)
{
    static const uint8_t none[FK_KEYPROOF_REPLY_KEY];

    return fk_keyproof_is_secret(asked->msg.opcode) &&
           memcmp(asked->proof.reply_key, none, sizeof none) != 0; /* public */
}

/* The result, which is a secret, as nobody but the edge can read it. */
static int seal_result(struct fk_op_call *call, const struct asked *asked)
{
    const struct fk_seal_context context = {FK_KEYPROOF_SEAL_LABEL, asked->proof.signature,
                                            sizeof asked->proof.signature};
    uint8_t plain[FK_SIGNER_RESULT_MAX - FK_SEAL_OVERHEAD];
    size_t len = call->ret_len;
    int err;

    if (len > sizeof plain)
        return FK_ERR_LIMIT;
    memcpy(plain, call->ret, len);
    fk_wipe(call->ret, len);
    err = fk_seal_to(asked->proof.reply_key, &context, plain, len, call->ret);
    fk_wipe(plain, len);
    call->ret_len = len + FK_SEAL_OVERHEAD;
    return err;
}

/* A key server that asks for a share asks for no operation: these are up to the key's policy. */
static int run_share(struct fk_op_call *call, uint8_t opcode)
{
    if ((call->permissions & FK_PERM_SHARE) == 0)
        return FK_ERR_DENIED;
    call->permissions = call->entry->public.permissions;
    call->detail = opcode;
    return fk_ops_key_operation(call, FK_SIGNER_SHARE);
}

static int run(struct fk_op_call *call, const struct asked *asked)
{
    const struct fk_keymsg *msg = &asked->msg;

    call->payload = fk_item_present(&msg->payload) ? msg->payload : fk_item(NULL, 0);
    if (msg->opcode == FK_OP_SHARE || msg->opcode == FK_OP_PARTIAL)
        return run_share(call, msg->opcode);
    if (fk_item_present(&msg->share))
        return fk_ops_with_share(call, msg->opcode, msg->share);
    if (asked->share.left > 0)
        return fk_ops_with_share(call, msg->opcode, asked->share);
    return fk_ops_key_operation(call, fk_ops_of_opcode(msg->opcode));
}

/* The signature first: before it, nobody has asked for anything. */
int fk_op_signed(struct fk_op_call *call)
{
    struct fk_windows *windows = call->ops->windows;
    struct fk_handle_owner owner = {.has_signed = true};
    struct window *window;
    struct asked asked;
    int err;

    if (windows == NULL)
        return FK_ERR_DENIED;
    if ((err = read_request(call->ops->set, call->payload, &asked)) != FK_OK)
        return err;
    if (!is_signed(&asked))
        return FK_ERR_DENIED;
    window = find_window(windows, asked.place.exporter);
    window->used = ++windows->requests;
    if ((err = fk_keyproof_take(&window->window, asked.proof.counter)) != FK_OK ||
        (err = find_key(call, &asked)) != FK_OK)
        return err;
    SHA256((const uint8_t *)asked.edge->name, strlen(asked.edge->name), owner.id);
    call->owner = &owner;
    err = run(call, &asked);
    call->owner = NULL;
    if (err != FK_OK)
        return err;
    return wants_sealing(&asked) ? seal_result(call, &asked) : FK_OK;
}
