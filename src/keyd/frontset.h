/*
 * One generation of what a front serves: the configuration with everything that was made from it.
 * Immutable; replaced as a whole.
 */
#ifndef FK_KEYD_FRONTSET_H
#define FK_KEYD_FRONTSET_H

#include "keyd/conf.h"
#include "keyd/index.h"
#include "keyd/policy.h"

#include <openssl/ssl.h>

/* Under this name the bundle says which file is the configuration. */
#define FK_KEYD_CONF_PATH "conf"
/* Under this one, not empty with -v: log everything, whatever log_level says. */
#define FK_KEYD_VERBOSE_PATH ":verbose"

struct fk_front_dial;

struct fk_front_set {
    struct fk_bundle *bundle;
    struct fk_conf *loaded;
    const struct fk_keyd_conf *conf;
    const struct fk_keyd_limits_conf *limits;
    struct fk_index *index;
    struct fk_policy *policy;
    SSL_CTX *tls13;              /* listeners with farkey/1 only */
    SSL_CTX *tls12;              /* listeners with dialect 1 */
    struct fk_front_dial *dials; /* one a dial block, see front_priv.h */
    size_t n_dials;
    int log_level;        /* enum fk_log_level */
    uint32_t generation;  /* the master's count of sets */
    uint64_t fingerprint; /* of all contents: what PONG and INFO call the generation */
};

/*
 * Build a set from a sealed bundle (`fd` stays the caller's). FK_ERR_CONF, FK_ERR_FORMAT,
 * FK_ERR_NOT_FOUND, FK_ERR_NOMEM, or as fk_channel_ctx_new().
 */
int fk_front_set_open(int fd, uint32_t generation, struct fk_quota *quota,
                      struct fk_front_set **ret);
void fk_front_set_free(struct fk_front_set *set);

#endif
