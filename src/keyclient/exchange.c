/*
 * Frames of an open channel: requests out, answers in.
 *
 * An answer counts only for the id that it was asked with, once. Answers to other ids are counted
 * and ignored; what is not a frame of this protocol ends the channel.
 */
#include "keyclient/internal.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/secret.h"
#include "base/writer.h"

#include <string.h>

#define LISTING_CURSOR_START 0

static int send_simple(struct fk_keyserver *server, enum fk_slot_kind kind, uint8_t opcode,
                       const void *payload, size_t len)
{
    struct fk_slot *slot = fk_table_take(&server->table, kind);
    struct fk_keymsg msg = {.opcode = opcode, .payload = fk_item(payload, len)};
    int err;

    if (slot == NULL)
        return FK_ERR_LIMIT;
    msg.id = slot->id;
    err = fk_keymsg_encode(&msg, false, fk_channel_io_out(server->io));
    if (err != FK_OK) {
        slot->kind = FK_SLOT_FREE;
        return err;
    }
    fk_channel_io_flush(server->io);
    return FK_OK;
}

int fk_server_send_ping(struct fk_keyserver *server)
{
    int err = send_simple(server, FK_SLOT_PING, FK_OP_PING, NULL, 0);

    if (err != FK_OK)
        return err;
    server->ping_out = true;
    server->ping_sent_us = fk_clock_us();
    if (server->config.ping_timeout_us > 0)
        fk_timer_start(&server->ping_timer, server->config.ping_timeout_us);
    return FK_OK;
}

int fk_server_send_info(struct fk_keyserver *server, uint32_t cursor)
{
    struct fk_writer writer;
    uint8_t payload[4];
    int err;

    fk_writer_init(&writer, payload, sizeof payload);
    fk_info_request_encode(cursor, &writer);
    err = send_simple(server, FK_SLOT_INFO, FK_OP_INFO, payload, sizeof payload);
    if (err != FK_OK)
        return err;
    if (cursor == LISTING_CURSOR_START)
        fk_keylist_clear(&server->next_list);
    server->listing = true;
    return FK_OK;
}

/* --- tickets out --- */

static int send_ticket(struct fk_keyserver *server, struct fk_key_ticket *ticket)
{
    struct fk_slot *slot = fk_table_take(&server->table, FK_SLOT_TICKET);
    int err;

    if (slot == NULL)
        return FK_ERR_LIMIT;
    ticket->id = slot->id;
    err = fk_ticket_encode(ticket, &server->proof, fk_channel_io_out(server->io));
    if (err != FK_OK) {
        slot->kind = FK_SLOT_FREE;
        return err;
    }
    slot->ticket = ticket;
    ticket->sent_us = fk_clock_us();
    ticket->reached = true;
    server->stats.requests++;
    fk_channel_io_flush(server->io);
    return FK_OK;
}

int fk_server_take(struct fk_keyserver *server, struct fk_key_ticket *ticket)
{
    int err;

    ticket->sent_us = 0;
    if (fk_server_has_channel(server)) {
        err = send_ticket(server, ticket);
        if (err != FK_OK)
            return err;
    } else if (server->state == FK_SERVER_IDLE) {
        fk_defer_start(&server->kick);
    }
    ticket->server = server;
    fk_list_append(&server->tickets, &ticket->server_link);
    server->outstanding++;
    return FK_OK;
}

/* Off the server's list; the slot is the caller's business. */
static void detach(struct fk_keyserver *server, struct fk_key_ticket *ticket)
{
    fk_list_del(&ticket->server_link);
    ticket->server = NULL;
    server->outstanding--;
    server->last_use_us = fk_clock_us();
    fk_server_retire_check(server);
}

void fk_server_give_up(struct fk_keyserver *server, struct fk_key_ticket *ticket)
{
    struct fk_slot *slot = ticket->sent_us != 0 ? fk_table_find(&server->table, ticket->id) : NULL;

    if (slot != NULL && slot->ticket == ticket) {
        slot->kind = FK_SLOT_GIVEN_UP;
        slot->ticket = NULL;
    }
    detach(server, ticket);
}

void fk_server_send_waiting(struct fk_keyserver *server)
{
    struct fk_list *item, *temp;
    struct fk_list refused;

    fk_list_init(&refused);
    fk_list_each_safe (item, temp, &server->tickets) {
        struct fk_key_ticket *ticket = fk_container(item, struct fk_key_ticket, server_link);

        if (ticket->sent_us != 0 || send_ticket(server, ticket) == FK_OK)
            continue;
        detach(server, ticket);
        fk_list_append(&refused, &ticket->server_link);
    }
    while (!fk_list_empty(&refused)) {
        struct fk_key_ticket *ticket =
            fk_container(refused.next, struct fk_key_ticket, server_link);

        fk_list_del(&ticket->server_link);
        fk_pool_failed(ticket, server, FK_ERR_INTERNAL);
    }
}

