/*
 * Why a stream or a session failed, in words, with what to do about it.
 */
#ifndef POSTERN_CLI_WHY_H
#define POSTERN_CLI_WHY_H

#include "base/error.h"
#include <stddef.h>
#include <stdint.h>

/* "connect_refused: the destination refused the connection (tcp://10.0.0.1:443); see that something listens there, at that
 * port". `said` are the daemon's own words, which may be NULL or empty, and are left
 * out if they say no more than this does. */
const char *why_format(uint32_t code, const char *said, char buffer[ERROR_TEXT_MAX]);

#endif
