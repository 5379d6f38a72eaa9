/*
 * Payloads of farkey/1's operations: see keyop.h.
 *
 * A decoder accepts a payload only whole and only in the one form that its encoder writes. What a
 * scheme or a group means to a key is the signer's to judge; here only the form is.
 */
#include "wire/keyop.h"

#include "base/err.h"
#include "base/limits.h"

#include <string.h>

/* --- SIGN13 --- */

#define CONTEXT_LEN 33
#define SPACES_LEN  64

static const char server_context[] = "TLS 1.3, server CertificateVerify";
static const char client_context[] = "TLS 1.3, client CertificateVerify";

_Static_assert(sizeof server_context == CONTEXT_LEN + 1, "RFC 8446 section 4.4.3");
_Static_assert(sizeof client_context == CONTEXT_LEN + 1, "RFC 8446 section 4.4.3");

/* Transcript hashes of TLS 1.3 are SHA-256 or SHA-384: the suite decides, not the scheme. */
static bool is_hash_len(size_t len)
{
    return len == 32 || len == 48;
}

int fk_sign13_decode(struct fk_reader payload, struct fk_sign13 *ret)
{
    struct fk_sign13 op = {0};
    struct fk_reader hash;
    uint8_t role;
    int err;

    if ((err = fk_reader_u16(&payload, &op.scheme)) != FK_OK ||
        (err = fk_reader_u8(&payload, &role)) != FK_OK ||
        (err = fk_reader_vec8(&payload, &hash)) != FK_OK ||
        (err = fk_reader_end(&payload)) != FK_OK)
        return err;
    if ((role != FK_ROLE_SERVER && role != FK_ROLE_CLIENT) || !is_hash_len(hash.left))
        return FK_ERR_FORMAT;
    op.role = (enum fk_key_role)role;
    op.hash_len = (uint8_t)hash.left;
    if ((err = fk_reader_copy(&hash, op.hash, op.hash_len)) != FK_OK)
        return err;
    *ret = op;
    return FK_OK;
}

void fk_sign13_encode(const struct fk_sign13 *op, struct fk_writer *out)
{
    fk_writer_u16(out, op->scheme);
    fk_writer_u8(out, (uint8_t)op->role);
    fk_writer_vec8(out, op->hash, op->hash_len);
}

void fk_sign13_tbs(const struct fk_sign13 *op, uint8_t ret[FK_SIGN13_TBS_MAX], size_t *ret_len)
{
    struct fk_writer writer;

    fk_writer_init(&writer, ret, FK_SIGN13_TBS_MAX);
    fk_writer_fill(&writer, ' ', SPACES_LEN);
    fk_writer_bytes(&writer, op->role == FK_ROLE_CLIENT ? client_context : server_context,
                    CONTEXT_LEN + 1);
    fk_writer_bytes(&writer, op->hash, op->hash_len);
    *ret_len = writer.len;
}

/* Whose context string it is: `context` holds CONTEXT_LEN + 1 bytes. */
static int read_context(struct fk_reader context, enum fk_key_role *ret)
{
    if (memcmp(context.next, server_context, sizeof server_context) == 0)
        *ret = FK_ROLE_SERVER;
    else if (memcmp(context.next, client_context, sizeof client_context) == 0)
        *ret = FK_ROLE_CLIENT;
    else
        return FK_ERR_FORMAT;
    return FK_OK;
}

int fk_sign13_from_tbs(const void *tbs, size_t len, uint16_t scheme, struct fk_sign13 *ret)
{
    struct fk_sign13 op = {.scheme = scheme};
    struct fk_reader reader, spaces, context;

    fk_reader_init(&reader, tbs, len);
    if (fk_reader_take(&reader, SPACES_LEN, &spaces) != FK_OK ||
        fk_reader_take(&reader, CONTEXT_LEN + 1, &context) != FK_OK || !is_hash_len(reader.left))
        return FK_ERR_FORMAT;
    for (size_t i = 0; i < SPACES_LEN; i++)
        if (spaces.next[i] != ' ')
            return FK_ERR_FORMAT;
    if (read_context(context, &op.role) != FK_OK)
        return FK_ERR_FORMAT;
    op.hash_len = (uint8_t)reader.left;
    if (fk_reader_copy(&reader, op.hash, op.hash_len) != FK_OK)
        return FK_ERR_FORMAT;
    *ret = op;
    return FK_OK;
}

