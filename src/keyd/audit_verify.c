/*
 * Checks audit logs: see audit_verify.h.
 *
 * Two passes. The first collects what later lines and the head file say about earlier ones: "after
 * so many lines of that chain the MAC is this" (an anchor). The second checks each line in order
 * and holds it against the anchors. Lines are not trusted before their MAC was checked; an anchor
 * that a forged line made can only add an error.
 */
#include "keyd/audit_verify.h"

#include "base/err.h"
#include "base/secret.h"
#include "base/text.h"
#include "keyd/audit_chain.h"
#include "keyd/audit_line.h"
#include "signer/audit_keys.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* More lines than a log ever has: bounds the steps to the first line of a rotated file. */
#define LINES_MAX 10000000000ULL

/* A line with its MAC, with room to spare: what is longer is of no log, and is not read on. */
#define ROW_MAX (2 * FK_AUDIT_LINE_MAX)

struct verify {
    const uint8_t *secret;
    struct fk_audit_report *report;
    struct fk_audit_chain chain;
    EVP_PKEY *sign_key;
    EVP_MD_CTX *sign_ctx;
    struct fk_audit_head *anchors;
    size_t n_anchors;
    uint64_t next_anchor;  /* fewest lines of an anchor ahead in this chain, UINT64_MAX: none */
    bool begun;            /* a chain was entered */
    const char *torn_file; /* an incomplete line waits for what comes after it; NULL: none */
    uint64_t torn_line;
    const struct fk_audit_head *head; /* of the head file; NULL: none */
    bool head_chain_seen;
};

__attribute__((format(printf, 2, 3))) static int complain(struct verify *verify, const char *format,
                                                          ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(verify->report->what, sizeof verify->report->what, format, args);
    va_end(args);
    return FK_ERR_VERIFY;
}

static int complain_torn(struct verify *verify)
{
    verify->report->file = verify->torn_file;
    verify->report->line = verify->torn_line;
    return complain(verify, "the line is incomplete or is not a line of an audit log");
}

/* --- texts --- */

static bool starts_with(const struct fk_audit_row *row, const char *prefix)
{
    size_t len = strlen(prefix);

    return row->text_len >= len && memcmp(row->text, prefix, len) == 0;
}

/* The value of NAME= in a text of ours; up to the next space. */
static bool find_value(const struct fk_audit_row *row, const char *name, const char **ret,
                       size_t *ret_len)
{
    const char *end = row->text + row->text_len, *at = row->text;
    size_t len = strlen(name);

    while (at < end) {
        const char *space = memchr(at, ' ', (size_t)(end - at));
        const char *stop = space == NULL ? end : space;

        if ((size_t)(stop - at) > len && memcmp(at, name, len) == 0 && at[len] == '=') {
            *ret = at + len + 1;
            *ret_len = (size_t)(stop - *ret);
            return true;
        }
        at = space == NULL ? end : space + 1;
    }
    return false;
}

static bool find_hex(const struct fk_audit_row *row, const char *name, void *dst, size_t size)
{
    const char *value;
    size_t len;

    return find_value(row, name, &value, &len) && fk_text_unhex(value, len, dst, size) == FK_OK;
}

/* --- anchors --- */

static int add_anchor(struct verify *verify, const struct fk_audit_head *head)
{
    struct fk_audit_head *more =
        realloc(verify->anchors, (verify->n_anchors + 1) * sizeof *verify->anchors);

    if (more == NULL)
        return FK_ERR_NOMEM;
    verify->anchors = more;
    verify->anchors[verify->n_anchors++] = *head;
    return FK_OK;
}

static bool same_chain(const struct fk_audit_head *head, const struct fk_audit_chain *chain)
{
    return memcmp(head->id, chain->id, sizeof head->id) == 0;
}

static void aim_at_anchor(struct verify *verify)
{
    verify->next_anchor = UINT64_MAX;
    for (size_t i = 0; i < verify->n_anchors; i++) {
        const struct fk_audit_head *anchor = &verify->anchors[i];

        if (same_chain(anchor, &verify->chain) && anchor->lines > verify->chain.lines &&
            anchor->lines < verify->next_anchor)
            verify->next_anchor = anchor->lines;
    }
}

