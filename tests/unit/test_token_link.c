/*
 * token/link: a user's requests become jobs, results find their way back, what cannot be taken is
 * answered at once; who does not send requests is let go.
 */
#include "softtoken.h"

#include "base/secret.h"
#include "loop/sock.h"
#include "token/link.h"
#include "wire/keyop.h"

#include <semaphore.h>
#include <sys/socket.h>

struct bench {
    struct fk_token_back back;
    struct fk_private session;
    struct fk_keyset *set;
    EVP_PKEY *key;
    struct fk_crew *crew;
    struct fk_loop *loop;
    struct fk_token_link_owner owner;
    struct fk_token_link *link;
    struct fk_timer timeout;
    sem_t may_open;
    uint8_t ski[20];
    int peer;
    int ended; /* why; FK_OK: not */
    unsigned refused;
};

/* A token that is never there: what is asked of it ends as soon as that is known. */
static int no_open(struct fk_token_back *back)
{
    struct bench *bench = fk_container(back, struct bench, back);

    while (sem_wait(&bench->may_open) != 0)
        ;
    return FK_ERR_TOKEN;
}

static void no_close(struct fk_token_back *back)
{
    (void)back;
}

static const struct fk_token_back_ops back_ops = {
    .open = no_open, .close = no_close, .free = no_close};

static void on_refused(struct fk_token_link_owner *owner)
{
    fk_container(owner, struct bench, owner)->refused++;
}

static void on_ended(struct fk_token_link_owner *owner, struct fk_token_link *link, int err)
{
    struct bench *bench = fk_container(owner, struct bench, owner);

    fk_token_link_free(link);
    bench->link = NULL;
    bench->ended = err;
    fk_loop_stop(bench->loop);
}

static void on_timeout(struct fk_timer *timer)
{
    fk_loop_stop(fk_container(timer, struct bench, timeout)->loop);
}

/* The token is known to be away when `may_open` says so. */
static void open_bench(struct bench *bench, uint16_t queue, bool may_open)
{
    const struct fk_token_settings settings = {.name = "soft",
                                               .type = FK_TOKEN_PKCS11,
                                               .sessions = 1,
                                               .queue = queue,
                                               .deadline_us = 5000000};
    int pair[2];

    *bench = (struct bench){.owner = {on_refused, on_ended}};
    assert_int_equal(sem_init(&bench->may_open, 0, may_open), 0);
    bench->key = unit_key("P-256");
    bench->set = soft_set(bench->key, FK_PERM_SIGN13, &settings, bench->ski);
    bench->back = (struct fk_token_back){
        .ops = &back_ops, .settings = fk_keyset_token(bench->set), .set = bench->set};
    assert_ok(fk_crew_new(bench->set, &bench->back, &bench->crew));
    assert_ok(fk_loop_new(&bench->loop));
    assert_ok(fk_sock_pair(SOCK_STREAM, pair));
    bench->peer = pair[1];
    assert_ok(fk_token_link_new(bench->loop, pair[0], bench->crew, &bench->owner, &bench->link));
    bench->link->kind = FK_PEER_FRONT;
    fk_timer_init(&bench->timeout, bench->loop, on_timeout);
}

static void close_bench(struct bench *bench)
{
    if (bench->link != NULL)
        fk_token_link_free(bench->link);
    fk_crew_free(bench->crew);
    fk_keyset_free(bench->set);
    fk_timer_stop(&bench->timeout);
    fk_loop_free(bench->loop);
    EVP_PKEY_free(bench->key);
    fk_close(&bench->peer);
}

static void send_bytes(struct bench *bench, struct fk_signer_request request, const void *payload,
                       size_t sent)
{
    uint8_t bytes[sizeof request + FK_SIGNER_PAYLOAD_MAX] = {0};

    request.op = FK_SIGNER_SIGN13;
    memcpy(request.ski, bench->ski, 20);
    memcpy(bytes, &request, sizeof request);
    if (payload != NULL)
        memcpy(bytes + sizeof request, payload, request.len);
    assert_int_equal(send(bench->peer, bytes, sent, MSG_NOSIGNAL), sent);
}

/* A request with `len` bytes of payload that is no operation's. */
static void send_request(struct bench *bench, uint32_t id, uint32_t len, size_t sent)
{
    send_bytes(bench, (struct fk_signer_request){.id = id, .len = len}, NULL, sent);
}