int fk_server_opened(struct fk_keyserver *server)
{
    int err = fk_proof_start(&server->proof, fk_channel_io_ssl(server->io), server->texts.name);

    if (err != FK_OK)
        return err;
    fk_table_reset(&server->table);
    fk_verify_channel_opened(&server->verify);
    /* Whatever it answers first shows that it takes us; a ping shows it soonest. */
    (void)fk_server_send_ping(server);
    if (server->watch != NULL)
        (void)fk_server_send_info(server, LISTING_CURSOR_START);
    fk_server_send_waiting(server);
    return FK_OK;
}

/* --- answers in --- */

/* Why a ticket was refused. Bytes of the peer: one byte of payload, or it is no error message. */
static int error_of(const struct fk_keymsg *msg)
{
    struct fk_reader payload = msg->payload;
    uint8_t code;

    if (fk_reader_u8(&payload, &code) != FK_OK || fk_reader_end(&payload) != FK_OK)
        return FK_ERR_INTERNAL;
    return fk_key_error_from_wire(code);
}

static void signature_bad(struct fk_keyserver *server, struct fk_key_ticket *ticket)
{
    server->stats.bad_signatures++;
    fk_log_limited(&server->signature_limit, FK_LOG_ERROR, "key server gave a bad result",
                   fk_str("server", server->texts.name),
                   fk_str("operation", fk_key_opcode_name(ticket->opcode)));
    fk_pool_failed(ticket, server, FK_ERR_VERIFY);
}

static void ticket_refused(struct fk_keyserver *server, struct fk_key_ticket *ticket, int err)
{
    server->stats.failures++;
    if (err == FK_ERR_DRAINING && !server->draining) {
        server->draining = true;
        server->down_since_us = fk_clock_us();
        fk_log(FK_LOG_INFO, "key server is draining", fk_str("server", server->texts.name));
    }
    fk_pool_failed(ticket, server, err);
}

/* A result, which is sealed if it is a secret and this edge signs. */
static void ticket_result(struct fk_keyserver *server, struct fk_key_ticket *ticket,
                          struct fk_reader result)
{
    uint8_t opened[FK_KEY_SECRET_MAX];
    size_t len = 0;
    int err = FK_OK;

    if (fk_proof_on(&server->proof) && fk_keyproof_is_secret(ticket->opcode)) {
        err = fk_proof_open(&server->proof, ticket->signature, result, opened, sizeof opened, &len);
        result = fk_item(opened, len);
    }
    if (err != FK_OK ||
        fk_verify_answer(&server->verify, ticket, result.next, result.left) != FK_OK)
        signature_bad(server, ticket);
    else
        fk_pool_answered(ticket, server, result.next, result.left);
    fk_wipe(opened, len);
}

static int ticket_answer(struct fk_keyserver *server, struct fk_slot *slot,
                         const struct fk_keymsg *msg)
{
    struct fk_key_ticket *ticket = slot->ticket;

    if (msg->opcode != FK_OP_RESPONSE && msg->opcode != FK_OP_ERROR)
        return FK_ERR_UNEXPECTED;
    *slot = (struct fk_slot){.kind = FK_SLOT_FREE};
    server->answered_us = fk_clock_us();
    fk_server_sample(server, server->answered_us - ticket->sent_us);
    fk_spread_add(&server->spread, server->answered_us - ticket->sent_us);
    detach(server, ticket);
    if (msg->opcode == FK_OP_ERROR)
        ticket_refused(server, ticket, error_of(msg));
    else
        ticket_result(server, ticket, msg->payload);
    return FK_OK;
}

static int ping_answer(struct fk_keyserver *server, struct fk_slot *slot,
                       const struct fk_keymsg *msg)
{
    uint64_t generation;

    if (msg->opcode != FK_OP_PONG || fk_pong_decode(msg->payload, &generation) != FK_OK)
        return FK_ERR_UNEXPECTED;
    *slot = (struct fk_slot){.kind = FK_SLOT_FREE};
    server->ping_out = false;
    fk_server_sample(server, fk_clock_us() - server->ping_sent_us);
    if (server->config.ping_interval_us > 0)
        fk_timer_start(&server->ping_timer, server->config.ping_interval_us);
    else
        fk_timer_stop(&server->ping_timer);
    if (server->watch != NULL && !server->listing &&
        (!server->list.complete || server->list.generation != generation))
        (void)fk_server_send_info(server, LISTING_CURSOR_START);
    return FK_OK;
}

