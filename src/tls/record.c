/*
 * The record engine: see record.h. Here: its life, both directions' order of business, alerts.
 * record_aead.c and record_cbc.c have the cryptography, record_post.c the handshake messages after
 * the handshake.
 */
#include "tls/record.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/secret.h"
#include "tls/record_priv.h"

#include <stdlib.h>
#include <string.h>

/* --- life --- */

int fk_record_arena_new(size_t max, struct fk_arena **ret)
{
    return fk_arena_new(sizeof(struct fk_session_keys), max, ret);
}

int fk_record_new(struct fk_arena *arena, const struct fk_session_keys *keys,
                  enum fk_record_role role, struct fk_record **ret)
{
    struct fk_record *record;
    void *slot;
    int err;

    if (keys->suite == NULL)
        return FK_ERR_INVAL;
    if ((record = calloc(1, sizeof *record)) == NULL)
        return FK_ERR_NOMEM;
    if ((err = fk_arena_take(arena, &slot)) != FK_OK) {
        free(record);
        return err;
    }
    record->arena = arena;
    record->keys = slot;
    memcpy(slot, keys, sizeof *keys);
    record->ops =
        keys->suite->protection == FK_PROTECT_CBC ? &fk_record_cbc_ops : &fk_record_aead_ops;
    record->role = role;
    record->write.keys = role == FK_RECORD_SERVER ? &record->keys->server : &record->keys->client;
    record->read.keys = role == FK_RECORD_SERVER ? &record->keys->client : &record->keys->server;
    record->alert_due = FK_RA_NONE;
    record->peer_alert = FK_RA_NONE;
    fk_buf_init(&record->handshake, FK_RECORD_HANDSHAKE_MAX);
    *ret = record;
    return FK_OK;
}

void fk_record_drop_ciphers(struct fk_record_half *half)
{
    fk_aead_free(half->aead);
    EVP_CIPHER_CTX_free(half->ctx);
    EVP_MAC_CTX_free(half->mac);
    half->aead = NULL;
    half->ctx = NULL;
    half->mac = NULL;
}

void fk_record_rest(struct fk_record *record)
{
    fk_record_drop_ciphers(&record->write);
    if (!record->read.begun)
        fk_record_drop_ciphers(&record->read);
}

void fk_record_free(struct fk_record *record)
{
    if (record == NULL)
        return;
    fk_record_drop_ciphers(&record->write);
    fk_record_drop_ciphers(&record->read);
    fk_buf_fini(&record->handshake);
    fk_arena_give(record->arena, record->keys);
    free(record);
}

int fk_record_peer_alert(const struct fk_record *record)
{
    return record->peer_alert;
}

bool fk_record_overdone(const struct fk_record *record)
{
    return record->chatter.over;
}

const struct fk_session_keys *fk_record_keys(const struct fk_record *record)
{
    return record->keys;
}

/* --- one record --- */

size_t fk_record_prefix(const struct fk_record *record)
{
    return record->ops->prefix(record);
}

/* A direction's last number is never used, so none comes back. */
int fk_record_encrypt(struct fk_record *record, uint8_t type, struct fk_pieces *pieces, size_t len,
                      uint8_t *out, size_t *ret_len)
{
    int err;

    if (record->write.keys->seq == UINT64_MAX)
        return FK_ERR_CRYPTO;
    if ((err = record->ops->encrypt(record, type, pieces, len, out, ret_len)) == FK_OK)
        record->write.keys->seq++;
    return err;
}

int fk_record_decrypt(struct fk_record *record, struct fk_cryptogram *gram)
{
    int err;

    if (record->read.keys->seq == UINT64_MAX)
        return FK_ERR_LIMIT;
    if ((err = record->ops->decrypt(record, gram)) == FK_OK)
        record->read.keys->seq++;
    return err;
}

/* --- what the engine has to say --- */

/* `alert`: enum fk_record_alert, or another of RFC 8446 section 6.2. */
static void end_writing(struct fk_record *record, int alert)
{
    if (record->write.side != FK_SIDE_OPEN)
        return;
    record->alert_due = alert;
    record->write.side = FK_SIDE_CLOSING;
}

void fk_record_close(struct fk_record *record)
{
    end_writing(record, FK_RA_CLOSE_NOTIFY);
}

void fk_record_refuse(struct fk_record *record, uint8_t alert)
{
    end_writing(record, alert);
    record->read.side = FK_SIDE_CLOSED;
}

