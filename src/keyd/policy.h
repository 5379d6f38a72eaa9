/*
 * Who may do what: the edges of the configuration, and the one function that decides on a request.
 * Knows nothing of connections or frames.
 */
#ifndef FK_KEYD_POLICY_H
#define FK_KEYD_POLICY_H

#include "keyd/conf.h"
#include "keyd/index.h"
#include "keyd/quota.h"

struct fk_policy_edge {
    char name[64];
    char identity[FK_IDENTITY_SIZE];
    uint8_t owner[32];    /* SHA-256 of the identity: whose handshakes are whose */
    uint16_t permissions; /* FK_PERM_* */
    bool signs;           /* each of its requests must be signed */
    uint64_t rate, burst, quota, connections, outstanding;
    struct fk_ranges allow, deny;
    uint8_t *keys;              /* a bit for each position in the index */
    struct fk_quota_slot *slot; /* shared with the other fronts */
};

struct fk_policy;

/* Built from a checked configuration; `quota` must outlive it. FK_ERR_NOMEM, FK_ERR_NOT_FOUND (an
 * edge without a slot). */
int fk_policy_new(const struct fk_keyd_conf *conf, const struct fk_index *index,
                  struct fk_quota *quota, struct fk_policy **ret);
void fk_policy_free(struct fk_policy *policy);

/* The edge of an identity; NULL when no block names it. Borrowed. */
const struct fk_policy_edge *fk_policy_find(const struct fk_policy *policy, const char *identity);

/* Which keys an edge's block names: a bit for each position of the index, in memory that the caller
 * frees. FK_ERR_NOMEM. */
int fk_policy_keys(const struct fk_keyd_edge_conf *conf, const struct fk_index *index,
                   uint8_t **ret);

/* Whether an edge may use the key at `position` of the index at all. */
bool fk_policy_has_key(const struct fk_policy_edge *edge, size_t position);

/* One request, with everything that the decision depends on. */
struct fk_policy_ask {
    const struct fk_policy_edge *edge;
    size_t position;          /* of the key */
    uint16_t key_permissions; /* of the key's policy */
    uint16_t permission;      /* that the operation needs: all of these */
    uint16_t any;             /* ... and one of these; 0: no more */
    bool is_step;             /* of a handshake that has been decided on: takes nothing */
    bool draining;
    uint64_t now_us; /* monotonic */
    uint64_t day;    /* days since 1970 */
};

/*
 * FK_OK: granted, and taken from rate and quota, unless it is a step. FK_ERR_DRAINING,
 * FK_ERR_DENIED, FK_ERR_RATE; *ret_why then says which rule refused, in one word for logs. The
 * rules stand in one table.
 */
int fk_policy_decide(const struct fk_policy_ask *ask, const char **ret_why);

#endif
