/*
 * Checks audit logs: `farkey audit verify --key audit.key [--head FILE] LOG...`.
 */
#ifndef FK_KEYD_AUDIT_VERIFY_H
#define FK_KEYD_AUDIT_VERIFY_H

#include <stddef.h>
#include <stdint.h>

struct fk_audit_report {
    uint64_t lines;       /* lines checked */
    uint64_t chains;      /* chains seen */
    uint64_t checkpoints; /* signatures checked */
    uint64_t torn;        /* lines that a crash left incomplete, each followed by a new chain */
    const char *file;     /* where it went wrong: borrowed from `files` */
    uint64_t line;        /* 1-based line in that file; 0: the whole file */
    char what[256];       /* what is wrong, a sentence without full stop */
};

/*
 * Check `n_files` logs, oldest first, with the 32-byte audit secret. `head`: the head file's path,
 * or NULL (a cut tail is then found back to the last checkpoint that names it only). FK_OK with the
 * counts; FK_ERR_VERIFY with file, line and what; FK_ERR_SYS (what says which file), FK_ERR_NOMEM.
 */
int fk_audit_verify(const uint8_t secret[32], const char *head, const char *const *files,
                    size_t n_files, struct fk_audit_report *ret);

#endif
