/*
 * Signed requests of farkey/1 (docs/wire-key.md): the item that shows a signer which edge asks,
 * past the front that the request went through. Sans-I/O; the signature is Ed25519's (RFC 8032).
 *
 * item 43, the last of a body: counter u64 | reply key 32 | signature 64
 * signed: "farkey request 1" 00 | exporter 32 | server<u8> | body up to item 43 | counter | reply
 * key
 */
#ifndef FK_WIRE_KEYPROOF_H
#define FK_WIRE_KEYPROOF_H

#include "base/reader.h"
#include "base/writer.h"
#include "wire/keymsg.h"

#define FK_KEYPROOF_REPLY_KEY 32
#define FK_KEYPROOF_SIGNATURE 64
#define FK_KEYPROOF_SIZE      (8 + FK_KEYPROOF_REPLY_KEY + FK_KEYPROOF_SIGNATURE)
#define FK_KEYPROOF_EXPORTER  32
/* Of the channel's TLS (RFC 8446 section 7.5), without a context. */
#define FK_KEYPROOF_EXPORTER_LABEL "EXPORTER-farkey-request-1"
/* The label under which secret results are sealed to the reply key (tls/seal.h); the context is the
 * request's signature. */
#define FK_KEYPROOF_SEAL_LABEL "farkey reply 1"

struct fk_keyproof {
    uint64_t counter;                         /* of the channel: each request has a larger one */
    uint8_t reply_key[FK_KEYPROOF_REPLY_KEY]; /* X25519; zeros: results are not to be sealed */
    uint8_t signature[FK_KEYPROOF_SIGNATURE];
};

/* Where it stands: what its signature is about beside the frame. */
struct fk_keyproof_place {
    uint8_t exporter[FK_KEYPROOF_EXPORTER];
    const char *server; /* the key server's name, as in its certificate */
};

/* Bytes signed beside the body. */
#define FK_KEYPROOF_FRAME (17 + FK_KEYPROOF_EXPORTER + 1 + 255 + 8 + FK_KEYPROOF_REPLY_KEY)

/* FK_ERR_TRUNCATED, FK_ERR_TRAILING. */
int fk_keyproof_decode(struct fk_reader item, struct fk_keyproof *ret);
void fk_keyproof_encode(const struct fk_keyproof *proof, struct fk_writer *out);

/*
 * The part of a decoded message's body that is signed: what comes before the proof.
 * FK_ERR_NOT_FOUND (no proof), FK_ERR_FORMAT (it is not the last item).
 */
int fk_keyproof_part(const struct fk_keymsg *msg, struct fk_reader *ret);

/* The message that is signed: part.left + FK_KEYPROOF_FRAME bytes at most. */
void fk_keyproof_tbs(const struct fk_keyproof *proof, const struct fk_keyproof_place *place,
                     struct fk_reader part, struct fk_writer *out);

/* Whether an operation is one of those that are signed: what a signer carries out with a key. */
bool fk_keyproof_covers(uint8_t opcode);

/* Whether an operation's result is a secret: sealed when there is a reply key. That of AGREE_INIT
 * is one when a private value is handed over. */
bool fk_keyproof_is_secret(uint8_t opcode);

/*
 * Which counters of one channel have been seen: each may come once, in any order, unless it is
 * older than the window. Zero at first; counters begin at 1.
 */
#define FK_KEYPROOF_WINDOW 1024

struct fk_keyproof_window {
    uint64_t highest;
    uint64_t seen[FK_KEYPROOF_WINDOW / 64]; /* bit n % FK_KEYPROOF_WINDOW: counter n */
};

/* FK_ERR_REPLAY. */
int fk_keyproof_take(struct fk_keyproof_window *window, uint64_t counter);

#endif
