/*
 * Operations with keys that are lent, in up to three steps: see lendkeys.h.
 *
 * An operation goes to a signer (LENT). If that has the key, this is all. Else the operation waits
 * for a loan, which begins with it unless there is one already for this key and signer: the signer
 * says what to ask for (LEND_ASK), a key server answers (LEND), and the operation that has waited
 * longest takes the answer to the signer (BORROW). The others follow it in the same queue, so the
 * signer has the key when it comes to them. A signer's word that it has not got the key may cross
 * with the key: when something was lent since the signer was asked, it is asked once more.
 *
 * Tickets end in callbacks of the signers' pool and of the key servers, and, many at once, in
 * fail_tickets(); a callback may free all this, so that looks at `alive` after each one.
 */
#include "edge/lendkeys.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/log.h"
#include "base/secret.h"
#include "base/writer.h"
#include "edge/metrics.h"
#include "wire/keymsg.h"
#include "wire/keyop_lend.h"

#include <stdlib.h>
#include <string.h>

struct fk_lendkeys {
    struct fk_keyback back;
    struct fk_lendkeys_config config;
    struct fk_list asked; /* tickets that a signer has */
    struct fk_list loans;
    struct fk_list failed; /* tickets that fail_tickets() ends */
    struct fk_defer fail;
    bool *alive; /* of fail_tickets(); NULL: it does not run */
    struct fk_lendkeys_stats stats;
    struct fk_log_limit log_limit;
};

/* A key on its way to a signer. */
struct loan {
    struct fk_list link;
    struct fk_lendkeys *keys;
    uint8_t ski[20];
    struct fk_signer_route route; /* to whom */
    bool shared;                  /* others may wait for it */
    struct fk_list waiting;       /* tickets, at least one */
    struct fk_signer_call *call;  /* the signer is asked, */
    struct fk_key_ticket *lender; /* then a key server */
    uint8_t once[FK_LEND_KEY];
};

/* One operation. */
struct ticket {
    struct fk_list link; /* in keys->asked, loan->waiting or keys->failed */
    struct fk_lendkeys *keys;
    struct loan *loan;           /* it waits for, or NULL */
    struct fk_signer_call *call; /* or that has it */
    struct fk_signer_route route;
    uint64_t lendings; /* that had come when the signer was asked */
    bool borrowed;     /* a lending was waited for: there is not another one */
    int err;           /* once it has failed */
    fk_key_done_cb *done;
    void *arg;
    uint8_t ski[20];
    uint8_t opcode;
    struct fk_key_context context;
    char sni[FK_HOST_MAX + 1];
    size_t len;
    uint8_t payload[];
};

/* --- tickets --- */

static int ticket_new(struct fk_lendkeys *keys, const struct fk_key_request *request,
                      struct ticket **ret)
{
    static const uint8_t opcodes[] = {[FK_KEY_SIGN13] = FK_OP_SIGN13,
                                      [FK_KEY_SIGN12] = FK_OP_SIGN12,
                                      [FK_KEY_DECRYPT] = FK_OP_DECRYPT};
    uint8_t payload[FK_KEY_PAYLOAD_MAX];
    struct fk_writer writer;
    struct ticket *ticket;
    size_t len;
    int err;

    fk_writer_init(&writer, payload, sizeof payload);
    if ((err = fk_key_request_encode(request, &writer)) != FK_OK ||
        (err = fk_writer_end(&writer, &len)) != FK_OK)
        return err;
    if ((ticket = calloc(1, sizeof *ticket + len)) == NULL)
        return FK_ERR_NOMEM;
    ticket->keys = keys;
    ticket->opcode = opcodes[request->op];
    memcpy(ticket->ski, request->ski, sizeof ticket->ski);
    memcpy(ticket->payload, payload, len);
    ticket->len = len;
    if (request->context != NULL)
        ticket->context = *request->context;
    if (ticket->context.sni != NULL) {
        size_t n = strnlen(ticket->context.sni, FK_HOST_MAX);

        memcpy(ticket->sni, ticket->context.sni, n);
        ticket->context.sni = ticket->sni;
    }
    *ret = ticket;
    return FK_OK;
}

