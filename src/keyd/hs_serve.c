/*
 * What fronts ask a handshaker for: a handshake begun, gone on with, given up. Each request gets
 * one answer; a handshake that has its keys out, or has failed, is forgotten with its answer.
 */
#include "base/err.h"
#include "base/limits.h"
#include "base/secret.h"
#include "keyd/hs_priv.h"
#include "keyd/hs_tls.h"
#include "loop/sock.h"
#include "wire/keymsg.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

struct handshake {
    struct fk_hs_entry entry;
    struct fk_handshaker *owner;
    struct fk_hs_site *site;
    struct fk_hs_tls *tls;
    struct fk_hs_front *front; /* who waits for an answer; NULL: nobody */
    uint32_t request;          /* its id */
};

/* --- answers --- */

static void answer(struct fk_hs_front *front, uint32_t id, int err, struct fk_reader payload)
{
    struct fk_hs_head head = {.id = id, .err = err};
    int sent;

    if (front == NULL)
        return;
    sent = fk_hs_link_send(&front->io, &head, payload);
    if (sent != FK_OK) /* the front's deadline answers the edge */
        fk_log_limited(&front->owner->trouble, FK_LOG_ERROR, "answer to a front lost",
                       fk_error(sent));
}

static void answer_error(struct fk_hs_front *front, uint32_t id, int err)
{
    answer(front, id, err, (struct fk_reader){0});
}

/* --- handshakes --- */

static void end(struct handshake *handshake)
{
    fk_hs_table_remove(&handshake->owner->table, &handshake->entry);
    fk_hs_tls_free(handshake->tls);
    fk_hs_site_unref(handshake->site);
    free(handshake);
}

/* Go on until there is an answer, or a signer is asked. */
static void go_on(struct handshake *handshake)
{
    static uint8_t bytes[FK_HANDSHAKER_MESSAGE_MAX]; /* one loop; wiped after each answer */
    enum fk_hs_state state = fk_hs_tls_step(handshake->tls);
    struct fk_hs_front *front = handshake->front;
    struct fk_writer out;
    int err;

    if (state == FK_HS_ASKING)
        return;
    if (state == FK_HS_FAILED && fk_hs_tls_key_error(handshake->tls) != FK_OK)
        fk_log_limited(&handshake->owner->trouble, FK_LOG_WARN, "private key operation failed",
                       fk_error(fk_hs_tls_key_error(handshake->tls)));
    handshake->front = NULL;
    fk_writer_init(&out, bytes, sizeof bytes);
    err = fk_hs_tls_answer(handshake->tls, handshake->entry.id, &out);
    if (err == FK_OK)
        answer(front, handshake->request, FK_OK, (struct fk_reader){bytes, out.len});
    else
        answer_error(front, handshake->request, err);
    fk_wipe(bytes, out.len);
    if (err != FK_OK || state != FK_HS_WAITING)
        end(handshake);
}

static void on_wake(void *arg)
{
    go_on(arg);
}

static struct fk_hs_set *find_set(const struct fk_handshaker *handshaker, uint32_t generation)
{
    for (size_t i = 0; i < 2; i++)
        if (handshaker->sets[i] != NULL && fk_hs_set_generation(handshaker->sets[i]) == generation)
            return handshaker->sets[i];
    return NULL;
}

/* The table is full, and others have more than their part of it. */
static void make_room(struct fk_handshaker *handshaker, uint16_t edge)
{
    struct fk_hs_entry *entry = fk_hs_table_make_room(&handshaker->table, edge);
    struct handshake *victim;

    if (entry == NULL)
        return;
    victim = fk_container(entry, struct handshake, entry);
    answer_error(victim->front, victim->request, FK_ERR_LIMIT);
    end(victim);
}

/* --- what is asked --- */

/* What has come with HS_OPEN. */
struct opening {
    struct fk_reader payload, share;
    struct fk_handshake_open open;
};

static int read_opening(const struct fk_hs_head *head, struct fk_reader payload,
                        struct opening *ret)
{
    int err;

