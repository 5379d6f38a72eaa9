/*
 * What a handshake waits for, an operation with a remote key or something else: submit, pause,
 * resume.
 *
 * Owns the thread's pointer to the handshake that is running now. Never blocks: outside of an
 * asynchronous job an operation fails, because there is nobody who could wait for it.
 */
#include "tls/rkey_provider.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/secret.h"

#include <openssl/async.h>
#include <openssl/err.h>
#include <string.h>

static _Thread_local struct fk_rkey_session *current;

void fk_rkey_enter(struct fk_rkey_session *session)
{
    current = session;
}

void fk_rkey_leave(void)
{
    current = NULL;
}

struct fk_rkey_session *fk_rkey_current(void)
{
    return current;
}

int fk_rkey_raise(int err, const char *what)
{
    if (current != NULL)
        current->err = err;
    ERR_raise_data(ERR_LIB_USER, -err, "remote key: %s: %s", what, fk_err_text(err));
    return err;
}

static void clear_result(struct fk_rkey_session *session)
{
    fk_wipe(session->data, session->len);
    session->len = 0;
    session->done = false;
}

/* The wait is over, answered or given up. */
static void settle(struct fk_rkey_session *session, int err)
{
    session->wait = NULL;
    session->call = NULL;
    session->waiting = false;
    session->done = true;
    session->err = err;
}

/* fk_key_done_cb: the answer is here. */
static void answered(void *arg, int err, const uint8_t *data, size_t len)
{
    struct fk_rkey_session *session = arg;

    if (err == FK_OK && len > sizeof session->data)
        err = FK_ERR_LIMIT;
    if (err == FK_OK) {
        memcpy(session->data, data, len);
        session->len = len;
    }
    settle(session, err);
    session->wake(session); /* may free the session: nothing after this */
}

void fk_rkey_abort(struct fk_rkey_session *session, int err)
{
    if (session->waiting) {
        session->wait->cancel(session->wait, session->call);
        settle(session, err);
        session->over = err;
    } else if (session->done) { /* answered, not yet fetched by the job */
        clear_result(session);
        session->done = true;
        session->err = session->over = err;
    }
}

static int submit(struct fk_rkey_session *session, struct fk_rkey_wait *wait)
{
    void *call;
    int err;

    clear_result(session);
    session->err = FK_OK;
    if (session->over != FK_OK)
        return session->over;
    if ((err = wait->submit(wait, answered, session, &call)) != FK_OK)
        return err;
    session->wait = wait;
    session->call = call;
    session->waiting = true;
    return FK_OK;
}

/* The answer is in the session's `data`, or its error there. */
static int await(struct fk_rkey_session *session, struct fk_rkey_wait *wait)
{
    int err;

    if (ASYNC_get_current_job() == NULL || session->waiting)
        return FK_ERR_INVAL;
    if ((err = submit(session, wait)) != FK_OK)
        return err;
    while (!session->done) {
        /* Resumed for whatever reason: only `done` counts. */
        if (ASYNC_pause_job() == 0) {
            fk_rkey_abort(session, FK_ERR_INTERNAL);
            break;
        }
    }
    return session->err;
}

static int fetch(struct fk_rkey_session *session, uint8_t *out, size_t size, size_t *ret_len)
{
    if (session->len > size)
        return FK_ERR_LIMIT;
    memcpy(out, session->data, session->len);
    *ret_len = session->len;
    return FK_OK;
}

int fk_rkey_await(struct fk_rkey_wait *wait, uint8_t *out, size_t size, size_t *ret_len)
{
    /* The session outlives the job: its owner may not free it while the job is paused. */
    struct fk_rkey_session *session = current;
    int err;

    if (session == NULL)
        return FK_ERR_INVAL;
    if (session->awaits++ >= FK_HANDSHAKE_AWAITS_MAX)
        return FK_ERR_LIMIT;
    err = await(session, wait);
    if (err == FK_OK)
        err = fetch(session, out, size, ret_len);
    clear_result(session);
    session->err = FK_OK;
    return err;
}

const struct fk_key_context *fk_rkey_context(void)
{
    return current == NULL ? NULL : &current->context;
}

/* --- private keys --- */

struct operation {
    struct fk_rkey_wait wait;
    struct fk_keyback *back;
    const struct fk_key_request *request;
};

static int ask_key(struct fk_rkey_wait *wait, fk_key_done_cb *done, void *arg, void **ret)
{
    const struct operation *op = fk_container(wait, struct operation, wait);
    struct fk_key_ticket *ticket;
    int err = op->back->ops->submit(op->back, op->request, done, arg, &ticket);

    if (err == FK_OK)
        *ret = ticket;
    return err;
}

static void cancel_key(struct fk_rkey_wait *wait, void *call)
{
    const struct operation *op = fk_container(wait, struct operation, wait);

    op->back->ops->cancel(op->back, call);
}

int fk_rkey_ask(struct fk_keyback *back, struct fk_key_request *request, uint8_t *out, size_t size,
                size_t *ret_len)
{
    struct operation op = {
        .wait = {.submit = ask_key, .cancel = cancel_key}, .back = back, .request = request};
    struct fk_rkey_session *session = current;
    uint64_t started = fk_clock_us();
    int err;

    if (session == NULL || ASYNC_get_current_job() == NULL)
        return fk_rkey_raise(FK_ERR_INVAL, "not in an asynchronous handshake (SSL_MODE_ASYNC)");
    if (session->waiting)
        return fk_rkey_raise(FK_ERR_INVAL, "another operation is under way");
    request->context = &session->context;
    request->share = session->share;
    request->share_len = session->share_len;
    request->share_digest = session->share_digest;
    session->operations++;
    err = await(session, &op.wait);
    session->waited_us += fk_clock_us() - started;
    if (err == FK_OK)
        err = fetch(session, out, size, ret_len);
    clear_result(session);
    return err == FK_OK ? FK_OK : fk_rkey_raise(err, "operation failed");
}

int fk_rkey_run(const struct fk_rkey *key, struct fk_key_request *request, uint8_t *out,
                size_t size, size_t *ret_len)
{
    if (key->back == NULL)
        return fk_rkey_raise(FK_ERR_UNSUPPORTED, "public key only");
    memcpy(request->ski, key->ski, sizeof request->ski);
    request->public_key = key->public_key;
    return fk_rkey_ask(key->back, request, out, size, ret_len);
}
