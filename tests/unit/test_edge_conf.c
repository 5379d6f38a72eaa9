/* The edge's configuration: defaults, and every mistake that its checks find, word for word. */
#include "unit.h"

#include "base/err.h"
#include "admin/conf.h"
#include "edge/conf.h"
#include "edge/sitefacts.h"
#include "keyclient/keyclient.h"

#define FILE_NAME "/test/edge.conf"

struct loaded {
    struct fk_bundle *bundle;
    struct fk_conf *conf;
    const struct fk_edge_conf *root;
};

static int load(struct loaded *loaded, const char *text)
{
    int err;

    assert_ok(fk_bundle_new(&loaded->bundle));
    assert_ok(fk_bundle_add(loaded->bundle, FILE_NAME, text, strlen(text)));
    err = fk_conf_load(&fk_edge_conf_kind, FILE_NAME, loaded->bundle, &loaded->conf);
    loaded->root = fk_conf_root(loaded->conf);
    return err;
}

static void unload(struct loaded *loaded)
{
    fk_conf_free(loaded->conf);
    fk_bundle_free(loaded->bundle);
}

#define LISTEN  "listen \"*:1\" { }\n"
#define ORIGIN  " origin = {\"127.0.0.1:1\"} "
#define LOCAL   " mode = local certificate = {\"c\"} key = {\"k\"} " ORIGIN
#define SITE    "site \"a.example\" {" LOCAL "}\n"
#define CHANNEL "channel { certificate = \"c\" key = \"k\" ca = \"ca\" }\n"
#define SERVER  "keyserver \"hq\" { address = \"10.0.0.1:2407\" }\n"

static void defaults(void **state)
{
    const struct fk_edge_site *site;
    struct loaded l;

    (void)state;
    assert_ok(load(&l, LISTEN CHANNEL SERVER
                   "site \"a.example\" { keyservers = {\"hq\"} origin = {\"h.example:80\"} }"));
    site = (const void *)l.root->sites;
    assert_int_equal(site->mode, FK_MODE_SIGN);
    assert_int_equal(site->tls, FK_EDGE_TLS12 | FK_EDGE_TLS13);
    assert_int_equal(site->strategy, FK_STRATEGY_LEAST_OUTSTANDING);
    assert_int_equal(site->deadline_us, 3000000);
    assert_int_equal(site->groups.count, 3);
    assert_string_equal(site->groups.items[0], "X25519");
    assert_int_equal(site->origin_connect, FK_ORIGIN_AT_ONCE);
    assert_false(site->rsa_key_exchange);
    assert_false(site->is_default);
    assert_int_equal(fk_edge_site_names(site), 1);
    assert_string_equal(fk_edge_site_name(site, 0), "a.example");
    assert_string_equal(fk_edge_keyserver_name((const void *)l.root->keyservers), "hq");
    assert_string_equal(l.root->control, "/test/run/edge.sock");
    assert_true(fk_edge_workers(l.root) >= 1);
    /* Blocks that the file does not have. */
    assert_true(fk_edge_tickets(l.root)->enabled);
    assert_int_equal(fk_edge_tickets(l.root)->lifetime_us, 7200000000);
    assert_int_equal(fk_edge_limits(l.root)->connections, 16384);
    assert_int_equal(fk_edge_limits(l.root)->buffer, 65536);
    assert_int_equal(fk_edge_limits(l.root)->handshakes_hourly, 0);
    assert_int_equal(fk_edge_limits(l.root)->idle_us, 300000000);
    assert_null(l.root->admin);
    unload(&l);
}

/* For the metrics: a line for each site, with its mode as it is written. */
static void sites_tell_their_modes(void **state)
{
    static const char expected[] =
        "# HELP farkey_edge_site_info The sites in service, with each one's mode: always 1.\n"
        "# TYPE farkey_edge_site_info gauge\n"
        "farkey_edge_site_info{site=\"a.example\",mode=\"local\",expose=\"none\"} 1\n"
        "farkey_edge_site_info{site=\"b\",mode=\"keys\",expose=\"master\"} 1\n"
        "farkey_edge_site_info{site=\"c\\\\d\",mode=\"handshake\",expose=\"none\"} 1\n";
    struct loaded l;
    size_t len;
    char *text;

    (void)state;
    assert_ok(load(&l, LISTEN CHANNEL SERVER SITE
                   "site \"b\" { mode = keys expose = master keyservers = {\"hq\"}" ORIGIN "}\n"
                   "site \"c\\\\d\" { names = {\"c.example\"} mode = handshake "
                   "keyservers = {\"hq\"}" ORIGIN "}\n"));
    assert_ok(fk_sitefacts_make("edge", l.root, &text, &len));
    assert_string_equal(text, expected);
    assert_int_equal(len, sizeof expected - 1);
    free(text);
    unload(&l);
}

