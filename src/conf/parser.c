/*
 * The grammar of conf.h, driven by the tables of kinds.
 *
 * Finds all errors of a file: whatever is wrong is told once, then the parser goes on at the next
 * thing that looks like the start of an item. It must never act on what it read: it fills structs.
 */
#include "conf/conf.h"

#include "base/err.h"
#include "base/limits.h"
#include "conf/lexer.h"
#include "conf/names.h"
#include "conf/store.h"
#include "conf/value.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

enum { TITLE_BUCKETS = 1024 };

/* A file being read; `outer` is the one that includes it. */
struct source {
    const struct source *outer;
    const char *path;      /* absolute */
    const char *directory; /* of path, with its last "/" */
    uint32_t file;         /* index of its name */
    struct fk_lexer lexer;
    struct fk_token token; /* the token last taken */
};

/* A titled block, to find the second of its name. */
struct title {
    struct title *next;
    const void *parent;
    const struct fk_conf_block *block;
};

/* One load. */
struct load {
    struct fk_conf *conf;
    struct fk_bundle *bundle;
    struct source *source;
    const char *directory;    /* of the root file: what default paths are relative to */
    size_t shown_from;        /* bytes of absolute paths that errors leave out */
    uint64_t bytes;           /* of text read so far */
    struct fk_conf_nest nest; /* the open blocks */
    struct title *titles[TITLE_BUCKETS];
};

/* Items up to the block's "}" (inside) or the end of the file. */
static void parse_items(struct load *load, struct fk_conf_block *block, bool inside);
static void finish_block(struct load *load, struct fk_conf_block *block);
static char *absolute(struct fk_conf *conf, const char *directory, const char *name, bool glob);

/* --- where we are --- */

static struct fk_conf_where where_at(const struct load *load, unsigned line)
{
    return (struct fk_conf_where){load->conf->files[load->source->file], line};
}

static struct fk_conf_where where_now(const struct load *load)
{
    return where_at(load, load->source->token.line);
}

/* Take the next token; its faults are told here, what is no token is passed over. */
static const struct fk_token *take(struct load *load)
{
    struct fk_token *token = &load->source->token;
    struct fk_conf_where where;
    struct fk_conf_text text;

    do {
        fk_lexer_scan(&load->source->lexer, token);
        if (token->fault == FK_FAULT_NONE)
            continue;
        where = where_now(load);
        fk_token_explain(token, &text);
        fk_conf_complain(load->conf, &where, "%s", text.text);
    } while (token->type == FK_TOKEN_BAD);
    return token;
}

/* The n-th token from here (0: the next), without taking it. */
static struct fk_token look(const struct load *load, unsigned n)
{
    struct fk_lexer lexer = load->source->lexer;
    struct fk_token token;

    do {
        fk_lexer_scan(&lexer, &token);
    } while (token.type == FK_TOKEN_BAD || (token.type != FK_TOKEN_END && n-- > 0));
    return token;
}

/* What a token is called in a message. */
static const char *token_name(const struct fk_token *token, char dst[FK_CONF_QUOTE_SIZE])
{
    if (token->type == FK_TOKEN_END)
        return "the end of the file";
    return fk_conf_quote(token->text, token->len, dst);
}

/* Whether an item begins here: NAME "=", NAME "{", NAME STRING "{", "include" STRING. */
static bool at_item(const struct load *load)
{
    struct fk_token name = look(load, 0), next;

    if (name.type != FK_TOKEN_WORD)
        return false;
    next = look(load, 1);
    if (next.type != FK_TOKEN_STRING)
        return next.type == FK_TOKEN_EQUALS || next.type == FK_TOKEN_OPEN;
    if (name.len == 7 && memcmp(name.text, "include", 7) == 0)
        return true;
    /* With or without the "{" that belongs behind a title. */
    return look(load, 2).type == FK_TOKEN_OPEN ||
           (look(load, 2).type == FK_TOKEN_WORD && look(load, 3).type == FK_TOKEN_EQUALS);
}

