/*
 * /status: all that the daemon knows of itself, as one JSON document. Its schema is docs/operations.md;
 * within one `schema` number members are only added.
 */
#ifndef POSTERN_DAEMON_STATUS_H
#define POSTERN_DAEMON_STATUS_H

#include "base/compiler.h"
#include "base/text.h"
#include "daemon/control.h"

#define STATUS_SCHEMA 1

/* Returns 0 or -ENOMEM; then nothing was added to `out`. */
int status_write(const struct server_view *view, struct text *out) MUST_CHECK;

/* "starting", "ready", "draining" */
const char *status_state_word(enum server_state state);

#endif
