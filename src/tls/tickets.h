/*
 * Session tickets: their keys, and sealing and opening tickets with them.
 *
 * The master makes the keys and shares them with the workers over the control sockets
 * (FK_PROC_TICKETS); they never reach a disk. Each site derives its own keys from them
 * (HKDF-SHA256), so that a ticket of one site means nothing to another.
 */
#ifndef FK_TLS_TICKETS_H
#define FK_TLS_TICKETS_H

#include "base/limits.h"
#include "wire/keyticket.h"

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fk_ticket_key {
    uint8_t id[16];     /* random; salt of the derivation */
    uint8_t secret[32]; /* random */
    uint64_t made_us;   /* monotonic time of its making, for its end */
};

/* Newest first: that one seals, all open. */
struct fk_ticket_keys {
    size_t count;
    struct fk_ticket_key keys[FK_EDGE_TICKET_KEYS];
};

/* --- master --- */

/*
 * Add a new key when the newest is a quarter of `life_us` old (or there is none) and drop those
 * older than `life_us`. Returns whether anything changed; *ret_next_us: microseconds until the next
 * call is due. FK_ERR_CRYPTO when there is no randomness: nothing changed.
 */
int fk_ticket_keys_rotate(struct fk_ticket_keys *keys, uint64_t life_us, uint64_t now_us,
                          bool *ret_changed, uint64_t *ret_next_us);

/* The same, but a new key is added however old the newest is. With FK_EDGE_TICKET_KEYS there
 * already the oldest goes before its time. */
int fk_ticket_keys_renew(struct fk_ticket_keys *keys, uint64_t life_us, uint64_t now_us,
                         uint64_t *ret_next_us);

/*
 * The ticket keys of a quarter of `life_us`, the same for all who have the secret: derived from it
 * and from the number of the quarter since 1970. The present one seals; the three before open, and
 * the next one, for who shares the secret and whose clock is ahead. *ret_next_us:
 * microseconds until the next. FK_ERR_CRYPTO. The caller wipes *ret.
 */
#define FK_TICKET_SHARED_SECRET 32
int fk_ticket_keys_shared(const uint8_t secret[FK_TICKET_SHARED_SECRET], uint64_t life_us,
                          uint64_t wall_us, struct fk_ticket_keys *ret, uint64_t *ret_next_us);

/* For FK_PROC_TICKETS: n u8, then id and secret of each key. */
#define FK_TICKET_KEYS_WIRE_MAX (1 + FK_EDGE_TICKET_KEYS * 48)
size_t fk_ticket_keys_encode(const struct fk_ticket_keys *keys,
                             uint8_t ret[FK_TICKET_KEYS_WIRE_MAX]);
/* FK_ERR_TRUNCATED, FK_ERR_TRAILING, FK_ERR_FORMAT (no key, or too many). */
int fk_ticket_keys_decode(const void *data, size_t len, struct fk_ticket_keys *ret);

/* --- worker --- */

struct fk_tickets; /* the present keys of one process */

int fk_tickets_new(OSSL_LIB_CTX *libctx, struct fk_tickets **ret);
void fk_tickets_free(struct fk_tickets *tickets); /* wipes */

/* Take new keys (copied). Sites derive theirs at their next ticket. */
void fk_tickets_set(struct fk_tickets *tickets, const struct fk_ticket_keys *keys);

struct fk_ticket_site; /* one site's derived keys */

/* How many keys open the site's tickets now. */
size_t fk_ticket_site_count(const struct fk_ticket_site *site);

/* `name` sets the site apart: its title. `tickets` must outlive it. FK_ERR_NOMEM: also when memory
 * for its keys cannot be locked; a handshake needs no more of it. */
int fk_ticket_site_new(struct fk_tickets *tickets, const char *name, struct fk_ticket_site **ret);
void fk_ticket_site_free(struct fk_ticket_site *site); /* wipes */

/* From now on the site derives from these in place of those that it was made with; borrowed until
 * it follows others. NULL: from none, it has no tickets. */
void fk_ticket_site_follow(struct fk_ticket_site *site, const struct fk_tickets *source);

/*
 * The body of OpenSSL's ticket key callback (SSL_CTX_set_tlsext_ticket_key_evp_cb): 1 fine, 2 fine
 * and to be renewed, 0 no ticket (unknown key, or there are no keys), -1 failure. AES-256-CBC with
 * HMAC-SHA256 (RFC 5077 section 4).
 */
int fk_ticket_site_seal(struct fk_ticket_site *site, uint8_t name[16], uint8_t *iv,
                        EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac);
int fk_ticket_site_open(struct fk_ticket_site *site, const uint8_t name[16], const uint8_t *iv,
                        EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac);

/*
 * The same for a ticket that has keys of its own (ticketdesk.h). To be sealed with NULL: with keys
 * that nobody keeps. 1, -1.
 */
int fk_ticket_site_seal_single(const struct fk_ticket_site *site,
                               const struct fk_ticket_single *single, uint8_t name[16], uint8_t *iv,
                               EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac);
int fk_ticket_site_open_single(const struct fk_ticket_site *site,
                               const struct fk_ticket_opened *opened, const uint8_t *iv,
                               EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac);

/* Something sealed by this side for itself. */
#define FK_TICKET_BOX_TAG 16
struct fk_ticket_box {
    uint8_t *key;   /* 8 bytes: which key */
    uint8_t *nonce; /* 12 bytes */
    uint8_t *data;  /* `len` bytes, in place, with FK_TICKET_BOX_TAG bytes behind them */
    size_t len;     /* of the plain text */
    const void *aad;
    size_t aad_len;
};

/*
 * Seal and open with AES-256-GCM, in place; nonces are random. lock() fills `key`, `nonce` and the
 * tag. FK_ERR_NOT_FOUND (no such key, or none at all), FK_ERR_CRYPTO (also: not authentic).
 */
int fk_ticket_site_lock(struct fk_ticket_site *site, const struct fk_ticket_box *box);
int fk_ticket_site_unlock(struct fk_ticket_site *site, const struct fk_ticket_box *box);

#endif
