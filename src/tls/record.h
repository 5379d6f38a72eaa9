/*
 * The record engine: the second half of a TLS session. It takes a session's keys, whoever made them
 * (tls/session_keys.h), and seals and opens its records: TLS 1.2 and 1.3. Sans-I/O:
 * bytes in, bytes out, no socket, no clock, no log.
 *
 * It follows and answers KeyUpdate, renews its own keys before an AEAD's limit (RFC 8446 section
 * 5.5), hands NewSessionTicket to its owner, refuses renegotiation, and tells close_notify from an
 * end that is none. What it has to say by itself (KeyUpdate, alerts) leaves with the next
 * fk_record_seal(), or by fk_record_seal_control() when there is nothing else to send.
 *
 * Keys lie in a slot of an arena (base/arena.h), cipher contexts come and go: a connection at rest
 * (fk_record_rest()) costs its slot and this small object.
 */
#ifndef FK_TLS_RECORD_H
#define FK_TLS_RECORD_H

#include "base/arena.h"
#include "tls/session_keys.h"

#include <stdbool.h>
#include <sys/uio.h>

#define FK_RECORD_HEAD      5
#define FK_RECORD_PLAIN_MAX 16384 /* bytes of one record's content: RFC 8446 section 5.1 */
/* Bytes that fk_record_seal_control() writes at most. */
#define FK_RECORD_CONTROL_MAX 128

enum fk_content {
    FK_CONTENT_CHANGE_CIPHER_SPEC = 20,
    FK_CONTENT_ALERT = 21,
    FK_CONTENT_HANDSHAKE = 22,
    FK_CONTENT_APPLICATION = 23,
};

enum fk_record_role { FK_RECORD_SERVER, FK_RECORD_CLIENT };

struct fk_record;

/* An arena for the keys of `max` connections. Errors as fk_arena_new(). */
int fk_record_arena_new(size_t max, struct fk_arena **ret);

/*
 * An engine with a copy of `keys`, which the caller wipes. The arena must outlive it. `role`: which
 * end of the session this is. FK_ERR_INVAL: no suite; FK_ERR_LIMIT, FK_ERR_NOMEM.
 */
int fk_record_new(struct fk_arena *arena, const struct fk_session_keys *keys,
                  enum fk_record_role role, struct fk_record **ret);

/* Wipes the keys. NULL is fine. */
void fk_record_free(struct fk_record *record);

/* Give the cipher contexts back until the next record. */
void fk_record_rest(struct fk_record *record);

/* --- sealing --- */

/* Where a record's content begins: what has to be free before it to seal in place. */
size_t fk_record_prefix(const struct fk_record *record);

/* Bytes that `len` bytes of content take at most, sealed, with what the engine itself has to say.
 */
size_t fk_record_sealed_max(const struct fk_record *record, size_t len);

/*
 * Seal application data: the `n` pieces as one stream, in full records and one that may be shorter;
 * no bytes at all make one empty record. `out` has `size` bytes, fk_record_sealed_max() of the sum
 * at least (FK_ERR_LIMIT). In place: one piece of FK_RECORD_PLAIN_MAX bytes at most that begins at
 * out + fk_record_prefix(), with fk_record_control_due() false; else no piece may overlap `out`.
 * FK_ERR_CLOSED: this side has sent its last alert; FK_ERR_CRYPTO: then it has failed.
 */
int fk_record_seal(struct fk_record *record, const struct iovec *pieces, size_t n, uint8_t *out,
                   size_t size, size_t *ret_len);

/* Whether the engine has something to say by itself. */
bool fk_record_control_due(const struct fk_record *record);

/* Seal that, if anything; `out` has FK_RECORD_CONTROL_MAX bytes. FK_ERR_CRYPTO. */
int fk_record_seal_control(struct fk_record *record, uint8_t *out, size_t *ret_len);

/* Have close_notify said: nothing can be sealed after it. */
void fk_record_close(struct fk_record *record);

/* Have a fatal alert said (RFC 8446 section 6.2), likewise: this session is over. */
void fk_record_refuse(struct fk_record *record, uint8_t alert);

/* Have the keys of this side renewed before its next record; with TLS 1.2 FK_ERR_UNSUPPORTED.
 * `ask`: the peer shall renew its own too. */
int fk_record_update_keys(struct fk_record *record, bool ask);

/* --- opening --- */

