/* The process that asks other key servers for shares: see asker.h. */
#include "keyd/asker.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/log.h"
#include "keyd/asker_set.h"
#include "keyd/hs_link.h"
#include "loop/proc.h"
#include "loop/sandbox.h"
#include "loop/sock.h"
#include "wire/keymsg.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct asker {
    struct fk_loop *loop;
    struct fk_dns *dns;
    struct fk_io control;
    struct fk_asker_set *set, *next; /* served; prepared */
    struct fk_list fronts;           /* struct front */
    size_t calls;
    struct fk_timer tick;  /* tells the master how the key servers are */
    struct fk_timer drain; /* looks whether all calls have ended */
    uint64_t drain_end_us;
    struct fk_log_limit trouble;
    bool serving;
    int status;
};

struct front {
    struct fk_list link;
    struct fk_hs_link io;
    struct asker *owner;
    struct fk_list calls;
};

/* One question, from a front to the key servers. */
struct call {
    struct fk_list link; /* in front->calls */
    struct front *front;
    struct fk_asker_channels *channels;
    struct fk_key_ticket *ticket;
    uint32_t id; /* the front's */
};

static void finish(struct asker *asker, int status)
{
    asker->status = status;
    fk_loop_stop(asker->loop);
}

/* --- questions --- */

void fk_asker_encode(struct fk_reader sni, struct fk_reader client_ip, struct fk_writer *out)
{
    fk_writer_vec8(out, sni.next, sni.left);
    fk_writer_vec8(out, client_ip.next, client_ip.left);
}

static void answer(struct front *front, uint32_t id, int err, struct fk_reader payload)
{
    struct fk_hs_head head = {.id = id, .err = err};
    int sent = fk_hs_link_send(&front->io, &head, payload);

    if (sent != FK_OK) /* the front's deadline answers the edge */
        fk_log_limited(&front->owner->trouble, FK_LOG_ERROR, "answer to a front lost",
                       fk_error(sent));
}

static void end_call(struct call *call)
{
    fk_list_del(&call->link);
    call->front->owner->calls--;
    fk_asker_channels_unref(call->channels);
    free(call);
}

static void on_done(void *arg, int err, const uint8_t *data, size_t len)
{
    struct call *call = arg;

    answer(call->front, call->id, err, err == FK_OK ? fk_item(data, len) : fk_item(NULL, 0));
    end_call(call);
}

int fk_asker_decode(struct fk_reader *payload, char sni[FK_HOST_MAX + 1],
                    struct fk_key_context *ret)
{
    struct fk_reader name, ip;
    size_t len;
    int err;

    if ((err = fk_reader_vec8(payload, &name)) != FK_OK ||
        (err = fk_reader_vec8(payload, &ip)) != FK_OK)
        return err;
    len = name.left;
    if (len > FK_HOST_MAX || (ip.left != 0 && ip.left != 4 && ip.left != 16))
        return FK_ERR_FORMAT;
    if ((err = fk_reader_copy(&name, sni, len)) != FK_OK)
        return err;
    sni[len] = '\0';
    ret->sni = len > 0 ? sni : NULL;
    ret->client_ip_len = (uint8_t)ip.left;
    return fk_reader_copy(&ip, ret->client_ip, ip.left);
}

static int ask(struct front *front, const struct fk_hs_head *head, struct fk_reader payload)
{
    struct fk_key_context context = {.sni = NULL};
    struct fk_key_request request = {.op = FK_KEY_CALL, .context = &context};
    struct fk_asker_set *set = front->owner->set;
    char sni[FK_HOST_MAX + 1];
    struct fk_keyback *back;
    struct call *call;
    int err;

    if ((head->opcode != FK_OP_SHARE && head->opcode != FK_OP_PARTIAL) || head->n_keys != 1)
        return FK_ERR_OPCODE;
    if (set == NULL || set->channels == NULL)
        return FK_ERR_UNAVAILABLE;
    if ((err = fk_asker_decode(&payload, sni, &context)) != FK_OK)
        return err;
    if (front->owner->calls == FK_ASKER_OUTSTANDING)
        return FK_ERR_LIMIT;
    if ((call = calloc(1, sizeof *call)) == NULL)
        return FK_ERR_NOMEM;
    memcpy(request.ski, head->skis[0], sizeof request.ski);
    request.u.call = (struct fk_key_call){head->opcode, payload.next, payload.left};
    call->front = front;
    call->id = head->id;
    back = fk_asker_channels_back(set->channels);
    if ((err = back->ops->submit(back, &request, on_done, call, &call->ticket)) != FK_OK) {
        free(call);
        return err;
    }
    call->channels = fk_asker_channels_ref(set->channels);
    fk_list_append(&front->calls, &call->link);
    front->owner->calls++;
    return FK_OK;
}

