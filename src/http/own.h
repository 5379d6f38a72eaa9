/* What the edge answers itself: a status, and a page for whoever reads it. */
#ifndef FK_HTTP_OWN_H
#define FK_HTTP_OWN_H

#include "http/message.h"

#define FK_HTTP_OWN_MAX 128

/*
 * The answer `status`, with a short text in `ret_body` that is its body unless the request was
 * HEAD; `response` is initialised, and to be finished. FK_ERR_NOMEM.
 */
int fk_http_own_answer(int status, struct fk_http_response *response,
                       char ret_body[FK_HTTP_OWN_MAX]);

#endif
