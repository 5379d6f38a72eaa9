/* keyd/front: one front, real TLS channels to it, and signers that this test plays. */
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "keyd/front.h"
#include "loop/sock.h"
#include "pki.h"
#include "signer/request.h"
#include "tls/channel.h"
#include "wire/keymsg.h"
#include "wire/keyop.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEYS        8 /* in the index: "k0" to "k7"; the edge may use all but k7 */
#define CHAIN       20000
#define REQUESTS    64
#define PATIENCE_US 20000000

static struct fk_loop *loop;
static struct fk_timer watchdog;
static struct fk_quota *quota;
static struct fk_front *front;
static SSL_CTX *client_ctx, *other_ctx, *stranger_ctx, *dialect1_ctx;
static const char *listen_block = "listen \"127.0.0.1:1\" { }"; /* of the next set */
static char folder[64];
static uint16_t port;
static bool drained;

/* --- the signer that this test plays --- */

static int signer_fd;
static size_t n_asked; /* requests seen and not answered are asked[answered..n_asked) */
static struct fk_signer_request asked[REQUESTS];

/* --- an edge --- */

struct edge {
    struct fk_channel_io *io;
    bool open, closed;
    size_t n_answers;
    struct answer {
        uint32_t id;
        uint8_t opcode;
        size_t len;
        uint8_t payload[64];
    } answers[REQUESTS];
};

static void on_watchdog(struct fk_timer *timer)
{
    (void)timer;
    fail_msg("nothing happens");
}

static void take_answers(struct edge *edge)
{
    struct fk_buf *in = fk_channel_io_in(edge->io);
    struct fk_frame frame;
    struct fk_keymsg msg;
    size_t used;

    while (fk_buf_len(in) > 0 &&
           fk_frame_parse(fk_buf_data(in), fk_buf_len(in), &frame, &used) == FK_OK) {
        struct answer *answer = &edge->answers[edge->n_answers++];

        assert_ok(fk_keymsg_decode(&frame, &msg));
        answer->id = msg.id;
        answer->opcode = msg.opcode;
        answer->len = msg.payload.left;
        memcpy(answer->payload, msg.payload.next,
               answer->len < sizeof answer->payload ? answer->len : sizeof answer->payload);
        fk_buf_consume(in, used);
    }
}

static void on_edge(void *owner, enum fk_channel_event event, int err)
{
    struct edge *edge = owner;

    (void)err;
    if (event == FK_CHANNEL_OPEN)
        edge->open = true;
    else if (event == FK_CHANNEL_READ)
        take_answers(edge);
    else if (event == FK_CHANNEL_CLOSED)
        edge->closed = true;
}

static void read_signer(void)
{
    struct fk_signer_request request;
    uint8_t payload[FK_SIGNER_PAYLOAD_MAX];

    while (n_asked < REQUESTS &&
           recv(signer_fd, &request, sizeof request, MSG_DONTWAIT) == (ssize_t)sizeof request) {
        assert_true(request.len <= sizeof payload);
        assert_int_equal(recv(signer_fd, payload, request.len, 0), request.len);
        asked[n_asked++] = request;
    }
}

static void on_step(struct fk_timer *timer)
{
    fk_loop_stop(timer->loop);
}

/* Let the loop run for one short turn, the played signer included. */
static void turn(void)
{
    struct fk_timer step;

    fk_timer_init(&step, loop, on_step);
    fk_timer_start(&step, 1000);
    fk_loop_run(loop);
    read_signer();
}

/* Until a condition holds; the watchdog fails the test when it never does. */
#define UNTIL(condition)                        \
    do {                                        \
        fk_timer_start(&watchdog, PATIENCE_US); \
        while (!(condition))                    \
            turn();                             \
        fk_timer_stop(&watchdog);               \
    } while (0)

/* Enough turns for everything under way to arrive, where nothing is to happen. */
static void settle(void)
{
    for (int i = 0; i < 20; i++)
        turn();
}

