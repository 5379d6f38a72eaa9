/*
 * Metrics in shared memory: see metrics.h.
 *
 * The memory is a header and a row of slots of 64-bit cells. Every process derives all offsets from
 * its own table and the size of the memory, never from what another process may have written there:
 * a captured writer can lie about its numbers and about nothing else.
 */
#include "loop/metrics.h"

#include "base/err.h"
#include "base/limits.h"

#include <errno.h>
#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Buckets of at most 1, 2, 4 ... 2^26 us (67 s), one for more, and the sum. */
#define BUCKETS      27
#define CELL_MORE    BUCKETS
#define CELL_SUM     (BUCKETS + 1)
#define HISTOGRAM    (BUCKETS + 2)
#define SLOT_ALIGN   8 /* cells: two processes never write the same cache line */
#define HEADER_CELLS 8
#define SEALS        (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static const char magic[8] = "fkmetr1";

struct header {
    char magic[8];
    uint64_t table; /* hash of the table's rows */
};

struct fk_metrics {
    const struct fk_metric *table;
    uint64_t *cells; /* the whole mapping */
    size_t size;     /* its bytes */
    size_t n_slots;
    size_t slot_cells;
    uint64_t *own; /* this process's slot, or NULL */
    size_t n_rows;
    uint32_t offsets[]; /* of each row's first cell in a slot */
};

static size_t row_cells(const struct fk_metric *row)
{
    return row->kind == FK_METRIC_HISTOGRAM ? HISTOGRAM : 1;
}

static size_t count_rows(const struct fk_metric *table)
{
    size_t n = 0;

    while (table[n].name != NULL)
        n++;
    return n;
}

static size_t slot_size(const struct fk_metric *table)
{
    size_t cells = 0;

    for (; table->name != NULL; table++)
        cells += row_cells(table);
    return (cells + SLOT_ALIGN - 1) / SLOT_ALIGN * SLOT_ALIGN;
}

/* FNV-1a, 64 bits: tells tables of different builds apart, keeps out nobody. */
static uint64_t hash_text(uint64_t hash, const char *text)
{
    const unsigned char *byte = (const unsigned char *)(text == NULL ? "" : text);

    do
        hash = (hash ^ *byte) * 0x100000001b3ULL;
    while (*byte++ != '\0');
    return hash;
}

static uint64_t hash_table(const struct fk_metric *table)
{
    uint64_t hash = 0xcbf29ce484222325ULL;

    for (; table->name != NULL; table++) {
        hash = hash_text(hash, table->name);
        hash = hash_text(hash, table->labels);
        hash = (hash ^ (uint64_t)table->kind) * 0x100000001b3ULL;
    }
    return hash;
}

/* --- life --- */