enum fk_record_event {
    FK_RECORD_NOTHING, /* a record of the engine's own business */
    FK_RECORD_DATA,    /* application data, perhaps none */
    FK_RECORD_TICKET,  /* TLS 1.3, to a client: a NewSessionTicket message's body */
    FK_RECORD_END,     /* close_notify: no more will come */
};

struct fk_opened {
    enum fk_record_event event;
    uint8_t *data; /* in the caller's bytes; a ticket's in the engine's, until the next call */
    size_t len;
    size_t consumed; /* bytes of the input that are done with; may be 0 */
};

/* Bytes of the first record of these, as its header says, or FK_RECORD_HEAD when that is not there
 * whole. Not checked: a record that is too long is refused when it is opened. */
size_t fk_record_length(const uint8_t *bytes, size_t len);

/*
 * Open the first record, in place. FK_ERR_AGAIN: it is not there whole; FK_ERR_CLOSED: the peer has
 * said that no more comes. All else ends the session, and an alert is due that says so:
 * FK_ERR_VERIFY (forged, damaged, or not under these keys), FK_ERR_LIMIT (too long),
 * FK_ERR_UNEXPECTED (not now, or too much of what leads nowhere), FK_ERR_FORMAT, FK_ERR_VERSION,
 * FK_ERR_CRYPTO, FK_ERR_NOMEM; FK_ERR_TLS: the peer sent a fatal alert, see fk_record_peer_alert().
 */
int fk_record_open(struct fk_record *record, uint8_t *bytes, size_t len, struct fk_opened *ret);

struct fk_opened_many {
    size_t n;              /* pieces */
    size_t consumed;       /* bytes of the input that are done with */
    struct fk_opened last; /* the last record: when it is no data, it is what stopped here */
};

/*
 * Open records, in place, as long as they are data: `max` pieces at most, each with its record's
 * content, none empty. FK_OK: `max` are there, or ret->last has another event. Else as
 * fk_record_open(), FK_ERR_AGAIN after the last whole record; what was opened before an error is in
 * *ret all the same, and counts.
 */
int fk_record_open_many(struct fk_record *record, uint8_t *bytes, size_t len, struct iovec *pieces,
                        size_t max, struct fk_opened_many *ret);

struct fk_early {
    uint8_t *data; /* in the caller's bytes: the record's from its beginning, NULL: none yet */
    size_t len;
    size_t most; /* bytes of it that are content at most, when all is there */
};

/*
 * UNVERIFIED bytes of the first record, which need not be there whole: they are decrypted in place
 * as far as they have come, and nobody has seen the tag. Whoever has the wire can have changed each
 * of them; in TLS 1.3 they may turn out not to be application data, or to be padding. For owners
 * that pass bytes on to someone who can tell, and end the session at the first error.
 *
 * Ask again as more comes: `bytes` are then as this function left them, and more, perhaps
 * elsewhere. fk_record_open() on the whole record goes on from there and gives the verdict.
 * Nothing is ever early of CBC records, handshake messages and alerts. Errors as fk_record_open().
 */
int fk_record_open_early(struct fk_record *record, uint8_t *bytes, size_t len,
                         struct fk_early *ret);

/* The fatal alert that came, -1: none. */
int fk_record_peer_alert(const struct fk_record *record);

/* Whether FK_ERR_UNEXPECTED meant too much of what leads nowhere: see tls/chatter.h. */
bool fk_record_overdone(const struct fk_record *record);

/* --- the last of a handshake --- */

/* Of TLS 1.2 with an AEAD, for an engine whose keys begin with number 0: the Finished messages,
 * which are its first records, `verify_data` is 12 bytes (RFC 5246 section 7.4.9). */
#define FK_RECORD_VERIFY 12

/* Open the peer's, in place: one record with nothing else in it. What is in it is the caller's to
 * compare. Errors as fk_record_open(), without an alert of the engine's. */
int fk_record_open_finished(struct fk_record *record, uint8_t *bytes, size_t len,
                            uint8_t ret[FK_RECORD_VERIFY], size_t *ret_consumed);

/* Seal this side's; `out` has FK_RECORD_CONTROL_MAX bytes. FK_ERR_CRYPTO. */
int fk_record_seal_finished(struct fk_record *record, const uint8_t verify[FK_RECORD_VERIFY],
                            uint8_t *out, size_t *ret_len);

/* --- facts --- */

/* The session's keys as they are now, borrowed: for a further hand-over. */
const struct fk_session_keys *fk_record_keys(const struct fk_record *record);

#endif
