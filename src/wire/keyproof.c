/* Signed requests: see keyproof.h. */
#include "wire/keyproof.h"

#include "base/err.h"

#include <string.h>

#define ITEM_HEADER 3 /* tag, length */
#define LABEL       "farkey request 1"

int fk_keyproof_decode(struct fk_reader item, struct fk_keyproof *ret)
{
    struct fk_keyproof proof;
    int err;

    if ((err = fk_reader_u64(&item, &proof.counter)) != FK_OK ||
        (err = fk_reader_copy(&item, proof.reply_key, sizeof proof.reply_key)) != FK_OK ||
        (err = fk_reader_copy(&item, proof.signature, sizeof proof.signature)) != FK_OK ||
        (err = fk_reader_end(&item)) != FK_OK)
        return err;
    *ret = proof;
    return FK_OK;
}

void fk_keyproof_encode(const struct fk_keyproof *proof, struct fk_writer *out)
{
    fk_writer_u64(out, proof->counter);
    fk_writer_bytes(out, proof->reply_key, sizeof proof->reply_key);
    fk_writer_bytes(out, proof->signature, sizeof proof->signature);
}

int fk_keyproof_part(const struct fk_keymsg *msg, struct fk_reader *ret)
{
    struct fk_reader body = msg->body;
    size_t behind = ITEM_HEADER + FK_KEYPROOF_SIZE;

    if (!fk_item_present(&msg->proof))
        return FK_ERR_NOT_FOUND;
    if (body.left < behind || msg->proof.next + msg->proof.left != body.next + body.left)
        return FK_ERR_FORMAT;
    return fk_reader_take(&body, body.left - behind, ret);
}

void fk_keyproof_tbs(const struct fk_keyproof *proof, const struct fk_keyproof_place *place,
                     struct fk_reader part, struct fk_writer *out)
{
    fk_writer_bytes(out, LABEL, sizeof LABEL); /* its 0, too */
    fk_writer_bytes(out, place->exporter, sizeof place->exporter);
    fk_writer_vec8(out, place->server, strlen(place->server));
    fk_writer_bytes(out, part.next, part.left);
    fk_writer_u64(out, proof->counter);
    fk_writer_bytes(out, proof->reply_key, sizeof proof->reply_key);
}

/* All of these are answered with secrets. */
static bool is_ticket_operation(uint8_t opcode)
{
    return opcode == FK_OP_TICKET_KEYS || opcode == FK_OP_TICKET_SEAL ||
           opcode == FK_OP_TICKET_UNSEAL;
}

static bool is_keys13(uint8_t opcode)
{
    return opcode == FK_OP_HELLO13 || opcode == FK_OP_FLIGHT13;
}

bool fk_keyproof_covers(uint8_t opcode)
{
    return (opcode >= FK_OP_SIGN13 && opcode <= FK_OP_DECRYPT) ||
           opcode == FK_OP_LEND || /* whose result is sealed past the channel anyway */
           opcode == FK_OP_SHARE || opcode == FK_OP_PARTIAL ||
           (opcode >= FK_OP_AGREE_INIT && opcode <= FK_OP_RESUME) || is_keys13(opcode) ||
           is_ticket_operation(opcode);
}

bool fk_keyproof_is_secret(uint8_t opcode)
{
    return opcode == FK_OP_DECRYPT || (opcode >= FK_OP_AGREE_INIT && opcode <= FK_OP_KEYS) ||
           (opcode >= FK_OP_KEYS_KEEP && opcode <= FK_OP_RESUME) || is_keys13(opcode) ||
           is_ticket_operation(opcode);
}

/* --- replay --- */

static uint64_t bit_of(uint64_t counter)
{
    return UINT64_C(1) << (counter % 64);
}

static uint64_t *word_of(struct fk_keyproof_window *window, uint64_t counter)
{
    return &window->seen[counter % FK_KEYPROOF_WINDOW / 64];
}

/* Counters between are not seen yet; what was at their places is too old now. */
static void advance(struct fk_keyproof_window *window, uint64_t counter)
{
    if (counter - window->highest >= FK_KEYPROOF_WINDOW)
        memset(window->seen, 0, sizeof window->seen);
    else
        for (uint64_t n = window->highest; n != counter;) { /* which may be the last there is */
            n++;
            *word_of(window, n) &= ~bit_of(n);
        }
    window->highest = counter;
}

int fk_keyproof_take(struct fk_keyproof_window *window, uint64_t counter)
{
    if (counter == 0 ||
        (counter <= window->highest && (window->highest - counter >= FK_KEYPROOF_WINDOW ||
                                        (*word_of(window, counter) & bit_of(counter)) != 0)))
        return FK_ERR_REPLAY;
    if (counter > window->highest)
        advance(window, counter);
    *word_of(window, counter) |= bit_of(counter);
    return FK_OK;
}
