/*
 * Payloads of mode `handshake` (docs/wire-key.md): the key server shakes hands with the edge's
 * client, the edge carries the records to and fro. Sans-I/O; decoded structures borrow the payload.
 */
#ifndef FK_WIRE_KEYOP_HANDSHAKE_H
#define FK_WIRE_KEYOP_HANDSHAKE_H

#include "base/reader.h"
#include "base/writer.h"

#include <stdbool.h>
#include <stdint.h>

/* A handshake's name: whose part says which handshaker has it, then chance. */
#define FK_HANDSHAKE_ID 16

/* Versions that the site offers. */
#define FK_HANDSHAKE_TLS12 0x01U
#define FK_HANDSHAKE_TLS13 0x02U

/* Key exchanges of TLS 1.2, and what else it wants. */
#define FK_HANDSHAKE_ECDHE 0x01U
#define FK_HANDSHAKE_DHE   0x02U
#define FK_HANDSHAKE_RSA   0x04U
#define FK_HANDSHAKE_IDS   0x08U /* resumption by session id, TLS 1.2 */
/* TLS 1.2: the master secret, and Finished is whoever asks' business. */
#define FK_HANDSHAKE_EXPOSE 0x10U
#define FK_HANDSHAKE_MASTER 48 /* bytes of it */

/* Certificates of clients: not asked for, asked for, required. */
enum {
    FK_HANDSHAKE_CLIENT_NOT_ASKED,
    FK_HANDSHAKE_CLIENT_OPTIONAL,
    FK_HANDSHAKE_CLIENT_REQUIRED,
};

/*
 * HS_OPEN: versions u8 | options u8 | tickets u8 | lifetime u32 | groups<u8> | alpn<u16> |
 * client u8 | cas<u16> | title<u8> | name<u8> | records<u16>.
 */
struct fk_handshake_open {
    uint8_t versions;         /* FK_HANDSHAKE_TLS*, one at least */
    uint8_t options;          /* FK_HANDSHAKE_* */
    uint8_t tickets;          /* TLS 1.3 tickets after a full handshake; 0: none, 1.2 neither */
    uint32_t lifetime;        /* of a session, seconds */
    struct fk_reader groups;  /* NamedGroup u16 each, most wanted first; empty: the server's */
    struct fk_reader alpn;    /* names<u8>, most wanted first; empty: the extension is ignored */
    uint8_t client;           /* FK_HANDSHAKE_CLIENT_*: whether it shall show a certificate */
    struct fk_reader cas;     /* ... of one of these: names<u16>, DER */
    struct fk_reader title;   /* of the site: the key of this name, else ... */
    struct fk_reader name;    /* ... of this one */
    struct fk_reader records; /* the client's first: a ClientHello, as they came */
};

/* FK_ERR_TRUNCATED, FK_ERR_TRAILING, FK_ERR_FORMAT: no version, an unknown bit, an odd list, an
 * ALPN name that is empty, more than FK_HANDSHAKE_ALPN_MAX of them, names of CAs that are cut,
 * too many (FK_CLIENT_CAS_MAX) or for nothing, certificates of clients with FK_HANDSHAKE_EXPOSE,
 * no name of a key, no records. */
int fk_handshake_open_decode(struct fk_reader payload, struct fk_handshake_open *ret);
void fk_handshake_open_encode(const struct fk_handshake_open *op, struct fk_writer *out);

/* FK_PERM_* (wire/keyop.h) that it needs of an edge and of a key. */
uint16_t fk_handshake_permissions(const struct fk_handshake_open *op);

/* HS_DATA: handshake 16 | records<u16>. HS_CLOSE: handshake 16. */
struct fk_handshake_data {
    uint8_t id[FK_HANDSHAKE_ID];
    struct fk_reader records; /* the client's next, as they came; not empty. HS_CLOSE: none */
};

int fk_handshake_data_decode(struct fk_reader payload, struct fk_handshake_data *ret);
void fk_handshake_data_encode(const struct fk_handshake_data *op, struct fk_writer *out);
int fk_handshake_close_decode(struct fk_reader payload, uint8_t ret[FK_HANDSHAKE_ID]);
void fk_handshake_close_encode(const uint8_t id[FK_HANDSHAKE_ID], struct fk_writer *out);

/* What the client's next records are wanted for, or how it ended. */
enum fk_handshake_state {
    FK_HANDSHAKE_ANY = 1,  /* any records of the client */
    FK_HANDSHAKE_FLIGHT,   /* TLS 1.2: none before ChangeCipherSpec and the Finished behind it */
    FK_HANDSHAKE_DONE,     /* the session's keys are here, the handshake is forgotten */
    FK_HANDSHAKE_FAILED,   /* it is over: the records hold the alert, if one was due */
    FK_HANDSHAKE_EXCHANGE, /* FK_HANDSHAKE_EXPOSE: all before ChangeCipherSpec, or an alert */
    FK_HANDSHAKE_EXPOSED,  /* the master secret is here, the handshake is forgotten */
};

/* Who or what a handshake failed by. */
enum fk_handshake_cause {
    FK_HANDSHAKE_BY_SERVER, /* the server refuses what the client sent */
    FK_HANDSHAKE_BY_CLIENT, /* an alert of the client */
    FK_HANDSHAKE_BY_KEY,    /* the private key could not be used */
};

/*
 * Answer to HS_OPEN and HS_DATA: state u8 | handshake 16 | records<u16>, and then
 * DONE: resumed u8 | rest u16 | alpn<u8> | keys<u16> | chain<u16>; FAILED: cause u8 | alert u8 |
 * reason<u8>; EXPOSED: alpn<u8> | master 48 | chain<u16>.
 */
struct fk_handshake_answer {
    enum fk_handshake_state state;
    uint8_t id[FK_HANDSHAKE_ID];
    struct fk_reader records; /* for the client */
    /* DONE */
    bool resumed;
    uint16_t rest;           /* bytes at the end of the request's records that are not used */
    struct fk_reader alpn;   /* the protocol chosen, empty: none */
    struct fk_reader keys;   /* tls/session_wire.h */
    struct fk_reader chain;  /* of the client, not judged: certificates<u16>, DER, leaf first */
    struct fk_reader master; /* EXPOSED, with alpn and chain: FK_HANDSHAKE_MASTER bytes */
    /* FAILED */
    enum fk_handshake_cause cause;
    uint8_t alert; /* the description of the alert (RFC 8446 section 6), 0: there is none */
    struct fk_reader reason; /* text for a log */
};

int fk_handshake_answer_decode(struct fk_reader payload, struct fk_handshake_answer *ret);
void fk_handshake_answer_encode(const struct fk_handshake_answer *answer, struct fk_writer *out);

#endif
