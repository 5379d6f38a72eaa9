/*
 * A key back-end: whatever can carry out one operation with a private key that is not in this
 * process. Implemented by the signer's client (a process on this machine, signer/client.h) and by
 * the key client (key servers, keyclient/keyclient.h); used by the remote-key provider
 * (tls/rkey.h).
 */
#ifndef FK_TLS_KEYBACK_H
#define FK_TLS_KEYBACK_H

#include "wire/keyop.h"

#include <openssl/evp.h>
#include <stddef.h>
#include <stdint.h>

/* Facts about the connection on whose behalf an operation is asked for: for audit and policy. */
struct fk_key_context {
    const char *sni; /* NULL: none */
    uint8_t client_ip[16];
    uint8_t client_ip_len; /* 0, 4 or 16 */
    uint8_t server_ip[16];
    uint8_t server_ip_len;
    uint64_t connection; /* id in this process's log */
};

enum fk_key_op {
    FK_KEY_SIGN13,
    FK_KEY_SIGN12,
    FK_KEY_DECRYPT,
    FK_KEY_CALL, /* any other operation of key servers, as it stands on the wire */
};

/*
 * Where something lives at one of several key servers that is asked for again: by operations that
 * follow each other in a handshake.
 */
struct fk_key_route {
    uint32_t server; /* its number among the back-end's, from 1 on; 0: not known yet */
};

/* FK_KEY_CALL: an opcode of farkey/1 (wire/keymsg.h) and its payload. */
struct fk_key_call {
    uint8_t opcode;
    const uint8_t *payload;
    size_t len; /* FK_KEY_CALL_MAX at most */
};

/* One operation. The back-end copies what it needs before submit returns. */
struct fk_key_request {
    enum fk_key_op op;
    uint8_t ski[20];      /* SHA-1 of the public-key bits: names the key */
    EVP_PKEY *public_key; /* borrowed until done or cancelled: to verify signatures */
    const uint8_t *tbs;   /* SIGN*: the whole message to be signed, as libssl gave it */
    size_t tbs_len;
    union {
        struct fk_sign13 sign13;
        struct fk_sign12 sign12; /* params borrow from tbs */
        struct fk_decrypt decrypt;
        struct fk_key_call call;
    } u;
    /*
     * Borrowed until done or cancelled; NULL: any server will do, now and later. Server 0: any, and
     * that which answers is written here. Else that one alone is asked, once: what it did for a
     * request whose answer is lost, nobody knows.
     */
    struct fk_key_route *route;
    /* Any server can do instead what this is for, in another way: one that is away, or silent, is
     * not waited for while another is there. */
    bool replaceable;
    /* A share of a split key, sealed for this operation (wire/keyshare.h). share_len 0: none. */
    const uint8_t *share;
    size_t share_len;
    /* It is sealed for the handshake that an HS_OPEN has begun: SHA-256 of its payload. NULL: not
     * so. At a key server only. */
    const uint8_t *share_digest;
    const struct fk_key_context *context; /* borrowed during submit only; may be NULL */
};

/*
 * Write an operation's payload, the same structure to key servers and to signers (wire/keyop.h).
 * FK_ERR_INVAL: no such operation.
 */
int fk_key_request_encode(const struct fk_key_request *request, struct fk_writer *out);

/*
 * Called once, never from within submit or cancel. `err` FK_OK: data is the signature (DER for
 * ECDSA), the 48-byte premaster, or a call's answer as it came, valid during the call. Else why:
 * FK_ERR_TIMEOUT, FK_ERR_UNAVAILABLE, FK_ERR_DENIED, FK_ERR_RATE, FK_ERR_KEY_NOT_FOUND,
 * FK_ERR_VERIFY, ...
 */
typedef void fk_key_done_cb(void *arg, int err, const uint8_t *data, size_t len);

struct fk_key_ticket; /* an operation under way, opaque; each back-end has its own */

struct fk_keyback;

struct fk_keyback_ops {
    /* FK_OK: `done` will be called, unless cancelled. Else it will not, and nothing happened.
     * FK_ERR_UNSUPPORTED: this back-end carries out no such operation. */
    int (*submit)(struct fk_keyback *back, const struct fk_key_request *request,
                  fk_key_done_cb *done, void *arg, struct fk_key_ticket **ret);
    /* Forget an operation: `done` is not called any more. */
    void (*cancel)(struct fk_keyback *back, struct fk_key_ticket *ticket);
    /* A client rejected a signature made through here (decrypt_error alert): look harder. */
    void (*suspect)(struct fk_keyback *back);
};

/* Embedded first in a back-end's own struct. */
struct fk_keyback {
    const struct fk_keyback_ops *ops;
    uint64_t deadline_us; /* `done` is called at the latest so long after submit */
};

#endif
