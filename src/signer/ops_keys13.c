/*
 * Mode `keys` in TLS 1.3: the server's share is made here, and the handshake secret stays here
 * under a handle until the server's flight is signed; the edge gets the traffic secrets of this
 * session (RFC 8446 section 7.1) and nothing that they are made from.
 *
 * The ServerHello is written here, so that our share is in it, and the flight that is signed must
 * begin with it: no signature is to be had for a handshake whose secrets are the edge's alone.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/secret.h"
#include "signer/ops_local.h"
#include "tls/hkdf.h"
#include "wire/keyop_keys13.h"

#include <string.h>

#define SECRET_MAX FK_SECRET13_MAX

enum message { CERTIFICATE_VERIFY = 15, FINISHED = 20 }; /* RFC 8446 section 4 */

static struct fk_handle_binding binding_of(const struct fk_op_call *call)
{
    return (struct fk_handle_binding){
        .owner = call->owner, .ski = call->entry->public.ski, .stage = FK_HANDLE_FLIGHT13};
}

static struct fk_reader reader_of(const void *data, size_t len)
{
    struct fk_reader reader;

    fk_reader_init(&reader, data, len);
    return reader;
}

/* --- the key schedule --- */

static int transcript_hash(struct fk_op_call *call, enum fk_prf hash, const struct fk_reader *parts,
                           size_t n_parts, uint8_t ret[64])
{
    return fk_ops_digest(call->ops, hash == FK_PRF_SHA256 ? FK_SHA256 : FK_SHA384, parts, n_parts,
                         ret);
}

/* HKDF-Expand-Label of a hash's length. */
static int expand(enum fk_prf hash, const uint8_t *secret, const char *name,
                  struct fk_reader context, uint8_t *ret)
{
    const struct fk_hkdf_label label = {reader_of(name, strlen(name)), context};

    return fk_hkdf_expand_label(fk_prf_size(hash), secret, &label, ret, fk_prf_size(hash));
}

/* From one column of RFC 8446's picture to the next: `secret` and what comes in, if anything. */
static int next_secret(struct fk_op_call *call, enum fk_prf hash, const uint8_t *secret,
                       struct fk_reader in, uint8_t *ret)
{
    static const uint8_t zeros[SECRET_MAX];
    uint8_t nothing[64], derived[SECRET_MAX];
    const size_t len = fk_prf_size(hash);
    int err;

    if ((err = transcript_hash(call, hash, NULL, 0, nothing)) == FK_OK &&
        (err = expand(hash, secret, "derived", reader_of(nothing, len), derived)) == FK_OK)
        err = fk_hkdf_extract(len, reader_of(derived, len),
                              in.left > 0 ? in : reader_of(zeros, len), ret);
    fk_wipe(derived, sizeof derived);
    return err;
}

/* A direction's secrets by two labels with one transcript. */
struct traffic {
    uint8_t client[SECRET_MAX], server[SECRET_MAX];
};

static int make_traffic(enum fk_prf hash, const uint8_t *secret, const char *const labels[2],
                        const uint8_t *transcript, struct traffic *ret)
{
    const struct fk_reader context = reader_of(transcript, fk_prf_size(hash));
    int err = expand(hash, secret, labels[0], context, ret->client);

    return err != FK_OK ? err : expand(hash, secret, labels[1], context, ret->server);
}

static const char *const handshake_labels[2] = {"c hs traffic", "s hs traffic"};
static const char *const application_labels[2] = {"c ap traffic", "s ap traffic"};

/* --- HELLO13 --- */

struct hello {
    struct fk_ephemeral key;
    uint8_t params[3 + 1 + 97];
    uint8_t shared[FK_EPHEMERAL_SECRET_MAX], early[SECRET_MAX];
    size_t shared_len;
    union fk_handle_secret secret;
    struct traffic traffic;
};

/* Our share, and what it agrees on with the client's. */
static int make_share(struct fk_op_call *call, const struct fk_hello13 *op, struct hello *hello,
                      struct fk_reader *ret_share)
{
    struct fk_ecdh_params params;
    struct fk_writer out;
    size_t len;
    int err;

    fk_writer_init(&out, hello->params, sizeof hello->params);
    if ((err = fk_ephemeral_make(call->ops->ephemerals, op->group, &hello->key, &out)) != FK_OK ||
        (err = fk_writer_end(&out, &len)) != FK_OK ||
        (err = fk_ecdh_params_decode(reader_of(hello->params, len), &params)) != FK_OK ||
        (err = fk_ephemeral_agree(&hello->key, op->share, hello->shared, &hello->shared_len)) !=
            FK_OK)
        return err;
    *ret_share = params.point;
    return FK_OK;
}

