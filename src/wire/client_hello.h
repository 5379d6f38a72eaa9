/*
 * The edge's own look at a ClientHello, before any cryptography: who is asked for, what the client
 * can do, and whether it speaks TLS at all. Sans-I/O; negotiates nothing: libssl reads the same
 * bytes again and decides.
 */
#ifndef FK_WIRE_CLIENT_HELLO_H
#define FK_WIRE_CLIENT_HELLO_H

#include "base/buf.h"
#include "base/limits.h"
#include "base/reader.h"

#include <stdbool.h>
#include <stdint.h>

/* Which kinds of cipher suites were offered, those with AES, ChaCha20 or 3DES. */
#define FK_SUITES_TLS13       0x01U
#define FK_SUITES_ECDHE_ECDSA 0x02U
#define FK_SUITES_ECDHE_RSA   0x04U
#define FK_SUITES_DHE_RSA     0x08U
#define FK_SUITES_RSA         0x10U /* RSA key exchange */
#define FK_SUITES_FALLBACK    0x20U /* TLS_FALLBACK_SCSV, RFC 7507 */

/* Lists are empty when the client did not send them. */
struct fk_client_hello {
    uint16_t legacy_version;
    uint8_t random[32];
    uint8_t session_id_len;
    uint8_t suites; /* FK_SUITES_* */
    bool tls12, tls13;
    bool psk, ticket, extended_master_secret, early_data;
    char server_name[FK_HOST_MAX + 1]; /* lower case, NUL-terminated; "": none was sent */
    struct fk_reader versions;         /* supported_versions: u16 each */
    struct fk_reader schemes;          /* signature_algorithms: u16 each */
    struct fk_reader groups;           /* supported_groups: u16 each */
    struct fk_reader alpn;             /* walk with fk_reader_vec8() */
};

/*
 * Parse what a TCP stream began with: TLS records that carry one ClientHello (RFC 8446
 * sections 4.1.2 and 5.1). `scratch` (bound at least FK_CLIENT_HELLO_MAX) holds the message when it
 * came in several records; the lists in *ret borrow from `data` or `scratch` until either changes.
 *
 * FK_OK: *ret_used is where the hello's last record ends. FK_ERR_AGAIN: incomplete; calling again
 * is of use when there are at least *ret_used bytes. Otherwise the stream is at fault, for good:
 *   FK_ERR_NOT_TLS, FK_ERR_PLAIN_HTTP, FK_ERR_SSLV2  what it is instead
 *   FK_ERR_UNEXPECTED   another record type or handshake message
 *   FK_ERR_VERSION      legacy_version below 3.0
 *   FK_ERR_LIMIT        a bound of limits.h
 *   FK_ERR_DUPLICATE    an extension or a host name twice
 *   FK_ERR_TRUNCATED, FK_ERR_TRAILING, FK_ERR_FORMAT  malformed inside
 * or FK_ERR_NOMEM.
 */
int fk_client_hello_parse(const void *data, size_t len, struct fk_buf *scratch,
                          struct fk_client_hello *ret, size_t *ret_used);

/* Whether a list of 16-bit numbers holds `value`. */
bool fk_client_hello_lists(struct fk_reader list, uint16_t value);

/* Whether the protocol `name` of `len` bytes was offered (RFC 7301). */
bool fk_client_hello_offers(const struct fk_client_hello *hello, const void *name, size_t len);

#endif
