/*
 * LEND at the key server's signer: a private key, sealed to the signer of an edge.
 *
 * The front that asks is not believed: a key is sealed to lend keys that the configuration names,
 * of edges that may borrow this key, and to no other. Which edge that is, the lend key says; a
 * request that an edge has signed must name its own.
 */
#include "base/err.h"
#include "signer/lend.h"
#include "signer/ops_local.h"

#include <string.h>

/* What a key can be lent for: what edges do with one in TLS. */
#define LENDABLE (FK_PERM_SIGN13 | FK_PERM_SIGN12 | FK_PERM_DECRYPT)

static bool may_borrow(const struct fk_op_call *call, const struct fk_keyset_edge *edge)
{
    return edge != NULL && (call->edge == NULL || call->edge == edge) &&
           (edge->permissions & FK_PERM_LEND) != 0 &&
           fk_keyset_edge_may(edge, call->entry->public.ski);
}

int fk_op_lend(struct fk_op_call *call)
{
    const struct fk_keyset_edge *edge;
    struct fk_lend_terms terms;
    struct fk_lend op;
    int err;

    if ((err = fk_lend_decode(call->payload, &op)) != FK_OK)
        return err;
    if (!fk_op_allowed(call, FK_PERM_LEND) || call->entry->is_split || call->entry->in_token)
        return FK_ERR_DENIED;
    edge = fk_keyset_borrower(call->ops->set, op.recipient);
    if (!may_borrow(call, edge))
        return FK_ERR_DENIED;
    terms = (struct fk_lend_terms){
        .seconds = op.seconds < FK_LEND_SECONDS_MAX ? op.seconds : FK_LEND_SECONDS_MAX,
        .permissions = call->permissions & edge->permissions & LENDABLE,
    };
    return fk_lend_seal(call->entry->pkey, call->payload, &op, &terms, call->ret, &call->ret_len);
}
