/* What holds for every list in a configuration. Private to src/conf. */
#ifndef FK_CONF_LIST_H
#define FK_CONF_LIST_H

#include "conf/value.h"

/* False: it is empty where that is no choice (struct fk_conf_option), or has a value twice; told.
 * Also false without memory (fk_conf_alloc()). */
bool fk_conf_list_check(struct fk_conf *conf, const struct fk_conf_option *option,
                        const struct fk_conf_value *value);

#endif
