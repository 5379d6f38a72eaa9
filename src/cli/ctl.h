/* The client's half of a daemon's control socket (docs/control.md). Blocks, with a time limit. */
#ifndef FK_CLI_CTL_H
#define FK_CLI_CTL_H

#include <jansson.h>
#include <stdint.h>

/*
 * Send one command (`argument`: what it is about; NULL: nothing) and wait for its answer, at most
 * `timeout_us`. The caller owns *ret. FK_ERR_SYS
 * (errno; nobody listens: ENOENT or ECONNREFUSED), FK_ERR_TIMEOUT, FK_ERR_CLOSED, FK_ERR_LIMIT,
 * FK_ERR_FORMAT.
 */
int fk_ctl_ask(const char *socket_path, const char *word, const char *argument, uint64_t timeout_us,
               json_t **ret);

/* As fk_ctl_ask() without argument; an answer with "error" is said on stderr and gives
 * FK_ERR_DENIED. */
int fk_ctl_order(const char *socket_path, const char *word, uint64_t timeout_us);

#endif
