/*
 * Payloads of farkey/1's operations (docs/wire-key.md): structures, never digests, so that the key
 * server builds or parses what it signs. Sans-I/O; decoded structures borrow the payload.
 */
#ifndef FK_WIRE_KEYOP_H
#define FK_WIRE_KEYOP_H

#include "base/reader.h"
#include "base/writer.h"

#include <stdbool.h>
#include <stdint.h>

/* Whose CertificateVerify: decides the context string (RFC 8446 section 4.4.3). */
enum fk_key_role { FK_ROLE_SERVER = 1, FK_ROLE_CLIENT = 2 };

/* SIGN13 payload: scheme u16 | role u8 | hash<32 or 48 bytes, u8 length>. */
struct fk_sign13 {
    uint16_t scheme; /* SignatureScheme, RFC 8446 section 4.2.3 */
    enum fk_key_role role;
    uint8_t hash_len; /* 32 or 48 */
    uint8_t hash[48]; /* transcript hash */
};

int fk_sign13_decode(struct fk_reader payload, struct fk_sign13 *ret);
void fk_sign13_encode(const struct fk_sign13 *op, struct fk_writer *out);

/* What is signed: 64 spaces, context string, 0, hash. At most FK_SIGN13_TBS_MAX bytes. */
#define FK_SIGN13_TBS_MAX (64 + 33 + 1 + 48)
void fk_sign13_tbs(const struct fk_sign13 *op, uint8_t ret[FK_SIGN13_TBS_MAX], size_t *ret_len);

/* The inverse, for the side that is given the message by its TLS library. FK_ERR_FORMAT. */
int fk_sign13_from_tbs(const void *tbs, size_t len, uint16_t scheme, struct fk_sign13 *ret);

/* SIGN12 payload: scheme u16 | kx u8 | client random 32 | server random 32 | params<u16>. */
enum fk_kx { FK_KX_ECDHE = 1, FK_KX_DHE = 2 };

struct fk_sign12 {
    uint16_t scheme;
    enum fk_kx kx;
    uint8_t client_random[32];
    uint8_t server_random[32];
    struct fk_reader
        params; /* ServerECDHParams (RFC 8422 5.4) or ServerDHParams (RFC 5246 7.4.3) */
};

/*
 * Also checks the parameters' form: named curve and point length, or DH numbers within bounds.
 * FK_ERR_FORMAT, FK_ERR_UNSUPPORTED (group), FK_ERR_RANGE (DH numbers).
 */
int fk_sign12_decode(struct fk_reader payload, struct fk_sign12 *ret);
void fk_sign12_encode(const struct fk_sign12 *op, struct fk_writer *out);
int fk_sign12_from_tbs(const void *tbs, size_t len, uint16_t scheme, struct fk_sign12 *ret);

/* The parts of the parameters. */
struct fk_ecdh_params {
    uint16_t group; /* NamedGroup */
    struct fk_reader point;
};

struct fk_dh_params {
    struct fk_reader p, g, ys; /* big-endian, no leading zero (ys: padding zeros are stripped) */
};

/*
 * ECDH: a named curve among secp256r1, secp384r1, secp521r1, x25519, x448 (else
 * FK_ERR_UNSUPPORTED), a point of its length, uncompressed; that it lies on the curve is the
 * signer's to check. DH: an odd prime-sized p of FK_DH_PRIME_MIN to FK_DH_PRIME_MAX bytes,
 * 2 <= g, ys <= p - 2 (else FK_ERR_RANGE). FK_ERR_TRUNCATED, FK_ERR_TRAILING, FK_ERR_FORMAT.
 */
int fk_ecdh_params_decode(struct fk_reader params, struct fk_ecdh_params *ret);
int fk_dh_params_decode(struct fk_reader params, struct fk_dh_params *ret);