/* The session cannot go on: have the peer told. Returns `err`. */
static int fail(struct fk_record *record, int err)
{
    static const struct {
        int err;
        enum fk_record_alert alert;
    } alerts[] = {
        {FK_ERR_VERIFY, FK_RA_BAD_RECORD_MAC},         {FK_ERR_LIMIT, FK_RA_RECORD_OVERFLOW},
        {FK_ERR_UNEXPECTED, FK_RA_UNEXPECTED_MESSAGE}, {FK_ERR_FORMAT, FK_RA_DECODE_ERROR},
        {FK_ERR_RANGE, FK_RA_ILLEGAL_PARAMETER},       {FK_ERR_VERSION, FK_RA_PROTOCOL_VERSION},
    };
    enum fk_record_alert alert = FK_RA_INTERNAL_ERROR;

    for (size_t i = 0; i < sizeof alerts / sizeof alerts[0]; i++)
        if (alerts[i].err == err)
            alert = alerts[i].alert;
    end_writing(record, alert);
    record->read.side = FK_SIDE_CLOSED;
    return err;
}

/* Before the bound of RFC 8446 section 5.5 is reached. */
static bool must_renew(const struct fk_record *record)
{
    uint64_t bound = record->keys->suite->rekey_after;

    return bound != 0 && record->write.keys->seq >= bound;
}

bool fk_record_control_due(const struct fk_record *record)
{
    return record->alert_due != FK_RA_NONE ||
           (record->write.side == FK_SIDE_OPEN && (record->update_due || must_renew(record)));
}

int fk_record_update_keys(struct fk_record *record, bool ask)
{
    if (record->keys->suite->version != FK_TLS13)
        return FK_ERR_UNSUPPORTED;
    record->update_due = true;
    record->update_asks = record->update_asks || ask;
    return FK_OK;
}

int fk_record_renew(struct fk_record *record)
{
    int err = fk_traffic_keys_update(record->keys->suite, record->write.keys);

    if (err != FK_OK)
        return err;
    fk_record_drop_ciphers(&record->write);
    record->write.used = 0;
    return FK_OK;
}

/* KeyUpdate: RFC 8446 section 4.6.3. The message goes under the old keys. */
static int seal_update(struct fk_record *record, uint8_t *out, size_t *ret_len)
{
    uint8_t message[] = {24, 0, 0, 1, record->update_asks};
    const struct iovec piece = {message, sizeof message};
    struct fk_pieces pieces = {.first = &piece};
    size_t len;
    int err;

    if ((err = fk_record_encrypt(record, FK_CONTENT_HANDSHAKE, &pieces, sizeof message, out,
                                 &len)) != FK_OK ||
        (err = fk_record_renew(record)) != FK_OK)
        return err;
    record->update_due = false;
    record->update_asks = false;
    *ret_len = len;
    return FK_OK;
}

static int seal_alert(struct fk_record *record, uint8_t *out, size_t *ret_len)
{
    int alert = record->alert_due;
    bool warning = alert == FK_RA_CLOSE_NOTIFY || alert == FK_RA_NO_RENEGOTIATION;
    uint8_t body[] = {warning ? 1 : 2, (uint8_t)alert};
    const struct iovec piece = {body, sizeof body};
    struct fk_pieces pieces = {.first = &piece};

    record->alert_due = FK_RA_NONE;
    if (record->write.side == FK_SIDE_CLOSING)
        record->write.side = FK_SIDE_CLOSED;
    return fk_record_encrypt(record, FK_CONTENT_ALERT, &pieces, sizeof body, out, ret_len);
}

static int seal_control(struct fk_record *record, uint8_t *out, size_t *ret_len)
{
    size_t len = 0, more = 0;
    int err;

    if (record->write.side == FK_SIDE_OPEN && (record->update_due || must_renew(record)) &&
        (err = seal_update(record, out, &len)) != FK_OK)
        return err;
    if (record->alert_due != FK_RA_NONE && (err = seal_alert(record, out + len, &more)) != FK_OK)
        return err;
    *ret_len = len + more;
    return FK_OK;
}

/* This side can send nothing any more, not even why. */
static int break_off(struct fk_record *record, int err)
{
    record->alert_due = FK_RA_NONE;
    record->write.side = record->read.side = FK_SIDE_CLOSED;
    return err;
}

int fk_record_seal_control(struct fk_record *record, uint8_t *out, size_t *ret_len)
{
    int err = seal_control(record, out, ret_len);

    return err == FK_OK ? FK_OK : break_off(record, err);
}

/* --- sealing --- */

size_t fk_record_sealed_max(const struct fk_record *record, size_t len)
{
    size_t records = len / FK_RECORD_PLAIN_MAX + 1;

    return FK_RECORD_CONTROL_MAX + len + records * record->ops->overhead(record);
}

