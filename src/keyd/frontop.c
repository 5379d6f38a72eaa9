/*
 * The operations of a front, one row each: what may come, what it needs, who does it. A key
 * operation becomes a request with the signers; its answer goes to the channel, whatever order
 * answers come in, and its line to the audit log.
 */
#include "keyd/front_priv.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/writer.h"
#include "wire/keyop_keys13.h"
#include "wire/keyop_lend.h"
#include "wire/keyop_resume.h"
#include "wire/keyop_secret.h"
#include "wire/keyshare.h"
#include "wire/keyticket.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define D1  (1U << FK_DIALECT_1)
#define D2  (1U << FK_DIALECT_2)
#define RSA (1U << FK_KEY_RSA)
#define EC  (1U << FK_KEY_EC)
#define ED  (1U << FK_KEY_ED25519)

/* What was learned of a message before it is decided on. */
struct ask {
    const struct fk_keymsg *msg;
    struct fk_front_need need;
    struct fk_reader payload; /* of the message, or of what it is about */
    unsigned types;           /* of key */
    struct fk_reader hash;    /* for the audit line; of `bytes` or of the message */
    uint8_t bytes[48];
    bool keeps;                     /* a signer keeps something for the edge's next step */
    uint8_t handle[FK_HANDLE_SIZE]; /* need.is_step: of what it keeps */
};

struct op {
    uint8_t dialects; /* D1, D2; 0: no such operation */
    enum fk_keyd_metric metric;
    /* Not a key operation: answered at once. */
    void (*answer)(struct fk_front_conn *conn, const struct fk_keymsg *msg);
    /* Nor one of a single key: decided on, and carried out, elsewhere. */
    void (*start)(struct fk_front_conn *conn, const struct fk_keymsg *msg);
    /* A key operation. */
    enum fk_signer_op signer;
    uint16_t permission; /* FK_PERM_*, unless `parse` finds another */
    unsigned types;      /* of key that will do */
    size_t length;       /* of the payload; 0: `parse` checks */
    int (*parse)(struct ask *ask);
};

static int parse_sign13(struct ask *ask)
{
    struct fk_sign13 op;
    int err;

    if ((err = fk_sign13_decode(ask->payload, &op)) != FK_OK)
        return err;
    if (op.role == FK_ROLE_CLIENT)
        ask->need.permission = FK_PERM_CLIENT;
    memcpy(ask->bytes, op.hash, op.hash_len);
    ask->hash = fk_item(ask->bytes, op.hash_len);
    return FK_OK;
}

static int parse_sign12(struct ask *ask)
{
    struct fk_sign12 op;
    int err;

    if ((err = fk_sign12_decode(ask->payload, &op)) != FK_OK)
        return err;
    memcpy(ask->bytes, op.client_random, sizeof op.client_random);
    ask->hash = fk_item(ask->bytes, sizeof op.client_random);
    return FK_OK;
}

static int parse_decrypt(struct ask *ask)
{
    struct fk_decrypt op;

    return fk_decrypt_decode(ask->payload, &op);
}

/* The key of a lending names it. */
static int parse_lend(struct ask *ask)
{
    struct fk_lend op;
    int err;

    if ((err = fk_lend_decode(ask->payload, &op)) != FK_OK)
        return err;
    memcpy(ask->bytes, op.once, sizeof op.once);
    ask->hash = fk_item(ask->bytes, sizeof op.once);
    return FK_OK;
}

/* What follows decides which permission it was for; one to go on with is needed here. */
static int parse_agree_init(struct ask *ask)
{
    struct fk_agree_init op;
    int err;

    if ((err = fk_agree_init_decode(ask->payload, &op)) != FK_OK)
        return err;
    ask->keeps = op.form == FK_AGREE_KEPT;
    if (ask->keeps)
        ask->need = (struct fk_front_need){.any = FK_PERM_AGREE | FK_PERM_MASTER | FK_PERM_KEYS};
    memcpy(ask->bytes, op.client_random, sizeof op.client_random);
    ask->hash = fk_item(ask->bytes, sizeof op.client_random);
    return FK_OK;
}

static void set_step(struct ask *ask, const uint8_t handle[FK_HANDLE_SIZE])
{
    ask->need.is_step = true;
    memcpy(ask->handle, handle, sizeof ask->handle);
}

static int parse_agree_finish(struct ask *ask)
{
    struct fk_agree_finish op;
    int err;

    if ((err = fk_agree_finish_decode(ask->payload, &op)) == FK_OK)
        set_step(ask, op.handle);
    return err;
}

