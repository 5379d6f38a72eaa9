/* tls/staple: reading OCSP responses, whose word about whom counts, and what clients get of them.
 */
#include "unit.h"
#include "pki.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/limits.h"
#include "tls/staple.h"

#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>

#define SERIAL 7

enum { ROOT_KEY, OTHER_KEY, LEAF_KEY, RESPONDER_KEY };

static X509 *root, *other_root, *leaf, *rsa_leaf;

static EVP_PKEY *key_of(unsigned slot)
{
    return pki_key_slot("P-256", slot);
}

static X509 *issue(struct pki_cert spec, const char *subject)
{
    spec.subject = subject;
    if (spec.key == NULL)
        spec.key = key_of(LEAF_KEY);
    if (spec.issuer == NULL && !spec.ca)
        spec.issuer = root;
    spec.issuer_key = key_of(spec.issuer == other_root ? OTHER_KEY : ROOT_KEY);
    if (spec.ca)
        spec.issuer_key = spec.key;
    return pki_issue(&spec);
}

static int setup(void **state)
{
    (void)state;
    root = issue((struct pki_cert){.key = key_of(ROOT_KEY), .ca = true, .serial = 1}, "Root");
    other_root =
        issue((struct pki_cert){.key = key_of(OTHER_KEY), .ca = true, .serial = 1}, "Other root");
    leaf = issue((struct pki_cert){.serial = SERIAL}, "leaf");
    rsa_leaf = issue((struct pki_cert){.serial = SERIAL + 1, .key = pki_key("RSA")}, "leaf");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    X509_free(root);
    X509_free(other_root);
    X509_free(leaf);
    X509_free(rsa_leaf);
    return 0;
}

/* --- responses --- */

struct answer {
    X509 *about, *issuer; /* NULL: `leaf`, `root` */
    int status;           /* V_OCSP_CERTSTATUS_* */
    long from, until;     /* seconds from now; until 0: none */
};

struct response {
    struct answer answers[2]; /* a second one when it is `about` something */
    X509 *signer;             /* NULL: `root` */
    EVP_PKEY *key;
    const EVP_MD *md; /* of the CertID; NULL: SHA-1 */
};

static void add_answer(OCSP_BASICRESP *basic, const struct answer *answer, const EVP_MD *md)
{
    X509 *issuer = answer->issuer != NULL ? answer->issuer : root;
    OCSP_CERTID *id = OCSP_cert_to_id(md, answer->about != NULL ? answer->about : leaf, issuer);
    ASN1_TIME *from = X509_gmtime_adj(NULL, answer->from), *until = NULL, *revoked;

    if (answer->until != 0)
        until = X509_gmtime_adj(NULL, answer->until);
    revoked = answer->status == V_OCSP_CERTSTATUS_REVOKED ? X509_gmtime_adj(NULL, -60) : NULL;
    assert_non_null(OCSP_basic_add1_status(basic, id, answer->status,
                                           OCSP_REVOKED_STATUS_UNSPECIFIED, revoked, from, until));
    OCSP_CERTID_free(id);
    ASN1_TIME_free(from);
    ASN1_TIME_free(until);
    ASN1_TIME_free(revoked);
}

/* DER; freed by OPENSSL_free(). */
static size_t respond(const struct response *spec, uint8_t **ret)
{
    OCSP_BASICRESP *basic = OCSP_BASICRESP_new();
    X509 *signer = spec->signer != NULL ? spec->signer : root;
    EVP_PKEY *key = spec->key != NULL ? spec->key : key_of(ROOT_KEY);
    OCSP_RESPONSE *response;
    int len;

    add_answer(basic, &spec->answers[0], spec->md);
    if (spec->answers[1].about != NULL)
        add_answer(basic, &spec->answers[1], spec->md);
    assert_int_equal(OCSP_basic_sign(basic, signer, key, EVP_sha256(), NULL, 0), 1);
    response = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, basic);
    *ret = NULL;
    len = i2d_OCSP_RESPONSE(response, ret);
    assert_true(len > 0);
    OCSP_RESPONSE_free(response);
    OCSP_BASICRESP_free(basic);
    return (size_t)len;
}

