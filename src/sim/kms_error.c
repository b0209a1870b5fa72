/* KMS's errors: see kms_error.h. */
#include "sim/kms_error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

int sim_kms_refuse(struct sim_kms_error *error, const char *type, const char *format, ...)
{
    va_list args;

    error->type = type;
    error->status = 400;
    va_start(args, format);
    vsnprintf(error->message, sizeof error->message, format, args);
    va_end(args);
    return -EACCES;
}

int sim_kms_break(struct sim_kms_error *error, const char *what)
{
    sim_kms_refuse(error, "KMSInternalException", "%s", what);
    error->status = 500;
    return -EACCES;
}
