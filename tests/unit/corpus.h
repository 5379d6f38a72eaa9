/*
 * A corpus of HTTP messages with verdicts: tests/vectors/http/FILE, found by the environment's
 * FK_VECTORS. Written to be read:
 *
 *   == NAME [WORD ...]   one case begins; the words are options of its reader
 *   | TEXT               a line of the message, and CRLF
 *   \ TEXT               the same without CRLF
 *   => VERDICT           what must come of it; several, in their order
 *   # TEXT               a comment
 *
 * Of TEXT, "\r", "\n", "\t", "\0", "\s" (a space), "\\", "\xHH" are bytes, "\{N:TEXT}" is TEXT N
 * times. Any mistake in a file fails the test that reads it.
 */
#ifndef FK_TESTS_CORPUS_H
#define FK_TESTS_CORPUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CORPUS_MESSAGE_MAX 131072
#define CORPUS_VERDICT_MAX 2048

struct corpus_case {
    char name[128];
    char options[128]; /* words, with a space before and behind each */
    uint8_t *bytes;
    size_t len;
    char verdict[CORPUS_VERDICT_MAX]; /* its lines, each ending with '\n' */
};

struct corpus {
    struct corpus_case *cases;
    size_t count;
};

/* All cases of a file; free with corpus_free(). */
void corpus_load(const char *file, struct corpus *ret);
void corpus_free(struct corpus *corpus);

/* Whether a case has this option. */
bool corpus_has(const struct corpus_case *one, const char *option);

#endif
