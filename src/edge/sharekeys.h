/*
 * A back-end for split keys: of each operation it has this host's signer seal the edge's share to
 * the signer of the key server (signer/share.h), then asks the key servers with it. This process
 * never holds the share in the clear. A key of which this host has no share is asked for as any.
 */
#ifndef FK_EDGE_SHAREKEYS_H
#define FK_EDGE_SHAREKEYS_H

#include "signer/client.h"
#include "tls/keyback.h"

struct fk_sharekeys;

/* `servers` and `signers` are borrowed and outlive it. FK_ERR_NOMEM. */
int fk_sharekeys_new(struct fk_keyback *servers, struct fk_signer_pool *signers,
                     struct fk_sharekeys **ret);
/* What is under way is forgotten. NULL is fine. */
void fk_sharekeys_free(struct fk_sharekeys *keys);

struct fk_keyback *fk_sharekeys_back(struct fk_sharekeys *keys);

#endif
