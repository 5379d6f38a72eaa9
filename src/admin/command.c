/* Commands of operators and their answers as messages between the admin process and its master. */
#include "admin/command.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/reader.h"
#include "loop/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

bool fk_admin_word_ok(const char *text, size_t len)
{
    if (len == 0 || len >= FK_ADMIN_WORD_SIZE)
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];

        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-')
            return false;
    }
    return true;
}

bool fk_admin_argument_ok(const char *text, size_t len)
{
    if (len == 0 || len >= FK_ADMIN_ARGUMENT_SIZE)
        return false;
    for (size_t i = 0; i < len; i++)
        if (text[i] <= ' ' || text[i] > '~')
            return false;
    return true;
}

int fk_admin_command_parse(const struct fk_procmsg *msg, struct fk_admin_command *ret)
{
    struct fk_reader argument, word;
    bool has_argument;

    fk_reader_init(&argument, msg->data, msg->len);
    has_argument = fk_reader_until(&argument, '\0', &word) == FK_OK;
    if (!has_argument)
        word = argument;
    if (msg->type != FK_PROC_COMMAND || !fk_admin_word_ok((const char *)word.next, word.left) ||
        (has_argument && !fk_admin_argument_ok((const char *)argument.next, argument.left)))
        return FK_ERR_FORMAT;
    *ret = (struct fk_admin_command){.argument = ""};
    memcpy(ret->word, word.next, word.left);
    if (has_argument)
        memcpy(ret->argument, argument.next, argument.left);
    return FK_OK;
}

int fk_admin_command_word(const struct fk_procmsg *msg, char ret[FK_ADMIN_WORD_SIZE])
{
    struct fk_admin_command command;
    int err = fk_admin_command_parse(msg, &command);

    if (err != FK_OK || command.argument[0] != '\0')
        return FK_ERR_FORMAT;
    memcpy(ret, command.word, FK_ADMIN_WORD_SIZE);
    return FK_OK;
}

static int write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return FK_ERR_SYS;
        data += n;
        len -= (size_t)n;
    }
    return FK_OK;
}

/* A memfd that holds the text and can no longer change. */
static int freeze(const char *text, size_t len, int *ret_fd)
{
    int fd = memfd_create("farkey-answer", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int err;

    if (fd < 0)
        return FK_ERR_SYS;
    if ((err = write_all(fd, text, len)) == FK_OK &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0)
        err = FK_ERR_SYS;
    if (err != FK_OK)
        fk_close(&fd);
    else
        *ret_fd = fd;
    return err;
}

/* Put a text into a message; *ret_fd is the caller's, -1 when the text fits the message. */
static int put_text(struct fk_procmsg *msg, const char *text, size_t len, int *ret_fd)
{
    int err;

    *ret_fd = -1;
    if (len <= sizeof msg->data) {
        memcpy(msg->data, text, len);
        msg->len = len;
        return FK_OK;
    }
    if ((err = freeze(text, len, ret_fd)) != FK_OK)
        return err;
    msg->fds[0] = *ret_fd;
    msg->n_fds = 1;
    return FK_OK;
}

/* The message of an answer; *ret_fd as put_text() has it. */
static int make_answer(uint32_t id, const char *json, size_t len, struct fk_procmsg *ret,
                       int *ret_fd)
{
    *ret_fd = -1;
    *ret = (struct fk_procmsg){.type = FK_PROC_ANSWER, .arg = id};
    return len > FK_ADMIN_ANSWER_MAX ? FK_ERR_LIMIT : put_text(ret, json, len, ret_fd);
}

int fk_admin_answer(int control, uint32_t id, const char *json, size_t len)
{
    struct fk_procmsg msg;
    int fd, err;

    if ((err = make_answer(id, json, len, &msg, &fd)) == FK_OK)
        err = fk_proc_send(control, &msg);
    fk_close(&fd);
    return err;
}

int fk_admin_answer_child(struct fk_child *admin, uint32_t id, const char *json, size_t len)
{
    struct fk_procmsg msg;
    int fd, err;

    if ((err = make_answer(id, json, len, &msg, &fd)) == FK_OK)
        err = fk_child_send(admin, &msg);
    fk_close(&fd);
    return err;
}

int fk_admin_send_facts(struct fk_child *admin, const char *text, size_t len)
{
    struct fk_procmsg msg = {.type = FK_PROC_FACTS};
    int fd, err;

    if (len > FK_ADMIN_FACTS_MAX)
        return FK_ERR_LIMIT;
    if ((err = put_text(&msg, text, len, &fd)) == FK_OK)
        err = fk_child_send(admin, &msg);
    fk_close(&fd);
    return err;
}

int fk_admin_send_token(struct fk_child *admin, const struct fk_secret *token)
{
    struct fk_procmsg msg = {.type = FK_PROC_ACCESS};
    int err;

    if (token != NULL) {
        msg.len = fk_secret_len(token);
        memcpy(msg.data, fk_secret_bytes(token), msg.len);
    }
    err = fk_child_send(admin, &msg);
    fk_wipe(msg.data, msg.len);
    return err;
}

/* Read exactly `len` bytes from the start of a file. */
static int read_whole(int fd, char *dst, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = pread(fd, dst + done, len - done, (off_t)done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return FK_ERR_SYS;
        if (n == 0)
            return FK_ERR_FORMAT;
        done += (size_t)n;
    }
    return FK_OK;
}

static int answer_len(const struct fk_procmsg *msg, size_t *ret)
{
    struct stat st;

    if ((msg->type != FK_PROC_ANSWER && msg->type != FK_PROC_FACTS) || msg->n_fds > 1)
        return FK_ERR_FORMAT;
    if (msg->n_fds == 0) {
        *ret = msg->len;
        return FK_OK;
    }
    if (fstat(msg->fds[0], &st) != 0)
        return FK_ERR_SYS;
    if (st.st_size < 0 || msg->len != 0)
        return FK_ERR_FORMAT;
    if (st.st_size > FK_ADMIN_ANSWER_MAX)
        return FK_ERR_LIMIT;
    *ret = (size_t)st.st_size;
    return FK_OK;
}

int fk_admin_answer_take(const struct fk_procmsg *msg, char **ret, size_t *ret_len)
{
    size_t len = 0;
    char *text;
    int err;

    if ((err = answer_len(msg, &len)) != FK_OK)
        return err;
    text = malloc(len + 1);
    if (text == NULL)
        return FK_ERR_NOMEM;
    if (msg->n_fds == 0)
        memcpy(text, msg->data, len);
    else
        err = read_whole(msg->fds[0], text, len);
    if (err != FK_OK) {
        free(text);
        return err;
    }
    text[len] = '\0';
    *ret = text;
    *ret_len = len;
    return FK_OK;
}
