/*
 * The configuration parser on any text: it ends, tells mistakes with places, and what it accepts
 * prints as something that it accepts again and prints the same.
 */
#include "base/err.h"
#include "base/limits.h"
#include "conf/bundle.h"
#include "conf/conf.h"
#include "conf_tables.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold whatever the input. */
static void require(bool truth)
{
    if (!truth)
        abort();
}

/* The input is a file and, for its includes, a second one named "d". */
static int load(const uint8_t *data, size_t size, struct fk_bundle **ret_bundle,
                struct fk_conf **ret)
{
    static const char included[] = "include \"c\" site \"d\" { mode = local key = k }";

    require(fk_bundle_new(ret_bundle) == FK_OK);
    require(fk_bundle_add(*ret_bundle, "/c", data, size) == FK_OK);
    require(fk_bundle_add(*ret_bundle, "/d", included, strlen(included)) == FK_OK);
    return fk_conf_load(&sample_kind, "/c", *ret_bundle, ret);
}

static char *print(const struct fk_conf *conf, size_t *ret_len)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, ret_len);

    require(out != NULL);
    fk_conf_print(conf, out);
    require(fclose(out) == 0);
    return text;
}

/* Remarks tell what was a default: the second time nothing is. */
static void strip_remarks(char *text)
{
    static const char remark[] = "  # default";

    for (char *at = text; (at = strstr(at, remark)) != NULL;)
        memmove(at, at + strlen(remark), strlen(at + strlen(remark)) + 1);
}

static void print_twice(struct fk_conf *first)
{
    struct fk_bundle *bundle;
    struct fk_conf *second;
    size_t len, again_len;
    char *text = print(first, &len);
    char *again;

    require(load((const uint8_t *)text, len, &bundle, &second) == FK_OK);
    again = print(second, &again_len);
    strip_remarks(text);
    strip_remarks(again);
    require(strcmp(text, again) == 0);
    free(text);
    free(again);
    fk_conf_free(second);
    fk_bundle_free(bundle);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fk_bundle *bundle;
    struct fk_conf *conf;
    int err = load(data, size, &bundle, &conf);

    if (err == FK_OK) {
        require(fk_conf_error_count(conf) == 0);
        print_twice(conf);
    } else {
        require(err == FK_ERR_CONF);
        require(fk_conf_error_count(conf) > 0);
        for (size_t i = 0; i < fk_conf_error_count(conf); i++)
            require(fk_conf_error(conf, i)[0] == '/');
    }
    fk_conf_free(conf);
    fk_bundle_free(bundle);
    return 0;
}
