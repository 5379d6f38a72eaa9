/*
 * The record engine's reading side. The input is a script for a peer that has the keys: it seals
 * content of any type, so that what is behind the decryption is reached, and sends bytes as they
 * are. Whatever comes: no more is consumed than is there, and after an error nothing is opened.
 */
#include "base/err.h"
#include "tls/record_priv.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define WIRE 80000

struct ends {
    struct fk_arena *arena;
    struct fk_record *peer, *engine;
    uint8_t wire[WIRE];
    size_t len;
};

static void open_ends(struct ends *ends, uint8_t choice)
{
    static const uint16_t suites[] = {0x1301, 0x1303, 0xc02f, 0xcca8,
                                      0x1302, 0xc02f, 0x002f, 0xc028};
    const struct fk_suite *suite = fk_suite_find(suites[choice & 7]);
    bool server = (choice & 8) != 0, etm = (choice & 16) != 0;
    uint8_t secret[48] = {1}, random[32] = {2};
    struct fk_session_keys keys;
    int err = suite->version == FK_TLS13
                  ? fk_session_keys_tls13(suite, secret, secret, &keys)
                  : fk_session_keys_tls12(suite, secret, random, random,
                                          etm && suite->protection == FK_PROTECT_CBC, &keys);

    if (err != FK_OK || fk_record_arena_new(2, &ends->arena) != FK_OK ||
        fk_record_new(ends->arena, &keys, server ? FK_RECORD_CLIENT : FK_RECORD_SERVER,
                      &ends->peer) != FK_OK ||
        fk_record_new(ends->arena, &keys, server ? FK_RECORD_SERVER : FK_RECORD_CLIENT,
                      &ends->engine) != FK_OK)
        abort();
}

/*
 * Take what there is of a part of the first record, as long as half of what came. False when the
 * session has ended.
 */
static bool peep(struct ends *ends)
{
    struct fk_early early;
    size_t there = ends->len / 2;
    int err = fk_record_open_early(ends->engine, ends->wire, there, &early);

    if (err == FK_OK && early.len > there)
        abort();
    return err == FK_OK;
}

/* Open what is there. False when the session has ended. */
static bool open_all(struct ends *ends)
{
    uint8_t out[FK_RECORD_CONTROL_MAX];
    struct fk_opened opened;
    size_t len;
    int err;

    if (!peep(ends))
        return false;
    while ((err = fk_record_open(ends->engine, ends->wire, ends->len, &opened)) == FK_OK) {
        if (opened.consumed > ends->len || opened.len > ends->len + FK_RECORD_PLAIN_MAX * 2)
            abort();
        ends->len -= opened.consumed;
        memmove(ends->wire, ends->wire + opened.consumed, ends->len);
    }
    if (fk_record_seal_control(ends->engine, out, &len) != FK_OK || len > sizeof out)
        abort();
    if (err == FK_ERR_AGAIN)
        return true;
    if (fk_record_open(ends->engine, ends->wire, ends->len, &opened) != FK_ERR_CLOSED)
        abort();
    return false;
}

/* One line of the script: what, how long, content. False at the script's end. */
static bool step(struct ends *ends, struct fk_reader *script)
{
    struct fk_pieces pieces;
    struct fk_reader content;
    struct iovec piece;
    uint8_t what;
    size_t sealed;

    if (fk_reader_u8(script, &what) != FK_OK || fk_reader_vec16(script, &content) != FK_OK ||
        content.left > FK_RECORD_PLAIN_MAX + 2 || ends->len + content.left + 64 > WIRE)
        return false;
    if ((what & 0x80) != 0) { /* as it is */
        if (content.left > 0)
            memcpy(ends->wire + ends->len, content.next, content.left);
        ends->len += content.left;
        return true;
    }
    piece = (struct iovec){(void *)(uintptr_t)content.next, content.left};
    pieces = (struct fk_pieces){.first = &piece};
    if (fk_record_encrypt(ends->peer, what, &pieces, content.left, ends->wire + ends->len,
                          &sealed) != FK_OK)
        abort();
    ends->len += sealed;
    /* A peer follows its own KeyUpdate, if that is what it has sent. */
    if (what == FK_CONTENT_HANDSHAKE && content.left == 5 && content.next[0] == 24 &&
        fk_record_keys(ends->peer)->suite->version == FK_TLS13 &&
        fk_record_renew(ends->peer) != FK_OK)
        abort();
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct ends ends;
    struct fk_reader script;
    uint8_t choice;

    fk_reader_init(&script, data, size);
    if (fk_reader_u8(&script, &choice) != FK_OK)
        return 0;
    ends.len = 0;
    open_ends(&ends, choice);
    while (step(&ends, &script) && open_all(&ends))
        ;
    fk_record_free(ends.peer);
    fk_record_free(ends.engine);
    fk_arena_free(ends.arena);
    return 0;
}
