/*
 * The key protocol's framing and items, common to both dialects (docs/wire-key.md). Sans-I/O.
 *
 * A frame is an 8-byte header (version 1.0, body length, id; big-endian) and a body of items
 * (tag, length, data). A decoded message borrows the frame's bytes.
 */
#ifndef FK_WIRE_KEYMSG_H
#define FK_WIRE_KEYMSG_H

#include "base/buf.h"
#include "base/reader.h"

#include <stdbool.h>
#include <stdint.h>

#define FK_FRAME_HEADER 8
#define FK_FRAME_MAX    (FK_FRAME_HEADER + 65535)
#define FK_FRAME_PADDED 1024 /* dialect 1 pads a frame to this size */

#define FK_SKI_SIZE    20
#define FK_DIGEST_SIZE 32

enum fk_key_dialect { FK_DIALECT_1 = 1, FK_DIALECT_2 = 2 };

/* Opcodes: dialect 1 below 0x40 and from 0xf0, dialect 2 from 0x40; F0 to FF are common. */
enum fk_key_opcode {
    FK_OP_RSA_DECRYPT = 0x01,
    FK_OP_RSA_MD5SHA1 = 0x02,
    FK_OP_RSA_SHA1 = 0x03,
    FK_OP_RSA_SHA224 = 0x04,
    FK_OP_RSA_SHA256 = 0x05,
    FK_OP_RSA_SHA384 = 0x06,
    FK_OP_RSA_SHA512 = 0x07,
    FK_OP_RSA_RAW_DECRYPT = 0x08,
    FK_OP_ECDSA_MD5SHA1 = 0x12,
    FK_OP_ECDSA_SHA1 = 0x13,
    FK_OP_ECDSA_SHA224 = 0x14,
    FK_OP_ECDSA_SHA256 = 0x15,
    FK_OP_ECDSA_SHA384 = 0x16,
    FK_OP_ECDSA_SHA512 = 0x17,
    FK_OP_ED25519 = 0x18,
    FK_OP_SEAL = 0x21,
    FK_OP_UNSEAL = 0x22,
    FK_OP_RPC = 0x23,
    FK_OP_CUSTOM = 0x24,
    FK_OP_PSS_SHA256 = 0x35,
    FK_OP_PSS_SHA384 = 0x36,
    FK_OP_PSS_SHA512 = 0x37,
    FK_OP_INFO = 0x40,          /* farkey/1: capabilities and keys, paged */
    FK_OP_SIGN13 = 0x41,        /* farkey/1: TLS 1.3 CertificateVerify */
    FK_OP_SIGN12 = 0x42,        /* farkey/1: TLS 1.2 ServerKeyExchange */
    FK_OP_DECRYPT = 0x43,       /* farkey/1: TLS 1.2 RSA premaster */
    FK_OP_LEND = 0x44,          /* farkey/1: the private key itself, sealed, for a time */
    FK_OP_SHARE = 0x45,         /* farkey/1: a share of a split key, for whoever combines */
    FK_OP_PARTIAL = 0x46,       /* farkey/1: likewise, a power by an additive share */
    FK_OP_AGREE_INIT = 0x48,    /* farkey/1: make and sign an ephemeral key of TLS 1.2 */
    FK_OP_AGREE_FINISH = 0x49,  /* farkey/1: its premaster secret */
    FK_OP_MASTER = 0x4a,        /* farkey/1: the master secret of TLS 1.2 */
    FK_OP_KEYS = 0x4b,          /* farkey/1: a session's keys of TLS 1.2 */
    FK_OP_FINISHED = 0x4c,      /* farkey/1: verify_data of its Finished messages */
    FK_OP_KEYS_KEEP = 0x4d,     /* farkey/1: as KEYS, and the session sealed, to be resumed */
    FK_OP_EXPOSE = 0x4e,        /* farkey/1: a session's keys, and its master secret with them */
    FK_OP_RESUME = 0x4f,        /* farkey/1: the keys of a session that is resumed */
    FK_OP_HS_OPEN = 0x50,       /* farkey/1: begin to shake hands with the edge's client */
    FK_OP_HS_DATA = 0x51,       /* farkey/1: go on with what the client has sent */
    FK_OP_HS_CLOSE = 0x52,      /* farkey/1: forget it */
    FK_OP_HELLO13 = 0x53,       /* farkey/1: the server's share of TLS 1.3, and handshake keys */
    FK_OP_FLIGHT13 = 0x54,      /* farkey/1: its CertificateVerify, and the session's keys */
    FK_OP_TICKET_SEAL = 0x58,   /* farkey/1: keys of new tickets, one each */
    FK_OP_TICKET_UNSEAL = 0x59, /* farkey/1: the keys of one ticket */
    FK_OP_TICKET_KEYS = 0x5a,   /* farkey/1: keys of session tickets */
    FK_OP_RESPONSE = 0xf0,
    FK_OP_PING = 0xf1,
    FK_OP_PONG = 0xf2,
    FK_OP_ERROR = 0xff,
};