/* That the transcript is this one, and goes on so. */
static int keep_hello(struct fk_op_call *call, const struct fk_hello13 *op, struct fk_reader share,
                      struct fk_handle_flight *ret)
{
    uint8_t server[FK_SERVER_HELLO13_MAX], hash[64];
    struct fk_reader parts[2] = {op->hello};
    struct fk_writer out;
    size_t len;
    int err;

    fk_writer_init(&out, server, sizeof server);
    fk_hello13_write_server(op, share, &out);
    if ((err = fk_writer_end(&out, &len)) != FK_OK)
        return err;
    parts[1] = reader_of(server, len);
    ret->hash = fk_suite13_hash(op->suite);
    if ((err = transcript_hash(call, ret->hash, parts, 2, hash)) == FK_OK)
        memcpy(ret->hellos, hash, fk_prf_size(ret->hash));
    return err;
}

static int derive_hello(struct fk_op_call *call, struct hello *hello)
{
    struct fk_handle_flight *flight = &hello->secret.flight;
    const size_t len = fk_prf_size(flight->hash);
    static const uint8_t zeros[SECRET_MAX];
    int err;

    if ((err = fk_hkdf_extract(len, reader_of(NULL, 0), reader_of(zeros, len), hello->early)) !=
            FK_OK ||
        (err = next_secret(call, flight->hash, hello->early,
                           reader_of(hello->shared, hello->shared_len), flight->handshake)) !=
            FK_OK)
        return err;
    return make_traffic(flight->hash, flight->handshake, handshake_labels, flight->hellos,
                        &hello->traffic);
}

static int answer_hello(struct fk_op_call *call, const struct fk_hello13 *op, struct hello *hello)
{
    const struct fk_handle_binding binding = binding_of(call);
    struct fk_handle_flight *flight = &hello->secret.flight;
    struct fk_hello13_answer answer;
    struct fk_writer out;
    int err;

    if ((err = make_share(call, op, hello, &answer.share)) != FK_OK ||
        (err = keep_hello(call, op, answer.share, flight)) != FK_OK ||
        (err = derive_hello(call, hello)) != FK_OK ||
        (err = fk_handles_add(call->ops->handles, &binding, &hello->secret, fk_clock_us(),
                              answer.handle)) != FK_OK)
        return err;
    answer.client_secret = reader_of(hello->traffic.client, fk_prf_size(flight->hash));
    answer.server_secret = reader_of(hello->traffic.server, fk_prf_size(flight->hash));
    fk_writer_init(&out, call->ret, FK_SIGNER_RESULT_MAX);
    fk_hello13_answer_encode(&answer, &out);
    return fk_writer_end(&out, &call->ret_len);
}

int fk_op_hello13(struct fk_op_call *call)
{
    struct hello hello = {.shared_len = 0};
    struct fk_hello13 op;
    int err;

    if (call->owner == NULL || !fk_op_allowed(call, FK_PERM_KEYS))
        return FK_ERR_DENIED;
    if (call->ops->handles == NULL)
        return FK_ERR_UNSUPPORTED;
    if ((err = fk_hello13_decode(call->payload, &op)) != FK_OK)
        return err;
    err = answer_hello(call, &op, &hello);
    fk_wipe(&hello, sizeof hello);
    return err;
}

/* --- FLIGHT13 --- */

struct flight {
    union fk_handle_secret secret;
    uint8_t signature[FK_SIGNER_RESULT_MAX]; /* no check of a length depends on the key's */
    size_t signature_len;
    struct traffic traffic;
    uint8_t key[SECRET_MAX], master[SECRET_MAX];
};

/* CertificateVerify (RFC 8446 section 4.4.3); the signature goes where all signatures go, and is
 * moved from there. */
static int sign_flight(struct fk_op_call *call, const struct fk_flight13 *op, struct flight *flight)
{
    const enum fk_prf hash = flight->secret.flight.hash;
    struct fk_sign13 sign = {
        .scheme = op->scheme, .role = FK_ROLE_SERVER, .hash_len = (uint8_t)fk_prf_size(hash)};
    uint8_t digest[64], *out = call->ret;
    int err;

    if ((err = transcript_hash(call, hash, &op->transcript, 1, digest)) != FK_OK)
        return err;
    memcpy(sign.hash, digest, sign.hash_len);
    call->ret = flight->signature;
    err = fk_ops_sign13(call, &sign);
    call->ret = out;
    flight->signature_len = call->ret_len;
    return err;
}

static int write_verify(const struct fk_flight13 *op, const struct flight *flight,
                        struct fk_writer *out)
{
    fk_writer_u8(out, CERTIFICATE_VERIFY);
    fk_writer_u24(out, (uint32_t)(2 + 2 + flight->signature_len));
    fk_writer_u16(out, op->scheme);
    fk_writer_vec16(out, flight->signature, flight->signature_len);
    return out->err;
}

