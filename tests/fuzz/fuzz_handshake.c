/*
 * Mode `handshake`, what comes from the other side: payloads (wire/keyop_handshake), session keys
 * (tls/session_wire), records of clients seen from outside (wire/records), names of CAs and chains
 * of clients (tls/clientca), ServerHellos (wire/server_hello), records to be hashed (tls/finish12).
 * The first byte chooses. What decodes is encoded to the same bytes.
 */
#include "check.h"

#include "base/err.h"
#include "tls/clientca.h"
#include "tls/finish12.h"
#include "tls/session_wire.h"
#include "wire/keyop_handshake.h"
#include "wire/records.h"
#include "wire/server_hello.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

static uint8_t out[1 << 17];

static struct fk_writer start(void)
{
    struct fk_writer writer;

    fk_writer_init(&writer, out, sizeof out);
    return writer;
}

static void check_written(const struct fk_writer *writer, struct fk_reader expected)
{
    size_t len;

    CHECK(fk_writer_end(writer, &len) == FK_OK);
    CHECK(len == expected.left && (len == 0 || memcmp(out, expected.next, len) == 0));
}

static void try_open(struct fk_reader payload)
{
    struct fk_writer writer = start();
    struct fk_handshake_open op;
    struct fk_reader name;

    if (fk_handshake_open_decode(payload, &op) != FK_OK)
        return;
    fk_handshake_open_encode(&op, &writer);
    check_written(&writer, payload);
    while (op.alpn.left > 0)
        CHECK(fk_reader_vec8(&op.alpn, &name) == FK_OK && name.left > 0);
}

static void try_data(struct fk_reader payload)
{
    struct fk_writer writer = start();
    struct fk_handshake_data op;
    uint8_t id[FK_HANDSHAKE_ID];

    if (fk_handshake_data_decode(payload, &op) == FK_OK) {
        CHECK(op.records.left > 0);
        fk_handshake_data_encode(&op, &writer);
        check_written(&writer, payload);
    }
    CHECK((fk_handshake_close_decode(payload, id) == FK_OK) == (payload.left == sizeof id));
}

static void try_answer(struct fk_reader payload)
{
    struct fk_writer writer = start();
    struct fk_handshake_answer answer;

    if (fk_handshake_answer_decode(payload, &answer) != FK_OK)
        return;
    fk_handshake_answer_encode(&answer, &writer);
    check_written(&writer, payload);
}

static void try_session(struct fk_reader payload)
{
    struct fk_writer writer = start();
    struct fk_session_keys keys;

    if (fk_session_wire_decode(payload, &keys) != FK_OK)
        return;
    CHECK(payload.left <= FK_SESSION_WIRE_MAX);
    fk_session_wire_encode(&keys, &writer);
    check_written(&writer, payload);
}

/* Whatever follows, the records found first stay what they are. */
static void try_records(struct fk_reader bytes)
{
    struct fk_records all, whole;
    int err = fk_records_scan(bytes, &all);

    CHECK(all.whole <= bytes.left && all.clear <= all.whole);
    CHECK(err == FK_OK || err == FK_ERR_NOT_TLS || err == FK_ERR_LIMIT);
    bytes.left = all.whole;
    CHECK(fk_records_scan(bytes, &whole) == FK_OK);
    CHECK(whole.whole == all.whole && whole.flight == all.flight &&
          whole.pending_ccs == all.pending_ccs && whole.clear == all.clear);
}

static void try_server_hello(struct fk_reader records)
{
    struct fk_server_hello hello;

    if (fk_server_hello_parse(records, &hello) != FK_OK)
        return;
    CHECK(hello.session_id.left <= 32);
    CHECK(hello.session_id.left == 0 ||
          (hello.session_id.next > records.next &&
           hello.session_id.next + hello.session_id.left <= records.next + records.left));
}

/* Records one by one are hashed as all at once. */
static void try_transcript(struct fk_reader records)
{
    const struct fk_suite *suite = fk_suite_find(0xC02F);
    uint8_t master[FK_MASTER12] = {0}, all[FK_FINISHED12], each[FK_FINISHED12];
    struct fk_transcript12 *one, *other;
    struct fk_reader left = records;

    CHECK(fk_transcript12_new(&one) == FK_OK && fk_transcript12_new(&other) == FK_OK);
    if (fk_transcript12_records(one, records) == FK_OK) {
        while (left.left > 0) {
            struct fk_reader record = left, content;

            CHECK(fk_reader_skip(&left, 3) == FK_OK && fk_reader_vec16(&left, &content) == FK_OK);
            record.left -= left.left;
            CHECK(fk_transcript12_records(other, record) == FK_OK);
        }
        CHECK(fk_transcript12_finished(one, suite, master, true, all) == FK_OK);
        CHECK(fk_transcript12_finished(other, suite, master, true, each) == FK_OK);
        CHECK(memcmp(all, each, sizeof all) == 0);
    }
    fk_transcript12_free(one);
    fk_transcript12_free(other);
}

static void try_names(struct fk_reader bytes)
{
    STACK_OF(X509_NAME) * names;

    if (fk_clientca_decode_names(bytes, &names) == FK_OK)
        sk_X509_NAME_pop_free(names, X509_NAME_free);
    CHECK(ERR_peek_error() == 0);
}

/* A CA that has issued nothing: no chain is good. */
static struct fk_clientca *make_ca(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    BIO *pem = BIO_new(BIO_s_mem());
    struct fk_clientca_conf conf = {.depth = 4};
    struct fk_clientca *ca;
    char *text;
    long len;

    CHECK(X509_set_version(cert, 2) == 1 && X509_set_pubkey(cert, key) == 1);
    CHECK(X509_gmtime_adj(X509_getm_notBefore(cert), 0) != NULL &&
          X509_gmtime_adj(X509_getm_notAfter(cert), 86400) != NULL);
    CHECK(X509_sign(cert, key, EVP_sha256()) > 0 && PEM_write_bio_X509(pem, cert) == 1);
    len = BIO_get_mem_data(pem, &text);
    fk_reader_init(&conf.ca, text, (size_t)len);
    CHECK(fk_clientca_new(&conf, &ca) == FK_OK);
    BIO_free(pem);
    X509_free(cert);
    EVP_PKEY_free(key);
    return ca;
}

static void try_chain(struct fk_reader chain)
{
    static struct fk_clientca *ca;
    STACK_OF(X509) *judged = NULL;
    int reason = X509_V_OK, err;

    if (ca == NULL)
        ca = make_ca();
    err = fk_clientca_judge_chain(ca, chain, &reason, &judged);
    sk_X509_pop_free(judged, X509_free);
    CHECK((err == FK_OK) == (chain.left == 0));
    CHECK((err == FK_ERR_VERIFY) == (reason != X509_V_OK));
    CHECK(ERR_peek_error() == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const tries[])(struct fk_reader) = {
        try_open,  try_data,  try_answer,       try_session,   try_records,
        try_names, try_chain, try_server_hello, try_transcript};
    struct fk_reader input;
    uint8_t choice;

    fk_reader_init(&input, data, size);
    if (fk_reader_u8(&input, &choice) != FK_OK || input.left > 65535)
        return 0;
    tries[choice % (sizeof tries / sizeof tries[0])](input);
    return 0;
}
