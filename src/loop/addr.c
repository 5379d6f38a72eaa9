/*
 * Addresses and ranges: see addr.h. Text here comes from configuration files and operators; a
 * peer's address is only ever binary. Never resolves a name, never opens anything.
 */
#include "loop/addr.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define UNIX_PREFIX "unix:"

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static struct sockaddr_in *as_in(struct fk_addr *addr)
{
    return (struct sockaddr_in *)(void *)&addr->storage;
}

static const struct sockaddr_in *as_const_in(const struct fk_addr *addr)
{
    return (const struct sockaddr_in *)(const void *)&addr->storage;
}

static struct sockaddr_in6 *as_in6(struct fk_addr *addr)
{
    return (struct sockaddr_in6 *)(void *)&addr->storage;
}

static const struct sockaddr_in6 *as_const_in6(const struct fk_addr *addr)
{
    return (const struct sockaddr_in6 *)(const void *)&addr->storage;
}

/* --- text to address --- */

int fk_addr_split(const char *text, char *ret_host, size_t host_size, uint16_t *ret_port)
{
    const char *host = text, *end, *port;
    uint64_t number;
    size_t len;

    if (text[0] == '[') {
        host = text + 1;
        end = strchr(host, ']');
        if (end == NULL || end[1] != ':')
            return FK_ERR_FORMAT;
        port = end + 2;
    } else {
        end = strchr(text, ':');
        if (end == NULL)
            return FK_ERR_FORMAT;
        port = end + 1;
    }
    len = (size_t)(end - host);
    if (len == 0 || len > FK_HOST_MAX || len >= host_size)
        return FK_ERR_FORMAT;
    if (fk_text_u64(port, strlen(port), &number) != FK_OK || number > UINT16_MAX)
        return FK_ERR_FORMAT;
    memcpy(ret_host, host, len);
    ret_host[len] = '\0';
    *ret_port = (uint16_t)number;
    return FK_OK;
}

static int parse_unix(const char *path, struct fk_addr *ret)
{
    struct fk_addr addr = {.len = 0};
    struct sockaddr_un *un = (struct sockaddr_un *)(void *)&addr.storage;
    size_t len = strlen(path);

    if (len == 0 || len >= sizeof un->sun_path)
        return FK_ERR_FORMAT;
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, path, len + 1);
    addr.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
    *ret = addr;
    return FK_OK;
}

/* "fe80::1%eth0": the scope is an interface's name or number. */
static int parse_ipv6(const char *host, uint16_t port, struct fk_addr *ret)
{
    struct fk_addr addr = {.len = sizeof(struct sockaddr_in6)};
    const char *scope = strchr(host, '%');
    size_t len = scope == NULL ? strlen(host) : (size_t)(scope - host);
    char digits[INET6_ADDRSTRLEN];
    uint64_t number = 0;

    if (len >= sizeof digits)
        return FK_ERR_FORMAT;
    memcpy(digits, host, len);
    digits[len] = '\0';
    if (inet_pton(AF_INET6, digits, &as_in6(&addr)->sin6_addr) != 1)
        return FK_ERR_FORMAT;
    if (scope != NULL && fk_text_u64(scope + 1, strlen(scope + 1), &number) != FK_OK) {
        number = if_nametoindex(scope + 1);
        if (number == 0)
            return FK_ERR_FORMAT;
    }
    if (number > UINT32_MAX)
        return FK_ERR_FORMAT;
    as_in6(&addr)->sin6_family = AF_INET6;
    as_in6(&addr)->sin6_port = htons(port);
    as_in6(&addr)->sin6_scope_id = (uint32_t)number;
    *ret = addr;
    return FK_OK;
}

