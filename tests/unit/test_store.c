/* keyd/store: key directories are read whole, and refused whole with the name of the bad file. */
#include "unit.h"

#include "base/err.h"
#include "base/log.h"
#include "failmalloc.h"
#include "keyd/store_priv.h"
#include "pki.h"

#include <dirent.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];
static char said[2048]; /* "path: what\n" of each complaint */

static void put(const char *name, const void *data, size_t len)
{
    char path[256];
    int fd;

    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), len);
    (void)close(fd);
}

static void put_text(const char *name, const char *text)
{
    put(name, text, strlen(text));
}

static void put_key(const char *name, const char *type, unsigned slot)
{
    char file[128], *pem = pki_pem_key(pki_key_slot(type, slot));

    (void)snprintf(file, sizeof file, "%s.key", name);
    put_text(file, pem);
    free(pem);
}

static void put_cert(const char *name, const char *type, unsigned slot, const char *san,
                     long not_after)
{
    struct pki_cert spec = {.subject = name,
                            .key = pki_key_slot(type, slot),
                            .san = san,
                            .serial = 7,
                            .not_before = not_after != 0 ? -100000 : 0,
                            .not_after = not_after};
    X509 *cert = pki_issue(&spec);
    char file[128], *pem = pki_pem_cert(&cert, 1);

    (void)snprintf(file, sizeof file, "%s.crt", name);
    put_text(file, pem);
    free(pem);
    X509_free(cert);
}

static int setup(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/test_store_XXXXXX");
    said[0] = '\0';
    fk_log_threshold(FK_LOG_ERROR);
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    struct dirent *entry;
    DIR *dir = opendir(folder);
    char path[512];

    (void)state;
    while ((entry = readdir(dir)) != NULL) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        (void)unlink(path);
    }
    (void)closedir(dir);
    return rmdir(folder);
}

static void complain(void *arg, const char *path, const char *what)
{
    size_t used = strlen(said);

    (void)arg;
    (void)snprintf(said + used, sizeof said - used, "%s: %s\n", path, what);
}

/* Load the folder under test with the given passphrase file and time of retirement. */
static int load_with(const char *passphrase, uint64_t retire_us, const struct fk_store *previous,
                     struct fk_store **ret)
{
    static const uint8_t audit[32] = {1, 2, 3};
    char file[] = "/x/keyd.conf", path[256];
    struct fk_keyd_keys_conf keys = {.block = {.title = folder, .where = {.file = file}}};
    struct fk_keyd_limits_conf limits = {.retire = retire_us};
    struct fk_keyd_conf conf = {.keys = &keys.block, .limits = &limits.block};

    if (passphrase != NULL) {
        put_text("passphrase", passphrase);
        (void)snprintf(path, sizeof path, "%s/passphrase", folder);
        keys.passphrase_file = path;
    }
    return fk_store_load(&conf, audit, previous, complain, NULL, ret);
}

static int load(struct fk_store **ret)
{
    return load_with(NULL, 1000000, NULL, ret);
}

static void assert_refused(const char *file, const char *what)
{
    struct fk_store *store = NULL;

    assert_err(load(&store), FK_ERR_CONF);
    assert_null(store);
    if (strstr(said, file) == NULL || strstr(said, what) == NULL)
        fail_msg("said \"%s\" and not \"%s: %s\"", said, file, what);
}

static const struct fk_index_key *find(const struct fk_store *store, const char *name)
{
    const struct fk_index_key *key;
    int64_t end;

    for (size_t i = 0; (key = fk_store_at(store, i, &end)) != NULL; i++)
        if (strcmp(key->public.name, name) == 0 && !key->retired)
            return key;
    return NULL;
}

