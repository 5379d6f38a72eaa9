/* The ways in which records are opened on their way to the server, as a table: docs/inline.md has a
 * picture of each, and says what they risk. */
#ifndef FK_INLINE_FLOW_MODE_H
#define FK_INLINE_FLOW_MODE_H

#include <stdbool.h>
#include <stddef.h>

struct fk_flow_mode {
    const char *name;
    /* Records of more bytes than this, their headers included, go on before they are whole, but for
     * their last segment, which waits for the tag. SIZE_MAX: none does. */
    size_t whole_max;
    /* Segments that are out of order are held until what is missing has come; else they are
     * dropped, and their sender sends them again. */
    bool holds;
    /* What is held is acknowledged when nothing else is under way: fact 1 of docs/inline.md, where
     * a mode without it is measured. */
    bool acknowledges;
};

extern const struct fk_flow_mode fk_flow_buffered, fk_flow_streaming, fk_flow_hybrid,
    fk_flow_mac_decides;

#endif
