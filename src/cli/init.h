/*
 * Laying out a pair: a private CA, an edge's and a key server's identity, the audit log's secret.
 * Used by `farkey init` and by the demonstration. Never overwrites what is there.
 */
#ifndef FK_CLI_INIT_H
#define FK_CLI_INIT_H

#include "cli/files.h"

struct fk_pair {
    char ca[FK_PATH_SIZE];        /* DIR/ca */
    char edge[FK_PATH_SIZE];      /* DIR/EDGE */
    char keyserver[FK_PATH_SIZE]; /* DIR/KEYSERVER */
};

/*
 * Make DIR/ca, DIR/EDGE and DIR/KEYSERVER with everything but the configurations. Says on stderr
 * what failed. FK_ERR_INVAL (bad names), FK_ERR_DUPLICATE (something is there), others.
 */
int fk_pair_make(const char *dir, const char *edge, const char *keyserver, struct fk_pair *ret);

#endif
