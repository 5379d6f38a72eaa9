/*
 * Keys behind a PKCS#11 module: finding them by label or id, signing, raw decryption. A session is
 * used by one thread at a time. What the token signs the caller verifies.
 */
#include "base/err.h"
#include "base/list.h"
#include "base/log.h"
#include "base/secret.h"
#include "token/asn1.h"
#include "token/pkcs11_priv.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <string.h>

/* Objects of one label that are looked at: a key, and a few older ones of the same name. */
#define CANDIDATES_MAX 16
/* RSA-4096's modulus; the point of P-521 in DER. */
#define NUMBER_MAX 512

/* PKCS#11 3.0; the header may be older. */
#define MECHANISM_EDDSA  0x1057UL
#define KEY_TYPE_EDWARDS 0x40UL

/* --- finding --- */

/* What is public and telling of a key: modulus, or point. */
static size_t public_bytes(const struct fk_keyset_entry *entry, uint8_t ret[NUMBER_MAX])
{
    size_t len = 0;
    BIGNUM *n = NULL;

    if (entry->public.type == FK_KEY_RSA) {
        if (EVP_PKEY_get_bn_param(entry->pkey, OSSL_PKEY_PARAM_RSA_N, &n) == 1 &&
            BN_num_bytes(n) <= NUMBER_MAX)
            len = (size_t)BN_bn2bin(n, ret);
        BN_free(n);
    } else if (EVP_PKEY_get_octet_string_param(entry->pkey, OSSL_PKEY_PARAM_PUB_KEY, ret,
                                               NUMBER_MAX, &len) != 1) {
        len = 0;
    }
    return len;
}

/* One attribute; 0 bytes: the object has none, or does not tell. */
static size_t attribute(struct fk_pkcs11 *token, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type,
                        uint8_t *ret, size_t size)
{
    CK_ATTRIBUTE attribute = {type, ret, size};
    CK_RV rv =
        token->calls->C_GetAttributeValue(fk_pkcs11_own(token)->handle, object, &attribute, 1);

    return rv == CKR_OK && attribute.ulValueLen <= size ? attribute.ulValueLen : 0;
}

/* Objects of this class with a key's label and id. FK_ERR_TOKEN. */
static int find_objects(struct fk_pkcs11 *token, CK_OBJECT_CLASS class,
                        const struct fk_token_place *place, CK_OBJECT_HANDLE ret[CANDIDATES_MAX],
                        CK_ULONG *ret_n)
{
    CK_SESSION_HANDLE session = fk_pkcs11_own(token)->handle;
    CK_ATTRIBUTE template[3] = {{CKA_CLASS, &class, sizeof class}};
    CK_ULONG n_template = 1;
    CK_RV rv;

    if (place->label[0] != '\0')
        template[n_template++] =
            (CK_ATTRIBUTE){CKA_LABEL, (void *)(uintptr_t)place->label, strlen(place->label)};
    if (place->id_len > 0)
        template[n_template++] =
            (CK_ATTRIBUTE){CKA_ID, (void *)(uintptr_t)place->id, place->id_len};
    if (token->calls->C_FindObjectsInit(session, template, n_template) != CKR_OK)
        return FK_ERR_TOKEN;
    rv = token->calls->C_FindObjects(session, ret, CANDIDATES_MAX, ret_n);
    (void)token->calls->C_FindObjectsFinal(session);
    return rv == CKR_OK ? FK_OK : FK_ERR_TOKEN;
}

/* Whether an attribute says the same number: as it is, or (points) in an OCTET STRING. */
static bool says(struct fk_pkcs11 *token, CK_OBJECT_HANDLE object,
                 const struct fk_keyset_entry *entry)
{
    bool rsa = entry->public.type == FK_KEY_RSA;
    uint8_t want[NUMBER_MAX], got[NUMBER_MAX + 8];
    size_t want_len = public_bytes(entry, want);
    size_t len = attribute(token, object, rsa ? CKA_MODULUS : CKA_EC_POINT, got, sizeof got);
    size_t head = len - want_len;

    if (want_len == 0 || len < want_len || (rsa ? head != 0 : head > 3))
        return false;
    if (head > 0 && got[0] != 0x04)
        return false;
    return memcmp(got + head, want, want_len) == 0;
}

/*
 * Whether a private key is the entry's. RSA's mostly tells its modulus; of others the public key
 * with the same id tells it, or the point. One that nothing tells of is taken: what it signs is
 * verified anyway.
 */
