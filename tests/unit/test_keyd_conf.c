/* keyd/conf: the tables of keyd.conf give what they promise and refuse what they must. */
#include "unit.h"

#include "base/err.h"
#include "base/log.h"
#include "keyd/conf.h"
#include "wire/keyop.h"

#include <stdio.h>
#include <unistd.h>

#define MINIMAL                                                             \
    "listen \"127.0.0.1:2407\" { }\n"                                       \
    "channel { certificate = \"c.crt\" key = \"c.key\" ca = \"ca.crt\" }\n" \
    "keys \"keys\" { }\n"

struct loaded {
    struct fk_bundle *bundle;
    struct fk_conf *conf;
    const struct fk_keyd_conf *root;
    int err;
};

static struct loaded load_as(const struct fk_conf_kind *kind, const char *text)
{
    char path[] = "/tmp/test_keyd_conf_XXXXXX";
    struct loaded loaded = {.conf = NULL};
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    (void)close(fd);
    assert_ok(fk_bundle_new(&loaded.bundle));
    loaded.err = fk_conf_load(kind, path, loaded.bundle, &loaded.conf);
    loaded.root = fk_conf_root(loaded.conf);
    (void)unlink(path);
    return loaded;
}

static struct loaded load(const char *text)
{
    return load_as(&fk_keyd_conf_kind, text);
}

static void unload(struct loaded *loaded)
{
    fk_conf_free(loaded->conf);
    fk_bundle_free(loaded->bundle);
}

static void smallest_file_has_defaults(void **state)
{
    struct loaded loaded = load(MINIMAL);
    const struct fk_keyd_limits_conf *limits = fk_keyd_conf_limits(loaded.root);

    (void)state;
    assert_ok(loaded.err);
    assert_int_equal(loaded.root->fronts, 0);
    assert_int_equal(loaded.root->signers, 0);
    assert_int_equal(loaded.root->log_level, FK_LOG_INFO);
    assert_null(loaded.root->user); /* the master says: see keyd/load.h */
    assert_null(loaded.root->signer_user);
    assert_null(loaded.root->audit);
    assert_null(loaded.root->admin);
    assert_int_equal(limits->connections, 4096);
    assert_int_equal(limits->output, 256 * 1024);
    assert_int_equal(limits->deadline, 5000000);
    assert_string_equal(loaded.root->keys->title, "/tmp/keys");
    unload(&loaded);
}

/* A limits block without options means what no limits block means. */
static void absent_limits_are_the_same_as_empty(void **state)
{
    struct loaded without = load(MINIMAL), with = load(MINIMAL "limits { }\n");
    const struct fk_keyd_limits_conf *a = fk_keyd_conf_limits(without.root);
    const struct fk_keyd_limits_conf *b = fk_keyd_conf_limits(with.root);
    size_t from = offsetof(struct fk_keyd_limits_conf, connections);

    (void)state;
    assert_memory_equal((const char *)a + from, (const char *)b + from, sizeof *a - from);
    unload(&without);
    unload(&with);
}

static void edges_have_identities_and_rights(void **state)
{
    struct loaded loaded =
        load(MINIMAL "edge \"e1\" { keys = {\"*\"} }\n"
                     "edge \"e2\" { identity = \"farkey:edge:other\" keys = {\"a\", \"b\"}\n"
                     "  allow = {sign, decrypt, client, digest, dialect1_decrypt} rate = 500/s\n"
                     "  burst = 7 quota = 1000 connections = 3 outstanding = 9 addresses = "
                     "{\"10.0.0.0/8\"} }\n");
    const struct fk_keyd_edge_conf *edge = (const void *)loaded.root->edges;
    struct fk_ranges ranges;
    char identity[64];

    (void)state;
    assert_ok(loaded.err);
    fk_keyd_conf_identity(edge, identity, sizeof identity);
    assert_string_equal(identity, "farkey:edge:e1");
    assert_int_equal(edge->allow, FK_PERM_SIGN13 | FK_PERM_SIGN12);
    assert_int_equal(edge->rate, 0);
    edge = (const void *)edge->block.next;
    fk_keyd_conf_identity(edge, identity, sizeof identity);
    assert_string_equal(identity, "farkey:edge:other");
    assert_int_equal(edge->allow, 0x3f);
    assert_int_equal(edge->rate, 1800000);
    assert_int_equal(edge->burst, 7);
    assert_int_equal(edge->outstanding, 9);
    assert_int_equal(edge->quota, 1000);
    assert_int_equal(edge->connections, 3);
    assert_int_equal(edge->keys.count, 2);
    assert_ok(fk_keyd_conf_ranges(&edge->addresses, &ranges));
    assert_int_equal(ranges.count, 1);
    free(ranges.items);
    unload(&loaded);
}

