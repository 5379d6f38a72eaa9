/* cli/pki, cli/pem, cli/ca: what is made is what OpenSSL's verifier accepts, and nothing more. */
#include "unit.h"

#include "base/err.h"
#include "cli/ca.h"
#include "cli/files.h"
#include "cli/pem.h"
#include "cli/pki.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define EDGE "farkey:edge:edge1"

struct scratch {
    char dir[64];
    char ca[FK_PATH_SIZE];
};

static int setup(void **state)
{
    struct scratch *s = calloc(1, sizeof *s);

    snprintf(s->dir, sizeof s->dir, "/tmp/farkey-test-XXXXXX");
    if (mkdtemp(s->dir) == NULL || fk_path_join(s->dir, "ca", s->ca) != FK_OK ||
        fk_ca_create(s->ca, "Test CA") != FK_OK)
        return -1;
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct scratch *s = *state;
    int err = fk_dir_remove(s->dir);

    free(s);
    return err;
}

static void join(const char *dir, const char *name, char ret[FK_PATH_SIZE])
{
    assert_ok(fk_path_join(dir, name, ret));
}

static X509 *issue(struct fk_ca *ca, const char *label, unsigned days)
{
    const struct fk_ca_order order = {.label = label, .days = days};
    EVP_PKEY *key = NULL;
    X509 *cert = NULL;

    assert_ok(fk_pki_key_new(FK_PKI_P256, &key));
    assert_ok(fk_ca_issue(ca, &order, key, &cert));
    assert_int_equal(X509_check_private_key(cert, key), 1);
    EVP_PKEY_free(key);
    return cert;
}

/* X509_V_* of verifying `cert` under the CA directory with its present list. */
static int verify(const char *ca_dir, X509 *cert, int purpose)
{
    char path[FK_PATH_SIZE];
    X509 *ca = NULL;
    X509_CRL *crl = NULL;
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    int result;

    join(ca_dir, "ca.crt", path);
    assert_ok(fk_pem_read_cert(path, &ca));
    join(ca_dir, "ca.crl", path);
    assert_ok(fk_pem_read_crl(path, &crl));
    X509_STORE_add_cert(store, ca);
    X509_STORE_add_crl(store, crl);
    X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_X509_STRICT);
    assert_int_equal(X509_STORE_CTX_init(ctx, store, cert, NULL), 1);
    X509_STORE_CTX_set_purpose(ctx, purpose);
    X509_verify_cert(ctx);
    result = X509_STORE_CTX_get_error(ctx);
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    X509_CRL_free(crl);
    X509_free(ca);
    return result;
}

static struct fk_ca *open_ca(const char *dir)
{
    struct fk_ca *ca = NULL;

    assert_ok(fk_ca_open(dir, &ca));
    return ca;
}

static void leaf_verifies_for_both_ends(void **state)
{
    const struct scratch *s = *state;
    struct fk_ca *ca = open_ca(s->ca);
    X509 *cert = issue(ca, EDGE, 30);

    assert_int_equal(verify(s->ca, cert, X509_PURPOSE_SSL_CLIENT), X509_V_OK);
    assert_int_equal(verify(s->ca, cert, X509_PURPOSE_SSL_SERVER), X509_V_OK);
    X509_free(cert);
    fk_ca_close(ca);
}

static void leaf_has_one_uri_and_is_no_ca(void **state)
{
    const struct scratch *s = *state;
    struct fk_ca *ca = open_ca(s->ca);
    X509 *cert = issue(ca, EDGE, 30);
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    const GENERAL_NAME *name;

    assert_non_null(names);
    assert_int_equal(sk_GENERAL_NAME_num(names), 1);
    name = sk_GENERAL_NAME_value(names, 0);
    assert_int_equal(name->type, GEN_URI);
    assert_int_equal(ASN1_STRING_length(name->d.uniformResourceIdentifier), strlen(EDGE));
    assert_memory_equal(ASN1_STRING_get0_data(name->d.uniformResourceIdentifier), EDGE,
                        strlen(EDGE));
    assert_int_equal(X509_check_ca(cert), 0);
    GENERAL_NAMES_free(names);
    X509_free(cert);
    fk_ca_close(ca);
}

