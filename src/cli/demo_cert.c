/*
 * The demonstration's HTTP at the edge and certificates of clients: an authority and a certificate
 * for its own clients, what the site block says of them, and whether what the origin saw is that
 * certificate.
 */
#include "cli/demo.h"

#include "base/err.h"
#include "cli/ca.h"
#include "cli/pem.h"
#include "cli/pki.h"
#include "http/certrelay.h"

#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

#define CLIENT_NAME "client.example.com"
#define CLIENT_DAYS 30

/* --- options --- */

static int refuse(const char *what, const char *item, const char *why)
{
    fprintf(stderr, "farkey demo: %s \"%s\": %s\n", what, item, why);
    return FK_ERR_INVAL;
}

/* The next of a list with commas; false at its end. *text moves on. */
static bool next_format(const char **text, char ret[32])
{
    size_t len = strcspn(*text, ",");

    if (**text == '\0')
        return false;
    snprintf(ret, 32, "%.*s", (int)len, *text);
    *text += len + ((*text)[len] == ',' ? 1 : 0);
    return true;
}

static bool relays(const struct fk_demo *demo, const char *format)
{
    const char *text = demo->relay;
    char one[32];

    while (text != NULL && next_format(&text, one))
        if (strcmp(one, format) == 0)
            return true;
    return false;
}

static int check_formats(const struct fk_demo *demo)
{
    enum fk_certrelay_format format, seen[FK_CERTRELAY_FORMAT_COUNT];
    const char *text = demo->relay;
    char one[32];
    size_t n = 0;

    while (next_format(&text, one)) {
        if (fk_certrelay_format_find(one, &format) != FK_OK || format == FK_CERTRELAY_CUSTOM)
            return refuse("--relay", one,
                          "unknown; write some of rfc9440,cookie,xfcc,nginx,haproxy,traefik,alb");
        for (size_t i = 0; i < n; i++)
            if (seen[i] == format)
                return refuse("--relay", one, "twice; name it once");
        seen[n++] = format;
    }
    if (n == 0)
        return refuse("--relay", demo->relay, "empty; write some of rfc9440,cookie,xfcc");
    if (relays(demo, "nginx") && relays(demo, "haproxy"))
        return refuse("--relay", demo->relay, "nginx and haproxy use the same fields; name one");
    return FK_OK;
}

int fk_demo_check_client(struct fk_demo *demo)
{
    if (demo->client_certificate < 0)
        demo->client_certificate =
            demo->relay != NULL || demo->client_ca != NULL ? FK_DEMO_OPTIONAL : FK_DEMO_NONE;
    if (demo->client_certificate == FK_DEMO_NONE && demo->client_ca != NULL)
        return refuse("--client-ca", demo->client_ca,
                      "no certificate is asked for; use --client-certificate optional");
    if (demo->relay == NULL)
        return FK_OK;
    if (demo->client_certificate == FK_DEMO_NONE)
        return refuse("--relay", demo->relay,
                      "no certificate is asked for; use --client-certificate optional");
    demo->http = true;
    return check_formats(demo);
}

/* --- files --- */

/* The authorities of clients that the edge knows: ours and the user's. */
static int write_cas(const struct fk_demo *demo, const char *ours)
{
    uint8_t *text = NULL, *theirs = NULL;
    size_t len = 0, their_len = 0;
    char path[FK_PATH_SIZE];
    char *both = NULL;
    int n, err;

    if ((err = fk_path_join(demo->pair.edge, "client-ca.crt", path)) != FK_OK ||
        (err = fk_file_read(ours, &text, &len)) != FK_OK)
        goto out;
    if (demo->client_ca != NULL &&
        (err = fk_file_read(demo->client_ca, &theirs, &their_len)) != FK_OK) {
        (void)refuse("--client-ca", demo->client_ca, fk_err_text(err));
        goto out;
    }
    n = asprintf(&both, "%s\n%s", (const char *)text, theirs == NULL ? "" : (const char *)theirs);
    if (n < 0) {
        both = NULL;
        err = FK_ERR_NOMEM;
        goto out;
    }
    err = fk_file_write(path, both, (size_t)n, 0644);
out:
    free(both);
    free(theirs);
    free(text);
    return err;
}

