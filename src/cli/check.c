/* `farkey check`: every error of a configuration with its file and line, or what it means. Also
 * `farkey manual`, which prints a configuration's manual page from the same tables. */
#include "base/err.h"
#include "cli/commands.h"
#include "cli/conf_kind.h"
#include "cli/options.h"
#include "conf/conf.h"
#include "edge/conf.h"
#include "edge/edge.h"
#include "keyd/conf.h"
#include "keyd/keyd.h"

#include <stdio.h>
#include <string.h>

const struct fk_role_kind fk_role_kinds[] = {
    {"keyd", &fk_keyd_conf_kind, fk_keyd_load},
    {"edge", &fk_edge_conf_kind, fk_edge_load},
    {"inline", &fk_inline_conf_kind, fk_inline_load},
};

/* --- which daemon's --- */

/* Load by one role's table. */
static int load(const struct fk_role_kind *role, const char *path, struct fk_conf **ret)
{
    struct fk_bundle *bundle = NULL;
    int err = fk_bundle_new(&bundle);

    if (err != FK_OK)
        return err;
    err = fk_conf_load(role->kind, path, bundle, ret);
    fk_bundle_free(bundle);
    return err;
}

/* "DIR/edge.conf" is an edge's, if nothing in it says otherwise. */
static bool is_named_so(const char *path, const struct fk_role_kind *role)
{
    const char *slash = strrchr(path, '/');

    return strncmp(slash == NULL ? path : slash + 1, role->name, strlen(role->name)) == 0;
}

/* Whether a file fits one role's table better than another's: it has fewer names unknown there. */
static bool is_nearer(const char *path, const struct fk_role_kind *role_a, const struct fk_conf *a,
                      const struct fk_role_kind *role_b, const struct fk_conf *b)
{
    if (fk_conf_unknown_count(a) != fk_conf_unknown_count(b))
        return fk_conf_unknown_count(a) < fk_conf_unknown_count(b);
    if (is_named_so(path, role_a) != is_named_so(path, role_b))
        return is_named_so(path, role_a);
    return fk_conf_error_count(a) < fk_conf_error_count(b);
}

/* By the table that it fits. A file of neither is reported as what it is nearest to. */
int fk_role_conf_load(const char *path, int wanted, const struct fk_role_kind **ret_role,
                      struct fk_conf **ret)
{
    struct fk_conf *best = NULL;
    int best_err = FK_ERR_NOMEM;

    for (int i = 0; i < FK_ROLE_KINDS; i++) {
        struct fk_conf *conf = NULL;
        int err;

        if (wanted >= 0 && wanted != i)
            continue;
        err = load(&fk_role_kinds[i], path, &conf);
        if (conf == NULL)
            continue;
        if (best == NULL || is_nearer(path, &fk_role_kinds[i], conf, *ret_role, best)) {
            fk_conf_free(best);
            best = conf;
            best_err = err;
            *ret_role = &fk_role_kinds[i];
        } else {
            fk_conf_free(conf);
        }
    }
    *ret = best;
    return best_err;
}

/* --- the commands --- */

struct check_values {
    const char *conf;
    int role; /* -1: find out */
    bool print;
};

static const char *const role_names[] = {"keyd", "edge", "inline", NULL};

static void print_errors(const struct fk_conf *conf)
{
    for (size_t i = 0; i < fk_conf_error_count(conf); i++)
        fprintf(stderr, "%s\n", fk_conf_error(conf, i));
}

/* The daemon's own check, of files and keys, too, in place of that by the tables. */
static int check_whole(const struct fk_role_kind *role, const char *path, struct fk_conf **conf)
{
    struct fk_bundle *bundle = NULL;
    int err = fk_bundle_new(&bundle);

    if (err != FK_OK)
        return err;
    fk_conf_free(*conf);
    *conf = NULL;
    err = role->load(path, bundle, conf);
    fk_bundle_free(bundle);
    return err;
}

