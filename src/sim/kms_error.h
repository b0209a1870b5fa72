/* What KMS answers when it does not do what was asked: an exception's name, and words. */
#ifndef POSTERN_SIM_KMS_ERROR_H
#define POSTERN_SIM_KMS_ERROR_H

#include "base/compiler.h"

#define SIM_KMS_ERROR_TEXT 1024

struct sim_kms_error {
    const char *type; /* "AccessDeniedException"; NULL: none */
    unsigned status;  /* of HTTP */
    char message[SIM_KMS_ERROR_TEXT];
};

/* -EACCES, for callers to return. */
int sim_kms_refuse(struct sim_kms_error *error, const char *type, const char *format, ...) PRINTF_LIKE(3, 4);

/* The same for what is KMS's own failure: KMSInternalException, with status 500. */
int sim_kms_break(struct sim_kms_error *error, const char *what);

#endif