/* After an error: on to the next item, or to the end of the block. */
static void resynchronise(struct load *load)
{
    unsigned depth = 0;

    while (!load->conf->nomem) {
        struct fk_token next = look(load, 0);

        if (next.type == FK_TOKEN_END)
            return;
        if (depth == 0 && (next.type == FK_TOKEN_CLOSE || at_item(load)))
            return;
        if (next.type == FK_TOKEN_OPEN)
            depth++;
        else if (next.type == FK_TOKEN_CLOSE)
            depth--;
        (void)take(load);
    }
}

/* Pass over the rest of a block whose "{" was taken. What is in it cannot be judged. */
static void skip_body(struct load *load)
{
    for (unsigned depth = 1; depth > 0 && !load->conf->nomem;) {
        const struct fk_token *token = take(load);

        if (token->type == FK_TOKEN_END)
            return;
        if (token->type == FK_TOKEN_OPEN)
            depth++;
        else if (token->type == FK_TOKEN_CLOSE)
            depth--;
    }
}

/* --- values --- */

struct list {
    struct fk_conf_item *items;
    size_t count;
    size_t cap;
};

static bool add_item(struct load *load, struct list *list)
{
    const struct fk_token *token = &load->source->token;
    struct fk_conf_where where = where_now(load);
    char *text;

    if (list->count >= FK_CONF_LIST_MAX) {
        if (list->count++ == FK_CONF_LIST_MAX)
            fk_conf_complain(load->conf, &where, "list of too many values; write at most %d",
                             FK_CONF_LIST_MAX);
        list->count = FK_CONF_LIST_MAX + 1;
        return true;
    }
    if (list->count == list->cap) {
        size_t cap = list->cap == 0 ? 4 : list->cap * 2;
        struct fk_conf_item *items = fk_conf_alloc(load->conf, cap * sizeof *items);

        if (items == NULL)
            return false;
        if (list->count > 0)
            memcpy(items, list->items, list->count * sizeof *items);
        list->items = items;
        list->cap = cap;
    }
    text = fk_token_value(load->conf, token);
    if (text == NULL)
        return false;
    list->items[list->count++] = (struct fk_conf_item){text, token->line};
    return true;
}

/* Whether the next token is a value that is not the name of the next item. */
static bool at_value(const struct load *load)
{
    struct fk_token token = look(load, 0);

    if (token.type == FK_TOKEN_STRING)
        return true;
    if (token.type != FK_TOKEN_WORD)
        return false;
    return token.line == load->source->token.line || !at_item(load);
}

/* Pass over the rest of a list that went wrong. */
static void leave_list(struct load *load)
{
    resynchronise(load);
    if (look(load, 0).type == FK_TOKEN_CLOSE)
        (void)take(load);
}

/* After a value in a list: true to go on with the next, false at the end. *ok: nothing wrong. */
static bool next_in_list(struct load *load, const char *name, bool *ok)
{
    struct fk_token next = look(load, 0);
    struct fk_conf_where where = where_at(load, next.line);
    char quoted[FK_CONF_QUOTE_SIZE];

    if (next.type == FK_TOKEN_CLOSE || next.type == FK_TOKEN_COMMA) {
        (void)take(load);
        return next.type == FK_TOKEN_COMMA;
    }
    *ok = false;
    if (at_value(load)) {
        fk_conf_complain(load->conf, &where, "%s: no comma before %s; write \",\" between values",
                         name, token_name(&next, quoted));
        return true;
    }
    fk_conf_complain(load->conf, &where, "%s: list is not closed before %s; write \"}\" at its end",
                     name, token_name(&next, quoted));
    leave_list(load);
    return false;
}

/* Something else stands where a list needs a value. */
static void complain_no_value(struct load *load, const char *name)
{
    struct fk_token next = look(load, 0);
    struct fk_conf_where where = where_at(load, next.line);
    const char *remedy = "write {\"...\", \"...\"}";
    char quoted[FK_CONF_QUOTE_SIZE];

    if (next.type == FK_TOKEN_CLOSE || next.type == FK_TOKEN_COMMA)
        remedy = "remove the comma";
    else if (next.type == FK_TOKEN_OPEN)
        remedy = "write all values in one list";
    fk_conf_complain(load->conf, &where, "%s: expected a value, found %s; %s", name,
                     token_name(&next, quoted), remedy);
}