static void listing_complete(struct fk_keyserver *server)
{
    bool changed;

    server->next_list.complete = true;
    server->listing = false;
    changed = !fk_keylist_equal(&server->list, &server->next_list);
    fk_keylist_clear(&server->list);
    server->list = server->next_list;
    server->next_list = (struct fk_keylist){0}; /* moved */
    if (!changed)
        return;
    server->listings++;
    fk_defer_start(&server->tell_watch);
}

static int info_page(struct fk_keyserver *server, const struct fk_keymsg *msg)
{
    struct fk_info_answer page;
    size_t before = server->next_list.n;
    int err;

    if ((err = fk_info_answer_decode(msg->payload, &page)) != FK_OK)
        return err;
    if (before > 0 && page.generation != server->next_list.generation) {
        server->listing = false; /* keys were changed meanwhile: the next pong starts anew */
        return FK_OK;
    }
    server->next_list.generation = page.generation;
    if ((err = fk_keylist_add(&server->next_list, &page)) != FK_OK)
        return err;
    if (page.next_cursor == 0) {
        listing_complete(server);
        return FK_OK;
    }
    /* A page without keys that is not the last would let a server keep us busy for ever. */
    if (server->next_list.n == before)
        return FK_ERR_FORMAT;
    return fk_server_send_info(server, page.next_cursor);
}

static int info_answer(struct fk_keyserver *server, struct fk_slot *slot,
                       const struct fk_keymsg *msg)
{
    *slot = (struct fk_slot){.kind = FK_SLOT_FREE};
    if (msg->opcode == FK_OP_ERROR) {
        server->listing = false;
        fk_log_limited(&server->strange_limit, FK_LOG_WARN, "key server refuses to list its keys",
                       fk_str("server", server->texts.name), fk_error(error_of(msg)));
        return FK_OK;
    }
    return msg->opcode == FK_OP_RESPONSE ? info_page(server, msg) : FK_ERR_UNEXPECTED;
}

static void strange_answer(struct fk_keyserver *server, const struct fk_keymsg *msg)
{
    server->stats.failures++;
    fk_log_limited(&server->strange_limit, FK_LOG_WARN, "answer to nothing that was asked",
                   fk_str("server", server->texts.name),
                   fk_str("opcode", fk_key_opcode_name(msg->opcode)), fk_uint("id", msg->id));
}

static int handle_answer(struct fk_keyserver *server, struct fk_slot *slot,
                         const struct fk_keymsg *msg)
{
    switch (slot->kind) {
    case FK_SLOT_TICKET:
        return ticket_answer(server, slot, msg);
    case FK_SLOT_PING:
        return ping_answer(server, slot, msg);
    case FK_SLOT_INFO:
        return info_answer(server, slot, msg);
    case FK_SLOT_GIVEN_UP: /* too late */
    case FK_SLOT_FREE:
        *slot = (struct fk_slot){.kind = FK_SLOT_FREE};
        return FK_OK;
    }
    return FK_ERR_INTERNAL;
}

static int handle_frame(struct fk_keyserver *server, const struct fk_frame *frame)
{
    struct fk_keymsg msg;
    struct fk_slot *slot;
    int err;

    if (frame->major != 1)
        return FK_ERR_VERSION;
    if ((err = fk_keymsg_decode(frame, &msg)) != FK_OK)
        return err;
    slot = fk_table_find(&server->table, msg.id);
    if (slot == NULL) {
        if (msg.opcode != FK_OP_RESPONSE && msg.opcode != FK_OP_ERROR && msg.opcode != FK_OP_PONG)
            return FK_ERR_UNEXPECTED;
        strange_answer(server, &msg);
        return FK_OK;
    }
    err = handle_answer(server, slot, &msg);
    if (err == FK_OK)
        fk_server_heard(server); /* after it: requests that are parked take slots */
    return err;
}

void fk_server_read(struct fk_keyserver *server)
{
    struct fk_buf *in = fk_channel_io_in(server->io);
    struct fk_frame frame;
    size_t used;
    int err;

    /* Whatever the callbacks do, they do not close this channel: that is done here or later. */
    while (fk_frame_parse(fk_buf_data(in), fk_buf_len(in), &frame, &used) == FK_OK) {
        err = handle_frame(server, &frame);
        if (err != FK_OK) {
            fk_server_lost(server, err, "what it sends is not the protocol");
            return;
        }
        fk_buf_consume(in, used);
    }
    if (server->draining && server->outstanding == 0)
        fk_server_lost(server, FK_ERR_DRAINING, "draining");
}
