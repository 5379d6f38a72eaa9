/*
 * Keys in a TPM 2.0, by OpenSSL's provider "tpm2" (package tpm2-openssl), which has the TSS do it.
 * Each opening has a library context of its own, since a provider keeps its connection to the TPM
 * for as long as its context lives. Its keys are loaded once, at the opening: from key files, which
 * only this TPM can open, or by persistent handles.
 *
 * Such keys sign only. The provider decrypts RSA with the TPM's own unpadding, whose failure
 * takes another time than its success: an oracle, so it is not used (see docs/operating.md).
 *
 * A TPM counts wrong authorisation values and locks itself after some: after the first one no key
 * is used again.
 */
#include "token/back.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/log.h"
#include "base/secret.h"

#include <openssl/core_names.h>
#include <openssl/decoder.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>
#include <openssl/store.h>
#include <openssl/ui.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A key of the TPM for an entry. One of another handle than was meant stays, too, until the TPM is
 * closed: the TSS closes a persistent handle for all who have it. */
struct slot {
    EVP_PKEY *key; /* NULL: there is none */
    bool fits;     /* it is the entry's */
};

struct tpm {
    struct fk_token_back back;
    struct fk_private session;
    OSSL_LIB_CTX *lib; /* NULL: not open */
    OSSL_PROVIDER *provider, *basis;
    struct slot *slots; /* by the entry's position */
    UI_METHOD *ui;      /* gives the authorisation value */
};

static struct tpm *tpm_of(struct fk_token_back *back)
{
    return fk_container(back, struct tpm, back);
}

/* --- errors --- */

/* What a response code says: TCG TSS 2.0 Overview and Common Structures, section 3.4; TPM 2.0
 * Library part 2, section 6.6. */
