/*
 * Payloads of mode `keys` in TLS 1.3 (docs/wire-key.md): the key server makes the server's share
 * and keeps the handshake secret under a handle; the edge gets the traffic secrets of one session.
 * Sans-I/O; decoded structures borrow the payload.
 *
 * The transcript travels as messages, never as a hash: what is signed is a handshake in whose
 * ServerHello the key server's own share stands, and none that the edge could go on with alone.
 */
#ifndef FK_WIRE_KEYOP_KEYS13_H
#define FK_WIRE_KEYOP_KEYS13_H

#include "base/reader.h"
#include "base/writer.h"
#include "wire/keyop_agree.h"
#include "wire/keyop_secret.h"

#include <stdint.h>

/* Bytes of a traffic secret at most: of SHA-384. */
#define FK_SECRET13_MAX 48
/* A ServerHello at most: header 4, version, random, session id, suite, compression, extensions with
 * the longest share of TLS 1.3's groups here (P-384's). */
#define FK_SERVER_HELLO13_MAX (4 + 2 + 32 + 1 + 32 + 2 + 1 + 2 + 6 + 8 + 97)

/* The hash of a suite of TLS 1.3 (RFC 8446 appendix B.4); 0: there is no such suite here. */
enum fk_prf fk_suite13_hash(uint16_t suite);

/*
 * HELLO13: group u16 | suite u16 | server random 32 | client's share<u16> | hello<u16>.
 * The hello is all of the transcript before the ServerHello: the ClientHello; after a
 * HelloRetryRequest message_hash (RFC 8446 section 4.4.1), that, and the second ClientHello.
 */
struct fk_hello13 {
    uint16_t group, suite;
    uint8_t server_random[32];
    struct fk_reader share;
    struct fk_reader hello;
    /* Of the ClientHello in `hello`, not written: */
    struct fk_reader client_random, session_id;
};

/*
 * FK_ERR_TRUNCATED, FK_ERR_TRAILING, FK_ERR_UNSUPPORTED (suite, group), FK_ERR_FORMAT (the share is
 * not as long as the group's; the hello is not such messages, each whole).
 */
int fk_hello13_decode(struct fk_reader payload, struct fk_hello13 *ret);
void fk_hello13_encode(const struct fk_hello13 *op, struct fk_writer *out);

/* The ServerHello (RFC 8446 section 4.1.3) that answers it with this share: as libssl writes it,
 * supported_versions and then key_share. */
void fk_hello13_write_server(const struct fk_hello13 *op, struct fk_reader share,
                             struct fk_writer *out);

/* Its answer: handle 16 | server's share<u16> | client's, server's handshake traffic secret<u8>. */
struct fk_hello13_answer {
    uint8_t handle[FK_HANDLE_SIZE];
    struct fk_reader share;
    struct fk_reader client_secret, server_secret;
};

/* Of that request: shares and secrets as long as its group and suite have. FK_ERR_FORMAT,
 * FK_ERR_TRUNCATED, FK_ERR_TRAILING. */
int fk_hello13_answer_decode(struct fk_reader payload, const struct fk_hello13 *op,
                             struct fk_hello13_answer *ret);
void fk_hello13_answer_encode(const struct fk_hello13_answer *answer, struct fk_writer *out);

/*
 * FLIGHT13: handle 16 | scheme u16 | transcript<u16>: the hello, ServerHello, EncryptedExtensions,
 * a CertificateRequest or none, Certificate.
 */
struct fk_flight13 {
    uint8_t handle[FK_HANDLE_SIZE];
    uint16_t scheme; /* SignatureScheme, of the CertificateVerify */
    struct fk_reader transcript;
    /* Not written: the part of it up to the ServerHello's end; of the ClientHello in there. */
    struct fk_reader hellos, client_random;
};

/* FK_ERR_TRUNCATED, FK_ERR_TRAILING, FK_ERR_FORMAT (other messages, or not whole). */
int fk_flight13_decode(struct fk_reader payload, struct fk_flight13 *ret);
void fk_flight13_encode(const struct fk_flight13 *op, struct fk_writer *out);

/* Its answer: signature<u16> | client's, server's application traffic secret<u8>. */
struct fk_flight13_answer {
    struct fk_reader signature; /* not empty */
    struct fk_reader client_secret, server_secret;
};

/* With secrets of such a suite. FK_ERR_FORMAT, FK_ERR_TRUNCATED, FK_ERR_TRAILING. */
int fk_flight13_answer_decode(struct fk_reader payload, enum fk_prf hash,
                              struct fk_flight13_answer *ret);
void fk_flight13_answer_encode(const struct fk_flight13_answer *answer, struct fk_writer *out);

#endif
