/* What the key server's master watches: see watch.h and loop/watch.h. */
#include "keyd/watch.h"

#include "base/err.h"
#include "base/log.h"
#include "tls/channel_conf.h"

#include <stdlib.h>

static size_t count_directories(const struct fk_keyd_conf *conf)
{
    size_t count = 0;

    for (const struct fk_conf_block *block = conf->keys; block != NULL; block = block->next)
        count++;
    return count;
}

void fk_keyd_watch_set(struct fk_watch *watch, const struct fk_keyd_conf *conf)
{
    static const char *const suffixes[] = {".key", ".share",  ".token", ".pub",
                                           ".crt", ".policy", NULL};
    const char *files[FK_CHANNEL_PARTS];
    size_t n_files = fk_channel_conf_files(fk_keyd_conf_channel(conf), files), n = 0;
    struct fk_watch_item *items = calloc(count_directories(conf) + FK_CHANNEL_PARTS, sizeof *items);
    int err = FK_ERR_NOMEM;

    if (items != NULL) {
        for (const struct fk_conf_block *block = conf->keys; block != NULL; block = block->next)
            if (((const struct fk_keyd_keys_conf *)(const void *)block)->watch)
                items[n++] = (struct fk_watch_item){.path = block->title, .suffixes = suffixes};
        for (size_t i = 0; i < n_files; i++)
            items[n++] = (struct fk_watch_item){.path = files[i]};
        err = fk_watch_set(watch, items, n);
    }
    if (err != FK_OK)
        fk_log(FK_LOG_WARN, "changes of files are not watched; reload by hand", fk_error(err));
    free(items);
}
