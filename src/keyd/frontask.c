/*
 * From a key operation to a request with the signers. With a split key whose other share the edge
 * has not brought, another key server is asked for it first, through an asker process: what comes
 * back is sealed to the signer, for this operation.
 */
#include "keyd/front_priv.h"

#include "base/err.h"
#include "base/secret.h"
#include "base/writer.h"
#include "keyd/asker.h"
#include "wire/keyshare.h"

#include <stdlib.h>
#include <string.h>

void fk_front_unask(struct fk_front_request *request)
{
    if (request->asking != NULL)
        fk_wipe(request->asking, sizeof *request->asking + request->asking->len);
    free(request->asking);
    request->asking = NULL;
}

/* --- requests to signers --- */

static int end(struct fk_writer *writer, enum fk_signer_op op, struct fk_signer_ask *ret)
{
    int err = fk_writer_end(writer, &ret->len);

    ret->op = op;
    ret->payload = writer->base;
    return err;
}

/* The whole message, for a signer that believes nobody but the edge; and a share that the edge has
 * not brought. */
static int ask_signed(const struct fk_front_conn *conn, const struct fk_keymsg *msg,
                      struct fk_reader share, struct fk_writer *writer, struct fk_signer_ask *ret)
{
    fk_writer_vec8(writer, conn->edge->name, strlen(conn->edge->name));
    fk_writer_bytes(writer, conn->exporter, sizeof conn->exporter);
    fk_writer_vec16(writer, share.next, share.left);
    fk_writer_bytes(writer, msg->body.next, msg->body.left);
    return end(writer, FK_SIGNER_SIGNED, ret);
}

/* The share travels with the payload; only a signer can read it. */
static int ask_split(const struct fk_keymsg *msg, struct fk_reader share, struct fk_writer *writer,
                     struct fk_signer_ask *ret)
{
    fk_writer_vec16(writer, share.next, share.left);
    fk_writer_bytes(writer, msg->payload.next, msg->payload.left);
    return end(writer, FK_SIGNER_SPLIT, ret);
}

/* Who asks stands before what is asked. */
static int ask_named(const struct fk_front_conn *conn, const struct fk_keymsg *msg,
                     struct fk_writer *writer, struct fk_signer_ask *ret)
{
    fk_writer_vec8(writer, conn->edge->name, strlen(conn->edge->name));
    fk_writer_bytes(writer, msg->payload.next, msg->payload.left);
    return end(writer, ret->op, ret);
}

/* For an edge that does not sign: who it is, as that is what handles are bound to. */
static int ask_owned(const struct fk_front_conn *conn, const struct fk_keymsg *msg,
                     struct fk_reader share, struct fk_writer *writer, struct fk_signer_ask *ret)
{
    if (share.left == 0)
        share = msg->share;
    fk_writer_bytes(writer, conn->edge->owner, sizeof conn->edge->owner);
    fk_writer_vec16(writer, share.next, share.left);
    fk_writer_bytes(writer, msg->payload.next, msg->payload.left);
    return end(writer, FK_SIGNER_OWNED, ret);
}

/* `share`: of another key server; empty: none. `ask`: all but the payload; `pool`: who has the key.
 */
static int ask_signer(struct fk_front_request *request, struct fk_signer_pool *pool,
                      struct fk_signer_ask ask, const struct fk_keymsg *msg, struct fk_reader share)
{
    struct fk_front_conn *conn = request->conn;
    uint8_t bytes[FK_SIGNER_PAYLOAD_MAX];
    struct fk_writer writer;
    int err = FK_OK;

    ask.detail = msg->opcode;
    ask.payload = msg->payload.next;
    ask.len = msg->payload.left;
    fk_writer_init(&writer, bytes, sizeof bytes);
    if (conn->edge->signs)
        err = ask_signed(conn, msg, share, &writer, &ask);
    else if (ask.op == FK_SIGNER_LEND)
        err = ask_named(conn, msg, &writer, &ask);
    else if (ask.op == FK_SIGNER_OWNED)
        err = ask_owned(conn, msg, share, &writer, &ask);
    else if (share.left > 0)
        err = ask_split(msg, share, &writer, &ask);
    else if (fk_item_present(&msg->share) && conn->dialect == FK_DIALECT_2)
        err = ask_split(msg, msg->share, &writer, &ask);
    if (err == FK_OK)
        err = fk_signer_pool_submit(pool, &ask, fk_front_request_done, request, &request->call);
    return err;
}

/* --- shares of other key servers --- */

/* Whether it is asked of the signer in one step, and needs the key. */
static bool uses_key(const struct fk_signer_ask *ask, const struct fk_index_key *key,
                     uint8_t opcode)
{
    switch (opcode) {
    case FK_OP_SIGN13:
    case FK_OP_SIGN12:
    case FK_OP_DECRYPT:
        return true;
    case FK_OP_AGREE_INIT:
    case FK_OP_MASTER:
    case FK_OP_KEYS:
    case FK_OP_KEYS_KEEP:
    case FK_OP_EXPOSE: /* a power is for what both sides know; a handle needs no key */
        return key->split == FK_SHARE_SHAMIR && ask->handle == NULL;
    case FK_OP_FLIGHT13: /* which signs */
        return key->split == FK_SHARE_SHAMIR;
    default:
        return false;
    }
}