static void answer(size_t i, int err, const void *data, size_t len)
{
    struct fk_signer_result result = {.len = (uint32_t)len, .id = asked[i].id, .err = err};

    assert_int_equal(send(signer_fd, &result, sizeof result, 0), sizeof result);
    if (len > 0)
        assert_int_equal(send(signer_fd, data, len, 0), len);
}

/* --- the world --- */

static void put(const char *name, char *text)
{
    char path[128];
    int fd;

    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    (void)close(fd);
}

static void fill_key(struct fk_index_key *key, size_t i, char *name, char **names, uint8_t *chain)
{
    *key = (struct fk_index_key){.names = names, .n_names = 1};
    (void)snprintf(name, 8, "k%zu", i);
    names[0] = name;
    (void)snprintf(key->public.name, sizeof key->public.name, "%s", name);
    key->public.type = FK_KEY_EC;
    key->public.permissions = FK_PERM_SIGN13 | FK_PERM_CLIENT;
    memset(key->public.ski, (int)i + 1, sizeof key->public.ski);
    memset(key->public.digest, (int)i + 1, sizeof key->public.digest);
    key->chain = chain;
    key->chain_len = CHAIN;
    key->retired = i == 6;
}

static void add_index(struct fk_bundle *bundle)
{
    static uint8_t chain[CHAIN] = {(CHAIN - 2) >> 8, (CHAIN - 2) & 0xff};
    static char name[KEYS][8];
    static char *names[KEYS][1];
    struct fk_index_key keys[KEYS];
    uint8_t *data;
    size_t len;

    for (size_t i = 0; i < KEYS; i++)
        fill_key(&keys[i], i, name[i], names[i], chain);
    assert_ok(fk_index_encode(keys, KEYS, &data, &len));
    assert_ok(fk_bundle_add(bundle, FK_INDEX_PATH, data, len));
    free(data);
}

static struct fk_front_set *make_set(uint32_t generation, const char *edges, const char *limits)
{
    static const char *const files[] = {"channel.crt", "channel.key", "ca.crt"};
    struct fk_front_set *set;
    struct fk_bundle *bundle;
    struct fk_conf *conf;
    const uint8_t *data;
    char text[1024], path[128];
    size_t len;
    int fd;

    (void)snprintf(
        text, sizeof text,
        "%s\nkeys \"keys\" { }\nlog_level = error\n"
        "channel { certificate = \"channel.crt\" key = \"channel.key\" ca = \"ca.crt\" }\n"
        "%s\nlimits { %s }\n",
        listen_block, edges, limits);
    put("keyd.conf", text);
    (void)snprintf(path, sizeof path, "%s/keyd.conf", folder);
    assert_ok(fk_bundle_new(&bundle));
    assert_ok(fk_conf_load(&fk_keyd_conf_kind, path, bundle, &conf));
    fk_conf_free(conf);
    assert_ok(fk_bundle_add(bundle, FK_KEYD_CONF_PATH, path, strlen(path)));
    assert_ok(fk_bundle_add(bundle, FK_KEYD_VERBOSE_PATH, "1", 0));
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        assert_ok(fk_bundle_read(bundle, path, &data, &len));
    }
    add_index(bundle);
    assert_ok(fk_bundle_seal(bundle, &fd));
    fk_bundle_free(bundle);
    assert_ok(fk_front_set_open(fd, generation, quota, &set));
    (void)close(fd);
    return set;
}

#define EDGE(name, more) \
    "edge \"" name "\" { keys = {\"k0\",\"k1\",\"k2\",\"k3\",\"k4\",\"k5\",\"k6\"} " more " }\n"
#define EDGES EDGE("e", "outstanding = 65536")

