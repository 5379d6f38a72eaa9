/*
 * tls/server_ctx and who else has sessions or tickets: the handshake pauses for them, is resumed,
 * or goes on in full; a session of one server is nothing to another, with the same keys and ids.
 */
#include "pki.h"
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/list.h"
#include "tls/rkey.h"
#include "tls/server_ctx.h"
#include "tls/sesentry.h"

#include <openssl/err.h>

/* --- the private key's holder: it signs at once, and tells in the next turn --- */

static struct key_holder {
    struct fk_keyback back;
    EVP_PKEY *key;
    unsigned asked;
    fk_key_done_cb *done;
    void *arg;
    uint8_t signature[256];
    size_t len;
} holder;

static int key_submit(struct fk_keyback *back, const struct fk_key_request *request,
                      fk_key_done_cb *done, void *arg, struct fk_key_ticket **ret)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();

    (void)back;
    holder.asked++;
    holder.len = sizeof holder.signature;
    assert_int_equal(EVP_DigestSignInit_ex(ctx, NULL, "SHA256", NULL, NULL, holder.key, NULL), 1);
    assert_int_equal(
        EVP_DigestSign(ctx, holder.signature, &holder.len, request->tbs, request->tbs_len), 1);
    EVP_MD_CTX_free(ctx);
    holder.done = done;
    holder.arg = arg;
    *ret = (struct fk_key_ticket *)(void *)&holder;
    return FK_OK;
}

static void key_cancel(struct fk_keyback *back, struct fk_key_ticket *ticket)
{
    (void)back, (void)ticket;
    holder.done = NULL;
}

static const struct fk_keyback_ops key_ops = {.submit = key_submit, .cancel = key_cancel};

/* --- the store --- */

static struct played_store {
    struct fk_sesstore store;
    unsigned asked, kept, cancelled;
    int refuse;
    fk_sesstore_done_cb *done;
    void *arg;
    uint8_t id[FK_SESSTORE_ID], entry[FK_SESENTRY_MAX];
    size_t len;
    uint64_t life_ms;
} played;

static int store_find(struct fk_sesstore *store, const uint8_t id[FK_SESSTORE_ID],
                      fk_sesstore_done_cb *done, void *arg, struct fk_sesstore_find **ret)
{
    (void)store;
    played.asked++;
    if (played.refuse != FK_OK)
        return played.refuse;
    assert_memory_equal(id, played.id, FK_SESSTORE_ID);
    played.done = done;
    played.arg = arg;
    *ret = (struct fk_sesstore_find *)(void *)&played;
    return FK_OK;
}

static void store_cancel(struct fk_sesstore *store, struct fk_sesstore_find *find)
{
    assert_ptr_equal(find, &played);
    (void)store;
    played.cancelled++;
    played.done = NULL;
}

static void store_put(struct fk_sesstore *store, const uint8_t id[FK_SESSTORE_ID],
                      const void *entry, size_t len, uint64_t life_ms)
{
    (void)store;
    assert_true(len <= sizeof played.entry);
    if (++played.kept > 1)
        return; /* of a full handshake in place of the resumed one */
    memcpy(played.id, id, sizeof played.id);
    memcpy(played.entry, entry, len);
    played.len = len;
    played.life_ms = life_ms;
}

static const struct fk_sesstore_ops store_ops = {store_find, store_cancel, store_put};

/* --- the desk: tickets with keys of their own --- */

static struct played_desk {
    struct fk_ticketdesk desk;
    unsigned taken, asked, cancelled;
    bool empty, renew;
    fk_key_done_cb *done;
    void *arg;
    uint8_t name[16];
} clerk;

/* Each ticket's name and keys are one byte, its number. */
static int desk_take(struct fk_ticketdesk *desk, struct fk_ticket_single *ret)
{
    (void)desk;
    if (clerk.empty)
        return FK_ERR_AGAIN;
    memset(ret, (int)++clerk.taken, sizeof *ret);
    return FK_OK;
}