/* Finished (RFC 8446 section 4.4.4), over all before it; `out` holds CertificateVerify. */
static int write_finished(struct fk_op_call *call, const struct fk_flight13 *op,
                          struct flight *flight, struct fk_writer *out)
{
    const struct fk_handle_flight *kept = &flight->secret.flight;
    const struct fk_reader parts[] = {op->transcript, reader_of(out->base, out->len)};
    const size_t len = fk_prf_size(kept->hash);
    uint8_t digest[64], verify_data[SECRET_MAX];
    int err;

    if ((err = make_traffic(kept->hash, kept->handshake, handshake_labels, kept->hellos,
                            &flight->traffic)) != FK_OK ||
        (err = expand(kept->hash, flight->traffic.server, "finished", reader_of(NULL, 0),
                      flight->key)) != FK_OK ||
        (err = transcript_hash(call, kept->hash, parts, 2, digest)) != FK_OK ||
        /* HKDF-Extract is HMAC, with the salt as its key. */
        (err = fk_hkdf_extract(len, reader_of(flight->key, len), reader_of(digest, len),
                               verify_data)) != FK_OK)
        return err;
    fk_writer_u8(out, FINISHED);
    fk_writer_u24(out, (uint32_t)len);
    fk_writer_bytes(out, verify_data, len);
    return out->err;
}

/* The application's traffic secrets, with all up to our Finished. */
static int derive_application(struct fk_op_call *call, const struct fk_flight13 *op,
                              struct flight *flight)
{
    const struct fk_handle_flight *kept = &flight->secret.flight;
    uint8_t end[2 * 4 + 4 + FK_SIGNER_RESULT_MAX + SECRET_MAX], digest[64];
    struct fk_reader parts[] = {op->transcript, {.left = 0}};
    struct fk_writer out;
    int err;

    fk_writer_init(&out, end, sizeof end);
    if ((err = write_verify(op, flight, &out)) != FK_OK ||
        (err = write_finished(call, op, flight, &out)) != FK_OK)
        return err;
    parts[1] = reader_of(end, out.len);
    if ((err = transcript_hash(call, kept->hash, parts, 2, digest)) != FK_OK ||
        (err = next_secret(call, kept->hash, kept->handshake, reader_of(NULL, 0),
                           flight->master)) != FK_OK)
        return err;
    return make_traffic(kept->hash, flight->master, application_labels, digest, &flight->traffic);
}

/* The handle is used up, whatever comes of it. */
static int take_flight(struct fk_op_call *call, const struct fk_flight13 *op,
                       struct fk_handle_flight *ret)
{
    const struct fk_handle_binding binding = binding_of(call);
    union fk_handle_secret taken;
    uint8_t digest[64];
    int err;

    if (call->ops->handles == NULL)
        return FK_ERR_EXPIRED;
    if ((err = fk_handles_take(call->ops->handles, op->handle, &binding, fk_clock_us(), &taken)) !=
        FK_OK)
        return err;
    if ((err = transcript_hash(call, taken.flight.hash, &op->hellos, 1, digest)) == FK_OK &&
        memcmp(digest, taken.flight.hellos, fk_prf_size(taken.flight.hash)) != 0) /* public */
        err = FK_ERR_FORMAT;
    if (err == FK_OK)
        *ret = taken.flight;
    fk_wipe(&taken, sizeof taken);
    return err;
}

static int answer_flight(struct fk_op_call *call, const struct fk_flight13 *op,
                         struct flight *flight)
{
    struct fk_flight13_answer answer;
    struct fk_writer out;
    size_t len;
    int err;

    if ((err = take_flight(call, op, &flight->secret.flight)) != FK_OK ||
        (err = sign_flight(call, op, flight)) != FK_OK ||
        (err = derive_application(call, op, flight)) != FK_OK)
        return err;
    len = fk_prf_size(flight->secret.flight.hash);
    answer = (struct fk_flight13_answer){.signature =
                                             reader_of(flight->signature, flight->signature_len),
                                         .client_secret = reader_of(flight->traffic.client, len),
                                         .server_secret = reader_of(flight->traffic.server, len)};
    fk_writer_init(&out, call->ret, FK_SIGNER_RESULT_MAX);
    fk_flight13_answer_encode(&answer, &out);
    return fk_writer_end(&out, &call->ret_len);
}

int fk_op_flight13(struct fk_op_call *call)
{
    struct flight flight = {.signature_len = 0};
    struct fk_flight13 op;
    int err;

    if (call->owner == NULL || !fk_op_allowed(call, FK_PERM_KEYS))
        return FK_ERR_DENIED;
    if ((err = fk_flight13_decode(call->payload, &op)) != FK_OK)
        return err;
    err = answer_flight(call, &op, &flight);
    fk_wipe(&flight, sizeof flight);
    return err;
}