int fk_metrics_create(const struct fk_metric *table, size_t n_slots, int *ret_fd)
{
    struct header header = {.table = hash_table(table)};
    size_t cells;
    int fd;

    if (n_slots == 0 || n_slots > FK_METRICS_SLOTS_MAX || count_rows(table) > FK_METRICS_ROWS_MAX)
        return FK_ERR_INVAL;
    cells = HEADER_CELLS + n_slots * slot_size(table);
    memcpy(header.magic, magic, sizeof magic);
    fd = memfd_create("farkey-metrics", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return FK_ERR_SYS;
    if (ftruncate(fd, (off_t)(cells * sizeof(uint64_t))) != 0 ||
        pwrite(fd, &header, sizeof header, 0) != (ssize_t)sizeof header ||
        fcntl(fd, F_ADD_SEALS, SEALS) != 0) {
        close(fd);
        return FK_ERR_SYS;
    }
    *ret_fd = fd;
    return FK_OK;
}

/* The number of slots in memory of `size` bytes; 0 when it is not of this shape. */
static size_t slots_in(size_t size, size_t slot_cells)
{
    size_t cells = size / sizeof(uint64_t);

    if (size % sizeof(uint64_t) != 0 || cells <= HEADER_CELLS || slot_cells == 0 ||
        (cells - HEADER_CELLS) % slot_cells != 0)
        return 0;
    return (cells - HEADER_CELLS) / slot_cells;
}

/* Memory that somebody could shrink under us would kill the reader with SIGBUS. */
static int check_memory(const struct fk_metric *table, int fd, size_t *ret_size)
{
    struct header header;
    struct stat st;
    size_t slots;

    if (fstat(fd, &st) != 0)
        return FK_ERR_SYS;
    if ((fcntl(fd, F_GET_SEALS) & SEALS) != SEALS ||
        pread(fd, &header, sizeof header, 0) != (ssize_t)sizeof header)
        return FK_ERR_FORMAT;
    slots = slots_in((size_t)st.st_size, slot_size(table));
    if (memcmp(header.magic, magic, sizeof magic) != 0 || header.table != hash_table(table) ||
        slots == 0 || slots > FK_METRICS_SLOTS_MAX)
        return FK_ERR_FORMAT;
    *ret_size = (size_t)st.st_size;
    return FK_OK;
}

int fk_metrics_open(const struct fk_metric *table, int fd, struct fk_metrics **ret)
{
    size_t n_rows = count_rows(table), size, offset = 0;
    struct fk_metrics *metrics;
    int err = check_memory(table, fd, &size);

    if (err != FK_OK)
        return err;
    metrics = calloc(1, sizeof *metrics + n_rows * sizeof metrics->offsets[0]);
    if (metrics == NULL)
        return FK_ERR_NOMEM;
    metrics->cells = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (metrics->cells == MAP_FAILED) {
        free(metrics);
        return errno == ENOMEM ? FK_ERR_NOMEM : FK_ERR_SYS;
    }
    metrics->table = table;
    metrics->size = size;
    metrics->slot_cells = slot_size(table);
    metrics->n_slots = slots_in(size, metrics->slot_cells);
    metrics->n_rows = n_rows;
    for (size_t i = 0; i < n_rows; i++) {
        metrics->offsets[i] = (uint32_t)offset;
        offset += row_cells(&table[i]);
    }
    *ret = metrics;
    return FK_OK;
}

void fk_metrics_close(struct fk_metrics *metrics)
{
    if (metrics == NULL)
        return;
    munmap(metrics->cells, metrics->size);
    free(metrics);
}

/* --- counting --- */

static uint64_t *slot_of(const struct fk_metrics *metrics, size_t slot)
{
    return metrics->cells + HEADER_CELLS + slot * metrics->slot_cells;
}

void fk_metrics_own(struct fk_metrics *metrics, size_t slot)
{
    if (metrics != NULL)
        metrics->own = slot < metrics->n_slots ? slot_of(metrics, slot) : NULL;
}

/* The first cell of a row in this process's slot; NULL when there is nothing to count in. */
static uint64_t *own_cell(struct fk_metrics *metrics, unsigned id)
{
    if (metrics == NULL || metrics->own == NULL)
        return NULL;
    assert(id < metrics->n_rows);
    return metrics->own + metrics->offsets[id];
}

static void add(uint64_t *cell, uint64_t delta)
{
    __atomic_fetch_add(cell, delta, __ATOMIC_RELAXED);
}

static uint64_t load(const uint64_t *cell)
{
    return __atomic_load_n(cell, __ATOMIC_RELAXED);
}

void fk_metric_add(struct fk_metrics *metrics, unsigned id, uint64_t delta)
{
    uint64_t *cell = own_cell(metrics, id);

    if (cell != NULL)
        add(cell, delta);
}

void fk_metric_set(struct fk_metrics *metrics, unsigned id, uint64_t value)
{
    uint64_t *cell = own_cell(metrics, id);

    if (cell != NULL)
        __atomic_store_n(cell, value, __ATOMIC_RELAXED);
}

/* The first bucket whose bound is not below `us`. */
static unsigned bucket_of(uint64_t us)
{
    unsigned bits = us <= 1 ? 0 : 64 - (unsigned)__builtin_clzll(us - 1);

    return bits < BUCKETS ? bits : CELL_MORE;
}

void fk_metric_observe(struct fk_metrics *metrics, unsigned id, uint64_t us)
{
    uint64_t *cell = own_cell(metrics, id);

    if (cell == NULL)
        return;
    assert(metrics->table[id].kind == FK_METRIC_HISTOGRAM);
    add(cell + bucket_of(us), 1);
    add(cell + CELL_SUM, us);
}

void fk_metrics_bury(struct fk_metrics *metrics, size_t slot)
{
    if (metrics == NULL || slot >= metrics->n_slots)
        return;
    for (size_t i = 0; i < metrics->n_rows; i++)
        if (metrics->table[i].kind == FK_METRIC_GAUGE)
            __atomic_store_n(slot_of(metrics, slot) + metrics->offsets[i], 0, __ATOMIC_RELAXED);
}

/* --- reading --- */

static uint64_t sum_cell(const struct fk_metrics *metrics, size_t row, size_t cell)
{
    uint64_t total = 0;

    for (size_t slot = 0; slot < metrics->n_slots; slot++)
        total += load(slot_of(metrics, slot) + metrics->offsets[row] + cell);
    return total;
}

/* A histogram's total is the number of its observations. */
uint64_t fk_metric_total(const struct fk_metrics *metrics, unsigned id)
{
    uint64_t total = 0;

    if (metrics == NULL)
        return 0;
    assert(id < metrics->n_rows);
    if (metrics->table[id].kind != FK_METRIC_HISTOGRAM)
        return sum_cell(metrics, id, 0);
    for (size_t cell = 0; cell <= CELL_MORE; cell++)
        total += sum_cell(metrics, id, cell);
    return total;
}

/* Microseconds as decimal seconds, exactly. */
static void print_seconds(FILE *out, uint64_t us)
{
    fprintf(out, "%" PRIu64 ".%06" PRIu64, us / 1000000, us % 1000000);
}

static void print_name(const struct fk_metric *metric, const char *suffix, FILE *out)
{
    fprintf(out, "%s%s", metric->name, suffix);
    if (metric->labels != NULL && metric->labels[0] != '\0')
        fprintf(out, "{%s}", metric->labels);
    fputc(' ', out);
}

static void print_histogram(const struct fk_metrics *metrics, size_t row, FILE *out)
{
    const struct fk_metric *metric = &metrics->table[row];
    const char *labels = metric->labels == NULL ? "" : metric->labels;
    const char *comma = labels[0] == '\0' ? "" : ",";
    uint64_t total = 0;

    for (size_t i = 0; i < BUCKETS; i++) {
        total += sum_cell(metrics, row, i);
        fprintf(out, "%s_bucket{%s%sle=\"", metric->name, labels, comma);
        print_seconds(out, 1ULL << i);
        fprintf(out, "\"} %" PRIu64 "\n", total);
    }
    total += sum_cell(metrics, row, CELL_MORE);
    fprintf(out, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", metric->name, labels, comma, total);
    print_name(metric, "_sum", out);
    print_seconds(out, sum_cell(metrics, row, CELL_SUM));
    fputc('\n', out);
    print_name(metric, "_count", out);
    fprintf(out, "%" PRIu64 "\n", total);
}

static void print_value(const struct fk_metrics *metrics, size_t row, FILE *out)
{
    const struct fk_metric *metric = &metrics->table[row];
    uint64_t value = sum_cell(metrics, row, 0);

    print_name(metric, "", out);
    /* Each process adds to and takes from its own part: only the sum means something. */
    if (metric->kind == FK_METRIC_GAUGE)
        fprintf(out, "%" PRId64 "\n", (int64_t)value);
    else
        fprintf(out, "%" PRIu64 "\n", value);
}

void fk_metrics_print(const struct fk_metrics *metrics, FILE *out)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    const char *family = "";

    for (size_t i = 0; i < metrics->n_rows; i++) {
        const struct fk_metric *metric = &metrics->table[i];

        if (strcmp(metric->name, family) != 0) {
            fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", metric->name, metric->help, metric->name,
                    types[metric->kind]);
            family = metric->name;
        }
        if (metric->kind == FK_METRIC_HISTOGRAM)
            print_histogram(metrics, i, out);
        else
            print_value(metrics, i, out);
    }
}
