/*
 * Memory, file names and errors of a configuration: see store.h.
 *
 * Everything a configuration holds lies in chunks that are freed together, so no parse path frees
 * anything, whatever went wrong on it.
 */
#include "conf/store.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/secret.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_SIZE = 16 * 1024, ALIGN = 16, NAME_CONSIDERED = 40 };

struct fk_conf_chunk {
    struct fk_conf_chunk *next;
    size_t size;
    size_t used;
    _Alignas(ALIGN) uint8_t mem[];
};

static const char out_of_memory[] = "out of memory while reporting an error; free some memory";

int fk_conf_store_new(const struct fk_conf_kind *kind, struct fk_conf **ret)
{
    struct fk_conf *conf = calloc(1, sizeof *conf);

    if (conf == NULL)
        return FK_ERR_NOMEM;
    conf->kind = kind;
    *ret = conf;
    return FK_OK;
}

void fk_conf_free(struct fk_conf *conf)
{
    struct fk_conf_chunk *chunk, *next;

    if (conf == NULL)
        return;
    for (chunk = conf->chunks; chunk != NULL; chunk = next) {
        next = chunk->next;
        fk_wipe(chunk->mem, chunk->used);
        free(chunk);
    }
    free(conf->files);
    free(conf->errors);
    free(conf);
}

void *fk_conf_alloc(struct fk_conf *conf, size_t len)
{
    struct fk_conf_chunk *chunk = conf->chunks;
    size_t need = (len + ALIGN - 1) / ALIGN * ALIGN;
    void *mem;

    if (chunk == NULL || chunk->size - chunk->used < need) {
        size_t size = need > CHUNK_SIZE ? need : CHUNK_SIZE;

        chunk = calloc(1, sizeof *chunk + size);
        if (chunk == NULL) {
            conf->nomem = true;
            return NULL;
        }
        chunk->size = size;
        chunk->next = conf->chunks;
        conf->chunks = chunk;
    }
    mem = chunk->mem + chunk->used;
    chunk->used += need;
    return mem;
}

char *fk_conf_copy(struct fk_conf *conf, const char *text, size_t len)
{
    char *copy = fk_conf_alloc(conf, len + 1);

    if (copy != NULL && len > 0)
        memcpy(copy, text, len);
    return copy;
}

uint32_t fk_conf_add_file(struct fk_conf *conf, const char *name)
{
    char *copy = fk_conf_copy(conf, name, strlen(name));

    if (copy == NULL)
        return UINT32_MAX;
    if (conf->n_files == conf->cap_files) {
        uint32_t cap = conf->cap_files == 0 ? 8 : conf->cap_files * 2;
        const char **files = realloc(conf->files, cap * sizeof *files);

        if (files == NULL) {
            conf->nomem = true;
            return UINT32_MAX;
        }
        conf->files = files;
        conf->cap_files = cap;
    }
    conf->files[conf->n_files] = copy;
    return conf->n_files++;
}

static bool grow_errors(struct fk_conf *conf)
{
    size_t cap = conf->cap_errors == 0 ? 8 : conf->cap_errors * 2;
    struct fk_conf_error *errors;

    if (conf->n_errors < conf->cap_errors)
        return true;
    errors = realloc(conf->errors, cap * sizeof *errors);
    if (errors == NULL)
        return false;
    conf->errors = errors;
    conf->cap_errors = cap;
    return true;
}

static uint32_t file_index(const struct fk_conf *conf, const char *file)
{
    uint32_t i = 0;

    while (i < conf->n_files && conf->files[i] != file)
        i++;
    return i;
}

/* Errors stand in the order of files and lines, those of one line as they were found. */
static void insert_error(struct fk_conf *conf, struct fk_conf_error error, bool last)
{
    size_t at = conf->n_errors++;

    for (; !last && at > 0; at--) {
        const struct fk_conf_error *before = &conf->errors[at - 1];

        if (before->file < error.file || (before->file == error.file && before->line <= error.line))
            break;
        conf->errors[at] = *before;
    }
    conf->errors[at] = error;
}

void fk_conf_vcomplain(struct fk_conf *conf, const struct fk_conf_where *where, const char *format,
                       va_list args)
{
    bool full = conf->n_errors == FK_CONF_ERRORS_MAX;
    char text[FK_CONF_ERROR_SIZE];
    char *copy;
    int n;

    if (conf->n_errors > FK_CONF_ERRORS_MAX || conf->nomem)
        return;
    if (where->line == 0)
        n = snprintf(text, sizeof text, "%s: ", where->file);
    else
        n = snprintf(text, sizeof text, "%s:%u: ", where->file, where->line);
    if (n < 0 || (size_t)n >= sizeof text)
        n = 0; /* a file name of a kilobyte: the text matters more */
    if (full)
        snprintf(text + n, sizeof text - (size_t)n, "too many errors; mend those above first");
    else
        vsnprintf(text + n, sizeof text - (size_t)n, format, args);
    copy = fk_conf_copy(conf, text, strlen(text));
    if (copy == NULL || !grow_errors(conf)) {
        conf->nomem = true;
        return;
    }
    insert_error(conf, (struct fk_conf_error){file_index(conf, where->file), where->line, copy},
                 full);
}

