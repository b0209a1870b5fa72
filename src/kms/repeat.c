/* Which operations may be carried out twice: see repeat.h. */
#include "kms/repeat.h"

#include "base/compiler.h"
#include <stddef.h>
#include <string.h>

/* All whose names begin so: they tell what there is, or make keys, codes and numbers that KMS forgets. */
static const char *const families[] = {"Describe", "Generate", "Get", "List"};

/* They compute from what they are given, and change nothing. */
static const char *const names[] = {"Decrypt", "DeriveSharedSecret", "Encrypt", "ReEncrypt", "Sign",
                                    "Verify",  "VerifyMac"};

bool kms_may_repeat(const char *operation)
{
    for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
        if (strncmp(operation, families[i], strlen(families[i])) == 0) {
            return true;
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcmp(operation, names[i]) == 0) {
            return true;
        }
    }
    return false;
}
