/* The demonstration's directory: identities, the site's key and certificate, configurations. */
#include "cli/demo.h"

#include "base/err.h"
#include "cli/ca.h"
#include "cli/commands.h"
#include "cli/pem.h"
#include "cli/pki.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define EDGE_NAME   "edge1"
#define KEYD_NAME   "hq"
#define LEND_PUBLIC EDGE_NAME ".lend.pub"

/* Nobody keeps a demonstration for longer. */
#define SITE_DAYS 30

/* By the values of --key. */
static const enum fk_pki_key key_types[] = {FK_PKI_RSA2048, FK_PKI_P256, FK_PKI_ED25519};

/* --- the site --- */

/* With mode local the key is the edge's own. */
static int site_paths(struct fk_demo *demo, char keys[FK_PATH_SIZE], char cert[FK_PATH_SIZE])
{
    int err;

    if (demo->mode == FK_DEMO_LOCAL)
        snprintf(keys, FK_PATH_SIZE, "%s", demo->pair.edge);
    else if ((err = fk_path_join(demo->pair.keyserver, "keys", keys)) != FK_OK)
        return err;
    if ((err = fk_path_join(keys, FK_DEMO_NAME ".key", demo->key_file)) != FK_OK)
        return err;
    return fk_path_join(keys, FK_DEMO_NAME ".crt", cert);
}

/* What the key's policy and the edge's block allow; of both, and no more than is needed. */
static const char *allowed(const struct fk_demo *demo)
{
    static const struct {
        const char *usual, *rsa; /* with --kx rsa */
    } rows[] = {
        [FK_DEMO_SIGN] = {"sign", "sign, decrypt"},
        [FK_DEMO_DECRYPT] = {"sign, decrypt", "sign, decrypt"},
        [FK_DEMO_LOCAL] = {"sign", "sign"},
        [FK_DEMO_HANDSHAKE] = {"handshake", "handshake"},
        [FK_DEMO_LEND] = {"sign, lend", "sign, decrypt, lend"},
        [FK_DEMO_AGREE] = {"agree", "agree, decrypt"},
        [FK_DEMO_MASTER] = {"master", "master"},
        [FK_DEMO_KEYS] = {"keys", "keys"},
    };

    return demo->kx == FK_DEMO_RSA ? rows[demo->mode].rsa : rows[demo->mode].usual;
}

static int make_policy(const struct fk_demo *demo, const char *keys)
{
    char path[FK_PATH_SIZE], text[64];
    int err;

    if (strcmp(allowed(demo), "sign") == 0)
        return FK_OK; /* without one a key may do that */
    if ((err = fk_path_join(keys, FK_DEMO_NAME ".policy", path)) != FK_OK)
        return err;
    snprintf(text, sizeof text, "allow = {%s}\n", allowed(demo));
    return fk_file_write(path, text, strlen(text), 0644);
}

int fk_demo_make_certificate(struct fk_demo *demo, const char *cert_file)
{
    static const struct fk_ca_order order = {.label = FK_DEMO_NAME, .days = SITE_DAYS};
    char ca_dir[FK_PATH_SIZE];
    struct fk_ca *ca = NULL;
    EVP_PKEY *key = NULL;
    X509 *cert = NULL;
    int err;

    if ((err = fk_path_join(demo->dir, "site-ca", ca_dir)) == FK_OK &&
        (err = fk_path_join(ca_dir, "ca.crt", demo->site_ca)) == FK_OK &&
        (err = fk_ca_create(ca_dir, "Farkey demo CA")) == FK_OK &&
        (err = fk_ca_open(ca_dir, &ca)) == FK_OK &&
        (err = fk_pki_key_new(key_types[demo->key], &key)) == FK_OK &&
        (err = fk_pem_write_key(demo->key_file, key, false)) == FK_OK &&
        (err = fk_ca_issue(ca, &order, key, &cert)) == FK_OK)
        err = fk_pem_write_cert(cert_file, cert);
    X509_free(cert);
    EVP_PKEY_free(key);
    fk_ca_close(ca);
    return err;
}

