/*
 * Parsing ClientHellos: see client_hello.h.
 *
 * Two steps: walk the records until the message is whole (cheap, repeated as bytes arrive), then
 * parse the message once. The walk checks in the order of the bytes, so a stream that was refused
 * once is refused with the same error however much more of it arrives.
 */
#include "wire/client_hello.h"

#include "base/err.h"
#include "base/text.h"

#include <string.h>

#define RECORD_HEADER 5
#define RECORD_MAX    16384 /* of plaintext, RFC 8446 section 5.1 */

#define TYPE_CHANGE_CIPHER_SPEC 20
#define TYPE_HANDSHAKE          22
#define TYPE_HEARTBEAT          24

#define MESSAGE_HEADER    4
#define MESSAGE_CLI_HELLO 1

/* --- what is it, if not TLS? --- */

static const char *const http_methods[] = {"GET ",     "HEAD ",       "POST ",  "PUT ",
                                           "DELETE ",  "PATCH ",      "TRACE ", "OPTIONS ",
                                           "CONNECT ", "PRI * HTTP/2"};

/* FK_ERR_PLAIN_HTTP, FK_ERR_AGAIN when it may yet become HTTP, FK_ERR_NOT_TLS. */
static int classify_text(struct fk_reader input)
{
    int result = FK_ERR_NOT_TLS;

    for (size_t i = 0; i < sizeof http_methods / sizeof http_methods[0]; i++) {
        size_t len = strlen(http_methods[i]);
        size_t have = input.left < len ? input.left : len;

        if (memcmp(input.next, http_methods[i], have) != 0)
            continue;
        if (have == len)
            return FK_ERR_PLAIN_HTTP;
        result = FK_ERR_AGAIN;
    }
    return result;
}

/* An SSLv2 record with a CLIENT-HELLO: length with its high bit set, 01, version 0002 or 03xx. */
static int classify_sslv2(struct fk_reader input)
{
    uint16_t len, version;
    uint8_t type;

    if (fk_reader_u16(&input, &len) != FK_OK || fk_reader_u8(&input, &type) != FK_OK ||
        fk_reader_u16(&input, &version) != FK_OK)
        return FK_ERR_AGAIN;
    return type == 1 && (version == 0x0002 || version >> 8 == 3) ? FK_ERR_SSLV2 : FK_ERR_NOT_TLS;
}

/* FK_OK: the first two bytes are those of a handshake record. */
static int classify(struct fk_reader input)
{
    struct fk_reader head = input;
    uint8_t type, major;

    if (fk_reader_u8(&head, &type) != FK_OK)
        return FK_ERR_AGAIN;
    if ((type & 0x80) != 0)
        return classify_sslv2(input);
    if (type < TYPE_CHANGE_CIPHER_SPEC || type > TYPE_HEARTBEAT)
        return classify_text(input);
    if (fk_reader_u8(&head, &major) != FK_OK)
        return FK_ERR_AGAIN;
    if (major != 3)
        return FK_ERR_NOT_TLS;
    return type == TYPE_HANDSHAKE ? FK_OK : FK_ERR_UNEXPECTED;
}

/* --- records --- */

struct walk {
    size_t records;
    size_t used;    /* input up to the end of the last whole record */
    size_t message; /* bytes of handshake message in those records */
    size_t total;   /* message's length with its header; 0: not known yet */
    uint8_t header[MESSAGE_HEADER];
};

/* A record's header. FK_ERR_AGAIN when it is not there yet. */
static int read_record_header(struct fk_reader *input, const struct walk *walk, uint16_t *ret_len)
{
    uint8_t type, major, minor;
    uint16_t len;

    if (fk_reader_u8(input, &type) != FK_OK || fk_reader_u8(input, &major) != FK_OK ||
        fk_reader_u8(input, &minor) != FK_OK || fk_reader_u16(input, &len) != FK_OK)
        return FK_ERR_AGAIN;
    if (type != TYPE_HANDSHAKE)
        return FK_ERR_UNEXPECTED; /* RFC 8446 section 5.1: not interleaved */
    if (major != 3 || len == 0)
        return FK_ERR_FORMAT; /* RFC 8446 section 5.1: no empty fragments of handshake */
    if (walk->records == FK_CLIENT_HELLO_RECORDS || len > RECORD_MAX ||
        walk->used + RECORD_HEADER + len > FK_CLIENT_HELLO_MAX)
        return FK_ERR_LIMIT;
    *ret_len = len;
    return FK_OK;
}