static void every_type_is_served(void **state)
{
    static const char *const types[] = {"RSA", "P-256", "P-384", "P-521", "ED25519"};
    struct fk_keyset *keyset;
    struct fk_index *index;
    struct fk_store *store;
    const uint8_t *data;
    size_t len;

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        put_key(types[i], types[i], 0);
        put_cert(types[i], types[i], 0, "DNS:a.example", 0);
    }
    assert_ok(load(&store));
    assert_int_equal(fk_store_count(store), 5);
    assert_ok(fk_keyset_open(fk_store_keys_fd(store), &keyset));
    assert_int_equal(fk_keyset_count(keyset), 5);
    assert_int_equal(fk_keyset_audit(keyset)[2], 3);
    data = fk_store_index(store, &len);
    assert_ok(fk_index_load(data, len, &index));
    for (size_t i = 0; i < 5; i++) {
        const struct fk_index_key *key = fk_index_at(index, i);

        assert_non_null(fk_keyset_find(keyset, key->public.ski));
        assert_int_equal(fk_keyset_find(keyset, key->public.ski)->public.permissions,
                         FK_PERM_SIGN13 | FK_PERM_SIGN12);
        assert_true(key->chain_len > 0);
    }
    fk_index_free(index);
    fk_keyset_free(keyset);
    fk_store_free(store);
}

static void names_come_from_file_certificate_and_policy(void **state)
{
    struct fk_store *store;
    const struct fk_index_key *key;
    int64_t not_after;

    (void)state;
    put_key("Shop", "P-256", 0);
    put_cert("Shop", "P-256", 0, "DNS:Shop.Example,DNS:*.shop.example,IP:10.1.2.3", 0);
    put_text("Shop.policy", "allow = {sign, client}\nnames = {\"alias\", \"shop\"}\n"
                            "addresses = {\"192.0.2.1\", \"2001:db8::1\"}\n");
    assert_ok(load(&store));
    key = fk_store_at(store, 0, &not_after);
    assert_string_equal(key->public.name, "Shop");
    assert_int_equal(key->n_names, 4);
    assert_string_equal(key->names[0], "shop");
    assert_string_equal(key->names[1], "alias");
    assert_string_equal(key->names[2], "shop.example");
    assert_string_equal(key->names[3], "*.shop.example");
    assert_int_equal(key->n_addresses, 3);
    assert_int_equal(key->addresses[0].len, 4);
    assert_int_equal(key->addresses[1].len, 16);
    assert_int_equal(key->public.permissions, FK_PERM_SIGN13 | FK_PERM_SIGN12 | FK_PERM_CLIENT);
    assert_true(not_after > 0);
    fk_store_free(store);
}

static void key_alone_is_enough(void **state)
{
    struct fk_store *store;
    int64_t not_after;

    (void)state;
    put_key("plain", "RSA", 0);
    assert_ok(load(&store));
    assert_int_equal(fk_store_at(store, 0, &not_after)->chain_len, 0);
    assert_int_equal(not_after, 0);
    fk_store_free(store);
}

static void empty_directory_is_no_error(void **state)
{
    struct fk_store *store;

    (void)state;
    assert_ok(load(&store));
    assert_int_equal(fk_store_count(store), 0);
    fk_store_free(store);
}

static void expired_certificate_is_served(void **state)
{
    struct fk_store *store;

    (void)state;
    put_key("old", "P-256", 0);
    put_cert("old", "P-256", 0, "DNS:old.example", -1000);
    assert_ok(load(&store));
    fk_store_free(store);
}

static void bad_key_is_named(void **state)
{
    (void)state;
    put_key("good", "P-256", 0);
    put_text("bad.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    assert_refused("bad.key", "not a private key");
}

static void empty_key_is_named(void **state)
{
    (void)state;
    put_text("empty.key", "");
    assert_refused("empty.key", "not a regular file");
}

/* A secret of another user, or one that others may reach, is as good as lost: not served. */
static void exposed_files_are_named(void **state)
{
    static const mode_t modes[] = {0604, 0602, 0601, 0620, 0610, 0644};
    struct fk_store *store;
    char path[160];

    (void)state;
    put_key("site", "P-256", 0);
    (void)snprintf(path, sizeof path, "%s/site.key", folder);
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        assert_int_equal(chmod(path, modes[i]), 0);
        assert_refused("site.key", "chmod 600 it");
    }
    assert_int_equal(chmod(path, 0640), 0); /* the group may read */
    assert_ok(load(&store));
    fk_store_free(store);
    if (geteuid() == 0) {
        assert_int_equal(chown(path, 12345, 0), 0);
        assert_refused("site.key", "owner root or this user");
    }
}