static int make_site(struct fk_demo *demo)
{
    char keys[FK_PATH_SIZE], cert_file[FK_PATH_SIZE];
    int err;

    if ((err = site_paths(demo, keys, cert_file)) != FK_OK ||
        (err = fk_demo_make_certificate(demo, cert_file)) != FK_OK)
        return err;
    return make_policy(demo, keys);
}

/* --- configurations --- */

int fk_demo_write(const char *path, const char *format, ...)
{
    char *text = NULL;
    va_list args;
    int len, err;

    va_start(args, format);
    len = vasprintf(&text, format, args);
    va_end(args);
    if (len < 0)
        return FK_ERR_NOMEM;
    err = fk_file_write(path, text, (size_t)len, 0644);
    free(text);
    return err;
}

/* Where whoever opens the channel connects: the relay may stand there. */
static unsigned way_port(const struct fk_demo *demo)
{
    return demo->rtt_us > 0 ? demo->relay_port.number : demo->keyd_port.number;
}

static int write_keyd(const struct fk_demo *demo)
{
    return fk_demo_write(demo->keyd_conf,
                         "fronts = 1\n"
                         "signers = 1\n"
                         "control = \"run/keyd.sock\"\n"
                         "%s \"127.0.0.1:%u\" { }\n"
                         "channel {\n"
                         "    certificate = \"channel.crt\"\n"
                         "    key = \"channel.key\"\n"
                         "    ca = \"ca.crt\"\n"
                         "    crl = \"ca.crl\"\n"
                         "}\n"
                         "keys \"keys\" { }\n"
                         "edge \"" EDGE_NAME "\" {\n"
                         "    keys = {\"" FK_DEMO_NAME "\"}\n"
                         "    allow = {%s}\n"
                         "%s"
                         "}\n"
                         "audit {\n"
                         "    file = \"audit.log\"\n"
                         "    key = \"audit.key\"\n"
                         "}\n"
                         "limits {\n"
                         "    drain = 1s\n"
                         "}\n",
                         demo->dial ? "dial" : "listen",
                         demo->dial ? way_port(demo) : demo->keyd_port.number, allowed(demo),
                         demo->mode == FK_DEMO_LEND ? "    lend_key = \"" LEND_PUBLIC "\"\n" : "");
}

/* What stands in the site block instead of a key. */
static const char *const site_lines[] = {
    [FK_DEMO_SIGN] = "    keyservers = {\"" KEYD_NAME "\"}\n",
    [FK_DEMO_DECRYPT] = "    keyservers = {\"" KEYD_NAME "\"}\n"
                        "    mode = decrypt\n"
                        "    tls = {\"1.2\"}\n"
                        "    rsa_key_exchange = on\n",
    [FK_DEMO_LOCAL] = "    mode = local\n"
                      "    certificate = {\"" FK_DEMO_NAME ".crt\"}\n"
                      "    key = {\"" FK_DEMO_NAME ".key\"}\n",
    [FK_DEMO_HANDSHAKE] = "    keyservers = {\"" KEYD_NAME "\"}\n"
                          "    mode = handshake\n",
    [FK_DEMO_LEND] = "    keyservers = {\"" KEYD_NAME "\"}\n"
                     "    mode = lend\n",
    [FK_DEMO_AGREE] = "    keyservers = {\"" KEYD_NAME "\"}\n"
                      "    mode = agree\n",
    [FK_DEMO_MASTER] = "    keyservers = {\"" KEYD_NAME "\"}\n"
                       "    mode = master\n",
    [FK_DEMO_KEYS] = "    keyservers = {\"" KEYD_NAME "\"}\n"
                     "    mode = keys\n",
};

/* What --kx adds: the edge offers TLS 1.2, and what is off by default. */
static const char *exchange_lines(const struct fk_demo *demo)
{
    static const char *const lines[] = {
        [FK_DEMO_ECDHE] = "    tls = {\"1.2\"}\n",
        [FK_DEMO_DHE] = "    tls = {\"1.2\"}\n    dhe = on\n",
        [FK_DEMO_RSA] = "    tls = {\"1.2\"}\n    rsa_key_exchange = on\n",
    };

    return demo->kx < 0 || demo->mode == FK_DEMO_DECRYPT ? "" : lines[demo->kx];
}

