/* The subcommands of farkey(1). Each takes its own argv (argv[0]: the command) and returns the exit
 * status: 0 done, 1 failed, 2 wrong usage. */
#ifndef FK_CLI_COMMANDS_H
#define FK_CLI_COMMANDS_H

int fk_cmd_keyd(int argc, char **argv);
int fk_cmd_edge(int argc, char **argv);
int fk_cmd_inline(int argc, char **argv);
int fk_cmd_inline_tables(int argc, char **argv);
int fk_cmd_init(int argc, char **argv);
int fk_cmd_ca(int argc, char **argv);
int fk_cmd_key(int argc, char **argv);
int fk_cmd_check(int argc, char **argv);
int fk_cmd_status(int argc, char **argv);
int fk_cmd_control(int argc, char **argv);
int fk_cmd_audit(int argc, char **argv);
int fk_cmd_demo(int argc, char **argv);
int fk_cmd_demo_inline(int argc, char **argv);
int fk_cmd_manual(int argc, char **argv);

/* A row of a table of commands. */
struct fk_command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help; /* one line; NULL: not listed */
};

/*
 * Run the command that argv[1] names, with the rest as its arguments. `name` is what usage texts
 * call the program so far ("farkey ca"). Handles "help" and "--help".
 */
int fk_command_run(const struct fk_command *table, const char *name, int argc, char **argv);

/*
 * The manual page of the command `name` of the program's table, mdoc(7) on stdout: what its --help
 * says, that of its subcommands included. 2 when there is no such command.
 */
int fk_command_page(const struct fk_command *table, const char *name);

/* Say on stderr that `what` failed and why (errno with FK_ERR_SYS); returns exit status 1. */
int fk_command_fail(const char *what, const char *object, int err);

#endif
