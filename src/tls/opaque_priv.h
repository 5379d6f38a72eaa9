/*
 * Inside of the provider of opaque secrets: what its files share. Not for anybody else, but for the
 * provider of remote keys, which brings ciphertexts and asks for signatures.
 */
#ifndef FK_TLS_OPAQUE_PRIV_H
#define FK_TLS_OPAQUE_PRIV_H

#include "base/buf.h"
#include "base/limits.h"
#include "tls/fresh.h"
#include "tls/hkdf.h"
#include "tls/opaque.h"
#include "tls/rkey_provider.h"
#include "tls/session_keys.h"
#include "wire/keymsg.h"
#include "wire/keyop_agree.h"
#include "wire/keyop_keys13.h"
#include "wire/keyop_resume.h"
#include "wire/keyop_secret.h"

#include <openssl/core_dispatch.h>

#define FK_OPAQUE_PROVIDER "farkey-opaque"
#define FK_OPAQUE_PROPERTY "provider=" FK_OPAQUE_PROVIDER ",farkey.opaque=yes"

struct fk_opaque_provider {
    OSSL_LIB_CTX *libctx;
    EVP_KDF *prf; /* the default provider's TLS1-PRF, for secrets that are no tokens; NULL until
                   * used, as nothing can be fetched while a provider is loaded */
};

/* --- one handshake (opaque.c) --- */

/* Where it is: what has been asked for. */
enum fk_opaque_stage {
    FK_OPAQUE_BEGUN,
    FK_OPAQUE_AGREED,     /* the key server has an ephemeral key for it */
    FK_OPAQUE_SOURCED,    /* a token stands for the premaster secret, which can be made */
    FK_OPAQUE_MASTERED,   /* a token stands for the master secret, which can be made */
    FK_OPAQUE_KEYED,      /* the key block is here, the master secret has a handle */
    FK_OPAQUE_EXPOSED,    /* both are here, libssl has not asked for the key block yet */
    FK_OPAQUE_VERIFIED,   /* the client's Finished is known */
    FK_OPAQUE_RESUMED,    /* a session that was sealed has been opened: its key block is here */
    FK_OPAQUE_GOES_ON,    /* libssl has taken it up */
    FK_OPAQUE_ANSWERED,   /* ... and has our Finished; the client's is the last one */
    FK_OPAQUE_MET13,      /* TLS 1.3: both shares are there, the handshake secret has a handle */
    FK_OPAQUE_AGREED13,   /* libssl has a token for what they agree on */
    FK_OPAQUE_SHAKING13,  /* ... for the handshake secret; its traffic secrets are here */
    FK_OPAQUE_SIGNED13,   /* CertificateVerify is, and the application's traffic secrets */
    FK_OPAQUE_MASTERED13, /* libssl has a token for the master secret */
    FK_OPAQUE_DONE,
    FK_OPAQUE_STAGES,
};

enum fk_opaque_step {
    FK_OPAQUE_INIT,        /* AGREE_INIT */
    FK_OPAQUE_SOURCE,      /* the client's share or ciphertext is kept */
    FK_OPAQUE_FINISH,      /* AGREE_FINISH */
    FK_OPAQUE_TO_MASTER,   /* MASTER */
    FK_OPAQUE_TO_TOKEN,    /* a token in place of it */
    FK_OPAQUE_TO_KEYS,     /* KEYS */
    FK_OPAQUE_TO_BOTH,     /* EXPOSE */
    FK_OPAQUE_BLOCK,       /* libssl takes the key block that came by it */
    FK_OPAQUE_CLIENT,      /* the client's Finished */
    FK_OPAQUE_SERVER,      /* ours */
    FK_OPAQUE_RESUME,      /* RESUME */
    FK_OPAQUE_HELLO13,     /* HELLO13 */
    FK_OPAQUE_AGREE13,     /* a token in place of what the shares agree on */
    FK_OPAQUE_HANDSHAKE13, /* ... of the handshake secret */
    FK_OPAQUE_TRAFFIC13,   /* libssl takes a handshake traffic secret */
    FK_OPAQUE_FLIGHT13,    /* FLIGHT13 */
    FK_OPAQUE_MASTER13,    /* a token in place of the master secret */
    FK_OPAQUE_SESSION13,   /* libssl takes an application traffic secret */
    FK_OPAQUE_STEPS,
};