static void directory_open_to_all_is_named(void **state)
{
    struct fk_store *store;

    (void)state;
    put_key("site", "P-256", 0);
    assert_int_equal(chmod(folder, 0777), 0);
    assert_refused(strrchr(folder, '/') + 1, "every user may write");
    assert_int_equal(chmod(folder, 01777), 0);
    assert_ok(load(&store));
    fk_store_free(store);
}

static void foreign_certificate_is_named(void **state)
{
    (void)state;
    put_key("mine", "P-256", 0);
    put_cert("mine", "P-256", 1, "DNS:mine.example", 0);
    assert_refused("mine.crt", "not that of the key beside it");
}

static void text_as_certificate_is_named(void **state)
{
    (void)state;
    put_key("mine", "P-256", 0);
    put_text("mine.crt", "hello\n");
    assert_refused("mine.crt", "not certificates in PEM");
}

static void certificate_cut_short_is_named(void **state)
{
    X509 *cert;
    char *pem;
    struct pki_cert spec = {.subject = "cut", .key = pki_key_slot("P-256", 0), .serial = 1};

    (void)state;
    cert = pki_issue(&spec);
    pem = pki_pem_cert(&cert, 1);
    put_key("cut", "P-256", 0);
    put("cut.crt", pem, strlen(pem) / 2);
    free(pem);
    X509_free(cert);
    assert_refused("cut.crt", "not certificates in PEM");
}

static void bad_policy_is_named_with_its_line(void **state)
{
    (void)state;
    put_key("k", "P-256", 0);
    put_text("k.policy", "allow = {sign}\nnames = 5 x\n");
    assert_refused("k.policy", "k.policy:2");
}

static void range_as_address_is_named(void **state)
{
    (void)state;
    put_key("k", "P-256", 0);
    put_text("k.policy", "addresses = {\"10.0.0.0/8\"}\n");
    assert_refused("k.policy", "write single addresses");
}

static void same_key_twice_is_named(void **state)
{
    (void)state;
    put_key("one", "P-256", 0);
    put_key("two", "P-256", 0);
    assert_refused("two.key", "the same key as that of one");
}

static void all_bad_files_are_named_at_once(void **state)
{
    (void)state;
    put_text("a.key", "x");
    put_text("b.key", "y");
    assert_refused("a.key", "not a private key");
    assert_non_null(strstr(said, "b.key"));
}

static void long_name_is_named(void **state)
{
    char name[80];

    (void)state;
    memset(name, 'n', 64);
    name[64] = '\0';
    put_key(name, "P-256", 0);
    assert_refused(name, "name too long");
}

static void missing_directory_is_named(void **state)
{
    struct fk_keyd_keys_conf keys = {.block = {.title = folder}};
    struct fk_keyd_conf conf = {.keys = &keys.block};
    struct fk_store *store = NULL;
    char title[] = "/nonexistent/keys", file[] = "x";

    (void)state;
    keys.block.title = title;
    keys.block.where.file = file;
    assert_err(fk_store_load(&conf, NULL, NULL, complain, NULL, &store), FK_ERR_CONF);
    assert_non_null(strstr(said, "/nonexistent/keys: No such file"));
}

static void put_encrypted(const char *file, const char *passphrase)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *data;
    long len;

    assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, pki_key("P-256"), EVP_aes_256_cbc(),
                                                   passphrase, (int)strlen(passphrase), NULL, NULL),
                     1);
    len = BIO_get_mem_data(bio, &data);
    put(file, data, (size_t)len);
    BIO_free(bio);
}