static size_t sum_of(const struct iovec *pieces, size_t n)
{
    size_t sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += pieces[i].iov_len;
    return sum;
}

/* One record, and before it the engine's own that is due: keys may have to be renewed at any. */
static int seal_next(struct fk_record *record, struct fk_pieces *pieces, size_t len, uint8_t *out,
                     size_t *ret_len)
{
    size_t control, sealed;
    int err;

    if ((err = seal_control(record, out, &control)) != FK_OK ||
        (err = fk_record_encrypt(record, FK_CONTENT_APPLICATION, pieces, len, out + control,
                                 &sealed)) != FK_OK)
        return err;
    *ret_len = control + sealed;
    return FK_OK;
}

int fk_record_seal(struct fk_record *record, const struct iovec *pieces, size_t n, uint8_t *out,
                   size_t size, size_t *ret_len)
{
    struct fk_pieces rest = {.first = pieces};
    size_t left = sum_of(pieces, n), sealed = 0, len, part;
    int err;

    if (record->write.side != FK_SIDE_OPEN)
        return FK_ERR_CLOSED;
    if (size < fk_record_sealed_max(record, left))
        return FK_ERR_LIMIT;
    do {
        part = left < FK_RECORD_PLAIN_MAX ? left : FK_RECORD_PLAIN_MAX;
        if ((err = seal_next(record, &rest, part, out + sealed, &len)) != FK_OK)
            return break_off(record, err);
        sealed += len;
        left -= part;
    } while (left > 0);
    *ret_len = sealed;
    return FK_OK;
}

/* --- opening --- */

struct head {
    uint8_t type;
    uint16_t version, len;
};

static int read_head(const uint8_t *bytes, size_t len, struct head *ret)
{
    struct fk_reader reader;
    struct head head;

    fk_reader_init(&reader, bytes, len);
    if (fk_reader_u8(&reader, &head.type) != FK_OK ||
        fk_reader_u16(&reader, &head.version) != FK_OK ||
        fk_reader_u16(&reader, &head.len) != FK_OK)
        return FK_ERR_AGAIN;
    *ret = head;
    return FK_OK;
}

size_t fk_record_length(const uint8_t *bytes, size_t len)
{
    struct head head;

    return read_head(bytes, len, &head) == FK_OK ? (size_t)FK_RECORD_HEAD + head.len
                                                 : FK_RECORD_HEAD;
}

/* What can be told from a header alone. RFC 8446 sections 5.1 and 5.2, RFC 5246 section 6.2. */
static int check_head(const struct fk_record *record, const struct head *head)
{
    bool tls13 = record->keys->suite->version == FK_TLS13;

    if (tls13 ? head->type != FK_CONTENT_APPLICATION
              : head->type < FK_CONTENT_ALERT || head->type > FK_CONTENT_APPLICATION)
        return FK_ERR_UNEXPECTED; /* a ChangeCipherSpec, too: the handshake is over */
    if (!tls13 && head->version != FK_TLS12)
        return FK_ERR_VERSION; /* in TLS 1.3 the field means nothing */
    return head->len > FK_RECORD_PLAIN_MAX + (tls13 ? 256 : 2048) ? FK_ERR_LIMIT : FK_OK;
}

static int take_alert(struct fk_record *record, const struct fk_cryptogram *gram,
                      struct fk_opened *ret)
{
    bool tls13 = record->keys->suite->version == FK_TLS13;
    uint8_t level, alert;

    if (gram->len != 2)
        return FK_ERR_FORMAT;
    level = gram->body[0];
    alert = gram->body[1];
    if (alert == FK_RA_CLOSE_NOTIFY) {
        record->read.side = FK_SIDE_CLOSED;
        ret->event = FK_RECORD_END;
        return FK_OK;
    }
    /* In TLS 1.3 all other alerts are errors whatever their level says: RFC 8446 section 6.2. */
    if (alert == FK_RA_USER_CANCELED || (!tls13 && level == 1)) {
        ret->event = FK_RECORD_NOTHING;
        return FK_OK;
    }
    record->peer_alert = alert;
    return FK_ERR_TLS;
}

/* A record's content has been decrypted: what is it? */
static int dispatch(struct fk_record *record, const struct fk_cryptogram *gram,
                    struct fk_opened *ret)
{
    int err;