/* The values of a list whose "{" was taken. False: something was wrong, and told. */
static bool read_list(struct load *load, const char *name, struct list *list)
{
    bool ok = true;

    if (look(load, 0).type == FK_TOKEN_CLOSE) {
        (void)take(load);
        return true;
    }
    do {
        if (!at_value(load)) {
            complain_no_value(load, name);
            leave_list(load);
            return false;
        }
        ok = take(load)->fault == FK_FAULT_NONE && ok;
        if (!add_item(load, list))
            return false;
    } while (next_in_list(load, name, &ok));
    return ok && list->count <= FK_CONF_LIST_MAX;
}

/* What stands behind "=". False: something was wrong, and told. `option` may be NULL. */
static bool read_value(struct load *load, const char *name, const struct fk_conf_option *option,
                       struct fk_conf_value *value)
{
    struct list list = {NULL, 0, 0};
    struct fk_conf_text expect = {.len = 0};
    bool ok;

    value->where = where_now(load);
    value->directory = load->source->directory;
    value->list = look(load, 0).type == FK_TOKEN_OPEN;
    if (value->list) {
        value->where = where_at(load, take(load)->line);
        ok = read_list(load, name, &list);
    } else if (at_value(load)) {
        ok = take(load)->fault == FK_FAULT_NONE;
        value->where = where_now(load);
        ok = add_item(load, &list) && ok;
    } else {
        fk_conf_put(&expect, "a value");
        if (option != NULL)
            fk_conf_value_expect(option, &expect);
        fk_conf_complain(load->conf, &value->where, "%s: no value after \"=\"; write %s", name,
                         expect.text);
        resynchronise(load);
        ok = false;
    }
    value->items = list.items;
    value->count = list.count;
    return ok;
}

/* --- options --- */

/* Store what was read; a default takes the place of what does not fit. */
static void store_value(struct load *load, struct fk_conf_block *block,
                        const struct fk_conf_option *option, const struct fk_conf_value *value,
                        bool ok)
{
    const char *wrong;

    ok = ok && fk_conf_value_store(load->conf, block, option, value);
    if (!ok) {
        fk_conf_doubt(block, option->name);
        if (option->fallback != NULL)
            (void)fk_conf_value_default(load->conf, block, option, load->directory);
        return;
    }
    if (option->check == NULL)
        return;
    wrong = option->check((const char *)block + option->offset);
    if (wrong == NULL)
        return;
    fk_conf_complain(load->conf, &value->where, "%s: %s", option->name, wrong);
    fk_conf_doubt(block, option->name);
}

/* An option's name and its "=" were taken. */
static void parse_option(struct load *load, struct fk_conf_block *block,
                         const struct fk_token *name)
{
    const struct fk_conf_option *option = fk_conf_find_option(block->kind, name);
    struct fk_conf_where where = where_at(load, name->line), first;
    char *text = fk_conf_copy(load->conf, name->text, name->len);
    struct fk_conf_value value;
    struct fk_conf_text owner;
    size_t index;
    bool ok;

    if (text == NULL)
        return;
    if (option == NULL && fk_conf_find_kid(block->kind, name) != NULL) {
        fk_conf_complain(load->conf, &where, "%s is a block; write %s { ... }", text, text);
        fk_conf_doubt(block, text);
    } else if (option == NULL) {
        fk_conf_complain_unknown(load->conf, &load->nest, &where, name, false);
    }
    ok = read_value(load, option != NULL ? option->name : "value", option, &value);
    if (option == NULL || load->conf->nomem)
        return;
    index = (size_t)(option - block->kind->options);
    if (block->places[index].line != 0) {
        first = fk_conf_option_where(load->conf, block, option->name);
        fk_conf_complain(load->conf, &where,
                         "%s is set twice in %s; remove this one or the first, at %s:%u",
                         option->name, fk_conf_block_name(block, &owner), first.file, first.line);
        fk_conf_doubt(block, option->name);
        return;
    }
    block->places[index] = (struct fk_conf_place){load->source->file, name->line};
    block->set |= UINT64_C(1) << index;
    store_value(load, block, option, &value, ok);
}

