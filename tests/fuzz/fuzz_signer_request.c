/*
 * signer: what a captured front may send. First byte 0: the rest is the byte stream of a peer.
 * Else: key, operation, detail and payload of one request, so that keys are found. No result is
 * longer than its key allows; nothing but a request that is too long ends a peer.
 */
#include "check.h"

#include "base/clock.h"
#include "base/err.h"
#include "loop/sock.h"
#include "signer/keyset.h"
#include "signer/ops.h"
#include "signer/peer.h"
#include "signer/ticket_roots.h"
#include "wire/keymsg.h"
#include "wire/keyop_secret.h"

#include <fcntl.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define KEYS 4 /* the last one split: share 1 is here */

static struct fk_keyset *set;
static struct fk_ops *ops;
/* The set's own pointers are in OpenSSL's secure heap, where a leak checker does not look; so would
 * be those of its random generators, if they were not made before the heap. */
static EVP_PKEY *seen[KEYS];

static void add_share(struct fk_keyset_builder *builder, EVP_PKEY *key)
{
    struct fk_key_public public;
    struct fk_secret *shares[2];

    CHECK(fk_key_describe(key, &public) == FK_OK);
    public.permissions = 0xffff;
    CHECK(fk_share_split(key, 2, 2, shares) == FK_OK);
    CHECK(fk_keyset_builder_add_share(builder, &public, shares[0]) == FK_OK);
    fk_secret_free(shares[0]);
    fk_secret_free(shares[1]);
}

static void start(void)
{
    EVP_PKEY *keys[KEYS] = {EVP_RSA_gen(2048), EVP_EC_gen("P-256"),
                            EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), EVP_EC_gen("P-256")};
    static const uint8_t secret[32] = {1};
    static const struct fk_keyset_edge edge = {
        .name = "e", .signs = true, .permissions = 0xffff, .all = true};
    static const struct fk_keyset_edge borrower = {
        .name = "b", .borrows = true, .lend_key = {9}, .permissions = 0xffff, .all = true};
    struct fk_keyset_builder *builder;
    uint8_t random[1], wire[FK_TICKET_ROOTS_WIRE_MAX];
    struct fk_ticket_roots roots = {.count = 0};
    uint64_t next;
    int fd;

    CHECK(RAND_bytes(random, 1) == 1 && RAND_priv_bytes(random, 1) == 1);
    CHECK(fk_keyset_builder_new(&builder) == FK_OK);
    for (int i = 0; i < KEYS; i++) {
        struct fk_key_public public;

        CHECK(fk_key_describe(keys[i], &public) == FK_OK);
        public.permissions = 0xffff;
        if (i < KEYS - 1)
            CHECK(fk_keyset_builder_add(builder, &public, keys[i]) == FK_OK);
    }
    add_share(builder, keys[KEYS - 1]);
    for (int i = 0; i < KEYS; i++)
        EVP_PKEY_free(keys[i]);
    CHECK(fk_keyset_builder_audit(builder, secret) == FK_OK);
    fk_keyset_builder_lend_key(builder, secret);
    CHECK(fk_keyset_builder_edge(builder, &edge) == FK_OK); /* no signature is right: its form */
    CHECK(fk_keyset_builder_edge(builder, &borrower) == FK_OK);
    CHECK(fk_keyset_builder_seal(builder, &fd) == FK_OK);
    CHECK(fk_keyset_open(fd, &set) == FK_OK);
    CHECK(fk_ops_new(set, 0, 1, &ops) == FK_OK);
    CHECK(fk_ticket_roots_rotate(&roots, UINT64_C(604800000000), fk_clock_us(), &next) == FK_OK);
    CHECK(fk_ops_take_roots(ops, wire, fk_ticket_roots_encode(&roots, wire)) == FK_OK);
    for (size_t i = 0; i < KEYS; i++)
        seen[i] = fk_keyset_at(set, i)->pkey;
    fk_keyset_builder_free(builder);
    close(fd);
}

