/* http/certrelay, and http/forward with what it says: requests with a client's certificate. */
#include "unit.h"
#include "pki.h"

#include "base/err.h"
#include "base/limits.h"
#include "failmalloc.h"
#include "http/certrelay.h"
#include "http/h1req.h"
#include "http/text.h"

#include <stdio.h>

#define SIZE 16384

static X509 *root, *leaf;
static STACK_OF(X509) * above;
static struct fk_http_forward forward;
static struct fk_http_client client;
static enum fk_http_fault fault;
static struct fk_h1req req;

static int make_certificates(void **state)
{
    (void)state;
    root = pki_issue(
        &(struct pki_cert){.subject = "Root", .key = pki_key("P-256"), .ca = true, .serial = 1});
    leaf = pki_issue(&(struct pki_cert){.subject = "alice",
                                        .key = pki_key_slot("P-256", 1),
                                        .issuer = root,
                                        .issuer_key = pki_key("P-256"),
                                        .san = "DNS:a.example,URI:spiffe://example/a",
                                        .serial = 0x1234});
    above = sk_X509_new_null();
    sk_X509_push(above, root);
    return 0;
}

static int free_certificates(void **state)
{
    (void)state;
    sk_X509_free(above);
    X509_free(leaf);
    X509_free(root);
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    forward = (struct fk_http_forward){.via = "farkey"};
    client = (struct fk_http_client){.tls = true};
    fk_h1req_init(&req, &fk_http_limits_default);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fk_h1req_fini(&req);
    return 0;
}

static struct fk_certrelay *make(const struct fk_certrelay_conf *conf)
{
    struct fk_certrelay *relay;

    assert_null(fk_certrelay_fault(conf));
    assert_ok(fk_certrelay_new(conf, 1, SIZE, &relay));
    return relay;
}

/* What is said of the leaf, or of nobody. */
static struct fk_http_identity *say(const struct fk_certrelay *relay, bool shown, bool trusted)
{
    const struct fk_certtext_of of = {.leaf = leaf, .above = above};
    struct fk_http_identity *identity;

    assert_ok(fk_certrelay_say(relay, shown ? &of : NULL, trusted, &identity));
    return identity;
}

static int pass(const char *fields)
{
    struct fk_http_event event;
    char text[4096];
    size_t used;

    fk_h1req_fini(&req);
    fk_h1req_init(&req, &fk_http_limits_default);
    snprintf(text, sizeof text, "GET /admin HTTP/1.1\r\nHost: a.example\r\n%s\r\n", fields);
    assert_ok(fk_h1req_next(&req, text, strlen(text), &used, &event));
    return fk_http_forward_request(&req.request, &forward, &client, &fault);
}

/* The only value of a field in the request that was passed; NULL: there is none. */
static const char *got(const char *name)
{
    static char text[SIZE];
    struct fk_reader value;

    assert_true(fk_http_headers_count(&req.request.headers, name) <= 1);
    if (fk_http_headers_find(&req.request.headers, name, &value) != FK_OK)
        return NULL;
    snprintf(text, sizeof text, "%.*s", (int)value.left, value.next);
    return text;
}

static void each_format_has_its_fields(void **state)
{
    static const struct {
        struct fk_certrelay_conf conf;
        const char *fields[12];
        const char *begins[12];
    } rows[] = {
        {{.format = FK_CERTRELAY_RFC9440}, {"Client-Cert"}, {":MII"}},
        {{.format = FK_CERTRELAY_RFC9440, .name = "X-C"}, {"X-C"}, {":MII"}},
        {{.format = FK_CERTRELAY_COOKIE}, {"Cookie"}, {"CERT=MII"}},
        {{.format = FK_CERTRELAY_COOKIE, .name = "%CERT", .pem_spaces = true},
         {"Cookie"},
         {"%CERT=-----BEGIN CERTIFICATE----- MII"}},
        {{.format = FK_CERTRELAY_XFCC}, {"X-Forwarded-Client-Cert"}, {"Hash="}},
        {{.format = FK_CERTRELAY_NGINX},
         {"X-SSL-Client-Verify", "X-SSL-Client-Cert", "X-SSL-Client-S-DN", "X-SSL-Client-I-DN",
          "X-SSL-Client-Serial"},
         {"SUCCESS", "-----BEGIN%20CERTIFICATE-----%0A", "CN=alice", "CN=Root", "1234"}},
        {{.format = FK_CERTRELAY_HAPROXY},
         {"X-SSL-Client-Verify", "X-SSL-Client-DN", "X-SSL-Client-CN", "X-SSL-Issuer",
          "X-SSL-Client-DER"},
         {"0", "CN=alice", "alice", "CN=Root", "MII"}},
        {{.format = FK_CERTRELAY_TRAEFIK},
         {"X-Forwarded-Tls-Client-Cert", "X-Forwarded-Tls-Client-Cert-Info"},
         {"MII", "Subject%3D%22CN%3Dalice%22%3BIssuer%3D%22CN%3DRoot%22%3BNB%3D%22"}},
        {{.format = FK_CERTRELAY_ALB},
         {"X-Amzn-Mtls-Clientcert-Serial-Number", "X-Amzn-Mtls-Clientcert-Leaf"},
         {"1234", "-----BEGIN%20"}},
        {{.format = FK_CERTRELAY_CUSTOM,
          .name = "X-Me",
          .template_ = "<%{cn}> by %{issuer}; %{verify}%%{"},
         {NULL},
         {NULL}},
    };

    (void)state;
    for (size_t i = 0; i + 1 < sizeof rows / sizeof rows[0]; i++) {
        struct fk_certrelay *relay = make(&rows[i].conf);
        struct fk_http_identity *identity = say(relay, true, false);

        client.identity = identity;
        assert_ok(pass(""));
        for (size_t f = 0; rows[i].fields[f] != NULL; f++) {
            const char *value = got(rows[i].fields[f]);

            assert_non_null(value);
            assert_memory_equal(value, rows[i].begins[f], strlen(rows[i].begins[f]));
        }
        fk_certrelay_unsay(identity);
        fk_certrelay_free(relay);
    }
}