/* The end of one, from a callback of the signers' pool. */
static void finish(struct ticket *ticket, int err, const uint8_t *data, size_t len)
{
    fk_key_done_cb *done = ticket->done;
    void *arg = ticket->arg;

    fk_list_del(&ticket->link);
    free(ticket);
    done(arg, err, data, len);
}

/* The end of one, from anywhere else. */
static void fail(struct ticket *ticket, int err)
{
    struct fk_lendkeys *keys = ticket->keys;

    ticket->err = err;
    ticket->loan = NULL;
    fk_list_del(&ticket->link);
    fk_list_append(&keys->failed, &ticket->link);
    fk_defer_start(&keys->fail);
}

static void fail_tickets(struct fk_defer *defer)
{
    struct fk_lendkeys *keys = fk_container(defer, struct fk_lendkeys, fail);
    struct fk_list *item;
    bool alive = true;

    keys->alive = &alive;
    while ((item = fk_list_pop(&keys->failed)) != NULL) {
        struct ticket *ticket = fk_container(item, struct ticket, link);

        finish(ticket, ticket->err, NULL, 0);
        if (!alive)
            return;
    }
    keys->alive = NULL;
}

/* --- at the signer --- */

static int begin_loan(struct ticket *ticket);
static int ask_again(struct ticket *ticket);

static void on_result(void *arg, int err, const uint8_t *data, size_t len, uint32_t micros)
{
    struct ticket *ticket = arg;

    (void)micros;
    ticket->call = NULL;
    if (err == FK_ERR_KEY_NOT_FOUND && !ticket->borrowed)
        err = ticket->lendings == ticket->keys->stats.lendings ? begin_loan(ticket)
                                                               : ask_again(ticket);
    else if (err == FK_ERR_KEY_NOT_FOUND)
        err = FK_ERR_EXPIRED; /* it was there, and has gone before we came */
    else if (err == FK_OK) {
        finish(ticket, FK_OK, data, len);
        return;
    }
    if (err != FK_OK)
        finish(ticket, err, NULL, 0);
}

static int ask_signer(struct ticket *ticket, enum fk_signer_op op, const void *payload, size_t len)
{
    const struct fk_signer_ask ask = {.op = op,
                                      .detail = ticket->opcode,
                                      .ski = ticket->ski,
                                      .payload = payload,
                                      .len = len,
                                      .route = &ticket->route};
    struct fk_lendkeys *keys = ticket->keys;
    int err = fk_signer_pool_submit(keys->config.signers, &ask, on_result, ticket, &ticket->call);

    if (err != FK_OK)
        return err;
    ticket->lendings = keys->stats.lendings;
    fk_list_del(&ticket->link);
    fk_list_append(&keys->asked, &ticket->link);
    return FK_OK;
}

/* The same signer: what was lent since may have been this key. */
static int ask_again(struct ticket *ticket)
{
    return ask_signer(ticket, FK_SIGNER_LENT, ticket->payload, ticket->len);
}

/* The operation along with the key. */
static int bring(struct ticket *ticket, const uint8_t once[FK_LEND_KEY], const uint8_t *answer,
                 size_t answer_len)
{
    uint8_t bytes[FK_SIGNER_PAYLOAD_MAX];
    struct fk_writer writer;
    size_t len;
    int err;

    fk_writer_init(&writer, bytes, sizeof bytes);
    fk_writer_bytes(&writer, once, FK_LEND_KEY);
    fk_writer_vec16(&writer, answer, answer_len);
    fk_writer_bytes(&writer, ticket->payload, ticket->len);
    if ((err = fk_writer_end(&writer, &len)) != FK_OK)
        return err;
    return ask_signer(ticket, FK_SIGNER_BORROW, bytes, len);
}

/* --- loans --- */

static void loan_free(struct loan *loan)
{
    fk_list_del(&loan->link);
    free(loan);
}

/* Nobody waits for it any more, or it is to end. */
static void loan_drop(struct loan *loan)
{
    const struct fk_lendkeys_config *config = &loan->keys->config;

    if (loan->call != NULL)
        fk_signer_pool_cancel(config->signers, loan->call);
    if (loan->lender != NULL)
        config->servers->ops->cancel(config->servers, loan->lender);
    loan_free(loan);
}