static int rc_error(unsigned long rc)
{
    static const struct {
        unsigned long mask, value;
        int err;
    } rows[] = {
        {0xff0000, 0x0a0000, FK_ERR_TOKEN},   /* the connection, whatever it is */
        {0xff0bf, 0x08e, FK_ERR_PIN},         /* AUTH_FAIL */
        {0xff0bf, 0x0a2, FK_ERR_PIN},         /* BAD_AUTH */
        {0xfffff, 0x921, FK_ERR_PIN},         /* LOCKOUT */
        {0xff0bf, 0x08b, FK_ERR_TOKEN},       /* HANDLE: of a TPM that was reset */
        {0xffff8, 0x910, FK_ERR_TOKEN},       /* REFERENCE_H0 to H6: the same */
        {0xfffff, 0x100, FK_ERR_TOKEN},       /* INITIALIZE */
        {0xfffff, 0x101, FK_ERR_TOKEN},       /* FAILURE */
        {0xff0bf, 0x083, FK_ERR_UNSUPPORTED}, /* HASH */
        {0xff0bf, 0x092, FK_ERR_UNSUPPORTED}, /* SCHEME */
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if ((rc & rows[i].mask) == rows[i].value)
            return rows[i].err;
    return FK_ERR_CRYPTO;
}

/*
 * Take all errors off the queue. The provider puts the response code and its text behind what it
 * raises; that of the first decides. The text of it goes to `why`.
 */
static int take_errors(char *why, size_t size)
{
    const char *data, *file, *function;
    int err = FK_ERR_CRYPTO, line, flags;
    bool found = false;
    unsigned long rc;
    char *end;

    while (ERR_get_error_all(&file, &line, &function, &data, &flags) != 0) {
        rc = (flags & ERR_TXT_STRING) != 0 && !found ? strtoul(data, &end, 10) : 0;
        if (rc == 0)
            continue;
        found = true;
        err = rc_error(rc);
        (void)snprintf(why, size, "%s", end[0] == ' ' ? end + 1 : end);
    }
    return err;
}

/* What the TPM says to a failed operation. There is one worker. */
static int sign_failed(const struct tpm *tpm, const struct fk_keyset_entry *entry)
{
    static struct fk_log_limit limit;
    char why[FK_TOKEN_WHY_SIZE] = "";
    int err = take_errors(why, sizeof why);

    fk_log_limited(&limit, FK_LOG_WARN, "the TPM does not sign",
                   fk_str("token", tpm->back.settings->name), fk_str("key", entry->public.name),
                   fk_str("why", why));
    return err;
}

/* As what was to be opened failed; `what` when the provider has not said more. */
static int fail(struct tpm *tpm, const char *what)
{
    char *why = tpm->back.why;
    int err = take_errors(why, sizeof tpm->back.why);

    if (why[0] == '\0')
        (void)snprintf(why, sizeof tpm->back.why, "%s", what);
    return err == FK_ERR_PIN || err == FK_ERR_NOMEM ? err : FK_ERR_TOKEN;
}

/* --- opening --- */

/* For key files and handles alike: the authorisation value, whoever asks. */
static int give_auth(char *ret, int size, int writing, void *arg)
{
    const struct fk_token_settings *settings = arg;

    (void)writing;
    if (size < 0 || settings->pin_len > (size_t)size)
        return -1;
    memcpy(ret, settings->pin, settings->pin_len);
    return (int)settings->pin_len;
}

static EVP_PKEY *load_file(struct tpm *tpm, const struct fk_token_place *place)
{
    EVP_PKEY *key = NULL;
    BIO *bio = BIO_new_mem_buf(place->file, (int)place->file_len);
    OSSL_DECODER_CTX *ctx = OSSL_DECODER_CTX_new_for_pkey(
        &key, "PEM", NULL, NULL, OSSL_KEYMGMT_SELECT_PRIVATE_KEY, tpm->lib, "provider=tpm2");

    if (bio != NULL && ctx != NULL &&
        OSSL_DECODER_CTX_set_pem_password_cb(ctx, give_auth,
                                             (void *)(uintptr_t)tpm->back.settings) == 1 &&
        OSSL_DECODER_from_bio(ctx, bio) != 1) {
        EVP_PKEY_free(key);
        key = NULL;
    }
    OSSL_DECODER_CTX_free(ctx);
    BIO_free(bio);
    return key;
}

static EVP_PKEY *load_handle(struct tpm *tpm, uint32_t handle)
{
    OSSL_STORE_INFO *info = NULL;
    OSSL_STORE_CTX *store;
    EVP_PKEY *key = NULL;
    char uri[32];

    (void)snprintf(uri, sizeof uri, "handle:0x%08x", handle);
    store = OSSL_STORE_open_ex(uri, tpm->lib, "provider=tpm2", tpm->ui,
                               (void *)(uintptr_t)tpm->back.settings, NULL, NULL, NULL);
    while (store != NULL && key == NULL && OSSL_STORE_eof(store) != 1 &&
           (info = OSSL_STORE_load(store)) != NULL) {
        key = OSSL_STORE_INFO_get1_PKEY(info);
        OSSL_STORE_INFO_free(info);
    }
    OSSL_STORE_close(store);
    return key;
}

static bool same_key(EVP_PKEY *a, EVP_PKEY *b)
{
    unsigned char *der_a = NULL, *der_b = NULL;
    int len_a = i2d_PUBKEY(a, &der_a), len_b = i2d_PUBKEY(b, &der_b);
    bool same = len_a > 0 && len_a == len_b &&
                fk_equal_ct(der_a, der_b, (size_t)len_a); /* public, but compared whole anyway */

    OPENSSL_free(der_a);
    OPENSSL_free(der_b);
    return same;
}

/* One that is not there is logged; FK_ERR_TOKEN, FK_ERR_PIN: none can be had. */
static int load_key(struct tpm *tpm, const struct fk_keyset_entry *entry, struct slot *slot)
{
    const struct fk_token_place *place = entry->place;
    char why[FK_TOKEN_WHY_SIZE] = "it is another key";
    int err;

    slot->key = place->file_len > 0 ? load_file(tpm, place) : load_handle(tpm, place->handle);
    slot->fits = slot->key != NULL && same_key(slot->key, entry->pkey);
    if (slot->fits) {
        tpm->back.n_found++;
        return FK_OK;
    }
    if (slot->key == NULL) {
        (void)snprintf(why, sizeof why, "no such key");
        err = take_errors(why, sizeof why);
        if (err == FK_ERR_TOKEN || err == FK_ERR_PIN) {
            memcpy(tpm->back.why, why, sizeof why);
            return err;
        }
    }
    fk_log(FK_LOG_ERROR, "key is not in its token", fk_str("token", tpm->back.settings->name),
           fk_str("key", entry->public.name), fk_str("why", why));
    return FK_OK;
}

static int tpm_open(struct fk_token_back *back)
{
    struct tpm *tpm = tpm_of(back);
    int err = FK_OK;

    if ((tpm->lib = OSSL_LIB_CTX_new()) == NULL)
        return FK_ERR_NOMEM;
    tpm->provider = OSSL_PROVIDER_load(tpm->lib, "tpm2");
    tpm->basis = OSSL_PROVIDER_load(tpm->lib, "default");
    if (tpm->provider == NULL || tpm->basis == NULL)
        return fail(tpm, "OpenSSL's provider tpm2 cannot be loaded");
    back->n_found = 0;
    for (size_t i = 0; err == FK_OK && i < fk_keyset_count(back->set); i++)
        err = load_key(tpm, fk_keyset_at(back->set, i), &tpm->slots[i]);
    ERR_clear_error();
    return err;
}

static void tpm_close(struct fk_token_back *back)
{
    struct tpm *tpm = tpm_of(back);

    for (size_t i = 0; i < fk_keyset_count(back->set); i++) {
        EVP_PKEY_free(tpm->slots[i].key);
        tpm->slots[i] = (struct slot){.key = NULL};
    }
    if (tpm->provider != NULL)
        (void)OSSL_PROVIDER_unload(tpm->provider);
    if (tpm->basis != NULL)
        (void)OSSL_PROVIDER_unload(tpm->basis);
    OSSL_LIB_CTX_free(tpm->lib);
    tpm->provider = tpm->basis = NULL;
    tpm->lib = NULL;
    ERR_clear_error();
}

/* A random byte of it: the cheapest thing that a TPM does. */
static int tpm_look(struct fk_token_back *back)
{
    struct tpm *tpm = tpm_of(back);
    EVP_RAND *rand = EVP_RAND_fetch(tpm->lib, "CTR-DRBG", "provider=tpm2");
    EVP_RAND_CTX *ctx = rand == NULL ? NULL : EVP_RAND_CTX_new(rand, NULL);
    unsigned char byte;
    int err = FK_ERR_TOKEN;

    if (ctx != NULL && EVP_RAND_instantiate(ctx, 0, 0, NULL, 0, NULL) == 1 &&
        EVP_RAND_generate(ctx, &byte, 1, 0, 0, NULL, 0) == 1)
        err = FK_OK;
    EVP_RAND_CTX_free(ctx);
    EVP_RAND_free(rand);
    ERR_clear_error();
    OPENSSL_thread_stop_ex(tpm->lib);
    return err;
}

/* --- using --- */

static const EVP_MD *md_of(const struct fk_private_ask *ask)
{
    /* What a TPM is told is the digest's kind, which has to fit its length. */
    switch (ask->len) {
    case 20:
        return EVP_sha1();
    case 32:
        return EVP_sha256();
    case 48:
        return EVP_sha384();
    case 64:
        return EVP_sha512();
    default:
        return NULL;
    }
}

static bool set_up(EVP_PKEY_CTX *ctx, const struct fk_private_ask *ask, const EVP_MD *md)
{
    bool pss = ask->variant >= FK_RSA_PSS;

    if (EVP_PKEY_sign_init(ctx) != 1)
        return false;
    if (ask->entry->public.type == FK_KEY_RSA &&
        EVP_PKEY_CTX_set_rsa_padding(ctx, pss ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING) != 1)
        return false;
    return EVP_PKEY_CTX_set_signature_md(ctx, md) == 1;
}

/*
 * Contexts are made anew for each signature: against what a TPM takes that costs nothing. The salt
 * of PSS is the TPM's choice: as long as the digest where it keeps to FIPS 186, or as long as fits;
 * the latter TLS 1.3 does not allow, and the caller's verification finds it.
 */
static int tpm_sign(struct fk_private *private, const struct fk_private_ask *ask,
                    uint8_t ret[FK_SIGNER_RESULT_MAX], size_t *ret_len)
{
    struct tpm *tpm = fk_container(private, struct tpm, session);
    const struct slot *slot = &tpm->slots[ask->entry - fk_keyset_at(tpm->back.set, 0)];
    const EVP_MD *md = md_of(ask);
    size_t len = FK_SIGNER_RESULT_MAX;
    EVP_PKEY_CTX *ctx;
    int err = FK_OK;

    if (!slot->fits)
        return FK_ERR_KEY_NOT_FOUND;
    if (md == NULL || ask->entry->public.type == FK_KEY_ED25519)
        return FK_ERR_UNSUPPORTED;
    if ((ctx = EVP_PKEY_CTX_new_from_pkey(tpm->lib, slot->key, NULL)) == NULL)
        return FK_ERR_NOMEM;
    if (!set_up(ctx, ask, md) || EVP_PKEY_sign(ctx, ret, &len, ask->data, ask->len) != 1)
        err = sign_failed(tpm, ask->entry);
    EVP_PKEY_CTX_free(ctx);
    /* What this thread has in the context must not outlive it. */
    OPENSSL_thread_stop_ex(tpm->lib);
    if (err == FK_OK)
        *ret_len = len;
    return err;
}

static int tpm_raw(struct fk_private *private, const struct fk_private_ask *ask, uint8_t *ret)
{
    (void)private;
    (void)ask;
    (void)ret;
    return FK_ERR_UNSUPPORTED;
}

static const struct fk_private_ops private_ops = {
    .verify_all = true, .sign = tpm_sign, .raw = tpm_raw};

static struct fk_private *tpm_session(struct fk_token_back *back, unsigned index)
{
    (void)index; /* there is one: see store_token.c */
    return &tpm_of(back)->session;
}

static void tpm_free(struct fk_token_back *back)
{
    struct tpm *tpm = tpm_of(back);

    UI_destroy_method(tpm->ui);
    free(tpm->slots);
    free(tpm);
}

static const struct fk_token_back_ops tpm_ops = {.open = tpm_open,
                                                 .close = tpm_close,
                                                 .look = tpm_look,
                                                 .session = tpm_session,
                                                 .free = tpm_free};

/* Called before there are threads: the provider is told by the environment. The TSS's own lines on
 * standard error say nothing that is not said in ours. */
static bool set_environment(const struct fk_token_settings *settings)
{
    if (settings->tcti[0] != '\0' && setenv("TPM2OPENSSL_TCTI", settings->tcti, 1) != 0)
        return false;
    return setenv("TSS2_LOG", "all+NONE", 0) == 0;
}

int fk_tpm2_new(const struct fk_keyset *set, struct fk_token_back **ret)
{
    struct tpm *tpm = calloc(1, sizeof *tpm);

    if (tpm == NULL)
        return FK_ERR_NOMEM;
    tpm->slots = calloc(fk_keyset_count(set) + 1, sizeof *tpm->slots);
    tpm->ui = UI_UTIL_wrap_read_pem_callback(give_auth, 0);
    tpm->session.ops = &private_ops;
    tpm->back =
        (struct fk_token_back){.ops = &tpm_ops, .settings = fk_keyset_token(set), .set = set};
    if (tpm->slots == NULL || tpm->ui == NULL || !set_environment(tpm->back.settings)) {
        tpm_free(&tpm->back);
        return FK_ERR_NOMEM;
    }
    *ret = &tpm->back;
    return FK_OK;
}