static bool is_key(struct fk_pkcs11 *token, CK_OBJECT_HANDLE object,
                   const struct fk_keyset_entry *entry)
{
    struct fk_token_place twin = {.id_len = 0};
    uint8_t modulus[NUMBER_MAX + 8];
    CK_OBJECT_HANDLE publics[CANDIDATES_MAX];
    CK_KEY_TYPE type = 0;
    CK_ULONG n = 0;

    static const CK_KEY_TYPE types[] = {
        [FK_KEY_RSA] = CKK_RSA, [FK_KEY_EC] = CKK_EC, [FK_KEY_ED25519] = KEY_TYPE_EDWARDS};

    if (attribute(token, object, CKA_KEY_TYPE, (uint8_t *)&type, sizeof type) != sizeof type ||
        type != types[entry->public.type])
        return false;
    if (attribute(token, object, CKA_MODULUS, modulus, sizeof modulus) > 0)
        return says(token, object, entry);
    twin.id_len = attribute(token, object, CKA_ID, twin.id, sizeof twin.id);
    if (twin.id_len == 0 || find_objects(token, CKO_PUBLIC_KEY, &twin, publics, &n) != FK_OK ||
        n == 0)
        return true;
    for (CK_ULONG i = 0; i < n; i++)
        if (says(token, publics[i], entry))
            return true;
    return false;
}

static int find_key(struct fk_pkcs11 *token, const struct fk_keyset_entry *entry,
                    CK_OBJECT_HANDLE *ret)
{
    CK_OBJECT_HANDLE objects[CANDIDATES_MAX];
    CK_ULONG n;
    int err = find_objects(token, CKO_PRIVATE_KEY, entry->place, objects, &n);

    if (err != FK_OK)
        return err;
    for (CK_ULONG i = 0; i < n; i++) {
        if (!is_key(token, objects[i], entry))
            continue;
        *ret = objects[i];
        token->back.n_found++;
        return FK_OK;
    }
    *ret = CK_INVALID_HANDLE;
    fk_log(FK_LOG_ERROR, "key is not in its token", fk_str("token", token->back.settings->name),
           fk_str("key", entry->public.name),
           fk_str("why", n == 0 ? "no private key of its label and id"
                                : "the private keys of its label and id are others"));
    return FK_OK;
}

int fk_pkcs11_find_keys(struct fk_pkcs11 *token)
{
    int err = FK_OK;

    token->back.n_found = 0;
    for (size_t i = 0; err == FK_OK && i < fk_keyset_count(token->back.set); i++)
        err = find_key(token, fk_keyset_at(token->back.set, i), &token->keys[i]);
    return err;
}

/* --- using --- */

static struct fk_pkcs11_session *session_of(struct fk_private *private)
{
    return fk_container(private, struct fk_pkcs11_session, private);
}

static CK_OBJECT_HANDLE key_of(const struct fk_pkcs11_session *session,
                               const struct fk_keyset_entry *entry)
{
    return session->token->keys[entry - fk_keyset_at(session->token->back.set, 0)];
}

/* A mechanism with its parameters, and what is signed by it. */
struct plan {
    CK_MECHANISM mechanism;
    CK_RSA_PKCS_PSS_PARAMS pss;
    uint8_t info[FK_DIGEST_INFO_MAX];
    const uint8_t *data;
    size_t len;
};

static const struct {
    CK_MECHANISM_TYPE hash;
    CK_RSA_PKCS_MGF_TYPE mgf;
} pss_hashes[FK_HASH_COUNT] = {
    [FK_SHA256] = {CKM_SHA256, CKG_MGF1_SHA256},
    [FK_SHA384] = {CKM_SHA384, CKG_MGF1_SHA384},
    [FK_SHA512] = {CKM_SHA512, CKG_MGF1_SHA512},
};

static void plan_rsa(const struct fk_private_ask *ask, struct plan *plan)
{
    enum fk_hash hash;

    if (ask->variant < FK_RSA_PSS) {
        hash = (enum fk_hash)(ask->variant - FK_RSA_PKCS1);
        plan->mechanism.mechanism = CKM_RSA_PKCS;
        plan->len = fk_digest_info(hash, ask->data, plan->info);
        plan->data = plan->info;
        return;
    }
    hash = (enum fk_hash)(ask->variant - FK_RSA_PSS);
    plan->pss = (CK_RSA_PKCS_PSS_PARAMS){pss_hashes[hash].hash, pss_hashes[hash].mgf, ask->len};
    plan->mechanism = (CK_MECHANISM){CKM_RSA_PKCS_PSS, &plan->pss, sizeof plan->pss};
}

