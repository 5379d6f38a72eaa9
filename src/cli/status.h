/* What commands that ask a running daemon share: which socket. See status.c. */
#ifndef FK_CLI_STATUS_H
#define FK_CLI_STATUS_H

#include "cli/files.h"

/* The control socket, as --control or the daemon's configuration says (either may be NULL). An
 * error has been said on stderr. */
int fk_status_socket(const char *conf, const char *control, char ret[FK_PATH_SIZE]);

#endif
