/* Codec of mode `handshake`: see keyop_handshake.h. */
#include "wire/keyop_handshake.h"

#include "base/err.h"
#include "base/limits.h"
#include "wire/keyop.h"

#include <string.h>

#define VERSIONS (FK_HANDSHAKE_TLS12 | FK_HANDSHAKE_TLS13)
#define OPTIONS                                                                    \
    (FK_HANDSHAKE_ECDHE | FK_HANDSHAKE_DHE | FK_HANDSHAKE_RSA | FK_HANDSHAKE_IDS | \
     FK_HANDSHAKE_EXPOSE)

/* --- HS_OPEN --- */

/* A list of names<u8>, none of them empty. */
static int check_alpn(struct fk_reader list)
{
    struct fk_reader name;
    int err;

    while (list.left > 0) {
        if ((err = fk_reader_vec8(&list, &name)) != FK_OK)
            return FK_ERR_FORMAT; /* it ends within the list, not within the payload */
        if (name.left == 0)
            return FK_ERR_FORMAT;
    }
    return FK_OK;
}

/* Names<u16>, and none where nobody is asked. */
static int check_cas(const struct fk_handshake_open *op)
{
    struct fk_reader list = op->cas, name;

    if (op->client > FK_HANDSHAKE_CLIENT_REQUIRED || list.left > FK_CLIENT_CAS_MAX ||
        (op->client == FK_HANDSHAKE_CLIENT_NOT_ASKED && list.left > 0))
        return FK_ERR_FORMAT;
    while (list.left > 0)
        if (fk_reader_vec16(&list, &name) != FK_OK || name.left == 0)
            return FK_ERR_FORMAT;
    return FK_OK;
}

static int check_open(const struct fk_handshake_open *op)
{
    if (op->alpn.left > FK_HANDSHAKE_ALPN_MAX || op->versions == 0 ||
        (op->versions & ~VERSIONS) != 0 || (op->options & ~OPTIONS) != 0 ||
        op->groups.left % 2 != 0 || op->records.left == 0 ||
        (op->title.left == 0 && op->name.left == 0))
        return FK_ERR_FORMAT;
    return check_cas(op) == FK_OK ? check_alpn(op->alpn) : FK_ERR_FORMAT;
}

int fk_handshake_open_decode(struct fk_reader payload, struct fk_handshake_open *ret)
{
    struct fk_handshake_open op;
    int err;

    if ((err = fk_reader_u8(&payload, &op.versions)) != FK_OK ||
        (err = fk_reader_u8(&payload, &op.options)) != FK_OK ||
        (err = fk_reader_u8(&payload, &op.tickets)) != FK_OK ||
        (err = fk_reader_u32(&payload, &op.lifetime)) != FK_OK ||
        (err = fk_reader_vec8(&payload, &op.groups)) != FK_OK ||
        (err = fk_reader_vec16(&payload, &op.alpn)) != FK_OK ||
        (err = fk_reader_u8(&payload, &op.client)) != FK_OK ||
        (err = fk_reader_vec16(&payload, &op.cas)) != FK_OK ||
        (err = fk_reader_vec8(&payload, &op.title)) != FK_OK ||
        (err = fk_reader_vec8(&payload, &op.name)) != FK_OK ||
        (err = fk_reader_vec16(&payload, &op.records)) != FK_OK)
        return err;
    if ((err = fk_reader_end(&payload)) != FK_OK || (err = check_open(&op)) != FK_OK)
        return err;
    *ret = op;
    return FK_OK;
}

void fk_handshake_open_encode(const struct fk_handshake_open *op, struct fk_writer *out)
{
    fk_writer_u8(out, op->versions);
    fk_writer_u8(out, op->options);
    fk_writer_u8(out, op->tickets);
    fk_writer_u32(out, op->lifetime);
    fk_writer_vec8(out, op->groups.next, op->groups.left);
    fk_writer_vec16(out, op->alpn.next, op->alpn.left);
    fk_writer_u8(out, op->client);
    fk_writer_vec16(out, op->cas.next, op->cas.left);
    fk_writer_vec8(out, op->title.next, op->title.left);
    fk_writer_vec8(out, op->name.next, op->name.left);
    fk_writer_vec16(out, op->records.next, op->records.left);
}

uint16_t fk_handshake_permissions(const struct fk_handshake_open *op)
{
    return FK_PERM_HANDSHAKE | ((op->options & FK_HANDSHAKE_EXPOSE) != 0 ? FK_PERM_EXPOSE : 0);
}

/* --- HS_DATA, HS_CLOSE --- */

int fk_handshake_data_decode(struct fk_reader payload, struct fk_handshake_data *ret)
{
    struct fk_handshake_data op;
    int err;

    if ((err = fk_reader_copy(&payload, op.id, sizeof op.id)) != FK_OK ||
        (err = fk_reader_vec16(&payload, &op.records)) != FK_OK ||
        (err = fk_reader_end(&payload)) != FK_OK)
        return err;
    if (op.records.left == 0)
        return FK_ERR_FORMAT;
    *ret = op;
    return FK_OK;
}

