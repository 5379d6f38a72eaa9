/* INFO: the keys that an edge may use, with their certificates, in pages of one frame. */
#include "keyd/front_priv.h"

#include "base/err.h"
#include "base/limits.h"

#include <string.h>

/* Bit i: operation 0x40 + i is served. */
#define CAPABILITIES                                                                               \
    (1U << (FK_OP_INFO - 0x40) | 1U << (FK_OP_SIGN13 - 0x40) | 1U << (FK_OP_SIGN12 - 0x40) |       \
     1U << (FK_OP_DECRYPT - 0x40) | 1U << (FK_OP_LEND - 0x40) | 1U << (FK_OP_SHARE - 0x40) |       \
     1U << (FK_OP_PARTIAL - 0x40) | 1U << (FK_OP_AGREE_INIT - 0x40) |                              \
     1U << (FK_OP_AGREE_FINISH - 0x40) | 1U << (FK_OP_MASTER - 0x40) | 1U << (FK_OP_KEYS - 0x40) | \
     1U << (FK_OP_FINISHED - 0x40) | 1U << (FK_OP_KEYS_KEEP - 0x40) |                              \
     1U << (FK_OP_EXPOSE - 0x40) | 1U << (FK_OP_RESUME - 0x40) | 1U << (FK_OP_HS_OPEN - 0x40) |    \
     1U << (FK_OP_HS_DATA - 0x40) | 1U << (FK_OP_HS_CLOSE - 0x40) | 1U << (FK_OP_HELLO13 - 0x40) | \
     1U << (FK_OP_FLIGHT13 - 0x40) | 1U << (FK_OP_TICKET_SEAL - 0x40) |                            \
     1U << (FK_OP_TICKET_UNSEAL - 0x40) | 1U << (FK_OP_TICKET_KEYS - 0x40))

/* Payload of one page: a frame's body without the heads of frame items, rounded down. */
#define PAGE_MAX 65000
/* Head of the page: generation, capabilities, cursor, length. */
#define HEAD_SIZE 18

/* What an edge may do with the key at a position; 0: it is not told of it. */
static uint16_t usable(const struct fk_front_conn *conn, size_t position)
{
    const struct fk_index_key *key = fk_index_at(conn->front->set->index, position);

    if (key->retired || !fk_policy_has_key(conn->edge, position))
        return 0;
    if (key->held) /* nothing can be done with it here but by those who combine */
        return conn->edge->permissions & FK_PERM_SHARE;
    return key->public.permissions & conn->edge->permissions;
}

static size_t encoded_size(const struct fk_index_key *key)
{
    return sizeof key->public.ski + 1 + 2 + 1 + strlen(key->public.name) + 2 + key->chain_len;
}

/* The position after the last key that fits a page begun at `cursor`; 0 when it is the end. */
static uint32_t page_end(const struct fk_front_conn *conn, uint32_t cursor)
{
    const struct fk_index *index = conn->front->set->index;
    size_t used = HEAD_SIZE;

    for (size_t i = cursor; i < fk_index_count(index); i++) {
        if (usable(conn, i) == 0)
            continue;
        used += encoded_size(fk_index_at(index, i));
        if (used > PAGE_MAX)
            return (uint32_t)i;
    }
    return 0;
}

static void put_key(const struct fk_index_key *key, uint16_t permissions, struct fk_writer *out)
{
    struct fk_info_key info = {
        .type = key->public.type,
        .permissions = permissions,
        .name = fk_item(key->public.name, strlen(key->public.name)),
        .chain = fk_item(key->chain, key->chain_len),
    };

    memcpy(info.ski, key->public.ski, sizeof info.ski);
    fk_info_key_encode(&info, out);
}

void fk_front_info(struct fk_front_conn *conn, uint32_t id, uint32_t cursor)
{
    static uint8_t page[PAGE_MAX]; /* one loop, and no answer outlives this call */
    const struct fk_front_set *set = conn->front->set;
    struct fk_info_answer head = {.generation = set->fingerprint,
                                  .capabilities = CAPABILITIES,
                                  .next_cursor = page_end(conn, cursor)};
    size_t end = head.next_cursor != 0 ? head.next_cursor : fk_index_count(set->index);
    struct fk_keymsg answer = {.id = id, .opcode = FK_OP_RESPONSE};
    struct fk_writer out;
    size_t mark, len;
    uint16_t permissions;
    int err;

    fk_writer_init(&out, page, sizeof page);
    mark = fk_info_answer_begin(&head, &out);
    for (size_t i = cursor; i < end; i++)
        if ((permissions = usable(conn, i)) != 0)
            put_key(fk_index_at(set->index, i), permissions, &out);
    fk_writer_end16(&out, mark);
    if ((err = fk_writer_end(&out, &len)) != FK_OK) {
        fk_front_conn_send_error(conn, id, FK_ERR_INTERNAL);
    } else {
        answer.payload = fk_item(page, len);
        fk_front_conn_send(conn, &answer);
    }
    fk_front_count_result(conn->front, err);
}
