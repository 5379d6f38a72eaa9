/*
 * The `channel` block of both daemons' configurations: the files of an end's identity. The options'
 * tables, with their help, are each daemon's own.
 */
#ifndef FK_TLS_CHANNEL_CONF_H
#define FK_TLS_CHANNEL_CONF_H

#include "conf/bundle.h"
#include "conf/conf.h"
#include "tls/channel.h"

struct fk_channel_conf { /* paths */
    struct fk_conf_block block;
    char *certificate, *key, *ca;
    char *crl, *request_key; /* NULL: none; the latter is an edge's */
};

/* The paths of the files that it names, at most FK_CHANNEL_PARTS; their number. Borrowed. */
size_t fk_channel_conf_files(const struct fk_channel_conf *channel, const char **ret);

/*
 * For a master: the files as they are now, into the bundle of a configuration that stays (one over
 * a memfd: fk_bundle_open()), from which `conf` was loaded. Complains about what cannot be read.
 * *ret_changed tells whether anything is not as it was. FK_ERR_LIMIT, FK_ERR_NOMEM.
 */
int fk_channel_conf_renew(const struct fk_channel_conf *channel, struct fk_bundle *bundle,
                          struct fk_conf *conf, bool *ret_changed);

/*
 * Read the files through a bundle. *ret borrows from the bundle. Errors as fk_bundle_read_secret()
 * for the key, fk_bundle_read() for the others.
 */
int fk_channel_conf_read(const struct fk_channel_conf *channel, struct fk_bundle *bundle,
                         struct fk_channel_identity *ret);

/*
 * For a master: read them, make the context that fk_channel_ctx_new() would make for its children,
 * and complain about all that is wrong with them. The key is parsed in a process of its own; here
 * there is only the bundle's text of it, which is wiped with the bundle.
 */
void fk_channel_conf_check(const struct fk_channel_conf *channel, struct fk_bundle *bundle,
                           struct fk_conf *conf, bool server, bool allow_tls12);

#endif
