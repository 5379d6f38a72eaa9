/* One handshake whose secrets are elsewhere: its stages, its ephemeral key, its tokens. */
#include "tls/opaque_priv.h"

#include "base/err.h"
#include "base/secret.h"
#include "tls/handover.h"
#include "wire/keymsg.h"

#include <openssl/rand.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#define RANDOM_SIZE 32
/* handle, parameters, signature, private value, with their lengths */
#define ANSWER_MAX FK_RKEY_ANSWER_MAX

/* --- stages --- */

/* The stage after each step; BEGUN, where nothing leads back to: it is not due. */
static const enum fk_opaque_stage after[FK_OPAQUE_STAGES][FK_OPAQUE_STEPS] = {
    [FK_OPAQUE_BEGUN] = {[FK_OPAQUE_INIT] = FK_OPAQUE_AGREED,
                         [FK_OPAQUE_SOURCE] = FK_OPAQUE_SOURCED,
                         [FK_OPAQUE_RESUME] = FK_OPAQUE_RESUMED,
                         [FK_OPAQUE_HELLO13] = FK_OPAQUE_MET13},
    [FK_OPAQUE_AGREED] = {[FK_OPAQUE_SOURCE] = FK_OPAQUE_SOURCED},
    [FK_OPAQUE_SOURCED] = {[FK_OPAQUE_FINISH] = FK_OPAQUE_DONE,
                           [FK_OPAQUE_TO_MASTER] = FK_OPAQUE_DONE,
                           [FK_OPAQUE_TO_TOKEN] = FK_OPAQUE_MASTERED,
                           [FK_OPAQUE_TO_BOTH] = FK_OPAQUE_EXPOSED},
    [FK_OPAQUE_MASTERED] = {[FK_OPAQUE_TO_KEYS] = FK_OPAQUE_KEYED},
    [FK_OPAQUE_EXPOSED] = {[FK_OPAQUE_BLOCK] = FK_OPAQUE_DONE},
    [FK_OPAQUE_KEYED] = {[FK_OPAQUE_CLIENT] = FK_OPAQUE_VERIFIED},
    /* libssl may find that it cannot take it up after all */
    [FK_OPAQUE_RESUMED] = {[FK_OPAQUE_INIT] = FK_OPAQUE_AGREED,
                           [FK_OPAQUE_SOURCE] = FK_OPAQUE_SOURCED,
                           [FK_OPAQUE_BLOCK] = FK_OPAQUE_GOES_ON},
    [FK_OPAQUE_GOES_ON] = {[FK_OPAQUE_SERVER] = FK_OPAQUE_ANSWERED},
    [FK_OPAQUE_ANSWERED] = {[FK_OPAQUE_CLIENT] = FK_OPAQUE_DONE},
    [FK_OPAQUE_VERIFIED] = {[FK_OPAQUE_SERVER] = FK_OPAQUE_DONE},
    [FK_OPAQUE_MET13] = {[FK_OPAQUE_AGREE13] = FK_OPAQUE_AGREED13},
    [FK_OPAQUE_AGREED13] = {[FK_OPAQUE_HANDSHAKE13] = FK_OPAQUE_SHAKING13},
    [FK_OPAQUE_SHAKING13] =
        {[FK_OPAQUE_TRAFFIC13] = FK_OPAQUE_SHAKING13, [FK_OPAQUE_FLIGHT13] = FK_OPAQUE_SIGNED13},
    [FK_OPAQUE_SIGNED13] = {[FK_OPAQUE_MASTER13] = FK_OPAQUE_MASTERED13},
    [FK_OPAQUE_MASTERED13] = {[FK_OPAQUE_SESSION13] = FK_OPAQUE_MASTERED13},
};