/* The line just checked is the one that anchors speak of. */
static int check_anchors(struct verify *verify)
{
    for (size_t i = 0; i < verify->n_anchors; i++) {
        const struct fk_audit_head *anchor = &verify->anchors[i];

        if (same_chain(anchor, &verify->chain) && anchor->lines == verify->chain.lines &&
            !fk_equal_ct(anchor->mac, verify->chain.mac, sizeof anchor->mac))
            return complain(verify, "the line is not the one that a later chain or the head file "
                                    "names");
    }
    aim_at_anchor(verify);
    return FK_OK;
}

/* --- lines of our own --- */

static int check_checkpoint(struct verify *verify, const struct fk_audit_row *row,
                            const uint8_t payload[FK_AUDIT_CHECKPOINT_SIZE])
{
    uint8_t sig[FK_AUDIT_SIG_SIZE], tbs[FK_AUDIT_TBS_SIZE];
    const char *value;
    uint64_t when;
    size_t len;

    if (!find_hex(row, "sig", sig, sizeof sig) || !find_value(row, "t", &value, &len) ||
        fk_text_u64(value, len, &when) != FK_OK)
        return complain(verify, "the checkpoint is malformed");
    fk_audit_checkpoint_tbs(payload, when, tbs);
    if (EVP_DigestVerifyInit(verify->sign_ctx, NULL, NULL, NULL, verify->sign_key) != 1 ||
        EVP_DigestVerify(verify->sign_ctx, sig, sizeof sig, tbs, sizeof tbs) != 1)
        return complain(verify, "the checkpoint's signature is not a signer's");
    verify->report->checkpoints++;
    return FK_OK;
}

/* Enter the chain of this id at its first line. */
static int enter_chain(struct verify *verify, const struct fk_audit_row *row, const char *name)
{
    uint8_t id[FK_AUDIT_ID_SIZE], key[FK_AUDIT_KEY_SIZE];
    int err;

    if (!find_hex(row, name, id, sizeof id))
        return complain(verify, "the chain's id is malformed");
    if ((err = fk_audit_chain_key(verify->secret, id, key)) != FK_OK)
        return err;
    fk_audit_chain_begin(&verify->chain, id, key);
    fk_wipe(key, sizeof key);
    verify->begun = true;
    verify->report->chains++;
    if (verify->head != NULL && same_chain(verify->head, &verify->chain))
        verify->head_chain_seen = true;
    return FK_OK;
}

/* The present chain ends here: has it as many lines as the head file says? */
static int check_cut(struct verify *verify)
{
    const struct fk_audit_head *head = verify->head;

    if (head == NULL || !verify->begun || !same_chain(head, &verify->chain) ||
        head->lines <= verify->chain.lines)
        return FK_OK;
    return complain(verify,
                    "the tail was cut: the head file names %llu lines of this chain, the "
                    "log has %llu",
                    (unsigned long long)head->lines, (unsigned long long)verify->chain.lines);
}

/* What a chain's first line says about the chain before it. */
static int check_previous(struct verify *verify, const struct fk_audit_row *row)
{
    struct fk_audit_head previous;
    const char *value;
    size_t len;
    int err;

    if (!find_value(row, "previous", &value, &len))
        return complain(verify, "the chain does not say what was before it");
    if (!verify->begun)
        return FK_OK; /* older logs were not given */
    if (len == 1 && value[0] == '-')
        return complain(verify, "a new chain that does not name the one before it");
    if (fk_audit_head_parse(value, len, &previous) != FK_OK)
        return complain(verify, "the head of the chain before is malformed");
    if ((err = check_cut(verify)) != FK_OK)
        return err;
    if (!same_chain(&previous, &verify->chain))
        return complain(verify, "a chain is missing before this one, or this one is foreign");
    if (previous.lines > verify->chain.lines)
        return complain(verify, "%llu lines are missing before this chain",
                        (unsigned long long)(previous.lines - verify->chain.lines));
    return FK_OK;
}