#define FK_OPAQUE_TOKEN_SIZE 48
/* A handshake draws as many bytes as a random has for a session id, too, and no more than that. */
#define FK_OPAQUE_FRESH 4
/* ServerDHParams: p, g, Ys, each with its length. */
#define FK_OPAQUE_PARAMS_MAX (3 * 2 + 2 * FK_DH_PRIME_MAX + 1)
/* struct fk_premaster_source as it travels: kind, handle or version, length, share or ciphertext.
 */
#define FK_OPAQUE_SOURCE_MAX (1 + FK_HANDLE_SIZE + 2 + FK_DH_PRIME_MAX)

struct fk_opaque {
    enum fk_opaque_mode mode;
    enum fk_opaque_stage stage;
    SSL *ssl;
    struct fk_keyback *back;
    struct fk_key_route route; /* to where the handles are */
    bool keeps;                /* sessions are to be resumed, and whose they are: KEYS_KEEP */
    enum fk_session_scope scope;

    /* AGREE_INIT */
    uint8_t handle[FK_HANDLE_SIZE];
    uint16_t group, scheme;
    size_t signed_len, signature_len;
    uint8_t signed_bytes[2 * 32 + FK_OPAQUE_PARAMS_MAX]; /* randoms, parameters */
    uint8_t signature[512];

    /* server randoms, or what may become one: what they were made of. Of the last few. */
    size_t n_fresh;
    struct fk_opaque_fresh {
        uint8_t seed[FK_FRESH_SEED_SIZE], random[FK_FRESH_RANDOM_SIZE];
    } fresh[FK_OPAQUE_FRESH];
    bool promises;                   /* the next one that is drawn is this one: */
    struct fk_opaque_fresh promised; /* of RESUME */
    bool is_resumed;                 /* then this is the key that the session is of: */
    uint8_t resumed_ski[FK_SKI_SIZE];

    /* the premaster secret: its source, and what stands for it */
    struct fk_premaster_source source; /* borrows source_bytes */
    uint8_t source_bytes[FK_DH_PRIME_MAX];
    uint8_t premaster[FK_OPAQUE_TOKEN_SIZE];

    /* the master secret */
    enum fk_prf prf;
    bool ems;
    size_t seed_len;
    uint8_t seed[2 * 32];
    uint8_t master[FK_OPAQUE_TOKEN_SIZE]; /* a token; after EXPOSE the secret itself */

    /* KEYS, EXPOSE */
    uint8_t master_handle[FK_HANDLE_SIZE];
    size_t block_len, verify_len;
    uint8_t block[FK_KEY_BLOCK_MAX];
    uint8_t verify_data[FK_VERIFY_DATA_SIZE]; /* of the client's Finished with this hash */
    uint8_t finished_hash[FK_SUITE_HASH_MAX];
    size_t finished_len; /* 0: it is not known when the keys are asked for */

    /* Messages so far, until all that is needed of them is; `watch` NULL: they are not watched */
    struct fk_buf transcript;
    int transcript_err;
    struct fk_handover *watch;
    bool watches_alone;
    enum fk_prf hash13;   /* of the suite; 0: not chosen */
    size_t share13_len;   /* the client's share, in source_bytes */
    uint8_t hellos13[64]; /* transcript hash up to the ServerHello */
    struct fk_opaque_traffic {
        uint8_t client[FK_SECRET13_MAX], server[FK_SECRET13_MAX];
    } handshake13, application13;
    struct fk_opaque_tokens13 {
        /* in place of these secrets; of exporter and resumption secret, which nobody has */
        uint8_t handshake[FK_SECRET13_MAX], master[FK_SECRET13_MAX], none[FK_SECRET13_MAX];
    } tokens13;
};

