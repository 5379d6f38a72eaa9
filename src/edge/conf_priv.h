/* The option tables' parts to each other: conf.c, conf_listen.c, conf_site.c, conf_inline.c. */
#ifndef FK_EDGE_CONF_PRIV_H
#define FK_EDGE_CONF_PRIV_H

#include "base/limits.h"
#include "conf/users.h"
#include "edge/conf.h"

extern const struct fk_conf_kind fk_edge_channel_kind, fk_edge_keyserver_kind, fk_edge_tickets_kind,
    fk_edge_admin_kind, fk_edge_cache_kind;
extern const struct fk_conf_kind fk_inline_site_kind;
extern const struct fk_conf_name fk_edge_log_levels[], fk_edge_worker_words[];

/* Rows that the roots of farkey edge and of farkey inline have both. */
#define FK_EDGE_ROWS_OF_PROCESSES                                                              \
    {"workers",                                                                                \
     FK_CONF_INT,                                                                              \
     offsetof(struct fk_edge_conf, workers),                                                   \
     "auto",                                                                                   \
     1,                                                                                        \
     FK_EDGE_WORKERS_MAX,                                                                      \
     .names = fk_edge_worker_words,                                                            \
     .help = "Worker processes. A change needs a restart."},                                   \
        {"user", FK_CONF_STRING, offsetof(struct fk_edge_conf, user), .check = fk_users_check, \
         .help = "Whom workers and the admin process become when the daemon was started as "   \
                 "root. Default: farkey, or nobody on a host without that account."},          \
    {                                                                                          \
        "signer_user", FK_CONF_STRING, offsetof(struct fk_edge_conf, signer_user),             \
            .check = fk_users_check,                                                           \
            .help = "Whom signers (modes local and lend, shares) become. Default: "            \
                    "farkey-signer, or nobody on a host without that account."                 \
    }
#define FK_EDGE_ROWS_OF_OPERATION(socket)                                            \
    {"zone", FK_CONF_STRING, offsetof(struct fk_edge_conf, zone),                    \
     .help = "Where this host is, for strategy nearest."},                           \
        {"control", FK_CONF_PATH, offsetof(struct fk_edge_conf, control), socket,    \
         .help = "Control socket of farkey status."},                                \
    {                                                                                \
        "log_level", FK_CONF_ENUM, offsetof(struct fk_edge_conf, log_level), "info", \
            .names = fk_edge_log_levels, .help = "What is written to the log."       \
    }

/* Sites with cache = on, and the block that they need (conf_cache.c). */
void fk_edge_check_cache(const struct fk_edge_conf *root, struct fk_conf *conf);

/* What listeners say of sites. */
void fk_edge_check_listeners(const struct fk_edge_conf *root, struct fk_conf *conf);

/* Names, the default site, and key servers: what is between sites. */
void fk_edge_check_sites(const struct fk_edge_conf *root, struct fk_conf *conf);

#endif