static void no_sites_no_lines(void **state)
{
    const struct fk_edge_conf none = {.sites = NULL};
    size_t len = 1;
    char *text;

    (void)state;
    assert_ok(fk_sitefacts_make("inline", &none, &text, &len));
    assert_int_equal(len, 0);
    free(text);
}

static void written(void **state)
{
    struct loaded l;

    (void)state;
    assert_ok(load(&l,
                   "workers = 3 zone = \"west\"\n" LISTEN CHANNEL
                   "keyserver \"hq\" { address = \"h:1\" identity = \"farkey:keyserver:other\" }\n"
                   "limits { handshakes = 500/s buffer = 128k }\n"
                   "tickets { enabled = off }\n"
                   "admin { }\n" SITE));
    assert_int_equal(fk_edge_workers(l.root), 3);
    assert_string_equal(fk_edge_keyserver_name((const void *)l.root->keyservers), "other");
    assert_int_equal(fk_edge_limits(l.root)->handshakes_hourly, 1800000);
    assert_int_equal(fk_edge_limits(l.root)->buffer, 131072);
    assert_int_equal(fk_edge_limits(l.root)->idle_us, 300000000);
    assert_false(fk_edge_tickets(l.root)->enabled);
    assert_string_equal(((const struct fk_admin_conf *)(const void *)l.root->admin)->listen,
                        "127.0.0.1:9464");
    unload(&l);
}