void fk_handshake_data_encode(const struct fk_handshake_data *op, struct fk_writer *out)
{
    fk_writer_bytes(out, op->id, sizeof op->id);
    fk_writer_vec16(out, op->records.next, op->records.left);
}

int fk_handshake_close_decode(struct fk_reader payload, uint8_t ret[FK_HANDSHAKE_ID])
{
    uint8_t id[FK_HANDSHAKE_ID];
    int err;

    if ((err = fk_reader_copy(&payload, id, sizeof id)) != FK_OK ||
        (err = fk_reader_end(&payload)) != FK_OK)
        return err;
    memcpy(ret, id, sizeof id);
    return FK_OK;
}

void fk_handshake_close_encode(const uint8_t id[FK_HANDSHAKE_ID], struct fk_writer *out)
{
    fk_writer_bytes(out, id, FK_HANDSHAKE_ID);
}

/* --- the answer --- */

/* A byte of `max` at most. */
static int decode_choice(struct fk_reader *in, uint8_t max, uint8_t *ret)
{
    uint8_t choice;
    int err = fk_reader_u8(in, &choice);

    if (err == FK_OK && choice > max)
        err = FK_ERR_FORMAT;
    if (err == FK_OK)
        *ret = choice;
    return err;
}

static int decode_done(struct fk_reader *in, struct fk_handshake_answer *answer)
{
    uint8_t resumed;
    int err;

    if ((err = decode_choice(in, 1, &resumed)) != FK_OK ||
        (err = fk_reader_u16(in, &answer->rest)) != FK_OK ||
        (err = fk_reader_vec8(in, &answer->alpn)) != FK_OK)
        return err;
    answer->resumed = resumed == 1;
    if ((err = fk_reader_vec16(in, &answer->keys)) != FK_OK)
        return err;
    return fk_reader_vec16(in, &answer->chain);
}

static int decode_exposed(struct fk_reader *in, struct fk_handshake_answer *answer)
{
    int err;

    if ((err = fk_reader_vec8(in, &answer->alpn)) != FK_OK ||
        (err = fk_reader_take(in, FK_HANDSHAKE_MASTER, &answer->master)) != FK_OK)
        return err;
    return fk_reader_vec16(in, &answer->chain);
}

static int decode_failed(struct fk_reader *in, struct fk_handshake_answer *answer)
{
    uint8_t cause;
    int err;

    if ((err = decode_choice(in, FK_HANDSHAKE_BY_KEY, &cause)) != FK_OK ||
        (err = fk_reader_u8(in, &answer->alert)) != FK_OK)
        return err;
    answer->cause = (enum fk_handshake_cause)cause;
    return fk_reader_vec8(in, &answer->reason);
}

int fk_handshake_answer_decode(struct fk_reader payload, struct fk_handshake_answer *ret)
{
    struct fk_handshake_answer answer = {.resumed = false};
    uint8_t state;
    int err;

    if ((err = fk_reader_u8(&payload, &state)) != FK_OK ||
        (err = fk_reader_copy(&payload, answer.id, sizeof answer.id)) != FK_OK ||
        (err = fk_reader_vec16(&payload, &answer.records)) != FK_OK)
        return err;
    if (state < FK_HANDSHAKE_ANY || state > FK_HANDSHAKE_EXPOSED)
        return FK_ERR_FORMAT;
    answer.state = (enum fk_handshake_state)state;
    if (answer.state == FK_HANDSHAKE_DONE)
        err = decode_done(&payload, &answer);
    else if (answer.state == FK_HANDSHAKE_FAILED)
        err = decode_failed(&payload, &answer);
    else if (answer.state == FK_HANDSHAKE_EXPOSED)
        err = decode_exposed(&payload, &answer);
    if (err != FK_OK || (err = fk_reader_end(&payload)) != FK_OK)
        return err;
    *ret = answer;
    return FK_OK;
}

void fk_handshake_answer_encode(const struct fk_handshake_answer *answer, struct fk_writer *out)
{
    fk_writer_u8(out, (uint8_t)answer->state);
    fk_writer_bytes(out, answer->id, sizeof answer->id);
    fk_writer_vec16(out, answer->records.next, answer->records.left);
    if (answer->state == FK_HANDSHAKE_DONE) {
        fk_writer_u8(out, answer->resumed ? 1 : 0);
        fk_writer_u16(out, answer->rest);
        fk_writer_vec8(out, answer->alpn.next, answer->alpn.left);
        fk_writer_vec16(out, answer->keys.next, answer->keys.left);
        fk_writer_vec16(out, answer->chain.next, answer->chain.left);
    } else if (answer->state == FK_HANDSHAKE_FAILED) {
        fk_writer_u8(out, (uint8_t)answer->cause);
        fk_writer_u8(out, answer->alert);
        fk_writer_vec8(out, answer->reason.next, answer->reason.left);
    } else if (answer->state == FK_HANDSHAKE_EXPOSED) {
        fk_writer_vec8(out, answer->alpn.next, answer->alpn.left);
        fk_writer_bytes(out, answer->master.next, answer->master.left);
        fk_writer_vec16(out, answer->chain.next, answer->chain.left);
    }
}