static void templates(void **state)
{
    struct fk_certrelay_conf conf = {.format = FK_CERTRELAY_CUSTOM,
                                     .name = "X-Me",
                                     .template_ = "<%{cn}> by %{issuer}; 100% %{verify}"};
    struct fk_certrelay *relay = make(&conf);
    struct fk_http_identity *identity = say(relay, true, false);

    (void)state;
    client.identity = identity;
    assert_ok(pass(""));
    assert_string_equal(got("X-Me"), "<alice> by CN=Root; 100% SUCCESS");
    fk_certrelay_unsay(identity);
    fk_certrelay_free(relay);
    conf.template_ = "%{cn";
    assert_non_null(strstr(fk_certrelay_fault(&conf), "without \"}\""));
    conf.template_ = "%{nothing}";
    assert_non_null(strstr(fk_certrelay_fault(&conf), "unknown field"));
    conf.template_ = "a\r\nb";
    assert_non_null(strstr(fk_certrelay_fault(&conf), "control characters"));
    conf.template_ = NULL;
    assert_non_null(fk_certrelay_fault(&conf));
    conf = (struct fk_certrelay_conf){.format = FK_CERTRELAY_NGINX, .template_ = "x"};
    assert_non_null(strstr(fk_certrelay_fault(&conf), "no template"));
    conf = (struct fk_certrelay_conf){.format = FK_CERTRELAY_NGINX, .name = "a b"};
    assert_non_null(strstr(fk_certrelay_fault(&conf), "none of a field"));
}

/* The seed's example: at the end of the header that is there, or in one that is made. */
static void the_cookie_as_it_was_first_written(void **state)
{
    const struct fk_certrelay_conf conf = {
        .format = FK_CERTRELAY_COOKIE, .name = "%CERT", .pem_spaces = true};
    struct fk_certrelay *relay = make(&conf);
    struct fk_http_identity *identity = say(relay, true, false);
    const char *cookies[] = {fk_certrelay_cookie(relay, 0)};
    const char *value;

    (void)state;
    forward.cookies = cookies;
    forward.n_cookies = 1;
    client.identity = identity;
    assert_ok(pass("Cookie: cookie1=value1; cookie2=value2\r\n"));
    value = got("Cookie");
    assert_memory_equal(value, "cookie1=value1; cookie2=value2; %CERT=-----BEGIN CERTIFICATE----- ",
                        66);
    assert_null(strpbrk(value + 36, ";,\r\n"));
    assert_string_equal(value + strlen(value) - 26, " -----END CERTIFICATE-----");
    assert_ok(pass("Cookie: %CERT=forged\r\nConnection: cookie\r\n"));
    assert_memory_equal(got("Cookie"), "%CERT=-----BEGIN", 16);
    fk_certrelay_unsay(identity);
    client.identity = identity = say(relay, false, false);
    assert_ok(pass("Cookie: %CERT=forged\r\n"));
    assert_null(got("Cookie"));
    fk_certrelay_unsay(identity);
    fk_certrelay_free(relay);
}

static void nobody_is_said_to_be_nobody(void **state)
{
    const struct fk_certrelay_conf conf = {.format = FK_CERTRELAY_NGINX};
    struct fk_certrelay *relay = make(&conf);
    struct fk_http_identity *identity = say(relay, false, false);

    (void)state;
    client.identity = identity;
    assert_ok(pass(""));
    assert_string_equal(got("X-SSL-Client-Verify"), "NONE");
    assert_null(got("X-SSL-Client-Cert"));
    fk_certrelay_unsay(identity);
    fk_certrelay_free(relay);
}

