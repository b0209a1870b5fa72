/* What the C standard does not say and every file wants. */
#ifndef POSTERN_BASE_COMPILER_H
#define POSTERN_BASE_COMPILER_H

#include <stddef.h>

#define MUST_CHECK               __attribute__((warn_unused_result))
#define PRINTF_LIKE(text, first) __attribute__((format(printf, text, first)))
#define UNUSED                   __attribute__((unused))
#define NOINLINE                 __attribute__((noinline))

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

/* The object of `type` whose field `member` is at `pointer`; a pointer of another type than the field's does not compile. */
#define CONTAINER_OF(pointer, type, member) \
    ((type *)(void *)((char *)(1 ? (pointer) : &((type *)0)->member) - offsetof(type, member)))

#endif