static void key_servers_are_asked_and_ask(void **state)
{
    struct loaded loaded =
        load(MINIMAL "keyserver \"k2\" { address = \"k2.example:2407\" }\n"
                     "keyserver \"far\" { address = \"[::1]:1\" ping_interval = 100ms\n"
                     "  identity = \"farkey:keyserver:k3\" }\n"
                     "edge \"k4\" { identity = \"farkey:keyserver:k4\" allow = {share}\n"
                     "  keys = {\"*\"} }\n"
                     "edge \"e\" { keys = {\"*\"} }\n");
    const struct fk_keyd_keyserver_conf *server = (const void *)loaded.root->keyservers;
    const struct fk_keyd_edge_conf *edge = (const void *)loaded.root->edges;

    (void)state;
    assert_ok(loaded.err);
    assert_string_equal(fk_keyd_conf_keyserver_name(server), "k2");
    assert_string_equal(server->address, "k2.example:2407");
    assert_int_equal(server->ping_interval_us, 2000000);
    server = (const void *)server->block.next;
    assert_string_equal(fk_keyd_conf_keyserver_name(server), "k3");
    assert_int_equal(server->ping_interval_us, 100000);
    assert_null(server->block.next);
    assert_string_equal(fk_keyd_conf_sharer(edge), "k4");
    assert_int_equal(edge->allow, FK_PERM_SHARE);
    assert_null(fk_keyd_conf_sharer((const void *)edge->block.next));
    unload(&loaded);
}

