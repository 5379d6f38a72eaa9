/* Session tickets on the wire: see keyticket.h. */
#include "wire/keyticket.h"

#include "base/err.h"
#include "base/secret.h"

#include <string.h>

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

/* --- single tickets --- */

static int read_use(struct fk_reader *in, struct fk_ticket_use *ret)
{
    int err;

    if ((err = fk_reader_u8(in, &ret->mode)) != FK_OK ||
        (err = fk_reader_copy(in, ret->owner, sizeof ret->owner)) != FK_OK)
        return err;
    return fk_reader_end(in);
}

static void write_use(const struct fk_ticket_use *use, struct fk_writer *out)
{
    fk_writer_u8(out, use->mode);
    fk_writer_bytes(out, use->owner, sizeof use->owner);
}

int fk_ticket_seal_decode(struct fk_reader payload, uint8_t *ret_count, struct fk_ticket_use *ret)
{
    struct fk_ticket_use use;
    uint8_t count;
    int err;

    if ((err = fk_reader_u8(&payload, &count)) != FK_OK ||
        (err = read_use(&payload, &use)) != FK_OK)
        return err;
    if (count == 0 || count > FK_TICKET_SINGLES_MAX)
        return FK_ERR_FORMAT;
    *ret_count = count;
    *ret = use;
    return FK_OK;
}

void fk_ticket_seal_encode(uint8_t count, const struct fk_ticket_use *use, struct fk_writer *out)
{
    fk_writer_u8(out, count);
    write_use(use, out);
}

static int read_singles(struct fk_reader *in, struct fk_ticket_singles *ret)
{
    uint8_t count;
    int err;

    if ((err = fk_reader_u32(in, &ret->life_ms)) != FK_OK ||
        (err = fk_reader_u8(in, &count)) != FK_OK)
        return err;
    if (count == 0 || count > FK_TICKET_SINGLES_MAX)
        return FK_ERR_FORMAT;
    if (ret->life_ms == 0)
        return FK_ERR_RANGE;
    for (; ret->count < count; ret->count++) {
        struct fk_ticket_single *single = &ret->items[ret->count];

        if ((err = fk_reader_copy(in, single->name, sizeof single->name)) != FK_OK ||
            (err = fk_reader_copy(in, single->aes, sizeof single->aes)) != FK_OK ||
            (err = fk_reader_copy(in, single->mac, sizeof single->mac)) != FK_OK)
            return err;
    }
    return fk_reader_end(in);
}

int fk_ticket_singles_decode(struct fk_reader payload, struct fk_ticket_singles *ret)
{
    struct fk_ticket_singles singles = {.count = 0};
    int err = read_singles(&payload, &singles);

    if (err == FK_OK)
        *ret = singles;
    fk_wipe(&singles, sizeof singles);
    return err;
}

void fk_ticket_singles_encode(const struct fk_ticket_singles *singles, struct fk_writer *out)
{
    fk_writer_u32(out, singles->life_ms);
    fk_writer_u8(out, (uint8_t)singles->count);
    for (size_t i = 0; i < singles->count; i++) {
        const struct fk_ticket_single *single = &singles->items[i];

        fk_writer_bytes(out, single->name, sizeof single->name);
        fk_writer_bytes(out, single->aes, sizeof single->aes);
        fk_writer_bytes(out, single->mac, sizeof single->mac);
    }
}

int fk_ticket_open_decode(struct fk_reader payload, uint8_t ret_name[16], struct fk_ticket_use *ret)
{
    struct fk_ticket_use use;
    uint8_t name[16];
    int err;

    if ((err = fk_reader_copy(&payload, name, sizeof name)) != FK_OK ||
        (err = read_use(&payload, &use)) != FK_OK)
        return err;
    memcpy(ret_name, name, sizeof name);
    *ret = use;
    return FK_OK;
}

void fk_ticket_open_encode(const uint8_t name[16], const struct fk_ticket_use *use,
                           struct fk_writer *out)
{
    fk_writer_bytes(out, name, 16);
    write_use(use, out);
}

static int read_opened(struct fk_reader *in, struct fk_ticket_opened *ret)
{
    uint8_t renew;
    int err;

    if ((err = fk_reader_u8(in, &renew)) != FK_OK ||
        (err = fk_reader_copy(in, ret->aes, sizeof ret->aes)) != FK_OK ||
        (err = fk_reader_copy(in, ret->mac, sizeof ret->mac)) != FK_OK)
        return err;
    if (renew > 1)
        return FK_ERR_RANGE;
    ret->renew = renew == 1;
    return fk_reader_end(in);
}

int fk_ticket_opened_decode(struct fk_reader payload, struct fk_ticket_opened *ret)
{
    struct fk_ticket_opened opened = {.renew = false};
    int err = read_opened(&payload, &opened);

    if (err == FK_OK)
        *ret = opened;
    fk_wipe(&opened, sizeof opened);
    return err;
}

void fk_ticket_opened_encode(const struct fk_ticket_opened *opened, struct fk_writer *out)
{
    fk_writer_u8(out, opened->renew ? 1 : 0);
    fk_writer_bytes(out, opened->aes, sizeof opened->aes);
    fk_writer_bytes(out, opened->mac, sizeof opened->mac);
}