/* The handshake that runs now in this thread; NULL: none, or its secrets are made here. */
struct fk_opaque *fk_opaque_current(void);

/* That a step is due, which is then done with. FK_ERR_UNEXPECTED. */
int fk_opaque_step(struct fk_opaque *opaque, enum fk_opaque_step step);

/*
 * Carry out a call of farkey/1, which pauses the handshake: `payload` is complete. The answer goes
 * to `ret_answer`, `size` bytes at most. Errors are on OpenSSL's queue already.
 */
int fk_opaque_call(struct fk_opaque *opaque, uint8_t opcode, const struct fk_writer *payload,
                   uint8_t *ret_answer, size_t size, size_t *ret_len);

/* What AGREE_INIT gives for a key, wiped by the caller. */
struct fk_opaque_made {
    uint8_t public_value[FK_DH_PRIME_MAX]; /* DHE: Ys, leading zeros stripped */
    uint8_t private_value[FK_DH_PRIME_MAX];
    size_t public_len, private_len; /* private: 0 unless it is handed over */
    struct fk_dh_params numbers;    /* DHE: p and g, borrowing the handshake's */
};

/* Have the key server make an ephemeral key. `ret_made` is written to on success only. */
int fk_opaque_init_key(struct fk_opaque *opaque, const struct fk_agree_group *group,
                       struct fk_opaque_made *ret_made);

/* Keep the client's share; what stands for the premaster secret, a token, goes to `out`. */
int fk_opaque_agree(struct fk_opaque *opaque, struct fk_reader share, uint8_t *out, size_t size,
                    size_t *ret_len);

/* Mode agree: the premaster secret, when the master secret is to be made of it. The caller wipes.
 */
int fk_opaque_premaster(struct fk_opaque *opaque, uint8_t *out, size_t size, size_t *ret_len);

/* Whether RSA premaster secrets are not for here: then a token stands for it. */
bool fk_opaque_keeps_rsa(const struct fk_opaque *opaque);
int fk_opaque_take_rsa(struct fk_opaque *opaque, const struct fk_decrypt *op,
                       uint8_t ret_token[FK_OPAQUE_TOKEN_SIZE]);

/*
 * Random bytes of the handshake, whose RSA premaster secrets are not for here: as many as a server
 * random has are made of a seed, which is kept. FK_ERR_CRYPTO.
 */
int fk_opaque_draw(struct fk_opaque *opaque, uint8_t ret[FK_FRESH_RANDOM_SIZE]);

/* Make the next one now. FK_ERR_CRYPTO. */
int fk_opaque_promise(struct fk_opaque *opaque);

/* SHA-1 of the public key's bits: of the key that a resumed session is of, else of the certificate
 * that libssl has chosen. FK_ERR_INTERNAL. */
int fk_opaque_ski(const struct fk_opaque *opaque, uint8_t ret[FK_SKI_SIZE]);

/* --- resumption (opaque_resume.c) --- */

/* All of KEYS_KEEP but what is as of KEYS. FK_ERR_INTERNAL. */
int fk_opaque_describe_keep(const struct fk_opaque *opaque, struct fk_keep_op *ret);
/* The sealed session goes into libssl's. FK_ERR_FORMAT, FK_ERR_NOMEM. */
int fk_opaque_take_sealed(const struct fk_opaque *opaque, struct fk_reader sealed);
/* That libssl wants the key block that is here: with these randoms. */
int fk_opaque_resumed_block(struct fk_opaque *opaque, struct fk_reader seed);

/* The signature of AGREE_INIT, if it is of that scheme and over these bytes. Else false. */
bool fk_opaque_signature(const struct fk_opaque *opaque, uint16_t scheme,
                         const struct fk_reader *tbs, uint8_t *out, size_t size, size_t *ret_len);

/* --- mode keys in TLS 1.3 (opaque13.c) --- */

