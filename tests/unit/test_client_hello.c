/* wire/client_hello: libssl's own ClientHellos in every cut, and hand-made bad ones. */
#include "failmalloc.h"
#include "unit.h"

#include "base/err.h"
#include "base/text.h"
#include "base/writer.h"
#include "wire/client_hello.h"

#include <openssl/ssl.h>

static struct fk_buf scratch;
static uint8_t stream[65536]; /* what the parser is given */
static uint8_t real[16384];   /* a ClientHello of libssl in one record */

static int setup(void **state)
{
    (void)state;
    fk_buf_init(&scratch, FK_CLIENT_HELLO_MAX);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fk_buf_fini(&scratch);
    return 0;
}

static int parse(const void *data, size_t len, struct fk_client_hello *ret)
{
    size_t used = 0;
    int err = fk_client_hello_parse(data, len, &scratch, ret, &used);

    if (err == FK_OK)
        assert_true(used <= len);
    if (err == FK_ERR_AGAIN)
        assert_true(used > len && used <= FK_CLIENT_HELLO_MAX);
    return err;
}

struct recipe {
    int min, max;
    const char *sni;
    const char *alpn; /* in wire form */
    const char *suites12;
};

/* The first flight of a libssl client, at `real`; its length. */
static size_t make_hello(const struct recipe *recipe)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    SSL *ssl;
    int len;

    assert_non_null(ctx);
    SSL_CTX_set_min_proto_version(ctx, recipe->min);
    SSL_CTX_set_max_proto_version(ctx, recipe->max);
    if (recipe->suites12 != NULL)
        assert_int_equal(SSL_CTX_set_cipher_list(ctx, recipe->suites12), 1);
    ssl = SSL_new(ctx);
    assert_non_null(ssl);
    SSL_set_bio(ssl, in, out);
    if (recipe->sni != NULL)
        assert_int_equal(SSL_set_tlsext_host_name(ssl, recipe->sni), 1);
    if (recipe->alpn != NULL)
        assert_int_equal(
            SSL_set_alpn_protos(ssl, (const uint8_t *)recipe->alpn, (unsigned)strlen(recipe->alpn)),
            0);
    assert_int_equal(SSL_connect(ssl), -1);
    len = BIO_read(out, real, sizeof real);
    assert_true(len > 100);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    return (size_t)len;
}

static const struct recipe recipes[] = {
    {TLS1_2_VERSION, TLS1_3_VERSION, "WWW.Example.com", "\x02h2\x08http/1.1", NULL},
    {TLS1_3_VERSION, TLS1_3_VERSION, "example.com", NULL, NULL},
    {TLS1_2_VERSION, TLS1_2_VERSION, "example.com", "\x08http/1.1", NULL},
    {TLS1_2_VERSION, TLS1_2_VERSION, NULL, NULL, "AES128-GCM-SHA256"},
    {TLS1_2_VERSION, TLS1_3_VERSION, NULL, NULL, NULL},
};

#define N_RECIPES (sizeof recipes / sizeof recipes[0])

static void check(const struct recipe *recipe, const struct fk_client_hello *hello)
{
    char lower[FK_HOST_MAX + 1] = "";

    for (size_t i = 0; recipe->sni != NULL && recipe->sni[i] != '\0'; i++)
        lower[i] =
            (char)(recipe->sni[i] | (recipe->sni[i] >= 'A' && recipe->sni[i] <= 'Z' ? 32 : 0));
    assert_string_equal(hello->server_name, lower);
    assert_int_equal(hello->legacy_version, 0x0303);
    assert_memory_equal(hello->random, real + 11, 32);
    assert_int_equal(hello->tls13, recipe->max == TLS1_3_VERSION);
    assert_int_equal(hello->tls12, recipe->min == TLS1_2_VERSION);
    assert_int_equal(hello->session_id_len, hello->tls13 ? 32 : 0);
    assert_int_equal((hello->suites & FK_SUITES_TLS13) != 0, hello->tls13);
    assert_true(hello->extended_master_secret);
    assert_false(hello->psk || hello->ticket || hello->early_data);
    assert_true(fk_client_hello_lists(hello->schemes, 0x0804));
    assert_false(fk_client_hello_lists(hello->schemes, 0x9999));
    assert_int_equal(hello->alpn.left, recipe->alpn != NULL ? strlen(recipe->alpn) : 0);
    if (recipe->alpn != NULL) {
        assert_true(fk_client_hello_offers(hello, "http/1.1", 8));
        assert_false(fk_client_hello_offers(hello, "http/1.0", 8));
        assert_false(fk_client_hello_offers(hello, "http/1", 6));
    }
}

