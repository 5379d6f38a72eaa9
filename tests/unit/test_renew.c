/* Certificates that key servers list: which of them a site gets, and how it changes over. */
#include "unit.h"

#include "base/err.h"
#include "base/log.h"
#include "edge/renew.h"
#include "failmalloc.h"
#include "pki.h"
#include "tls/rkey.h"

#include <stdio.h>

#define FILE_NAME "/test/edge.conf"

/* --- a key server's listing --- */

enum { KEYS_MAX = 300, DER_MAX = 1200 };

struct key {
    char name[64];
    uint8_t ski[20];
    uint8_t chain[DER_MAX];
    size_t len;
};

struct server {
    struct key keys[KEYS_MAX];
    size_t count;
    uint64_t number;
};

static uint64_t number(void *arg)
{
    return ((struct server *)arg)->number;
}

static int key_at(void *arg, size_t i, struct fk_info_key *ret)
{
    struct server *server = arg;
    struct key *key = &server->keys[i];

    if (i >= server->count)
        return FK_ERR_NOT_FOUND;
    *ret = (struct fk_info_key){.permissions = 3};
    memcpy(ret->ski, key->ski, sizeof key->ski);
    fk_reader_init(&ret->name, key->name, strlen(key->name));
    fk_reader_init(&ret->chain, key->chain, key->len);
    return FK_OK;
}

static void put_key(struct key *key, const char *name, const struct pki_cert *spec)
{
    X509 *cert = pki_issue(spec);
    uint8_t *der = NULL;
    int len = i2d_X509(cert, &der);

    assert_in_range(len, 1, DER_MAX - 2);
    (void)snprintf(key->name, sizeof key->name, "%s", name);
    assert_ok(fk_ski_of_key(spec->key, key->ski));
    key->chain[0] = (uint8_t)(len >> 8);
    key->chain[1] = (uint8_t)len;
    memcpy(key->chain + 2, der, (size_t)len);
    key->len = (size_t)len + 2;
    OPENSSL_free(der);
    X509_free(cert);
}

static void add_key(struct server *server, const char *name, const char *type, const char *subject,
                    const char *san)
{
    put_key(&server->keys[server->count++], name,
            &(struct pki_cert){.subject = subject, .key = pki_key(type), .san = san, .serial = 1});
}

static struct fk_listing *listing_of(struct server *server)
{
    const struct fk_listing_source source = {.number = number, .key = key_at, .arg = server};
    struct fk_listing *listing;

    assert_ok(fk_listing_new(NULL, &source, &listing));
    return listing;
}

/* Read all of it: how many chains had to be parsed. */
static size_t read_all(struct fk_listing *listing)
{
    size_t parsed = 0;
    unsigned cost;

    while ((cost = fk_listing_step(listing)) > 0)
        parsed += cost == FK_EDGE_RENEW_HEAVY;
    return parsed;
}

/* --- which certificate --- */

/* The names of the keys that a site gets, joined. */
static const char *found(const struct fk_listing *listing, const char *title, const char *name)
{
    static char text[256];
    const struct fk_listed *certs[FK_EDGE_CERTS_MAX];
    size_t count = fk_certindex_find(fk_listing_index(listing), title, name, certs), len = 0;

    text[0] = '\0';
    for (size_t i = 0; i < count; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%s", i > 0 ? " " : "",
                                certs[i]->key_name);
    return text;
}