static SSL_CTX *make_client(EVP_PKEY *key, X509 *ca, EVP_PKEY *ca_key, const char *san)
{
    struct pki_cert spec = {.subject = "c",
                            .key = key,
                            .issuer = ca,
                            .issuer_key = ca_key,
                            .san = san,
                            .eku = "serverAuth,clientAuth",
                            .serial = 9};
    X509 *cert = pki_issue(&spec);
    char *chain = pki_pem_cert(&cert, 1), *pem = pki_pem_key(key), *anchors = pki_pem_cert(&ca, 1);
    struct fk_channel_identity id = {.certificate = (uint8_t *)chain,
                                     .certificate_len = strlen(chain),
                                     .key = (uint8_t *)pem,
                                     .key_len = strlen(pem),
                                     .ca = (uint8_t *)anchors,
                                     .ca_len = strlen(anchors)};
    SSL_CTX *ctx;

    if (strstr(san, "keyserver") != NULL) {
        put("channel.crt", chain);
        put("channel.key", pem);
        put("ca.crt", anchors);
    }
    assert_ok(fk_channel_ctx_new(&id, false, false, &ctx));
    free(chain);
    free(pem);
    free(anchors);
    X509_free(cert);
    return ctx;
}

static void make_identities(void)
{
    EVP_PKEY *ca_key = pki_key_slot("P-256", 0);
    struct pki_cert spec = {.subject = "CA", .key = ca_key, .ca = true, .serial = 1};
    X509 *ca = pki_issue(&spec);
    EVP_PKEY *key = pki_key_slot("P-256", 1);

    SSL_CTX_free(make_client(key, ca, ca_key, "URI:farkey:keyserver:s"));
    client_ctx = make_client(key, ca, ca_key, "URI:farkey:edge:e");
    dialect1_ctx = make_client(key, ca, ca_key, "URI:farkey:edge:e");
    assert_int_equal(SSL_CTX_set_alpn_protos(dialect1_ctx, NULL, 0), 0);
    other_ctx = make_client(key, ca, ca_key, "URI:farkey:edge:f");
    stranger_ctx = make_client(key, ca, ca_key, "URI:farkey:edge:unknown");
    X509_free(ca);
}

static void on_drained(void *arg)
{
    (void)arg;
    drained = true;
}

static void listen_on(void)
{
    struct fk_listen_options options = {.backlog = 0};
    struct fk_addr addr;
    int fd;

    assert_ok(fk_addr_parse("127.0.0.1:0", &addr));
    assert_ok(fk_sock_listen(&addr, &options, &fd));
    assert_ok(fk_sock_local(fd, &addr));
    port = fk_addr_port(&addr);
    assert_ok(fk_front_listen(front, fd, 0));
}

static void add_signer(unsigned index)
{
    int fds[2];

    assert_ok(fk_sock_pair(SOCK_STREAM, fds));
    assert_ok(fk_front_add_signer(front, fds[0], index));
    signer_fd = fds[1];
}

static void begin_with(const char *edges, const char *limits)
{
    struct fk_front_options options = {.quota = quota, .drained = on_drained};

    drained = false;
    n_asked = 0;
    assert_ok(fk_front_new(loop, &options, make_set(1, edges, limits), &front));
    listen_on();
    add_signer(0);
}

static void begin(const char *limits)
{
    begin_with(EDGES, limits);
}

static void end(void)
{
    fk_front_free(front);
    fk_close(&signer_fd);
}

static void connect_edge(struct edge *edge, SSL_CTX *ctx)
{
    struct fk_addr addr;
    char text[32];
    int fd;

    *edge = (struct edge){.open = false};
    (void)snprintf(text, sizeof text, "127.0.0.1:%u", port);
    assert_ok(fk_addr_parse(text, &addr));
    assert_ok(fk_sock_connect(&addr, NULL, NULL, &fd));
    assert_ok(fk_channel_io_new(
        loop, &(struct fk_channel_setup){.ctx = ctx, .fd = fd, .cb = on_edge, .owner = edge},
        &edge->io));
    UNTIL(edge->open || edge->closed);
}

