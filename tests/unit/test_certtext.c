/* tls/certtext, tls/clientrules: what is said of certificates, and which are meant. */
#include "unit.h"
#include "pki.h"

#include "base/err.h"
#include "tls/certtext.h"
#include "tls/clientrules.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>

static X509 *root, *leaf;
static char text[65536];

static X509 *issue(const char *subject, const char *san)
{
    return pki_issue(&(struct pki_cert){.subject = subject,
                                        .key = pki_key_slot("P-256", 1),
                                        .issuer = root,
                                        .issuer_key = pki_key("P-256"),
                                        .san = san,
                                        .serial = 0x1234});
}

static int setup(void **state)
{
    (void)state;
    root = pki_issue(
        &(struct pki_cert){.subject = "Root", .key = pki_key("P-256"), .ca = true, .serial = 1});
    leaf = issue("alice", "DNS:a.example,URI:spiffe://example/a,email:a@example.com,IP:192.0.2.1,"
                          "IP:2001:db8::1");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    X509_free(root);
    X509_free(leaf);
    return 0;
}

/* A text of `cert`, with the root above it. */
static const char *say(X509 *cert, const char *name)
{
    STACK_OF(X509) *above = sk_X509_new_null();
    const struct fk_certtext_of of = {.leaf = cert, .above = above};
    enum fk_certtext what;
    struct fk_writer out;
    size_t len;

    sk_X509_push(above, root);
    assert_ok(fk_certtext_find(name, strlen(name), &what));
    fk_writer_init(&out, text, sizeof text - 1);
    assert_ok(fk_certtext_write(&of, what, &out));
    assert_ok(fk_writer_end(&out, &len));
    text[len] = '\0';
    sk_X509_free(above);
    assert_int_equal(ERR_peek_error(), 0);
    return text;
}

/* The DER behind a Base64 text is that of the certificate. */
static void assert_der(const char *base64, size_t len, X509 *cert)
{
    uint8_t der[4096];
    const uint8_t *next = der;
    X509 *back;
    int n;

    assert_int_equal(len % 4, 0);
    n = EVP_DecodeBlock(der, (const uint8_t *)base64, (int)len);
    assert_true(n > 0);
    back = d2i_X509(NULL, &next, n);
    assert_non_null(back);
    assert_int_equal(X509_cmp(back, cert), 0);
    X509_free(back);
}

