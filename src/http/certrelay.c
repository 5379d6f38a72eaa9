/* Certificates of clients in fields of requests: see certrelay.h. */
#include "http/certrelay.h"

#include "base/err.h"
#include "base/limits.h"
#include "http/text.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* What is special about a field. */
#define COOKIE   1U   /* it is a cookie */
#define ESCAPED  2U   /* its text is percent-encoded once more, as a whole */
#define NO_LIST  4U   /* an empty text is no field */
#define CHAIN    8U   /* only with the chain */
#define ALONE    16U  /* only without the chain */
#define PEM      32U  /* only with pem_spaces */
#define URL      64U  /* only without it */
#define NONE     128U /* also where no certificate was shown: "NONE" */
#define STRIPPED 256U /* never sent, but never a client's either */

/* The fields of each format: what comes behind the name, and the text. */
static const struct row {
    enum fk_certrelay_format format;
    const char *suffix;
    const char *text; /* %{field of tls/certtext} */
    unsigned flags;
} rows[] = {
    {FK_CERTRELAY_RFC9440, "", ":%{der}:", 0},
    {FK_CERTRELAY_RFC9440, "-Chain", "%{der-list}", NO_LIST | CHAIN},
    {FK_CERTRELAY_RFC9440, "-Chain", "", STRIPPED | ALONE},
    {FK_CERTRELAY_COOKIE, "", "%{pem-spaces}", COOKIE | PEM},
    {FK_CERTRELAY_COOKIE, "", "%{der-base64url}", COOKIE | URL},
    {FK_CERTRELAY_XFCC, "",
     "Hash=%{fingerprint};Cert=\"%{pem}\";Chain=\"%{pem-chain}\";Subject=\"%{subject}\""
     "%{xfcc-names}",
     CHAIN},
    {FK_CERTRELAY_XFCC, "",
     "Hash=%{fingerprint};Cert=\"%{pem}\";Subject=\"%{subject}\"%{xfcc-names}", ALONE},
    {FK_CERTRELAY_NGINX, "Verify", "%{verify}", NONE},
    {FK_CERTRELAY_NGINX, "Cert", "%{pem}", 0},
    {FK_CERTRELAY_NGINX, "S-DN", "%{subject}", 0},
    {FK_CERTRELAY_NGINX, "I-DN", "%{issuer}", 0},
    {FK_CERTRELAY_NGINX, "Serial", "%{serial}", 0},
    {FK_CERTRELAY_NGINX, "Fingerprint", "%{fingerprint-sha1}", 0},
    {FK_CERTRELAY_HAPROXY, "Client-Verify", "0", 0},
    {FK_CERTRELAY_HAPROXY, "Client-DN", "%{subject}", 0},
    {FK_CERTRELAY_HAPROXY, "Client-CN", "%{cn}", 0},
    {FK_CERTRELAY_HAPROXY, "Issuer", "%{issuer}", 0},
    {FK_CERTRELAY_HAPROXY, "Client-NotBefore", "%{notbefore}", 0},
    {FK_CERTRELAY_HAPROXY, "Client-NotAfter", "%{notafter}", 0},
    {FK_CERTRELAY_HAPROXY, "Client-Serial", "%{serial}", 0},
    {FK_CERTRELAY_HAPROXY, "Client-SHA1", "%{fingerprint-sha1}", 0},
    {FK_CERTRELAY_HAPROXY, "Client-DER", "%{der}", 0},
    {FK_CERTRELAY_TRAEFIK, "", "%{pem-body}", 0},
    {FK_CERTRELAY_TRAEFIK, "-Info",
     "Subject=\"%{subject}\";Issuer=\"%{issuer}\";NB=\"%{notbefore-unix}\";"
     "NA=\"%{notafter-unix}\";SAN=\"%{san-values}\"",
     ESCAPED},
    {FK_CERTRELAY_ALB, "-Serial-Number", "%{serial}", 0},
    {FK_CERTRELAY_ALB, "-Issuer", "%{issuer}", 0},
    {FK_CERTRELAY_ALB, "-Subject", "%{subject}", 0},
    {FK_CERTRELAY_ALB, "-Validity", "NotBefore=%{notbefore};NotAfter=%{notafter}", 0},
    {FK_CERTRELAY_ALB, "-Leaf", "%{pem}", 0},
    {FK_CERTRELAY_ALB, "", "", STRIPPED},
    {FK_CERTRELAY_CUSTOM, "", "", 0},
};

static const struct {
    const char *name, *field;
} formats[] = {
#define FK_CERTRELAY_FORMAT(id, name, field) {name, field},
    FK_CERTRELAY_FORMATS(FK_CERTRELAY_FORMAT)
#undef FK_CERTRELAY_FORMAT
};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

struct field {
    char *name;
    const char *text;
    unsigned flags;
};

