/* Whom children become: see users.h. */
#include "conf/users.h"

#include "base/err.h"
#include "base/limits.h"
#include "loop/proc.h"

#include <string.h>
#include <unistd.h>

const char *fk_users_check(const void *value)
{
    const char *name = *(char *const *)value;

    if (name[0] == '\0')
        return "empty; write the name of a user, or leave the option out";
    _Static_assert(FK_NAME_MAX == 64, "as the text says");
    if (strlen(name) > FK_NAME_MAX)
        return "name of a user too long; at most 64 characters";
    return NULL;
}

static int set_in(struct fk_conf *conf, struct fk_conf_block *block, const char *option,
                  const char *written, const char *account)
{
    if (written == NULL)
        return fk_conf_set_default(conf, block, option, fk_proc_default_user(account));
    if (geteuid() == 0 && !fk_conf_is_bad(block, option) && fk_proc_lacks_user(written))
        fk_conf_blame(conf, block, option, "%s: this host has no user \"%s\"", option, written);
    return FK_OK;
}

static int set(struct fk_conf *conf, const char *option, const char *written, const char *account)
{
    return set_in(conf, fk_conf_root(conf), option, written, account);
}

int fk_users_set_of(struct fk_conf *conf, struct fk_conf_block *block, const char *written,
                    const char *account)
{
    return set_in(conf, block, "user", written, account);
}

int fk_users_set(struct fk_conf *conf, const char *user, const char *signer_user)
{
    int err = set(conf, "user", user, FK_PROC_USER);

    return err != FK_OK ? err : set(conf, "signer_user", signer_user, FK_PROC_SIGNER_USER);
}
