/* conf/bundle: what was read is what children get, byte for byte, or nothing. */
#include "failmalloc.h"
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "conf/bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* A directory of its own for each test, the working directory while it runs. */
static char scratch[64];
static char home[4096];

static int enter_scratch(void **state)
{
    (void)state;
    assert_non_null(getcwd(home, sizeof home));
    snprintf(scratch, sizeof scratch, "/tmp/farkey-test-XXXXXX");
    assert_non_null(mkdtemp(scratch));
    assert_int_equal(chdir(scratch), 0);
    return 0;
}

static int leave_scratch(void **state)
{
    static const char *const names[] = {"a", "b", "c", "big", "pipe", "d/x.conf", "d/y.conf", "d"};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        (void)remove(names[i]);
    assert_int_equal(chdir(home), 0);
    assert_int_equal(rmdir(scratch), 0);
    return 0;
}

static void put_file(const char *path, const void *data, size_t len)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

static void assert_contents(struct fk_bundle *bundle, const char *path, const char *text)
{
    const uint8_t *data;
    size_t len;

    assert_ok(fk_bundle_read(bundle, path, &data, &len));
    assert_int_equal(len, strlen(text));
    assert_memory_equal(data, text, len + 1); /* a NUL follows */
}

static void assert_no_file(struct fk_bundle *bundle, const char *path)
{
    const uint8_t *data = (const uint8_t *)"untouched";
    size_t len = 77;

    assert_err(fk_bundle_read(bundle, path, &data, &len), FK_ERR_NOT_FOUND);
    assert_string_equal((const char *)data, "untouched");
    assert_int_equal(len, 77);
}

static struct fk_bundle *reopen(const struct fk_bundle *bundle)
{
    struct fk_bundle *sealed;
    int fd;

    assert_ok(fk_bundle_seal(bundle, &fd));
    assert_ok(fk_bundle_open(fd, &sealed));
    close(fd);
    return sealed;
}

static void files_are_frozen_when_first_read(void **state)
{
    struct fk_bundle *bundle;

    (void)state;
    assert_ok(fk_bundle_new(&bundle));
    put_file("a", "one", 3);
    assert_contents(bundle, "a", "one");
    put_file("a", "two!", 4);
    assert_contents(bundle, "a", "one");
    assert_int_equal(unlink("a"), 0);
    assert_contents(bundle, "a", "one");
    assert_no_file(bundle, "b");
    put_file("b", "late", 4);
    assert_no_file(bundle, "b");
    fk_bundle_free(bundle);
}

static void sealed_bundle_holds_files_globs_and_misses(void **state)
{
    struct fk_bundle *bundle, *sealed;
    const char *const *paths;
    const uint8_t *data;
    const char *path;
    size_t count, len;

    (void)state;
    put_file("a", "with\0nul", 8);
    put_file("b", "", 0);
    assert_int_equal(mkdir("d", 0700), 0);
    put_file("d/y.conf", "y", 1);
    put_file("d/x.conf", "x", 1);
    assert_ok(fk_bundle_new(&bundle));
    assert_ok(fk_bundle_read(bundle, "a", &data, &len));
    assert_contents(bundle, "b", "");
    assert_no_file(bundle, "c");
    assert_ok(fk_bundle_glob(bundle, "d/*.conf", &paths, &count));
    assert_int_equal(count, 2);
    assert_ok(fk_bundle_glob(bundle, "none/*", &paths, &count));
    assert_int_equal(count, 0);
    assert_ok(fk_bundle_add(bundle, "made up", "z", 1));

    sealed = reopen(bundle);
    fk_bundle_free(bundle);
    put_file("c", "late", 4);
    (void)remove("d/x.conf");
    assert_string_equal(fk_bundle_base(sealed), scratch);
    assert_ok(fk_bundle_read(sealed, "a", &data, &len));
    assert_int_equal(len, 8);
    assert_memory_equal(data, "with\0nul", 9);
    assert_contents(sealed, "b", "");
    assert_no_file(sealed, "c");
    assert_no_file(sealed, "d/y.conf"); /* on disk, yet never read */
    assert_contents(sealed, "made up", "z");
    assert_ok(fk_bundle_glob(sealed, "d/*.conf", &paths, &count));
    assert_int_equal(count, 2);
    assert_string_equal(paths[0], "d/x.conf");
    assert_string_equal(paths[1], "d/y.conf");
    assert_ok(fk_bundle_glob(sealed, "d/*", &paths, &count));
    assert_int_equal(count, 0);

    assert_ok(fk_bundle_at(sealed, 0, &path, &data, &len));
    assert_string_equal(path, "a");
    assert_ok(fk_bundle_at(sealed, 2, &path, &data, &len));
    assert_string_equal(path, "made up");
    assert_err(fk_bundle_at(sealed, 3, &path, &data, &len), FK_ERR_NOT_FOUND);
    fk_bundle_free(sealed);
}

