/* Operations with split keys, in two steps: see sharekeys.h. */
#include "edge/sharekeys.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/secret.h"
#include "base/writer.h"
#include "signer/share.h"
#include "wire/keymsg.h"

#include <stdlib.h>
#include <string.h>

struct fk_sharekeys {
    struct fk_keyback back;
    struct fk_keyback *servers;
    struct fk_signer_pool *signers;
    struct fk_list tickets;
};

/* One operation: with the signer, then with the key servers. */
struct ticket {
    struct fk_list link;
    struct fk_sharekeys *keys;
    struct fk_key_request request; /* what it refers to is in `bytes` */
    struct fk_key_context context;
    fk_key_done_cb *done;
    void *arg;
    struct fk_signer_call *call; /* first */
    struct fk_key_ticket *asked; /* then */
    size_t payload_len, tbs_len;
    uint8_t bytes[]; /* opcode and payload, tbs, server name with its NUL */
};

/* --- a copy of a request --- */

/* As it is given, or written to `scratch`. */
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

/* The operation, borrowing from the copy of its payload; and its opcode before that. */
static int read_back(struct ticket *ticket)
{
    struct fk_key_request *request = &ticket->request;
    struct fk_reader payload = fk_item(ticket->bytes + 1, ticket->payload_len);
    uint8_t *ret_opcode = &ticket->bytes[0];

    switch (request->op) {
    case FK_KEY_SIGN13:
        *ret_opcode = FK_OP_SIGN13;
        return FK_OK; /* borrows nothing */
    case FK_KEY_SIGN12:
        *ret_opcode = FK_OP_SIGN12;
        return fk_sign12_decode(payload, &request->u.sign12);
    case FK_KEY_DECRYPT:
        *ret_opcode = FK_OP_DECRYPT;
        return fk_decrypt_decode(payload, &request->u.decrypt);
    case FK_KEY_CALL:
        *ret_opcode = request->u.call.opcode;
        request->u.call.payload = ticket->bytes + 1;
        return FK_OK;
    }
    return FK_ERR_INVAL;
}

static void copy_context(struct ticket *ticket, const struct fk_key_context *context,
                         size_t sni_size)
{
    uint8_t *sni = ticket->bytes + 1 + ticket->payload_len + ticket->tbs_len;

    ticket->context = *context;
    ticket->request.context = &ticket->context;
    if (sni_size == 0)
        return;
    memcpy(sni, context->sni, sni_size);
    ticket->context.sni = (const char *)sni;
}

static int ticket_new(struct fk_sharekeys *keys, const struct fk_key_request *request,
                      struct ticket **ret)
{
    const struct fk_key_context *context = request->context;
    size_t sni_size = context != NULL && context->sni != NULL ? strlen(context->sni) + 1 : 0;
    uint8_t scratch[FK_KEY_PAYLOAD_MAX];
    struct fk_reader payload;
    struct ticket *ticket;
    int err;

    if ((err = find_payload(request, scratch, &payload)) != FK_OK)
        return err;
    if (request->tbs_len > FK_KEY_PAYLOAD_MAX || sni_size > FK_HOST_MAX + 1)
        return FK_ERR_LIMIT;
    if ((ticket = calloc(1, sizeof *ticket + 1 + payload.left + request->tbs_len + sni_size)) ==
        NULL)
        return FK_ERR_NOMEM;
    ticket->keys = keys;
    ticket->request = *request;
    ticket->payload_len = payload.left;
    ticket->tbs_len = request->tbs_len;
    if (payload.left > 0)
        memcpy(ticket->bytes + 1, payload.next, payload.left);
    if (request->tbs_len > 0)
        memcpy(ticket->bytes + 1 + payload.left, request->tbs, request->tbs_len);
    ticket->request.tbs = ticket->bytes + 1 + payload.left;
    if (context != NULL)
        copy_context(ticket, context, sni_size);
    if ((err = read_back(ticket)) != FK_OK) {
        free(ticket);
        return err;
    }
    fk_list_append(&keys->tickets, &ticket->link);
    *ret = ticket;
    return FK_OK;
}

static void ticket_free(struct ticket *ticket)
{
    fk_list_del(&ticket->link);
    fk_wipe(ticket->bytes, 1 + ticket->payload_len); /* a call may carry secrets */
    free(ticket);
}

/* --- its two steps --- */

static void finish(struct ticket *ticket, int err, const uint8_t *data, size_t len)
{
    fk_key_done_cb *done = ticket->done;
    void *arg = ticket->arg;

    ticket_free(ticket);
    done(arg, err, data, len);
}

