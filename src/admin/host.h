/*
 * Whom a browser believes to speak to. A page of a stranger can have his name lead to this host's
 * loopback address and so read, as of its own origin, what is there (DNS rebinding); what it cannot
 * do is send another name than its own.
 */
#ifndef FK_ADMIN_HOST_H
#define FK_ADMIN_HOST_H

#include "admin/field.h"

/* Whether the Host field is nobody's name: an IP address or "localhost", with or without a port; or
 * there is none, as of no browser. */
bool fk_host_is_nobodys(const struct fk_field *host);

#endif
