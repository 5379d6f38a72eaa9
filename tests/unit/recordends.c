/* See recordends.h. */
#include "recordends.h"

#include "unit.h"

#include "base/err.h"

#include <stdio.h>

/* RFC 8448 section 3: the application traffic secrets. */
static const char client_secret[] =
    "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5";
static const char server_secret[] =
    "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643";

size_t unhex(const char *text, uint8_t *ret)
{
    size_t n = strlen(text) / 2;
    unsigned value;

    for (size_t i = 0; i < n; i++) {
        assert_int_equal(sscanf(text + 2 * i, "%2x", &value), 1);
        ret[i] = (uint8_t)value;
    }
    return n;
}

void make_keys(uint32_t id, struct fk_session_keys *ret)
{
    const struct fk_suite *suite = fk_suite_find((uint16_t)id);
    uint8_t secrets[2][48] = {{0}}, master[48] = {1}, random[32] = {2};

    assert_non_null(suite);
    unhex(client_secret, secrets[0]);
    unhex(server_secret, secrets[1]);
    if (suite->version == FK_TLS13)
        assert_ok(fk_session_keys_tls13(suite, secrets[0], secrets[1], ret));
    else
        assert_ok(fk_session_keys_tls12(suite, master, random, random, (id & ETM) != 0, ret));
}

void open_ends(struct ends *ends, uint32_t suite)
{
    make_keys(suite, &ends->keys);
    ends->len = 0;
    assert_ok(fk_record_arena_new(2, &ends->arena));
    assert_ok(fk_record_new(ends->arena, &ends->keys, FK_RECORD_CLIENT, &ends->client));
    assert_ok(fk_record_new(ends->arena, &ends->keys, FK_RECORD_SERVER, &ends->server));
}

void close_ends(struct ends *ends)
{
    fk_record_free(ends->client);
    fk_record_free(ends->server);
    fk_arena_free(ends->arena);
}

void put(struct ends *ends, uint8_t type, const void *data, size_t len)
{
    const struct iovec piece = {(void *)(uintptr_t)data, len};
    struct fk_pieces pieces = {.first = &piece};
    size_t sealed;

    assert_ok(fk_record_encrypt(ends->client, type, &pieces, len, ends->wire + ends->len, &sealed));
    ends->len += sealed;
}

int take(struct ends *ends, struct fk_opened *ret)
{
    int err = fk_record_open(ends->server, ends->wire, ends->len, ret);

    if (err == FK_OK) {
        ends->len -= ret->consumed;
        memmove(ends->wire, ends->wire + ret->consumed, ends->len);
    }
    return err;
}

void assert_refused(struct ends *ends, int expected, uint8_t alert)
{
    uint8_t out[FK_RECORD_CONTROL_MAX];
    struct fk_opened opened;
    size_t len;

    assert_err(take(ends, &opened), expected);
    assert_true(fk_record_control_due(ends->server));
    assert_ok(fk_record_seal_control(ends->server, out, &len));
    assert_err(fk_record_open(ends->client, out, len, &opened), FK_ERR_TLS);
    assert_int_equal(fk_record_peer_alert(ends->client), alert);
    assert_err(fk_record_seal(ends->server, NULL, 0, ends->wire, sizeof ends->wire, &len),
               FK_ERR_CLOSED);
    assert_err(take(ends, &opened), FK_ERR_CLOSED);
    close_ends(ends);
}
