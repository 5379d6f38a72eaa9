/*
 * One request: a copy of what was asked for, and its frame.
 *
 * Keeps the parts rather than a finished frame: each server that is tried gives it another id.
 */
#include "keyclient/internal.h"

#include "base/err.h"
#include "base/secret.h"
#include "base/writer.h"

#include <stdlib.h>
#include <string.h>

/* How an operation is named on the wire, and the scheme that its signature must have. */
static void name_operation(const struct fk_key_request *request, struct fk_key_ticket *ticket)
{
    switch (request->op) {
    case FK_KEY_SIGN13:
        ticket->opcode = FK_OP_SIGN13;
        ticket->scheme = request->u.sign13.scheme;
        break;
    case FK_KEY_SIGN12:
        ticket->opcode = FK_OP_SIGN12;
        ticket->scheme = request->u.sign12.scheme;
        break;
    case FK_KEY_DECRYPT:
        ticket->opcode = FK_OP_DECRYPT;
        break;
    case FK_KEY_CALL:
        ticket->opcode = request->u.call.opcode;
        break;
    }
}

static void copy_context(struct fk_key_ticket *ticket, const struct fk_key_context *context)
{
    memcpy(ticket->client_ip, context->client_ip, sizeof ticket->client_ip);
    memcpy(ticket->server_ip, context->server_ip, sizeof ticket->server_ip);
    ticket->client_ip_len = context->client_ip_len;
    ticket->server_ip_len = context->server_ip_len;
}

/* The payload as it is given, or written to `scratch`. */
static int find_payload(const struct fk_key_request *request, uint8_t scratch[FK_KEY_PAYLOAD_MAX],
                        struct fk_reader *ret)
{
    struct fk_writer writer;
    size_t len;
    int err;

    if (request->op == FK_KEY_CALL) {
        *ret = fk_item(request->u.call.payload, request->u.call.len);
        return request->u.call.len <= FK_KEY_CALL_MAX ? FK_OK : FK_ERR_LIMIT;
    }
    fk_writer_init(&writer, scratch, FK_KEY_PAYLOAD_MAX);
    if ((err = fk_key_request_encode(request, &writer)) != FK_OK ||
        (err = fk_writer_end(&writer, &len)) != FK_OK)
        return err;
    *ret = fk_item(scratch, len);
    return FK_OK;
}

int fk_ticket_new(struct fk_keypool *pool, const struct fk_key_request *request,
                  fk_key_done_cb *done, void *arg, struct fk_key_ticket **ret)
{
    static const struct fk_key_context no_context;
    const struct fk_key_context *context =
        request->context != NULL ? request->context : &no_context;
    size_t tbs_len = request->tbs_len;
    size_t sni_len = context->sni != NULL ? strnlen(context->sni, FK_HOST_MAX + 1) : 0;
    struct fk_key_ticket *ticket;
    uint8_t scratch[FK_KEY_PAYLOAD_MAX];
    struct fk_reader payload;
    int err;

    if ((err = find_payload(request, scratch, &payload)) != FK_OK)
        return err;
    if (sni_len > FK_HOST_MAX || tbs_len > FK_KEY_PAYLOAD_MAX ||
        request->share_len > FK_KEY_PAYLOAD_MAX)
        return FK_ERR_LIMIT;
    ticket = calloc(1, sizeof *ticket + payload.left + tbs_len + sni_len + request->share_len);
    if (ticket == NULL)
        return FK_ERR_NOMEM;
    ticket->pool = pool;
    ticket->done = done;
    ticket->arg = arg;
    name_operation(request, ticket);
    ticket->public_key = request->public_key;
    memcpy(ticket->ski, request->ski, sizeof ticket->ski);
    copy_context(ticket, context);
    ticket->route = request->route;
    ticket->replaceable = request->replaceable;
    ticket->payload_len = payload.left;
    ticket->tbs_len = tbs_len;
    ticket->sni_len = sni_len;
    ticket->share_len = request->share_len;
    if (payload.left > 0)
        memcpy(ticket->bytes, payload.next, payload.left);
    if (tbs_len > 0)
        memcpy(ticket->bytes + payload.left, request->tbs, tbs_len);
    if (sni_len > 0)
        memcpy(ticket->bytes + payload.left + tbs_len, context->sni, sni_len);
    if (request->share_len > 0)
        memcpy(ticket->bytes + payload.left + tbs_len + sni_len, request->share,
               request->share_len);
    fk_list_init(&ticket->pool_link);
    fk_list_init(&ticket->server_link);
    *ret = ticket;
    return FK_OK;
}

void fk_ticket_free(struct fk_key_ticket *ticket)
{
    fk_wipe(ticket->bytes, ticket->payload_len); /* a call may carry secrets */
    free(ticket);
}

size_t fk_ticket_size(const struct fk_key_ticket *ticket)
{
    return sizeof *ticket + ticket->payload_len + ticket->tbs_len + ticket->sni_len +
           ticket->share_len;
}

const uint8_t *fk_ticket_tbs(const struct fk_key_ticket *ticket)
{
    return ticket->bytes + ticket->payload_len;
}

static int encode(const struct fk_key_ticket *ticket, bool proven, struct fk_buf *out)
{
    struct fk_keymsg msg = {.id = ticket->id,
                            .opcode = ticket->opcode,
                            .payload = fk_item(ticket->bytes, ticket->payload_len),
                            .ski = fk_item(ticket->ski, sizeof ticket->ski)};

    if (ticket->sni_len > 0)
        msg.sni = fk_item(ticket->bytes + ticket->payload_len + ticket->tbs_len, ticket->sni_len);
    if (ticket->client_ip_len > 0)
        msg.client_ip = fk_item(ticket->client_ip, ticket->client_ip_len);
    if (ticket->server_ip_len > 0)
        msg.server_ip = fk_item(ticket->server_ip, ticket->server_ip_len);
    if (ticket->share_len > 0)
        msg.share = fk_item(ticket->bytes + ticket->payload_len + ticket->tbs_len + ticket->sni_len,
                            ticket->share_len);
    if (proven)
        msg.proof = fk_proof_blank();
    return fk_keymsg_encode(&msg, false, out);
}

int fk_ticket_encode(struct fk_key_ticket *ticket, struct fk_proof *proof, struct fk_buf *out)
{
    uint8_t bytes[FK_KEYPROOF_BODY_MAX + FK_FRAME_HEADER];
    struct fk_buf frame;
    size_t len;
    int err;

    if (!fk_proof_on(proof) || !fk_keyproof_covers(ticket->opcode))
        return encode(ticket, false, out);
    fk_buf_init(&frame, sizeof bytes);
    if ((err = encode(ticket, true, &frame)) == FK_OK) {
        len = fk_buf_len(&frame);
        memcpy(bytes, fk_buf_data(&frame), len);
        if ((err = fk_proof_sign(proof, bytes, len, ticket->signature)) == FK_OK)
            err = fk_buf_append(out, bytes, len);
    }
    fk_buf_fini(&frame);
    return err;
}
