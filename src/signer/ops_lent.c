/*
 * Keys that are lent to this host's signer: asking for one, opening it, using it, and forgetting it
 * when its time is over.
 *
 * A key is here for one operation, or until its end; then it is freed with everything that was made
 * of it. The key of an ask is freed as soon as one answer to it was looked at: whoever takes this
 * process over later cannot open what was lent before.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/secret.h"
#include "base/writer.h"
#include "signer/lend.h"
#include "signer/ops_local.h"
#include "wire/keymsg.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(FK_LEND_ANSWER_MAX <= FK_SIGNER_RESULT_MAX, "an answer must fit");
/* The longest operation: SIGN12 with ServerDHParams. */
_Static_assert(FK_LEND_KEY + 2 + FK_LEND_ANSWER_MAX + 69 + 3 * (2 + FK_DH_PRIME_MAX) <=
                   FK_SIGNER_PAYLOAD_MAX,
               "a lending with an operation must fit");

/* A key that is lent, in the secure heap. */
struct loan {
    struct fk_keyset_entry entry;
    struct fk_key_state state;
    uint64_t end_us;
};

/* A lending that was asked for. */
struct ask {
    EVP_PKEY *once; /* NULL: the place is free */
    uint8_t ski[FK_SKI_SIZE];
    struct fk_lend op; /* what was asked */
    uint64_t end_us;
};

struct fk_loans {
    EVP_PKEY *recipient; /* this host's lend key */
    uint8_t public_key[FK_LEND_KEY];
    uint64_t end_us; /* nothing ends before; UINT64_MAX: nothing is here */
    struct loan *loans[FK_SIGNER_LENT_MAX];
    size_t n_loans;
    struct ask asks[FK_SIGNER_LEND_ASKS_MAX];
    size_t next_ask; /* the place of the oldest */
};

int fk_loans_new(const uint8_t lend_key[FK_LEND_KEY], struct fk_loans **ret)
{
    struct fk_loans *loans = calloc(1, sizeof *loans);
    size_t len = FK_LEND_KEY;

    if (loans == NULL)
        return FK_ERR_NOMEM;
    loans->end_us = UINT64_MAX;
    loans->recipient = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, lend_key, FK_LEND_KEY);
    if (loans->recipient == NULL ||
        EVP_PKEY_get_raw_public_key(loans->recipient, loans->public_key, &len) != 1) {
        fk_loans_free(loans);
        return FK_ERR_CRYPTO;
    }
    *ret = loans;
    return FK_OK;
}

static void free_loan(struct loan *loan)
{
    fk_key_state_fini(&loan->state);
    EVP_PKEY_free(loan->entry.pkey);
    OPENSSL_secure_clear_free(loan, sizeof *loan);
}

static void drop_ask(struct ask *ask)
{
    EVP_PKEY_free(ask->once);
    ask->once = NULL;
}

void fk_loans_free(struct fk_loans *loans)
{
    if (loans == NULL)
        return;
    while (loans->n_loans > 0)
        free_loan(loans->loans[--loans->n_loans]);
    for (size_t i = 0; i < FK_SIGNER_LEND_ASKS_MAX; i++)
        drop_ask(&loans->asks[i]);
    EVP_PKEY_free(loans->recipient);
    free(loans);
}

/* --- time --- */

static void ends_at(struct fk_loans *loans, uint64_t end_us)
{
    if (end_us < loans->end_us)
        loans->end_us = end_us;
}

uint64_t fk_loans_end_us(const struct fk_loans *loans)
{
    return loans->end_us;
}

void fk_loans_expire(struct fk_loans *loans, uint64_t now_us)
{
    if (now_us < loans->end_us)
        return;
    loans->end_us = UINT64_MAX;
    for (size_t i = loans->n_loans; i > 0; i--) {
        struct loan *loan = loans->loans[i - 1];

        if (now_us < loan->end_us) {
            ends_at(loans, loan->end_us);
            continue;
        }
        loans->loans[i - 1] = loans->loans[--loans->n_loans];
        free_loan(loan);
    }
    for (size_t i = 0; i < FK_SIGNER_LEND_ASKS_MAX; i++) {
        struct ask *ask = &loans->asks[i];

        if (ask->once != NULL && now_us >= ask->end_us)
            drop_ask(ask);
        else if (ask->once != NULL)
            ends_at(loans, ask->end_us);
    }
}

/* --- asking --- */

/* payload: seconds u32. The answer is LEND's payload. */
int fk_op_lend_ask(struct fk_op_call *call)
{
    struct fk_loans *loans = call->ops->loans;
    struct fk_writer writer;
    uint32_t seconds;
    struct ask *ask;
    int err;

    if (loans == NULL)
        return FK_ERR_UNSUPPORTED;
    if ((err = fk_reader_u32(&call->payload, &seconds)) != FK_OK ||
        (err = fk_reader_end(&call->payload)) != FK_OK)
        return err;
    ask = &loans->asks[loans->next_ask];
    drop_ask(ask);
    if ((err = fk_seal_key_new(&ask->once, ask->op.once)) != FK_OK)
        return err;
    loans->next_ask = (loans->next_ask + 1) % FK_SIGNER_LEND_ASKS_MAX;
    memcpy(ask->ski, call->ski, sizeof ask->ski);
    memcpy(ask->op.recipient, loans->public_key, sizeof ask->op.recipient);
    ask->op.seconds = seconds;
    ask->end_us = fk_clock_us() + FK_SIGNER_LEND_ASK_US;
    ends_at(loans, ask->end_us);
    fk_writer_init(&writer, call->ret, FK_SIGNER_RESULT_MAX);
    fk_lend_encode(&ask->op, &writer);
    return fk_writer_end(&writer, &call->ret_len);
}

