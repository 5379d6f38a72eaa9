/* `farkey init`: a CA, two identities and two commented configurations. See init.h. */
#include "cli/init.h"

#include "base/err.h"
#include "base/secret.h"
#include "base/text.h"
#include "cli/ca.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/pem.h"
#include "loop/addr.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AUDIT_SECRET_LEN 32

/* --- the parts that init and demo share --- */

/* channel.key and channel.crt of a new identity, and what it trusts. */
static int make_identity(struct fk_ca *ca, enum fk_ca_kind kind, const char *name, const char *dir)
{
    char label[FK_CA_LABEL_SIZE], path[FK_PATH_SIZE];
    const struct fk_ca_order order = {.label = label, .days = FK_CA_LEAF_DAYS};
    EVP_PKEY *key = NULL;
    X509 *cert = NULL;
    int err;

    if ((err = fk_ca_label(kind, name, label)) != FK_OK ||
        (err = fk_pki_key_new(FK_PKI_P256, &key)) != FK_OK ||
        (err = fk_path_join(dir, "channel.key", path)) != FK_OK ||
        (err = fk_pem_write_key(path, key, false)) != FK_OK ||
        (err = fk_ca_issue(ca, &order, key, &cert)) != FK_OK ||
        (err = fk_path_join(dir, "channel.crt", path)) != FK_OK ||
        (err = fk_pem_write_cert(path, cert)) != FK_OK)
        goto out;
    err = fk_ca_publish(ca, dir);
out:
    X509_free(cert);
    EVP_PKEY_free(key);
    return err;
}

static int make_audit_key(const char *dir)
{
    struct {
        uint8_t secret[AUDIT_SECRET_LEN];
        char text[2 * AUDIT_SECRET_LEN + 2];
    } scratch;
    char path[FK_PATH_SIZE];
    int err = fk_path_join(dir, "audit.key", path);

    if (err != FK_OK)
        return err;
    if (fk_file_exists(path))
        return FK_ERR_DUPLICATE;
    if (RAND_priv_bytes(scratch.secret, sizeof scratch.secret) != 1) {
        err = FK_ERR_CRYPTO;
    } else {
        fk_text_hex(scratch.secret, sizeof scratch.secret, scratch.text);
        scratch.text[2 * AUDIT_SECRET_LEN] = '\n';
        err = fk_file_write(path, scratch.text, 2 * AUDIT_SECRET_LEN + 1, 0600);
    }
    fk_wipe(&scratch, sizeof scratch);
    return err;
}

static int make_subdir(const char *dir, const char *name, mode_t mode)
{
    char path[FK_PATH_SIZE];
    int err = fk_path_join(dir, name, path);

    return err != FK_OK ? err : fk_dir_make(path, mode);
}

/* Says itself what is in the way. */
static int refuse_existing(const struct fk_pair *pair)
{
    const char *const paths[] = {pair->ca, pair->edge, pair->keyserver};

    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        if (!fk_file_exists(paths[i]))
            continue;
        fprintf(stderr,
                "farkey init: %s is there already; nothing was changed. Write another --dir or "
                "other names, or remove it\n",
                paths[i]);
        return FK_ERR_DUPLICATE;
    }
    return FK_OK;
}

static int name_dirs(const char *dir, const char *edge, const char *keyserver, struct fk_pair *pair)
{
    int err;

    if ((err = fk_path_join(dir, "ca", pair->ca)) != FK_OK ||
        (err = fk_path_join(dir, edge, pair->edge)) != FK_OK)
        return err;
    return fk_path_join(dir, keyserver, pair->keyserver);
}

static int make_dirs(const char *dir, const struct fk_pair *pair)
{
    int err;

    if ((err = fk_dir_make(dir, 0755)) != FK_OK || (err = fk_dir_make(pair->edge, 0700)) != FK_OK ||
        (err = make_subdir(pair->edge, "run", 0700)) != FK_OK ||
        (err = fk_dir_make(pair->keyserver, 0700)) != FK_OK ||
        (err = make_subdir(pair->keyserver, "run", 0700)) != FK_OK ||
        (err = make_subdir(pair->keyserver, "log", 0700)) != FK_OK)
        return err;
    return make_subdir(pair->keyserver, "keys", 0700);
}

static bool names_ok(const char *edge, const char *keyserver)
{
    return fk_name_ok(edge) && fk_name_ok(keyserver) && strcmp(edge, keyserver) != 0 &&
           strcmp(edge, "ca") != 0 && strcmp(keyserver, "ca") != 0;
}

