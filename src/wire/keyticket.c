/* TICKET_KEYS on the wire: see keyticket.h. */
#include "wire/keyticket.h"

#include "base/err.h"
#include "base/secret.h"

static int read_grant(struct fk_reader *in, struct fk_ticket_grant *ret)
{
    int err;

    if ((err = fk_reader_copy(in, ret->id, sizeof ret->id)) != FK_OK ||
        (err = fk_reader_copy(in, ret->secret, sizeof ret->secret)) != FK_OK ||
        (err = fk_reader_u32(in, &ret->seals_ms)) != FK_OK ||
        (err = fk_reader_u32(in, &ret->ends_ms)) != FK_OK)
        return err;
    return ret->seals_ms < ret->ends_ms ? FK_OK : FK_ERR_RANGE;
}

static int read_all(struct fk_reader *in, struct fk_ticket_grants *ret)
{
    uint8_t count;
    int err;

    if ((err = fk_reader_u32(in, &ret->refresh_ms)) != FK_OK ||
        (err = fk_reader_u8(in, &count)) != FK_OK)
        return err;
    if (count == 0 || count > FK_TICKET_GRANTS_MAX)
        return FK_ERR_FORMAT;
    if (ret->refresh_ms == 0)
        return FK_ERR_RANGE;
    for (; ret->count < count; ret->count++)
        if ((err = read_grant(in, &ret->items[ret->count])) != FK_OK)
            return err;
    return fk_reader_end(in);
}

int fk_ticket_grants_decode(struct fk_reader payload, struct fk_ticket_grants *ret)
{
    struct fk_ticket_grants grants = {.count = 0};
    int err = read_all(&payload, &grants);

    if (err == FK_OK)
        *ret = grants;
    fk_wipe(&grants, sizeof grants);
    return err;
}

void fk_ticket_grants_encode(const struct fk_ticket_grants *grants, struct fk_writer *out)
{
    fk_writer_u32(out, grants->refresh_ms);
    fk_writer_u8(out, (uint8_t)grants->count);
    for (size_t i = 0; i < grants->count; i++) {
        const struct fk_ticket_grant *grant = &grants->items[i];

        fk_writer_bytes(out, grant->id, sizeof grant->id);
        fk_writer_bytes(out, grant->secret, sizeof grant->secret);
        fk_writer_u32(out, grant->seals_ms);
        fk_writer_u32(out, grant->ends_ms);
    }
}
