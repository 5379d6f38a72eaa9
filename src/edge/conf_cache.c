/* What of sites' answers is stored: the cache block, and what of it does not go with a site. */
#include "base/limits.h"
#include "edge/conf_priv.h"

#define OPT(type, field) offsetof(struct type, field)

static const struct fk_conf_option cache_options[] = {
    {"size", FK_CONF_SIZE, OPT(fk_edge_cache, size), "64m", 1048576, (uint64_t)1 << 40,
     .help = "Bytes of memory that one worker stores answers in, heads and bodies, those that are "
             "being written or still read included."},
    {"object", FK_CONF_SIZE, OPT(fk_edge_cache, object), "8m", 1024, (uint64_t)1 << 40,
     .help = "Largest body that is stored."},
    {"entries", FK_CONF_INT, OPT(fk_edge_cache, entries), "65536", 1, 16777216,
     .help = "Answers that one worker stores."},
    {NULL},
};

static void check_cache(void *block, struct fk_conf *conf)
{
    const struct fk_edge_cache *cache = block;

    if (cache->object > cache->size && !fk_conf_is_bad(&cache->block, "size") &&
        !fk_conf_is_bad(&cache->block, "object"))
        fk_conf_blame(conf, &cache->block, "object",
                      "cache: object is larger than size; lower this or raise that");
}

const struct fk_conf_kind fk_edge_cache_kind = {
    .name = "cache",
    .size = sizeof(struct fk_edge_cache),
    .once = true,
    .list_offset = OPT(fk_edge_conf, cache),
    .options = cache_options,
    .help = "Memory for answers of origins, for sites with cache = on. Each worker has its own.",
    .check = check_cache,
};

void fk_edge_check_cache(const struct fk_edge_conf *root, struct fk_conf *conf)
{
    for (struct fk_conf_block *b = root->sites; b != NULL; b = b->next) {
        const struct fk_edge_site *site = (const void *)b;

        if (!site->cache || fk_conf_is_bad(b, "cache"))
            continue;
        if (site->protocol != FK_PROTOCOL_HTTP && !fk_conf_is_bad(b, "protocol"))
            fk_conf_blame(conf, b, "cache",
                          "site \"%s\": only answers of HTTP can be stored; write protocol = http, "
                          "or remove cache",
                          b->title);
        if (root->cache == NULL && !fk_conf_is_bad(&root->block, "cache"))
            fk_conf_blame(conf, b, "cache",
                          "site \"%s\": cache = on without a cache block; write "
                          "cache { size = 64m }",
                          b->title);
    }
}