/* One that needs no handle is a first step. */
static void set_source(struct ask *ask, const struct fk_premaster_source *source)
{
    if (source->kind == FK_PREMASTER_AGREED)
        set_step(ask, source->agreed.handle);
    else
        ask->types = RSA;
}

static int parse_master(struct ask *ask)
{
    struct fk_master_op op;
    int err;

    if ((err = fk_master_op_decode(ask->payload, &op)) != FK_OK)
        return err;
    set_source(ask, &op.source);
    ask->hash =
        op.derivation.seed; /* the session hash; or the client's random before the server's */
    if (!op.derivation.ems)
        ask->hash.left = 32;
    return FK_OK;
}

static void set_keys(struct ask *ask, const struct fk_keys_op *op)
{
    set_source(ask, &op->source);
    ask->keeps = true;
    memcpy(ask->bytes, op->client_random, sizeof op->client_random);
    ask->hash = fk_item(ask->bytes, sizeof op->client_random);
}

static int parse_keys(struct ask *ask)
{
    struct fk_keys_op op;
    int err = fk_keys_op_decode(ask->payload, &op);

    if (err == FK_OK)
        set_keys(ask, &op);
    return err;
}

/* An addition to what `keys` permits, so that both are needed. */
static int parse_expose(struct ask *ask)
{
    int err = parse_keys(ask);

    ask->keeps = false;
    ask->need.permission |= FK_PERM_EXPOSE;
    return err;
}

/* A session for all edges is tickets' affair as well. */
static int parse_keep(struct ask *ask)
{
    struct fk_keep_op op;
    int err;

    if ((err = fk_keep_op_decode(ask->payload, &op)) != FK_OK)
        return err;
    set_keys(ask, &op.keys);
    if (op.scope == FK_SESSION_SHARED)
        ask->need.permission |= FK_PERM_TICKETS;
    return FK_OK;
}

static int parse_resume(struct ask *ask)
{
    struct fk_resume_op op;
    int err;

    if ((err = fk_resume_op_decode(ask->payload, &op)) != FK_OK)
        return err;
    if (fk_resume_is_shared(&op))
        ask->need.permission |= FK_PERM_TICKETS;
    ask->keeps = true;
    memcpy(ask->bytes, op.client_random, sizeof op.client_random);
    ask->hash = fk_item(ask->bytes, sizeof op.client_random);
    return FK_OK;
}

static int parse_finished(struct ask *ask)
{
    struct fk_finished_op op;
    int err;

    if ((err = fk_finished_op_decode(ask->payload, &op)) != FK_OK)
        return err;
    set_step(ask, op.handle);
    ask->hash = op.hash;
    return FK_OK;
}

static int parse_hello13(struct ask *ask)
{
    struct fk_hello13 op;
    int err;

    if ((err = fk_hello13_decode(ask->payload, &op)) != FK_OK)
        return err;
    ask->keeps = true;
    ask->hash = op.client_random;
    return FK_OK;
}

static int parse_flight13(struct ask *ask)
{
    struct fk_flight13 op;
    int err;

    if ((err = fk_flight13_decode(ask->payload, &op)) != FK_OK)
        return err;
    set_step(ask, op.handle);
    ask->hash = op.client_random;
    return FK_OK;
}

static int parse_ticket_seal(struct ask *ask)
{
    struct fk_ticket_use use;
    uint8_t count;

    return fk_ticket_seal_decode(ask->msg->payload, &count, &use);
}

/* The audit line has the ticket's name. */
static int parse_ticket_open(struct ask *ask)
{
    struct fk_ticket_use use;
    int err = fk_ticket_open_decode(ask->msg->payload, ask->bytes, &use);

    if (err == FK_OK)
        ask->hash = fk_item(ask->bytes, 16);
    return err;
}

static int parse_nothing(struct ask *ask)
{
    return ask->msg->payload.left == 0 ? FK_OK : FK_ERR_FORMAT;
}

static int parse_digest(struct ask *ask)
{
    ask->hash = ask->payload;
    return FK_OK;
}

/* Ed25519 signs whole messages: any length that a signer takes. */
static int parse_message(struct ask *ask)
{
    return ask->payload.left <= FK_SIGNER_PAYLOAD_MAX ? FK_OK : FK_ERR_FORMAT;
}

/* Its digest. */
static int parse_handshake_of(struct ask *ask)
{
    ask->hash = ask->payload;
    return ask->payload.left == FK_SHARE_DIGEST ? FK_OK : FK_ERR_FORMAT;
}