/* --- blocks --- */

static struct fk_conf_block **kids_of(struct fk_conf_block *parent, const struct fk_conf_kind *kind)
{
    return (struct fk_conf_block **)(void *)((char *)parent + kind->list_offset);
}

static struct fk_conf_block *new_block(struct load *load, const struct fk_conf_kind *kind,
                                       struct fk_conf_where where)
{
    struct fk_conf_block *block = fk_conf_alloc(load->conf, kind->size);
    size_t options = 0;

    while (kind->options[options].name != NULL)
        options++;
    assert(options <= FK_CONF_OPTIONS_MAX);
    if (block == NULL)
        return NULL;
    block->kind = kind;
    block->where = where;
    block->places = fk_conf_alloc(load->conf, (options + 1) * sizeof block->places[0]);
    block->doubt = fk_conf_alloc(load->conf, sizeof *block->doubt);
    return block->places != NULL && block->doubt != NULL ? block : NULL;
}

/* The lists of kids were built backwards. */
static void reverse(struct fk_conf_block **head)
{
    struct fk_conf_block *done = NULL, *block, *next;

    for (block = *head; block != NULL; block = next) {
        next = block->next;
        block->next = done;
        done = block;
    }
    *head = done;
}

/* A block that is not written and means the same as an empty one. */
static void add_implied(struct load *load, struct fk_conf_block *parent,
                        const struct fk_conf_kind *kind)
{
    struct fk_conf_block *block;

    assert(kind->once && !kind->titled);
    block = new_block(load, kind, parent->where);
    if (block == NULL)
        return;
    finish_block(load, block);
    *kids_of(parent, kind) = block;
}

/* All items were read: order, defaults, what is required, and the kind's own check. */
static void finish_block(struct load *load, struct fk_conf_block *block)
{
    const struct fk_conf_kind *kind = block->kind;
    struct fk_conf_text owner, expect;

    for (size_t i = 0; kind->kids != NULL && kind->kids[i] != NULL; i++) {
        reverse(kids_of(block, kind->kids[i]));
        if (kind->kids[i]->implied && *kids_of(block, kind->kids[i]) == NULL)
            add_implied(load, block, kind->kids[i]);
    }
    for (size_t i = 0; kind->options[i].name != NULL && !load->conf->nomem; i++) {
        const struct fk_conf_option *option = &kind->options[i];

        if (block->places[i].line != 0)
            continue;
        if (option->fallback != NULL)
            (void)fk_conf_value_default(load->conf, block, option, load->directory);
        if (!option->required || fk_conf_is_bad(block, option->name))
            continue;
        fk_conf_value_expect(option, &expect);
        fk_conf_blame(load->conf, block, option->name,
                      "%s: required option %s is missing; write %s = ... (%s)",
                      fk_conf_block_name(block, &owner), option->name, option->name, expect.text);
    }
    if (kind->check != NULL && !load->conf->nomem)
        kind->check(block, load->conf);
}

/* The earlier block of the same kind and title in the same parent, or NULL after noting this. */
static const struct fk_conf_block *find_twin(struct load *load, const struct fk_conf_block *parent,
                                             const struct fk_conf_block *block)
{
    uint32_t hash = (uint32_t)((uintptr_t)parent >> 4);
    struct title **bucket, *title;

    for (const char *c = block->title; *c != '\0'; c++)
        hash = (hash ^ (uint8_t)*c) * 16777619u;
    bucket = &load->titles[hash % TITLE_BUCKETS];
    for (title = *bucket; title != NULL; title = title->next)
        if (title->parent == parent && title->block->kind == block->kind &&
            strcmp(title->block->title, block->title) == 0)
            return title->block;
    title = fk_conf_alloc(load->conf, sizeof *title);
    if (title == NULL)
        return NULL;
    *title = (struct title){*bucket, parent, block};
    *bucket = title;
    return NULL;
}

