/* `farkey ca`: the certificate authority from the command line. */
#include "cli/ca.h"

#include "base/err.h"
#include "cli/commands.h"
#include "cli/files.h"
#include "cli/options.h"
#include "cli/pem.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ca_values {
    const char *ca;  /* directory of the CA */
    const char *out; /* where results go */
    const char *csr;
    const char *name;
    struct fk_opt_list dns;
    uint64_t days;
    bool json;
};

#define OPT_CA                                                         \
    {                                                                  \
        "ca", 0, FK_OPT_STRING, offsetof(struct ca_values, ca), "DIR", \
            "directory of the authority (default: ca)", 0, 0, NULL     \
    }
#define OPT_OUT                                                            \
    {                                                                      \
        "out", 'o', FK_OPT_STRING, offsetof(struct ca_values, out), "DIR", \
            "where to write (default: the present directory)", 0, 0, NULL  \
    }
#define OPT_CSR                                                                               \
    {                                                                                         \
        "csr", 0, FK_OPT_STRING, offsetof(struct ca_values, csr), "FILE",                     \
            "certify the public key of this request; its names are not looked at", 0, 0, NULL \
    }
#define OPT_DAYS                                                         \
    {                                                                    \
        "days", 0, FK_OPT_NUMBER, offsetof(struct ca_values, days), "N", \
            "validity in days (default: 365)", 1, 36500, NULL            \
    }
#define OPT_DNS                                                                        \
    {                                                                                  \
        "dns", 0, FK_OPT_LIST, offsetof(struct ca_values, dns), "NAME",                \
            "a DNS name of a site (may be repeated; default: NAME itself)", 0, 0, NULL \
    }
#define OPT_END                                         \
    {                                                   \
        NULL, 0, FK_OPT_FLAG, 0, NULL, NULL, 0, 0, NULL \
    }

static const struct ca_values defaults = {.ca = "ca", .out = ".", .days = FK_CA_LEAF_DAYS};

static int open_ca(const char *dir, struct fk_ca **ret)
{
    int err = fk_ca_open(dir, ret);

    if (err != FK_OK)
        fk_command_fail("cannot open the authority", dir, err);
    return err;
}

static int parse_kind(const char *text, enum fk_ca_kind *ret)
{
    for (int i = 0; fk_ca_kind_names[i] != NULL; i++) {
        if (strcmp(fk_ca_kind_names[i], text) == 0) {
            *ret = (enum fk_ca_kind)i;
            return FK_OK;
        }
    }
    fprintf(stderr, "farkey ca: \"%s\" is not edge, keyserver or site\n", text);
    return FK_ERR_INVAL;
}

static int parse_label(const char *kind_text, const char *name, enum fk_ca_kind *ret_kind,
                       char ret[FK_CA_LABEL_SIZE])
{
    enum fk_ca_kind kind;
    int err = parse_kind(kind_text, &kind);

    if (err != FK_OK)
        return err;
    if ((err = fk_ca_label(kind, name, ret)) != FK_OK)
        fprintf(stderr, "farkey ca: \"%s\" is not a name: letters, digits and . - _ only\n", name);
    else
        *ret_kind = kind;
    return err;
}

/* --- init --- */

static int ca_init(int argc, char **argv)
{
    static const struct fk_opt options[] = {
        OPT_CA,
        {"name", 0, FK_OPT_STRING, offsetof(struct ca_values, name), "TEXT",
         "common name of the authority (default: Farkey CA)", 0, 0, NULL},
        OPT_END,
    };
    static const struct fk_opt_command command = {
        "farkey ca init",
        "",
        "Make a new authority: a P-256 key, its certificate and an empty list.",
        options,
        0,
        0};
    struct ca_values values = defaults;
    int first, err = fk_opt_parse(&command, &values, argc, argv, &first);

    if (err != FK_OK)
        return fk_opt_status(err);
    err = fk_ca_create(values.ca, values.name != NULL ? values.name : "Farkey CA");
    if (err == FK_ERR_DUPLICATE) {
        fprintf(stderr, "farkey ca: %s has an authority already; give another folder by --ca\n",
                values.ca);
        return 1;
    }
    if (err != FK_OK)
        return fk_command_fail("cannot make the authority", values.ca, err);
    printf("made the authority %s; its key is %s/ca.key\n", values.ca, values.ca);
    return 0;
}