/*
 * A share is asked for with all of an operation: it must be one that key servers share, in order,
 * and the audit line is about it. Whether the key's policy allows it is the signer's to say.
 */
static int parse_share(struct ask *ask)
{
    static const struct {
        uint8_t opcode;
        bool step; /* one that goes on with a handle needs the key, too */
        int (*parse)(struct ask *ask);
    } shared[] = {
        {FK_OP_SIGN13, false, parse_sign13},        {FK_OP_SIGN12, false, parse_sign12},
        {FK_OP_DECRYPT, false, parse_decrypt},      {FK_OP_AGREE_INIT, false, parse_agree_init},
        {FK_OP_MASTER, false, parse_master},        {FK_OP_KEYS, false, parse_keys},
        {FK_OP_KEYS_KEEP, false, parse_keep},       {FK_OP_EXPOSE, false, parse_expose},
        {FK_OP_HS_OPEN, false, parse_handshake_of}, {FK_OP_FLIGHT13, true, parse_flight13}};
    struct fk_share_ask about;
    int err;

    if ((err = fk_share_ask_decode(ask->payload, &about)) != FK_OK)
        return err;
    for (size_t i = 0; i < sizeof shared / sizeof shared[0]; i++) {
        if (shared[i].opcode != about.opcode)
            continue;
        ask->payload = about.payload;
        err = shared[i].parse(ask);
        if (err == FK_OK && ask->need.is_step && !shared[i].step)
            err = FK_ERR_FORMAT;
        ask->need = (struct fk_front_need){.permission = FK_PERM_SHARE};
        ask->keeps = false;
        return err;
    }
    return FK_ERR_FORMAT;
}

static void answer_ping(struct fk_front_conn *conn, const struct fk_keymsg *msg)
{
    uint64_t generation = conn->front->set->fingerprint;
    struct fk_keymsg answer = {.id = msg->id, .opcode = FK_OP_PONG};
    struct fk_writer out;
    uint8_t bytes[8];

    fk_writer_init(&out, bytes, sizeof bytes);
    fk_writer_u64(&out, generation);
    if (conn->dialect == FK_DIALECT_2)
        answer.payload = fk_item(bytes, sizeof bytes);
    else /* its ping comes back */
        answer.payload =
            fk_item(msg->payload.left > 0 ? msg->payload.next : bytes, msg->payload.left);
    fk_front_conn_send(conn, &answer);
}

static void answer_info(struct fk_front_conn *conn, const struct fk_keymsg *msg)
{
    uint32_t cursor;
    int err = fk_info_request_decode(msg->payload, &cursor);

    if (err == FK_OK) {
        fk_front_info(conn, msg->id, cursor);
        return;
    }
    fk_front_count_result(conn->front, FK_ERR_FORMAT);
    fk_front_conn_send_error(conn, msg->id, FK_ERR_FORMAT);
}

/* A response is no request (error 06). */
static void answer_response(struct fk_front_conn *conn, const struct fk_keymsg *msg)
{
    fk_front_count_result(conn->front, FK_ERR_UNEXPECTED);
    fk_front_conn_send_error(conn, msg->id, FK_ERR_UNEXPECTED);
}

#define DIGEST(types_, length_)                                                      \
    {                                                                                \
        .dialects = D1, .metric = FK_KEYD_OP_DIALECT1, .signer = FK_SIGNER_DIALECT1, \
        .permission = FK_PERM_DIGEST, .types = (types_), .length = (length_),        \
        .parse = parse_digest                                                        \
    }
#define SHARE                                                                     \
    {                                                                             \
        .dialects = D2, .metric = FK_KEYD_OP_SHARE, .signer = FK_SIGNER_SHARE,    \
        .permission = FK_PERM_SHARE, .types = RSA | EC | ED, .parse = parse_share \
    }
#define RESPONSE                                                                   \
    {                                                                              \
        .dialects = D1 | D2, .metric = FK_KEYD_OP_OTHER, .answer = answer_response \
    }

