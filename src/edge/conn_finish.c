/*
 * Mode `handshake` with `expose = master`, TLS 1.2: the key server makes the handshake up to the
 * key exchange and tells the master secret. Here: verifying the client's Finished, the session's
 * ticket or id, ChangeCipherSpec and Finished of ours. A session that a client comes back with is
 * OpenSSL's to resume (conn_tls.c).
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/secret.h"
#include "edge/conn_priv.h"
#include "edge/tlsctx.h"
#include "tls/finish12.h"
#include "wire/server_hello.h"

#include <stdlib.h>
#include <string.h>

#define CCS_LEN          6
#define MESSAGE_HEAD     4
#define MESSAGE_TICKET   4 /* NewSessionTicket */
#define MESSAGE_FINISHED 20

static const uint8_t change_cipher_spec[CCS_LEN] = {20, 3, 3, 0, 1, 1};

struct fk_conn_finish {
    struct fk_transcript12 *transcript;
    uint8_t client_random[32];
    bool answered; /* the ServerHello has passed: */
    struct fk_server_hello server;
    uint8_t id[32]; /* what server.session_id borrows */
};

/* --- resuming --- */

bool fk_conn_may_resume(const struct fk_conn *conn, const struct fk_client_hello *hello)
{
    const struct fk_edge_tickets *resumption = conn->gen->resumption;

    if (!fk_site_exposes(conn->site) || conn->site->ctx == NULL ||
        (hello->tls13 && (conn->site->conf->tls & FK_EDGE_TLS13) != 0))
        return false;
    return (hello->ticket && resumption->enabled) ||
           (hello->session_id_len > 0 && resumption->cache > 0);
}

/* --- what passes --- */

int fk_conn_finish_new(const struct fk_conn *conn, struct fk_conn_finish **ret)
{
    struct fk_conn_finish *finish = calloc(1, sizeof *finish);
    struct fk_client_hello hello;
    struct fk_buf scratch;
    size_t used;
    int err;

    if (finish == NULL)
        return FK_ERR_NOMEM;
    fk_buf_init(&scratch, FK_CLIENT_HELLO_MAX);
    if ((err = fk_transcript12_new(&finish->transcript)) == FK_OK &&
        (err = fk_client_hello_parse(fk_buf_data(&conn->in), fk_buf_len(&conn->in), &scratch,
                                     &hello, &used)) == FK_OK) {
        memcpy(finish->client_random, hello.random, sizeof hello.random);
        *ret = finish;
    } else {
        fk_conn_finish_free(finish);
    }
    fk_buf_fini(&scratch);
    return err;
}

void fk_conn_finish_free(struct fk_conn_finish *finish)
{
    if (finish == NULL)
        return;
    fk_transcript12_free(finish->transcript);
    free(finish);
}

static int take_server_hello(struct fk_conn_finish *finish, struct fk_reader records)
{
    int err = fk_server_hello_parse(records, &finish->server);

    if (err != FK_OK)
        return err;
    memcpy(finish->id, finish->server.session_id.next, finish->server.session_id.left);
    finish->server.session_id.next = finish->id;
    finish->answered = true;
    return FK_OK;
}

int fk_conn_finish_watch(struct fk_conn_finish *finish, struct fk_reader client,
                         struct fk_reader server, uint8_t *ret_alert)
{
    int err;

    if (!finish->answered && (err = take_server_hello(finish, server)) != FK_OK)
        return err;
    if ((err = fk_transcript12_records(finish->transcript, client)) != FK_OK) {
        *ret_alert =
            FK_ALERT_UNEXPECTED_MESSAGE; /* a warning that the key server has passed over */
        return err;
    }
    return fk_transcript12_records(finish->transcript, server);
}

/* --- the session begins --- */