static void paths_need_a_certificate(void **state)
{
    static const char *const paths[] = {"/x", "/admin"};
    const struct fk_certrelay_conf conf = {.format = FK_CERTRELAY_RFC9440};
    struct fk_certrelay *relay = make(&conf);
    struct fk_http_identity *identity = say(relay, true, false);

    (void)state;
    forward.guarded = paths;
    forward.n_guarded = 2;
    client.identity = identity;
    assert_ok(pass(""));
    client.identity = NULL;
    assert_err(pass(""), FK_ERR_FORMAT);
    assert_int_equal(fault, FK_HTTP_FAULT_CERT_MISSING);
    forward.n_guarded = 1;
    assert_ok(pass(""));
    fk_certrelay_unsay(identity);
    fk_certrelay_free(relay);
}

static void too_large_is_said_and_nothing_else(void **state)
{
    const struct fk_certrelay_conf conf = {.format = FK_CERTRELAY_RFC9440};
    const struct fk_certtext_of of = {.leaf = leaf, .above = above};
    struct fk_http_identity *identity;
    struct fk_certrelay *relay;
    size_t least = 0;

    (void)state;
    for (size_t bytes = 0; least == 0; bytes++) {
        assert_ok(fk_certrelay_new(&conf, 1, bytes, &relay));
        assert_ok(fk_certrelay_say(relay, &of, false, &identity));
        client.identity = identity;
        if (identity->too_large) {
            assert_int_equal(identity->n_said, 0);
            assert_err(pass(""), FK_ERR_FORMAT);
            assert_int_equal(fault, FK_HTTP_FAULT_CERT_LARGE);
        } else {
            least = bytes;
            assert_ok(pass(""));
            assert_int_equal(identity->bytes, bytes);
        }
        fk_certrelay_unsay(identity);
        fk_certrelay_free(relay);
    }
    assert_true(least > 300);
}

static bool refuses_all(const void *arg, struct fk_reader host)
{
    assert_true(fk_http_equal(host, "a.example"));
    return arg != NULL;
}

static void other_hosts(void **state)
{
    (void)state;
    forward.foreign = refuses_all;
    assert_ok(pass(""));
    forward.foreign_arg = &forward;
    assert_err(pass(""), FK_ERR_FORMAT);
    assert_int_equal(fault, FK_HTTP_FAULT_MISDIRECTED);
}

/* --- xfcc of trusted proxies --- */

static void what_a_trusted_proxy_says(void **state)
{
    static const char theirs[] = "X-Forwarded-Client-Cert: By=a;Hash=b;Subject=\"CN=x,y\"\r\n";
    struct fk_certrelay_conf conf = {.format = FK_CERTRELAY_XFCC, .template_ = "Hash=ours"};
    const char *ours[] = {"X-Forwarded-Client-Cert"};

    (void)state;
    forward.ours = ours;
    forward.n_ours = 1;
    for (int way = 0; way < 6; way++) {
        struct fk_http_identity *identity;
        struct fk_certrelay *relay;

        conf.xfcc = (enum fk_certrelay_xfcc)(way / 2);
        relay = make(&conf);
        client.identity = identity = say(relay, true, way % 2 == 1);
        assert_ok(pass(theirs));
        if (way == 3)
            assert_string_equal(got(ours[0]), "By=a;Hash=b;Subject=\"CN=x,y\",Hash=ours");
        else if (way == 5)
            assert_string_equal(got(ours[0]), "By=a;Hash=b;Subject=\"CN=x,y\"");
        else
            assert_string_equal(got(ours[0]), "Hash=ours");
        assert_ok(pass("x_forwarded_client_cert: Hash=b\r\n"));
        if (way == 5)
            assert_null(got("x_forwarded_client_cert"));
        else
            assert_string_equal(got(ours[0]), "Hash=ours");
        if (way == 3 || way == 5) {
            assert_err(pass("X-Forwarded-Client-Cert: Hash=\"b\r\n"), FK_ERR_FORMAT);
            assert_int_equal(fault, FK_HTTP_FAULT_CERT_FIELD_BAD);
        }
        fk_certrelay_unsay(identity);
        fk_certrelay_free(relay);
    }
}

