/*
 * A token behind a PKCS#11 module (version 2.20 and later): loading it, finding the token, logging
 * in, sessions. What is done with its keys is in pkcs11_key.c.
 *
 * The module is loaded once; each opening initialises it anew, because some see a token that came
 * back only then. The PIN is given once an opening, never after CKR_PIN_INCORRECT (the crew sees to
 * that), and not at all when the token says that one more wrong one would lock it.
 */
#include "token/pkcs11_priv.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/list.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS_MAX 256

static struct fk_pkcs11 *token_of(struct fk_token_back *back)
{
    return fk_container(back, struct fk_pkcs11, back);
}

__attribute__((format(printf, 3, 4))) static int fail(struct fk_pkcs11 *token, int err,
                                                      const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(token->back.why, sizeof token->back.why, format, args);
    va_end(args);
    return err;
}

int fk_pkcs11_error(CK_RV rv)
{
    static const struct {
        CK_RV rv;
        int err;
    } rows[] = {
        {CKR_OK, FK_OK},
        {CKR_HOST_MEMORY, FK_ERR_NOMEM},
        {CKR_MECHANISM_INVALID, FK_ERR_UNSUPPORTED},
        {CKR_MECHANISM_PARAM_INVALID, FK_ERR_UNSUPPORTED},
        {CKR_KEY_TYPE_INCONSISTENT, FK_ERR_UNSUPPORTED},
        {CKR_KEY_FUNCTION_NOT_PERMITTED, FK_ERR_UNSUPPORTED},
        {CKR_KEY_SIZE_RANGE, FK_ERR_UNSUPPORTED},
        {CKR_PIN_INCORRECT, FK_ERR_PIN},
        {CKR_PIN_INVALID, FK_ERR_PIN},
        {CKR_PIN_LEN_RANGE, FK_ERR_PIN},
        {CKR_PIN_EXPIRED, FK_ERR_PIN},
        {CKR_PIN_LOCKED, FK_ERR_PIN},
        {CKR_USER_PIN_NOT_INITIALIZED, FK_ERR_PIN},
        {CKR_SESSION_CLOSED, FK_ERR_TOKEN},
        {CKR_SESSION_HANDLE_INVALID, FK_ERR_TOKEN},
        {CKR_SESSION_COUNT, FK_ERR_TOKEN},
        {CKR_USER_NOT_LOGGED_IN, FK_ERR_TOKEN},
        {CKR_DEVICE_REMOVED, FK_ERR_TOKEN},
        {CKR_DEVICE_ERROR, FK_ERR_TOKEN},
        {CKR_TOKEN_NOT_PRESENT, FK_ERR_TOKEN},
        {CKR_TOKEN_NOT_RECOGNIZED, FK_ERR_TOKEN},
        {CKR_SLOT_ID_INVALID, FK_ERR_TOKEN},
        {CKR_KEY_HANDLE_INVALID, FK_ERR_TOKEN}, /* of a token that was made anew */
        {CKR_OBJECT_HANDLE_INVALID, FK_ERR_TOKEN},
        {CKR_OPERATION_ACTIVE, FK_ERR_TOKEN}, /* a session that was left in the middle */
        {CKR_OPERATION_NOT_INITIALIZED, FK_ERR_TOKEN},
        {CKR_CRYPTOKI_NOT_INITIALIZED, FK_ERR_TOKEN},
        {CKR_FUNCTION_CANCELED, FK_ERR_TOKEN},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].rv == rv)
            return rows[i].err;
    return FK_ERR_CRYPTO;
}

/* --- the module --- */

static int load(struct fk_pkcs11 *token)
{
    const char *path = token->back.settings->module, *what;
    CK_C_GetFunctionList get_list;
    void *symbol;

    if (token->library == NULL)
        token->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (token->library == NULL) {
        what = dlerror();
        return fail(token, FK_ERR_TOKEN, "module cannot be loaded: %s", what != NULL ? what : path);
    }
    if ((symbol = dlsym(token->library, "C_GetFunctionList")) == NULL)
        return fail(token, FK_ERR_TOKEN, "%s is no PKCS#11 module", path);
    memcpy(&get_list, &symbol, sizeof get_list); /* C knows no conversion from object to function */
    if (get_list(&token->calls) != CKR_OK || token->calls == NULL) {
        token->calls = NULL;
        return fail(token, FK_ERR_TOKEN, "%s gives no functions", path);
    }
    return FK_OK;
}