struct fk_certrelay {
    size_t bytes;
    const char *xfcc; /* the field of that format; NULL: it is not used */
    enum fk_certrelay_xfcc xfcc_way;
    size_t count;
    struct field fields[FK_CERTRELAY_FIELDS_MAX];
};

/* The identity of one connection, and where its texts are. */
struct said {
    struct fk_http_identity identity;
    struct fk_http_said items[FK_CERTRELAY_FIELDS_MAX];
    size_t at[FK_CERTRELAY_FIELDS_MAX]; /* where in `texts` each value begins */
    uint8_t *texts;
    const struct fk_certtext_of *of; /* while they are written */
};

/* --- configuration --- */

int fk_certrelay_format_find(const char *name, enum fk_certrelay_format *ret)
{
    for (size_t i = 0; i < COUNT(formats); i++)
        if (strcmp(formats[i].name, name) == 0) {
            *ret = (enum fk_certrelay_format)i;
            return FK_OK;
        }
    return FK_ERR_NOT_FOUND;
}

/* What may be relayed beside a template of one's own: nothing that a cookie or a field ends with.
 */
static const char *template_fault(const char *text)
{
    enum fk_certtext what;
    const char *end;

    if (!fk_http_all(fk_http_text(text), FK_HTTP_CHAR_VALUE))
        return "control characters in the template; remove them";
    for (; (text = strstr(text, "%{")) != NULL; text = end) {
        if ((end = strchr(text, '}')) == NULL)
            return "\"%{\" without \"}\" in the template; write \"%{subject}\"";
        if (fk_certtext_find(text + 2, (size_t)(end - text) - 2, &what) != FK_OK)
            return "an unknown field in the template; write \"%{subject}\", or another that "
                   "docs/relay.md lists";
    }
    return NULL;
}

const char *fk_certrelay_fault(const struct fk_certrelay_conf *conf)
{
    bool own_text = conf->format == FK_CERTRELAY_CUSTOM || conf->format == FK_CERTRELAY_XFCC;

    if (conf->format == FK_CERTRELAY_CUSTOM && (conf->name == NULL || conf->template_ == NULL))
        return "a field of one's own needs name = \"X-...\" and template = \"...\"";
    if (conf->name != NULL && !fk_http_is_token(fk_http_text(conf->name)))
        return "the name is none of a field or cookie; write letters, digits and hyphens";
    if (conf->name != NULL && strlen(conf->name) > FK_HTTP_COOKIE_NAME_MAX)
        return "the name is too long; write 64 characters at most";
    if (conf->template_ != NULL && !own_text)
        return "this format has no template; write \"custom\"";
    return conf->template_ == NULL ? NULL : template_fault(conf->template_);
}

static bool applies(const struct row *row, const struct fk_certrelay_conf *conf)
{
    unsigned unwanted = (conf->chain ? ALONE : CHAIN) | (conf->pem_spaces ? URL : PEM);

    return row->format == conf->format && (row->flags & unwanted) == 0;
}

/* Cookies have names of their own kind. */
static bool has_name(const struct fk_certrelay *relay, const struct field *field)
{
    for (size_t i = 0; i < relay->count; i++)
        if ((relay->fields[i].flags & COOKIE) == (field->flags & COOKIE) &&
            fk_http_same_name(fk_http_text(relay->fields[i].name), fk_http_text(field->name), true))
            return true;
    return false;
}

static char *joined(const char *name, const char *suffix)
{
    size_t len = strlen(name), more = strlen(suffix) + 1;
    char *text = malloc(len + more);

    if (text != NULL) {
        memcpy(text, name, len);
        memcpy(text + len, suffix, more);
    }
    return text;
}

static int add_field(struct fk_certrelay *relay, const struct row *row,
                     const struct fk_certrelay_conf *conf)
{
    struct field field = {.text = conf->template_ != NULL ? conf->template_ : row->text,
                          .flags = row->flags};

    if (relay->count == COUNT(relay->fields))
        return FK_ERR_LIMIT;
    field.name = joined(conf->name != NULL ? conf->name : formats[conf->format].field, row->suffix);
    if (field.name == NULL)
        return FK_ERR_NOMEM;
    if (has_name(relay, &field)) {
        free(field.name);
        return FK_ERR_DUPLICATE;
    }
    relay->fields[relay->count++] = field;
    if (conf->format == FK_CERTRELAY_XFCC) {
        relay->xfcc = field.name;
        relay->xfcc_way = conf->xfcc;
    }
    return FK_OK;
}

int fk_certrelay_new(const struct fk_certrelay_conf *confs, size_t n, size_t bytes,
                     struct fk_certrelay **ret)
{
    struct fk_certrelay *relay = calloc(1, sizeof *relay);
    int err = relay == NULL ? FK_ERR_NOMEM : FK_OK;

