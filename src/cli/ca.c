/* The certificate authority's directory and index. See ca.h. */
#include "cli/ca.h"

#include "base/err.h"
#include "base/text.h"
#include "cli/files.h"
#include "cli/pem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define INDEX_HEADER "# farkey ca index 1: serial, label, issued, expires, revoked\n"

/* Rows of one CA: bounds what a damaged index may make us allocate. */
#define ENTRIES_MAX 1000000

const char *const fk_ca_kind_names[] = {"edge", "keyserver", "site", NULL};

static const char *const label_prefixes[] = {"farkey:edge:", "farkey:keyserver:", ""};

struct fk_ca {
    char dir[FK_PATH_SIZE];
    int lock;
    X509 *cert;
    EVP_PKEY *key;
    struct fk_ca_entry *entries;
    size_t count;
    size_t room;
};

int fk_ca_label(enum fk_ca_kind kind, const char *name, char ret[FK_CA_LABEL_SIZE])
{
    bool wildcard = kind == FK_CA_SITE && strncmp(name, "*.", 2) == 0;

    if (!fk_name_ok(wildcard ? name + 2 : name))
        return FK_ERR_INVAL;
    snprintf(ret, FK_CA_LABEL_SIZE, "%s%s", label_prefixes[kind], name);
    return FK_OK;
}

enum fk_ca_kind fk_ca_label_kind(const char *label, const char **ret_name)
{
    for (int kind = FK_CA_EDGE; kind < FK_CA_SITE; kind++) {
        size_t len = strlen(label_prefixes[kind]);

        if (strncmp(label, label_prefixes[kind], len) == 0) {
            *ret_name = label + len;
            return (enum fk_ca_kind)kind;
        }
    }
    *ret_name = label;
    return FK_CA_SITE;
}

/* --- the index --- */

static int add_entry(struct fk_ca *ca, const struct fk_ca_entry *entry)
{
    if (ca->count == ENTRIES_MAX)
        return FK_ERR_LIMIT;
    if (ca->count == ca->room) {
        size_t room = ca->room == 0 ? 16 : 2 * ca->room;
        struct fk_ca_entry *more = realloc(ca->entries, room * sizeof *more);

        if (more == NULL)
            return FK_ERR_NOMEM;
        ca->entries = more;
        ca->room = room;
    }
    ca->entries[ca->count++] = *entry;
    return FK_OK;
}

static int parse_entry(const char *line, struct fk_ca_entry *ret)
{
    int end = 0;

    memset(ret, 0, sizeof *ret);
    if (sscanf(line, "%47[0-9A-F]\t%255[^\t\n]\t%" SCNd64 "\t%" SCNd64 "\t%" SCNd64 "%n",
               ret->serial, ret->label, &ret->issued, &ret->expires, &ret->revoked, &end) != 5 ||
        line[end] != '\0')
        return FK_ERR_FORMAT;
    return FK_OK;
}

static int parse_index(struct fk_ca *ca, char *text)
{
    char *line;
    int err = FK_OK;

    while (err == FK_OK && (line = strsep(&text, "\n")) != NULL) {
        struct fk_ca_entry entry;

        if (line[0] == '#' || line[0] == '\0')
            continue;
        if ((err = parse_entry(line, &entry)) == FK_OK)
            err = add_entry(ca, &entry);
    }
    return err;
}

static int load_index(struct fk_ca *ca)
{
    char path[FK_PATH_SIZE];
    uint8_t *text = NULL;
    size_t len = 0;
    int err;

    if ((err = fk_path_join(ca->dir, "index", path)) != FK_OK ||
        (err = fk_file_read(path, &text, &len)) != FK_OK)
        return err;
    err = parse_index(ca, (char *)text);
    free(text);
    return err;
}

static int save_index(const struct fk_ca *ca)
{
    char path[FK_PATH_SIZE];
    char *text = NULL;
    size_t len = 0;
    FILE *out;
    int err;

    if ((err = fk_path_join(ca->dir, "index", path)) != FK_OK)
        return err;
    out = open_memstream(&text, &len);
    if (out == NULL)
        return FK_ERR_NOMEM;
    fputs(INDEX_HEADER, out);
    for (size_t i = 0; i < ca->count; i++) {
        const struct fk_ca_entry *entry = &ca->entries[i];

        fprintf(out, "%s\t%s\t%" PRId64 "\t%" PRId64 "\t%" PRId64 "\n", entry->serial, entry->label,
                entry->issued, entry->expires, entry->revoked);
    }
    err = fclose(out) == 0 ? fk_file_write(path, text, len, 0600) : FK_ERR_NOMEM;
    free(text);
    return err;
}

const struct fk_ca_entry *fk_ca_at(const struct fk_ca *ca, size_t i)
{
    return i < ca->count ? &ca->entries[i] : NULL;
}

/* --- life --- */