/* --- SIGN12 --- */

#define CURVE_TYPE_NAMED 3

/* Groups whose points may be signed: RFC 8422 section 5.4, uncompressed for the prime curves. */
static const struct {
    uint16_t group;
    uint8_t point_len;
    bool uncompressed; /* the point begins with 04 */
} group_rows[] = {
    {23, 65, true},  /* secp256r1 */
    {24, 97, true},  /* secp384r1 */
    {25, 133, true}, /* secp521r1 */
    {29, 32, false}, /* x25519 */
    {30, 56, false}, /* x448 */
};

static int check_point(uint16_t group, struct fk_reader point)
{
    for (size_t i = 0; i < sizeof group_rows / sizeof group_rows[0]; i++) {
        if (group_rows[i].group != group)
            continue;
        if (point.left != group_rows[i].point_len)
            return FK_ERR_FORMAT;
        return group_rows[i].uncompressed && point.next[0] != 0x04 ? FK_ERR_FORMAT : FK_OK;
    }
    return FK_ERR_UNSUPPORTED;
}

int fk_ecdh_params_decode(struct fk_reader params, struct fk_ecdh_params *ret)
{
    struct fk_ecdh_params ecdh;
    uint8_t curve_type;
    int err;

    if ((err = fk_reader_u8(&params, &curve_type)) != FK_OK)
        return err;
    if (curve_type != CURVE_TYPE_NAMED)
        return FK_ERR_FORMAT;
    if ((err = fk_reader_u16(&params, &ecdh.group)) != FK_OK ||
        (err = fk_reader_vec8(&params, &ecdh.point)) != FK_OK ||
        (err = fk_reader_end(&params)) != FK_OK ||
        (err = check_point(ecdh.group, ecdh.point)) != FK_OK)
        return err;
    *ret = ecdh;
    return FK_OK;
}

/* Big-endian numbers without leading zeros: -1, 0, 1 as a < b, a == b, a > b. Public values. */
static int compare_numbers(struct fk_reader a, struct fk_reader b)
{
    if (a.left != b.left)
        return a.left < b.left ? -1 : 1;
    return memcmp(a.next, b.next, a.left);
}

/* 2 <= number < bound, where bound is p with its lowest bit cleared: p - 1, since p is odd. */
static bool is_between_2_and(struct fk_reader number, struct fk_reader p)
{
    struct fk_reader head = number, p_head = p;
    int order;

    if (number.left == 0 || (number.left == 1 && number.next[0] < 2))
        return false;
    if (number.left < p.left)
        return true;
    head.left--;
    p_head.left--;
    order = number.left > p.left ? 1 : compare_numbers(head, p_head);
    return order < 0 || (order == 0 && number.next[head.left] < (p.next[head.left] & 0xfe));
}

static struct fk_reader strip_zeros(struct fk_reader number)
{
    uint8_t zero;

    while (number.left > 0 && number.next[0] == 0)
        if (fk_reader_u8(&number, &zero) != FK_OK)
            break;
    return number;
}

static int check_prime(struct fk_reader p)
{
    if (p.left == 0 || p.next[0] == 0)
        return FK_ERR_FORMAT;
    if (p.left < FK_DH_PRIME_MIN || p.left > FK_DH_PRIME_MAX ||
        (p.left == FK_DH_PRIME_MIN && p.next[0] < 0x80))
        return FK_ERR_RANGE;
    return (p.next[p.left - 1] & 1) == 0 ? FK_ERR_RANGE : FK_OK;
}

