/* The forward-secure chain: see audit_chain.h. */
#include "keyd/audit_chain.h"

#include "base/err.h"
#include "base/secret.h"
#include "base/text.h"
#include "base/writer.h"

#include <assert.h>
#include <string.h>

#define BLOCK    64 /* of SHA-256 */
#define MAC_TEXT 32 /* hexadecimal digits of a MAC in the log */

int fk_audit_chain_init(struct fk_audit_chain *chain)
{
    *chain =
        (struct fk_audit_chain){.md = EVP_MD_fetch(NULL, "SHA256", NULL), .ctx = EVP_MD_CTX_new()};
    if (chain->md != NULL && chain->ctx != NULL)
        return FK_OK;
    fk_audit_chain_fini(chain);
    return FK_ERR_NOMEM;
}

void fk_audit_chain_fini(struct fk_audit_chain *chain)
{
    EVP_MD_CTX_free(chain->ctx);
    EVP_MD_free(chain->md);
    fk_wipe(chain, sizeof *chain);
}

void fk_audit_chain_begin(struct fk_audit_chain *chain, const uint8_t id[FK_AUDIT_ID_SIZE],
                          const uint8_t key[FK_AUDIT_KEY_SIZE])
{
    memcpy(chain->id, id, sizeof chain->id);
    memcpy(chain->key, key, sizeof chain->key);
    memset(chain->mac, 0, sizeof chain->mac);
    chain->lines = 0;
}

/* --- HMAC-SHA256 with one context for all lines: setting one up costs more than the hash --- */

struct part {
    const void *data;
    size_t len;
};

static int hash_parts(struct fk_audit_chain *chain, const struct part *parts, size_t n_parts,
                      uint8_t ret[32])
{
    if (EVP_DigestInit_ex2(chain->ctx, chain->md, NULL) != 1)
        return FK_ERR_CRYPTO;
    for (size_t i = 0; i < n_parts; i++)
        if (EVP_DigestUpdate(chain->ctx, parts[i].data, parts[i].len) != 1)
            return FK_ERR_CRYPTO;
    return EVP_DigestFinal_ex(chain->ctx, ret, NULL) == 1 ? FK_OK : FK_ERR_CRYPTO;
}

/* HMAC of `parts`, at most 3, with the chain's present key (RFC 2104). */
static int mac_parts(struct fk_audit_chain *chain, const struct part *parts, size_t n_parts,
                     uint8_t ret[32])
{
    uint8_t inner[BLOCK], outer[BLOCK], digest[32];
    struct part all[4] = {{inner, sizeof inner}};
    const struct part last[2] = {{outer, sizeof outer}, {digest, sizeof digest}};
    int err;

    assert(n_parts <= 3);
    memset(inner, 0x36, sizeof inner);
    memset(outer, 0x5c, sizeof outer);
    for (size_t i = 0; i < sizeof chain->key; i++) {
        inner[i] ^= chain->key[i];
        outer[i] ^= chain->key[i];
    }
    memcpy(all + 1, parts, n_parts * sizeof parts[0]);
    if ((err = hash_parts(chain, all, 1 + n_parts, digest)) == FK_OK)
        err = hash_parts(chain, last, 2, ret);
    fk_wipe(inner, sizeof inner);
    fk_wipe(outer, sizeof outer);
    return err;
}

static int next_key(struct fk_audit_chain *chain, uint8_t ret[32])
{
    static const uint8_t one = 1;
    const struct part part = {&one, 1};

    return mac_parts(chain, &part, 1, ret);
}

static int line_mac(struct fk_audit_chain *chain, const char *line, size_t len, uint8_t ret[32])
{
    static const uint8_t zero = 0;
    const struct part parts[3] = {{&zero, 1}, {chain->mac, sizeof chain->mac}, {line, len}};

    return mac_parts(chain, parts, 3, ret);
}

/* The line with this MAC is the chain's last now. */
static int step(struct fk_audit_chain *chain, const uint8_t mac[32])
{
    uint8_t key[32];
    int err = next_key(chain, key);

    if (err != FK_OK)
        return err;
    memcpy(chain->key, key, sizeof chain->key);
    memcpy(chain->mac, mac, sizeof chain->mac);
    chain->lines++;
    fk_wipe(key, sizeof key);
    return FK_OK;
}

int fk_audit_chain_skip(struct fk_audit_chain *chain, uint64_t lines,
                        const uint8_t mac[FK_AUDIT_MAC_SIZE])
{
    int err;

    while (chain->lines < lines)
        if ((err = step(chain, mac)) != FK_OK)
            return err;
    memcpy(chain->mac, mac, sizeof chain->mac);
    return FK_OK;
}

/* --- lines --- */

