/*
 * The spool in JSON, as the admin socket tells it. Each returns a new reference, NULL: out of memory. Times are ms since
 * 1970, ages seconds.
 */
#ifndef POSTERN_DAEMON_SPOOL_JSON_H
#define POSTERN_DAEMON_SPOOL_JSON_H

#include "base/text.h"
#include "daemon/spool_keeper.h"
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

json_t *spool_json_record(const struct spool_record *record); /* with "head" if it has one */
json_t *spool_json_list(const struct spool_record *records, size_t count, uint64_t next);
json_t *spool_json_verdicts(const struct spool_verdicts *verdicts);
json_t *spool_json_stats(const struct spool_keeper *keeper, const struct config *config);

/* The head of the record's request, complete: with what frames its body. */
void spool_json_head(const struct spool_record *record, struct text *out);

#endif
