/*
 * A set of files frozen at one moment: see bundle.h.
 *
 * Sealed form, all integers big-endian, TEXT = u64 length, bytes, a NUL that the length leaves out:
 *
 *     magic (16 bytes) | base TEXT | number of entries u64 | entries
 *     entry = kind u8 | path TEXT | FILE: contents TEXT; GLOB: number u64, paths TEXT; MISSING: -
 *
 * A bundle over a memfd borrows everything from a read-only mapping of it; the seals promise that
 * the bytes do not change under it. The reader trusts nothing else: it may run in a child whose
 * master was fooled.
 */
#include "conf/bundle.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/reader.h"
#include "base/secret.h"
#include "base/writer.h"
#include "conf/exposed.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUCKETS = 4096, READ_STEP = 65536 };
enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL };

enum entry_kind { ENTRY_FILE = 1, ENTRY_GLOB = 2, ENTRY_MISSING = 3 };

static const char magic[16] = "farkey bundle 1";

struct entry {
    struct entry *chain; /* same bucket */
    enum entry_kind kind;
    bool exposed; /* a file that other users may reach, of a live bundle */
    bool owned;   /* path, data and the strings of paths are ours, not the mapping's */
    char *path;
    uint8_t *data; /* FILE: len bytes and a NUL */
    size_t len;
    char **paths; /* GLOB; the array itself is always ours */
    size_t count;
};

/* In the order of recording. */
struct table {
    struct entry **items;
    size_t count;
    size_t cap;
};

struct fk_bundle {
    struct entry *buckets[BUCKETS];
    struct table files;
    struct table others; /* globs and misses */
    uint64_t bytes;      /* contents in all */
    bool live;
    char *base;
    void *map; /* sealed bundles */
    size_t map_len;
};

/* FNV-1a: the paths are the operator's own, nobody attacks the buckets. */
static struct entry **bucket_of(struct fk_bundle *bundle, const char *path)
{
    uint32_t hash = 2166136261u;

    for (; *path != '\0'; path++)
        hash = (hash ^ (uint8_t)*path) * 16777619u;
    return &bundle->buckets[hash % BUCKETS];
}

/* Files and misses share a name space; patterns have their own. */
static struct entry *find_entry(struct fk_bundle *bundle, const char *path, bool glob)
{
    for (struct entry *entry = *bucket_of(bundle, path); entry != NULL; entry = entry->chain)
        if ((entry->kind == ENTRY_GLOB) == glob && strcmp(entry->path, path) == 0)
            return entry;
    return NULL;
}

static void free_entry(struct entry *entry)
{
    if (entry == NULL)
        return;
    if (entry->owned) {
        for (size_t i = 0; i < entry->count; i++)
            free(entry->paths[i]);
        if (entry->data != NULL)
            fk_wipe(entry->data, entry->len);
        free(entry->data);
        free(entry->path);
    }
    free(entry->paths);
    free(entry);
}

static int new_entry(enum entry_kind kind, const char *path, struct entry **ret)
{
    struct entry *entry = calloc(1, sizeof *entry);

    if (entry == NULL)
        return FK_ERR_NOMEM;
    entry->kind = kind;
    entry->owned = true;
    entry->path = strdup(path);
    if (entry->path == NULL) {
        free(entry);
        return FK_ERR_NOMEM;
    }
    *ret = entry;
    return FK_OK;
}

static struct table *table_of(struct fk_bundle *bundle, const struct entry *entry)
{
    return entry->kind == ENTRY_FILE ? &bundle->files : &bundle->others;
}

/* Take `entry` into the bundle; still the caller's when this fails. */
static int link_entry(struct fk_bundle *bundle, struct entry *entry)
{
    struct entry **bucket = bucket_of(bundle, entry->path);
    struct table *table = table_of(bundle, entry);

    if (bundle->files.count + bundle->others.count >= FK_BUNDLE_ENTRIES_MAX ||
        entry->len > FK_BUNDLE_BYTES_MAX - bundle->bytes)
        return FK_ERR_LIMIT;
    if (table->count == table->cap) {
        size_t cap = table->cap == 0 ? 64 : table->cap * 2;
        struct entry **items = realloc(table->items, cap * sizeof(struct entry *));

        if (items == NULL)
            return FK_ERR_NOMEM;
        table->items = items;
        table->cap = cap;
    }
    table->items[table->count++] = entry;
    bundle->bytes += entry->len;
    entry->chain = *bucket;
    *bucket = entry;
    return FK_OK;
}

