/* The option tables' parts to each other: conf.c, conf_site.c, conf_inline.c. */
#ifndef FK_EDGE_CONF_PRIV_H
#define FK_EDGE_CONF_PRIV_H

#include "edge/conf.h"

extern const struct fk_conf_kind fk_edge_channel_kind, fk_edge_keyserver_kind, fk_edge_tickets_kind,
    fk_edge_admin_kind;
extern const struct fk_conf_kind fk_inline_site_kind;
extern const struct fk_conf_name fk_edge_log_levels[], fk_edge_worker_words[];

/* Names, the default site, and key servers: what is between sites. */
void fk_edge_check_sites(const struct fk_edge_conf *root, struct fk_conf *conf);

#endif
