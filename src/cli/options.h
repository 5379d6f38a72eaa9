/*
 * Command-line options of the subcommands: one table a command drives the parser, the usage text
 * and the checks of values. Prints what is wrong to stderr itself; knows no command.
 */
#ifndef FK_CLI_OPTIONS_H
#define FK_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum fk_opt_type {
    FK_OPT_FLAG,     /* bool; no argument */
    FK_OPT_STRING,   /* const char *, borrowed from argv */
    FK_OPT_LIST,     /* struct fk_opt_list: may be repeated */
    FK_OPT_NUMBER,   /* uint64_t within min..max */
    FK_OPT_DURATION, /* uint64_t microseconds within min..max: 20ms */
    FK_OPT_ENUM,     /* int: index into `names` */
};

/* A list option may be given this many times: no command needs more. */
#define FK_OPT_LIST_MAX 64

struct fk_opt_list {
    const char *items[FK_OPT_LIST_MAX];
    size_t count;
};

struct fk_opt {
    const char *name; /* long name without "--" */
    char letter;      /* short name, 0 for none */
    enum fk_opt_type type;
    size_t offset;   /* of the member in the command's struct */
    const char *arg; /* what the usage calls the argument */
    const char *help;
    uint64_t min, max;        /* numbers; max 0: no bound */
    const char *const *names; /* FK_OPT_ENUM; ends with NULL */
};

struct fk_opt_command {
    const char *name;             /* "farkey ca issue" */
    const char *args;             /* what follows the options: "EDGE KEYSERVER", may be "" */
    const char *help;             /* a sentence or more */
    const struct fk_opt *options; /* ends with a NULL name; may be NULL */
    int min_args, max_args;
};

/*
 * Read the options of argv[1..] into the struct at `values`, which holds the defaults. Options and
 * arguments may mix. *ret_first: index of the first argument that is not an option (argv is
 * reordered). FK_ERR_INVAL: said on stderr; FK_ERR_CANCELLED: --help (or FK_OPT_MDOC) was given and
 * answered.
 */
int fk_opt_parse(const struct fk_opt_command *command, void *values, int argc, char **argv,
                 int *ret_first);

/* Exit status of a command whose options did not parse: 0 after --help, else 2. */
int fk_opt_status(int err);

void fk_opt_usage(const struct fk_opt_command *command, FILE *out);

/* What a command is asked for when its manual page is made, as its only argument. */
#define FK_OPT_MDOC "--mdoc"

/* The usage as a subsection of a manual page. */
void fk_opt_mdoc(const struct fk_opt_command *command, FILE *out);

#endif
