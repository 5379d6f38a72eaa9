/*
 * A master's half of operators' commands: FK_PROC_COMMAND in, FK_PROC_ANSWER out.
 *
 * `data` of a command is one word of lower-case letters, digits and "-", and where it is about
 * something, a NUL and what that is; `arg` is its number, which the answer repeats. Every master
 * answers "status" with a JSON object that has at least
 * {"role":TEXT,"pid":NUMBER,"ready":BOOLEAN,"generation":NUMBER}; it also knows "reload" and
 * "drain". Any other answer is an object, too; one with a member "error" tells why a command was
 * refused. See docs/control.md.
 */
#ifndef FK_ADMIN_COMMAND_H
#define FK_ADMIN_COMMAND_H

#include "base/secret.h"
#include "loop/super.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Longest word, with its NUL. */
#define FK_ADMIN_WORD_SIZE 32

/* Longest argument, with its NUL: with the longest word it fits a message, and a request line. */
#define FK_ADMIN_ARGUMENT_SIZE 960

/* A command, and what it is about: visible ASCII; "": nothing. */
struct fk_admin_command {
    char word[FK_ADMIN_WORD_SIZE];
    char argument[FK_ADMIN_ARGUMENT_SIZE];
};

/* The word of an FK_PROC_COMMAND. FK_ERR_FORMAT when it is not one, or not alone. */
int fk_admin_command_word(const struct fk_procmsg *msg, char ret[FK_ADMIN_WORD_SIZE]);

/* Both of an FK_PROC_COMMAND. FK_ERR_FORMAT. */
int fk_admin_command_parse(const struct fk_procmsg *msg, struct fk_admin_command *ret);

/* Whether `len` bytes may be an argument. */
bool fk_admin_argument_ok(const char *text, size_t len);

/* Whether `len` bytes are a word that a command may consist of. */
bool fk_admin_word_ok(const char *text, size_t len);

/*
 * Answer command number `id` on the admin process's control socket with `len` bytes of JSON (one
 * object). What does not fit a message travels in a memfd, up to FK_ADMIN_ANSWER_MAX bytes.
 * FK_ERR_LIMIT, FK_ERR_SYS, or as fk_proc_send().
 */
int fk_admin_answer(int control, uint32_t id, const char *json, size_t len);

/* As fk_admin_answer(), for a supervised admin process; errors as fk_child_send(). */
int fk_admin_answer_child(struct fk_child *admin, uint32_t id, const char *json, size_t len);

/* FK_PROC_ACCESS: what requests must bring from now on; NULL: nothing. Errors as fk_child_send().
 */
int fk_admin_send_token(struct fk_child *admin, const struct fk_secret *token);

/*
 * FK_PROC_FACTS: `len` bytes of metrics in the text format that stay as they are until others come.
 * FK_ERR_LIMIT above FK_ADMIN_FACTS_MAX bytes; FK_ERR_SYS, or as fk_child_send().
 */
int fk_admin_send_facts(struct fk_child *admin, const char *text, size_t len);

/*
 * The text of an FK_PROC_ANSWER (JSON) or FK_PROC_FACTS, NUL-terminated; the caller frees it.
 * Closes no descriptor. FK_ERR_FORMAT, FK_ERR_LIMIT, FK_ERR_NOMEM, FK_ERR_SYS.
 */
int fk_admin_answer_take(const struct fk_procmsg *msg, char **ret, size_t *ret_len);

#endif
