/* base/secret: what the memory of secrets refuses, seen from forked children that may die of it. */
#include "failmalloc.h"
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/secret.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* AddressSanitizer makes mlock() do nothing. */
#ifdef __SANITIZE_ADDRESS__
static const bool locks_work = false;
#else
static const bool locks_work = true;
#endif

/* Run `work` in a child; its wait status. */
static int in_child(void (*work)(const void *), const void *argument)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        struct rlimit none = {0, 0};

        setrlimit(RLIMIT_CORE, &none);
        signal(SIGSEGV, SIG_DFL);
        signal(SIGBUS, SIG_DFL);
        work(argument);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

/* Sanitizers turn the signal into an exit with a report: any end but a clean one will do. */
static void assert_died(int status)
{
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void assert_lived(int status)
{
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void bytes_are_kept_and_start_as_zeros(void **state)
{
    static const size_t sizes[] = {1, 15, 16, 31, 4064, 4095, 4096, 4097, FK_SECRET_MAX};
    static uint8_t bytes[FK_SECRET_MAX];
    struct fk_secret *secret;

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        assert_ok(fk_secret_new(sizes[i], &secret));
        assert_int_equal(fk_secret_len(secret), sizes[i]);
        memset(bytes, 0, sizeof bytes);
        assert_memory_equal(fk_secret_bytes(secret), bytes, sizes[i]);
        fk_secret_data(secret)[0] = 0xa5;
        fk_secret_data(secret)[sizes[i] - 1] = 0xa5;
        fk_secret_free(secret);
        memset(bytes, 0x5a, sizeof bytes);
        assert_ok(fk_secret_dup(bytes, sizes[i], &secret));
        assert_memory_equal(fk_secret_bytes(secret), bytes, sizes[i]);
        fk_secret_free(secret);
    }
    fk_secret_free(NULL);
}

static void sizes_outside_the_limits_are_refused(void **state)
{
    struct fk_secret *secret = NULL;

    (void)state;
    assert_err(fk_secret_new(0, &secret), FK_ERR_INVAL);
    assert_err(fk_secret_new(FK_SECRET_MAX + 1, &secret), FK_ERR_INVAL);
    assert_err(fk_secret_new(SIZE_MAX, &secret), FK_ERR_INVAL);
    assert_err(fk_secret_dup("", 0, &secret), FK_ERR_INVAL);
    assert_null(secret);
}

/* Where a child touches a secret of 100 bytes that it has made itself: fork wipes inherited ones.
 */
enum touch { LAST_BYTE, PAST_THE_END, FIRST_PAGE, BEFORE_THE_PAGES, AFTER_FREE };

static void touch(const void *argument)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    volatile uint8_t *bytes, *start;
    struct fk_secret *secret;

    if (fk_secret_new(100, &secret) != FK_OK)
        return;
    bytes = fk_secret_data(secret);
    start = (volatile uint8_t *)((uintptr_t)bytes / page * page);
    switch (*(const enum touch *)argument) {
    case LAST_BYTE:
        bytes[99] = 1;
        break;
    case PAST_THE_END:
        bytes[100] = 1;
        break;
    case FIRST_PAGE:
        (void)start[0];
        break;
    case BEFORE_THE_PAGES:
        (void)start[-1];
        break;
    case AFTER_FREE:
        fk_secret_free(secret);
        (void)bytes[0];
        break;
    }
}

static void guard_pages_stand_on_both_sides(void **state)
{
    static const enum touch well[] = {LAST_BYTE, FIRST_PAGE};
    static const enum touch ill[] = {PAST_THE_END, BEFORE_THE_PAGES, AFTER_FREE};

    (void)state;
    for (size_t i = 0; i < sizeof well / sizeof well[0]; i++)
        assert_lived(in_child(touch, &well[i]));
    for (size_t i = 0; i < sizeof ill / sizeof ill[0]; i++)
        assert_died(in_child(touch, &ill[i]));
}

/* The child sees zeros where the parent has its secret. */
static void expect_zeros(const void *argument)
{
    const uint8_t *at = argument;

    for (size_t i = 0; i < 32; i++)
        if (at[i] != 0)
            _exit(1);
}

/* A child may free what it inherited, or leave it. */
static void free_inherited(const void *argument)
{
    fk_secret_free((struct fk_secret *)(uintptr_t)argument);
}

static void fork_leaves_the_secret_behind(void **state)
{
    static const uint8_t key[32] = {1, 2, 3};
    struct fk_secret *secret;

    (void)state;
    assert_ok(fk_secret_dup(key, sizeof key, &secret));
    assert_lived(in_child(expect_zeros, fk_secret_bytes(secret)));
    assert_lived(in_child(free_inherited, secret));
    assert_memory_equal(fk_secret_bytes(secret), key, sizeof key);
    fk_secret_free(secret);
}

static size_t mappings_seen, mappings_with_secret;

