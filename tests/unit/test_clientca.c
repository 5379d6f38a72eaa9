/* tls/clientca: reading CAs and lists, judging certificates, names and chains on their way. */
#include "unit.h"
#include "pki.h"

#include "base/err.h"
#include "base/limits.h"
#include "tls/clientca.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

static X509 *root, *between, *other_root;

static EVP_PKEY *key_of(unsigned slot)
{
    return pki_key_slot("P-256", slot);
}

static int setup(void **state)
{
    (void)state;
    root =
        pki_issue(&(struct pki_cert){.subject = "Root", .key = key_of(0), .ca = true, .serial = 1});
    between = pki_issue(&(struct pki_cert){.subject = "Between",
                                           .key = key_of(1),
                                           .issuer = root,
                                           .issuer_key = key_of(0),
                                           .ca = true,
                                           .serial = 2});
    other_root = pki_issue(
        &(struct pki_cert){.subject = "Other root", .key = key_of(2), .ca = true, .serial = 1});
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    X509_free(root);
    X509_free(between);
    X509_free(other_root);
    return 0;
}

static X509 *issue(struct pki_cert spec)
{
    spec.subject = "client";
    spec.key = key_of(3);
    return pki_issue(&spec);
}

static struct fk_reader text(const char *pem)
{
    struct fk_reader reader;

    fk_reader_init(&reader, pem, strlen(pem));
    return reader;
}

static struct fk_clientca *make(X509 *const *cas, size_t n, X509_CRL *crl, unsigned depth,
                                bool required)
{
    char *pem = pki_pem_cert(cas, n), *list = crl == NULL ? NULL : pki_pem_crl(crl);
    struct fk_clientca_conf conf = {.ca = text(pem), .depth = depth, .required = required};
    struct fk_clientca *ca;

    if (list != NULL)
        conf.crl = text(list);
    assert_ok(fk_clientca_new(&conf, &ca));
    free(pem);
    free(list);
    return ca;
}

/* X509_V_OK, or why not. */
static int verdict(const struct fk_clientca *ca, X509 *leaf, X509 *rest)
{
    STACK_OF(X509) *certs = sk_X509_new_null();
    int reason = X509_V_OK, err;

    if (rest != NULL)
        sk_X509_push(certs, rest);
    err = fk_clientca_judge(ca, leaf, certs, &reason, NULL);
    assert_true(err == FK_OK || err == FK_ERR_VERIFY);
    assert_true((err == FK_OK) == (reason == X509_V_OK));
    sk_X509_free(certs);
    assert_int_equal(ERR_peek_error(), 0);
    return reason;
}

static void certificates_are_judged(void **state)
{
    static const struct {
        struct pki_cert spec;
        int reason;
        uint8_t alert;
    } rows[] = {
        {{.serial = 10}, X509_V_OK, 0},
        {{.serial = 10, .eku = "clientAuth"}, X509_V_OK, 0},
        {{.serial = 10, .eku = "serverAuth"},
         X509_V_ERR_INVALID_PURPOSE,
         SSL_AD_UNSUPPORTED_CERTIFICATE},
        {{.serial = 10, .not_before = -7200, .not_after = -3600},
         X509_V_ERR_CERT_HAS_EXPIRED,
         SSL_AD_CERTIFICATE_EXPIRED},
        {{.serial = 10, .not_before = 3600, .not_after = 7200},
         X509_V_ERR_CERT_NOT_YET_VALID,
         SSL_AD_BAD_CERTIFICATE},
    };
    struct fk_clientca *ca = make(&root, 1, NULL, 4, true);

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct pki_cert spec = rows[i].spec;
        X509 *leaf;

        spec.issuer = root;
        spec.issuer_key = key_of(0);
        leaf = issue(spec);
        assert_int_equal(verdict(ca, leaf, NULL), rows[i].reason);
        if (rows[i].reason != X509_V_OK)
            assert_int_equal(fk_clientca_alert(rows[i].reason), rows[i].alert);
        X509_free(leaf);
    }
    fk_clientca_free(ca);
}