/* Write key and certificate of a new CA; the first list follows when it is opened. */
static int make_files(const char *dir, EVP_PKEY *key, X509 *cert)
{
    char path[FK_PATH_SIZE];
    int err;

    if ((err = fk_path_join(dir, "ca.key", path)) != FK_OK ||
        (err = fk_pem_write_key(path, key, false)) != FK_OK ||
        (err = fk_path_join(dir, "ca.crt", path)) != FK_OK ||
        (err = fk_pem_write_cert(path, cert)) != FK_OK ||
        (err = fk_path_join(dir, "index", path)) != FK_OK)
        return err;
    return fk_file_write(path, INDEX_HEADER, strlen(INDEX_HEADER), 0600);
}

int fk_ca_create(const char *dir, const char *common_name)
{
    struct fk_ca *ca = NULL;
    EVP_PKEY *key = NULL;
    X509 *cert = NULL;
    int err;

    if ((err = fk_dir_make(dir, 0700)) != FK_OK ||
        (err = fk_pki_key_new(FK_PKI_P256, &key)) != FK_OK ||
        (err = fk_pki_ca_new(key, common_name, FK_CA_DAYS, &cert)) != FK_OK ||
        (err = make_files(dir, key, cert)) != FK_OK || (err = fk_ca_open(dir, &ca)) != FK_OK)
        goto out;
    err = fk_ca_write_crl(ca, FK_CA_CRL_DAYS);
out:
    fk_ca_close(ca);
    X509_free(cert);
    EVP_PKEY_free(key);
    return err;
}