static void hang_up(struct edge *edge)
{
    fk_channel_io_free(edge->io);
    edge->io = NULL;
}

static void ask(struct edge *edge, uint32_t id, unsigned key, enum fk_key_role role)
{
    struct fk_sign13 op = {.scheme = 0x0403, .role = role, .hash_len = 32};
    struct fk_keymsg msg = {.id = id, .opcode = FK_OP_SIGN13};
    struct fk_writer out;
    uint8_t payload[128], ski[20];
    size_t len;

    fk_writer_init(&out, payload, sizeof payload);
    fk_sign13_encode(&op, &out);
    assert_ok(fk_writer_end(&out, &len));
    memset(ski, (int)key + 1, sizeof ski);
    msg.payload = fk_item(payload, len);
    msg.ski = fk_item(ski, sizeof ski);
    assert_ok(fk_keymsg_encode(&msg, false, fk_channel_io_out(edge->io)));
    fk_channel_io_flush(edge->io);
}

static int setup(void **state)
{
    int fd;

    (void)state;
    fk_log_threshold(FK_LOG_ERROR);
    (void)signal(SIGPIPE, SIG_IGN); /* as in every child of a master */
    (void)snprintf(folder, sizeof folder, "/tmp/test_front_XXXXXX");
    if (mkdtemp(folder) == NULL || fk_loop_new(&loop) != FK_OK || fk_quota_create(&fd) != FK_OK ||
        fk_quota_open(fd, &quota) != FK_OK)
        return -1;
    (void)close(fd);
    fk_timer_init(&watchdog, loop, on_watchdog);
    make_identities();
    assert_ok(fk_quota_assign(quota, "farkey:edge:f"));
    return fk_quota_assign(quota, "farkey:edge:e");
}

static int teardown(void **state)
{
    static const char *const files[] = {"channel.crt", "channel.key", "ca.crt", "keyd.conf"};
    char path[128];

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        (void)unlink(path);
    }
    SSL_CTX_free(client_ctx);
    SSL_CTX_free(stranger_ctx);
    SSL_CTX_free(other_ctx);
    SSL_CTX_free(dialect1_ctx);
    fk_quota_close(quota);
    fk_loop_free(loop);
    return rmdir(folder);
}

/* --- cases --- */

static void answers_go_to_their_requests(void **state)
{
    struct edge edge;

    (void)state;
    begin("");
    connect_edge(&edge, client_ctx);
    ask(&edge, 7, 0, FK_ROLE_SERVER);
    ask(&edge, 8, 1, FK_ROLE_SERVER);
    UNTIL(n_asked == 2);
    assert_int_equal(asked[0].op, FK_SIGNER_SIGN13);
    assert_int_equal(asked[0].ski[0], 1);
    assert_int_equal(asked[1].ski[19], 2);
    answer(1, FK_OK, "second", 6);
    answer(0, FK_OK, "first", 5);
    UNTIL(edge.n_answers == 2);
    assert_int_equal(edge.answers[0].id, 8);
    assert_int_equal(edge.answers[0].opcode, FK_OP_RESPONSE);
    assert_memory_equal(edge.answers[0].payload, "second", 6);
    assert_int_equal(edge.answers[1].id, 7);
    assert_memory_equal(edge.answers[1].payload, "first", 5);
    hang_up(&edge);
    end();
}

static void refusals_never_reach_a_signer(void **state)
{
    struct edge edge;

    (void)state;
    begin("");
    connect_edge(&edge, client_ctx);
    ask(&edge, 1, 7, FK_ROLE_SERVER);  /* not its key */
    ask(&edge, 2, 0, FK_ROLE_CLIENT);  /* not its right */
    ask(&edge, 3, 99, FK_ROLE_SERVER); /* no such key */
    UNTIL(edge.n_answers == 3);
    settle();
    assert_int_equal(n_asked, 0);
    assert_int_equal(edge.answers[0].payload[0], FK_KEYERR_DENIED);
    assert_int_equal(edge.answers[1].payload[0], FK_KEYERR_DENIED);
    assert_int_equal(edge.answers[2].payload[0], FK_KEYERR_KEY_NOT_FOUND);
    hang_up(&edge);
    end();
}

