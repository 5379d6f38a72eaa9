/*
 * The key servers of a configuration in one worker: its channels. These are shared by generations
 * that name the same key servers in the same way, so that a reload does not close channels.
 */
#ifndef FK_EDGE_KEYS_H
#define FK_EDGE_KEYS_H

#include "edge/conf.h"
#include "edge/listing.h"
#include "edge/why.h"
#include "keyclient/keyclient.h"
#include "loop/dns.h"

struct fk_keys;
struct fk_gen;

/* What channels are made from. */
struct fk_keys_source {
    struct fk_loop *loop;
    OSSL_LIB_CTX *libctx;
    struct fk_dns *dns;
    const struct fk_edge_conf *conf;
    struct fk_bundle *bundle; /* the channel's files are read through it */
};

/*
 * The channels for a configuration: those of `old` (may be NULL) when key servers and this edge's
 * own certificate are the same, else new ones. `why` says what was wrong.
 */
int fk_keys_new(const struct fk_keys_source *source, struct fk_keys *old, struct fk_why *why,
                struct fk_keys **ret);
/* All pools of its holder must be gone. NULL is fine. */
void fk_keys_free(struct fk_keys *keys);

/*
 * `gen`, whose they are, is in service: it is told of new listings, and its CA and revocation list
 * count from now on, also for channels that are open.
 */
void fk_keys_serve(struct fk_keys *keys, struct fk_gen *gen);
/*
 * Another generation is in service, with the channels `next` (NULL: none). If they are others,
 * these are for the handshakes that began before, by what holds now, and closed when unused.
 */
void fk_keys_give_way(struct fk_keys *keys, const struct fk_keys *next);
/* `gen` is to be told no more. */
void fk_keys_unwatch(struct fk_keys *keys, const struct fk_gen *gen);

struct fk_keyclient *fk_keys_client(struct fk_keys *keys);

/* The server of a keyserver block, by its title. */
struct fk_keyserver *fk_keys_find(struct fk_keys *keys, const char *title);

/* What it lists, likewise. */
struct fk_listing *fk_keys_listing(struct fk_keys *keys, const char *title);

/* Server `i` and its block's title, for status. FK_ERR_NOT_FOUND past the end. */
int fk_keys_at(const struct fk_keys *keys, size_t i, const char **ret_title,
               struct fk_keyserver **ret);

/*
 * The socket (taken) on which server `i` dials in; of the same configuration, or of a later one
 * that has the same channels. FK_ERR_NOT_FOUND: there is no such server (fd closed).
 */
int fk_keys_listen(struct fk_keys *keys, size_t i, int fd);

#endif
