/* One connection to Redis: see redis.h. Answers come in the order of the commands. */
#include "edge/redis.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/log.h"
#include "base/secret.h"
#include "base/text.h"
#include "edge/metrics.h"
#include "edge/resp.h"
#include "loop/sock.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum state { RESTING, RESOLVING, CONNECTING, GREETING, UP, N_STATES };
enum event { BEGUN, RESOLVED, CONNECTED, GREETED, ENDED, N_EVENTS };

/* N_STATES: it does not happen. */
static const enum state next_state[N_STATES][N_EVENTS] = {
    /*               BEGUN      RESOLVED    CONNECTED  GREETED   ENDED */
    [RESTING] = {RESOLVING, N_STATES, N_STATES, N_STATES, RESTING},
    [RESOLVING] = {N_STATES, CONNECTING, N_STATES, N_STATES, RESTING},
    [CONNECTING] = {N_STATES, N_STATES, GREETING, N_STATES, RESTING},
    [GREETING] = {N_STATES, N_STATES, N_STATES, UP, RESTING},
    [UP] = {N_STATES, N_STATES, N_STATES, N_STATES, RESTING},
};

enum kind { GREET, GREET_LAST, FIND, PUT };

/* Somebody who waits; he is told in a turn of the loop's of his own. */
struct fk_sesstore_find {
    struct fk_list link; /* among those to be told */
    struct call *call;   /* NULL: answered, or waited for long enough */
    fk_sesstore_done_cb *done;
    void *arg;
    int err;
    size_t len;
    uint8_t data[FK_SESENTRY_MAX];
};

/* A command that has no answer yet. */
struct call {
    struct fk_list link;
    enum kind kind;
    uint64_t asked_us;
    struct fk_sesstore_find *find; /* NULL: nobody waits (any more) */
};

/* What the log has said last. */
enum mood { FINE, REFUSING, SLOW, AWAY };

struct fk_redis {
    struct fk_sesstore store;
    struct fk_redis_config config;
    struct fk_secret *password; /* NULL: none */
    char host[FK_HOST_MAX + 1]; /* empty: the address is fixed */
    uint16_t port;
    struct fk_addr addr;
    bool wanted;
    enum state state;
    enum mood mood;
    struct fk_log_limit log_limit;
    struct fk_dns_query query;
    int fd;
    struct fk_io io;
    struct fk_resp *resp;
    struct fk_buf out;
    size_t n_calls;
    struct fk_list calls;    /* in the order of the answers to come */
    struct fk_list answered; /* finds whose owners are to be told, one a call of `tell` */
    struct fk_defer tell;
    struct fk_timer timer; /* of the oldest call; without a connection, until the next attempt */
};

static void count(const struct fk_redis *redis, enum fk_edge_metric id)
{
    fk_metric_add(redis->config.metrics, id, 1);
}

static uint64_t now_of(const struct fk_redis *redis)
{
    return fk_loop_now_us(redis->config.loop);
}

static void step(struct fk_redis *redis, enum event event)
{
    enum state next = next_state[redis->state][event];

    assert(next != N_STATES);
    redis->state = next;
}

/* --- what is said --- */

/* Once, when it changes. */
static void say(struct fk_redis *redis, enum mood mood, int err, const struct fk_resp_reply *reply)
{
    static const char *const texts[] = {
        [FINE] = "session store is fine",
        [REFUSING] = "session store refuses commands",
        [SLOW] = "session store is slow, sessions are not found there",
        [AWAY] = "session store is out of reach, sessions are not found there",
    };
    const char *address = redis->config.conf->address;
    enum fk_log_level level = mood == FINE ? FK_LOG_INFO : FK_LOG_WARN;

    if (mood == redis->mood)
        return;
    redis->mood = mood;
    if (reply != NULL)
        fk_log_limited(&redis->log_limit, level, texts[mood], fk_str("address", address),
                       fk_strn("said", reply->data, reply->len));
    else if (err != FK_OK)
        fk_log_limited(&redis->log_limit, level, texts[mood], fk_str("address", address),
                       fk_error(err));
    else
        fk_log_limited(&redis->log_limit, level, texts[mood], fk_str("address", address));
}

/* --- calls --- */

static void free_call(struct fk_redis *redis, struct call *call)
{
    fk_list_del(&call->link);
    redis->n_calls--;
    free(call);
}

static struct call *first_call(const struct fk_redis *redis)
{
    return fk_list_empty(&redis->calls) ? NULL : fk_container(redis->calls.next, struct call, link);
}