static void best_match(void **state)
{
    static const struct {
        const char *title, *name, *keys;
    } cases[] = {
        {"x", "one.example", "one"},
        {"x", "One.EXAMPLE", "one"},
        {"x", "www.two.example", "exact"}, /* although the wildcard is listed before */
        {"x", "shop.two.example", "wild"},
        {"x", "*.two.example", "wild"},    /* the wildcard itself */
        {"x", "a.shop.two.example", ""},   /* one label only */
        {"x", "two.example", ""},          /* and that it must be */
        {"x", "*.one.example", ""},        /* a name is no wildcard */
        {"x", "*.example", ""},            /* */
        {"x", "www.example", ""},          /* "*.example" is for a whole top-level domain */
        {"x", "twice.example", "first"},   /* of equals the first */
        {"exact", "one.example", "exact"}, /* a key of the site's name, whatever it is for */
        {"EXACT", "one.example", "one"},   /* names of keys have their case */
        {"x", "types.example", "ec rsa ed"},
        {"x", "common.example", "common"},  /* without DNS names the subject counts */
        {"x", "subject.example", ""},       /* with one it does not */
        {"foreign", "foreign.example", ""}, /* of another key */
        {"bad", "bad.example", ""},
        {"nothing", "nothing.example", ""},
    };
    static struct server server;
    struct fk_listing *listing = listing_of(&server);

    (void)state;
    add_key(&server, "one", "P-256", "subject.example", "DNS:one.example,IP:10.0.0.1");
    add_key(&server, "wild", "P-256", "x", "DNS:*.Two.example");
    add_key(&server, "exact", "P-256", "x", "DNS:other.example,DNS:www.two.example");
    add_key(&server, "top", "P-256", "x", "DNS:*.example");
    add_key(&server, "first", "P-256", "x", "DNS:twice.example");
    add_key(&server, "second", "P-256", "x", "DNS:twice.example");
    add_key(&server, "rsa", "RSA", "x", "DNS:types.example");
    add_key(&server, "ed", "ED25519", "x", "DNS:types.example");
    add_key(&server, "ec", "P-256", "x", "DNS:types.example");
    add_key(&server, "common", "P-256", "common.example", NULL);
    add_key(&server, "foreign", "P-256", "x", "DNS:foreign.example");
    server.keys[server.count - 1].ski[0] ^= 1;
    add_key(&server, "bad", "P-256", "x", "DNS:bad.example");
    server.keys[server.count - 1].chain[7] ^= 0xff;
    add_key(&server, "nothing", "P-256", "x", "DNS:nothing.example");
    server.keys[server.count - 1].len = 0;
    assert_string_equal(found(listing, "x", "one.example"), ""); /* none yet */
    server.number = 1;
    assert_int_equal(read_all(listing), server.count);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_string_equal(found(listing, cases[i].title, cases[i].name), cases[i].keys);
    fk_listing_free(listing);
}

static void only_what_is_new_is_read(void **state)
{
    static struct server server;
    struct fk_listing *listing = listing_of(&server);

    (void)state;
    add_key(&server, "a", "P-256", "x", "DNS:a.example");
    add_key(&server, "b", "P-256", "x", "DNS:b.example");
    server.keys[1].chain[7] ^= 0xff; /* not even of use */
    server.number = 1;
    assert_int_equal(read_all(listing), 2);
    assert_int_equal(read_all(listing), 0);
    server.number = 2; /* one more, one renewed */
    add_key(&server, "c", "P-256", "x", "DNS:c.example");
    put_key(&server.keys[0], "a",
            &(struct pki_cert){
                .subject = "x", .key = pki_key("P-256"), .san = "DNS:d.example", .serial = 2});
    assert_int_equal(read_all(listing), 2);
    assert_string_equal(found(listing, "x", "a.example"), "");
    assert_string_equal(found(listing, "x", "d.example"), "a");
    server.number = 3; /* one less */
    server.keys[0] = server.keys[--server.count];
    assert_int_equal(read_all(listing), 0);
    assert_string_equal(found(listing, "x", "d.example"), "");
    assert_string_equal(found(listing, "x", "c.example"), "c");
    fk_listing_free(listing);
}

/* Until a listing is read the earlier counts; one given up for another was not read in vain. */
static void listings_faster_than_they_are_read(void **state)
{
    enum { COUNT = 20 };
    static struct server server;
    struct fk_listing *listing = listing_of(&server);
    char name[32], san[64];

    (void)state;
    add_key(&server, "old", "P-256", "x", "DNS:old.example");
    server.number = 1;
    assert_int_equal(read_all(listing), 1);
    for (size_t i = 0; i < COUNT; i++) {
        (void)snprintf(name, sizeof name, "k%zu", i);
        (void)snprintf(san, sizeof san, "DNS:%s.example", name);
        put_key(
            &server.keys[i], name,
            &(struct pki_cert){.subject = "x", .key = pki_key("P-256"), .san = san, .serial = 1});
    }
    server.count = COUNT;
    for (server.number = 2; server.number < 10; server.number++) {
        unsigned parsed = 0;

        while (parsed < 2)
            parsed += fk_listing_step(listing) == FK_EDGE_RENEW_HEAVY;
        assert_string_equal(found(listing, "x", "old.example"), "old");
        assert_string_equal(found(listing, "x", "k0.example"), "");
    }
    assert_int_equal(read_all(listing), COUNT - 8 * 2);
    assert_string_equal(found(listing, "x", "old.example"), "");
    assert_string_equal(found(listing, "x", "k19.example"), "k19");
    fk_listing_free(listing);
}

