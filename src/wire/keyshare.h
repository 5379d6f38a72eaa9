/*
 * The item "sealed share" (tag 42 of farkey/1): a share of a split key, for the signer that
 * combines and for nobody on the way. Only the place of the share is in the clear.
 */
#ifndef FK_WIRE_KEYSHARE_H
#define FK_WIRE_KEYSHARE_H

#include "base/reader.h"
#include "base/writer.h"

#define FK_KEYSHARE_ID   32 /* SHA-256 of the key's SubjectPublicKeyInfo */
#define FK_KEYSHARE_SET  16 /* random: one splitting of that key */
#define FK_KEYSHARE_HEAD (FK_KEYSHARE_ID + FK_KEYSHARE_SET + 1)

struct fk_keyshare {
    uint8_t id[FK_KEYSHARE_ID];
    uint8_t set[FK_KEYSHARE_SET];
    uint8_t index;           /* which of its shares, from 1 on */
    struct fk_reader sealed; /* as tls/seal.h makes it; never empty */
};

/* `item` is the item's data. FK_ERR_TRUNCATED, FK_ERR_FORMAT (index 0). */
int fk_keyshare_decode(struct fk_reader item, struct fk_keyshare *ret);
/* Its first FK_KEYSHARE_HEAD bytes; the sealed rest follows. */
void fk_keyshare_encode_head(const struct fk_keyshare *share, struct fk_writer *out);

/*
 * SHARE and PARTIAL: a key server that combines asks another for what it lacks. Payload: opcode u8
 * of the operation that it is for | that operation's payload. The answer is an item as above.
 */
struct fk_share_ask {
    uint8_t opcode;
    struct fk_reader payload; /* never empty */
};

/* FK_ERR_TRUNCATED. */
int fk_share_ask_decode(struct fk_reader payload, struct fk_share_ask *ret);
void fk_share_ask_encode(const struct fk_share_ask *ask, struct fk_writer *out);

#endif
