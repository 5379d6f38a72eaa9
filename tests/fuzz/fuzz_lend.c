/*
 * LEND: its payload and its answer (wire/keyop_lend), and what an edge's signer does with an answer
 * (signer/lend). The first byte chooses: a request, an answer, an answer from nobody, or one from a
 * key server: behind seals that hold, a public key and private numbers of any kind. The seals are
 * made as docs/wire-key.md says, by nothing of signer/lend.
 */
#include "check.h"

#include "base/err.h"
#include "signer/lend.h"

#include <openssl/evp.h>
#include <string.h>

static struct fk_lend_keys keys;
static struct fk_lend op;
static uint8_t request[FK_LEND_SIZE];

static void start(void)
{
    struct fk_writer writer;
    size_t len;

    CHECK(fk_seal_key_new(&keys.recipient, op.recipient) == FK_OK);
    CHECK(fk_seal_key_new(&keys.once, op.once) == FK_OK);
    op.seconds = 60;
    fk_writer_init(&writer, request, sizeof request);
    fk_lend_encode(&op, &writer);
    CHECK(fk_writer_end(&writer, &len) == FK_OK && len == sizeof request);
}

static struct fk_reader reader_of(const uint8_t *data, size_t size)
{
    struct fk_reader reader;

    fk_reader_init(&reader, data, size);
    return reader;
}

static void check_written(const struct fk_writer *writer, const uint8_t *out,
                          struct fk_reader expected)
{
    size_t len;

    CHECK(fk_writer_end(writer, &len) == FK_OK);
    CHECK(len == expected.left && memcmp(out, expected.next, len) == 0);
}

static void try_request(struct fk_reader payload)
{
    uint8_t out[FK_LEND_SIZE];
    struct fk_writer writer;
    struct fk_lend read;

    if (fk_lend_decode(payload, &read) != FK_OK)
        return;
    fk_writer_init(&writer, out, sizeof out);
    fk_lend_encode(&read, &writer);
    check_written(&writer, out, payload);
}

static void try_answer(struct fk_reader payload)
{
    static uint8_t out[1 << 17];
    struct fk_lend_answer answer;
    struct fk_writer writer;

    if (fk_lend_answer_decode(payload, &answer) != FK_OK)
        return;
    fk_writer_init(&writer, out, sizeof out);
    fk_lend_answer_encode(&answer, &writer);
    check_written(&writer, out, payload);
}

static int open_answer(struct fk_reader payload)
{
    struct fk_lend_terms terms;
    EVP_PKEY *key = NULL;
    int err = fk_lend_open(&keys, reader_of(request, sizeof request), payload, &terms, &key);

    CHECK((err == FK_OK) == (key != NULL));
    EVP_PKEY_free(key);
    return err;
}

/* Who has not seen the two keys cannot seal to them. */
static void try_nobodys(struct fk_reader payload)
{
    CHECK(open_answer(payload) != FK_OK);
}

static size_t seal_twice(const uint8_t binding[32], struct fk_reader plain, uint8_t *ret)
{
    const struct fk_seal_context once = {"farkey lending 1 once", binding, 32};
    const struct fk_seal_context recipient = {"farkey lending 1", binding, 32};
    static uint8_t inner[1 << 16];

    CHECK(fk_seal_to(op.once, &once, plain.next, plain.left, inner) == FK_OK);
    CHECK(fk_seal_to(op.recipient, &recipient, inner, plain.left + FK_SEAL_OVERHEAD, ret) == FK_OK);
    return plain.left + (size_t)2 * FK_SEAL_OVERHEAD;
}

/* The input: the head of an answer, and behind it the numbers. */
static void try_key_servers(struct fk_reader input)
{
    static const char label[] = "farkey lending binding 1";
    static uint8_t bytes[1 << 17], sealed[1 << 16];
    uint8_t binding[32];
    struct fk_lend_answer answer;
    struct fk_writer writer;
    EVP_MD_CTX *md;
    size_t head;

    if (input.left > 8192 || fk_reader_u32(&input, &answer.seconds) != FK_OK ||
        fk_reader_u16(&input, &answer.permissions) != FK_OK ||
        fk_reader_vec16(&input, &answer.spki) != FK_OK)
        return;
    fk_writer_init(&writer, bytes, sizeof bytes);
    fk_lend_answer_encode_head(&answer, &writer);
    CHECK(fk_writer_end(&writer, &head) == FK_OK);
    md = EVP_MD_CTX_new();
    CHECK(md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
          EVP_DigestUpdate(md, label, sizeof label) == 1 &&
          EVP_DigestUpdate(md, request, sizeof request) == 1 &&
          EVP_DigestUpdate(md, bytes, head) == 1 && EVP_DigestFinal_ex(md, binding, NULL) == 1);
    EVP_MD_CTX_free(md);
    fk_writer_vec16(&writer, sealed, seal_twice(binding, input, sealed));
    CHECK(fk_writer_end(&writer, &head) == FK_OK);
    CHECK(open_answer(reader_of(bytes, head)) != FK_ERR_VERIFY);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const tries[])(struct fk_reader) = {try_request, try_answer, try_nobodys,
                                                      try_key_servers};

    if (keys.once == NULL)
        start();
    if (size > 0 && size < 65536)
        tries[data[0] % (sizeof tries / sizeof tries[0])](reader_of(data + 1, size - 1));
    return 0;
}
