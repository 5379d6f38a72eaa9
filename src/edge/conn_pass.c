/*
 * The handshake in mode `handshake`: the key server makes it, this side carries records between it
 * and the client, whole ones and as many at once as the next step needs. In the end the key server
 * hands the session's keys over: the record engine goes on with them. Holds no other secret.
 */
#include "base/err.h"
#include "base/limits.h"
#include "base/secret.h"
#include "edge/conn_priv.h"
#include "edge/metrics.h"
#include "edge/tlsctx.h"
#include "tls/server_ctx.h"
#include "tls/session_wire.h"
#include "wire/keymsg.h"
#include "wire/keyop_handshake.h"
#include "wire/records.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Needed until the handshake is done, then given back. */
struct fk_conn_pass {
    struct fk_key_route route;
    struct fk_key_ticket *ticket; /* under way, with ... */
    struct fk_keyback *back;
    bool waiting;
    bool begun; /* the key server has a handshake, `id` */
    uint8_t id[FK_HANDSHAKE_ID];
    enum fk_handshake_state state; /* of the last answer */
    bool secret;                   /* the server's records are protected from now on */
    size_t sent;                   /* bytes of conn->in that are with the key server */
    size_t written;                /* of `out` */
    struct fk_buf out;             /* for the client */
    int err;                       /* why the key server's last answer is none */
    unsigned rounds;               /* answers */
    uint64_t asked_us, waited_us;
    struct fk_conn_finish *finish; /* NULL: nothing of it is done here */
    uint8_t alert;                 /* ... and what the client gets when it has failed in it */
    int unwelcome; /* X509_V_ERR_*: why the client's certificate is no good; X509_V_OK: it is */
    /* of one that failed */
    enum fk_handshake_cause cause;
    char reason[UINT8_MAX + 1];
};

/* --- asking --- */

static void on_answer(void *arg, int err, const uint8_t *data, size_t len);

/* One that outlives the connection: a route that is known is never written anew. */
static struct fk_key_route *closing_route(const struct fk_conn_pass *pass)
{
    static struct fk_key_route routes[FK_KEYPOOL_SERVERS_MAX + 1];
    struct fk_key_route *route = &routes[pass->route.server];

    route->server = pass->route.server;
    return route;
}

/* The share of a split key goes with HS_OPEN, for the whole handshake. */
static int ask(struct fk_conn *conn, uint8_t opcode, const struct fk_writer *payload,
               fk_key_done_cb *done, struct fk_key_ticket **ret)
{
    struct fk_conn_pass *pass = conn->pass;
    struct fk_site *site = conn->site;
    struct fk_keyback *back = opcode == FK_OP_HS_OPEN ? site->back : site->servers;
    struct fk_key_context context;
    struct fk_key_request request = {
        .op = FK_KEY_CALL,
        .u.call = {opcode, payload->base, payload->len},
        .route = opcode == FK_OP_HS_CLOSE ? closing_route(pass) : &pass->route,
        .context = &context,
    };
    int err;

    memcpy(request.ski, site->share_ski, sizeof request.ski);
    fk_conn_key_context(conn, &context);
    err = payload->err != FK_OK ? payload->err : back->ops->submit(back, &request, done, conn, ret);
    if (err == FK_OK && opcode != FK_OP_HS_CLOSE) {
        pass->waiting = true;
        pass->back = back;
        pass->asked_us = fk_loop_now_us(conn->env->loop);
    }
    return err;
}

/* The site's groups as numbers. */
static size_t list_groups(const struct fk_edge_site *site, uint8_t *ret, size_t size)
{
    struct fk_writer out;

    fk_writer_init(&out, ret, size);
    for (size_t i = 0; i < site->groups.count; i++)
        fk_writer_u16(&out, fk_server_group_id(site->groups.items[i]));
    return out.len;
}

static unsigned options_of(const struct fk_conn *conn)
{
    unsigned exchanges = fk_tlsctx_exchanges(conn->site->conf);

    return ((exchanges & FK_SERVER_ECDHE) != 0 ? FK_HANDSHAKE_ECDHE : 0) |
           ((exchanges & FK_SERVER_DHE) != 0 ? FK_HANDSHAKE_DHE : 0) |
           ((exchanges & FK_SERVER_RSA) != 0 ? FK_HANDSHAKE_RSA : 0) |
           (conn->gen->resumption->cache > 0 ? FK_HANDSHAKE_IDS : 0) |
           (fk_site_exposes(conn->site) ? FK_HANDSHAKE_EXPOSE : 0);
}

