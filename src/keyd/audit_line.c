/* One operation in text: see audit_line.h. Called for each operation: no allocation, no printf. */
#include "keyd/audit_line.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <string.h>

/* Longest value taken from a peer, after escaping: a DNS name has 253 bytes. */
#define VALUE_MAX 256
#define HASH_MAX  64

struct line {
    char *dst;
    size_t len; /* never above FK_AUDIT_LINE_MAX - 1: the newline fits */
};

static void put_bytes(struct line *line, const char *text, size_t len)
{
    size_t room = FK_AUDIT_LINE_MAX - 1 - line->len;

    if (len > room)
        len = room;
    memcpy(line->dst + line->len, text, len);
    line->len += len;
}

static void put_text(struct line *line, const char *text)
{
    put_bytes(line, text, strlen(text));
}

static void put_number(struct line *line, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;

    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    put_bytes(line, digits + at, sizeof digits - at);
}

/* Characters that stand for themselves; all others become %XX. */
static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
           (c != '\0' && strchr(".-_*:/@+", c) != NULL);
}

static void put_escaped(struct line *line, const char *value, size_t len)
{
    size_t end = line->len + VALUE_MAX;

    for (size_t i = 0; i < len && line->len < end; i++) {
        char hex[4] = "%";

        if (is_plain(value[i])) {
            put_bytes(line, &value[i], 1);
            continue;
        }
        fk_text_hex(&value[i], 1, hex + 1);
        put_bytes(line, hex, 3);
    }
}

static void put_value(struct line *line, const char *name, const char *value, size_t len)
{
    put_text(line, name);
    if (value == NULL || len == 0)
        put_text(line, "-");
    else
        put_escaped(line, value, len);
}

/* The date changes once a second; working it out costs more than the rest of the line. */
static void put_time(struct line *line, uint64_t wall_us)
{
    static char text[FK_CLOCK_TEXT_SIZE]; /* "2026-11-20T19:16:29.123456Z" */
    static uint64_t second = UINT64_MAX;
    uint32_t fraction = (uint32_t)(wall_us % 1000000);

    if (second != wall_us / 1000000) {
        second = wall_us / 1000000;
        fk_clock_format(wall_us, text);
    }
    for (size_t i = 25; i > 19; i--) {
        text[i] = (char)('0' + fraction % 10);
        fraction /= 10;
    }
    put_text(line, "t=");
    put_text(line, text);
}

static void put_address(struct line *line, const struct fk_reader *ip)
{
    char text[INET6_ADDRSTRLEN];

    put_text(line, " client=");
    if ((ip->left == 4 || ip->left == 16) &&
        inet_ntop(ip->left == 4 ? AF_INET : AF_INET6, ip->next, text, sizeof text) != NULL)
        put_text(line, text);
    else
        put_text(line, "-");
}

static void put_hash(struct line *line, const struct fk_reader *hash)
{
    char hex[2 * HASH_MAX + 1];
    size_t len = hash->left < HASH_MAX ? hash->left : HASH_MAX;

    put_text(line, " hash=");
    if (len == 0) {
        put_text(line, "-");
        return;
    }
    fk_text_hex(hash->next, len, hex);
    put_bytes(line, hex, 2 * len);
}

size_t fk_audit_line_format(const struct fk_audit_event *event, char dst[FK_AUDIT_LINE_MAX])
{
    struct line line = {.dst = dst};

    put_time(&line, event->wall_us);
    put_value(&line, " edge=", event->edge, event->edge == NULL ? 0 : strlen(event->edge));
    put_value(&line, " key=", event->key, event->key == NULL ? 0 : strlen(event->key));
    put_value(&line, " op=", event->op, event->op == NULL ? 0 : strlen(event->op));
    put_value(&line, " sni=", (const char *)event->sni.next, event->sni.left);
    put_address(&line, &event->client_ip);
    put_hash(&line, &event->hash);
    put_text(&line, " result=");
    put_text(&line, event->err == FK_OK ? "OK" : fk_err_name(event->err));
    put_text(&line, " us=");
    put_number(&line, event->micros);
    dst[line.len++] = '\n';
    return line.len;
}