static void loan_fails(struct loan *loan, int err)
{
    struct fk_lendkeys *keys = loan->keys;

    keys->stats.failures++;
    fk_metric_add(keys->config.metrics, FK_EDGE_LEND_FAILED, 1);
    fk_log_limited(&keys->log_limit, FK_LOG_WARN, "no key is lent",
                   fk_str("site", keys->config.site), fk_error(err));
    while (!fk_list_empty(&loan->waiting))
        fail(fk_container(loan->waiting.next, struct ticket, link), err);
    loan_free(loan);
}

/* It is there: who has waited longest brings it, the others come behind. */
static void on_lent(void *arg, int err, const uint8_t *data, size_t len)
{
    struct loan *loan = arg;
    bool first = true;

    loan->lender = NULL;
    if (err != FK_OK) {
        loan_fails(loan, err);
        return;
    }
    loan->keys->stats.lendings++;
    fk_metric_add(loan->keys->config.metrics, FK_EDGE_LENT, 1);
    while (!fk_list_empty(&loan->waiting)) {
        struct ticket *ticket = fk_container(loan->waiting.next, struct ticket, link);

        ticket->loan = NULL;
        ticket->borrowed = true;
        ticket->route = loan->route;
        err = first ? bring(ticket, loan->once, data, len)
                    : ask_signer(ticket, FK_SIGNER_LENT, ticket->payload, ticket->len);
        if (err != FK_OK)
            fail(ticket, err);
        else
            first = false;
    }
    loan_free(loan);
}

/* What the signer wants to be asked for. */
static void on_ask(void *arg, int err, const uint8_t *data, size_t len, uint32_t micros)
{
    struct loan *loan = arg;
    struct fk_keyback *servers = loan->keys->config.servers;
    const struct ticket *first = fk_container(loan->waiting.next, struct ticket, link);
    struct fk_key_request request = {
        .op = FK_KEY_CALL, .u.call = {FK_OP_LEND, data, len}, .context = &first->context};
    struct fk_reader payload;
    struct fk_lend op;

    (void)micros;
    loan->call = NULL;
    memcpy(request.ski, loan->ski, sizeof request.ski);
    fk_reader_init(&payload, data, len);
    if (err == FK_OK && (err = fk_lend_decode(payload, &op)) == FK_OK) {
        memcpy(loan->once, op.once, sizeof loan->once);
        err = servers->ops->submit(servers, &request, on_lent, loan, &loan->lender);
    }
    if (err != FK_OK)
        loan_fails(loan, err);
}

/* Begun by a ticket whose key a signer has not got: that signer is to have it. */
static int loan_new(const struct ticket *ticket, struct loan **ret)
{
    struct fk_lendkeys *keys = ticket->keys;
    struct loan *loan = calloc(1, sizeof *loan);
    uint8_t seconds[4];
    struct fk_signer_ask ask = {
        .op = FK_SIGNER_LEND_ASK, .ski = ticket->ski, .payload = seconds, .len = sizeof seconds};
    struct fk_writer writer;
    int err;

    if (loan == NULL)
        return FK_ERR_NOMEM;
    loan->keys = keys;
    loan->route = ticket->route;
    loan->shared = keys->config.seconds > 0;
    memcpy(loan->ski, ticket->ski, sizeof loan->ski);
    fk_list_init(&loan->waiting);
    fk_writer_init(&writer, seconds, sizeof seconds);
    fk_writer_u32(&writer, keys->config.seconds);
    ask.route = &loan->route;
    err = fk_signer_pool_submit(keys->config.signers, &ask, on_ask, loan, &loan->call);
    if (err != FK_OK) {
        free(loan);
        return err;
    }
    fk_list_append(&keys->loans, &loan->link);
    *ret = loan;
    return FK_OK;
}

static struct loan *find_loan(struct fk_lendkeys *keys, const struct ticket *ticket)
{
    struct fk_list *item;

    fk_list_each (item, &keys->loans) {
        struct loan *loan = fk_container(item, struct loan, link);

        if (loan->shared && loan->route.signer == ticket->route.signer &&
            memcmp(loan->ski, ticket->ski, sizeof loan->ski) == 0) /* public */
            return loan;
    }
    return NULL;
}

