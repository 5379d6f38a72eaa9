/* The tables of conf_tables.h. */
#include "conf_tables.h"

#include <string.h>

static const struct fk_conf_name modes[] = {{"sign", MODE_SIGN, "Sign only."},
                                            {"decrypt", MODE_DECRYPT, NULL},
                                            {"local", MODE_LOCAL, NULL},
                                            {NULL, 0, NULL}};

static const struct fk_conf_name allowed[] = {{"sign", ALLOW_SIGN, NULL},
                                              {"decrypt", ALLOW_DECRYPT, NULL},
                                              {"client", ALLOW_CLIENT, NULL},
                                              {"all", 7, NULL},
                                              {NULL, 0, NULL}};

static const struct fk_conf_name automatic[] = {{"auto", 0, NULL}, {NULL, 0, NULL}};

static const char *check_note(const void *value)
{
    return strcmp(*(char *const *)value, "bad") == 0 ? "is bad; write \"good\"" : NULL;
}

static void check_site(void *block, struct fk_conf *conf)
{
    struct site *site = block;

    if (site->mode == MODE_LOCAL && site->key == NULL)
        fk_conf_complain(conf, &site->block.where, "mode local needs a key; write key = \"FILE\"");
}

#define SITE(member) offsetof(struct site, member)

static const struct fk_conf_option site_options[] = {
    {.name = "names", .type = FK_CONF_LIST, .offset = SITE(names), .help = "Names. Of DNS."},
    {.name = "mode",
     .type = FK_CONF_ENUM,
     .offset = SITE(mode),
     .fallback = "sign",
     .names = modes},
    {.name = "allow",
     .type = FK_CONF_FLAGS,
     .offset = SITE(allow),
     .fallback = "{sign, client}",
     .names = allowed,
     .may_be_empty = true},
    {.name = "deadline",
     .type = FK_CONF_DURATION,
     .offset = SITE(deadline),
     .fallback = "3s",
     .min = 1000,
     .max = 60000000},
    {.name = "weight",
     .type = FK_CONF_INT,
     .offset = SITE(weight),
     .fallback = "1",
     .min = 1,
     .max = 100},
    {.name = "cache", .type = FK_CONF_SIZE, .offset = SITE(cache), .min = 1024},
    {.name = "rate", .type = FK_CONF_RATE, .offset = SITE(rate)},
    {.name = "workers",
     .type = FK_CONF_INT,
     .offset = SITE(workers),
     .fallback = "auto",
     .min = 1,
     .max = 64,
     .names = automatic},
    {.name = "dhe", .type = FK_CONF_BOOL, .offset = SITE(dhe), .fallback = "off"},
    {.name = "certificate", .type = FK_CONF_PATH, .offset = SITE(certificate)},
    {.name = "key", .type = FK_CONF_PATH, .offset = SITE(key)},
    {.name = "note", .type = FK_CONF_STRING, .offset = SITE(note), .check = check_note},
    {.name = "from", .type = FK_CONF_RANGES, .offset = SITE(from), .may_be_empty = true},
    {.name = "chain", .type = FK_CONF_PATHS, .offset = SITE(chain)},
    {.name = NULL},
};

static const struct fk_conf_kind site_kind = {.name = "site",
                                              .size = sizeof(struct site),
                                              .titled = true,
                                              .list_offset = offsetof(struct top, sites),
                                              .options = site_options,
                                              .help = "A site.",
                                              .check = check_site};

static const struct fk_conf_option channel_options[] = {
    {.name = "certificate",
     .type = FK_CONF_PATH,
     .offset = offsetof(struct channel, certificate),
     .required = true},
    {.name = "ca", .type = FK_CONF_PATH, .offset = offsetof(struct channel, ca), .required = true},
    {.name = NULL},
};

static const struct fk_conf_kind channel_kind = {.name = "channel",
                                                 .size = sizeof(struct channel),
                                                 .once = true,
                                                 .list_offset = offsetof(struct top, channel),
                                                 .options = channel_options,
                                                 .help = "The channel."};

static const struct fk_conf_option leaf_options[] = {
    {.name = "depth", .type = FK_CONF_INT, .offset = offsetof(struct leaf, depth)},
    {.name = NULL},
};

static const struct fk_conf_kind inner_leaf_kind;
static const struct fk_conf_kind *const leaf_kids[] = {&inner_leaf_kind, NULL};
static const struct fk_conf_kind inner_leaf_kind = {.name = "leaf",
                                                    .size = sizeof(struct leaf),
                                                    .list_offset = offsetof(struct leaf, leaves),
                                                    .options = leaf_options,
                                                    .kids = leaf_kids};
static const struct fk_conf_kind leaf_kind = {.name = "leaf",
                                              .size = sizeof(struct leaf),
                                              .list_offset = offsetof(struct top, leaves),
                                              .options = leaf_options,
                                              .kids = leaf_kids};

static const struct fk_conf_option top_options[] = {
    {.name = "user", .type = FK_CONF_STRING, .offset = offsetof(struct top, user)},
    {.name = "count", .type = FK_CONF_INT, .offset = offsetof(struct top, count), .fallback = "4"},
    {.name = "control",
     .type = FK_CONF_PATH,
     .offset = offsetof(struct top, control),
     .fallback = "run/edge.sock"},
    {.name = NULL},
};

static const struct fk_conf_kind *const top_kids[] = {&site_kind, &channel_kind, &leaf_kind, NULL};
const struct fk_conf_kind sample_kind = {.name = "test configuration",
                                         .size = sizeof(struct top),
                                         .options = top_options,
                                         .kids = top_kids};
