/* Cache-Status: see cachestatus.h. */
#include "http/cachestatus.h"

#include "base/err.h"
#include "base/limits.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

static const char *const forwards[] = {
#define FK_CACHE_FORWARD_TOKEN(id, token) token,
    FK_CACHE_FORWARDS(FK_CACHE_FORWARD_TOKEN)
#undef FK_CACHE_FORWARD_TOKEN
};

struct line {
    char text[FK_NAME_MAX + 160];
    size_t len;
};

__attribute__((format(printf, 2, 3))) static void put(struct line *line, const char *format, ...)
{
    size_t room = sizeof line->text - line->len;
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(line->text + line->len, room, format, args);
    va_end(args);
    line->len += n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;
}

int fk_cachestatus_add(struct fk_http_headers *headers, const char *name,
                       const struct fk_cachestatus *status)
{
    struct line line = {.len = 0};
    int err;

    put(&line, "%.*s", FK_NAME_MAX, name);
    if (status->hit)
        put(&line, "; hit");
    else if (status->forward != FK_CACHE_FWD_NONE)
        put(&line, "; fwd=%s", forwards[status->forward]);
    if (status->forward_status != 0)
        put(&line, "; fwd-status=%d", status->forward_status);
    if (status->has_ttl)
        put(&line, "; ttl=%" PRId64, status->ttl);
    if (status->stored)
        put(&line, "; stored");
    if (status->collapsed)
        put(&line, "; collapsed");
    if (status->detail != NULL)
        put(&line, "; detail=%.64s", status->detail);
    err = fk_http_headers_add_text(headers, "Cache-Status", line.text);
    return err == FK_OK ? fk_http_headers_join(headers, "Cache-Status", ", ") : err;
}
