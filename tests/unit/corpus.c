/* Reading a corpus of HTTP messages: see corpus.h. */
#include "corpus.h"

#include "unit.h"

#include "base/err.h"
#include "base/text.h"

#include <stdio.h>

static void put(struct corpus_case *one, const void *bytes, size_t len)
{
    assert_true(one->len + len <= CORPUS_MESSAGE_MAX);
    memcpy(one->bytes + one->len, bytes, len);
    one->len += len;
}

static void put_text(struct corpus_case *one, const char *text, size_t len);

/* The brace that closes the one at `text`. */
static const char *closing(const char *text)
{
    for (int depth = 0; *text != '\0'; text++) {
        depth += (*text == '{' ? 1 : 0) - (*text == '}' ? 1 : 0);
        if (depth == 0)
            return text;
    }
    fail_msg("a brace that is not closed");
    return NULL;
}

/* "{N:TEXT}" at `text`; returns its length. */
static size_t put_repeated(struct corpus_case *one, const char *text)
{
    const char *end = closing(text);
    char *colon;
    unsigned long n = strtoul(text + 1, &colon, 10);

    assert_true(*colon == ':' && colon < end && n > 0);
    while (n-- > 0)
        put_text(one, colon + 1, (size_t)(end - colon) - 1);
    return (size_t)(end - text) + 1;
}

/* What stands behind a backslash; returns its length. */
static size_t put_escape(struct corpus_case *one, const char *text)
{
    static const char letters[] = "rnt0s\\", bytes[] = "\r\n\t\0 \\";
    const char *letter = *text != '\0' ? strchr(letters, *text) : NULL;
    uint8_t byte;

    if (*text == '{')
        return put_repeated(one, text);
    if (letter != NULL) {
        put(one, bytes + (letter - letters), 1);
        return 1;
    }
    assert_int_equal(*text, 'x');
    assert_ok(fk_text_unhex(text + 1, 2, &byte, 1));
    put(one, &byte, 1);
    return 3;
}

static void put_text(struct corpus_case *one, const char *text, size_t len)
{
    const char *end = text + len;

    while (text < end) {
        if (*text == '\\') {
            text++;
            text += put_escape(one, text);
        } else {
            put(one, text++, 1);
        }
    }
}

static struct corpus_case *begin(struct corpus *corpus, const char *title)
{
    struct corpus_case *one;

    corpus->cases = realloc(corpus->cases, (corpus->count + 1) * sizeof *corpus->cases);
    assert_non_null(corpus->cases);
    one = &corpus->cases[corpus->count++];
    *one = (struct corpus_case){.bytes = malloc(CORPUS_MESSAGE_MAX)};
    assert_non_null(one->bytes);
    assert_int_equal(sscanf(title, "%127s", one->name), 1);
    for (size_t i = 0; i + 1 < corpus->count; i++)
        if (strcmp(corpus->cases[i].name, one->name) == 0)
            fail_msg("two cases are named %s", one->name);
    assert_true(strlen(title) + 2 < sizeof one->options);
    snprintf(one->options, sizeof one->options, "%s ", title + strlen(one->name));
    return one;
}

static void read_line(struct corpus *corpus, const char *line)
{
    struct corpus_case *one = corpus->count > 0 ? &corpus->cases[corpus->count - 1] : NULL;
    size_t len = strlen(line), at;

    if (strncmp(line, "== ", 3) == 0) {
        begin(corpus, line + 3);
        return;
    }
    assert_non_null(one);
    if (line[0] == '|' || line[0] == '\\') {
        assert_true(line[1] == ' ' || line[1] == '\0');
        if (len > 2)
            put_text(one, line + 2, len - 2);
        if (line[0] == '|')
            put(one, "\r\n", 2);
    } else if (strncmp(line, "=> ", 3) == 0) {
        at = strlen(one->verdict);
        assert_true(at + len - 2 < sizeof one->verdict);
        snprintf(one->verdict + at, sizeof one->verdict - at, "%s\n", line + 3);
    } else {
        fail_msg("%s: not a line of a corpus: %s", one->name, line);
    }
}

void corpus_load(const char *file, struct corpus *ret)
{
    const char *folder = getenv("FK_VECTORS");
    char path[1024];
    char *line = NULL;
    size_t size = 0;
    ssize_t len;
    FILE *stream;

    snprintf(path, sizeof path, "%s/http/%s", folder != NULL ? folder : "tests/vectors", file);
    stream = fopen(path, "re");
    if (stream == NULL)
        fail_msg("%s: cannot open (set FK_VECTORS to the folder tests/vectors)", path);
    *ret = (struct corpus){0};
    while ((len = getline(&line, &size, stream)) > 0) {
        if (line[len - 1] == '\n')
            line[--len] = '\0';
        if (len > 0 && line[0] != '#')
            read_line(ret, line);
    }
    free(line);
    fclose(stream);
    assert_true(ret->count > 0);
}

void corpus_free(struct corpus *corpus)
{
    for (size_t i = 0; i < corpus->count; i++)
        free(corpus->cases[i].bytes);
    free(corpus->cases);
    *corpus = (struct corpus){0};
}

bool corpus_has(const struct corpus_case *one, const char *option)
{
    char word[64];

    snprintf(word, sizeof word, " %s ", option);
    return strstr(one->options, word) != NULL;
}