/* One-byte error codes on the wire; from 0x40 only in dialect 2. */
enum fk_key_error {
    FK_KEYERR_CRYPTO = 0x01,
    FK_KEYERR_KEY_NOT_FOUND = 0x02,
    FK_KEYERR_READ = 0x03,
    FK_KEYERR_VERSION = 0x04,
    FK_KEYERR_BAD_OPCODE = 0x05,
    FK_KEYERR_UNEXPECTED_OPCODE = 0x06,
    FK_KEYERR_FORMAT = 0x07,
    FK_KEYERR_INTERNAL = 0x08,
    FK_KEYERR_NO_CERTIFICATE = 0x09,
    FK_KEYERR_EXPIRED = 0x0a,
    FK_KEYERR_REMOTE_CONFIG = 0x0b,
    FK_KEYERR_DENIED = 0x40,
    FK_KEYERR_RATE = 0x41,
    FK_KEYERR_DRAINING = 0x42,
    FK_KEYERR_REPLAY = 0x43,
    FK_KEYERR_EXPIRED_HANDLE = 0x44,
    FK_KEYERR_SHARE_MISSING = 0x48,
    FK_KEYERR_SHARE_WRONG = 0x49,
    FK_KEYERR_SHARE_REPEATED = 0x4a,
    FK_KEYERR_SHARE_FOREIGN = 0x4b,
};

/* The wire code of an FK_ERR_* in this dialect (dialect 1 knows no code from 0x40), and back. */
uint8_t fk_key_error_to_wire(int err, enum fk_key_dialect dialect);
int fk_key_error_from_wire(uint8_t code);

/* "sign-1.3", "rsa-sha256", ...; "unknown" for others. For logs and metrics. */
const char *fk_key_opcode_name(uint8_t opcode);

struct fk_frame {
    uint8_t major, minor;
    uint32_t id;
    struct fk_reader body;
};

/*
 * The first frame of `len` bytes. FK_ERR_AGAIN: incomplete, *ret_used tells how many bytes the
 * whole frame will have (0: header not there yet). Any version parses: the caller compares, so that
 * it can answer with the id.
 */
int fk_frame_parse(const void *data, size_t len, struct fk_frame *ret, size_t *ret_used);

/* An item that may be absent: next == NULL then. */
struct fk_keymsg {
    uint32_t id;
    uint8_t opcode;
    struct fk_reader digest;    /* 01: 32 bytes */
    struct fk_reader sni;       /* 02 */
    struct fk_reader client_ip; /* 03: 4 or 16 bytes */
    struct fk_reader ski;       /* 04: 20 bytes */
    struct fk_reader server_ip; /* 05: 4 or 16 bytes */
    struct fk_reader cert_id;   /* 06 */
    struct fk_reader payload;   /* 12 */
    struct fk_reader extra;     /* 14 */
    struct fk_reader cert_hash; /* 41 (farkey/1): SHA-256 of the certificate, 32 bytes */
    struct fk_reader share;     /* 42 (farkey/1): of a split key, sealed (wire/keyshare.h) */
    struct fk_reader proof;     /* 43 (farkey/1): wire/keyproof.h, FK_KEYPROOF_SIZE bytes */
    struct fk_reader body;      /* decoded: all of it; not encoded */
};

static inline bool fk_item_present(const struct fk_reader *item)
{
    return item->next != NULL;
}

/* An item borrowing bytes, for encoding; an empty item is present with left 0. */
struct fk_reader fk_item(const void *data, size_t len);

/*
 * Decode a frame's body. Unknown tags are skipped, padding ignored. FK_ERR_TRUNCATED, FK_ERR_FORMAT
 * (an item of wrong size, an opcode missing or not one byte), FK_ERR_DUPLICATE (a known item
 * twice).
 */
int fk_keymsg_decode(const struct fk_frame *frame, struct fk_keymsg *ret);

/*
 * Append a frame to `out`. `pad`: to FK_FRAME_PADDED bytes (dialect 1). The opcode comes first,
 * then the payload, then the other items by tag. FK_ERR_LIMIT when the body exceeds 65535 bytes or
 * `out` its bound: then nothing was appended.
 */
int fk_keymsg_encode(const struct fk_keymsg *msg, bool pad, struct fk_buf *out);

#endif