static void libssl_hellos_are_read(void **state)
{
    struct fk_client_hello hello;

    (void)state;
    for (size_t i = 0; i < N_RECIPES; i++) {
        size_t len = make_hello(&recipes[i]);

        assert_ok(parse(real, len, &hello));
        check(&recipes[i], &hello);
    }
}

static void suites_are_told_apart(void **state)
{
    static const struct {
        const char *list;
        uint8_t kinds;
    } rows[] = {
        {"AES128-GCM-SHA256", FK_SUITES_RSA},
        {"ECDHE-RSA-AES128-GCM-SHA256", FK_SUITES_ECDHE_RSA},
        {"ECDHE-ECDSA-CHACHA20-POLY1305", FK_SUITES_ECDHE_ECDSA},
        {"DHE-RSA-AES256-GCM-SHA384", FK_SUITES_DHE_RSA},
        {"ECDHE-RSA-AES128-SHA256:AES256-SHA", FK_SUITES_ECDHE_RSA | FK_SUITES_RSA},
        {"kRSA:!aNULL:!eNULL:!PSK:!CAMELLIA:!ARIA:!SEED", FK_SUITES_RSA},
        {"kECDHE:!aNULL:!eNULL:!PSK:!aECDSA:!CAMELLIA:!ARIA", FK_SUITES_ECDHE_RSA},
    };
    struct fk_client_hello hello;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct recipe recipe = {TLS1_2_VERSION, TLS1_2_VERSION, NULL, NULL, rows[i].list};
        size_t len = make_hello(&recipe);

        assert_ok(parse(real, len, &hello));
        assert_int_equal(hello.suites, rows[i].kinds);
    }
}

static void every_prefix_waits(void **state)
{
    struct fk_client_hello hello = {.session_id_len = 99};

    (void)state;
    for (size_t i = 0; i < N_RECIPES; i++) {
        size_t total = make_hello(&recipes[i]);

        for (size_t len = 0; len < total; len++)
            assert_err(parse(real, len, &hello), FK_ERR_AGAIN);
        assert_int_equal(hello.session_id_len, 99); /* untouched */
    }
}

/* The message of a record, cut anew into records of at most `size` bytes, at `stream`. */
static size_t fragment(const uint8_t *record, size_t len, size_t size)
{
    struct fk_writer writer;
    size_t out;

    fk_writer_init(&writer, stream, sizeof stream);
    for (size_t at = 5; at < len; at += size) {
        fk_writer_u8(&writer, 22);
        fk_writer_u16(&writer, 0x0301);
        fk_writer_vec16(&writer, record + at, len - at < size ? len - at : size);
    }
    assert_ok(fk_writer_end(&writer, &out));
    return out;
}

static void fragments_of_any_size_are_put_together(void **state)
{
    struct fk_client_hello hello;

    (void)state;
    for (size_t i = 0; i < N_RECIPES; i++) {
        size_t total = make_hello(&recipes[i]);

        for (size_t size = 1; size <= total; size++) {
            size_t len = fragment(real, total, size);

            assert_ok(parse(stream, len, &hello));
            check(&recipes[i], &hello);
        }
    }
}

static void every_prefix_of_one_byte_records_waits(void **state)
{
    struct fk_client_hello hello;
    size_t total;

    (void)state;
    total = fragment(real, make_hello(&recipes[0]), 1);
    for (size_t len = 0; len < total; len++)
        assert_err(parse(stream, len, &hello), FK_ERR_AGAIN);
    assert_ok(parse(stream, total, &hello));
}