static const struct op ops[256] = {
    [FK_OP_RSA_DECRYPT] = {.dialects = D1,
                           .metric = FK_KEYD_OP_DIALECT1,
                           .signer = FK_SIGNER_DIALECT1,
                           .permission = FK_PERM_D1_DECRYPT,
                           .types = RSA,
                           .parse = parse_message},
    [FK_OP_RSA_MD5SHA1] = DIGEST(RSA, 36),
    [FK_OP_RSA_SHA1] = DIGEST(RSA, 20),
    [FK_OP_RSA_SHA224] = DIGEST(RSA, 28),
    [FK_OP_RSA_SHA256] = DIGEST(RSA, 32),
    [FK_OP_RSA_SHA384] = DIGEST(RSA, 48),
    [FK_OP_RSA_SHA512] = DIGEST(RSA, 64),
    [FK_OP_ECDSA_MD5SHA1] = DIGEST(EC, 36),
    [FK_OP_ECDSA_SHA1] = DIGEST(EC, 20),
    [FK_OP_ECDSA_SHA224] = DIGEST(EC, 28),
    [FK_OP_ECDSA_SHA256] = DIGEST(EC, 32),
    [FK_OP_ECDSA_SHA384] = DIGEST(EC, 48),
    [FK_OP_ECDSA_SHA512] = DIGEST(EC, 64),
    [FK_OP_ED25519] = {.dialects = D1,
                       .metric = FK_KEYD_OP_DIALECT1,
                       .signer = FK_SIGNER_DIALECT1,
                       .permission = FK_PERM_DIGEST,
                       .types = ED,
                       .parse = parse_message},
    [FK_OP_PSS_SHA256] = DIGEST(RSA, 32),
    [FK_OP_PSS_SHA384] = DIGEST(RSA, 48),
    [FK_OP_PSS_SHA512] = DIGEST(RSA, 64),
    [FK_OP_INFO] = {.dialects = D2, .metric = FK_KEYD_OP_INFO, .answer = answer_info},
    [FK_OP_SIGN13] = {.dialects = D2,
                      .metric = FK_KEYD_OP_SIGN13,
                      .signer = FK_SIGNER_SIGN13,
                      .permission = FK_PERM_SIGN13,
                      .types = RSA | EC | ED,
                      .parse = parse_sign13},
    [FK_OP_SIGN12] = {.dialects = D2,
                      .metric = FK_KEYD_OP_SIGN12,
                      .signer = FK_SIGNER_SIGN12,
                      .permission = FK_PERM_SIGN12,
                      .types = RSA | EC | ED,
                      .parse = parse_sign12},
    [FK_OP_DECRYPT] = {.dialects = D2,
                       .metric = FK_KEYD_OP_DECRYPT,
                       .signer = FK_SIGNER_DECRYPT,
                       .permission = FK_PERM_DECRYPT,
                       .types = RSA,
                       .parse = parse_decrypt},
    [FK_OP_LEND] = {.dialects = D2,
                    .metric = FK_KEYD_OP_LEND,
                    .signer = FK_SIGNER_LEND,
                    .permission = FK_PERM_LEND,
                    .types = RSA | EC | ED,
                    .parse = parse_lend},
    [FK_OP_SHARE] = SHARE,
    [FK_OP_PARTIAL] = SHARE,
    [FK_OP_AGREE_INIT] = {.dialects = D2,
                          .metric = FK_KEYD_OP_AGREE_INIT,
                          .signer = FK_SIGNER_OWNED,
                          .permission = FK_PERM_AGREE,
                          .types = RSA | EC | ED,
                          .parse = parse_agree_init},
    [FK_OP_AGREE_FINISH] = {.dialects = D2,
                            .metric = FK_KEYD_OP_AGREE_FINISH,
                            .signer = FK_SIGNER_OWNED,
                            .permission = FK_PERM_AGREE,
                            .types = RSA | EC | ED,
                            .parse = parse_agree_finish},
    [FK_OP_MASTER] = {.dialects = D2,
                      .metric = FK_KEYD_OP_MASTER,
                      .signer = FK_SIGNER_OWNED,
                      .permission = FK_PERM_MASTER,
                      .types = RSA | EC | ED,
                      .parse = parse_master},
    [FK_OP_KEYS] = {.dialects = D2,
                    .metric = FK_KEYD_OP_KEYS,
                    .signer = FK_SIGNER_OWNED,
                    .permission = FK_PERM_KEYS,
                    .types = RSA | EC | ED,
                    .parse = parse_keys},
    [FK_OP_FINISHED] = {.dialects = D2,
                        .metric = FK_KEYD_OP_FINISHED,
                        .signer = FK_SIGNER_OWNED,
                        .permission = FK_PERM_KEYS,
                        .types = RSA | EC | ED,
                        .parse = parse_finished},
    [FK_OP_KEYS_KEEP] = {.dialects = D2,
                         .metric = FK_KEYD_OP_KEYS_KEEP,
                         .signer = FK_SIGNER_OWNED,
                         .permission = FK_PERM_KEYS,
                         .types = RSA | EC | ED,
                         .parse = parse_keep},
    [FK_OP_RESUME] = {.dialects = D2,
                      .metric = FK_KEYD_OP_RESUME,
                      .signer = FK_SIGNER_OWNED,
                      .permission = FK_PERM_KEYS,
                      .types = RSA | EC | ED,
                      .parse = parse_resume},
    [FK_OP_EXPOSE] = {.dialects = D2,
                      .metric = FK_KEYD_OP_EXPOSE,
                      .signer = FK_SIGNER_OWNED,
                      .permission = FK_PERM_KEYS,
                      .types = RSA | EC | ED,
                      .parse = parse_expose},
    [FK_OP_HELLO13] = {.dialects = D2,
                       .metric = FK_KEYD_OP_HELLO13,
                       .signer = FK_SIGNER_OWNED,
                       .permission = FK_PERM_KEYS,
                       .types = RSA | EC | ED,
                       .parse = parse_hello13},
    [FK_OP_FLIGHT13] = {.dialects = D2,
                        .metric = FK_KEYD_OP_FLIGHT13,
                        .signer = FK_SIGNER_OWNED,
                        .permission = FK_PERM_KEYS,
                        .types = RSA | EC | ED,
                        .parse = parse_flight13},
    [FK_OP_HS_OPEN] = {.dialects = D2, .metric = FK_KEYD_OP_HANDSHAKE, .start = fk_front_hs_open},
    [FK_OP_HS_DATA] = {.dialects = D2,
                       .metric = FK_KEYD_OP_HANDSHAKE_DATA,
                       .start = fk_front_hs_data},
    [FK_OP_HS_CLOSE] = {.dialects = D2,
                        .metric = FK_KEYD_OP_HANDSHAKE_DATA,
                        .start = fk_front_hs_data},
    [FK_OP_TICKET_SEAL] = {.dialects = D2,
                           .metric = FK_KEYD_OP_TICKET_SEAL,
                           .signer = FK_SIGNER_TICKET_SEAL,
                           .permission = FK_PERM_TICKETS,
                           .types = RSA | EC | ED,
                           .parse = parse_ticket_seal},
    [FK_OP_TICKET_UNSEAL] = {.dialects = D2,
                             .metric = FK_KEYD_OP_TICKET_UNSEAL,
                             .signer = FK_SIGNER_TICKET_UNSEAL,
                             .permission = FK_PERM_TICKETS,
                             .types = RSA | EC | ED,
                             .parse = parse_ticket_open},
    [FK_OP_TICKET_KEYS] = {.dialects = D2,
                           .metric = FK_KEYD_OP_TICKET_KEYS,
                           .signer = FK_SIGNER_TICKET_KEYS,
                           .permission = FK_PERM_TICKETS,
                           .types = RSA | EC | ED,
                           .parse = parse_nothing},
    [FK_OP_RESPONSE] = RESPONSE,
    [FK_OP_PING] = {.dialects = D1 | D2, .metric = FK_KEYD_OP_PING, .answer = answer_ping},
    [FK_OP_PONG] = RESPONSE,
    [FK_OP_ERROR] = RESPONSE,
};