static void signers_errors_are_passed_on(void **state)
{
    struct edge edge;

    (void)state;
    begin("");
    connect_edge(&edge, client_ctx);
    ask(&edge, 1, 0, FK_ROLE_SERVER);
    ask(&edge, 2, 0, FK_ROLE_SERVER);
    UNTIL(n_asked == 2);
    answer(0, FK_ERR_CRYPTO, NULL, 0);
    answer(1, FK_ERR_DENIED, NULL, 0);
    UNTIL(edge.n_answers == 2);
    assert_int_equal(edge.answers[0].opcode, FK_OP_ERROR);
    assert_int_equal(edge.answers[0].payload[0], FK_KEYERR_CRYPTO);
    assert_int_equal(edge.answers[1].payload[0], FK_KEYERR_DENIED);
    hang_up(&edge);
    end();
}

/* Back-pressure: what exceeds the bound waits, nothing is refused, nothing is lost. */
static void bound_of_a_channel_holds_back(void **state)
{
    struct edge edge;

    (void)state;
    begin("channel_outstanding = 4");
    connect_edge(&edge, client_ctx);
    for (uint32_t i = 0; i < 20; i++)
        ask(&edge, i, 0, FK_ROLE_SERVER);
    UNTIL(n_asked == 4);
    settle();
    assert_int_equal(n_asked, 4);
    for (size_t i = 0; i < 20; i++) {
        UNTIL(n_asked > i);
        assert_true(n_asked <= i + 4);
        answer(i, FK_OK, "s", 1);
    }
    UNTIL(edge.n_answers == 20);
    for (uint32_t i = 0; i < 20; i++)
        assert_int_equal(edge.answers[i].id, i);
    hang_up(&edge);
    end();
}

/* The bound over all channels: one edge's requests wait for another's answers. */
static void bound_of_the_front_is_shared(void **state)
{
    struct edge one, two;

    (void)state;
    begin("outstanding = 2");
    connect_edge(&one, client_ctx);
    connect_edge(&two, client_ctx);
    for (uint32_t i = 0; i < 4; i++)
        ask(&one, i, 0, FK_ROLE_SERVER);
    UNTIL(n_asked == 2);
    ask(&two, 9, 0, FK_ROLE_SERVER);
    settle();
    assert_int_equal(n_asked, 2);
    for (size_t i = 0; i < 5; i++) {
        UNTIL(n_asked > i);
        answer(i, FK_OK, "s", 1);
    }
    UNTIL(one.n_answers == 4 && two.n_answers == 1);
    hang_up(&one);
    hang_up(&two);
    end();
}

/* However many channels it opens, an edge leaves others their part of the front. */
static void edge_leaves_room_for_others(void **state)
{
    static const struct {
        const char *edges;
        size_t bound;
    } rows[] = {
        {EDGE("e", "") EDGE("f", ""), 4},
        {EDGE("e", "outstanding = 3") EDGE("f", ""), 3},
    };

    (void)state;
    for (size_t row = 0; row < 2; row++) {
        struct edge one, two, other;
        size_t bound = rows[row].bound;

        begin_with(rows[row].edges, "outstanding = 8");
        connect_edge(&one, client_ctx);
        connect_edge(&two, client_ctx);
        connect_edge(&other, other_ctx);
        for (uint32_t i = 0; i < 8; i++) {
            ask(&one, i, 0, FK_ROLE_SERVER);
            ask(&two, i, 0, FK_ROLE_SERVER);
        }
        UNTIL(n_asked == bound);
        settle();
        assert_int_equal(n_asked, bound);
        ask(&other, 9, 0, FK_ROLE_SERVER);
        UNTIL(n_asked == bound + 1);
        hang_up(&one); /* its requests count until they are answered */
        settle();
        for (size_t i = 0; i < n_asked; i++) {
            answer(i, FK_OK, "s", 1);
            settle();
        }
        UNTIL(two.n_answers == 8 && other.n_answers == 1);
        hang_up(&two);
        hang_up(&other);
        end();
    }
}