static int parse_fragments(void *context)
{
    const size_t *len = context;
    struct fk_client_hello hello = {.session_id_len = 99};
    struct fk_buf own;
    size_t used;
    int err;

    fk_buf_init(&own, FK_CLIENT_HELLO_MAX);
    err = fk_client_hello_parse(stream, *len, &own, &hello, &used);
    assert_int_equal(hello.session_id_len == 99, err != FK_OK);
    fk_buf_fini(&own);
    return err;
}

/* Memory is asked for only when the message must be put together; without it nothing changes. */
static void out_of_memory_is_reported(void **state)
{
    size_t len;

    (void)state;
    len = fragment(real, make_hello(&recipes[0]), 100);
    assert_true(failmalloc_try(parse_fragments, &len) > 0);
    len = fragment(real, make_hello(&recipes[0]), 16384);
    assert_int_equal(failmalloc_try(parse_fragments, &len), 0);
}

static void what_is_needed_grows_to_the_whole(void **state)
{
    struct fk_client_hello hello;
    size_t total, used = 0;

    (void)state;
    total = make_hello(&recipes[0]);
    assert_err(fk_client_hello_parse(real, 0, &scratch, &hello, &used), FK_ERR_AGAIN);
    assert_int_equal(used, 1);
    assert_err(fk_client_hello_parse(real, 4, &scratch, &hello, &used), FK_ERR_AGAIN);
    assert_int_equal(used, 5);
    assert_err(fk_client_hello_parse(real, 5, &scratch, &hello, &used), FK_ERR_AGAIN);
    assert_int_equal(used, total);
}

/* Early data or the next record belong to libssl. */
static void bytes_after_the_last_record_are_left(void **state)
{
    struct fk_client_hello hello;
    size_t total, used;

    (void)state;
    total = make_hello(&recipes[1]);
    real[total] = 0x14;
    assert_ok(fk_client_hello_parse(real, total + 1, &scratch, &hello, &used));
    assert_int_equal(used, total);
}

static void byte_after_the_message_in_its_record_is_trailing(void **state)
{
    struct fk_client_hello hello;
    size_t total;

    (void)state;
    total = make_hello(&recipes[0]);
    real[total] = 0x00;
    total++;
    real[3] = (uint8_t)((total - 5) >> 8);
    real[4] = (uint8_t)(total - 5);
    assert_err(parse(real, total, &hello), FK_ERR_TRAILING);
}

/* --- what is not TLS --- */

static void other_protocols_are_recognised(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        int err;
    } rows[] = {
        {"GET / HTTP/1.1\r\n", 16, FK_ERR_PLAIN_HTTP},
        {"GET ", 4, FK_ERR_PLAIN_HTTP},
        {"POST /x", 7, FK_ERR_PLAIN_HTTP},
        {"PRI * HTTP/2.0\r\n", 16, FK_ERR_PLAIN_HTTP},
        {"OPTIONS *", 9, FK_ERR_PLAIN_HTTP},
        {"CONNECT a:1", 11, FK_ERR_PLAIN_HTTP},
        {"G", 1, FK_ERR_AGAIN},
        {"P", 1, FK_ERR_AGAIN},
        {"PRI * HTTP", 10, FK_ERR_AGAIN},
        {"GETX", 4, FK_ERR_NOT_TLS},
        {"get /", 5, FK_ERR_NOT_TLS},
        {"PROXY TCP4", 10, FK_ERR_NOT_TLS},
        {"SSH-2.0-", 8, FK_ERR_NOT_TLS},
        {"\0", 1, FK_ERR_NOT_TLS},
        {"\x80\x2e\x01\x00\x02", 5, FK_ERR_SSLV2},
        {"\x80\x2e\x01\x03\x03", 5, FK_ERR_SSLV2},
        {"\x80\x2e\x01\x03", 4, FK_ERR_AGAIN},
        {"\x80\x2e\x02\x00\x02", 5, FK_ERR_NOT_TLS},
        {"\x80\x2e\x01\x00\x03", 5, FK_ERR_NOT_TLS},
        {"\x16", 1, FK_ERR_AGAIN},
        {"\x16\x02", 2, FK_ERR_NOT_TLS},
        {"\x16\x04\x01", 3, FK_ERR_NOT_TLS},
        {"\x15\x03\x01\x00\x02\x01\x00", 7, FK_ERR_UNEXPECTED}, /* alert */
        {"\x14\x03\x03\x00\x01\x01", 6, FK_ERR_UNEXPECTED},     /* change_cipher_spec */
        {"\x17\x03\x03\x00\x01\x01", 6, FK_ERR_UNEXPECTED},     /* application data */
        {"\x17\x05\x03", 3, FK_ERR_NOT_TLS},
        {"\x13\x03\x03", 3, FK_ERR_NOT_TLS},
        {"\x19\x03\x03", 3, FK_ERR_NOT_TLS},
    };
    struct fk_client_hello hello;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        print_message("  %s\n", rows[i].bytes);
        assert_err(parse(rows[i].bytes, rows[i].len, &hello), rows[i].err);
    }
}