/* Collect the message's header from the bytes of a record, and judge it when it is whole. */
static int read_message_header(struct walk *walk, struct fk_reader bytes)
{
    size_t have = walk->message < MESSAGE_HEADER ? walk->message : MESSAGE_HEADER;
    size_t take = MESSAGE_HEADER - have;
    struct fk_reader header;
    uint32_t len;
    uint8_t type;
    int err;

    if (take > bytes.left)
        take = bytes.left;
    if ((err = fk_reader_copy(&bytes, walk->header + have, take)) != FK_OK)
        return err;
    fk_reader_init(&header, walk->header, have + take);
    if (fk_reader_u8(&header, &type) != FK_OK)
        return FK_OK;
    if (type != MESSAGE_CLI_HELLO)
        return FK_ERR_UNEXPECTED;
    if (fk_reader_u24(&header, &len) != FK_OK)
        return FK_OK;
    if (len > FK_CLIENT_HELLO_MAX - MESSAGE_HEADER - RECORD_HEADER)
        return FK_ERR_LIMIT;
    walk->total = MESSAGE_HEADER + (size_t)len;
    return FK_OK;
}

/* One record. FK_ERR_AGAIN with the number of bytes that are needed from the stream's start. */
static int walk_record(struct walk *walk, struct fk_reader *input, struct fk_reader *ret_fragment,
                       size_t *ret_need)
{
    struct fk_reader fragment;
    uint16_t len;
    bool whole;
    int err;

    if ((err = read_record_header(input, walk, &len)) != FK_OK) {
        *ret_need = walk->used + RECORD_HEADER;
        return err;
    }
    whole = input->left >= len;
    if ((err = fk_reader_take(input, whole ? len : input->left, &fragment)) != FK_OK ||
        (err = read_message_header(walk, fragment)) != FK_OK)
        return err;
    *ret_need = walk->used + RECORD_HEADER + len;
    if (!whole)
        return FK_ERR_AGAIN;
    walk->records++;
    walk->used += RECORD_HEADER + (size_t)len;
    walk->message += len;
    *ret_fragment = fragment;
    return FK_OK;
}

/*
 * Walk until the message is whole. *ret_message borrows the only record's bytes; with several
 * records, the caller gathers them.
 */
static int walk_records(struct walk *walk, struct fk_reader input, struct fk_reader *ret_message,
                        size_t *ret_need)
{
    int err;

    while (walk->total == 0 || walk->message < walk->total) {
        if ((err = walk_record(walk, &input, ret_message, ret_need)) != FK_OK)
            return err;
    }
    /* The next flight cannot be here yet, and keys change: RFC 8446 section 5.1. */
    return walk->message > walk->total ? FK_ERR_TRAILING : FK_OK;
}

/* The fragments of a walk's records, put together in `scratch`. */
static int gather(const struct walk *walk, struct fk_reader input, struct fk_buf *scratch,
                  struct fk_reader *ret)
{
    struct fk_reader fragment;
    int err;

    fk_buf_consume(scratch, fk_buf_len(scratch));
    for (size_t i = 0; i < walk->records; i++) {
        if ((err = fk_reader_skip(&input, 3)) != FK_OK ||
            (err = fk_reader_vec16(&input, &fragment)) != FK_OK ||
            (err = fk_buf_append(scratch, fragment.next, fragment.left)) != FK_OK)
            return err;
    }
    fk_reader_init(ret, fk_buf_data(scratch), fk_buf_len(scratch));
    return FK_OK;
}

/* --- extensions --- */

/* A vector of 16-bit numbers that must not be empty. */
static int check_u16_list(struct fk_reader list)
{
    return list.left == 0 || list.left % 2 != 0 ? FK_ERR_FORMAT : FK_OK;
}

