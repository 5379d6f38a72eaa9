/*
 * Sessions of mode `keys` that are resumed. The key server seals the master secret when it derives
 * the keys; the sealed session goes into libssl's, and with that into tickets and caches. When a
 * client brings it back the key server is asked for the new keys before libssl takes the session
 * up: whatever fails then makes a full handshake, and nothing worse.
 */
#include "tls/opaque_priv.h"

#include "base/err.h"
#include "base/list.h"
#include "base/secret.h"
#include "tls/suite.h"
#include "wire/keymsg.h"

#include <string.h>

/* What a session has beside libssl's own: version u8 | key server u8 | SKI 20 | sealed session. */
#define VERSION  1
#define KEPT_MAX (1 + 1 + FK_SKI_SIZE + FK_SEALED_SESSION)

struct kept {
    uint8_t server;           /* the route's number, where it fits a byte; 0: not known */
    uint8_t ski[FK_SKI_SIZE]; /* of the key: the certificate is not chosen yet when it is needed */
    struct fk_reader sealed;
};

void fk_opaque_keep(struct fk_opaque *opaque, bool shared)
{
    opaque->keeps = true;
    opaque->scope = shared ? FK_SESSION_SHARED : FK_SESSION_OWN;
}

/* --- a session that is new --- */

int fk_opaque_describe_keep(const struct fk_opaque *opaque, struct fk_keep_op *ret)
{
    const SSL_SESSION *session = SSL_get0_session(opaque->ssl);
    const uint8_t *context;
    unsigned len = 0;

    context = session == NULL ? NULL : SSL_SESSION_get0_id_context(session, &len);
    if (len != sizeof ret->context)
        return FK_ERR_INTERNAL;
    ret->scope = opaque->scope;
    memcpy(ret->context, context, sizeof ret->context);
    ret->lifetime_s = (uint32_t)SSL_SESSION_get_timeout(session);
    return FK_OK;
}

int fk_opaque_take_sealed(const struct fk_opaque *opaque, struct fk_reader sealed)
{
    SSL_SESSION *session = SSL_get_session(opaque->ssl);
    uint8_t bytes[KEPT_MAX], ski[FK_SKI_SIZE];
    struct fk_writer out;
    size_t len;
    int err;

    if (sealed.left == 0) /* it is not resumed */
        return FK_OK;
    if (sealed.left != FK_SEALED_SESSION)
        return FK_ERR_FORMAT;
    if ((err = fk_opaque_ski(opaque, ski)) != FK_OK)
        return err;
    fk_writer_init(&out, bytes, sizeof bytes);
    fk_writer_u8(&out, VERSION);
    fk_writer_u8(&out, opaque->route.server > UINT8_MAX ? 0 : (uint8_t)opaque->route.server);
    fk_writer_bytes(&out, ski, sizeof ski);
    fk_writer_bytes(&out, sealed.next, sealed.left);
    if ((err = fk_writer_end(&out, &len)) != FK_OK)
        return err;
    return SSL_SESSION_set1_ticket_appdata(session, bytes, len) == 1 ? FK_OK : FK_ERR_NOMEM;
}

/* --- one that comes back --- */

static int find_kept(SSL_SESSION *session, struct kept *ret)
{
    struct fk_reader in;
    uint8_t version;
    void *data;
    size_t len;
    int err;

    if (SSL_SESSION_get0_ticket_appdata(session, &data, &len) != 1 || data == NULL)
        return FK_ERR_NOT_FOUND;
    fk_reader_init(&in, data, len);
    if ((err = fk_reader_u8(&in, &version)) != FK_OK)
        return err;
    if (version != VERSION)
        return FK_ERR_VERSION;
    if ((err = fk_reader_u8(&in, &ret->server)) != FK_OK ||
        (err = fk_reader_copy(&in, ret->ski, sizeof ret->ski)) != FK_OK ||
        (err = fk_reader_take(&in, FK_SEALED_SESSION, &ret->sealed)) != FK_OK)
        return err;
    return fk_reader_end(&in);
}

/* RESUME, for which the handshake pauses. */
struct asking {
    struct fk_rkey_wait wait;
    struct fk_opaque *opaque;
    const struct kept *kept;
    struct fk_reader payload;
};

static int submit(struct fk_rkey_wait *wait, fk_key_done_cb *done, void *arg, void **ret)
{
    const struct asking *asking = fk_container(wait, struct asking, wait);
    struct fk_keyback *back = asking->opaque->back;
    struct fk_key_request request = {
        .op = FK_KEY_CALL,
        .u.call = {FK_OP_RESUME, asking->payload.next, asking->payload.left},
        .route = &asking->opaque->route,
        .replaceable = true, /* by a full handshake */
        .context = fk_rkey_context(),
    };
    struct fk_key_ticket *ticket;
    int err;

    memcpy(request.ski, asking->kept->ski, sizeof request.ski);
    if ((err = back->ops->submit(back, &request, done, arg, &ticket)) == FK_OK)
        *ret = ticket;
    return err;
}

