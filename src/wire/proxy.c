/*
 * The PROXY protocol: see proxy.h.
 *
 * Strict: whoever may send a header speaks for every client behind it, so a header that is not
 * exactly one of the two forms ends the connection instead of being guessed at.
 */
#include "wire/proxy.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

/* --- version 1: a line of text (section 2.1) --- */

static const char v1_prefix[] = "PROXY ";
#define V1_PREFIX_LEN (sizeof v1_prefix - 1)

/* The line without CRLF. FK_ERR_AGAIN, FK_ERR_LIMIT, FK_ERR_FORMAT. */
static int v1_line(struct fk_reader input, struct fk_reader *ret)
{
    size_t have = input.left < V1_PREFIX_LEN ? input.left : V1_PREFIX_LEN;
    struct fk_reader text, line, rest;

    if (memcmp(input.next, v1_prefix, have) != 0)
        return FK_ERR_FORMAT;
    rest = input;
    if (rest.left > FK_PROXY_V1_MAX)
        rest.left = FK_PROXY_V1_MAX;
    if (fk_reader_until(&rest, '\n', &text) != FK_OK)
        return rest.left == FK_PROXY_V1_MAX ? FK_ERR_LIMIT : FK_ERR_AGAIN;
    /* The only CR is the last byte. */
    if (fk_reader_until(&text, '\r', &line) != FK_OK || text.left != 0)
        return FK_ERR_FORMAT;
    *ret = line;
    return FK_OK;
}

/* A word and the one space after it, or the rest of the line when `last`. NUL-terminated. */
static int v1_word(struct fk_reader *line, bool last, char *dst, size_t size)
{
    struct fk_reader rest = *line, word = *line, none;

    if (fk_reader_until(&rest, ' ', &word) != (last ? FK_ERR_NOT_FOUND : FK_OK))
        return FK_ERR_FORMAT;
    *line = rest;
    rest = word;
    if (word.left == 0 || word.left >= size || fk_reader_until(&rest, '\0', &none) == FK_OK)
        return FK_ERR_FORMAT;
    dst[word.left] = '\0';
    return fk_reader_copy(&word, dst, word.left);
}

static int v1_address(struct fk_reader *line, int family, uint8_t ret[16])
{
    char text[INET6_ADDRSTRLEN];
    uint8_t ip[16];
    int err = v1_word(line, false, text, sizeof text);

    if (err != FK_OK)
        return err;
    if (inet_pton(family, text, ip) != 1)
        return FK_ERR_FORMAT;
    memcpy(ret, ip, family == AF_INET ? 4 : 16);
    return FK_OK;
}

static int v1_port(struct fk_reader *line, bool last, uint16_t *ret)
{
    char text[6];
    uint64_t port;
    int err = v1_word(line, last, text, sizeof text);

    if (err != FK_OK)
        return err;
    if ((text[0] == '0' && text[1] != '\0') || fk_text_u64(text, strlen(text), &port) != FK_OK ||
        port > 65535)
        return FK_ERR_FORMAT;
    *ret = (uint16_t)port;
    return FK_OK;
}

/* "UNKNOWN", alone or with anything after a space, which is ignored. */
static bool v1_is_unknown(struct fk_reader line)
{
    static const char word[] = "UNKNOWN";
    size_t len = sizeof word - 1;

    return line.left >= len && memcmp(line.next, word, len) == 0 &&
           (line.left == len || line.next[len] == ' ');
}

static int v1_decode(struct fk_reader input, struct fk_proxy *ret, size_t *ret_used)
{
    struct fk_reader line;
    char protocol[5];
    int family, err;

    if ((err = v1_line(input, &line)) != FK_OK)
        return err;
    *ret_used = line.left + 2;
    if ((err = fk_reader_skip(&line, V1_PREFIX_LEN)) != FK_OK)
        return FK_ERR_FORMAT;
    if (v1_is_unknown(line))
        return FK_OK;
    if ((err = v1_word(&line, false, protocol, sizeof protocol)) != FK_OK)
        return err;
    if (strcmp(protocol, "TCP4") == 0)
        family = AF_INET;
    else if (strcmp(protocol, "TCP6") == 0)
        family = AF_INET6;
    else
        return FK_ERR_FORMAT;
    if ((err = v1_address(&line, family, ret->src_ip)) != FK_OK ||
        (err = v1_address(&line, family, ret->dst_ip)) != FK_OK ||
        (err = v1_port(&line, false, &ret->src_port)) != FK_OK ||
        (err = v1_port(&line, true, &ret->dst_port)) != FK_OK)
        return err;
    ret->ip_len = family == AF_INET ? 4 : 16;
    return FK_OK;
}

