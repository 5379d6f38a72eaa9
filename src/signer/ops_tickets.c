/*
 * Ticket keys: what edges that serve the same sites open each other's tickets with, or the keys of
 * one ticket. They come from secrets of the process (ticket_roots.h) and the key's name, never from
 * the private key: so they end, and are there for split keys, too.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/secret.h"
#include "base/writer.h"
#include "signer/ops_local.h"
#include "signer/ticket_roots.h"
#include "signer/ticket_single.h"

#include <string.h>

int fk_ops_take_roots(struct fk_ops *ops, const void *data, size_t len)
{
    struct fk_ticket_roots roots;
    int err = fk_ticket_roots_decode(data, len, &roots);

    if (err != FK_OK)
        return err;
    if (ops->roots == NULL && (err = fk_secret_new(sizeof roots, &ops->roots)) != FK_OK)
        goto out;
    memcpy(fk_secret_data(ops->roots), &roots, sizeof roots);
out:
    fk_wipe(&roots, sizeof roots);
    return err;
}

int fk_ops_find_roots(const struct fk_op_call *call, const struct fk_ticket_roots **ret)
{
    if (call->ops->roots == NULL)
        return FK_ERR_UNAVAILABLE;
    *ret = (const void *)fk_secret_bytes(call->ops->roots);
    return FK_OK;
}

/* The secrets for a call that may have tickets. */
static int find_roots(const struct fk_op_call *call, const struct fk_ticket_roots **ret)
{
    return (call->permissions & FK_PERM_TICKETS) == 0 ? FK_ERR_DENIED
                                                      : fk_ops_find_roots(call, ret);
}

int fk_op_ticket_keys(struct fk_op_call *call)
{
    const struct fk_ticket_roots *roots;
    struct fk_ticket_grants grants;
    struct fk_writer writer;
    int err;

    if ((err = fk_reader_end(&call->payload)) != FK_OK || (err = find_roots(call, &roots)) != FK_OK)
        return err;
    err = fk_ticket_roots_grant(roots, call->entry->public.ski, fk_clock_us(), &grants);
    if (err != FK_OK)
        return err;
    fk_writer_init(&writer, call->ret, FK_SIGNER_RESULT_MAX);
    fk_ticket_grants_encode(&grants, &writer);
    fk_wipe(&grants, sizeof grants);
    return fk_writer_end(&writer, &call->ret_len);
}

int fk_op_ticket_seal(struct fk_op_call *call)
{
    const struct fk_ticket_roots *roots;
    struct fk_ticket_singles singles;
    struct fk_ticket_use use;
    struct fk_writer writer;
    uint8_t count;
    int err;

    if ((err = fk_ticket_seal_decode(call->payload, &count, &use)) != FK_OK ||
        (err = find_roots(call, &roots)) != FK_OK)
        return err;
    err = fk_ticket_singles_make(roots, call->entry->public.ski, &use, fk_clock_us(), count,
                                 &singles);
    if (err != FK_OK)
        return err;
    fk_writer_init(&writer, call->ret, FK_SIGNER_RESULT_MAX);
    fk_ticket_singles_encode(&singles, &writer);
    fk_wipe(&singles, sizeof singles);
    return fk_writer_end(&writer, &call->ret_len);
}

int fk_op_ticket_open(struct fk_op_call *call)
{
    const struct fk_ticket_roots *roots;
    struct fk_ticket_opened opened;
    struct fk_ticket_use use;
    struct fk_writer writer;
    uint8_t name[16];
    int err;

    if ((err = fk_ticket_open_decode(call->payload, name, &use)) != FK_OK ||
        (err = find_roots(call, &roots)) != FK_OK)
        return err;
    err = fk_ticket_single_find(roots, call->entry->public.ski, &use, fk_clock_us(), name, &opened);
    if (err != FK_OK)
        return err;
    fk_writer_init(&writer, call->ret, FK_SIGNER_RESULT_MAX);
    fk_ticket_opened_encode(&opened, &writer);
    fk_wipe(&opened, sizeof opened);
    return fk_writer_end(&writer, &call->ret_len);
}
