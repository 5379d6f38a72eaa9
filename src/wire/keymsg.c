/*
 * Frames and items of the key protocol: see keymsg.h.
 *
 * One table says which items exist, how long each may be, and in which order they are written;
 * decoder and encoder both walk it. Nothing here knows what an operation means.
 */
#include "wire/keymsg.h"

#include "base/err.h"
#include "base/writer.h"
#include "wire/keyproof.h"

#define TAG_OPCODE  0x11
#define TAG_PADDING 0x20

#define ITEM_HEADER 3 /* tag, length */
#define BODY_MAX    (FK_FRAME_MAX - FK_FRAME_HEADER)

struct item_row {
    uint8_t tag;
    size_t offset; /* of the reader in struct fk_keymsg */
    uint16_t size; /* the length it must have; 0: any */
    uint16_t other_size;
};

/* In the order of encoding: payload, then by tag (the opcode precedes them all). */
static const struct item_row item_rows[] = {
    {0x12, offsetof(struct fk_keymsg, payload), 0, 0},
    {0x01, offsetof(struct fk_keymsg, digest), FK_DIGEST_SIZE, 0},
    {0x02, offsetof(struct fk_keymsg, sni), 0, 0},
    {0x03, offsetof(struct fk_keymsg, client_ip), 4, 16},
    {0x04, offsetof(struct fk_keymsg, ski), FK_SKI_SIZE, 0},
    {0x05, offsetof(struct fk_keymsg, server_ip), 4, 16},
    {0x06, offsetof(struct fk_keymsg, cert_id), 0, 0},
    {0x14, offsetof(struct fk_keymsg, extra), 0, 0},
    {0x41, offsetof(struct fk_keymsg, cert_hash), 32, 0},
    {0x42, offsetof(struct fk_keymsg, share), 0, 0},
    {0x43, offsetof(struct fk_keymsg, proof), FK_KEYPROOF_SIZE,
     0}, /* the last: it is of the others */
};

#define N_ITEMS (sizeof item_rows / sizeof item_rows[0])

struct fk_reader fk_item(const void *data, size_t len)
{
    static const uint8_t empty;
    struct fk_reader item;

    fk_reader_init(&item, data != NULL ? data : &empty, len);
    return item;
}

int fk_frame_parse(const void *data, size_t len, struct fk_frame *ret, size_t *ret_used)
{
    struct fk_reader reader;
    struct fk_frame frame;
    uint16_t body_len;
    int err;

    fk_reader_init(&reader, data, len);
    if ((err = fk_reader_u8(&reader, &frame.major)) != FK_OK ||
        (err = fk_reader_u8(&reader, &frame.minor)) != FK_OK ||
        (err = fk_reader_u16(&reader, &body_len)) != FK_OK ||
        (err = fk_reader_u32(&reader, &frame.id)) != FK_OK) {
        *ret_used = 0;
        return FK_ERR_AGAIN;
    }
    *ret_used = FK_FRAME_HEADER + (size_t)body_len;
    if (fk_reader_take(&reader, body_len, &frame.body) != FK_OK)
        return FK_ERR_AGAIN;
    *ret = frame;
    return FK_OK;
}

static const struct item_row *find_item(uint8_t tag)
{
    for (size_t i = 0; i < N_ITEMS; i++)
        if (item_rows[i].tag == tag)
            return &item_rows[i];
    return NULL;
}

static struct fk_reader *item_slot(struct fk_keymsg *msg, const struct item_row *row)
{
    return (struct fk_reader *)(void *)((char *)msg + row->offset);
}

static const struct fk_reader *item_of(const struct fk_keymsg *msg, const struct item_row *row)
{
    return (const struct fk_reader *)(const void *)((const char *)msg + row->offset);
}

static int store_opcode(struct fk_keymsg *msg, struct fk_reader data, bool *has_opcode)
{
    if (*has_opcode)
        return FK_ERR_DUPLICATE;
    if (data.left != 1)
        return FK_ERR_FORMAT;
    *has_opcode = true;
    return fk_reader_u8(&data, &msg->opcode);
}

static int store_item(struct fk_keymsg *msg, uint8_t tag, struct fk_reader data)
{
    const struct item_row *row = find_item(tag);
    struct fk_reader *slot;

    if (row == NULL)
        return FK_OK; /* unknown, or padding */
    slot = item_slot(msg, row);
    if (fk_item_present(slot))
        return FK_ERR_DUPLICATE;
    if (row->size != 0 && data.left != row->size &&
        (row->other_size == 0 || data.left != row->other_size))
        return FK_ERR_FORMAT;
    *slot = data;
    return FK_OK;
}