static void passphrase_opens_encrypted_keys(void **state)
{
    struct fk_store *store = NULL;

    (void)state;
    put_encrypted("locked.key", "open sesame");
    assert_err(load(&store), FK_ERR_CONF);
    assert_non_null(strstr(said, "locked.key: encrypted"));
    assert_err(load_with("wrong\n", 0, NULL, &store), FK_ERR_CONF);
    assert_ok(load_with("open sesame\n", 0, NULL, &store));
    fk_store_free(store);
}

/* The private half of a replaced key comes from the set before: its file is gone. */
static void replaced_key_is_retired_then_gone(void **state)
{
    struct fk_store *first, *second, *third;
    struct fk_keyset *keyset;
    uint8_t old[20];

    (void)state;
    put_key("k", "P-256", 0);
    put_text("k.policy", "allow = {sign, client}\nnames = {\"site\"}\n");
    assert_ok(load(&first));
    memcpy(old, find(first, "k")->public.ski, 20);
    assert_int_equal(fk_store_next_retirement(first), 0);

    put_key("k", "P-256", 1);
    put_text("k.policy", "names = {\"site\"}\n");
    assert_ok(load_with(NULL, 50000, first, &second));
    assert_int_equal(fk_store_count(second), 2);
    assert_true(fk_store_next_retirement(second) > 0);
    assert_memory_not_equal(find(second, "k")->public.ski, old, 20);
    assert_ok(fk_keyset_open(fk_store_keys_fd(second), &keyset));
    assert_non_null(fk_keyset_find(keyset, old));
    /* A right that the new policy takes away is taken from the old key, too. */
    assert_int_equal(fk_keyset_find(keyset, old)->public.permissions,
                     FK_PERM_SIGN13 | FK_PERM_SIGN12);
    fk_keyset_free(keyset);

    while (fk_store_next_retirement(second) > 0) { /* until its time is over */
        assert_ok(load_with(NULL, 50000, second, &third));
        fk_store_free(second);
        second = third;
    }
    assert_int_equal(fk_store_count(second), 1);
    fk_store_free(first);
    fk_store_free(second);
}

static void removed_key_is_gone_at_once(void **state)
{
    struct fk_store *first, *second;
    char path[128];

    (void)state;
    put_key("k", "P-256", 0);
    assert_ok(load(&first));
    (void)snprintf(path, sizeof path, "%s/k.key", folder);
    assert_int_equal(unlink(path), 0);
    assert_ok(load_with(NULL, 60000000, first, &second));
    assert_int_equal(fk_store_count(second), 0);
    fk_store_free(first);
    fk_store_free(second);
}

static void key_put_back_is_not_retired(void **state)
{
    struct fk_store *first, *second, *third;

    (void)state;
    put_key("k", "P-256", 0);
    assert_ok(load(&first));
    put_key("k", "P-256", 1);
    assert_ok(load_with(NULL, 60000000, first, &second));
    put_key("k", "P-256", 0);
    assert_ok(load_with(NULL, 60000000, second, &third));
    assert_int_equal(fk_store_count(third), 2);
    assert_memory_equal(find(third, "k")->public.ski, find(first, "k")->public.ski, 20);
    fk_store_free(first);
    fk_store_free(second);
    fk_store_free(third);
}

/* --- without memory --- */

/* Where allocations fail of a load that forks: on one side only, so that each side is seen. */
static enum { SIDE_MASTER, SIDE_READER } failing_side;

static void after_fork_in_master(void)
{
    if (failing_side == SIDE_READER)
        (void)failmalloc_disarm();
}

static void after_fork_in_reader(void)
{
    if (failing_side == SIDE_MASTER)
        (void)failmalloc_disarm();
}

/* The lowest descriptor that is free: the same again when none was leaked. */
static int free_descriptor(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    (void)close(fd);
    return fd;
}

struct reload {
    struct fk_keyd_conf conf;
    struct fk_keyd_keys_conf keys;
    struct fk_keyd_limits_conf limits;
    const struct fk_store *previous;
    int (*load)(const struct fk_keyd_conf *conf, const uint8_t *audit_secret,
                const struct fk_store *previous, fk_store_complain *complain, void *arg,
                struct fk_store **ret);
};