static void forms_of_the_whole(void **state)
{
    char pem[8192];
    size_t len;

    (void)state;
    (void)say(leaf, "der");
    assert_der(text, strlen(text), leaf);
    assert_null(strpbrk(say(leaf, "der-base64url"), "+/=\r\n"));
    say(leaf, "pem-spaces");
    assert_memory_equal(text, "-----BEGIN CERTIFICATE----- MII", 31);
    assert_null(strpbrk(text, "\r\n;,"));
    assert_string_equal(text + strlen(text) - 26, " -----END CERTIFICATE-----");
    (void)snprintf(pem, sizeof pem, "%s", say(leaf, "pem"));
    assert_null(strpbrk(pem, "\r\n;, +/="));
    assert_memory_equal(pem, "-----BEGIN%20CERTIFICATE-----%0AMII", 35);
    assert_string_equal(say(leaf, "pem-chain"), pem); /* the anchor is left out */
    len = strlen(say(leaf, "pem-body"));
    assert_memory_equal(text, "MII", 3);
    assert_int_equal(
        strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789%"), len);
    assert_string_equal(say(leaf, "der-list"), "");
}

static void chains_are_without_their_anchor(void **state)
{
    STACK_OF(X509) *above = sk_X509_new_null();
    const struct fk_certtext_of of = {.leaf = leaf, .above = above};
    struct fk_writer out;
    size_t len;

    (void)state;
    sk_X509_push(above, leaf);
    sk_X509_push(above, leaf);
    sk_X509_push(above, root);
    fk_writer_init(&out, text, sizeof text - 1);
    assert_ok(fk_certtext_write(&of, FK_CERTTEXT_DER_LIST, &out));
    assert_ok(fk_writer_end(&out, &len));
    text[len] = '\0';
    assert_non_null(strstr(text, ":, :"));
    assert_der(text + 1, (size_t)(strstr(text, ":, :") - text) - 1, leaf);
    fk_writer_init(&out, text, 100); /* never a part of one */
    assert_ok(fk_certtext_write(&of, FK_CERTTEXT_DER_LIST, &out));
    assert_err(fk_writer_end(&out, &len), FK_ERR_LIMIT);
    sk_X509_free(above);
}

static void facts(void **state)
{
    (void)state;
    assert_string_equal(say(leaf, "subject"), "CN=alice");
    assert_string_equal(say(leaf, "issuer"), "CN=Root");
    assert_string_equal(say(leaf, "cn"), "alice");
    assert_string_equal(say(leaf, "serial"), "1234");
    assert_string_equal(say(leaf, "verify"), "SUCCESS");
    assert_int_equal(strlen(say(leaf, "fingerprint")), 64);
    assert_int_equal(strlen(say(leaf, "fingerprint-sha1")), 40);
    assert_int_equal(strlen(say(leaf, "notbefore")), 20);
    assert_int_equal(text[10], 'T');
    assert_int_equal(text[19], 'Z');
    assert_true(strtoll(say(leaf, "notafter-unix"), NULL, 10) >
                strtoll(say(leaf, "notbefore-unix"), NULL, 10));
    assert_memory_equal(say(leaf, "spki"), "MFkw", 4);
    assert_memory_equal(say(leaf, "signature"), "ME", 2);
    assert_string_equal(say(leaf, "san"), "DNS:a.example,URI:spiffe://example/a,"
                                          "email:a@example.com,IP:192.0.2.1,IP:2001:db8::1");
    assert_string_equal(say(leaf, "xfcc-names"), ";DNS=a.example;URI=spiffe://example/a");
}

/* RFC 4514, and no quote, comma or backslash in the clear. */
static void names_are_escaped(void **state)
{
    static const struct {
        const char *name, *said;
    } rows[] = {
        {"Smith, John", "CN=Smith\\2C John"},
        {"a\"b", "CN=a\\22b"},
        {"a\\b", "CN=a\\5Cb"},
        {"a+b;c<d>e", "CN=a\\2Bb\\3Bc\\3Cd\\3Ee"},
        {"#a ", "CN=\\23a\\20"},
        {"a\r\nX: b", "CN=a\\0D\\0AX: b"},
        {"M\xfcller", "CN=M\\C3\\BCller"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        X509 *cert = issue(rows[i].name, NULL);

        assert_string_equal(say(cert, "subject"), rows[i].said);
        assert_string_equal(say(cert, "cn"), rows[i].said + 3);
        assert_string_equal(say(cert, "san"), "");
        X509_free(cert);
    }
}

static void a_nul_ends_nothing(void **state)
{
    X509_NAME *name = X509_get_subject_name(leaf), *old = X509_NAME_dup(name);

    (void)state;
    X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8, (const uint8_t *)"b\0ob", 4, -1,
                               0);
    assert_string_equal(say(leaf, "cn"), "b\\00ob");
    assert_string_equal(say(leaf, "subject"), "CN=b\\00ob,CN=alice");
    X509_set_subject_name(leaf, old);
    X509_NAME_free(old);
}

static void alternative_names_hold_no_separators(void **state)
{
    X509 *cert = issue("x", "URI:https://a/?b=c;d\"e f,URI:x:y");

    (void)state;
    assert_string_equal(say(cert, "san"), "URI:https://a/?b%3Dc%3Bd%22e%20f,URI:x:y");
    X509_free(cert);
}

static void names_of_fields(void **state)
{
    enum fk_certtext what;

    (void)state;
    assert_err(fk_certtext_find("subjec", 6, &what), FK_ERR_NOT_FOUND);
    assert_err(fk_certtext_find("subjects", 8, &what), FK_ERR_NOT_FOUND);
    assert_err(fk_certtext_find("", 0, &what), FK_ERR_NOT_FOUND);
}

/* --- rules --- */

static bool fits(const char *rule, X509 *cert)
{
    char *rules[] = {(char *)(uintptr_t)rule};
    struct fk_clientrules *made;
    size_t bad;
    bool result;

    assert_ok(fk_clientrules_new(rules, 1, &made, &bad));
    result = fk_clientrules_fit(made, cert);
    fk_clientrules_free(made);
    assert_int_equal(ERR_peek_error(), 0);
    return result;
}

static void rules_fit_what_they_say(void **state)
{
    static const struct {
        const char *yes, *no;
    } rows[] = {
        {"subject:CN=alice", "subject:CN=Alice"},
        {"cn:alice", "cn:alic"},
        {"dns:A.example", "dns:b.example"},
        {"dns:*.example", "dns:*.a.example"},
        {"email:a@example.com", "email:a@example.co"},
        {"uri:spiffe://example/a", "uri:spiffe://example/"},
        {"uri:spiffe://example/*", "uri:spiffe://example/b*"},
        {"cn:alice", "dns:alice"},
    };
    char spki[80] = "spki:";
    uint8_t digest[32];
    char *list[] = {(char *)(uintptr_t) "cn:bob", (char *)(uintptr_t) "cn:alice"};
    struct fk_clientrules *both;
    size_t bad;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_true(fits(rows[i].yes, leaf));
        assert_false(fits(rows[i].no, leaf));
    }
    X509_pubkey_digest(leaf, EVP_sha256(), digest, NULL); /* of the bits alone: another digest */
    for (size_t i = 0; i < 32; i++)
        snprintf(spki + 5 + 2 * i, 3, "%02x", digest[i]);
    assert_false(fits(spki, leaf));
    assert_ok(fk_clientrules_new(list, 2, &both, &bad));
    assert_true(fk_clientrules_fit(both, leaf));
    assert_false(fk_clientrules_fit(both, root));
    fk_clientrules_free(both);
}