int fk_keymsg_decode(const struct fk_frame *frame, struct fk_keymsg *ret)
{
    struct fk_keymsg msg = {.id = frame->id, .body = frame->body};
    struct fk_reader body = frame->body;
    struct fk_reader data;
    bool has_opcode = false;
    uint8_t tag;
    int err;

    while (body.left > 0) {
        if ((err = fk_reader_u8(&body, &tag)) != FK_OK ||
            (err = fk_reader_vec16(&body, &data)) != FK_OK)
            return err;
        if (tag == TAG_OPCODE)
            err = store_opcode(&msg, data, &has_opcode);
        else
            err = store_item(&msg, tag, data);
        if (err != FK_OK)
            return err;
    }
    if (!has_opcode)
        return FK_ERR_FORMAT;
    *ret = msg;
    return FK_OK;
}

/* The frame's size without padding; FK_ERR_LIMIT when the body is too long. */
static int measure(const struct fk_keymsg *msg, size_t *ret)
{
    size_t len = ITEM_HEADER + 1;

    for (size_t i = 0; i < N_ITEMS; i++) {
        const struct fk_reader *item = item_of(msg, &item_rows[i]);

        if (!fk_item_present(item))
            continue;
        if (item->left > BODY_MAX)
            return FK_ERR_LIMIT;
        len += ITEM_HEADER + item->left;
    }
    if (len > BODY_MAX)
        return FK_ERR_LIMIT;
    *ret = FK_FRAME_HEADER + len;
    return FK_OK;
}

static void write_item(struct fk_writer *writer, uint8_t tag, const struct fk_reader *item)
{
    fk_writer_u8(writer, tag);
    fk_writer_vec16(writer, item->next, item->left);
}

int fk_keymsg_encode(const struct fk_keymsg *msg, bool pad, struct fk_buf *out)
{
    struct fk_writer writer;
    size_t plain, total;
    uint8_t *at;
    int err;

    if ((err = measure(msg, &plain)) != FK_OK)
        return err;
    /* A frame that leaves no room for the padding's own header goes as it is. */
    pad = pad && plain + ITEM_HEADER <= FK_FRAME_PADDED;
    total = pad ? FK_FRAME_PADDED : plain;
    if ((err = fk_buf_reserve(out, total, &at)) != FK_OK)
        return err;

    fk_writer_init(&writer, at, total);
    fk_writer_u8(&writer, 1);
    fk_writer_u8(&writer, 0);
    fk_writer_u16(&writer, (uint16_t)(total - FK_FRAME_HEADER));
    fk_writer_u32(&writer, msg->id);
    write_item(&writer, TAG_OPCODE, &(struct fk_reader){&msg->opcode, 1});
    for (size_t i = 0; i < N_ITEMS; i++)
        if (fk_item_present(item_of(msg, &item_rows[i])))
            write_item(&writer, item_rows[i].tag, item_of(msg, &item_rows[i]));
    if (pad) {
        size_t zeros = total - plain - ITEM_HEADER;

        fk_writer_u8(&writer, TAG_PADDING);
        fk_writer_u16(&writer, (uint16_t)zeros);
        fk_writer_fill(&writer, 0, zeros);
    }
    if ((err = fk_writer_end(&writer, &total)) != FK_OK)
        return err;
    fk_buf_commit(out, total);
    return FK_OK;
}

struct error_row {
    int err;
    uint8_t code;     /* farkey/1 */
    uint8_t dialect1; /* the nearest that dialect 1 knows */
};

