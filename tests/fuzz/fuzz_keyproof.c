/*
 * wire/keyproof: an item that decodes encodes to the same bytes; of a message the part that is
 * signed and the proof are the whole body; the window takes each counter once and none that is too
 * old, as a list of all that came says.
 */
#include "check.h"

#include "base/err.h"
#include "wire/keyproof.h"

#include <string.h>

#define COUNTERS_MAX 256
#define ITEM_HEADER  3 /* tag, length */
#define LABEL_SIZE   17

static void check_item(const uint8_t *data, size_t size)
{
    uint8_t back[FK_KEYPROOF_SIZE];
    struct fk_keyproof proof;
    struct fk_writer out;
    size_t len;

    if (fk_keyproof_decode((struct fk_reader){data, size}, &proof) != FK_OK) {
        CHECK(size != FK_KEYPROOF_SIZE);
        return;
    }
    fk_writer_init(&out, back, sizeof back);
    fk_keyproof_encode(&proof, &out);
    CHECK(fk_writer_end(&out, &len) == FK_OK && len == size && memcmp(back, data, size) == 0);
}

static void check_tbs(const struct fk_keyproof *proof, struct fk_reader part)
{
    static uint8_t message[FK_FRAME_MAX + FK_KEYPROOF_FRAME];
    const struct fk_keyproof_place place = {.exporter = {1, 2, 3}, .server = "keys.example"};
    const size_t before = LABEL_SIZE + sizeof place.exporter + 1 + strlen(place.server);
    struct fk_writer out;
    size_t len;

    fk_writer_init(&out, message, sizeof message);
    fk_keyproof_tbs(proof, &place, part, &out);
    CHECK(fk_writer_end(&out, &len) == FK_OK);
    CHECK(len == before + part.left + 8 + FK_KEYPROOF_REPLY_KEY);
    CHECK(part.left == 0 || memcmp(message + before, part.next, part.left) == 0);
}

static void check_message(const uint8_t *data, size_t size)
{
    struct fk_keyproof proof;
    struct fk_reader part;
    struct fk_keymsg msg;
    struct fk_frame frame;
    size_t used;

    if (fk_frame_parse(data, size, &frame, &used) != FK_OK ||
        fk_keymsg_decode(&frame, &msg) != FK_OK)
        return;
    switch (fk_keyproof_part(&msg, &part)) {
    case FK_OK:
        CHECK(fk_keyproof_decode(msg.proof, &proof) == FK_OK);
        CHECK(part.next == frame.body.next);
        CHECK(part.left + ITEM_HEADER + FK_KEYPROOF_SIZE == frame.body.left);
        CHECK(part.next + part.left + ITEM_HEADER == msg.proof.next);
        check_tbs(&proof, part);
        break;
    case FK_ERR_NOT_FOUND:
        CHECK(!fk_item_present(&msg.proof));
        break;
    default:
        CHECK(fk_item_present(&msg.proof));
        CHECK(msg.proof.next + msg.proof.left < frame.body.next + frame.body.left);
    }
}

/* Counters are taken from the input in steps of a signed 16-bit number from the last one. */
static void check_window(const uint8_t *data, size_t size)
{
    struct fk_keyproof_window window = {0};
    uint64_t taken[COUNTERS_MAX], counter = 0, highest = 0;
    size_t n = 0;

    for (size_t at = 0; at + 2 <= size && n < COUNTERS_MAX; at += 2) {
        bool good;

        counter += (uint64_t)(int64_t)(int16_t)(data[at] << 8 | data[at + 1]);
        good = counter != 0 && (counter > highest || highest - counter < FK_KEYPROOF_WINDOW);
        for (size_t i = 0; i < n; i++)
            good = good && taken[i] != counter;
        CHECK(fk_keyproof_take(&window, counter) == (good ? FK_OK : FK_ERR_REPLAY));
        if (!good)
            continue;
        taken[n++] = counter;
        if (counter > highest)
            highest = counter;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_item(data, size);
    check_message(data, size);
    check_window(data, size);
    return 0;
}