int fk_cmd_check(int argc, char **argv)
{
    static const struct fk_opt options[] = {
        {"conf", 'c', FK_OPT_STRING, offsetof(struct check_values, conf), "FILE",
         "the configuration", 0, 0, NULL},
        {"role", 0, FK_OPT_ENUM, offsetof(struct check_values, role), NULL,
         "whose configuration it is (default: as its options tell)", 0, 0, role_names},
        {"print", 0, FK_OPT_FLAG, offsetof(struct check_values, print), NULL,
         "print the effective configuration, defaults included", 0, 0, NULL},
        {NULL, 0, FK_OPT_FLAG, 0, NULL, NULL, 0, 0, NULL},
    };
    static const struct fk_opt_command command = {"farkey check",
                                                  "[FILE]",
                                                  "Check a configuration of keyd, edge or inline. "
                                                  "Prints every error with file and line; status 1 "
                                                  "if\nthere is one.",
                                                  options,
                                                  0,
                                                  1};
    struct check_values values = {.role = -1};
    const struct fk_role_kind *role = NULL;
    struct fk_conf *conf = NULL;
    int first, err = fk_opt_parse(&command, &values, argc, argv, &first);

    if (err != FK_OK)
        return fk_opt_status(err);
    if (values.conf == NULL)
        values.conf = first < argc ? argv[first] : NULL;
    if (values.conf == NULL) {
        fputs("farkey check: give -c FILE\n", stderr);
        return 2;
    }
    err = fk_role_conf_load(values.conf, values.role, &role, &conf);
    if (conf != NULL) /* whatever is wrong so far: all mistakes are told at once */
        err = check_whole(role, values.conf, &conf);
    if (conf == NULL)
        return fk_command_fail("cannot check", values.conf, err);
    print_errors(conf);
    if (err == FK_OK && values.print)
        fk_conf_print(conf, stdout);
    else if (err == FK_OK)
        printf("%s: good configuration of farkey %s\n", values.conf, role->name);
    fk_conf_free(conf);
    return err == FK_OK ? 0 : 1;
}

static const char manual_head[] = ".Dd $Mdocdate$\n"
                                  ".Dt FARKEY-%1$s.CONF 5\n"
                                  ".Os\n"
                                  ".Sh NAME\n"
                                  ".Nm farkey-%2$s.conf\n"
                                  ".Nd configuration of farkey %2$s\n"
                                  ".Sh DESCRIPTION\n"
                                  "The file is read by\n"
                                  ".Ic farkey %2$s\n"
                                  "at start and on\n"
                                  ".Dv SIGHUP ;\n"
                                  "a file with errors is refused as a whole.\n"
                                  ".Ic farkey check\n"
                                  "reports all errors at once and, with\n"
                                  ".Fl -print ,\n"
                                  "the effective values.\n"
                                  ".Pp\n"
                                  "An option is written\n"
                                  ".Ar name Li = Ar value ;\n"
                                  "a block\n"
                                  ".Ar name Li \\(dq Ns Ar title Ns Li \\(dq { Ar ... Li } .\n"
                                  "Lists are written\n"
                                  ".Li { Ar a , b Li } .\n"
                                  "A number sign starts a comment.\n"
                                  ".Ic include Ar \\(dqpattern\\(dq\n"
                                  "reads other files.\n"
                                  "Relative paths are relative to the file that names them.\n";

int fk_cmd_manual(int argc, char **argv)
{
    static const struct fk_opt_command command = {
        "farkey manual",
        "keyd|edge|inline|COMMAND.1",
        "Print the manual page of keyd.conf, edge.conf or inline.conf, every block and option, or "
        "that "
        "of a command, for man(1), such as:\nfarkey manual edge | man -l -",
        NULL,
        1,
        1};
    static const char *const upper[] = {"KEYD", "EDGE", "INLINE"};
    int first, err = fk_opt_parse(&command, NULL, argc, argv, &first);

    if (err != FK_OK)
        return fk_opt_status(err);
    for (int i = 0; i < FK_ROLE_KINDS; i++) {
        if (strcmp(argv[first], fk_role_kinds[i].name) != 0)
            continue;
        printf(manual_head, upper[i], fk_role_kinds[i].name);
        fk_conf_print_manual(fk_role_kinds[i].kind, stdout);
        puts(".Sh SEE ALSO\n.Xr farkey 1");
        return 0;
    }
    fk_opt_usage(&command, stderr);
    return 2;
}