static void of_no_other_ca(void **state)
{
    X509 *leaf =
        issue((struct pki_cert){.issuer = other_root, .issuer_key = key_of(2), .serial = 4});
    X509 *self = issue((struct pki_cert){.serial = 4});
    struct fk_clientca *ca = make(&root, 1, NULL, 4, true);

    (void)state;
    assert_int_equal(verdict(ca, leaf, NULL), X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY);
    assert_int_equal(fk_clientca_alert(X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY),
                     SSL_AD_UNKNOWN_CA);
    /* Nor when the client brings it along. */
    assert_int_equal(verdict(ca, leaf, other_root), X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN);
    assert_int_equal(verdict(ca, self, NULL), X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT);
    X509_free(leaf);
    X509_free(self);
    fk_clientca_free(ca);
}

static void chains_have_a_depth(void **state)
{
    X509 *leaf = issue((struct pki_cert){.issuer = between, .issuer_key = key_of(1), .serial = 4});
    X509 *both[] = {root, between};
    struct fk_clientca *ca = make(&root, 1, NULL, 1, true), *flat = make(&root, 1, NULL, 0, true),
                       *knows = make(both, 2, NULL, 1, true);

    (void)state;
    assert_int_equal(verdict(ca, leaf, between), X509_V_OK);
    assert_int_equal(verdict(ca, leaf, NULL), X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY);
    assert_int_equal(verdict(knows, leaf, NULL), X509_V_OK);
    assert_int_not_equal(verdict(flat, leaf, between), X509_V_OK);
    X509_free(leaf);
    fk_clientca_free(ca);
    fk_clientca_free(flat);
    fk_clientca_free(knows);
}

static void lists_count(void **state)
{
    const long revoked[] = {11, 0};
    X509_CRL *crl = pki_crl(root, key_of(0), revoked, 3600),
             *old = pki_crl(root, key_of(0), revoked, -60),
             *others = pki_crl(other_root, key_of(2), revoked, 3600);
    struct fk_clientca *ca = make(&root, 1, crl, 4, true), *late = make(&root, 1, old, 4, true),
                       *lacking = make(&root, 1, others, 4, true);
    X509 *good = issue((struct pki_cert){.issuer = root, .issuer_key = key_of(0), .serial = 10});
    X509 *bad = issue((struct pki_cert){.issuer = root, .issuer_key = key_of(0), .serial = 11});

    (void)state;
    assert_int_equal(verdict(ca, good, NULL), X509_V_OK);
    assert_int_equal(verdict(ca, bad, NULL), X509_V_ERR_CERT_REVOKED);
    assert_int_equal(fk_clientca_alert(X509_V_ERR_CERT_REVOKED), SSL_AD_CERTIFICATE_REVOKED);
    assert_int_equal(verdict(late, good, NULL), X509_V_ERR_CRL_HAS_EXPIRED);
    assert_int_equal(verdict(lacking, good, NULL), X509_V_ERR_UNABLE_TO_GET_CRL);
    X509_free(good);
    X509_free(bad);
    X509_CRL_free(crl);
    X509_CRL_free(old);
    X509_CRL_free(others);
    fk_clientca_free(ca);
    fk_clientca_free(late);
    fk_clientca_free(lacking);
}

static void damaged_files_are_refused(void **state)
{
    char *pem = pki_pem_cert(&root, 1), *key = pki_pem_key(key_of(0));
    struct fk_clientca_conf conf = {.depth = 4};
    struct fk_clientca *ca;
    char *cut = strdup(pem);

    (void)state;
    cut[strlen(cut) / 2] = '\0';
    conf.ca = text("");
    assert_err(fk_clientca_new(&conf, &ca), FK_ERR_FORMAT);
    conf.ca = text("no PEM at all");
    assert_err(fk_clientca_new(&conf, &ca), FK_ERR_FORMAT);
    conf.ca = text(key);
    assert_err(fk_clientca_new(&conf, &ca), FK_ERR_FORMAT);
    conf.ca = text(cut);
    assert_err(fk_clientca_new(&conf, &ca), FK_ERR_FORMAT);
    conf.ca = text(pem);
    conf.crl = text(pem); /* no list */
    assert_err(fk_clientca_new(&conf, &ca), FK_ERR_FORMAT);
    assert_int_equal(ERR_peek_error(), 0);
    free(pem);
    free(key);
    free(cut);
}