/* --- records --- */

static void bad_records_are_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        int err;
    } rows[] = {
        {"\x16\x03\x01\x00\x00", 5, FK_ERR_FORMAT},                          /* empty */
        {"\x16\x03\x01\x00\x01\x01\x16\x03\x01\x00\x00", 11, FK_ERR_FORMAT}, /* empty later */
        {"\x16\x03\x01\x40\x01\x01", 6, FK_ERR_LIMIT},                       /* over 2^14 */
        {"\x16\x03\x01\xff\xff\x01", 6, FK_ERR_LIMIT},
        {"\x16\x03\x01\x00\x01\x01\x15\x03\x01\x00\x02", 11, FK_ERR_UNEXPECTED}, /* interleaved */
        {"\x16\x03\x01\x00\x01\x01\x17\x03\x01\x00\x02", 11, FK_ERR_UNEXPECTED},
        {"\x16\x03\x01\x00\x01\x01\x16\x02\x01\x00\x02", 11, FK_ERR_FORMAT}, /* version later */
        {"\x16\x03\x01\x00\x01\x02", 6, FK_ERR_UNEXPECTED},                  /* ServerHello */
        {"\x16\x03\x01\x00\x01\x00", 6, FK_ERR_UNEXPECTED},                  /* HelloRequest */
        {"\x16\x03\x01\x00\x04\x01\x01\x00\x00", 9, FK_ERR_LIMIT},           /* message of 64 KiB */
        {"\x16\x03\x01\x00\x04\x01\x00\x3f\xf8", 9, FK_ERR_LIMIT},           /* one byte over */
        {"\x16\x03\x01\x00\x04\x01\x00\x3f\xf7", 9, FK_ERR_AGAIN},           /* just within */
        {"\x16\x03\x01\x00\x04\x01\x00\x00\x00", 9, FK_ERR_TRUNCATED},       /* empty message */
    };
    struct fk_client_hello hello;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_err(parse(rows[i].bytes, rows[i].len, &hello), rows[i].err);
}

/* A hello with a padding extension, its body `len` bytes long, in one record at `real`. */
static size_t make_padded(size_t len)
{
    struct fk_writer writer;
    size_t total;

    fk_writer_init(&writer, real, sizeof real);
    fk_writer_u8(&writer, 22);
    fk_writer_u16(&writer, 0x0301);
    fk_writer_u16(&writer, (uint16_t)(len + 4));
    fk_writer_u8(&writer, 1);
    fk_writer_u24(&writer, (uint32_t)len);
    fk_writer_u16(&writer, 0x0303);
    fk_writer_fill(&writer, 7, 32);
    fk_writer_u8(&writer, 0);
    fk_writer_vec16(&writer, "\x13\x01", 2);
    fk_writer_vec8(&writer, "", 1);
    fk_writer_u16(&writer, (uint16_t)(len - 43));
    fk_writer_u16(&writer, 21);
    fk_writer_u16(&writer, (uint16_t)(len - 47));
    fk_writer_fill(&writer, 0, len - 47);
    assert_ok(fk_writer_end(&writer, &total));
    return total;
}

