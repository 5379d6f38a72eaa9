/*
 * Entry points of the key server, for farkey(1).
 *
 * What the master sends to a front ("keyd-front"): FK_PROC_METRICS (fds: metrics, the shared
 * counters of quota.h; arg: its slot), FK_PROC_CONFIG (arg: generation), FK_PROC_LISTEN (arg:
 * number of the listen block), FK_PROC_PEER of kind FK_PEER_SIGNER, FK_PEER_AUDIT, FK_PEER_TOKEN
 * (index: the token's number), FK_PEER_HANDSHAKER and FK_PEER_ASKER, FK_PROC_GO (data: the user). A
 * reload is CONFIG, LISTEN and PEER again, and FK_PROC_GO, with which the front changes over. A
 * front has no right to connect: it asks for each connection to an edge with FK_PROC_DIAL, which
 * names a dial block and no address. FK_PROC_PEER comes alone when another process was started
 * again. What is sent to a handshaker: keyd/hs_main.h, to an asker: keyd/asker.h.
 */
#ifndef FK_KEYD_KEYD_H
#define FK_KEYD_KEYD_H

#include "conf/conf.h"

#include <stdbool.h>

/* `farkey keyd`: the master, in the foreground; `path`: its configuration, `verbose`: log at level
 * debug. Returns the exit status. */
int fk_keyd_main(const char *path, bool verbose);

/* `farkey child ROLE INDEX` for "keyd-front", "keyd-audit", "keyd-handshaker" and "keyd-asker"; its
 * exit status. */
int fk_keyd_child(const char *role, unsigned index);

/*
 * Load and check a whole configuration, certificates and keys included, reading through `bundle`:
 * what the master serves, and what `farkey check` runs. `user` and `signer_user` have this host's
 * defaults. As fk_conf_load().
 */
int fk_keyd_load(const char *path, struct fk_bundle *bundle, struct fk_conf **ret);

#endif
