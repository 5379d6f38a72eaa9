/*
 * `farkey key`: the life of a site's key, at the key server's key directory (keydir.h).
 */
#include "base/err.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/ctl.h"
#include "cli/files.h"
#include "cli/key_split.h"
#include "cli/keydir.h"
#include "cli/options.h"
#include "cli/pem.h"
#include "cli/pki.h"
#include "tls/rkey.h"

#include <errno.h>
#include <glob.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RELOAD_TIMEOUT_US 60000000

struct key_values {
    const char *dir;
    const char *control;
    const char *out;
    const char *passphrase_file;
    int type;
    struct fk_opt_list dns;
};

#define OPT_DIR                                                               \
    {                                                                         \
        "dir", 'd', FK_OPT_STRING, offsetof(struct key_values, dir), "DIR",   \
            "the key directory of the key server (default: keys)", 0, 0, NULL \
    }
#define OPT_PASSPHRASE                                                                             \
    {                                                                                              \
        "passphrase-file", 0, FK_OPT_STRING, offsetof(struct key_values, passphrase_file), "FILE", \
            "its first line opens encrypted keys (default: as keyd.conf beside DIR says)", 0, 0,   \
            NULL                                                                                   \
    }
#define OPT_END                                         \
    {                                                   \
        NULL, 0, FK_OPT_FLAG, 0, NULL, NULL, 0, 0, NULL \
    }

static const struct key_values defaults = {.dir = "keys", .type = FK_PKI_P256};

static int check_name(const char *name)
{
    if (fk_name_ok(name))
        return FK_OK;
    fprintf(stderr, "farkey key: \"%s\" is not a name: letters, digits and . - _ only\n", name);
    return FK_ERR_INVAL;
}

/* The key that the next certificate is for; says itself what failed. */
static int read_pending(const struct key_values *values, const char *name, EVP_PKEY **ret)
{
    struct fk_secret *passphrase = NULL;
    int err;

    if ((err = fk_keydir_passphrase(values->dir, values->passphrase_file, &passphrase)) != FK_OK)
        return err;
    if ((err = fk_keydir_pending(values->dir, name, passphrase, ret)) != FK_OK)
        fk_command_fail("cannot read the key of", name, err);
    if (err == FK_ERR_PASSPHRASE && passphrase == NULL)
        fputs("farkey key: it is encrypted; name its passphrase with --passphrase-file\n", stderr);
    fk_secret_free(passphrase);
    return err;
}

/* --- generate --- */

static int key_generate(int argc, char **argv)
{
    static const struct fk_opt options[] = {
        OPT_DIR,
        {"type", 't', FK_OPT_ENUM, offsetof(struct key_values, type), NULL,
         "type of the key (default: p256)", 0, 0, fk_pki_key_names},
        OPT_END,
    };
    static const struct fk_opt_command command = {
        "farkey key generate",
        "NAME",
        "Make a private key. If NAME has one, the new key waits until its certificate is "
        "installed.",
        options,
        1,
        1};
    struct key_values values = defaults;
    char path[FK_PATH_SIZE];
    EVP_PKEY *key = NULL;
    int first, err = fk_opt_parse(&command, &values, argc, argv, &first);

    if (err != FK_OK)
        return fk_opt_status(err);
    if (check_name(argv[first]) != FK_OK)
        return 2;
    err = fk_keydir_path(values.dir, argv[first], ".key", path);
    if (err == FK_OK && fk_file_exists(path))
        err = fk_keydir_path(values.dir, argv[first], ".key.new", path);
    if (err == FK_OK && (err = fk_pki_key_new((enum fk_pki_key)values.type, &key)) == FK_OK)
        err = fk_pem_write_key(path, key, false);
    EVP_PKEY_free(key);
    if (err != FK_OK)
        return fk_command_fail("cannot make", path, err);
    printf("made %s\n", path);
    return 0;
}

/* --- csr --- */

static int make_csr(const struct key_values *values, const char *name, X509_REQ **ret)
{
    struct fk_pki_subject subject = {
        .common_name = name, .dns = values->dns.items, .n_dns = values->dns.count};
    EVP_PKEY *key = NULL;
    int err;

    if ((err = read_pending(values, name, &key)) != FK_OK)
        return err;
    if (subject.n_dns > 0) {
        subject.common_name = subject.dns[0];
    } else {
        subject.dns = &name;
        subject.n_dns = 1;
    }
    if ((err = fk_pki_request_new(&subject, key, ret)) != FK_OK)
        fk_command_fail("cannot make a request for the key of", name, err);
    EVP_PKEY_free(key);
    return err;
}