    if (gram->type != FK_CONTENT_HANDSHAKE && fk_buf_len(&record->handshake) > 0)
        return FK_ERR_UNEXPECTED; /* within a message: RFC 8446 section 5.1 */
    switch (gram->type) {
    case FK_CONTENT_APPLICATION:
        *ret = (struct fk_opened){.event = FK_RECORD_DATA, .data = gram->body, .len = gram->len};
        return FK_OK;
    case FK_CONTENT_ALERT:
        return take_alert(record, gram, ret);
    case FK_CONTENT_HANDSHAKE:
        if ((err = fk_record_take_handshake(record, gram->body, gram->len)) != FK_OK)
            return err;
        err = fk_record_next_message(record, ret);
        return err == FK_ERR_AGAIN ? FK_OK : err;
    default:
        return FK_ERR_UNEXPECTED;
    }
}

/* Records without anything for the owner: some are good manners, many are an attack. */
static int count_idle(struct fk_record *record, const struct fk_opened *opened)
{
    bool idle =
        opened->event == FK_RECORD_NOTHING || (opened->event == FK_RECORD_DATA && opened->len == 0);

    if (idle)
        return fk_chatter_idle(&record->chatter);
    fk_chatter_data(&record->chatter, opened->event == FK_RECORD_DATA ? opened->len : 0);
    return FK_OK;
}

/* A message that waits, or else what the first record holds. FK_ERR_AGAIN: neither is there. */
static int open_next(struct fk_record *record, uint8_t *bytes, size_t len, struct fk_opened *ret)
{
    struct fk_cryptogram gram = {.head = bytes};
    struct head head;
    int err = fk_record_next_message(record, ret);

    if (err != FK_ERR_AGAIN || (err = read_head(bytes, len, &head)) != FK_OK ||
        (err = check_head(record, &head)) != FK_OK)
        return err;
    if (len - FK_RECORD_HEAD < head.len)
        return FK_ERR_AGAIN;
    gram.type = head.type;
    gram.body = bytes + FK_RECORD_HEAD;
    gram.len = head.len;
    if ((err = fk_record_decrypt(record, &gram)) != FK_OK)
        return err;
    err = dispatch(record, &gram, ret);
    ret->consumed = (size_t)FK_RECORD_HEAD + head.len;
    return err;
}

int fk_record_open(struct fk_record *record, uint8_t *bytes, size_t len, struct fk_opened *ret)
{
    struct fk_opened opened = {.event = FK_RECORD_NOTHING};
    int err;

    if (record->read.side != FK_SIDE_OPEN)
        return FK_ERR_CLOSED;
    err = open_next(record, bytes, len, &opened);
    if (err == FK_ERR_AGAIN)
        return err;
    if (err == FK_ERR_TLS)
        return break_off(record, err); /* the peer has given up: nothing needs to be said */
    if (err != FK_OK || (err = count_idle(record, &opened)) != FK_OK)
        return fail(record, err);
    *ret = opened;
    return FK_OK;
}

int fk_record_open_early(struct fk_record *record, uint8_t *bytes, size_t len, struct fk_early *ret)
{
    struct fk_cryptogram gram = {.head = bytes};
    struct head head;
    int err;

    *ret = (struct fk_early){.data = NULL};
    if (record->read.side != FK_SIDE_OPEN)
        return FK_ERR_CLOSED;
    if (fk_buf_len(&record->handshake) > 0 || read_head(bytes, len, &head) != FK_OK)
        return FK_OK;
    if ((err = check_head(record, &head)) != FK_OK)
        return fail(record, err);
    if (head.type != FK_CONTENT_APPLICATION || record->ops->decrypt_early == NULL ||
        record->read.keys->seq == UINT64_MAX)
        return FK_OK;
    gram.body = bytes + FK_RECORD_HEAD;
    gram.len = head.len;
    if ((err = record->ops->decrypt_early(record, &gram, len - FK_RECORD_HEAD)) != FK_OK)
        return fail(record, err);
    *ret = (struct fk_early){gram.body, gram.len, gram.len};
    if (record->read.early < gram.len)
        ret->len = record->read.early;
    return FK_OK;
}

int fk_record_open_many(struct fk_record *record, uint8_t *bytes, size_t len, struct iovec *pieces,
                        size_t max, struct fk_opened_many *ret)
{
    struct fk_opened opened = {.event = FK_RECORD_DATA};
    int err = FK_OK;

    *ret = (struct fk_opened_many){.n = 0};
    while (ret->n < max && opened.event == FK_RECORD_DATA &&
           (err = fk_record_open(record, bytes + ret->consumed, len - ret->consumed, &opened)) ==
               FK_OK) {
        ret->consumed += opened.consumed;
        if (opened.event == FK_RECORD_DATA && opened.len > 0)
            pieces[ret->n++] = (struct iovec){opened.data, opened.len};
    }
    ret->last = opened;
    return err;
}