/* A name that ends in a number is an IPv4 address gone wrong. */
bool fk_addr_is_name(const char *host)
{
    static const char set[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    const char *last = strrchr(host, '.');

    last = last == NULL ? host : last + 1;
    return strspn(host, set) == strlen(host) && strspn(last, "0123456789") != strlen(last);
}

int fk_addr_parse(const char *text, struct fk_addr *ret)
{
    struct fk_addr addr = {.len = sizeof(struct sockaddr_in)};
    char host[FK_HOST_MAX + 1];
    uint16_t port;
    int err;

    if (strncmp(text, UNIX_PREFIX, sizeof UNIX_PREFIX - 1) == 0)
        return parse_unix(text + sizeof UNIX_PREFIX - 1, ret);
    err = fk_addr_split(text, host, sizeof host, &port);
    if (err != FK_OK)
        return err;
    if (text[0] == '[')
        return parse_ipv6(host, port, ret);
    if (strcmp(host, "*") == 0)
        return parse_ipv6("::", port, ret);
    if (inet_pton(AF_INET, host, &as_in(&addr)->sin_addr) != 1)
        return fk_addr_is_name(host) ? FK_ERR_NOT_FOUND : FK_ERR_FORMAT;
    as_in(&addr)->sin_family = AF_INET;
    as_in(&addr)->sin_port = htons(port);
    *ret = addr;
    return FK_OK;
}

int fk_addr_parse_local(const char *text, struct fk_addr *ret)
{
    char with_port[FK_ADDR_TEXT_SIZE];
    struct fk_addr addr;
    uint8_t ip[16];

    if (fk_addr_parse(text, &addr) != FK_OK) {
        int n = snprintf(with_port, sizeof with_port, strchr(text, ':') != NULL ? "[%s]:0" : "%s:0",
                         text);

        if (n < 0 || (size_t)n >= sizeof with_port || fk_addr_parse(with_port, &addr) != FK_OK)
            return FK_ERR_FORMAT;
    }
    if (fk_addr_ip(&addr, ip) == 0) /* a UNIX socket */
        return FK_ERR_FORMAT;
    *ret = addr;
    return FK_OK;
}

/* --- address to text --- */

static void format_ipv6(const struct fk_addr *addr, char dst[FK_ADDR_TEXT_SIZE])
{
    const struct sockaddr_in6 *in6 = as_const_in6(addr);
    char digits[INET6_ADDRSTRLEN];

    if (IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr)) {
        snprintf(dst, FK_ADDR_TEXT_SIZE, "*:%u", ntohs(in6->sin6_port));
        return;
    }
    if (inet_ntop(AF_INET6, &in6->sin6_addr, digits, sizeof digits) == NULL)
        digits[0] = '\0';
    if (in6->sin6_scope_id != 0)
        snprintf(dst, FK_ADDR_TEXT_SIZE, "[%s%%%u]:%u", digits, in6->sin6_scope_id,
                 ntohs(in6->sin6_port));
    else
        snprintf(dst, FK_ADDR_TEXT_SIZE, "[%s]:%u", digits, ntohs(in6->sin6_port));
}

/* The path of a UNIX socket need not end in NUL, and is empty for an unnamed peer. */
static void format_unix(const struct fk_addr *addr, char dst[FK_ADDR_TEXT_SIZE])
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)(const void *)&addr->storage;
    size_t start = offsetof(struct sockaddr_un, sun_path);
    size_t len = addr->len > start ? strnlen(un->sun_path, addr->len - start) : 0;

    snprintf(dst, FK_ADDR_TEXT_SIZE, UNIX_PREFIX "%.*s", (int)len, un->sun_path);
}

void fk_addr_format(const struct fk_addr *addr, char dst[FK_ADDR_TEXT_SIZE])
{
    char digits[INET_ADDRSTRLEN];
    uint8_t ip[16];

    if (addr->storage.ss_family == AF_UNIX) {
        format_unix(addr, dst);
    } else if (fk_addr_ip(addr, ip) == 4) {
        /* A peer of a dual-stack listener reads as what it is: an IPv4 host. */
        if (inet_ntop(AF_INET, ip, digits, sizeof digits) == NULL)
            digits[0] = '\0';
        snprintf(dst, FK_ADDR_TEXT_SIZE, "%s:%u", digits, fk_addr_port(addr));
    } else if (addr->storage.ss_family == AF_INET6) {
        format_ipv6(addr, dst);
    } else {
        snprintf(dst, FK_ADDR_TEXT_SIZE, "-");
    }
}

/* --- parts --- */

uint16_t fk_addr_port(const struct fk_addr *addr)
{
    if (addr->storage.ss_family == AF_INET)
        return ntohs(as_const_in(addr)->sin_port);
    if (addr->storage.ss_family == AF_INET6)
        return ntohs(as_const_in6(addr)->sin6_port);
    return 0;
}

void fk_addr_set_port(struct fk_addr *addr, uint16_t port)
{
    if (addr->storage.ss_family == AF_INET)
        as_in(addr)->sin_port = htons(port);
    else if (addr->storage.ss_family == AF_INET6)
        as_in6(addr)->sin6_port = htons(port);
}