static void records_are_counted_and_bytes_too(void **state)
{
    struct fk_client_hello hello;
    size_t total;

    (void)state;
    /* As many records as allowed, then one more. */
    total = make_padded(FK_CLIENT_HELLO_RECORDS - 4);
    assert_ok(parse(stream, fragment(real, total, 1), &hello));
    total = make_padded(FK_CLIENT_HELLO_RECORDS - 3);
    assert_err(parse(stream, fragment(real, total, 1), &hello), FK_ERR_LIMIT);
    /* As many bytes as allowed in one record; the same message does not fit in two. */
    total = make_padded(FK_CLIENT_HELLO_MAX - 9);
    assert_int_equal(total, FK_CLIENT_HELLO_MAX);
    assert_ok(parse(real, total, &hello));
    assert_err(parse(stream, fragment(real, total, 10000), &hello), FK_ERR_LIMIT);
}

/* --- the message --- */

#define HEAD_VERSION "\x03\x03"
#define HEAD_RANDOM  "0123456789abcdef0123456789abcdef"
#define HEAD         HEAD_VERSION HEAD_RANDOM "\x00\x00\x02\x13\x01\x01\x00"
#define BYTES(text)  (text), sizeof(text) - 1

static size_t make_message(const char *body, size_t len)
{
    struct fk_writer writer;
    size_t total;

    fk_writer_init(&writer, stream, sizeof stream);
    fk_writer_u8(&writer, 22);
    fk_writer_u16(&writer, 0x0301);
    fk_writer_u16(&writer, (uint16_t)(len + 4));
    fk_writer_u8(&writer, 1);
    fk_writer_u24(&writer, (uint32_t)len);
    fk_writer_bytes(&writer, body, len);
    assert_ok(fk_writer_end(&writer, &total));
    return total;
}

struct message_row {
    const char *name;
    const char *body;
    size_t len;
    int err;
};

static void run_messages(const struct message_row *rows, size_t count)
{
    struct fk_client_hello hello;

    for (size_t i = 0; i < count; i++) {
        print_message("  %s\n", rows[i].name);
        assert_err(parse(stream, make_message(rows[i].body, rows[i].len), &hello), rows[i].err);
    }
}

static void fixed_part_is_checked(void **state)
{
    static const struct message_row rows[] = {
        {"without extensions", BYTES(HEAD), FK_OK},
        {"no extensions in the block", BYTES(HEAD "\0\0"), FK_OK},
        {"version 2.0", BYTES("\x02\x00" HEAD_RANDOM "\0\0\x02\x13\x01\x01\0"), FK_ERR_VERSION},
        {"version 3.0", BYTES("\x03\x00" HEAD_RANDOM "\0\0\x02\x13\x01\x01\0"), FK_OK},
        {"random cut", BYTES(HEAD_VERSION "0123456789abcdef"), FK_ERR_TRUNCATED},
        {"session id of 33",
         BYTES(HEAD_VERSION HEAD_RANDOM "\x21" HEAD_RANDOM "x\0\x02\x13\x01\x01\0"), FK_ERR_FORMAT},
        {"session id of 32",
         BYTES(HEAD_VERSION HEAD_RANDOM "\x20" HEAD_RANDOM "\0\x02\x13\x01\x01\0"), FK_OK},
        {"no suites", BYTES(HEAD_VERSION HEAD_RANDOM "\0\0\0\x01\0"), FK_ERR_FORMAT},
        {"suites of odd length", BYTES(HEAD_VERSION HEAD_RANDOM "\0\0\x03\x13\x01\x13\x01\0"),
         FK_ERR_FORMAT},
        {"no compression method", BYTES(HEAD_VERSION HEAD_RANDOM "\0\0\x02\x13\x01\0"),
         FK_ERR_FORMAT},
        {"no null compression", BYTES(HEAD_VERSION HEAD_RANDOM "\0\0\x02\x13\x01\x01\x01"),
         FK_ERR_FORMAT},
        {"null compression among others",
         BYTES(HEAD_VERSION HEAD_RANDOM "\0\0\x02\x13\x01\x02\x01\0"), FK_OK},
        {"one byte after the fixed part", BYTES(HEAD "\0"), FK_ERR_TRUNCATED},
        {"extensions cut", BYTES(HEAD "\0\x04\0\x17\0"), FK_ERR_TRUNCATED},
        {"byte after the extensions", BYTES(HEAD "\0\0\0"), FK_ERR_TRAILING},
    };

    (void)state;
    run_messages(rows, sizeof rows / sizeof rows[0]);
    /* Every prefix of the fixed part, made a whole message. */
    for (size_t len = 0; len < sizeof HEAD - 1; len++) {
        struct fk_client_hello hello;

        assert_err(parse(stream, make_message(HEAD, len), &hello), FK_ERR_TRUNCATED);
    }
}