static void on_message(struct fk_hs_link *link, const struct fk_hs_head *head,
                       struct fk_reader payload)
{
    struct front *front = fk_container(link, struct front, io);
    int err = ask(front, head, payload);

    if (err != FK_OK)
        answer(front, head->id, err, fk_item(NULL, 0));
}

/* --- fronts --- */

static void drop(struct front *front)
{
    struct fk_list *item;

    while ((item = fk_list_pop(&front->calls)) != NULL) {
        struct call *call = fk_container(item, struct call, link);
        struct fk_keyback *back = fk_asker_channels_back(call->channels);

        back->ops->cancel(back, call->ticket);
        end_call(call);
    }
    fk_list_del(&front->link);
    fk_hs_link_close(&front->io);
    free(front);
}

static void on_lost(struct fk_hs_link *link)
{
    drop(fk_container(link, struct front, io));
}

static const struct fk_hs_link_ops link_ops = {.message = on_message, .lost = on_lost};

static int take_peer(struct asker *asker, struct fk_procmsg *msg)
{
    int fd = msg->n_fds == 1 ? msg->fds[0] : -1;
    struct front *front;

    if (fd < 0 || msg->arg >> 16 != FK_PEER_FRONT)
        return FK_ERR_UNEXPECTED;
    if ((front = calloc(1, sizeof *front)) == NULL)
        return FK_ERR_NOMEM;
    msg->fds[0] = -1; /* moved */
    front->owner = asker;
    fk_list_init(&front->calls);
    fk_hs_link_open(&front->io, asker->loop, fd, &link_ops);
    fk_list_append(&asker->fronts, &front->link);
    return FK_OK;
}

/* --- how the key servers are --- */

static void tell_server(const struct fk_keyserver *server, size_t i)
{
    struct fk_procmsg msg = {.type = FK_PROC_STATUS, .arg = (uint32_t)i};
    struct fk_keyserver_stats stats;
    json_t *json;

    fk_keyserver_stats(server, &stats);
    json = json_pack("{s:s, s:b, s:i, s:I, s:I, s:I, s:I}", "name", fk_keyserver_name(server), "up",
                     (int)stats.up, "outstanding", (int)stats.outstanding, "requests",
                     (json_int_t)stats.requests, "failures", (json_int_t)stats.failures, "timeouts",
                     (json_int_t)stats.timeouts, "average_us", (json_int_t)stats.average_us);
    if (json != NULL)
        msg.len = json_dumpb(json, (char *)msg.data, sizeof msg.data, JSON_COMPACT);
    json_decref(json);
    if (msg.len > 0 && msg.len <= sizeof msg.data)
        (void)fk_proc_send(FK_PROC_CONTROL_FD, &msg);
}

static void on_tick(struct fk_timer *timer)
{
    struct asker *asker = fk_container(timer, struct asker, tick);
    const struct fk_keyserver *server;

    fk_timer_start(timer, FK_ASKER_TICK_US);
    if (asker->set == NULL || asker->set->channels == NULL)
        return;
    for (size_t i = 0; (server = fk_asker_channels_server(asker->set->channels, i)) != NULL; i++)
        tell_server(server, i);
}

/* --- the master's messages --- */

static int take_config(struct asker *asker, const struct fk_procmsg *msg)
{
    struct fk_asker_set *set;
    int err;

    if (msg->n_fds != 1)
        return FK_ERR_UNEXPECTED;
    if ((err = fk_asker_set_open(msg->fds[0], msg->arg, asker->loop, asker->dns, asker->set,
                                 &set)) != FK_OK)
        return err;
    fk_asker_set_free(asker->next);
    asker->next = set;
    return FK_OK;
}

/* A refused CONFIG has been answered. */
static int take_prepare(struct asker *asker, uint32_t generation)
{
    if (asker->next == NULL || asker->next->generation != generation)
        return FK_OK;
    return fk_proc_send_fd(FK_PROC_CONTROL_FD, FK_PROC_PREPARED, generation, -1);
}

static int forget(struct asker *asker)
{
    fk_asker_set_free(asker->next);
    asker->next = NULL;
    return FK_OK;
}

/* The first GO: from here on this process can open connections, and no file but those for DNS. */
static int enter(struct asker *asker, const struct fk_procmsg *msg)
{
    char user[FK_PROC_DATA_MAX + 1];
    int err;

    memcpy(user, msg->data, msg->len);
    user[msg->len] = '\0';
    if ((err = fk_proc_drop(msg->len > 0 ? user : NULL)) != FK_OK ||
        (err = fk_sandbox_enter(FK_SANDBOX_WORKER)) != FK_OK)
        return err;
    asker->serving = true;
    fk_timer_start(&asker->tick, FK_ASKER_TICK_US);
    return FK_OK;
}