static void a_name_with_nul_fits_no_rule(void **state)
{
    X509_NAME *name = X509_get_subject_name(leaf), *old = X509_NAME_dup(name);

    (void)state;
    X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8, (const uint8_t *)"bob\0x", 5,
                               -1, 0);
    assert_false(fits("cn:bob", leaf));
    X509_set_subject_name(leaf, old);
    X509_NAME_free(old);
}

static void subjects_are_written_as_people_write_them(void **state)
{
    X509 *cert = issue("Smith, John", NULL);

    (void)state;
    assert_true(fits("subject:CN=Smith\\, John", cert));
    assert_true(fits("subject:CN=Smith\\2C John", cert));
    assert_false(fits("subject:CN=Smith, John", cert));
    X509_free(cert);
}

static void rules_that_are_none(void **state)
{
    static const char *const bad[] = {"",        "alice",   "cn:",         "cn",
                                      "spki:00", "spki:zz", "ip:192.0.2.1"};
    struct fk_clientrules *made = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char *rules[] = {(char *)(uintptr_t) "cn:a", (char *)(uintptr_t)bad[i]};
        size_t which = 9;

        assert_err(fk_clientrules_new(rules, 2, &made, &which), FK_ERR_FORMAT);
        assert_int_equal(which, 1);
        assert_null(made);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(forms_of_the_whole),
        cmocka_unit_test(chains_are_without_their_anchor),
        cmocka_unit_test(facts),
        cmocka_unit_test(names_are_escaped),
        cmocka_unit_test(a_nul_ends_nothing),
        cmocka_unit_test(alternative_names_hold_no_separators),
        cmocka_unit_test(names_of_fields),
        cmocka_unit_test(rules_fit_what_they_say),
        cmocka_unit_test(a_name_with_nul_fits_no_rule),
        cmocka_unit_test(subjects_are_written_as_people_write_them),
        cmocka_unit_test(rules_that_are_none),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(cases, setup, teardown);
}
