/*
 * The configuration language and its tables.
 *
 *     file   = { item }
 *     item   = NAME "=" value | NAME [ STRING ] "{" { item } "}" | "include" STRING
 *     value  = word | STRING | "{" [ value { "," value } ] "}"
 *     word   = letters, digits and - _ . / : * + % (numbers with units: 10s 16k 500/s)
 *     "#" starts a comment; white space and newlines only separate.
 *
 * One table of options describes each kind of block: it drives the parser, `farkey check`, the
 * defaults, `farkey check --print` and the manual page. A parsed block is a plain C struct whose
 * members the table's rows point at. All errors of a file are collected, each with file and line
 * and what to write instead.
 */
#ifndef FK_CONF_CONF_H
#define FK_CONF_CONF_H

#include "conf/bundle.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum fk_conf_type {
    FK_CONF_BOOL,     /* bool: on, off, yes, no, true, false */
    FK_CONF_INT,      /* uint64_t within min..max */
    FK_CONF_SIZE,     /* uint64_t bytes within min..max: 512, 16k, 4m */
    FK_CONF_DURATION, /* uint64_t microseconds within min..max: 20ms, 10s */
    FK_CONF_RATE,     /* uint64_t events an hour: 500/s, 30/m, 10/h */
    FK_CONF_ENUM,     /* int: one of `names` */
    FK_CONF_FLAGS,    /* unsigned: list of `names`, or-ed */
    FK_CONF_STRING,   /* char *, NULL when absent */
    FK_CONF_PATH,     /* char *, made absolute against the file that says it */
    FK_CONF_LIST,     /* struct fk_conf_list of strings */
    FK_CONF_RANGES,   /* struct fk_conf_list of address ranges, each checked */
    FK_CONF_PATHS,    /* struct fk_conf_list of paths, each as FK_CONF_PATH */
};

struct fk_conf_name {
    const char *name;
    int value;
    const char *help;
};

struct fk_conf_list {
    char **items;
    size_t count;
};

/* Where a block or value came from, for errors found after parsing. */
struct fk_conf_where {
    const char *file; /* lives as long as the configuration */
    unsigned line;    /* 0: the file as a whole */
};

struct fk_conf_option {
    const char *name;
    enum fk_conf_type type;
    size_t offset; /* of the member in the block's struct */
    /* Default: a list in braces, a quoted string, or one value as it is; a PATH is relative to the
     * root file. NULL: unset (0, NULL, empty). */
    const char *fallback;
    uint64_t min, max; /* numbers; max 0: no bound */
    /* ENUM, FLAGS: the values. Numbers: words that stand for one ("auto"), free of min and max.
     * Ends with a NULL name. */
    const struct fk_conf_name *names;
    bool required;
    bool may_be_empty; /* lists: {} is taken, where it cannot be read as "nothing is allowed" */
    const char *help;  /* one or two sentences for the manual */
    /* Extra check of a written value; returns NULL or "what is wrong; what to write instead". */
    const char *(*check)(const void *value);
};

struct fk_conf; /* one loaded configuration */

/*
 * A kind of block. Its struct begins with a struct fk_conf_block; blocks of one kind in one parent
 * form a list in the order of the file.
 */
struct fk_conf_kind {
    const char *name;
    size_t size;      /* of the struct */
    bool titled;      /* NAME "title" { }: titles of one kind are unique in a parent */
    bool titled_path; /* and the title is a path, made absolute as FK_CONF_PATH */
    bool once;        /* at most one in a parent */
    /*
     * Absent, it means what it means empty: the parser adds the block with its defaults, so that
     * users find it and `farkey check --print` shows it. Only for a kind that is `once`, requires
     * nothing, and whose presence turns nothing on (as an audit log's or an admin listener's does).
     */
    bool implied;
    size_t list_offset; /* in the parent's struct: a struct fk_conf_block * (head of the list) */
    const struct fk_conf_option *options;   /* ends with a NULL name */
    const struct fk_conf_kind *const *kids; /* ends with NULL; may be NULL */
    const char *help;
    /*
     * Check of a whole block after its options and kids; reports by fk_conf_complain(). May be
     * NULL. Called also when something was wrong in the block before: what must not be judged,
     * fk_conf_is_bad() tells.
     */
    void (*check)(void *block, struct fk_conf *conf);
};