/* FK_ERR_* to wire. What is not listed is FK_KEYERR_INTERNAL: none of the peer's business. */
static const struct error_row to_wire_rows[] = {
    {FK_ERR_CRYPTO, FK_KEYERR_CRYPTO, FK_KEYERR_CRYPTO},
    {FK_ERR_VERIFY, FK_KEYERR_CRYPTO, FK_KEYERR_CRYPTO},
    {FK_ERR_KEY_NOT_FOUND, FK_KEYERR_KEY_NOT_FOUND, FK_KEYERR_KEY_NOT_FOUND},
    {FK_ERR_NOT_FOUND, FK_KEYERR_KEY_NOT_FOUND, FK_KEYERR_KEY_NOT_FOUND},
    {FK_ERR_VERSION, FK_KEYERR_VERSION, FK_KEYERR_VERSION},
    {FK_ERR_OPCODE, FK_KEYERR_BAD_OPCODE, FK_KEYERR_BAD_OPCODE},
    {FK_ERR_UNEXPECTED, FK_KEYERR_UNEXPECTED_OPCODE, FK_KEYERR_UNEXPECTED_OPCODE},
    {FK_ERR_FORMAT, FK_KEYERR_FORMAT, FK_KEYERR_FORMAT},
    {FK_ERR_TRUNCATED, FK_KEYERR_FORMAT, FK_KEYERR_FORMAT},
    {FK_ERR_TRAILING, FK_KEYERR_FORMAT, FK_KEYERR_FORMAT},
    {FK_ERR_DUPLICATE, FK_KEYERR_FORMAT, FK_KEYERR_FORMAT},
    {FK_ERR_RANGE, FK_KEYERR_FORMAT, FK_KEYERR_FORMAT},
    {FK_ERR_UNSUPPORTED, FK_KEYERR_FORMAT, FK_KEYERR_FORMAT},
    {FK_ERR_EXPIRED, FK_KEYERR_EXPIRED_HANDLE, FK_KEYERR_EXPIRED},
    /* A key that the edge may not use does not exist for it. */
    {FK_ERR_DENIED, FK_KEYERR_DENIED, FK_KEYERR_KEY_NOT_FOUND},
    {FK_ERR_RATE, FK_KEYERR_RATE, FK_KEYERR_INTERNAL},
    {FK_ERR_LIMIT, FK_KEYERR_RATE, FK_KEYERR_INTERNAL},
    {FK_ERR_BUSY, FK_KEYERR_RATE, FK_KEYERR_INTERNAL},
    {FK_ERR_DRAINING, FK_KEYERR_DRAINING, FK_KEYERR_INTERNAL},
    {FK_ERR_REPLAY, FK_KEYERR_REPLAY, FK_KEYERR_INTERNAL},
    {FK_ERR_SHARE_MISSING, FK_KEYERR_SHARE_MISSING, FK_KEYERR_INTERNAL},
    {FK_ERR_SHARE_WRONG, FK_KEYERR_SHARE_WRONG, FK_KEYERR_INTERNAL},
    {FK_ERR_SHARE_REPEATED, FK_KEYERR_SHARE_REPEATED, FK_KEYERR_INTERNAL},
    {FK_ERR_SHARE_FOREIGN, FK_KEYERR_SHARE_FOREIGN, FK_KEYERR_INTERNAL},
};

/* Wire to FK_ERR_*, whoever sent it. What is not listed is FK_ERR_INTERNAL. */
static const struct error_row from_wire_rows[] = {
    {FK_ERR_CRYPTO, FK_KEYERR_CRYPTO, 0},
    {FK_ERR_KEY_NOT_FOUND, FK_KEYERR_KEY_NOT_FOUND, 0},
    {FK_ERR_VERSION, FK_KEYERR_VERSION, 0},
    {FK_ERR_OPCODE, FK_KEYERR_BAD_OPCODE, 0},
    {FK_ERR_UNEXPECTED, FK_KEYERR_UNEXPECTED_OPCODE, 0},
    {FK_ERR_FORMAT, FK_KEYERR_FORMAT, 0},
    {FK_ERR_NOT_FOUND, FK_KEYERR_NO_CERTIFICATE, 0},
    {FK_ERR_EXPIRED, FK_KEYERR_EXPIRED, 0},
    {FK_ERR_DENIED, FK_KEYERR_DENIED, 0},
    {FK_ERR_RATE, FK_KEYERR_RATE, 0},
    {FK_ERR_DRAINING, FK_KEYERR_DRAINING, 0},
    {FK_ERR_REPLAY, FK_KEYERR_REPLAY, 0},
    {FK_ERR_EXPIRED, FK_KEYERR_EXPIRED_HANDLE, 0},
    {FK_ERR_SHARE_MISSING, FK_KEYERR_SHARE_MISSING, 0},
    {FK_ERR_SHARE_WRONG, FK_KEYERR_SHARE_WRONG, 0},
    {FK_ERR_SHARE_REPEATED, FK_KEYERR_SHARE_REPEATED, 0},
    {FK_ERR_SHARE_FOREIGN, FK_KEYERR_SHARE_FOREIGN, 0},
};

