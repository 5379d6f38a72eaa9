/*
 * Mode `handshake` at a front: which keys an edge's site stands for, whether it may use them so,
 * and which handshaker has the handshake. Looks at no byte of the edge's clients.
 */
#include "keyd/front_priv.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/writer.h"
#include "wire/keyop_handshake.h"

#include <string.h>

static void answer_malformed(struct fk_front_conn *conn, const struct fk_keymsg *msg)
{
    fk_front_count_result(conn->front, FK_ERR_FORMAT);
    fk_log_limited(&conn->front->error_limit, FK_LOG_WARN, "request not taken",
                   fk_uint("channel", conn->id), fk_str("edge", conn->edge->name),
                   fk_uint("opcode", msg->opcode), fk_error(FK_ERR_FORMAT));
    fk_front_conn_send_error(conn, msg->id, FK_ERR_FORMAT);
}

/* Of the key's name or a name of its certificate; of either name of the site, in this order. */
static const struct fk_index_key *find_key(const struct fk_index *index,
                                           const struct fk_handshake_open *open, unsigned types)
{
    const struct fk_index_key *key =
        fk_index_find(index, FK_INDEX_NAME, open->title.next, open->title.left, types);

    if (key != NULL || open->name.left == 0)
        return key;
    return fk_index_find(index, FK_INDEX_NAME, open->name.next, open->name.left, types);
}

static bool may_use(const struct fk_front_conn *conn, const struct fk_index_key *key,
                    uint16_t needed)
{
    size_t position = fk_index_position(conn->front->set->index, key);

    return fk_policy_has_key(conn->edge, position) && key->chain_len > 0 &&
           (key->public.permissions & needed) == needed;
}

/*
 * The keys of the site, one of each type, that the edge may use in this way and that have a
 * certificate. Returns the first of them; when there is none, the first that there is at all: the
 * policy then says what is wrong with it.
 */
static const struct fk_index_key *find_keys(const struct fk_front_conn *conn,
                                            const struct fk_handshake_open *open,
                                            struct fk_hs_head *head)
{
    static const enum fk_key_type types[] = {FK_KEY_EC, FK_KEY_RSA, FK_KEY_ED25519};
    const struct fk_index_key *first = NULL, *other = NULL;
    const uint16_t needed = fk_handshake_permissions(open);

    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        const struct fk_index_key *key = find_key(conn->front->set->index, open, 1U << types[i]);

        if (key != NULL && other == NULL)
            other = key;
        if (key == NULL || !may_use(conn, key, needed))
            continue;
        if (first == NULL)
            first = key;
        memcpy(head->skis[head->n_keys++], key->public.ski, sizeof head->skis[0]);
    }
    return first != NULL ? first : other;
}

static struct fk_hs_head make_head(const struct fk_front_conn *conn, uint8_t opcode)
{
    const struct fk_front *front = conn->front;
    struct fk_hs_head head = {
        .generation = front->set->generation,
        .edge = (uint16_t)fk_quota_number(front->options.quota, conn->edge->slot),
        .opcode = opcode,
    };

    memcpy(head.owner, conn->edge->owner, sizeof head.owner);
    return head;
}

static int submit(struct fk_front_request *request, const struct fk_hs_ask *ask)
{
    int err = fk_hs_pool_submit(request->front->handshakers, ask, fk_front_request_done, request);

    if (err == FK_OK)
        fk_front_request_begin(request);
    return err;
}

/* A share of a split key goes along, behind the payload; only a signer can read it. */
static int add_share(const struct fk_keymsg *msg, struct fk_reader share, struct fk_hs_ask *ask)
{
    static uint8_t bytes[FK_HANDSHAKER_MESSAGE_MAX]; /* one loop; nothing secret */
    struct fk_writer out;
    size_t len;
    int err;

    if (share.left > UINT16_MAX)
        return FK_ERR_LIMIT;
    fk_writer_init(&out, bytes, sizeof bytes);
    fk_writer_bytes(&out, msg->payload.next, msg->payload.left);
    fk_writer_bytes(&out, share.next, share.left);
    if ((err = fk_writer_end(&out, &len)) != FK_OK)
        return err;
    ask->head.share_len = (uint16_t)share.left;
    fk_reader_init(&ask->payload, bytes, len);
    return FK_OK;
}

/* --- with a share of another key server --- */

/* The one of these keys whose other share somebody else may have; NULL: none. An additive share is
 * for what is known now, which a handshake's messages are not. */
static const struct fk_index_key *find_lacking(const struct fk_front_conn *conn,
                                               const struct fk_hs_head *head,
                                               const struct fk_keymsg *msg)
{
    const unsigned any = 1U << FK_KEY_RSA | 1U << FK_KEY_EC | 1U << FK_KEY_ED25519;

    for (size_t i = 0; i < head->n_keys; i++) {
        const struct fk_index_key *key = fk_index_find(conn->front->set->index, FK_INDEX_SKI,
                                                       head->skis[i], sizeof head->skis[i], any);

        if (key != NULL && key->split == FK_SHARE_SHAMIR && fk_front_lacks_share(conn, key, msg))
            return key;
    }
    return NULL;
}