static int begin_chain(struct verify *verify, const char *line, const struct fk_audit_row *row)
{
    int err;

    if ((err = check_previous(verify, row)) != FK_OK ||
        (err = enter_chain(verify, row, "chain")) != FK_OK)
        return err;
    if (fk_audit_chain_check(&verify->chain, line, row) != FK_OK)
        return complain(verify,
                        "the chain was made with another key, or its first line was changed");
    if (verify->torn_file != NULL) { /* the crash that this chain begins after */
        verify->report->torn++;
        verify->torn_file = NULL;
    }
    return check_anchors(verify);
}

/* The first line of the first file continues a chain whose beginning is in an older file. */
static int enter_in_the_middle(struct verify *verify, const char *line,
                               const struct fk_audit_row *row)
{
    struct fk_audit_head previous;
    const char *value;
    size_t len;
    int err;

    if (!starts_with(row, "continue="))
        return complain(verify, "the log begins in the middle of a chain; give the older logs too");
    if (!find_value(row, "previous", &value, &len) ||
        fk_audit_head_parse(value, len, &previous) != FK_OK || previous.lines != row->number ||
        previous.lines > LINES_MAX)
        return complain(verify, "the line that continues a chain is malformed");
    if ((err = enter_chain(verify, row, "continue")) != FK_OK ||
        (err = fk_audit_chain_skip(&verify->chain, previous.lines, previous.mac)) != FK_OK)
        return err;
    if (fk_audit_chain_check(&verify->chain, line, row) != FK_OK)
        return complain(verify, "the chain was made with another key, or this line was changed");
    return check_anchors(verify);
}

/* --- each line --- */

static int check_number(struct verify *verify, const struct fk_audit_row *row)
{
    unsigned long long want = verify->chain.lines, got = row->number;

    if (got > want)
        return complain(verify, "%llu lines are missing before this one (%llu to %llu)", got - want,
                        want, got - 1);
    if (got < want)
        return complain(verify, "line %llu again: lines were repeated or moved", got);
    return FK_OK;
}

static int check_in_chain(struct verify *verify, const char *line, const struct fk_audit_row *row)
{
    uint8_t payload[FK_AUDIT_CHECKPOINT_SIZE];
    int err;

    if (verify->torn_file != NULL) {
        /* A line that did not fit the old file stands in the new one again. */
        if (verify->torn_file == verify->report->file)
            return complain_torn(verify);
        verify->report->torn++;
        verify->torn_file = NULL;
    }
    if ((err = check_number(verify, row)) != FK_OK)
        return err;
    fk_audit_chain_checkpoint(&verify->chain, payload);
    if (fk_audit_chain_check(&verify->chain, line, row) != FK_OK)
        return complain(verify, "the line was changed");
    if (starts_with(row, "checkpoint ") && (err = check_checkpoint(verify, row, payload)) != FK_OK)
        return err;
    return verify->chain.lines == verify->next_anchor ? check_anchors(verify) : FK_OK;
}

static int check_line(struct verify *verify, const char *line, size_t len, bool ended)
{
    struct fk_audit_report *report = verify->report;
    struct fk_audit_row row;
    int err;

    report->line++;
    if (!ended || fk_audit_row_parse(line, len, &row) != FK_OK) {
        if (verify->torn_file != NULL)
            return complain_torn(verify);
        verify->torn_file = report->file;
        verify->torn_line = report->line;
        return FK_OK;
    }
    if (starts_with(&row, "chain="))
        err = begin_chain(verify, line, &row);
    else if (!verify->begun)
        err = verify->torn_file != NULL ? complain_torn(verify)
                                        : enter_in_the_middle(verify, line, &row);
    else
        err = check_in_chain(verify, line, &row);
    if (err == FK_OK)
        report->lines++;
    return err;
}

/* First pass: only what chains say about those before them. */
static int collect_line(struct verify *verify, const char *line, size_t len, bool ended)
{
    struct fk_audit_head head;
    struct fk_audit_row row;
    const char *value;
    size_t value_len;

    if (!ended || fk_audit_row_parse(line, len, &row) != FK_OK || !starts_with(&row, "chain=") ||
        !find_value(&row, "previous", &value, &value_len) ||
        fk_audit_head_parse(value, value_len, &head) != FK_OK)
        return FK_OK;
    return add_anchor(verify, &head);
}

/* --- files --- */

typedef int line_fn(struct verify *verify, const char *line, size_t len, bool ended);

