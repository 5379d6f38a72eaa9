/* The effective configuration in its own language: what is printed parses back to the same. */
#include "conf/conf.h"
#include "conf/store.h"
#include "conf/value.h"

enum { INDENT = 4 };

static void print_option(const struct fk_conf_block *block, size_t index, unsigned depth, FILE *out)
{
    const struct fk_conf_option *option = &block->kind->options[index];
    bool set = (block->set >> index & 1) != 0;
    bool text = option->type == FK_CONF_STRING || option->type == FK_CONF_PATH;

    /* Nothing written and no default: leaving it out says the same. */
    if (!fk_conf_value_present(block, option) && (text || (!set && option->fallback == NULL)))
        return;
    fprintf(out, "%*s%s = ", (int)(depth * INDENT), "", option->name);
    fk_conf_value_print(block, option, out);
    fputs(set ? "\n" : "  # default\n", out);
}

static void print_block(const struct fk_conf_block *block, unsigned depth, FILE *out);

static void print_kids(const struct fk_conf_block *block, const struct fk_conf_kind *kind,
                       unsigned depth, FILE *out)
{
    const struct fk_conf_block *kid =
        *(struct fk_conf_block *const *)(const void *)((const char *)block + kind->list_offset);

    for (; kid != NULL; kid = kid->next) {
        fprintf(out, "\n%*s%s ", (int)(depth * INDENT), "", kind->name);
        if (kid->title != NULL) {
            fk_conf_print_string(kid->title, out);
            fputc(' ', out);
        }
        fputs("{\n", out);
        print_block(kid, depth + 1, out);
        fprintf(out, "%*s}\n", (int)(depth * INDENT), "");
    }
}

static void print_block(const struct fk_conf_block *block, unsigned depth, FILE *out)
{
    for (size_t i = 0; block->kind->options[i].name != NULL; i++)
        print_option(block, i, depth, out);
    for (size_t i = 0; block->kind->kids != NULL && block->kind->kids[i] != NULL; i++)
        print_kids(block, block->kind->kids[i], depth, out);
}

void fk_conf_print(const struct fk_conf *conf, FILE *out)
{
    print_block(conf->root, 0, out);
}
