/* Parsing ServerHellos: see server_hello.h. */
#include "wire/server_hello.h"

#include "base/err.h"

#define RECORD_HANDSHAKE    22
#define MESSAGE_SERVER      2
#define VERSION             0x0303
#define ID_MAX              32
#define EXT_EXTENDED_MASTER 23
#define EXT_TICKET          35

static int parse_extension(struct fk_reader *list, struct fk_server_hello *hello)
{
    struct fk_reader data;
    uint16_t type;
    int err;

    if ((err = fk_reader_u16(list, &type)) != FK_OK ||
        (err = fk_reader_vec16(list, &data)) != FK_OK)
        return err;
    if (type != EXT_EXTENDED_MASTER && type != EXT_TICKET)
        return FK_OK;
    hello->extended_master_secret |= type == EXT_EXTENDED_MASTER;
    hello->ticket |= type == EXT_TICKET;
    return fk_reader_end(&data); /* both are empty */
}

/* The block may be missing (RFC 5246 section 7.4.1.3). */
static int parse_extensions(struct fk_reader body, struct fk_server_hello *hello)
{
    struct fk_reader list;
    int err;

    if (body.left == 0)
        return FK_OK;
    if ((err = fk_reader_vec16(&body, &list)) != FK_OK || (err = fk_reader_end(&body)) != FK_OK)
        return err;
    while (list.left > 0)
        if ((err = parse_extension(&list, hello)) != FK_OK)
            return err;
    return FK_OK;
}

static int parse_body(struct fk_reader body, struct fk_server_hello *hello)
{
    uint16_t version;
    uint8_t compression;
    int err;

    if ((err = fk_reader_u16(&body, &version)) != FK_OK)
        return err;
    if (version != VERSION)
        return FK_ERR_VERSION;
    if ((err = fk_reader_copy(&body, hello->random, sizeof hello->random)) != FK_OK ||
        (err = fk_reader_vec8(&body, &hello->session_id)) != FK_OK ||
        (err = fk_reader_u16(&body, &hello->suite)) != FK_OK ||
        (err = fk_reader_u8(&body, &compression)) != FK_OK)
        return err;
    if (hello->session_id.left > ID_MAX || compression != 0)
        return FK_ERR_FORMAT;
    return parse_extensions(body, hello);
}

int fk_server_hello_parse(struct fk_reader records, struct fk_server_hello *ret)
{
    struct fk_server_hello hello = {.ticket = false};
    struct fk_reader record, body;
    uint16_t version;
    uint8_t type;
    uint32_t len;
    int err;

    if ((err = fk_reader_u8(&records, &type)) != FK_OK)
        return err;
    if (type != RECORD_HANDSHAKE)
        return FK_ERR_UNEXPECTED;
    if ((err = fk_reader_u16(&records, &version)) != FK_OK ||
        (err = fk_reader_vec16(&records, &record)) != FK_OK ||
        (err = fk_reader_u8(&record, &type)) != FK_OK)
        return err;
    if (type != MESSAGE_SERVER)
        return FK_ERR_UNEXPECTED;
    if ((err = fk_reader_u24(&record, &len)) != FK_OK ||
        (err = fk_reader_take(&record, len, &body)) != FK_OK ||
        (err = parse_body(body, &hello)) != FK_OK)
        return err;
    *ret = hello;
    return FK_OK;
}