/* Each text is a good configuration but for one mistake. */
static const struct {
    const char *text, *complaint;
} mistakes[] = {
    {SITE, "no listen block"},
    {LISTEN, "no site block"},
    {"listen \"nowhere\" { }\n" SITE, "listen \"nowhere\": not an address"},
    {"listen \"*:1\" { proxy_from = {\"10.0.0.0/8\"} }\n" SITE, "without proxy_protocol = on"},
    {"listen \"*:1\" { device = \"a b\" }\n" SITE, ":1: device: not the name"},
    {"listen \"*:1\" { addresses = {\"10.0.0.1\"} }\n" SITE,
     "\"10.0.0.1\" is not \"ADDRESS=SITE\""},
    {"listen \"*:1\" { addresses = {\"x=a.example\"} }\n" SITE, "is not \"ADDRESS=SITE\""},
    {"listen \"*:1\" { addresses = {\"10.0.0.1=b\"} }\n" SITE, "there is no site \"b\""},
    {LISTEN SERVER SITE, "there is no channel block"},
    {LISTEN CHANNEL "keyserver \"hq\" { address = \"h:1\" identity = \"hq\" }\n" SITE,
     "farkey:keyserver:NAME"},
    {LISTEN CHANNEL
     "keyserver \"hq\" { address = \"h:1\" identity = \"farkey:keyserver:\" }\n" SITE,
     "farkey:keyserver:NAME"},
    {LISTEN CHANNEL "keyserver \"hq\" { }\n" SITE,
     ":3: keyserver \"hq\": neither address nor accept"},
    {LISTEN CHANNEL "keyserver \"hq\" { address = \"h:1\"\naccept = \"10.0.0.1:1\" }\n" SITE,
     ":4: keyserver \"hq\": address and accept"},
    {LISTEN CHANNEL "keyserver \"hq\" {\naccept = \"h:1\" }\n" SITE, ":4: accept: not an address"},
    {LISTEN CHANNEL "keyserver \"hq\" {\naccept = \"10.0.0.1:0\" }\n" SITE,
     ":4: accept: not an address"},
    {LISTEN CHANNEL "keyserver \"hq\" {\naccept = \"unix:/x\" }\n" SITE,
     ":4: accept: not an address"},
    {LISTEN CHANNEL "keyserver \"hq\" { accept = \"*:1\"\nbind = \"10.0.0.1\" }\n" SITE,
     ":4: keyserver \"hq\": bind is for connecting"},
    {LISTEN CHANNEL "keyserver \"hq\" { address = \"h:1\"\nallow = {\"10.0.0.0/8\"} }\n" SITE,
     ":4: keyserver \"hq\": allow and deny are for accept"},
    {LISTEN CHANNEL "keyserver \"hq\" { address = \"h:1\"\ndeny = {\"10.0.0.0/8\"} }\n" SITE,
     ":4: keyserver \"hq\": allow and deny are for accept"},
    {LISTEN CHANNEL "keyserver \"hq\" { accept = \"10.0.0.1:1\" }\n"
                    "keyserver \"b\" {\naccept = \"10.0.0.1:1\" }\n" SITE,
     ":5: keyserver \"b\": accept is that of keyserver \"hq\" too"},
    {"listen \"10.0.0.1:1\" { }\n" CHANNEL "keyserver \"hq\" {\naccept = \"10.0.0.1:1\" }\n" SITE,
     ":4: keyserver \"hq\": there is a listen block"},
    {LISTEN CHANNEL "keyserver \"hq\" {\naddress = \"x\" }\n" SITE,
     ":4: address: not \"host:port\""},
    {LISTEN CHANNEL "keyserver \"hq\" {\naddress = \"h:0\" }\n" SITE,
     ":4: address: not \"host:port\""},
    {LISTEN CHANNEL "keyserver \"hq\" {\naddress = \"h:65536\" }\n" SITE,
     ":4: address: not \"host:port\""},
    {LISTEN CHANNEL "keyserver \"hq\" {\naddress = \"unix:/x\" }\n" SITE,
     ":4: address: not \"host:port\""},
    {LISTEN CHANNEL "keyserver \"hq\" {\naddress = \"*:1\" }\n" SITE,
     ":4: address: not \"host:port\""},
    {LISTEN CHANNEL "keyserver \"hq\" {\naddress = \"10.0.0.300:1\" }\n" SITE,
     ":4: address: not \"host:port\""},
    {LISTEN CHANNEL "keyserver \"hq\" {\naddress = \"h:1\" bind = \"foo\" }\n" SITE,
     ":4: bind: not an address"},
    {LISTEN CHANNEL "keyserver \"hq\" {\naddress = \"h:1\" bind = \"unix:/x\" }\n" SITE,
     ":4: bind: not an address"},
    {LISTEN CHANNEL "keyserver \"hq\" {\naddress = \"h:1\" device = \"\" }\n" SITE,
     ":4: device: not the name"},
    {LISTEN CHANNEL "keyserver \"hq\" {\naddress = \"h:1\" device = \"sixteen-letters-\" }\n" SITE,
     ":4: device: not the name"},
    {LISTEN SITE "site \"b\" { names = {\"A.Example\"}" LOCAL "}\n",
     "the name \"a.example\" is also site \"a.example\"'s"},
    {LISTEN "site \"a.example\" { default = on" LOCAL "}\nsite \"b.example\" { default = on" LOCAL
            "}",
     "default = on is also in site \"a.example\""},
    {LISTEN "site \"no name\" {" LOCAL "}", "the title is not a DNS name"},
    {"listen \"*:80\" { plain = \"b.example\" } site \"a.example\" {" LOCAL "}",
     "plain: there is no site \"b.example\""},
    {"listen \"*:80\" { plain = \"a.example\" } site \"a.example\" {" LOCAL "}",
     "plain: site \"a.example\" has not protocol = http"},
    {"listen \"*:80\" { plain = \"a.example\" } site \"a.example\" { protocol = http "
     "client_certificate { ca = \"x\" }" LOCAL "}",
     "requires certificates of clients, which cannot be shown without TLS"},
    {"listen \"*:80\" { plain = \"a.example\" strict_sni = on } site \"a.example\" { protocol = "
     "http" LOCAL "}",
     "plain: there are no server names without TLS"},
    {LISTEN "site \"a\" { names = {\"*.*.example\"}" LOCAL "}",
     "\"*.*.example\" is not a DNS name"},
    {LISTEN "site \"a\" { names = {\"a_b/c\"}" LOCAL "}", "\"a_b/c\" is not a DNS name"},
    {LISTEN "site \"a\" { names = {\"a..example\"}" LOCAL "}", "\"a..example\" is not a DNS name"},
    {LISTEN "site \"a\" { names = {\"a.example.\"}" LOCAL "}", "\"a.example.\" is not a DNS name"},
    {LISTEN "site \"a.example\" { groups = {\"P-256\", \"sect233k1\"}" LOCAL "}",
     "groups: \"sect233k1\" is not a group of TLS 1.3; write"},
    {LISTEN "site \"a.example\" { tls = {\"1.3\"} dhe = on" LOCAL "}", "dhe is TLS 1.2; remove it"},
    {LISTEN "site \"a.example\" { tls = {\"1.3\"} rsa_key_exchange = on" LOCAL "}",
     "rsa_key_exchange is TLS 1.2; remove it"},
    {LISTEN "site \"a.example\" {" LOCAL "alpn = {\"\"} }", "alpn: names have 1 to 255 bytes"},
    {LISTEN "site \"a.example\" {" ORIGIN "}", "no key server"},
    {LISTEN CHANNEL SERVER "site \"a.example\" { keyservers = {\"hr\"}" ORIGIN "}",
     "there is no keyserver \"hr\""},
    {LISTEN CHANNEL SERVER "site \"a.example\" { keyservers = {\"hq\"} key = {\"k\"}" ORIGIN "}",
     "the key is at the key server"},
    {LISTEN CHANNEL SERVER "site \"a.example\" { keyservers = {\"hq\"}" LOCAL "}",
     "mode = local asks no key server"},
    {LISTEN "site \"a.example\" { mode = local certificate = {\"c\"}" ORIGIN "}",
     "mode = local needs certificate and key files"},
    {LISTEN CHANNEL SERVER
     "site \"a.example\" { keyservers = {\"hq\"} mode = decrypt tls = {\"1.3\"}" ORIGIN "}",
     "mode = decrypt is TLS 1.2"},
    {LISTEN CHANNEL SERVER
     "site \"a.example\" { keyservers = {\"hq\"} mode = agree tls = {\"1.3\"}" ORIGIN "}",
     "mode = agree is TLS 1.2"},
    {LISTEN CHANNEL SERVER
     "site \"a.example\" { keyservers = {\"hq\"} mode = keys groups = {\"P-521\"}" ORIGIN "}",
     "group \"P-521\" is not made by key servers"},
    {LISTEN CHANNEL SERVER
     "site \"a.example\" { keyservers = {\"hq\"} session_lifetime = 1500ms" ORIGIN "}",
     "session_lifetime is not in whole seconds"},
    {LISTEN CHANNEL SERVER
     "site \"a.example\" { keyservers = {\"hq\"} mode = keys agree_private = on" ORIGIN "}",
     "agree_private is for mode = agree"},
    {LISTEN CHANNEL SERVER
     "site \"a.example\" { keyservers = {\"hq\"} mode = master expose = master" ORIGIN "}",
     "expose is for mode = keys"},
    {LISTEN "site \"a.example\" { agree_private = on" LOCAL "}",
     "agree_private is for mode = agree"},
    {LISTEN CHANNEL SERVER
     "site \"a.example\" { keyservers = {\"hq\"} mode = agree key = {\"k\"}" ORIGIN "}",
     "the key is at the key server"},
    {LISTEN "site \"a.example\" { tls = {}" LOCAL "}", "tls: the list is empty"},
    {LISTEN "site \"a.example\" { mode = local certificate = {\"c\"} key = {\"k\"} }", "origin"},
    {LISTEN "site \"a.example\" { mode = local certificate = {\"c\"} key = {\"k\"} "
            "origin = {\"10.0.0.1\"} }",
     "origin \"10.0.0.1\" is not an address"},
    {LISTEN "site \"a.example\" { mode = local certificate = {\"1\", \"2\", \"3\", \"4\"} "
            "key = {\"k\"}" ORIGIN "}",
     "more than 3 certificates"},
    {LISTEN "site \"a.example\" {" LOCAL "\nocsp = {\"a\", \"b\", \"c\", \"d\"} }\n",
     ":3: site \"a.example\": more than 3 OCSP responses"},
    {LISTEN CHANNEL SERVER "site \"a.example\" { mode = handshake keyservers = {\"hq\"}" ORIGIN
                           "\nocsp = {\"a\"} }\n",
     ":5: site \"a.example\": with mode = handshake the key server shows its certificates, and no "
     "OCSP responses"},
    {LISTEN SITE "tickets { lifetime = 10h }\n", "lifetime exceeds three quarters of key_life"},
    {"workers = 65\n" LISTEN SITE, "workers"},
    {"workers = many\n" LISTEN SITE, "workers"},
};

