/* keyd/audit_*: lines, the chain, the file, and what the verifier says about each kind of harm. */
#include "unit.h"

#include "base/err.h"
#include "base/text.h"
#include "keyd/audit_book.h"
#include "keyd/audit_chain.h"
#include "keyd/audit_line.h"
#include "keyd/audit_verify.h"
#include "signer/audit_keys.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static const uint8_t secret[32] = "an audit secret of thirty-two b";
static char dir[] = "/tmp/farkey-audit-XXXXXX";
static char paths[4][64]; /* three logs and a head file */
#define HEAD 3

static const char *path(int i)
{
    if (paths[0][0] == '\0') {
        assert_non_null(mkdtemp(dir));
        for (int k = 0; k < 4; k++)
            snprintf(paths[k], sizeof paths[k], "%s/%d", dir, k);
    }
    return paths[i];
}

static int setup(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++)
        unlink(path(i));
    return 0;
}

static int clean_up(void **state)
{
    setup(state);
    rmdir(dir);
    return 0;
}

static int open_log(int i)
{
    int fd = open(path(i), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    return fd;
}

static void write_file(int i, const char *data, size_t len)
{
    int fd = open(path(i), O_WRONLY | O_TRUNC | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), len);
    close(fd);
}

static size_t read_file(int i, char *data, size_t size)
{
    int fd = open(path(i), O_RDONLY | O_CLOEXEC);
    ssize_t n;

    assert_true(fd >= 0);
    n = read(fd, data, size);
    close(fd);
    assert_true(n >= 0 && (size_t)n < size);
    return (size_t)n;
}

static int verify(int n_files, bool head, struct fk_audit_report *report)
{
    const char *files[3];

    for (int i = 0; i < 3; i++)
        files[i] = path(i);
    return fk_audit_verify(secret, head ? path(HEAD) : NULL, files, (size_t)n_files, report);
}

/* An error at this line of this file, whose text has these words. */
static void expect_error(int n_files, bool head, int file, uint64_t line, const char *words)
{
    struct fk_audit_report report;

    assert_err(verify(n_files, head, &report), FK_ERR_VERIFY);
    if (strstr(report.what, words) == NULL)
        fail_msg("%s:%llu: \"%s\" has not the words \"%s\"", report.file,
                 (unsigned long long)report.line, report.what, words);
    assert_string_equal(report.file, path(file));
    assert_int_equal(report.line, line);
}

/* --- a log as the audit process writes it, with the signer's part done here --- */

static void begin(struct fk_audit_book *book, uint8_t number, const struct fk_audit_head *previous)
{
    uint8_t id[FK_AUDIT_ID_SIZE] = {0x65, number}, key[FK_AUDIT_KEY_SIZE];

    assert_ok(fk_audit_chain_key(secret, id, key));
    assert_ok(fk_audit_book_begin(book, id, key, previous));
}

static void open_book(struct fk_audit_book *book, int file, uint8_t number,
                      const struct fk_audit_head *previous)
{
    assert_ok(fk_audit_book_init(book));
    assert_ok(fk_audit_book_use(book, open_log(file)));
    begin(book, number, previous);
}

static void add_lines(struct fk_audit_book *book, int from, int to)
{
    char text[64];

    for (int i = from; i < to; i++) {
        int len = snprintf(text, sizeof text, "t=now edge=e%d op=sign-1.3", i);

        assert_ok(fk_audit_book_line(book, 3, text, (size_t)len));
    }
}

static void add_checkpoint(struct fk_audit_book *book, const uint8_t with[32])
{
    uint8_t payload[FK_AUDIT_CHECKPOINT_SIZE], tbs[FK_AUDIT_TBS_SIZE], sig[FK_AUDIT_SIG_SIZE];
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t len = sizeof sig;
    EVP_PKEY *key;

    fk_audit_chain_checkpoint(&book->chain, payload);
    fk_audit_checkpoint_tbs(payload, 1234567, tbs);
    assert_ok(fk_audit_sign_key(with, &key));
    assert_int_equal(EVP_DigestSignInit(ctx, NULL, NULL, NULL, key), 1);
    assert_int_equal(EVP_DigestSign(ctx, sig, &len, tbs, sizeof tbs), 1);
    assert_ok(fk_audit_book_checkpoint(book, 1234567, sig));
    EVP_PKEY_free(key);
    EVP_MD_CTX_free(ctx);
}