/* A missing title is an empty one from here on. */
static void check_title(struct load *load, const struct fk_conf_block *parent,
                        struct fk_conf_block *block, const char *title)
{
    const struct fk_conf_kind *kind = block->kind;

    if (!kind->titled) {
        if (title != NULL)
            fk_conf_complain(load->conf, &block->where, "%s takes no title; write %s {", kind->name,
                             kind->name);
        return;
    }
    if (title != NULL && title[0] != '\0')
        return;
    if (title == NULL)
        block->title = fk_conf_copy(load->conf, "", 0);
    fk_conf_blame(load->conf, block, NULL,
                  title == NULL ? "%s needs a title; write %s \"NAME\" {"
                                : "title of %s is empty; write %s \"NAME\" {",
                  kind->name, kind->name);
    fk_conf_doubt(parent, kind->name);
}

/* The rule of titles that differ and of blocks that may stand only once. */
static void check_twin(struct load *load, struct fk_conf_block *parent, struct fk_conf_block *block)
{
    const struct fk_conf_kind *kind = block->kind;
    const struct fk_conf_block *first = NULL;
    struct fk_conf_text owner;

    if (kind->titled && !fk_conf_is_bad(block, NULL))
        first = find_twin(load, parent, block);
    if (kind->once)
        for (first = *kids_of(parent, kind); first != NULL && first->next != NULL;)
            first = first->next;
    if (first == NULL)
        return;
    fk_conf_blame(load->conf, block, NULL,
                  "second block %s; merge it into the first, at %s:%u, or remove it",
                  fk_conf_block_name(block, &owner), first->where.file, first->where.line);
    fk_conf_doubt_absent(block); /* the first may have it */
}

/* A block's items; its "{" was taken. */
static void parse_body(struct load *load, struct fk_conf_block *parent,
                       const struct fk_conf_kind *kind, const struct fk_token *name, char *title)
{
    struct fk_conf_block *block = new_block(load, kind, where_at(load, name->line));

    if (block == NULL)
        return;
    block->title = title;
    if (kind->titled_path && title != NULL && title[0] != '\0')
        block->title = absolute(load->conf, load->source->directory, title, false);
    if (load->conf->nomem)
        return;
    check_title(load, parent, block, title);
    if (load->conf->nomem)
        return;
    check_twin(load, parent, block);
    block->next = *kids_of(parent, kind);
    *kids_of(parent, kind) = block;
    load->nest.blocks[++load->nest.depth] = block;
    parse_items(load, block, true);
    load->nest.depth--;
    finish_block(load, block);
}

/* Take the "{" of a block, or tell that it is missing. True when the block's items follow. */
static bool open_block(struct load *load, const struct fk_token *name)
{
    struct fk_token next = look(load, 0);
    struct fk_conf_where where = where_now(load);
    char quoted[FK_CONF_QUOTE_SIZE];
    bool item = at_item(load);

    if (next.type == FK_TOKEN_OPEN) {
        (void)take(load);
        return true;
    }
    fk_conf_complain(load->conf, &where, "no \"{\" after %.*s, found %s; write %.*s ... {",
                     (int)name->len, name->text, token_name(&next, quoted), (int)name->len,
                     name->text);
    if (!item)
        resynchronise(load);
    return item;
}

/* The title of a block, if any: NULL without one. */
static char *read_title(struct load *load, const struct fk_token *name)
{
    struct fk_token next = look(load, 0);
    struct fk_conf_where where = where_at(load, next.line);
    char quoted[FK_CONF_QUOTE_SIZE];

    if (next.type != FK_TOKEN_STRING && next.type != FK_TOKEN_WORD)
        return NULL;
    (void)take(load);
    if (next.type == FK_TOKEN_WORD)
        fk_conf_complain(load->conf, &where, "title is not in quotes; write %.*s %s {",
                         (int)name->len, name->text, fk_conf_quote(next.text, next.len, quoted));
    return fk_token_value(load->conf, &next);
}