/* DECRYPT payload: client_version u16 | ciphertext<u16>. The answer is always 48 bytes. */
#define FK_PREMASTER_SIZE 48
struct fk_decrypt {
    uint16_t client_version; /* of the ClientHello */
    struct fk_reader ciphertext;
};

int fk_decrypt_decode(struct fk_reader payload, struct fk_decrypt *ret);
void fk_decrypt_encode(const struct fk_decrypt *op, struct fk_writer *out);

/* INFO request payload: cursor u32, 0 at first. */
int fk_info_request_decode(struct fk_reader payload, uint32_t *ret_cursor);
void fk_info_request_encode(uint32_t cursor, struct fk_writer *out);

/*
 * INFO answer payload: generation u64 | capabilities u32 | next cursor u32 (0: last page) |
 * keys<u16>, each: ski 20 | type u8 | permissions u16 | name<u8> | chain<u16> of certificates<u16>.
 * The keys that this edge may use, each with its certificate chain in DER, leaf first.
 * PONG's payload in farkey/1 is generation u64: another number than before means: ask again.
 */
struct fk_info_answer {
    uint64_t generation;
    uint32_t capabilities; /* bit i: operation 0x40 + i is served */
    uint32_t next_cursor;
    struct fk_reader keys; /* walk with fk_info_key_next() */
};

enum fk_key_type { FK_KEY_RSA = 1, FK_KEY_EC = 2, FK_KEY_ED25519 = 3 };

/* Per-key permissions, as in a key's policy file, and in INFO. */
#define FK_PERM_SIGN13     0x0001U /* TLS 1.3 server CertificateVerify */
#define FK_PERM_SIGN12     0x0002U /* TLS 1.2 ServerKeyExchange */
#define FK_PERM_DECRYPT    0x0004U /* TLS 1.2 RSA key exchange, with implicit rejection */
#define FK_PERM_CLIENT     0x0008U /* CertificateVerify of a TLS client */
#define FK_PERM_DIGEST     0x0010U /* dialect 1: sign digests: opt-in */
#define FK_PERM_D1_DECRYPT 0x0020U /* dialect 1: opcode 01 as a re-encoded block: opt-in */
#define FK_PERM_AGREE      0x0040U /* ephemeral keys of TLS 1.2 and their premaster secrets */
#define FK_PERM_MASTER     0x0080U /* master secrets of TLS 1.2 */
#define FK_PERM_KEYS       0x0100U /* session keys */
#define FK_PERM_HANDSHAKE  0x0200U /* whole handshakes, by the key server's handshaker */
#define FK_PERM_LEND       0x0400U /* the key itself, to the edge's signer, for a time: opt-in */
#define FK_PERM_TICKETS    0x0800U /* the keys of the key's session tickets: opt-in */
#define FK_PERM_EXPOSE     0x1000U /* with keys or handshake: the master secret of TLS 1.2, too */
#define FK_PERM_SHARE      0x2000U /* a share of it, sealed to the signer that combines */

struct fk_info_key {
    uint8_t ski[20];
    enum fk_key_type type;
    uint16_t permissions;
    struct fk_reader name;
    struct fk_reader chain; /* walk with fk_reader_vec16(): each a certificate in DER */
};

int fk_info_answer_decode(struct fk_reader payload, struct fk_info_answer *ret);
/* FK_ERR_NOT_FOUND at the end; FK_ERR_TRUNCATED, FK_ERR_FORMAT. Advances answer->keys. */
int fk_info_key_next(struct fk_info_answer *answer, struct fk_info_key *ret);
/* Head, then keys one by one, then fk_writer_end16(out, mark) on the returned mark. */
size_t fk_info_answer_begin(const struct fk_info_answer *answer, struct fk_writer *out);
void fk_info_key_encode(const struct fk_info_key *key, struct fk_writer *out);

/* PONG payload of farkey/1: generation u64. */
int fk_pong_decode(struct fk_reader payload, uint64_t *ret_generation);
void fk_pong_encode(uint64_t generation, struct fk_writer *out);

#endif
