/*
 * Test vectors: tests/vectors/FILE, found by the environment's FK_VECTORS. One line a vector:
 *
 *   NAME BYTES FIELD=VALUE ...      ("#" begins a comment line)
 *
 * BYTES are hexadecimal digits; "bb*n" is n times the byte bb; "+" joins parts; "-" is no bytes.
 * A value is written like BYTES, or is a hexadecimal number, or a word, as its reader says. Any
 * mistake in a file fails the test that reads it.
 */
#ifndef FK_TESTS_VECTORS_H
#define FK_TESTS_VECTORS_H

#include "base/reader.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VECTOR_FIELDS_MAX 32

struct vector_field {
    const char *name;
    const char *text;
    uint8_t *bytes; /* of vector_bytes(), once asked for */
};

struct vector {
    char *line; /* holds all text below */
    const char *name;
    uint8_t *bytes;
    size_t len;
    struct vector_field fields[VECTOR_FIELDS_MAX];
    size_t n_fields;
};

struct vectors {
    struct vector *items;
    size_t count;
};

/* All vectors of a file; free with vectors_free(). */
void vectors_load(const char *file, struct vectors *ret);
void vectors_free(struct vectors *vectors);

/* The one of this name; fails the test when there is none. */
struct vector *vectors_find(struct vectors *vectors, const char *name);

bool vector_has(const struct vector *vector, const char *field);
/* The field's word, or `otherwise` when absent. */
const char *vector_text(const struct vector *vector, const char *field, const char *otherwise);
/* The field as a hexadecimal number; fails the test when absent. */
uint64_t vector_uint(const struct vector *vector, const char *field);
/* The field as bytes, borrowed until vectors_free(); `next` is NULL when absent. */
struct fk_reader vector_bytes(struct vector *vector, const char *field);

#endif