/* The whole extension is one such vector with a 16-bit length. */
static int read_u16_list(struct fk_reader data, struct fk_reader *ret)
{
    struct fk_reader list;
    int err;

    if ((err = fk_reader_vec16(&data, &list)) != FK_OK || (err = fk_reader_end(&data)) != FK_OK ||
        (err = check_u16_list(list)) != FK_OK)
        return err;
    *ret = list;
    return FK_OK;
}

static int store_host(struct fk_client_hello *hello, struct fk_reader name)
{
    if (hello->server_name[0] != '\0')
        return FK_ERR_DUPLICATE; /* RFC 6066 section 3: one name of a type */
    if (!fk_text_host_valid(name.next, name.left))
        return FK_ERR_FORMAT;
    for (size_t i = 0; i < name.left; i++) {
        uint8_t c = name.next[i];

        hello->server_name[i] = (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    }
    return FK_OK;
}

static int parse_server_name(struct fk_client_hello *hello, struct fk_reader data)
{
    struct fk_reader list, name;
    uint8_t type;
    int err;

    if ((err = fk_reader_vec16(&data, &list)) != FK_OK || (err = fk_reader_end(&data)) != FK_OK)
        return err;
    if (list.left == 0)
        return FK_ERR_FORMAT;
    while (list.left > 0) {
        if ((err = fk_reader_u8(&list, &type)) != FK_OK ||
            (err = fk_reader_vec16(&list, &name)) != FK_OK)
            return err;
        if (type != 0)
            return FK_ERR_FORMAT; /* only host_name exists */
        if ((err = store_host(hello, name)) != FK_OK)
            return err;
    }
    return FK_OK;
}

static int parse_groups(struct fk_client_hello *hello, struct fk_reader data)
{
    return read_u16_list(data, &hello->groups);
}

static int parse_schemes(struct fk_client_hello *hello, struct fk_reader data)
{
    return read_u16_list(data, &hello->schemes);
}

static int parse_alpn(struct fk_client_hello *hello, struct fk_reader data)
{
    struct fk_reader list, walk, name;
    int err;

    if ((err = fk_reader_vec16(&data, &list)) != FK_OK || (err = fk_reader_end(&data)) != FK_OK)
        return err;
    if (list.left == 0)
        return FK_ERR_FORMAT;
    for (walk = list; walk.left > 0;) {
        if ((err = fk_reader_vec8(&walk, &name)) != FK_OK)
            return err;
        if (name.left == 0)
            return FK_ERR_FORMAT; /* RFC 7301 section 3.1 */
    }
    hello->alpn = list;
    return FK_OK;
}

static int parse_extended_master(struct fk_client_hello *hello, struct fk_reader data)
{
    hello->extended_master_secret = true;
    return fk_reader_end(&data);
}

static int parse_ticket(struct fk_client_hello *hello, struct fk_reader data)
{
    hello->ticket = data.left > 0;
    return FK_OK;
}

static int parse_psk(struct fk_client_hello *hello, struct fk_reader data)
{
    struct fk_reader identities, binders;
    int err;

    if ((err = fk_reader_vec16(&data, &identities)) != FK_OK ||
        (err = fk_reader_vec16(&data, &binders)) != FK_OK || (err = fk_reader_end(&data)) != FK_OK)
        return err;
    hello->psk = true;
    return identities.left == 0 || binders.left == 0 ? FK_ERR_FORMAT : FK_OK;
}

static int parse_early_data(struct fk_client_hello *hello, struct fk_reader data)
{
    hello->early_data = true;
    return fk_reader_end(&data);
}

static int parse_versions(struct fk_client_hello *hello, struct fk_reader data)
{
    struct fk_reader list;
    int err;

    if ((err = fk_reader_vec8(&data, &list)) != FK_OK || (err = fk_reader_end(&data)) != FK_OK ||
        (err = check_u16_list(list)) != FK_OK)
        return err;
    hello->versions = list;
    return FK_OK;
}

#define EXTENSION_PSK 41

/* Extensions that are looked into; others only may not come twice. */
static const struct {
    uint16_t type;
    int (*parse)(struct fk_client_hello *hello, struct fk_reader data);
} extension_rows[] = {
    {0, parse_server_name},     {10, parse_groups},          {13, parse_schemes},
    {16, parse_alpn},           {23, parse_extended_master}, {35, parse_ticket},
    {EXTENSION_PSK, parse_psk}, {42, parse_early_data},      {43, parse_versions},
};

static int parse_extension(struct fk_client_hello *hello, uint16_t type, struct fk_reader data)
{
    for (size_t i = 0; i < sizeof extension_rows / sizeof extension_rows[0]; i++)
        if (extension_rows[i].type == type)
            return extension_rows[i].parse(hello, data);
    return FK_OK;
}

/* Remember a type. FK_ERR_DUPLICATE (RFC 8446 section 4.2), FK_ERR_LIMIT. */
static int note_extension(uint16_t seen[FK_CLIENT_HELLO_EXTENSIONS], size_t count, uint16_t type)
{
    for (size_t i = 0; i < count; i++)
        if (seen[i] == type)
            return FK_ERR_DUPLICATE;
    if (count == FK_CLIENT_HELLO_EXTENSIONS)
        return FK_ERR_LIMIT;
    seen[count] = type;
    return FK_OK;
}

static int parse_extensions(struct fk_client_hello *hello, struct fk_reader list)
{
    uint16_t seen[FK_CLIENT_HELLO_EXTENSIONS];
    struct fk_reader data;
    uint16_t type;
    int err;

    for (size_t count = 0; list.left > 0; count++) {
        if ((err = fk_reader_u16(&list, &type)) != FK_OK ||
            (err = fk_reader_vec16(&list, &data)) != FK_OK ||
            (err = note_extension(seen, count, type)) != FK_OK ||
            (err = parse_extension(hello, type, data)) != FK_OK)
            return err;
        if (type == EXTENSION_PSK && list.left > 0)
            return FK_ERR_FORMAT; /* RFC 8446 section 4.2.11: the last one */
    }
    return FK_OK;
}

/* --- the message --- */

/* Suites by ranges of their numbers, in the IANA registry's order. */
static const struct {
    uint16_t first, last;
    uint8_t kind;
} suite_rows[] = {
    {0x000a, 0x000a, FK_SUITES_RSA},       {0x0016, 0x0016, FK_SUITES_DHE_RSA},
    {0x002f, 0x002f, FK_SUITES_RSA},       {0x0033, 0x0033, FK_SUITES_DHE_RSA},
    {0x0035, 0x0035, FK_SUITES_RSA},       {0x0039, 0x0039, FK_SUITES_DHE_RSA},
    {0x003c, 0x003d, FK_SUITES_RSA},       {0x0067, 0x0067, FK_SUITES_DHE_RSA},
    {0x006b, 0x006b, FK_SUITES_DHE_RSA},   {0x009c, 0x009d, FK_SUITES_RSA},
    {0x009e, 0x009f, FK_SUITES_DHE_RSA},   {0x1301, 0x1305, FK_SUITES_TLS13},
    {0x5600, 0x5600, FK_SUITES_FALLBACK},  {0xc008, 0xc00a, FK_SUITES_ECDHE_ECDSA},
    {0xc012, 0xc014, FK_SUITES_ECDHE_RSA}, {0xc023, 0xc024, FK_SUITES_ECDHE_ECDSA},
    {0xc027, 0xc028, FK_SUITES_ECDHE_RSA}, {0xc02b, 0xc02c, FK_SUITES_ECDHE_ECDSA},
    {0xc02f, 0xc030, FK_SUITES_ECDHE_RSA}, {0xc09c, 0xc09d, FK_SUITES_RSA},
    {0xc09e, 0xc09f, FK_SUITES_DHE_RSA},   {0xc0a0, 0xc0a1, FK_SUITES_RSA},
    {0xc0a2, 0xc0a3, FK_SUITES_DHE_RSA},   {0xc0ac, 0xc0af, FK_SUITES_ECDHE_ECDSA},
    {0xcca8, 0xcca8, FK_SUITES_ECDHE_RSA}, {0xcca9, 0xcca9, FK_SUITES_ECDHE_ECDSA},
    {0xccaa, 0xccaa, FK_SUITES_DHE_RSA},
};

static uint8_t suite_kind(uint16_t suite)
{
    for (size_t i = 0; i < sizeof suite_rows / sizeof suite_rows[0]; i++)
        if (suite >= suite_rows[i].first && suite <= suite_rows[i].last)
            return suite_rows[i].kind;
    return 0;
}

static int parse_suites(struct fk_client_hello *hello, struct fk_reader list)
{
    uint16_t suite;
    int err;

    if ((err = check_u16_list(list)) != FK_OK)
        return err;
    while (fk_reader_u16(&list, &suite) == FK_OK)
        hello->suites |= suite_kind(suite);
    return FK_OK;
}

/* The null method must be among them (RFC 5246 section 7.4.1.2). */
static int check_compression(struct fk_reader list)
{
    uint8_t method;

    while (fk_reader_u8(&list, &method) == FK_OK)
        if (method == 0)
            return FK_OK;
    return FK_ERR_FORMAT;
}

static int parse_message(struct fk_reader body, struct fk_client_hello *hello)
{
    struct fk_reader session_id, suites, compression, extensions;
    int err;

    if ((err = fk_reader_u16(&body, &hello->legacy_version)) != FK_OK)
        return err;
    if (hello->legacy_version >> 8 != 3)
        return FK_ERR_VERSION;
    if ((err = fk_reader_copy(&body, hello->random, sizeof hello->random)) != FK_OK ||
        (err = fk_reader_vec8(&body, &session_id)) != FK_OK ||
        (err = fk_reader_vec16(&body, &suites)) != FK_OK ||
        (err = fk_reader_vec8(&body, &compression)) != FK_OK)
        return err;
    if (session_id.left > 32)
        return FK_ERR_FORMAT;
    hello->session_id_len = (uint8_t)session_id.left;
    if ((err = parse_suites(hello, suites)) != FK_OK ||
        (err = check_compression(compression)) != FK_OK)
        return err;
    if (body.left == 0)
        return FK_OK; /* RFC 5246 section 7.4.1.2: extensions may be left out */
    if ((err = fk_reader_vec16(&body, &extensions)) != FK_OK ||
        (err = fk_reader_end(&body)) != FK_OK)
        return err;
    return parse_extensions(hello, extensions);
}

/* Which versions are on offer (RFC 8446 section 4.2.1). */
static void note_versions(struct fk_client_hello *hello)
{
    if (hello->versions.left > 0) {
        hello->tls13 = fk_client_hello_lists(hello->versions, 0x0304);
        hello->tls12 = fk_client_hello_lists(hello->versions, 0x0303);
    } else {
        hello->tls12 = hello->legacy_version >= 0x0303;
    }
}

int fk_client_hello_parse(const void *data, size_t len, struct fk_buf *scratch,
                          struct fk_client_hello *ret, size_t *ret_used)
{
    struct fk_client_hello hello = {0};
    struct fk_reader input, message;
    struct walk walk = {0};
    size_t need = len + 1;
    int err;

    fk_reader_init(&input, data, len);
    if ((err = classify(input)) == FK_OK)
        err = walk_records(&walk, input, &message, &need);
    if (err == FK_ERR_AGAIN)
        *ret_used = need;
    if (err != FK_OK)
        return err;
    if (walk.records > 1 && (err = gather(&walk, input, scratch, &message)) != FK_OK)
        return err;
    if ((err = fk_reader_skip(&message, MESSAGE_HEADER)) != FK_OK ||
        (err = parse_message(message, &hello)) != FK_OK)
        return err;
    note_versions(&hello);
    *ret = hello;
    *ret_used = walk.used;
    return FK_OK;
}

bool fk_client_hello_lists(struct fk_reader list, uint16_t value)
{
    uint16_t item;

    while (fk_reader_u16(&list, &item) == FK_OK)
        if (item == value)
            return true;
    return false;
}

bool fk_client_hello_offers(const struct fk_client_hello *hello, const void *name, size_t len)
{
    struct fk_reader list = hello->alpn, item;

    while (fk_reader_vec8(&list, &item) == FK_OK)
        if (item.left == len && memcmp(item.next, name, len) == 0)
            return true;
    return false;
}
