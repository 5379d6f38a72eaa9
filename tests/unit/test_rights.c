/* keyd/rights: when what edges got before must be worth nothing any more. */
#include "pki.h"
#include "unit.h"

#include "base/err.h"
#include "keyd/rights.h"

#include <stdio.h>
#include <unistd.h>

/* --- edges --- */

struct loaded {
    struct fk_bundle *bundle;
    struct fk_conf *conf;
};

static struct loaded load(const char *edges)
{
    char path[] = "/tmp/test_rights_XXXXXX", text[1024];
    struct loaded loaded;
    int fd = mkstemp(path);
    int len = snprintf(text, sizeof text,
                       "listen \"127.0.0.1:2407\" { }\n"
                       "channel { certificate = \"c\" key = \"k\" ca = \"ca\" }\n"
                       "keys \"keys\" { }\n%s",
                       edges);

    assert_int_equal(write(fd, text, (size_t)len), len);
    (void)close(fd);
    assert_ok(fk_bundle_new(&loaded.bundle));
    assert_ok(fk_conf_load(&fk_keyd_conf_kind, path, loaded.bundle, &loaded.conf));
    (void)unlink(path);
    return loaded;
}

static bool lost(const char *old, const char *new)
{
    struct loaded a = load(old), b = load(new);
    bool answer = fk_rights_edge_lost(fk_conf_root(a.conf), fk_conf_root(b.conf));

    fk_conf_free(a.conf);
    fk_conf_free(b.conf);
    fk_bundle_free(a.bundle);
    fk_bundle_free(b.bundle);
    return answer;
}

#define E1 "edge \"e1\" { keys = {\"a.example\", \"b.example\"} allow = {sign, tickets} }\n"
#define E2 "edge \"e2\" { keys = {\"*\"} allow = {sign, tickets} }\n"
#define E3 "edge \"e3\" { keys = {\"*\"} allow = sign }\n"

static void an_edge_loses_by_less_only(void **state)
{
    static const struct {
        const char *old, *new;
        bool lost;
    } rows[] = {
        {E1 E2, E1 E2, false},
        {E1 E2, E2 E1, false},
        {E1, E1 E2 E3, false},
        {E1 E2 E3, E1 E2, false}, /* it had no such right */
        {E1 E2, E1, true},
        {E1 E2, "", true},
        {E2, "edge \"e2\" { keys = {\"*\"} allow = sign }\n", true},
        {E2, "edge \"e2\" { keys = {\"a.example\"} allow = {sign, tickets} }\n", true},
        {E1, "edge \"e1\" { keys = {\"a.example\"} allow = {sign, tickets} }\n", true},
        {E1, "edge \"e1\" { keys = {\"B.example\", \"a.example\"} allow = tickets }\n", false},
        {E1, "edge \"e1\" { keys = {\"*\"} allow = {sign, tickets} }\n", false},
        {E1, "edge \"e1\" { identity = \"farkey:edge:x\" keys = {\"*\"} allow = tickets }\n", true},
        {E1, "edge \"x\" { identity = \"farkey:edge:e1\" keys = {\"*\"} allow = tickets }\n",
         false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        print_message("  %s -> %s\n", rows[i].old, rows[i].new);
        assert_int_equal(lost(rows[i].old, rows[i].new), rows[i].lost);
    }
}

/* --- revocation lists --- */

static struct {
    EVP_PKEY *key;
    X509 *ca, *other;
} world;

static X509 *make_ca(const char *name)
{
    const struct pki_cert spec = {.subject = name, .key = world.key, .ca = true};

    return pki_issue(&spec);
}

static char *list(X509 *issuer, const long *serials)
{
    X509_CRL *crl = pki_crl(issuer, world.key, serials, 3600);
    char *pem = pki_pem_crl(crl);

    X509_CRL_free(crl);
    return pem;
}

static bool revoked(const char *old, const char *new)
{
    return fk_rights_revoked((const uint8_t *)old, old == NULL ? 0 : strlen(old),
                             (const uint8_t *)new, new == NULL ? 0 : strlen(new));
}

static char *both(const char *a, const char *b)
{
    size_t size = strlen(a) + strlen(b) + 1;
    char *text = malloc(size);

    (void)snprintf(text, size, "%s%s", a, b);
    return text;
}

static void a_list_takes_by_what_is_new_in_it(void **state)
{
    char *none = list(world.ca, (const long[]){0}), *one = list(world.ca, (const long[]){5, 0});
    char *two = list(world.ca, (const long[]){5, 6, 0});
    char *others = list(world.other, (const long[]){5, 0}), *pair = both(one, others);

    (void)state;
    assert_false(revoked(NULL, NULL));
    assert_false(revoked(NULL, none));
    assert_false(revoked(one, one));
    assert_false(revoked(two, one)); /* it has ended, and is listed no more */
    assert_false(revoked(one, NULL));
    assert_false(revoked(pair, one));
    assert_true(revoked(NULL, one));
    assert_true(revoked(none, one));
    assert_true(revoked(one, two));
    assert_true(revoked(one, others)); /* the same number of another issuer */
    assert_true(revoked(one, pair));
    two[strlen(two) / 2] = '!';
    assert_true(revoked(one, two));
    free(none);
    free(one);
    free(two);
    free(others);
    free(pair);
}

static int setup(void **state)
{
    (void)state;
    world.key = pki_key("P-256");
    world.ca = make_ca("one CA");
    world.other = make_ca("other CA");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    X509_free(world.ca);
    X509_free(world.other);
    return 0;
}

UNIT_MAIN(cmocka_unit_test(an_edge_loses_by_less_only),
          cmocka_unit_test_setup_teardown(a_list_takes_by_what_is_new_in_it, setup, teardown))
