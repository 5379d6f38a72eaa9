/*
 * The log: one structured line an event, "time level role[pid]: text key=value ...".
 *
 * Only the owner of a connection, a process or a command logs; base, wire and tls return errors.
 * There is no format for secrets. Strings that came from a peer are passed as fields, which escapes
 * them. Lines that a peer can provoke go through a struct fk_log_limit.
 */
#ifndef FK_BASE_LOG_H
#define FK_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fk_log_level { FK_LOG_ERROR, FK_LOG_WARN, FK_LOG_INFO, FK_LOG_DEBUG };

/* Bounded repetition of one kind of line: `burst` lines, then one a second with a count. */
struct fk_log_limit {
    uint64_t window_us; /* start of the present second */
    uint32_t lines;     /* lines in it */
    uint32_t dropped;   /* lines not written since the last one that was */
};

enum fk_log_type { FK_LOG_STR, FK_LOG_INT, FK_LOG_UINT, FK_LOG_ERR };

struct fk_log_field {
    const char *name;
    enum fk_log_type type;
    const char *str; /* FK_LOG_STR: need not end with NUL; NULL is written as "-" */
    size_t len;
    int64_t sint;
    uint64_t uint;
};

/* Fields of a line. fk_str() takes NUL-terminated text, fk_strn() bytes of a peer. */
struct fk_log_field fk_str(const char *name, const char *value);
struct fk_log_field fk_strn(const char *name, const void *value, size_t len);
struct fk_log_field fk_int(const char *name, int64_t value);
struct fk_log_field fk_uint(const char *name, uint64_t value);
/* err="CODE" of an FK_ERR_* and its text. */
struct fk_log_field fk_error(int err);
/* errno's text under the name "errno". */
struct fk_log_field fk_errno(int number);

/*
 * The process's name in each line (a string that lives for ever), the level from which lines are
 * written (default FK_LOG_INFO), and the descriptor they go to (default 2; the log does not own
 * it).
 */
void fk_log_role(const char *role);
void fk_log_threshold(enum fk_log_level level);
void fk_log_fd(int fd);
bool fk_log_wants(enum fk_log_level level);

/* Write a line. Never fails, never blocks for longer than one write(2). */
void fk_log_fields(enum fk_log_level level, const char *text, const struct fk_log_field *fields,
                   size_t n_fields);

/* True when a line of this kind may be written now; *ret_dropped then counts those held back. */
bool fk_log_permit(struct fk_log_limit *limit, uint32_t *ret_dropped);

/* fk_log(FK_LOG_WARN, "channel refused", fk_str("peer", name), fk_error(err)); at least one field
 */
#define fk_log(level, text, ...)                                               \
    fk_log_fields((level), (text), (const struct fk_log_field[]){__VA_ARGS__}, \
                  sizeof((const struct fk_log_field[]){__VA_ARGS__}) /         \
                      sizeof(struct fk_log_field))

/* As fk_log(), at most a few lines a second for this `limit`. */
#define fk_log_limited(limit, level, text, ...)                                     \
    do {                                                                            \
        uint32_t fk_dropped_;                                                       \
        if (fk_log_permit((limit), &fk_dropped_))                                   \
            fk_log((level), (text), __VA_ARGS__, fk_uint("repeated", fk_dropped_)); \
    } while (0)

#endif