/* --- request --- */

static int write_request(const char *label, const char *dir)
{
    struct fk_pki_subject subject = {.uri = label, .organization = "Farkey channel"};
    char path[FK_PATH_SIZE];
    EVP_PKEY *key = NULL;
    X509_REQ *request = NULL;
    int err;

    fk_ca_label_kind(label, &subject.common_name);
    if ((err = fk_pki_key_new(FK_PKI_P256, &key)) != FK_OK ||
        (err = fk_pki_request_new(&subject, key, &request)) != FK_OK ||
        (err = fk_path_join(dir, "channel.key", path)) != FK_OK ||
        (err = fk_pem_write_key(path, key, false)) != FK_OK ||
        (err = fk_path_join(dir, "channel.csr", path)) != FK_OK)
        goto out;
    err = fk_pem_write_request(path, request);
out:
    X509_REQ_free(request);
    EVP_PKEY_free(key);
    return err;
}

static int ca_request(int argc, char **argv)
{
    static const struct fk_opt options[] = {OPT_OUT, OPT_END};
    static const struct fk_opt_command command = {
        "farkey ca request",
        "edge|keyserver NAME",
        "Make channel.key and channel.csr on the host itself, for an authority elsewhere.",
        options,
        2,
        2};
    struct ca_values values = defaults;
    char label[FK_CA_LABEL_SIZE];
    enum fk_ca_kind kind;
    int first, err = fk_opt_parse(&command, &values, argc, argv, &first);

    if (err != FK_OK)
        return fk_opt_status(err);
    if (parse_label(argv[first], argv[first + 1], &kind, label) != FK_OK)
        return 2;
    if (kind == FK_CA_SITE) {
        fputs("farkey ca request: for a site's key use farkey key generate and key csr\n", stderr);
        return 2;
    }
    if ((err = write_request(label, values.out)) != FK_OK)
        return fk_command_fail("cannot make a request in", values.out, err);
    printf("wrote %s/channel.key and %s/channel.csr for %s\n", values.out, values.out, label);
    return 0;
}

/* --- request-key and lend-key --- */

static int make_key_pair(const struct fk_opt_command *command, const char *algorithm,
                         const char *name, int argc, char **argv)
{
    char file[64], key[FK_PATH_SIZE], public[FK_PATH_SIZE];
    struct ca_values values = defaults;
    int first, err = fk_opt_parse(command, &values, argc, argv, &first);

    if (err != FK_OK)
        return fk_opt_status(err);
    snprintf(file, sizeof file, "%s.key", name);
    if ((err = fk_path_join(values.out, file, key)) == FK_OK) {
        snprintf(file, sizeof file, "%s.pub", name);
        err = fk_path_join(values.out, file, public);
    }
    if (err == FK_OK)
        err = fk_ca_key_pair(algorithm, key, public);
    if (err == FK_ERR_DUPLICATE) {
        fprintf(stderr, "farkey: %s is there already; nothing was changed. Remove it for another\n",
                key);
        return 1;
    }
    if (err != FK_OK)
        return fk_command_fail("cannot make a key in", values.out, err);
    printf("wrote %s and %s\n", key, public);
    return 0;
}

static int ca_request_key(int argc, char **argv)
{
    static const struct fk_opt options[] = {OPT_OUT, OPT_END};
    static const struct fk_opt_command command = {
        "farkey ca request-key",
        "",
        "Make request.key, with which an edge signs its requests, on the edge itself, and "
        "request.pub for the key server.",
        options,
        0,
        0};

    return make_key_pair(&command, "ED25519", "request", argc, argv);
}