size_t fk_addr_ip(const struct fk_addr *addr, uint8_t ret[16])
{
    if (addr->storage.ss_family == AF_INET) {
        memcpy(ret, &as_const_in(addr)->sin_addr, 4);
        return 4;
    }
    if (addr->storage.ss_family == AF_INET6) {
        const uint8_t *bytes = as_const_in6(addr)->sin6_addr.s6_addr;

        if (memcmp(bytes, mapped_prefix, sizeof mapped_prefix) == 0) {
            memcpy(ret, bytes + 12, 4);
            return 4;
        }
        memcpy(ret, bytes, 16);
        return 16;
    }
    return 0;
}

int fk_addr_from_ip(const uint8_t *ip, size_t len, uint16_t port, struct fk_addr *ret)
{
    struct fk_addr addr = {.len = 0};

    if (len == 4) {
        as_in(&addr)->sin_family = AF_INET;
        memcpy(&as_in(&addr)->sin_addr, ip, 4);
        addr.len = sizeof(struct sockaddr_in);
    } else if (len == 16) {
        as_in6(&addr)->sin6_family = AF_INET6;
        memcpy(&as_in6(&addr)->sin6_addr, ip, 16);
        addr.len = sizeof(struct sockaddr_in6);
    } else {
        return FK_ERR_INVAL;
    }
    fk_addr_set_port(&addr, port);
    *ret = addr;
    return FK_OK;
}

/* --- ranges --- */

/* Whether the first `bits` bits of two addresses are equal. */
static bool same_prefix(const uint8_t a[16], const uint8_t b[16], unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;
    uint8_t mask = (uint8_t)(0xff00U >> rest);

    if (memcmp(a, b, whole) != 0)
        return false;
    return rest == 0 || ((a[whole] ^ b[whole]) & mask) == 0;
}

static bool host_bits_clear(const uint8_t ip[16], unsigned bits)
{
    for (unsigned i = bits; i < 128; i++)
        if ((ip[i / 8] & (0x80U >> (i % 8))) != 0)
            return false;
    return true;
}

int fk_range_parse(const char *text, struct fk_range *ret)
{
    const char *slash = strchr(text, '/');
    size_t len = slash == NULL ? strlen(text) : (size_t)(slash - text);
    struct fk_range range = {.bits = 128};
    char digits[INET6_ADDRSTRLEN];
    unsigned first = 0; /* bits that the text's prefix length does not count */
    uint64_t bits;

    if (len >= sizeof digits)
        return FK_ERR_FORMAT;
    memcpy(digits, text, len);
    digits[len] = '\0';
    if (inet_pton(AF_INET, digits, range.ip + 12) == 1) {
        memcpy(range.ip, mapped_prefix, sizeof mapped_prefix);
        first = 96;
    } else if (inet_pton(AF_INET6, digits, range.ip) != 1) {
        return FK_ERR_FORMAT;
    }
    if (slash != NULL) {
        if (fk_text_u64(slash + 1, strlen(slash + 1), &bits) != FK_OK || bits > 128 - first)
            return FK_ERR_FORMAT;
        range.bits = (uint8_t)(bits + first);
    }
    if (!host_bits_clear(range.ip, range.bits))
        return FK_ERR_FORMAT;
    *ret = range;
    return FK_OK;
}

bool fk_range_has(const struct fk_range *range, const struct fk_addr *addr)
{
    uint8_t ip[16], full[16];
    size_t len = fk_addr_ip(addr, ip);

    if (len == 0)
        return false;
    if (len == 4) {
        memcpy(full, mapped_prefix, sizeof mapped_prefix);
        memcpy(full + 12, ip, 4);
    } else {
        memcpy(full, ip, 16);
    }
    return same_prefix(range->ip, full, range->bits);
}

static bool in_ranges(const struct fk_ranges *ranges, const struct fk_addr *addr)
{
    for (size_t i = 0; i < ranges->count; i++)
        if (fk_range_has(&ranges->items[i], addr))
            return true;
    return false;
}

bool fk_addr_permitted(const struct fk_addr *addr, const struct fk_ranges *allow,
                       const struct fk_ranges *deny)
{
    if (addr->storage.ss_family == AF_UNIX)
        return true;
    if (in_ranges(deny, addr))
        return false;
    return allow->count == 0 || in_ranges(allow, addr);
}

int fk_ranges_parse(char *const *texts, size_t count, struct fk_ranges *ret)
{
    struct fk_range *items = NULL;
    int err;

    if (count > 0 && (items = calloc(count, sizeof *items)) == NULL)
        return FK_ERR_NOMEM;
    for (size_t i = 0; i < count; i++) {
        if ((err = fk_range_parse(texts[i], &items[i])) != FK_OK) {
            free(items);
            return err;
        }
    }
    *ret = (struct fk_ranges){items, count};
    return FK_OK;
}