static size_t put_number(char *dst, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;

    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    memcpy(dst, digits + at, sizeof digits - at);
    return sizeof digits - at;
}

int fk_audit_chain_append(struct fk_audit_chain *chain, const char *text, size_t len, char *dst,
                          size_t size, size_t *ret_len)
{
    char hex[2 * sizeof chain->mac + 1];
    uint8_t mac[32];
    size_t at = 2;
    int err;

    if (size < FK_AUDIT_CHAIN_ROOM || size - FK_AUDIT_CHAIN_ROOM < len)
        return FK_ERR_LIMIT;
    memcpy(dst, "n=", 2);
    at += put_number(dst + at, chain->lines);
    dst[at++] = ' ';
    memcpy(dst + at, text, len);
    at += len;
    if ((err = line_mac(chain, dst, at, mac)) != FK_OK || (err = step(chain, mac)) != FK_OK)
        return err;
    fk_text_hex(mac, MAC_TEXT / 2, hex);
    memcpy(dst + at, " mac=", 5);
    memcpy(dst + at + 5, hex, MAC_TEXT);
    at += 5 + MAC_TEXT;
    dst[at++] = '\n';
    *ret_len = at;
    return FK_OK;
}

int fk_audit_row_parse(const char *line, size_t len, struct fk_audit_row *ret)
{
    struct fk_audit_row row;
    const char *space;

    if (len < 2 + 1 + 1 + 5 + MAC_TEXT || memcmp(line, "n=", 2) != 0)
        return FK_ERR_FORMAT;
    row.mac_at = len - 5 - MAC_TEXT;
    if (memcmp(line + row.mac_at, " mac=", 5) != 0 ||
        fk_text_unhex(line + row.mac_at + 5, MAC_TEXT, row.mac, sizeof row.mac) != FK_OK)
        return FK_ERR_FORMAT;
    space = memchr(line, ' ', row.mac_at);
    if (space == NULL || fk_text_u64(line + 2, (size_t)(space - line) - 2, &row.number) != FK_OK)
        return FK_ERR_FORMAT;
    row.text = space + 1;
    row.text_len = (size_t)(line + row.mac_at - row.text);
    *ret = row;
    return FK_OK;
}

int fk_audit_chain_check(struct fk_audit_chain *chain, const char *line,
                         const struct fk_audit_row *row)
{
    uint8_t mac[32];
    int err;

    if (row->number != chain->lines)
        return FK_ERR_VERIFY;
    if ((err = line_mac(chain, line, row->mac_at, mac)) != FK_OK)
        return err;
    if (!fk_equal_ct(mac, row->mac, sizeof row->mac))
        return FK_ERR_VERIFY;
    return step(chain, mac);
}

/* --- heads --- */

void fk_audit_chain_head(const struct fk_audit_chain *chain, struct fk_audit_head *ret)
{
    memcpy(ret->id, chain->id, sizeof ret->id);
    memcpy(ret->mac, chain->mac, sizeof ret->mac);
    ret->lines = chain->lines;
}

size_t fk_audit_head_format(const struct fk_audit_head *head, char dst[FK_AUDIT_HEAD_MAX])
{
    size_t at = 2 * sizeof head->id;

    fk_text_hex(head->id, sizeof head->id, dst);
    dst[at++] = ':';
    at += put_number(dst + at, head->lines);
    dst[at++] = ':';
    fk_text_hex(head->mac, sizeof head->mac, dst + at);
    return at + 2 * sizeof head->mac;
}

int fk_audit_head_parse(const char *text, size_t len, struct fk_audit_head *ret)
{
    const size_t id = 2 * FK_AUDIT_ID_SIZE, mac = 2 * FK_AUDIT_MAC_SIZE;
    struct fk_audit_head head;

    if (len < id + 1 + 1 + 1 + mac || text[id] != ':' || text[len - mac - 1] != ':' ||
        fk_text_unhex(text, id, head.id, sizeof head.id) != FK_OK ||
        fk_text_unhex(text + len - mac, mac, head.mac, sizeof head.mac) != FK_OK ||
        fk_text_u64(text + id + 1, len - mac - 1 - id - 1, &head.lines) != FK_OK)
        return FK_ERR_FORMAT;
    *ret = head;
    return FK_OK;
}

void fk_audit_chain_checkpoint(const struct fk_audit_chain *chain,
                               uint8_t ret[FK_AUDIT_CHECKPOINT_SIZE])
{
    struct fk_writer writer;

    fk_writer_init(&writer, ret, FK_AUDIT_CHECKPOINT_SIZE);
    fk_writer_bytes(&writer, chain->id, sizeof chain->id);
    fk_writer_u64(&writer, chain->lines);
    fk_writer_bytes(&writer, chain->mac, sizeof chain->mac);
}