static struct fk_audit_head close_book(struct fk_audit_book *book, bool write_head)
{
    struct fk_audit_head head;
    char text[FK_AUDIT_HEAD_MAX];
    size_t len;

    assert_ok(fk_audit_book_flush(book));
    fk_audit_chain_head(&book->chain, &head);
    fk_audit_book_fini(book);
    if (write_head) {
        len = fk_audit_head_format(&head, text);
        text[len] = '\n';
        write_file(HEAD, text, len + 1);
    }
    return head;
}

/* chain, 3 lines, checkpoint, 2 lines: 7 lines, and its head file. */
static void make_log(void)
{
    struct fk_audit_book book;

    open_book(&book, 0, 1, NULL);
    add_lines(&book, 0, 3);
    add_checkpoint(&book, secret);
    add_lines(&book, 3, 5);
    close_book(&book, true);
}

/* The start of line `number` (1-based) within a log. */
static size_t line_at(const char *data, size_t len, int number)
{
    size_t at = 0;

    for (int i = 1; i < number; i++)
        at = (size_t)((const char *)memchr(data + at, '\n', len - at) - data) + 1;
    return at;
}

/* --- lines --- */

static void line_has_every_field(void **state)
{
    static const uint8_t ip[4] = {192, 0, 2, 7}, hash[2] = {0xab, 0xcd};
    struct fk_audit_event event = {.wall_us = 1700000000123456,
                                   .edge = "edge1",
                                   .key = "example.com",
                                   .op = "sign-1.3",
                                   .sni = {(const uint8_t *)"www.example.com", 15},
                                   .client_ip = {ip, 4},
                                   .hash = {hash, 2},
                                   .micros = 612};
    char line[FK_AUDIT_LINE_MAX];
    size_t len = fk_audit_line_format(&event, line);

    (void)state;
    line[len] = '\0';
    assert_string_equal(line, "t=2023-11-14T22:13:20.123456Z edge=edge1 key=example.com "
                              "op=sign-1.3 sni=www.example.com client=192.0.2.7 hash=abcd "
                              "result=OK us=612\n");
    event.wall_us += 900000; /* another second: the cached date is not reused */
    len = fk_audit_line_format(&event, line);
    assert_memory_equal(line, "t=2023-11-14T22:13:21.023456Z ", 30);
}

static void absent_fields_are_dashes_and_hostile_ones_escaped(void **state)
{
    static const uint8_t sni[] = "a b\n=%\x00\xff";
    struct fk_audit_event event = {.sni = {sni, sizeof sni - 1}, .err = FK_ERR_DENIED};
    char line[FK_AUDIT_LINE_MAX];
    size_t len = fk_audit_line_format(&event, line);

    (void)state;
    line[len] = '\0';
    assert_string_equal(line, "t=1970-01-01T00:00:00.000000Z edge=- key=- op=- "
                              "sni=a%20b%0a%3d%25%00%ff client=- hash=- result=DENIED us=0\n");
}

static void line_never_exceeds_its_bound(void **state)
{
    char big[4096], line[FK_AUDIT_LINE_MAX + 1];
    struct fk_audit_event event = {.edge = big, .key = big, .op = big, .micros = UINT32_MAX};
    size_t len;

    (void)state;
    memset(big, ' ', sizeof big);
    big[sizeof big - 1] = '\0';
    fk_reader_init(&event.sni, big, sizeof big);
    fk_reader_init(&event.client_ip, big, 16);
    fk_reader_init(&event.hash, big, sizeof big);
    line[FK_AUDIT_LINE_MAX] = 'x';
    len = fk_audit_line_format(&event, line);
    assert_true(len <= FK_AUDIT_LINE_MAX);
    assert_int_equal(line[len - 1], '\n');
    assert_int_equal(line[FK_AUDIT_LINE_MAX], 'x');
    assert_ptr_equal(memchr(line, '\n', len), line + len - 1);
}

static void heads_are_read_as_written(void **state)
{
    struct fk_audit_head head = {{1, 2}, UINT64_MAX, {3, 4}}, again;
    char text[FK_AUDIT_HEAD_MAX];
    size_t len = fk_audit_head_format(&head, text);

    (void)state;
    assert_int_equal(len, FK_AUDIT_HEAD_MAX - 1);
    assert_ok(fk_audit_head_parse(text, len, &again));
    assert_memory_equal(&head, &again, sizeof head);
    for (size_t i = 0; i < len; i++)
        assert_err(fk_audit_head_parse(text, i, &again), FK_ERR_FORMAT);
}