static unsigned versions_of(const struct fk_edge_site *site)
{
    return ((site->tls & FK_EDGE_TLS12) != 0 ? FK_HANDSHAKE_TLS12 : 0) |
           ((site->tls & FK_EDGE_TLS13) != 0 ? FK_HANDSHAKE_TLS13 : 0);
}

static struct fk_reader text(const char *value)
{
    struct fk_reader reader;

    fk_reader_init(&reader, value, strlen(value));
    return reader;
}

/* What the client is to show, and of which CAs. `area` has room for both lists. */
static void ask_for_certificate(const struct fk_conn *conn, uint8_t *area,
                                struct fk_handshake_open *open)
{
    static const uint8_t clients[] = {[FK_CLIENT_NOT_ASKED] = FK_HANDSHAKE_CLIENT_NOT_ASKED,
                                      [FK_CLIENT_OPTIONAL] = FK_HANDSHAKE_CLIENT_OPTIONAL,
                                      [FK_CLIENT_REQUIRED] = FK_HANDSHAKE_CLIENT_REQUIRED};
    struct fk_writer out;

    if (conn->site->clientca == NULL)
        return;
    open->client = clients[fk_edge_client(conn->site->conf)->require];
    fk_writer_init(&out, area, FK_CLIENT_CAS_MAX);
    fk_clientca_encode_names(conn->site->clientca, &out);
    open->cas = (struct fk_reader){area, out.len};
}

/* HS_OPEN with the ClientHello: what was read, up to its end. */
static int ask_open(struct fk_conn *conn)
{
    const struct fk_edge_tickets *resumption = conn->gen->resumption;
    const struct fk_edge_site *site = conn->site->conf;
    struct fk_conn_pass *pass = conn->pass;
    const struct fk_scratch *area = &conn->env->seal;
    uint8_t groups[UINT8_MAX];
    uint8_t *alpn = conn->env->scratch.mem;
    struct fk_handshake_open open = {
        .versions = (uint8_t)versions_of(site),
        .options = (uint8_t)options_of(conn),
        .tickets = resumption->enabled ? (uint8_t)resumption->count : 0,
        .lifetime = (uint32_t)(fk_edge_session_us(site, resumption) / 1000000),
        .title = text(site->block.title),
        .name = text(fk_edge_site_name(site, 0)),
    };
    struct fk_writer out;

    pass->sent = conn->hello_needs;
    open.groups = (struct fk_reader){groups, list_groups(site, groups, sizeof groups)};
    open.alpn = (struct fk_reader){alpn, fk_tlsctx_alpn(site, alpn)};
    ask_for_certificate(conn, alpn + open.alpn.left, &open);
    open.records = (struct fk_reader){fk_buf_data(&conn->in), pass->sent};
    fk_writer_init(&out, area->mem, area->size);
    fk_handshake_open_encode(&open, &out);
    return ask(conn, FK_OP_HS_OPEN, &out, on_answer, &pass->ticket);
}

static int ask_data(struct fk_conn *conn, size_t len)
{
    struct fk_conn_pass *pass = conn->pass;
    const struct fk_scratch *area = &conn->env->seal;
    struct fk_handshake_data data = {.records = {fk_buf_data(&conn->in), len}};
    struct fk_writer out;

    pass->sent = len;
    memcpy(data.id, pass->id, sizeof data.id);
    fk_writer_init(&out, area->mem, area->size);
    fk_handshake_data_encode(&data, &out);
    return ask(conn, FK_OP_HS_DATA, &out, on_answer, &pass->ticket);
}

static void nobody_waits(void *arg, int err, const uint8_t *data, size_t len)
{
    (void)arg, (void)err, (void)data, (void)len;
}

/* Have the key server forget it before its time. Nothing depends on that. */
static void ask_close(struct fk_conn *conn)
{
    struct fk_key_ticket *ticket;
    uint8_t bytes[FK_HANDSHAKE_ID];
    struct fk_writer out;

    fk_writer_init(&out, bytes, sizeof bytes);
    fk_handshake_close_encode(conn->pass->id, &out);
    (void)ask(conn, FK_OP_HS_CLOSE, &out, nobody_waits, &ticket);
}