int fk_opaque_step(struct fk_opaque *opaque, enum fk_opaque_step step)
{
    enum fk_opaque_stage next = after[opaque->stage][step];

    if (next == FK_OPAQUE_BEGUN)
        return fk_rkey_raise(FK_ERR_UNEXPECTED, "step of the handshake");
    opaque->stage = next;
    return FK_OK;
}

/* --- a handshake --- */

int fk_opaque_new(enum fk_opaque_mode mode, SSL *ssl, struct fk_keyback *back,
                  struct fk_opaque **ret)
{
    struct fk_opaque *opaque = calloc(1, sizeof *opaque);

    if (opaque == NULL)
        return FK_ERR_NOMEM;
    opaque->mode = mode;
    opaque->ssl = ssl;
    opaque->back = back;
    fk_buf_init(&opaque->transcript, FK_TRANSCRIPT13_MAX);
    if (RAND_bytes(opaque->premaster, sizeof opaque->premaster) != 1 ||
        RAND_bytes(opaque->master, sizeof opaque->master) != 1) {
        fk_opaque_free(opaque);
        return FK_ERR_CRYPTO;
    }
    *ret = opaque;
    return FK_OK;
}

void fk_opaque_free(struct fk_opaque *opaque)
{
    if (opaque == NULL)
        return;
    if (opaque->watch != NULL)
        opaque->watch->message = NULL;
    fk_buf_fini(&opaque->transcript);
    fk_wipe(opaque, sizeof *opaque);
    free(opaque);
}

struct fk_opaque *fk_opaque_current(void)
{
    const struct fk_rkey_session *session = fk_rkey_current();

    return session == NULL ? NULL : session->opaque;
}

struct fk_reader fk_opaque_key_block(const struct fk_opaque *opaque)
{
    struct fk_reader block;

    fk_reader_init(&block, opaque->block, opaque->block_len);
    return block;
}

int fk_opaque_ski(const struct fk_opaque *opaque, uint8_t ret[FK_SKI_SIZE])
{
    const X509 *leaf = SSL_get_certificate(opaque->ssl);
    unsigned len = FK_SKI_SIZE;

    if (opaque->is_resumed) { /* no certificate is chosen, and libssl has any of the site's */
        memcpy(ret, opaque->resumed_ski, FK_SKI_SIZE);
        return FK_OK;
    }
    return leaf != NULL && X509_pubkey_digest(leaf, EVP_sha1(), ret, &len) == 1 ? FK_OK
                                                                                : FK_ERR_INTERNAL;
}

int fk_opaque_call(struct fk_opaque *opaque, uint8_t opcode, const struct fk_writer *payload,
                   uint8_t *ret_answer, size_t size, size_t *ret_len)
{
    struct fk_key_request request = {
        .op = FK_KEY_CALL,
        .u.call = {opcode, payload->base, payload->len},
        .route = &opaque->route,
    };

    if (payload->err != FK_OK)
        return fk_rkey_raise(payload->err, "payload");
    if (fk_opaque_ski(opaque, request.ski) != FK_OK)
        return fk_rkey_raise(FK_ERR_INTERNAL, "no certificate chosen");
    return fk_rkey_ask(opaque->back, &request, ret_answer, size, ret_len);
}

/* An answer that breaks the rules, or cannot be used. */
static int bad_answer(int err)
{
    return fk_rkey_raise(err, "answer of the key server");
}

/* --- the ephemeral key --- */