static int ca_lend_key(int argc, char **argv)
{
    static const struct fk_opt options[] = {OPT_OUT, OPT_END};
    static const struct fk_opt_command command = {
        "farkey ca lend-key",
        "",
        "Make lend.key, with which an edge opens keys that are lent to it, on the edge itself, and "
        "lend.pub for the key server.",
        options,
        0,
        0};

    return make_key_pair(&command, "X25519", "lend", argc, argv);
}

/* --- issue and renew --- */

/* The public key to certify: a request's, or that of a new key, which *ret_new then says. */
static int key_for(const struct ca_values *values, bool *ret_new, EVP_PKEY **ret)
{
    X509_REQ *request = NULL;
    int err;

    if (values->csr == NULL) {
        *ret_new = true;
        return fk_pki_key_new(FK_PKI_P256, ret);
    }
    if ((err = fk_pem_read_request(values->csr, &request)) == FK_OK)
        err = fk_pki_request_key(request, ret);
    X509_REQ_free(request);
    if (err == FK_OK)
        *ret_new = false;
    return err;
}

/* Write what a host of that label needs: certificate, perhaps its key, CA and list. */
static int deliver(const struct fk_ca *ca, const char *label, const struct ca_values *values,
                   EVP_PKEY *new_key, X509 *cert)
{
    const char *name;
    enum fk_ca_kind kind = fk_ca_label_kind(label, &name);
    char file[FK_CA_LABEL_SIZE + 8], path[FK_PATH_SIZE];
    int err;

    snprintf(file, sizeof file, "%s.crt", kind == FK_CA_SITE ? name : "channel");
    /* The key first: a daemon that reloads in between refuses the pair and keeps the old one. */
    if (new_key != NULL && ((err = fk_path_join(values->out, "channel.key", path)) != FK_OK ||
                            (err = fk_pem_write_key(path, new_key, true)) != FK_OK))
        return err;
    if ((err = fk_path_join(values->out, file, path)) != FK_OK ||
        (err = fk_pem_write_cert(path, cert)) != FK_OK)
        return err;
    printf("wrote %s for %s\n", path, label);
    return kind == FK_CA_SITE ? FK_OK : fk_ca_publish(ca, values->out);
}

static int issue_label(struct fk_ca *ca, const char *label, const struct ca_values *values)
{
    const struct fk_ca_order order = {label, values->dns.items, values->dns.count,
                                      (unsigned)values->days};
    EVP_PKEY *key = NULL;
    X509 *cert = NULL;
    bool is_new = false;
    int err;

    if ((err = key_for(values, &is_new, &key)) != FK_OK) {
        fk_command_fail("cannot take the key of", values->csr != NULL ? values->csr : label, err);
        return err;
    }
    if ((err = fk_dir_make(values->out, 0755)) != FK_OK ||
        (err = fk_ca_issue(ca, &order, key, &cert)) != FK_OK ||
        (err = deliver(ca, label, values, is_new ? key : NULL, cert)) != FK_OK)
        fk_command_fail("cannot issue for", label, err);
    X509_free(cert);
    EVP_PKEY_free(key);
    return err;
}

static int ca_issue(int argc, char **argv)
{
    static const struct fk_opt options[] = {OPT_CA, OPT_OUT, OPT_CSR, OPT_DNS, OPT_DAYS, OPT_END};
    static const struct fk_opt_command command = {
        "farkey ca issue",
        "edge|keyserver|site NAME",
        "Issue a certificate. Without --csr an edge or key server gets a new key, too.",
        options,
        2,
        2};
    struct ca_values values = defaults;
    char label[FK_CA_LABEL_SIZE];
    enum fk_ca_kind kind;
    struct fk_ca *ca = NULL;
    int first, err = fk_opt_parse(&command, &values, argc, argv, &first);

    if (err != FK_OK)
        return fk_opt_status(err);
    if (parse_label(argv[first], argv[first + 1], &kind, label) != FK_OK)
        return 2;
    if (kind == FK_CA_SITE && values.csr == NULL) {
        fputs("farkey ca issue site: give --csr; a site's key is made at the key server\n", stderr);
        return 2;
    }
    if (open_ca(values.ca, &ca) != FK_OK)
        return 1;
    err = issue_label(ca, label, &values);
    fk_ca_close(ca);
    return err == FK_OK ? 0 : 1;
}