int fk_pair_make(const char *dir, const char *edge, const char *keyserver, struct fk_pair *ret)
{
    struct fk_ca *ca = NULL;
    struct fk_pair pair;
    int err;

    if (!names_ok(edge, keyserver)) {
        fputs("farkey init: EDGE and KEYSERVER are two different names of letters, digits, . - "
              "and _; \"ca\" is taken\n",
              stderr);
        return FK_ERR_INVAL;
    }
    if ((err = name_dirs(dir, edge, keyserver, &pair)) != FK_OK)
        return err;
    if ((err = refuse_existing(&pair)) != FK_OK)
        return err;
    if ((err = make_dirs(dir, &pair)) != FK_OK ||
        (err = fk_ca_create(pair.ca, "Farkey channel CA")) != FK_OK ||
        (err = fk_ca_open(pair.ca, &ca)) != FK_OK ||
        (err = make_identity(ca, FK_CA_EDGE, edge, pair.edge)) != FK_OK ||
        (err = make_identity(ca, FK_CA_KEYSERVER, keyserver, pair.keyserver)) != FK_OK ||
        (err = make_audit_key(pair.keyserver)) != FK_OK) {
        fk_command_fail("cannot lay out", dir, err);
        goto out;
    }
    *ret = pair;
out:
    fk_ca_close(ca);
    return err;
}

/* --- sample configurations --- */

/* Each is a format with the two names, EDGE and KEYSERVER, and lines on who opens the channel. */
static const char edge_sample[] =
    "# Configuration of farkey edge for \"%1$s\". Check it with: farkey check -c edge.conf\n"
    "# All options and their defaults: farkey check --print -c edge.conf, and "
    "farkey-edge.conf(5).\n"
    "# Relative paths are relative to this file.\n"
    "\n"
    "# Worker processes: auto is one a processor.\n"
    "workers = auto\n"
    "# Where farkey status asks.\n"
    "control = \"run/edge.sock\"\n"
    "\n"
    "# Where clients connect. Port 443 needs root; workers become another user at once.\n"
    "listen \"127.0.0.1:8443\" { }\n"
    "\n"
    "# Who this edge is for its key servers. The key proves that, and is no key of a site.\n"
    "channel {\n"
    "    certificate = \"channel.crt\"\n"
    "    key = \"channel.key\"\n"
    "    ca = \"ca.crt\"\n"
    "    crl = \"ca.crl\"\n"
    "}\n"
    "\n"
    "# Where the sites' keys are.\n"
    "keyserver \"%2$s\" {\n"
    "%3$s"
    "}\n"
    "\n"
    "# A service. Its certificate is fetched from the key server; no key is ever on this host.\n"
    "site \"example.com\" {\n"
    "    keyservers = {\"%2$s\"}\n"
    "    # Clients that ask for no name get this site, too.\n"
    "    default = on\n"
    "    # Decrypted bytes go there.\n"
    "    origin = {\"127.0.0.1:8080\"}\n"
    "}\n"
    "\n"
    "# For Prometheus and health checks: /metrics, /healthz, /readyz.\n"
    "admin {\n"
    "    listen = \"127.0.0.1:9464\"\n"
    "}\n";

static const char keyd_sample[] =
    "# Configuration of farkey keyd for \"%2$s\". Check it with: farkey check -c keyd.conf\n"
    "# All options and their defaults: farkey check --print -c keyd.conf, and "
    "farkey-keyd.conf(5).\n"
    "# Relative paths are relative to this file.\n"
    "\n"
    "# Processes that talk to edges, and processes that hold the keys: auto is one a processor.\n"
    "fronts = auto\n"
    "signers = auto\n"
    "# Where farkey status and farkey key install ask.\n"
    "control = \"run/keyd.sock\"\n"
    "\n"
    "%3$s"
    "\n"
    "# Who this key server is for its edges, and the only CA that it believes.\n"
    "channel {\n"
    "    certificate = \"channel.crt\"\n"
    "    key = \"channel.key\"\n"
    "    ca = \"ca.crt\"\n"
    "    crl = \"ca.crl\"\n"
    "}\n"
    "\n"
    "# NAME.key with NAME.crt, and NAME.policy for what may be done with the key.\n"
    "keys \"keys\" { }\n"
    "\n"
    "# What each edge may do. An edge without a block may do nothing.\n"
    "edge \"%1$s\" {\n"
    "    keys = {\"example.com\"}\n"
    "    allow = {sign}\n"
    "    # rate = 500/s\n"
    "}\n"
    "\n"
    "# One line an operation; keep a copy of audit.key elsewhere to verify it.\n"
    "audit {\n"
    "    file = \"log/audit.log\"\n"
    "    key = \"audit.key\"\n"
    "}\n"
    "\n"
    "# For Prometheus and health checks: /metrics, /healthz, /readyz.\n"
    "admin {\n"
    "    listen = \"127.0.0.1:9465\"\n"
    "}\n";

/* Usually the edge opens the channel. */
static const char edge_connects[] = "    address = \"127.0.0.1:2407\"\n";
static const char keyd_listens[] =
    "# Where edges connect. Best an address of a private network; write the edges into allow.\n"
    "listen \"127.0.0.1:2407\" {\n"
    "    # allow = {10.0.0.0/24}\n"
    "}\n";