/* --- whole logs --- */

static void whole_log_verifies(void **state)
{
    struct fk_audit_report report;

    (void)state;
    make_log();
    assert_ok(verify(1, true, &report));
    assert_int_equal(report.lines, 7);
    assert_int_equal(report.chains, 1);
    assert_int_equal(report.checkpoints, 1);
    assert_int_equal(report.torn, 0);
    assert_ok(verify(1, false, &report));
}

static void empty_log_verifies_without_a_head(void **state)
{
    struct fk_audit_report report;

    (void)state;
    write_file(0, "", 0);
    assert_ok(verify(1, false, &report));
    assert_int_equal(report.lines, 0);
}

static void other_key_is_told(void **state)
{
    static const uint8_t other[32] = {9};
    struct fk_audit_report report;
    const char *files[1] = {path(0)};

    (void)state;
    make_log();
    assert_err(fk_audit_verify(other, NULL, files, 1, &report), FK_ERR_VERIFY);
    assert_int_equal(report.line, 1);
    assert_non_null(strstr(report.what, "another key"));
}

/* Nothing is read on that cannot be a line, wherever it comes from. */
static void endless_line_is_refused(void **state)
{
    const char *const files[] = {"/dev/zero"};
    struct fk_audit_report report;
    char data[4096];

    (void)state;
    assert_err(fk_audit_verify(secret, NULL, files, 1, &report), FK_ERR_VERIFY);
    assert_non_null(strstr(report.what, "longer than any"));
    memset(data, 'x', sizeof data);
    write_file(0, data, sizeof data);
    expect_error(1, false, 0, 1, "longer than any");
}

static void missing_file_is_an_error_of_the_system(void **state)
{
    struct fk_audit_report report;

    (void)state;
    assert_err(verify(1, false, &report), FK_ERR_SYS);
    assert_non_null(strstr(report.what, path(0)));
}

/* Every byte of every line, changed in its lowest bit: an error, never later than the next line. */
static void every_changed_byte_is_found(void **state)
{
    char data[4096];
    struct fk_audit_report report;
    uint64_t line = 1;
    size_t len;

    (void)state;
    make_log();
    len = read_file(0, data, sizeof data);
    for (size_t i = 0; i < len; i++) {
        char was = data[i];

        data[i] ^= 1;
        write_file(0, data, len);
        assert_err(verify(1, true, &report), FK_ERR_VERIFY);
        assert_true(report.line == line || (was == '\n' && report.line <= line + 1));
        data[i] = was;
        line += was == '\n';
    }
}

static void every_cut_is_found_with_the_head(void **state)
{
    char data[4096];
    struct fk_audit_report report;
    size_t len;

    (void)state;
    make_log();
    len = read_file(0, data, sizeof data);
    for (size_t i = 0; i < len; i++) {
        write_file(0, data, i);
        assert_err(verify(1, true, &report), FK_ERR_VERIFY);
    }
    write_file(0, data, line_at(data, len, 6));
    expect_error(1, true, 0, 5, "the tail was cut: the head file names 7 lines");
}

static void every_removed_line_is_found(void **state)
{
    char data[4096], less[4096];
    size_t len;

    (void)state;
    make_log();
    len = read_file(0, data, sizeof data);
    for (int i = 2; i < 7; i++) {
        size_t from = line_at(data, len, i), to = line_at(data, len, i + 1);

        memcpy(less, data, from);
        memcpy(less + from, data + to, len - to);
        write_file(0, less, len - (to - from));
        expect_error(1, true, 0, (uint64_t)i, "1 lines are missing before this one");
    }
    write_file(0, data + line_at(data, len, 2), len - line_at(data, len, 2));
    expect_error(1, true, 0, 1, "begins in the middle of a chain");
}

static void repeated_and_moved_lines_are_found(void **state)
{
    char data[4096], more[8192];
    size_t len, a, b, c;

    (void)state;
    make_log();
    len = read_file(0, data, sizeof data);
    a = line_at(data, len, 3);
    b = line_at(data, len, 4);
    c = line_at(data, len, 5);
    memcpy(more, data, b); /* line 3 twice */
    memcpy(more + b, data + a, len - a);
    write_file(0, more, len + (b - a));
    expect_error(1, true, 0, 4, "line 2 again");
    memcpy(more, data, a); /* lines 3 and 4 changed places */
    memcpy(more + a, data + b, c - b);
    memcpy(more + a + (c - b), data + a, b - a);
    memcpy(more + c, data + c, len - c);
    write_file(0, more, len);
    expect_error(1, true, 0, 3, "missing");
}

