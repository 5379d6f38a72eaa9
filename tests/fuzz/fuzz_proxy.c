/*
 * wire/proxy: what decodes is encoded, in its version, and decodes to the same; a prefix of what
 * decodes is incomplete; refusal is final.
 */
#include "check.h"

#include "base/err.h"
#include "base/limits.h"
#include "wire/proxy.h"

#include <string.h>

static uint8_t out[2 * FK_PROXY_V2_MAX];

static void check_same_text(struct fk_reader a, struct fk_reader b)
{
    CHECK((a.next == NULL) == (b.next == NULL) && a.left == b.left);
    CHECK(a.left == 0 || memcmp(a.next, b.next, a.left) == 0);
}

static void check_same(const struct fk_proxy *a, const struct fk_proxy *b)
{
    CHECK(a->local == b->local && a->ip_len == b->ip_len && a->crc32c == b->crc32c);
    CHECK(memcmp(a->src_ip, b->src_ip, 16) == 0 && memcmp(a->dst_ip, b->dst_ip, 16) == 0);
    CHECK(a->src_port == b->src_port && a->dst_port == b->dst_port);
    CHECK(a->ssl.present == b->ssl.present && a->ssl.client == b->ssl.client);
    CHECK(a->ssl.verify == b->ssl.verify);
    check_same_text(a->alpn, b->alpn);
    check_same_text(a->authority, b->authority);
    check_same_text(a->unique_id, b->unique_id);
    check_same_text(a->ssl.version, b->ssl.version);
    check_same_text(a->ssl.common_name, b->ssl.common_name);
    check_same_text(a->ssl.cipher, b->ssl.cipher);
    check_same_text(a->ssl.sig_alg, b->ssl.sig_alg);
    check_same_text(a->ssl.key_alg, b->ssl.key_alg);
}

static void round_trip(const struct fk_proxy *proxy, bool text)
{
    struct fk_writer writer;
    struct fk_proxy back;
    size_t len, used;

    fk_writer_init(&writer, out, sizeof out);
    if (text)
        fk_proxy_encode_v1(proxy, &writer);
    else
        fk_proxy_encode_v2(proxy, &writer);
    CHECK(fk_writer_end(&writer, &len) == FK_OK);
    CHECK(fk_proxy_decode(out, len, &back, &used) == FK_OK && used == len);
    check_same(proxy, &back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fk_proxy proxy, other;
    size_t used, other_used;
    int err = fk_proxy_decode(data, size, &proxy, &used);

    if (err == FK_ERR_AGAIN)
        CHECK(used > size && used <= FK_PROXY_V2_MAX);
    if (err == FK_OK) {
        CHECK(used <= size && (proxy.ip_len == 0 || proxy.ip_len == 4 || proxy.ip_len == 16));
        round_trip(&proxy, data[0] == 'P');
        if (data[0] != 'P' && !proxy.local) {
            proxy.crc32c = !proxy.crc32c;
            round_trip(&proxy, false);
        }
        CHECK(fk_proxy_decode(data, used - 1, &other, &other_used) == FK_ERR_AGAIN);
    } else {
        int before = fk_proxy_decode(data, size / 2, &other, &other_used);

        CHECK(before == FK_ERR_AGAIN || before == err);
    }
    return 0;
}