/* --- answers --- */

/* The protocol is one of the site's, or none. */
static int take_alpn(struct fk_conn *conn, struct fk_reader alpn)
{
    const struct fk_conf_list *names = &conn->site->conf->alpn;

    if (alpn.left == 0)
        return FK_OK;
    for (size_t i = 0; i < names->count; i++)
        if (strlen(names->items[i]) == alpn.left &&
            memcmp(names->items[i], alpn.next, alpn.left) == 0) { /* public */
            conn->alpn = names->items[i];
            return FK_OK;
        }
    return FK_ERR_FORMAT;
}

/* The client's certificate: the key server has asked for it, and judges nothing. */
static int take_chain(struct fk_conn *conn, struct fk_reader chain)
{
    STACK_OF(X509) * good;
    int err;

    if (conn->site->clientca == NULL)
        return chain.left == 0 ? FK_OK : FK_ERR_FORMAT;
    err = fk_clientca_judge_chain(conn->site->clientca, chain, &conn->pass->unwelcome, &good);
    if (err == FK_ERR_VERIFY)
        return FK_OK; /* the client is told, when it can be */
    return err == FK_OK ? fk_conn_note_client(conn, good) : err;
}

/* The session is there, if the keys are of a kind that the site offers. */
static int take_session(struct fk_conn *conn, const struct fk_handshake_answer *answer)
{
    const unsigned tls = conn->site->conf->tls;
    struct fk_session_keys keys;
    int err;

    if (answer->rest > conn->pass->sent)
        return FK_ERR_FORMAT;
    if ((err = take_alpn(conn, answer->alpn)) != FK_OK ||
        (err = take_chain(conn, answer->chain)) != FK_OK ||
        (err = fk_session_wire_decode(answer->keys, &keys)) != FK_OK)
        return err;
    if (keys.suite->protection == FK_PROTECT_CBC ||
        (tls & (keys.suite->version == FK_TLS13 ? FK_EDGE_TLS13 : FK_EDGE_TLS12)) == 0)
        err = FK_ERR_UNSUPPORTED;
    else
        err = fk_record_new(conn->env->records, &keys, FK_RECORD_SERVER, &conn->record);
    if (err == FK_OK) {
        conn->version = keys.suite->version == FK_TLS13 ? "TLSv1.3" : "TLSv1.2";
        conn->cipher = fk_suite_name(keys.suite);
        conn->resumed = answer->resumed;
    }
    fk_wipe(&keys, sizeof keys);
    return err;
}

static void take_failure(struct fk_conn_pass *pass, const struct fk_handshake_answer *answer)
{
    pass->cause = answer->cause;
    memcpy(pass->reason, answer->reason.next, answer->reason.left);
    pass->reason[answer->reason.left] = '\0';
}

/* From ServerHello on in TLS 1.3, from ChangeCipherSpec on in TLS 1.2, an alert of ours would not
 * be understood. */
static bool is_protected(const struct fk_handshake_answer *answer)
{
    struct fk_records records;

    return answer->state == FK_HANDSHAKE_ANY ||
           fk_records_scan(answer->records, &records) != FK_OK || records.flight ||
           records.pending_ccs;
}

/* Behind the handshake's last records, under the session's keys. */
static int turn_away(struct fk_conn *conn)
{
    struct fk_conn_pass *pass = conn->pass;
    uint8_t bytes[FK_RECORD_CONTROL_MAX];
    size_t len;
    int err;

    fk_record_refuse(conn->record, fk_clientca_alert(pass->unwelcome));
    if ((err = fk_record_seal_control(conn->record, bytes, &len)) != FK_OK)
        return err;
    return fk_buf_append(&pass->out, bytes, len);
}

