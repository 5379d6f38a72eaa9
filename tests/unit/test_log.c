/* base/log: one line an event whatever a peer sends, and not too many of them. */
#include "unit.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

static int log_fd;

static int catch_log(void **state)
{
    (void)state;
    log_fd = memfd_create("log", MFD_CLOEXEC);
    fk_log_fd(log_fd);
    fk_log_role("test");
    fk_log_threshold(FK_LOG_INFO);
    return log_fd < 0;
}

static int let_log(void **state)
{
    (void)state;
    fk_log_fd(2);
    return close(log_fd);
}

/* What was logged since the last call, as text of at most `size` - 1 bytes; its length. */
static size_t logged(char *dst, size_t size)
{
    ssize_t len = pread(log_fd, dst, size - 1, 0);

    assert_true(len >= 0);
    dst[len] = '\0';
    assert_int_equal(ftruncate(log_fd, 0), 0);
    assert_int_equal(lseek(log_fd, 0, SEEK_SET), 0);
    return (size_t)len;
}

/* One line, without the time, and the process's number as PID. */
static void assert_logged(const char *expected)
{
    char line[2 * FK_LOG_LINE_MAX], rest[2 * FK_LOG_LINE_MAX], start[64];
    const char *text;

    logged(line, sizeof line);
    text = strchr(line, ' ');
    assert_non_null(text);
    assert_int_equal(text - line, FK_CLOCK_TEXT_SIZE - 1);
    snprintf(start, sizeof start, "test[%ld]", (long)getpid());
    text = strstr(line, start);
    assert_non_null(text);
    snprintf(rest, sizeof rest, "%.*sPID%s", (int)(text - line - FK_CLOCK_TEXT_SIZE),
             line + FK_CLOCK_TEXT_SIZE, text + strlen(start));
    assert_string_equal(rest, expected);
}

static void fields_are_written_by_type(void **state)
{
    (void)state;
    fk_log(FK_LOG_INFO, "things happened", fk_str("name", "value"), fk_str("none", NULL),
           fk_str("empty", ""), fk_int("n", INT64_MIN), fk_uint("u", UINT64_MAX),
           fk_error(FK_ERR_DENIED), fk_errno(ENOENT));
    assert_logged("info PID: things happened name=\"value\" none=- empty=\"\" "
                  "n=-9223372036854775808 u=18446744073709551615 err=DENIED "
                  "reason=\"not authorised\" errno=\"No such file or directory\"\n");
    fk_log(FK_LOG_ERROR, "a", fk_error(-12345));
    assert_logged("error PID: a err=UNKNOWN reason=\"unknown error\"\n");
    fk_log(FK_LOG_WARN, "b", fk_int("n", 0));
    assert_logged("warning PID: b n=0\n");
}

static void bytes_of_peers_are_escaped(void **state)
{
    static const char evil[] = "a\nb\0c\"d\\e\x1b[2J\x7f\xc3\xa4";

    (void)state;
    fk_log(FK_LOG_INFO, "peer", fk_strn("sni", evil, sizeof evil - 1));
    assert_logged("info PID: peer sni=\"a\\x0ab\\x00c\\x22d\\x5ce\\x1b[2J\\x7f\\xc3\\xa4\"\n");
    fk_log(FK_LOG_INFO, "%s%n", fk_str("format", "%s%n"));
    assert_logged("info PID: %s%n format=\"%s%n\"\n");
}

static void every_byte_stays_on_its_line(void **state)
{
    char line[2 * FK_LOG_LINE_MAX];
    size_t len;

    (void)state;
    for (unsigned c = 0; c < 256; c++) {
        uint8_t byte = (uint8_t)c;

        fk_log(FK_LOG_INFO, "x", fk_strn("byte", &byte, 1));
        len = logged(line, sizeof line);
        for (size_t i = 0; i < len; i++)
            assert_true((line[i] >= 0x20 && line[i] < 0x7f) || (line[i] == '\n' && i == len - 1));
        assert_int_equal(line[len - 1], '\n');
    }
}