static void unlink_entry(struct fk_bundle *bundle, const struct entry *entry)
{
    struct entry **link = bucket_of(bundle, entry->path);
    struct table *table = table_of(bundle, entry);
    size_t i = 0;

    while (*link != entry)
        link = &(*link)->chain;
    *link = entry->chain;
    while (table->items[i] != entry)
        i++;
    table->count--;
    memmove(table->items + i, table->items + i + 1, (table->count - i) * sizeof(struct entry *));
    bundle->bytes -= entry->len;
}

int fk_bundle_new(struct fk_bundle **ret)
{
    struct fk_bundle *bundle = calloc(1, sizeof *bundle);

    if (bundle == NULL)
        return FK_ERR_NOMEM;
    bundle->live = true;
    /* A directory that was removed under us has no name; relative paths then fail on their own. */
    bundle->base = getcwd(NULL, 0);
    if (bundle->base == NULL)
        bundle->base = strdup("/");
    if (bundle->base == NULL) {
        free(bundle);
        return FK_ERR_NOMEM;
    }
    *ret = bundle;
    return FK_OK;
}

static void free_table(struct table *table)
{
    for (size_t i = 0; i < table->count; i++)
        free_entry(table->items[i]);
    free(table->items);
}

void fk_bundle_free(struct fk_bundle *bundle)
{
    if (bundle == NULL)
        return;
    free_table(&bundle->files);
    free_table(&bundle->others);
    if (bundle->map != NULL)
        munmap(bundle->map, bundle->map_len);
    else
        free(bundle->base);
    free(bundle);
}

const char *fk_bundle_base(const struct fk_bundle *bundle)
{
    return bundle->base;
}

/* Read an open file to its end into `buf`, and a NUL behind it. */
static int read_all(int fd, struct fk_buf *buf)
{
    uint8_t *at;
    ssize_t n;
    int err;

    do {
        size_t room = fk_buf_room(buf);

        if (room == 0)
            return FK_ERR_LIMIT;
        if ((err = fk_buf_reserve(buf, room < READ_STEP ? room : READ_STEP, &at)) != FK_OK)
            return err;
        do
            n = read(fd, at, room < READ_STEP ? room : READ_STEP);
        while (n < 0 && errno == EINTR);
        if (n < 0)
            return FK_ERR_SYS;
        fk_buf_commit(buf, (size_t)n);
    } while (n > 0);
    return fk_buf_append(buf, "", 1);
}

/* Open what may be read as a file: a FIFO or a device could block the master for ever. */
static int open_regular(const char *path, int *ret_fd, bool *ret_exposed)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;
    int reason = 0, err = FK_ERR_SYS;

    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? FK_ERR_NOT_FOUND : FK_ERR_SYS;
    if (fstat(fd, &st) != 0)
        reason = errno;
    else if (S_ISDIR(st.st_mode))
        reason = EISDIR;
    else
        err = S_ISREG(st.st_mode) ? FK_OK : FK_ERR_NOT_REGULAR;
    if (err != FK_OK) {
        close(fd);
        errno = reason;
        return err;
    }
    *ret_fd = fd;
    *ret_exposed = fk_secret_is_exposed(&st);
    return FK_OK;
}

/* The whole of a file in memory of exactly its size and a NUL. */
static int load_file(const char *path, struct entry *entry)
{
    struct fk_buf buf;
    int fd, err, reason;

    if ((err = open_regular(path, &fd, &entry->exposed)) != FK_OK)
        return err;
    fk_buf_init_secret(&buf, (size_t)FK_BUNDLE_FILE_MAX + 1);
    if ((err = read_all(fd, &buf)) == FK_OK) {
        entry->data = malloc(fk_buf_len(&buf));
        if (entry->data != NULL) {
            memcpy(entry->data, fk_buf_data(&buf), fk_buf_len(&buf));
            entry->len = fk_buf_len(&buf) - 1;
        } else {
            err = FK_ERR_NOMEM;
        }
    }
    reason = errno;
    fk_buf_fini(&buf);
    close(fd);
    errno = reason;
    return err;
}

static int record_file(struct fk_bundle *bundle, const char *path, struct entry **ret)
{
    struct entry *entry;
    int err = new_entry(ENTRY_FILE, path, &entry);

    if (err != FK_OK)
        return err;
    err = load_file(path, entry);
    if (err == FK_ERR_NOT_FOUND) {
        entry->kind = ENTRY_MISSING;
        err = FK_OK;
    }
    if (err != FK_OK || (err = link_entry(bundle, entry)) != FK_OK) {
        int reason = errno;

        free_entry(entry);
        errno = reason;
        return err;
    }
    *ret = entry;
    return FK_OK;
}

