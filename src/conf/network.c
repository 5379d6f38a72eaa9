/* Checks of options about the network: see network.h. */
#include "conf/network.h"

#include "base/err.h"
#include "loop/addr.h"
#include "loop/sock.h"

const char *fk_network_check_local(const void *value)
{
    struct fk_addr addr;

    if (fk_addr_parse_local(*(char *const *)value, &addr) != FK_OK)
        return "not an address; write one of this host's, \"10.0.0.1\" or \"2001:db8::1\"";
    return NULL;
}

const char *fk_network_check_device(const void *value)
{
    if (!fk_sock_is_device(*(char *const *)value))
        return "not the name of a network interface; write \"eth0\" or the like, 15 characters at "
               "most";
    return NULL;
}