static int read_bytes(const void *bytes, size_t len, struct fk_staple **ret)
{
    struct fk_reader reader;
    int err;

    fk_reader_init(&reader, bytes, len);
    err = fk_staple_new(reader, ret);
    assert_int_equal(ERR_peek_error(), 0);
    return err;
}

static struct fk_staple *make(const struct response *spec)
{
    struct fk_staple *staple;
    uint8_t *der;
    size_t len = respond(spec, &der);

    assert_ok(read_bytes(der, len, &staple));
    assert_int_equal(fk_staple_wire_len(staple), len + 8);
    OPENSSL_free(der);
    return staple;
}

static struct fk_cert with_chain(X509 *x509, X509 *issuer)
{
    struct fk_cert cert = {.leaf = x509, .chain = sk_X509_new_null()};

    if (issuer != NULL)
        sk_X509_push(cert.chain, issuer);
    return cert;
}

#define GOOD (-1)

/* GOOD, or the fault. */
static int verdict(const struct response *spec, X509 *x509, X509 *issuer,
                   struct fk_staple_term *ret)
{
    struct fk_staple *staple = make(spec);
    struct fk_cert cert = with_chain(x509, issuer);
    enum fk_staple_fault fault = FK_STAPLE_LONG;
    int err = fk_staple_judge(staple, &cert, &fault, ret);

    assert_int_equal(ERR_peek_error(), 0);
    assert_true(err == FK_OK || err == FK_ERR_VERIFY);
    fk_staple_unref(staple);
    sk_X509_free(cert.chain);
    return err == FK_OK ? GOOD : (int)fault;
}

static const struct response good = {.answers = {{.from = -60, .until = 3600}}};

static int64_t now_s(void)
{
    return (int64_t)(fk_clock_wall_us() / 1000000);
}

static bool is_near(int64_t a, int64_t b)
{
    return a - b < 30 && b - a < 30;
}

static void an_issuers_word_counts(void **state)
{
    struct response sha256 = good;
    struct fk_staple_term term;

    (void)state;
    sha256.md = EVP_sha256();
    assert_int_equal(verdict(&good, leaf, root, &term), GOOD);
    assert_true(is_near(term.from, now_s() - 60) && is_near(term.until, now_s() + 3600));
    assert_int_equal(verdict(&sha256, leaf, root, &term), GOOD);
}

static void a_term_has_ends(void **state)
{
    const struct fk_staple_term term = {.from = 100, .until = 200};

    (void)state;
    assert_false(fk_staple_in_force(&term, 99));
    assert_true(fk_staple_in_force(&term, 100));
    assert_true(fk_staple_in_force(&term, 199));
    assert_false(fk_staple_in_force(&term, 200));
}

/* It is judged whatever the time is: old ones are not refused, but never in force. */
static void an_old_word_is_a_word(void **state)
{
    struct response spec = good;
    struct fk_staple_term term;

    (void)state;
    spec.answers[0].from = -7200;
    spec.answers[0].until = -3600;
    assert_int_equal(verdict(&spec, leaf, root, &term), GOOD);
    assert_false(fk_staple_in_force(&term, now_s()));
    spec.answers[0].from = 3600;
    spec.answers[0].until = 7200;
    assert_int_equal(verdict(&spec, leaf, root, &term), GOOD);
    assert_false(fk_staple_in_force(&term, now_s()));
}

static void of_several_answers_the_right_one(void **state)
{
    struct response spec = good;
    struct fk_staple_term term;

    (void)state;
    spec.answers[1] = spec.answers[0];
    spec.answers[0].about = rsa_leaf;
    spec.answers[0].status = V_OCSP_CERTSTATUS_REVOKED;
    spec.answers[1].about = leaf;
    assert_int_equal(verdict(&spec, leaf, root, &term), GOOD);
    assert_int_equal(verdict(&spec, rsa_leaf, root, &term), FK_STAPLE_REVOKED);
}