static void xfcc_is_well_formed_or_not(void **state)
{
    static const char *const good[] = {"Hash=a", "By=;Hash=a,URI=b", "Subject=\"a;b,c=\\\"d\"",
                                       "DNS=a;DNS=b, Hash=c", "cert=\"\""};
    static const char *const bad[] = {"",         "Hash",        "Hash=a,",    "Hash=a;",
                                      "X=a",      "Hash=\"a",    "Hash=\"a\\", "Hash=\"a\"b",
                                      "Hash=a=b", "Hash=a\"b\"", ",Hash=a"};

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(fk_certrelay_xfcc_ok(fk_http_text(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(fk_certrelay_xfcc_ok(fk_http_text(bad[i])));
}

/* --- names --- */

static void names_are_unique(void **state)
{
    const struct fk_certrelay_conf same[] = {{.format = FK_CERTRELAY_NGINX},
                                             {.format = FK_CERTRELAY_HAPROXY}};
    const struct fk_certrelay_conf alias[] = {
        {.format = FK_CERTRELAY_CUSTOM, .name = "a-b", .template_ = ""},
        {.format = FK_CERTRELAY_CUSTOM, .name = "A_B", .template_ = ""}};
    const struct fk_certrelay_conf kinds[] = {
        {.format = FK_CERTRELAY_CUSTOM, .name = "CERT", .template_ = ""},
        {.format = FK_CERTRELAY_COOKIE}};
    struct fk_certrelay *relay = NULL;

    (void)state;
    assert_err(fk_certrelay_new(same, 2, SIZE, &relay), FK_ERR_DUPLICATE);
    assert_err(fk_certrelay_new(alias, 2, SIZE, &relay), FK_ERR_DUPLICATE);
    assert_null(relay);
    assert_ok(fk_certrelay_new(kinds, 2, SIZE, &relay));
    assert_string_equal(fk_certrelay_field(relay, 0), "CERT");
    assert_null(fk_certrelay_field(relay, 1));
    assert_string_equal(fk_certrelay_cookie(relay, 0), "CERT");
    assert_null(fk_certrelay_cookie(relay, 1));
    fk_certrelay_free(relay);
}

/* Whatever a format says by its own names is known, also where it is not used. */
static void own_names_are_known(void **state)
{
    (void)state;
    for (int format = 0; format < FK_CERTRELAY_CUSTOM; format++) {
        struct fk_certrelay_conf conf = {.format = (enum fk_certrelay_format)format, .chain = true};
        struct fk_certrelay *relay = make(&conf);
        const char *name, *known;

        for (size_t i = 0; (name = fk_certrelay_field(relay, i)) != NULL; i++) {
            bool found = false;

            for (size_t k = 0; (known = fk_certrelay_known(k)) != NULL; k++)
                found = found || strcmp(known, name) == 0;
            assert_true(found);
        }
        fk_certrelay_free(relay);
    }
}

static void varying_answers_are_nobody_elses(void **state)
{
    const char *ours[] = {"Client-Cert"};
    struct fk_http_response response;
    struct fk_reader value;

    (void)state;
    forward.ours = ours;
    forward.n_ours = 1;
    fk_http_response_init(&response, &fk_http_limits_default);
    assert_ok(fk_http_headers_add_text(&response.headers, "Vary", "Accept, client-cert"));
    assert_ok(fk_http_forward_response(&response, &forward));
    assert_ok(fk_http_headers_find(&response.headers, "Vary", &value));
    assert_true(fk_http_equal(value, "*"));
    fk_http_response_reset(&response);
    assert_ok(fk_http_headers_add_text(&response.headers, "Vary", "Accept"));
    assert_ok(fk_http_forward_response(&response, &forward));
    assert_ok(fk_http_headers_find(&response.headers, "Vary", &value));
    assert_true(fk_http_equal(value, "Accept"));
    fk_http_response_fini(&response);
}

static int make_and_say(void *context)
{
    static const struct fk_certrelay_conf conf = {.format = FK_CERTRELAY_TRAEFIK};
    const struct fk_certtext_of of = {.leaf = leaf, .above = above};
    struct fk_http_identity *identity = NULL;
    struct fk_certrelay *relay = NULL;
    int err;

    (void)context;
    if ((err = fk_certrelay_new(&conf, 1, SIZE, &relay)) == FK_OK)
        err = fk_certrelay_say(relay, &of, false, &identity);
    fk_certrelay_unsay(identity);
    fk_certrelay_free(relay);
    return err;
}

static void without_memory(void **state)
{
    (void)state;
    assert_int_not_equal(failmalloc_try(make_and_say, NULL), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
    const struct CMUnitTest cases[] = {CASE(each_format_has_its_fields),
                                       CASE(templates),
                                       CASE(the_cookie_as_it_was_first_written),
                                       CASE(nobody_is_said_to_be_nobody),
                                       CASE(paths_need_a_certificate),
                                       CASE(too_large_is_said_and_nothing_else),
                                       CASE(other_hosts),
                                       CASE(what_a_trusted_proxy_says),
                                       CASE(xfcc_is_well_formed_or_not),
                                       CASE(names_are_unique),
                                       CASE(own_names_are_known),
                                       CASE(varying_answers_are_nobody_elses),
                                       CASE(without_memory)};

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(cases, make_certificates, free_certificates);
}
