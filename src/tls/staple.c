/* Reading, judging and showing OCSP responses: see staple.h. */
#include "tls/staple.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/limits.h"

#include <limits.h>
#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct fk_staple {
    unsigned refs;
    OCSP_BASICRESP *basic;
    size_t len;
    uint8_t der[]; /* the whole response, as it is sent */
};

/* --- reading --- */

/* A sequence, which no text begins like (X.690 section 8.9). */
#define DER_SEQUENCE 0x30

/* All of `der`, and nothing else. */
static int parse(struct fk_reader der, OCSP_BASICRESP **ret)
{
    const uint8_t *next = der.next;
    OCSP_RESPONSE *response;
    int err = FK_ERR_FORMAT;

    response = d2i_OCSP_RESPONSE(NULL, &next, (long)der.left);
    if (response != NULL && next == der.next + der.left) {
        if (OCSP_response_status(response) != OCSP_RESPONSE_STATUS_SUCCESSFUL)
            err = FK_ERR_DENIED;
        else if ((*ret = OCSP_response_get1_basic(response)) != NULL)
            err = FK_OK;
        else
            err = FK_ERR_UNSUPPORTED;
    }
    OCSP_RESPONSE_free(response);
    ERR_clear_error();
    return err;
}

static int from_der(struct fk_reader der, struct fk_staple **ret)
{
    struct fk_staple *staple;
    int err;

    if (der.left > FK_STAPLE_MAX)
        return FK_ERR_LIMIT;
    if ((staple = malloc(sizeof *staple + der.left)) == NULL)
        return FK_ERR_NOMEM;
    *staple = (struct fk_staple){.refs = 1, .len = der.left};
    if (der.left > 0)
        memcpy(staple->der, der.next, der.left);
    if ((err = parse(der, &staple->basic)) != FK_OK) {
        free(staple);
        return err;
    }
    *ret = staple;
    return FK_OK;
}

/* The next block of a text, in `ret`, to be freed by OPENSSL_free(); NULL: there is no more. */
static int next_block(BIO *bio, uint8_t **ret, size_t *ret_len)
{
    char *name, *header;
    uint8_t *data;
    long len;
    bool is_response;

    *ret = NULL;
    if (PEM_read_bio(bio, &name, &header, &data, &len) != 1) {
        unsigned long last = ERR_peek_last_error();

        ERR_clear_error();
        return ERR_GET_LIB(last) == ERR_LIB_PEM && ERR_GET_REASON(last) == PEM_R_NO_START_LINE
                   ? FK_OK
                   : FK_ERR_FORMAT;
    }
    is_response = strcmp(name, PEM_STRING_OCSP_RESPONSE) == 0;
    OPENSSL_free(name);
    OPENSSL_free(header);
    if (!is_response) {
        OPENSSL_free(data);
        return FK_ERR_FORMAT;
    }
    *ret = data;
    *ret_len = (size_t)len;
    return FK_OK;
}

static int from_pem(struct fk_reader pem, struct fk_staple **ret)
{
    BIO *bio = BIO_new_mem_buf(pem.next, pem.left > INT_MAX ? INT_MAX : (int)pem.left);
    uint8_t *first = NULL, *second = NULL;
    size_t len = 0, unused;
    struct fk_reader der;
    int err = FK_ERR_NOMEM;

    if (bio != NULL && (err = next_block(bio, &first, &len)) == FK_OK)
        err = first == NULL ? FK_ERR_FORMAT : next_block(bio, &second, &unused);
    if (err == FK_OK && second != NULL)
        err = FK_ERR_FORMAT; /* which one is meant? */
    fk_reader_init(&der, first, len);
    if (err == FK_OK)
        err = from_der(der, ret);
    OPENSSL_free(first);
    OPENSSL_free(second);
    BIO_free(bio);
    return err;
}

