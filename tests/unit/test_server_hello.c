/* wire/server_hello: what is read of a ServerHello, and what is none. */
#include "unit.h"

#include "base/err.h"
#include "base/writer.h"
#include "wire/server_hello.h"

static uint8_t bytes[512];

/* A ServerHello in a record; `extensions` NULL: without their block. */
static struct fk_reader make(uint16_t version, size_t id_len, uint8_t compression,
                             const char *extensions, size_t extensions_len)
{
    const uint8_t fill[64] = {7};
    struct fk_writer out;
    size_t record, len;
    uint8_t *body;

    fk_writer_init(&out, bytes, sizeof bytes);
    fk_writer_u8(&out, 22);
    fk_writer_u16(&out, 0x0303);
    record = fk_writer_begin16(&out);
    fk_writer_u8(&out, 2);
    fk_writer_u24(&out, 0);
    body = bytes + out.len;
    fk_writer_u16(&out, version);
    fk_writer_bytes(&out, fill, 32);
    fk_writer_vec8(&out, fill, id_len);
    fk_writer_u16(&out, 0xC02F);
    fk_writer_u8(&out, compression);
    if (extensions != NULL)
        fk_writer_vec16(&out, extensions, extensions_len);
    fk_writer_end16(&out, record);
    assert_ok(fk_writer_end(&out, &len));
    body[-1] = (uint8_t)(bytes + len - body);
    return (struct fk_reader){bytes, len};
}

static void what_is_read(void **state)
{
    static const struct {
        const char *extensions;
        size_t len;
        bool extended, ticket;
    } rows[] = {
        {NULL, 0, false, false},
        {"", 0, false, false},
        {"\0\x17\0\0", 4, true, false},
        {"\0\x23\0\0", 4, false, true},
        {"\xff\1\0\1\0\0\x17\0\0\0\x23\0\0", 13, true, true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fk_server_hello hello;

        assert_ok(
            fk_server_hello_parse(make(0x0303, 32, 0, rows[i].extensions, rows[i].len), &hello));
        assert_int_equal(hello.suite, 0xC02F);
        assert_int_equal(hello.random[0], 7);
        assert_int_equal(hello.session_id.left, 32);
        assert_int_equal(hello.extended_master_secret, rows[i].extended);
        assert_int_equal(hello.ticket, rows[i].ticket);
    }
}

static void what_is_none(void **state)
{
    struct fk_server_hello hello;
    struct fk_reader whole;

    (void)state;
    assert_err(fk_server_hello_parse(make(0x0302, 0, 0, NULL, 0), &hello), FK_ERR_VERSION);
    assert_err(fk_server_hello_parse(make(0x0303, 33, 0, NULL, 0), &hello), FK_ERR_FORMAT);
    assert_err(fk_server_hello_parse(make(0x0303, 0, 1, NULL, 0), &hello), FK_ERR_FORMAT);
    assert_err(fk_server_hello_parse(make(0x0303, 0, 0, "\0\x17\0\1\0", 5), &hello),
               FK_ERR_TRAILING);
    assert_err(fk_server_hello_parse(make(0x0303, 0, 0, "\0\x17\0", 3), &hello), FK_ERR_TRUNCATED);
    whole = make(0x0303, 32, 0, "\0\x17\0\0", 4);
    for (size_t cut = 0; cut < whole.left; cut++)
        assert_err(fk_server_hello_parse((struct fk_reader){bytes, cut}, &hello), FK_ERR_TRUNCATED);
    bytes[5] = 1; /* a ClientHello */
    assert_err(fk_server_hello_parse(whole, &hello), FK_ERR_UNEXPECTED);
    bytes[0] = 21;
    assert_err(fk_server_hello_parse(whole, &hello), FK_ERR_UNEXPECTED);
}

UNIT_MAIN(cmocka_unit_test(what_is_read), cmocka_unit_test(what_is_none))
