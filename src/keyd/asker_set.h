/*
 * What an asker serves by: one generation of the configuration, and the channels that it wants.
 * Channels outlive a generation if the next one wants the same.
 */
#ifndef FK_KEYD_ASKER_SET_H
#define FK_KEYD_ASKER_SET_H

#include "conf/bundle.h"
#include "keyclient/keyclient.h"
#include "keyd/conf.h"
#include "loop/dns.h"

struct fk_asker_channels;

struct fk_asker_set {
    uint32_t generation;
    int log_level; /* enum fk_log_level */
    SSL_CTX *ctx;  /* how the channels are to be made and judged while this serves */
    struct fk_asker_channels *channels;
};

/*
 * Build a set from a sealed bundle (`fd` stays the caller's); `old` may be NULL, `dns` outlives the
 * channels. FK_ERR_CONF, FK_ERR_FORMAT, FK_ERR_NOT_FOUND, FK_ERR_NOMEM, or as fk_channel_ctx_new().
 */
int fk_asker_set_open(int fd, uint32_t generation, struct fk_loop *loop, struct fk_dns *dns,
                      const struct fk_asker_set *old, struct fk_asker_set **ret);
void fk_asker_set_free(struct fk_asker_set *set); /* NULL is fine */

/* It takes over from `old`, which may be NULL: trust in its certificates is this set's. */
void fk_asker_set_serve(const struct fk_asker_set *set, const struct fk_asker_set *old);

/* Channels are freed with the last reference: a set has one, each request under way another. */
struct fk_asker_channels *fk_asker_channels_ref(struct fk_asker_channels *channels);
void fk_asker_channels_unref(struct fk_asker_channels *channels);

struct fk_keyback *fk_asker_channels_back(struct fk_asker_channels *channels);
/* Key server `i`; NULL past the end. */
const struct fk_keyserver *fk_asker_channels_server(const struct fk_asker_channels *channels,
                                                    size_t i);

#endif