int fk_dh_params_decode(struct fk_reader params, struct fk_dh_params *ret)
{
    struct fk_dh_params dh;
    size_t ys_len;
    int err;

    if ((err = fk_reader_vec16(&params, &dh.p)) != FK_OK ||
        (err = fk_reader_vec16(&params, &dh.g)) != FK_OK ||
        (err = fk_reader_vec16(&params, &dh.ys)) != FK_OK ||
        (err = fk_reader_end(&params)) != FK_OK || (err = check_prime(dh.p)) != FK_OK)
        return err;
    if (dh.g.left == 0 || dh.g.next[0] == 0)
        return FK_ERR_FORMAT;
    /* The public value may be padded to the prime's length, and libssl pads it. */
    ys_len = dh.ys.left;
    dh.ys = strip_zeros(dh.ys);
    if (dh.ys.left != ys_len && ys_len != dh.p.left)
        return FK_ERR_FORMAT;
    if (!is_between_2_and(dh.g, dh.p) || !is_between_2_and(dh.ys, dh.p))
        return FK_ERR_RANGE;
    *ret = dh;
    return FK_OK;
}

static int check_params(enum fk_kx kx, struct fk_reader params)
{
    struct fk_ecdh_params ecdh;
    struct fk_dh_params dh;

    return kx == FK_KX_ECDHE ? fk_ecdh_params_decode(params, &ecdh)
                             : fk_dh_params_decode(params, &dh);
}

int fk_sign12_decode(struct fk_reader payload, struct fk_sign12 *ret)
{
    struct fk_sign12 op;
    uint8_t kx;
    int err;

    if ((err = fk_reader_u16(&payload, &op.scheme)) != FK_OK ||
        (err = fk_reader_u8(&payload, &kx)) != FK_OK ||
        (err = fk_reader_copy(&payload, op.client_random, sizeof op.client_random)) != FK_OK ||
        (err = fk_reader_copy(&payload, op.server_random, sizeof op.server_random)) != FK_OK ||
        (err = fk_reader_vec16(&payload, &op.params)) != FK_OK ||
        (err = fk_reader_end(&payload)) != FK_OK)
        return err;
    if (kx != FK_KX_ECDHE && kx != FK_KX_DHE)
        return FK_ERR_FORMAT;
    op.kx = (enum fk_kx)kx;
    /* Parameters cut short inside a whole payload are malformed, not incomplete. */
    err = check_params(op.kx, op.params);
    if (err != FK_OK)
        return err == FK_ERR_TRUNCATED || err == FK_ERR_TRAILING ? FK_ERR_FORMAT : err;
    *ret = op;
    return FK_OK;
}

void fk_sign12_encode(const struct fk_sign12 *op, struct fk_writer *out)
{
    fk_writer_u16(out, op->scheme);
    fk_writer_u8(out, (uint8_t)op->kx);
    fk_writer_bytes(out, op->client_random, sizeof op->client_random);
    fk_writer_bytes(out, op->server_random, sizeof op->server_random);
    fk_writer_vec16(out, op->params.next, op->params.left);
}

/*
 * The message does not name the key exchange. ServerDHParams that begin like ServerECDHParams (03)
 * would have a prime of 768 bytes or more, longer than any point: no message is both.
 */
int fk_sign12_from_tbs(const void *tbs, size_t len, uint16_t scheme, struct fk_sign12 *ret)
{
    struct fk_sign12 op = {.scheme = scheme};
    struct fk_reader reader;

    fk_reader_init(&reader, tbs, len);
    if (fk_reader_copy(&reader, op.client_random, sizeof op.client_random) != FK_OK ||
        fk_reader_copy(&reader, op.server_random, sizeof op.server_random) != FK_OK)
        return FK_ERR_FORMAT;
    op.params = reader;
    if (check_params(FK_KX_ECDHE, reader) == FK_OK)
        op.kx = FK_KX_ECDHE;
    else if (check_params(FK_KX_DHE, reader) == FK_OK)
        op.kx = FK_KX_DHE;
    else
        return FK_ERR_FORMAT;
    *ret = op;
    return FK_OK;
}

/* --- DECRYPT --- */

int fk_decrypt_decode(struct fk_reader payload, struct fk_decrypt *ret)
{
    struct fk_decrypt op;
    int err;

    if ((err = fk_reader_u16(&payload, &op.client_version)) != FK_OK ||
        (err = fk_reader_vec16(&payload, &op.ciphertext)) != FK_OK ||
        (err = fk_reader_end(&payload)) != FK_OK)
        return err;
    if (op.ciphertext.left == 0)
        return FK_ERR_FORMAT;
    /* A client that ends up with TLS 1.2 has offered at least that (RFC 5246 section 7.4.7.1). */
    if (op.client_version < 0x0303 || op.client_version > 0x03ff)
        return FK_ERR_RANGE;
    *ret = op;
    return FK_OK;
}

