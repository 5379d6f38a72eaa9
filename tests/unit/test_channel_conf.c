/* tls/channel_conf: the files of a channel's identity, whole or with a complaint about each. */
#include "unit.h"

#include "base/err.h"
#include "pki.h"
#include "tls/channel_conf.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPTION(member)                                                                            \
    {                                                                                             \
        .name = #member, .type = FK_CONF_PATH, .offset = offsetof(struct fk_channel_conf, member) \
    }

static const struct fk_conf_option options[] = {
    OPTION(certificate), OPTION(key), OPTION(ca), OPTION(crl), {.name = NULL}};
static const struct fk_conf_kind root_kind = {
    .name = "root", .size = sizeof(struct fk_channel_conf), .options = options};

/* A directory with a good identity, the working directory while a case runs. */
struct fixture {
    char scratch[64], home[4096];
    struct fk_bundle *bundle;
    struct fk_conf *conf;
    struct fk_channel_conf *channel;
};

static void put(const char *path, char *text, mode_t mode)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, mode), 0);
    free(text);
}

static void put_identity(void)
{
    EVP_PKEY *ca_key = pki_key_slot("P-256", 0), *key = pki_key_slot("P-256", 1);
    X509 *ca = pki_issue(&(struct pki_cert){.subject = "/CN=ca", .key = ca_key, .ca = true});
    X509 *leaf = pki_issue(&(struct pki_cert){.subject = "/CN=leaf",
                                              .key = key,
                                              .issuer = ca,
                                              .issuer_key = ca_key,
                                              .san = "URI:farkey:edge:edge1",
                                              .serial = 2});
    X509_CRL *crl = pki_crl(ca, ca_key, (const long[]){9, 0}, 3600);

    put("crt", pki_pem_cert(&leaf, 1), 0644);
    put("key", pki_pem_key(key), 0600);
    put("ca", pki_pem_cert(&ca, 1), 0644);
    put("crl", pki_pem_crl(crl), 0644);
    put("conf", strdup("\ncertificate = crt\nkey = key\nca = ca\ncrl = crl\n"), 0644);
    X509_CRL_free(crl);
    X509_free(leaf);
    X509_free(ca);
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);

    assert_non_null(fixture);
    assert_non_null(getcwd(fixture->home, sizeof fixture->home));
    snprintf(fixture->scratch, sizeof fixture->scratch, "/tmp/farkey-test-XXXXXX");
    assert_non_null(mkdtemp(fixture->scratch));
    assert_int_equal(chdir(fixture->scratch), 0);
    put_identity();
    assert_ok(fk_bundle_new(&fixture->bundle));
    assert_ok(fk_conf_load(&root_kind, "conf", fixture->bundle, &fixture->conf));
    fixture->channel = fk_conf_root(fixture->conf);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    static const char *const names[] = {"crt", "key", "ca", "crl", "conf"};
    struct fixture *fixture = *state;

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        (void)remove(names[i]);
    assert_int_equal(chdir(fixture->home), 0);
    assert_int_equal(rmdir(fixture->scratch), 0);
    fk_conf_free(fixture->conf);
    fk_bundle_free(fixture->bundle);
    free(fixture);
    return 0;
}

static void check(struct fixture *fixture)
{
    fk_channel_conf_check(fixture->channel, fixture->bundle, fixture->conf, false, false);
}

/* Complaint `i`: "conf:LINE: channel: OPTION DIRECTORY/FILE: TEXT". */
static void assert_complaint(const struct fixture *fixture, size_t i, const char *line,
                             const char *file, int err)
{
    char expected[256];

    snprintf(expected, sizeof expected, "conf:%s %s/%s: %s", line, fixture->scratch, file,
             fk_err_text(err));
    assert_string_equal(fk_conf_error(fixture->conf, i), expected);
}

static void a_good_identity_is_read_whole(void **state)
{
    struct fixture *fixture = *state;
    struct fk_channel_identity id;
    SSL_CTX *ctx;

    check(fixture);
    assert_int_equal(fk_conf_error_count(fixture->conf), 0);
    assert_ok(fk_channel_conf_read(fixture->channel, fixture->bundle, &id));
    assert_non_null(id.crl);
    assert_ok(fk_channel_ctx_new(&id, false, false, &ctx));
    SSL_CTX_free(ctx);
}

static void a_revocation_list_may_be_absent(void **state)
{
    struct fixture *fixture = *state;
    struct fk_channel_identity id;

    fixture->channel->crl = NULL;
    check(fixture);
    assert_int_equal(fk_conf_error_count(fixture->conf), 0);
    assert_ok(fk_channel_conf_read(fixture->channel, fixture->bundle, &id));
    assert_null(id.crl);
    assert_int_equal(id.crl_len, 0);
}

/* The files as they are now into a bundle over a memfd, as a master has it. */
static bool renew(struct fixture *fixture)
{
    bool changed = true;

    assert_ok(fk_channel_conf_renew(fixture->channel, fixture->bundle, fixture->conf, &changed));
    return changed;
}

