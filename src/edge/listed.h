/*
 * One key of a key server's listing, with its certificates read: made once, shared by listings that
 * have the same key with the same chain under the same name.
 */
#ifndef FK_EDGE_LISTED_H
#define FK_EDGE_LISTED_H

#include "tls/cert.h"
#include "wire/keyop.h"

#define FK_LISTED_ID_SIZE 32

struct fk_listed {
    unsigned refs;
    uint8_t id[FK_LISTED_ID_SIZE]; /* of all that was listed: key, permissions, name, chain */
    uint16_t permissions;          /* FK_PERM_* that this edge has with the key */
    struct fk_cert cert;           /* leaf NULL: none that is of use */
    char *key_name;                /* as listed */
    char **names;                  /* that the leaf is for: lower case, wildcards as "*.a.b" */
    size_t n_names;
};

/* What it is known by. FK_ERR_CRYPTO. */
int fk_listed_id(const struct fk_info_key *key, uint8_t ret[FK_LISTED_ID_SIZE]);

/*
 * Read what was listed. A chain that is bad, or another key's, makes one without certificate.
 * FK_ERR_NOMEM.
 */
int fk_listed_new(OSSL_LIB_CTX *libctx, const struct fk_info_key *key,
                  const uint8_t id[FK_LISTED_ID_SIZE], struct fk_listed **ret);
struct fk_listed *fk_listed_ref(struct fk_listed *listed);
/* NULL is fine. */
void fk_listed_unref(struct fk_listed *listed);

#endif
