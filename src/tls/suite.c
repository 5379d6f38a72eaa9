/* The table of suites: see suite.h. Numbers from the IANA registry, in its order. */
#include "tls/suite.h"

#include <openssl/ssl.h>
#include <pthread.h>

/* RFC 8446 section 5.5: 2^24.5 full-size records; renewed at half of it. */
#define GCM_RECORDS 11863283

#define CBC(number, bits, hash_name, hash_bytes, mac_name, mac_bytes)                        \
    {                                                                                        \
        .id = (number), .version = FK_TLS12, .protection = FK_PROTECT_CBC,                   \
        .cipher = "AES-" #bits "-CBC", .hash = (hash_name), .mac = (mac_name),               \
        .key_len = (bits) / 8, .iv_len = 0, .mac_len = (mac_bytes), .hash_len = (hash_bytes) \
    }
#define CBC_SHA1(number, bits)   CBC(number, bits, "SHA256", 32, "SHA1", 20)
#define CBC_SHA256(number, bits) CBC(number, bits, "SHA256", 32, "SHA256", 32)
#define CBC_SHA384(number, bits) CBC(number, bits, "SHA384", 48, "SHA384", 48)

#define GCM(number, tls, bits, fixed, hash_name, hash_bytes)                       \
    {                                                                              \
        .id = (number), .version = (tls), .protection = FK_PROTECT_GCM,            \
        .cipher = "AES-" #bits "-GCM", .hash = (hash_name), .key_len = (bits) / 8, \
        .iv_len = (fixed), .hash_len = (hash_bytes),                               \
        .rekey_after = (tls) == FK_TLS13 ? GCM_RECORDS : 0                         \
    }
#define GCM128(number) GCM(number, FK_TLS12, 128, 4, "SHA256", 32)
#define GCM256(number) GCM(number, FK_TLS12, 256, 4, "SHA384", 48)

#define CHACHA(number, tls)                                                           \
    {                                                                                 \
        .id = (number), .version = (tls), .protection = FK_PROTECT_CHACHA,            \
        .cipher = "ChaCha20-Poly1305", .hash = "SHA256", .key_len = 32, .iv_len = 12, \
        .hash_len = 32                                                                \
    }

static const struct fk_suite suites[] = {
    CBC_SHA1(0x002f, 128),                        /* TLS_RSA_WITH_AES_128_CBC_SHA */
    CBC_SHA1(0x0033, 128),                        /* TLS_DHE_RSA_WITH_AES_128_CBC_SHA */
    CBC_SHA1(0x0035, 256),                        /* TLS_RSA_WITH_AES_256_CBC_SHA */
    CBC_SHA1(0x0039, 256),                        /* TLS_DHE_RSA_WITH_AES_256_CBC_SHA */
    CBC_SHA256(0x003c, 128),                      /* TLS_RSA_WITH_AES_128_CBC_SHA256 */
    CBC_SHA256(0x003d, 256),                      /* TLS_RSA_WITH_AES_256_CBC_SHA256 */
    CBC_SHA256(0x0067, 128),                      /* TLS_DHE_RSA_WITH_AES_128_CBC_SHA256 */
    CBC_SHA256(0x006b, 256),                      /* TLS_DHE_RSA_WITH_AES_256_CBC_SHA256 */
    GCM128(0x009c),                               /* TLS_RSA_WITH_AES_128_GCM_SHA256 */
    GCM256(0x009d),                               /* TLS_RSA_WITH_AES_256_GCM_SHA384 */
    GCM128(0x009e),                               /* TLS_DHE_RSA_WITH_AES_128_GCM_SHA256 */
    GCM256(0x009f),                               /* TLS_DHE_RSA_WITH_AES_256_GCM_SHA384 */
    GCM(0x1301, FK_TLS13, 128, 12, "SHA256", 32), /* TLS_AES_128_GCM_SHA256 */
    GCM(0x1302, FK_TLS13, 256, 12, "SHA384", 48), /* TLS_AES_256_GCM_SHA384 */
    CHACHA(0x1303, FK_TLS13),                     /* TLS_CHACHA20_POLY1305_SHA256 */
    CBC_SHA1(0xc009, 128),                        /* TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA */
    CBC_SHA1(0xc00a, 256),                        /* TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA */
    CBC_SHA1(0xc013, 128),                        /* TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA */
    CBC_SHA1(0xc014, 256),                        /* TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA */
    CBC_SHA256(0xc023, 128),                      /* TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256 */
    CBC_SHA384(0xc024, 256),                      /* TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384 */
    CBC_SHA256(0xc027, 128),                      /* TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256 */
    CBC_SHA384(0xc028, 256),                      /* TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384 */
    GCM128(0xc02b),                               /* TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 */
    GCM256(0xc02c),                               /* TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 */
    GCM128(0xc02f),                               /* TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 */
    GCM256(0xc030),                               /* TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 */
    CHACHA(0xcca8, FK_TLS12),                     /* TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 */
    CHACHA(0xcca9, FK_TLS12), /* TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 */
    CHACHA(0xccaa, FK_TLS12), /* TLS_DHE_RSA_WITH_CHACHA20_POLY1305_SHA256 */
};

#define COUNT (sizeof suites / sizeof suites[0])

static EVP_CIPHER *ciphers[COUNT];
static EVP_MAC *hmac;
static pthread_once_t fetched = PTHREAD_ONCE_INIT;
static const char *names[COUNT];
static pthread_once_t named = PTHREAD_ONCE_INIT;

static void fetch(void)
{
    for (size_t i = 0; i < COUNT; i++)
        ciphers[i] = EVP_CIPHER_fetch(NULL, suites[i].cipher, NULL);
    hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
}

const struct fk_suite *fk_suite_find(uint16_t id)
{
    for (size_t i = 0; i < COUNT; i++)
        if (suites[i].id == id)
            return &suites[i];
    return NULL;
}

const EVP_CIPHER *fk_suite_cipher(const struct fk_suite *suite)
{
    pthread_once(&fetched, fetch);
    return ciphers[suite - suites];
}

/* OpenSSL finds a suite by an SSL object only; what it finds is static. */
static void find_names(void)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    SSL *ssl = ctx == NULL ? NULL : SSL_new(ctx);

    for (size_t i = 0; ssl != NULL && i < COUNT; i++) {
        const uint8_t id[] = {(uint8_t)(suites[i].id >> 8), (uint8_t)suites[i].id};
        const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, id);

        names[i] = cipher == NULL ? NULL : SSL_CIPHER_get_name(cipher);
    }
    SSL_free(ssl);
    SSL_CTX_free(ctx);
}

const char *fk_suite_name(const struct fk_suite *suite)
{
    const char *name;

    pthread_once(&named, find_names);
    name = names[suite - suites];
    return name != NULL ? name : "unknown";
}

EVP_MAC *fk_suite_hmac(void)
{
    pthread_once(&fetched, fetch);
    return hmac;
}
