/* Strict conversions between text and values: see text.h. */
#include "base/text.h"

#include "base/err.h"
#include "base/limits.h"

#include <string.h>
#include <strings.h>

struct unit {
    const char *suffix;
    uint64_t factor;
};

static int read_digits(const char *text, size_t len, size_t *ret_used, uint64_t *ret)
{
    uint64_t value = 0;
    size_t i;

    for (i = 0; i < len && text[i] >= '0' && text[i] <= '9'; i++) {
        uint64_t digit = (uint64_t)(text[i] - '0');

        if (value > (UINT64_MAX - digit) / 10)
            return FK_ERR_RANGE;
        value = value * 10 + digit;
    }
    if (i == 0)
        return FK_ERR_FORMAT;
    *ret_used = i;
    *ret = value;
    return FK_OK;
}

/* Digits followed by one of the units of a table that ends with a NULL suffix. */
static int read_with_unit(const char *text, size_t len, const struct unit *units, uint64_t *ret)
{
    uint64_t value;
    size_t used;
    int err = read_digits(text, len, &used, &value);

    if (err != FK_OK)
        return err;
    for (const struct unit *unit = units; unit->suffix != NULL; unit++) {
        size_t n = strlen(unit->suffix);

        if (n != len - used || memcmp(text + used, unit->suffix, n) != 0)
            continue;
        if (value > UINT64_MAX / unit->factor)
            return FK_ERR_RANGE;
        *ret = value * unit->factor;
        return FK_OK;
    }
    return FK_ERR_FORMAT;
}

int fk_text_u64(const char *text, size_t len, uint64_t *ret)
{
    static const struct unit units[] = {{"", 1}, {NULL, 0}};

    return read_with_unit(text, len, units, ret);
}

int fk_text_size(const char *text, size_t len, uint64_t *ret)
{
    static const struct unit units[] = {
        {"", 1}, {"k", 1024}, {"m", 1024 * 1024}, {"g", 1024 * 1024 * 1024}, {NULL, 0}};

    return read_with_unit(text, len, units, ret);
}

int fk_text_duration(const char *text, size_t len, uint64_t *ret_us)
{
    static const struct unit units[] = {{"us", 1},
                                        {"ms", 1000},
                                        {"s", 1000000},
                                        {"m", 60ULL * 1000000},
                                        {"h", 3600ULL * 1000000},
                                        {"d", 86400ULL * 1000000},
                                        {NULL, 0}};

    if (len == 1 && text[0] == '0') {
        *ret_us = 0;
        return FK_OK;
    }
    return read_with_unit(text, len, units, ret_us);
}

int fk_text_rate(const char *text, size_t len, uint64_t *ret_hourly)
{
    static const struct {
        const char *suffix;
        uint64_t an_hour;
    } units[] = {{"/s", 3600}, {"/m", 60}, {"/h", 1}};
    uint64_t value;
    size_t used;
    int err;

    if (len == 1 && text[0] == '0') {
        *ret_hourly = 0;
        return FK_OK;
    }
    if ((err = read_digits(text, len, &used, &value)) != FK_OK)
        return err;
    if (len - used != 2)
        return FK_ERR_FORMAT;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (memcmp(text + used, units[i].suffix, 2) != 0)
            continue;
        if (value > UINT64_MAX / units[i].an_hour)
            return FK_ERR_RANGE;
        *ret_hourly = value * units[i].an_hour;
        return FK_OK;
    }
    return FK_ERR_FORMAT;
}

void fk_text_hex(const void *data, size_t len, char *dst)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *bytes = data;

    for (size_t i = 0; i < len; i++) {
        dst[2 * i] = digits[bytes[i] >> 4];
        dst[2 * i + 1] = digits[bytes[i] & 15];
    }
    dst[2 * len] = '\0';
}

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int fk_text_unhex(const char *text, size_t len, void *dst, size_t size)
{
    uint8_t *bytes = dst;

    if (len != 2 * size)
        return FK_ERR_FORMAT;
    for (size_t i = 0; i < len; i++)
        if (digit_value(text[i]) < 0)
            return FK_ERR_FORMAT;
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(digit_value(text[2 * i]) * 16 + digit_value(text[2 * i + 1]));
    return FK_OK;
}

static bool is_label_char(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

void fk_text_lower(const char *text, size_t len, char *dst)
{
    for (size_t i = 0; i < len; i++)
        dst[i] = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] - 'A' + 'a') : text[i];
}

bool fk_text_host_valid(const void *text, size_t len)
{
    const uint8_t *bytes = text;
    size_t label = 0;

    if (len == 0 || len > FK_HOST_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] == '.' && label > 0)
            label = 0;
        else if (is_label_char(bytes[i]) && label < FK_HOST_LABEL_MAX)
            label++;
        else
            return false;
    }
    return label > 0;
}

bool fk_text_host_matches(const char *pattern, const char *name)
{
    const char *dot;

    if (strncmp(pattern, "*.", 2) != 0)
        return strcasecmp(pattern, name) == 0;
    dot = strchr(name, '.');
    return dot != NULL && dot != name && strcasecmp(pattern + 1, dot) == 0;
}