static void send_pings(struct edge *edge, uint32_t count)
{
    struct fk_keymsg msg = {.opcode = FK_OP_PING};

    while (count-- > 0)
        assert_ok(fk_keymsg_encode(&msg, false, fk_channel_io_out(edge->io)));
    fk_channel_io_flush(edge->io);
}

/* PING and INFO have a bound of their own, for an edge and not for its channels. */
static void talk_of_an_edge_is_bounded(void **state)
{
    static struct edge one, two, other;
    uint32_t sent;

    (void)state;
    begin_with(EDGE("e", "") EDGE("f", ""), "");
    connect_edge(&one, client_ctx);
    connect_edge(&other, other_ctx);
    for (sent = 0; sent < 100 * FK_KEYD_TALK_BURST; sent += 60) {
        one.n_answers = 0;
        send_pings(&one, 60);
        UNTIL(one.n_answers == 60);
        if (one.answers[59].opcode == FK_OP_ERROR)
            break;
    }
    assert_in_range(sent, FK_KEYD_TALK_BURST - 60, 100 * FK_KEYD_TALK_BURST - 1);
    assert_int_equal(one.answers[59].payload[0], FK_KEYERR_RATE);
    hang_up(&one);
    connect_edge(&two, client_ctx); /* another channel, the same bucket: it has next to nothing */
    send_pings(&two, 60);
    send_pings(&other, 1);
    UNTIL(two.n_answers == 60 && other.n_answers == 1);
    assert_int_equal(other.answers[0].opcode, FK_OP_PONG);
    ask(&two, 1, 0, FK_ROLE_SERVER); /* key operations are counted elsewhere */
    UNTIL(n_asked == 1);
    hang_up(&two);
    hang_up(&other);
    end();
}

static void answer_to_a_channel_that_is_gone(void **state)
{
    struct edge edge;

    (void)state;
    begin("");
    connect_edge(&edge, client_ctx);
    ask(&edge, 1, 0, FK_ROLE_SERVER);
    UNTIL(n_asked == 1);
    hang_up(&edge);
    UNTIL(fk_front_channels(front) == 0);
    answer(0, FK_OK, "late", 4);
    connect_edge(&edge, client_ctx);
    ask(&edge, 2, 0, FK_ROLE_SERVER);
    UNTIL(n_asked == 2);
    answer(1, FK_OK, "new", 3);
    UNTIL(edge.n_answers == 1);
    assert_memory_equal(edge.answers[0].payload, "new", 3);
    hang_up(&edge);
    end();
}

static void front_may_end_with_requests_under_way(void **state)
{
    struct edge edge;

    (void)state;
    begin("");
    connect_edge(&edge, client_ctx);
    ask(&edge, 1, 0, FK_ROLE_SERVER);
    UNTIL(n_asked == 1);
    end();
    UNTIL(edge.closed);
    hang_up(&edge);
}

static void stranger_is_closed(void **state)
{
    struct edge edge;

    (void)state;
    begin("");
    connect_edge(&edge, stranger_ctx);
    UNTIL(edge.closed);
    assert_int_equal(edge.n_answers, 0);
    assert_int_equal(fk_front_channels(front), 0);
    hang_up(&edge);
    end();
}

