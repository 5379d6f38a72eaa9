/* One front, real TLS channels to it, and a signer that is played: see frontworld.h. */
#include "frontworld.h"

#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "loop/sock.h"
#include "pki.h"
#include "wire/keymsg.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

struct fk_loop *loop;
struct fk_timer watchdog;
struct fk_quota *quota;
struct fk_front *front;
struct fk_audit_sink *sink;
SSL_CTX *client_ctx, *other_ctx, *stranger_ctx, *dialect1_ctx;
const char *listen_block = "listen \"127.0.0.1:1\" { }"; /* of the next set */
void (*shape_key)(struct fk_index_key *key, size_t i);
char folder[64];
uint16_t port;
bool drained;

/* --- the signer that this test plays --- */

int signer_fd;
size_t n_asked; /* requests seen and not answered are asked[answered..n_asked) */
struct fk_signer_request asked[REQUESTS];
uint8_t asked_payload[FK_SIGNER_PAYLOAD_MAX];

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

    while (n_asked < REQUESTS &&
           recv(signer_fd, &request, sizeof request, MSG_DONTWAIT) == (ssize_t)sizeof request) {
        assert_true(request.len <= sizeof asked_payload);
        assert_int_equal(recv(signer_fd, asked_payload, request.len, 0), request.len);
        asked[n_asked++] = request;
    }
}

static void on_step(struct fk_timer *timer)
{
    fk_loop_stop(timer->loop);
}

/* Let the loop run for one short turn, the played signer included. */
void turn(void)
{
    struct fk_timer step;

    fk_timer_init(&step, loop, on_step);
    fk_timer_start(&step, 1000);
    fk_loop_run(loop);
    read_signer();
}

/* Enough turns for everything under way to arrive, where nothing is to happen. */
void settle(void)
{
    for (int i = 0; i < 20; i++)
        turn();
}

void answer_request(size_t i, int err, const void *data, size_t len)
{
    struct fk_signer_result result = {.len = (uint32_t)len, .id = asked[i].id, .err = err};

    assert_int_equal(send(signer_fd, &result, sizeof result, 0), sizeof result);
    if (len > 0)
        assert_int_equal(send(signer_fd, data, len, 0), len);
}

/* --- the world --- */

#define DAY    86400
#define SERVER "URI:farkey:keyserver:s"

static X509 *authority;
static bool has_list; /* the sets' channel has a revocation list */

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
    if (shape_key != NULL)
        shape_key(key, i);
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

