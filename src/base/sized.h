/* Structs of a library's callers, whose first member, their size, tells which version of the header they were made with. */
#ifndef POSTERN_BASE_SIZED_H
#define POSTERN_BASE_SIZED_H

#include "base/compiler.h"
#include "base/error.h"
#include <stddef.h>

/* No version of any struct is larger: what says that it is was never initialized, and must not be read that far. */
#define SIZED_MAX 4096u

/* Copies what both know of `given`, which says that it has `size` bytes, to `ret`, of which this version knows `known`; the rest
 * of that stays as it is. -EINVAL: `given` was not initialized, or has something set that this version does not know, and
 * nothing was copied: a caller that is newer than the library does not get silence. */
int sized_read(void *ret, size_t known, const void *given, size_t size, struct error *err) MUST_CHECK;

#endif