static int load_again(void *context)
{
    static const uint8_t audit[32] = {1, 2, 3};
    const struct reload *reload = context;
    struct fk_store *store = NULL;
    int fd = free_descriptor(), err;

    said[0] = '\0';
    err = reload->load(&reload->conf, audit, reload->previous, complain, NULL, &store);
    assert_string_equal(said, ""); /* no file is to blame */
    if (err != FK_OK) {
        assert_null(store);
    } else {
        assert_int_equal(fk_store_count(store), 3); /* one of them is retired */
        assert_int_equal(find(store, "site")->n_names, 3);
        assert_true(find(store, "site")->chain_len > 0);
    }
    fk_store_free(store);
    assert_int_equal(free_descriptor(), fd);
    return err;
}

/* A store with everything in it that needs memory, and the one before it. */
static struct fk_store *prepare_reload(struct reload *reload)
{
    static char passphrase[128], file[] = "/x/keyd.conf";
    struct fk_store *previous;

    put_key("site", "P-384", 0);
    assert_ok(load(&previous));
    put_key("site", "P-256", 1);
    put_cert("site", "P-256", 1, "DNS:site.example,IP:10.1.2.3", 0);
    put_text("site.policy", "names = {\"alias\"}\naddresses = {\"192.0.2.1\"}\n");
    put_encrypted("locked.key", "open sesame");
    put_text("passphrase", "open sesame\n");
    (void)snprintf(passphrase, sizeof passphrase, "%s/passphrase", folder);
    *reload = (struct reload){
        .keys = {.block = {.title = folder, .where = {.file = file}},
                 .passphrase_file = passphrase},
        .limits = {.retire = 600000000},
        .previous = previous,
    };
    reload->conf.keys = &reload->keys.block;
    reload->conf.limits = &reload->limits.block;
    return previous;
}

static void every_failed_allocation_is_told(void **state)
{
    struct reload reload;
    struct fk_store *previous = prepare_reload(&reload);
    size_t in_reader;

    (void)state;
    reload.load = fk_store_read;
    assert_ok(load_again(&reload)); /* starts OpenSSL's secure heap, once */
    in_reader = failmalloc_try(load_again, &reload);
    assert_true(in_reader >= 30);

    assert_int_equal(pthread_atfork(NULL, after_fork_in_master, after_fork_in_reader), 0);
    reload.load = fk_store_load;
    failing_side = SIDE_MASTER;
    assert_true(failmalloc_try(load_again, &reload) >= 10);

    /* What fails in the reader is told by its master, to the last allocation. */
    failing_side = SIDE_READER;
    for (size_t n = 1;; n++) {
        int err;

        failmalloc_arm(n);
        err = load_again(&reload);
        (void)failmalloc_disarm();
        if (err == FK_OK) {
            assert_true(n > in_reader + 4); /* its answer is allocated, too */
            break;
        }
        assert_err(err, FK_ERR_NOMEM);
    }
    fk_store_free(previous);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(CASE(every_type_is_served), CASE(names_come_from_file_certificate_and_policy),
          CASE(key_alone_is_enough), CASE(empty_directory_is_no_error),
          CASE(expired_certificate_is_served), CASE(bad_key_is_named), CASE(empty_key_is_named),
          CASE(exposed_files_are_named), CASE(directory_open_to_all_is_named),
          CASE(foreign_certificate_is_named), CASE(text_as_certificate_is_named),
          CASE(certificate_cut_short_is_named), CASE(bad_policy_is_named_with_its_line),
          CASE(range_as_address_is_named), CASE(same_key_twice_is_named),
          CASE(all_bad_files_are_named_at_once), CASE(long_name_is_named),
          CASE(missing_directory_is_named), CASE(passphrase_opens_encrypted_keys),
          CASE(replaced_key_is_retired_then_gone), CASE(removed_key_is_gone_at_once),
          CASE(key_put_back_is_not_retired), CASE(every_failed_allocation_is_told))
