/* Session keys as bytes: see session_wire.h. */
#include "tls/session_wire.h"

#include "base/err.h"
#include "base/secret.h"

#define FLAG_ENCRYPT_THEN_MAC 0x01

/* Bytes of a direction's traffic secret: TLS 1.2 has none. */
static size_t secret_len(const struct fk_suite *suite)
{
    return suite->version == FK_TLS13 ? suite->hash_len : 0;
}

static void encode_traffic(const struct fk_suite *suite, const struct fk_traffic_keys *keys,
                           struct fk_writer *out)
{
    fk_writer_u64(out, keys->seq);
    fk_writer_vec8(out, keys->key, suite->key_len);
    fk_writer_vec8(out, keys->iv, suite->iv_len);
    fk_writer_vec8(out, keys->mac_key, suite->mac_len);
    fk_writer_vec8(out, keys->secret, secret_len(suite));
}

void fk_session_wire_encode(const struct fk_session_keys *keys, struct fk_writer *out)
{
    fk_writer_u16(out, keys->suite->id);
    fk_writer_u8(out, keys->encrypt_then_mac ? FLAG_ENCRYPT_THEN_MAC : 0);
    encode_traffic(keys->suite, &keys->client, out);
    encode_traffic(keys->suite, &keys->server, out);
}

/* A vector of exactly `len` bytes. */
static int decode_part(struct fk_reader *in, size_t len, uint8_t *ret)
{
    struct fk_reader part;
    int err;

    if ((err = fk_reader_vec8(in, &part)) != FK_OK)
        return err;
    return part.left == len ? fk_reader_copy(&part, ret, len) : FK_ERR_FORMAT;
}

static int decode_traffic(struct fk_reader *in, const struct fk_suite *suite,
                          struct fk_traffic_keys *ret)
{
    int err;

    if ((err = fk_reader_u64(in, &ret->seq)) != FK_OK ||
        (err = decode_part(in, suite->key_len, ret->key)) != FK_OK ||
        (err = decode_part(in, suite->iv_len, ret->iv)) != FK_OK ||
        (err = decode_part(in, suite->mac_len, ret->mac_key)) != FK_OK)
        return err;
    return decode_part(in, secret_len(suite), ret->secret);
}

int fk_session_wire_decode(struct fk_reader in, struct fk_session_keys *ret)
{
    struct fk_session_keys keys = {.suite = NULL};
    uint16_t id;
    uint8_t flags;
    int err;

    if ((err = fk_reader_u16(&in, &id)) != FK_OK || (err = fk_reader_u8(&in, &flags)) != FK_OK)
        return err;
    if ((keys.suite = fk_suite_find(id)) == NULL)
        return FK_ERR_UNSUPPORTED;
    keys.encrypt_then_mac = flags == FLAG_ENCRYPT_THEN_MAC;
    if (flags != 0 && (flags != FLAG_ENCRYPT_THEN_MAC || keys.suite->protection != FK_PROTECT_CBC))
        return FK_ERR_FORMAT;
    if ((err = decode_traffic(&in, keys.suite, &keys.client)) == FK_OK &&
        (err = decode_traffic(&in, keys.suite, &keys.server)) == FK_OK)
        err = fk_reader_end(&in);
    if (err == FK_OK)
        *ret = keys;
    fk_wipe(&keys, sizeof keys);
    return err;
}