static bool complains(const struct fk_conf *conf, const char *text)
{
    for (size_t i = 0; i < fk_conf_error_count(conf); i++)
        if (strstr(fk_conf_error(conf, i), text) != NULL)
            return true;
    return false;
}

static void every_mistake(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
        struct loaded l;

        assert_err(load(&l, mistakes[i].text), FK_ERR_CONF);
        if (!complains(l.conf, mistakes[i].complaint))
            fail_msg("case %zu: %s", i, fk_conf_error(l.conf, 0));
        assert_non_null(strstr(fk_conf_error(l.conf, 0), FILE_NAME ":"));
        unload(&l);
    }
}

/* All of a file with many mistakes, in the order of lines, and nothing that follows from another.
 */
static void many_mistakes_at_once(void **state)
{
    static const struct {
        const char *text, *told[8];
    } rows[] = {
        {"listen \"nowhere\" { device = \"a b\" }\n"
         "site \"a.example\" {" LOCAL "\nalpn = {\"\"} origin_timeout = 1\n}\n",
         {":1: device: not the name", ":1: listen \"nowhere\": not an address",
          ":3: origin_timeout: \"1\" is not a time", ":3: site \"a.example\": alpn"}},
        {"lisen \"*:1\" { }\n" SITE, {":1: unknown block \"lisen\""}},
        {LISTEN "keyserver { address = \"h:1\" }\n"
                "site \"a.example\" { keyservers = {\"hq\"}" ORIGIN "}\n",
         {":2: keyserver needs a title", ":2: keyserver \"\": there is no channel block"}},
        {LISTEN "site \"a.example\" { mod = local certificate = {\"c\"} key = {\"k\"}" ORIGIN "}\n",
         {":2: unknown option \"mod\""}},
        {LISTEN "site \"a.example\" { mode = local keyservers = {\"none\"} certificate = {\"c\"}\n"
                "key = {\"k\"}" ORIGIN "}\n",
         {":2: site \"a.example\": mode = local asks no key server"}},
        {LISTEN SITE SITE, {":3: second block site \"a.example\""}},
        {LISTEN SITE "tickets { lifetime = 20h key_life = x }\n", {":3: key_life: \"x\""}},
        {LISTEN "include \"none\"\n", {":2: cannot read"}},
        {LISTEN SITE
         "user = \"\"\n"
         "signer_user = uuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu\n",
         {":3: user: empty", ":4: signer_user: name of a user too long"}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct loaded l;
        size_t n = 0;

        assert_err(load(&l, rows[i].text), FK_ERR_CONF);
        for (; rows[i].told[n] != NULL; n++)
            if (n >= fk_conf_error_count(l.conf) ||
                strstr(fk_conf_error(l.conf, n), rows[i].told[n]) == NULL)
                fail_msg("case %zu, error %zu: %s", i, n, fk_conf_error(l.conf, n));
        if (fk_conf_error_count(l.conf) != n)
            fail_msg("case %zu, and: %s", i, fk_conf_error(l.conf, n));
        unload(&l);
    }
}

/* What a key server's address may be, and what a local one: with a port or without. */
static void keyserver_addresses(void **state)
{
    static const char *const good[] = {"10.0.0.1:1", "[::1]:65535", "keys.example.com:2407", "h:1"};
    static const char *const local[] = {"10.0.0.1", "::1", "10.0.0.1:99", "[::1]:99", "*:0"};
    struct fk_addr addr;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_ok(fk_keyserver_address_check(good[i]));
    for (size_t i = 0; i < sizeof local / sizeof local[0]; i++)
        assert_ok(fk_addr_parse_local(local[i], &addr));
}

static void address_map(void **state)
{
    const char *name;
    uint8_t ip[16];
    size_t len;

    (void)state;
    assert_ok(fk_edge_address_map("10.0.0.1=a.example", ip, &len, &name));
    assert_int_equal(len, 4);
    assert_string_equal(name, "a.example");
    assert_ok(fk_edge_address_map("2001:db8::1=b", ip, &len, &name));
    assert_int_equal(len, 16);
    assert_err(fk_edge_address_map("10.0.0.1", ip, &len, &name), FK_ERR_FORMAT);
    assert_err(fk_edge_address_map("10.0.0.1=", ip, &len, &name), FK_ERR_FORMAT);
    assert_err(fk_edge_address_map("=a", ip, &len, &name), FK_ERR_FORMAT);
    assert_err(fk_edge_address_map("host=a", ip, &len, &name), FK_ERR_FORMAT);
}

UNIT_MAIN(cmocka_unit_test(defaults), cmocka_unit_test(sites_tell_their_modes),
          cmocka_unit_test(no_sites_no_lines), cmocka_unit_test(written),
          cmocka_unit_test(every_mistake), cmocka_unit_test(many_mistakes_at_once),
          cmocka_unit_test(keyserver_addresses), cmocka_unit_test(address_map))
