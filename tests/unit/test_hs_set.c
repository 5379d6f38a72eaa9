/* keyd/hs_set: sites of a handshaker: what they are told apart by, what they need, who makes room.
 */
#include "unit.h"
#include "pki.h"

#include "base/err.h"
#include "base/limits.h"
#include "keyd/frontset.h"
#include "keyd/hs_set.h"
#include "tls/rkey.h"

#include <unistd.h>

static const char conf[] = "listen \"127.0.0.1:1\" { }\nkeys \"keys\" { }\n"
                           "channel { certificate = \"c\" key = \"k\" ca = \"a\" }\n";

static struct fk_hs_base base;
static struct fk_keyback back;
static struct fk_hs_set *set;
static uint8_t chain[2048];
static struct fk_index_key keys[2]; /* that may be used in this way, and that may not */

/* With a certificate for it. */
static void fill_key(struct fk_index_key *key, const char *type, uint16_t permissions)
{
    static char name[] = "site";
    static char *names[] = {name};
    X509 *cert =
        pki_issue(&(struct pki_cert){.subject = "site", .key = pki_key(type), .serial = 1});
    uint8_t *at = chain + 2;
    int len = i2d_X509(cert, &at);

    chain[0] = (uint8_t)(len >> 8);
    chain[1] = (uint8_t)len;
    assert_ok(fk_key_describe(pki_key(type), &key->public));
    (void)snprintf(key->public.name, sizeof key->public.name, "site");
    key->public.permissions = permissions;
    key->names = names;
    key->n_names = 1;
    key->chain_len = (size_t)len + 2;
    key->chain = malloc(key->chain_len);
    memcpy(key->chain, chain, key->chain_len);
    X509_free(cert);
}

static int setup(void **state)
{
    struct fk_bundle *bundle;
    uint8_t *index;
    size_t len;
    int fd;

    (void)state;
    base.back = &back;
    base.libctx = OSSL_LIB_CTX_new();
    assert_ok(fk_rkey_provider_load(base.libctx));
    assert_ok(fk_tickets_new(base.libctx, &base.tickets));
    fill_key(&keys[0], "P-256", FK_PERM_HANDSHAKE);
    fill_key(&keys[1], "P-384", FK_PERM_SIGN13);
    assert_ok(fk_index_encode(keys, 2, &index, &len));
    assert_ok(fk_bundle_new(&bundle));
    assert_ok(fk_bundle_add(bundle, "/t/keyd.conf", conf, strlen(conf)));
    assert_ok(fk_bundle_add(bundle, FK_KEYD_CONF_PATH, "/t/keyd.conf", strlen("/t/keyd.conf")));
    assert_ok(fk_bundle_add(bundle, FK_KEYD_VERBOSE_PATH, "1", 0));
    assert_ok(fk_bundle_add(bundle, FK_INDEX_PATH, index, len));
    assert_ok(fk_bundle_seal(bundle, &fd));
    fk_bundle_free(bundle);
    free(index);
    assert_ok(fk_hs_set_open(fd, 5, &base, &set));
    (void)close(fd);
    assert_int_equal(fk_hs_set_generation(set), 5);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fk_hs_set_free(set);
    fk_tickets_free(base.tickets);
    OSSL_LIB_CTX_free(base.libctx);
    free(keys[0].chain);
    free(keys[1].chain);
    return 0;
}

static struct fk_hs_head head_of(uint16_t edge, size_t key)
{
    struct fk_hs_head head = {.edge = edge, .n_keys = 1, .owner = {(uint8_t)edge}};

    memcpy(head.skis[0], keys[key].public.ski, sizeof head.skis[0]);
    return head;
}

static struct fk_reader bytes(const char *text)
{
    struct fk_reader reader;

    fk_reader_init(&reader, text, strlen(text));
    return reader;
}

static struct fk_handshake_open usual(uint32_t lifetime)
{
    return (struct fk_handshake_open){
        .versions = FK_HANDSHAKE_TLS12 | FK_HANDSHAKE_TLS13,
        .options = FK_HANDSHAKE_ECDHE,
        .tickets = 1,
        .lifetime = lifetime,
        .title = bytes("site"),
        .records = bytes("x"),
    };
}

static struct fk_hs_site *site_of(uint16_t edge, const struct fk_handshake_open *open)
{
    struct fk_hs_head head = head_of(edge, 0);
    struct fk_hs_site *site;