static void site_leaf_matches_its_host(void **state)
{
    const struct scratch *s = *state;
    struct fk_ca *ca = open_ca(s->ca);
    X509 *cert = issue(ca, "*.shop.example", 30);

    assert_int_equal(X509_check_host(cert, "a.shop.example", 0, 0, NULL), 1);
    assert_int_equal(X509_check_host(cert, "shop.example", 0, 0, NULL), 0);
    X509_free(cert);
    fk_ca_close(ca);
}

static void names_are_not_syntax(void **state)
{
    const struct scratch *s = *state;
    char label[FK_CA_LABEL_SIZE];

    (void)s;
    assert_err(fk_ca_label(FK_CA_EDGE, "a,URI:farkey:keyserver:b", label), FK_ERR_INVAL);
    assert_err(fk_ca_label(FK_CA_EDGE, "../x", label), FK_ERR_INVAL);
    assert_err(fk_ca_label(FK_CA_EDGE, "*.x", label), FK_ERR_INVAL);
    assert_err(fk_ca_label(FK_CA_EDGE, "", label), FK_ERR_INVAL);
    assert_ok(fk_ca_label(FK_CA_SITE, "*.x", label));
    assert_string_equal(label, "*.x");
    assert_ok(fk_ca_label(FK_CA_EDGE, "edge1", label));
    assert_string_equal(label, EDGE);
}

static void leaf_ends_with_its_ca(void **state)
{
    const struct scratch *s = *state;
    struct fk_ca *ca = open_ca(s->ca);
    X509 *cert = issue(ca, EDGE, 20000), *ca_cert = NULL;
    char path[FK_PATH_SIZE];

    join(s->ca, "ca.crt", path);
    assert_ok(fk_pem_read_cert(path, &ca_cert));
    assert_int_equal(fk_pki_not_after(cert), fk_pki_not_after(ca_cert));
    X509_free(ca_cert);
    X509_free(cert);
    fk_ca_close(ca);
}

static void expired_ca_issues_nothing(void **state)
{
    struct fk_pki_subject subject = {.common_name = "x"};
    EVP_PKEY *key = NULL;
    X509 *ca = NULL, *leaf = NULL;

    (void)state;
    assert_ok(fk_pki_key_new(FK_PKI_ED25519, &key));
    assert_ok(fk_pki_ca_new(key, "old", 0, &ca));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(ca), -10));
    assert_err(fk_pki_leaf_new(&subject, key, 1, ca, key, &leaf), FK_ERR_EXPIRED);
    assert_null(leaf);
    X509_free(ca);
    EVP_PKEY_free(key);
}

static void revoked_by_name_all_of_it(void **state)
{
    const struct scratch *s = *state;
    struct fk_ca *ca = open_ca(s->ca);
    X509 *first = issue(ca, EDGE, 30), *second = issue(ca, EDGE, 30);
    X509 *other = issue(ca, "farkey:keyserver:hq", 30);
    size_t n = 0;

    assert_ok(fk_ca_revoke(ca, "edge1", &n));
    assert_int_equal(n, 2);
    assert_int_equal(verify(s->ca, first, X509_PURPOSE_SSL_CLIENT), X509_V_ERR_CERT_REVOKED);
    assert_int_equal(verify(s->ca, second, X509_PURPOSE_SSL_CLIENT), X509_V_ERR_CERT_REVOKED);
    assert_int_equal(verify(s->ca, other, X509_PURPOSE_SSL_CLIENT), X509_V_OK);
    X509_free(first);
    X509_free(second);
    X509_free(other);
    fk_ca_close(ca);
}

