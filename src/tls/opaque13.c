/*
 * Mode `keys` in TLS 1.3: libssl's handshake with a server's share and a key schedule that are the
 * key server's. Two round trips: HELLO13 when libssl wants its share, with the ServerHello that it
 * is about to write told in advance, and FLIGHT13 when it wants its signature, with the traffic
 * secrets that it will ask for after Finished.
 *
 * Both need the transcript itself, which is taken from libssl's message callback.
 */
#include "tls/opaque_priv.h"

#include "base/err.h"
#include "base/secret.h"
#include "tls/handover.h"
#include "wire/keymsg.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

#define HEADER       4   /* of a handshake message */
#define MESSAGE_HASH 254 /* RFC 8446 section 4.4.1 */
#define PAYLOAD_MAX  (FK_TRANSCRIPT13_MAX + 256)

bool fk_opaque_is_tls13(const struct fk_opaque *opaque)
{
    return opaque->mode == FK_OPAQUE_KEYS && SSL_version(opaque->ssl) == TLS1_3_VERSION;
}

/* --- the transcript --- */

static void on_message(void *arg, const void *bytes, size_t len)
{
    struct fk_opaque *opaque = arg;

    if (opaque->transcript_err == FK_OK)
        opaque->transcript_err = fk_buf_append(&opaque->transcript, bytes, len);
}

void fk_opaque_watch(struct fk_opaque *opaque, struct fk_handover *seen, bool alone)
{
    seen->message = on_message;
    seen->message_arg = opaque;
    opaque->watch = seen;
    opaque->watches_alone = alone;
}

void fk_opaque_unwatch(struct fk_opaque *opaque)
{
    if (opaque->watch == NULL)
        return;
    opaque->watch->message = NULL;
    if (opaque->watches_alone)
        fk_handover_forget(opaque->ssl);
    opaque->watch = NULL;
    fk_buf_fini(&opaque->transcript);
}

static int digest(enum fk_prf hash, struct fk_reader a, struct fk_reader b, uint8_t *ret)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok =
        ctx != NULL &&
        EVP_DigestInit_ex2(ctx, hash == FK_PRF_SHA256 ? EVP_sha256() : EVP_sha384(), NULL) == 1 &&
        EVP_DigestUpdate(ctx, a.next, a.left) == 1 &&
        (b.left == 0 || EVP_DigestUpdate(ctx, b.next, b.left) == 1) &&
        EVP_DigestFinal_ex(ctx, ret, NULL) == 1;

    EVP_MD_CTX_free(ctx);
    return ok ? FK_OK : FK_ERR_CRYPTO;
}

static struct fk_reader transcript_of(const struct fk_opaque *opaque)
{
    struct fk_reader messages;

    fk_reader_init(&messages, fk_buf_data(&opaque->transcript), fk_buf_len(&opaque->transcript));
    return messages;
}

/* A hello of SSL 2 is told as no message, but libssl hashes it. */
int fk_opaque_transcript(const struct fk_opaque *opaque, enum fk_prf hash,
                         uint8_t ret[FK_SUITE_HASH_MAX], size_t *ret_len)
{
    struct fk_reader messages = transcript_of(opaque), none = {.left = 0};

    *ret_len = 0;
    if (opaque->transcript_err != FK_OK && opaque->transcript_err != FK_ERR_LIMIT)
        return opaque->transcript_err;
    if (opaque->watch == NULL || opaque->transcript_err != FK_OK || messages.left == 0 ||
        messages.next[0] != SSL3_MT_CLIENT_HELLO)
        return FK_OK;
    *ret_len = fk_prf_size(hash);
    return digest(hash, messages, none, ret);
}

