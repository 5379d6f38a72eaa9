/*
 * Asking key servers for the ticket keys that edges share (TICKET_KEYS): what the sites of one
 * generation need, kept in the process's groups (ticketgroup.h). Each server is asked when its
 * answer says so, when it has another configuration, and when its channel is new.
 */
#ifndef FK_EDGE_TICKETFEED_H
#define FK_EDGE_TICKETFEED_H

#include "edge/ticketgroup.h"
#include "loop/loop.h"
#include "tls/keyback.h"

struct fk_ticketfeeds; /* of a generation */
struct fk_ticketfeed;  /* one group of it, for any number of sites */

/* A key server's state, another for each channel and each configuration. */
struct fk_ticketfeed_state {
    uint64_t channels, generation;
};

/* All borrowed. */
struct fk_ticketfeeds_config {
    struct fk_loop *loop;
    struct fk_ticketgroups *groups;
    /* The state of the key server with this title. */
    struct fk_ticketfeed_state (*state)(void *arg, const char *server);
    void *arg;
};

/* FK_ERR_NOMEM. */
int fk_ticketfeeds_new(const struct fk_ticketfeeds_config *config, struct fk_ticketfeeds **ret);
/* Before the back-ends that it asks. NULL is fine. */
void fk_ticketfeeds_free(struct fk_ticketfeeds *feeds);

/* This generation serves: ask, in the turns of the loop that follow; or another one does: no more.
 */
void fk_ticketfeeds_start(struct fk_ticketfeeds *feeds);
void fk_ticketfeeds_stop(struct fk_ticketfeeds *feeds);

/* A site's private key: its SKI, and who is asked for it. */
struct fk_ticketfeed_source {
    uint8_t ski[20];
    const struct fk_conf_list *servers; /* titles, in the back-end's order */
    struct fk_keyback *back;            /* takes FK_KEY_CALL with a route */
};

/* The feed for it, to be given back; lives as long as the feeds. Errors as of fk_ticketgroup_get().
 */
int fk_ticketfeed_use(struct fk_ticketfeeds *feeds, const struct fk_ticketfeed_source *source,
                      struct fk_ticketfeed **ret);
/* NULL is fine. */
void fk_ticketfeed_leave(struct fk_ticketfeed *feed);
struct fk_ticketgroup *fk_ticketfeed_group(struct fk_ticketfeed *feed);

#endif