/* What it says of the session. */
static int take_verdict(struct fk_conn *conn, const struct fk_handshake_answer *answer)
{
    struct fk_conn_pass *pass = conn->pass;

    switch (answer->state) {
    case FK_HANDSHAKE_DONE:
        return take_session(conn, answer);
    case FK_HANDSHAKE_FAILED:
        take_failure(pass, answer);
        return FK_OK;
    case FK_HANDSHAKE_EXCHANGE:
    case FK_HANDSHAKE_EXPOSED:
        if (pass->finish == NULL)
            return FK_ERR_FORMAT; /* nobody has asked for it */
        return fk_conn_finish_watch(pass->finish,
                                    (struct fk_reader){fk_buf_data(&conn->in), pass->sent},
                                    answer->records, &pass->alert);
    case FK_HANDSHAKE_ANY:
    case FK_HANDSHAKE_FLIGHT:
        break;
    }
    return FK_OK;
}

/* The key exchange is done, the rest is between the client and us. Of a client that is not welcome
 * nothing is begun or kept. */
static int take_master(struct fk_conn *conn, const struct fk_handshake_answer *answer)
{
    const struct fk_conn_told told = {.master = answer->master, .chain = answer->chain};
    struct fk_conn_pass *pass = conn->pass;
    int err;

    if (answer->state != FK_HANDSHAKE_EXPOSED)
        return FK_OK;
    if ((err = take_alpn(conn, answer->alpn)) != FK_OK ||
        (err = take_chain(conn, answer->chain)) != FK_OK)
        return err;
    if (pass->unwelcome != X509_V_OK) {
        pass->alert = fk_clientca_alert(pass->unwelcome);
        return FK_OK;
    }
    err = fk_conn_finish(conn, pass->finish, &told, &pass->out, &pass->alert);
    return pass->alert != 0 ? FK_OK : err;
}

static int take_answer(struct fk_conn *conn, struct fk_reader payload)
{
    struct fk_conn_pass *pass = conn->pass;
    struct fk_handshake_answer answer;
    size_t used = pass->sent;
    int err;

    if ((err = fk_handshake_answer_decode(payload, &answer)) != FK_OK)
        return err;
    if (pass->begun && memcmp(pass->id, answer.id, sizeof pass->id) != 0) /* our own name */
        return FK_ERR_FORMAT;
    pass->begun = answer.state == FK_HANDSHAKE_ANY || answer.state == FK_HANDSHAKE_FLIGHT ||
                  answer.state == FK_HANDSHAKE_EXCHANGE;
    memcpy(pass->id, answer.id, sizeof pass->id);
    if ((err = take_verdict(conn, &answer)) != FK_OK)
        return pass->alert != 0 ? FK_OK : err;
    if (answer.state == FK_HANDSHAKE_DONE)
        used -= answer.rest;
    pass->secret |= is_protected(&answer);
    if ((err = fk_buf_append(&pass->out, answer.records.next, answer.records.left)) != FK_OK ||
        (pass->unwelcome != X509_V_OK && (err = turn_away(conn)) != FK_OK))
        return err;
    pass->state = answer.state;
    fk_buf_consume(&conn->in, used);
    return take_master(conn, &answer);
}

static void on_answer(void *arg, int err, const uint8_t *data, size_t len)
{
    struct fk_conn *conn = arg;
    struct fk_conn_pass *pass = conn->pass;

    pass->waiting = false;
    pass->ticket = NULL;
    pass->rounds++;
    pass->waited_us += fk_loop_now_us(conn->env->loop) - pass->asked_us;
    pass->err = err == FK_OK ? take_answer(conn, (struct fk_reader){data, len}) : err;
    fk_conn_step(conn);
}

/* --- done --- */

static enum fk_conn_fact succeeded(struct fk_conn *conn)
{
    const struct fk_conn_pass *pass = conn->pass;
    struct fk_metrics *metrics = conn->env->metrics;

    conn->key_us = pass->waited_us;
    fk_conn_secured(conn, conn->version[sizeof "TLSv1." - 1] == '3');
    fk_metric_observe(metrics, FK_EDGE_KEY_SECONDS, conn->key_us);
    fk_metric_add(metrics, FK_EDGE_PASSED, 1);
    fk_metric_add(metrics, FK_EDGE_PASS_ROUNDS, pass->rounds);
    return FK_FACT_SECURED;
}

/* --- failed --- */