/* Each is `good` with one change. */
static void answers_are_judged(void **state)
{
    struct fk_staple_term term = {0};
    struct response spec;

    (void)state;
    spec = good;
    spec.answers[0].about = rsa_leaf;
    assert_int_equal(verdict(&spec, leaf, root, &term), FK_STAPLE_FOREIGN);
    spec = good;
    spec.answers[0].issuer = other_root;
    assert_int_equal(verdict(&spec, leaf, root, &term), FK_STAPLE_FOREIGN);
    spec = good;
    spec.answers[0].status = V_OCSP_CERTSTATUS_REVOKED;
    assert_int_equal(verdict(&spec, leaf, root, &term), FK_STAPLE_REVOKED);
    spec = good;
    spec.answers[0].status = V_OCSP_CERTSTATUS_UNKNOWN;
    assert_int_equal(verdict(&spec, leaf, root, &term), FK_STAPLE_UNKNOWN);
    spec = good;
    spec.answers[0].until = 0;
    assert_int_equal(verdict(&spec, leaf, root, &term), FK_STAPLE_ENDLESS);
    assert_int_equal(verdict(&good, leaf, NULL, &term), FK_STAPLE_ORPHAN);
    assert_int_equal(verdict(&good, leaf, other_root, &term), FK_STAPLE_ORPHAN);
    assert_int_equal(term.until, 0);
}

/* A CA of the same name with another key: the word of one does not count for the other's leaf. */
static void an_issuer_is_its_key(void **state)
{
    X509 *twin =
        pki_issue(&(struct pki_cert){.subject = "Root", .key = key_of(OTHER_KEY), .ca = true});
    X509 *twins_leaf = pki_issue(&(struct pki_cert){.subject = "leaf",
                                                    .key = key_of(LEAF_KEY),
                                                    .issuer = twin,
                                                    .issuer_key = key_of(OTHER_KEY),
                                                    .serial = SERIAL});
    struct fk_staple_term term;

    (void)state;
    assert_int_equal(verdict(&good, twins_leaf, twin, &term), FK_STAPLE_FOREIGN);
    X509_free(twins_leaf);
    X509_free(twin);
}

/* Signed by `spec`'s certificate. */
static int by_responder(struct pki_cert spec, struct fk_staple_term *ret)
{
    struct response response = good;
    int result;

    spec.key = key_of(RESPONDER_KEY);
    spec.serial = 9;
    response.signer = issue(spec, "responder");
    response.key = spec.key;
    result = verdict(&response, leaf, root, ret);
    X509_free(response.signer);
    return result;
}

static void issuers_may_charge_others(void **state)
{
    struct fk_staple_term term;

    (void)state;
    assert_int_equal(by_responder((struct pki_cert){.eku = "OCSPSigning"}, &term), GOOD);
    assert_true(is_near(term.until, now_s() + 3600));
    /* What it says ends with it. */
    assert_int_equal(
        by_responder(
            (struct pki_cert){.eku = "OCSPSigning", .not_before = -3600, .not_after = 1800}, &term),
        GOOD);
    assert_true(is_near(term.until, now_s() + 1800));
}

static void nobody_else_signs(void **state)
{
    struct response spec = good;
    struct fk_staple_term term;

    (void)state;
    assert_int_equal(by_responder((struct pki_cert){.eku = NULL}, &term), FK_STAPLE_UNSIGNED);
    assert_int_equal(by_responder((struct pki_cert){.eku = "serverAuth"}, &term),
                     FK_STAPLE_UNSIGNED);
    assert_int_equal(
        by_responder((struct pki_cert){.eku = "OCSPSigning", .issuer = other_root}, &term),
        FK_STAPLE_UNSIGNED);
    /* It was over when it signed. */
    assert_int_equal(
        by_responder(
            (struct pki_cert){.eku = "OCSPSigning", .not_before = -7200, .not_after = -3600},
            &term),
        FK_STAPLE_UNSIGNED);
    spec.signer = other_root;
    spec.key = key_of(OTHER_KEY);
    assert_int_equal(verdict(&spec, leaf, root, &term), FK_STAPLE_UNSIGNED);
    spec.signer = leaf;
    spec.key = key_of(LEAF_KEY);
    assert_int_equal(verdict(&spec, leaf, root, &term), FK_STAPLE_UNSIGNED);
    /* That it says "revoked" is not believed either. */
    spec.answers[0].status = V_OCSP_CERTSTATUS_REVOKED;
    assert_int_equal(verdict(&spec, leaf, root, &term), FK_STAPLE_UNSIGNED);
}

/* --- reading --- */