/* Is it behind with its answers? Then nobody else needs to wait to learn that. */
static bool is_late(const struct fk_redis *redis)
{
    const struct call *first = first_call(redis);

    return first != NULL && now_of(redis) - first->asked_us >= redis->config.conf->timeout_us;
}

/* Whoever waits will be told; the call's answer, should it still come, is nobody's. */
static void answer(struct fk_redis *redis, struct call *call, int err,
                   const struct fk_resp_reply *reply)
{
    struct fk_sesstore_find *find = call->find;

    if (find == NULL)
        return;
    find->err = err;
    if (err == FK_OK) {
        memcpy(find->data, reply->data, reply->len);
        find->len = reply->len;
    }
    find->call = NULL;
    call->find = NULL;
    fk_list_append(&redis->answered, &find->link);
    fk_defer_start(&redis->tell);
}

static void on_tell(struct fk_defer *defer)
{
    struct fk_redis *redis = fk_container(defer, struct fk_redis, tell);
    struct fk_list *item = fk_list_pop(&redis->answered);
    struct fk_sesstore_find *find;

    if (item == NULL)
        return;
    if (!fk_list_empty(&redis->answered))
        fk_defer_start(&redis->tell);
    find = fk_container(item, struct fk_sesstore_find, link);
    find->done(find->arg, find->err, find->data, find->len); /* may free `redis` */
    free(find);
}

/* --- the connection --- */

/* Until the oldest find has waited for long enough, or the oldest call for too long. */
static void set_timer(struct fk_redis *redis)
{
    const struct call *first = first_call(redis);
    uint64_t now = now_of(redis), end;
    struct fk_list *item;

    if (first == NULL) {
        fk_timer_stop(&redis->timer);
        return;
    }
    end = first->asked_us + FK_EDGE_STORE_STALL_US;
    fk_list_each (item, &redis->calls) {
        const struct call *call = fk_container(item, struct call, link);

        if (call->find == NULL)
            continue;
        if (call->asked_us + redis->config.conf->timeout_us < end)
            end = call->asked_us + redis->config.conf->timeout_us;
        break;
    }
    fk_timer_start(&redis->timer, end > now ? end - now : 0);
}

/* It is over; whoever waits goes on without. */
static void end(struct fk_redis *redis)
{
    struct fk_list *item;

    fk_dns_cancel(&redis->query);
    if (redis->fd >= 0)
        fk_io_want(&redis->io, 0);
    fk_close(&redis->fd);
    fk_resp_free(redis->resp);
    redis->resp = NULL;
    fk_buf_fini(&redis->out);
    while ((item = fk_list_pop(&redis->calls)) != NULL) {
        struct call *call = fk_container(item, struct call, link);

        if (call->find != NULL)
            count(redis, FK_EDGE_STORE_AWAY);
        answer(redis, call, FK_ERR_UNAVAILABLE, NULL);
        free_call(redis, call);
    }
    step(redis, ENDED);
    fk_timer_stop(&redis->timer);
}

static void lose(struct fk_redis *redis, int err)
{
    end(redis);
    say(redis, AWAY, err, NULL);
    if (redis->wanted)
        fk_timer_start(&redis->timer, FK_EDGE_STORE_RETRY_US);
}

/* Nobody needs it any more, and nothing is under way. */
static void end_if_unused(struct fk_redis *redis)
{
    if (!redis->wanted && redis->state != RESTING && first_call(redis) == NULL)
        end(redis);
}

static void on_timer(struct fk_timer *timer);
static void on_io(struct fk_io *io, unsigned events);

/* --- commands --- */

static void want(struct fk_redis *redis)
{
    unsigned events = FK_IO_READ;

    if (redis->state == RESOLVING)
        return;
    if (redis->state == CONNECTING || fk_buf_len(&redis->out) > 0)
        events |= FK_IO_WRITE;
    fk_io_want(&redis->io, events);
}

static int send_command(struct fk_redis *redis, enum kind kind, const struct fk_resp_arg *args,
                        size_t n_args, struct call **ret)
{
    struct call *call;
    int err;

    if (redis->n_calls >= FK_EDGE_STORE_CALLS_MAX)
        return FK_ERR_LIMIT;
    if ((call = calloc(1, sizeof *call)) == NULL)
        return FK_ERR_NOMEM;
    if ((err = fk_resp_command(&redis->out, args, n_args)) != FK_OK) {
        free(call);
        return err;
    }
    call->kind = kind;
    call->asked_us = now_of(redis);
    fk_list_append(&redis->calls, &call->link);
    redis->n_calls++;
    want(redis);
    *ret = call;
    return FK_OK;
}

#define ARG(text) ((struct fk_resp_arg){(text), strlen(text)})

