/* Counting what is no data: see chatter.h. */
#include "tls/chatter.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/reader.h"

_Static_assert(FK_TLS_MESSAGES_MAX < UINT8_MAX && FK_RECORD_IDLE_MAX < UINT8_MAX, "fit a byte");
_Static_assert(FK_TLS_MESSAGE_BYTES <= UINT16_MAX, "fit the rest of a division");

/* Counts no further than one too many. */
static int count(struct fk_chatter *chatter, uint8_t *counter, uint8_t max)
{
    if (*counter <= max)
        ++*counter;
    if (*counter <= max)
        return FK_OK;
    chatter->over = true;
    return FK_ERR_UNEXPECTED;
}

int fk_chatter_message(struct fk_chatter *chatter)
{
    return count(chatter, &chatter->messages, FK_TLS_MESSAGES_MAX);
}

int fk_chatter_idle(struct fk_chatter *chatter)
{
    return count(chatter, &chatter->idle, FK_RECORD_IDLE_MAX);
}

void fk_chatter_data(struct fk_chatter *chatter, size_t len)
{
    size_t paid = (chatter->bytes + len) / FK_TLS_MESSAGE_BYTES;

    chatter->bytes = (uint16_t)((chatter->bytes + len) % FK_TLS_MESSAGE_BYTES);
    chatter->messages = paid < chatter->messages ? (uint8_t)(chatter->messages - paid) : (uint8_t)0;
    chatter->idle = 0;
}

/* --- OpenSSL --- */

/*
 * A record's type is in its header; in TLS 1.3 all headers say data, and the truth comes apart.
 * Empty records of data are bounded by OpenSSL, as warnings are.
 */
static bool is_idle(int type, const void *bytes, size_t len)
{
    struct fk_reader reader;
    uint8_t content;

    if (type != SSL3_RT_HEADER && type != SSL3_RT_INNER_CONTENT_TYPE)
        return false;
    fk_reader_init(&reader, bytes, len);
    return fk_reader_u8(&reader, &content) == FK_OK && content != SSL3_RT_APPLICATION_DATA;
}

static void on_message(int written, int version, int type, const void *bytes, size_t len, SSL *ssl,
                       void *arg)
{
    struct fk_chatter *chatter = arg;

    (void)version;
    if (written != 0)
        return;
    if (type == SSL3_RT_HANDSHAKE)
        (void)fk_chatter_message(chatter);
    else if (is_idle(type, bytes, len))
        (void)fk_chatter_idle(chatter);
    /* From here nothing can fail; but as after a close_notify OpenSSL reads no further. */
    if (chatter->over)
        SSL_set_shutdown(ssl, SSL_get_shutdown(ssl) | SSL_RECEIVED_SHUTDOWN);
}

void fk_chatter_watch(SSL *ssl, struct fk_chatter *chatter)
{
    SSL_set_msg_callback(ssl, on_message);
    SSL_set_msg_callback_arg(ssl, chatter);
}