/* Note why; the alert that says so, while that is of use. */
static enum fk_conn_fact give_up(struct fk_conn *conn, const char *reason, int err)
{
    if (!conn->pass->secret)
        return fk_conn_refuse(conn, FK_ALERT_INTERNAL_ERROR, reason, err);
    return fk_conn_lose(conn, reason, err);
}

/* The key server does not answer, or does so wrongly. */
static enum fk_conn_fact key_failed(struct fk_conn *conn, int err)
{
    fk_metric_add(conn->env->metrics, FK_EDGE_HS_KEY, 1);
    conn->failure = FK_CLASS_KEY;
    return give_up(conn, "key server did not shake hands", err);
}

/* The key server has ended it; its alert, if any, is out. */
static enum fk_conn_fact refused(struct fk_conn *conn)
{
    const struct fk_conn_pass *pass = conn->pass;
    bool key = pass->cause == FK_HANDSHAKE_BY_KEY;

    fk_metric_add(conn->env->metrics, key ? FK_EDGE_HS_KEY : FK_EDGE_HS_REFUSED, 1);
    if (key)
        conn->failure = FK_CLASS_KEY;
    conn->reason = pass->reason[0] != '\0' ? pass->reason : "TLS failure";
    conn->err = key ? FK_ERR_CRYPTO : FK_ERR_TLS;
    return pass->cause == FK_HANDSHAKE_BY_CLIENT ? FK_FACT_LOST : FK_FACT_REFUSED;
}

/* Its certificate is no good: the alert is out. */
static enum fk_conn_fact not_welcome(struct fk_conn *conn)
{
    fk_metric_add(conn->env->metrics, FK_EDGE_HS_REFUSED, 1);
    conn->reason = fk_clientca_why(conn->pass->unwelcome); /* static texts */
    conn->err = FK_ERR_VERIFY;
    return FK_FACT_REFUSED;
}

/* The client's fault: nothing of ours is protected yet. */
static enum fk_conn_fact failed_in_the_end(struct fk_conn *conn)
{
    const struct fk_conn_pass *pass = conn->pass;

    fk_metric_add(conn->env->metrics, FK_EDGE_HS_REFUSED, 1);
    return fk_conn_refuse(conn, (enum fk_alert)pass->alert,
                          pass->unwelcome != X509_V_OK ? fk_clientca_why(pass->unwelcome)
                                                       : "the client ends the handshake wrongly",
                          FK_ERR_VERIFY);
}

static enum fk_conn_fact lost(struct fk_conn *conn)
{
    fk_metric_add(conn->env->metrics, FK_EDGE_HS_LOST, 1);
    return fk_conn_lose(conn, "client left during the handshake", FK_ERR_CLOSED);
}

/* --- steps --- */

static int begin(struct fk_conn *conn)
{
    int err;

    conn->failure = FK_CLASS_TLS; /* unless it turns out otherwise */
    if ((conn->pass = calloc(1, sizeof *conn->pass)) == NULL)
        return FK_ERR_NOMEM;
    fk_buf_init(&conn->pass->out, FK_FRAME_MAX);
    if (fk_site_exposes(conn->site) &&
        (err = fk_conn_finish_new(conn, &conn->pass->finish)) != FK_OK)
        return err;
    return ask_open(conn);
}

/* FK_ERR_AGAIN: the client does not take them all now. */
static int send_records(struct fk_conn *conn)
{
    struct fk_buf *out = &conn->pass->out;

    while (fk_buf_len(out) > 0) {
        ssize_t n = send(conn->fd, fk_buf_data(out), fk_buf_len(out), MSG_NOSIGNAL);

        if (n < 0)
            return errno == EAGAIN || errno == EINTR ? FK_ERR_AGAIN : FK_ERR_CLOSED;
        fk_buf_consume(out, (size_t)n);
    }
    return FK_OK;
}

/*
 * Bytes of the client's that are worth a round trip: whole records, and in TLS 1.2 its flight to
 * the Finished, without its end when that is ours. 0: there must be more. FK_ERR_NOT_TLS,
 * FK_ERR_LIMIT, FK_ERR_UNEXPECTED.
 */