static int greet(struct fk_redis *redis)
{
    const struct fk_edge_redis *conf = redis->config.conf;
    struct fk_resp_arg auth[3] = {ARG("AUTH")};
    char database[24];
    struct call *call;
    size_t n = 1;
    int err = FK_OK;

    (void)snprintf(database, sizeof database, "%llu", (unsigned long long)conf->database);
    if (redis->password != NULL) {
        if (conf->user != NULL)
            auth[n++] = ARG(conf->user);
        auth[n++] =
            (struct fk_resp_arg){fk_secret_bytes(redis->password), fk_secret_len(redis->password)};
        err = send_command(redis, GREET, auth, n, &call);
    }
    if (err == FK_OK && conf->database != 0)
        err = send_command(redis, GREET, (const struct fk_resp_arg[]){ARG("SELECT"), ARG(database)},
                           2, &call);
    if (err == FK_OK)
        err = send_command(redis, GREET_LAST, (const struct fk_resp_arg[]){ARG("PING")}, 1, &call);
    return err;
}

/* --- connecting --- */

static void connect_to(struct fk_redis *redis, const struct fk_addr *addr)
{
    int err;

    if ((err = fk_sock_connect(addr, NULL, NULL, &redis->fd)) != FK_OK) {
        lose(redis, err);
        return;
    }
    fk_io_init(&redis->io, redis->config.loop, redis->fd, on_io);
    step(redis, RESOLVED);
    want(redis);
}

static void on_resolved(struct fk_dns_query *query, int err, const struct fk_addr *addrs,
                        size_t n_addrs)
{
    struct fk_redis *redis = fk_container(query, struct fk_redis, query);

    (void)n_addrs;
    if (err != FK_OK)
        lose(redis, err);
    else
        connect_to(redis, &addrs[0]);
}

/* The greeting's commands go first; those of handshakes that come meanwhile, after them. */
static void begin(struct fk_redis *redis)
{
    int err;

    step(redis, BEGUN);
    if ((err = fk_resp_new(&redis->resp)) == FK_OK && (err = greet(redis)) == FK_OK &&
        redis->host[0] != '\0')
        err =
            fk_dns_resolve(redis->config.dns, &redis->query, redis->host, redis->port, on_resolved);
    if (err != FK_OK) {
        lose(redis, err);
        return;
    }
    set_timer(redis);
    if (redis->host[0] == '\0')
        connect_to(redis, &redis->addr);
}

/* --- answers --- */

static bool is_answer(enum kind kind, enum fk_resp_kind reply)
{
    return kind == FIND ? reply == FK_RESP_STRING || reply == FK_RESP_NIL : reply == FK_RESP_STATUS;
}

static void take_find(struct fk_redis *redis, struct call *call, const struct fk_resp_reply *reply)
{
    bool found = reply->kind == FK_RESP_STRING;

    if (call->find == NULL)
        return; /* counted when it was given up */
    count(redis, found ? FK_EDGE_STORE_FOUND : FK_EDGE_STORE_MISSING);
    answer(redis, call, found ? FK_OK : FK_ERR_NOT_FOUND, reply);
}

/* FK_ERR_DENIED: it wants nothing to do with us. */
static int take_refusal(struct fk_redis *redis, struct call *call,
                        const struct fk_resp_reply *reply)
{
    if (call->find != NULL)
        count(redis, FK_EDGE_STORE_AWAY);
    answer(redis, call, FK_ERR_UNAVAILABLE, NULL);
    if (call->kind == PUT)
        count(redis, FK_EDGE_STORE_DROPPED);
    say(redis, REFUSING, FK_OK, reply->kind == FK_RESP_ERROR ? reply : NULL);
    return call->kind == FIND || call->kind == PUT ? FK_OK : FK_ERR_DENIED;
}

/* The answer to the oldest call. */
static int take_reply(struct fk_redis *redis, const struct fk_resp_reply *reply)
{
    struct fk_list *item = fk_list_pop(&redis->calls);
    struct call *call;
    int err = FK_OK;

    if (item == NULL)
        return FK_ERR_UNEXPECTED;
    call = fk_container(item, struct call, link);
    if (!is_answer(call->kind, reply->kind))
        err = take_refusal(redis, call, reply);
    else if (call->kind == FIND)
        take_find(redis, call, reply);
    else if (call->kind == PUT)
        count(redis, FK_EDGE_STORE_KEPT);
    else if (call->kind == GREET_LAST)
        step(redis, GREETED);
    /* A refusal is over when the same kind of command succeeds; slowness, when it keeps up. */
    if (err == FK_OK && is_answer(call->kind, reply->kind) && redis->state == UP &&
        (redis->mood != REFUSING || call->kind == PUT) && !is_late(redis))
        say(redis, FINE, FK_OK, NULL);
    free_call(redis, call);
    return err;
}