static int initialise(struct fk_pkcs11 *token)
{
    CK_C_INITIALIZE_ARGS args = {.flags = CKF_OS_LOCKING_OK};
    CK_RV rv = token->calls->C_Initialize(&args);

    if (rv != CKR_OK && rv != CKR_CRYPTOKI_ALREADY_INITIALIZED)
        return fail(token, FK_ERR_TOKEN, "C_Initialize: 0x%lx", rv);
    token->initialised = true;
    return FK_OK;
}

/* --- the token --- */

/* Whether text padded with blanks is `want`; an empty one wants nothing. */
static bool is_text(const unsigned char *padded, size_t size, const char *want)
{
    while (size > 0 && padded[size - 1] == ' ')
        size--;
    return want[0] == '\0' || (strlen(want) == size && memcmp(padded, want, size) == 0);
}

static bool fits(struct fk_pkcs11 *token, CK_SLOT_ID slot, CK_TOKEN_INFO *ret)
{
    const struct fk_token_settings *settings = token->back.settings;

    if (settings->has_slot && slot != settings->slot)
        return false;
    return token->calls->C_GetTokenInfo(slot, ret) == CKR_OK &&
           (ret->flags & CKF_TOKEN_INITIALIZED) != 0 &&
           is_text(ret->label, sizeof ret->label, settings->label) &&
           is_text(ret->serialNumber, sizeof ret->serialNumber, settings->serial);
}

static int find_slot(struct fk_pkcs11 *token, CK_TOKEN_INFO *ret)
{
    CK_SLOT_ID slots[SLOTS_MAX];
    CK_ULONG n = SLOTS_MAX;
    CK_TOKEN_INFO info = {.flags = 0};
    unsigned found = 0;
    CK_RV rv = token->calls->C_GetSlotList(CK_TRUE, slots, &n);

    if (rv != CKR_OK)
        return fail(token, FK_ERR_TOKEN, "C_GetSlotList: 0x%lx", rv);
    for (CK_ULONG i = 0; i < n; i++) {
        if (!fits(token, slots[i], &info))
            continue;
        token->slot = slots[i];
        *ret = info;
        found++;
    }
    if (found == 0)
        return fail(token, FK_ERR_TOKEN, "no token of this label, serial number and slot");
    if (found > 1)
        return fail(token, FK_ERR_TOKEN, "%u tokens fit; name one by its serial number", found);
    return FK_OK;
}

static int log_in(struct fk_pkcs11 *token, const CK_TOKEN_INFO *info)
{
    const struct fk_token_settings *settings = token->back.settings;
    bool has_pin = settings->pin_len > 0;
    CK_RV rv;

    if ((info->flags & CKF_LOGIN_REQUIRED) == 0)
        return FK_OK;
    if ((info->flags & CKF_USER_PIN_LOCKED) != 0)
        return fail(token, FK_ERR_PIN, "its PIN is locked");
    if ((info->flags & CKF_USER_PIN_FINAL_TRY) != 0)
        return fail(token, FK_ERR_PIN, "one more wrong PIN would lock it: log in by hand once");
    if (!has_pin && (info->flags & CKF_PROTECTED_AUTHENTICATION_PATH) == 0)
        return fail(token, FK_ERR_PIN, "it needs a PIN; name a pin_file");
    rv = token->calls->C_Login(fk_pkcs11_own(token)->handle, CKU_USER,
                               has_pin ? (unsigned char *)(uintptr_t)settings->pin : NULL,
                               settings->pin_len);
    if (rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN)
        return FK_OK;
    if (fk_pkcs11_error(rv) == FK_ERR_PIN)
        return fail(token, FK_ERR_PIN, "%s",
                    rv == CKR_PIN_LOCKED ? "its PIN is locked" : "the PIN is wrong");
    return fail(token, FK_ERR_TOKEN, "C_Login: 0x%lx", rv);
}

