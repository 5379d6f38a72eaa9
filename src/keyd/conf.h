/*
 * The key server's configuration: tables and the structs they fill. Nothing here reads a file or
 * opens a socket; master and fronts load the same text by the same tables.
 */
#ifndef FK_KEYD_CONF_H
#define FK_KEYD_CONF_H

#include "admin/conf.h"
#include "conf/conf.h"
#include "loop/addr.h"

struct fk_keyd_listen_conf {
    struct fk_conf_block block; /* title: the address */
    bool dialect1;
    struct fk_conf_list allow, deny;
    char *device;
};

/* An edge that this key server connects to. Its channels are like those of a listen block. */
struct fk_keyd_dial_conf {
    struct fk_keyd_listen_conf listen; /* title: the edge's address; no dialect 1, no ranges */
    char *bind;                        /* local address, NULL */
    uint64_t connect_timeout;          /* us */
};

/* Another key server, which holds shares of keys that are split between it and this one. */
struct fk_keyd_keyserver_conf {
    struct fk_conf_block block; /* title: its name */
    char *address, *identity, *bind, *device;
    uint64_t connect_timeout_us, ping_interval_us, ping_timeout_us;
};

struct fk_keyd_keys_conf {
    struct fk_conf_block block; /* title: the directory, as written */
    char *passphrase_file;
    bool watch;
};

struct fk_keyd_token_conf {
    struct fk_conf_block block; /* title: the name */
    int type;                   /* enum fk_token_type */
    char *module, *label, *serial, *pin_file, *tcti, *user;
    uint64_t slot; /* if it is set */
    uint64_t sessions, queue;
    struct fk_conf_list paths;
};

struct fk_keyd_edge_conf {
    struct fk_conf_block block; /* title: the edge's name */
    char *identity;             /* NULL: "farkey:edge:TITLE" */
    struct fk_conf_list keys;
    char *request_key;    /* path; NULL: its requests are not signed */
    char *lend_key;       /* path; NULL: keys are not lent to it */
    unsigned allow;       /* FK_PERM_* */
    uint64_t rate;        /* operations an hour, 0: no bound */
    uint64_t burst;       /* operations */
    uint64_t quota;       /* operations a day (UTC), 0: no bound */
    uint64_t connections; /* 0: no bound but the front's */
    uint64_t outstanding; /* requests under way in one front, 0: half of the front's */
    struct fk_conf_list addresses, deny_addresses;
};

struct fk_keyd_audit_conf {
    struct fk_conf_block block;
    char *file, *key;
    int on_failure; /* 1: refuse operations, 0: go on */
    bool sync;
    uint64_t checkpoint_interval; /* us */
    uint64_t checkpoint_lines;
};

struct fk_keyd_limits_conf {
    struct fk_conf_block block;
    uint64_t connections;         /* of one front */
    uint64_t address_handshakes;  /* of one address in one front; 0: not bounded */
    uint64_t channel_outstanding; /* requests under way on one channel */
    uint64_t outstanding;         /* requests under way in one front */
    uint64_t output;              /* bytes that one slow reader may leave unread */
    uint64_t hello_timeout, handshake_timeout, idle_timeout, frame_timeout, write_timeout; /* us */
    uint64_t deadline;    /* of one operation */
    uint64_t ticket_life; /* us that ticket keys open, and four times what they seal */
    uint64_t retire;      /* us a replaced key is served on */
    uint64_t drain;       /* us at most */
};

struct fk_keyd_conf {
    struct fk_conf_block block;
    uint64_t fronts, signers, handshakers; /* 0: by the number of processors */
    char *user, *signer_user; /* NULL when not written, but in the master: see keyd/load.h */
    char *control;
    bool signed_requests;        /* no others are carried out */
    char *ticket_secret;         /* path; NULL: of handshakers' tickets it has its own */
    int log_level;               /* enum fk_log_level */
    struct fk_conf_block *dials; /* struct fk_keyd_dial_conf */
    struct fk_conf_block *listens, *channel, *keys, *tokens, *edges, *audit, *admin;
    struct fk_conf_block *keyservers; /* struct fk_keyd_keyserver_conf */
    struct fk_conf_block *limits;     /* never absent */
};

extern const struct fk_conf_kind fk_keyd_conf_kind;
extern const struct fk_conf_kind fk_keyd_token_kind; /* of its token blocks */

/* NAME.policy beside NAME.key: what may be done with the key, and how else it is called. */
struct fk_key_policy_conf {
    struct fk_conf_block block;
    unsigned allow;                 /* FK_PERM_* */
    struct fk_conf_list names;      /* beside the certificate's */
    struct fk_conf_list addresses;  /* destination addresses of clients that send no name */
    struct fk_conf_list share_with; /* names of key servers */
};

extern const struct fk_conf_kind fk_key_policy_conf_kind;

/* NAME.token in the place of NAME.key: a key in a token. */
struct fk_key_token_conf {
    struct fk_conf_block block;
    char *token; /* title of a token block */
    char *label, *id;
    char *file, *handle;
};

extern const struct fk_conf_kind fk_key_token_conf_kind;

/* The typed first block of a list, or NULL. */
static inline const struct fk_channel_conf *fk_keyd_conf_channel(const struct fk_keyd_conf *c)
{
    return (const struct fk_channel_conf *)(const void *)c->channel;
}

static inline const struct fk_keyd_audit_conf *fk_keyd_conf_audit(const struct fk_keyd_conf *c)
{
    return (const struct fk_keyd_audit_conf *)(const void *)c->audit;
}

static inline const struct fk_admin_conf *fk_keyd_conf_admin(const struct fk_keyd_conf *c)
{
    return (const struct fk_admin_conf *)(const void *)c->admin;
}

/* The limits, which may be all defaults: never NULL. */
static inline const struct fk_keyd_limits_conf *fk_keyd_conf_limits(const struct fk_keyd_conf *c)
{
    return (const struct fk_keyd_limits_conf *)(const void *)c->limits;
}

/* An edge's identity as in its certificate: the option, or "farkey:edge:" and the title. */
void fk_keyd_conf_identity(const struct fk_keyd_edge_conf *edge, char *ret, size_t size);

/* NAME of "farkey:keyserver:NAME", if such is the identity: a key server that asks for shares; else
 * NULL. Borrowed. */
const char *fk_keyd_conf_sharer(const struct fk_keyd_edge_conf *edge);

/* NAME of the identity that this key server's certificate must have. Borrowed. */
const char *fk_keyd_conf_keyserver_name(const struct fk_keyd_keyserver_conf *server);

extern const struct fk_conf_kind fk_keyd_keyserver_kind; /* conf_keyserver.c */

/* Whether that is known: of a configuration with mistakes it may not be. */
bool fk_keyd_conf_has_identity(const struct fk_keyd_edge_conf *edge);

/* Dial block number `i`, NULL past the end. */
const struct fk_keyd_dial_conf *fk_keyd_conf_dial(const struct fk_keyd_conf *conf, size_t i);

/* Binary ranges of a checked list; the caller frees ret->items. FK_ERR_NOMEM, FK_ERR_FORMAT. */
int fk_keyd_conf_ranges(const struct fk_conf_list *list, struct fk_ranges *ret);

#endif