    for (size_t i = 0; i < n && err == FK_OK; i++)
        for (size_t r = 0; r < COUNT(rows) && err == FK_OK; r++)
            if (applies(&rows[r], &confs[i]))
                err = add_field(relay, &rows[r], &confs[i]);
    if (err != FK_OK) {
        fk_certrelay_free(relay);
        return err;
    }
    relay->bytes = bytes;
    *ret = relay;
    return FK_OK;
}

void fk_certrelay_free(struct fk_certrelay *relay)
{
    if (relay == NULL)
        return;
    for (size_t i = 0; i < relay->count; i++)
        free(relay->fields[i].name);
    free(relay);
}

/* Name `i` of the cookies, or of the fields. */
static const char *name_at(const struct fk_certrelay *relay, bool cookie, size_t i)
{
    for (size_t n = 0; n < relay->count; n++)
        if (((relay->fields[n].flags & COOKIE) != 0) == cookie && i-- == 0)
            return relay->fields[n].name;
    return NULL;
}

const char *fk_certrelay_field(const struct fk_certrelay *relay, size_t i)
{
    return name_at(relay, false, i);
}

const char *fk_certrelay_cookie(const struct fk_certrelay *relay, size_t i)
{
    return name_at(relay, true, i);
}

const char *fk_certrelay_known(size_t i)
{
    static const char *const names[] = {
        "Client-Cert", "Client-Cert-Chain", "X-Forwarded-Client-Cert",
        /* nginx and HAProxy */
        "X-SSL-Client-Verify", "X-SSL-Client-Cert", "X-SSL-Client-S-DN", "X-SSL-Client-I-DN",
        "X-SSL-Client-Serial", "X-SSL-Client-Fingerprint", "X-SSL-Client-DN", "X-SSL-Client-CN",
        "X-SSL-Issuer", "X-SSL-Client-NotBefore", "X-SSL-Client-NotAfter", "X-SSL-Client-SHA1",
        "X-SSL-Client-DER", "X-SSL-Cert", "SSL-Client-Cert", "X-Client-Cert",
        /* Traefik and load balancers */
        "X-Forwarded-Tls-Client-Cert", "X-Forwarded-Tls-Client-Cert-Info", "X-Amzn-Mtls-Clientcert",
        "X-Amzn-Mtls-Clientcert-Serial-Number", "X-Amzn-Mtls-Clientcert-Issuer",
        "X-Amzn-Mtls-Clientcert-Subject", "X-Amzn-Mtls-Clientcert-Validity",
        "X-Amzn-Mtls-Clientcert-Leaf"};

    return i < COUNT(names) ? names[i] : NULL;
}

/* --- texts --- */

static int write_text(const char *text, const struct fk_certtext_of *of, struct fk_writer *out)
{
    int err = FK_OK;

    while (*text != '\0' && err == FK_OK) {
        const char *field = strstr(text, "%{");
        size_t literal = field == NULL ? strlen(text) : (size_t)(field - text);
        enum fk_certtext what;
        size_t len;

        fk_writer_bytes(out, text, literal);
        text += literal;
        if (field == NULL)
            break;
        len = strcspn(field + 2, "}");
        if ((err = fk_certtext_find(field + 2, len, &what)) == FK_OK)
            err = fk_certtext_write(of, what, out);
        text = field + 2 + len + 1;
    }
    return err;
}

/* Percent-encode what was written from `start` on. FK_ERR_LIMIT sticks in the writer. */
static int escape(struct fk_writer *out, size_t start)
{
    size_t len = out->len - start;
    uint8_t *plain = malloc(len + 1);

    if (plain == NULL)
        return FK_ERR_NOMEM;
    memcpy(plain, out->base + start, len);
    out->len = start;
    fk_certtext_percent(plain, len, out);
    free(plain);
    return FK_OK;
}

/* The text of one field, at the end of `out`. FK_ERR_NOT_FOUND: it has none. */
static int write_field(const struct field *field, const struct fk_certtext_of *of,
                       struct fk_writer *out)
{
    size_t start = out->len;
    int err = FK_OK;

    if ((field->flags & STRIPPED) != 0 || (of == NULL && (field->flags & NONE) == 0))
        return FK_ERR_NOT_FOUND;
    if (of == NULL)
        fk_writer_bytes(out, "NONE", 4);
    else
        err = write_text(field->text, of, out);
    if (err == FK_OK && out->err == FK_OK && (field->flags & ESCAPED) != 0)
        err = escape(out, start);
    if (err == FK_OK && out->len == start && (field->flags & NO_LIST) != 0)
        err = FK_ERR_NOT_FOUND;
    return err;
}