    if ((err = fk_reader_take(&payload, payload.left - head->share_len, &ret->payload)) != FK_OK)
        return err;
    if (payload.left > FK_SHARE_ITEM_MAX)
        return FK_ERR_FORMAT; /* it would only be kept */
    ret->share = payload;
    return fk_handshake_open_decode(ret->payload, &ret->open);
}

/* What the edge has said of this handshake. */
static int prepare(const struct opening *opening, struct fk_hs_tls *tls)
{
    uint8_t digest[FK_SHARE_DIGEST];

    if ((opening->open.options & FK_HANDSHAKE_EXPOSE) != 0)
        fk_hs_tls_expose(tls);
    if (opening->share.left == 0)
        return FK_OK;
    if (EVP_Digest(opening->payload.next, opening->payload.left, digest, NULL, EVP_sha256(),
                   NULL) != 1)
        return FK_ERR_CRYPTO;
    return fk_hs_tls_share(tls, opening->share, digest);
}

/* A new handshake in the table, with its client's first records. */
static int begin(struct fk_handshaker *handshaker, const struct fk_hs_head *head,
                 const struct opening *opening, struct handshake **ret)
{
    struct fk_hs_set *set = find_set(handshaker, head->generation);
    struct handshake *handshake;
    int err;

    if (head->edge >= FK_KEYD_EDGES_MAX)
        return FK_ERR_RANGE;
    if (set == NULL)
        return FK_ERR_UNAVAILABLE; /* it is about to come, or gone: the edge asks another */
    if ((handshake = calloc(1, sizeof *handshake)) == NULL)
        return FK_ERR_NOMEM;
    handshake->owner = handshaker;
    handshake->entry.edge = head->edge;
    memcpy(handshake->entry.owner, head->owner, sizeof handshake->entry.owner);
    fk_list_init(&handshake->entry.bucket);
    fk_list_init(&handshake->entry.age);
    if ((err = fk_hs_set_site(set, head, &opening->open, &handshake->site)) == FK_OK &&
        (err = fk_hs_tls_new(fk_hs_site_ctx(handshake->site), on_wake, handshake,
                             &handshake->tls)) == FK_OK &&
        (err = prepare(opening, handshake->tls)) == FK_OK &&
        (err = fk_hs_tls_feed(handshake->tls, opening->open.records)) == FK_OK) {
        make_room(handshaker, head->edge); /* no sooner: what comes to nothing costs nobody */
        err = fk_hs_table_add(&handshaker->table, &handshake->entry,
                              fk_loop_now_us(handshaker->loop));
    }
    if (err != FK_OK) {
        end(handshake);
        return err;
    }
    *ret = handshake;
    return FK_OK;
}

static void run(struct handshake *handshake, struct fk_hs_front *front, uint32_t id)
{
    handshake->front = front;
    handshake->request = id;
    go_on(handshake);
}

static int on_open(struct fk_hs_front *front, const struct fk_hs_head *head,
                   struct fk_reader payload)
{
    struct handshake *handshake;
    struct opening opening;
    int err;

    if ((err = read_opening(head, payload, &opening)) != FK_OK ||
        (err = begin(front->owner, head, &opening, &handshake)) != FK_OK)
        return err;
    run(handshake, front, head->id);
    return FK_OK;
}

static struct handshake *find(struct fk_handshaker *handshaker, const struct fk_hs_head *head,
                              const uint8_t id[FK_HANDSHAKE_ID])
{
    struct fk_hs_entry *entry =
        fk_hs_table_find(&handshaker->table, id, head->owner, fk_loop_now_us(handshaker->loop));

    return entry == NULL ? NULL : fk_container(entry, struct handshake, entry);
}

static int on_data(struct fk_hs_front *front, const struct fk_hs_head *head,
                   struct fk_reader payload)
{
    struct handshake *handshake;
    struct fk_handshake_data data;
    int err;

