/* Payloads of mode `agree`: see keyop_agree.h. */
#include "wire/keyop_agree.h"

#include "base/err.h"
#include "base/limits.h"
#include "wire/keyop.h"

/* --- groups --- */

static const struct fk_agree_group groups[] = {
    {FK_AGREE_P256, false, 65, 32},       {FK_AGREE_P384, false, 97, 48},
    {FK_AGREE_X25519, false, 32, 32},     {FK_AGREE_FFDHE2048, true, 256, 256},
    {FK_AGREE_FFDHE3072, true, 384, 384}, {FK_AGREE_FFDHE4096, true, 512, 512},
};

const struct fk_agree_group *fk_agree_group_find(uint16_t id)
{
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        if (groups[i].id == id)
            return &groups[i];
    return NULL;
}

/* Numbers of DHE are as long as they happen to be, all others as long as the field. */
static bool is_length(const struct fk_agree_group *group, size_t len)
{
    return group->is_dh ? len > 0 && len <= group->secret_len : len == group->secret_len;
}

int fk_agree_secret_check(uint16_t id, size_t len)
{
    const struct fk_agree_group *group = fk_agree_group_find(id);

    return group != NULL && is_length(group, len) ? FK_OK : FK_ERR_FORMAT;
}

/* --- AGREE_INIT --- */

int fk_agree_init_decode(struct fk_reader payload, struct fk_agree_init *ret)
{
    struct fk_agree_init op = {0};
    uint8_t form;
    int err;

    if ((err = fk_reader_u16(&payload, &op.scheme)) != FK_OK ||
        (err = fk_reader_u16(&payload, &op.group)) != FK_OK ||
        (err = fk_reader_u8(&payload, &form)) != FK_OK ||
        (err = fk_reader_copy(&payload, op.client_random, sizeof op.client_random)) != FK_OK ||
        (err = fk_reader_copy(&payload, op.server_random, sizeof op.server_random)) != FK_OK ||
        (err = fk_reader_end(&payload)) != FK_OK)
        return err;
    if (form != FK_AGREE_KEPT && form != FK_AGREE_HANDED)
        return FK_ERR_FORMAT;
    if (fk_agree_group_find(op.group) == NULL)
        return FK_ERR_UNSUPPORTED;
    op.form = (enum fk_agree_form)form;
    *ret = op;
    return FK_OK;
}

void fk_agree_init_encode(const struct fk_agree_init *op, struct fk_writer *out)
{
    fk_writer_u16(out, op->scheme);
    fk_writer_u16(out, op->group);
    fk_writer_u8(out, (uint8_t)op->form);
    fk_writer_bytes(out, op->client_random, sizeof op->client_random);
    fk_writer_bytes(out, op->server_random, sizeof op->server_random);
}

/* --- its answer --- */

static int check_params(const struct fk_agree_group *group, struct fk_reader params)
{
    struct fk_ecdh_params ecdh;
    struct fk_dh_params dh;
    int err;

    if (group->is_dh) {
        if ((err = fk_dh_params_decode(params, &dh)) != FK_OK)
            return err;
        return dh.p.left == group->share_len ? FK_OK : FK_ERR_FORMAT;
    }
    if ((err = fk_ecdh_params_decode(params, &ecdh)) != FK_OK)
        return err;
    return ecdh.group == group->id ? FK_OK : FK_ERR_FORMAT;
}

/* Either a handle or a private value, as was asked for. Public: whether it is there. */
static int check_form(const struct fk_agree_group *group, const struct fk_agree_init *op,
                      const struct fk_agree_made *made)
{
    uint8_t any = 0;

    for (size_t i = 0; i < sizeof made->handle; i++)
        any |= made->handle[i];
    if (op->form == FK_AGREE_KEPT)
        return any != 0 && made->private_value.left == 0 ? FK_OK : FK_ERR_FORMAT;
    return any == 0 && is_length(group, made->private_value.left) ? FK_OK : FK_ERR_FORMAT;
}

int fk_agree_made_decode(struct fk_reader payload, const struct fk_agree_init *op,
                         struct fk_agree_made *ret)
{
    const struct fk_agree_group *group = fk_agree_group_find(op->group);
    struct fk_agree_made made = {0};
    int err;

    if (group == NULL)
        return FK_ERR_UNSUPPORTED;
    if ((err = fk_reader_copy(&payload, made.handle, sizeof made.handle)) != FK_OK ||
        (err = fk_reader_vec16(&payload, &made.params)) != FK_OK ||
        (err = fk_reader_vec16(&payload, &made.signature)) != FK_OK ||
        (err = fk_reader_vec16(&payload, &made.private_value)) != FK_OK ||
        (err = fk_reader_end(&payload)) != FK_OK)
        return err;
    /* Parameters cut short inside a whole payload are malformed, not incomplete. */
    err = check_params(group, made.params);
    if (err != FK_OK)
        return err == FK_ERR_TRUNCATED || err == FK_ERR_TRAILING ? FK_ERR_FORMAT : err;
    if (made.signature.left == 0)
        return FK_ERR_FORMAT;
    if ((err = check_form(group, op, &made)) != FK_OK)
        return err;
    *ret = made;
    return FK_OK;
}

void fk_agree_made_encode(const struct fk_agree_made *made, struct fk_writer *out)
{
    fk_writer_bytes(out, made->handle, sizeof made->handle);
    fk_writer_vec16(out, made->params.next, made->params.left);
    fk_writer_vec16(out, made->signature.next, made->signature.left);
    fk_writer_vec16(out, made->private_value.next, made->private_value.left);
}

/* --- AGREE_FINISH --- */

int fk_agree_share_read(struct fk_reader *payload, struct fk_agree_finish *ret)
{
    struct fk_reader rest = *payload;
    struct fk_agree_finish op;
    int err;

    if ((err = fk_reader_copy(&rest, op.handle, sizeof op.handle)) != FK_OK ||
        (err = fk_reader_vec16(&rest, &op.share)) != FK_OK)
        return err;
    if (op.share.left == 0 || op.share.left > FK_DH_PRIME_MAX)
        return FK_ERR_FORMAT;
    *payload = rest;
    *ret = op;
    return FK_OK;
}

int fk_agree_finish_decode(struct fk_reader payload, struct fk_agree_finish *ret)
{
    struct fk_agree_finish op;
    int err;

    if ((err = fk_agree_share_read(&payload, &op)) != FK_OK ||
        (err = fk_reader_end(&payload)) != FK_OK)
        return err;
    *ret = op;
    return FK_OK;
}

void fk_agree_finish_encode(const struct fk_agree_finish *op, struct fk_writer *out)
{
    fk_writer_bytes(out, op->handle, sizeof op->handle);
    fk_writer_vec16(out, op->share.next, op->share.left);
}
