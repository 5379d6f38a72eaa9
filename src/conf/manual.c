/* The blocks and options of a root kind as mdoc(7), made from the same tables as the parser. */
#include "conf/conf.h"
#include "conf/mdoc.h"
#include "conf/store.h"
#include "conf/value.h"

#include "base/limits.h"

static void print_names(const struct fk_conf_option *option, FILE *out)
{
    const struct fk_conf_name *name = option->names;

    if (name == NULL || name->name == NULL)
        return;
    fputs(".Bl -tag -width Ds -compact\n", out);
    for (; name->name != NULL; name++) {
        fputs(".It Cm ", out);
        fk_mdoc_argument(name->name, out);
        fputc('\n', out);
        if (name->help != NULL)
            fk_mdoc_text(name->help, out);
    }
    fputs(".El\n", out);
}

static void print_option(const struct fk_conf_option *option, FILE *out)
{
    struct fk_conf_text text = {.len = 0};
    struct fk_conf_text expect;

    fprintf(out, ".It Ic %s No = Ar ", option->name);
    fk_mdoc_argument(fk_conf_value_noun(option), out);
    fputc('\n', out);
    if (option->help != NULL)
        fk_mdoc_text(option->help, out);
    fk_conf_value_expect(option, &expect);
    fk_conf_put(&text, "Value: %s.", expect.text);
    fk_mdoc_text(text.text, out);
    if (option->required) {
        fputs("Required.\n", out);
    } else if (option->fallback != NULL) {
        fputs("Default:\n.Li ", out);
        fk_mdoc_argument(option->fallback, out);
        fputs(" .\n", out);
    }
    print_names(option, out);
}

static void print_heading(const struct fk_conf_kind *kind, FILE *out)
{
    fprintf(out, ".Ss %s%s\n", kind->name, kind->titled ? " \\(dqTITLE\\(dq { ... }" : " { ... }");
    if (kind->help != NULL)
        fk_mdoc_text(kind->help, out);
    if (kind->once)
        fputs("At most one.\n", out);
    if (kind->implied)
        fputs("Without it, its defaults hold.\n", out);
}

static void print_kind(const struct fk_conf_kind *kind, unsigned depth, FILE *out)
{
    if (kind->options[0].name != NULL) {
        fputs(".Bl -tag -width Ds\n", out);
        for (const struct fk_conf_option *option = kind->options; option->name != NULL; option++)
            print_option(option, out);
        fputs(".El\n", out);
    }
    if (depth >= FK_CONF_NEST_MAX)
        return;
    for (size_t i = 0; kind->kids != NULL && kind->kids[i] != NULL; i++) {
        print_heading(kind->kids[i], out);
        print_kind(kind->kids[i], depth + 1, out);
    }
}

void fk_conf_print_manual(const struct fk_conf_kind *root, FILE *out)
{
    fprintf(out, ".Sh OPTIONS\n");
    if (root->help != NULL)
        fk_mdoc_text(root->help, out);
    print_kind(root, 0, out);
}