static void long_lines_are_cut(void **state)
{
    static char value[3 * FK_LOG_LINE_MAX];
    char line[2 * FK_LOG_LINE_MAX];

    (void)state;
    for (size_t n = FK_LOG_LINE_MAX - 128; n < sizeof value;
         n += n < FK_LOG_LINE_MAX + 8 ? 1 : 997) {
        size_t len;

        memset(value, n % 2 == 0 ? 'v' : '\n', n);
        fk_log(FK_LOG_INFO, "x", fk_strn("value", value, n), fk_int("after", 1));
        len = logged(line, sizeof line);
        assert_true(len <= FK_LOG_LINE_MAX);
        assert_ptr_equal(memchr(line, '\n', len), line + len - 1);
        assert_null(memchr(line, '\0', len));
    }
}

static void lines_below_the_threshold_are_not_written(void **state)
{
    char line[2 * FK_LOG_LINE_MAX];

    (void)state;
    assert_false(fk_log_wants(FK_LOG_DEBUG));
    fk_log(FK_LOG_DEBUG, "x", fk_int("n", 1));
    assert_int_equal(logged(line, sizeof line), 0);
    fk_log_threshold(FK_LOG_DEBUG);
    fk_log(FK_LOG_DEBUG, "x", fk_int("n", 1));
    assert_logged("debug PID: x n=1\n");
    fk_log_threshold(FK_LOG_ERROR);
    assert_false(fk_log_wants(FK_LOG_WARN));
    assert_true(fk_log_wants(FK_LOG_ERROR));
}

static void flood_is_held_back_and_counted(void **state)
{
    struct fk_log_limit limit = {0};
    uint32_t dropped = 99;

    (void)state;
    for (int i = 0; i < FK_LOG_BURST; i++) {
        assert_true(fk_log_permit(&limit, &dropped));
        assert_int_equal(dropped, 0);
    }
    dropped = 99;
    for (int i = 0; i < 1000; i++)
        assert_false(fk_log_permit(&limit, &dropped));
    assert_int_equal(dropped, 99);
    /* A second later, as told by the limit's own clock. */
    limit.window_us -= 1000000;
    assert_true(fk_log_permit(&limit, &dropped));
    assert_int_equal(dropped, 1000);
    assert_true(fk_log_permit(&limit, &dropped));
    assert_int_equal(dropped, 0);
}

static void limited_line_tells_how_many_were_held_back(void **state)
{
    struct fk_log_limit limit = {0};
    char lines[64 * 1024];
    size_t count = 0;

    (void)state;
    for (int i = 0; i < FK_LOG_BURST + 5; i++)
        fk_log_limited(&limit, FK_LOG_WARN, "refused", fk_str("peer", "p"));
    logged(lines, sizeof lines);
    for (const char *at = lines; (at = strchr(at, '\n')) != NULL; at++)
        count++;
    assert_int_equal(count, FK_LOG_BURST);
    limit.window_us -= 1000000;
    fk_log_limited(&limit, FK_LOG_WARN, "refused", fk_str("peer", "p"));
    assert_logged("warning PID: refused peer=\"p\" repeated=5\n");
}

static void lost_descriptor_does_no_harm(void **state)
{
    (void)state;
    fk_log_fd(-1);
    fk_log(FK_LOG_INFO, "nobody hears", fk_int("n", 1));
    fk_log_fd(log_fd);
}

static void time_is_written_in_utc(void **state)
{
    char text[FK_CLOCK_TEXT_SIZE];

    (void)state;
    fk_clock_format(UINT64_C(1795202189123456), text);
    assert_string_equal(text, "2026-11-20T19:16:29.123456Z");
    fk_clock_format(0, text);
    assert_string_equal(text, "1970-01-01T00:00:00.000000Z");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, catch_log, let_log)

UNIT_MAIN(CASE(fields_are_written_by_type), CASE(bytes_of_peers_are_escaped),
          CASE(every_byte_stays_on_its_line), CASE(long_lines_are_cut),
          CASE(lines_below_the_threshold_are_not_written), CASE(flood_is_held_back_and_counted),
          CASE(limited_line_tells_how_many_were_held_back), CASE(lost_descriptor_does_no_harm),
          CASE(time_is_written_in_utc))