int fk_bundle_read(struct fk_bundle *bundle, const char *path, const uint8_t **ret, size_t *ret_len)
{
    struct entry *entry = find_entry(bundle, path, false);
    int err;

    if (entry == NULL) {
        if (!bundle->live)
            return FK_ERR_NOT_FOUND;
        if ((err = record_file(bundle, path, &entry)) != FK_OK)
            return err;
    }
    if (entry->kind == ENTRY_MISSING)
        return FK_ERR_NOT_FOUND;
    *ret = entry->data;
    *ret_len = entry->len;
    return FK_OK;
}

int fk_bundle_read_secret(struct fk_bundle *bundle, const char *path, const uint8_t **ret,
                          size_t *ret_len)
{
    const uint8_t *data;
    size_t len;
    int err = fk_bundle_read(bundle, path, &data, &len);

    if (err != FK_OK)
        return err;
    if (find_entry(bundle, path, false)->exposed)
        return FK_ERR_EXPOSED;
    *ret = data;
    *ret_len = len;
    return FK_OK;
}

/* glob(3) passes directories that cannot be opened to this; absent ones just match nothing. */
static int glob_failed(const char *path, int reason)
{
    (void)path;
    errno = reason;
    return reason != ENOENT && reason != ENOTDIR;
}

static int compare_paths(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int copy_matches(const glob_t *found, struct entry *entry)
{
    if (found->gl_pathc > FK_BUNDLE_ENTRIES_MAX)
        return FK_ERR_LIMIT;
    entry->paths = calloc(found->gl_pathc + 1, sizeof entry->paths[0]);
    if (entry->paths == NULL)
        return FK_ERR_NOMEM;
    for (; entry->count < found->gl_pathc; entry->count++) {
        entry->paths[entry->count] = strdup(found->gl_pathv[entry->count]);
        if (entry->paths[entry->count] == NULL)
            return FK_ERR_NOMEM;
    }
    /* glob(3) sorts by the locale; children must see the order of the bytes, as tests do. */
    qsort(entry->paths, entry->count, sizeof entry->paths[0], compare_paths);
    return FK_OK;
}

static int expand(const char *pattern, struct entry *entry)
{
    glob_t found = {0};
    int err = FK_OK, reason;

    switch (glob(pattern, GLOB_NOSORT, glob_failed, &found)) {
    case 0:
        err = copy_matches(&found, entry);
        break;
    case GLOB_NOMATCH:
        break;
    case GLOB_NOSPACE:
        err = FK_ERR_NOMEM;
        break;
    default:
        err = FK_ERR_SYS;
        break;
    }
    reason = errno;
    globfree(&found);
    errno = reason;
    return err;
}

int fk_bundle_glob(struct fk_bundle *bundle, const char *pattern, const char *const **ret,
                   size_t *ret_count)
{
    static const char *const nothing[] = {NULL};
    struct entry *entry = find_entry(bundle, pattern, true);
    int err;

    if (entry == NULL && bundle->live) {
        if ((err = new_entry(ENTRY_GLOB, pattern, &entry)) != FK_OK)
            return err;
        if ((err = expand(pattern, entry)) != FK_OK || (err = link_entry(bundle, entry)) != FK_OK) {
            int reason = errno;

            free_entry(entry);
            errno = reason;
            return err;
        }
    }
    *ret = entry == NULL || entry->paths == NULL ? nothing : (const char *const *)entry->paths;
    *ret_count = entry == NULL ? 0 : entry->count;
    return FK_OK;
}

int fk_bundle_add(struct fk_bundle *bundle, const char *path, const void *data, size_t len)
{
    struct entry *entry;
    int err;

    if (find_entry(bundle, path, false) != NULL)
        return FK_ERR_DUPLICATE;
    if (len > FK_BUNDLE_FILE_MAX)
        return FK_ERR_LIMIT;
    if ((err = new_entry(ENTRY_FILE, path, &entry)) != FK_OK)
        return err;
    entry->data = malloc(len + 1);
    if (entry->data == NULL) {
        free_entry(entry);
        return FK_ERR_NOMEM;
    }
    if (len > 0)
        memcpy(entry->data, data, len);
    entry->data[len] = '\0';
    entry->len = len;
    if ((err = link_entry(bundle, entry)) != FK_OK)
        free_entry(entry);
    return err;
}

void fk_bundle_drop(struct fk_bundle *bundle, const char *path)
{
    struct entry *entry = find_entry(bundle, path, false);

    if (entry == NULL)
        return;
    unlink_entry(bundle, entry);
    free_entry(entry);
}

int fk_bundle_at(const struct fk_bundle *bundle, size_t index, const char **ret_path,
                 const uint8_t **ret, size_t *ret_len)
{
    const struct entry *entry;

    if (index >= bundle->files.count)
        return FK_ERR_NOT_FOUND;
    entry = bundle->files.items[index];
    *ret_path = entry->path;
    *ret = entry->data;
    *ret_len = entry->len;
    return FK_OK;
}

/* --- writing --- */

static size_t text_size(size_t len)
{
    return 8 + len + 1;
}

static void write_text(struct fk_writer *writer, const void *data, size_t len)
{
    fk_writer_u64(writer, len);
    fk_writer_bytes(writer, data, len);
    fk_writer_u8(writer, 0);
}

static size_t entry_size(const struct entry *entry)
{
    size_t size = 1 + text_size(strlen(entry->path));

    if (entry->kind == ENTRY_FILE)
        size += text_size(entry->len);
    if (entry->kind == ENTRY_GLOB)
        size += 8;
    for (size_t i = 0; i < entry->count; i++)
        size += text_size(strlen(entry->paths[i]));
    return size;
}

static void write_entry(struct fk_writer *writer, const struct entry *entry)
{
    fk_writer_u8(writer, (uint8_t)entry->kind);
    write_text(writer, entry->path, strlen(entry->path));
    if (entry->kind == ENTRY_FILE)
        write_text(writer, entry->data, entry->len);
    if (entry->kind == ENTRY_GLOB)
        fk_writer_u64(writer, entry->count);
    for (size_t i = 0; i < entry->count; i++)
        write_text(writer, entry->paths[i], strlen(entry->paths[i]));
}

static size_t table_size(const struct table *table)
{
    size_t size = 0;

    for (size_t i = 0; i < table->count; i++)
        size += entry_size(table->items[i]);
    return size;
}

static void write_table(struct fk_writer *writer, const struct table *table)
{
    for (size_t i = 0; i < table->count; i++)
        write_entry(writer, table->items[i]);
}

static int write_bundle(const struct fk_bundle *bundle, void *mem, size_t size)
{
    struct fk_writer writer;
    size_t len;
    int err;

    fk_writer_init(&writer, mem, size);
    fk_writer_bytes(&writer, magic, sizeof magic);
    write_text(&writer, bundle->base, strlen(bundle->base));
    fk_writer_u64(&writer, bundle->files.count + bundle->others.count);
    write_table(&writer, &bundle->files);
    write_table(&writer, &bundle->others);
    err = fk_writer_end(&writer, &len);
    assert(err == FK_OK && len == size);
    return err;
}

static int fill_and_seal(const struct fk_bundle *bundle, int fd)
{
    size_t size = sizeof magic + text_size(strlen(bundle->base)) + 8;
    void *mem;
    int err;

    size += table_size(&bundle->files) + table_size(&bundle->others);
    if (ftruncate(fd, (off_t)size) != 0)
        return FK_ERR_SYS;
    mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mem == MAP_FAILED)
        return errno == ENOMEM ? FK_ERR_NOMEM : FK_ERR_SYS;
    err = write_bundle(bundle, mem, size);
    /* A writable mapping would forbid F_SEAL_WRITE. */
    munmap(mem, size);
    if (err == FK_OK && fcntl(fd, F_ADD_SEALS, SEALS) != 0)
        err = FK_ERR_SYS;
    return err;
}

