/*
 * Payloads of mode `agree` (docs/wire-key.md): the key server makes the ephemeral key of TLS 1.2's
 * ECDHE or DHE and signs its public value; later it computes the premaster secret from the client's
 * share, or hands the private value over at once. Sans-I/O; decoded structures borrow the payload.
 */
#ifndef FK_WIRE_KEYOP_AGREE_H
#define FK_WIRE_KEYOP_AGREE_H

#include "base/reader.h"
#include "base/writer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A handle: the name of what a key server keeps between two operations of one handshake. */
#define FK_HANDLE_SIZE 16

/* NamedGroup (RFC 8422 section 5.1.1, RFC 7919 section 2) of an ephemeral key made by others. */
enum fk_agree_group_id {
    FK_AGREE_P256 = 0x0017,
    FK_AGREE_P384 = 0x0018,
    FK_AGREE_X25519 = 0x001d,
    FK_AGREE_FFDHE2048 = 0x0100,
    FK_AGREE_FFDHE3072 = 0x0101,
    FK_AGREE_FFDHE4096 = 0x0102,
};

struct fk_agree_group {
    uint16_t id;
    bool is_dh;        /* DHE; else ECDHE */
    size_t share_len;  /* of a public value; DHE: of the prime, shares may be shorter */
    size_t secret_len; /* of the premaster secret and of a private value; DHE: at most */
};

/* NULL: no such group here. */
const struct fk_agree_group *fk_agree_group_find(uint16_t id);

/* Who has the private value. */
enum fk_agree_form {
    FK_AGREE_KEPT = 0,   /* the key server, under a handle */
    FK_AGREE_HANDED = 1, /* the edge: it is part of the answer, and no handle is kept */
};

/* AGREE_INIT: scheme u16 | group u16 | form u8 | client random 32 | server random 32. */
struct fk_agree_init {
    uint16_t scheme; /* SignatureScheme, of the ServerKeyExchange */
    uint16_t group;
    enum fk_agree_form form;
    uint8_t client_random[32];
    uint8_t server_random[32];
};

/* FK_ERR_TRUNCATED, FK_ERR_TRAILING, FK_ERR_FORMAT (form), FK_ERR_UNSUPPORTED (group). */
int fk_agree_init_decode(struct fk_reader payload, struct fk_agree_init *ret);
void fk_agree_init_encode(const struct fk_agree_init *op, struct fk_writer *out);

/* Its answer: handle 16 | params<u16> | signature<u16> | private<u16>. */
struct fk_agree_made {
    uint8_t handle[FK_HANDLE_SIZE]; /* zeros when the private value is handed over */
    struct fk_reader params;        /* ServerECDHParams (RFC 8422 5.4), ServerDHParams */
    struct fk_reader signature;     /* of client random | server random | params; not empty */
    struct fk_reader private_value; /* x25519: 32 bytes; EC: as long as the field; DHE: x */
};

/*
 * The answer to `op`: its parameters must be of the group asked for (DHE: have a prime of its
 * size; which one it is, is for whoever has the numbers), handle and private value as its form
 * says. FK_ERR_FORMAT, FK_ERR_UNSUPPORTED, FK_ERR_RANGE, FK_ERR_TRUNCATED, FK_ERR_TRAILING.
 */
int fk_agree_made_decode(struct fk_reader payload, const struct fk_agree_init *op,
                         struct fk_agree_made *ret);
void fk_agree_made_encode(const struct fk_agree_made *made, struct fk_writer *out);

/* AGREE_FINISH: handle 16 | share<u16>. The answer is the premaster secret, nothing before it. */
struct fk_agree_finish {
    uint8_t handle[FK_HANDLE_SIZE];
    struct fk_reader share; /* the client's point (RFC 8422 5.7) or Yc (RFC 5246 7.4.7.2) */
};

/* What a share must look like depends on the handle's group: whoever has that checks it. Not empty,
 * and no longer than that of any group: FK_ERR_FORMAT. FK_ERR_TRUNCATED, FK_ERR_TRAILING. */
int fk_agree_finish_decode(struct fk_reader payload, struct fk_agree_finish *ret);
void fk_agree_finish_encode(const struct fk_agree_finish *op, struct fk_writer *out);

/* The two fields alone, from the cursor on: they stand in other payloads, too. */
int fk_agree_share_read(struct fk_reader *payload, struct fk_agree_finish *ret);

/* That a premaster secret is as long as one of the group can be. FK_ERR_FORMAT. */
int fk_agree_secret_check(uint16_t group, size_t len);

#endif
