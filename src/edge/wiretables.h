/*
 * The inline box's tables for operators: sessions (one to many connections), connections, and what
 * is queued. Of a secret they say whether it is there, never what it is.
 */
#ifndef FK_EDGE_WIRETABLES_H
#define FK_EDGE_WIRETABLES_H

#include "inline/box.h"

#include <jansson.h>

/* X(id, word): bits of a question, and members of its answer */
#define FK_WIRETABLES(X)         \
    X(SESSIONS, "session")       \
    X(CONNECTIONS, "connection") \
    X(QUEUE, "queue")

enum fk_wiretable {
#define FK_WIRETABLE_ENUM(id, word) FK_WIRETABLE_##id,
    FK_WIRETABLES(FK_WIRETABLE_ENUM)
#undef FK_WIRETABLE_ENUM
        FK_WIRETABLE_COUNT
};

extern const char *const fk_wiretable_words[FK_WIRETABLE_COUNT];

/*
 * Answer a question of the master's, FK_PROC_STATUS with this `arg`: its lowest bits say which
 * tables (1 << FK_WIRETABLE_*), the others are repeated. The answer is an FK_PROC_ANSWER:
 * fk_wiretables_rows() of each table, and how many rows were left out. `box` NULL: no rows.
 * FK_ERR_NOMEM, FK_ERR_SYS; a master that does not keep up is not told.
 */
int fk_wiretables_send(int control, uint32_t arg, const struct fk_box *box);

/* No rows yet: an array; of sessions an object, whose members' names are theirs. */
json_t *fk_wiretables_rows(enum fk_wiretable table);
/* Add a row, which is taken; a session's connections to those of the row that is there. */
void fk_wiretables_add(json_t *rows, json_t *row);

#endif