    assert_ok(fk_hs_set_site(set, &head, open, &site));
    return site;
}

static void one_context_a_description(void **state)
{
    struct fk_handshake_open open = usual(60), others[6];
    struct fk_hs_site *first = site_of(1, &open), *same, *other;

    (void)state;
    open.records = bytes("another hello");
    same = site_of(1, &open);
    assert_ptr_equal(same, first);
    fk_hs_site_unref(same);
    for (size_t i = 0; i < 6; i++)
        others[i] = open;
    others[0].lifetime = 61;
    others[1].title = bytes("another");
    others[2].client = FK_HANDSHAKE_CLIENT_REQUIRED;
    others[3].alpn = bytes("\2h2");
    others[4].versions = FK_HANDSHAKE_TLS13;
    others[5].tickets = 2;
    for (size_t i = 0; i < 6; i++) {
        other = site_of(1, &others[i]);
        assert_ptr_not_equal(other, first);
        fk_hs_site_unref(other);
    }
    other = site_of(2, &open);
    assert_ptr_not_equal(other, first);
    fk_hs_site_unref(other);
    fk_hs_site_unref(first);
}

static void what_a_site_needs(void **state)
{
    const struct fk_handshake_open good = usual(60);
    struct fk_handshake_open open = good;
    struct fk_hs_head head = head_of(1, 1);
    struct fk_hs_site *site;

    (void)state;
    assert_err(fk_hs_set_site(set, &head, &open, &site), FK_ERR_DENIED);
    head.skis[0][0] ^= 1;
    assert_err(fk_hs_set_site(set, &head, &open, &site), FK_ERR_KEY_NOT_FOUND);
    head = head_of(1, 0);
    open.options = 0;
    assert_err(fk_hs_set_site(set, &head, &open, &site), FK_ERR_UNSUPPORTED);
    open = good;
    open.groups = bytes("\x12\x34");
    assert_err(fk_hs_set_site(set, &head, &open, &site), FK_ERR_UNSUPPORTED);
    open = good;
    open.client = FK_HANDSHAKE_CLIENT_OPTIONAL;
    open.cas = (struct fk_reader){(const uint8_t *)"\0\2ab", 4};
    assert_err(fk_hs_set_site(set, &head, &open, &site), FK_ERR_FORMAT);
}

/* Where clients are asked for certificates nothing is resumed, whatever the edge says. */
static void no_tickets_for_those_who_are_asked(void **state)
{
    struct fk_handshake_open open = usual(60);
    struct fk_hs_site *site = site_of(1, &open);

    (void)state;
    assert_int_equal(SSL_CTX_get_num_tickets(fk_hs_site_ctx(site)), 1);
    fk_hs_site_unref(site);
    open.client = FK_HANDSHAKE_CLIENT_OPTIONAL;
    site = site_of(1, &open);
    assert_int_equal(SSL_CTX_get_num_tickets(fk_hs_site_ctx(site)), 0);
    assert_true((SSL_CTX_get_options(fk_hs_site_ctx(site)) & SSL_OP_NO_TICKET) != 0);
    assert_int_equal(SSL_CTX_get_verify_mode(fk_hs_site_ctx(site)), SSL_VERIFY_PEER);
    fk_hs_site_unref(site);
}

/* An edge that describes its site in ever new ways drives out its own contexts, not another's. */
static void room_is_made_by_who_has_most(void **state)
{
    struct fk_handshake_open open = usual(7);
    struct fk_hs_site *small, *oldest, *again;

    (void)state;
    small = site_of(9, &open);
    oldest = site_of(8, &open);
    for (uint32_t i = 0; i < FK_HANDSHAKER_SITES_MAX + 8; i++) {
        open = usual(1000 + i);
        fk_hs_site_unref(site_of(8, &open));
    }
    open = usual(7);
    again = site_of(9, &open);
    assert_ptr_equal(again, small);
    fk_hs_site_unref(again);
    again = site_of(8, &open);
    assert_ptr_not_equal(again, oldest);
    fk_hs_site_unref(again);
    fk_hs_site_unref(small);
    fk_hs_site_unref(oldest);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(one_context_a_description),
        cmocka_unit_test(what_a_site_needs),
        cmocka_unit_test(no_tickets_for_those_who_are_asked),
        cmocka_unit_test(room_is_made_by_who_has_most),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(cases, setup, teardown);
}
