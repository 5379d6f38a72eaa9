/* What an answer is stored under: see cachekey.h. */
#include "http/cachekey.h"

#include "base/err.h"
#include "base/text.h"
#include "http/target.h"
#include "http/text.h"

#include <openssl/evp.h>
#include <string.h>

bool fk_cachekey_same(const struct fk_cachekey *a, const struct fk_cachekey *b)
{
    return memcmp(a->digest, b->digest, FK_CACHEKEY_SIZE) == 0;
}

/* --- a digest of texts, each with its length before it, so that no two sequences are alike --- */

static int begin(EVP_MD_CTX **ret)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();

    if (ctx == NULL || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(ctx);
        return FK_ERR_CRYPTO;
    }
    *ret = ctx;
    return FK_OK;
}

static int put(EVP_MD_CTX *ctx, const void *data, size_t len)
{
    return len == 0 || EVP_DigestUpdate(ctx, data, len) == 1 ? FK_OK : FK_ERR_CRYPTO;
}

static int put_text(EVP_MD_CTX *ctx, struct fk_reader text)
{
    uint64_t len = text.left;
    int err = put(ctx, &len, sizeof len);

    return err == FK_OK ? put(ctx, text.next, text.left) : err;
}

/* Letter case does not count. */
static int put_folded(EVP_MD_CTX *ctx, struct fk_reader text)
{
    uint64_t len = text.left;
    int err = put(ctx, &len, sizeof len);
    struct fk_reader piece;
    char folded[64];

    while (err == FK_OK && text.left > 0) {
        size_t n = text.left < sizeof folded ? text.left : sizeof folded;

        (void)fk_reader_take(&text, n, &piece);
        fk_text_lower((const char *)piece.next, n, folded);
        err = put(ctx, folded, n);
    }
    return err;
}

static int finish(EVP_MD_CTX *ctx, int err, struct fk_cachekey *ret)
{
    struct fk_cachekey key;

    if (err == FK_OK && EVP_DigestFinal_ex(ctx, key.digest, NULL) != 1)
        err = FK_ERR_CRYPTO;
    EVP_MD_CTX_free(ctx);
    if (err == FK_OK)
        *ret = key;
    return err;
}

/* --- targets --- */

#define HTTPS_PORT 443

int fk_cachekey_of(const char *site, struct fk_reader authority, struct fk_reader path,
                   struct fk_cachekey *ret)
{
    struct fk_http_authority parsed = {.host = authority};
    EVP_MD_CTX *ctx;
    uint16_t port;
    int err;

    (void)fk_http_authority_parse(authority, &parsed); /* what is none stands for itself */
    port = parsed.port == 0 ? HTTPS_PORT : parsed.port;
    if ((err = begin(&ctx)) != FK_OK)
        return err;
    if ((err = put_text(ctx, fk_http_text(site))) == FK_OK &&
        (err = put_folded(ctx, parsed.host)) == FK_OK &&
        (err = put(ctx, &port, sizeof port)) == FK_OK)
        err = put_text(ctx, path);
    return finish(ctx, err, ret);
}

/* Split "//authority/path" behind a scheme. */
static int split_url(struct fk_reader url, struct fk_reader *ret_authority,
                     struct fk_reader *ret_path)
{
    static const char *const schemes[] = {"https://", "http://"};
    struct fk_reader head, rest, before;

    if (fk_reader_until(&url, '#', &before) == FK_OK)
        url = before;
    for (size_t i = 0; i < 2; i++) {
        rest = url;
        if (fk_reader_take(&rest, strlen(schemes[i]), &head) != FK_OK ||
            !fk_http_equal_case(head, schemes[i]))
            continue;
        *ret_path = rest;
        if (fk_reader_until(&rest, '/', ret_authority) != FK_OK) {
            *ret_authority = *ret_path;
            *ret_path = fk_http_text("/");
            return FK_OK;
        }
        return fk_reader_skip(ret_path, ret_authority->left);
    }
    return FK_ERR_FORMAT;
}

int fk_cachekey_of_url(const char *site, struct fk_reader url, struct fk_cachekey *ret)
{
    struct fk_http_authority parsed;
    struct fk_reader authority = {0}, path = {0};

    if (split_url(url, &authority, &path) != FK_OK ||
        fk_http_authority_parse(authority, &parsed) != FK_OK ||
        fk_http_path_check(path) != FK_HTTP_FAULT_NONE)
        return FK_ERR_FORMAT;
    return fk_cachekey_of(site, authority, path, ret);
}

int fk_cachekey_named(const char *site, struct fk_reader authority,
                      const struct fk_http_headers *answer, const char *field,
                      struct fk_cachekey *ret)
{
    struct fk_http_authority ours, named;
    struct fk_reader value, other = authority, path = {0}, before;

    if (fk_http_headers_find(answer, field, &value) != FK_OK)
        return FK_ERR_NOT_FOUND;
    if (value.left > 0 && value.next[0] == '/' && !(value.left > 1 && value.next[1] == '/')) {
        path = value;
        if (fk_reader_until(&value, '#', &before) == FK_OK)
            path = before;
    } else if (split_url(value, &other, &path) != FK_OK) {
        return FK_ERR_NOT_FOUND;
    }
    if (fk_http_authority_parse(authority, &ours) != FK_OK ||
        fk_http_authority_parse(other, &named) != FK_OK ||
        !fk_http_authority_same(&ours, &named, HTTPS_PORT))
        return FK_ERR_NOT_FOUND;
    return fk_cachekey_of(site, authority, path, ret);
}

/* --- variants --- */

/* All fields of a name, one list. */
static int put_field(EVP_MD_CTX *ctx, const struct fk_http_headers *request, struct fk_reader name)
{
    bool there = false;
    int err = put_folded(ctx, name);

    for (size_t i = 0; i < request->count && err == FK_OK; i++) {
        struct fk_reader list, element;

        if (!fk_http_same_name(fk_http_headers_name(request, i), name, false))
            continue;
        there = true;
        list = fk_http_headers_value(request, i);
        while (err == FK_OK && fk_http_list_next(&list, &element) == FK_OK)
            err = put_text(ctx, element);
    }
    return err == FK_OK ? put(ctx, there ? "+" : "-", 1) : err;
}

int fk_cachekey_variant(const struct fk_http_headers *answer, const struct fk_http_headers *request,
                        struct fk_cachekey *ret)
{
    size_t i = fk_http_headers_index(answer, "Vary", 0);
    EVP_MD_CTX *ctx;
    int err;

    if (i == answer->count) { /* the usual case: all requests are alike */
        *ret = (struct fk_cachekey){0};
        return FK_OK;
    }
    if ((err = begin(&ctx)) != FK_OK)
        return err;
    for (; i < answer->count && err == FK_OK; i = fk_http_headers_index(answer, "Vary", i + 1)) {
        struct fk_reader list = fk_http_headers_value(answer, i), name;

        while (err == FK_OK && fk_http_list_next(&list, &name) == FK_OK)
            err = put_field(ctx, request, name);
    }
    return finish(ctx, err, ret);
}
