/* Prefix, then socket: see bio.h. */
#include "edge/bio.h"

#include "base/err.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

/* Bytes that are asked for at once: OpenSSL asks for a header, then for a record. */
#define AHEAD 4096

static BIO_METHOD *method;
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

static int read_prefix(struct fk_bio *state, char *dst, size_t len)
{
    size_t have = fk_buf_len(state->prefix);

    if (len > have)
        len = have;
    memcpy(dst, fk_buf_data(state->prefix), len);
    fk_buf_consume(state->prefix, len);
    if (fk_buf_len(state->prefix) == 0)
        fk_buf_fini(state->prefix);
    return (int)len;
}

/* OpenSSL's convention: -1 with the retry flag, or for good. */
static int failed(BIO *bio, struct fk_bio *state, int flag)
{
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
        BIO_set_flags(bio, flag | BIO_FLAGS_SHOULD_RETRY);
    else
        state->error = errno;
    return -1;
}

/* As much as is there: into `dst`, and what it has no room for behind it. */
static ssize_t read_socket(struct fk_bio *state, char *dst, size_t len)
{
    uint8_t ahead[AHEAD];
    bool direct = len >= sizeof ahead;
    size_t room = direct ? len : sizeof ahead;
    ssize_t n = recv(state->fd, direct ? (void *)dst : ahead, room, 0);

    if (n <= 0)
        return n;
    state->drained = (size_t)n < room; /* an end is found again by the next read */
    state->in += (uint64_t)n;
    if (direct)
        return n;
    if ((size_t)n < len)
        len = (size_t)n;
    memcpy(dst, ahead, len);
    if (fk_buf_append(state->prefix, ahead + len, (size_t)n - len) != FK_OK) {
        errno = ENOMEM;
        return -1;
    }
    return (ssize_t)len;
}

static int bio_read(BIO *bio, char *dst, int len)
{
    struct fk_bio *state = BIO_get_data(bio);
    ssize_t n;

    BIO_clear_retry_flags(bio);
    if (len <= 0)
        return 0;
    if (fk_buf_len(state->prefix) > 0)
        return read_prefix(state, dst, (size_t)len);
    if (state->drained) {
        BIO_set_flags(bio, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY);
        return -1;
    }
    n = read_socket(state, dst, (size_t)len);
    if (n < 0)
        return failed(bio, state, BIO_FLAGS_READ);
    if (n == 0)
        state->eof = true;
    return (int)n;
}

static int bio_write(BIO *bio, const char *src, int len)
{
    struct fk_bio *state = BIO_get_data(bio);
    ssize_t n;

    BIO_clear_retry_flags(bio);
    if (len <= 0)
        return 0;
    n = send(state->fd, src, (size_t)len, MSG_NOSIGNAL);
    if (n < 0)
        return failed(bio, state, BIO_FLAGS_WRITE);
    state->out += (uint64_t)n;
    return (int)n;
}

static long bio_ctrl(BIO *bio, int command, long number, void *ptr)
{
    struct fk_bio *state = BIO_get_data(bio);

    (void)number, (void)ptr;
    switch (command) {
    case BIO_CTRL_FLUSH:
        return 1;
    case BIO_CTRL_EOF:
        return state->eof;
    case BIO_CTRL_PENDING:
        return (long)fk_buf_len(state->prefix);
    default:
        return 0;
    }
}

static void make_method(void)
{
    BIO_METHOD *made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "client");

    if (made == NULL)
        return;
    BIO_meth_set_read(made, bio_read);
    BIO_meth_set_write(made, bio_write);
    BIO_meth_set_ctrl(made, bio_ctrl);
    method = made;
}

BIO *fk_bio_new(struct fk_bio *state)
{
    BIO *bio;

    pthread_once(&method_once, make_method);
    if (method == NULL || (bio = BIO_new(method)) == NULL)
        return NULL;
    BIO_set_data(bio, state);
    BIO_set_init(bio, 1);
    return bio;
}
