/* admin/bearer: the Authorization field, in pieces of all sizes, against a token. */
#include "unit.h"

#include "admin/bearer.h"

#include <string.h>

#define TOKEN "correct-horse-battery-staple"

/* The field in pieces of `step` bytes, after and before others. */
static void feed(struct fk_field *bearer, const char *name, const char *value, size_t step)
{
    size_t name_len = strlen(name), value_len = strlen(value);

    for (size_t at = 0; at < name_len; at += step)
        fk_field_name(bearer, name + at, name_len - at < step ? name_len - at : step);
    for (size_t at = 0; at < value_len; at += step)
        fk_field_value(bearer, value + at, value_len - at < step ? value_len - at : step);
    if (value_len == 0)
        fk_field_value(bearer, "", 0);
}

static bool grants(const char *name, const char *value, size_t step)
{
    struct fk_field bearer;

    fk_field_reset(&bearer, "authorization");
    feed(&bearer, "Host", "x", step);
    feed(&bearer, name, value, step);
    feed(&bearer, "Accept", "Bearer " TOKEN, step);
    return fk_bearer_grants(&bearer, TOKEN, strlen(TOKEN));
}

static void pieces_of_all_sizes(void **state)
{
    (void)state;
    for (size_t step = 1; step < 64; step++) {
        assert_true(grants("Authorization", "Bearer " TOKEN, step));
        assert_true(grants("AUTHORIZATION", "BEARER  " TOKEN, step));
        assert_false(grants("Authorization", "Bearer " TOKEN "x", step));
        assert_false(grants("Authorization", "BearerX " TOKEN, step));
        assert_false(grants("X-Authorization", "Bearer " TOKEN, step));
    }
}

static void every_prefix_is_refused(void **state)
{
    static const char value[] = "Bearer " TOKEN, name[] = "Authorization";
    char cut[sizeof value];

    (void)state;
    for (size_t len = 0; len < sizeof value - 1; len++) {
        memcpy(cut, value, len);
        cut[len] = '\0';
        assert_false(grants("Authorization", cut, 7));
    }
    for (size_t len = 0; len < sizeof name - 1; len++) {
        memcpy(cut, name, len);
        cut[len] = '\0';
        assert_false(grants(cut, "Bearer " TOKEN, 7));
    }
}

static void every_other_byte_is_refused(void **state)
{
    char value[] = "Bearer " TOKEN;

    (void)state;
    for (size_t i = strlen("Bearer "); i < sizeof value - 1; i++) {
        value[i] ^= 1;
        assert_false(grants("Authorization", value, 100));
        value[i] ^= 1;
    }
    assert_true(grants("Authorization", value, 100));
}

static void two_fields_are_refused(void **state)
{
    struct fk_field bearer;

    (void)state;
    fk_field_reset(&bearer, "authorization");
    feed(&bearer, "Authorization", "Bearer " TOKEN, 5);
    assert_true(fk_bearer_grants(&bearer, TOKEN, strlen(TOKEN)));
    feed(&bearer, "Authorization", "", 5);
    assert_false(fk_bearer_grants(&bearer, TOKEN, strlen(TOKEN)));
}

static void longest_and_longer(void **state)
{
    char token[FK_ADMIN_TOKEN_MAX], value[FK_FIELD_VALUE_MAX + 64];
    struct fk_field bearer;

    (void)state;
    memset(token, 't', sizeof token);
    memset(value, 't', sizeof value);
    memcpy(value, "Bearer ", 7);
    for (size_t len = 7 + sizeof token - 1; len < sizeof value; len++) {
        fk_field_reset(&bearer, "authorization");
        fk_field_name(&bearer, "authorization", 13);
        fk_field_value(&bearer, value, len / 2);
        fk_field_value(&bearer, value + len / 2, len - len / 2);
        assert_int_equal(fk_bearer_grants(&bearer, token, sizeof token), len == 7 + sizeof token);
    }
}

UNIT_MAIN(cmocka_unit_test(pieces_of_all_sizes), cmocka_unit_test(every_prefix_is_refused),
          cmocka_unit_test(every_other_byte_is_refused), cmocka_unit_test(two_fields_are_refused),
          cmocka_unit_test(longest_and_longer))
