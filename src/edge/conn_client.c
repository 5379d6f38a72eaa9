/* Certificates of clients: what the log and the origin are told of them. */
#include "base/err.h"
#include "base/limits.h"
#include "base/text.h"
#include "edge/conn_priv.h"

#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

/* As RFC 4514 has it, cut when it is longer. */
static void write_subject(X509 *cert, char *ret, size_t size)
{
    const unsigned long flags = XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB;
    BIO *bio = BIO_new(BIO_s_mem());
    int n = -1;

    if (bio != NULL && X509_NAME_print_ex(bio, X509_get_subject_name(cert), 0, flags) >= 0)
        n = BIO_read(bio, ret, (int)size - 1);
    ret[n > 0 ? n : 0] = '\0';
    BIO_free(bio);
}

/* The last commonName, UTF-8; a text that holds a NUL is none. */
static void write_common_name(X509 *cert, char *ret, size_t size)
{
    X509_NAME *name = X509_get_subject_name(cert);
    int at = -1, next, len = -1;
    unsigned char *text = NULL;

    ret[0] = '\0';
    while ((next = X509_NAME_get_index_by_NID(name, NID_commonName, at)) >= 0)
        at = next;
    if (at >= 0)
        len = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
    if (len > 0 && (size_t)len < size && memchr(text, '\0', (size_t)len) == NULL) {
        memcpy(ret, text, (size_t)len);
        ret[len] = '\0';
    }
    OPENSSL_free(text);
}

int fk_conn_note_client(struct fk_conn *conn, STACK_OF(X509) * chain)
{
    X509 *cert = sk_X509_value(chain, 0);
    struct fk_conn_shown *shown;
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned len;

    if (cert == NULL)
        return FK_OK;
    if ((shown = calloc(1, sizeof *shown)) == NULL) {
        sk_X509_pop_free(chain, X509_free);
        return FK_ERR_NOMEM;
    }
    write_subject(cert, shown->subject, sizeof shown->subject);
    write_common_name(cert, shown->common_name, sizeof shown->common_name);
    if (X509_digest(cert, EVP_sha256(), digest, &len) == 1)
        fk_text_hex(digest, len, shown->print);
    ERR_clear_error();
    shown->chain = chain;
    conn->shown = shown;
    return FK_OK;
}

/* A resumed session has the certificate alone: its chain is made anew, by the CAs and lists of
 * now. */
int fk_conn_note_session(struct fk_conn *conn)
{
    X509 *leaf = conn->site->clientca == NULL ? NULL : SSL_get0_peer_certificate(conn->ssl);
    STACK_OF(X509) * chain;
    int reason, err;

    if (leaf == NULL)
        return FK_OK;
    if ((chain = SSL_get0_verified_chain(conn->ssl)) != NULL) {
        if ((chain = X509_chain_up_ref(chain)) == NULL)
            return FK_ERR_NOMEM;
    } else if ((err = fk_clientca_judge(conn->site->clientca, leaf, NULL, &reason, &chain)) !=
               FK_OK) {
        return err;
    }
    return fk_conn_note_client(conn, chain);
}

void fk_conn_forget_chain(struct fk_conn *conn)
{
    if (conn->shown == NULL)
        return;
    sk_X509_pop_free(conn->shown->chain, X509_free);
    conn->shown->chain = NULL;
}

void fk_conn_free_shown(struct fk_conn *conn)
{
    fk_conn_forget_chain(conn);
    free(conn->shown);
    conn->shown = NULL;
}