static int lock_dir(struct fk_ca *ca)
{
    ca->lock = open(ca->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (ca->lock < 0)
        return FK_ERR_SYS;
    if (flock(ca->lock, LOCK_EX | LOCK_NB) == 0)
        return FK_OK;
    return errno == EWOULDBLOCK ? FK_ERR_AGAIN : FK_ERR_SYS;
}

static int load_files(struct fk_ca *ca)
{
    char path[FK_PATH_SIZE];
    int err;

    if ((err = fk_path_join(ca->dir, "ca.crt", path)) != FK_OK ||
        (err = fk_pem_read_cert(path, &ca->cert)) != FK_OK ||
        (err = fk_path_join(ca->dir, "ca.key", path)) != FK_OK ||
        (err = fk_pem_read_key(path, &ca->key)) != FK_OK || (err = load_index(ca)) != FK_OK)
        return err;
    return X509_check_private_key(ca->cert, ca->key) == 1 ? FK_OK : FK_ERR_MISMATCH;
}

int fk_ca_open(const char *dir, struct fk_ca **ret)
{
    struct fk_ca *ca = calloc(1, sizeof *ca);
    int err = FK_OK;

    if (ca == NULL)
        return FK_ERR_NOMEM;
    ca->lock = -1;
    if (snprintf(ca->dir, sizeof ca->dir, "%s", dir) >= (int)sizeof ca->dir)
        err = FK_ERR_LIMIT;
    if (err != FK_OK || (err = lock_dir(ca)) != FK_OK || (err = load_files(ca)) != FK_OK) {
        int saved = errno;

        fk_ca_close(ca);
        errno = saved;
        return err;
    }
    *ret = ca;
    return FK_OK;
}

void fk_ca_close(struct fk_ca *ca)
{
    if (ca == NULL)
        return;
    if (ca->lock >= 0)
        close(ca->lock);
    X509_free(ca->cert);
    EVP_PKEY_free(ca->key);
    free(ca->entries);
    free(ca);
}

/* --- issuing --- */

static int record(struct fk_ca *ca, const char *label, const X509 *cert)
{
    struct fk_ca_entry entry = {.issued = time(NULL), .expires = fk_pki_not_after(cert)};
    char *serial = fk_pki_serial(cert);
    int err;

    if (serial == NULL)
        return FK_ERR_NOMEM;
    snprintf(entry.serial, sizeof entry.serial, "%s", serial);
    snprintf(entry.label, sizeof entry.label, "%s", label);
    OPENSSL_free(serial);
    if ((err = add_entry(ca, &entry)) != FK_OK)
        return err;
    return save_index(ca);
}

int fk_ca_issue(struct fk_ca *ca, const struct fk_ca_order *order, EVP_PKEY *public_key, X509 **ret)
{
    struct fk_pki_subject subject = {.dns = order->dns, .n_dns = order->n_dns};
    enum fk_ca_kind kind = fk_ca_label_kind(order->label, &subject.common_name);
    X509 *cert = NULL;
    int err;

    if (kind != FK_CA_SITE) {
        subject.uri = order->label;
        subject.organization = "Farkey channel";
    } else if (order->n_dns == 0) {
        subject.dns = &subject.common_name;
        subject.n_dns = 1;
    }
    err = fk_pki_leaf_new(&subject, public_key, order->days, ca->cert, ca->key, &cert);
    /* Recorded before it is handed out: what is not in the index cannot be revoked by name. */
    if (err == FK_OK)
        err = record(ca, order->label, cert);
    if (err != FK_OK) {
        X509_free(cert);
        return err;
    }
    *ret = cert;
    return FK_OK;
}

/* --- revoking --- */

int fk_ca_find_label(const struct fk_ca *ca, const char *name, const char **ret)
{
    const char *found = NULL;

    for (size_t i = 0; i < ca->count; i++) {
        const char *label = ca->entries[i].label, *short_name;

        fk_ca_label_kind(label, &short_name);
        if (strcmp(label, name) == 0) {
            *ret = label;
            return FK_OK;
        }
        if (strcmp(short_name, name) != 0)
            continue;
        if (found != NULL && strcmp(found, label) != 0)
            return FK_ERR_DUPLICATE;
        found = label;
    }
    if (found == NULL)
        return FK_ERR_NOT_FOUND;
    *ret = found;
    return FK_OK;
}

static bool has_label(const struct fk_ca_entry *entry, const char *label)
{
    return strcmp(entry->label, label) == 0;
}

static bool has_serial(const struct fk_ca_entry *entry, const char *serial)
{
    return strcasecmp(entry->serial, serial) == 0;
}

static size_t mark_revoked(struct fk_ca *ca,
                           bool (*match)(const struct fk_ca_entry *entry, const char *text),
                           const char *text)
{
    size_t n = 0;

    for (size_t i = 0; i < ca->count; i++) {
        struct fk_ca_entry *entry = &ca->entries[i];

        if (match(entry, text) && entry->revoked == 0) {
            entry->revoked = time(NULL);
            n++;
        }
    }
    return n;
}

static bool knows_serial(const struct fk_ca *ca, const char *text)
{
    for (size_t i = 0; i < ca->count; i++)
        if (has_serial(&ca->entries[i], text))
            return true;
    return false;
}

int fk_ca_revoke(struct fk_ca *ca, const char *what, size_t *ret_count)
{
    const char *label = NULL;
    size_t n;
    int err;

    if (knows_serial(ca, what)) {
        n = mark_revoked(ca, has_serial, what);
    } else {
        if ((err = fk_ca_find_label(ca, what, &label)) != FK_OK)
            return err;
        n = mark_revoked(ca, has_label, label);
    }
    if ((err = save_index(ca)) != FK_OK || (err = fk_ca_write_crl(ca, FK_CA_CRL_DAYS)) != FK_OK)
        return err;
    *ret_count = n;
    return FK_OK;
}

/* Rows for the list. Expired certificates stay on it: clocks differ, and it costs 40 bytes. */
static int collect_revoked(const struct fk_ca *ca, struct fk_pki_revoked **ret, size_t *ret_n)
{
    struct fk_pki_revoked *rows = calloc(ca->count + 1, sizeof *rows);
    size_t n = 0;

    if (rows == NULL)
        return FK_ERR_NOMEM;
    for (size_t i = 0; i < ca->count; i++)
        if (ca->entries[i].revoked != 0)
            rows[n++] = (struct fk_pki_revoked){ca->entries[i].serial, ca->entries[i].revoked};
    *ret = rows;
    *ret_n = n;
    return FK_OK;
}

int fk_ca_write_crl(struct fk_ca *ca, unsigned days)
{
    char path[FK_PATH_SIZE];
    struct fk_pki_crl contents = {.days = days};
    X509_CRL *previous = NULL, *crl = NULL;
    struct fk_pki_revoked *rows = NULL;
    int err;

    if ((err = fk_path_join(ca->dir, "ca.crl", path)) != FK_OK)
        return err;
    err = fk_pem_read_crl(path, &previous);
    if (err != FK_OK && (err != FK_ERR_SYS || errno != ENOENT))
        return err;
    if ((err = collect_revoked(ca, &rows, &contents.n_revoked)) != FK_OK)
        goto out;
    contents.revoked = rows;
    contents.previous = previous;
    if ((err = fk_pki_crl_new(&contents, ca->cert, ca->key, &crl)) != FK_OK)
        goto out;
    err = fk_pem_write_crl(path, crl);
out:
    X509_CRL_free(previous);
    X509_CRL_free(crl);
    free(rows);
    return err;
}

int fk_ca_publish(const struct fk_ca *ca, const char *dir)
{
    static const char *const names[] = {"ca.crt", "ca.crl"};
    int err = FK_OK;

    for (size_t i = 0; err == FK_OK && i < sizeof names / sizeof names[0]; i++) {
        char from[FK_PATH_SIZE], to[FK_PATH_SIZE];
        uint8_t *data = NULL;
        size_t len = 0;

        if ((err = fk_path_join(ca->dir, names[i], from)) != FK_OK ||
            (err = fk_path_join(dir, names[i], to)) != FK_OK ||
            (err = fk_file_read(from, &data, &len)) != FK_OK)
            return err;
        err = fk_file_write(to, data, len, 0644);
        free(data);
    }
    return err;
}

/* --- what is not certified --- */

int fk_ca_key_pair(const char *algorithm, const char *key_path, const char *public_path)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, algorithm);
    int err = key == NULL ? FK_ERR_CRYPTO : fk_pem_write_key(key_path, key, false);

    if (err == FK_OK)
        err = fk_pem_write_public(public_path, key);
    EVP_PKEY_free(key);
    return err;
}
