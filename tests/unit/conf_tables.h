/* A small configuration language with kinds and options of every type, to test src/conf on. */
#ifndef FK_TESTS_CONF_TABLES_H
#define FK_TESTS_CONF_TABLES_H

#include "conf/conf.h"

enum { MODE_SIGN = 1, MODE_DECRYPT = 2, MODE_LOCAL = 3 };
enum { ALLOW_SIGN = 1, ALLOW_DECRYPT = 2, ALLOW_CLIENT = 4 };

struct leaf {
    struct fk_conf_block block;
    uint64_t depth;
    struct fk_conf_block *leaves;
};

struct site {
    struct fk_conf_block block;
    struct fk_conf_list names;
    int mode;
    unsigned allow;
    uint64_t deadline, weight, cache, rate, workers;
    bool dhe;
    char *certificate, *key, *note;
    struct fk_conf_list from, chain;
};

struct top {
    struct fk_conf_block block;
    char *user;
    uint64_t count;
    char *control;
    struct fk_conf_block *sites, *channel, *leaves;
};

struct channel {
    struct fk_conf_block block;
    char *certificate;
    char *ca;
};

extern const struct fk_conf_kind sample_kind;

#endif