/* That which was asked for with this key, for the key that is named now. */
static struct ask *find_ask(struct fk_loans *loans, const uint8_t ski[FK_SKI_SIZE],
                            const uint8_t once[FK_LEND_KEY])
{
    for (size_t i = 0; i < FK_SIGNER_LEND_ASKS_MAX; i++) {
        struct ask *ask = &loans->asks[i];

        if (ask->once != NULL && memcmp(ask->op.once, once, FK_LEND_KEY) == 0) /* public */
            return memcmp(ask->ski, ski, FK_SKI_SIZE) == 0 ? ask : NULL;
    }
    return NULL;
}

/* --- a key that is here --- */

static struct loan *find_loan(struct fk_loans *loans, const uint8_t ski[FK_SKI_SIZE],
                              size_t *ret_at)
{
    for (size_t i = 0; i < loans->n_loans; i++)
        if (memcmp(loans->loans[i]->entry.public.ski, ski, FK_SKI_SIZE) == 0) {
            *ret_at = i;
            return loans->loans[i];
        }
    return NULL;
}

/* In the place of the same key, or of that which ends first when there are too many. */
static void keep_loan(struct fk_loans *loans, struct loan *loan)
{
    size_t at = 0;

    if (find_loan(loans, loan->entry.public.ski, &at) == NULL) {
        if (loans->n_loans < FK_SIGNER_LENT_MAX) {
            loans->loans[loans->n_loans++] = loan;
            return;
        }
        for (size_t i = 1; i < loans->n_loans; i++)
            if (loans->loans[i]->end_us < loans->loans[at]->end_us)
                at = i;
    }
    free_loan(loans->loans[at]);
    loans->loans[at] = loan;
}

/* What it was lent for, and no more. */
static int use_loan(struct fk_op_call *call, struct loan *loan)
{
    if (!fk_ops_uses_key(call->detail))
        return FK_ERR_OPCODE;
    call->permissions = loan->entry.public.permissions;
    return fk_ops_with_key(call, &loan->entry, &loan->state, fk_ops_of_opcode(call->detail));
}

/* Key operation `detail` with a key that is lent. FK_ERR_KEY_NOT_FOUND: it is not, or no more. */
int fk_op_lent(struct fk_op_call *call)
{
    struct fk_loans *loans = call->ops->loans;
    struct loan *loan;
    size_t at;

    if (loans == NULL)
        return FK_ERR_UNSUPPORTED;
    loan = find_loan(loans, call->ski, &at);
    if (loan == NULL || fk_clock_us() >= loan->end_us)
        return FK_ERR_KEY_NOT_FOUND;
    return use_loan(call, loan);
}

/* --- taking one --- */

/* Fills a loan from an answer. Freed by the caller whatever happens. */
static int open_answer(struct fk_loans *loans, const struct ask *ask, struct fk_reader answer,
                       struct loan *loan)
{
    const struct fk_lend_keys keys = {loans->recipient, ask->once};
    uint8_t bytes[FK_LEND_SIZE];
    struct fk_lend_terms terms;
    struct fk_reader request;
    struct fk_writer writer;
    int err;

    fk_writer_init(&writer, bytes, sizeof bytes);
    fk_lend_encode(&ask->op, &writer);
    fk_reader_init(&request, bytes, sizeof bytes);
    if ((err = fk_lend_open(&keys, request, answer, &terms, &loan->entry.pkey)) != FK_OK ||
        (err = fk_key_describe(loan->entry.pkey, &loan->entry.public)) != FK_OK)
        return err;
    if (terms.seconds > ask->op.seconds ||
        memcmp(loan->entry.public.ski, ask->ski, sizeof ask->ski) != 0)
        return FK_ERR_VERIFY; /* another key, or for longer than was asked */
    loan->entry.public.permissions = terms.permissions;
    if (loan->entry.public.type == FK_KEY_RSA)
        err = fk_keyset_reject_secret(loan->entry.pkey, loan->entry.reject_secret);
    loan->end_us = fk_clock_us() + (uint64_t)terms.seconds * 1000000;
    return err;
}

/* payload: once 32 | LEND's answer<u16> | the operation's payload. */
int fk_op_borrow(struct fk_op_call *call)
{
    struct fk_loans *loans = call->ops->loans;
    uint8_t once[FK_LEND_KEY];
    struct fk_reader answer;
    struct loan *loan;
    struct ask *ask;
    int err;

    if (loans == NULL)
        return FK_ERR_UNSUPPORTED;
    if ((err = fk_reader_copy(&call->payload, once, sizeof once)) != FK_OK ||
        (err = fk_reader_vec16(&call->payload, &answer)) != FK_OK)
        return err;
    if ((ask = find_ask(loans, call->ski, once)) == NULL)
        return FK_ERR_EXPIRED;
    if ((loan = OPENSSL_secure_zalloc(sizeof *loan)) == NULL)
        return FK_ERR_NOMEM;
    err = open_answer(loans, ask, answer, loan);
    drop_ask(ask);
    if (err != FK_OK) {
        free_loan(loan);
        return err;
    }
    err = use_loan(call, loan);
    if (fk_clock_us() >= loan->end_us) { /* for this operation alone */
        free_loan(loan);
    } else {
        ends_at(loans, loan->end_us);
        keep_loan(loans, loan);
    }
    return err;
}
