/*
 * Strict text to number conversions, with the units of the configuration language, and text to
 * binary. The whole string must be the value: no leading or trailing spaces, no sign unless said.
 */
#ifndef FK_BASE_TEXT_H
#define FK_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A decimal number. FK_ERR_FORMAT, FK_ERR_RANGE. */
int fk_text_u64(const char *text, size_t len, uint64_t *ret);

/* A size in bytes: "512", "16k", "4m", "1g" (powers of 1024). FK_ERR_FORMAT, FK_ERR_RANGE. */
int fk_text_size(const char *text, size_t len, uint64_t *ret);

/* A duration in microseconds: "250us", "20ms", "10s", "5m", "2h", "7d". A unit is required, except
 * for 0. */
int fk_text_duration(const char *text, size_t len, uint64_t *ret_us);

/*
 * A rate: "500/s", "30/m", "10/h", in events an hour, in which all three are whole. 0 needs no
 * unit. FK_ERR_FORMAT, FK_ERR_RANGE.
 */
int fk_text_rate(const char *text, size_t len, uint64_t *ret_hourly);

/* Lower-case hexadecimal of `len` bytes and a NUL: 2 * len + 1 bytes at `dst`. */
void fk_text_hex(const void *data, size_t len, char *dst);

/* The bytes of an even number of hexadecimal digits, exactly `size` of them. FK_ERR_FORMAT. */
int fk_text_unhex(const char *text, size_t len, void *dst, size_t size);

/* `len` bytes at `dst` (may be `text`), with ASCII letters in lower case; no NUL is added. */
void fk_text_lower(const char *text, size_t len, char *dst);

/*
 * Whether these bytes are a host name as a TLS client sends it (RFC 6066 section 3): labels of 1 to
 * 63 letters, digits, '-' and '_', parted by single dots, at most FK_HOST_MAX bytes, no final dot.
 */
bool fk_text_host_valid(const void *text, size_t len);

/*
 * Whether DNS name `name` matches `pattern`: equal without regard to ASCII case, or the pattern is
 * "*." and a suffix and the name has exactly one more label (RFC 6125 section 6.4.3).
 */
bool fk_text_host_matches(const char *pattern, const char *name);

#endif