/* --- sites --- */

static int submit(struct fk_keyback *back, const struct fk_key_request *request,
                  fk_key_done_cb *done, void *arg, struct fk_key_ticket **ret)
{
    (void)back, (void)request, (void)done, (void)arg, (void)ret;
    return FK_ERR_UNAVAILABLE;
}

static const struct fk_keyback_ops back_ops = {.submit = submit};

struct world {
    struct fk_loop *loop;
    OSSL_LIB_CTX *libctx;
    struct fk_tickets *tickets;
    struct fk_bundle *bundle;
    struct fk_conf *conf;
    struct fk_sites *sites;
    struct fk_keyback back;
    struct server servers[2];
    struct fk_listing *listings[2];
    struct fk_renew *renew;
    struct fk_defer look;
    bool (*more)(struct world *w); /* whether there is anything to wait for */
    unsigned turns;
    unsigned renewed, first, held;
    const struct fk_site *last; /* renewed */
    const struct fk_site *until;
};

static struct fk_listing *site_listing(void *arg, const char *server)
{
    struct world *w = arg;

    return w->listings[server[0] - 'a'];
}

static void on_renewed(void *arg, struct fk_site *site, bool first)
{
    struct world *w = arg;

    assert_int_equal(w->held, 1);
    assert_non_null(site->ctx);
    w->renewed++;
    w->first += first;
    w->last = site;
}

static void hold(void *arg, bool on)
{
    struct world *w = arg;

    w->held += on ? 1 : -1U;
}

/* Called once in each turn of the loop. */
static void on_look(struct fk_defer *look)
{
    struct world *w = fk_container(look, struct world, look);

    w->turns++;
    if (w->more(w))
        fk_defer_start(&w->look);
    else
        fk_loop_stop(w->loop);
}

/* Run the loop while `more`: its turns. */
static unsigned turns_while(struct world *w, bool (*more)(struct world *w))
{
    w->more = more;
    w->turns = 0;
    fk_defer_start(&w->look);
    fk_loop_run(w->loop);
    return w->turns;
}

static void load_sites(struct world *w, size_t count, const char *servers)
{
    size_t size = 512 + 200 * count, len;
    char *text = malloc(size);
    const struct fk_edge_conf *root;

    assert_non_null(text);
    len = (size_t)snprintf(text, size,
                           "listen \"*:1\" { }\nchannel { certificate = \"c\" key = \"k\" "
                           "ca = \"ca\" }\nkeyserver \"a\" { address = \"127.0.0.1:1\" }\n"
                           "keyserver \"b\" { address = \"127.0.0.1:2\" }\n");
    for (size_t i = 0; i < count; i++)
        len += (size_t)snprintf(text + len, size - len,
                                "site \"s%zu.example\" { keyservers = {%s} "
                                "origin = {\"127.0.0.1:1\"} }\n",
                                i, servers);
    assert_ok(fk_bundle_new(&w->bundle));
    assert_ok(fk_bundle_add(w->bundle, FILE_NAME, text, len));
    if (fk_conf_load(&fk_edge_conf_kind, FILE_NAME, w->bundle, &w->conf) != FK_OK)
        fail_msg("%s", fk_conf_error(w->conf, 0));
    free(text);
    root = fk_conf_root(w->conf);
    assert_ok(fk_sites_new(root, &w->sites));
    for (size_t i = 0; i < count; i++) {
        struct fk_site *site = fk_sites_at(w->sites, i);

        site->back = &w->back;
        assert_ok(fk_ticket_site_new(w->tickets, site->conf->block.title, &site->tickets));
    }
}

static struct world *make(size_t count, const char *servers)
{
    struct world *w = calloc(1, sizeof *w);
    struct fk_renew_config config = {
        .listing = site_listing, .renewed = on_renewed, .hold = hold, .arg = w};