/* After a HelloRetryRequest its hash stands for the first ClientHello. */
static int fold_retry(struct fk_opaque *opaque)
{
    struct fk_reader rest = transcript_of(opaque), first = rest, body;
    uint8_t head[HEADER + FK_SECRET13_MAX] = {MESSAGE_HASH};
    const size_t len = fk_prf_size(opaque->hash13);
    struct fk_buf folded;
    int err;

    if ((err = fk_reader_skip(&rest, 1)) != FK_OK ||
        (err = fk_reader_vec24(&rest, &body)) != FK_OK || rest.left == 0)
        return err;
    first.left -= rest.left;
    head[HEADER - 1] = (uint8_t)len;
    fk_buf_init(&folded, FK_TRANSCRIPT13_MAX);
    body.left = 0;
    if ((err = digest(opaque->hash13, first, body, head + HEADER)) != FK_OK ||
        (err = fk_buf_append(&folded, head, HEADER + len)) != FK_OK ||
        (err = fk_buf_append(&folded, rest.next, rest.left)) != FK_OK) {
        fk_buf_fini(&folded);
        return err;
    }
    fk_buf_fini(&opaque->transcript);
    opaque->transcript = folded;
    return FK_OK;
}

/* --- HELLO13 --- */

static int describe_hello(struct fk_opaque *opaque, struct fk_hello13 *ret)
{
    const SSL_CIPHER *cipher = SSL_get_pending_cipher(opaque->ssl);

    if (cipher == NULL ||
        SSL_get_server_random(opaque->ssl, ret->server_random, sizeof ret->server_random) !=
            sizeof ret->server_random)
        return FK_ERR_INTERNAL;
    ret->suite = SSL_CIPHER_get_protocol_id(cipher);
    opaque->hash13 = fk_suite13_hash(ret->suite);
    if (opaque->hash13 == 0)
        return FK_ERR_UNSUPPORTED;
    if (opaque->transcript_err != FK_OK)
        return opaque->transcript_err;
    return fold_retry(opaque);
}

static void keep_traffic(struct fk_opaque_traffic *traffic, struct fk_reader client,
                         struct fk_reader server)
{
    memcpy(traffic->client, client.next, client.left);
    memcpy(traffic->server, server.next, server.left);
}

/* The hash up to the ServerHello that the key server has written, as libssl must write it, too. */
static int keep_hello(struct fk_opaque *opaque, const struct fk_hello13 *op,
                      const struct fk_hello13_answer *answer)
{
    uint8_t server[FK_SERVER_HELLO13_MAX];
    struct fk_reader hello;
    struct fk_writer out;
    size_t len;
    int err;

    fk_writer_init(&out, server, sizeof server);
    fk_hello13_write_server(op, answer->share, &out);
    if ((err = fk_writer_end(&out, &len)) != FK_OK)
        return err;
    fk_reader_init(&hello, server, len);
    memcpy(opaque->handle, answer->handle, sizeof opaque->handle);
    keep_traffic(&opaque->handshake13, answer->client_secret, answer->server_secret);
    return digest(opaque->hash13, op->hello, hello, opaque->hellos13);
}

static int take_hello(struct fk_opaque *opaque, const struct fk_hello13 *op,
                      struct fk_reader answer, struct fk_opaque_made *ret)
{
    struct fk_hello13_answer made;
    int err;

    if ((err = fk_hello13_answer_decode(answer, op, &made)) != FK_OK ||
        (err = keep_hello(opaque, op, &made)) != FK_OK)
        return fk_rkey_raise(err, "answer of the key server");
    memcpy(ret->public_value, made.share.next, made.share.left);
    ret->public_len = made.share.left;
    return FK_OK;
}

/* The payload is decoded, as it will be there: what would be refused is not sent, and the session
 * id of the ClientHello comes by it. */