static int take_go(struct asker *asker, const struct fk_procmsg *msg)
{
    struct fk_asker_set *old = asker->set;
    int err;

    if (asker->next == NULL)
        return FK_ERR_UNEXPECTED;
    fk_log_threshold((enum fk_log_level)asker->next->log_level);
    if (!asker->serving && (err = enter(asker, msg)) != FK_OK)
        return err;
    asker->set = asker->next;
    asker->next = NULL; /* moved */
    fk_asker_set_serve(asker->set, old);
    fk_asker_set_free(old);
    fk_log(FK_LOG_INFO, "asker serves", fk_uint("generation", asker->set->generation));
    return fk_proc_send_fd(FK_PROC_CONTROL_FD, FK_PROC_READY, asker->set->generation, -1);
}

static void on_drain(struct fk_timer *timer)
{
    struct asker *asker = fk_container(timer, struct asker, drain);

    if (asker->calls == 0 || fk_loop_now_us(asker->loop) >= asker->drain_end_us)
        finish(asker, 0);
    else
        fk_timer_start(timer, FK_ASKER_DRAIN_LOOK_US);
}

static int take_drain(struct asker *asker, const struct fk_procmsg *msg)
{
    asker->drain_end_us = fk_loop_now_us(asker->loop) + (uint64_t)msg->arg * 1000000;
    on_drain(&asker->drain);
    return FK_OK;
}

static int take_message(struct asker *asker, struct fk_procmsg *msg)
{
    switch (msg->type) {
    case FK_PROC_CONFIG:
        return take_config(asker, msg);
    case FK_PROC_PEER:
        return take_peer(asker, msg);
    case FK_PROC_PREPARE:
        return take_prepare(asker, msg->arg);
    case FK_PROC_FORGET:
        return forget(asker);
    case FK_PROC_GO:
        return take_go(asker, msg);
    case FK_PROC_DRAIN:
        return take_drain(asker, msg);
    default:
        return FK_ERR_UNEXPECTED;
    }
}

static void tell_failed(uint32_t generation, int err)
{
    struct fk_procmsg msg = {.type = FK_PROC_FAILED, .arg = generation};
    int len = snprintf((char *)msg.data, sizeof msg.data, "asker: %s", fk_err_text(err));

    msg.len = len > 0 ? (size_t)len : 0;
    (void)fk_proc_send(FK_PROC_CONTROL_FD, &msg);
}

static void on_control(struct fk_io *io, unsigned events)
{
    struct asker *asker = fk_container(io, struct asker, control);
    struct fk_procmsg msg;
    int err;

    (void)events;
    while ((err = fk_proc_next(&msg)) == FK_OK) {
        err = take_message(asker, &msg);
        fk_procmsg_close(&msg);
        if (err == FK_OK)
            continue;
        fk_log(FK_LOG_ERROR, "message of master refused", fk_uint("type", msg.type), fk_error(err));
        tell_failed(msg.arg, err);
        if (!asker->serving) {
            finish(asker, 1);
            return;
        }
    }
    if (err != FK_ERR_AGAIN)
        finish(asker, err == FK_ERR_CLOSED ? 0 : 1);
}

/* --- life --- */

static int run(struct asker *asker)
{
    int err;

    asker->status = 1;
    fk_list_init(&asker->fronts);
    if ((err = fk_loop_new(&asker->loop)) != FK_OK ||
        (err = fk_dns_new(asker->loop, NULL, &asker->dns)) != FK_OK)
        return err;
    fk_timer_init(&asker->tick, asker->loop, on_tick);
    fk_timer_init(&asker->drain, asker->loop, on_drain);
    fk_io_init(&asker->control, asker->loop, FK_PROC_CONTROL_FD, on_control);
    fk_io_want(&asker->control, FK_IO_READ);
    fk_loop_run(asker->loop);
    fk_timer_stop(&asker->tick);
    fk_timer_stop(&asker->drain);
    fk_io_want(&asker->control, 0);
    return FK_OK;
}

static void fini(struct asker *asker)
{
    struct fk_list *item;

    while ((item = fk_list_pop(&asker->fronts)) != NULL)
        drop(fk_container(item, struct front, link));
    fk_asker_set_free(asker->set);
    fk_asker_set_free(asker->next);
    fk_dns_free(asker->dns);
    if (asker->loop != NULL)
        fk_loop_free(asker->loop);
}

int fk_asker_main(unsigned index)
{
    struct asker *asker;
    int status, err;

    fk_proc_child_init("keyd-asker", index);
    if ((asker = calloc(1, sizeof *asker)) == NULL)
        return 1;
    if ((err = run(asker)) != FK_OK)
        fk_log(FK_LOG_ERROR, "asker cannot start", fk_error(err));
    status = asker->status;
    fini(asker);
    free(asker);
    return status;
}
