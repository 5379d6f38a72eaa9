/*
 * A ServerHello of TLS 1.2 on its way through (RFC 5246 section 7.4.1.3): what whoever goes on
 * with the session has to know of it. Sans-I/O.
 */
#ifndef FK_WIRE_SERVER_HELLO_H
#define FK_WIRE_SERVER_HELLO_H

#include "base/reader.h"

#include <stdbool.h>
#include <stdint.h>

struct fk_server_hello {
    uint8_t random[32];
    struct fk_reader session_id; /* 32 bytes at most */
    uint16_t suite;
    bool extended_master_secret; /* RFC 7627 */
    bool ticket;                 /* a NewSessionTicket is promised (RFC 5077) */
};

/*
 * Parse records, in the clear, that begin with a ServerHello which the first of them holds whole.
 * *ret borrows from them. FK_ERR_UNEXPECTED: it is something else; FK_ERR_VERSION: not of TLS 1.2;
 * FK_ERR_TRUNCATED, FK_ERR_TRAILING, FK_ERR_FORMAT.
 */
int fk_server_hello_parse(struct fk_reader records, struct fk_server_hello *ret);

#endif
