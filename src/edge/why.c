/* Reasons: see why.h. */
#include "edge/why.h"

#include <stdarg.h>
#include <stdio.h>

int fk_why_set(struct fk_why *why, int err, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(why->text, sizeof why->text, format, args);
    va_end(args);
    return err;
}