uint8_t fk_key_error_to_wire(int err, enum fk_key_dialect dialect)
{
    for (size_t i = 0; i < sizeof to_wire_rows / sizeof to_wire_rows[0]; i++)
        if (to_wire_rows[i].err == err)
            return dialect == FK_DIALECT_1 ? to_wire_rows[i].dialect1 : to_wire_rows[i].code;
    return FK_KEYERR_INTERNAL;
}

int fk_key_error_from_wire(uint8_t code)
{
    for (size_t i = 0; i < sizeof from_wire_rows / sizeof from_wire_rows[0]; i++)
        if (from_wire_rows[i].code == code)
            return from_wire_rows[i].err;
    return FK_ERR_INTERNAL;
}

static const struct {
    uint8_t opcode;
    const char *name;
} opcode_rows[] = {
    {FK_OP_RSA_DECRYPT, "rsa-decrypt"},
    {FK_OP_RSA_MD5SHA1, "rsa-md5sha1"},
    {FK_OP_RSA_SHA1, "rsa-sha1"},
    {FK_OP_RSA_SHA224, "rsa-sha224"},
    {FK_OP_RSA_SHA256, "rsa-sha256"},
    {FK_OP_RSA_SHA384, "rsa-sha384"},
    {FK_OP_RSA_SHA512, "rsa-sha512"},
    {FK_OP_RSA_RAW_DECRYPT, "rsa-raw-decrypt"},
    {FK_OP_ECDSA_MD5SHA1, "ecdsa-md5sha1"},
    {FK_OP_ECDSA_SHA1, "ecdsa-sha1"},
    {FK_OP_ECDSA_SHA224, "ecdsa-sha224"},
    {FK_OP_ECDSA_SHA256, "ecdsa-sha256"},
    {FK_OP_ECDSA_SHA384, "ecdsa-sha384"},
    {FK_OP_ECDSA_SHA512, "ecdsa-sha512"},
    {FK_OP_ED25519, "ed25519"},
    {FK_OP_SEAL, "seal"},
    {FK_OP_UNSEAL, "unseal"},
    {FK_OP_RPC, "rpc"},
    {FK_OP_CUSTOM, "custom"},
    {FK_OP_PSS_SHA256, "pss-sha256"},
    {FK_OP_PSS_SHA384, "pss-sha384"},
    {FK_OP_PSS_SHA512, "pss-sha512"},
    {FK_OP_INFO, "info"},
    {FK_OP_SIGN13, "sign-1.3"},
    {FK_OP_SIGN12, "sign-1.2"},
    {FK_OP_DECRYPT, "decrypt"},
    {FK_OP_LEND, "lend"},
    {FK_OP_SHARE, "share"},
    {FK_OP_PARTIAL, "partial-power"},
    {FK_OP_AGREE_INIT, "agree-init"},
    {FK_OP_AGREE_FINISH, "agree-finish"},
    {FK_OP_MASTER, "master"},
    {FK_OP_KEYS, "keys"},
    {FK_OP_FINISHED, "finished"},
    {FK_OP_KEYS_KEEP, "keys-keep"},
    {FK_OP_EXPOSE, "expose"},
    {FK_OP_RESUME, "resume"},
    {FK_OP_HELLO13, "hello13"},
    {FK_OP_FLIGHT13, "flight13"},
    {FK_OP_HS_OPEN, "handshake-open"},
    {FK_OP_HS_DATA, "handshake-data"},
    {FK_OP_HS_CLOSE, "handshake-close"},
    {FK_OP_TICKET_SEAL, "ticket-seal"},
    {FK_OP_TICKET_UNSEAL, "ticket-unseal"},
    {FK_OP_TICKET_KEYS, "ticket-keys"},
    {FK_OP_RESPONSE, "response"},
    {FK_OP_PING, "ping"},
    {FK_OP_PONG, "pong"},
    {FK_OP_ERROR, "error"},
};

const char *fk_key_opcode_name(uint8_t opcode)
{
    for (size_t i = 0; i < sizeof opcode_rows / sizeof opcode_rows[0]; i++)
        if (opcode_rows[i].opcode == opcode)
            return opcode_rows[i].name;
    return "unknown";
}
