/*
 * Cipher suites as the record layer sees them: what protects records and which hash derives keys.
 * How a suite's handshake agrees on its secret does not matter here.
 */
#ifndef FK_TLS_SUITE_H
#define FK_TLS_SUITE_H

#include <openssl/evp.h>
#include <stddef.h>
#include <stdint.h>

#define FK_TLS12 0x0303
#define FK_TLS13 0x0304

#define FK_SUITE_KEY_MAX  32
#define FK_SUITE_IV_MAX   12
#define FK_SUITE_MAC_MAX  48
#define FK_SUITE_HASH_MAX 48

enum fk_protection {
    FK_PROTECT_GCM,    /* RFC 5288 in TLS 1.2: the nonce's last 8 bytes travel with the record */
    FK_PROTECT_CHACHA, /* RFC 7905 */
    FK_PROTECT_CBC,    /* TLS 1.2: AES-CBC and HMAC, RFC 5246 section 6.2.3.2, RFC 7366 */
};

struct fk_suite {
    uint16_t id;      /* of the IANA registry */
    uint16_t version; /* FK_TLS12 or FK_TLS13 */
    enum fk_protection protection;
    const char *cipher;   /* OpenSSL's name */
    const char *hash;     /* of the key schedule or the PRF: OpenSSL's name */
    const char *mac;      /* of the HMAC with CBC: OpenSSL's name; else NULL */
    uint8_t key_len;      /* bytes of the cipher's key */
    uint8_t iv_len;       /* bytes of the nonce that are keyed: 12, 4 (GCM in TLS 1.2), 0 (CBC) */
    uint8_t mac_len;      /* bytes of the HMAC and of its key; 0 for AEAD */
    uint8_t hash_len;     /* bytes of `hash` */
    uint64_t rekey_after; /* records under one key: RFC 8446 section 5.5; 0: no bound of its own */
};

/* A suite by its number; NULL when this record layer does not protect by it. */
const struct fk_suite *fk_suite_find(uint16_t id);

/* OpenSSL's name of a suite, for logs: "TLS_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256";
 * "unknown". */
const char *fk_suite_name(const struct fk_suite *suite);

/* HMAC, as its cipher. */
EVP_MAC *fk_suite_hmac(void);

/* Its cipher, fetched from the default library context once a process; NULL: not to be had. */
const EVP_CIPHER *fk_suite_cipher(const struct fk_suite *suite);

#endif
