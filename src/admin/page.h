/*
 * The status page, page.html, as it is in the program: tools/page.py makes it when that is built.
 * A document that holds nothing of this daemon; its script asks for the status and the metrics as
 * any other client does.
 */
#ifndef FK_ADMIN_PAGE_H
#define FK_ADMIN_PAGE_H

#include <stddef.h>

extern const char fk_admin_page[];
extern const size_t fk_admin_page_len;
/* The value of its Content-Security-Policy. */
extern const char fk_admin_page_policy[];

#endif
