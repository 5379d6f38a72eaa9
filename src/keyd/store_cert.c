/*
 * What lies beside a key: its certificate chain and its policy, checked against the key.
 */
#include "keyd/store_priv.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* "DIR/NAME.key" -> "DIR/NAME.SUFFIX"; the file's own ending is that after the last dot. */
static int beside(const char *key_path, const char *suffix, char *ret, size_t size)
{
    int len =
        snprintf(ret, size, "%.*s.%s", (int)(strrchr(key_path, '.') - key_path), key_path, suffix);

    return len < 0 || (size_t)len >= size ? FK_ERR_LIMIT : FK_OK;
}

static bool has_name(const struct fk_index_key *key, const char *name)
{
    for (size_t i = 0; i < key->n_names; i++)
        if (strcmp(key->names[i], name) == 0)
            return true;
    return false;
}

/* Add a name in lower case, once. */
static int add_name(struct fk_index_key *key, const char *name, size_t len)
{
    char text[FK_HOST_MAX + 1];
    char **names;

    if (len == 0 || len > FK_HOST_MAX)
        return FK_ERR_RANGE;
    for (size_t i = 0; i < len; i++)
        text[i] = name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] - 'A' + 'a') : name[i];
    text[len] = '\0';
    if (has_name(key, text))
        return FK_OK;
    if (key->n_names == FK_KEYD_NAMES_MAX)
        return FK_ERR_LIMIT;
    if ((names = realloc(key->names, (key->n_names + 1) * sizeof *names)) == NULL)
        return FK_ERR_NOMEM;
    key->names = names;
    if ((names[key->n_names] = strdup(text)) == NULL)
        return FK_ERR_NOMEM;
    key->n_names++;
    return FK_OK;
}

static int add_address(struct fk_index_key *key, const uint8_t *ip, size_t len)
{
    struct fk_index_address *addresses;

    if (key->n_addresses == FK_KEYD_NAMES_MAX)
        return FK_ERR_LIMIT;
    addresses = realloc(key->addresses, (key->n_addresses + 1) * sizeof *addresses);
    if (addresses == NULL)
        return FK_ERR_NOMEM;
    key->addresses = addresses;
    memcpy(addresses[key->n_addresses].ip, ip, len);
    addresses[key->n_addresses++].len = (uint8_t)len;
    return FK_OK;
}

/* Names and addresses that the certificate is for (RFC 6125 section 6.4: SANs only). */
static int add_subject_names(X509 *leaf, struct fk_index_key *key)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
    int err = FK_OK;

    for (int i = 0; err == FK_OK && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        int len;

        if (name->type == GEN_DNS) {
            len = ASN1_STRING_length(name->d.dNSName);
            err = add_name(key, (const char *)ASN1_STRING_get0_data(name->d.dNSName), (size_t)len);
        } else if (name->type == GEN_IPADD) {
            len = ASN1_STRING_length(name->d.iPAddress);
            if (len == 4 || len == 16)
                err = add_address(key, ASN1_STRING_get0_data(name->d.iPAddress), (size_t)len);
        }
    }
    GENERAL_NAMES_free(names);
    return err;
}

/* Append one certificate in DER with its 2-byte length to the chain. */
static int add_certificate(X509 *certificate, struct fk_index_key *key)
{
    uint8_t *der = NULL, *chain;
    int len = i2d_X509(certificate, &der), err = FK_ERR_LIMIT;

    if (len <= 0)
        return FK_ERR_FORMAT;
    if (key->chain_len + (size_t)len + 2 > FK_KEYD_CHAIN_BYTES)
        goto out;
    err = FK_ERR_NOMEM;
    if ((chain = realloc(key->chain, key->chain_len + (size_t)len + 2)) == NULL)
        goto out;
    key->chain = chain;
    chain += key->chain_len;
    chain[0] = (uint8_t)(len >> 8);
    chain[1] = (uint8_t)len;
    memcpy(chain + 2, der, (size_t)len);
    key->chain_len += (size_t)len + 2;
    err = FK_OK;
out:
    OPENSSL_free(der);
    return err;
}

static int use_leaf(X509 *leaf, EVP_PKEY *pkey, const char *path, struct fk_store_key *key)
{
    struct tm end;
    unsigned len;

    if (pkey != NULL && X509_check_private_key(leaf, pkey) != 1)
        return FK_ERR_MISMATCH;
    if (ASN1_TIME_to_tm(X509_get0_notAfter(leaf), &end) != 1 ||
        X509_digest(leaf, EVP_sha256(), key->index.cert_hash, &len) != 1)
        return FK_ERR_FORMAT;
    key->not_after = timegm(&end);
    if (X509_cmp_current_time(X509_get0_notAfter(leaf)) < 0)
        fk_log(FK_LOG_WARN, "certificate has expired", fk_str("file", path));
    return add_subject_names(leaf, &key->index);
}

