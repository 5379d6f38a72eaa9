/* base/err: every code has a name and a text of its own. */
#include "unit.h"

#include "base/err.h"

static const int codes[] = {
#define CODE(name, number, text) FK_ERR_##name,
    FK_ERR_LIST(CODE)
#undef CODE
};

enum { N_CODES = sizeof codes / sizeof codes[0] };

static void names_and_texts_are_unique(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_CODES; i++) {
        assert_true(codes[i] < 0);
        assert_string_not_equal(fk_err_name(codes[i]), "UNKNOWN");
        for (size_t j = 0; j < i; j++) {
            assert_int_not_equal(codes[i], codes[j]);
            assert_string_not_equal(fk_err_name(codes[i]), fk_err_name(codes[j]));
            assert_string_not_equal(fk_err_text(codes[i]), fk_err_text(codes[j]));
        }
    }
}

static void texts_are_fragments_for_people(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_CODES; i++) {
        const char *text = fk_err_text(codes[i]);
        size_t len = strlen(text);

        assert_true(len > 0 && len < 64);
        assert_true(text[len - 1] != '.' && text[len - 1] != '\n');
    }
}

static void other_numbers_have_a_name_too(void **state)
{
    static const int others[] = {1, -1000, 2147483647, -2147483647 - 1};

    (void)state;
    assert_string_equal(fk_err_name(FK_OK), "OK");
    assert_string_equal(fk_err_text(FK_OK), "success");
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_string_equal(fk_err_name(others[i]), "UNKNOWN");
        assert_string_equal(fk_err_text(others[i]), "unknown error");
    }
}

UNIT_MAIN(cmocka_unit_test(names_and_texts_are_unique),
          cmocka_unit_test(texts_are_fragments_for_people),
          cmocka_unit_test(other_numbers_have_a_name_too))