/* Where a request of FK_SIGNER_OWNED for `opcode` has its handle; NULL: it has none. */
static uint8_t *find_handle(uint8_t *payload, size_t len, uint16_t opcode)
{
    const size_t owner = 32 + 2; /* and no share of a split key */

    if (opcode == FK_OP_AGREE_FINISH && len >= owner + FK_HANDLE_SIZE)
        return payload + owner;
    if ((opcode == FK_OP_MASTER || opcode == FK_OP_KEYS || opcode == FK_OP_EXPOSE) &&
        len > owner + FK_HANDLE_SIZE && payload[owner] == FK_PREMASTER_AGREED)
        return payload + owner + 1;
    return NULL;
}

/* Names of handles cannot be guessed: put a good one there, of a group that its bytes choose. */
static void put_handle(const struct fk_signer_request *request, uint8_t *payload, uint8_t *handle)
{
    static const uint16_t groups[] = {FK_AGREE_P256, FK_AGREE_P384, FK_AGREE_X25519,
                                      FK_AGREE_FFDHE2048};
    struct fk_signer_request init = *request;
    struct fk_agree_init op = {.group = groups[handle[0] % 4]};
    uint8_t bytes[256], ret[FK_SIGNER_RESULT_MAX];
    struct fk_writer writer;
    size_t len;

    op.scheme = handle[1] % 2 == 0 ? 0x0403 : 0x0804;
    fk_writer_init(&writer, bytes, sizeof bytes);
    fk_writer_bytes(&writer, payload, 32);
    fk_writer_u16(&writer, 0);
    fk_agree_init_encode(&op, &writer);
    CHECK(fk_writer_end(&writer, &len) == FK_OK);
    init.len = (uint32_t)len;
    init.detail = FK_OP_AGREE_INIT;
    if (fk_ops_run(ops, &init, bytes, ret, &len) == FK_OK)
        memcpy(handle, ret, FK_HANDLE_SIZE);
}

static void try_request(const uint8_t *data, size_t size)
{
    const struct fk_keyset_entry *entry = fk_keyset_at(set, data[0] % KEYS);
    static const size_t longest[] = {[FK_KEY_RSA] = 256, [FK_KEY_EC] = 72, [FK_KEY_ED25519] = 64};
    struct fk_signer_request request = {
        .len = (uint32_t)(size - 3), .op = data[1], .detail = data[2]};
    uint8_t payload[FK_SIGNER_PAYLOAD_MAX], ret[FK_SIGNER_RESULT_MAX], *handle;
    size_t len = 0;

    CHECK(entry->pkey == seen[data[0] % KEYS]);
    memcpy(request.ski, entry->public.ski, sizeof request.ski);
    (void)fk_ops_serve(ops, FK_PEER_HANDSHAKER, &request, data + 3, ret, &len);
    memcpy(payload, data + 3, size - 3);
    if (request.op == FK_SIGNER_OWNED &&
        (handle = find_handle(payload, size - 3, request.detail)) != NULL)
        put_handle(&request, payload, handle);
    if (fk_ops_run(ops, &request, payload, ret, &len) != FK_OK)
        return;
    CHECK(len <= longest[entry->public.type] || request.op >= FK_SIGNER_PING);
}

static void try_stream(const uint8_t *data, size_t size)
{
    struct fk_signer_peer *peer;
    uint8_t drain[4096];
    int err = FK_OK, fds[2];

    CHECK(fk_sock_pair(SOCK_STREAM, fds) == FK_OK);
    CHECK(fk_signer_peer_new(fds[0], FK_PEER_FRONT, 0, &peer) == FK_OK);
    size = size > 8192 ? 8192 : size; /* what the socket surely takes */
    CHECK(send(fds[1], data, size, 0) == (ssize_t)size);
    shutdown(fds[1], SHUT_WR);
    while (err == FK_OK) {
        err = fk_signer_peer_turn(peer, ops, NULL, true);
        while (recv(fds[1], drain, sizeof drain, MSG_DONTWAIT) > 0)
            ;
    }
    CHECK(err == FK_ERR_CLOSED || err == FK_ERR_FORMAT);
    fk_signer_peer_free(peer);
    close(fds[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (set == NULL)
        start();
    if (size == 0)
        return 0;
    if (data[0] == 0)
        try_stream(data + 1, size - 1);
    else if (size >= 4 && size - 4 <= FK_SIGNER_PAYLOAD_MAX)
        try_request(data + 1, size - 1);
    return 0;
}