static int parse_chain(BIO *bio, EVP_PKEY *pkey, const char *path, struct fk_store_key *key)
{
    int err = FK_OK, count = 0;
    X509 *certificate;

    while (err == FK_OK && (certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        if (count++ == FK_KEYD_CHAIN_MAX)
            err = FK_ERR_LIMIT;
        if (err == FK_OK && count == 1)
            err = use_leaf(certificate, pkey, path, key);
        if (err == FK_OK)
            err = add_certificate(certificate, &key->index);
        X509_free(certificate);
    }
    /* The end of the file is an error to OpenSSL, too: "no start line". */
    if (err == FK_OK &&
        (count == 0 || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE))
        err = FK_ERR_FORMAT;
    ERR_clear_error();
    return err;
}

static const char *chain_trouble(int err)
{
    switch (err) {
    case FK_ERR_MISMATCH:
        return "the first certificate is not that of the key beside it";
    case FK_ERR_FORMAT:
        return "not certificates in PEM, leaf first";
    case FK_ERR_LIMIT:
        return "more certificates, names or bytes than a chain may have";
    default:
        return fk_err_text(err);
    }
}

/* FK_OK also when there is no such file. */
static int read_chain(const char *key_path, EVP_PKEY *pkey, struct fk_bundle *bundle,
                      struct fk_store_key *key, struct fk_store_report *report)
{
    char path[PATH_MAX];
    const uint8_t *data;
    size_t len;
    BIO *bio;
    int err;

    if ((err = beside(key_path, "crt", path, sizeof path)) == FK_OK)
        err = fk_bundle_read(bundle, path, &data, &len);
    if (err == FK_ERR_NOT_FOUND)
        return FK_OK;
    if (err == FK_OK && len > FK_KEYD_FILE_MAX)
        err = FK_ERR_LIMIT;
    if (err == FK_OK) {
        if ((bio = BIO_new_mem_buf(data, (int)len)) == NULL)
            return FK_ERR_NOMEM;
        err = parse_chain(bio, pkey, path, key);
        BIO_free(bio);
    }
    if (err == FK_ERR_NOMEM)
        return err;
    if (err != FK_OK)
        fk_store_say(report, path, chain_trouble(err));
    return FK_OK;
}

static int use_policy(const struct fk_key_policy_conf *policy, const char *path,
                      struct fk_store_key *key, struct fk_store_report *report)
{
    struct fk_range range;
    int err = FK_OK;

    key->index.public.permissions = (uint16_t)policy->allow;
    for (size_t i = 0; err == FK_OK && i < policy->names.count; i++)
        err = add_name(&key->index, policy->names.items[i], strlen(policy->names.items[i]));
    for (size_t i = 0; err == FK_OK && i < policy->addresses.count; i++) {
        static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

        if ((err = fk_range_parse(policy->addresses.items[i], &range)) != FK_OK)
            break;
        if (range.bits != 128)
            fk_store_say(report, path, "addresses: a range; write single addresses");
        else if (memcmp(range.ip, mapped, sizeof mapped) == 0)
            err = add_address(&key->index, range.ip + 12, 4);
        else
            err = add_address(&key->index, range.ip, 16);
    }
    for (size_t i = 0; err == FK_OK && i < policy->share_with.count; i++)
        err = fk_store_add_sharer(&key->index, policy->share_with.items[i]);
    if (policy->share_with.count > 0)
        key->index.public.permissions |= FK_PERM_SHARE;
    return err;
}

static void say_errors(const struct fk_conf *conf, const char *path, struct fk_store_report *report)
{
    for (size_t i = 0; i < fk_conf_error_count(conf); i++)
        fk_store_say(report, path, fk_conf_error(conf, i));
}

/* FK_OK also when there is no such file: the defaults hold. */
static int read_policy(const char *key_path, struct fk_bundle *bundle, struct fk_store_key *key,
                       struct fk_store_report *report)
{
    char path[PATH_MAX];
    struct fk_conf *conf = NULL;
    const uint8_t *data;
    size_t len;
    int err;

    key->index.public.permissions = FK_PERM_SIGN13 | FK_PERM_SIGN12;
    if ((err = beside(key_path, "policy", path, sizeof path)) == FK_OK)
        err = fk_bundle_read(bundle, path, &data, &len);
    if (err == FK_ERR_NOT_FOUND)
        return FK_OK;
    if (err == FK_OK)
        err = fk_conf_load(&fk_key_policy_conf_kind, path, bundle, &conf);
    if (err == FK_OK)
        err = use_policy(fk_conf_root(conf), path, key, report);
    else if (err == FK_ERR_CONF)
        say_errors(conf, path, report);
    if (err != FK_OK && err != FK_ERR_CONF && err != FK_ERR_NOMEM)
        fk_store_say(report, path, fk_err_text(err));
    fk_conf_free(conf);
    return err == FK_ERR_NOMEM ? err : FK_OK;
}

int fk_store_read_beside(const char *key_path, EVP_PKEY *pkey, struct fk_store_key *key,
                         struct fk_store_report *report)
{
    const char *name = key->index.public.name;
    struct fk_bundle *bundle;
    int err;

    if ((err = fk_bundle_new(&bundle)) != FK_OK)
        return err;
    if ((err = add_name(&key->index, name, strlen(name))) == FK_OK &&
        (err = read_policy(key_path, bundle, key, report)) == FK_OK)
        err = read_chain(key_path, pkey, bundle, key, report);
    fk_bundle_free(bundle);
    return err;
}

int fk_store_copy_names(struct fk_index_key *to, const struct fk_index_key *from)
{
    int err = FK_OK;

    for (size_t i = 0; err == FK_OK && i < from->n_names; i++)
        err = add_name(to, from->names[i], strlen(from->names[i]));
    for (size_t i = 0; err == FK_OK && i < from->n_sharers; i++)
        err = fk_store_add_sharer(to, from->sharers[i]);
    return err;
}

int fk_store_add_sharer(struct fk_index_key *key, const char *name)
{
    char **names;

    if (key->n_sharers == FK_KEYD_NAMES_MAX)
        return FK_ERR_LIMIT;
    if ((names = realloc(key->sharers, (key->n_sharers + 1) * sizeof *names)) == NULL)
        return FK_ERR_NOMEM;
    key->sharers = names;
    if ((names[key->n_sharers] = strdup(name)) == NULL)
        return FK_ERR_NOMEM;
    key->n_sharers++;
    return FK_OK;
}