/* Whoever holds the chain's present key, but not the past ones, cannot make up another past. */
static void stolen_key_does_not_rewrite_the_past(void **state)
{
    struct fk_audit_book book;
    char data[8192], forged[8192];
    size_t len, at;

    (void)state;
    open_book(&book, 0, 1, NULL);
    add_lines(&book, 0, 5);
    assert_ok(fk_audit_book_flush(&book));
    len = read_file(0, data, sizeof data);
    /* Cut line 5 on, and go on with the stolen state under the numbers of the cut lines. */
    at = line_at(data, len, 5);
    book.chain.lines = 4;
    add_lines(&book, 10, 12);
    memcpy(forged, data, at);
    memcpy(forged + at, book.out, book.len);
    write_file(0, forged, at + book.len);
    fk_audit_book_fini(&book);
    expect_error(1, false, 0, 5, "the line was changed");
}

static void checkpoint_of_nobody_is_found(void **state)
{
    static const uint8_t other[32] = {9};
    struct fk_audit_book book;

    (void)state;
    open_book(&book, 0, 1, NULL);
    add_lines(&book, 0, 3);
    add_checkpoint(&book, other); /* by a captured audit process, without a signer */
    close_book(&book, true);
    expect_error(1, true, 0, 5, "signature");
}

static void front_cannot_write_our_lines(void **state)
{
    struct fk_audit_report report;
    struct fk_audit_book book;
    static const char text[] = "chain=00 previous=-\nn=7 checkpoint sig=\x01\xff";
    char data[4096];
    size_t len;

    (void)state;
    open_book(&book, 0, 1, NULL);
    assert_ok(fk_audit_book_line(&book, 3, text, sizeof text - 1));
    close_book(&book, true);
    assert_ok(verify(1, true, &report));
    assert_int_equal(report.chains, 1);
    assert_int_equal(report.lines, 2);
    len = read_file(0, data, sizeof data);
    data[len] = '\0';
    assert_non_null(strstr(data, "n=1 front=3 chain=00 previous=-?n=7 checkpoint sig=?? mac="));
}

/* --- rotation --- */

static void make_rotated(void)
{
    struct fk_audit_book book;

    open_book(&book, 0, 1, NULL);
    add_lines(&book, 0, 3);
    assert_ok(fk_audit_book_use(&book, open_log(1)));
    add_lines(&book, 3, 6);
    assert_ok(fk_audit_book_use(&book, open_log(2)));
    add_lines(&book, 6, 8);
    close_book(&book, true);
}

static void chain_goes_on_in_a_new_file(void **state)
{
    struct fk_audit_report report;
    const char *later[2] = {path(1), path(2)};

    (void)state;
    make_rotated();
    assert_ok(verify(3, true, &report));
    assert_int_equal(report.lines, 1 + 3 + 1 + 3 + 1 + 2);
    assert_int_equal(report.chains, 1);
    /* The newer files alone, when the oldest was deleted. */
    assert_ok(fk_audit_verify(secret, path(HEAD), later, 2, &report));
    assert_int_equal(report.lines, 7);
    assert_ok(fk_audit_verify(secret, path(HEAD), later + 1, 1, &report));
}

static void missing_or_swapped_files_are_found(void **state)
{
    const char *gap[2] = {path(0), path(2)}, *swapped[2] = {path(1), path(0)};
    struct fk_audit_report report;

    (void)state;
    make_rotated();
    assert_err(fk_audit_verify(secret, path(HEAD), gap, 2, &report), FK_ERR_VERIFY);
    assert_string_equal(report.file, path(2));
    assert_int_equal(report.line, 1);
    assert_non_null(strstr(report.what, "4 lines are missing"));
    assert_err(fk_audit_verify(secret, NULL, swapped, 2, &report), FK_ERR_VERIFY);
    expect_error(2, true, 1, 4, "the tail was cut");
}

/* --- restarts --- */

