/*
 * The numbers that say why: in GOAWAY, REFUSED, RESET and STOP.
 *
 * Below 0x100 are the protocol's own. From 0x100 on stands base/reason.h's table, each reason under a number
 * that never changes and is never used for another (docs/protocol.md, "Codes").
 */
#ifndef POSTERN_SESSION_CODES_H
#define POSTERN_SESSION_CODES_H

#include "base/compiler.h"
#include "base/reason.h"
#include <stdbool.h>
#include <stdint.h>

#define CODE_TABLE(X)                        \
    X(NO_ERROR, 0x00, "no_error")            \
    X(PROTOCOL, 0x01, "protocol")            \
    X(INTERNAL, 0x02, "internal_error")      \
    X(FRAME_SIZE, 0x03, "frame_size")        \
    X(CONTROL, 0x04, "control")              \
    X(FLOW_CONTROL, 0x05, "flow_control")    \
    X(STREAM_CLOSED, 0x06, "stream_closed")  \
    X(STREAM_LIMIT, 0x07, "stream_limit")    \
    X(VERSION, 0x08, "version")              \
    X(TIMEOUT, 0x09, "timeout")              \
    X(CALM, 0x0a, "calm")                    \
    X(GOING_AWAY, 0x0b, "going_away")        \
    X(CANCEL, 0x20, "cancel")                \
    X(OPEN_TIMEOUT, 0x21, "open_timeout")    \
    X(NO_PROGRESS, 0x22, "no_progress")      \
    X(UNSUPPORTED, 0x23, "unsupported_kind") \
    X(LOST, 0x24, "lost") /* never on the wire: the connection ended without GOAWAY */

enum code {
#define X(id, number, word) CODE_##id = (number),
    CODE_TABLE(X)
#undef X
        CODE_REASON = 0x100, /* the first number that is a reason's */
};

/* The word for a number, a reason's word included; "unknown" for one that nobody gave a meaning. */
const char *code_word(uint32_t code);

/* A reason's number, and back; false if the number is no reason's that this build knows. */
uint32_t code_of_reason(enum reason reason);
bool code_reason(uint32_t code, enum reason *ret);

#endif