int fk_staple_new(struct fk_reader data, struct fk_staple **ret)
{
    if (data.left == 0)
        return FK_ERR_FORMAT;
    return data.next[0] == DER_SEQUENCE ? from_der(data, ret) : from_pem(data, ret);
}

struct fk_staple *fk_staple_ref(struct fk_staple *staple)
{
    staple->refs++;
    return staple;
}

void fk_staple_unref(struct fk_staple *staple)
{
    if (staple == NULL || --staple->refs > 0)
        return;
    OCSP_BASICRESP_free(staple->basic);
    free(staple);
}

size_t fk_staple_wire_len(const struct fk_staple *staple)
{
    /* Extension: type and length; CertificateStatus: type, response<u24>. */
    return 2 + 2 + 1 + 3 + staple->len;
}

/* --- judging --- */

const char *fk_staple_fault_text(enum fk_staple_fault fault)
{
    static const char *const texts[] = {
        [FK_STAPLE_FOREIGN] = "is about none of the certificates",
        [FK_STAPLE_ORPHAN] = "cannot be verified: the certificate's chain lacks its issuer; add "
                             "the intermediate to the file of the certificate",
        [FK_STAPLE_UNSIGNED] = "is signed neither by the certificate's issuer nor by a responder "
                               "that it has charged with that",
        [FK_STAPLE_REVOKED] = "says that the certificate is revoked",
        [FK_STAPLE_UNKNOWN] = "says that the responder does not know the certificate",
        [FK_STAPLE_ENDLESS] = "does not say until when it counts (nextUpdate)",
        [FK_STAPLE_LONG] = "and the chain are too long for mode = keys with TLS 1.3; leave "
                           "the root out of the chain, or write tls = {\"1.2\"}",
    };

    return texts[fault];
}

/* A CertID in parts (RFC 6960 section 4.1.1). */
struct certid {
    ASN1_OCTET_STRING *name, *key;
    ASN1_INTEGER *serial;
    const EVP_MD *md;
};

static bool read_id(const OCSP_SINGLERESP *single, struct certid *ret)
{
    ASN1_OBJECT *algorithm;

    /* Its type wants to write, and does not. */
    if (OCSP_id_get0_info(&ret->name, &algorithm, &ret->key, &ret->serial,
                          (OCSP_CERTID *)(uintptr_t)OCSP_SINGLERESP_get0_id(single)) != 1)
        return false;
    ret->md = EVP_get_digestbyobj(algorithm);
    return ret->md != NULL;
}

static bool holds(const ASN1_OCTET_STRING *string, const uint8_t *bytes, unsigned len)
{
    return ASN1_STRING_length(string) == (int)len &&
           memcmp(ASN1_STRING_get0_data(string), bytes, len) == 0; /* public */
}

/* Whether it is of this certificate, as far as that can be told without the issuer's key. */
static bool names(const struct certid *id, const X509 *leaf)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned len;

    return ASN1_INTEGER_cmp(X509_get0_serialNumber(leaf), id->serial) == 0 &&
           X509_NAME_digest(X509_get_issuer_name(leaf), id->md, digest, &len) == 1 &&
           holds(id->name, digest, len);
}

static bool has_key(const struct certid *id, const X509 *issuer)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned len;

    return X509_pubkey_digest(issuer, id->md, digest, &len) == 1 && holds(id->key, digest, len);
}

/* The leaf's issuer of this key. Without one, what that means. */
static X509 *find_issuer(const struct certid *id, const struct fk_cert *cert,
                         enum fk_staple_fault *ret_fault)
{
    bool has_issuer = false;

    for (int i = 0; i < sk_X509_num(cert->chain); i++) {
        X509 *ca = sk_X509_value(cert->chain, i);

        if (X509_check_issued(ca, cert->leaf) != X509_V_OK)
            continue;
        has_issuer = true;
        if (has_key(id, ca))
            return ca;
    }
    *ret_fault = has_issuer ? FK_STAPLE_FOREIGN : FK_STAPLE_ORPHAN;
    return NULL;
}

