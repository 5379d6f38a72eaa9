/* The parts of a connection to each other: conn.c (its life), conn_hello.c, conn_tls.c (before
 * and during the handshake), conn_relay.c. */
#ifndef FK_EDGE_CONN_PRIV_H
#define FK_EDGE_CONN_PRIV_H

#include "edge/bio.h"
#include "edge/conn.h"
#include "edge/conn_state.h"
#include "edge/origin.h"
#include "tls/handover.h"
#include "tls/opaque.h"
#include "tls/rkey.h"
#include "wire/client_hello.h"

struct fk_conn_pass; /* conn_pass.c: the same, in mode `handshake` */
struct fk_conn_http; /* conn_http.c: the relay's place, with protocol = http */

/* Needed until the handshake is done, then given back. */
struct fk_conn_setup {
    struct fk_rkey_session key;
    struct fk_conn *conn;
    struct fk_handover seen;
    struct fk_buf hello; /* a copy, when others may make the handshake in the end */
};

/* The certificate that a client has shown, and that is good. */
struct fk_conn_shown {
    char subject[256];      /* RFC 4514 */
    char common_name[65];   /* empty: none that fits (RFC 5280: 64 characters) */
    char print[65];         /* SHA-256 of the certificate, hexadecimal */
    STACK_OF(X509) * chain; /* leaf to anchor, until the relay begins; then NULL */
};

struct fk_conn {
    struct fk_list link;
    struct fk_list site_link; /* in its site's waiting list */
    struct fk_conn_env *env;
    struct fk_gen *gen;
    const struct fk_edge_listen *listen;
    struct fk_site *site; /* NULL until chosen */
    uint64_t id;
    enum fk_conn_state state;
    struct fk_admitted admitted;

    int fd;
    struct fk_io io;
    struct fk_io origin_io;
    unsigned wants, origin_wants; /* FK_IO_* that the state's function waits for */
    struct fk_timer timer;
    struct fk_defer again; /* the relay stopped for fairness */

    struct fk_addr peer;
    struct fk_addr reached; /* len 0 until fk_conn_reached() has asked */
    char *sni;              /* NULL: none */

    struct fk_buf in;   /* read before there was an SSL object */
    size_t hello_needs; /* bytes in `in` before the ClientHello is worth a look */
    struct fk_bio bio;
    SSL *ssl; /* NULL before the handshake, and after it when the record engine goes on */
    struct fk_record *record;
    struct fk_list awake; /* in env->awake while `record` has cipher contexts */
    struct fk_conn_setup *setup;
    struct fk_conn_pass *pass;
    struct fk_relay relay;
    struct fk_conn_http *http; /* NULL: the relay moves the bytes */
    struct fk_origin_use origin;
    const char *origin_name; /* of HTTP: the last origin that was asked; NULL */
    bool origin_started;
    bool without_origin; /* none could be reached */

    /* for the log */
    uint64_t accepted_us, secured_us, active_us, key_us;
    const char *version, *cipher;
    const char *alpn; /* without an SSL object: of the site's configuration, NULL: none */
    bool resumed;
    struct fk_conn_shown *shown; /* NULL: none */
    const char *reason;          /* why it ended, NULL: in order */
    int err;
    enum fk_conn_class failure; /* what kind that reason is, once there is one */
};

/* What each state does when something has happened; the fact it found, or FK_FACT_NONE. */
enum fk_conn_fact fk_conn_run_proxy(struct fk_conn *conn);
enum fk_conn_fact fk_conn_run_plain(struct fk_conn *conn);
enum fk_conn_fact fk_conn_run_hello(struct fk_conn *conn);
enum fk_conn_fact fk_conn_run_wait(struct fk_conn *conn);
enum fk_conn_fact fk_conn_run_handshake(struct fk_conn *conn);
enum fk_conn_fact fk_conn_run_key(struct fk_conn *conn);
enum fk_conn_fact fk_conn_run_pass(struct fk_conn *conn);
enum fk_conn_fact fk_conn_run_pass_key(struct fk_conn *conn);
enum fk_conn_fact fk_conn_run_relay(struct fk_conn *conn);

/* For states that wait for others than the client: FK_FACT_LOST when it has left. */
enum fk_conn_fact fk_conn_watch(struct fk_conn *conn);

/* What is done when time is over in a state, before the table is asked. */
void fk_conn_late_handshake(struct fk_conn *conn);
void fk_conn_late_pass(struct fk_conn *conn);

/* End a handshake that is paused for a key, counted as failed with `err`: required before
 * SSL_free(). Without effect on one that is not paused. */
void fk_conn_end_handshake(struct fk_conn *conn, int err);

/* Give back what OpenSSL's handshake needs beside its SSL object, which is gone. */
void fk_conn_free_setup(struct fk_conn *conn);

/* Give the SSL object back, its session stays in the cache; NULL is fine. */
void fk_conn_free_ssl(struct fk_conn *conn);

/* What the key's holder is told about the connection, for its policy and its audit log. */
void fk_conn_key_context(struct fk_conn *conn, struct fk_key_context *ret);

/* The handshake is done: counted, with `resumed` set. */
void fk_conn_secured(struct fk_conn *conn, bool tls13);

/* Append what the client has sent to conn->in. FK_ERR_AGAIN, FK_ERR_CLOSED, FK_ERR_NOMEM,
 * FK_ERR_LIMIT: it is full. */