static void one_policy_one_print(void **state)
{
    struct fk_clientca *ca = make(&root, 1, NULL, 4, true), *same = make(&root, 1, NULL, 4, true);
    struct fk_clientca *differ[] = {make(&root, 1, NULL, 4, false), make(&root, 1, NULL, 3, true),
                                    make(&other_root, 1, NULL, 4, true)};

    (void)state;
    assert_memory_equal(fk_clientca_print(ca), fk_clientca_print(same), 32);
    for (size_t i = 0; i < 3; i++) {
        assert_memory_not_equal(fk_clientca_print(ca), fk_clientca_print(differ[i]), 32);
        fk_clientca_free(differ[i]);
    }
    fk_clientca_free(ca);
    fk_clientca_free(same);
}

static void lists_are_told_apart(void **state)
{
    const long revoked[] = {3, 0};
    X509_CRL *crl = pki_crl(root, key_of(0), revoked, 3600);
    struct fk_clientca *none = make(&root, 1, NULL, 4, true), *with = make(&root, 1, crl, 4, true),
                       *same = make(&root, 1, crl, 4, true);

    (void)state;
    assert_memory_equal(fk_clientca_lists(with), fk_clientca_lists(same), 32);
    assert_memory_not_equal(fk_clientca_lists(with), fk_clientca_lists(none), 32);
    assert_memory_equal(fk_clientca_print(with), fk_clientca_print(none), 32); /* one policy */
    fk_clientca_free(none);
    fk_clientca_free(with);
    fk_clientca_free(same);
    X509_CRL_free(crl);
}

static void names_travel(void **state)
{
    X509 *both[] = {root, other_root};
    struct fk_clientca *ca = make(both, 2, NULL, 4, false);
    STACK_OF(X509_NAME) * names;
    uint8_t bytes[512];
    struct fk_writer out;
    size_t len;

    (void)state;
    fk_writer_init(&out, bytes, sizeof bytes);
    fk_clientca_encode_names(ca, &out);
    assert_ok(fk_writer_end(&out, &len));
    assert_ok(fk_clientca_decode_names((struct fk_reader){bytes, len}, &names));
    assert_int_equal(sk_X509_NAME_num(names), 2);
    for (int i = 0; i < 2; i++)
        assert_int_equal(
            X509_NAME_cmp(sk_X509_NAME_value(names, i), X509_get_subject_name(both[i])), 0);
    sk_X509_NAME_pop_free(names, X509_NAME_free);
    for (size_t cut = 1; cut < len; cut++) {
        int err = fk_clientca_decode_names((struct fk_reader){bytes, cut}, &names);

        if (err == FK_OK) /* between two names */
            sk_X509_NAME_pop_free(names, X509_NAME_free);
        else
            assert_err(err, FK_ERR_TRUNCATED);
    }
    bytes[2] ^= 1; /* no SEQUENCE */
    assert_err(fk_clientca_decode_names((struct fk_reader){bytes, len}, &names), FK_ERR_FORMAT);
    fk_clientca_free(ca);
}

static size_t write_chain(X509 *const *certs, size_t n, uint8_t *bytes, size_t size)
{
    struct fk_writer out;
    size_t len;

    fk_writer_init(&out, bytes, size);
    for (size_t i = 0; i < n; i++) {
        uint8_t *der = NULL;
        int der_len = i2d_X509(certs[i], &der);

        fk_writer_vec16(&out, der, (size_t)der_len);
        OPENSSL_free(der);
    }
    assert_ok(fk_writer_end(&out, &len));
    return len;
}

