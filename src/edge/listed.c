/*
 * A listed key's certificates and the names that these are for: see listed.h.
 *
 * The names are those that X509_check_host() would accept: of subjectAltName; the subject's common
 * name only when it has no DNS name (RFC 6125 section 6.4.4).
 */
#include "edge/listed.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/text.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

/* Certificates with more names are not issued; those beyond are not served. */
#define NAMES_MAX FK_EDGE_CERT_NAMES_MAX

int fk_listed_id(const struct fk_info_key *key, uint8_t ret[FK_LISTED_ID_SIZE])
{
    const uint64_t name_len = key->name.left;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    int err = FK_ERR_CRYPTO;

    if (md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
        EVP_DigestUpdate(md, key->ski, sizeof key->ski) == 1 &&
        EVP_DigestUpdate(md, &key->permissions, sizeof key->permissions) == 1 &&
        EVP_DigestUpdate(md, &name_len, sizeof name_len) == 1 &&
        EVP_DigestUpdate(md, key->name.next, key->name.left) == 1 &&
        EVP_DigestUpdate(md, key->chain.next, key->chain.left) == 1 &&
        EVP_DigestFinal_ex(md, ret, NULL) == 1)
        err = FK_OK;
    EVP_MD_CTX_free(md);
    return err;
}

/* A host name or "*." and one of two labels at least; as OpenSSL has it. */
static bool is_name(const char *text, size_t len)
{
    const char *dot;

    if (len < 2 || text[0] != '*')
        return fk_text_host_valid(text, len);
    dot = memchr(text + 2, '.', len - 2);
    return text[1] == '.' && dot != NULL && fk_text_host_valid(text + 2, len - 2);
}

/* One that is no DNS name is passed over. */
static int add_name(struct fk_listed *listed, size_t room, const ASN1_STRING *name)
{
    const char *text = (const char *)ASN1_STRING_get0_data(name);
    size_t len = (size_t)ASN1_STRING_length(name);
    char *copy;

    if (listed->n_names == room || !is_name(text, len))
        return FK_OK;
    if ((copy = strndup(text, len)) == NULL)
        return FK_ERR_NOMEM;
    fk_text_lower(copy, len, copy);
    listed->names[listed->n_names++] = copy;
    return FK_OK;
}

static size_t least(int count)
{
    return count < 0 ? 0 : count < NAMES_MAX ? (size_t)count : (size_t)NAMES_MAX;
}

static int add_alternatives(struct fk_listed *listed, size_t room, const GENERAL_NAMES *names,
                            bool *ret_any)
{
    int err = FK_OK;

    for (int i = 0; err == FK_OK && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

        if (name->type != GEN_DNS)
            continue;
        *ret_any = true;
        err = add_name(listed, room, name->d.dNSName);
    }
    return err;
}

static int add_common_names(struct fk_listed *listed, size_t room, const X509_NAME *subject)
{
    int at = -1, err = FK_OK;

    while (err == FK_OK && (at = X509_NAME_get_index_by_NID(subject, NID_commonName, at)) >= 0)
        err = add_name(listed, room, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    return err;
}

static int read_names(struct fk_listed *listed)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(listed->cert.leaf, NID_subject_alt_name, NULL, NULL);
    const X509_NAME *subject = X509_get_subject_name(listed->cert.leaf);
    size_t room = least(sk_GENERAL_NAME_num(names)) + least(X509_NAME_entry_count(subject));
    bool any = false;
    int err = FK_OK;

    if ((listed->names = calloc(room + 1, sizeof *listed->names)) == NULL)
        err = FK_ERR_NOMEM;
    if (err == FK_OK)
        err = add_alternatives(listed, room, names, &any);
    if (err == FK_OK && !any)
        err = add_common_names(listed, room, subject);
    GENERAL_NAMES_free(names);
    return err;
}

static int read_chain(struct fk_listed *listed, OSSL_LIB_CTX *libctx, const struct fk_info_key *key)
{
    int err;

    if (key->chain.left == 0)
        return FK_OK;
    if ((err = fk_cert_from_der(libctx, key->chain, &listed->cert)) != FK_OK)
        return err == FK_ERR_NOMEM ? err : FK_OK;
    if (memcmp(listed->cert.ski, key->ski, sizeof key->ski) == 0) /* public */
        return read_names(listed);
    fk_cert_fini(&listed->cert);
    return FK_OK;
}

int fk_listed_new(OSSL_LIB_CTX *libctx, const struct fk_info_key *key,
                  const uint8_t id[FK_LISTED_ID_SIZE], struct fk_listed **ret)
{
    struct fk_listed *listed = calloc(1, sizeof *listed);
    int err;

    if (listed == NULL)
        return FK_ERR_NOMEM;
    listed->refs = 1;
    listed->permissions = key->permissions;
    memcpy(listed->id, id, sizeof listed->id);
    listed->key_name = strndup((const char *)key->name.next, key->name.left);
    err = listed->key_name == NULL ? FK_ERR_NOMEM : read_chain(listed, libctx, key);
    ERR_clear_error();
    if (err != FK_OK) {
        fk_listed_unref(listed);
        return err;
    }
    *ret = listed;
    return FK_OK;
}

struct fk_listed *fk_listed_ref(struct fk_listed *listed)
{
    listed->refs++;
    return listed;
}

void fk_listed_unref(struct fk_listed *listed)
{
    if (listed == NULL || --listed->refs > 0)
        return;
    fk_cert_fini(&listed->cert);
    for (size_t i = 0; i < listed->n_names; i++)
        free(listed->names[i]);
    free(listed->names);
    free(listed->key_name);
    free(listed);
}