static int key_csr(int argc, char **argv)
{
    static const struct fk_opt options[] = {
        OPT_DIR,
        {"dns", 0, FK_OPT_LIST, offsetof(struct key_values, dns), "NAME",
         "a DNS name to ask for (may be repeated; default: NAME)", 0, 0, NULL},
        {"out", 'o', FK_OPT_STRING, offsetof(struct key_values, out), "FILE",
         "where to write (default: standard output)", 0, 0, NULL},
        OPT_PASSPHRASE,
        OPT_END,
    };
    static const struct fk_opt_command command = {
        "farkey key csr", "NAME", "Make a certificate request (PKCS#10) for the key of NAME.",
        options,          1,      1};
    struct key_values values = defaults;
    X509_REQ *request = NULL;
    int first, err = fk_opt_parse(&command, &values, argc, argv, &first);

    if (err != FK_OK)
        return fk_opt_status(err);
    if (check_name(argv[first]) != FK_OK)
        return 2;
    if (make_csr(&values, argv[first], &request) != FK_OK)
        return 1;
    if (values.out != NULL)
        err = fk_pem_write_request(values.out, request);
    else if (PEM_write_X509_REQ(stdout, request) != 1 || fflush(stdout) != 0)
        err = FK_ERR_SYS;
    X509_REQ_free(request);
    return err == FK_OK ? 0 : fk_command_fail("cannot write the request for", argv[first], err);
}

/* --- install --- */

/* A certificate must be of the key and of the present. */
static int check_pair(EVP_PKEY *key, const char *cert_path)
{
    X509 *cert = NULL;
    int err = fk_pem_read_cert(cert_path, &cert);

    if (err != FK_OK)
        return err;
    if (X509_check_private_key(cert, key) != 1)
        err = FK_ERR_MISMATCH;
    else if (X509_cmp_current_time(X509_get0_notAfter(cert)) <= 0)
        err = FK_ERR_EXPIRED;
    X509_free(cert);
    return err;
}

static int reload(const struct key_values *values)
{
    char path[FK_PATH_SIZE];
    int err = FK_OK;

    if (values->control != NULL)
        snprintf(path, sizeof path, "%s", values->control);
    else if ((err = fk_keydir_control(values->dir, path)) != FK_OK)
        return fk_command_fail("cannot find the key server of", values->dir, err);
    err = fk_ctl_order(path, "reload", RELOAD_TIMEOUT_US);
    if (err == FK_ERR_SYS && (errno == ENOENT || errno == ECONNREFUSED) &&
        values->control == NULL) {
        puts("no key server runs here; it will read the key when it starts");
        return 0;
    }
    if (err != FK_OK)
        return fk_command_fail("cannot have the key server reload at", path, err);
    puts("the key server has reloaded");
    return 0;
}

static int install(const struct key_values *values, const char *name, const char *cert)
{
    EVP_PKEY *key = NULL;
    int err;

    if (read_pending(values, name, &key) != FK_OK)
        return 1;
    err = check_pair(key, cert);
    EVP_PKEY_free(key);
    if (err != FK_OK)
        return fk_command_fail("cannot install", cert, err);
    if ((err = fk_keydir_install(values->dir, name, cert)) != FK_OK)
        return fk_command_fail("cannot install", cert, err);
    printf("installed %s/%s.crt\n", values->dir, name);
    return reload(values);
}

static int key_install(int argc, char **argv)
{
    static const struct fk_opt options[] = {
        OPT_DIR,
        {"control", 's', FK_OPT_STRING, offsetof(struct key_values, control), "SOCKET",
         "control socket of the key server (default: as keyd.conf beside DIR says, or "
         "run/keyd.sock)",
         0, 0, NULL},
        OPT_PASSPHRASE,
        OPT_END,
    };
    static const struct fk_opt_command command = {
        "farkey key install",
        "NAME CERT",
        "Install the certificate (PEM, leaf first) of the key of NAME, and have the key server\n"
        "reload. Key and certificate switch together, on every edge.",
        options,
        2,
        2};
    struct key_values values = defaults;
    int first, err = fk_opt_parse(&command, &values, argc, argv, &first);

    if (err != FK_OK)
        return fk_opt_status(err);
    if (check_name(argv[first]) != FK_OK)
        return 2;
    return install(&values, argv[first], argv[first + 1]);
}

/* --- list --- */

/* `key_file`: NAME.key or NAME.token. */
static void print_expiry(const char *key_file, EVP_PKEY *key)
{
    char path[FK_PATH_SIZE], until[32] = "";
    X509 *cert = NULL;
    struct tm tm = {0};
    time_t end;

    snprintf(path, sizeof path, "%.*s.crt", (int)(strrchr(key_file, '.') - key_file), key_file);
    if (!fk_file_exists(path)) {
        printf("%-22s ", "no certificate");
        return;
    }
    if (fk_pem_read_cert(path, &cert) != FK_OK) {
        printf("%-22s ", "unreadable");
        return;
    }
    end = fk_pki_not_after(cert);
    gmtime_r(&end, &tm);
    strftime(until, sizeof until, "%Y-%m-%d", &tm);
    printf("%s%-11s ", until,
           key != NULL && X509_check_private_key(cert, key) != 1 ? " MISMATCH"
           : end < time(NULL)                                    ? " EXPIRED"
                                                                 : "");
    X509_free(cert);
}

