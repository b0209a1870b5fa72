/* Structs of the library's callers, whose size tells which version of the header they were made with. */
#ifndef POSTERN_KMS_STRUCT_H
#define POSTERN_KMS_STRUCT_H

#include "base/compiler.h"
#include "postern/postern.h"

/* Copies what both know. -EINVAL: something is set that this version does not know, or the struct was not initialized. */
int kms_read_struct(void *ret, size_t known, const void *given, size_t size,
                    struct postern_error *err) MUST_CHECK;

#endif
