/*
 * Which characters a configuration file may hold. Checked before libyaml sees the file, since its reader
 * knows no line and column; the set is the one that libyaml accepts, but for what ends a line to libyaml and not to
 * everybody: a line ends with a line feed, maybe behind a carriage return.
 */
#ifndef POSTERN_CONFIG_UTF8_H
#define POSTERN_CONFIG_UTF8_H

#include "base/compiler.h"
#include "base/diag.h"
#include <stdbool.h>
#include <stddef.h>

/* Whether all of `data` is UTF-8 text. If not, tells the first place where it is not in `diags`. */
bool utf8_check(const char *data, size_t size, struct diags *diags) MUST_CHECK;

/* On each line that has a mistake: tells the first character that looks like another one which would mean something to YAML, as
 * word processors and web pages put in. A value may hold it, so by itself it is no mistake. `not_yaml`: the mistake may have been
 * noticed a line later. */
void utf8_tell_lookalikes(const char *data, size_t size, bool not_yaml, struct diags *diags);

/* Whether a valid UTF-8 string can be shown on one line as it is: no control character, line separator or
 * character that turns the direction of writing. */
bool utf8_is_plain(const char *string, size_t length) MUST_CHECK;

/* How many bytes of a string a message shows: at most UTF8_CLIP, and no half character. For "%.*s". */
#define UTF8_CLIP 64
int utf8_clip(const char *string) MUST_CHECK;

#endif
