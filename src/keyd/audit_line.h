/*
 * One operation as a line of the audit log: "t=... edge=... key=... op=... sni=... client=...
 * hash=... result=... us=...", without the chain's parts, which the audit process adds
 * (keyd/audit_chain.h). Written by fronts, which hold what peers said: every value is escaped.
 */
#ifndef FK_KEYD_AUDIT_LINE_H
#define FK_KEYD_AUDIT_LINE_H

#include "base/reader.h"

#include <stddef.h>
#include <stdint.h>

/* Room for a line, newline included: the longest name, SNI and hash, escaped and cut. */
#define FK_AUDIT_LINE_MAX 768

struct fk_audit_event {
    uint64_t wall_us;           /* when the operation ended, microseconds since 1970 */
    const char *edge;           /* who asked: the edge's name; NULL is written as "-" */
    const char *key;            /* which key: its name; NULL when none was found */
    const char *op;             /* fk_key_opcode_name() */
    struct fk_reader sni;       /* as the edge said; absent: next == NULL */
    struct fk_reader client_ip; /* 4 or 16 bytes, or absent */
    struct fk_reader hash;      /* transcript hash (1.3), client random (1.2), digest; at most 64 */
    int err;                    /* FK_ERR_* */
    uint32_t micros;            /* how long the edge waited for it here */
};

/* Write the line with its newline, no NUL; the number of bytes. Never allocates. */
size_t fk_audit_line_format(const struct fk_audit_event *event, char dst[FK_AUDIT_LINE_MAX]);

/* What the audit process says to a front, after each batch and when its state changes. */
struct fk_audit_ack {
    uint32_t lines;   /* that are in the file, since the last such message */
    uint32_t failing; /* 1: lines cannot be written at present */
};

#endif