static void revoked_by_serial_only_that(void **state)
{
    const struct scratch *s = *state;
    struct fk_ca *ca = open_ca(s->ca);
    X509 *first = issue(ca, EDGE, 30), *second = issue(ca, EDGE, 30);
    size_t n = 0;

    assert_ok(fk_ca_revoke(ca, fk_ca_at(ca, 0)->serial, &n));
    assert_int_equal(n, 1);
    assert_int_equal(verify(s->ca, first, X509_PURPOSE_SSL_CLIENT), X509_V_ERR_CERT_REVOKED);
    assert_int_equal(verify(s->ca, second, X509_PURPOSE_SSL_CLIENT), X509_V_OK);
    X509_free(first);
    X509_free(second);
    fk_ca_close(ca);
}

static void ambiguous_name_is_refused(void **state)
{
    const struct scratch *s = *state;
    struct fk_ca *ca = open_ca(s->ca);
    size_t n = 7;

    X509_free(issue(ca, "farkey:edge:a", 30));
    X509_free(issue(ca, "farkey:keyserver:a", 30));
    assert_err(fk_ca_revoke(ca, "a", &n), FK_ERR_DUPLICATE);
    assert_err(fk_ca_revoke(ca, "b", &n), FK_ERR_NOT_FOUND);
    assert_int_equal(n, 7);
    assert_ok(fk_ca_revoke(ca, "farkey:edge:a", &n));
    assert_int_equal(n, 1);
    fk_ca_close(ca);
}

static int64_t crl_number(const char *ca_dir)
{
    char path[FK_PATH_SIZE];
    X509_CRL *crl = NULL;
    ASN1_INTEGER *number;
    int64_t value = 0;

    join(ca_dir, "ca.crl", path);
    assert_ok(fk_pem_read_crl(path, &crl));
    number = X509_CRL_get_ext_d2i(crl, NID_crl_number, NULL, NULL);
    assert_non_null(number);
    assert_int_equal(ASN1_INTEGER_get_int64(&value, number), 1);
    ASN1_INTEGER_free(number);
    X509_CRL_free(crl);
    return value;
}

static void list_numbers_always_rise(void **state)
{
    const struct scratch *s = *state;
    struct fk_ca *ca = open_ca(s->ca);
    int64_t last = crl_number(s->ca);

    for (int i = 0; i < 3; i++) {
        int64_t number;

        assert_ok(fk_ca_write_crl(ca, 1));
        number = crl_number(s->ca);
        assert_true(number > last);
        last = number;
    }
    fk_ca_close(ca);
}

static void index_survives_reopening(void **state)
{
    const struct scratch *s = *state;
    struct fk_ca *ca = open_ca(s->ca), *second = NULL;
    struct fk_ca_entry entry;

    X509_free(issue(ca, EDGE, 30));
    entry = *fk_ca_at(ca, 0);
    assert_err(fk_ca_open(s->ca, &second), FK_ERR_AGAIN);
    fk_ca_close(ca);
    ca = open_ca(s->ca);
    assert_string_equal(fk_ca_at(ca, 0)->serial, entry.serial);
    assert_string_equal(fk_ca_at(ca, 0)->label, EDGE);
    assert_int_equal(fk_ca_at(ca, 0)->expires, entry.expires);
    assert_null(fk_ca_at(ca, 1));
    fk_ca_close(ca);
}

static void damaged_index_is_refused(void **state)
{
    static const char *const bad[] = {"zz\n", "AB\tx\t1\t2\n", "AB\tx\t1\t2\t3 4\n",
                                      "AB\t\t1\t2\t3\n"};
    const struct scratch *s = *state;
    struct fk_ca *ca = NULL;
    char path[FK_PATH_SIZE];

    join(s->ca, "index", path);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_ok(fk_file_write(path, bad[i], strlen(bad[i]), 0600));
        assert_err(fk_ca_open(s->ca, &ca), FK_ERR_FORMAT);
    }
    assert_ok(fk_file_write(path, "AB\tx\t1\t2\t3", 10, 0600));
    fk_ca_close(open_ca(s->ca));
}

