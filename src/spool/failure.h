/* What SQLite and the disk said, as an errno value and in words that say what to do. */
#ifndef POSTERN_SPOOL_FAILURE_H
#define POSTERN_SPOOL_FAILURE_H

#include "base/compiler.h"
#include "base/error.h"

struct sqlite3;

/* The errno value for an extended result code; `system` is the errno that came with it, or 0. */
int failure_code(int sqlite_code, int system) MUST_CHECK;

/* Sets the text, "WHAT: WHY: ADVICE", and returns the code. */
int failure_set(struct error *err, int code, const char *what);

/* Both, for the last failure of `db`; errno was set to 0 before the call that failed. */
int failure_of(struct error *err, struct sqlite3 *db, int sqlite_code, const char *what);

#endif