static int begin_loan(struct ticket *ticket)
{
    struct loan *loan = find_loan(ticket->keys, ticket);
    int err;

    if (loan == NULL && (err = loan_new(ticket, &loan)) != FK_OK)
        return err;
    ticket->loan = loan;
    fk_list_del(&ticket->link);
    fk_list_append(&loan->waiting, &ticket->link);
    return FK_OK;
}

/* --- the back-end --- */

static int submit(struct fk_keyback *back, const struct fk_key_request *request,
                  fk_key_done_cb *done, void *arg, struct fk_key_ticket **ret)
{
    struct fk_lendkeys *keys = fk_container(back, struct fk_lendkeys, back);
    struct ticket *ticket;
    int err;

    if (request->op == FK_KEY_CALL)
        return FK_ERR_UNSUPPORTED;
    if ((err = ticket_new(keys, request, &ticket)) != FK_OK)
        return err;
    ticket->done = done;
    ticket->arg = arg;
    fk_list_init(&ticket->link);
    err = keys->config.seconds > 0
              ? ask_signer(ticket, FK_SIGNER_LENT, ticket->payload, ticket->len)
              : begin_loan(ticket); /* nothing is kept, so nothing can be there */
    if (err != FK_OK) {
        free(ticket);
        return err;
    }
    *ret = (struct fk_key_ticket *)(void *)ticket;
    return FK_OK;
}

static void forget(struct ticket *ticket)
{
    struct loan *loan = ticket->loan;

    if (ticket->call != NULL)
        fk_signer_pool_cancel(ticket->keys->config.signers, ticket->call);
    fk_list_del(&ticket->link);
    free(ticket);
    if (loan != NULL && fk_list_empty(&loan->waiting))
        loan_drop(loan);
}

static void cancel(struct fk_keyback *back, struct fk_key_ticket *ticket)
{
    (void)back;
    forget((struct ticket *)(void *)ticket);
}

/* The signer is ours and on this machine: nothing to do. */
static void suspect(struct fk_keyback *back)
{
    (void)back;
}

static const struct fk_keyback_ops back_ops = {
    .submit = submit, .cancel = cancel, .suspect = suspect};

int fk_lendkeys_new(const struct fk_lendkeys_config *config, struct fk_lendkeys **ret)
{
    struct fk_lendkeys *keys = calloc(1, sizeof *keys);

    if (keys == NULL)
        return FK_ERR_NOMEM;
    keys->config = *config;
    keys->back.ops = &back_ops;
    keys->back.deadline_us =
        config->servers->deadline_us + (uint64_t)3 * FK_EDGE_SIGNER_DEADLINE_US;
    fk_list_init(&keys->asked);
    fk_list_init(&keys->loans);
    fk_list_init(&keys->failed);
    fk_defer_init(&keys->fail, config->loop, fail_tickets);
    *ret = keys;
    return FK_OK;
}

static void forget_all(struct fk_list *list)
{
    struct fk_list *item;

    while ((item = fk_list_pop(list)) != NULL)
        forget(fk_container(item, struct ticket, link));
}

/* With those who wait for it. */
static void forget_loan(struct loan *loan)
{
    struct fk_list *item;

    while ((item = fk_list_pop(&loan->waiting)) != NULL)
        free(fk_container(item, struct ticket, link));
    loan_drop(loan);
}

void fk_lendkeys_free(struct fk_lendkeys *keys)
{
    struct fk_list *item;

    if (keys == NULL)
        return;
    if (keys->alive != NULL)
        *keys->alive = false;
    forget_all(&keys->asked);
    forget_all(&keys->failed);
    while ((item = fk_list_pop(&keys->loans)) != NULL)
        forget_loan(fk_container(item, struct loan, link));
    fk_defer_stop(&keys->fail);
    free(keys);
}

struct fk_keyback *fk_lendkeys_back(struct fk_lendkeys *keys)
{
    return &keys->back;
}

void fk_lendkeys_stats(const struct fk_lendkeys *keys, struct fk_lendkeys_stats *ret)
{
    *ret = keys->stats;
}
