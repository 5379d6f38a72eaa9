/*
 * One handshake's operation with a remote key: submit, pause, resume.
 *
 * Owns the thread's pointer to the handshake that is running now. Never blocks: outside of an
 * asynchronous job an operation fails, because there is nobody who could wait for it.
 */
#include "tls/rkey_provider.h"

#include "base/clock.h"
#include "base/err.h"
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

/* The operation is over, answered or given up. */
static void settle(struct fk_rkey_session *session, int err)
{
    session->ticket = NULL;
    session->waiting = false;
    session->done = true;
    session->err = err;
    session->waited_us += fk_clock_us() - session->started_us;
}

/* fk_key_done_cb: the back-end has answered. */
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
        session->back->ops->cancel(session->back, session->ticket);
        settle(session, err);
    } else if (session->done) { /* answered, not yet fetched by the job */
        clear_result(session);
        session->done = true;
        session->err = err;
    }
}

static int submit(struct fk_rkey_session *session, struct fk_keyback *back,
                  struct fk_key_request *request)
{
    struct fk_key_ticket *ticket;
    int err;

    request->context = &session->context;
    request->share = session->share;
    request->share_len = session->share_len;
    request->share_digest = session->share_digest;
    clear_result(session);
    session->err = FK_OK;
    session->operations++;
    session->started_us = fk_clock_us();
    err = back->ops->submit(back, request, answered, session, &ticket);
    if (err != FK_OK)
        return err;
    session->back = back;
    session->ticket = ticket;
    session->waiting = true;
    return FK_OK;
}

int fk_rkey_ask(struct fk_keyback *back, struct fk_key_request *request, uint8_t *out, size_t size,
                size_t *ret_len)
{
    /* The session outlives the job: its owner may not free it while the job is paused. */
    struct fk_rkey_session *session = current;
    int err;

    if (session == NULL || ASYNC_get_current_job() == NULL)
        return fk_rkey_raise(FK_ERR_INVAL, "not in an asynchronous handshake (SSL_MODE_ASYNC)");
    if (session->waiting)
        return fk_rkey_raise(FK_ERR_INVAL, "another operation is under way");
    err = submit(session, back, request);
    if (err != FK_OK)
        return fk_rkey_raise(err, "submit");
    while (!session->done) {
        /* Resumed for whatever reason: only `done` counts. */
        if (ASYNC_pause_job() == 0) {
            fk_rkey_abort(session, FK_ERR_INTERNAL);
            break;
        }
    }
    err = session->err;
    if (err == FK_OK && session->len > size)
        err = FK_ERR_LIMIT;
    if (err == FK_OK) {
        memcpy(out, session->data, session->len);
        *ret_len = session->len;
    }
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