static void new_chain_names_the_one_before(void **state)
{
    struct fk_audit_report report;
    struct fk_audit_head head;
    struct fk_audit_book book;

    (void)state;
    open_book(&book, 0, 1, NULL);
    add_lines(&book, 0, 3);
    head = close_book(&book, false);
    open_book(&book, 0, 2, &head);
    add_lines(&book, 3, 5);
    head = close_book(&book, true);
    assert_ok(verify(1, true, &report));
    assert_int_equal(report.chains, 2);
    assert_int_equal(report.lines, 4 + 3);
}

static void lines_cut_before_a_new_chain_are_found(void **state)
{
    struct fk_audit_head head;
    struct fk_audit_book book;
    char data[4096], less[4096];
    size_t len, from, to;

    (void)state;
    open_book(&book, 0, 1, NULL);
    add_lines(&book, 0, 3);
    head = close_book(&book, false);
    open_book(&book, 0, 2, &head);
    close_book(&book, true);
    len = read_file(0, data, sizeof data);
    from = line_at(data, len, 3);
    to = line_at(data, len, 5);
    memcpy(less, data, from);
    memcpy(less + from, data + to, len - to);
    write_file(0, less, len - (to - from));
    expect_error(1, true, 0, 3, "2 lines are missing before this chain");
}

static void chain_that_names_nothing_or_another_is_found(void **state)
{
    struct fk_audit_head head;
    struct fk_audit_book book;

    (void)state;
    open_book(&book, 0, 1, NULL);
    head = close_book(&book, false);
    open_book(&book, 0, 2, NULL);
    close_book(&book, false);
    expect_error(1, false, 0, 2, "does not name the one before");
    unlink(path(0));
    open_book(&book, 0, 3, NULL);
    close_book(&book, false);
    open_book(&book, 0, 2, &head);
    close_book(&book, false);
    expect_error(1, false, 0, 2, "a chain is missing before this one");
}

static void whole_last_chain_cut_is_found(void **state)
{
    struct fk_audit_head head;
    struct fk_audit_book book;
    char data[4096];
    size_t len;

    (void)state;
    open_book(&book, 0, 1, NULL);
    head = close_book(&book, false);
    len = read_file(0, data, sizeof data);
    open_book(&book, 0, 2, &head);
    close_book(&book, true);
    write_file(0, data, len);
    expect_error(1, true, 0, 1, "a chain that is not in the log");
}

/* A crash leaves half a line; the next process begins a chain after it. */
static void torn_line_of_a_crash_is_counted_not_blamed(void **state)
{
    struct fk_audit_report report;
    struct fk_audit_head head;
    struct fk_audit_book book;
    char data[4096];
    size_t len, full;

    (void)state;
    open_book(&book, 0, 1, NULL);
    add_lines(&book, 0, 2);
    assert_ok(fk_audit_book_flush(&book));
    fk_audit_chain_head(&book.chain, &head);
    add_lines(&book, 2, 3);
    close_book(&book, false);
    full = read_file(0, data, sizeof data);
    for (len = line_at(data, full, 4) + 1; len < full - 1; len++) {
        write_file(0, data, len);
        open_book(&book, 0, 2, &head);
        close_book(&book, true);
        assert_ok(verify(1, true, &report));
        assert_int_equal(report.torn, 1);
        assert_int_equal(report.chains, 2);
    }
    write_file(0, data, full - 3); /* but at the end it is an error */
    expect_error(1, false, 0, 4, "incomplete");
}

/* --- writing --- */

static void failed_write_is_tried_again_with_the_same_bytes(void **state)
{
    struct fk_audit_report report;
    struct fk_audit_book book;
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC), log;

    (void)state;
    assert_true(full >= 0);
    open_book(&book, 0, 1, NULL);
    assert_ok(fk_audit_book_flush(&book));
    log = dup(book.fd);
    assert_int_equal(dup2(full, book.fd), book.fd); /* the disk is full */
    add_lines(&book, 0, 3);
    assert_err(fk_audit_book_flush(&book), FK_ERR_SYS);
    assert_err(fk_audit_book_flush(&book), FK_ERR_SYS);
    assert_int_equal(dup2(log, book.fd), book.fd); /* and has room again */
    add_lines(&book, 3, 4);
    close_book(&book, true);
    close(log);
    close(full);
    assert_ok(verify(1, true, &report));
    assert_int_equal(report.lines, 5);
}