static int ca_renew(int argc, char **argv)
{
    static const struct fk_opt options[] = {OPT_CA, OPT_OUT, OPT_CSR, OPT_DNS, OPT_DAYS, OPT_END};
    static const struct fk_opt_command command = {"farkey ca renew",
                                                  "NAME",
                                                  "Issue anew for a name that has a certificate. "
                                                  "The old one stays valid until it expires or\n"
                                                  "is revoked.",
                                                  options,
                                                  1,
                                                  1};
    struct ca_values values = defaults;
    char label[FK_CA_LABEL_SIZE];
    const char *found = NULL, *name;
    struct fk_ca *ca = NULL;
    int first, err = fk_opt_parse(&command, &values, argc, argv, &first);

    if (err != FK_OK)
        return fk_opt_status(err);
    if (open_ca(values.ca, &ca) != FK_OK)
        return 1;
    if ((err = fk_ca_find_label(ca, argv[first], &found)) != FK_OK) {
        fk_command_fail("cannot renew", argv[first], err);
    } else if (fk_ca_label_kind(found, &name) == FK_CA_SITE && values.csr == NULL) {
        fputs("farkey ca renew: give --csr; a site's key is made at the key server\n", stderr);
        err = FK_ERR_INVAL;
    } else {
        snprintf(label, sizeof label, "%s", found); /* the index moves when it grows */
        err = issue_label(ca, label, &values);
    }
    fk_ca_close(ca);
    return err == FK_OK ? 0 : 1;
}

/* --- revoke, crl, list --- */

static int ca_revoke(int argc, char **argv)
{
    static const struct fk_opt options[] = {OPT_CA, OPT_END};
    static const struct fk_opt_command command = {
        "farkey ca revoke",
        "NAME|SERIAL",
        "Revoke one certificate by its serial, or all of a name, and write a new ca.crl. Copy "
        "that\n"
        "file to every host of the other role, which takes it up by itself.",
        options,
        1,
        1};
    struct ca_values values = defaults;
    struct fk_ca *ca = NULL;
    size_t n = 0;
    int first, err = fk_opt_parse(&command, &values, argc, argv, &first);

    if (err != FK_OK)
        return fk_opt_status(err);
    if (open_ca(values.ca, &ca) != FK_OK)
        return 1;
    err = fk_ca_revoke(ca, argv[first], &n);
    fk_ca_close(ca);
    if (err != FK_OK)
        return fk_command_fail("cannot revoke", argv[first], err);
    printf(
        "revoked %zu certificate%s; the new list is %s/ca.crl\n"
        "Nothing has changed on any host yet: copy the list to each key server and edge, in place "
        "of the file that its crl option names (it is taken up at once).\n",
        n, n == 1 ? "" : "s", values.ca);
    return 0;
}

