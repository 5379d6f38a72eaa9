/* Walking over records: see records.h. */
#include "wire/records.h"

#include "base/err.h"

enum content { CHANGE_CIPHER_SPEC = 20, ALERT = 21, HANDSHAKE = 22, APPLICATION = 23 };

#define LENGTH_MAX (16384 + 2048)

/* FK_ERR_AGAIN: it is not there whole. */
static int next_record(struct fk_reader *bytes, uint8_t *ret_type)
{
    struct fk_reader at = *bytes, content;
    uint8_t type, major, minor;
    uint16_t len;

    if (fk_reader_u8(&at, &type) != FK_OK)
        return FK_ERR_AGAIN;
    if (type < CHANGE_CIPHER_SPEC || type > APPLICATION)
        return FK_ERR_NOT_TLS;
    if (fk_reader_u8(&at, &major) != FK_OK)
        return FK_ERR_AGAIN;
    if (major != 3)
        return FK_ERR_NOT_TLS;
    if (fk_reader_u8(&at, &minor) != FK_OK || fk_reader_u16(&at, &len) != FK_OK)
        return FK_ERR_AGAIN;
    if (len > LENGTH_MAX)
        return FK_ERR_LIMIT;
    if (fk_reader_take(&at, len, &content) != FK_OK)
        return FK_ERR_AGAIN;
    *bytes = at;
    *ret_type = type;
    return FK_OK;
}

int fk_records_scan(struct fk_reader bytes, struct fk_records *ret)
{
    const size_t all = bytes.left;
    bool seen_ccs = false;
    uint8_t type;
    int err;

    *ret = (struct fk_records){.whole = 0};
    while ((err = next_record(&bytes, &type)) == FK_OK) {
        if (!seen_ccs && type != CHANGE_CIPHER_SPEC)
            ret->clear = all - bytes.left;
        ret->whole = all - bytes.left;
        ret->flight |= type == ALERT || (seen_ccs && type != CHANGE_CIPHER_SPEC);
        seen_ccs |= type == CHANGE_CIPHER_SPEC;
        ret->pending_ccs = type == CHANGE_CIPHER_SPEC;
    }
    return err == FK_ERR_AGAIN ? FK_OK : err;
}
