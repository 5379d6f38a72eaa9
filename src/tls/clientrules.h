/*
 * Which of the certificates that a CA vouches for: rules by name or key, as the configuration has
 * them. One that fits is enough.
 *
 *     subject:CN=alice,O=Staff   the whole subject (RFC 4514)
 *     cn:alice                   its last common name
 *     dns:*.example.com          an alternative name; "*." stands for one label
 *     email:alice@example.com
 *     uri:spiffe://example*     a final "*" stands for anything
 *     spki:HEX                   SHA-256 of the public key (SubjectPublicKeyInfo)
 */
#ifndef FK_TLS_CLIENTRULES_H
#define FK_TLS_CLIENTRULES_H

#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>

struct fk_clientrules;

/* FK_ERR_FORMAT: rule *ret_bad is none. FK_ERR_NOMEM. Texts are copied. */
int fk_clientrules_new(char *const *rules, size_t n, struct fk_clientrules **ret, size_t *ret_bad);
void fk_clientrules_free(struct fk_clientrules *rules); /* NULL is fine */

/* Whether one fits. Names that hold a NUL fit none. */
bool fk_clientrules_fit(const struct fk_clientrules *rules, X509 *cert);

#endif
