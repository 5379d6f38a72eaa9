/*
 * Freshness of RSA key exchange. A server random is not drawn but made of a seed, by a hash; the
 * key server is told the seed and makes the random again. What was recorded of a handshake shows
 * the random and not the seed, so that it cannot be brought to the key server once more.
 *
 * Idea: LURK for TLS 1.2 (draft-mglt-lurk-tls12).
 */
#ifndef FK_TLS_FRESH_H
#define FK_TLS_FRESH_H

#include <stdint.h>

#define FK_FRESH_SEED_SIZE   32
#define FK_FRESH_RANDOM_SIZE 32

/* SHA-256("farkey server random" | seed). FK_ERR_CRYPTO. */
int fk_fresh_random(const uint8_t seed[FK_FRESH_SEED_SIZE], uint8_t ret[FK_FRESH_RANDOM_SIZE]);

/* What a server that has TLS 1.3 puts at the end of it when it serves TLS 1.2 (RFC 8446 section
 * 4.1.3); the 24 bytes before are enough to know the seed by. */
void fk_fresh_mark(uint8_t random[FK_FRESH_RANDOM_SIZE]);

/* Whether a server random is of the seed, with that mark or without. FK_ERR_REPLAY: it is not;
 * FK_ERR_CRYPTO. */
int fk_fresh_check(const uint8_t seed[FK_FRESH_SEED_SIZE],
                   const uint8_t random[FK_FRESH_RANDOM_SIZE]);

#endif
