/*
 * What is said between a signer and the processes that use it, over a stream socketpair. Both ends
 * are the same program on the same machine: fixed structures in host byte order. The signer still
 * believes nothing: it checks sizes, permissions and structure again, and derives every length of a
 * result from its own key.
 */
#ifndef FK_SIGNER_REQUEST_H
#define FK_SIGNER_REQUEST_H

#include <stdint.h>

/* An operation's payload: farkey/1's payload (wire/keyop.h), or a digest or message (dialect 1), of
 * 2 KiB at most, and a sealed share as long; or the transcript of a TLS 1.3 server's flight
 * (FK_TRANSCRIPT13_MAX), in a frame that its edge has signed. */
#define FK_SIGNER_PAYLOAD_MAX 8192
/* A result: an RSA-4096 key that is lent, sealed, with its public half. */
#define FK_SIGNER_RESULT_MAX 2560

enum fk_signer_op {
    FK_SIGNER_SIGN13 = 1,
    FK_SIGNER_SIGN12,
    FK_SIGNER_DECRYPT,
    FK_SIGNER_DIALECT1, /* `detail` is the opcode */
    FK_SIGNER_PING,
    FK_SIGNER_AUDIT_START,      /* audit process only: a new chain: id and first MAC key */
    FK_SIGNER_AUDIT_CHECKPOINT, /* audit process only: sign a chain's head */
    /*
     * A request that an edge has signed: name<u8> of the edge | exporter 32 of its channel |
     * share<u16> as for SPLIT, empty unless the front has got one | body of the frame. The
     * operation, the key and all else are taken from the body.
     */
    FK_SIGNER_SIGNED,
    /* Key operation `detail` (an opcode of farkey/1) with a split key: the other share as the wire
     * has it <u16> | the operation's payload. With a key that is whole the share is not looked at.
     */
    FK_SIGNER_SPLIT,
    /* Key operation `detail` for a handshake that is made at the key server: SHA-256 of its
     * HS_OPEN's payload 32 | the share that came with that <u16> | the operation's payload. */
    FK_SIGNER_SPLIT_OPEN,
    /* Of a share held here: it, or the power that it makes, sealed to who combines (an item of the
     * wire), for this operation alone: opcode u8 (of farkey/1) | its payload, of HS_OPEN the
     * SHA-256. `detail`: SHARE or PARTIAL, for a key server that combines, of either kind of share
     * alone; 0: for this edge itself, whichever it is. */
    FK_SIGNER_SHARE,
    /*
     * Key operation `detail` (an opcode of farkey/1) for an edge that does not sign: who it is 32
     * (SHA-256 of its identity) | the other share of a split key <u16>, or none | the operation's
     * payload. What keeps something for the edge comes in no other way.
     */
    FK_SIGNER_OWNED,
    FK_SIGNER_AGREE_INIT, /* for an edge only, see above */
    FK_SIGNER_AGREE_FINISH,
    FK_SIGNER_MASTER,
    FK_SIGNER_KEYS,
    FK_SIGNER_FINISHED,
    FK_SIGNER_EXPOSE,
    FK_SIGNER_KEYS_KEEP,
    FK_SIGNER_RESUME,
    FK_SIGNER_HELLO13,
    FK_SIGNER_FLIGHT13,
    /* Key servers: seal a key to an edge's signer. Name<u8> of the edge that asks (not in a request
     * that it has signed: FK_SIGNER_SIGNED) | the payload of LEND (wire/keyop_lend.h). */
    FK_SIGNER_LEND,
    /*
     * Edges: a key that is lent. LEND_ASK: seconds u32; the result is the payload of a LEND to ask
     * a key server for. BORROW: its `once` 32 | the key server's answer<u16> | the payload of key
     * operation `detail` (an opcode of farkey/1), which is carried out with the key. LENT: that
     * payload, for a key that is here already; FK_ERR_KEY_NOT_FOUND: it is not, or no more.
     */
    FK_SIGNER_LEND_ASK,
    FK_SIGNER_BORROW,
    FK_SIGNER_LENT,
    FK_SIGNER_TICKET_KEYS,   /* the ticket keys of who may use the key; the payload is empty */
    FK_SIGNER_TICKET_SEAL,   /* keys of new tickets, one each (wire/keyticket.h) */
    FK_SIGNER_TICKET_UNSEAL, /* the keys of one ticket, by its name */
};

struct fk_signer_request {
    uint32_t len; /* of the payload that follows */
    uint32_t id;  /* given back in the result */
    uint16_t op;  /* enum fk_signer_op */
    uint16_t detail;
    uint8_t ski[20]; /* which key */
};

struct fk_signer_result {
    uint32_t len; /* of the data that follows; 0 when err != 0 */
    uint32_t id;
    int32_t err;     /* FK_ERR_* */
    uint32_t micros; /* time the operation took in the signer */
};

_Static_assert(sizeof(struct fk_signer_request) == 32, "padding would leak");
_Static_assert(sizeof(struct fk_signer_result) == 16, "padding would leak");

#endif
