/* Structs that tell their size: see sized.h. */
#include "base/sized.h"

#include <errno.h>
#include <string.h>

int sized_read(void *ret, size_t known, const void *given, size_t size, struct error *err)
{
    const unsigned char *bytes = given;

    if (size < sizeof(size_t) || size > SIZED_MAX) {
        return error_set(err, -EINVAL, "a struct was not initialized with its ..._init()");
    }
    for (size_t i = known; i < size; i++) {
        if (bytes[i] != 0) {
            return error_set(err, -EINVAL,
                             "a member is set that this version of the library does not know: leave it, or "
                             "install a newer one");
        }
    }
    memcpy(ret, given, size < known ? size : known);
    return 0;
}
