/*
 * The sandbox of builds for leak checks: LeakSanitizer stops its own process by ptrace and reads
 * /proc, which the true one (sandbox.c) forbids. Only builds with a sanitizer can have this file:
 * see meson.build.
 */
#include "loop/sandbox.h"

#include "base/err.h"

#include <sys/prctl.h>

int fk_sandbox_master(void)
{
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ? FK_OK : FK_ERR_SYS;
}

int fk_sandbox_enter(enum fk_sandbox profile)
{
    (void)profile;
    return fk_sandbox_master();
}

int fk_sandbox_enter_token(const char *const *paths, size_t n)
{
    (void)paths;
    (void)n;
    return fk_sandbox_master();
}
