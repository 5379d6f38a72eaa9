/* Counting messages after the handshake: see post.h. */
#include "tls/post.h"

#include "base/limits.h"

bool fk_post_message(struct fk_post *post)
{
    if (++post->spent > FK_POST_MAX)
        post->exhausted = true;
    return !post->exhausted;
}

void fk_post_data(struct fk_post *post, size_t len)
{
    size_t earned;

    if (post->spent == 0)
        return; /* nothing is saved up */
    post->earning += len;
    earned = post->earning / FK_POST_EARNED;
    post->earning %= FK_POST_EARNED;
    post->spent = earned < post->spent ? post->spent - earned : 0;
}

/* A request to renegotiate is not shown, but the alert that refuses it is. */
static void on_message(int written, int version, int type, const void *bytes, size_t len, SSL *ssl,
                       void *arg)
{
    const uint8_t *message = bytes;
    bool refusal =
        written == 1 && type == SSL3_RT_ALERT && len == 2 && message[1] == SSL_AD_NO_RENEGOTIATION;

    (void)version;
    if (!refusal && (written == 1 || type != SSL3_RT_HANDSHAKE))
        return;
    if (!fk_post_message(arg)) /* has SSL_read() throw away what it would read next, and return */
        SSL_set_shutdown(ssl, SSL_get_shutdown(ssl) | SSL_RECEIVED_SHUTDOWN);
}

void fk_post_watch(SSL *ssl, struct fk_post *post)
{
    SSL_set_msg_callback(ssl, on_message);
    SSL_set_msg_callback_arg(ssl, post);
}
