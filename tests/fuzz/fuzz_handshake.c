/*
 * Mode `handshake`, what comes from the other side: payloads (wire/keyop_handshake), session keys
 * (tls/session_wire), records of clients seen from outside (wire/records). The first byte chooses.
 * What decodes is encoded to the same bytes.
 */
#include "check.h"

#include "base/err.h"
#include "tls/session_wire.h"
#include "wire/keyop_handshake.h"
#include "wire/records.h"

#include <string.h>

static uint8_t out[1 << 17];

static struct fk_writer start(void)
{
    struct fk_writer writer;

    fk_writer_init(&writer, out, sizeof out);
    return writer;
}

static void check_written(const struct fk_writer *writer, struct fk_reader expected)
{
    size_t len;

    CHECK(fk_writer_end(writer, &len) == FK_OK);
    CHECK(len == expected.left && (len == 0 || memcmp(out, expected.next, len) == 0));
}

static void try_open(struct fk_reader payload)
{
    struct fk_writer writer = start();
    struct fk_handshake_open op;
    struct fk_reader name;

    if (fk_handshake_open_decode(payload, &op) != FK_OK)
        return;
    fk_handshake_open_encode(&op, &writer);
    check_written(&writer, payload);
    while (op.alpn.left > 0)
        CHECK(fk_reader_vec8(&op.alpn, &name) == FK_OK && name.left > 0);
}

static void try_data(struct fk_reader payload)
{
    struct fk_writer writer = start();
    struct fk_handshake_data op;
    uint8_t id[FK_HANDSHAKE_ID];

    if (fk_handshake_data_decode(payload, &op) == FK_OK) {
        CHECK(op.records.left > 0);
        fk_handshake_data_encode(&op, &writer);
        check_written(&writer, payload);
    }
    CHECK((fk_handshake_close_decode(payload, id) == FK_OK) == (payload.left == sizeof id));
}

static void try_answer(struct fk_reader payload)
{
    struct fk_writer writer = start();
    struct fk_handshake_answer answer;

    if (fk_handshake_answer_decode(payload, &answer) != FK_OK)
        return;
    fk_handshake_answer_encode(&answer, &writer);
    check_written(&writer, payload);
}

static void try_session(struct fk_reader payload)
{
    struct fk_writer writer = start();
    struct fk_session_keys keys;

    if (fk_session_wire_decode(payload, &keys) != FK_OK)
        return;
    CHECK(payload.left <= FK_SESSION_WIRE_MAX);
    fk_session_wire_encode(&keys, &writer);
    check_written(&writer, payload);
}

/* Whatever follows, the records found first stay what they are. */
static void try_records(struct fk_reader bytes)
{
    struct fk_records all, whole;
    int err = fk_records_scan(bytes, &all);

    CHECK(all.whole <= bytes.left);
    CHECK(err == FK_OK || err == FK_ERR_NOT_TLS || err == FK_ERR_LIMIT);
    bytes.left = all.whole;
    CHECK(fk_records_scan(bytes, &whole) == FK_OK);
    CHECK(whole.whole == all.whole && whole.flight == all.flight &&
          whole.pending_ccs == all.pending_ccs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const tries[])(struct fk_reader) = {try_open, try_data, try_answer, try_session,
                                                      try_records};
    struct fk_reader input;
    uint8_t choice;

    fk_reader_init(&input, data, size);
    if (fk_reader_u8(&input, &choice) != FK_OK || input.left > 65535)
        return 0;
    tries[choice % (sizeof tries / sizeof tries[0])](input);
    return 0;
}
