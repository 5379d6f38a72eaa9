/* Payloads of mode `keys` in TLS 1.3: see keyop_keys13.h. */
#include "wire/keyop_keys13.h"

#include "base/err.h"
#include "wire/keyop.h"

#include <stdbool.h>
#include <string.h>

#define RANDOM      32
#define LEGACY      0x0303
#define TLS13       0x0304
#define SESSION_MAX 32

/* HandshakeType, RFC 8446 section 4. */
enum message {
    CLIENT_HELLO = 1,
    SERVER_HELLO = 2,
    ENCRYPTED_EXTENSIONS = 8,
    CERTIFICATE = 11,
    CERTIFICATE_REQUEST = 13,
    MESSAGE_HASH = 254,
};

enum extension { SUPPORTED_VERSIONS = 43, KEY_SHARE = 51 };

/* RFC 8446 section 4.1.3: the random of a HelloRetryRequest. */
static const uint8_t retry_random[RANDOM] = {
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c};

enum fk_prf fk_suite13_hash(uint16_t suite)
{
    switch (suite) {
    case 0x1301: /* TLS_AES_128_GCM_SHA256 */
    case 0x1303: /* TLS_CHACHA20_POLY1305_SHA256 */
        return FK_PRF_SHA256;
    case 0x1302: /* TLS_AES_256_GCM_SHA384 */
        return FK_PRF_SHA384;
    default:
        return (enum fk_prf)0;
    }
}

/* --- messages of a transcript --- */

static bool is_next(const struct fk_reader *messages, enum message type)
{
    return messages->left > 0 && messages->next[0] == type;
}

/* One whole message of that type: cut short, or another one, the transcript is none. */
static int take_message(struct fk_reader *messages, enum message type, struct fk_reader *ret_body)
{
    uint8_t found;

    if (!is_next(messages, type) || fk_reader_u8(messages, &found) != FK_OK ||
        fk_reader_vec24(messages, ret_body) != FK_OK)
        return FK_ERR_FORMAT;
    return FK_OK;
}

/* What stands for the first ClientHello, and the HelloRetryRequest. */
static int take_retry(struct fk_reader *messages, size_t *ret_hash)
{
    struct fk_reader body;
    uint8_t random[RANDOM];
    int err;

    if ((err = take_message(messages, MESSAGE_HASH, &body)) != FK_OK)
        return err;
    *ret_hash = body.left;
    if ((err = take_message(messages, SERVER_HELLO, &body)) != FK_OK)
        return err;
    return fk_reader_skip(&body, 2) == FK_OK && fk_reader_copy(&body, random, RANDOM) == FK_OK &&
                   memcmp(random, retry_random, RANDOM) == 0 /* public */
               ? FK_OK
               : FK_ERR_FORMAT;
}

/* Up to the ClientHello that is answered. `ret_hash`: bytes of the first one's, 0: there is none.
 */
static int take_hello(struct fk_reader *messages, struct fk_reader *ret_body, size_t *ret_hash)
{
    int err;

    *ret_hash = 0;
    if (is_next(messages, MESSAGE_HASH) && (err = take_retry(messages, ret_hash)) != FK_OK)
        return err;
    return take_message(messages, CLIENT_HELLO, ret_body);
}

/* Its version and random, which no ClientHello lacks. */
static int take_random(struct fk_reader *body, struct fk_reader *ret)
{
    return fk_reader_skip(body, 2) == FK_OK && fk_reader_take(body, RANDOM, ret) == FK_OK
               ? FK_OK
               : FK_ERR_FORMAT;
}

static int parse_hello(struct fk_hello13 *op)
{
    struct fk_reader messages = op->hello, body;
    size_t hashed;
    int err;

    if ((err = take_hello(&messages, &body, &hashed)) != FK_OK ||
        (err = take_random(&body, &op->client_random)) != FK_OK)
        return err;
    if (messages.left > 0 || (hashed != 0 && hashed != fk_prf_size(fk_suite13_hash(op->suite))) ||
        fk_reader_vec8(&body, &op->session_id) != FK_OK || op->session_id.left > SESSION_MAX)
        return FK_ERR_FORMAT;
    return FK_OK;
}

/* --- HELLO13 --- */

static int check_group(const struct fk_hello13 *op)
{
    const struct fk_agree_group *group = fk_agree_group_find(op->group);

    if (group == NULL || group->is_dh || fk_suite13_hash(op->suite) == 0)
        return FK_ERR_UNSUPPORTED;
    return op->share.left == group->share_len ? FK_OK : FK_ERR_FORMAT;
}

int fk_hello13_decode(struct fk_reader payload, struct fk_hello13 *ret)
{
    struct fk_hello13 op = {0};
    int err;

    if ((err = fk_reader_u16(&payload, &op.group)) != FK_OK ||
        (err = fk_reader_u16(&payload, &op.suite)) != FK_OK ||
        (err = fk_reader_copy(&payload, op.server_random, RANDOM)) != FK_OK ||
        (err = fk_reader_vec16(&payload, &op.share)) != FK_OK ||
        (err = fk_reader_vec16(&payload, &op.hello)) != FK_OK ||
        (err = fk_reader_end(&payload)) != FK_OK || (err = check_group(&op)) != FK_OK ||
        (err = parse_hello(&op)) != FK_OK)
        return err;
    *ret = op;
    return FK_OK;
}

void fk_hello13_encode(const struct fk_hello13 *op, struct fk_writer *out)
{
    fk_writer_u16(out, op->group);
    fk_writer_u16(out, op->suite);
    fk_writer_bytes(out, op->server_random, RANDOM);
    fk_writer_vec16(out, op->share.next, op->share.left);
    fk_writer_vec16(out, op->hello.next, op->hello.left);
}

