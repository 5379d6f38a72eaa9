/* Command-line options by table, over getopt_long(3). See options.h. */
#include "cli/options.h"

#include "base/err.h"
#include "base/text.h"
#include "conf/mdoc.h"

#include <getopt.h>
#include <string.h>

/* Options of one command: the largest has a dozen. */
#define OPTIONS_MAX 24

/* getopt_long() values of options without a letter: above every char. */
#define LONG_BASE 256

#define HELP_VALUE 1000

static size_t count_options(const struct fk_opt *options)
{
    size_t n = 0;

    while (options != NULL && options[n].name != NULL)
        n++;
    return n;
}

static void print_names(const struct fk_opt *opt, FILE *out)
{
    for (size_t i = 0; opt->names[i] != NULL; i++)
        fprintf(out, "%s%s", i == 0 ? "" : "|", opt->names[i]);
}

static void print_option(const struct fk_opt *opt, FILE *out)
{
    char letter[5] = "    ";

    if (opt->letter != 0)
        snprintf(letter, sizeof letter, "-%c, ", opt->letter);
    fprintf(out, "  %s--%s", letter, opt->name);
    if (opt->type == FK_OPT_ENUM) {
        fputc(' ', out);
        print_names(opt, out);
    } else if (opt->type != FK_OPT_FLAG) {
        fprintf(out, " %s", opt->arg);
    }
    fprintf(out, "\n        %s\n", opt->help);
}

void fk_opt_usage(const struct fk_opt_command *command, FILE *out)
{
    size_t n = count_options(command->options);

    fprintf(out, "usage: %s%s%s%s\n%s\n", command->name, n > 0 ? " [options]" : "",
            command->args[0] != '\0' ? " " : "", command->args, command->help);
    if (n > 0)
        fputs("\n", out);
    for (size_t i = 0; i < n; i++)
        print_option(&command->options[i], out);
}

static void print_option_mdoc(const struct fk_opt *opt, FILE *out)
{
    fputs(".It ", out);
    if (opt->letter != 0)
        fprintf(out, "Fl %c , ", opt->letter);
    fprintf(out, "Fl -%s", opt->name);
    if (opt->type == FK_OPT_ENUM) {
        fputs(" Ar ", out);
        print_names(opt, out);
    } else if (opt->type != FK_OPT_FLAG) {
        fputs(" Ar ", out);
        fk_mdoc_argument(opt->arg, out);
    }
    fputc('\n', out);
    fk_mdoc_text(opt->help, out);
}

void fk_opt_mdoc(const struct fk_opt_command *command, FILE *out)
{
    size_t n = count_options(command->options);

    fprintf(out, ".Ss %s%s%s%s\n", command->name, n > 0 ? " [options]" : "",
            command->args[0] != '\0' ? " " : "", command->args);
    fk_mdoc_text(command->help, out);
    if (n == 0)
        return;
    fputs(".Bl -tag -width Ds\n", out);
    for (size_t i = 0; i < n; i++)
        print_option_mdoc(&command->options[i], out);
    fputs(".El\n", out);
}

static bool in_bounds(const struct fk_opt *opt, uint64_t value)
{
    return value >= opt->min && (opt->max == 0 || value <= opt->max);
}

static int set_number(const struct fk_opt *opt, uint64_t *member, const char *text)
{
    uint64_t value = 0;
    int err = opt->type == FK_OPT_NUMBER ? fk_text_u64(text, strlen(text), &value)
                                         : fk_text_duration(text, strlen(text), &value);

    if (err == FK_OK && !in_bounds(opt, value))
        err = FK_ERR_RANGE;
    if (err == FK_OK)
        *member = value;
    return err;
}

static int set_enum(const struct fk_opt *opt, int *member, const char *text)
{
    for (int i = 0; opt->names[i] != NULL; i++) {
        if (strcmp(opt->names[i], text) == 0) {
            *member = i;
            return FK_OK;
        }
    }
    return FK_ERR_FORMAT;
}

static int set_list(struct fk_opt_list *list, const char *text)
{
    if (list->count == FK_OPT_LIST_MAX)
        return FK_ERR_LIMIT;
    list->items[list->count++] = text;
    return FK_OK;
}

/* Store one option's argument in its member. */
static int set_value(const struct fk_opt *opt, void *values, const char *text)
{
    void *member = (char *)values + opt->offset;

    switch (opt->type) {
    case FK_OPT_FLAG:
        *(bool *)member = true;
        return FK_OK;
    case FK_OPT_STRING:
        *(const char **)member = text;
        return FK_OK;
    case FK_OPT_LIST:
        return set_list(member, text);
    case FK_OPT_NUMBER:
    case FK_OPT_DURATION:
        return set_number(opt, member, text);
    case FK_OPT_ENUM:
        return set_enum(opt, member, text);
    }
    return FK_ERR_INVAL;
}