static void draining_answers_then_closes(void **state)
{
    struct edge busy, idle;

    (void)state;
    begin("");
    connect_edge(&busy, client_ctx);
    connect_edge(&idle, client_ctx);
    ask(&busy, 1, 0, FK_ROLE_SERVER);
    UNTIL(n_asked == 1);
    fk_front_drain(front);
    UNTIL(idle.closed);
    ask(&busy, 2, 0, FK_ROLE_SERVER);
    UNTIL(busy.n_answers == 1);
    assert_int_equal(busy.answers[0].id, 2);
    assert_int_equal(busy.answers[0].payload[0], FK_KEYERR_DRAINING);
    assert_false(drained);
    answer(0, FK_OK, "s", 1);
    UNTIL(busy.closed && drained);
    assert_int_equal(busy.answers[1].id, 1);
    assert_int_equal(busy.answers[1].opcode, FK_OP_RESPONSE);
    hang_up(&busy);
    hang_up(&idle);
    end();
}

static void change_of_sets_keeps_or_ends_channels(void **state)
{
    struct edge edge;

    (void)state;
    begin("");
    connect_edge(&edge, client_ctx);
    ask(&edge, 1, 0, FK_ROLE_SERVER);
    UNTIL(n_asked == 1);
    fk_front_use(front, make_set(2, "edge \"e\" { keys = {\"k1\"} }", ""));
    listen_on();
    answer(0, FK_OK, "old", 3); /* asked under the old set, answered under the new */
    ask(&edge, 2, 0, FK_ROLE_SERVER);
    UNTIL(edge.n_answers == 2);
    assert_int_equal(edge.answers[0].opcode == FK_OP_ERROR ? edge.answers[0].payload[0]
                                                           : edge.answers[1].payload[0],
                     FK_KEYERR_DENIED);
    fk_front_use(front, make_set(3, "", ""));
    UNTIL(edge.closed);
    hang_up(&edge);
    end();
}

/* The lines of one edge that comes and goes without end are bounded. */
static void channels_of_an_edge_do_not_flood_the_log(void **state)
{
    char path[128], text[65536];
    size_t lines = 0;
    ssize_t len;
    int fd;

    (void)state;
    (void)snprintf(path, sizeof path, "%s/log", folder);
    fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    fk_log_fd(fd);
    begin("");
    fk_log_threshold(FK_LOG_INFO);
    for (int i = 0; i < 6 * FK_LOG_BURST; i++) {
        struct edge edge;

        connect_edge(&edge, client_ctx);
        hang_up(&edge);
        UNTIL(fk_front_channels(front) == 0);
    }
    fk_log_threshold(FK_LOG_ERROR);
    fk_log_fd(2);
    end();
    len = pread(fd, text, sizeof text - 1, 0);
    assert_true(len > 0);
    text[len] = '\0';
    for (const char *at = text; (at = strstr(at, "channel ")) != NULL; at++)
        lines++;
    assert_in_range(lines, 2, 6 * FK_LOG_BURST);
    (void)close(fd);
    (void)unlink(path);
}