int fk_conn_receive(struct fk_conn *conn);

/* --- conn_client.c --- */

/* Keep what the log and the origin are to know of it. `chain`: leaf to anchor, moved also where
 * that fails; NULL: there was no certificate. FK_ERR_NOMEM. */
int fk_conn_note_client(struct fk_conn *conn, STACK_OF(X509) * chain);
/* The same of a session that OpenSSL has begun or resumed. Also FK_ERR_VERIFY. */
int fk_conn_note_session(struct fk_conn *conn);
/* The origin knows now. */
void fk_conn_forget_chain(struct fk_conn *conn);
void fk_conn_free_shown(struct fk_conn *conn);

/* --- conn_pass.c --- */

/* Give back what a handshake made by the key server needs; an unfinished one is given up. */
void fk_conn_end_pass(struct fk_conn *conn);

/* --- conn_finish.c: TLS 1.2 whose master secret the key server tells --- */

struct fk_conn_finish;

/* Whether a session that this client names may be this side's to resume. */
bool fk_conn_may_resume(const struct fk_conn *conn, const struct fk_client_hello *hello);

/* A handshake whose ClientHello conn->in begins with. FK_ERR_NOMEM, FK_ERR_CRYPTO. */
int fk_conn_finish_new(const struct fk_conn *conn, struct fk_conn_finish **ret);
void fk_conn_finish_free(struct fk_conn_finish *finish); /* NULL is fine */

/* Records in the clear as they passed, first of the client, then of the key server: its first ones
 * begin with a ServerHello. Errors as fk_server_hello_parse() and fk_transcript12_records();
 * *ret_alert: what the client gets when they are its fault, else 0. */
int fk_conn_finish_watch(struct fk_conn_finish *finish, struct fk_reader client,
                         struct fk_reader server, uint8_t *ret_alert);

/* What the key server has told: the master secret, and the client's chain, judged (empty: none). */
struct fk_conn_told {
    struct fk_reader master, chain;
};

/*
 * The key exchange is done; conn->in begins with the client's ChangeCipherSpec and Finished, which
 * are used up. The session begins (conn->record), `out` gets what the client is due. *ret_alert is
 * that for a client that failed (FK_ERR_VERIFY, FK_ERR_UNEXPECTED), else 0. FK_ERR_UNSUPPORTED: a
 * suite that is not served.
 */
int fk_conn_finish(struct fk_conn *conn, struct fk_conn_finish *finish,
                   const struct fk_conn_told *told, struct fk_buf *out, uint8_t *ret_alert);

/* --- conn_http.c --- */

/* Requests instead of bytes. FK_ERR_NOMEM. */
int fk_conn_http_begin(struct fk_conn *conn);
void fk_conn_http_end(struct fk_conn *conn);
enum fk_conn_fact fk_conn_run_http(struct fk_conn *conn);
/* The next answer, or the last of what a client asks that does not know yet, ends it. May free the
 * connection. */
void fk_conn_http_wind_down(struct fk_conn *conn);
/* It speaks HTTP/1, and has not asked for anything yet. */
bool fk_conn_http_unasked(const struct fk_conn *conn);
/* The same, at once where nothing more is asked; whoever has just come has FK_EDGE_ASK_US to ask
 * once. May free the connection. */
void fk_conn_http_drain(struct fk_conn *conn);

/* --- conn_relay.c, for conn_http.c and hop.c --- */

/* No origin could be reached: counted and logged. */
void fk_conn_origin_failed(struct fk_conn *conn, int err);
/* The protocol of ALPN; empty: none. */
struct fk_reader fk_conn_alpn(const struct fk_conn *conn);

/* --- conn_record.c --- */

/* Have the record engine go on with the session, if it can and shall. */
void fk_conn_take_over(struct fk_conn *conn);
/* There is traffic: its cipher contexts are needed for a while. */
void fk_conn_wake(struct fk_conn *conn);
void fk_conn_free_record(struct fk_conn *conn);

/* The connection takes its next steps: something may have changed. May free it. */
void fk_conn_step(struct fk_conn *conn);

/* The address that the client connected to. */
const struct fk_addr *fk_conn_reached(struct fk_conn *conn);

/* TLS alerts that this side sends before OpenSSL has a say (RFC 8446 section 6). */
enum fk_alert {
    FK_ALERT_UNEXPECTED_MESSAGE = 10,
    FK_ALERT_BAD_RECORD_MAC = 20,
    FK_ALERT_DECODE_ERROR = 50,
    FK_ALERT_DECRYPT_ERROR = 51,
    FK_ALERT_PROTOCOL_VERSION = 70,
    FK_ALERT_INTERNAL_ERROR = 80,
    FK_ALERT_UNRECOGNIZED_NAME = 112,
};

/* Note why and send the alert. Returns FK_FACT_REFUSED. */
enum fk_conn_fact fk_conn_refuse(struct fk_conn *conn, enum fk_alert alert, const char *reason,
                                 int err);
/* Note why. Returns FK_FACT_LOST. */
enum fk_conn_fact fk_conn_lose(struct fk_conn *conn, const char *reason, int err);

/* The relay begins: buffers, ends, origin. */
void fk_conn_relay_begin(struct fk_conn *conn);
void fk_conn_relay_end(struct fk_conn *conn);

#endif
