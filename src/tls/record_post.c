/*
 * Handshake messages after the handshake: KeyUpdate, NewSessionTicket, and what is refused. They
 * may be cut across records, and several may come in one: their bytes are gathered until a message
 * is whole. What is whole for the owner stays until it has seen it.
 */
#include "tls/record_priv.h"

#include "base/err.h"

enum {
    HELLO_REQUEST = 0,
    CLIENT_HELLO = 1,
    NEW_SESSION_TICKET = 4,
    KEY_UPDATE = 24,
};

#define HEAD 4

int fk_record_take_handshake(struct fk_record *record, const uint8_t *data, size_t len)
{
    int err;

    if (len == 0)
        return FK_ERR_UNEXPECTED; /* RFC 8446 section 5.1 */
    err = fk_buf_append(&record->handshake, data, len);
    return err == FK_ERR_LIMIT ? FK_ERR_RANGE : err;
}

/* What the owner was shown, or what is done with. */
static void consume(struct fk_record *record, size_t len)
{
    fk_buf_consume(&record->handshake, len);
    if (fk_buf_len(&record->handshake) == 0)
        fk_buf_fini(&record->handshake);
}

/* RFC 8446 sections 4.6.3 and 5.1: the last message under the old keys ends its record. */
static int take_update(struct fk_record *record, struct fk_reader *body)
{
    uint8_t request;
    int err;

    if (fk_reader_u8(body, &request) != FK_OK || fk_reader_end(body) != FK_OK)
        return FK_ERR_FORMAT;
    if (request > 1)
        return FK_ERR_RANGE;
    if (fk_buf_len(&record->handshake) > HEAD + 1)
        return FK_ERR_UNEXPECTED;
    if ((err = fk_traffic_keys_update(record->keys->suite, record->read.keys)) != FK_OK)
        return err;
    fk_record_drop_ciphers(&record->read);
    if (request == 1)
        record->update_due = true; /* one answer for however many */
    consume(record, HEAD + 1);
    return FK_OK;
}

/* TLS 1.2: told that it will not happen, a peer may go on (RFC 5246 section 7.2.2). */
static int refuse_renegotiation(struct fk_record *record, size_t len)
{
    if (record->write.side == FK_SIDE_OPEN && record->alert_due == FK_RA_NONE)
        record->alert_due = FK_RA_NO_RENEGOTIATION;
    consume(record, HEAD + len);
    return FK_OK;
}

static int take_message(struct fk_record *record, uint8_t type, struct fk_reader *body,
                        struct fk_opened *ret)
{
    bool tls13 = record->keys->suite->version == FK_TLS13;
    bool server = record->role == FK_RECORD_SERVER;
    int err = fk_chatter_message(&record->chatter);

    if (err != FK_OK)
        return err;
    if (tls13 && type == KEY_UPDATE)
        return take_update(record, body);
    if (tls13 && !server && type == NEW_SESSION_TICKET) {
        *ret = (struct fk_opened){.event = FK_RECORD_TICKET,
                                  .data = fk_buf_data(&record->handshake) + HEAD,
                                  .len = body->left};
        record->handed_over = HEAD + body->left;
        return FK_OK;
    }
    if (!tls13 && type == (server ? CLIENT_HELLO : HELLO_REQUEST))
        return refuse_renegotiation(record, body->left);
    return FK_ERR_UNEXPECTED;
}

int fk_record_next_message(struct fk_record *record, struct fk_opened *ret)
{
    struct fk_reader reader, body;
    uint8_t type;

    consume(record, record->handed_over);
    record->handed_over = 0;
    fk_reader_init(&reader, fk_buf_data(&record->handshake), fk_buf_len(&record->handshake));
    if (fk_reader_u8(&reader, &type) != FK_OK || fk_reader_vec24(&reader, &body) != FK_OK)
        return FK_ERR_AGAIN;
    return take_message(record, type, &body, ret);
}