    assert_non_null(w);
    fk_log_threshold(FK_LOG_ERROR);
    w->back.ops = &back_ops;
    assert_non_null(w->libctx = OSSL_LIB_CTX_new());
    assert_ok(fk_rkey_provider_load(w->libctx));
    assert_ok(fk_loop_new(&w->loop));
    fk_defer_init(&w->look, w->loop, on_look);
    assert_ok(fk_tickets_new(w->libctx, &w->tickets));
    load_sites(w, count, servers);
    for (size_t i = 0; i < 2; i++) {
        const struct fk_listing_source source = {
            .number = number, .key = key_at, .arg = &w->servers[i]};

        assert_ok(fk_listing_new(w->libctx, &source, &w->listings[i]));
    }
    config.loop = w->loop;
    for (size_t i = 0; i < fk_sites_count(w->sites); i++)
        fk_sites_at(w->sites, i)->libctx = w->libctx;
    config.sites = w->sites;
    config.resumption = fk_edge_tickets(fk_conf_root(w->conf));
    assert_ok(fk_renew_new(&config, &w->renew));
    return w;
}

static void unmake(struct world *w)
{
    fk_renew_free(w->renew);
    fk_sites_free(w->sites);
    for (size_t i = 0; i < 2; i++)
        fk_listing_free(w->listings[i]);
    fk_conf_free(w->conf);
    fk_bundle_free(w->bundle);
    fk_tickets_free(w->tickets);
    OSSL_LIB_CTX_free(w->libctx);
    fk_loop_free(w->loop);
    free(w);
}

/* A key for each site. */
static void list_all(struct server *server, size_t count, long serial)
{
    char name[32], san[64];

    for (size_t i = 0; i < count; i++) {
        (void)snprintf(name, sizeof name, "s%zu.example", i);
        (void)snprintf(san, sizeof san, "DNS:%s", name);
        put_key(&server->keys[i], name,
                &(struct pki_cert){
                    .subject = "x", .key = pki_key("P-256"), .san = san, .serial = serial});
    }
    server->count = count;
    server->number++;
}

static long serial_of(struct world *w, size_t i)
{
    const struct fk_site *site = fk_sites_at(w->sites, i);

    return site->ctx == NULL
               ? 0
               : ASN1_INTEGER_get(X509_get0_serialNumber(SSL_CTX_get0_certificate(site->ctx)));
}

static bool some_have_none(struct world *w)
{
    for (size_t i = 0; i < fk_sites_count(w->sites); i++)
        if (serial_of(w, i) == 0)
            return true;
    return false;
}

static bool some_are_old(struct world *w)
{
    for (size_t i = 0; i < fk_sites_count(w->sites); i++) {
        assert_int_not_equal(serial_of(w, i), 0); /* each goes on with what it has */
        if (serial_of(w, i) == 1)
            return true;
    }
    return false;
}

static bool ten_turns(struct world *w)
{
    return w->turns < 10;
}

static bool not_yet_renewed(struct world *w)
{
    return w->renewed == 0;
}

enum { MANY = 200, HEAVY_A_TURN = FK_EDGE_RENEW_TURN / FK_EDGE_RENEW_HEAVY };

static void many_sites_in_many_turns(void **state)
{
    struct world *w = make(MANY, "\"a\"");

    (void)state;
    fk_renew_start(w->renew); /* nothing is listed yet */
    assert_int_equal(turns_while(w, ten_turns), 10);
    assert_int_equal(w->renewed, 0);
    list_all(&w->servers[0], MANY, 1);
    fk_renew_start(w->renew);
    /* Each chain is parsed once and each site made once. */
    assert_in_range(turns_while(w, some_have_none), 2 * MANY / HEAVY_A_TURN,
                    2 * MANY / HEAVY_A_TURN + 2 * MANY / FK_EDGE_RENEW_TURN + 4);
    assert_int_equal(w->renewed, MANY);
    assert_int_equal(w->first, MANY);
    list_all(&w->servers[0], MANY, 2);
    fk_renew_start(w->renew);
    assert_in_range(turns_while(w, some_are_old), 2 * MANY / HEAVY_A_TURN,
                    2 * MANY / HEAVY_A_TURN + 2 * MANY / FK_EDGE_RENEW_TURN + 4);
    assert_int_equal(w->renewed, 2 * MANY);
    assert_int_equal(w->first, MANY);
    unmake(w);
}