static int make_record(struct fk_conn *conn, const struct fk_conn_finish *finish,
                       const struct fk_suite *suite, const uint8_t *master)
{
    struct fk_session_keys keys;
    int err = fk_session_keys_tls12(suite, master, finish->client_random, finish->server.random,
                                    false, &keys);

    if (err == FK_OK) {
        keys.client.seq = keys.server.seq = 0; /* both Finished are to come */
        err = fk_record_new(conn->env->records, &keys, FK_RECORD_SERVER, &conn->record);
    }
    fk_wipe(&keys, sizeof keys);
    return err;
}

static int add_finished(struct fk_conn_finish *finish, const uint8_t verify[FK_FINISHED12])
{
    uint8_t message[MESSAGE_HEAD + FK_FINISHED12] = {MESSAGE_FINISHED, 0, 0, FK_FINISHED12};

    memcpy(message + MESSAGE_HEAD, verify, FK_FINISHED12);
    return fk_transcript12_message(finish->transcript, message, sizeof message);
}

/* ChangeCipherSpec and Finished, which gather() has seen to be there. */
static int verify_client(struct fk_conn *conn, struct fk_conn_finish *finish,
                         const struct fk_suite *suite, const uint8_t *master, uint8_t *ret_alert)
{
    uint8_t wanted[FK_FINISHED12], got[FK_FINISHED12], *bytes = fk_buf_data(&conn->in);
    size_t len = fk_buf_len(&conn->in), used;
    int err = fk_transcript12_finished(finish->transcript, suite, master, true, wanted);

    if (err != FK_OK)
        return err;
    if (len < CCS_LEN || memcmp(bytes, change_cipher_spec, CCS_LEN) != 0) { /* public */
        *ret_alert = FK_ALERT_UNEXPECTED_MESSAGE;
        return FK_ERR_UNEXPECTED;
    }
    err = fk_record_open_finished(conn->record, bytes + CCS_LEN, len - CCS_LEN, got, &used);
    if (err != FK_OK) {
        *ret_alert = err == FK_ERR_VERIFY ? FK_ALERT_BAD_RECORD_MAC : FK_ALERT_UNEXPECTED_MESSAGE;
        return err;
    }
    if (!fk_equal_ct(wanted, got, sizeof wanted)) {
        *ret_alert = FK_ALERT_DECRYPT_ERROR;
        return FK_ERR_VERIFY;
    }
    fk_buf_consume(&conn->in, CCS_LEN + used);
    return add_finished(finish, got);
}

/* NewSessionTicket was promised. Without one that can be made, or a session that has room in one,
 * it is empty (RFC 5077 section 3.3). */
static int send_ticket(struct fk_conn *conn, struct fk_conn_finish *finish,
                       struct fk_reader session, uint32_t lifetime_s, struct fk_buf *out)
{
    uint8_t bytes[FK_RECORD_HEAD + MESSAGE_HEAD + 6 + FK_TICKET12_MAX];
    uint8_t ticket[FK_TICKET12_MAX];
    struct fk_writer writer, sealed;
    size_t len;
    int err;

    fk_writer_init(&sealed, ticket, sizeof ticket);
    if (session.left == 0 || fk_session12_ticket(conn->site->tickets, session, &sealed) != FK_OK)
        sealed.len = 0;
    fk_writer_init(&writer, bytes, sizeof bytes);
    fk_writer_u8(&writer, FK_CONTENT_HANDSHAKE);
    fk_writer_u16(&writer, FK_TLS12);
    fk_writer_u16(&writer, (uint16_t)(MESSAGE_HEAD + 6 + sealed.len));
    fk_writer_u8(&writer, MESSAGE_TICKET);
    fk_writer_u24(&writer, (uint32_t)(6 + sealed.len));
    fk_writer_u32(&writer, lifetime_s);
    fk_writer_vec16(&writer, ticket, sealed.len);
    if ((err = fk_writer_end(&writer, &len)) != FK_OK ||
        (err = fk_transcript12_message(finish->transcript, bytes + FK_RECORD_HEAD,
                                       len - FK_RECORD_HEAD)) != FK_OK)
        return err;
    return fk_buf_append(out, bytes, len);
}

