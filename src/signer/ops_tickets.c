/*
 * Ticket keys: what edges that serve the same sites open each other's tickets with. They come from
 * secrets of the process (ticket_roots.h) and the key's name, never from the private key: so they
 * end, and are there for split keys, too.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/secret.h"
#include "base/writer.h"
#include "signer/ops_local.h"
#include "signer/ticket_roots.h"

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

int fk_op_ticket_keys(struct fk_op_call *call)
{
    struct fk_ticket_grants grants;
    struct fk_writer writer;
    int err;

    if ((err = fk_reader_end(&call->payload)) != FK_OK)
        return err;
    if ((call->permissions & FK_PERM_TICKETS) == 0)
        return FK_ERR_DENIED;
    if (call->ops->roots == NULL)
        return FK_ERR_UNAVAILABLE;
    err = fk_ticket_roots_grant((const void *)fk_secret_bytes(call->ops->roots),
                                call->entry->public.ski, fk_clock_us(), &grants);
    if (err != FK_OK)
        return err;
    fk_writer_init(&writer, call->ret, FK_SIGNER_RESULT_MAX);
    fk_ticket_grants_encode(&grants, &writer);
    fk_wipe(&grants, sizeof grants);
    return fk_writer_end(&writer, &call->ret_len);
}