/* ECDSA signs the leftmost bits of a digest that is longer than the order (FIPS 186-4, 6.4): not
 * every token cuts it itself. */
static void plan_ec(const struct fk_private_ask *ask, struct plan *plan)
{
    size_t order = ((size_t)ask->entry->public.bits + 7) / 8;

    plan->mechanism.mechanism = CKM_ECDSA;
    if (plan->len > order)
        plan->len = order;
}

static void make_plan(const struct fk_private_ask *ask, struct plan *plan)
{
    *plan = (struct plan){.data = ask->data, .len = ask->len};
    switch (ask->entry->public.type) {
    case FK_KEY_RSA:
        plan_rsa(ask, plan);
        break;
    case FK_KEY_EC:
        plan_ec(ask, plan);
        break;
    case FK_KEY_ED25519:
        plan->mechanism.mechanism = MECHANISM_EDDSA;
        break;
    }
}

/*
 * A module says CKR_GENERAL_ERROR or the like for all that it has no name for, also when its token
 * has gone: then it is asked.
 */
static int judge(struct fk_pkcs11 *token, CK_RV rv)
{
    int err = fk_pkcs11_error(rv);

    return err == FK_ERR_CRYPTO && token->back.ops->look(&token->back) != FK_OK ? FK_ERR_TOKEN
                                                                                : err;
}

static int pkcs11_sign(struct fk_private *private, const struct fk_private_ask *ask,
                       uint8_t ret[FK_SIGNER_RESULT_MAX], size_t *ret_len)
{
    struct fk_pkcs11_session *session = session_of(private);
    CK_FUNCTION_LIST *calls = session->token->calls;
    CK_OBJECT_HANDLE key = key_of(session, ask->entry);
    uint8_t raw[FK_SIGNER_RESULT_MAX];
    CK_ULONG len = sizeof raw;
    struct plan plan;
    CK_RV rv;

    if (key == CK_INVALID_HANDLE)
        return FK_ERR_KEY_NOT_FOUND;
    make_plan(ask, &plan);
    if ((rv = calls->C_SignInit(session->handle, &plan.mechanism, key)) != CKR_OK ||
        (rv = calls->C_Sign(session->handle, (unsigned char *)(uintptr_t)plan.data, plan.len, raw,
                            &len)) != CKR_OK)
        return judge(session->token, rv);
    if (ask->entry->public.type == FK_KEY_EC)
        return fk_ecdsa_der(raw, len, ret, ret_len) == FK_OK ? FK_OK : FK_ERR_CRYPTO;
    if (len > sizeof raw)
        return FK_ERR_CRYPTO;
    memcpy(ret, raw, len);
    *ret_len = len;
    return FK_OK;
}

static int pkcs11_raw(struct fk_private *private, const struct fk_private_ask *ask, uint8_t *ret)
{
    struct fk_pkcs11_session *session = session_of(private);
    CK_FUNCTION_LIST *calls = session->token->calls;
    CK_OBJECT_HANDLE key = key_of(session, ask->entry);
    CK_MECHANISM mechanism = {CKM_RSA_X_509, NULL, 0};
    uint8_t out[NUMBER_MAX];
    CK_ULONG len = sizeof out;
    CK_RV rv;

    if (key == CK_INVALID_HANDLE)
        return FK_ERR_KEY_NOT_FOUND;
    if ((rv = calls->C_DecryptInit(session->handle, &mechanism, key)) != CKR_OK ||
        (rv = calls->C_Decrypt(session->handle, (unsigned char *)(uintptr_t)ask->data, ask->len,
                               out, &len)) != CKR_OK)
        return judge(session->token, rv);
    if (len > ask->len)
        return FK_ERR_CRYPTO;
    /* Some tokens leave leading zeros out. */
    memset(ret, 0, ask->len - len);
    memcpy(ret + ask->len - len, out, len);
    fk_wipe(out, sizeof out);
    return FK_OK;
}

const struct fk_private_ops fk_pkcs11_private_ops = {
    .verify_all = true, .sign = pkcs11_sign, .raw = pkcs11_raw};
