/* Guarded paths: see pathguard.h. */
#include "http/pathguard.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/text.h"

#include <ctype.h>
#include <string.h>

bool fk_http_guarded_ok(const char *guarded)
{
    if (guarded[0] != '/')
        return false;
    for (const char *c = guarded; *c != '\0'; c++) {
        if (*c == '/' ? c[1] == '/'
                      : !isalnum((unsigned char)*c) && strchr("-_~!$&'()+,=:@", *c) == NULL)
            return false;
    }
    return guarded[1] == '\0' || guarded[strlen(guarded) - 1] != '/';
}

/* --- one reading --- */

/* Decode every "%XX" of `text` in place; whether there was one. */
static bool decode(uint8_t *text, size_t *len)
{
    size_t to = 0;
    bool any = false;

    for (size_t from = 0; from < *len; from++) {
        if (text[from] == '%' && *len - from > 2 &&
            fk_text_unhex((const char *)text + from + 1, 2, text + to, 1) == FK_OK) {
            from += 2;
            any = true;
        } else {
            text[to] = text[from];
        }
        to++;
    }
    *len = to;
    return any;
}

static bool is_slash(uint8_t c)
{
    return c == '/' || c == '\\';
}

/* The next segment, up to what some origin ends it by. */
static struct fk_reader next_segment(struct fk_reader *path)
{
    struct fk_reader segment;
    size_t len = 0;

    while (path->left > 0 && is_slash(path->next[0]))
        (void)fk_reader_skip(path, 1);
    while (len < path->left && !is_slash(path->next[len]))
        len++;
    (void)fk_reader_take(path, len, &segment);
    for (size_t i = 0; i < segment.left; i++)
        if (segment.next[i] == '\0' || strchr(";?#", segment.next[i]) != NULL)
            segment.left = i;
    if (segment.left <= 2 && segment.left > 0 && segment.next[0] == '.' &&
        segment.next[segment.left - 1] == '.')
        return segment;
    while (segment.left > 0 && strchr(" .", segment.next[segment.left - 1]) != NULL)
        segment.left--; /* file systems that drop them */
    return segment;
}

static bool same(struct fk_reader segment, const char *guarded, size_t len)
{
    if (segment.left != len)
        return false;
    for (size_t i = 0; i < len; i++)
        if (tolower(segment.next[i]) != tolower((unsigned char)guarded[i]))
            return false;
    return true;
}

/*
 * Whether the path's first segments are those of the guarded one. One that climbs with ".." is
 * inside of everything: origins do not agree about where it leads, and browsers send none.
 */
static bool enters(struct fk_reader path, const char *guarded)
{
    bool inside = false, outside = false;

    while (path.left > 0) {
        struct fk_reader segment = next_segment(&path);
        size_t len;

        if (same(segment, "..", 2))
            return true;
        if (segment.left == 0 || same(segment, ".", 1) || inside)
            continue;
        len = strcspn(guarded + 1, "/"); /* `guarded` is at a slash until we are inside */
        outside = outside || !same(segment, guarded + 1, len);
        guarded += 1 + len;
        inside = *guarded == '\0';
    }
    return inside && !outside;
}

bool fk_http_path_guarded(struct fk_reader path, const char *guarded)
{
    uint8_t text[FK_HTTP_LINE_MAX];
    struct fk_reader query = path, before = path;
    size_t len;

    if (guarded[1] == '\0')
        return true;
    if (fk_reader_until(&query, '?', &before) != FK_OK)
        before = path;
    if (before.left > sizeof text)
        return true; /* longer than any that came in */
    len = before.left;
    if (fk_reader_copy(&before, text, len) != FK_OK)
        return true;
    for (int i = 0; i <= FK_HTTP_PATH_DECODE_MAX; i++) {
        if (enters((struct fk_reader){text, len}, guarded))
            return true;
        if (!decode(text, &len))
            return false;
    }
    return true; /* still not plain */
}