static int worth_asking(const struct fk_conn *conn, size_t *ret)
{
    struct fk_records records;
    int err = fk_records_scan((struct fk_reader){fk_buf_data(&conn->in), fk_buf_len(&conn->in)},
                              &records);
    const bool ours = conn->pass->state == FK_HANDSHAKE_EXCHANGE;
    bool enough = !records.pending_ccs && (conn->pass->state == FK_HANDSHAKE_ANY || records.flight);

    if (err != FK_OK)
        return err;
    *ret = !enough ? 0 : ours ? records.clear : records.whole;
    return ours && enough && *ret == 0 ? FK_ERR_UNEXPECTED : FK_OK;
}

/* Read until there is something to ask. */
static enum fk_conn_fact gather(struct fk_conn *conn)
{
    size_t len = 0;
    int err = FK_OK;

    while ((err = worth_asking(conn, &len)) == FK_OK && len == 0)
        if ((err = fk_conn_receive(conn)) != FK_OK)
            break;
    if (err == FK_ERR_AGAIN) {
        conn->wants = FK_IO_READ;
        return FK_FACT_NONE;
    }
    if (err == FK_ERR_CLOSED)
        return lost(conn);
    if (err != FK_OK) {
        fk_metric_add(conn->env->metrics, FK_EDGE_HS_REFUSED, 1);
        return give_up(conn, "what the client sends is no handshake", err);
    }
    if (conn->pass->rounds == FK_HANDSHAKE_ROUNDS_MAX) {
        fk_metric_add(conn->env->metrics, FK_EDGE_HS_REFUSED, 1);
        return give_up(conn, "handshake in too many pieces", FK_ERR_LIMIT);
    }
    err = ask_data(conn, len);
    return err == FK_OK ? FK_FACT_KEY_ASKED : key_failed(conn, err);
}

enum fk_conn_fact fk_conn_run_pass(struct fk_conn *conn)
{
    struct fk_conn_pass *pass;
    int err;

    if (conn->pass == NULL) {
        if ((err = begin(conn)) == FK_OK)
            return FK_FACT_KEY_ASKED;
        return conn->pass != NULL
                   ? key_failed(conn, err)
                   : fk_conn_refuse(conn, FK_ALERT_INTERNAL_ERROR, "out of memory", err);
    }
    pass = conn->pass;
    if (pass->err != FK_OK)
        return key_failed(conn, pass->err);
    if ((err = send_records(conn)) == FK_ERR_AGAIN) {
        conn->wants = FK_IO_WRITE;
        return FK_FACT_NONE;
    }
    if (pass->state == FK_HANDSHAKE_FAILED)
        return refused(conn);
    if (err != FK_OK)
        return lost(conn);
    if (pass->alert != 0)
        return failed_in_the_end(conn);
    if (pass->state != FK_HANDSHAKE_DONE && pass->state != FK_HANDSHAKE_EXPOSED)
        return gather(conn);
    return pass->unwelcome == X509_V_OK ? succeeded(conn) : not_welcome(conn);
}

/*
 * Only the answer moves it. A client that has sent its flight and left may have said why in it: the
 * key server can read that.
 */
enum fk_conn_fact fk_conn_run_pass_key(struct fk_conn *conn)
{
    if (!conn->pass->waiting)
        return FK_FACT_KEY_ANSWERED;
    if (!conn->pass->begun)
        return fk_conn_watch(conn);
    conn->wants = 0;
    return FK_FACT_NONE;
}

void fk_conn_late_pass(struct fk_conn *conn)
{
    struct fk_conn_pass *pass = conn->pass;
    bool asked = pass->waiting;

    fk_metric_add(conn->env->metrics, FK_EDGE_HS_TIMEOUT, 1);
    if (asked) {
        conn->failure = FK_CLASS_KEY;
        pass->back->ops->cancel(pass->back, pass->ticket);
        pass->waiting = false;
    }
    (void)give_up(conn, asked ? "key server did not answer in time" : "client too slow",
                  FK_ERR_TIMEOUT);
}

void fk_conn_end_pass(struct fk_conn *conn)
{
    struct fk_conn_pass *pass = conn->pass;

    if (pass == NULL)
        return;
    if (pass->waiting)
        pass->back->ops->cancel(pass->back, pass->ticket);
    if (pass->begun)
        ask_close(conn);
    fk_buf_fini(&pass->out);
    fk_conn_finish_free(pass->finish);
    free(pass);
    conn->pass = NULL;
}