static void one_key_of_many(void **state)
{
    struct world *w = make(MANY, "\"a\"");
    SSL_CTX *had[MANY];

    (void)state;
    list_all(&w->servers[0], MANY, 1);
    fk_renew_start(w->renew);
    (void)turns_while(w, some_have_none);
    for (size_t i = 0; i < MANY; i++)
        had[i] = fk_sites_at(w->sites, i)->ctx;
    put_key(&w->servers[0].keys[7], "s7.example",
            &(struct pki_cert){.subject = "x", .key = pki_key_slot("P-256", 1), .serial = 2});
    w->servers[0].keys[9] = w->servers[0].keys[--w->servers[0].count]; /* one is gone */
    w->servers[0].number++;
    w->renewed = 0;
    fk_renew_start(w->renew);
    assert_in_range(turns_while(w, not_yet_renewed), 1, 8);
    (void)turns_while(w, ten_turns);
    assert_int_equal(w->renewed, 1);
    assert_int_equal(serial_of(w, 7), 2);
    for (size_t i = 0; i < MANY; i++)
        assert_true((fk_sites_at(w->sites, i)->ctx == had[i]) == (i != 7));
    unmake(w);
}

static void who_is_waited_for_comes_first(void **state)
{
    struct world *w = make(MANY, "\"a\"");
    struct fk_site *site = fk_sites_at(w->sites, MANY - 1);

    (void)state;
    list_all(&w->servers[0], MANY, 1);
    fk_renew_want(w->renew, site); /* nothing is under way */
    assert_true(fk_list_empty(&site->wanted));
    fk_renew_start(w->renew);
    fk_renew_want(w->renew, site);
    fk_renew_want(w->renew, site);
    (void)turns_while(w, not_yet_renewed);
    assert_true(serial_of(w, MANY - 1) == 1);
    assert_true(w->renewed <= (unsigned)HEAVY_A_TURN);
    (void)turns_while(w, some_have_none);
    assert_int_equal(w->renewed, MANY);
    fk_renew_start(w->renew);
    fk_renew_want(w->renew, site);
    unmake(w); /* with all of it under way */
}

/* The first of the site's key servers that has anything for it. */
static void two_servers(void **state)
{
    struct world *w = make(3, "\"a\", \"b\"");

    (void)state;
    list_all(&w->servers[1], 3, 1);
    fk_renew_start(w->renew);
    (void)turns_while(w, ten_turns);
    assert_int_equal(w->renewed, 3);
    list_all(&w->servers[0], 2, 2);
    fk_renew_start(w->renew);
    (void)turns_while(w, ten_turns);
    assert_int_equal(serial_of(w, 0), 2);
    assert_int_equal(serial_of(w, 1), 2);
    assert_int_equal(serial_of(w, 2), 1);
    w->servers[0].count = 0; /* what is listed no more is served on, until another is */
    w->servers[1].count = 0;
    w->servers[0].number++;
    w->servers[1].number++;
    fk_renew_start(w->renew);
    (void)turns_while(w, ten_turns);
    assert_int_equal(w->renewed, 5);
    assert_int_equal(serial_of(w, 0), 2);
    unmake(w);
}

/* --- memory --- */

static int read_one(void *context)
{
    struct fk_listing_source source = {.number = number, .key = key_at, .arg = context};
    struct fk_listing *listing = NULL;
    int err = fk_listing_new(NULL, &source, &listing);

    if (err == FK_OK) {
        (void)read_all(listing);
        err = fk_listing_index(listing) == NULL ? FK_ERR_NOMEM : FK_OK;
        fk_listing_free(listing);
    }
    return err;
}

static void every_failed_allocation_is_survived(void **state)
{
    static struct server server;

    (void)state;
    fk_log_fd(-1);
    add_key(&server, "a", "P-256", "x", "DNS:a.example,DNS:*.a.example");
    server.number = 1;
    assert_true(failmalloc_try(read_one, &server) >= 9);
    fk_log_fd(2);
}

UNIT_MAIN(cmocka_unit_test(best_match), cmocka_unit_test(only_what_is_new_is_read),
          cmocka_unit_test(listings_faster_than_they_are_read),
          cmocka_unit_test(many_sites_in_many_turns), cmocka_unit_test(one_key_of_many),
          cmocka_unit_test(who_is_waited_for_comes_first), cmocka_unit_test(two_servers),
          cmocka_unit_test(every_failed_allocation_is_survived))