/* Between its guard pages, which cannot be read. */
static void look_for_secret(const void *map, size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    mappings_seen++;
    if (memmem((const uint8_t *)map + page, size - 2 * page, "SECRET", 6) != NULL)
        mappings_with_secret++;
}

static void freed_secret_is_wiped_before_it_is_unmapped(void **state)
{
    struct fk_secret *secret;

    (void)state;
    mappings_seen = 0;
    mappings_with_secret = 0;
    assert_ok(fk_secret_dup("SECRET", 6, &secret));
    failmalloc_arm(0);
    failmalloc_on_free(look_for_secret);
    fk_secret_free(secret);
    failmalloc_disarm();
    assert_int_equal(mappings_seen, 1);
    assert_int_equal(mappings_with_secret, 0);
}

/* The flags of the mapping that holds `at`, from /proc/self/smaps: "VmFlags: rd wr ... dd ". */
static void mapping_flags(const void *at, char *dst, size_t size)
{
    FILE *maps = fopen("/proc/self/smaps", "re");
    unsigned long start, end;
    char line[512];
    bool inside = false;

    assert_non_null(maps);
    dst[0] = '\0';
    while (fgets(line, sizeof line, maps) != NULL) {
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
            inside = (uintptr_t)at >= start && (uintptr_t)at < end;
        else if (inside && strncmp(line, "VmFlags:", 8) == 0)
            snprintf(dst, size, "%s", line);
    }
    fclose(maps);
}

static void pages_are_locked_and_left_out_of_dumps(void **state)
{
    struct fk_secret *secret;
    struct rlimit limit;
    char flags[512];

    (void)state;
    assert_ok(fk_secret_new(100, &secret));
    mapping_flags(fk_secret_bytes(secret), flags, sizeof flags);
    assert_non_null(strstr(flags, " dd")); /* do not dump */
    assert_non_null(strstr(flags, " wf")); /* wipe on fork */
    assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &limit), 0);
    if (locks_work && limit.rlim_cur >= 65536)
        assert_non_null(strstr(flags, " lo")); /* locked */
    fk_secret_free(secret);
}

/* In a child that may not lock: optional at first, then required. Status 0 when all is right. */
static void without_lock(const void *argument)
{
    struct rlimit none = {0, 0};
    struct fk_secret *secret;

    (void)argument;
    if (setrlimit(RLIMIT_MEMLOCK, &none) != 0 || (geteuid() == 0 && setuid(65534) != 0))
        _exit(2);
    if (fk_secret_new(100, &secret) != FK_OK)
        _exit(3);
    fk_secret_require_lock(true);
    if (fk_secret_new(100, &secret) != FK_ERR_NOMEM)
        _exit(4);
    fk_secret_require_lock(false);
    if (fk_secret_new(100, &secret) != FK_OK)
        _exit(5);
}

static void locking_is_required_on_demand(void **state)
{
    (void)state;
    if (!locks_work)
        skip();
    assert_lived(in_child(without_lock, NULL));
}

/* Every single-byte difference is seen, wherever it is. */
static void comparison_sees_every_byte(void **state)
{
    uint8_t a[64], b[64];

    (void)state;
    memset(a, 0x33, sizeof a);
    memcpy(b, a, sizeof b);
    assert_true(fk_equal_ct(a, b, sizeof a));
    assert_true(fk_equal_ct(NULL, NULL, 0));
    for (size_t i = 0; i < sizeof a; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            b[i] ^= (uint8_t)(1u << bit);
            assert_false(fk_equal_ct(a, b, sizeof a));
            assert_true(fk_equal_ct(a, b, i));
            b[i] ^= (uint8_t)(1u << bit);
        }
    }
}

static void wiping_zeroes_exactly_the_range(void **state)
{
    uint8_t bytes[8];

    (void)state;
    memset(bytes, 0xff, sizeof bytes);
    fk_wipe(bytes + 1, 6);
    assert_memory_equal(bytes, "\xff\0\0\0\0\0\0\xff", 8);
    fk_wipe(NULL, 0);
}

static int make_secret(void *context)
{
    struct fk_secret *secret = NULL;
    int err = fk_secret_dup("key", 3, &secret);

    (void)context;
    fk_secret_free(secret);
    return err;
}

static void failed_mapping_is_reported(void **state)
{
    (void)state;
    assert_int_equal(failmalloc_try(make_secret, NULL), 1);
}

UNIT_MAIN(cmocka_unit_test(bytes_are_kept_and_start_as_zeros),
          cmocka_unit_test(sizes_outside_the_limits_are_refused),
          cmocka_unit_test(guard_pages_stand_on_both_sides),
          cmocka_unit_test(freed_secret_is_wiped_before_it_is_unmapped),
          cmocka_unit_test(fork_leaves_the_secret_behind),
          cmocka_unit_test(pages_are_locked_and_left_out_of_dumps),
          cmocka_unit_test(locking_is_required_on_demand),
          cmocka_unit_test(comparison_sees_every_byte),
          cmocka_unit_test(wiping_zeroes_exactly_the_range),
          cmocka_unit_test(failed_mapping_is_reported))