/* Each row is a block of extensions. */
static void extensions_are_checked(void **state)
{
    static const struct message_row rows[] = {
        {"unknown twice", BYTES("\xaa\xaa\0\0\xaa\xaa\0\0"), FK_ERR_DUPLICATE},
        {"unknown and other unknown", BYTES("\xaa\xaa\0\0\xba\xba\0\x01\0"), FK_OK},
        {"server_name twice",
         BYTES("\0\0\0\x06\0\x04\0\0\x01"
               "a\0\0\0\x06\0\x04\0\0\x01"
               "a"),
         FK_ERR_DUPLICATE},
        {"header cut", BYTES("\0\x17\0"), FK_ERR_TRUNCATED},
        {"past the end", BYTES("\0\x17\0\x01"), FK_ERR_TRUNCATED},
        {"server_name",
         BYTES("\0\0\0\x06\0\x04\0\0\x01"
               "a"),
         FK_OK},
        {"server_name empty extension", BYTES("\0\0\0\0"), FK_ERR_TRUNCATED},
        {"server_name empty list", BYTES("\0\0\0\x02\0\0"), FK_ERR_FORMAT},
        {"server_name empty name", BYTES("\0\0\0\x05\0\x03\0\0\0"), FK_ERR_FORMAT},
        {"server_name trailing",
         BYTES("\0\0\0\x07\0\x04\0\0\x01"
               "ab"),
         FK_ERR_TRAILING},
        {"server_name name cut",
         BYTES("\0\0\0\x06\0\x04\0\0\x02"
               "a"),
         FK_ERR_TRUNCATED},
        {"server_name other type",
         BYTES("\0\0\0\x06\0\x04\x01\0\x01"
               "a"),
         FK_ERR_FORMAT},
        {"server_name two names",
         BYTES("\0\0\0\x0a\0\x08\0\0\x01"
               "a\0\0\x01"
               "b"),
         FK_ERR_DUPLICATE},
        {"server_name with NUL",
         BYTES("\0\0\0\x08\0\x06\0\0\x03"
               "a\0b"),
         FK_ERR_FORMAT},
        {"server_name with slash",
         BYTES("\0\0\0\x08\0\x06\0\0\x03"
               "a/b"),
         FK_ERR_FORMAT},
        {"server_name with final dot",
         BYTES("\0\0\0\x07\0\x05\0\0\x02"
               "a."),
         FK_ERR_FORMAT},
        {"groups", BYTES("\0\x0a\0\x04\0\x02\0\x17"), FK_OK},
        {"groups empty", BYTES("\0\x0a\0\x02\0\0"), FK_ERR_FORMAT},
        {"groups odd", BYTES("\0\x0a\0\x05\0\x03\0\x17\0"), FK_ERR_FORMAT},
        {"groups trailing", BYTES("\0\x0a\0\x05\0\x02\0\x17\0"), FK_ERR_TRAILING},
        {"schemes cut", BYTES("\0\x0d\0\x04\0\x04\x08\x04"), FK_ERR_TRUNCATED},
        {"schemes empty", BYTES("\0\x0d\0\x02\0\0"), FK_ERR_FORMAT},
        {"alpn", BYTES("\0\x10\0\x05\0\x03\x02h2"), FK_OK},
        {"alpn empty", BYTES("\0\x10\0\x02\0\0"), FK_ERR_FORMAT},
        {"alpn empty name", BYTES("\0\x10\0\x06\0\x04\x02h2\0"), FK_ERR_FORMAT},
        {"alpn name cut", BYTES("\0\x10\0\x05\0\x03\x03h2"), FK_ERR_TRUNCATED},
        {"alpn trailing", BYTES("\0\x10\0\x06\0\x03\x02h2x"), FK_ERR_TRAILING},
        {"extended master secret with data", BYTES("\0\x17\0\x01\0"), FK_ERR_TRAILING},
        {"versions", BYTES("\0\x2b\0\x03\x02\x03\x04"), FK_OK},
        {"versions empty", BYTES("\0\x2b\0\x01\0"), FK_ERR_FORMAT},
        {"versions odd", BYTES("\0\x2b\0\x04\x03\x03\x04\x03"), FK_ERR_FORMAT},
        {"versions trailing", BYTES("\0\x2b\0\x04\x02\x03\x04\x03"), FK_ERR_TRAILING},
        {"early data with data", BYTES("\0\x2a\0\x01\0"), FK_ERR_TRAILING},
        {"psk",
         BYTES("\0\x29\0\x06\0\x01i\0\x01"
               "b"),
         FK_OK},
        {"psk not last",
         BYTES("\0\x29\0\x06\0\x01i\0\x01"
               "b\0\x17\0\0"),
         FK_ERR_FORMAT},
        {"psk without identity",
         BYTES("\0\x29\0\x05\0\0\0\x01"
               "b"),
         FK_ERR_FORMAT},
        {"psk without binder", BYTES("\0\x29\0\x05\0\x01i\0\0"), FK_ERR_FORMAT},
        {"psk trailing",
         BYTES("\0\x29\0\x07\0\x01i\0\x01"
               "bx"),
         FK_ERR_TRAILING},
        {"psk cut", BYTES("\0\x29\0\x05\0\x01i\0\x01"), FK_ERR_TRUNCATED},
    };
    struct fk_client_hello hello;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char body[256] = HEAD;
        size_t at = sizeof HEAD - 1;

        print_message("  %s\n", rows[i].name);
        body[at] = 0;
        body[at + 1] = (char)rows[i].len;
        memcpy(body + at + 2, rows[i].body, rows[i].len);
        assert_err(parse(stream, make_message(body, at + 2 + rows[i].len), &hello), rows[i].err);
    }
}

