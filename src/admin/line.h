/*
 * One request line of the control socket: {"command":"WORD"}, perhaps with "argument":"TEXT". See
 * docs/control.md.
 */
#ifndef FK_ADMIN_LINE_H
#define FK_ADMIN_LINE_H

#include "admin/command.h"

/*
 * Read a line without its newline. FK_ERR_FORMAT: not such an object; FK_ERR_DUPLICATE: a member
 * twice; FK_ERR_RANGE: the command is not a word, or the argument none; FK_ERR_TRAILING: other
 * members.
 */
int fk_admin_line_parse(const char *line, size_t len, struct fk_admin_command *ret);

#endif
