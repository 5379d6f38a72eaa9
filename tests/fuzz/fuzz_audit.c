/*
 * keyd/audit: a line as a front may send it stands in the log as one line that verifies; a log as
 * anybody may have changed it is read without harm, and passes only if it is what was written.
 */
#include "check.h"

#include "base/err.h"
#include "base/secret.h"
#include "keyd/audit_chain.h"
#include "keyd/audit_line.h"
#include "keyd/audit_verify.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const uint8_t secret[32] = {1}, id[FK_AUDIT_ID_SIZE] = {2};
static struct fk_audit_chain chain;

static void try_line(const uint8_t *data, size_t size)
{
    struct fk_audit_event event = {.edge = "e", .sni = {data, size}, .hash = {data, size}};
    char text[FK_AUDIT_LINE_MAX], line[FK_AUDIT_LINE_MAX + FK_AUDIT_CHAIN_ROOM];
    uint8_t key[FK_AUDIT_KEY_SIZE];
    struct fk_audit_row row;
    size_t len = fk_audit_line_format(&event, text), n;

    CHECK(len <= sizeof text && text[len - 1] == '\n' && memchr(text, '\n', len) == text + len - 1);
    CHECK(fk_audit_chain_key(secret, id, key) == FK_OK);
    fk_audit_chain_begin(&chain, id, key);
    CHECK(fk_audit_chain_append(&chain, text, len - 1, line, sizeof line, &n) == FK_OK);
    CHECK(fk_audit_row_parse(line, n - 1, &row) == FK_OK);
    CHECK(row.text_len == len - 1 && memcmp(row.text, text, len - 1) == 0);
    fk_audit_chain_begin(&chain, id, key);
    CHECK(fk_audit_chain_check(&chain, line, &row) == FK_OK);
}

static void try_log(const uint8_t *data, size_t size)
{
    int fd = memfd_create("log", MFD_CLOEXEC);
    const char *files[1];
    struct fk_audit_report report;
    char path[32];
    int err;

    CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    files[0] = path;
    err = fk_audit_verify(secret, NULL, files, 1, &report);
    /* Without the key nobody makes a line that passes. */
    CHECK(err == FK_ERR_VERIFY || (err == FK_OK && report.lines == 0));
    close(fd);
}

static void try_head(const uint8_t *data, size_t size)
{
    char text[FK_AUDIT_HEAD_MAX];
    struct fk_audit_head head, again;
    size_t len;

    if (fk_audit_head_parse((const char *)data, size, &head) != FK_OK)
        return;
    len = fk_audit_head_format(&head, text);
    CHECK(fk_audit_head_parse(text, len, &again) == FK_OK);
    CHECK(again.lines == head.lines && fk_equal_ct(again.mac, head.mac, sizeof head.mac));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (chain.ctx == NULL)
        CHECK(fk_audit_chain_init(&chain) == FK_OK);
    try_line(data, size);
    try_head(data, size);
    try_log(data, size);
    return 0;
}