static int ask_hello(struct fk_opaque *opaque, struct fk_hello13 *op, struct fk_opaque_made *ret)
{
    uint8_t payload[PAYLOAD_MAX], bytes[FK_RKEY_ANSWER_MAX];
    struct fk_reader reader;
    struct fk_writer out;
    size_t len;
    int err;

    op->hello = transcript_of(opaque);
    fk_writer_init(&out, payload, sizeof payload);
    fk_hello13_encode(op, &out);
    fk_reader_init(&reader, payload, out.len);
    if ((err = out.err) != FK_OK || (err = fk_hello13_decode(reader, op)) != FK_OK)
        return fk_rkey_raise(err, "transcript of the handshake");
    if ((err = fk_opaque_step(opaque, FK_OPAQUE_HELLO13)) != FK_OK ||
        (err = fk_opaque_call(opaque, FK_OP_HELLO13, &out, bytes, sizeof bytes, &len)) != FK_OK)
        return err;
    fk_reader_init(&reader, bytes, len);
    err = take_hello(opaque, op, reader, ret);
    fk_wipe(bytes, len);
    return err;
}

int fk_opaque_hello13(struct fk_opaque *opaque, const struct fk_agree_group *group,
                      struct fk_reader share, struct fk_opaque_made *ret)
{
    struct fk_hello13 op = {.group = group->id, .share = share};
    int err;

    if (share.left == 0 || share.left > sizeof opaque->source_bytes)
        return fk_rkey_raise(FK_ERR_UNEXPECTED, "no share of the client");
    if ((err = describe_hello(opaque, &op)) != FK_OK)
        return fk_rkey_raise(err, "transcript of the handshake");
    memcpy(opaque->source_bytes, share.next, share.left);
    opaque->share13_len = share.left;
    return ask_hello(opaque, &op, ret);
}

int fk_opaque_agree13(struct fk_opaque *opaque, struct fk_reader share, uint8_t *out, size_t size,
                      size_t *ret_len)
{
    int err;

    if (share.left != opaque->share13_len ||
        memcmp(share.next, opaque->source_bytes, share.left) != 0 || /* public */
        size < sizeof opaque->premaster)
        return fk_rkey_raise(FK_ERR_UNEXPECTED, "share of the client");
    if ((err = fk_opaque_step(opaque, FK_OPAQUE_AGREE13)) != FK_OK)
        return err;
    memcpy(out, opaque->premaster, sizeof opaque->premaster);
    *ret_len = sizeof opaque->premaster;
    return FK_OK;
}

/* --- FLIGHT13 --- */

static int take_flight(struct fk_opaque *opaque, struct fk_reader answer, uint8_t *out, size_t size,
                       size_t *ret_len)
{
    struct fk_flight13_answer made;
    int err;

    if ((err = fk_flight13_answer_decode(answer, opaque->hash13, &made)) == FK_OK &&
        made.signature.left > size)
        err = FK_ERR_LIMIT;
    if (err != FK_OK)
        return fk_rkey_raise(err, "answer of the key server");
    keep_traffic(&opaque->application13, made.client_secret, made.server_secret);
    memcpy(out, made.signature.next, made.signature.left);
    *ret_len = made.signature.left;
    return FK_OK;
}

int fk_opaque_flight13(struct fk_opaque *opaque, uint16_t scheme, uint8_t *out, size_t size,
                       size_t *ret_len)
{
    struct fk_flight13 op = {.scheme = scheme, .transcript = transcript_of(opaque)};
    uint8_t payload[PAYLOAD_MAX], bytes[FK_RKEY_ANSWER_MAX];
    struct fk_reader reader;
    struct fk_writer writer;
    size_t len;
    int err;

    if ((err = opaque->transcript_err) != FK_OK)
        return fk_rkey_raise(err, "transcript of the handshake");
    memcpy(op.handle, opaque->handle, sizeof op.handle);
    fk_writer_init(&writer, payload, sizeof payload);
    fk_flight13_encode(&op, &writer);
    if ((err = fk_opaque_step(opaque, FK_OPAQUE_FLIGHT13)) != FK_OK ||
        (err = fk_opaque_call(opaque, FK_OP_FLIGHT13, &writer, bytes, sizeof bytes, &len)) != FK_OK)
        return err;
    fk_reader_init(&reader, bytes, len);
    err = take_flight(opaque, reader, out, size, ret_len);
    fk_wipe(bytes, len);
    fk_opaque_unwatch(opaque);
    return err;
}