static int write_edge(const struct fk_demo *demo)
{
    char client[512];

    fk_demo_client_lines(demo, client, sizeof client);
    return fk_demo_write(
        demo->edge_conf,
        "workers = 1\n"
        "control = \"run/edge.sock\"\n"
        "%s"
        "listen \"127.0.0.1:%u\" { }\n"
        "channel {\n"
        "    certificate = \"channel.crt\"\n"
        "    key = \"channel.key\"\n"
        "    ca = \"ca.crt\"\n"
        "    crl = \"ca.crl\"\n"
        "}\n"
        "keyserver \"" KEYD_NAME "\" {\n"
        "    %s = \"127.0.0.1:%u\"\n"
        "}\n"
        "site \"" FK_DEMO_NAME "\" {\n"
        "    default = on\n"
        "%s%s%s"
        "    origin = {\"%s\"}\n"
        "}\n"
        "limits {\n"
        "    drain_timeout = 1s\n"
        "    connections_per_address = 0\n"
        "}\n",
        demo->mode == FK_DEMO_LEND ? "lend_key = \"lend.key\"\n" : "", demo->edge_port.number,
        demo->dial ? "accept" : "address", demo->dial ? demo->keyd_port.number : way_port(demo),
        site_lines[demo->mode], exchange_lines(demo), client, demo->origin_address);
}

/* What the edge opens keys with that are lent to it, and its public half for the key server. */
static int make_lend_key(const struct fk_demo *demo)
{
    char key[FK_PATH_SIZE], public[FK_PATH_SIZE];
    int err;

    if (demo->mode != FK_DEMO_LEND)
        return FK_OK;
    if ((err = fk_path_join(demo->pair.edge, "lend.key", key)) != FK_OK ||
        (err = fk_path_join(demo->pair.keyserver, LEND_PUBLIC, public)) != FK_OK)
        return err;
    return fk_ca_key_pair("X25519", key, public);
}

static int take_ports(struct fk_demo *demo)
{
    int err;

    if ((err = fk_demo_port_take((uint16_t)demo->port, &demo->edge_port)) != FK_OK ||
        (err = fk_demo_port_take(0, &demo->keyd_port)) != FK_OK ||
        (err = fk_demo_port_take(0, &demo->relay_port)) != FK_OK ||
        (err = fk_demo_port_take(0, &demo->origin_port)) != FK_OK)
        return err;
    if (demo->origin != NULL)
        snprintf(demo->origin_address, sizeof demo->origin_address, "%s", demo->origin);
    else
        snprintf(demo->origin_address, sizeof demo->origin_address, "127.0.0.1:%u",
                 demo->origin_port.number);
    return FK_OK;
}

static int name_files(struct fk_demo *demo)
{
    int err;

    if ((err = fk_path_join(demo->pair.edge, "edge.conf", demo->edge_conf)) != FK_OK ||
        (err = fk_path_join(demo->pair.edge, "run/edge.sock", demo->edge_sock)) != FK_OK ||
        (err = fk_path_join(demo->pair.keyserver, "keyd.conf", demo->keyd_conf)) != FK_OK)
        return err;
    return fk_path_join(demo->pair.keyserver, "run/keyd.sock", demo->keyd_sock);
}

int fk_demo_setup(struct fk_demo *demo)
{
    int err;

    fk_demo_dirs_sweep();
    if ((err = fk_demo_dir_make(demo)) != FK_OK)
        return err;
    if ((err = take_ports(demo)) != FK_OK) {
        if (err == FK_ERR_SYS && demo->port != 0)
            fprintf(stderr, "farkey demo: port %u: %s\n", (unsigned)demo->port, strerror(errno));
        return err;
    }
    if ((err = fk_pair_make(demo->dir, EDGE_NAME, KEYD_NAME, &demo->pair)) != FK_OK ||
        (err = make_site(demo)) != FK_OK || (err = fk_demo_make_client(demo)) != FK_OK ||
        (err = make_lend_key(demo)) != FK_OK || (err = name_files(demo)) != FK_OK ||
        (err = write_keyd(demo)) != FK_OK)
        return err;
    return write_edge(demo);
}