/* A block's name was taken. */
static void parse_block(struct load *load, struct fk_conf_block *parent,
                        const struct fk_token *name)
{
    const struct fk_conf_kind *kind = fk_conf_find_kid(parent->kind, name);
    const struct fk_conf_option *option = fk_conf_find_option(parent->kind, name);
    struct fk_conf_where where = where_at(load, name->line);
    char *title = read_title(load, name);

    if (load->conf->nomem)
        return;
    if (!open_block(load, name)) {
        if (kind != NULL)
            fk_conf_doubt(parent, kind->name);
        else
            fk_conf_doubt_absent(parent);
        return;
    }
    if (kind != NULL && load->nest.depth < FK_CONF_NEST_MAX) {
        parse_body(load, parent, kind, name, title);
        return;
    }
    if (kind != NULL) {
        fk_conf_complain(load->conf, &where, "blocks in blocks too deep; write at most %d",
                         FK_CONF_NEST_MAX);
        fk_conf_doubt(parent, kind->name);
    } else if (option != NULL) {
        fk_conf_complain(load->conf, &where, "%s is an option; write %s = ...", option->name,
                         option->name);
        fk_conf_doubt(parent, option->name);
    } else {
        fk_conf_complain_unknown(load->conf, &load->nest, &where, name, true);
    }
    skip_body(load);
}

/* --- files --- */

/* Whether one more file may be read; told when not. */
static bool may_read(struct load *load, const char *path, const struct fk_conf_where *where)
{
    char quoted[FK_CONF_QUOTE_SIZE];
    unsigned depth = 0;

    for (const struct source *outer = load->source; outer != NULL; outer = outer->outer) {
        depth++;
        if (strcmp(outer->path, path) != 0)
            continue;
        fk_conf_complain(load->conf, where, "include %s: the file includes itself; remove one",
                         fk_conf_quote(path, strlen(path), quoted));
        return false;
    }
    if (depth > FK_CONF_INCLUDE_MAX) {
        fk_conf_complain(load->conf, where, "includes in includes too deep; write at most %d",
                         FK_CONF_INCLUDE_MAX);
        return false;
    }
    if (load->conf->n_files >= FK_CONF_FILES_MAX) {
        fk_conf_complain(load->conf, where, "too many included files; write at most %d",
                         FK_CONF_FILES_MAX);
        return false;
    }
    return true;
}

/* Read a file's text through the bundle; told when that fails. */
static bool read_text(struct load *load, const char *path, const struct fk_conf_where *where,
                      struct fk_lexer *lexer)
{
    char quoted[FK_CONF_QUOTE_SIZE];
    const uint8_t *text;
    const char *reason;
    size_t len;
    int err = fk_bundle_read(load->bundle, path, &text, &len);

    if (err == FK_OK && len > FK_CONF_BYTES_MAX - load->bytes)
        err = FK_ERR_LIMIT;
    if (err == FK_OK) {
        load->bytes += len;
        fk_lexer_init(lexer, text, len);
        return true;
    }
    if (err == FK_ERR_NOMEM) {
        load->conf->nomem = true;
        return false;
    }
    reason = err == FK_ERR_SYS         ? strerror(errno)
             : err == FK_ERR_NOT_FOUND ? "no such file"
             : err == FK_ERR_LIMIT     ? "too much text"
                                       : fk_err_text(err);
    fk_conf_complain(load->conf, where,
                     "cannot read %s: %s; write the name of a file that can be read",
                     fk_conf_quote(path, strlen(path), quoted), reason);
    return false;
}

/* Path as errors name it: as the user named the root file, relative or not. */
static const char *shown(const struct load *load, const char *path)
{
    const char *base = fk_bundle_base(load->bundle);

    if (load->shown_from > 0 && strncmp(path, base, strlen(base)) == 0)
        return path + load->shown_from;
    return path;
}

static char *directory_of(struct fk_conf *conf, const char *path)
{
    return fk_conf_copy(conf, path, (size_t)(strrchr(path, '/') - path) + 1);
}

