/* Making up init's own lines. */
#include "init/tell.h"

#include <stdarg.h>
#include <stdio.h>

void tell(const struct tell *to, const char *format, ...)
{
    char text[TELL_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    to->line(to->user, text);
}