static void cancel(struct fk_rkey_wait *wait, void *call)
{
    struct fk_keyback *back = fk_container(wait, struct asking, wait)->opaque->back;

    back->ops->cancel(back, call);
}

static int ask(struct fk_opaque *opaque, const struct kept *kept, const struct fk_resume_op *op,
               struct fk_resume_answer *ret, uint8_t *answer, size_t size)
{
    uint8_t payload[1 + FK_SEALED_SESSION + FK_SESSION_CONTEXT + FK_RANDOM_SEED_SIZE + 2 * 32];
    struct asking asking = {
        .wait = {.submit = submit, .cancel = cancel}, .opaque = opaque, .kept = kept};
    struct fk_writer out;
    struct fk_reader reader;
    size_t len;
    int err;

    fk_writer_init(&out, payload, sizeof payload);
    fk_resume_op_encode(op, &out);
    if ((err = fk_writer_end(&out, &len)) != FK_OK)
        return err;
    fk_reader_init(&asking.payload, payload, len);
    if ((err = fk_rkey_await(&asking.wait, answer, size, &len)) != FK_OK)
        return err;
    fk_reader_init(&reader, answer, len);
    return fk_resume_answer_decode(reader, ret);
}

/* The keys that are its, and libssl's token of the session for its master secret. */
static int take(struct fk_opaque *opaque, SSL_SESSION *session,
                const struct fk_resume_answer *answer)
{
    const SSL_CIPHER *cipher = SSL_SESSION_get0_cipher(session);
    const struct fk_suite *suite =
        cipher == NULL ? NULL : fk_suite_find(SSL_CIPHER_get_protocol_id(cipher));

    if (suite == NULL || answer->key_block.left != fk_key_block_len(suite) ||
        answer->key_block.left > sizeof opaque->block)
        return FK_ERR_FORMAT;
    if (SSL_SESSION_get_master_key(session, opaque->master, sizeof opaque->master) !=
        sizeof opaque->master)
        return FK_ERR_INTERNAL;
    memcpy(opaque->block, answer->key_block.next, answer->key_block.left);
    opaque->block_len = answer->key_block.left;
    memcpy(opaque->master_handle, answer->handle, sizeof opaque->master_handle);
    opaque->prf = suite->hash_len == fk_prf_size(FK_PRF_SHA256) ? FK_PRF_SHA256 : FK_PRF_SHA384;
    return FK_OK;
}

static int resume(struct fk_opaque *opaque, const struct kept *kept, SSL_SESSION *session,
                  const uint8_t context[FK_SESSION_CONTEXT])
{
    struct fk_resume_op op = {.sealed = kept->sealed};
    uint8_t bytes[FK_HANDLE_SIZE + 1 + FK_KEY_BLOCK_MAX];
    struct fk_resume_answer answer;
    int err;

    if (SSL_get_client_random(opaque->ssl, op.client_random, sizeof op.client_random) !=
        sizeof op.client_random)
        return FK_ERR_INTERNAL;
    if ((err = fk_opaque_promise(opaque)) != FK_OK)
        return err;
    memcpy(op.context, context, sizeof op.context);
    memcpy(op.random_seed, opaque->promised.seed, sizeof op.random_seed);
    memcpy(op.server_random, opaque->promised.random, sizeof op.server_random);
    opaque->route.server = kept->server;
    if ((err = ask(opaque, kept, &op, &answer, bytes, sizeof bytes)) == FK_OK &&
        (err = take(opaque, session, &answer)) == FK_OK) {
        memcpy(opaque->resumed_ski, kept->ski, sizeof opaque->resumed_ski);
        opaque->is_resumed = true;
    }
    fk_wipe(bytes, sizeof bytes);
    return err;
}

int fk_opaque_resume(SSL_SESSION *session, const uint8_t context[FK_SESSION_CONTEXT])
{
    struct fk_opaque *opaque = fk_opaque_current();
    struct kept kept;
    int err;

    if (opaque == NULL || opaque->stage != FK_OPAQUE_BEGUN || fk_opaque_is_tls13(opaque))
        return FK_ERR_UNEXPECTED;
    if ((err = find_kept(session, &kept)) != FK_OK)
        return err;
    if ((err = resume(opaque, &kept, session, context)) == FK_OK)
        return fk_opaque_step(opaque, FK_OPAQUE_RESUME);
    opaque->route.server = 0; /* what follows may go anywhere */
    return err;
}

/* libssl draws its server random when it has taken the session up. */
int fk_opaque_resumed_block(struct fk_opaque *opaque, struct fk_reader seed)
{
    if (seed.left != 2 * sizeof opaque->promised.random ||
        memcmp(seed.next, opaque->promised.random, sizeof opaque->promised.random) != 0)
        return fk_rkey_raise(FK_ERR_INTERNAL, "a server random of other origin");
    return fk_opaque_step(opaque, FK_OPAQUE_BLOCK);
}