/* The items of one more file (an absolute path) into `block`. */
static void parse_file(struct load *load, struct fk_conf_block *block, const char *path,
                       const struct fk_conf_where *where)
{
    struct source source = {.outer = load->source, .path = path};

    if (!may_read(load, path, where) || !read_text(load, path, where, &source.lexer)) {
        fk_conf_doubt_absent(block);
        return;
    }
    source.directory = directory_of(load->conf, path);
    source.file = fk_conf_add_file(load->conf, shown(load, path));
    if (load->conf->nomem)
        return;
    load->source = &source;
    parse_items(load, block, false);
    load->source = (struct source *)(uintptr_t)source.outer;
}

/* `name` made absolute; with `glob`, what is a pattern's sign in the directory is made plain. */
static char *absolute(struct fk_conf *conf, const char *directory, const char *name, bool glob)
{
    char *path = fk_conf_alloc(conf, 2 * strlen(directory) + strlen(name) + 2);
    size_t len = 0;

    if (path == NULL)
        return NULL;
    for (const char *c = directory; name[0] != '/' && *c != '\0'; c++) {
        if (glob && strchr("*?[\\", *c) != NULL)
            path[len++] = '\\';
        path[len++] = *c;
    }
    memcpy(path + len, name, strlen(name));
    return path;
}

/* "include" was taken. */
static void parse_include(struct load *load, struct fk_conf_block *block)
{
    struct fk_conf_where where = where_now(load);
    const char *const *paths;
    char quoted[FK_CONF_QUOTE_SIZE];
    char *name, *path;
    size_t count;
    bool glob;
    int err;

    if (take(load)->fault != FK_FAULT_NONE) {
        fk_conf_doubt_absent(block);
        return;
    }
    name = fk_token_value(load->conf, &load->source->token);
    glob = name != NULL && strpbrk(name, "*?[") != NULL;
    path = name == NULL ? NULL : absolute(load->conf, load->source->directory, name, glob);
    if (path == NULL)
        return;
    if (!glob) {
        parse_file(load, block, path, &where);
        return;
    }
    err = fk_bundle_glob(load->bundle, path, &paths, &count);
    if (err != FK_OK)
        fk_conf_doubt_absent(block);
    if (err == FK_ERR_NOMEM)
        load->conf->nomem = true;
    else if (err != FK_OK)
        fk_conf_complain(load->conf, &where,
                         "cannot list %s: %s; write a pattern whose directories can be read",
                         fk_conf_quote(name, strlen(name), quoted),
                         err == FK_ERR_SYS ? strerror(errno) : "too many files");
    for (size_t i = 0; err == FK_OK && i < count && !load->conf->nomem; i++)
        parse_file(load, block, paths[i], &where);
}

/* --- items --- */

/* A name that nothing sensible follows. */
static void complain_item(struct load *load, const struct fk_conf_block *block,
                          const struct fk_token *name)
{
    struct fk_token next = look(load, 0);
    struct fk_conf_where where = where_at(load, name->line);
    char quoted[FK_CONF_QUOTE_SIZE], found[FK_CONF_QUOTE_SIZE];
    const struct fk_conf_option *option = fk_conf_find_option(block->kind, name);
    const struct fk_conf_kind *kid = fk_conf_find_kid(block->kind, name);
    const char *form = "\"=\" and a value, or a block";

    if (option != NULL) {
        form = "\"=\" and a value";
        fk_conf_doubt(block, option->name);
    } else if (kid != NULL) {
        form = "a block { ... }";
        fk_conf_doubt(block, kid->name);
    } else {
        fk_conf_doubt_absent(block);
    }
    fk_conf_complain(load->conf, &where, "%s is followed by %s; write %s after it",
                     fk_conf_quote(name->text, name->len, quoted), token_name(&next, found), form);
    resynchronise(load);
}