/* What libssl has chosen to sign ServerKeyExchange by. */
static int find_scheme(SSL *ssl, uint16_t *ret)
{
    static const struct {
        int type, digest;
        uint16_t scheme; /* RFC 8446 section 4.2.3 */
    } rows[] = {{EVP_PKEY_RSA, NID_sha256, 0x0401},     {EVP_PKEY_RSA, NID_sha384, 0x0501},
                {EVP_PKEY_RSA, NID_sha512, 0x0601},     {EVP_PKEY_RSA_PSS, NID_sha256, 0x0804},
                {EVP_PKEY_RSA_PSS, NID_sha384, 0x0805}, {EVP_PKEY_RSA_PSS, NID_sha512, 0x0806},
                {EVP_PKEY_EC, NID_sha256, 0x0403},      {EVP_PKEY_EC, NID_sha384, 0x0503},
                {EVP_PKEY_EC, NID_sha512, 0x0603},      {EVP_PKEY_ED25519, NID_undef, 0x0807}};
    int type, digest;

    if (SSL_get_signature_type_nid(ssl, &type) != 1 || SSL_get_signature_nid(ssl, &digest) != 1)
        return FK_ERR_INTERNAL;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].type == type && rows[i].digest == digest) {
            *ret = rows[i].scheme;
            return FK_OK;
        }
    }
    return FK_ERR_UNSUPPORTED; /* SHA-1 */
}

static int get_randoms(const SSL *ssl, uint8_t client[RANDOM_SIZE], uint8_t server[RANDOM_SIZE])
{
    return SSL_get_client_random(ssl, client, RANDOM_SIZE) == RANDOM_SIZE &&
                   SSL_get_server_random(ssl, server, RANDOM_SIZE) == RANDOM_SIZE
               ? FK_OK
               : FK_ERR_INTERNAL;
}

static int copy(struct fk_reader from, uint8_t *to, size_t size, size_t *ret_len)
{
    if (from.left > size)
        return FK_ERR_LIMIT;
    if (from.left > 0)
        memcpy(to, from.next, from.left);
    *ret_len = from.left;
    return FK_OK;
}

/* What is signed, and the signature, for when libssl asks for it. */
static int keep_signature(struct fk_opaque *opaque, const struct fk_agree_init *op,
                          const struct fk_agree_made *made)
{
    struct fk_writer out;
    int err;

    fk_writer_init(&out, opaque->signed_bytes, sizeof opaque->signed_bytes);
    fk_writer_bytes(&out, op->client_random, sizeof op->client_random);
    fk_writer_bytes(&out, op->server_random, sizeof op->server_random);
    fk_writer_bytes(&out, made->params.next, made->params.left);
    if ((err = fk_writer_end(&out, &opaque->signed_len)) != FK_OK)
        return err;
    opaque->scheme = op->scheme;
    return copy(made->signature, opaque->signature, sizeof opaque->signature,
                &opaque->signature_len);
}

/* The parts of the key; what they borrow is the handshake's copy of the parameters. */
static int take_parts(const struct fk_opaque *opaque, const struct fk_agree_group *group,
                      const struct fk_agree_made *made, struct fk_opaque_made *ret)
{
    struct fk_reader params, value;
    struct fk_ecdh_params ecdh;
    int err;

    fk_reader_init(&params, opaque->signed_bytes + 2 * RANDOM_SIZE,
                   opaque->signed_len - 2 * RANDOM_SIZE);
    if (group->is_dh) {
        err = fk_dh_params_decode(params, &ret->numbers);
        value = ret->numbers.ys;
    } else {
        err = fk_ecdh_params_decode(params, &ecdh);
        value = ecdh.point;
    }
    if (err != FK_OK ||
        (err = copy(value, ret->public_value, sizeof ret->public_value, &ret->public_len)) != FK_OK)
        return err;
    return copy(made->private_value, ret->private_value, sizeof ret->private_value,
                &ret->private_len);
}

static int take_made(struct fk_opaque *opaque, const struct fk_agree_init *op,
                     struct fk_reader answer, struct fk_opaque_made *ret)
{
    struct fk_agree_made made;
    int err;

    if ((err = fk_agree_made_decode(answer, op, &made)) != FK_OK ||
        (err = keep_signature(opaque, op, &made)) != FK_OK ||
        (err = take_parts(opaque, fk_agree_group_find(op->group), &made, ret)) != FK_OK)
        return bad_answer(err);
    memcpy(opaque->handle, made.handle, sizeof opaque->handle);
    opaque->group = op->group;
    return FK_OK;
}