bool fk_front_lacks_share(const struct fk_front_conn *conn, const struct fk_index_key *key,
                          const struct fk_keymsg *msg)
{
    return key->split != 0 && !key->held && conn->dialect == FK_DIALECT_2 &&
           !fk_item_present(&msg->share) && conn->front->set->conf->keyservers != NULL;
}

/* Why there is none is for the log; to the edge it is missing. */
static void share_failed(struct fk_front_request *request, int err)
{
    struct fk_front *front = request->front;

    fk_front_count(front, FK_KEYD_SHARES_FAILED);
    fk_log_limited(&front->share_limit, FK_LOG_WARN, "no share of a split key to be had",
                   fk_str("key", request->key), fk_str("edge", request->edge), fk_error(err));
    fk_front_request_done(request, FK_ERR_SHARE_MISSING, NULL, 0, 0);
}

/* The asker's answer. */
static void on_share(void *arg, int err, const uint8_t *data, size_t len, uint32_t micros)
{
    struct fk_front_request *request = arg;
    const struct fk_front_asking *asking = request->asking;
    struct fk_frame frame = {.major = 1};
    struct fk_keymsg msg;

    (void)micros;
    if (err != FK_OK) {
        share_failed(request, err);
        return;
    }
    fk_front_count(request->front, FK_KEYD_SHARES_OK);
    fk_reader_init(&frame.body, asking->body, asking->len);
    err = request->conn == NULL ? FK_ERR_CANCELLED : fk_keymsg_decode(&frame, &msg);
    if (err == FK_OK)
        err = asking->go_on(request, asking, &msg, fk_item(data, len));
    if (err != FK_OK)
        fk_front_request_done(request, err, NULL, 0, 0);
}

/* A copy of what is needed when the share has come. */
static int keep(struct fk_front_request *request, const struct fk_front_asking *about,
                const struct fk_keymsg *msg)
{
    struct fk_front_asking *asking = malloc(sizeof *asking + msg->body.left);

    if (asking == NULL)
        return FK_ERR_NOMEM;
    *asking = *about;
    asking->len = msg->body.left;
    memcpy(asking->body, msg->body.next, msg->body.left);
    request->asking = asking;
    return FK_OK;
}

int fk_front_ask_share(struct fk_front_request *request, const struct fk_front_asking *about,
                       const struct fk_index_key *key, const struct fk_keymsg *msg,
                       struct fk_reader payload)
{
    const struct fk_share_ask what = {.opcode = msg->opcode, .payload = payload};
    struct fk_hs_ask ask = {.head = {.n_keys = 1}, .index = FK_HS_ANY};
    uint8_t bytes[FK_ASKER_PAYLOAD_MAX];
    struct fk_writer writer;
    size_t len;
    int err;

    fk_writer_init(&writer, bytes, sizeof bytes);
    fk_asker_encode(fk_item(request->sni, request->sni_len),
                    fk_item(request->client_ip, request->client_ip_len), &writer);
    fk_share_ask_encode(&what, &writer);
    if ((err = fk_writer_end(&writer, &len)) != FK_OK || (err = keep(request, about, msg)) != FK_OK)
        return err;
    ask.head.opcode = key->split == FK_SHARE_ADDITIVE ? FK_OP_PARTIAL : FK_OP_SHARE;
    memcpy(ask.head.skis[0], key->public.ski, sizeof ask.head.skis[0]);
    ask.payload = fk_item(bytes, len);
    return fk_hs_pool_submit(request->front->askers, &ask, on_share, request);
}

/* No token has a split key. */
static int go_on(struct fk_front_request *request, const struct fk_front_asking *asking,
                 const struct fk_keymsg *msg, struct fk_reader share)
{
    const struct fk_signer_ask ask = {.op = asking->op,
                                      .ski = asking->ski,
                                      .keeps = asking->keeps,
                                      .handle = asking->is_step ? asking->handle : NULL};

    return ask_signer(request, request->front->pool, ask, msg, share);
}

int fk_front_ask(struct fk_front_request *request, const struct fk_signer_ask *ask,
                 const struct fk_index_key *key, const struct fk_keymsg *msg)
{
    struct fk_signer_pool *pool = fk_front_pool_of(request->conn->front, key);
    struct fk_front_asking about = {.go_on = go_on, .op = ask->op, .keeps = ask->keeps};
    int err;

    if (pool == NULL)
        return FK_ERR_TOKEN;
    memcpy(about.ski, key->public.ski, sizeof about.ski);
    about.is_step = ask->handle != NULL;
    if (about.is_step)
        memcpy(about.handle, ask->handle, sizeof about.handle);
    err = uses_key(ask, key, msg->opcode) && fk_front_lacks_share(request->conn, key, msg)
              ? fk_front_ask_share(request, &about, key, msg, msg->payload)
              : ask_signer(request, pool, *ask, msg, fk_item(NULL, 0));
    if (err == FK_OK)
        fk_front_request_begin(request);
    return err;
}