static int go_on(struct fk_front_request *request, const struct fk_front_asking *asking,
                 const struct fk_keymsg *msg, struct fk_reader share)
{
    struct fk_hs_ask ask = {.head = asking->head, .index = FK_HS_ANY};
    int err = add_share(msg, share, &ask);

    if (err != FK_OK)
        return err;
    return fk_hs_pool_submit(request->front->handshakers, &ask, fk_front_request_done, request);
}

/* It is named by its digest, as in the share's binding: nobody knows yet what there is to sign. */
static int ask_share(struct fk_front_request *request, const struct fk_hs_head *head,
                     const struct fk_index_key *key, const struct fk_keymsg *msg)
{
    const struct fk_front_asking about = {.go_on = go_on, .head = *head};
    uint8_t digest[FK_SHARE_DIGEST];
    int err;

    if (EVP_Digest(msg->payload.next, msg->payload.left, digest, NULL, EVP_sha256(), NULL) != 1)
        return FK_ERR_CRYPTO;
    err = fk_front_ask_share(request, &about, key, msg, fk_item(digest, sizeof digest));
    if (err == FK_OK)
        fk_front_request_begin(request);
    return err;
}

static int open_handshake(struct fk_front_request *request, struct fk_hs_ask *ask,
                          const struct fk_keymsg *msg, const char **ret_why)
{
    const struct fk_index_key *lacking = find_lacking(request->conn, &ask->head, msg);
    int err = FK_OK;

    if (ask->head.n_keys == 0)
        return FK_ERR_KEY_NOT_FOUND;
    if (lacking != NULL) {
        *ret_why = "no asker";
        return ask_share(request, &ask->head, lacking, msg);
    }
    *ret_why = "no handshaker";
    if (fk_item_present(&msg->share))
        err = add_share(msg, msg->share, ask);
    return err != FK_OK ? err : submit(request, ask);
}

void fk_front_hs_open(struct fk_front_conn *conn, const struct fk_keymsg *msg)
{
    struct fk_hs_ask ask = {
        .head = make_head(conn, msg->opcode), .index = FK_HS_ANY, .payload = msg->payload};
    struct fk_front_need need = {.permission = 0};
    const char *why = "no such key with a certificate";
    struct fk_front_request *request;
    const struct fk_index_key *key;
    struct fk_handshake_open open;
    int err = FK_ERR_KEY_NOT_FOUND;

    if (fk_handshake_open_decode(msg->payload, &open) != FK_OK) {
        answer_malformed(conn, msg);
        return;
    }
    key = find_keys(conn, &open, &ask.head);
    if (key != NULL && fk_front_hold(conn, msg))
        return;
    if ((request = fk_front_request_new(conn, msg, key)) == NULL)
        return;
    request->exposes = (open.options & FK_HANDSHAKE_EXPOSE) != 0;
    need.permission = fk_handshake_permissions(&open);
    if (key != NULL && (err = fk_front_decide(conn, &need, key, &why)) == FK_OK)
        err = open_handshake(request, &ask, msg, &why);
    if (err != FK_OK)
        fk_front_request_refuse(request, err, why);
}

/*
 * A step of a handshake that has been decided on: takes nothing from rate and quota. Only while the
 * edge has the permission at all; whose handshake it is the handshaker knows.
 */
static int permit_step(const struct fk_front_conn *conn, const char **ret_why)
{
    const struct fk_audit_sink *sink = conn->front->options.sink;

    if (sink != NULL && !fk_audit_sink_ready(sink)) {
        *ret_why = "audit log cannot be written";
        return FK_ERR_UNAVAILABLE;
    }
    *ret_why = "edge";
    return (conn->edge->permissions & FK_PERM_HANDSHAKE) != 0 ? FK_OK : FK_ERR_DENIED;
}

/* The name of a step's handshake: HS_CLOSE has nothing behind it. */
static int read_id(const struct fk_keymsg *msg, uint8_t ret[FK_HANDSHAKE_ID])
{
    struct fk_handshake_data data;
    int err;

    if (msg->opcode == FK_OP_HS_CLOSE)
        return fk_handshake_close_decode(msg->payload, ret);
    if ((err = fk_handshake_data_decode(msg->payload, &data)) == FK_OK)
        memcpy(ret, data.id, sizeof data.id);
    return err;
}

void fk_front_hs_data(struct fk_front_conn *conn, const struct fk_keymsg *msg)
{
    struct fk_hs_ask ask = {.head = make_head(conn, msg->opcode), .payload = msg->payload};
    struct fk_front_request *request;
    uint8_t id[FK_HANDSHAKE_ID];
    const char *why;
    int err;

    if (read_id(msg, id) != FK_OK) {
        answer_malformed(conn, msg);
        return;
    }
    if (fk_front_hold(conn, msg) || (request = fk_front_request_new(conn, msg, NULL)) == NULL)
        return;
    if ((err = permit_step(conn, &why)) == FK_OK) {
        why = "handshake gone";
        ask.index = id[0]; /* hs_table.h */
        err = submit(request, &ask);
    }
    if (err != FK_OK)
        fk_front_request_refuse(request, err, why);
}