void fk_hello13_write_server(const struct fk_hello13 *op, struct fk_reader share,
                             struct fk_writer *out)
{
    const size_t extensions = 2 + 2 + 2 + 2 + 2 + 2 + 2 + share.left;

    fk_writer_u8(out, SERVER_HELLO);
    fk_writer_u24(out, (uint32_t)(2 + RANDOM + 1 + op->session_id.left + 2 + 1 + 2 + extensions));
    fk_writer_u16(out, LEGACY);
    fk_writer_bytes(out, op->server_random, RANDOM);
    fk_writer_vec8(out, op->session_id.next, op->session_id.left);
    fk_writer_u16(out, op->suite);
    fk_writer_u8(out, 0); /* compression: none */
    fk_writer_u16(out, (uint16_t)extensions);
    fk_writer_u16(out, SUPPORTED_VERSIONS);
    fk_writer_u16(out, 2);
    fk_writer_u16(out, TLS13);
    fk_writer_u16(out, KEY_SHARE);
    fk_writer_u16(out, (uint16_t)(2 + 2 + share.left));
    fk_writer_u16(out, op->group);
    fk_writer_vec16(out, share.next, share.left);
}

/* Both secrets, each as long as the hash. */
static int read_secrets(struct fk_reader *payload, enum fk_prf hash, struct fk_reader *ret_client,
                        struct fk_reader *ret_server)
{
    int err;

    if ((err = fk_reader_vec8(payload, ret_client)) != FK_OK ||
        (err = fk_reader_vec8(payload, ret_server)) != FK_OK ||
        (err = fk_reader_end(payload)) != FK_OK)
        return err;
    return ret_client->left == fk_prf_size(hash) && ret_server->left == fk_prf_size(hash)
               ? FK_OK
               : FK_ERR_FORMAT;
}

int fk_hello13_answer_decode(struct fk_reader payload, const struct fk_hello13 *op,
                             struct fk_hello13_answer *ret)
{
    struct fk_hello13_answer answer = {0};
    int err;

    if ((err = fk_reader_copy(&payload, answer.handle, sizeof answer.handle)) != FK_OK ||
        (err = fk_reader_vec16(&payload, &answer.share)) != FK_OK ||
        (err = read_secrets(&payload, fk_suite13_hash(op->suite), &answer.client_secret,
                            &answer.server_secret)) != FK_OK)
        return err;
    if (answer.share.left != op->share.left) /* of the same group */
        return FK_ERR_FORMAT;
    *ret = answer;
    return FK_OK;
}

void fk_hello13_answer_encode(const struct fk_hello13_answer *answer, struct fk_writer *out)
{
    fk_writer_bytes(out, answer->handle, sizeof answer->handle);
    fk_writer_vec16(out, answer->share.next, answer->share.left);
    fk_writer_vec8(out, answer->client_secret.next, answer->client_secret.left);
    fk_writer_vec8(out, answer->server_secret.next, answer->server_secret.left);
}

/* --- FLIGHT13 --- */

static int parse_transcript(struct fk_flight13 *op)
{
    struct fk_reader messages = op->transcript, body, hellos = messages;
    size_t hash;
    int err;

    if ((err = take_hello(&messages, &body, &hash)) != FK_OK ||
        (err = take_random(&body, &op->client_random)) != FK_OK ||
        (err = take_message(&messages, SERVER_HELLO, &body)) != FK_OK)
        return err;
    hellos.left -= messages.left;
    if ((err = take_message(&messages, ENCRYPTED_EXTENSIONS, &body)) != FK_OK ||
        (is_next(&messages, CERTIFICATE_REQUEST) &&
         (err = take_message(&messages, CERTIFICATE_REQUEST, &body)) != FK_OK) ||
        (err = take_message(&messages, CERTIFICATE, &body)) != FK_OK)
        return err;
    op->hellos = hellos;
    return messages.left == 0 ? FK_OK : FK_ERR_FORMAT;
}

int fk_flight13_decode(struct fk_reader payload, struct fk_flight13 *ret)
{
    struct fk_flight13 op = {0};
    int err;

    if ((err = fk_reader_copy(&payload, op.handle, sizeof op.handle)) != FK_OK ||
        (err = fk_reader_u16(&payload, &op.scheme)) != FK_OK ||
        (err = fk_reader_vec16(&payload, &op.transcript)) != FK_OK ||
        (err = fk_reader_end(&payload)) != FK_OK || (err = parse_transcript(&op)) != FK_OK)
        return err;
    *ret = op;
    return FK_OK;
}

void fk_flight13_encode(const struct fk_flight13 *op, struct fk_writer *out)
{
    fk_writer_bytes(out, op->handle, sizeof op->handle);
    fk_writer_u16(out, op->scheme);
    fk_writer_vec16(out, op->transcript.next, op->transcript.left);
}

int fk_flight13_answer_decode(struct fk_reader payload, enum fk_prf hash,
                              struct fk_flight13_answer *ret)
{
    struct fk_flight13_answer answer = {0};
    int err;

    if ((err = fk_reader_vec16(&payload, &answer.signature)) != FK_OK ||
        (err = read_secrets(&payload, hash, &answer.client_secret, &answer.server_secret)) != FK_OK)
        return err;
    if (answer.signature.left == 0)
        return FK_ERR_FORMAT;
    *ret = answer;
    return FK_OK;
}

void fk_flight13_answer_encode(const struct fk_flight13_answer *answer, struct fk_writer *out)
{
    fk_writer_vec16(out, answer->signature.next, answer->signature.left);
    fk_writer_vec8(out, answer->client_secret.next, answer->client_secret.left);
    fk_writer_vec8(out, answer->server_secret.next, answer->server_secret.left);
}