static int desk_open(struct fk_ticketdesk *desk, const uint8_t name[16],
                     const struct fk_key_context *context, fk_key_done_cb *done, void *arg,
                     void **ret)
{
    (void)desk;
    assert_non_null(context);
    clerk.asked++;
    memcpy(clerk.name, name, sizeof clerk.name);
    clerk.done = done;
    clerk.arg = arg;
    *ret = &clerk;
    return FK_OK;
}

static void desk_cancel(struct fk_ticketdesk *desk, void *call)
{
    (void)desk;
    assert_ptr_equal(call, &clerk);
    clerk.cancelled++;
    clerk.done = NULL;
}

static const struct fk_ticketdesk_ops desk_ops = {desk_take, desk_open, desk_cancel};

/* --- servers and a client --- */

static struct fk_tickets *tickets;
static struct fk_ticket_site *site;
static OSSL_LIB_CTX *libctx;
static SSL_CTX *server_ctx, *client_ctx;
static SSL *server, *client;
static struct fk_rkey_session session;
static X509 *leaf;
static unsigned woken;

static void on_wake(struct fk_rkey_session *woken_session)
{
    assert_ptr_equal(woken_session, &session);
    woken++;
}

/* What the server has besides ids. */
static struct offer {
    unsigned n_tickets;
    struct fk_ticketdesk *desk;
} offer;

static SSL_CTX *make_server(const uint8_t *owner)
{
    struct fk_cert cert = {.leaf = leaf, .type = EVP_PKEY_EC};
    const struct fk_server_conf conf = {
        .libctx = libctx,
        .tls12 = true,
        .tls13 = offer.n_tickets > 0,
        .exchanges = FK_SERVER_ECDHE,
        .id = owner,
        .lifetime_us = 7000000,
        .ids = true,
        .tickets = site,
        .n_tickets = offer.n_tickets,
        .desk = offer.desk,
        .store = &played.store,
        .certs = &cert,
        .n_certs = 1,
        .back = &holder.back,
    };
    SSL_CTX *ctx;

    assert_ok(fk_server_ctx_new(&conf, &ctx));
    return ctx;
}

static const uint8_t owner[32] = {1}, other_owner[32] = {2};