static void chains_that_are_handed_over(void **state)
{
    X509 *good = issue((struct pki_cert){.issuer = between, .issuer_key = key_of(1), .serial = 4});
    X509 *chain[] = {good, between};
    STACK_OF(X509) *judged = NULL;
    struct fk_clientca *ca = make(&root, 1, NULL, 4, true),
                       *optional = make(&root, 1, NULL, 4, false),
                       *others = make(&other_root, 1, NULL, 4, true);
    uint8_t bytes[4096];
    size_t len = write_chain(chain, 2, bytes, sizeof bytes);
    int reason = X509_V_OK;

    (void)state;
    assert_ok(fk_clientca_judge_chain(ca, (struct fk_reader){bytes, len}, &reason, &judged));
    assert_int_equal(sk_X509_num(judged), 3);
    assert_int_equal(X509_cmp(sk_X509_value(judged, 0), good), 0);
    assert_int_equal(X509_cmp(sk_X509_value(judged, 1), between), 0);
    assert_int_equal(X509_cmp(sk_X509_value(judged, 2), root), 0);
    sk_X509_pop_free(judged, X509_free);
    assert_err(fk_clientca_judge_chain(others, (struct fk_reader){bytes, len}, &reason, &judged),
               FK_ERR_VERIFY);
    assert_int_equal(reason, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY);
    assert_err(fk_clientca_judge_chain(ca, (struct fk_reader){0}, &reason, &judged), FK_ERR_FORMAT);
    assert_ok(fk_clientca_judge_chain(optional, (struct fk_reader){0}, &reason, &judged));
    assert_null(judged);
    for (size_t cut = 1; cut < len; cut++) {
        int err = fk_clientca_judge_chain(ca, (struct fk_reader){bytes, cut}, &reason, &judged);

        assert_true(err == FK_ERR_TRUNCATED || err == FK_ERR_VERIFY); /* the leaf alone */
    }
    bytes[2] ^= 1;
    assert_err(fk_clientca_judge_chain(ca, (struct fk_reader){bytes, len}, &reason, &judged),
               FK_ERR_FORMAT);
    X509_free(good);
    fk_clientca_free(ca);
    fk_clientca_free(optional);
    fk_clientca_free(others);
}

/* Each byte of one: whatever is damaged, it is refused, and nothing is left behind (ASan sees). */
static void damaged_chains(void **state)
{
    X509 *good = issue((struct pki_cert){
        .issuer = root, .issuer_key = key_of(0), .serial = 9, .eku = "clientAuth"});
    struct fk_clientca *ca = make(&root, 1, NULL, 4, true);
    uint8_t bytes[2048];
    size_t len = write_chain(&good, 1, bytes, sizeof bytes);

    (void)state;
    for (size_t at = 0; at < len; at++) {
        STACK_OF(X509) *judged = NULL;
        int reason = X509_V_OK, err;

        bytes[at] ^= 0x80;
        err = fk_clientca_judge_chain(ca, (struct fk_reader){bytes, len}, &reason, &judged);
        assert_true(err == FK_ERR_FORMAT || err == FK_ERR_TRUNCATED || err == FK_ERR_VERIFY);
        assert_null(judged);
        assert_int_equal(ERR_peek_error(), 0);
        bytes[at] ^= 0x80;
    }
    X509_free(good);
    fk_clientca_free(ca);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(certificates_are_judged),     cmocka_unit_test(of_no_other_ca),
        cmocka_unit_test(chains_have_a_depth),         cmocka_unit_test(lists_count),
        cmocka_unit_test(damaged_files_are_refused),   cmocka_unit_test(one_policy_one_print),
        cmocka_unit_test(lists_are_told_apart),        cmocka_unit_test(names_travel),
        cmocka_unit_test(chains_that_are_handed_over), cmocka_unit_test(damaged_chains),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(cases, setup, teardown);
}
