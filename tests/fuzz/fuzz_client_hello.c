/*
 * wire/client_hello: every list that is handed out lies within the message and has whole elements;
 * a prefix of what parses is incomplete; refusal is final; the same message in records of another
 * size gives the same facts.
 */
#include "check.h"

#include "base/err.h"
#include "base/text.h"
#include "base/writer.h"
#include "wire/client_hello.h"

#include <string.h>

static uint8_t again[1 << 17];

static void check_same_list(struct fk_reader a, struct fk_reader b)
{
    CHECK(a.left == b.left && (a.left == 0 || memcmp(a.next, b.next, a.left) == 0));
}

static void check_same(const struct fk_client_hello *a, const struct fk_client_hello *b)
{
    CHECK(a->legacy_version == b->legacy_version && a->suites == b->suites);
    CHECK(memcmp(a->random, b->random, sizeof a->random) == 0);
    CHECK(a->tls12 == b->tls12 && a->tls13 == b->tls13 && a->psk == b->psk);
    CHECK(strcmp(a->server_name, b->server_name) == 0);
    check_same_list(a->versions, b->versions);
    check_same_list(a->schemes, b->schemes);
    check_same_list(a->groups, b->groups);
    check_same_list(a->alpn, b->alpn);
}

static void check_facts(const struct fk_client_hello *hello)
{
    struct fk_reader alpn = hello->alpn, name;

    CHECK(hello->legacy_version >> 8 == 3 && hello->session_id_len <= 32);
    CHECK(hello->server_name[0] == '\0' ||
          fk_text_host_valid(hello->server_name, strlen(hello->server_name)));
    CHECK(hello->versions.left % 2 == 0 && hello->schemes.left % 2 == 0);
    CHECK(hello->groups.left % 2 == 0);
    while (alpn.left > 0) {
        CHECK(fk_reader_vec8(&alpn, &name) == FK_OK && name.left > 0);
        CHECK(fk_client_hello_offers(hello, name.next, name.left));
    }
}

/* Cut the fragments of whole records into records of `cut` bytes. Their length, or 0. */
static size_t recut(const uint8_t *data, size_t used, size_t cut)
{
    struct fk_reader input, fragment;
    struct fk_writer writer;
    size_t len = 0;

    fk_reader_init(&input, data, used);
    fk_writer_init(&writer, again, sizeof again);
    while (input.left > 0) {
        CHECK(fk_reader_skip(&input, 3) == FK_OK && fk_reader_vec16(&input, &fragment) == FK_OK);
        while (fragment.left > 0) {
            struct fk_reader piece;
            size_t n = fragment.left < cut ? fragment.left : cut;

            CHECK(fk_reader_take(&fragment, n, &piece) == FK_OK);
            fk_writer_u8(&writer, 22);
            fk_writer_u16(&writer, 0x0301);
            fk_writer_vec16(&writer, piece.next, piece.left);
        }
    }
    return fk_writer_end(&writer, &len) == FK_OK ? len : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fk_buf first_scratch, second_scratch;
    struct fk_client_hello hello, other;
    size_t used, other_used, len;
    int err;

    fk_buf_init(&first_scratch, FK_CLIENT_HELLO_MAX);
    fk_buf_init(&second_scratch, FK_CLIENT_HELLO_MAX);
    err = fk_client_hello_parse(data, size, &first_scratch, &hello, &used);
    if (err == FK_ERR_AGAIN)
        CHECK(used > size && used <= FK_CLIENT_HELLO_MAX);
    if (err == FK_OK) {
        CHECK(used <= size && used <= FK_CLIENT_HELLO_MAX);
        check_facts(&hello);
        len = recut(data, used, 1 + data[used - 1]);
        err = fk_client_hello_parse(again, len, &second_scratch, &other, &other_used);
        CHECK(err == FK_OK || err == FK_ERR_LIMIT);
        if (err == FK_OK)
            check_same(&hello, &other);
        CHECK(fk_client_hello_parse(data, used - 1, &second_scratch, &other, &other_used) ==
              FK_ERR_AGAIN);
    } else if (size > 0) {
        int before = fk_client_hello_parse(data, size / 2, &second_scratch, &other, &other_used);

        CHECK(before == FK_ERR_AGAIN || before == err);
    }
    fk_buf_fini(&first_scratch);
    fk_buf_fini(&second_scratch);
    return 0;
}