int fk_opaque_init_key(struct fk_opaque *opaque, const struct fk_agree_group *group,
                       struct fk_opaque_made *ret_made)
{
    struct fk_agree_init op = {
        .group = group->id,
        .form = opaque->mode == FK_OPAQUE_HANDED ? FK_AGREE_HANDED : FK_AGREE_KEPT,
    };
    uint8_t payload[2 + 2 + 1 + 2 * RANDOM_SIZE], answer[ANSWER_MAX];
    struct fk_writer out;
    struct fk_reader reader;
    size_t len = 0;
    int err;

    if ((err = find_scheme(opaque->ssl, &op.scheme)) != FK_OK ||
        (err = get_randoms(opaque->ssl, op.client_random, op.server_random)) != FK_OK)
        return fk_rkey_raise(err, "not a handshake with an ephemeral key");
    if ((err = fk_opaque_step(opaque, FK_OPAQUE_INIT)) != FK_OK)
        return err;
    fk_writer_init(&out, payload, sizeof payload);
    fk_agree_init_encode(&op, &out);
    err = fk_opaque_call(opaque, FK_OP_AGREE_INIT, &out, answer, sizeof answer, &len);
    if (err != FK_OK)
        return err;
    fk_reader_init(&reader, answer, len);
    err = take_made(opaque, &op, reader, ret_made);
    fk_wipe(answer, len);
    return err;
}

bool fk_opaque_signature(const struct fk_opaque *opaque, uint16_t scheme,
                         const struct fk_reader *tbs, uint8_t *out, size_t size, size_t *ret_len)
{
    if (opaque->signature_len == 0 || opaque->signature_len > size || scheme != opaque->scheme ||
        tbs->left != opaque->signed_len ||
        memcmp(tbs->next, opaque->signed_bytes, tbs->left) != 0) /* public */
        return false;
    memcpy(out, opaque->signature, opaque->signature_len);
    *ret_len = opaque->signature_len;
    return true;
}

/* --- the premaster secret --- */

static int give_token(struct fk_opaque *opaque, uint8_t *out, size_t size, size_t *ret_len)
{
    int err;

    if (size < sizeof opaque->premaster)
        return fk_rkey_raise(FK_ERR_LIMIT, "room for a premaster secret");
    if ((err = fk_opaque_step(opaque, FK_OPAQUE_SOURCE)) != FK_OK)
        return err;
    memcpy(out, opaque->premaster, sizeof opaque->premaster);
    *ret_len = sizeof opaque->premaster;
    return FK_OK;
}

/* Keep the bytes that the source borrows. */
static int keep_source(struct fk_opaque *opaque, struct fk_reader *bytes)
{
    size_t len;

    if (copy(*bytes, opaque->source_bytes, sizeof opaque->source_bytes, &len) != FK_OK)
        return fk_rkey_raise(FK_ERR_LIMIT, "ClientKeyExchange");
    fk_reader_init(bytes, opaque->source_bytes, len);
    return FK_OK;
}

int fk_opaque_premaster(struct fk_opaque *opaque, uint8_t *out, size_t size, size_t *ret_len)
{
    uint8_t payload[FK_HANDLE_SIZE + 2 + FK_DH_PRIME_MAX];
    struct fk_writer writer;
    size_t len = 0;
    int err;

    if ((err = fk_opaque_step(opaque, FK_OPAQUE_FINISH)) != FK_OK)
        return err;
    fk_writer_init(&writer, payload, sizeof payload);
    fk_agree_finish_encode(&opaque->source.agreed, &writer);
    err = fk_opaque_call(opaque, FK_OP_AGREE_FINISH, &writer, out, size, &len);
    if (err != FK_OK)
        return err;
    if ((err = fk_agree_secret_check(opaque->group, len)) != FK_OK) {
        fk_wipe(out, len);
        return bad_answer(err);
    }
    *ret_len = len;
    return FK_OK;
}

