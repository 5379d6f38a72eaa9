/*
 * edge/resp: whatever a server sends, a reply is one of those that are known, no longer than an
 * entry, the same however the bytes are cut; and after the first malformed one there is none.
 */
#include "check.h"

#include "base/err.h"
#include "edge/resp.h"

#include <string.h>

#define REPLIES_MAX 64

struct seen {
    size_t count;
    int end;
    enum fk_resp_kind kinds[REPLIES_MAX];
    size_t lens[REPLIES_MAX];
};

static void read_all(const uint8_t *data, size_t size, size_t piece, struct seen *ret)
{
    const struct fk_resp_reply *reply;
    struct fk_resp *resp;

    *ret = (struct seen){.end = FK_ERR_AGAIN};
    CHECK(fk_resp_new(&resp) == FK_OK);
    for (size_t at = 0; at < size && ret->end == FK_ERR_AGAIN; at += piece) {
        CHECK(fk_resp_feed(resp, data + at, size - at < piece ? size - at : piece) == FK_OK);
        while ((ret->end = fk_resp_next(resp, &reply)) == FK_OK) {
            CHECK(reply->len <= sizeof reply->data && reply->kind <= FK_RESP_NIL);
            if (ret->count < REPLIES_MAX) {
                ret->kinds[ret->count] = reply->kind;
                ret->lens[ret->count] = reply->len;
            }
            ret->count++;
        }
        CHECK(ret->end == FK_ERR_AGAIN || ret->end == FK_ERR_FORMAT);
    }
    if (ret->end == FK_ERR_FORMAT)
        CHECK(fk_resp_next(resp, &reply) == FK_ERR_FORMAT);
    fk_resp_free(resp);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct seen whole, cut;

    read_all(data, size, size, &whole);
    read_all(data, size, 1, &cut);
    /* Bytes without an end are cut off when there are too many: later in large pieces. */
    CHECK(cut.count == whole.count || (size > FK_SESENTRY_MAX && cut.end == FK_ERR_FORMAT));
    for (size_t i = 0; i < cut.count && i < whole.count && i < REPLIES_MAX; i++)
        CHECK(cut.kinds[i] == whole.kinds[i] && cut.lens[i] == whole.lens[i]);
    return 0;
}
