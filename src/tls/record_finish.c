/* Finished messages of TLS 1.2, where the engine begins before them: see record.h. */
#include "tls/record_priv.h"

#include "base/err.h"

#include <string.h>

#define MESSAGE_HEAD 4

static const uint8_t head[MESSAGE_HEAD] = {20, 0, 0, FK_RECORD_VERIFY};

int fk_record_open_finished(struct fk_record *record, uint8_t *bytes, size_t len,
                            uint8_t ret[FK_RECORD_VERIFY], size_t *ret_consumed)
{
    size_t total = fk_record_length(bytes, len);
    struct fk_cryptogram gram;
    int err;

    if (len < total || len < FK_RECORD_HEAD)
        return FK_ERR_AGAIN;
    if (bytes[0] != FK_CONTENT_HANDSHAKE)
        return FK_ERR_UNEXPECTED;
    gram = (struct fk_cryptogram){.type = bytes[0],
                                  .head = bytes,
                                  .body = bytes + FK_RECORD_HEAD,
                                  .len = total - FK_RECORD_HEAD};
    if ((err = fk_record_decrypt(record, &gram)) != FK_OK)
        return err;
    if (gram.len != MESSAGE_HEAD + FK_RECORD_VERIFY ||
        memcmp(gram.body, head, sizeof head) != 0) /* public */
        return FK_ERR_UNEXPECTED;
    memcpy(ret, gram.body + MESSAGE_HEAD, FK_RECORD_VERIFY);
    *ret_consumed = total;
    return FK_OK;
}

int fk_record_seal_finished(struct fk_record *record, const uint8_t verify[FK_RECORD_VERIFY],
                            uint8_t *out, size_t *ret_len)
{
    uint8_t message[MESSAGE_HEAD + FK_RECORD_VERIFY];
    const struct iovec piece = {message, sizeof message};
    struct fk_pieces pieces = {.first = &piece};

    memcpy(message, head, sizeof head);
    memcpy(message + sizeof head, verify, FK_RECORD_VERIFY);
    return fk_record_encrypt(record, FK_CONTENT_HANDSHAKE, &pieces, sizeof message, out, ret_len);
}
