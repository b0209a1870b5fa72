/*
 * A session driven by a script: the fuzzer's bytes are commands to both the application above it and the peer before it, so that
 * states deep inside are reached, and whole frames with fields of the fuzzer's choice come as easily as bytes without sense.
 */
#ifndef POSTERN_FUZZ_SESSION_SCRIPT_H
#define POSTERN_FUZZ_SESSION_SCRIPT_H

#include "session/session.h"

/* Runs the script against a session of this role, and stops the process if a promise of session.h is broken. */
void session_script(enum session_role role, const uint8_t *data, size_t size);

#endif