static void foreign_key_is_refused(void **state)
{
    const struct scratch *s = *state;
    struct fk_ca *ca = NULL;
    char path[FK_PATH_SIZE];
    EVP_PKEY *key = NULL;

    assert_ok(fk_pki_key_new(FK_PKI_P256, &key));
    join(s->ca, "ca.key", path);
    assert_err(fk_pem_write_key(path, key, false), FK_ERR_DUPLICATE);
    assert_ok(fk_pem_write_key(path, key, true));
    assert_err(fk_ca_open(s->ca, &ca), FK_ERR_MISMATCH);
    EVP_PKEY_free(key);
}

static void request_is_verified(void **state)
{
    struct fk_pki_subject subject = {.common_name = "example.com"};
    const char *dns = "example.com";
    EVP_PKEY *key = NULL, *public = NULL;
    X509_REQ *request = NULL;

    (void)state;
    subject.dns = &dns;
    subject.n_dns = 1;
    assert_ok(fk_pki_key_new(FK_PKI_P256, &key));
    assert_ok(fk_pki_request_new(&subject, key, &request));
    assert_ok(fk_pki_request_key(request, &public));
    assert_int_equal(EVP_PKEY_eq(key, public), 1);
    EVP_PKEY_free(public);
    public = NULL;
    assert_int_equal(X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(request), "CN",
                                                MBSTRING_UTF8, (const unsigned char *)"evil", -1,
                                                -1, 0),
                     1);
    assert_err(fk_pki_request_key(request, &public), FK_ERR_VERIFY);
    assert_null(public);
    X509_REQ_free(request);
    EVP_PKEY_free(key);
}

static void every_key_type_is_named(void **state)
{
    char text[64];

    (void)state;
    for (int i = 0; fk_pki_key_names[i] != NULL; i++) {
        EVP_PKEY *key = NULL;

        if (i == FK_PKI_RSA3072 || i == FK_PKI_RSA4096)
            continue; /* seconds of prime search tell nothing new */
        assert_ok(fk_pki_key_new((enum fk_pki_key)i, &key));
        fk_pki_key_text(key, text, sizeof text);
        assert_string_equal(text, fk_pki_key_names[i]);
        EVP_PKEY_free(key);
    }
}

static void private_files_are_private(void **state)
{
    const struct scratch *s = *state;
    char path[FK_PATH_SIZE];
    struct stat st;
    mode_t old = umask(0);

    join(s->ca, "ca.key", path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(stat(s->ca, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    join(s->dir, "x", path);
    assert_ok(fk_file_write(path, "1", 1, 0600));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    umask(old);
}

static void failed_write_leaves_the_old_file(void **state)
{
    const struct scratch *s = *state;
    char path[FK_PATH_SIZE];

    join(s->dir, "missing/x", path);
    assert_err(fk_file_write(path, "1", 1, 0600), FK_ERR_SYS);
    join(s->dir, "dir", path);
    assert_ok(fk_dir_make(path, 0700));
    assert_err(fk_file_write(path, "1", 1, 0600), FK_ERR_SYS); /* rename onto a directory */
    assert_int_equal(rmdir(path), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(CASE(leaf_verifies_for_both_ends), CASE(leaf_has_one_uri_and_is_no_ca),
          CASE(site_leaf_matches_its_host), CASE(names_are_not_syntax), CASE(leaf_ends_with_its_ca),
          CASE(expired_ca_issues_nothing), CASE(revoked_by_name_all_of_it),
          CASE(revoked_by_serial_only_that), CASE(ambiguous_name_is_refused),
          CASE(list_numbers_always_rise), CASE(index_survives_reopening),
          CASE(damaged_index_is_refused), CASE(foreign_key_is_refused), CASE(request_is_verified),
          CASE(every_key_type_is_named), CASE(private_files_are_private),
          CASE(failed_write_leaves_the_old_file))
