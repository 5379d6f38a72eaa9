/* The key server's own child roles, by name. */
#include "keyd/asker.h"
#include "keyd/audit_log.h"
#include "keyd/front.h"
#include "keyd/hs_main.h"
#include "keyd/keyd.h"

#include <stddef.h>
#include <string.h>

static const struct {
    const char *role;
    int (*run)(unsigned index);
} children[] = {
    {"keyd-front", fk_front_main},
    {"keyd-audit", fk_audit_main},
    {"keyd-handshaker", fk_handshaker_main},
    {"keyd-asker", fk_asker_main},
};

int fk_keyd_child(const char *role, unsigned index)
{
    for (size_t i = 0; i < sizeof children / sizeof children[0]; i++)
        if (strcmp(children[i].role, role) == 0)
            return children[i].run(index);
    return 2;
}
