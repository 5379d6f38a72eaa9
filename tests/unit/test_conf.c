/* conf: the configuration language; what is read, and what is told about every mistake. */
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "conf/conf.h"

#include <stdio.h>

enum { MODE_SIGN = 1, MODE_DECRYPT = 2, MODE_LOCAL = 3 };
enum { ALLOW_SIGN = 1, ALLOW_DECRYPT = 2, ALLOW_CLIENT = 4 };

struct leaf {
    struct fk_conf_block block;
    uint64_t depth;
    struct fk_conf_block *leaves;
};

struct site {
    struct fk_conf_block block;
    struct fk_conf_list names;
    int mode;
    unsigned allow;
    uint64_t deadline, weight, cache, rate, workers;
    bool dhe;
    char *certificate, *key, *note;
    struct fk_conf_list from;
};

struct top {
    struct fk_conf_block block;
    char *user;
    uint64_t count;
    char *control;
    struct fk_conf_block *sites, *channel, *leaves;
};

struct channel {
    struct fk_conf_block block;
    char *certificate;
    char *ca;
};

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
     .names = allowed},
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
    {.name = "from", .type = FK_CONF_RANGES, .offset = SITE(from)},
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
static const struct fk_conf_kind top_kind = {.name = "test configuration",
                                             .size = sizeof(struct top),
                                             .options = top_options,
                                             .kids = top_kids};

/* A configuration whose files are texts: pairs of absolute path and text. The first is loaded. */
struct input {
    struct fk_bundle *bundle;
    struct fk_conf *conf;
};

static int load(struct input *input, const char *path, const char *text, size_t len)
{
    assert_ok(fk_bundle_new(&input->bundle));
    assert_ok(fk_bundle_add(input->bundle, path, text, len));
    return fk_conf_load(&top_kind, path, input->bundle, &input->conf);
}

static void unload(struct input *input)
{
    fk_conf_free(input->conf);
    fk_bundle_free(input->bundle);
}

/* All errors, one a line. */
static void join_errors(const struct fk_conf *conf, char *dst, size_t size)
{
    size_t at = 0;

    dst[0] = '\0';
    for (size_t i = 0; i < fk_conf_error_count(conf); i++)
        at += (size_t)snprintf(dst + at, size - at, "%s\n", fk_conf_error(conf, i));
}

static void every_mistake_is_told_with_its_remedy(void **state)
{
    static const struct {
        const char *text, *errors;
    } rows[] = {
        {"", ""},
        {"usr = x", "/c:1: unknown option \"usr\" in test configuration; did you mean user?\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct input input;
        char errors[8192];

        load(&input, "/c", rows[i].text, strlen(rows[i].text));
        join_errors(input.conf, errors, sizeof errors);
        assert_string_equal(errors, rows[i].errors);
        unload(&input);
    }
}

UNIT_MAIN(cmocka_unit_test(every_mistake_is_told_with_its_remedy))