void fk_decrypt_encode(const struct fk_decrypt *op, struct fk_writer *out)
{
    fk_writer_u16(out, op->client_version);
    fk_writer_vec16(out, op->ciphertext.next, op->ciphertext.left);
}

/* --- INFO and PONG --- */

int fk_info_request_decode(struct fk_reader payload, uint32_t *ret_cursor)
{
    uint32_t cursor;
    int err;

    if ((err = fk_reader_u32(&payload, &cursor)) != FK_OK ||
        (err = fk_reader_end(&payload)) != FK_OK)
        return err;
    *ret_cursor = cursor;
    return FK_OK;
}

void fk_info_request_encode(uint32_t cursor, struct fk_writer *out)
{
    fk_writer_u32(out, cursor);
}

int fk_info_answer_decode(struct fk_reader payload, struct fk_info_answer *ret)
{
    struct fk_info_answer answer;
    int err;

    if ((err = fk_reader_u64(&payload, &answer.generation)) != FK_OK ||
        (err = fk_reader_u32(&payload, &answer.capabilities)) != FK_OK ||
        (err = fk_reader_u32(&payload, &answer.next_cursor)) != FK_OK ||
        (err = fk_reader_vec16(&payload, &answer.keys)) != FK_OK ||
        (err = fk_reader_end(&payload)) != FK_OK)
        return err;
    *ret = answer;
    return FK_OK;
}

static int check_chain(struct fk_reader chain)
{
    struct fk_reader certificate;
    int err;

    while (chain.left > 0) {
        if ((err = fk_reader_vec16(&chain, &certificate)) != FK_OK)
            return err;
        if (certificate.left == 0)
            return FK_ERR_FORMAT;
    }
    return FK_OK;
}

int fk_info_key_next(struct fk_info_answer *answer, struct fk_info_key *ret)
{
    struct fk_reader keys = answer->keys;
    struct fk_info_key key;
    uint8_t type;
    int err;

    if (keys.left == 0)
        return FK_ERR_NOT_FOUND;
    if ((err = fk_reader_copy(&keys, key.ski, sizeof key.ski)) != FK_OK ||
        (err = fk_reader_u8(&keys, &type)) != FK_OK ||
        (err = fk_reader_u16(&keys, &key.permissions)) != FK_OK ||
        (err = fk_reader_vec8(&keys, &key.name)) != FK_OK ||
        (err = fk_reader_vec16(&keys, &key.chain)) != FK_OK ||
        (err = check_chain(key.chain)) != FK_OK)
        return err;
    if (type < FK_KEY_RSA || type > FK_KEY_ED25519 || key.name.left == 0)
        return FK_ERR_FORMAT;
    key.type = (enum fk_key_type)type;
    answer->keys = keys;
    *ret = key;
    return FK_OK;
}

size_t fk_info_answer_begin(const struct fk_info_answer *answer, struct fk_writer *out)
{
    fk_writer_u64(out, answer->generation);
    fk_writer_u32(out, answer->capabilities);
    fk_writer_u32(out, answer->next_cursor);
    return fk_writer_begin16(out);
}

void fk_info_key_encode(const struct fk_info_key *key, struct fk_writer *out)
{
    fk_writer_bytes(out, key->ski, sizeof key->ski);
    fk_writer_u8(out, (uint8_t)key->type);
    fk_writer_u16(out, key->permissions);
    fk_writer_vec8(out, key->name.next, key->name.left);
    fk_writer_vec16(out, key->chain.next, key->chain.left);
}

int fk_pong_decode(struct fk_reader payload, uint64_t *ret_generation)
{
    uint64_t generation;
    int err;

    if ((err = fk_reader_u64(&payload, &generation)) != FK_OK ||
        (err = fk_reader_end(&payload)) != FK_OK)
        return err;
    *ret_generation = generation;
    return FK_OK;
}

void fk_pong_encode(uint64_t generation, struct fk_writer *out)
{
    fk_writer_u64(out, generation);
}
