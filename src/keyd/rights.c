/* Comparing two configurations: see rights.h. */
#include "keyd/rights.h"

#include "base/err.h"
#include "conf/bundle.h"
#include "keyd/quota.h"
#include "tls/channel_conf.h"
#include "wire/keyop.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>

/* --- edges --- */

static const struct fk_keyd_edge_conf *edge_of(const struct fk_conf_block *block)
{
    return (const void *)block;
}

static const struct fk_keyd_edge_conf *find_edge(const struct fk_keyd_conf *conf,
                                                 const char *identity)
{
    char text[FK_IDENTITY_SIZE];

    for (const struct fk_conf_block *b = conf->edges; b != NULL; b = b->next) {
        fk_keyd_conf_identity(edge_of(b), text, sizeof text);
        if (strcmp(text, identity) == 0)
            return edge_of(b);
    }
    return NULL;
}

static bool names(const struct fk_conf_list *list, const char *name)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcasecmp(list->items[i], name) == 0 || strcmp(list->items[i], "*") == 0)
            return true;
    return false;
}

static bool has_lost(const struct fk_keyd_edge_conf *old, const struct fk_keyd_edge_conf *new)
{
    if (new == NULL || (new->allow &FK_PERM_TICKETS) == 0)
        return true;
    for (size_t i = 0; i < old->keys.count; i++)
        if (!names(&new->keys, old->keys.items[i]))
            return true;
    return false;
}

bool fk_rights_edge_lost(const struct fk_keyd_conf *old, const struct fk_keyd_conf *new)
{
    char identity[FK_IDENTITY_SIZE];

    for (const struct fk_conf_block *b = old->edges; b != NULL; b = b->next) {
        fk_keyd_conf_identity(edge_of(b), identity, sizeof identity);
        if ((edge_of(b)->allow & FK_PERM_TICKETS) != 0 &&
            has_lost(edge_of(b), find_edge(new, identity)))
            return true;
    }
    return false;
}

/* --- revocation lists --- */

/* Of all lists in a file; the caller frees. NULL: it cannot be read. */
static STACK_OF(X509_CRL) * read_lists(const uint8_t *pem, size_t len)
{
    STACK_OF(X509_CRL) *lists = sk_X509_CRL_new_null();
    BIO *bio = BIO_new_mem_buf(pem == NULL ? (const void *)"" : pem, (int)len);
    X509_CRL *list;

    while (lists != NULL && bio != NULL &&
           (list = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL)) != NULL)
        if (sk_X509_CRL_push(lists, list) == 0) {
            X509_CRL_free(list);
            break;
        }
    if (bio == NULL || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) {
        sk_X509_CRL_pop_free(lists, X509_CRL_free);
        lists = NULL;
    }
    ERR_clear_error();
    BIO_free(bio);
    return lists;
}

static bool is_revoked(STACK_OF(X509_CRL) * lists, const X509_NAME *issuer,
                       const X509_REVOKED *entry)
{
    ASN1_INTEGER *serial = (ASN1_INTEGER *)(uintptr_t)X509_REVOKED_get0_serialNumber(entry);
    X509_REVOKED *found;

    for (int i = 0; i < sk_X509_CRL_num(lists); i++) {
        X509_CRL *list = sk_X509_CRL_value(lists, i);

        if (X509_NAME_cmp(X509_CRL_get_issuer(list), issuer) == 0 &&
            X509_CRL_get0_by_serial(list, &found, serial) == 1)
            return true;
    }
    return false;
}

static bool revokes_more(STACK_OF(X509_CRL) * old, STACK_OF(X509_CRL) * new)
{
    for (int i = 0; i < sk_X509_CRL_num(new); i++) {
        X509_CRL *list = sk_X509_CRL_value(new, i);
        STACK_OF(X509_REVOKED) *entries = X509_CRL_get_REVOKED(list);

        for (int n = 0; n < sk_X509_REVOKED_num(entries); n++)
            if (!is_revoked(old, X509_CRL_get_issuer(list), sk_X509_REVOKED_value(entries, n)))
                return true;
    }
    return false;
}

bool fk_rights_revoked(const uint8_t *old, size_t old_len, const uint8_t *new, size_t new_len)
{
    STACK_OF(X509_CRL) *before = read_lists(old, old_len), *after = read_lists(new, new_len);
    bool more = before == NULL || after == NULL || revokes_more(before, after);

    sk_X509_CRL_pop_free(before, X509_CRL_free);
    sk_X509_CRL_pop_free(after, X509_CRL_free);
    return more;
}

/* --- both --- */

struct file {
    const uint8_t *data;
    size_t len;
};

static int read_file(struct fk_bundle *bundle, const char *path, struct file *ret)
{
    *ret = (struct file){NULL, 0};
    return path == NULL ? FK_OK : fk_bundle_read(bundle, path, &ret->data, &ret->len);
}

static bool is_same(const struct file *a, const struct file *b)
{
    return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

struct channel_files {
    struct fk_bundle *bundle;
    struct file ca, crl;
};

static int open_files(const struct fk_keyd_load *load, struct channel_files *ret)
{
    const struct fk_channel_conf *channel = fk_keyd_conf_channel(load->conf);
    int err;

    if ((err = fk_bundle_open(load->bundle_fd, &ret->bundle)) != FK_OK)
        return err;
    if ((err = read_file(ret->bundle, channel->ca, &ret->ca)) != FK_OK)
        return err;
    return read_file(ret->bundle, channel->crl, &ret->crl);
}

static bool channel_differs(const struct fk_keyd_load *old, const struct fk_keyd_load *new)
{
    struct channel_files a = {.bundle = NULL}, b = {.bundle = NULL};
    bool differs = true;

    if (open_files(old, &a) == FK_OK && open_files(new, &b) == FK_OK)
        differs = !is_same(&a.ca, &b.ca) ||
                  fk_rights_revoked(a.crl.data, a.crl.len, b.crl.data, b.crl.len);
    fk_bundle_free(a.bundle);
    fk_bundle_free(b.bundle);
    return differs;
}

bool fk_rights_lost(const struct fk_keyd_load *old, const struct fk_keyd_load *new)
{
    return fk_rights_edge_lost(old->conf, new->conf) || channel_differs(old, new);
}