/* In a folder of the client's own: the authority, the key and its certificate. */
int fk_demo_make_client(struct fk_demo *demo)
{
    static const struct fk_ca_order order = {.label = CLIENT_NAME, .days = CLIENT_DAYS};
    char ca_dir[FK_PATH_SIZE], ca_cert[FK_PATH_SIZE];
    struct fk_ca *ca = NULL;
    EVP_PKEY *key = NULL;
    X509 *cert = NULL;
    int err;

    if (demo->client_certificate == FK_DEMO_NONE)
        return FK_OK;
    if ((err = fk_path_join(demo->dir, "client-ca", ca_dir)) == FK_OK &&
        (err = fk_path_join(ca_dir, "ca.crt", ca_cert)) == FK_OK &&
        (err = fk_path_join(ca_dir, "client.key", demo->client_key)) == FK_OK &&
        (err = fk_path_join(ca_dir, "client.crt", demo->client_cert)) == FK_OK &&
        (err = fk_ca_create(ca_dir, "Farkey demo client CA")) == FK_OK &&
        (err = fk_ca_open(ca_dir, &ca)) == FK_OK &&
        (err = fk_pki_key_new(FK_PKI_P256, &key)) == FK_OK &&
        (err = fk_pem_write_key(demo->client_key, key, false)) == FK_OK &&
        (err = fk_ca_issue(ca, &order, key, &cert)) == FK_OK &&
        (err = fk_pem_write_cert(demo->client_cert, cert)) == FK_OK)
        err = write_cas(demo, ca_cert);
    X509_free(cert);
    EVP_PKEY_free(key);
    fk_ca_close(ca);
    return err;
}

/* --- the site block --- */

void fk_demo_client_lines(const struct fk_demo *demo, char *dst, size_t size)
{
    const char *text = demo->relay;
    char one[32];
    size_t len;

    len = (size_t)snprintf(dst, size, "%s", demo->http ? "    protocol = http\n" : "");
    if (demo->client_certificate == FK_DEMO_NONE)
        return;
    len += (size_t)snprintf(
        dst + len, size - len,
        "    client_certificate {\n        require = %s\n        ca = \"client-ca.crt\"\n",
        demo->client_certificate == FK_DEMO_REQUIRED ? "required" : "optional");
    while (text != NULL && next_format(&text, one))
        len += (size_t)snprintf(dst + len, size - len, "        relay \"%s\" { }\n", one);
    (void)snprintf(dst + len, size - len, "    }\n");
}

/* --- what the origin saw --- */

/* Base64 of the client's certificate in DER, without a line's end. */
static int own_base64(const struct fk_demo *demo, unsigned char **ret)
{
    unsigned char *der = NULL, *text = NULL;
    X509 *cert = NULL;
    int len, err = fk_pem_read_cert(demo->client_cert, &cert);

    if (err != FK_OK)
        return err;
    len = i2d_X509(cert, &der);
    X509_free(cert);
    if (len > 0)
        text = malloc((size_t)len / 3 * 4 + 8);
    if (text != NULL)
        EVP_EncodeBlock(text, der, len);
    OPENSSL_free(der);
    *ret = text;
    return text != NULL ? FK_OK : FK_ERR_NOMEM;
}

/* As Base64 for URLs has it (RFC 4648 section 5), without padding. */
static void for_urls(char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '+')
            *text = '-';
        else if (*text == '/')
            *text = '_';
        else if (*text == '=')
            *text = '\0';
    }
}

int fk_demo_judge_relay(const struct fk_demo *demo, struct fk_demo_view *view)
{
    const char *missing = NULL;
    unsigned char *own = NULL;
    int err;

    if (demo->relay == NULL || demo->origin != NULL)
        return FK_OK; /* another origin shows what it likes */
    if ((err = own_base64(demo, &own)) != FK_OK)
        return err;
    if (relays(demo, "rfc9440") && strstr(view->body, (const char *)own) == NULL)
        missing = "rfc9440";
    for_urls((char *)own);
    if (relays(demo, "cookie") && strstr(view->body, (const char *)own) == NULL)
        missing = "cookie";
    free(own);
    if (missing == NULL)
        return FK_OK;
    snprintf(view->failure, sizeof view->failure,
             "the client's certificate did not reach the origin by %s", missing);
    return FK_ERR_VERIFY;
}
