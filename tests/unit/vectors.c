/* Reading test vectors: see vectors.h. */
#include "vectors.h"

#include "unit.h"

#include "base/err.h"
#include "base/text.h"

#include <stdio.h>

/* The bytes of "hex", "bb*n" and "-" parts joined by "+". Allocated; one byte at least. */
static uint8_t *parse_bytes(const char *text, size_t *ret_len)
{
    uint8_t *bytes = NULL;
    size_t len = 0;

    while (*text != '\0') {
        size_t n = strcspn(text, "+"), digits = strcspn(text, "*+");
        uint64_t times = 1;

        if (digits < n) {
            assert_int_equal(digits, 2);
            assert_ok(fk_text_u64(text + digits + 1, n - digits - 1, &times));
        }
        if (n == 1 && text[0] == '-')
            digits = 0;
        bytes = realloc(bytes, len + (size_t)times * digits / 2 + 1);
        assert_non_null(bytes);
        for (; times > 0; times--, len += digits / 2)
            assert_ok(fk_text_unhex(text, digits, bytes + len, digits / 2));
        text += n;
        text += *text == '+' ? 1 : 0;
    }
    *ret_len = len;
    return bytes;
}

static void parse_field(struct vector *vector, char *word)
{
    char *equals = strchr(word, '=');

    assert_non_null(equals);
    assert_true(vector->n_fields < VECTOR_FIELDS_MAX);
    *equals = '\0';
    assert_false(vector_has(vector, word));
    vector->fields[vector->n_fields++] = (struct vector_field){.name = word, .text = equals + 1};
}

static void parse_line(struct vector *vector, char *line)
{
    char *rest = line, *word;

    *vector = (struct vector){.line = line};
    while ((word = strsep(&rest, " \n")) != NULL) {
        if (*word == '\0')
            continue;
        if (vector->name == NULL)
            vector->name = word;
        else if (vector->bytes == NULL)
            vector->bytes = parse_bytes(word, &vector->len);
        else
            parse_field(vector, word);
    }
    assert_non_null(vector->bytes);
}

void vectors_load(const char *file, struct vectors *ret)
{
    const char *folder = getenv("FK_VECTORS");
    char path[1024];
    char *line = NULL;
    size_t size = 0;
    FILE *stream;

    snprintf(path, sizeof path, "%s/%s", folder != NULL ? folder : "tests/vectors", file);
    stream = fopen(path, "re");
    if (stream == NULL)
        fail_msg("%s: cannot open (set FK_VECTORS to the folder tests/vectors)", path);
    *ret = (struct vectors){0};
    while (getline(&line, &size, stream) > 0) {
        if (line[0] == '#' || line[0] == '\n')
            continue;
        ret->items = realloc(ret->items, (ret->count + 1) * sizeof *ret->items);
        assert_non_null(ret->items);
        parse_line(&ret->items[ret->count++], line);
        line = NULL; /* moved */
        size = 0;
    }
    free(line);
    fclose(stream);
    assert_true(ret->count > 0);
}

void vectors_free(struct vectors *vectors)
{
    for (size_t i = 0; i < vectors->count; i++) {
        struct vector *vector = &vectors->items[i];

        for (size_t k = 0; k < vector->n_fields; k++)
            free(vector->fields[k].bytes);
        free(vector->bytes);
        free(vector->line);
    }
    free(vectors->items);
    *vectors = (struct vectors){0};
}

struct vector *vectors_find(struct vectors *vectors, const char *name)
{
    for (size_t i = 0; i < vectors->count; i++)
        if (strcmp(vectors->items[i].name, name) == 0)
            return &vectors->items[i];
    fail_msg("no vector named %s", name);
    return NULL;
}

static struct vector_field *find_field(const struct vector *vector, const char *name)
{
    for (size_t i = 0; i < vector->n_fields; i++)
        if (strcmp(vector->fields[i].name, name) == 0)
            return (struct vector_field *)&vector->fields[i];
    return NULL;
}

bool vector_has(const struct vector *vector, const char *field)
{
    return find_field(vector, field) != NULL;
}

const char *vector_text(const struct vector *vector, const char *field, const char *otherwise)
{
    const struct vector_field *found = find_field(vector, field);

    return found != NULL ? found->text : otherwise;
}

uint64_t vector_uint(const struct vector *vector, const char *field)
{
    const char *text = vector_text(vector, field, NULL);
    char *end;
    uint64_t value;

    if (text == NULL || *text == '\0')
        fail_msg("vector %s: no field %s", vector->name, field);
    value = strtoull(text, &end, 16);
    assert_int_equal(*end, '\0');
    return value;
}

struct fk_reader vector_bytes(struct vector *vector, const char *field)
{
    struct vector_field *found = find_field(vector, field);
    struct fk_reader reader = {0};
    size_t len;

    if (found == NULL)
        return reader;
    free(found->bytes);
    found->bytes = parse_bytes(found->text, &len);
    fk_reader_init(&reader, found->bytes, len);
    return reader;
}
