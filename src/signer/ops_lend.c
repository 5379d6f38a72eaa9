/*
 * LEND at the key server's signer: a private key, sealed to the signer of an edge.
 *
 * The front that asks is not believed: a key is sealed to the lend key that the configuration gives
 * to the edge which asks, if that may borrow this key, and to no other. An edge that has a request
 * key must have signed the request; of any other the front says that it asks.
 */
#include "base/err.h"
#include "signer/lend.h"
#include "signer/ops_local.h"

#include <string.h>

/* What a key can be lent for: what edges do with one in TLS. */
#define LENDABLE (FK_PERM_SIGN13 | FK_PERM_SIGN12 | FK_PERM_DECRYPT)

/* Who asks: NULL: an edge that is not known, or one that signs and has not signed this. */
static const struct fk_keyset_edge *read_edge(struct fk_op_call *call)
{
    const struct fk_keyset_edge *edge;
    struct fk_reader name;

    if (call->edge != NULL)
        return call->edge;
    if (fk_reader_vec8(&call->payload, &name) != FK_OK)
        return NULL;
    edge = fk_keyset_edge(call->ops->set, (const char *)name.next, name.left);
    return edge != NULL && !edge->signs ? edge : NULL;
}

static bool may_borrow(const struct fk_op_call *call, const struct fk_keyset_edge *edge,
                       const uint8_t recipient[FK_LEND_KEY])
{
    return edge->borrows && memcmp(edge->lend_key, recipient, FK_LEND_KEY) == 0 && /* public */
           (edge->permissions & FK_PERM_LEND) != 0 &&
           fk_keyset_edge_may(edge, call->entry->public.ski);
}

int fk_op_lend(struct fk_op_call *call)
{
    const struct fk_keyset_edge *edge;
    struct fk_lend_terms terms;
    struct fk_lend op;
    int err;

    if (!fk_op_allowed(call, FK_PERM_LEND) || call->entry->is_split || call->entry->in_token ||
        (edge = read_edge(call)) == NULL)
        return FK_ERR_DENIED;
    if ((err = fk_lend_decode(call->payload, &op)) != FK_OK)
        return err;
    if (!may_borrow(call, edge, op.recipient))
        return FK_ERR_DENIED;
    terms = (struct fk_lend_terms){
        .seconds = op.seconds < FK_LEND_SECONDS_MAX ? op.seconds : FK_LEND_SECONDS_MAX,
        .permissions = call->permissions & edge->permissions & LENDABLE,
    };
    return fk_lend_seal(call->entry->pkey, call->payload, &op, &terms, call->ret, &call->ret_len);
}