static void sealed_descriptor_cannot_be_changed(void **state)
{
    struct fk_bundle *bundle;
    struct stat st;
    int fd;

    (void)state;
    assert_ok(fk_bundle_new(&bundle));
    assert_ok(fk_bundle_add(bundle, "x", "data", 4));
    assert_ok(fk_bundle_seal(bundle, &fd));
    fk_bundle_free(bundle);
    assert_int_equal(fcntl(fd, F_GET_SEALS),
                     F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(pwrite(fd, "y", 1, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(fd, 0), -1);
    assert_int_equal(ftruncate(fd, st.st_size + 1), -1);
    assert_ptr_equal(mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
    close(fd);
}

static void exposed_secret_is_refused(void **state)
{
    struct fk_bundle *bundle;
    const uint8_t *data;
    size_t len;

    (void)state;
    put_file("a", "KEYBYTES", 8);
    put_file("b", "KEYBYTES", 8);
    assert_int_equal(chmod("a", 0604), 0);
    assert_int_equal(chmod("b", 0640), 0);
    assert_ok(fk_bundle_new(&bundle));
    assert_err(fk_bundle_read_secret(bundle, "a", &data, &len), FK_ERR_EXPOSED);
    assert_int_equal(chmod("a", 0600), 0); /* judged by what it was when it was read */
    assert_err(fk_bundle_read_secret(bundle, "a", &data, &len), FK_ERR_EXPOSED);
    assert_ok(fk_bundle_read_secret(bundle, "b", &data, &len));
    assert_int_equal(len, 8);
    assert_err(fk_bundle_read_secret(bundle, "c", &data, &len), FK_ERR_NOT_FOUND);
    fk_bundle_free(bundle);
}

static void dropped_file_is_not_sealed(void **state)
{
    struct fk_bundle *bundle, *sealed;
    const uint8_t *data;
    const char *path;
    size_t len;

    (void)state;
    assert_ok(fk_bundle_new(&bundle));
    assert_ok(fk_bundle_add(bundle, "site.crt", "public", 6));
    assert_ok(fk_bundle_add(bundle, "site.key", "KEYBYTES", 8));
    assert_ok(fk_bundle_add(bundle, "other.crt", "public", 6));
    fk_bundle_drop(bundle, "site.key");
    fk_bundle_drop(bundle, "never there");
    sealed = reopen(bundle);
    assert_no_file(sealed, "site.key");
    assert_contents(sealed, "other.crt", "public");
    assert_ok(fk_bundle_at(bundle, 1, &path, &data, &len));
    assert_string_equal(path, "other.crt");
    fk_bundle_drop(sealed, "other.crt");
    assert_no_file(sealed, "other.crt");
    fk_bundle_free(sealed);
    fk_bundle_free(bundle);
}

static void what_is_no_regular_file_is_refused(void **state)
{
    struct fk_bundle *bundle;
    const uint8_t *data;
    size_t len;

    (void)state;
    assert_ok(fk_bundle_new(&bundle));
    assert_int_equal(mkfifo("pipe", 0600), 0);
    assert_err(fk_bundle_read(bundle, "pipe", &data, &len), FK_ERR_NOT_REGULAR);
    assert_err(fk_bundle_read(bundle, ".", &data, &len), FK_ERR_SYS);
    assert_int_equal(errno, EISDIR);
    assert_err(fk_bundle_read(bundle, "/dev/zero", &data, &len), FK_ERR_NOT_REGULAR);
    assert_no_file(bundle, "a/b");
    fk_bundle_free(bundle);
}

static void limits_hold(void **state)
{
    static uint8_t block[1024 * 1024];
    struct fk_bundle *bundle;
    const uint8_t *data;
    size_t len;
    int fd = open("big", O_WRONLY | O_CREAT, 0600);
    char name[32];

    (void)state;
    assert_ok(fk_bundle_new(&bundle));
    assert_int_equal(ftruncate(fd, FK_BUNDLE_FILE_MAX), 0);
    assert_ok(fk_bundle_read(bundle, "big", &data, &len));
    assert_int_equal(len, FK_BUNDLE_FILE_MAX);
    fk_bundle_drop(bundle, "big");
    assert_int_equal(ftruncate(fd, (off_t)FK_BUNDLE_FILE_MAX + 1), 0);
    assert_err(fk_bundle_read(bundle, "big", &data, &len), FK_ERR_LIMIT);
    close(fd);

    for (size_t i = 0; i < FK_BUNDLE_BYTES_MAX / sizeof block; i++) {
        snprintf(name, sizeof name, "%zu", i);
        assert_ok(fk_bundle_add(bundle, name, block, sizeof block));
    }
    assert_err(fk_bundle_add(bundle, "one more", block, 1), FK_ERR_LIMIT);
    assert_err(fk_bundle_add(bundle, "0", block, 1), FK_ERR_DUPLICATE);
    fk_bundle_drop(bundle, "0");
    assert_ok(fk_bundle_add(bundle, "one more", block, 1));
    fk_bundle_free(bundle);
}

static void number_of_entries_is_bounded(void **state)
{
    struct fk_bundle *bundle;
    char name[32];

    (void)state;
    assert_ok(fk_bundle_new(&bundle));
    for (size_t i = 0; i < FK_BUNDLE_ENTRIES_MAX; i++) {
        snprintf(name, sizeof name, "%zu", i);
        assert_ok(fk_bundle_add(bundle, name, "", 0));
    }
    assert_err(fk_bundle_add(bundle, "one more", "", 0), FK_ERR_LIMIT);
    fk_bundle_free(bundle);
}

/* A memfd of these bytes, sealed or not. */
static int memfd_of(const void *data, size_t len, int seals)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_true(fd >= 0);
    if (len > 0)
        assert_int_equal(write(fd, data, len), len);
    if (seals != 0)
        assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

enum { ALL_SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL };

static int open_bytes(const void *data, size_t len, struct fk_bundle **ret)
{
    int fd = memfd_of(data, len, ALL_SEALS);
    int err = fk_bundle_open(fd, ret);

    close(fd);
    return err;
}

/* The bytes of a small bundle of every kind of entry. */
static size_t sample(uint8_t *dst, size_t size)
{
    struct fk_bundle *bundle;
    const char *const *paths;
    size_t count;
    ssize_t len;
    int fd;

    put_file("a", "text", 4);
    assert_ok(fk_bundle_new(&bundle));
    assert_contents(bundle, "a", "text");
    assert_no_file(bundle, "b");
    assert_ok(fk_bundle_glob(bundle, "[a]", &paths, &count));
    assert_ok(fk_bundle_seal(bundle, &fd));
    fk_bundle_free(bundle);
    len = pread(fd, dst, size, 0);
    assert_true(len > 0 && (size_t)len < size);
    close(fd);
    return (size_t)len;
}

static void unsealed_descriptors_are_refused(void **state)
{
    static const int too_few[] = {0, F_SEAL_WRITE, ALL_SEALS & ~F_SEAL_WRITE,
                                  ALL_SEALS & ~F_SEAL_SHRINK, ALL_SEALS & ~F_SEAL_GROW};
    struct fk_bundle *bundle;
    uint8_t bytes[512];
    size_t len = sample(bytes, sizeof bytes);
    int fd;

    (void)state;
    for (size_t i = 0; i < sizeof too_few / sizeof too_few[0]; i++) {
        fd = memfd_of(bytes, len, too_few[i]);
        assert_err(fk_bundle_open(fd, &bundle), FK_ERR_FORMAT);
        close(fd);
    }
    fd = open("a", O_RDONLY);
    assert_err(fk_bundle_open(fd, &bundle), FK_ERR_FORMAT);
    close(fd);
    assert_err(fk_bundle_open(-1, &bundle), FK_ERR_FORMAT);
}

static void every_prefix_and_any_tail_is_refused(void **state)
{
    struct fk_bundle *bundle;
    uint8_t bytes[512] = {0};
    size_t len = sample(bytes, sizeof bytes);

    (void)state;
    for (size_t i = 0; i < len; i++)
        assert_err(open_bytes(bytes, i, &bundle), FK_ERR_FORMAT);
    assert_ok(open_bytes(bytes, len, &bundle));
    fk_bundle_free(bundle);
    assert_err(open_bytes(bytes, len + 1, &bundle), FK_ERR_FORMAT);
}

/* Each byte of a sealed bundle in turn, changed: it opens or not, but nothing is read outside. */
static void changed_bytes_do_no_harm(void **state)
{
    static const uint8_t changes[] = {0x01, 0x80, 0xff};
    struct fk_bundle *bundle;
    uint8_t bytes[512];
    size_t len = sample(bytes, sizeof bytes);

    (void)state;
    for (size_t i = 0; i < len * sizeof changes; i++) {
        uint8_t change = changes[i % sizeof changes];

        bytes[i / sizeof changes] ^= change;
        if (open_bytes(bytes, len, &bundle) == FK_OK)
            fk_bundle_free(bundle);
        bytes[i / sizeof changes] ^= change;
    }
}

static int seal_and_open(void *context)
{
    struct fk_bundle *bundle = NULL, *sealed = NULL;
    const char *const *paths;
    const uint8_t *data;
    size_t len;
    int fd = -1, err;

    (void)context;
    if ((err = fk_bundle_new(&bundle)) != FK_OK ||
        (err = fk_bundle_read(bundle, "a", &data, &len)) != FK_OK ||
        (err = fk_bundle_add(bundle, "b", "data", 4)) != FK_OK ||
        (err = fk_bundle_glob(bundle, "[a-c]", &paths, &len)) != FK_OK ||
        (err = fk_bundle_seal(bundle, &fd)) != FK_OK ||
        (err = fk_bundle_open(fd, &sealed)) != FK_OK)
        goto out;
    err = fk_bundle_read(sealed, "b", &data, &len);
out:
    if (fd >= 0)
        close(fd);
    fk_bundle_free(bundle);
    fk_bundle_free(sealed);
    return err;
}

static void every_failed_allocation_is_survived(void **state)
{
    (void)state;
    put_file("a", "text", 4);
    assert_true(failmalloc_try(seal_and_open, NULL) > 12);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, enter_scratch, leave_scratch)

UNIT_MAIN(CASE(files_are_frozen_when_first_read), CASE(sealed_bundle_holds_files_globs_and_misses),
          CASE(sealed_descriptor_cannot_be_changed), CASE(exposed_secret_is_refused),
          CASE(dropped_file_is_not_sealed), CASE(what_is_no_regular_file_is_refused),
          CASE(limits_hold), CASE(number_of_entries_is_bounded),
          CASE(unsealed_descriptors_are_refused), CASE(every_prefix_and_any_tail_is_refused),
          CASE(changed_bytes_do_no_harm), CASE(every_failed_allocation_is_survived))
