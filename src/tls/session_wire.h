/*
 * Session keys on their way from who shook hands to who protects the records: struct
 * fk_session_keys as bytes (docs/wire-key.md). Sans-I/O.
 */
#ifndef FK_TLS_SESSION_WIRE_H
#define FK_TLS_SESSION_WIRE_H

#include "base/reader.h"
#include "base/writer.h"
#include "tls/session_keys.h"

/* Bytes of the largest: suite and flags, and two directions with a number and four vectors. */
#define FK_SESSION_WIRE_MAX                                                               \
    (3 + 2 * (8 + 1 + FK_SUITE_KEY_MAX + 1 + FK_SUITE_IV_MAX + 1 + FK_SUITE_MAC_MAX + 1 + \
              FK_SUITE_HASH_MAX))

/*
 * suite u16 | flags u8 (01: encrypt-then-MAC) | client | server, each direction:
 * seq u64 | key<u8> | iv<u8> | MAC key<u8> | traffic secret<u8>, as long as the suite says.
 */
void fk_session_wire_encode(const struct fk_session_keys *keys, struct fk_writer *out);

/*
 * *ret holds secrets: the caller wipes it. FK_ERR_UNSUPPORTED: a suite that the record engine does
 * not know; FK_ERR_FORMAT: lengths or flags that are not the suite's; FK_ERR_TRUNCATED,
 * FK_ERR_TRAILING. *ret is untouched by a failure.
 */
int fk_session_wire_decode(struct fk_reader in, struct fk_session_keys *ret);

#endif
