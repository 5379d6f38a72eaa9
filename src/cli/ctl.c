/* Asking a daemon over its control socket. See ctl.h. */
#include "cli/ctl.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/limits.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define READ_CHUNK 16384

static int dial(const char *path, int *ret)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd;

    if (strlen(path) >= sizeof addr.sun_path)
        return FK_ERR_LIMIT;
    memcpy(addr.sun_path, path, strlen(path) + 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return FK_ERR_SYS;
    if (connect(fd, (const struct sockaddr *)&addr, sizeof addr) != 0) {
        int saved = errno;

        close(fd);
        errno = saved;
        return FK_ERR_SYS;
    }
    *ret = fd;
    return FK_OK;
}

/* Wait until something can be read. */
static int wait_readable(int fd, uint64_t deadline_us)
{
    struct pollfd poll_fd = {fd, POLLIN, 0};
    uint64_t now = fk_clock_us();
    int n;

    if (now >= deadline_us)
        return FK_ERR_TIMEOUT;
    n = poll(&poll_fd, 1, (int)((deadline_us - now + 999) / 1000));
    if (n < 0)
        return errno == EINTR ? FK_ERR_AGAIN : FK_ERR_SYS;
    return n == 0 ? FK_ERR_TIMEOUT : FK_OK;
}

static int read_line(int fd, uint64_t deadline_us, struct fk_buf *line)
{
    for (;;) {
        uint8_t *dst;
        ssize_t n;
        int err = wait_readable(fd, deadline_us);

        if (err == FK_ERR_AGAIN)
            continue;
        if (err != FK_OK || (err = fk_buf_reserve(line, READ_CHUNK, &dst)) != FK_OK)
            return err;
        n = recv(fd, dst, READ_CHUNK, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n <= 0)
            return n == 0 ? FK_ERR_CLOSED : FK_ERR_SYS;
        fk_buf_commit(line, (size_t)n);
        if (dst[n - 1] == '\n')
            return FK_OK;
    }
}

/* The request's line. FK_ERR_INVAL: too long, or not to be said in JSON. */
static int make_request(const char *word, const char *argument, char ret[FK_ADMIN_LINE_MAX],
                        size_t *ret_len)
{
    json_t *object = json_pack("{s:s, s:s*}", "command", word, "argument", argument);
    size_t len = object == NULL ? 0 : json_dumpb(object, ret, FK_ADMIN_LINE_MAX - 1, JSON_COMPACT);

    json_decref(object);
    if (len == 0 || len >= FK_ADMIN_LINE_MAX)
        return FK_ERR_INVAL;
    ret[len] = '\n';
    *ret_len = len + 1;
    return FK_OK;
}

int fk_ctl_ask(const char *socket_path, const char *word, const char *argument, uint64_t timeout_us,
               json_t **ret)
{
    uint64_t deadline_us = fk_clock_us() + timeout_us;
    char request[FK_ADMIN_LINE_MAX];
    struct fk_buf line;
    json_t *answer;
    size_t len;
    int fd = -1, err;

    if ((err = make_request(word, argument, request, &len)) != FK_OK)
        return err;
    fk_buf_init(&line, FK_ADMIN_ANSWER_MAX + READ_CHUNK);
    if ((err = dial(socket_path, &fd)) != FK_OK)
        return err;
    if (send(fd, request, len, MSG_NOSIGNAL) != (ssize_t)len)
        err = FK_ERR_CLOSED;
    else
        err = read_line(fd, deadline_us, &line);
    close(fd);
    if (err == FK_OK) {
        answer = json_loadb((const char *)fk_buf_data(&line), fk_buf_len(&line), 0, NULL);
        if (json_is_object(answer))
            *ret = answer;
        else
            err = FK_ERR_FORMAT;
        if (err != FK_OK)
            json_decref(answer);
    }
    fk_buf_fini(&line);
    return err;
}

int fk_ctl_order(const char *socket_path, const char *word, uint64_t timeout_us)
{
    json_t *answer = NULL;
    const char *why;
    int err = fk_ctl_ask(socket_path, word, NULL, timeout_us, &answer);

    if (err != FK_OK)
        return err;
    why = json_string_value(json_object_get(answer, "error"));
    if (why != NULL) {
        fprintf(stderr, "farkey: %s refused: %s\n", word, why);
        err = FK_ERR_DENIED;
    }
    json_decref(answer);
    return err;
}
