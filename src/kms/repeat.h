/*
 * Which of KMS's operations may be carried out twice: those that only tell something, or make something that KMS does not keep. A request that was
 * sent and got no answer may have been carried out, so for all others it is not repeated.
 */
#ifndef POSTERN_KMS_REPEAT_H
#define POSTERN_KMS_REPEAT_H

#include <stdbool.h>

/* `operation` is AWS's: "Decrypt". One that is not known here may not. */
bool kms_may_repeat(const char *operation);

#endif