/* Each row is one mistake and a word of what is said about it. */
static void mistakes_are_told(void **state)
{
    static const struct {
        const char *text, *told;
    } rows[] = {
        {"", "no listen block"},
        {"listen \"127.0.0.1:2407\" { }\nkeys \"keys\" { }\n", "no channel block"},
        {"listen \"127.0.0.1:1\" { }\nchannel { certificate = \"c\" key = \"k\" ca = \"a\" }\n",
         "no keys block"},
        {MINIMAL "listen \"localhost\" { }\n", "not an address"},
        {MINIMAL "listen \"127.0.0.1:2407\" { }\n", "127.0.0.1:2407"},
        {MINIMAL "listen \"127.0.0.1:1\" { device = \"a/b\" }\n", "device: not the name"},
        {MINIMAL "dial \"edge.example.com:2408\" { }\n", "not the address and port of an edge"},
        {MINIMAL "dial \"*:2408\" { }\n", "not the address and port of an edge"},
        {MINIMAL "dial \"192.0.2.1:0\" { }\n", "not the address and port of an edge"},
        {MINIMAL "dial \"unix:/x\" { }\n", "not the address and port of an edge"},
        {MINIMAL "dial \"192.0.2.1:1\" { bind = \"lo\" }\n", "bind: not an address"},
        {MINIMAL "dial \"192.0.2.1:1\" { device = \"a/b\" }\n", "device: not the name"},
        {MINIMAL "fronts = 0\n", "fronts"},
        {MINIMAL "signers = 65\n", "signers"},
        {MINIMAL "edge \"e\" { }\n", "keys"},
        {MINIMAL "edge \"e\" { keys = {} }\n", "keys: the list is empty"},
        {MINIMAL "edge \"e\" { keys = {\"*\"} identity = \"farkey:keyserver:\" }\n",
         "not an edge's identity"},
        {MINIMAL "edge \"e\" { keys = {\"*\"} identity = \"farkey:keyserver:e\" }\n",
         "allow = {share} is for key servers"},
        {MINIMAL "edge \"e\" { keys = {\"*\"} allow = {share} }\n",
         "allow = {share} is for key servers"},
        {MINIMAL "edge \"e\" { keys = {\"*\"} identity = \"farkey:keyserver:e\"\n"
                 "  allow = {share, sign} }\n",
         "allow = {share} is for key servers"},
        {MINIMAL "keyserver \"k\" { }\n", "address"},
        {MINIMAL "keyserver \"k\" { address = \"127.0.0.1\" }\n", "not \"host:port\""},
        {MINIMAL "keyserver \"k\" { address = \"k:1\" identity = \"farkey:edge:k\" }\n",
         "write \"farkey:keyserver:NAME\""},
        {MINIMAL "keyserver \"k\" { address = \"k:1\" bind = \"k\" }\n", "not an address"},
        {MINIMAL "keyserver \"k\" { address = \"k:1\" device = \"a/b\" }\n",
         "not the name of a network interface"},
        {MINIMAL "edge \"e\" { keys = {\"*\"} identity = \"farkey:edge:\" }\n",
         "not an edge's identity"},
        {MINIMAL "edge \"a\" { keys = {\"*\"} }\n"
                 "edge \"b\" { keys = {\"*\"} identity = \"farkey:edge:a\" }\n",
         "is that of edge"},
        {MINIMAL "edge \"e\" { keys = {\"*\"} allow = {all} }\n", "all"},
        {MINIMAL "edge \"e\" { keys = {\"*\"} addresses = {\"10.0.0.1/8\"} }\n", "10.0.0.1/8"},
        {MINIMAL "audit { file = \"a\" }\n", "key"},
        {MINIMAL "audit { file = \"a\" key = \"k\" on_failure = panic }\n", "panic"},
        {MINIMAL "admin { listen = \"9465\" }\n", "not an address"},
        {MINIMAL "limits { deadline = 1ms }\n", "deadline"},
        {MINIMAL "limits { output = 1k }\n", "output"},
        {MINIMAL "channel { certificate = \"c\" key = \"k\" ca = \"a\" }\n", "channel"},
        {MINIMAL "nonsense = 1\n", "nonsense"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct loaded loaded = load(rows[i].text);
        bool told = false;

        assert_err(loaded.err, FK_ERR_CONF);
        for (size_t e = 0; e < fk_conf_error_count(loaded.conf); e++)
            told |= strstr(fk_conf_error(loaded.conf, e), rows[i].told) != NULL;
        if (!told)
            fail_msg("row %zu: \"%s\" does not say \"%s\"", i, fk_conf_error(loaded.conf, 0),
                     rows[i].told);
        unload(&loaded);
    }
}

/* All of a file with many mistakes, in the order of lines, and nothing that follows from another.
 */
static void many_mistakes_are_told_at_once(void **state)
{
    static const struct {
        const char *text, *told[8];
    } rows[] = {
        {"fronts = 0\nlisten \"localhost\" { device = \"a/b\" }\n"
         "edge \"a\" { }\nedge \"b\" { keys = {\"*\"} identity = \"farkey:edge:a\" }\n",
         {":1: fronts:", ":1: no channel block", ":1: no keys block",
          ":2: device:", ":2: listen \"localhost\"", ":3: edge \"a\": required option keys",
          ":4: edge \"b\": identity"}},
        {MINIMAL
         "edge \"a\" { keys = {\"*\"} identity = \"bad\" }\nedge \"bad\" { kes = {\"*\"} }\n",
         {":4: identity: not an edge's", ":5: unknown option \"kes\""}},
        {MINIMAL "edge \"a\" { keys = {\"*\"} }\nedge \"a\" { }\n", {":5: second block edge"}},
        {"listn \"127.0.0.1:1\" { }\n",
         {":1: unknown block \"listn\"", ":1: no channel block", ":1: no keys block"}},
        {MINIMAL "user = uuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu\n"
                 "signer_user = {a, b}\n",
         {":4: user: name of a user too long", ":5: signer_user: a list"}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct loaded loaded = load(rows[i].text);
        size_t n = 0;

        assert_err(loaded.err, FK_ERR_CONF);
        for (; rows[i].told[n] != NULL; n++)
            if (n >= fk_conf_error_count(loaded.conf) ||
                strstr(fk_conf_error(loaded.conf, n), rows[i].told[n]) == NULL)
                fail_msg("row %zu, error %zu: %s", i, n, fk_conf_error(loaded.conf, n));
        if (fk_conf_error_count(loaded.conf) != n)
            fail_msg("row %zu, and: %s", i, fk_conf_error(loaded.conf, n));
        unload(&loaded);
    }
}

static void policy_defaults_to_signing(void **state)
{
    struct loaded loaded = load_as(&fk_key_policy_conf_kind, "names = {\"a\", \"*.b\"}\n");
    const struct fk_key_policy_conf *policy = fk_conf_root(loaded.conf);

    (void)state;
    assert_ok(loaded.err);
    assert_int_equal(policy->allow, FK_PERM_SIGN13 | FK_PERM_SIGN12);
    assert_int_equal(policy->names.count, 2);
    assert_int_equal(policy->share_with.count, 0);
    unload(&loaded);
    loaded = load_as(&fk_key_policy_conf_kind, "share_with = {\"keys1\", \"keys3\"}\n");
    policy = fk_conf_root(loaded.conf);
    assert_ok(loaded.err);
    assert_int_equal(policy->share_with.count, 2);
    unload(&loaded);
    loaded = load_as(&fk_key_policy_conf_kind, "share_with = {\"keys1\", \"\"}\n");
    assert_err(loaded.err, FK_ERR_CONF);
    unload(&loaded);
    loaded = load_as(&fk_key_policy_conf_kind, "allow = {sign, share}\n");
    assert_err(loaded.err, FK_ERR_CONF);
    unload(&loaded);
    loaded = load_as(&fk_key_policy_conf_kind, "allow = {}\n");
    policy = fk_conf_root(loaded.conf);
    assert_ok(loaded.err);
    assert_int_equal(policy->allow, 0);
    unload(&loaded);
    loaded = load_as(&fk_key_policy_conf_kind, "allow = {sign, raw}\n");
    assert_err(loaded.err, FK_ERR_CONF);
    unload(&loaded);
}

static char *print(struct loaded *loaded)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    assert_ok(loaded->err);
    fk_conf_print(loaded->conf, out);
    (void)fclose(out);
    unload(loaded);
    return text;
}

/* What `farkey check --print` writes means the same: printed once more it does not change. */
static void printed_configuration_is_the_same(void **state)
{
    struct loaded loaded = load(MINIMAL "edge \"e\" { keys = {\"*\"} rate = 30/m }\n"
                                        "audit { file = \"/a\" key = \"/k\" }\n");
    char *texts[3];

    (void)state;
    texts[0] = print(&loaded); /* tells defaults from what was written */
    loaded = load(texts[0]);
    texts[1] = print(&loaded);
    loaded = load(texts[1]);
    texts[2] = print(&loaded);
    assert_string_equal(texts[1], texts[2]);
    assert_non_null(strstr(texts[2], "rate = 30/m"));
    assert_non_null(strstr(texts[0], "\nkeys \"/tmp/keys\" {\n"));
    assert_non_null(strstr(texts[0], "\nlimits {\n    connections = 4096  # default\n"));
    assert_null(strstr(texts[0], "\nadmin {"));
    for (size_t i = 0; i < 3; i++)
        free(texts[i]);
}

UNIT_MAIN(cmocka_unit_test(smallest_file_has_defaults),
          cmocka_unit_test(absent_limits_are_the_same_as_empty),
          cmocka_unit_test(edges_have_identities_and_rights),
          cmocka_unit_test(key_servers_are_asked_and_ask), cmocka_unit_test(mistakes_are_told),
          cmocka_unit_test(many_mistakes_are_told_at_once),
          cmocka_unit_test(policy_defaults_to_signing),
          cmocka_unit_test(printed_configuration_is_the_same))