int fk_opaque_agree(struct fk_opaque *opaque, struct fk_reader share, uint8_t *out, size_t size,
                    size_t *ret_len)
{
    struct fk_premaster_source *source = &opaque->source;
    int err;

    source->kind = FK_PREMASTER_AGREED;
    memcpy(source->agreed.handle, opaque->handle, sizeof source->agreed.handle);
    source->agreed.share = share;
    if ((err = keep_source(opaque, &source->agreed.share)) != FK_OK)
        return err;
    return give_token(opaque, out, size, ret_len);
}

bool fk_opaque_keeps_rsa(const struct fk_opaque *opaque)
{
    return opaque->mode == FK_OPAQUE_MASTER || opaque->mode == FK_OPAQUE_KEYS ||
           opaque->mode == FK_OPAQUE_EXPOSE;
}

static int make_fresh(struct fk_opaque_fresh *ret)
{
    return RAND_bytes(ret->seed, sizeof ret->seed) != 1 ? FK_ERR_CRYPTO
                                                        : fk_fresh_random(ret->seed, ret->random);
}

/* libssl marks the random when it goes down to TLS 1.2. */
static bool goes_down(SSL *ssl)
{
    long highest = SSL_get_max_proto_version(ssl);

    return SSL_version(ssl) == TLS1_2_VERSION && (highest == 0 || highest >= TLS1_3_VERSION);
}

int fk_opaque_promise(struct fk_opaque *opaque)
{
    int err = make_fresh(&opaque->promised);

    if (err == FK_OK && goes_down(opaque->ssl))
        fk_fresh_mark(opaque->promised.random);

    opaque->promises = err == FK_OK;
    return err;
}

int fk_opaque_draw(struct fk_opaque *opaque, uint8_t ret[FK_FRESH_RANDOM_SIZE])
{
    struct fk_opaque_fresh *fresh = &opaque->fresh[opaque->n_fresh % FK_OPAQUE_FRESH];
    int err;

    if (opaque->promises)
        *fresh = opaque->promised;
    else if ((err = make_fresh(fresh)) != FK_OK)
        return err;
    opaque->promises = false;
    opaque->n_fresh++;
    memcpy(ret, fresh->random, sizeof fresh->random);
    return FK_OK;
}

/* What the server random was made of. */
static int keep_seed(struct fk_opaque *opaque, uint8_t ret[FK_FRESH_SEED_SIZE])
{
    uint8_t random[RANDOM_SIZE];
    const struct fk_opaque_fresh *fresh = opaque->fresh;

    if (SSL_get_server_random(opaque->ssl, random, sizeof random) != sizeof random)
        return fk_rkey_raise(FK_ERR_INTERNAL, "no server random");
    for (size_t i = 0; i < FK_OPAQUE_FRESH; i++) {
        if (i < opaque->n_fresh && fk_fresh_check(fresh[i].seed, random) == FK_OK) {
            memcpy(ret, fresh[i].seed, FK_FRESH_SEED_SIZE);
            return FK_OK;
        }
    }
    return fk_rkey_raise(FK_ERR_INTERNAL, "a server random of other origin");
}

int fk_opaque_take_rsa(struct fk_opaque *opaque, const struct fk_decrypt *op,
                       uint8_t ret_token[FK_OPAQUE_TOKEN_SIZE])
{
    struct fk_premaster_source *source = &opaque->source;
    size_t len;
    int err;

    source->kind = FK_PREMASTER_RSA;
    source->rsa = *op;
    if ((err = keep_source(opaque, &source->rsa.ciphertext)) != FK_OK ||
        (err = keep_seed(opaque, source->random_seed)) != FK_OK)
        return err;
    return give_token(opaque, ret_token, FK_OPAQUE_TOKEN_SIZE, &len);
}
