/*
 * Making bytes from outside harmless in a line of text: as the inside of a JSON string, in which nothing
 * ends the line, moves a terminal's cursor or turns the direction of writing.
 */
#ifndef POSTERN_BASE_ESCAPE_H
#define POSTERN_BASE_ESCAPE_H

#include <stddef.h>

/* Most bytes that one character becomes. */
#define ESCAPE_MAX 6

/* How many of the `length` bytes at the start of `data` stand for themselves: the fast way past
 * ordinary text. */
size_t escape_plain(const char *data, size_t length);

/* Writes one character of `data` (of which there is at least one byte) to `out`, not terminated, and
 * returns the bytes written; *ret_used is how many were read. Control and direction characters, quotes
 * and backslashes are escaped, a byte that is not UTF-8 becomes U+FFFD. */
size_t escape_json(const char *data, size_t length, char out[ESCAPE_MAX], size_t *ret_used);

/* What a message may repeat of a text that was to be an address or URL: from its last "@" on, if there is one, for in front of it may stand
 * a password, however the scheme was mistyped; else all. The paths of unix:// and hybrid:// hold none. */
const char *escape_user(const char *address);

#endif
