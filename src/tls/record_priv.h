/* The record engine inside: shared by record*.c only. */
#ifndef FK_TLS_RECORD_PRIV_H
#define FK_TLS_RECORD_PRIV_H

#include "base/buf.h"
#include "base/reader.h"
#include "tls/aead.h"
#include "tls/chatter.h"
#include "tls/record.h"

#include <openssl/evp.h>

/* RFC 8446 section 6 and RFC 5246 section 7.2. */
enum fk_record_alert {
    FK_RA_CLOSE_NOTIFY = 0,
    FK_RA_UNEXPECTED_MESSAGE = 10,
    FK_RA_BAD_RECORD_MAC = 20,
    FK_RA_RECORD_OVERFLOW = 22,
    FK_RA_ILLEGAL_PARAMETER = 47,
    FK_RA_DECODE_ERROR = 50,
    FK_RA_PROTOCOL_VERSION = 70,
    FK_RA_INTERNAL_ERROR = 80,
    FK_RA_USER_CANCELED = 90,
    FK_RA_NO_RENEGOTIATION = 100,
    FK_RA_NONE = -1,
};

enum fk_record_side {
    FK_SIDE_OPEN,
    FK_SIDE_CLOSING, /* writing only: an alert is due that ends it */
    FK_SIDE_CLOSED,
};

/* One direction: its keys, in the engine's slot, and its cipher's contexts, NULL at rest. */
struct fk_record_half {
    struct fk_traffic_keys *keys;
    struct fk_aead *aead;
    EVP_CIPHER_CTX *ctx; /* CBC */
    EVP_MAC_CTX *mac;    /* CBC: keyed, for copies of it */
    enum fk_record_side side;
    uint64_t used; /* writing, AEADs: one more than the last number that a nonce was made of */
    /* Reading, AEADs: the present record has been begun, this many bytes are decrypted already. */
    bool begun;
    size_t early;
};

struct fk_record {
    struct fk_arena *arena;
    struct fk_session_keys *keys; /* a slot of the arena */
    const struct fk_record_ops *ops;
    enum fk_record_role role;
    struct fk_record_half write, read;
    bool update_due, update_asks; /* a KeyUpdate of ours; asks the peer for one */
    int alert_due;                /* enum fk_record_alert */
    int peer_alert;
    struct fk_chatter chatter;
    size_t handed_over;      /* bytes at the head of `handshake` that the owner has seen */
    struct fk_buf handshake; /* messages that are not whole, or wait for the owner */
};

/* One record on its way through a cipher. */
struct fk_cryptogram {
    uint8_t type;
    uint8_t *head; /* the record's header, FK_RECORD_HEAD bytes */
    uint8_t *body; /* what follows it */
    size_t len;    /* of the body */
};

/* A stream in pieces, and how far it has been sealed. */
struct fk_pieces {
    const struct iovec *first; /* not used up */
    size_t done;               /* bytes of it that are */
};

/* The next bytes of the stream that lie together, `max` (not 0) at most; they are used up. */
static inline const uint8_t *fk_pieces_next(struct fk_pieces *pieces, size_t max, size_t *ret_len)
{
    const struct iovec *piece = pieces->first;
    const uint8_t *at = (const uint8_t *)piece->iov_base + pieces->done;
    size_t len = piece->iov_len - pieces->done;

    *ret_len = len < max ? len : max;
    pieces->done += *ret_len;
    if (pieces->done == piece->iov_len) {
        pieces->first++;
        pieces->done = 0;
    }
    return at;
}

static inline void fk_put_u16(uint8_t *at, size_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static inline void fk_put_u64(uint8_t *at, uint64_t value)
{
    for (int i = 7; i >= 0; i--, value >>= 8)
        at[i] = (uint8_t)value;
}

/* --- a way of protecting records --- */

struct fk_record_ops {
    size_t (*prefix)(const struct fk_record *record);
    /* Bytes that a record has beyond its content, its header included, at most. */
    size_t (*overhead)(const struct fk_record *record);
    /* As fk_record_encrypt() and fk_record_decrypt(), which look after sequence numbers. */
    int (*encrypt)(struct fk_record *record, uint8_t type, struct fk_pieces *pieces, size_t len,
                   uint8_t *out, size_t *ret_len);
    int (*decrypt)(struct fk_record *record, struct fk_cryptogram *gram);
    /*
     * Decrypt what is there of the body, in place: `there` bytes of the gram->len that its header
     * announces. `gram` then has what may be content when all is there, of which the half's `early`
     * bytes are decrypted. NULL: nothing can be told before the end. FK_ERR_CRYPTO.
     */
    int (*decrypt_early)(struct fk_record *record, struct fk_cryptogram *gram, size_t there);
};

/* A direction's key is another one, or not needed for now. */
void fk_record_drop_ciphers(struct fk_record_half *half);

/* The next keys of this side's: RFC 8446 section 7.2. */
int fk_record_renew(struct fk_record *record);

extern const struct fk_record_ops fk_record_aead_ops, fk_record_cbc_ops;

/*
 * Seal the next `len` bytes of the pieces, which have as many, as one record at `out`; in place
 * when they are the rest of one piece, and begin at out + fk_record_prefix(). FK_ERR_CRYPTO.
 */
int fk_record_encrypt(struct fk_record *record, uint8_t type, struct fk_pieces *pieces, size_t len,
                      uint8_t *out, size_t *ret_len);

/*
 * Open the body of a record in place: `gram` then has the content's type, place and length.
 * FK_ERR_VERIFY, FK_ERR_LIMIT, FK_ERR_UNEXPECTED, FK_ERR_CRYPTO.
 */
int fk_record_decrypt(struct fk_record *record, struct fk_cryptogram *gram);

/*
 * Handshake messages after the handshake: take a record's content, then look for a whole message.
 * *ret and errors as fk_record_open(); FK_ERR_RANGE: what TLS calls illegal_parameter;
 * FK_ERR_AGAIN: no message is there whole.
 */
int fk_record_take_handshake(struct fk_record *record, const uint8_t *data, size_t len);
int fk_record_next_message(struct fk_record *record, struct fk_opened *ret);

#endif
