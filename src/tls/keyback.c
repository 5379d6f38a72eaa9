/* What all back-ends of keys do alike: see keyback.h. */
#include "tls/keyback.h"

#include "base/err.h"

int fk_key_request_encode(const struct fk_key_request *request, struct fk_writer *out)
{
    switch (request->op) {
    case FK_KEY_SIGN13:
        fk_sign13_encode(&request->u.sign13, out);
        return FK_OK;
    case FK_KEY_SIGN12:
        fk_sign12_encode(&request->u.sign12, out);
        return FK_OK;
    case FK_KEY_DECRYPT:
        fk_decrypt_encode(&request->u.decrypt, out);
        return FK_OK;
    case FK_KEY_CALL:
        fk_writer_bytes(out, request->u.call.payload, request->u.call.len);
        return FK_OK;
    }
    return FK_ERR_INVAL;
}