int fk_bundle_seal(const struct fk_bundle *bundle, int *ret_fd)
{
    int fd = memfd_create("farkey-bundle", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int err, reason;

    if (fd < 0)
        return FK_ERR_SYS;
    if ((err = fill_and_seal(bundle, fd)) != FK_OK) {
        reason = errno;
        close(fd);
        errno = reason;
        return err;
    }
    *ret_fd = fd;
    return FK_OK;
}

/* --- reading --- */

/* A TEXT, borrowed from the mapping; its NUL is checked. */
static int read_text(struct fk_reader *reader, uint8_t **ret, size_t *ret_len)
{
    struct fk_reader sub;
    uint64_t len;

    if (fk_reader_u64(reader, &len) != FK_OK || len >= reader->left ||
        fk_reader_take(reader, (size_t)len + 1, &sub) != FK_OK)
        return FK_ERR_FORMAT;
    if (sub.next[len] != 0)
        return FK_ERR_FORMAT;
    /* Never written through: the mapping is read-only and `owned` is false. */
    *ret = (uint8_t *)(uintptr_t)sub.next;
    *ret_len = (size_t)len;
    return FK_OK;
}

/* A TEXT without NUL bytes inside. */
static int read_path(struct fk_reader *reader, char **ret)
{
    uint8_t *text;
    size_t len;
    int err = read_text(reader, &text, &len);

    if (err != FK_OK)
        return err;
    if (memchr(text, 0, len) != NULL)
        return FK_ERR_FORMAT;
    *ret = (char *)text;
    return FK_OK;
}

static int read_matches(struct fk_reader *reader, struct entry *entry)
{
    uint64_t count;
    int err;

    /* Each path takes at least nine bytes, so a count that passes cannot ask for much memory. */
    if (fk_reader_u64(reader, &count) != FK_OK || count > reader->left / 9)
        return FK_ERR_FORMAT;
    entry->paths = calloc((size_t)count + 1, sizeof entry->paths[0]);
    if (entry->paths == NULL)
        return FK_ERR_NOMEM;
    for (; entry->count < count; entry->count++)
        if ((err = read_path(reader, &entry->paths[entry->count])) != FK_OK)
            return err;
    return FK_OK;
}

static int read_entry(struct fk_bundle *bundle, struct fk_reader *reader)
{
    struct entry *entry = calloc(1, sizeof *entry);
    uint8_t kind;
    int err = FK_ERR_FORMAT;

    if (entry == NULL)
        return FK_ERR_NOMEM;
    if (fk_reader_u8(reader, &kind) != FK_OK || kind < ENTRY_FILE || kind > ENTRY_MISSING)
        goto out;
    entry->kind = (enum entry_kind)kind;
    if ((err = read_path(reader, &entry->path)) != FK_OK)
        goto out;
    if (entry->kind == ENTRY_FILE)
        err = read_text(reader, &entry->data, &entry->len);
    else if (entry->kind == ENTRY_GLOB)
        err = read_matches(reader, entry);
    if (err != FK_OK)
        goto out;
    if (find_entry(bundle, entry->path, entry->kind == ENTRY_GLOB) != NULL)
        err = FK_ERR_FORMAT;
    else
        err = link_entry(bundle, entry);
out:
    if (err != FK_OK)
        free_entry(entry);
    return err == FK_ERR_LIMIT ? FK_ERR_FORMAT : err;
}

static int read_bundle(struct fk_bundle *bundle)
{
    struct fk_reader reader;
    char start[sizeof magic];
    uint64_t count;
    int err;

    fk_reader_init(&reader, bundle->map, bundle->map_len);
    if (fk_reader_copy(&reader, start, sizeof start) != FK_OK ||
        memcmp(start, magic, sizeof magic) != 0)
        return FK_ERR_FORMAT;
    if ((err = read_path(&reader, &bundle->base)) != FK_OK)
        return err;
    if (fk_reader_u64(&reader, &count) != FK_OK || count > FK_BUNDLE_ENTRIES_MAX)
        return FK_ERR_FORMAT;
    for (uint64_t i = 0; i < count; i++)
        if ((err = read_entry(bundle, &reader)) != FK_OK)
            return err;
    return fk_reader_end(&reader) == FK_OK ? FK_OK : FK_ERR_FORMAT;
}

int fk_bundle_open(int fd, struct fk_bundle **ret)
{
    int seals = fcntl(fd, F_GET_SEALS);
    struct fk_bundle *bundle;
    struct stat st;
    void *map;
    int err;

    if (seals < 0 || (seals & SEALS) != SEALS)
        return FK_ERR_FORMAT;
    if (fstat(fd, &st) != 0)
        return FK_ERR_SYS;
    if (st.st_size <= 0)
        return FK_ERR_FORMAT;
    map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return errno == ENOMEM ? FK_ERR_NOMEM : FK_ERR_SYS;
    (void)madvise(map, (size_t)st.st_size, MADV_DONTDUMP);
    bundle = calloc(1, sizeof *bundle);
    if (bundle == NULL) {
        munmap(map, (size_t)st.st_size);
        return FK_ERR_NOMEM;
    }
    bundle->map = map;
    bundle->map_len = (size_t)st.st_size;
    if ((err = read_bundle(bundle)) != FK_OK) {
        fk_bundle_free(bundle);
        return err;
    }
    *ret = bundle;
    return FK_OK;
}
