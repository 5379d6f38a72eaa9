/* One line an event, peer strings escaped: see log.h. */
#include "base/log.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/limits.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *log_role = "farkey";
static enum fk_log_level log_level = FK_LOG_INFO;
static int log_fd = 2;

/* A line being built; what does not fit is cut. */
struct line {
    char text[FK_LOG_LINE_MAX];
    size_t len;
};

void fk_log_role(const char *role)
{
    log_role = role;
}

void fk_log_threshold(enum fk_log_level level)
{
    log_level = level;
}

void fk_log_fd(int fd)
{
    log_fd = fd;
}

bool fk_log_wants(enum fk_log_level level)
{
    return level <= log_level;
}

struct fk_log_field fk_strn(const char *name, const void *value, size_t len)
{
    return (struct fk_log_field){.name = name, .type = FK_LOG_STR, .str = value, .len = len};
}

struct fk_log_field fk_str(const char *name, const char *value)
{
    return fk_strn(name, value, value == NULL ? 0 : strlen(value));
}

struct fk_log_field fk_int(const char *name, int64_t value)
{
    return (struct fk_log_field){.name = name, .type = FK_LOG_INT, .sint = value};
}

struct fk_log_field fk_uint(const char *name, uint64_t value)
{
    return (struct fk_log_field){.name = name, .type = FK_LOG_UINT, .uint = value};
}

struct fk_log_field fk_error(int err)
{
    return (struct fk_log_field){.name = "err", .type = FK_LOG_ERR, .sint = err};
}

struct fk_log_field fk_errno(int number)
{
    return fk_str("errno", strerror(number));
}

__attribute__((format(printf, 2, 3))) static void put(struct line *line, const char *format, ...)
{
    size_t room = sizeof line->text - line->len;
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(line->text + line->len, room, format, args);
    va_end(args);
    if (n > 0)
        line->len += (size_t)n < room ? (size_t)n : room - 1;
}

/* Quoted, with everything outside printable ASCII, quotes and backslashes as \xNN. */
static void put_escaped(struct line *line, const char *str, size_t len)
{
    put(line, "\"");
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)str[i];

        if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\')
            put(line, "\\x%02x", c);
        else
            put(line, "%c", c);
    }
    put(line, "\"");
}

static void put_field(struct line *line, const struct fk_log_field *field)
{
    put(line, " %s=", field->name);
    switch (field->type) {
    case FK_LOG_STR:
        if (field->str == NULL)
            put(line, "-");
        else
            put_escaped(line, field->str, field->len);
        break;
    case FK_LOG_INT:
        put(line, "%" PRId64, field->sint);
        break;
    case FK_LOG_UINT:
        put(line, "%" PRIu64, field->uint);
        break;
    case FK_LOG_ERR:
        put(line, "%s reason=\"%s\"", fk_err_name((int)field->sint), fk_err_text((int)field->sint));
        break;
    }
}

void fk_log_fields(enum fk_log_level level, const char *text, const struct fk_log_field *fields,
                   size_t n_fields)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    char time[FK_CLOCK_TEXT_SIZE];
    struct line line;
    ssize_t n;

    if (!fk_log_wants(level))
        return;
    line.len = 0;
    fk_clock_format(fk_clock_wall_us(), time);
    put(&line, "%s %s %s[%ld]: %s", time, names[level], log_role, (long)getpid(), text);
    for (size_t i = 0; i < n_fields; i++)
        put_field(&line, &fields[i]);
    /* Cut lines still end in a newline. */
    if (line.len > sizeof line.text - 2)
        line.len = sizeof line.text - 2;
    line.text[line.len++] = '\n';
    n = write(log_fd, line.text, line.len);
    (void)n; /* nowhere left to complain */
}

bool fk_log_permit(struct fk_log_limit *limit, uint32_t *ret_dropped)
{
    uint64_t now = fk_clock_us();

    if (limit->window_us == 0 || now - limit->window_us >= 1000000) {
        limit->window_us = now;
        limit->lines = 0;
    }
    if (limit->lines >= FK_LOG_BURST) {
        limit->dropped++;
        return false;
    }
    limit->lines++;
    *ret_dropped = limit->dropped;
    limit->dropped = 0;
    return true;
}
