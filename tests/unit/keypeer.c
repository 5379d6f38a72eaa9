/* A scripted key server for tests: see keypeer.h. */
#include "keypeer.h"

#include "unit.h"

#include "base/err.h"
#include "loop/sock.h"
#include "pki.h"
#include "wire/keymsg.h"

#include <stdio.h>
#include <sys/socket.h>

static char *make_list(const struct keypeer_identity *identity, X509 *ca, EVP_PKEY *ca_key)
{
    const long serials[] = {identity->revokes, 0};
    X509_CRL *crl = pki_crl(ca, ca_key, serials, identity->next_update);
    char *pem = pki_pem_crl(crl);

    X509_CRL_free(crl);
    return pem;
}

SSL_CTX *keypeer_ctx_of(const struct keypeer_identity *identity)
{
    EVP_PKEY *ca_key = pki_key_slot("P-256", 0), *key = pki_key_slot("P-256", 1);
    struct pki_cert ca_spec = {.subject = "ca", .key = ca_key, .ca = true};
    X509 *ca = pki_issue(&ca_spec);
    struct pki_cert spec = {.subject = "end",
                            .key = key,
                            .issuer = ca,
                            .issuer_key = ca_key,
                            .san = identity->san,
                            .serial = identity->serial,
                            .not_before = identity->not_after == 0 ? 0 : -60,
                            .not_after = identity->not_after};
    X509 *cert = pki_issue(&spec);
    char *pem[4] = {pki_pem_cert(&cert, 1), pki_pem_key(key), pki_pem_cert(&ca, 1),
                    identity->next_update == 0 ? NULL : make_list(identity, ca, ca_key)};
    struct fk_channel_identity texts = {.certificate = (uint8_t *)pem[0],
                                        .certificate_len = strlen(pem[0]),
                                        .key = (uint8_t *)pem[1],
                                        .key_len = strlen(pem[1]),
                                        .ca = (uint8_t *)pem[2],
                                        .ca_len = strlen(pem[2]),
                                        .crl = (uint8_t *)pem[3],
                                        .crl_len = pem[3] == NULL ? 0 : strlen(pem[3])};
    SSL_CTX *ctx;

    assert_ok(fk_channel_ctx_new(&texts, identity->server, false, &ctx));
    X509_free(cert);
    X509_free(ca);
    for (size_t i = 0; i < 4; i++)
        free(pem[i]);
    return ctx;
}

SSL_CTX *keypeer_ctx(const char *san, bool server)
{
    return keypeer_ctx_of(&(struct keypeer_identity){.san = san, .server = server});
}

EVP_PKEY *keypeer_site_key(void)
{
    return pki_key_slot("P-256", 2);
}

static void send_frame(struct keypeer *peer, uint32_t id, uint8_t opcode, const void *data,
                       size_t len)
{
    struct fk_keymsg msg = {.id = id, .opcode = opcode, .payload = fk_item(data, len)};

    assert_ok(fk_keymsg_encode(&msg, false, fk_channel_io_out(peer->io)));
    fk_channel_io_flush(peer->io);
}

static size_t sign(const struct fk_sign13 *op, uint8_t *sig, size_t size)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t tbs[FK_SIGN13_TBS_MAX];
    size_t tbs_len, len = size;

    fk_sign13_tbs(op, tbs, &tbs_len);
    assert_int_equal(
        EVP_DigestSignInit_ex(ctx, NULL, "SHA256", NULL, NULL, keypeer_site_key(), NULL), 1);
    assert_int_equal(EVP_DigestSign(ctx, sig, &len, tbs, tbs_len), 1);
    EVP_MD_CTX_free(ctx);
    return len;
}

static void answer(struct keypeer *peer, uint32_t id, const struct fk_sign13 *op)
{
    uint8_t sig[128];
    size_t len = sign(op, sig, sizeof sig);

    send_frame(peer, id, FK_OP_RESPONSE, sig, len);
}

static void drop_channel(struct keypeer *peer)
{
    fk_channel_io_free(peer->io);
    peer->io = NULL;
    peer->n_held = 0;
}

void keypeer_release(struct keypeer *peer)
{
    while (peer->n_held > 0) {
        struct keypeer_held *held = &peer->held[--peer->n_held];

        answer(peer, held->id, &held->op);
    }
}

static void half_frame(struct keypeer *peer)
{
    static const uint8_t half[] = {1, 0, 0, 40, 0, 0, 0, 1, 0x11, 0};

    assert_ok(fk_buf_append(fk_channel_io_out(peer->io), half, sizeof half));
    drop_channel(peer);
}

static void on_request(struct keypeer *peer, uint32_t id, const struct fk_sign13 *op)
{
    uint8_t sig[128] = {0x30, 6, 2, 1, 1, 2, 1, 1};
    struct fk_sign13 other = *op;

    peer->requests++;
    switch (peer->script) {
    case ANSWER:
        answer(peer, id, op);
        return;
    case HOLD:
    case LATE:
        assert_true(peer->n_held < 256);
        peer->held[peer->n_held++] = (struct keypeer_held){id, *op};
        return;
    case SILENT:
        return;
    case WRONG_ID:
        answer(peer, id + 1000, op);
        return;
    case TWICE:
        answer(peer, id, op);
        answer(peer, id, op);
        return;
    case HALF_FRAME:
        half_frame(peer);
        return;
    case GARBAGE:
        fk_buf_append(fk_channel_io_out(peer->io), "GET / HTTP/1.1\r\n\r\n", 18);
        fk_channel_io_flush(peer->io);
        return;
    case BAD_SIGNATURE: /* a good one, of something else */
        other.hash[0] ^= 1;
        answer(peer, id, &other);
        return;
    case SHORT_SIGNATURE:
        send_frame(peer, id, FK_OP_RESPONSE, sig, 0);
        return;
    case REFUSE:
        send_frame(peer, id, FK_OP_ERROR, &peer->code, 1);
        return;
    case STRANGE_OPCODE:
        send_frame(peer, id, FK_OP_SIGN13, NULL, 0);
        return;
    case FLOOD:
        for (uint32_t i = 1; i <= FLOODED; i++)
            send_frame(peer, id + 100000 + i, FK_OP_RESPONSE, sig, sizeof sig);
        answer(peer, id, op);
        return;
    }
}

