/*
 * The PROXY protocol, versions 1 and 2, both directions (HAProxy's proxy-protocol.txt, 2020/03/05).
 * Sans-I/O. Addresses are raw bytes in network order: nothing here knows sockets.
 */
#ifndef FK_WIRE_PROXY_H
#define FK_WIRE_PROXY_H

#include "base/reader.h"
#include "base/writer.h"

#include <stdbool.h>
#include <stdint.h>

/* pp2_tlv_ssl.client: what of TLS the client used (section 2.2.6). */
#define FK_PROXY_SSL       0x01U /* the client connected over TLS */
#define FK_PROXY_CERT_CONN 0x02U /* it showed a certificate on this connection */
#define FK_PROXY_CERT_SESS 0x04U /* it showed one in this TLS session */

/* Types of TLVs that whoever agrees upon them uses (section 2.2.7). */
#define FK_PROXY_CUSTOM_MIN 0xE0
#define FK_PROXY_CUSTOM_MAX 0xEF

/* Texts without NUL; absent: next == NULL. */
struct fk_proxy_ssl {
    bool present;
    uint8_t client;  /* FK_PROXY_*; some senders say 0 on connections without TLS */
    uint32_t verify; /* 0: the certificate was shown and verified */
    struct fk_reader version, common_name, cipher, sig_alg, key_alg;
};

/* What is said about the connection. Readers that are absent have next == NULL. */
struct fk_proxy {
    bool local;     /* v2 LOCAL: made by the sender itself (a health check): all else is absent */
    uint8_t ip_len; /* 4, 16, or 0: addresses unknown (v1 UNKNOWN, v2 UNSPEC or UNIX) */
    uint8_t src_ip[16];
    uint8_t dst_ip[16];
    uint16_t src_port;
    uint16_t dst_port;
    /* Version 2 only: */
    struct fk_reader alpn;
    struct fk_reader authority; /* the client's server_name */
    struct fk_reader unique_id; /* at most FK_PROXY_UNIQUE_ID_MAX bytes */
    struct fk_proxy_ssl ssl;
    uint8_t custom_type;     /* to encode: of `custom`, FK_PROXY_CUSTOM_MIN to _MAX */
    struct fk_reader custom; /* to encode: any bytes; decoding passes over those */
    bool crc32c;             /* decoded: a checksum was there, and right; to encode: add one */
};

/*
 * The header that a stream begins with; *ret borrows `data`. FK_OK: *ret_used bytes are its length.
 * FK_ERR_AGAIN: incomplete; calling again is of use when there are at least *ret_used bytes.
 * FK_ERR_FORMAT (neither version, or not as its version demands), FK_ERR_VERSION (v2 of another
 * version), FK_ERR_UNSUPPORTED (datagrams), FK_ERR_LIMIT, FK_ERR_DUPLICATE (a known TLV),
 * FK_ERR_TRUNCATED (a TLV that ends outside the header), FK_ERR_VERIFY (checksum).
 */
int fk_proxy_decode(const void *data, size_t len, struct fk_proxy *ret, size_t *ret_used);

/*
 * Append a header to `out`: at most FK_PROXY_V1_MAX bytes, TLVs left out; or version 2 with those
 * that are present, the checksum last. Both addresses must be of one family (map IPv4 into IPv6
 * first if they are not). FK_ERR_RANGE sticks in the writer for a unique id or header too long.
 */
void fk_proxy_encode_v1(const struct fk_proxy *proxy, struct fk_writer *out);
void fk_proxy_encode_v2(const struct fk_proxy *proxy, struct fk_writer *out);

#endif
