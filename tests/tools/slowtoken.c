/*
 * A PKCS#11 module in front of another one: all calls go through, C_Sign and C_Decrypt after a
 * pause. SLOWTOKEN_MODULE names the other one, SLOWTOKEN_MS the pause in milliseconds.
 */
#include <p11-kit/pkcs11.h>

#include <dlfcn.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

static CK_FUNCTION_LIST *true_calls, calls;

static void pause_a_while(void)
{
    const char *text = getenv("SLOWTOKEN_MS");

    (void)poll(NULL, 0, text != NULL ? (int)strtol(text, NULL, 10) : 0);
}

static CK_RV slow_sign(CK_SESSION_HANDLE session, CK_BYTE_PTR data, CK_ULONG len, CK_BYTE_PTR ret,
                       CK_ULONG_PTR ret_len)
{
    pause_a_while();
    return true_calls->C_Sign(session, data, len, ret, ret_len);
}

static CK_RV slow_decrypt(CK_SESSION_HANDLE session, CK_BYTE_PTR data, CK_ULONG len,
                          CK_BYTE_PTR ret, CK_ULONG_PTR ret_len)
{
    pause_a_while();
    return true_calls->C_Decrypt(session, data, len, ret, ret_len);
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR ret)
{
    const char *path = getenv("SLOWTOKEN_MODULE");
    void *library = path != NULL ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    void *symbol = library != NULL ? dlsym(library, "C_GetFunctionList") : NULL;
    CK_C_GetFunctionList get_list;
    CK_RV rv;

    if (symbol == NULL)
        return CKR_GENERAL_ERROR;
    memcpy(&get_list, &symbol, sizeof get_list);
    if ((rv = get_list(&true_calls)) != CKR_OK)
        return rv;
    calls = *true_calls;
    calls.C_Sign = slow_sign;
    calls.C_Decrypt = slow_decrypt;
    *ret = &calls;
    return CKR_OK;
}