static int take_replies(struct fk_redis *redis)
{
    const struct fk_resp_reply *reply;
    int err;

    while ((err = fk_resp_next(redis->resp, &reply)) == FK_OK)
        if ((err = take_reply(redis, reply)) != FK_OK)
            return err;
    return err == FK_ERR_AGAIN ? FK_OK : err;
}

static int receive(struct fk_redis *redis)
{
    uint8_t bytes[FK_EDGE_STORE_READ];
    ssize_t n = recv(redis->fd, bytes, sizeof bytes, 0);
    int err;

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? FK_OK : FK_ERR_SYS;
    if (n == 0)
        return FK_ERR_CLOSED;
    if ((err = fk_resp_feed(redis->resp, bytes, (size_t)n)) == FK_OK)
        err = take_replies(redis);
    return err;
}

static int flush(struct fk_redis *redis)
{
    ssize_t n;

    if (fk_buf_len(&redis->out) == 0)
        return FK_OK;
    n = send(redis->fd, fk_buf_data(&redis->out), fk_buf_len(&redis->out), MSG_NOSIGNAL);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? FK_OK : FK_ERR_SYS;
    fk_buf_consume(&redis->out, (size_t)n);
    return FK_OK;
}

static int take_up(struct fk_redis *redis)
{
    int number = fk_sock_error(redis->fd);

    if (number != 0) {
        errno = number;
        return FK_ERR_SYS;
    }
    step(redis, CONNECTED);
    if (redis->config.conf->address[0] != 'u' ||
        strncmp(redis->config.conf->address, "unix:", 5) != 0)
        fk_sock_nodelay(redis->fd);
    return FK_OK;
}

static void on_io(struct fk_io *io, unsigned events)
{
    struct fk_redis *redis = fk_container(io, struct fk_redis, io);
    int err = FK_OK;

    if (redis->state == CONNECTING)
        err = take_up(redis);
    if (err == FK_OK && (events & FK_IO_READ) != 0)
        err = receive(redis);
    if (err == FK_OK && (events & FK_IO_WRITE) != 0)
        err = flush(redis);
    if (err != FK_OK) {
        lose(redis, err);
        return;
    }
    want(redis);
    set_timer(redis);
    end_if_unused(redis);
}

static void on_timer(struct fk_timer *timer)
{
    struct fk_redis *redis = fk_container(timer, struct fk_redis, timer);
    uint64_t now = now_of(redis);
    struct fk_list *item;

    if (redis->state == RESTING) {
        begin(redis);
        return;
    }
    if (first_call(redis) != NULL && now - first_call(redis)->asked_us >= FK_EDGE_STORE_STALL_US) {
        lose(redis, FK_ERR_TIMEOUT);
        return;
    }
    fk_list_each (item, &redis->calls) {
        struct call *call = fk_container(item, struct call, link);

        if (call->find == NULL || now - call->asked_us < redis->config.conf->timeout_us)
            continue;
        answer(redis, call, FK_ERR_TIMEOUT, NULL);
        count(redis, FK_EDGE_STORE_LATE);
        say(redis, SLOW, FK_OK, NULL);
    }
    set_timer(redis);
}

/* --- as a store of sessions --- */

#define KEY_MAX (FK_EDGE_STORE_PREFIX_MAX + 2 * FK_SESSTORE_ID + 1)

static struct fk_redis *redis_of(struct fk_sesstore *store)
{
    return fk_container(store, struct fk_redis, store);
}

/* The id in hexadecimal behind the prefix, for operators who look. */
static void name_key(const struct fk_redis *redis, const uint8_t *id, char ret[KEY_MAX])
{
    size_t len = strlen(redis->config.conf->prefix);

    memcpy(ret, redis->config.conf->prefix, len);
    fk_text_hex(id, FK_SESSTORE_ID, ret + len);
}

static bool can_be_asked(const struct fk_redis *redis)
{
    return redis->state != RESTING && redis->wanted && !is_late(redis);
}