/* Or the key server does: formats with the edge's address. */
static const char edge_accepts[] = "    # It dials in here; write its address into allow.\n"
                                   "    accept = \"%s\"\n"
                                   "    # allow = {10.0.0.0/24}\n"
                                   "    # Through one network interface only, such as a VPN's.\n"
                                   "    # device = \"wg0\"\n";
static const char keyd_dials[] =
    "# The edge: this host opens the channel, and nobody needs to connect to it.\n"
    "dial \"%s\" {\n"
    "    # Through one network interface only, such as a VPN's.\n"
    "    # device = \"wg0\"\n"
    "}\n";

__attribute__((format(printf, 3, 4))) static int write_text(const char *dir, const char *name,
                                                            const char *format, ...)
{
    char path[FK_PATH_SIZE];
    char *text = NULL;
    va_list args;
    int len, err;

    if ((err = fk_path_join(dir, name, path)) != FK_OK)
        return err;
    va_start(args, format);
    len = vasprintf(&text, format, args);
    va_end(args);
    if (len < 0)
        return FK_ERR_NOMEM;
    err = fk_file_write(path, text, (size_t)len, 0644);
    free(text);
    return err;
}

struct init_values {
    const char *dir;
    const char *dial; /* the edge's address when the key server opens the channel; NULL */
};

static int write_samples(const struct fk_pair *pair, const struct init_values *values,
                         const char *edge, const char *keyserver)
{
    char accepts[sizeof edge_accepts + FK_ADDR_TEXT_SIZE];
    char dials[sizeof keyd_dials + FK_ADDR_TEXT_SIZE];
    const char *edge_lines = edge_connects, *keyd_lines = keyd_listens;
    int err;

    if (values->dial != NULL) {
        snprintf(accepts, sizeof accepts, edge_accepts, values->dial);
        snprintf(dials, sizeof dials, keyd_dials, values->dial);
        edge_lines = accepts;
        keyd_lines = dials;
    }
    if ((err = write_text(pair->edge, "edge.conf", edge_sample, edge, keyserver, edge_lines)) !=
        FK_OK)
        return err;
    return write_text(pair->keyserver, "keyd.conf", keyd_sample, edge, keyserver, keyd_lines);
}

/* --- the command --- */

static int check_dial(const char *text)
{
    struct fk_addr addr;
    uint8_t ip[16];

    if (text == NULL || (strlen(text) < FK_ADDR_TEXT_SIZE && text[0] != '*' &&
                         fk_addr_parse(text, &addr) == FK_OK && fk_addr_ip(&addr, ip) != 0 &&
                         fk_addr_port(&addr) != 0))
        return FK_OK;
    fprintf(stderr,
            "farkey init: --dial \"%s\": write the address and port on which the edge waits, such "
            "as 192.0.2.1:2408 or [2001:db8::1]:2408\n",
            text);
    return FK_ERR_INVAL;
}

int fk_cmd_init(int argc, char **argv)
{
    static const struct fk_opt options[] = {
        {"dir", 'd', FK_OPT_STRING, offsetof(struct init_values, dir), "DIR",
         "where to make ca, EDGE and KEYSERVER (default: the present directory)", 0, 0, NULL},
        {"dial", 0, FK_OPT_STRING, offsetof(struct init_values, dial), "ADDRESS:PORT",
         "the key server opens the channel: it dials the edge there (default: the edge connects)",
         0, 0, NULL},
        {NULL, 0, FK_OPT_FLAG, 0, NULL, NULL, 0, 0, NULL},
    };
    static const struct fk_opt_command command = {
        "farkey init",
        "EDGE KEYSERVER",
        "Make a private CA, an identity for an edge and one for a key server, and a commented\n"
        "sample configuration for each. EDGE is then copied to the edge's host, KEYSERVER to the\n"
        "key server's; ca stays on neither.",
        options,
        2,
        2};
    struct init_values values = {.dir = "."};
    struct fk_pair pair;
    int first, err = fk_opt_parse(&command, &values, argc, argv, &first);

    if (err != FK_OK)
        return fk_opt_status(err);
    if (check_dial(values.dial) != FK_OK)
        return 2;
    if (fk_pair_make(values.dir, argv[first], argv[first + 1], &pair) != FK_OK)
        return 1;
    if ((err = write_samples(&pair, &values, argv[first], argv[first + 1])) != FK_OK)
        return fk_command_fail("cannot write the configurations below", values.dir, err);
    printf("made %s\n     %s/edge.conf\n     %s/keyd.conf\n", pair.ca, pair.edge, pair.keyserver);
    printf("next: farkey key generate --dir %s/keys example.com\n", pair.keyserver);
    return 0;
}