static void freeze(struct fixture *fixture)
{
    int fd;

    check(fixture);
    assert_ok(fk_bundle_seal(fixture->bundle, &fd));
    fk_bundle_free(fixture->bundle);
    assert_ok(fk_bundle_open(fd, &fixture->bundle));
    (void)close(fd);
}

static void a_new_file_is_taken_up(void **state)
{
    struct fixture *fixture = *state;
    struct fk_channel_identity id;

    freeze(fixture);
    assert_false(renew(fixture));
    put("crl", strdup("another"), 0644);
    assert_true(renew(fixture));
    assert_false(renew(fixture));
    assert_ok(fk_channel_conf_read(fixture->channel, fixture->bundle, &id));
    assert_memory_equal(id.crl, "another", id.crl_len);
    assert_int_equal(fk_conf_error_count(fixture->conf), 0);
}

static void a_file_that_cannot_be_read_is_not_taken_up(void **state)
{
    struct fixture *fixture = *state;
    struct fk_channel_identity id;

    freeze(fixture);
    assert_int_equal(chmod("key", 0644), 0);
    assert_int_equal(remove("ca"), 0);
    assert_false(renew(fixture));
    assert_int_equal(fk_conf_error_count(fixture->conf), 2);
    assert_complaint(fixture, 0, "3: channel: key", "key", FK_ERR_EXPOSED);
    assert_complaint(fixture, 1, "4: channel: ca", "ca", FK_ERR_NOT_FOUND);
    assert_ok(fk_channel_conf_read(fixture->channel, fixture->bundle, &id));
}

static void each_missing_file_is_named(void **state)
{
    struct fixture *fixture = *state;
    struct fk_channel_identity id = {.ca_len = 77};

    assert_int_equal(remove("ca"), 0);
    assert_int_equal(remove("crl"), 0);
    check(fixture);
    assert_int_equal(fk_conf_error_count(fixture->conf), 2);
    assert_complaint(fixture, 0, "4: channel: ca", "ca", FK_ERR_NOT_FOUND);
    assert_complaint(fixture, 1, "5: channel: crl", "crl", FK_ERR_NOT_FOUND);
    assert_err(fk_channel_conf_read(fixture->channel, fixture->bundle, &id), FK_ERR_NOT_FOUND);
    assert_int_equal(id.ca_len, 77); /* untouched */
}

static void a_key_open_to_others_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct fk_channel_identity id;

    assert_int_equal(chmod("key", 0644), 0);
    check(fixture);
    assert_int_equal(fk_conf_error_count(fixture->conf), 1);
    assert_complaint(fixture, 0, "3: channel: key", "key", FK_ERR_EXPOSED);
    assert_err(fk_channel_conf_read(fixture->channel, fixture->bundle, &id), FK_ERR_EXPOSED);
}

static void files_that_do_not_fit_each_other_are_refused(void **state)
{
    struct fixture *fixture = *state;

    put("key", pki_pem_key(pki_key_slot("P-256", 2)), 0600);
    check(fixture);
    assert_int_equal(fk_conf_error_count(fixture->conf), 1);
    assert_complaint(fixture, 0, "3: channel: key", "key", FK_ERR_MISMATCH);
}

/* One that cannot be read, and two that are not what they should be. */
static void each_bad_file_is_named(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(remove("crt"), 0);
    put("ca", strdup("no certificate"), 0644);
    put("crl", strdup("no list"), 0644);
    check(fixture);
    assert_int_equal(fk_conf_error_count(fixture->conf), 3);
    assert_complaint(fixture, 0, "2: channel: certificate", "crt", FK_ERR_NOT_FOUND);
    assert_complaint(fixture, 1, "4: channel: ca", "ca", FK_ERR_FORMAT);
    assert_complaint(fixture, 2, "5: channel: crl", "crl", FK_ERR_FORMAT);
}

/* What was complained of before is not judged again. */
static void a_bad_option_is_passed_over(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(remove("ca"), 0);
    fk_conf_blame(fixture->conf, &fixture->channel->block, "ca", "a mistake");
    put("key", strdup("no key"), 0600);
    check(fixture);
    assert_int_equal(fk_conf_error_count(fixture->conf), 2);
    assert_complaint(fixture, 0, "3: channel: key", "key", FK_ERR_FORMAT);
    assert_string_equal(fk_conf_error(fixture->conf, 1), "conf:4: a mistake");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

UNIT_MAIN(CASE(a_good_identity_is_read_whole), CASE(a_revocation_list_may_be_absent),
          CASE(a_new_file_is_taken_up), CASE(a_file_that_cannot_be_read_is_not_taken_up),
          CASE(each_missing_file_is_named), CASE(a_key_open_to_others_is_refused),
          CASE(files_that_do_not_fit_each_other_are_refused), CASE(each_bad_file_is_named),
          CASE(a_bad_option_is_passed_over))