static void resumption_and_early_data_are_noted(void **state)
{
    static const char body[] = HEAD "\0\x15\0\x23\0\x01t\0\x2a\0\0\0\x29\0\x08\0\x02id\0\x02xx";
    static const char empty[] = HEAD "\0\x04\0\x23\0\0";
    struct fk_client_hello hello;

    (void)state;
    assert_ok(parse(stream, make_message(BYTES(body)), &hello));
    assert_true(hello.psk && hello.ticket && hello.early_data);
    assert_ok(parse(stream, make_message(BYTES(empty)), &hello));
    assert_false(hello.psk || hello.ticket || hello.early_data);
}

static void versions_follow_the_extension_when_there_is_one(void **state)
{
    static const char only13[] = HEAD "\0\x07\0\x2b\0\x03\x02\x03\x04";
    static const char grease[] = HEAD "\0\x09\0\x2b\0\x05\x04\x1a\x1a\x03\x03";
    static const char old[] = "\x03\x02" HEAD_RANDOM "\0\0\x02\x13\x01\x01\0";
    struct fk_client_hello hello;

    (void)state;
    assert_ok(parse(stream, make_message(BYTES(only13)), &hello));
    assert_true(hello.tls13 && !hello.tls12);
    assert_ok(parse(stream, make_message(BYTES(grease)), &hello));
    assert_true(!hello.tls13 && hello.tls12);
    assert_ok(parse(stream, make_message(BYTES(HEAD)), &hello));
    assert_true(!hello.tls13 && hello.tls12);
    assert_ok(parse(stream, make_message(BYTES(old)), &hello));
    assert_true(!hello.tls13 && !hello.tls12);
}