static int open_sessions(struct fk_pkcs11 *token)
{
    for (unsigned i = 0; i <= token->back.settings->sessions; i++) {
        struct fk_pkcs11_session *session = &token->sessions[i];
        CK_RV rv = token->calls->C_OpenSession(token->slot, CKF_SERIAL_SESSION, NULL, NULL,
                                               &session->handle);

        if (rv != CKR_OK)
            return fail(token, FK_ERR_TOKEN, "session %u: C_OpenSession: 0x%lx", i, rv);
        session->is_open = true;
    }
    return FK_OK;
}

static int pkcs11_open(struct fk_token_back *back)
{
    struct fk_pkcs11 *token = token_of(back);
    CK_TOKEN_INFO info = {.flags = 0};
    int err;

    if ((err = load(token)) != FK_OK || (err = initialise(token)) != FK_OK ||
        (err = find_slot(token, &info)) != FK_OK || (err = open_sessions(token)) != FK_OK ||
        (err = log_in(token, &info)) != FK_OK)
        return err;
    return fk_pkcs11_find_keys(token);
}

static void pkcs11_close(struct fk_token_back *back)
{
    struct fk_pkcs11 *token = token_of(back);

    if (!token->initialised)
        return;
    for (unsigned i = 0; i <= back->settings->sessions; i++) {
        if (token->sessions[i].is_open)
            (void)token->calls->C_CloseSession(token->sessions[i].handle);
        token->sessions[i].is_open = false;
    }
    (void)token->calls->C_Finalize(NULL);
    token->initialised = false;
}

/* A session knows whether its token has gone, and whether it is still logged in. */
static int pkcs11_look(struct fk_token_back *back)
{
    struct fk_pkcs11 *token = token_of(back);
    CK_SESSION_INFO session;
    CK_TOKEN_INFO info;

    if (token->calls->C_GetTokenInfo(token->slot, &info) != CKR_OK ||
        token->calls->C_GetSessionInfo(fk_pkcs11_own(token)->handle, &session) != CKR_OK)
        return FK_ERR_TOKEN;
    if ((info.flags & CKF_LOGIN_REQUIRED) != 0 && session.state != CKS_RO_USER_FUNCTIONS)
        return FK_ERR_TOKEN;
    return FK_OK;
}

static struct fk_private *pkcs11_session(struct fk_token_back *back, unsigned index)
{
    return &token_of(back)->sessions[index].private;
}

/* The module stays loaded: not all can be unloaded and leave no thread or handler behind. */
static void pkcs11_free(struct fk_token_back *back)
{
    struct fk_pkcs11 *token = token_of(back);

    free(token->keys);
    free(token);
}

static const struct fk_token_back_ops pkcs11_ops = {.open = pkcs11_open,
                                                    .close = pkcs11_close,
                                                    .look = pkcs11_look,
                                                    .session = pkcs11_session,
                                                    .free = pkcs11_free};

int fk_pkcs11_new(const struct fk_keyset *set, struct fk_token_back **ret)
{
    struct fk_pkcs11 *token = calloc(1, sizeof *token);

    if (token == NULL)
        return FK_ERR_NOMEM;
    if ((token->keys = calloc(fk_keyset_count(set) + 1, sizeof *token->keys)) == NULL) {
        free(token);
        return FK_ERR_NOMEM;
    }
    token->back =
        (struct fk_token_back){.ops = &pkcs11_ops, .settings = fk_keyset_token(set), .set = set};
    for (unsigned i = 0; i <= FK_TOKEN_SESSIONS_MAX; i++) {
        token->sessions[i].private.ops = &fk_pkcs11_private_ops;
        token->sessions[i].token = token;
    }
    *ret = &token->back;
    return FK_OK;
}