void fk_conf_complain(struct fk_conf *conf, const struct fk_conf_where *where, const char *format,
                      ...)
{
    va_list args;

    va_start(args, format);
    fk_conf_vcomplain(conf, where, format, args);
    va_end(args);
}

void fk_conf_no_memory(struct fk_conf *conf)
{
    conf->nomem = true;
}

size_t fk_conf_error_count(const struct fk_conf *conf)
{
    return conf->n_errors + (conf->nomem ? 1 : 0);
}

const char *fk_conf_error(const struct fk_conf *conf, size_t i)
{
    return i < conf->n_errors ? conf->errors[i].text : out_of_memory;
}

size_t fk_conf_unknown_count(const struct fk_conf *conf)
{
    return conf->unknown;
}

void *fk_conf_root(struct fk_conf *conf)
{
    return conf->root;
}

size_t fk_conf_option_index(const struct fk_conf_kind *kind, const char *name)
{
    size_t i = 0;

    while (kind->options[i].name != NULL && strcmp(kind->options[i].name, name) != 0)
        i++;
    assert(kind->options[i].name != NULL);
    return i;
}

bool fk_conf_is_set(const struct fk_conf_block *block, const char *name)
{
    return (block->set >> fk_conf_option_index(block->kind, name) & 1) != 0;
}

int fk_conf_set_default(struct fk_conf *conf, struct fk_conf_block *block, const char *name,
                        const char *value)
{
    const struct fk_conf_option *option =
        &block->kind->options[fk_conf_option_index(block->kind, name)];
    char *copy;

    assert(option->type == FK_CONF_STRING && option->fallback == NULL);
    if (fk_conf_is_set(block, name))
        return FK_OK;
    if ((copy = fk_conf_copy(conf, value, strlen(value))) == NULL)
        return FK_ERR_NOMEM;
    *(char **)(void *)((char *)block + option->offset) = copy;
    return FK_OK;
}

struct fk_conf_where fk_conf_option_where(const struct fk_conf *conf,
                                          const struct fk_conf_block *block, const char *name)
{
    const struct fk_conf_place *place = &block->places[fk_conf_option_index(block->kind, name)];

    if (place->line == 0)
        return block->where;
    return (struct fk_conf_where){conf->files[place->file], place->line};
}

const char *fk_conf_quote(const char *text, size_t len, char dst[FK_CONF_QUOTE_SIZE])
{
    enum { ROOM = FK_CONF_QUOTE_SIZE - 6 }; /* an escape, "...", and the closing quote */
    size_t at = 0, i;

    dst[at++] = '"';
    for (i = 0; i < len && at < ROOM - 4; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c < 0x20 || c >= 0x7f)
            at += (size_t)snprintf(dst + at, 5, "\\x%02x", c);
        else
            dst[at++] = text[i];
    }
    snprintf(dst + at, 5, "%s\"", i < len ? "..." : "");
    return dst;
}

void fk_conf_put(struct fk_conf_text *text, const char *format, ...)
{
    size_t room = sizeof text->text - text->len;
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(text->text + text->len, room, format, args);
    va_end(args);
    if (n > 0)
        text->len += (size_t)n < room ? (size_t)n : room - 1;
}

static size_t min2(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Edit distance with adjacent transposition (optimal string alignment). */
static size_t edit_distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t row[3][NAME_CONSIDERED + 1]; /* the rows i - 2, i - 1, i, in turn */

    for (size_t j = 0; j <= b_len; j++)
        row[0][j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t *now = row[i % 3], *above = row[(i + 2) % 3], *two_above = row[(i + 1) % 3];

        now[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            bool same = a[i - 1] == b[j - 1];

            now[j] = min2(above[j - 1] + (same ? 0 : 1), min2(above[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = min2(now[j], two_above[j - 2] + 1);
        }
    }
    return row[a_len % 3][b_len];
}

void fk_conf_consider(struct fk_conf_nearest *nearest, const char *written, size_t len,
                      const char *candidate)
{
    size_t candidate_len = strlen(candidate);
    size_t distance;

    if (len > NAME_CONSIDERED || candidate_len > NAME_CONSIDERED)
        return;
    distance = edit_distance(written, len, candidate, candidate_len);
    /* A third of the letters wrong is a slip; more is another word. */
    if (distance > candidate_len / 3 + (candidate_len < 3 ? 1 : 0))
        return;
    if (nearest->best == NULL || distance < nearest->distance) {
        nearest->best = candidate;
        nearest->distance = distance;
    }
}
