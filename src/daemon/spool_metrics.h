/* The spool's part of /metrics: depth, age, what comes in, attempts and what became of them. The gauges are what is on the
 * disk (spool_stats()). */
#ifndef POSTERN_DAEMON_SPOOL_METRICS_H
#define POSTERN_DAEMON_SPOOL_METRICS_H

#include "base/text.h"
#include "daemon/control.h"

/* Nothing, if no route asks for a spool and none is open. */
void spool_metrics_write(const struct server_view *view, struct text *out);

#endif