/* Whether it is that. */
bool fk_opaque_is_tls13(const struct fk_opaque *opaque);

/* No more messages are needed. */
void fk_opaque_unwatch(struct fk_opaque *opaque);
/* The hash of the messages so far, of length 0 when they are not known (more than fit).
 * FK_ERR_NOMEM, FK_ERR_CRYPTO. */
int fk_opaque_transcript(const struct fk_opaque *opaque, enum fk_prf hash,
                         uint8_t ret[FK_SUITE_HASH_MAX], size_t *ret_len);

/* Have the key server make the share that meets the client's. `ret` is written to on success. */
int fk_opaque_hello13(struct fk_opaque *opaque, const struct fk_agree_group *group,
                      struct fk_reader share, struct fk_opaque_made *ret);
/* What stands for what both agree on. */
int fk_opaque_agree13(struct fk_opaque *opaque, struct fk_reader share, uint8_t *out, size_t size,
                      size_t *ret_len);
/* The signature of CertificateVerify, over the messages so far. */
int fk_opaque_flight13(struct fk_opaque *opaque, uint16_t scheme, uint8_t *out, size_t size,
                       size_t *ret_len);

/* Whether a secret is one of the handshake's tokens; and what is derived from them.
 * FK_ERR_UNSUPPORTED: nothing that a handshake derives; FK_ERR_UNEXPECTED: not now, or of another
 * transcript. */
bool fk_opaque_is_token13(const struct fk_opaque *opaque, struct fk_reader secret);
int fk_opaque_extract13(struct fk_opaque *opaque, struct fk_reader salt, struct fk_reader key,
                        uint8_t *out, size_t len);
int fk_opaque_expand13(struct fk_opaque *opaque, const uint8_t *secret,
                       const struct fk_hkdf_label *label, uint8_t *out, size_t len);

/* --- the PRF (opaque_prf.c) --- */

#define FK_OPAQUE_SEED_MAX 128 /* label and seed: "key expansion" and two randoms are 77 */

/* PRF(secret, label + seed) as libssl asks for it. */
struct fk_opaque_prf {
    enum fk_prf prf;       /* 0: another one */
    struct fk_reader seed; /* label and seed in one */
};

/* Whether a secret is one of the handshake's tokens. */
bool fk_opaque_is_token(const struct fk_opaque *opaque, const uint8_t *secret, size_t len);

/*
 * Derive from a token: `len` bytes. FK_ERR_UNSUPPORTED: no label that a handshake has, FK_ERR_*
 * of the key server.
 */
int fk_opaque_derive(struct fk_opaque *opaque, const uint8_t *secret,
                     const struct fk_opaque_prf *prf, uint8_t *out, size_t len);

/* --- the provider's parts --- */

extern const OSSL_DISPATCH fk_opaque_keymgmt_x25519[];
extern const OSSL_DISPATCH fk_opaque_keymgmt_ec[];
extern const OSSL_DISPATCH fk_opaque_keymgmt_dh[];
extern const OSSL_DISPATCH fk_opaque_exchange[];
extern const OSSL_DISPATCH fk_opaque_kdf[];
extern const OSSL_DISPATCH fk_opaque_kdf13[];
extern const OSSL_DISPATCH fk_opaque_rand[];

/* A key exchange's key: opaque_keymgmt.c. */
struct fk_opaque_key;

const struct fk_opaque_provider *fk_opaque_key_provider(const struct fk_opaque_key *key);
const struct fk_agree_group *fk_opaque_key_group(const struct fk_opaque_key *key);
/* The private key when it was handed over: of the default provider, borrowed. NULL: it was not. */
EVP_PKEY *fk_opaque_key_whole(const struct fk_opaque_key *key);
/* The public value as it travels, borrowed. Empty: there is none. */
struct fk_reader fk_opaque_key_public(const struct fk_opaque_key *key);
/* The same as a key of the default provider, owned by the caller; NULL: it is none of the group. */
EVP_PKEY *fk_opaque_key_import(const struct fk_opaque_key *key);

#endif