struct fk_conf_block {
    struct fk_conf_block *next;
    const struct fk_conf_kind *kind;
    char *title; /* NULL when the kind has none; empty when it is missing, which is a mistake */
    struct fk_conf_where where;
    uint64_t set; /* bit i: option i of the kind was written in the file (not a default) */
    struct fk_conf_place *places; /* where option i was written: see fk_conf_option_where() */
    struct fk_conf_doubt *doubt;  /* what was wrong with it: see fk_conf_is_bad() */
};

/*
 * Parse `path` read through `bundle` by the root kind's table. *ret is always given (free it), also
 * with FK_ERR_CONF, when fk_conf_error() tells what was wrong: later checks can go on with what
 * fk_conf_is_bad() does not tell of, so that all mistakes are reported at once. FK_ERR_NOMEM gives
 * nothing. Keeps nothing of the bundle. A relative path, and each path found in
 * the files, is relative to fk_bundle_base() or to the file that says it, so that a child which
 * opens the sealed bundle loads the same configuration by the same `path`.
 */
int fk_conf_load(const struct fk_conf_kind *root, const char *path, struct fk_bundle *bundle,
                 struct fk_conf **ret);
void fk_conf_free(struct fk_conf *conf);

/* The root block's struct; its strings live as long as `conf`. */
void *fk_conf_root(struct fk_conf *conf);

/* A check had no memory: whether the configuration is good is not known. */
void fk_conf_no_memory(struct fk_conf *conf);

/* Add an error found by a later check ("FILE:LINE: text", "FILE: text" without a line). */
__attribute__((format(printf, 3, 4))) void fk_conf_complain(struct fk_conf *conf,
                                                            const struct fk_conf_where *where,
                                                            const char *format, ...);

/* The same where option `name` was written (NULL: at the title), which is bad from then on. */
__attribute__((format(printf, 4, 5))) void fk_conf_blame(struct fk_conf *conf,
                                                         const struct fk_conf_block *block,
                                                         const char *name, const char *format, ...);

/*
 * Whether there is nothing to judge an option by: what was written for it was complained of, or it
 * is absent and something complained of may have been meant for it (a name misspelt, a file not
 * read). Its member then holds the default or nothing. `name` may also be the name of a kind of
 * block in this block (some are missing, or have no good title), or NULL, for the title. A check
 * that asks reports each mistake once and none that only follows from another.
 */
bool fk_conf_is_bad(const struct fk_conf_block *block, const char *name);

/* Number of options and blocks whose names the tables do not have. */
size_t fk_conf_unknown_count(const struct fk_conf *conf);

/*
 * Number of errors, and error `i` as "FILE:LINE: what; what to write instead", in the order of
 * files and lines.
 */
size_t fk_conf_error_count(const struct fk_conf *conf);
const char *fk_conf_error(const struct fk_conf *conf, size_t i);

/* Where option `name` was written; where the block began when it was not. */
struct fk_conf_where fk_conf_option_where(const struct fk_conf *conf,
                                          const struct fk_conf_block *block, const char *name);

/* Whether option `name` was written in the block, not defaulted. */
bool fk_conf_is_set(const struct fk_conf_block *block, const char *name);

/*
 * Give a text option without a fallback the default that holds on this host, a copy of `value`; no
 * effect where it was written. FK_ERR_NOMEM.
 */
int fk_conf_set_default(struct fk_conf *conf, struct fk_conf_block *block, const char *name,
                        const char *value);

/* The effective configuration, defaults included, in its own language. */
void fk_conf_print(const struct fk_conf *conf, FILE *out);

/* The section of the manual page (mdoc) that lists every block and option of a root kind. */
void fk_conf_print_manual(const struct fk_conf_kind *root, FILE *out);

#endif