static int setup(void **state)
{
    struct fk_ticket_keys keys = {.count = 1};
    struct pki_cert spec = {.subject = "server", .key = pki_key("P-256"), .san = "DNS:a.example"};

    (void)state;
    memset(&played, 0, sizeof played);
    memset(&holder, 0, sizeof holder);
    memset(&clerk, 0, sizeof clerk);
    clerk.desk.ops = &desk_ops;
    offer = (struct offer){.n_tickets = 0};
    played.store.ops = &store_ops;
    holder.back.ops = &key_ops;
    holder.key = spec.key;
    leaf = pki_issue(&spec);
    libctx = OSSL_LIB_CTX_new();
    assert_ok(fk_rkey_provider_load(libctx));
    assert_ok(fk_tickets_new(libctx, &tickets));
    fk_tickets_set(tickets, &keys);
    assert_ok(fk_ticket_site_new(tickets, "a.example", &site));
    server_ctx = make_server(owner);
    client_ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_max_proto_version(client_ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(client_ctx, SSL_OP_NO_TICKET);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    SSL_CTX_free(server_ctx);
    SSL_CTX_free(client_ctx);
    fk_ticket_site_free(site);
    fk_tickets_free(tickets);
    X509_free(leaf);
    OSSL_LIB_CTX_free(libctx);
    return 0;
}

static void open_ends(SSL_CTX *ctx, SSL_SESSION *offered)
{
    BIO *server_bio, *client_bio;

    session = (struct fk_rkey_session){.wake = on_wake};
    server = SSL_new(ctx);
    client = SSL_new(client_ctx);
    BIO_new_bio_pair(&server_bio, 0, &client_bio, 0);
    SSL_set_bio(server, server_bio, server_bio);
    SSL_set_bio(client, client_bio, client_bio);
    SSL_set_accept_state(server);
    SSL_set_connect_state(client);
    if (offered != NULL)
        assert_int_equal(SSL_set_session(client, offered), 1);
}

static void close_ends(void)
{
    SSL_set_shutdown(client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_set_shutdown(server, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(server);
    SSL_free(client);
    ERR_clear_error();
}

static int step(SSL *ssl)
{
    int result;

    ERR_clear_error();
    if (ssl == server)
        fk_rkey_enter(&session);
    result = SSL_do_handshake(ssl);
    fk_rkey_leave();
    return result == 1 ? SSL_ERROR_NONE : SSL_get_error(ssl, result);
}

/* What the loop would do; the store's answer is the caller's affair. */
static void answer_key(void)
{
    fk_key_done_cb *done = holder.done;

    if (done == NULL)
        return;
    holder.done = NULL;
    done(holder.arg, FK_OK, holder.signature, holder.len);
}

/* Until both are done (true), or the server waits for the store. */
static bool shake_hands(void)
{
    for (int i = 0; i < 20; i++) {
        int at_client = step(client), at_server = step(server);

        answer_key();
        assert_int_not_equal(at_client, SSL_ERROR_SSL);
        assert_int_not_equal(at_server, SSL_ERROR_SSL);
        if (at_client == SSL_ERROR_NONE && at_server == SSL_ERROR_NONE)
            return true;
        if (at_server == SSL_ERROR_WANT_ASYNC && (played.done != NULL || clerk.done != NULL))
            return false;
    }
    fail_msg("the handshake does not end");
    return false;
}

static void answer_store(int err)
{
    fk_sesstore_done_cb *done = played.done;
    unsigned before = woken;

    assert_non_null(done);
    played.done = NULL;
    done(played.arg, err, err == FK_OK ? played.entry : NULL, err == FK_OK ? played.len : 0);
    assert_int_equal(woken, before + 1);
}

static SSL_SESSION *make_session(void)
{
    SSL_SESSION *made;

    open_ends(server_ctx, NULL);
    assert_true(shake_hands());
    assert_int_equal(played.kept, 1);
    assert_int_equal(played.life_ms, 7000);
    made = SSL_get1_session(client);
    close_ends();
    holder.asked = 0;
    return made;
}

/* --- cases --- */

static void found_it_is_resumed_without_the_key(void **state)
{
    SSL_SESSION *made = make_session();

    (void)state;
    open_ends(server_ctx, made);
    assert_false(shake_hands());
    answer_store(FK_OK);
    assert_true(shake_hands());
    assert_int_equal(SSL_session_reused(server), 1);
    assert_int_equal(holder.asked, 0);
    assert_int_equal(session.operations, 0);
    close_ends();
    SSL_SESSION_free(made);
}

static void not_found_the_handshake_is_a_full_one(void **state)
{
    static const int why[] = {FK_ERR_NOT_FOUND, FK_ERR_TIMEOUT, FK_ERR_UNAVAILABLE};
    SSL_SESSION *made = make_session();

    (void)state;
    for (size_t i = 0; i < sizeof why / sizeof why[0]; i++) {
        open_ends(server_ctx, made);
        assert_false(shake_hands());
        answer_store(why[i]);
        assert_true(shake_hands());
        assert_int_equal(SSL_session_reused(server), 0);
        assert_int_equal(holder.asked, i + 1);
        assert_ok(session.err);
        close_ends();
    }
    SSL_SESSION_free(made);
}

static void a_store_that_is_away_costs_no_pause(void **state)
{
    SSL_SESSION *made = make_session();

    (void)state;
    played.refuse = FK_ERR_UNAVAILABLE;
    open_ends(server_ctx, made);
    assert_true(shake_hands());
    assert_int_equal(SSL_session_reused(server), 0);
    assert_int_equal(played.asked, 1);
    close_ends();
    SSL_SESSION_free(made);
}

/* Ticket keys, ids, certificate and key are the same: only what the session belongs to is not. */
static void a_session_of_another_server_is_not_resumed(void **state)
{
    SSL_SESSION *made = make_session();
    SSL_CTX *other = make_server(other_owner);

    (void)state;
    open_ends(other, made);
    assert_false(shake_hands());
    answer_store(FK_OK);
    assert_true(shake_hands());
    assert_int_equal(SSL_session_reused(server), 0);
    assert_int_equal(holder.asked, 1);
    close_ends();
    SSL_CTX_free(other);
    SSL_SESSION_free(made);
}

static void a_changed_entry_is_not_resumed(void **state)
{
    SSL_SESSION *made = make_session();

    (void)state;
    played.entry[played.len - 1] ^= 1;
    open_ends(server_ctx, made);
    assert_false(shake_hands());
    answer_store(FK_OK);
    assert_true(shake_hands());
    assert_int_equal(SSL_session_reused(server), 0);
    close_ends();
    SSL_SESSION_free(made);
}

/* Nothing is asked for after that, or the job would pause again and never end. */
static void given_up_while_it_waits(void **state)
{
    SSL_SESSION *made = make_session();

    (void)state;
    open_ends(server_ctx, made);
    assert_false(shake_hands());
    fk_rkey_abort(&session, FK_ERR_TIMEOUT);
    assert_int_equal(played.cancelled, 1);
    assert_int_equal(step(server), SSL_ERROR_SSL);
    assert_int_equal(SSL_waiting_for_async(server), 0);
    assert_int_equal(holder.asked, 0);
    assert_err(session.err, FK_ERR_TIMEOUT);
    close_ends();
    SSL_SESSION_free(made);
}

static void given_up_when_the_answer_has_come(void **state)
{
    SSL_SESSION *made = make_session();

    (void)state;
    open_ends(server_ctx, made);
    assert_false(shake_hands());
    answer_store(FK_OK);
    fk_rkey_abort(&session, FK_ERR_CANCELLED);
    assert_int_equal(step(server), SSL_ERROR_SSL);
    assert_int_equal(SSL_waiting_for_async(server), 0);
    assert_int_equal(holder.asked, 0);
    close_ends();
    SSL_SESSION_free(made);
}

/* --- tickets --- */

static void use_tickets(struct fk_ticketdesk *desk, int version)
{
    SSL_CTX_free(server_ctx);
    offer = (struct offer){.n_tickets = 2, .desk = desk};
    server_ctx = make_server(owner);
    SSL_CTX_clear_options(client_ctx, SSL_OP_NO_TICKET);
    SSL_CTX_set_min_proto_version(client_ctx, version);
    SSL_CTX_set_max_proto_version(client_ctx, version);
}

/* A session with the ticket that came last, in TLS 1.3 behind the handshake. */
static SSL_SESSION *make_ticket_session(void)
{
    SSL_SESSION *made;
    char byte;

    open_ends(server_ctx, NULL);
    assert_true(shake_hands());
    assert_int_equal(SSL_read(client, &byte, 1), -1);
    assert_int_equal(SSL_get_error(client, -1),
                     SSL_ERROR_WANT_READ); /* what came was well-formed */
    made = SSL_get1_session(client);
    close_ends();
    holder.asked = 0;
    return made;
}

static void answer_desk(int err)
{
    uint8_t opened[FK_TICKET_OPENED_WIRE];
    fk_key_done_cb *done = clerk.done;

    assert_non_null(done);
    clerk.done = NULL;
    memset(opened, clerk.name[0], sizeof opened);
    opened[0] = clerk.renew;
    done(clerk.arg, err, err == FK_OK ? opened : NULL, err == FK_OK ? sizeof opened : 0);
}

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

static void without_keys_tickets_are_nobodys(void **state)
{
    const struct fk_ticket_keys none = {.count = 0};

    (void)state;
    fk_tickets_set(tickets, &none);
    for (size_t i = 0; i < 2; i++) {
        SSL_SESSION *made;

        use_tickets(NULL, versions[i]);
        made = make_ticket_session();
        open_ends(server_ctx, made);
        (void)shake_hands();
        assert_int_equal(SSL_session_reused(server), 0);
        close_ends();
        SSL_SESSION_free(made);
    }
}

static void a_ticket_of_the_desk_is_resumed(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        SSL_SESSION *made;

        use_tickets(&clerk.desk, versions[i]);
        made = make_ticket_session();
        assert_true(SSL_SESSION_has_ticket(made) == 1 && clerk.taken > 0);
        clerk.asked = 0;
        open_ends(server_ctx, made);
        assert_false(shake_hands());
        answer_desk(FK_OK);
        assert_true(shake_hands());
        assert_int_equal(SSL_session_reused(server), 1);
        assert_int_equal(clerk.asked, 1);
        assert_int_equal(holder.asked, 0);
        close_ends();
        SSL_SESSION_free(made);
    }
}

/* In TLS 1.2 a ticket is replaced only when the key server says so. */
static void a_ticket_is_renewed_when_it_is_old(void **state)
{
    SSL_SESSION *made;

    (void)state;
    use_tickets(&clerk.desk, TLS1_2_VERSION);
    made = make_ticket_session();
    for (unsigned renew = 0; renew < 2; renew++) {
        unsigned before = clerk.taken;

        clerk.renew = renew == 1;
        open_ends(server_ctx, made);
        assert_false(shake_hands());
        answer_desk(FK_OK);
        assert_true(shake_hands());
        assert_int_equal(SSL_session_reused(server), 1);
        assert_int_equal(clerk.taken, before + renew);
        close_ends();
    }
    SSL_SESSION_free(made);
}

static void a_ticket_that_the_desk_does_not_open(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        SSL_SESSION *made;

        use_tickets(&clerk.desk, versions[i]);
        made = make_ticket_session();
        open_ends(server_ctx, made);
        assert_false(shake_hands());
        answer_desk(FK_ERR_EXPIRED);
        assert_true(shake_hands());
        assert_int_equal(SSL_session_reused(server), 0);
        assert_int_equal(holder.asked, 1);
        close_ends();
        open_ends(server_ctx, made); /* keys of another ticket */
        assert_false(shake_hands());
        clerk.name[0] ^= 1;
        answer_desk(FK_OK);
        assert_true(shake_hands());
        assert_int_equal(SSL_session_reused(server), 0);
        close_ends();
        SSL_SESSION_free(made);
    }
}

static void a_desk_without_stock(void **state)
{
    (void)state;
    clerk.empty = true;
    for (size_t i = 0; i < 2; i++) {
        SSL_SESSION *made;

        use_tickets(&clerk.desk, versions[i]);
        made = make_ticket_session();
        assert_int_equal(clerk.asked, 0);
        SSL_SESSION_free(made);
    }
}

/* A ClientHello can have hundreds of tickets. */
static void so_many_tickets_of_one_client(void **state)
{
    SSL_SESSION *made;

    (void)state;
    use_tickets(&clerk.desk, TLS1_3_VERSION);
    made = make_ticket_session();
    open_ends(server_ctx, made);
    session.awaits = FK_HANDSHAKE_AWAITS_MAX;
    assert_true(shake_hands());
    assert_int_equal(clerk.asked, 0);
    assert_int_equal(SSL_session_reused(server), 0);
    close_ends();
    SSL_SESSION_free(made);
}

static void given_up_while_the_desk_is_asked(void **state)
{
    SSL_SESSION *made;

    (void)state;
    use_tickets(&clerk.desk, TLS1_3_VERSION);
    made = make_ticket_session();
    open_ends(server_ctx, made);
    assert_false(shake_hands());
    fk_rkey_abort(&session, FK_ERR_TIMEOUT);
    assert_int_equal(clerk.cancelled, 1);
    assert_int_equal(step(server), SSL_ERROR_SSL);
    assert_int_equal(SSL_waiting_for_async(server), 0);
    assert_int_equal(holder.asked, 0);
    close_ends();
    SSL_SESSION_free(made);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(CASE(found_it_is_resumed_without_the_key), CASE(not_found_the_handshake_is_a_full_one),
          CASE(a_store_that_is_away_costs_no_pause),
          CASE(a_session_of_another_server_is_not_resumed), CASE(a_changed_entry_is_not_resumed),
          CASE(given_up_while_it_waits), CASE(given_up_when_the_answer_has_come),
          CASE(without_keys_tickets_are_nobodys), CASE(a_ticket_of_the_desk_is_resumed),
          CASE(a_ticket_is_renewed_when_it_is_old), CASE(a_ticket_that_the_desk_does_not_open),
          CASE(a_desk_without_stock), CASE(so_many_tickets_of_one_client),
          CASE(given_up_while_the_desk_is_asked))
