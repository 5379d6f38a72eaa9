/* Rules for certificates of clients: see clientrules.h. */
#include "tls/clientrules.h"

#include "base/err.h"
#include "base/text.h"
#include "tls/certtext.h"

#include <openssl/err.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

enum kind { SUBJECT, CN, DNS, EMAIL, URI, SPKI };

struct rule {
    enum kind kind;
    char *text; /* SUBJECT: escaped as fk_certtext_write() does */
    uint8_t spki[SHA256_DIGEST_LENGTH];
};

struct fk_clientrules {
    size_t count;
    struct rule items[];
};

/* --- reading --- */

static int take_subject(struct rule *rule, const char *text)
{
    size_t size = 3 * strlen(text) + 1, len;
    struct fk_writer out;

    if ((rule->text = calloc(1, size)) == NULL)
        return FK_ERR_NOMEM;
    fk_writer_init(&out, rule->text, size - 1);
    fk_certtext_escape(text, strlen(text), &out);
    return fk_writer_end(&out, &len);
}

static int take(struct rule *rule, const char *text)
{
    static const struct {
        const char *prefix;
        enum kind kind;
    } kinds[] = {{"subject:", SUBJECT}, {"cn:", CN},   {"dns:", DNS},
                 {"email:", EMAIL},     {"uri:", URI}, {"spki:", SPKI}};

    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        size_t len = strlen(kinds[i].prefix);

        if (strncmp(text, kinds[i].prefix, len) != 0 || text[len] == '\0')
            continue;
        rule->kind = kinds[i].kind;
        if (rule->kind == SUBJECT)
            return take_subject(rule, text + len);
        if (rule->kind == SPKI)
            return fk_text_unhex(text + len, strlen(text + len), rule->spki, sizeof rule->spki);
        rule->text = strdup(text + len);
        return rule->text == NULL ? FK_ERR_NOMEM : FK_OK;
    }
    return FK_ERR_FORMAT;
}

int fk_clientrules_new(char *const *rules, size_t n, struct fk_clientrules **ret, size_t *ret_bad)
{
    struct fk_clientrules *made = calloc(1, sizeof *made + n * sizeof made->items[0]);
    int err = made == NULL ? FK_ERR_NOMEM : FK_OK;

    for (size_t i = 0; i < n && err == FK_OK; i++) {
        made->count++;
        if ((err = take(&made->items[i], rules[i])) != FK_OK)
            *ret_bad = i;
    }
    if (err == FK_OK)
        *ret = made;
    else
        fk_clientrules_free(made);
    return err;
}

void fk_clientrules_free(struct fk_clientrules *rules)
{
    if (rules == NULL)
        return;
    for (size_t i = 0; i < rules->count; i++)
        free(rules->items[i].text);
    free(rules);
}

/* --- judging --- */

/* "a*" fits all that begins so; without the star it is the whole. */
static bool begins_so(const char *pattern, const char *text)
{
    size_t len = strlen(pattern);

    if (len > 0 && pattern[len - 1] == '*')
        return strncmp(pattern, text, len - 1) == 0;
    return strcmp(pattern, text) == 0;
}

static bool value_fits(const struct rule *rule, const char *text)
{
    if (rule->kind == DNS)
        return fk_text_host_matches(rule->text, text);
    return rule->kind == URI ? begins_so(rule->text, text) : strcmp(rule->text, text) == 0;
}

/* A text of the certificate, as long as it says. */
static bool string_fits(const struct rule *rule, const ASN1_STRING *string)
{
    unsigned char *text = NULL;
    int len = ASN1_STRING_to_UTF8(&text, string);
    bool fits = len >= 0 && strlen((const char *)text) == (size_t)len &&
                value_fits(rule, (const char *)text);

    OPENSSL_free(text);
    return fits;
}

static bool name_fits(const struct rule *rule, X509 *cert)
{
    static const int types[] = {[DNS] = GEN_DNS, [EMAIL] = GEN_EMAIL, [URI] = GEN_URI};
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    bool fits = false;

    for (int i = 0; i < sk_GENERAL_NAME_num(names) && !fits; i++) {
        int type;
        const ASN1_STRING *value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &type);

        fits = type == types[rule->kind] && string_fits(rule, value);
    }
    GENERAL_NAMES_free(names);
    return fits;
}

static bool common_name_fits(const struct rule *rule, X509 *cert)
{
    X509_NAME *name = X509_get_subject_name(cert);
    int at = -1, next;

    while ((next = X509_NAME_get_index_by_NID(name, NID_commonName, at)) >= 0)
        at = next;
    return at >= 0 && string_fits(rule, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
}

static bool subject_fits(const struct rule *rule, X509 *cert)
{
    const struct fk_certtext_of of = {.leaf = cert};
    size_t wanted = strlen(rule->text), len;
    struct fk_writer out;
    char *text = malloc(wanted + 1); /* a longer one does not fit */
    bool fits;

    if (text == NULL)
        return false;
    fk_writer_init(&out, text, wanted);
    fits = fk_certtext_write(&of, FK_CERTTEXT_SUBJECT, &out) == FK_OK &&
           fk_writer_end(&out, &len) == FK_OK && len == wanted &&
           memcmp(text, rule->text, len) == 0; /* public */
    free(text);
    return fits;
}

static bool key_fits(const struct rule *rule, const X509 *cert)
{
    uint8_t *der = NULL, digest[SHA256_DIGEST_LENGTH];
    int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
    bool fits = len > 0 && SHA256(der, (size_t)len, digest) != NULL &&
                memcmp(digest, rule->spki, sizeof digest) == 0; /* public */

    OPENSSL_free(der);
    return fits;
}

static bool rule_fits(const struct rule *rule, X509 *cert)
{
    switch (rule->kind) {
    case SUBJECT:
        return subject_fits(rule, cert);
    case CN:
        return common_name_fits(rule, cert);
    case SPKI:
        return key_fits(rule, cert);
    case DNS:
    case EMAIL:
    case URI:
        break;
    }
    return name_fits(rule, cert);
}

bool fk_clientrules_fit(const struct fk_clientrules *rules, X509 *cert)
{
    bool fits = false;

    for (size_t i = 0; i < rules->count && !fits; i++)
        fits = rule_fits(&rules->items[i], cert);
    ERR_clear_error();
    return fits;
}