void fk_proxy_encode_v1(const struct fk_proxy *proxy, struct fk_writer *out)
{
    int family = proxy->ip_len == 4 ? AF_INET : AF_INET6;
    char src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN], line[FK_PROXY_V1_MAX + 1];
    int len;

    if (proxy->local || proxy->ip_len == 0 ||
        inet_ntop(family, proxy->src_ip, src, sizeof src) == NULL ||
        inet_ntop(family, proxy->dst_ip, dst, sizeof dst) == NULL)
        len = snprintf(line, sizeof line, "PROXY UNKNOWN\r\n");
    else
        len = snprintf(line, sizeof line, "PROXY %s %s %s %u %u\r\n",
                       family == AF_INET ? "TCP4" : "TCP6", src, dst, proxy->src_port,
                       proxy->dst_port);
    fk_writer_bytes(out, line, (size_t)len);
}

/* --- version 2: binary (section 2.2) --- */

static const uint8_t v2_signature[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
                                         0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

#define V2_HEADER     16
#define V2_LOCAL      0
#define V2_PROXY      1
#define V2_UNSPEC     0x00
#define V2_TCP4       0x11
#define V2_TCP6       0x21
#define V2_UNIX       0x31
#define V2_UNIX_PATHS 216

#define TLV_ALPN        0x01
#define TLV_AUTHORITY   0x02
#define TLV_CRC32C      0x03
#define TLV_UNIQUE_ID   0x05
#define TLV_SSL         0x20
#define TLV_SSL_VERSION 0x21
#define TLV_SSL_CN      0x22
#define TLV_SSL_CIPHER  0x23
#define TLV_SSL_SIG_ALG 0x24
#define TLV_SSL_KEY_ALG 0x25

struct tlv_row {
    uint8_t type;
    size_t offset; /* of the reader in its struct */
};

/* Both tables are in the order of encoding. */
static const struct tlv_row tlv_rows[] = {
    {TLV_ALPN, offsetof(struct fk_proxy, alpn)},
    {TLV_AUTHORITY, offsetof(struct fk_proxy, authority)},
    {TLV_UNIQUE_ID, offsetof(struct fk_proxy, unique_id)},
};
static const struct tlv_row ssl_rows[] = {
    {TLV_SSL_VERSION, offsetof(struct fk_proxy_ssl, version)},
    {TLV_SSL_CN, offsetof(struct fk_proxy_ssl, common_name)},
    {TLV_SSL_CIPHER, offsetof(struct fk_proxy_ssl, cipher)},
    {TLV_SSL_SIG_ALG, offsetof(struct fk_proxy_ssl, sig_alg)},
    {TLV_SSL_KEY_ALG, offsetof(struct fk_proxy_ssl, key_alg)},
};

#define N_TLVS     (sizeof tlv_rows / sizeof tlv_rows[0])
#define N_SSL_TLVS (sizeof ssl_rows / sizeof ssl_rows[0])

/* CRC32C (Castagnoli, reflected), half a byte at a time: headers are short and rare. */
static uint32_t crc32c(uint32_t crc, const uint8_t *data, size_t len)
{
    static const uint32_t table[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1,
                                       0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
                                       0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
                                       0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};

    crc = ~crc;
    for (size_t i = 0; i < len; i++) {
        crc = crc >> 4 ^ table[(crc ^ data[i]) & 15];
        crc = crc >> 4 ^ table[(crc ^ (uint32_t)(data[i] >> 4)) & 15];
    }
    return ~crc;
}

/* Store a TLV's value if the table has its type. FK_ERR_DUPLICATE. */
static int store_tlv(void *base, const struct tlv_row *rows, size_t count, uint8_t type,
                     struct fk_reader value)
{
    for (size_t i = 0; i < count; i++) {
        struct fk_reader *slot = (struct fk_reader *)(void *)((char *)base + rows[i].offset);

        if (rows[i].type != type)
            continue;
        if (slot->next != NULL)
            return FK_ERR_DUPLICATE;
        *slot = value;
    }
    return FK_OK;
}

static int decode_ssl(struct fk_reader value, struct fk_proxy_ssl *ssl)
{
    struct fk_reader sub;
    uint8_t type;
    int err;

    if (ssl->present)
        return FK_ERR_DUPLICATE;
    ssl->present = true;
    if ((err = fk_reader_u8(&value, &ssl->client)) != FK_OK ||
        (err = fk_reader_u32(&value, &ssl->verify)) != FK_OK)
        return err;
    while (value.left > 0) {
        if ((err = fk_reader_u8(&value, &type)) != FK_OK ||
            (err = fk_reader_vec16(&value, &sub)) != FK_OK ||
            (err = store_tlv(ssl, ssl_rows, N_SSL_TLVS, type, sub)) != FK_OK)
            return err;
    }
    return FK_OK;
}

/* The checksum covers the whole header with its own four bytes, at `offset`, as zeros. */
static int check_crc32c(struct fk_reader header, size_t offset, struct fk_reader value)
{
    static const uint8_t zeros[4];
    struct fk_reader before;
    uint32_t claimed, crc;

    if (fk_reader_u32(&value, &claimed) != FK_OK || value.left != 0 ||
        fk_reader_take(&header, offset, &before) != FK_OK ||
        fk_reader_skip(&header, sizeof zeros) != FK_OK)
        return FK_ERR_FORMAT;
    crc = crc32c(0, before.next, before.left);
    crc = crc32c(crc, zeros, sizeof zeros);
    crc = crc32c(crc, header.next, header.left);
    return crc == claimed ? FK_OK : FK_ERR_VERIFY;
}

static int decode_crc32c(struct fk_reader header, size_t left, struct fk_reader value,
                         struct fk_proxy *proxy)
{
    if (proxy->crc32c)
        return FK_ERR_DUPLICATE;
    proxy->crc32c = true;
    return check_crc32c(header, header.left - left - value.left, value);
}

/* TLVs up to the header's end. Unknown ones (and NOOP) are passed over. */
static int decode_tlvs(struct fk_reader header, struct fk_reader tlvs, struct fk_proxy *proxy)
{
    struct fk_reader value;
    uint8_t type;
    int err;

    while (tlvs.left > 0) {
        if ((err = fk_reader_u8(&tlvs, &type)) != FK_OK ||
            (err = fk_reader_vec16(&tlvs, &value)) != FK_OK)
            return err;
        if (type == TLV_SSL)
            err = decode_ssl(value, &proxy->ssl);
        else if (type == TLV_CRC32C)
            err = decode_crc32c(header, tlvs.left, value, proxy);
        else
            err = store_tlv(proxy, tlv_rows, N_TLVS, type, value);
        if (err != FK_OK)
            return err;
    }
    return proxy->unique_id.left > FK_PROXY_UNIQUE_ID_MAX ? FK_ERR_LIMIT : FK_OK;
}

static int decode_addresses(struct fk_reader *body, uint8_t family, struct fk_proxy *proxy)
{
    uint8_t ip_len = family == V2_TCP4 ? 4 : 16;
    int err;

    switch (family) {
    case V2_UNSPEC:
        return FK_OK;
    case V2_UNIX:
        return fk_reader_skip(body, V2_UNIX_PATHS);
    case V2_TCP4:
    case V2_TCP6:
        if ((err = fk_reader_copy(body, proxy->src_ip, ip_len)) != FK_OK ||
            (err = fk_reader_copy(body, proxy->dst_ip, ip_len)) != FK_OK ||
            (err = fk_reader_u16(body, &proxy->src_port)) != FK_OK ||
            (err = fk_reader_u16(body, &proxy->dst_port)) != FK_OK)
            return err;
        proxy->ip_len = ip_len;
        return FK_OK;
    default:
        return (family & 0x0f) == 2 ? FK_ERR_UNSUPPORTED : FK_ERR_FORMAT;
    }
}

/* The fixed part. FK_ERR_AGAIN with *ret_need when it or the body is not all there. */
static int v2_header(struct fk_reader input, uint8_t *ret_command, uint8_t *ret_family,
                     size_t *ret_need)
{
    size_t have = input.left < sizeof v2_signature ? input.left : sizeof v2_signature;
    uint8_t version;
    uint16_t len;

    if (memcmp(input.next, v2_signature, have) != 0)
        return FK_ERR_FORMAT;
    if (fk_reader_skip(&input, sizeof v2_signature) != FK_OK ||
        fk_reader_u8(&input, &version) != FK_OK || fk_reader_u8(&input, ret_family) != FK_OK ||
        fk_reader_u16(&input, &len) != FK_OK) {
        *ret_need = V2_HEADER;
        return FK_ERR_AGAIN;
    }
    if (version >> 4 != 2)
        return FK_ERR_VERSION;
    *ret_command = version & 0x0f;
    if (*ret_command != V2_LOCAL && *ret_command != V2_PROXY)
        return FK_ERR_FORMAT;
    if (V2_HEADER + (size_t)len > FK_PROXY_V2_MAX)
        return FK_ERR_LIMIT;
    *ret_need = V2_HEADER + (size_t)len;
    return input.left < len ? FK_ERR_AGAIN : FK_OK;
}

static int v2_decode(struct fk_reader input, struct fk_proxy *ret, size_t *ret_used)
{
    struct fk_reader header, body;
    uint8_t command = 0, family = 0;
    int err;

    if ((err = v2_header(input, &command, &family, ret_used)) != FK_OK ||
        (err = fk_reader_take(&input, *ret_used, &header)) != FK_OK)
        return err;
    ret->local = command == V2_LOCAL;
    if (ret->local)
        return FK_OK; /* section 2.2: the rest is to be discarded */
    body = header;
    if ((err = fk_reader_skip(&body, V2_HEADER)) != FK_OK ||
        (err = decode_addresses(&body, family, ret)) != FK_OK)
        return err;
    return decode_tlvs(header, body, ret);
}

int fk_proxy_decode(const void *data, size_t len, struct fk_proxy *ret, size_t *ret_used)
{
    struct fk_proxy proxy = {0};
    struct fk_reader input;
    size_t used = len + 1;
    int err;

    fk_reader_init(&input, data, len);
    if (len == 0)
        err = FK_ERR_AGAIN;
    else if (input.next[0] == v2_signature[0])
        err = v2_decode(input, &proxy, &used);
    else
        err = v1_decode(input, &proxy, &used);
    if (err == FK_OK || err == FK_ERR_AGAIN)
        *ret_used = used;
    if (err == FK_OK)
        *ret = proxy;
    return err;
}

static void encode_tlvs(const void *base, const struct tlv_row *rows, size_t count,
                        struct fk_writer *out)
{
    for (size_t i = 0; i < count; i++) {
        const struct fk_reader *value =
            (const struct fk_reader *)(const void *)((const char *)base + rows[i].offset);

        if (value->next == NULL)
            continue;
        fk_writer_u8(out, rows[i].type);
        fk_writer_vec16(out, value->next, value->left);
    }
}

static void encode_ssl(const struct fk_proxy_ssl *ssl, struct fk_writer *out)
{
    size_t mark;

    fk_writer_u8(out, TLV_SSL);
    mark = fk_writer_begin16(out);
    fk_writer_u8(out, ssl->client);
    fk_writer_u32(out, ssl->verify);
    encode_tlvs(ssl, ssl_rows, N_SSL_TLVS, out);
    fk_writer_end16(out, mark);
}

static void encode_body(const struct fk_proxy *proxy, struct fk_writer *out)
{
    fk_writer_bytes(out, proxy->src_ip, proxy->ip_len);
    fk_writer_bytes(out, proxy->dst_ip, proxy->ip_len);
    if (proxy->ip_len != 0) {
        fk_writer_u16(out, proxy->src_port);
        fk_writer_u16(out, proxy->dst_port);
    }
    if (proxy->unique_id.left > FK_PROXY_UNIQUE_ID_MAX && out->err == FK_OK)
        out->err = FK_ERR_RANGE;
    encode_tlvs(proxy, tlv_rows, N_TLVS, out);
    if (proxy->ssl.present)
        encode_ssl(&proxy->ssl, out);
    if (proxy->custom.next != NULL) {
        fk_writer_u8(out, proxy->custom_type);
        fk_writer_vec16(out, proxy->custom.next, proxy->custom.left);
    }
    if (proxy->crc32c) {
        fk_writer_u8(out, TLV_CRC32C);
        fk_writer_u16(out, 4);
        fk_writer_u32(out, 0);
    }
}

static uint8_t family_of(const struct fk_proxy *proxy)
{
    if (proxy->local || proxy->ip_len == 0)
        return V2_UNSPEC;
    return proxy->ip_len == 4 ? V2_TCP4 : V2_TCP6;
}

void fk_proxy_encode_v2(const struct fk_proxy *proxy, struct fk_writer *out)
{
    size_t start = out->len, mark;
    struct fk_writer tail;

    fk_writer_bytes(out, v2_signature, sizeof v2_signature);
    fk_writer_u8(out, 0x20 | (proxy->local ? V2_LOCAL : V2_PROXY));
    fk_writer_u8(out, family_of(proxy));
    mark = fk_writer_begin16(out);
    if (!proxy->local)
        encode_body(proxy, out);
    fk_writer_end16(out, mark);
    if (out->err != FK_OK || proxy->local || !proxy->crc32c)
        return;
    /* The checksum is the last field, zero until now. */
    fk_writer_init(&tail, out->base + out->len - 4, 4);
    fk_writer_u32(&tail, crc32c(0, out->base + start, out->len - start));
}