/* Where the signature's bits are: before the certificates, which are the last. */
static void a_changed_byte_is_seen(void **state)
{
    struct fk_cert cert = with_chain(leaf, root);
    enum fk_staple_fault fault;
    struct fk_staple_term term;
    struct fk_staple *staple;
    uint8_t *der;
    size_t len = respond(&good, &der);
    size_t wrong = 0;

    (void)state;
    for (size_t i = 0; i < len; i++) {
        der[i] ^= 1;
        if (read_bytes(der, len, &staple) == FK_OK) {
            int err = fk_staple_judge(staple, &cert, &fault, &term);

            /* The certificate that came along need not be looked at: the issuer's own key signed.
             */
            if (err == FK_OK)
                wrong++;
            fk_staple_unref(staple);
        }
        der[i] ^= 1;
    }
    assert_ok(read_bytes(der, len, &staple));
    assert_ok(fk_staple_judge(staple, &cert, &fault, &term));
    fk_staple_unref(staple);
    assert_true(wrong <= (size_t)i2d_X509(root, NULL));
    sk_X509_free(cert.chain);
    OPENSSL_free(der);
}

static void every_prefix_fails(void **state)
{
    struct fk_staple *staple;
    uint8_t *der;
    size_t len = respond(&good, &der);

    (void)state;
    for (size_t i = 0; i < len; i++) {
        uint8_t *exact = malloc(i + (i == 0));

        memcpy(exact, der, i);
        assert_err(read_bytes(exact, i, &staple), FK_ERR_FORMAT);
        free(exact);
    }
    assert_ok(read_bytes(der, len, &staple));
    fk_staple_unref(staple);
    OPENSSL_free(der);
}

static void no_bytes_follow(void **state)
{
    struct fk_staple *staple;
    uint8_t *der, *longer;
    size_t len = respond(&good, &der);

    (void)state;
    longer = malloc(len + 1);
    memcpy(longer, der, len);
    longer[len] = 0;
    assert_err(read_bytes(longer, len + 1, &staple), FK_ERR_FORMAT);
    free(longer);
    OPENSSL_free(der);
}

static void an_error_is_no_response(void **state)
{
    static const uint8_t try_later[] = {0x30, 3, 0x0a, 1, OCSP_RESPONSE_STATUS_TRYLATER};
    /* Successful, without bytes; and with bytes of a type that nobody knows. */
    static const uint8_t nothing[] = {0x30, 3, 0x0a, 1, 0};
    static const uint8_t other[] = {0x30, 14, 0x0a, 1, 0, 0xa0, 9, 0x30, 7, 6, 2, 0x2a, 3, 4, 1, 0};
    struct fk_staple *staple;

    (void)state;
    assert_err(read_bytes(try_later, sizeof try_later, &staple), FK_ERR_DENIED);
    assert_err(read_bytes(nothing, sizeof nothing, &staple), FK_ERR_UNSUPPORTED);
    assert_err(read_bytes(other, sizeof other, &staple), FK_ERR_UNSUPPORTED);
}

static void length_has_a_bound(void **state)
{
    uint8_t *bytes = calloc(1, FK_STAPLE_MAX + 1);
    struct fk_staple *staple;

    (void)state;
    bytes[0] = 0x30;
    assert_err(read_bytes(bytes, FK_STAPLE_MAX + 1, &staple), FK_ERR_LIMIT);
    assert_err(read_bytes(bytes, FK_STAPLE_MAX, &staple), FK_ERR_FORMAT);
    free(bytes);
}

/* `times` blocks called `name`. */
static char *armour(const uint8_t *der, size_t len, const char *name, unsigned times)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text, *copy;
    long size;

    for (unsigned i = 0; i < times; i++)
        assert_true(PEM_write_bio(bio, name, "", der, (long)len) > 0);
    size = BIO_get_mem_data(bio, &text);
    copy = strndup(text, (size_t)size);
    BIO_free(bio);
    return copy;
}

static int read_text(char *text, struct fk_staple **ret)
{
    int err = read_bytes(text, strlen(text), ret);

    free(text);
    return err;
}