/* A line half in the old file stands whole in the new one. */
static void rotation_while_the_disk_is_full_loses_nothing(void **state)
{
    struct fk_audit_report report;
    struct fk_audit_book book;
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    char data[4096];
    size_t len;

    (void)state;
    open_book(&book, 0, 1, NULL);
    assert_ok(fk_audit_book_flush(&book));
    add_lines(&book, 0, 3);
    /* As if the file had taken one line and a half. */
    len = line_at(book.out, book.len, 2) + 7;
    assert_int_equal(write(book.fd, book.out, len), len);
    book.done = len;
    assert_int_equal(dup2(full, book.fd), book.fd);
    assert_ok(fk_audit_book_use(&book, open_log(1)));
    add_lines(&book, 3, 4);
    close_book(&book, true);
    assert_ok(verify(2, true, &report));
    assert_int_equal(report.torn, 1);
    assert_int_equal(report.lines, 1 + 3 + 1 + 1);
    (void)read_file(1, data, sizeof data);
    assert_memory_equal(data, "n=2 front=3 ", 12);
    close(full);
}

static void book_says_when_it_is_full(void **state)
{
    struct fk_audit_book book;
    char text[FK_AUDIT_LINE_MAX + 1];
    int n = 0;

    (void)state;
    memset(text, 'x', sizeof text);
    open_book(&book, 0, 1, NULL);
    while (fk_audit_book_room(&book)) {
        assert_ok(fk_audit_book_line(&book, 65535, text, FK_AUDIT_LINE_MAX));
        n++;
    }
    assert_true(n > 50);
    add_checkpoint(&book, secret); /* there is still room for one of ours */
    assert_err(fk_audit_book_line(&book, 1, text, sizeof text), FK_ERR_LIMIT);
    close_book(&book, false);
}

static void row_parser_refuses_what_is_no_row(void **state)
{
    static const char good[] = "n=12 text mac=000102030405060708090a0b0c0d0e0f";
    static const char *const bad[] = {
        "",
        "n=12",
        "m=12 text mac=000102030405060708090a0b0c0d0e0f",
        "n=x2 text mac=000102030405060708090a0b0c0d0e0f",
        "n=12 text mac=000102030405060708090a0b0c0d0e0g",
        "n=12 text mac:000102030405060708090a0b0c0d0e0f",
        "n=18446744073709551616 t mac=000102030405060708090a0b0c0d0e0f",
    };
    struct fk_audit_row row;

    (void)state;
    assert_ok(fk_audit_row_parse(good, sizeof good - 1, &row));
    assert_int_equal(row.number, 12);
    assert_int_equal(row.text_len, 4);
    assert_memory_equal(row.text, "text", 4);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_err(fk_audit_row_parse(bad[i], strlen(bad[i]), &row), FK_ERR_FORMAT);
    for (size_t i = 0; i < sizeof good - 1; i++)
        assert_err(fk_audit_row_parse(good, i, &row), FK_ERR_FORMAT);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, setup)

UNIT_MAIN(CASE(line_has_every_field), CASE(absent_fields_are_dashes_and_hostile_ones_escaped),
          CASE(line_never_exceeds_its_bound), CASE(heads_are_read_as_written),
          CASE(whole_log_verifies), CASE(empty_log_verifies_without_a_head),
          CASE(other_key_is_told), CASE(missing_file_is_an_error_of_the_system),
          CASE(every_changed_byte_is_found), CASE(every_cut_is_found_with_the_head),
          CASE(every_removed_line_is_found), CASE(repeated_and_moved_lines_are_found),
          CASE(stolen_key_does_not_rewrite_the_past), CASE(checkpoint_of_nobody_is_found),
          CASE(front_cannot_write_our_lines), CASE(chain_goes_on_in_a_new_file),
          CASE(missing_or_swapped_files_are_found), CASE(new_chain_names_the_one_before),
          CASE(lines_cut_before_a_new_chain_are_found),
          CASE(chain_that_names_nothing_or_another_is_found), CASE(whole_last_chain_cut_is_found),
          CASE(endless_line_is_refused), CASE(torn_line_of_a_crash_is_counted_not_blamed),
          CASE(failed_write_is_tried_again_with_the_same_bytes),
          CASE(rotation_while_the_disk_is_full_loses_nothing), CASE(book_says_when_it_is_full),
          CASE(row_parser_refuses_what_is_no_row),
          cmocka_unit_test_teardown(heads_are_read_as_written, clean_up))