static void on_info(struct keypeer *peer, const struct fk_keymsg *msg)
{
    struct fk_info_answer page = {.generation = peer->generation};
    uint8_t bytes[1024];
    struct fk_writer writer;
    uint32_t cursor;
    size_t mark, len;

    peer->infos++;
    assert_ok(fk_info_request_decode(msg->payload, &cursor));
    page.next_cursor = cursor + 2 < peer->n_keys ? cursor + 2 : 0;
    fk_writer_init(&writer, bytes, sizeof bytes);
    mark = fk_info_answer_begin(&page, &writer);
    for (uint32_t i = cursor; i < cursor + 2 && i < peer->n_keys; i++) {
        static const uint8_t chain[] = {0, 3, 0x30, 1, 0};
        char name[32];
        struct fk_info_key key = {.ski = {(uint8_t)i}, .type = FK_KEY_EC, .permissions = 1};

        (void)snprintf(name, sizeof name, "site%u.example", i);
        fk_reader_init(&key.name, name, strlen(name));
        fk_reader_init(&key.chain, chain, sizeof chain);
        fk_info_key_encode(&key, &writer);
    }
    fk_writer_end16(&writer, mark);
    assert_ok(fk_writer_end(&writer, &len));
    send_frame(peer, msg->id, FK_OP_RESPONSE, bytes, len);
}

static void on_frame(struct keypeer *peer, const struct fk_keymsg *msg)
{
    uint8_t pong[8];
    struct fk_writer writer;
    struct fk_sign13 op;

    if (msg->opcode == FK_OP_PING) {
        peer->pings++;
        if (peer->script == SILENT)
            return;
        fk_writer_init(&writer, pong, sizeof pong);
        fk_pong_encode(peer->generation, &writer);
        send_frame(peer, msg->id, FK_OP_PONG, pong, sizeof pong);
    } else if (msg->opcode == FK_OP_INFO) {
        on_info(peer, msg);
    } else {
        assert_int_equal(msg->opcode, FK_OP_SIGN13);
        assert_ok(fk_sign13_decode(msg->payload, &op));
        assert_int_equal(msg->ski.left, 20);
        memcpy(peer->sni, msg->sni.next, msg->sni.left);
        peer->client_ip_len = (uint8_t)msg->client_ip.left;
        on_request(peer, msg->id, &op);
    }
}

static void on_peer_channel(void *owner, enum fk_channel_event event, int err)
{
    struct keypeer *peer = owner;
    struct fk_frame frame;
    struct fk_keymsg msg;
    struct fk_buf *in;
    size_t used;

    (void)err;
    fk_loop_stop(peer->loop);
    if (event == FK_CHANNEL_CLOSED || (event == FK_CHANNEL_OPEN && peer->refuses))
        drop_channel(peer);
    if (event != FK_CHANNEL_READ)
        return;
    in = fk_channel_io_in(peer->io);
    while (peer->io != NULL &&
           fk_frame_parse(fk_buf_data(in), fk_buf_len(in), &frame, &used) == FK_OK) {
        assert_ok(fk_keymsg_decode(&frame, &msg));
        on_frame(peer, &msg);
        if (peer->io != NULL)
            fk_buf_consume(in, used);
    }
}

/* A channel over a connection, whoever opened it: the peer is the server in any case. */
static void serve(struct keypeer *peer, int fd)
{
    fk_channel_io_free(peer->io);
    peer->n_held = 0;
    assert_ok(fk_channel_io_new(
        peer->loop,
        &(struct fk_channel_setup){
            .ctx = peer->ctx, .fd = fd, .accept = true, .cb = on_peer_channel, .owner = peer},
        &peer->io));
}

void keypeer_dial(struct keypeer *peer, const struct fk_addr *addr)
{
    int fd;

    assert_ok(fk_sock_connect(addr, NULL, NULL, &fd));
    serve(peer, fd);
}

static void on_accept(struct fk_io *io, unsigned events)
{
    struct keypeer *peer = fk_container(io, struct keypeer, accept_io);
    struct fk_addr from;
    int fd;

    (void)events;
    if (fk_sock_accept(peer->listener, &fd, &from) != FK_OK)
        return;
    peer->accepted++;
    serve(peer, fd);
    fk_loop_stop(peer->loop);
}

void keypeer_listen(struct keypeer *peer)
{
    struct fk_listen_options options = {.backlog = 16};

    assert_ok(fk_sock_listen(&peer->addr, &options, &peer->listener));
    assert_ok(fk_sock_local(peer->listener, &peer->addr)); /* the same port when it comes back */
    fk_io_init(&peer->accept_io, peer->loop, peer->listener, on_accept);
    fk_io_want(&peer->accept_io, FK_IO_READ);
}

void keypeer_down(struct keypeer *peer)
{
    if (peer->listener >= 0)
        fk_io_want(&peer->accept_io, 0);
    fk_close(&peer->listener);
    drop_channel(peer);
}
