/*
 * Error codes.
 *
 * Every fallible function returns an int: 0 (FK_OK) or one of the negative codes below. The list
 * is the single place where a code gets its name and its text. A code says what kind of thing went
 * wrong; the place that logs adds who and where.
 */
#ifndef FK_BASE_ERR_H
#define FK_BASE_ERR_H

/* X(name, number, text) */
#define FK_ERR_LIST(X)                                                           \
    X(NOMEM, 1, "out of memory")                                                 \
    X(INVAL, 2, "invalid argument")                                              \
    X(SYS, 3, "system call failed")                                              \
    X(TRUNCATED, 4, "message is truncated")                                      \
    X(TRAILING, 5, "unexpected bytes after the end")                             \
    X(FORMAT, 6, "malformed message")                                            \
    X(VERSION, 7, "unsupported version")                                         \
    X(LIMIT, 8, "limit exceeded")                                                \
    X(RANGE, 9, "value out of range")                                            \
    X(DUPLICATE, 10, "duplicate")                                                \
    X(NOT_FOUND, 11, "not found")                                                \
    X(KEY_NOT_FOUND, 12, "key not found")                                        \
    X(DENIED, 13, "not authorised")                                              \
    X(RATE, 14, "rate limited")                                                  \
    X(DRAINING, 15, "draining")                                                  \
    X(TIMEOUT, 16, "deadline exceeded")                                          \
    X(CLOSED, 17, "connection closed")                                           \
    X(CRYPTO, 18, "cryptographic operation failed")                              \
    X(VERIFY, 19, "verification failed")                                         \
    X(UNSUPPORTED, 20, "not supported")                                          \
    X(AGAIN, 21, "try again")                                                    \
    X(INTERNAL, 22, "internal error")                                            \
    X(REPLAY, 23, "replayed request")                                            \
    X(EXPIRED, 24, "expired")                                                    \
    X(UNAVAILABLE, 25, "no server available")                                    \
    X(UNEXPECTED, 26, "unexpected message")                                      \
    X(CANCELLED, 27, "cancelled")                                                \
    X(OPCODE, 28, "unknown operation")                                           \
    X(CONF, 29, "bad configuration")                                             \
    X(PASSPHRASE, 30, "wrong or missing passphrase")                             \
    X(MISMATCH, 31, "key and certificate do not match")                          \
    X(TLS, 32, "TLS failure")                                                    \
    X(NOT_TLS, 33, "not TLS")                                                    \
    X(PLAIN_HTTP, 34, "plain HTTP on a TLS port")                                \
    X(SSLV2, 35, "SSLv2 hello")                                                  \
    X(EXPOSED, 36, "open to other users; chmod 600 it, owner root or this user") \
    X(EXPOSED_DIR, 37, "every user may write there; chmod o-w it")               \
    X(NOT_REGULAR, 38, "not a regular file")                                     \
    X(SHARE_MISSING, 39, "a share of the split key is missing")                  \
    X(SHARE_WRONG, 40, "a share of the split key is wrong")                      \
    X(SHARE_REPEATED, 41, "the same share of the split key twice")               \
    X(SHARE_FOREIGN, 42, "a share of another key, or of another splitting")      \
    X(TOKEN, 50, "the token is not there")                                       \
    X(PIN, 51, "the token refuses the PIN")                                      \
    X(BUSY, 52, "too many operations wait for the token")

enum fk_err {
    FK_OK = 0,
#define FK_ERR_ENUM(name, number, text) FK_ERR_##name = -(number),
    FK_ERR_LIST(FK_ERR_ENUM)
#undef FK_ERR_ENUM
};

/* The symbolic name ("TRUNCATED") of a code, for logs and tests; "UNKNOWN" for any other number. */
const char *fk_err_name(int err);

/* A lower-case sentence fragment for people; never NULL. */
const char *fk_err_text(int err);

#endif