/* Metric of each result; what is not listed has failed. */
void fk_front_count_result(struct fk_front *front, int err)
{
    static const struct {
        int err;
        enum fk_keyd_metric metric;
    } results[] = {
        {FK_OK, FK_KEYD_RESULT_OK},
        {FK_ERR_FORMAT, FK_KEYD_RESULT_FORMAT},
        {FK_ERR_OPCODE, FK_KEYD_RESULT_FORMAT},
        {FK_ERR_UNEXPECTED, FK_KEYD_RESULT_FORMAT},
        {FK_ERR_KEY_NOT_FOUND, FK_KEYD_RESULT_NO_KEY},
        {FK_ERR_DENIED, FK_KEYD_RESULT_DENIED},
        {FK_ERR_RATE, FK_KEYD_RESULT_RATE},
    };

    for (size_t i = 0; i < sizeof results / sizeof results[0]; i++) {
        if (results[i].err == err) {
            fk_front_count(front, results[i].metric);
            return;
        }
    }
    fk_front_count(front, FK_KEYD_RESULT_FAILED);
}

/* The key that a message names, by the most exact of its names: a name that is there but unknown
 * is not replaced by a vaguer one. */
static const struct fk_index_key *find_key(const struct fk_index *index, const struct ask *ask)
{
    const struct fk_keymsg *msg = ask->msg;
    const struct {
        enum fk_index_kind kind;
        const struct fk_reader *item;
    } names[] = {
        {FK_INDEX_SKI, &msg->ski},           {FK_INDEX_CERT_HASH, &msg->cert_hash},
        {FK_INDEX_DIGEST, &msg->digest},     {FK_INDEX_NAME, &msg->sni},
        {FK_INDEX_ADDRESS, &msg->server_ip},
    };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (fk_item_present(names[i].item))
            return fk_index_find(index, names[i].kind, names[i].item->next, names[i].item->left,
                                 ask->types);
    return NULL;
}