static void on_answer(void *arg, int err, const uint8_t *data, size_t len)
{
    finish(arg, err, data, len);
}

static int ask_servers(struct ticket *ticket)
{
    struct fk_keyback *servers = ticket->keys->servers;

    return servers->ops->submit(servers, &ticket->request, on_answer, ticket, &ticket->asked);
}

static void on_sealed(void *arg, int err, const uint8_t *data, size_t len, uint32_t micros)
{
    struct ticket *ticket = arg;

    (void)micros;
    ticket->call = NULL;
    if (err == FK_OK) {
        ticket->request.share = data; /* until submit has copied it */
        ticket->request.share_len = len;
    }
    /* Of that key there is no share here, or that operation takes none. */
    if (err == FK_OK || err == FK_ERR_KEY_NOT_FOUND || err == FK_ERR_OPCODE)
        err = ask_servers(ticket);
    if (err != FK_OK)
        finish(ticket, err, NULL, 0);
}

/*
 * Ask the signer for its share, for this operation; HS_OPEN is named by its SHA-256, as in the
 * binding. What else is too long for a signer is no operation with a share.
 */
static int ask_signer(struct ticket *ticket)
{
    struct fk_signer_ask ask = {.op = FK_SIGNER_SHARE,
                                .ski = ticket->request.ski,
                                .payload = ticket->bytes,
                                .len = 1 + ticket->payload_len};
    uint8_t opening[1 + FK_SHARE_DIGEST] = {FK_OP_HS_OPEN};

    if (ticket->bytes[0] == FK_OP_HS_OPEN) {
        if (EVP_Digest(ticket->bytes + 1, ticket->payload_len, opening + 1, NULL, EVP_sha256(),
                       NULL) != 1)
            return FK_ERR_CRYPTO;
        ask.payload = opening;
        ask.len = sizeof opening;
    }
    if (ask.len > FK_SIGNER_PAYLOAD_MAX)
        return ask_servers(ticket);
    return fk_signer_pool_submit(ticket->keys->signers, &ask, on_sealed, ticket, &ticket->call);
}

static int submit(struct fk_keyback *back, const struct fk_key_request *request,
                  fk_key_done_cb *done, void *arg, struct fk_key_ticket **ret)
{
    struct fk_sharekeys *keys = fk_container(back, struct fk_sharekeys, back);
    struct ticket *ticket;
    int err;

    if ((err = ticket_new(keys, request, &ticket)) != FK_OK)
        return err;
    ticket->done = done;
    ticket->arg = arg;
    if ((err = ask_signer(ticket)) != FK_OK) {
        ticket_free(ticket);
        return err;
    }
    *ret = (struct fk_key_ticket *)(void *)ticket;
    return FK_OK;
}

static void forget(struct ticket *ticket)
{
    struct fk_sharekeys *keys = ticket->keys;

    if (ticket->call != NULL)
        fk_signer_pool_cancel(keys->signers, ticket->call);
    else
        keys->servers->ops->cancel(keys->servers, ticket->asked);
    ticket_free(ticket);
}

static void cancel(struct fk_keyback *back, struct fk_key_ticket *ticket)
{
    (void)back;
    forget((struct ticket *)(void *)ticket);
}

static void suspect(struct fk_keyback *back)
{
    struct fk_keyback *servers = fk_container(back, struct fk_sharekeys, back)->servers;

    servers->ops->suspect(servers);
}

static const struct fk_keyback_ops back_ops = {
    .submit = submit, .cancel = cancel, .suspect = suspect};

int fk_sharekeys_new(struct fk_keyback *servers, struct fk_signer_pool *signers,
                     struct fk_sharekeys **ret)
{
    struct fk_sharekeys *keys = calloc(1, sizeof *keys);

    if (keys == NULL)
        return FK_ERR_NOMEM;
    keys->back.ops = &back_ops;
    keys->back.deadline_us = servers->deadline_us + FK_EDGE_SIGNER_DEADLINE_US;
    keys->servers = servers;
    keys->signers = signers;
    fk_list_init(&keys->tickets);
    *ret = keys;
    return FK_OK;
}

void fk_sharekeys_free(struct fk_sharekeys *keys)
{
    struct fk_list *item;

    if (keys == NULL)
        return;
    while ((item = fk_list_pop(&keys->tickets)) != NULL)
        forget(fk_container(item, struct ticket, link));
    free(keys);
}

struct fk_keyback *fk_sharekeys_back(struct fk_sharekeys *keys)
{
    return &keys->back;
}
