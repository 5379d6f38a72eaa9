/* The sealed share of a split key on the wire: see keyshare.h. */
#include "wire/keyshare.h"

#include "base/err.h"

int fk_keyshare_decode(struct fk_reader item, struct fk_keyshare *ret)
{
    struct fk_keyshare share;
    int err;

    if ((err = fk_reader_copy(&item, share.id, sizeof share.id)) != FK_OK ||
        (err = fk_reader_copy(&item, share.set, sizeof share.set)) != FK_OK ||
        (err = fk_reader_u8(&item, &share.index)) != FK_OK)
        return err;
    if (share.index == 0)
        return FK_ERR_FORMAT;
    if (item.left == 0)
        return FK_ERR_TRUNCATED;
    share.sealed = item;
    *ret = share;
    return FK_OK;
}

void fk_keyshare_encode_head(const struct fk_keyshare *share, struct fk_writer *out)
{
    fk_writer_bytes(out, share->id, sizeof share->id);
    fk_writer_bytes(out, share->set, sizeof share->set);
    fk_writer_u8(out, share->index);
}

int fk_share_ask_decode(struct fk_reader payload, struct fk_share_ask *ret)
{
    struct fk_share_ask ask;
    int err;

    if ((err = fk_reader_u8(&payload, &ask.opcode)) != FK_OK)
        return err;
    if (payload.left == 0)
        return FK_ERR_TRUNCATED;
    ask.payload = payload;
    *ret = ask;
    return FK_OK;
}

void fk_share_ask_encode(const struct fk_share_ask *ask, struct fk_writer *out)
{
    fk_writer_u8(out, ask->opcode);
    fk_writer_bytes(out, ask->payload.next, ask->payload.left);
}