static struct fk_front_request *take_request(struct fk_front *front)
{
    struct fk_list *item = fk_list_pop(&front->free_requests);
    struct fk_front_request *request;

    if (item != NULL)
        return fk_container(item, struct fk_front_request, link);
    if ((request = calloc(1, sizeof *request)) == NULL)
        return NULL;
    fk_list_init(&request->link);
    request->front = front;
    return request;
}

static void give_request(struct fk_front_request *request)
{
    fk_front_unask(request);
    request->conn = NULL;
    request->call = NULL;
    fk_list_del(&request->link);
    fk_list_prepend(&request->front->free_requests, &request->link);
}

void fk_front_requests_fini(struct fk_front *front)
{
    struct fk_list *lists[] = {&front->free_requests, &front->orphans}, *item;

    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        while ((item = fk_list_pop(lists[i])) != NULL) {
            struct fk_front_request *request = fk_container(item, struct fk_front_request, link);

            fk_front_unask(request);
            free(request);
        }
}

/* What it is called in logs. */
static const char *name_of(const struct fk_front_request *request)
{
    return request->exposes ? "handshake-open-expose" : fk_key_opcode_name(request->opcode);
}

/* The line of an operation: made from copies, as the channel and the key may be gone by now. */
static void audit(const struct fk_front_request *request, int err, uint64_t micros)
{
    const struct fk_front *front = request->front;
    struct fk_audit_event event = {
        .wall_us = fk_clock_wall_us(),
        .edge = request->edge,
        .key = request->key[0] != '\0' ? request->key : NULL,
        .op = name_of(request),
        .err = err,
        .micros = micros > UINT32_MAX ? UINT32_MAX : (uint32_t)micros,
    };

    if (front->options.sink == NULL)
        return;
    if (request->sni_len > 0)
        event.sni = fk_item(request->sni, request->sni_len);
    if (request->client_ip_len > 0)
        event.client_ip = fk_item(request->client_ip, request->client_ip_len);
    if (request->hash_len > 0)
        event.hash = fk_item(request->hash, request->hash_len);
    fk_audit_sink_write(front->options.sink, &event);
}

/* A signer's or handshaker's answer. */
void fk_front_request_done(void *arg, int err, const uint8_t *data, size_t len, uint32_t micros)
{
    struct fk_front_request *request = arg;
    struct fk_front *front = request->front;
    struct fk_front_conn *conn = request->conn;
    uint64_t took = fk_loop_now_us(front->loop) - request->started_us;
    struct fk_keymsg answer = {.id = request->id, .opcode = FK_OP_RESPONSE};

    (void)micros;
    audit(request, err, took);
    fk_front_count_result(front, err);
    fk_metric_observe(front->options.metrics, FK_KEYD_SECONDS, took);
    front->outstanding--;
    request->account->outstanding--;
    give_request(request);
    if (front->some_stalled)
        fk_defer_start(&front->resume);
    if (conn == NULL)
        return;
    conn->inflight--;
    if (err == FK_OK) {
        answer.payload = fk_item(data, len);
        fk_front_conn_send(conn, &answer);
    } else {
        fk_log_limited(&front->error_limit, FK_LOG_WARN, "operation failed",
                       fk_uint("channel", conn->id), fk_str("edge", conn->edge->name),
                       fk_str("op", name_of(request)), fk_error(err));
        fk_front_conn_send_error(conn, request->id, err);
    }
    if (conn->doomed || front->draining)
        fk_front_conn_settle(conn);
}

static uint8_t copy_item(const struct fk_reader *item, void *dst, size_t size)
{
    size_t len = item->left < size ? item->left : size;

    if (len > 0)
        memcpy(dst, item->next, len);
    return (uint8_t)len;
}