    if ((err = fk_handshake_data_decode(payload, &data)) != FK_OK)
        return err;
    if ((handshake = find(front->owner, head, data.id)) == NULL)
        return FK_ERR_EXPIRED;
    if ((err = fk_hs_tls_feed(handshake->tls, data.records)) != FK_OK)
        return err == FK_ERR_UNEXPECTED ? FK_ERR_FORMAT : err;
    run(handshake, front, head->id);
    return FK_OK;
}

/* One that is gone already is as good as closed. */
static int on_close(struct fk_hs_front *front, const struct fk_hs_head *head,
                    struct fk_reader payload)
{
    uint8_t id[FK_HANDSHAKE_ID];
    struct handshake *handshake;
    int err;

    if ((err = fk_handshake_close_decode(payload, id)) != FK_OK)
        return err;
    if ((handshake = find(front->owner, head, id)) != NULL) {
        answer_error(handshake->front, handshake->request, FK_ERR_CANCELLED);
        end(handshake);
    }
    answer(front, head->id, FK_OK, (struct fk_reader){0});
    return FK_OK;
}

static const struct {
    uint8_t opcode;
    int (*run)(struct fk_hs_front *front, const struct fk_hs_head *head, struct fk_reader payload);
} operations[] = {
    {FK_OP_HS_OPEN, on_open},
    {FK_OP_HS_DATA, on_data},
    {FK_OP_HS_CLOSE, on_close},
};

static void on_message(struct fk_hs_link *link, const struct fk_hs_head *head,
                       struct fk_reader payload)
{
    struct fk_hs_front *front = fk_container(link, struct fk_hs_front, io);
    int err = FK_ERR_OPCODE;

    for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++)
        if (operations[i].opcode == head->opcode)
            err = operations[i].run(front, head, payload);
    if (err != FK_OK)
        answer_error(front, head->id, err);
}

/* --- fronts --- */

/* Handshakes whose answer it waits for go on for nobody, and end with their time. */
static void drop_front(struct fk_hs_front *front)
{
    struct fk_list *item;

    fk_list_each (item, &front->owner->table.ages) {
        struct handshake *handshake = fk_container(item, struct handshake, entry.age);

        if (handshake->front == front)
            handshake->front = NULL;
    }
    fk_list_del(&front->link);
    fk_hs_link_close(&front->io);
    free(front);
}

static void on_lost(struct fk_hs_link *link)
{
    drop_front(fk_container(link, struct fk_hs_front, io));
}

static const struct fk_hs_link_ops link_ops = {.message = on_message, .lost = on_lost};

int fk_hs_front_add(struct fk_handshaker *handshaker, int fd)
{
    struct fk_hs_front *front = calloc(1, sizeof *front);

    if (front == NULL) {
        fk_close(&fd);
        return FK_ERR_NOMEM;
    }
    front->owner = handshaker;
    fk_hs_link_open(&front->io, handshaker->loop, fd, &link_ops);
    fk_list_append(&handshaker->fronts, &front->link);
    return FK_OK;
}

/* --- time --- */

static void end_late(struct fk_hs_entry *entry)
{
    struct handshake *handshake = fk_container(entry, struct handshake, entry);

    answer_error(handshake->front, handshake->request, FK_ERR_TIMEOUT);
    end(handshake);
}

void fk_hs_on_tick(struct fk_timer *timer)
{
    struct fk_handshaker *handshaker = fk_container(timer, struct fk_handshaker, tick);
    uint64_t now = fk_loop_now_us(handshaker->loop);
    struct fk_hs_entry *entry;

    while ((entry = fk_hs_table_take_expired(&handshaker->table, now)) != NULL)
        end_late(entry);
    fk_timer_start(timer, FK_HANDSHAKE_TICK_US);
}

void fk_hs_end_all(struct fk_handshaker *handshaker)
{
    struct fk_list *item, *next;

    fk_list_each_safe (item, next, &handshaker->table.ages) {
        end(fk_container(item, struct handshake, entry.age));
    }
    fk_list_each_safe (item, next, &handshaker->fronts) {
        drop_front(fk_container(item, struct fk_hs_front, link));
    }
}
