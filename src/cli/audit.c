/* `farkey audit verify`: is the log whole and unchanged. */
#include "base/err.h"
#include "base/secret.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/files.h"
#include "cli/options.h"
#include "keyd/audit_verify.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>

#define SECRET_LEN 32

struct audit_values {
    const char *key;
    const char *head;
};

/* The file holds 64 hexadecimal digits and perhaps a newline. */
static int read_secret(const char *path, uint8_t ret[SECRET_LEN])
{
    uint8_t *text = NULL;
    size_t len = 0, total;
    int err = fk_file_read(path, &text, &len);

    if (err != FK_OK)
        return err;
    total = len;
    if (len > 0 && text[len - 1] == '\n')
        len--;
    err = fk_text_unhex((const char *)text, len, ret, SECRET_LEN);
    OPENSSL_cleanse(text, total);
    free(text);
    return err;
}

/* The head file that a key server keeps beside the newest log; ret is empty when there is none. */
static int head_beside(const char *log, char ret[FK_PATH_SIZE])
{
    if (snprintf(ret, FK_PATH_SIZE, "%s.head", log) >= FK_PATH_SIZE)
        return FK_ERR_LIMIT;
    if (!fk_file_exists(ret))
        ret[0] = '\0';
    return FK_OK;
}

/* `head`: what the tail was judged by, NULL for nothing. */
static int report(const struct fk_audit_report *result, const char *head, int err)
{
    if (err == FK_OK) {
        printf("good: %" PRIu64 " lines, %" PRIu64 " chains, %" PRIu64 " checkpoints",
               result->lines, result->chains, result->checkpoints);
        if (result->torn > 0)
            printf(", %" PRIu64 " lines cut short by a crash", result->torn);
        putchar('\n');
        if (head != NULL)
            printf("none cut from the tail, by %s\n", head);
        else
            puts("no head file beside the log: lines cut from the tail would not be noticed");
        return 0;
    }
    if (result->file != NULL && result->line > 0)
        fprintf(stderr, "%s:%" PRIu64 ": %s\n", result->file, result->line, result->what);
    else
        fprintf(stderr, "farkey audit: %s%s%s\n", result->file != NULL ? result->file : "",
                result->file != NULL ? ": " : "",
                result->what[0] != '\0' ? result->what : fk_err_text(err));
    return 1;
}

static int audit_verify(int argc, char **argv)
{
    static const struct fk_opt options[] = {
        {"key", 'k', FK_OPT_STRING, offsetof(struct audit_values, key), "FILE",
         "the log's secret (default: audit.key)", 0, 0, NULL},
        {"head", 0, FK_OPT_STRING, offsetof(struct audit_values, head), "FILE",
         "the head file, which tells a log whose tail was cut (default: LOG.head beside the last "
         "LOG, if there)",
         0, 0, NULL},
        {NULL, 0, FK_OPT_FLAG, 0, NULL, NULL, 0, 0, NULL},
    };
    static const struct fk_opt_command command = {
        "farkey audit verify",
        "LOG...",
        "Check that no line of a log was changed, removed or added. Rotated logs: oldest first.",
        options,
        1,
        10000};
    struct audit_values values = {"audit.key", NULL};
    struct fk_audit_report result = {0};
    uint8_t secret[SECRET_LEN];
    char beside[FK_PATH_SIZE];
    int first, err = fk_opt_parse(&command, &values, argc, argv, &first);

    if (err != FK_OK)
        return fk_opt_status(err);
    if (values.head == NULL) {
        if ((err = head_beside(argv[argc - 1], beside)) != FK_OK)
            return fk_command_fail("cannot look beside", argv[argc - 1], err);
        values.head = beside[0] != '\0' ? beside : NULL;
    }
    if ((err = read_secret(values.key, secret)) != FK_OK)
        return fk_command_fail("cannot read", values.key, err);
    err = fk_audit_verify(secret, values.head, (const char *const *)&argv[first],
                          (size_t)(argc - first), &result);
    fk_wipe(secret, sizeof secret);
    return report(&result, values.head, err);
}

int fk_cmd_audit(int argc, char **argv)
{
    static const struct fk_command table[] = {
        {"verify", audit_verify, "check a log's chain and checkpoints"},
        {NULL, NULL, NULL},
    };

    return fk_command_run(table, "farkey audit", argc, argv);
}