static void text_is_read_as_well(void **state)
{
    struct fk_staple *staple;
    uint8_t *der;
    size_t len = respond(&good, &der);

    (void)state;
    assert_ok(read_text(armour(der, len, "OCSP RESPONSE", 1), &staple));
    assert_int_equal(fk_staple_wire_len(staple), len + 8);
    fk_staple_unref(staple);
    assert_err(read_text(armour(der, len, "OCSP RESPONSE", 2), &staple), FK_ERR_FORMAT);
    assert_err(read_text(armour(der, len, "CERTIFICATE", 1), &staple), FK_ERR_FORMAT);
    assert_err(read_text(armour(der, len - 1, "OCSP RESPONSE", 1), &staple), FK_ERR_FORMAT);
    assert_err(read_text(strdup("a text"), &staple), FK_ERR_FORMAT);
    assert_err(read_text(strdup(""), &staple), FK_ERR_FORMAT);
    OPENSSL_free(der);
}

/* --- handshakes --- */

struct told {
    unsigned sent, kept;
};

static void on_told(void *arg, bool sent)
{
    struct told *told = arg;

    if (sent)
        told->sent++;
    else
        told->kept++;
}

static SSL_CTX *server_ctx(void)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

    assert_int_equal(SSL_CTX_use_cert_and_key(ctx, leaf, key_of(LEAF_KEY), NULL, 1), 1);
    assert_int_equal(SSL_CTX_use_cert_and_key(ctx, rsa_leaf, pki_key("RSA"), NULL, 1), 1);
    return ctx;
}

struct client {
    int version;
    const char *sigalgs;
    bool asks;
};

static void shake(SSL *server, SSL *client)
{
    BIO *a, *b;

    assert_int_equal(BIO_new_bio_pair(&a, 0, &b, 0), 1);
    SSL_set_bio(server, a, a);
    SSL_set_bio(client, b, b);
    SSL_set_accept_state(server);
    SSL_set_connect_state(client);
    for (int i = 0; i < 10; i++) {
        (void)SSL_do_handshake(client);
        (void)SSL_do_handshake(server);
    }
    assert_true(SSL_is_init_finished(server) && SSL_is_init_finished(client));
}

/* Bytes of the response that a client gets; 0: none. */
static size_t stapled(SSL_CTX *ctx, const struct client *spec)
{
    SSL_CTX *client_ctx = SSL_CTX_new(TLS_client_method());
    const uint8_t *response;
    SSL *server, *client;
    long len;

    SSL_CTX_set_min_proto_version(client_ctx, spec->version);
    SSL_CTX_set_max_proto_version(client_ctx, spec->version);
    assert_int_equal(SSL_CTX_set1_sigalgs_list(client_ctx, spec->sigalgs), 1);
    server = SSL_new(ctx);
    client = SSL_new(client_ctx);
    if (spec->asks)
        SSL_set_tlsext_status_type(client, TLSEXT_STATUSTYPE_ocsp);
    shake(server, client);
    len = SSL_get_tlsext_status_ocsp_resp(client, &response);
    SSL_free(server);
    SSL_free(client);
    SSL_CTX_free(client_ctx);
    return len > 0 ? (size_t)len : 0;
}

static struct fk_staple_use use_of(const struct response *spec, X509 *x509)
{
    struct fk_staple_use use = {.staple = make(spec), .leaf = x509};
    struct fk_cert cert = with_chain(x509, root);
    enum fk_staple_fault fault;

    assert_ok(fk_staple_judge(use.staple, &cert, &fault, &use.term));
    sk_X509_free(cert.chain);
    return use;
}

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

#define EC_CLIENT  "ECDSA+SHA256"
#define RSA_CLIENT "RSA-PSS+SHA256:RSA+SHA256"