static int complain_file(struct verify *verify, const char *path)
{
    complain(verify, "%s: %s", path, strerror(errno));
    return FK_ERR_SYS;
}

/* The next line without its end; *ret_ended: it has one. FK_ERR_CLOSED at the end of the file,
 * FK_ERR_LIMIT for what is longer. */
static int next_line(FILE *file, char line[ROW_MAX], size_t *ret_len, bool *ret_ended)
{
    size_t len = 0;
    int byte;

    while ((byte = getc_unlocked(file)) != EOF && byte != '\n') {
        if (len == ROW_MAX)
            return FK_ERR_LIMIT;
        line[len++] = (char)byte;
    }
    *ret_len = len;
    *ret_ended = byte == '\n';
    return len > 0 || *ret_ended ? FK_OK : FK_ERR_CLOSED;
}

static int walk_file(struct verify *verify, const char *path, line_fn *each)
{
    FILE *file = fopen(path, "re");
    char line[ROW_MAX];
    int err = FK_OK;
    size_t len;
    bool ended;

    verify->report->file = path;
    verify->report->line = 0;
    if (file == NULL)
        return complain_file(verify, path);
    while (err == FK_OK && (err = next_line(file, line, &len, &ended)) == FK_OK)
        err = each(verify, line, len, ended);
    if (err == FK_ERR_LIMIT) {
        verify->report->line++;
        err = complain(verify, "the line is longer than any of an audit log");
    } else if (err == FK_ERR_CLOSED) {
        err = ferror(file) ? complain_file(verify, path) : FK_OK;
    }
    fclose(file);
    return err;
}

static int read_head(struct verify *verify, const char *path, struct fk_audit_head *ret)
{
    char text[FK_AUDIT_HEAD_MAX + 1];
    FILE *file = fopen(path, "re");
    size_t len;

    verify->report->file = path;
    verify->report->line = 0;
    if (file == NULL)
        return complain_file(verify, path);
    len = fread(text, 1, sizeof text, file);
    fclose(file);
    if (len > 0 && text[len - 1] == '\n')
        len--;
    if (fk_audit_head_parse(text, len, ret) != FK_OK)
        return complain(verify, "this is not a head file");
    return add_anchor(verify, ret);
}

/* The log's end: nothing incomplete, nothing cut. */
static int check_end(struct verify *verify)
{
    int err;

    if (verify->torn_file != NULL)
        return complain_torn(verify);
    if ((err = check_cut(verify)) != FK_OK)
        return err;
    if (verify->head != NULL && !verify->head_chain_seen)
        return complain(verify, "the tail was cut: the head file names a chain that is not in the "
                                "log");
    return FK_OK;
}

static int walk_files(struct verify *verify, const char *const *files, size_t n_files)
{
    int err;

    for (size_t i = 0; i < n_files; i++)
        if ((err = walk_file(verify, files[i], collect_line)) != FK_OK)
            return err;
    verify->next_anchor = UINT64_MAX;
    for (size_t i = 0; i < n_files; i++)
        if ((err = walk_file(verify, files[i], check_line)) != FK_OK)
            return err;
    return check_end(verify);
}

int fk_audit_verify(const uint8_t secret[32], const char *head, const char *const *files,
                    size_t n_files, struct fk_audit_report *ret)
{
    struct verify verify = {.secret = secret, .report = ret};
    struct fk_audit_head at;
    int err;

    *ret = (struct fk_audit_report){0};
    if ((err = fk_audit_chain_init(&verify.chain)) != FK_OK)
        return err;
    verify.sign_ctx = EVP_MD_CTX_new();
    if (verify.sign_ctx == NULL)
        err = FK_ERR_NOMEM;
    else
        err = fk_audit_sign_key(secret, &verify.sign_key);
    if (err == FK_OK && head != NULL && (err = read_head(&verify, head, &at)) == FK_OK)
        verify.head = &at;
    if (err == FK_OK)
        err = walk_files(&verify, files, n_files);
    EVP_MD_CTX_free(verify.sign_ctx);
    EVP_PKEY_free(verify.sign_key);
    free(verify.anchors);
    fk_audit_chain_fini(&verify.chain);
    return err;
}