/* --- the key schedule (RFC 8446 section 7.1) --- */

static bool is(const uint8_t *secret, const uint8_t *token, size_t len)
{
    return fk_equal_ct(secret, token, len);
}

bool fk_opaque_is_token13(const struct fk_opaque *opaque, struct fk_reader secret)
{
    const struct fk_opaque_tokens13 *tokens = &opaque->tokens13;

    if (!fk_opaque_is_tls13(opaque) || opaque->hash13 == 0)
        return false;
    if (secret.left == sizeof opaque->premaster && is(secret.next, opaque->premaster, secret.left))
        return true;
    return secret.left == fk_prf_size(opaque->hash13) &&
           (is(secret.next, tokens->handshake, secret.left) ||
            is(secret.next, tokens->master, secret.left) ||
            is(secret.next, tokens->none, secret.left));
}

int fk_opaque_extract13(struct fk_opaque *opaque, struct fk_reader salt, struct fk_reader key,
                        uint8_t *out, size_t len)
{
    struct fk_opaque_tokens13 *tokens = &opaque->tokens13;
    bool first = key.left == sizeof opaque->premaster &&
                 is(key.next, opaque->premaster, sizeof opaque->premaster);
    int err;

    if (len != fk_prf_size(opaque->hash13) ||
        (!first && (key.left != 0 || salt.left != len || !is(salt.next, tokens->handshake, len))))
        return fk_rkey_raise(FK_ERR_UNSUPPORTED, "no derivation of a handshake");
    if ((err = fk_opaque_step(opaque, first ? FK_OPAQUE_HANDSHAKE13 : FK_OPAQUE_MASTER13)) != FK_OK)
        return err;
    if (RAND_bytes(first ? tokens->handshake : tokens->master, (int)len) != 1 ||
        (first && RAND_bytes(tokens->none, sizeof tokens->none) != 1))
        return fk_rkey_raise(FK_ERR_CRYPTO, "token");
    memcpy(out, first ? tokens->handshake : tokens->master, len);
    return FK_OK;
}

static bool names(struct fk_reader name, const char *label)
{
    return name.left == strlen(label) && memcmp(name.next, label, name.left) == 0; /* public */
}

static int give(struct fk_opaque *opaque, enum fk_opaque_step step, const uint8_t *secret,
                uint8_t *out)
{
    int err = fk_opaque_step(opaque, step);

    if (err == FK_OK)
        memcpy(out, secret, fk_prf_size(opaque->hash13));
    return err;
}

int fk_opaque_expand13(struct fk_opaque *opaque, const uint8_t *secret,
                       const struct fk_hkdf_label *label, uint8_t *out, size_t len)
{
    const size_t size = fk_prf_size(opaque->hash13);

    if (len == size && is(secret, opaque->tokens13.handshake, len)) {
        /* That libssl has written the ServerHello which the key server has, too. */
        if (label->context.left != size ||
            memcmp(label->context.next, opaque->hellos13, size) != 0) /* public */
            return fk_rkey_raise(FK_ERR_UNEXPECTED, "transcript of the handshake");
        if (names(label->name, "c hs traffic"))
            return give(opaque, FK_OPAQUE_TRAFFIC13, opaque->handshake13.client, out);
        if (names(label->name, "s hs traffic"))
            return give(opaque, FK_OPAQUE_TRAFFIC13, opaque->handshake13.server, out);
    } else if (len == size && is(secret, opaque->tokens13.master, len)) {
        if (names(label->name, "c ap traffic"))
            return give(opaque, FK_OPAQUE_SESSION13, opaque->application13.client, out);
        if (names(label->name, "s ap traffic"))
            return give(opaque, FK_OPAQUE_SESSION13, opaque->application13.server, out);
        if (names(label->name, "exp master") || names(label->name, "res master"))
            return give(opaque, FK_OPAQUE_SESSION13, opaque->tokens13.none, out);
    }
    return fk_rkey_raise(FK_ERR_UNSUPPORTED, "no derivation of a handshake");
}