static void copy_text(char *dst, size_t size, const char *text)
{
    size_t len = strnlen(text, size - 1);

    memcpy(dst, text, len);
    dst[len] = '\0';
}

struct fk_front_request *fk_front_request_new(struct fk_front_conn *conn,
                                              const struct fk_keymsg *msg,
                                              const struct fk_index_key *key)
{
    struct fk_front_request *request = take_request(conn->front);

    if (request == NULL) {
        fk_front_count_result(conn->front, FK_ERR_NOMEM);
        fk_front_conn_send_error(conn, msg->id, FK_ERR_INTERNAL);
        return NULL;
    }
    request->conn = conn;
    request->id = msg->id;
    request->opcode = msg->opcode;
    request->started_us = fk_loop_now_us(conn->front->loop);
    request->sni_len = copy_item(&msg->sni, request->sni, sizeof request->sni);
    request->client_ip_len =
        copy_item(&msg->client_ip, request->client_ip, sizeof request->client_ip);
    request->hash_len = 0;
    request->exposes = false;
    copy_text(request->edge, sizeof request->edge, conn->edge->name);
    copy_text(request->key, sizeof request->key, key != NULL ? key->public.name : "");
    return request;
}

/* The policy's word on it. */
int fk_front_decide(struct fk_front_conn *conn, const struct fk_front_need *need,
                    const struct fk_index_key *key, const char **ret_why)
{
    struct fk_front *front = conn->front;
    const struct fk_policy_ask facts = {
        .edge = conn->edge,
        .position = fk_index_position(front->set->index, key),
        .key_permissions = key->public.permissions,
        .permission = need->permission,
        .any = need->any,
        .is_step = need->is_step,
        .draining = front->draining,
        .now_us = fk_loop_now_us(front->loop),
        .day = front->day,
    };

    if (front->options.sink != NULL && !fk_audit_sink_ready(front->options.sink)) {
        *ret_why = "audit log cannot be written";
        return FK_ERR_UNAVAILABLE;
    }
    return fk_policy_decide(&facts, ret_why);
}

/*
 * An edge that signs, always does; the signer looks at the signature. Here only what a front can
 * know: that a channel's counters grow.
 */
static int check_proof(struct fk_front_conn *conn, const struct fk_keymsg *msg,
                       const char **ret_why)
{
    bool is_there = fk_item_present(&msg->proof);
    struct fk_keyproof proof;
    struct fk_reader part;
    int err;

    if (is_there != conn->edge->signs) {
        *ret_why =
            is_there ? "it is signed, but the edge's block has no request_key" : "it is not signed";
        return FK_ERR_DENIED;
    }
    if (!is_there)
        return FK_OK;
    *ret_why = "signature";
    if ((err = fk_keyproof_part(msg, &part)) != FK_OK ||
        (err = fk_keyproof_decode(msg->proof, &proof)) != FK_OK)
        return err;
    *ret_why = "counter";
    if (proof.counter <= conn->counter)
        return FK_ERR_REPLAY;
    if (conn->counter == 0 &&
        (err = fk_channel_exporter(fk_channel_io_ssl(conn->io), FK_KEYPROOF_EXPORTER_LABEL,
                                   conn->exporter)) != FK_OK)
        return err;
    conn->counter = proof.counter;
    return FK_OK;
}

void fk_front_request_begin(struct fk_front_request *request)
{
    struct fk_front_conn *conn = request->conn;

    fk_list_append(&conn->requests, &request->link);
    conn->inflight++;
    conn->front->outstanding++;
    request->account = conn->account;
    request->account->outstanding++;
}

/* Refused operations leave a line, too; a flood of them leaves some of its lines. */
void fk_front_request_refuse(struct fk_front_request *request, int err, const char *why)
{
    struct fk_front_conn *conn = request->conn;
    struct fk_front *front = conn->front;
    uint32_t dropped;

    if (fk_log_permit(&conn->refusals, &dropped))
        audit(request, err, 0);
    fk_log_limited(&front->deny_limit, FK_LOG_WARN, "operation refused",
                   fk_uint("channel", conn->id), fk_str("edge", request->edge),
                   fk_str("key", request->key[0] != '\0' ? request->key : NULL),
                   fk_str("op", name_of(request)), fk_str("why", why),
                   fk_strn("sni", request->sni, request->sni_len), fk_error(err));
    fk_front_count_result(front, err);
    fk_front_conn_send_error(conn, request->id, err);
    give_request(request);
}