static int ca_crl(int argc, char **argv)
{
    static const struct fk_opt options[] = {
        OPT_CA,
        {"out", 'o', FK_OPT_STRING, offsetof(struct ca_values, out), "DIR",
         "write ca.crt and ca.crl there, too", 0, 0, NULL},
        OPT_DAYS,
        OPT_END,
    };
    static const struct fk_opt_command command = {
        "farkey ca crl", "", "Write a new revocation list, ca.crl, valid for --days.",
        options,         0,  0};
    struct ca_values values = defaults;
    struct fk_ca *ca = NULL;
    int first, err;

    values.out = NULL;
    values.days = FK_CA_CRL_DAYS;
    if ((err = fk_opt_parse(&command, &values, argc, argv, &first)) != FK_OK)
        return fk_opt_status(err);
    if (open_ca(values.ca, &ca) != FK_OK)
        return 1;
    if ((err = fk_ca_write_crl(ca, (unsigned)values.days)) != FK_OK)
        fk_command_fail("cannot write the list of", values.ca, err);
    else if (values.out != NULL && (err = fk_ca_publish(ca, values.out)) != FK_OK)
        fk_command_fail("cannot write the certificate and the list to", values.out, err);
    fk_ca_close(ca);
    if (err != FK_OK)
        return 1;
    printf("wrote %s/ca.crl\n", values.ca);
    if (values.out != NULL)
        printf("wrote %s/ca.crt and %s/ca.crl\n", values.out, values.out);
    return 0;
}

static const char *entry_state(const struct fk_ca_entry *entry)
{
    if (entry->revoked != 0)
        return "revoked";
    return entry->expires < (int64_t)time(NULL) ? "expired" : "valid";
}

static void print_entry(const struct fk_ca_entry *entry)
{
    char until[32];
    time_t expires = (time_t)entry->expires;
    struct tm tm = {0};

    gmtime_r(&expires, &tm);
    strftime(until, sizeof until, "%Y-%m-%d", &tm);
    printf("%-33s %-8s %-11s %s\n", entry->serial, entry_state(entry), until, entry->label);
}

static json_t *entry_json(const struct fk_ca_entry *entry)
{
    return json_pack("{s:s,s:s,s:s,s:I,s:I,s:I}", "serial", entry->serial, "name", entry->label,
                     "state", entry_state(entry), "issued", (json_int_t)entry->issued, "expires",
                     (json_int_t)entry->expires, "revoked", (json_int_t)entry->revoked);
}

static void print_entries(const struct fk_ca *ca, bool json)
{
    json_t *list = json ? json_array() : NULL;
    const struct fk_ca_entry *entry;

    for (size_t i = 0; (entry = fk_ca_at(ca, i)) != NULL; i++) {
        if (json)
            json_array_append_new(list, entry_json(entry));
        else
            print_entry(entry);
    }
    if (json) {
        json_dumpf(list, stdout, JSON_COMPACT);
        putchar('\n');
    }
    json_decref(list);
}

static int ca_list(int argc, char **argv)
{
    static const struct fk_opt options[] = {
        OPT_CA,
        {"json", 0, FK_OPT_FLAG, offsetof(struct ca_values, json), NULL, "one JSON array", 0, 0,
         NULL},
        OPT_END,
    };
    static const struct fk_opt_command command = {
        "farkey ca list", "", "List what was issued: serial, state, end of validity, identity.",
        options,          0,  0};
    struct ca_values values = defaults;
    struct fk_ca *ca = NULL;
    int first, err = fk_opt_parse(&command, &values, argc, argv, &first);

    if (err != FK_OK)
        return fk_opt_status(err);
    if (open_ca(values.ca, &ca) != FK_OK)
        return 1;
    print_entries(ca, values.json);
    fk_ca_close(ca);
    return 0;
}

int fk_cmd_ca(int argc, char **argv)
{
    static const struct fk_command table[] = {
        {"init", ca_init, "make a new authority"},
        {"request", ca_request, "make a channel key and a request on the host itself"},
        {"request-key", ca_request_key, "make a key for signing requests on an edge itself"},
        {"lend-key", ca_lend_key, "make a key for borrowing site keys on an edge itself"},
        {"issue", ca_issue, "issue a certificate to an edge, a key server or a site"},
        {"renew", ca_renew, "issue anew for a name"},
        {"revoke", ca_revoke, "revoke by name or serial"},
        {"crl", ca_crl, "write a new revocation list"},
        {"list", ca_list, "list what was issued"},
        {NULL, NULL, NULL},
    };

    return fk_command_run(table, "farkey ca", argc, argv);
}