static void extensions_are_counted(void **state)
{
    char body[1024] = HEAD;
    struct fk_client_hello hello;

    (void)state;
    for (size_t n = FK_CLIENT_HELLO_EXTENSIONS; n <= FK_CLIENT_HELLO_EXTENSIONS + 1; n++) {
        struct fk_writer writer;
        size_t len;

        fk_writer_init(&writer, body, sizeof body);
        fk_writer_bytes(&writer, HEAD, sizeof HEAD - 1);
        fk_writer_u16(&writer, (uint16_t)(n * 4));
        for (size_t i = 0; i < n; i++) {
            fk_writer_u16(&writer, (uint16_t)(0x4000 + i));
            fk_writer_u16(&writer, 0);
        }
        assert_ok(fk_writer_end(&writer, &len));
        assert_err(parse(stream, make_message(body, len), &hello),
                   n > FK_CLIENT_HELLO_EXTENSIONS ? FK_ERR_LIMIT : FK_OK);
    }
}

/* Bytes that were refused stay refused with the same error, whatever comes after them. */
static void refusal_is_final(void **state)
{
    struct fk_client_hello hello;
    size_t total;

    (void)state;
    for (unsigned flip = 0; flip < 256; flip += 5) {
        total = fragment(real, make_hello(&recipes[0]), 40);
        for (size_t at = 0; at < total; at += 7) {
            int refused = FK_ERR_AGAIN;

            stream[at] ^= (uint8_t)(flip + 1);
            for (size_t len = at; len <= total; len += 13) {
                int err = parse(stream, len, &hello);

                if (refused != FK_ERR_AGAIN)
                    assert_err(err, refused);
                refused = err;
            }
            stream[at] ^= (uint8_t)(flip + 1);
        }
    }
}

static void host_names_are_checked(void **state)
{
    static const struct {
        const char *text;
        bool valid;
    } rows[] = {
        {"a", true},
        {"example.com", true},
        {"_acme.x-y.example", true},
        {"10.0.0.1", true},
        {"XN--80AK.com", true},
        {"", false},
        {".", false},
        {".a", false},
        {"a.", false},
        {"a..b", false},
        {"a b", false},
        {"a*b", false},
        {"*.example", false},
        {"a:443", false},
        {"[::1]", false},
        {"\xc3\xa9.fr", false},
        {"a\n", false},
        {"a%b", false},
    };
    char name[256];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(fk_text_host_valid(rows[i].text, strlen(rows[i].text)), rows[i].valid);
    memset(name, 'a', sizeof name);
    assert_true(fk_text_host_valid(name, 63));
    assert_false(fk_text_host_valid(name, 64));
    for (size_t i = 63; i < sizeof name; i += 64)
        name[i] = '.';
    assert_true(fk_text_host_valid(name, FK_HOST_MAX));
    assert_false(fk_text_host_valid(name, FK_HOST_MAX + 1));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(CASE(libssl_hellos_are_read), CASE(suites_are_told_apart), CASE(every_prefix_waits),
          CASE(fragments_of_any_size_are_put_together),
          CASE(every_prefix_of_one_byte_records_waits), CASE(out_of_memory_is_reported),
          CASE(what_is_needed_grows_to_the_whole), CASE(bytes_after_the_last_record_are_left),
          CASE(byte_after_the_message_in_its_record_is_trailing),
          CASE(other_protocols_are_recognised), CASE(bad_records_are_refused),
          CASE(records_are_counted_and_bytes_too), CASE(fixed_part_is_checked),
          CASE(extensions_are_checked), CASE(resumption_and_early_data_are_noted),
          CASE(versions_follow_the_extension_when_there_is_one), CASE(extensions_are_counted),
          CASE(refusal_is_final), CASE(host_names_are_checked))
