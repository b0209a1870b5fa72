/* What `posternctl top` makes of two looks at the status. */
#ifndef POSTERN_CTL_TOP_H
#define POSTERN_CTL_TOP_H

#include "base/compiler.h"
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

/* A counter's growth a second; 0 if it fell, since the daemon began anew in between. */
uint64_t top_rate(uint64_t before, uint64_t after, uint64_t elapsed_ms);

/* {"elapsed_ms", "routes": [{"name", "active", "streams_per_s", ...}], "enclaves": [...]}; NULL: out
 * of memory. */
json_t *top_rates(const json_t *before, const json_t *after, uint64_t elapsed_ms) MUST_CHECK;

#endif