/* What the listener admitted is judged again by the listener of the new set. */
static void change_of_a_listener_ends_what_it_would_not_take(void **state)
{
    static const struct {
        const char *before, *after;
        bool stays1, stays2; /* channels of dialect 1 and 2 */
    } rows[] = {
        {"dialect1 = on", "dialect1 = on", true, true},
        {"dialect1 = on", "dialect1 = off", false, true},
        {"dialect1 = on", "dialect1 = on deny = {\"127.0.0.0/8\"}", false, false},
        {"dialect1 = on", "dialect1 = on allow = {\"192.0.2.0/24\"}", false, false},
        {"dialect1 = on", "dialect1 = on device = \"vpn0\"", false, false},
        {"dialect1 = on", NULL, false, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *usual = listen_block;
        struct edge one, two;
        char text[128];

        (void)snprintf(text, sizeof text, "listen \"127.0.0.1:1\" { %s }", rows[i].before);
        listen_block = text;
        begin("");
        connect_edge(&one, dialect1_ctx);
        connect_edge(&two, client_ctx);
        UNTIL(fk_front_channels(front) == 2 && one.open && two.open);
        settle();
        (void)snprintf(text, sizeof text, "listen \"127.0.0.1:%d\" { %s }",
                       rows[i].after != NULL ? 1 : 2, rows[i].after != NULL ? rows[i].after : "");
        fk_front_use(front, make_set(2, EDGES, ""));
        assert_int_equal(fk_front_channels(front), rows[i].stays1 + rows[i].stays2);
        UNTIL(one.closed == !rows[i].stays1 && two.closed == !rows[i].stays2);
        hang_up(&one);
        hang_up(&two);
        end();
        listen_block = usual;
    }
}

/* Judged by the new set even before it is known who comes. */
static void change_of_a_listener_ends_handshakes(void **state)
{
    const char *usual = listen_block;
    struct fk_addr addr;
    char text[32];
    int fd;

    (void)state;
    begin("");
    (void)snprintf(text, sizeof text, "127.0.0.1:%u", port);
    assert_ok(fk_addr_parse(text, &addr));
    assert_ok(fk_sock_connect(&addr, NULL, NULL, &fd));
    UNTIL(fk_front_channels(front) == 1);
    fk_front_use(front, make_set(2, EDGES, ""));
    assert_int_equal(fk_front_channels(front), 1);
    listen_block = "listen \"127.0.0.1:2\" { }";
    fk_front_use(front, make_set(3, EDGES, ""));
    assert_int_equal(fk_front_channels(front), 0);
    listen_block = usual;
    (void)close(fd);
    end();
}

/* Pages of INFO: every key that the edge may use, once, with its chain; no retired one. */
static void info_comes_in_pages(void **state)
{
    static struct edge edge;
    uint8_t cursor[4] = {0, 0, 0, 0};
    struct fk_keymsg msg = {.opcode = FK_OP_INFO};
    size_t total = 0, pages = 0;

    (void)state;
    begin("");
    connect_edge(&edge, client_ctx);
    do {
        msg.id = (uint32_t)pages;
        msg.payload = fk_item(cursor, sizeof cursor);
        assert_ok(fk_keymsg_encode(&msg, false, fk_channel_io_out(edge.io)));
        fk_channel_io_flush(edge.io);
        UNTIL(edge.n_answers == pages + 1);
        assert_int_equal(edge.answers[pages].opcode, FK_OP_RESPONSE);
        memcpy(cursor, edge.answers[pages].payload + 12, sizeof cursor);
        total += edge.answers[pages].len;
        assert_true(++pages < 8);
    } while (cursor[3] != 0);
    assert_int_equal(pages, 2); /* three chains of 20,000 bytes fit one */
    assert_int_equal(total / CHAIN, 6);
    hang_up(&edge);
    end();
}

#define CASE(name) cmocka_unit_test(name)

int main(int argc, char **argv)
{
    const struct CMUnitTest cases[] = {
        CASE(answers_go_to_their_requests),
        CASE(refusals_never_reach_a_signer),
        CASE(signers_errors_are_passed_on),
        CASE(bound_of_a_channel_holds_back),
        CASE(bound_of_the_front_is_shared),
        CASE(edge_leaves_room_for_others),
        CASE(talk_of_an_edge_is_bounded),
        CASE(answer_to_a_channel_that_is_gone),
        CASE(front_may_end_with_requests_under_way),
        CASE(stranger_is_closed),
        CASE(draining_answers_then_closes),
        CASE(change_of_sets_keeps_or_ends_channels),
        CASE(info_comes_in_pages),
        CASE(change_of_a_listener_ends_what_it_would_not_take),
        CASE(change_of_a_listener_ends_handshakes),
        CASE(channels_of_an_edge_do_not_flood_the_log),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(cases, setup, teardown);
}
