/* See conf_sample.h. */
#include "conf_sample.h"

#include "unit.h"

#include "base/err.h"

#include <stdio.h>

int sample_load(struct sample *input, const char *path, const char *text, size_t len)
{
    assert_ok(fk_bundle_new(&input->bundle));
    assert_ok(fk_bundle_add(input->bundle, path, text, len));
    return fk_conf_load(&sample_kind, path, input->bundle, &input->conf);
}

void sample_unload(struct sample *input)
{
    fk_conf_free(input->conf);
    fk_bundle_free(input->bundle);
}

void sample_errors(const struct fk_conf *conf, char *dst, size_t size)
{
    size_t at = 0;

    dst[0] = '\0';
    for (size_t i = 0; i < fk_conf_error_count(conf); i++)
        at += (size_t)snprintf(dst + at, size - at, "%s\n", fk_conf_error(conf, i));
}

const struct top *sample_load_good(struct sample *input, const char *text)
{
    char errors[8192];

    sample_load(input, "/etc/farkey/c", text, strlen(text));
    sample_errors(input->conf, errors, sizeof errors);
    assert_string_equal(errors, "");
    return fk_conf_root(input->conf);
}