/* For a client without tickets: by its id. What cannot be kept is not resumed. */
static void keep_session(struct fk_conn *conn, struct fk_reader session)
{
    const unsigned char *next = session.next;
    SSL_SESSION *kept;

    if (conn->site->cache == NULL ||
        (kept = d2i_SSL_SESSION(NULL, &next, (long)session.left)) == NULL)
        return;
    (void)fk_sescache_put(conn->site->cache, conn->site->tickets, kept);
    SSL_SESSION_free(kept);
}

/* The first of a chain; empty: there is none. */
static int take_leaf(struct fk_reader chain, struct fk_reader *ret)
{
    *ret = (struct fk_reader){.left = 0};
    return chain.left == 0 ? FK_OK : fk_reader_vec16(&chain, ret);
}

/* The session, where the client can come back with it: not with a long certificate. */
static int remember(struct fk_conn *conn, struct fk_conn_finish *finish,
                    const struct fk_conn_told *told, struct fk_buf *out)
{
    const uint32_t lifetime_s =
        (uint32_t)(fk_edge_session_us(conn->site->conf, conn->gen->resumption) / 1000000);
    uint8_t context[32], bytes[FK_SESSION12_MAX];
    struct fk_session12 session = {
        .suite = finish->server.suite,
        .extended_master_secret = finish->server.extended_master_secret,
        .master = told->master.next,
        .context = context,
        .id = finish->server.session_id,
        .made_s = fk_clock_wall_us() / 1000000,
        .lifetime_s = lifetime_s,
    };
    struct fk_writer writer;
    size_t len = 0;
    int err;

    if (!finish->server.ticket && finish->server.session_id.left == 0)
        return FK_OK;
    if ((err = take_leaf(told->chain, &session.peer)) != FK_OK)
        return err;
    fk_tlsctx_session_context(conn->site->conf, conn->site->clientca, context);
    fk_writer_init(&writer, bytes, sizeof bytes);
    if (session.peer.left <= FK_SESSION12_PEER_MAX) {
        fk_session12_encode(&session, &writer);
        err = fk_writer_end(&writer, &len);
    }
    if (err == FK_OK) {
        const struct fk_reader encoded = {bytes, len};

        if (finish->server.ticket)
            err = send_ticket(conn, finish, encoded, lifetime_s, out);
        else if (session.peer.left == 0) /* the cache has no room for one */
            keep_session(conn, encoded);
    }
    fk_wipe(bytes, sizeof bytes);
    return err;
}

static int send_finished(struct fk_conn *conn, const struct fk_conn_finish *finish,
                         const struct fk_suite *suite, const uint8_t *master, struct fk_buf *out)
{
    uint8_t verify[FK_FINISHED12], sealed[FK_RECORD_CONTROL_MAX];
    size_t len;
    int err;

    if ((err = fk_transcript12_finished(finish->transcript, suite, master, false, verify)) !=
            FK_OK ||
        (err = fk_record_seal_finished(conn->record, verify, sealed, &len)) != FK_OK ||
        (err = fk_buf_append(out, change_cipher_spec, CCS_LEN)) != FK_OK)
        return err;
    return fk_buf_append(out, sealed, len);
}

int fk_conn_finish(struct fk_conn *conn, struct fk_conn_finish *finish,
                   const struct fk_conn_told *told, struct fk_buf *out, uint8_t *ret_alert)
{
    const uint8_t *master = told->master.next;
    const struct fk_suite *suite = fk_suite_find(finish->server.suite);
    int err;

    if (!finish->answered)
        return FK_ERR_FORMAT;
    if (suite == NULL || suite->version != FK_TLS12 || suite->protection == FK_PROTECT_CBC)
        return FK_ERR_UNSUPPORTED;
    if ((err = make_record(conn, finish, suite, master)) != FK_OK ||
        (err = verify_client(conn, finish, suite, master, ret_alert)) != FK_OK ||
        (err = remember(conn, finish, told, out)) != FK_OK ||
        (err = send_finished(conn, finish, suite, master, out)) != FK_OK)
        return err;
    conn->version = "TLSv1.2";
    conn->cipher = fk_suite_name(suite);
    return FK_OK;
}