static void print_key(const char *path, const struct fk_secret *passphrase)
{
    char ski_text[41] = "-", type[64] = "unreadable";
    const char *base = strrchr(path, '/');
    uint8_t ski[20];
    EVP_PKEY *key = NULL;
    struct stat st;
    int err;

    base = base != NULL ? base + 1 : path;
    err = fk_keydir_read(path, passphrase, &key);
    if (err == FK_OK && fk_ski_of_key(key, ski) == FK_OK) {
        fk_text_hex(ski, sizeof ski, ski_text);
        fk_pki_key_text(key, type, sizeof type);
    } else if (err == FK_ERR_PASSPHRASE || err == FK_ERR_UNSUPPORTED) {
        snprintf(type, sizeof type, "%s", err == FK_ERR_PASSPHRASE ? "encrypted" : "not served");
    }
    printf("%-30.*s %-8s %-40s ", (int)(strlen(base) - strlen(".key")), base, type, ski_text);
    print_expiry(path, key);
    if (stat(path, &st) == 0)
        printf("%04o%s\n", (unsigned)(st.st_mode & 07777),
               (st.st_mode & 077) != 0 ? " READABLE BY OTHERS" : "");
    else
        putchar('\n');
    EVP_PKEY_free(key);
}

/* A key in a token: what is public of it, and where it is. */
static void print_token_key(const char *path, const struct fk_secret *none)
{
    char ski_text[41] = "-", type[64] = "unreadable", token[FK_NAME_MAX];
    const char *base = strrchr(path, '/');
    uint8_t ski[20];
    EVP_PKEY *key = NULL;

    (void)none;
    base = base != NULL ? base + 1 : path;
    if (fk_keydir_read_public(path, &key) == FK_OK && fk_ski_of_key(key, ski) == FK_OK) {
        fk_text_hex(ski, sizeof ski, ski_text);
        fk_pki_key_text(key, type, sizeof type);
    }
    printf("%-30.*s %-8s %-40s ", (int)(strlen(base) - strlen(".token")), base, type, ski_text);
    print_expiry(path, key);
    printf("token %s\n", fk_keydir_token(path, token) == FK_OK ? token : "(unreadable)");
    EVP_PKEY_free(key);
}

typedef void print_fn(const char *path, const struct fk_secret *passphrase);

/* Each file of the directory that fits. */
static int print_files(const char *dir, const char *pattern, print_fn *print,
                       const struct fk_secret *passphrase)
{
    char path[FK_PATH_SIZE];
    glob_t found = {0};
    int err, result;

    if ((err = fk_path_join(dir, pattern, path)) != FK_OK)
        return err;
    result = glob(path, GLOB_ERR, NULL, &found);
    for (size_t i = 0; result == 0 && i < found.gl_pathc; i++)
        print(found.gl_pathv[i], passphrase);
    globfree(&found);
    return result == 0 || result == GLOB_NOMATCH ? FK_OK : FK_ERR_SYS;
}

static int key_list(int argc, char **argv)
{
    static const struct fk_opt options[] = {OPT_DIR, OPT_PASSPHRASE, OPT_END};
    static const struct fk_opt_command command = {
        "farkey key list",
        "",
        "List the keys: name, type, subject key identifier, end of the certificate, permissions "
        "of\n"
        "the file, or the token that has the key.",
        options,
        0,
        0};
    struct key_values values = defaults;
    struct fk_secret *passphrase = NULL;
    int first, err = fk_opt_parse(&command, &values, argc, argv, &first);

    if (err != FK_OK)
        return fk_opt_status(err);
    if (fk_keydir_passphrase(values.dir, values.passphrase_file, &passphrase) != FK_OK)
        return 1;
    if ((err = print_files(values.dir, "*.key", print_key, passphrase)) == FK_OK)
        err = print_files(values.dir, "*.token", print_token_key, NULL);
    fk_secret_free(passphrase);
    return err == FK_OK ? 0 : fk_command_fail("cannot list", values.dir, err);
}

int fk_cmd_key(int argc, char **argv)
{
    static const struct fk_command table[] = {
        {"generate", key_generate, "make a private key where it stays"},
        {"csr", key_csr, "make a certificate request"},
        {"install", key_install, "install a certificate; the key server reloads"},
        {"split", fk_key_split, "split a private key into shares"},
        {"combine-check", fk_key_combine_check, "see whether shares make a key"},
        {"list", key_list, "list keys, certificates and permissions"},
        {NULL, NULL, NULL},
    };

    return fk_command_run(table, "farkey key", argc, argv);
}