struct fk_front_set *make_set(uint32_t generation, const char *edges, const char *limits)
{
    static const char *const files[] = {"channel.crt", "channel.key", "ca.crt", "ca.crl"};
    size_t n_files = has_list ? 4 : 3;
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
        "channel { certificate = \"channel.crt\" key = \"channel.key\" ca = \"ca.crt\" %s }\n"
        "%s\nlimits { %s }\n",
        listen_block, has_list ? "crl = \"ca.crl\"" : "", edges, limits);
    put("keyd.conf", text);
    (void)snprintf(path, sizeof path, "%s/keyd.conf", folder);
    assert_ok(fk_bundle_new(&bundle));
    assert_ok(fk_conf_load(&fk_keyd_conf_kind, path, bundle, &conf));
    fk_conf_free(conf);
    assert_ok(fk_bundle_add(bundle, FK_KEYD_CONF_PATH, path, strlen(path)));
    assert_ok(fk_bundle_add(bundle, FK_KEYD_VERBOSE_PATH, "1", 0));
    for (size_t i = 0; i < n_files; i++) {
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

static SSL_CTX *make_client(const char *san, long serial, long seconds)
{
    EVP_PKEY *key = pki_key_slot("P-256", 1);
    struct pki_cert spec = {.subject = "c",
                            .key = key,
                            .issuer = authority,
                            .issuer_key = pki_key_slot("P-256", 0),
                            .san = san,
                            .eku = "serverAuth,clientAuth",
                            .serial = serial,
                            .not_before = -60,
                            .not_after = seconds};
    X509 *cert = pki_issue(&spec);
    char *chain = pki_pem_cert(&cert, 1), *pem = pki_pem_key(key);
    char *anchors = pki_pem_cert(&authority, 1);
    struct fk_channel_identity id = {.certificate = (uint8_t *)chain,
                                     .certificate_len = strlen(chain),
                                     .key = (uint8_t *)pem,
                                     .key_len = strlen(pem),
                                     .ca = (uint8_t *)anchors,
                                     .ca_len = strlen(anchors)};
    SSL_CTX *ctx;

    if (strcmp(san, SERVER) == 0) {
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
    struct pki_cert spec = {
        .subject = "CA", .key = pki_key_slot("P-256", 0), .ca = true, .serial = 1};

    authority = pki_issue(&spec);
    SSL_CTX_free(make_client(SERVER, 9, DAY));
    client_ctx = make_edge_ctx(9, DAY);
    dialect1_ctx = make_edge_ctx(9, DAY);
    assert_int_equal(SSL_CTX_set_alpn_protos(dialect1_ctx, NULL, 0), 0);
    other_ctx = make_client("URI:farkey:edge:f", 9, DAY);
    stranger_ctx = make_client("URI:farkey:edge:unknown", 9, DAY);
}

SSL_CTX *make_edge_ctx(long serial, long seconds)
{
    return make_client("URI:farkey:edge:e", serial, seconds);
}

SSL_CTX *make_peer_ctx(const char *san)
{
    return make_client(san, 9, DAY);
}

void put_list(long serial, long seconds)
{
    const long serials[] = {serial, 0};
    X509_CRL *crl = pki_crl(authority, pki_key_slot("P-256", 0), serials, seconds);
    char *pem = pki_pem_crl(crl);

    put("ca.crl", pem);
    free(pem);
    X509_CRL_free(crl);
    has_list = true;
}

void remove_list(void)
{
    has_list = false;
}

static void on_drained(void *arg)
{
    (void)arg;
    drained = true;
}

void listen_on(void)
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

void add_signer(unsigned index)
{
    int fds[2];

    assert_ok(fk_sock_pair(SOCK_STREAM, fds));
    assert_ok(fk_front_add_signer(front, fds[0], index));
    signer_fd = fds[1];
}

void start_front_with(const char *edges, const char *limits)
{
    struct fk_front_options options = {.quota = quota, .sink = sink, .drained = on_drained};

    drained = false;
    n_asked = 0;
    assert_ok(fk_front_new(loop, &options, make_set(1, edges, limits), &front));
    listen_on();
    add_signer(0);
}

void start_front(const char *limits)
{
    start_front_with(EDGES, limits);
}

void stop_front(void)
{
    fk_front_free(front);
    fk_close(&signer_fd);
}

void edge_over(struct edge *edge, int fd, SSL_CTX *ctx)
{
    *edge = (struct edge){.open = false};
    assert_ok(fk_channel_io_new(
        loop, &(struct fk_channel_setup){.ctx = ctx, .fd = fd, .cb = on_edge, .owner = edge},
        &edge->io));
}

void connect_edge(struct edge *edge, SSL_CTX *ctx)
{
    struct fk_addr addr;
    char text[32];
    int fd;

    (void)snprintf(text, sizeof text, "127.0.0.1:%u", port);
    assert_ok(fk_addr_parse(text, &addr));
    assert_ok(fk_sock_connect(&addr, NULL, NULL, &fd));
    edge_over(edge, fd, ctx);
    UNTIL(edge->open || edge->closed);
}

void hang_up(struct edge *edge)
{
    fk_channel_io_free(edge->io);
    edge->io = NULL;
}

void ask(struct edge *edge, uint32_t id, unsigned key, enum fk_key_role role)
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

int front_setup(void **state)
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
    assert_ok(fk_quota_assign(quota, "farkey:keyserver:s2"));
    return fk_quota_assign(quota, "farkey:edge:e");
}

int front_teardown(void **state)
{
    static const char *const files[] = {"channel.crt", "channel.key", "ca.crt", "ca.crl",
                                        "keyd.conf"};
    char path[128];

    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        (void)unlink(path);
    }
    X509_free(authority);
    SSL_CTX_free(client_ctx);
    SSL_CTX_free(stranger_ctx);
    SSL_CTX_free(other_ctx);
    SSL_CTX_free(dialect1_ctx);
    fk_quota_close(quota);
    fk_loop_free(loop);
    return rmdir(folder);
}