static void parse_item(struct load *load, struct fk_conf_block *block)
{
    struct fk_token name = *take(load), next = look(load, 0);
    struct fk_conf_where where = where_now(load);
    bool opens = next.type == FK_TOKEN_OPEN || look(load, 1).type == FK_TOKEN_OPEN;

    if (fk_token_is(&name, "include")) {
        if (next.type == FK_TOKEN_STRING) {
            parse_include(load, block);
            return;
        }
        fk_conf_complain(load->conf, &where, "no file name after include; write include \"FILE\"");
        fk_conf_doubt_absent(block);
        resynchronise(load);
    } else if (next.type == FK_TOKEN_EQUALS) {
        (void)take(load);
        parse_option(load, block, &name);
    } else if (opens && next.type != FK_TOKEN_CLOSE && next.type != FK_TOKEN_COMMA) {
        parse_block(load, block, &name);
    } else if (next.type == FK_TOKEN_STRING && fk_conf_find_kid(block->kind, &name) != NULL) {
        parse_block(load, block, &name);
    } else {
        complain_item(load, block, &name);
    }
}

static void parse_items(struct load *load, struct fk_conf_block *block, bool inside)
{
    struct fk_conf_text owner;
    char quoted[FK_CONF_QUOTE_SIZE];

    while (!load->conf->nomem) {
        struct fk_token next = look(load, 0);
        struct fk_conf_where where = where_at(load, next.line);

        if (next.type == FK_TOKEN_WORD) {
            parse_item(load, block);
            continue;
        }
        (void)take(load);
        if (next.type == FK_TOKEN_END) {
            if (inside)
                fk_conf_complain(load->conf, &where,
                                 "%s, opened at line %u, is not closed; write "
                                 "\"}\" at its end",
                                 fk_conf_block_name(block, &owner), block->where.line);
            return;
        }
        if (next.type == FK_TOKEN_CLOSE && inside)
            return;
        if (next.type == FK_TOKEN_CLOSE) {
            fk_conf_complain(load->conf, &where, "\"}\" closes nothing; remove it");
            continue;
        }
        fk_conf_complain(load->conf, &where,
                         "expected a name, found %s; write NAME = VALUE or NAME { ... }",
                         token_name(&next, quoted));
        fk_conf_doubt_absent(block);
        if (next.type == FK_TOKEN_OPEN)
            skip_body(load);
        resynchronise(load);
    }
}

/* --- entry --- */

static void load_root(struct load *load, const char *path)
{
    const char *base = fk_bundle_base(load->bundle);
    struct fk_conf *conf = load->conf;
    struct fk_conf_where where = {path, 1};
    char *slashed, *full;

    slashed = fk_conf_alloc(conf, strlen(base) + 2);
    where.file = fk_conf_copy(conf, path, strlen(path));
    if (slashed == NULL || where.file == NULL)
        return;
    memcpy(slashed, base, strlen(base));
    if (slashed[strlen(slashed) - 1] != '/')
        slashed[strlen(slashed)] = '/';
    load->shown_from = path[0] == '/' ? 0 : strlen(slashed);
    full = absolute(conf, slashed, path, false);
    load->directory = full == NULL ? NULL : directory_of(conf, full);
    conf->root = load->directory == NULL ? NULL : new_block(load, conf->kind, where);
    if (conf->root == NULL)
        return;
    load->nest.blocks[0] = conf->root;
    where.line = 0; /* the file itself: no line of it has been read */
    parse_file(load, conf->root, full, &where);
    if (conf->n_files > 0)
        conf->root->where.file = conf->files[0];
    if (!conf->nomem)
        finish_block(load, conf->root);
}

int fk_conf_load(const struct fk_conf_kind *root, const char *path, struct fk_bundle *bundle,
                 struct fk_conf **ret)
{
    struct load load = {.bundle = bundle};
    int err = fk_conf_store_new(root, &load.conf);

    if (err != FK_OK)
        return err;
    load_root(&load, path);
    if (load.conf->nomem) {
        fk_conf_free(load.conf);
        return FK_ERR_NOMEM;
    }
    *ret = load.conf;
    return load.conf->n_errors == 0 ? FK_OK : FK_ERR_CONF;
}