static void print_number(const struct fk_opt *opt, uint64_t value, FILE *out)
{
    const char *unit = "";

    if (opt->type == FK_OPT_DURATION && value % 1000000 == 0) {
        value /= 1000000;
        unit = "s";
    } else if (opt->type == FK_OPT_DURATION) {
        unit = "us";
    }
    fprintf(out, "%llu%s", (unsigned long long)value, unit);
}

/* What is accepted instead, in the user's words. */
static void complain_number(const struct fk_opt *opt, int err)
{
    bool duration = opt->type == FK_OPT_DURATION;

    if (err == FK_ERR_RANGE)
        fputs("out of range; write ", stderr);
    else
        fputs(duration ? "not a time; write " : "not a whole number; write ", stderr);
    fputs(duration ? "a number with a unit, such as 20ms or 3s" : "one", stderr);
    if (opt->min > 0) {
        fputs(", at least ", stderr);
        print_number(opt, opt->min, stderr);
    }
    if (opt->max > 0) {
        fputs(", at most ", stderr);
        print_number(opt, opt->max, stderr);
    }
}

static void complain(const struct fk_opt_command *command, const struct fk_opt *opt,
                     const char *text, int err)
{
    fprintf(stderr, "%s: --%s \"%s\": ", command->name, opt->name, text);
    if (opt->type == FK_OPT_ENUM) {
        fputs("unknown; write one of ", stderr);
        print_names(opt, stderr);
    } else if (opt->type == FK_OPT_LIST) {
        fprintf(stderr, "given too often; at most %d times", FK_OPT_LIST_MAX);
    } else {
        complain_number(opt, err);
    }
    fputs("\n", stderr);
}

/* The two forms getopt_long() wants, made from the table. */
struct getopt_form {
    char letters[2 * OPTIONS_MAX + 4];
    struct option longs[OPTIONS_MAX + 2];
};

static void build_form(const struct fk_opt *options, size_t n, struct getopt_form *form)
{
    size_t at = 0;

    memset(form, 0, sizeof *form);
    form->letters[at++] = ':';
    for (size_t i = 0; i < n; i++) {
        bool has_arg = options[i].type != FK_OPT_FLAG;

        form->longs[i] = (struct option){options[i].name, has_arg ? required_argument : no_argument,
                                         NULL, LONG_BASE + (int)i};
        if (options[i].letter != 0) {
            form->letters[at++] = options[i].letter;
            if (has_arg)
                form->letters[at++] = ':';
        }
    }
    form->longs[n] = (struct option){"help", no_argument, NULL, HELP_VALUE};
}

static const struct fk_opt *find_option(const struct fk_opt *options, size_t n, int value)
{
    if (value >= LONG_BASE)
        return (size_t)(value - LONG_BASE) < n ? &options[value - LONG_BASE] : NULL;
    for (size_t i = 0; i < n; i++)
        if (options[i].letter != 0 && options[i].letter == value)
            return &options[i];
    return NULL;
}

static int check_count(const struct fk_opt_command *command, int count)
{
    if (count >= command->min_args && count <= command->max_args)
        return FK_OK;
    fprintf(stderr, "%s: %s\nusage: %s [options] %s\n", command->name,
            count < command->min_args ? "too few arguments" : "too many arguments", command->name,
            command->args);
    return FK_ERR_INVAL;
}

int fk_opt_parse(const struct fk_opt_command *command, void *values, int argc, char **argv,
                 int *ret_first)
{
    size_t n = count_options(command->options);
    struct getopt_form form;
    int value, err;

    if (n > OPTIONS_MAX)
        return FK_ERR_INVAL;
    if (argc == 2 && strcmp(argv[1], FK_OPT_MDOC) == 0) {
        fk_opt_mdoc(command, stdout);
        return FK_ERR_CANCELLED;
    }
    build_form(command->options, n, &form);
    optind = 0; /* GNU: start anew, subcommands share the process */
    while ((value = getopt_long(argc, argv, form.letters, form.longs, NULL)) != -1) {
        const struct fk_opt *opt;

        if (value == HELP_VALUE) {
            fk_opt_usage(command, stdout);
            return FK_ERR_CANCELLED;
        }
        opt = find_option(command->options, n, value);
        if (opt == NULL) {
            fprintf(stderr, "%s: %s: %s; see %s --help\n", command->name, argv[optind - 1],
                    value == ':' ? "needs an argument" : "unknown option", command->name);
            return FK_ERR_INVAL;
        }
        if ((err = set_value(opt, values, optarg)) != FK_OK) {
            complain(command, opt, optarg, err);
            return FK_ERR_INVAL;
        }
    }
    if ((err = check_count(command, argc - optind)) != FK_OK)
        return err;
    *ret_first = optind;
    return FK_OK;
}

int fk_opt_status(int err)
{
    return err == FK_ERR_CANCELLED ? 0 : 2;
}
