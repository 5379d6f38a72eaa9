/*
 * What one loaded configuration owns: its memory, the names of its files, its errors. Private to
 * src/conf.
 */
#ifndef FK_CONF_STORE_H
#define FK_CONF_STORE_H

#include "conf/conf.h"

#include <stdarg.h>

struct fk_conf_chunk;

struct fk_conf_error {
    uint32_t file; /* index of fk_conf.files; n_files: none of them */
    uint32_t line;
    const char *text; /* "FILE:LINE: ..." */
};

/* Where an option was written, as an index of fk_conf.files. */
struct fk_conf_place {
    uint32_t file;
    uint32_t line; /* 0: not written */
};

/* What of a block was complained of: see fk_conf_is_bad(). */
struct fk_conf_doubt {
    uint64_t options; /* bit i: option i of the kind */
    uint64_t kids;    /* bit i: some block of its kind i */
    bool title;
    /* Whatever is not there may have been meant to be. */
    bool absent_options;
    bool absent_kids;
};

struct fk_conf {
    const struct fk_conf_kind *kind;
    struct fk_conf_block *root;
    struct fk_conf_chunk *chunks; /* all memory but the arrays below */
    const char **files;           /* as errors name them, in the order of inclusion */
    uint32_t n_files;
    uint32_t cap_files;
    struct fk_conf_error *errors;
    size_t n_errors;
    size_t cap_errors;
    size_t unknown; /* names that no table has */
    bool nomem;     /* an allocation failed: what is here is incomplete */
};

/* An empty configuration. FK_ERR_NOMEM. */
int fk_conf_store_new(const struct fk_conf_kind *kind, struct fk_conf **ret);

/*
 * `len` zero bytes, or a copy of text, that live as long as the configuration. NULL sets
 * conf->nomem.
 */
void *fk_conf_alloc(struct fk_conf *conf, size_t len);
char *fk_conf_copy(struct fk_conf *conf, const char *text, size_t len);

/* Enter a file's name; its index, or UINT32_MAX with conf->nomem set. */
uint32_t fk_conf_add_file(struct fk_conf *conf, const char *name);

/* As fk_conf_complain(). */
void fk_conf_vcomplain(struct fk_conf *conf, const struct fk_conf_where *where, const char *format,
                       va_list args);

/* Index of an option in its kind's table; the table has it. */
size_t fk_conf_option_index(const struct fk_conf_kind *kind, const char *name);

/* Mark what fk_conf_is_bad() tells: an option or kind of block by name, the title (NULL). */
void fk_conf_doubt(const struct fk_conf_block *block, const char *name);
/* ... and any option or block that is absent. */
void fk_conf_doubt_absent(const struct fk_conf_block *block);

/* Text of the user's for a message: in quotes, escaped, cut. */
#define FK_CONF_QUOTE_SIZE 96
const char *fk_conf_quote(const char *text, size_t len, char dst[FK_CONF_QUOTE_SIZE]);

/* A line of text that is put together; what does not fit is cut. */
struct fk_conf_text {
    char text[512];
    size_t len;
};
__attribute__((format(printf, 2, 3))) void fk_conf_put(struct fk_conf_text *text,
                                                       const char *format, ...);

/* The candidate nearest to what was written, when near enough to be meant. Start with best NULL. */
struct fk_conf_nearest {
    const char *best;
    size_t distance;
};
void fk_conf_consider(struct fk_conf_nearest *nearest, const char *written, size_t len,
                      const char *candidate);

#endif
