/* The table of reasons, laid out as data. */
#include "base/reason.h"

#include "base/compiler.h"
#include <string.h>

struct row {
    const char *word;
    enum reason_kind kind;
    bool retryable;
    const char *meaning;
    const char *advice;
};

static const struct row rows[] = {
#define X(id, word, kind, retry, meaning, advice) {word, REASON_KIND_##kind, retry, meaning, advice},
    REASON_TABLE(X)
#undef X
};

_Static_assert(ARRAY_SIZE(rows) == REASON_COUNT, "one row a reason");

/* A number outside the table can only come from a fault of the daemon, and is told as one. */
static const struct row *row_of(enum reason reason)
{
    return &rows[(unsigned)reason < REASON_COUNT ? reason : REASON_INTERNAL];
}

const char *reason_word(enum reason reason)
{
    return row_of(reason)->word;
}

enum reason_kind reason_kind(enum reason reason)
{
    return row_of(reason)->kind;
}

bool reason_retryable(enum reason reason)
{
    return row_of(reason)->retryable;
}

const char *reason_meaning(enum reason reason)
{
    return row_of(reason)->meaning;
}

const char *reason_advice(enum reason reason)
{
    return row_of(reason)->advice;
}

enum reason reason_find(const char *word)
{
    for (unsigned i = 0; i < REASON_COUNT; i++) {
        if (strcmp(rows[i].word, word) == 0) {
            return (enum reason)i;
        }
    }
    return REASON_COUNT;
}
