/* Checks of options (conf/conf.h) that name something of this host's network. */
#ifndef FK_CONF_NETWORK_H
#define FK_CONF_NETWORK_H

/* A local address to connect from: loop/addr.h's fk_addr_parse_local(). */
const char *fk_network_check_local(const void *value);

/* The name of a network interface. */
const char *fk_network_check_device(const void *value);

#endif