/* The answer about a leaf, and who is to have signed it. NULL: *ret_fault tells why not. */
static OCSP_SINGLERESP *find_answer(const struct fk_staple *staple, const struct fk_cert *cert,
                                    X509 **ret_issuer, enum fk_staple_fault *ret_fault)
{
    struct certid id;

    *ret_fault = FK_STAPLE_FOREIGN;
    for (int i = 0; i < OCSP_resp_count(staple->basic); i++) {
        OCSP_SINGLERESP *single = OCSP_resp_get0(staple->basic, i);

        if (read_id(single, &id) && names(&id, cert->leaf) &&
            (*ret_issuer = find_issuer(&id, cert, ret_fault)) != NULL)
            return single;
    }
    return NULL;
}

static bool read_time(const ASN1_TIME *time, int64_t *ret)
{
    struct tm tm;

    if (time == NULL || ASN1_TIME_to_tm(time, &tm) != 1)
        return false;
    *ret = timegm(&tm);
    return true;
}

/*
 * RFC 6960 section 4.2.2.2: signed by the CA that issued the certificate, or by a certificate of
 * that CA for this purpose. That one is to be good when it signed, so that the verdict is the same
 * at all times; it bounds the term.
 */
static int is_signed(const struct fk_staple *staple, X509 *issuer, bool *ret)
{
    STACK_OF(X509) *certs = sk_X509_new_null();
    X509_STORE *store = X509_STORE_new();
    int64_t produced;
    int err = FK_ERR_NOMEM;

    if (certs != NULL && store != NULL && sk_X509_push(certs, issuer) > 0 &&
        X509_STORE_add_cert(store, issuer) == 1 &&
        X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN) == 1) {
        *ret = false;
        if (read_time(OCSP_resp_get0_produced_at(staple->basic), &produced)) {
            X509_VERIFY_PARAM_set_time(X509_STORE_get0_param(store), produced);
            *ret = OCSP_basic_verify(staple->basic, certs, store, OCSP_NOEXPLICIT) == 1;
        }
        err = FK_OK;
    }
    sk_X509_free(certs);
    X509_STORE_free(store);
    return err;
}

/* The end of whoever signed it. */
static bool signer_end(const struct fk_staple *staple, X509 *issuer, int64_t *ret)
{
    STACK_OF(X509) *certs = sk_X509_new_null();
    X509 *signer = NULL;
    bool found = certs != NULL && sk_X509_push(certs, issuer) > 0 &&
                 OCSP_resp_get0_signer(staple->basic, &signer, certs) == 1 &&
                 read_time(X509_get0_notAfter(signer), ret);

    sk_X509_free(certs);
    return found;
}

static bool read_term(const struct fk_staple *staple, X509 *issuer, const ASN1_TIME *from,
                      const ASN1_TIME *until, struct fk_staple_term *ret)
{
    struct fk_staple_term term;
    int64_t end;

    if (!read_time(from, &term.from) || !read_time(until, &term.until) ||
        !signer_end(staple, issuer, &end))
        return false;
    if (term.until > end)
        term.until = end;
    *ret = term;
    return true;
}

static int judge(const struct fk_staple *staple, const struct fk_cert *cert,
                 enum fk_staple_fault *ret_fault, struct fk_staple_term *ret)
{
    ASN1_GENERALIZEDTIME *from, *until;
    OCSP_SINGLERESP *answer;
    X509 *issuer = NULL;
    bool good = false;
    int status, reason, err;

