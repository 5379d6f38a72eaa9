/* Cache-Status: see cachestatus.h. */
#include "http/cachestatus.h"

#include "base/err.h"
#include "base/limits.h"

#include <inttypes.h>
#include <stdio.h>

static const char *const forwards[] = {
#define FK_CACHE_FORWARD_TOKEN(id, token) token,
    FK_CACHE_FORWARDS(FK_CACHE_FORWARD_TOKEN)
#undef FK_CACHE_FORWARD_TOKEN
};

int fk_cachestatus_add(struct fk_http_headers *headers, const char *name,
                       const struct fk_cachestatus *status)
{
    bool forwarded = !status->hit && status->forward != FK_CACHE_FWD_NONE;
    char line[FK_NAME_MAX + 192], from[32] = "", ttl[32] = "";
    int err;

    if (status->forward_status != 0)
        snprintf(from, sizeof from, "; fwd-status=%d", status->forward_status);
    if (status->has_ttl)
        snprintf(ttl, sizeof ttl, "; ttl=%" PRId64, status->ttl);
    snprintf(line, sizeof line, "%.*s%s%s%s%s%s%s%s%s%.64s", FK_NAME_MAX, name,
             status->hit ? "; hit" : "", forwarded ? "; fwd=" : "",
             forwarded ? forwards[status->forward] : "", from, ttl,
             status->stored ? "; stored" : "", status->collapsed ? "; collapsed" : "",
             status->detail != NULL ? "; detail=" : "",
             status->detail != NULL ? status->detail : "");
    err = fk_http_headers_add_text(headers, "Cache-Status", line);
    return err == FK_OK ? fk_http_headers_join(headers, "Cache-Status", ", ") : err;
}
