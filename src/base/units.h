/*
 * Numbers as people write them: 8080, 5s, 1h30m, 16KiB, 10GiB. Parsing is exact: no sign, no blank, no
 * leftover, no overflow is let through, and the unit is not optional (but for a plain 0). Each parser
 * returns 0, or -EINVAL (not such a number) or -ERANGE (too large), and leaves *ret alone on failure.
 */
#ifndef POSTERN_BASE_UNITS_H
#define POSTERN_BASE_UNITS_H

#include "base/compiler.h"
#include <stdint.h>

#define UNITS_TEXT_MAX 32

/* Decimal digits only. */
int units_parse_u64(const char *text, uint64_t max, uint64_t *ret) MUST_CHECK;

/* One or more of <digits><unit> with units ms, s, m, h, d, largest first: "1h30m". In milliseconds. */
int units_parse_duration(const char *text, uint64_t *ret_ms) MUST_CHECK;

/* <digits><unit> with units B, KiB, MiB, GiB, TiB. In bytes. */
int units_parse_size(const char *text, uint64_t *ret_bytes) MUST_CHECK;

/* Back into words, in the fewest units that are exact: 90000 -> "1m30s", 1536 -> "1536B". */
const char *units_format_duration(uint64_t ms, char buffer[UNITS_TEXT_MAX]);
const char *units_format_size(uint64_t bytes, char buffer[UNITS_TEXT_MAX]);

/* For tables, rounded to three figures: "1.46 GiB", "12.3s". A duration of a minute or more is shown in its
 * two largest units: "1h2m". */
const char *units_human_size(uint64_t bytes, char buffer[UNITS_TEXT_MAX]);
const char *units_human_duration(uint64_t ms, char buffer[UNITS_TEXT_MAX]);

/* What follows the noun that is counted: "s", or nothing behind "1 stream". */
const char *units_plural(uint64_t count);

#endif