static void clients_get_the_one_of_their_certificate(void **state)
{
    struct response spec = good;
    struct fk_staple_use uses[2];
    struct told told = {0};
    SSL_CTX *ctx = server_ctx();
    size_t lens[2];

    (void)state;
    uses[0] = use_of(&good, leaf);
    spec.answers[0].about = rsa_leaf;
    spec.answers[1] = good.answers[0]; /* longer than the other */
    spec.answers[1].about = leaf;
    uses[1] = use_of(&spec, rsa_leaf);
    for (size_t i = 0; i < 2; i++)
        lens[i] = fk_staple_wire_len(uses[i].staple) - 8;
    assert_ok(fk_staple_serve(ctx, uses, 2, on_told, &told));
    for (size_t i = 0; i < 2; i++)
        fk_staple_unref(uses[i].staple); /* the context has its own reference */
    for (size_t i = 0; i < 2; i++) {
        struct client client = {versions[i], EC_CLIENT, true};

        assert_int_equal(stapled(ctx, &client), lens[0]);
        client.sigalgs = RSA_CLIENT;
        assert_int_equal(stapled(ctx, &client), lens[1]);
        client.asks = false;
        assert_int_equal(stapled(ctx, &client), 0);
    }
    assert_int_equal(told.sent, 4);
    assert_int_equal(told.kept, 0);
    SSL_CTX_free(ctx);
}

static void without_one_nothing_is_said(void **state)
{
    struct fk_staple_use use = use_of(&good, leaf);
    struct told told = {0};
    SSL_CTX *ctx = server_ctx();

    (void)state;
    assert_ok(fk_staple_serve(ctx, &use, 1, on_told, &told));
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(stapled(ctx, &(struct client){versions[i], RSA_CLIENT, true}), 0);
    assert_int_equal(told.sent + told.kept, 0);
    fk_staple_unref(use.staple);
    SSL_CTX_free(ctx);
}

static void out_of_its_term_it_is_not_sent(void **state)
{
    static const struct {
        long from, until;
    } terms[] = {{-7200, -3600}, {3600, 7200}};
    struct told told = {0};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct response spec = good;
        struct fk_staple_use use;
        SSL_CTX *ctx = server_ctx();

        spec.answers[0].from = terms[i].from;
        spec.answers[0].until = terms[i].until;
        use = use_of(&spec, leaf);
        assert_ok(fk_staple_serve(ctx, &use, 1, on_told, &told));
        fk_staple_unref(use.staple);
        for (size_t j = 0; j < 2; j++)
            assert_int_equal(stapled(ctx, &(struct client){versions[j], EC_CLIENT, true}), 0);
        SSL_CTX_free(ctx);
    }
    assert_int_equal(told.sent, 0);
    assert_int_equal(told.kept, 4);
}

static void a_context_tells_what_it_shows(void **state)
{
    struct fk_staple_use use = use_of(&good, leaf), found, four[FK_EDGE_CERTS_MAX + 1];
    SSL_CTX *ctx = server_ctx();

    (void)state;
    assert_err(fk_staple_served(ctx, 0, &found), FK_ERR_NOT_FOUND);
    for (size_t i = 0; i < sizeof four / sizeof four[0]; i++)
        four[i] = use;
    assert_err(fk_staple_serve(ctx, four, sizeof four / sizeof four[0], on_told, NULL),
               FK_ERR_LIMIT);
    assert_ok(fk_staple_serve(ctx, &use, 1, on_told, NULL));
    assert_ok(fk_staple_served(ctx, 0, &found));
    assert_ptr_equal(found.leaf, leaf);
    assert_int_equal(found.term.until, use.term.until);
    assert_err(fk_staple_served(ctx, 1, &found), FK_ERR_NOT_FOUND);
    fk_staple_unref(use.staple);
    SSL_CTX_free(ctx);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(an_issuers_word_counts),
        cmocka_unit_test(a_term_has_ends),
        cmocka_unit_test(an_old_word_is_a_word),
        cmocka_unit_test(of_several_answers_the_right_one),
        cmocka_unit_test(answers_are_judged),
        cmocka_unit_test(an_issuer_is_its_key),
        cmocka_unit_test(issuers_may_charge_others),
        cmocka_unit_test(nobody_else_signs),
        cmocka_unit_test(a_changed_byte_is_seen),
        cmocka_unit_test(every_prefix_fails),
        cmocka_unit_test(no_bytes_follow),
        cmocka_unit_test(an_error_is_no_response),
        cmocka_unit_test(length_has_a_bound),
        cmocka_unit_test(text_is_read_as_well),
        cmocka_unit_test(clients_get_the_one_of_their_certificate),
        cmocka_unit_test(without_one_nothing_is_said),
        cmocka_unit_test(out_of_its_term_it_is_not_sent),
        cmocka_unit_test(a_context_tells_what_it_shows),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(cases, setup, teardown);
}