/* What was not to be had, when an operation with that key cannot begin. */
static const char *lacking(const struct fk_index_key *key)
{
    if (key->token != 0)
        return "token";
    return key->split != 0 && !key->held ? "no signer, or no asker" : "no signer";
}

static int submit(const struct op *op, const struct ask *asked, const struct fk_index_key *key,
                  struct fk_front_request *request)
{
    const struct fk_signer_ask ask = {.op = op->signer,
                                      .ski = key->public.ski,
                                      .keeps = asked->keeps,
                                      .handle = asked->need.is_step ? asked->handle : NULL};

    return fk_front_ask(request, &ask, key, asked->msg);
}

static void key_operation(struct fk_front_conn *conn, const struct op *op, struct ask *ask)
{
    const struct fk_index_key *key = find_key(conn->front->set->index, ask);
    struct fk_front_request *request;
    const char *why = "no such key of a fitting type";
    int err = FK_ERR_KEY_NOT_FOUND;

    if (key != NULL && fk_front_hold(conn, ask->msg))
        return;
    if ((request = fk_front_request_new(conn, ask->msg, key)) == NULL)
        return;
    request->hash_len = copy_item(&ask->hash, request->hash, sizeof request->hash);
    if (key != NULL && (err = check_proof(conn, ask->msg, &why)) == FK_OK &&
        (err = fk_front_decide(conn, &ask->need, key, &why)) == FK_OK) {
        why = lacking(key);
        err = submit(op, ask, key, request);
    }
    if (err != FK_OK)
        fk_front_request_refuse(request, err, why);
}

/* Form first, then the key, then rights: errors as docs/wire-key.md says. */
static int check_form(const struct op *op, struct ask *ask)
{
    const struct fk_reader *payload = &ask->msg->payload;

    if (!fk_item_present(payload) || payload->left > FK_SIGNER_PAYLOAD_MAX ||
        (op->length != 0 && payload->left != op->length))
        return FK_ERR_FORMAT;
    return op->parse(ask);
}

/* Take one PING or INFO from the edge's bucket (as fk_quota_rate(), of this front only). */
static bool may_talk(struct fk_front_conn *conn)
{
    const uint64_t cost = 1000000 / FK_KEYD_TALK_RATE;
    uint64_t now = fk_loop_now_us(conn->front->loop);
    uint64_t start = conn->account->talk_us > now ? conn->account->talk_us : now;

    if (start - now > cost * (FK_KEYD_TALK_BURST - 1))
        return false;
    conn->account->talk_us = start + cost;
    return true;
}

void fk_front_op(struct fk_front_conn *conn, const struct fk_keymsg *msg)
{
    const struct op *op = &ops[msg->opcode];
    struct ask ask = {.msg = msg,
                      .need = {.permission = op->permission},
                      .payload = msg->payload,
                      .types = op->types};
    int err = FK_OK;

    if ((op->dialects & (1U << conn->dialect)) == 0) {
        err = FK_ERR_OPCODE;
        fk_front_count(conn->front, FK_KEYD_OP_OTHER);
    } else {
        fk_front_count(conn->front, op->metric);
        if (op->answer != NULL && may_talk(conn)) {
            op->answer(conn, msg);
            return;
        }
        if (op->start != NULL) {
            op->start(conn, msg);
            return;
        }
        if (op->answer != NULL)
            err = FK_ERR_RATE;
        else if (check_form(op, &ask) != FK_OK)
            err = FK_ERR_FORMAT;
    }
    if (err == FK_OK) {
        fk_front_release(conn); /* in the order in which they came */
        if (!conn->doomed)
            key_operation(conn, op, &ask);
        return;
    }
    fk_front_count_result(conn->front, err);
    fk_log_limited(&conn->front->error_limit, FK_LOG_WARN, "request not taken",
                   fk_uint("channel", conn->id), fk_str("edge", conn->edge->name),
                   fk_uint("opcode", msg->opcode), fk_error(err));
    fk_front_conn_send_error(conn, msg->id, err);
}

void fk_front_op_held(struct fk_front_conn *conn, const struct fk_keymsg *msg)
{
    const struct op *op = &ops[msg->opcode];
    struct ask ask = {.msg = msg,
                      .need = {.permission = op->permission},
                      .payload = msg->payload,
                      .types = op->types};

    if (op->start != NULL)
        op->start(conn, msg);
    else if (check_form(op, &ask) == FK_OK)
        key_operation(conn, op, &ask);
}