static int store_find(struct fk_sesstore *store, const uint8_t id[FK_SESSTORE_ID],
                      fk_sesstore_done_cb *done, void *arg, struct fk_sesstore_find **ret)
{
    struct fk_redis *redis = redis_of(store);
    struct fk_sesstore_find *find;
    char key[KEY_MAX];
    int err;

    if (!can_be_asked(redis)) {
        count(redis, FK_EDGE_STORE_AWAY);
        return FK_ERR_UNAVAILABLE;
    }
    if ((find = calloc(1, sizeof *find)) == NULL)
        return FK_ERR_NOMEM;
    fk_list_init(&find->link);
    find->done = done;
    find->arg = arg;
    name_key(redis, id, key);
    err = send_command(redis, FIND, (const struct fk_resp_arg[]){ARG("GET"), ARG(key)}, 2,
                       &find->call);
    if (err != FK_OK) {
        count(redis, FK_EDGE_STORE_AWAY);
        free(find);
        return err;
    }
    find->call->find = find;
    set_timer(redis);
    *ret = find;
    return FK_OK;
}

static void store_cancel(struct fk_sesstore *store, struct fk_sesstore_find *find)
{
    (void)store;
    if (find->call != NULL)
        find->call->find = NULL;
    fk_list_del(&find->link);
    free(find);
}

static void store_put(struct fk_sesstore *store, const uint8_t id[FK_SESSTORE_ID],
                      const void *entry, size_t len, uint64_t life_ms)
{
    struct fk_redis *redis = redis_of(store);
    char key[KEY_MAX], life[24];
    struct call *call;

    (void)snprintf(life, sizeof life, "%llu", (unsigned long long)life_ms);
    name_key(redis, id, key);
    if (!can_be_asked(redis) ||
        send_command(
            redis, PUT,
            (const struct fk_resp_arg[]){ARG("SET"), ARG(key), {entry, len}, ARG("PX"), ARG(life)},
            5, &call) != FK_OK) {
        count(redis, FK_EDGE_STORE_DROPPED);
        return;
    }
    if (!fk_timer_active(&redis->timer))
        set_timer(redis);
}

static const struct fk_sesstore_ops store_ops = {
    .find = store_find, .cancel = store_cancel, .put = store_put};

/* --- life --- */

int fk_redis_password(const uint8_t *file, size_t len, size_t *ret_len)
{
    const uint8_t *end = memchr(file, '\n', len);
    size_t line = end == NULL ? len : (size_t)(end - file);

    if (line == 0 || (end != NULL && line + 1 != len))
        return FK_ERR_FORMAT;
    if (line > FK_EDGE_STORE_PASSWORD_MAX)
        return FK_ERR_LIMIT;
    *ret_len = line;
    return FK_OK;
}

int fk_redis_new(const struct fk_redis_config *config, struct fk_redis **ret)
{
    struct fk_redis *redis = calloc(1, sizeof *redis);
    int err;

    if (redis == NULL)
        return FK_ERR_NOMEM;
    redis->store.ops = &store_ops;
    redis->config = *config;
    redis->fd = -1;
    fk_list_init(&redis->calls);
    fk_list_init(&redis->answered);
    fk_buf_init_secret(&redis->out, FK_EDGE_STORE_OUT_MAX);
    fk_dns_query_init(&redis->query);
    fk_defer_init(&redis->tell, config->loop, on_tell);
    fk_timer_init(&redis->timer, config->loop, on_timer);
    err = fk_addr_parse(config->conf->address, &redis->addr);
    if (err == FK_ERR_NOT_FOUND)
        err = fk_addr_split(config->conf->address, redis->host, sizeof redis->host, &redis->port);
    if (err == FK_OK && config->password != NULL)
        err = fk_secret_dup(config->password, config->password_len, &redis->password);
    if (err != FK_OK) {
        fk_redis_free(redis);
        return err;
    }
    *ret = redis;
    return FK_OK;
}

void fk_redis_free(struct fk_redis *redis)
{
    struct fk_list *item;

    if (redis == NULL)
        return;
    redis->wanted = false;
    if (redis->state != RESTING)
        end(redis);
    while ((item = fk_list_pop(&redis->answered)) != NULL)
        free(fk_container(item, struct fk_sesstore_find, link));
    fk_timer_stop(&redis->timer);
    fk_defer_stop(&redis->tell);
    fk_secret_free(redis->password);
    free(redis);
}

void fk_redis_start(struct fk_redis *redis)
{
    redis->wanted = true;
    if (redis->state == RESTING && !fk_timer_active(&redis->timer))
        begin(redis);
}

void fk_redis_rest(struct fk_redis *redis)
{
    redis->wanted = false;
    if (redis->state == RESTING)
        fk_timer_stop(&redis->timer);
    end_if_unused(redis);
}

struct fk_sesstore *fk_redis_store(struct fk_redis *redis)
{
    return &redis->store;
}

bool fk_redis_is_up(const struct fk_redis *redis)
{
    return redis->state == UP;
}
