/*
 * wire/keymsg: what decodes is encoded and decodes to the same; a prefix of a frame is incomplete;
 * error codes survive the wire.
 */
#include "check.h"

#include "base/err.h"
#include "wire/keymsg.h"

#include <string.h>

static const size_t items[] = {
    offsetof(struct fk_keymsg, digest),    offsetof(struct fk_keymsg, sni),
    offsetof(struct fk_keymsg, client_ip), offsetof(struct fk_keymsg, ski),
    offsetof(struct fk_keymsg, server_ip), offsetof(struct fk_keymsg, cert_id),
    offsetof(struct fk_keymsg, payload),   offsetof(struct fk_keymsg, extra),
    offsetof(struct fk_keymsg, cert_hash), offsetof(struct fk_keymsg, share),
};

static void check_same(const struct fk_keymsg *a, const struct fk_keymsg *b)
{
    CHECK(a->id == b->id && a->opcode == b->opcode);
    for (size_t i = 0; i < sizeof items / sizeof items[0]; i++) {
        const struct fk_reader *x = (const void *)((const char *)a + items[i]);
        const struct fk_reader *y = (const void *)((const char *)b + items[i]);

        CHECK(fk_item_present(x) == fk_item_present(y) && x->left == y->left);
        CHECK(x->left == 0 || memcmp(x->next, y->next, x->left) == 0);
    }
}

static void round_trip(const struct fk_keymsg *msg, bool pad)
{
    struct fk_keymsg back;
    struct fk_frame frame;
    struct fk_buf out;
    size_t used;

    fk_buf_init(&out, FK_FRAME_MAX);
    CHECK(fk_keymsg_encode(msg, pad, &out) == FK_OK);
    CHECK(!pad || fk_buf_len(&out) >= FK_FRAME_PADDED - 2);
    CHECK(fk_frame_parse(fk_buf_data(&out), fk_buf_len(&out), &frame, &used) == FK_OK);
    CHECK(used == fk_buf_len(&out) && frame.major == 1 && frame.minor == 0);
    CHECK(fk_keymsg_decode(&frame, &back) == FK_OK);
    check_same(msg, &back);
    fk_buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fk_keymsg msg;
    struct fk_frame frame;
    size_t used, prefix_used;
    int err;

    CHECK(fk_key_error_from_wire(size > 0 ? data[0] : 0) != FK_OK);
    CHECK(fk_key_opcode_name(size > 0 ? data[0] : 0) != NULL);
    err = fk_frame_parse(data, size, &frame, &used);
    CHECK(err == FK_OK || err == FK_ERR_AGAIN);
    CHECK(err == FK_OK ? used <= size : used == 0 || used > size);
    if (err != FK_OK)
        return 0;
    CHECK(fk_frame_parse(data, used - 1, &frame, &prefix_used) == FK_ERR_AGAIN);
    if (fk_keymsg_decode(&frame, &msg) != FK_OK)
        return 0;
    round_trip(&msg, false);
    round_trip(&msg, true);
    return 0;
}