/* One that is, and needs the token. */
static void send_operation(struct bench *bench, uint32_t id)
{
    const struct fk_sign13 op = {.scheme = 0x0403, .role = FK_ROLE_SERVER, .hash_len = 32};
    struct fk_writer writer;
    uint8_t payload[64];

    fk_writer_init(&writer, payload, sizeof payload);
    fk_sign13_encode(&op, &writer);
    assert_ok(writer.err);
    send_bytes(bench, (struct fk_signer_request){.id = id, .len = (uint32_t)writer.len}, payload,
               sizeof(struct fk_signer_request) + writer.len);
}

/* Let the loop turn until the link ends, or a short time. */
static void turn(struct bench *bench)
{
    fk_timer_start(&bench->timeout, 50000);
    fk_loop_run(bench->loop);
}

static int read_result(struct bench *bench, uint32_t id)
{
    struct fk_signer_result result;

    assert_int_equal(recv(bench->peer, &result, sizeof result, MSG_DONTWAIT), sizeof result);
    assert_int_equal(result.id, id);
    assert_int_equal(result.len, 0);
    return result.err;
}

static void results_come_back(void **state)
{
    struct fk_list done, *item;
    struct bench bench;

    (void)state;
    open_bench(&bench, 10, true);
    send_request(&bench, 7, 1, sizeof(struct fk_signer_request) + 1);
    fk_list_init(&done);
    while ((item = fk_list_pop(&done)) == NULL) {
        turn(&bench);
        fk_crew_collect(bench.crew, &done);
    }
    fk_token_link_answer(bench.link, &fk_container(item, struct fk_token_job, link)->result,
                         fk_container(item, struct fk_token_job, link)->ret);
    free(fk_container(item, struct fk_token_job, link));
    assert_int_equal(read_result(&bench, 7), FK_ERR_TRUNCATED);
    assert_int_equal(bench.refused, 0);
    close_bench(&bench);
}

/* More than may wait: the one session waits for its token, and one request for the session. */
static void too_many_are_refused_at_once(void **state)
{
    struct fk_list done, *item;
    unsigned answered = 0;
    struct bench bench;

    (void)state;
    open_bench(&bench, 1, false);
    for (uint32_t id = 1; id <= 50; id++)
        send_operation(&bench, id);
    while (bench.refused < 48)
        turn(&bench);
    assert_int_equal(bench.ended, FK_OK);
    assert_int_equal(sem_post(&bench.may_open), 0);
    fk_list_init(&done);
    while (answered + bench.refused < 50) {
        turn(&bench);
        fk_crew_collect(bench.crew, &done);
        while ((item = fk_list_pop(&done)) != NULL) {
            struct fk_token_job *job = fk_container(item, struct fk_token_job, link);

            assert_int_equal(job->result.err, FK_ERR_TOKEN);
            free(job);
            answered++;
        }
    }
    assert_true(answered > 0);
    for (unsigned i = 0; i < bench.refused; i++) {
        struct fk_signer_result result;

        assert_int_equal(recv(bench.peer, &result, sizeof result, MSG_DONTWAIT), sizeof result);
        assert_int_equal(result.err, FK_ERR_BUSY);
    }
    close_bench(&bench);
}

static void other_bytes_end_it(void **state)
{
    struct bench bench;

    (void)state;
    open_bench(&bench, 10, true);
    send_request(&bench, 1, FK_SIGNER_PAYLOAD_MAX + 1, sizeof(struct fk_signer_request));
    turn(&bench);
    assert_int_equal(bench.ended, FK_ERR_FORMAT);
    close_bench(&bench);
}

/* Half a request is waited for, whatever it says; with its peer it goes. */
static void half_requests_wait(void **state)
{
    struct bench bench;

    (void)state;
    open_bench(&bench, 10, true);
    send_request(&bench, 1, 100, sizeof(struct fk_signer_request) + 99);
    turn(&bench);
    assert_int_equal(bench.ended, FK_OK);
    fk_close(&bench.peer);
    turn(&bench);
    assert_int_equal(bench.ended, FK_ERR_CLOSED);
    close_bench(&bench);
}

UNIT_MAIN(cmocka_unit_test(results_come_back), cmocka_unit_test(too_many_are_refused_at_once),
          cmocka_unit_test(other_bytes_end_it), cmocka_unit_test(half_requests_wait))
