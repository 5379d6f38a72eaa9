/*
 * What can be wrong with a peer's HTTP: one name each, for logs, counters and tests, and the status
 * that a client is answered with. An origin's fault is 502 to the client, whatever its status here.
 */
#ifndef FK_HTTP_FAULT_H
#define FK_HTTP_FAULT_H

/* X(name, status, text). Rules of RFC 9112 where no other is named. */
#define FK_HTTP_FAULT_LIST(X)                                                             \
    X(NONE, 0, "no fault")                                                                \
    /* lines */                                                                           \
    X(BARE_LF, 400, "a line that ends with LF alone")                                     \
    X(BARE_CR, 400, "a CR without LF behind it")                                          \
    X(START_LINE, 400, "malformed request line or status line")                           \
    X(LINE_LONG, 414, "request line too long")                                            \
    X(VERSION, 505, "neither HTTP/1.0 nor HTTP/1.1")                                      \
    X(METHOD, 501, "a method that is not known")                                          \
    X(STATUS, 400, "a status code outside 100 to 599")                                    \
    X(LATE, 408, "a request whose head is not whole in time")                             \
    /* fields */                                                                          \
    X(FOLD, 400, "a field value folded over lines")                                       \
    X(NO_COLON, 400, "a field line without colon")                                        \
    X(NAME_EMPTY, 400, "an empty field name")                                             \
    X(NAME_BAD, 400, "a character that field names do not have")                          \
    X(VALUE_BAD, 400, "a control character in a field value")                             \
    X(FIELDS_LARGE, 431, "header section too large")                                      \
    X(FIELDS_MANY, 431, "too many fields")                                                \
    /* who is asked for what */                                                           \
    X(HOST_MISSING, 400, "HTTP/1.1 without Host")                                         \
    X(HOST_REPEATED, 400, "more than one Host")                                           \
    X(HOST_BAD, 400, "malformed Host")                                                    \
    X(HOST_DIFFERS, 400, "Host is not the authority of the target")                       \
    X(TARGET_BAD, 400, "malformed request target")                                        \
    X(TARGET_FORM, 400, "a form of target that this method does not have")                \
    X(CONNECT, 501, "CONNECT")                                                            \
    X(EXPECTATION, 417, "an expectation other than 100-continue")                         \
    X(CONNECTION_BAD, 400, "malformed Connection")                                        \
    X(UPGRADE_BAD, 400, "malformed Upgrade")                                              \
    X(MISDIRECTED, 421, "a host with other rules for certificates than the connection's") \
    /* certificates of clients */                                                         \
    X(CERT_MISSING, 403, "a path for clients with a certificate, and none was shown")     \
    X(CERT_LARGE, 431, "a certificate too large to be relayed")                           \
    X(CERT_FIELD_BAD, 400, "malformed X-Forwarded-Client-Cert of a trusted proxy")        \
    /* framing */                                                                         \
    X(LENGTH_BAD, 400, "malformed Content-Length")                                        \
    X(LENGTH_REPEATED, 400, "more than one Content-Length")                               \
    X(LENGTH_AND_CODING, 400, "both Content-Length and Transfer-Encoding")                \
    X(CODING_BAD, 400, "a Transfer-Encoding that does not end with chunked")              \
    X(CODING_UNKNOWN, 501, "a transfer coding besides chunked")                           \
    X(CODING_OLD, 400, "Transfer-Encoding in HTTP/1.0")                                   \
    X(CODING_FORBIDDEN, 400, "a transfer coding or length on a status that has no body")  \
    X(CHUNK_BAD, 400, "malformed chunk")                                                  \
    X(CHUNK_LONG, 400, "a chunk's line too long")                                         \
    X(CHUNK_EXTENSIONS, 400, "too many bytes of chunk extensions")                        \
    X(TRAILER_FORBIDDEN, 400, "a field that trailers must not have")                      \
    X(TRUNCATED, 400, "the message ends too early")                                       \
    X(PARSERS_DIFFER, 400, "a message that can be understood in two ways")                \
    /* responses */                                                                       \
    X(INTERIM_MANY, 400, "too many interim responses")                                    \
    X(UPGRADE_UNASKED, 400, "an upgrade that was not asked for")                          \
    X(UNASKED, 400, "bytes of a response that nobody asked for")                          \
    /* HTTP/2 */                                                                          \
    X(H2_PSEUDO, 400, "pseudo-header fields missing, repeated, unknown or out of order")  \
    X(H2_CONNECTION_FIELD, 400, "a field of a connection in HTTP/2")                      \
    X(H2_BODY_LENGTH, 400, "a body of another length than Content-Length")

enum fk_http_fault {
#define FK_HTTP_FAULT_ENUM(name, status, text) FK_HTTP_FAULT_##name,
    FK_HTTP_FAULT_LIST(FK_HTTP_FAULT_ENUM)
#undef FK_HTTP_FAULT_ENUM
        FK_HTTP_FAULT_COUNT
};

/* "BARE_LF"; "a line that ..."; 400. "UNKNOWN", "unknown fault" and 500 for any other number. */
const char *fk_http_fault_name(enum fk_http_fault fault);
const char *fk_http_fault_text(enum fk_http_fault fault);
int fk_http_fault_status(enum fk_http_fault fault);

#endif