static void add_said(struct said *said, const struct field *field, size_t start, size_t len)
{
    struct fk_http_said *item = &said->items[said->identity.n_said];

    assert(field->name != NULL);
    said->at[said->identity.n_said++] = start;
    item->name = field->name;
    item->value.left = len;
    item->kind = (field->flags & COOKIE) != 0 ? FK_SAID_COOKIE : FK_SAID_FIELD;
    if (said->identity.kept != NULL && field->name == said->identity.kept)
        item->kind = FK_SAID_APPENDED;
    said->identity.bytes += strlen(field->name) + len + 8; /* ": ", "; Cookie", CRLF */
}

static int say_fields(struct said *said, const struct fk_certrelay *relay, struct fk_writer *out)
{
    int err = FK_OK;

    for (size_t i = 0; i < relay->count && err == FK_OK; i++) {
        const struct field *field = &relay->fields[i];
        size_t start = out->len;

        if (said->identity.kept == field->name && relay->xfcc_way == FK_XFCC_FORWARD)
            continue;
        err = write_field(field, said->of, out);
        if (err == FK_OK && out->err == FK_OK)
            add_said(said, field, start, out->len - start);
        if (err == FK_ERR_NOT_FOUND)
            err = FK_OK;
    }
    return err;
}

/* All or nothing: part of what an origin relies on is worse than a refusal. */
static int say_all(struct said *said, const struct fk_certrelay *relay)
{
    struct fk_writer out;
    size_t len;
    int err;

    fk_writer_init(&out, said->texts, relay->bytes);
    if ((err = say_fields(said, relay, &out)) != FK_OK)
        return err;
    if (fk_writer_end(&out, &len) != FK_OK || said->identity.bytes > relay->bytes) {
        said->identity.too_large = true;
        said->identity.n_said = said->identity.bytes = 0;
    }
    return FK_OK;
}

/* Keep of the memory only what is used; now the values stay where they are. */
static int settle(struct said *said)
{
    uint8_t *texts = realloc(said->texts, said->identity.bytes + 1);

    if (texts == NULL)
        return FK_ERR_NOMEM;
    said->texts = texts;
    for (size_t i = 0; i < said->identity.n_said; i++)
        said->items[i].value.next = said->texts + said->at[i];
    return FK_OK;
}

int fk_certrelay_say(const struct fk_certrelay *relay, const struct fk_certtext_of *of,
                     bool trusted, struct fk_http_identity **ret)
{
    struct said *said = calloc(1, sizeof *said);
    int err = FK_ERR_NOMEM;

    if (said == NULL || (said->texts = malloc(relay->bytes + 1)) == NULL)
        goto out;
    said->identity = (struct fk_http_identity){.proven = of != NULL, .said = said->items};
    said->of = of;
    if (trusted && relay->xfcc_way != FK_XFCC_SANITIZE) {
        said->identity.kept = relay->xfcc;
        said->identity.kept_ok = fk_certrelay_xfcc_ok;
    }
    if ((err = say_all(said, relay)) != FK_OK || (err = settle(said)) != FK_OK)
        goto out;
    said->of = NULL;
    *ret = &said->identity;
    said = NULL; /* moved */
out:
    if (said != NULL)
        fk_certrelay_unsay(&said->identity);
    return err;
}

void fk_certrelay_unsay(struct fk_http_identity *identity)
{
    struct said *said = (struct said *)(void *)identity; /* its first member */

    if (said == NULL)
        return;
    free(said->texts);
    free(said);
}

/* --- what a trusted proxy says --- */

static bool is_key(struct fk_reader key)
{
    static const char *const keys[] = {"By", "Hash", "Cert", "Chain", "Subject", "URI", "DNS"};

    for (size_t i = 0; i < COUNT(keys); i++)
        if (fk_http_equal_case(key, keys[i]))
            return true;
    return false;
}

/* Up to a separator, or in quotes with backslashes before those inside. */
static bool take_value(struct fk_reader *text)
{
    uint8_t c = 0;

    if (text->left == 0 || text->next[0] != '"') {
        while (text->left > 0 && strchr(",;", text->next[0]) == NULL) {
            (void)fk_reader_u8(text, &c);
            if (c == '"' || c == '=')
                return false;
        }
        return true;
    }
    (void)fk_reader_skip(text, 1);
    while (fk_reader_u8(text, &c) == FK_OK && c != '"')
        if (c == '\\' && fk_reader_skip(text, 1) != FK_OK)
            return false;
    return c == '"';
}

bool fk_certrelay_xfcc_ok(struct fk_reader value)
{
    struct fk_reader key;
    uint8_t c;

    do {
        while (value.left > 0 && value.next[0] == ' ')
            (void)fk_reader_skip(&value, 1);
        if (fk_reader_until(&value, '=', &key) != FK_OK || !is_key(key) || !take_value(&value))
            return false;
        if (fk_reader_u8(&value, &c) != FK_OK)
            return true;
    } while (c == ',' || c == ';');
    return false;
}