    if ((answer = find_answer(staple, cert, &issuer, ret_fault)) == NULL)
        return FK_ERR_VERIFY;
    if ((err = is_signed(staple, issuer, &good)) != FK_OK)
        return err;
    *ret_fault = FK_STAPLE_UNSIGNED;
    if (!good)
        return FK_ERR_VERIFY;
    status = OCSP_single_get0_status(answer, &reason, NULL, &from, &until);
    if (status != V_OCSP_CERTSTATUS_GOOD) {
        *ret_fault = status == V_OCSP_CERTSTATUS_REVOKED ? FK_STAPLE_REVOKED : FK_STAPLE_UNKNOWN;
        return FK_ERR_VERIFY;
    }
    *ret_fault = FK_STAPLE_ENDLESS;
    return read_term(staple, issuer, from, until, ret) ? FK_OK : FK_ERR_VERIFY;
}

int fk_staple_judge(const struct fk_staple *staple, const struct fk_cert *cert,
                    enum fk_staple_fault *ret_fault, struct fk_staple_term *ret)
{
    int err = judge(staple, cert, ret_fault, ret);

    ERR_clear_error();
    return err;
}

/* --- a server's --- */

/* Kept in the context's ex_data, freed with it. */
struct served {
    fk_staple_told_cb *told;
    void *arg;
    size_t n;
    struct fk_staple_use uses[FK_EDGE_CERTS_MAX];
};

static int served_index = -1;
static pthread_once_t served_once = PTHREAD_ONCE_INIT;

static void served_free(void *parent, void *ptr, CRYPTO_EX_DATA *data, int index, long argl,
                        void *argp)
{
    struct served *served = ptr;

    (void)parent, (void)data, (void)index, (void)argl, (void)argp;
    for (size_t i = 0; served != NULL && i < served->n; i++)
        fk_staple_unref(served->uses[i].staple);
    free(served);
}

static void served_init(void)
{
    served_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, served_free);
}

/* The certificate has been chosen; libssl frees what it is given. */
static int show(SSL *ssl, void *arg)
{
    const struct served *served = arg;
    const X509 *chosen = SSL_get_certificate(ssl);
    const struct fk_staple_use *use = NULL;
    uint8_t *copy;
    bool sends;

    if (SSL_session_reused(ssl)) /* no certificate goes with it */
        return SSL_TLSEXT_ERR_NOACK;
    for (size_t i = 0; use == NULL && i < served->n; i++)
        if (served->uses[i].leaf == chosen)
            use = &served->uses[i];
    if (use == NULL)
        return SSL_TLSEXT_ERR_NOACK;
    sends = fk_staple_in_force(&use->term, (int64_t)(fk_clock_wall_us() / 1000000));
    copy = sends ? OPENSSL_memdup(use->staple->der, use->staple->len) : NULL;
    if (copy != NULL)
        SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)use->staple->len);
    served->told(served->arg, copy != NULL);
    return copy != NULL ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

int fk_staple_serve(SSL_CTX *ctx, const struct fk_staple_use *uses, size_t n,
                    fk_staple_told_cb *told, void *arg)
{
    struct served *served;

    if (n > FK_EDGE_CERTS_MAX)
        return FK_ERR_LIMIT;
    pthread_once(&served_once, served_init);
    if (served_index < 0 || (served = calloc(1, sizeof *served)) == NULL)
        return FK_ERR_NOMEM;
    if (SSL_CTX_set_ex_data(ctx, served_index, served) != 1) {
        free(served);
        return FK_ERR_NOMEM;
    }
    served->told = told;
    served->arg = arg;
    for (; served->n < n; served->n++) {
        served->uses[served->n] = uses[served->n];
        (void)fk_staple_ref(uses[served->n].staple);
    }
    SSL_CTX_set_tlsext_status_cb(ctx, show);
    SSL_CTX_set_tlsext_status_arg(ctx, served);
    return FK_OK;
}

int fk_staple_served(const SSL_CTX *ctx, size_t i, struct fk_staple_use *ret)
{
    const struct served *served = served_index < 0 ? NULL : SSL_CTX_get_ex_data(ctx, served_index);

    if (served == NULL || i >= served->n)
        return FK_ERR_NOT_FOUND;
    *ret = served->uses[i];
    return FK_OK;
}
