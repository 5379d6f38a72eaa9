/*
 * Ticket keys that edges share: what the key servers gave for one private key, and which of it
 * seals and opens now. One object for all sites of a process that use that key over the same key
 * servers; it outlives generations, so that a reload ends no session.
 *
 * Each key server has keys of its own, which all of its edges get: those of all servers open, and
 * the first server's that may seal does. An edge that can reach only some of them still shares
 * these.
 */
#ifndef FK_EDGE_TICKETGROUP_H
#define FK_EDGE_TICKETGROUP_H

#include "conf/conf.h"
#include "tls/tickets.h"
#include "wire/keyticket.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fk_ticketgroups; /* those of a process */
struct fk_ticketgroup;

/* `libctx` is borrowed. FK_ERR_NOMEM. */
int fk_ticketgroups_new(OSSL_LIB_CTX *libctx, struct fk_ticketgroups **ret);
/* All references must have been given back. NULL is fine. */
void fk_ticketgroups_free(struct fk_ticketgroups *groups);

/*
 * The group of a private key over these key servers (titles, FK_EDGE_SERVERS_MAX at most), a
 * reference to it. FK_ERR_LIMIT (FK_EDGE_TICKET_GROUPS_MAX), FK_ERR_NOMEM, FK_ERR_CRYPTO.
 */
int fk_ticketgroup_get(struct fk_ticketgroups *groups, const uint8_t ski[20],
                       const struct fk_conf_list *servers, struct fk_ticketgroup **ret);
/* The last one wipes its keys. NULL is fine. */
void fk_ticketgroup_unref(struct fk_ticketgroup *group);

/* Its keys, for fk_ticket_site_follow(); borrowed. */
struct fk_tickets *fk_ticketgroup_tickets(struct fk_ticketgroup *group);
const uint8_t *fk_ticketgroup_ski(const struct fk_ticketgroup *group);
/* How many open now. */
size_t fk_ticketgroup_count(const struct fk_ticketgroup *group);

/* What server number `server` has answered: these keys, and no other one of its earlier ones. */
void fk_ticketgroup_take(struct fk_ticketgroup *group, size_t server,
                         const struct fk_ticket_grants *grants, uint64_t now_us);
/* It gives none (any more): its keys end at once. */
void fk_ticketgroup_drop(struct fk_ticketgroup *group, size_t server, uint64_t now_us);
/* Time goes on: keys begin to seal, and end. */
void fk_ticketgroup_tick(struct fk_ticketgroup *group, uint64_t now_us);

#endif
