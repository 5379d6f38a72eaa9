/* Loading texts as configurations of the language of conf_tables.h. */
#ifndef FK_TESTS_CONF_SAMPLE_H
#define FK_TESTS_CONF_SAMPLE_H

#include "conf/bundle.h"
#include "conf/conf.h"
#include "conf_tables.h"

/* A configuration and the bundle of texts that it was read from. */
struct sample {
    struct fk_bundle *bundle;
    struct fk_conf *conf;
};

/* Load `len` bytes as the file `path`, which is absolute. */
int sample_load(struct sample *input, const char *path, const char *text, size_t len);

/* As sample_load() of a text that is right, as /etc/farkey/c. */
const struct top *sample_load_good(struct sample *input, const char *text);

void sample_unload(struct sample *input);

/* All errors, one a line. */
void sample_errors(const struct fk_conf *conf, char *dst, size_t size);

#endif
