/*
 * http/cookie, http/certrelay, http/pathguard: whatever a Cookie field holds, nothing of the edge's
 * name is left in it and removing again changes nothing; values and paths of all kinds are judged.
 */
#include "check.h"

#include "base/err.h"
#include "base/limits.h"
#include "http/certrelay.h"
#include "http/cookie.h"
#include "http/pathguard.h"
#include "http/text.h"

#define TEXT_MAX 65536

/* No pair, as split at the usual separator, has the name any more. */
static void check_none(struct fk_reader cookie)
{
    struct fk_reader pair, name;

    while (cookie.left > 0) {
        if (fk_reader_until(&cookie, ';', &pair) != FK_OK) {
            pair = cookie;
            cookie.left = 0;
        }
        if (fk_reader_until(&pair, '=', &name) == FK_OK)
            CHECK(!fk_http_cookie_named(name, "CERT"));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fk_http_headers headers;
    struct fk_reader text, value;
    size_t len;

    fk_reader_init(&text, data, size);
    (void)fk_certrelay_xfcc_ok(text);
    (void)fk_http_path_guarded(text, "/staff");
    fk_http_headers_init(&headers, TEXT_MAX, 8);
    if (fk_http_headers_add(&headers, fk_http_text("Cookie"), text) == FK_OK &&
        fk_http_cookie_remove(&headers, "CERT") == FK_OK &&
        fk_http_headers_find(&headers, "Cookie", &value) == FK_OK) {
        check_none(value);
        len = value.left;
        CHECK(fk_http_cookie_remove(&headers, "CERT") == FK_OK);
        CHECK(fk_http_headers_find(&headers, "Cookie", &value) == FK_OK && value.left == len);
    }
    fk_http_headers_fini(&headers);
    return 0;
}
