/*
 * /metrics: the counters in Prometheus's text format 0.0.4.
 *
 * Every label value is a name out of the configuration or a word out of a table of ours, so the number of
 * series is bounded by the configuration. A series exists, at 0, from the moment its route is configured:
 * what appears only when it first happens hides the first event from increase() and rate(), and the first
 * refusal is the one to be told of. That makes about 50 series a route.
 */
#ifndef POSTERN_DAEMON_METRICS_H
#define POSTERN_DAEMON_METRICS_H

#include "base/text.h"
#include "daemon/control.h"

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

void metrics_write(const struct server_view *view, struct text *out);

#endif
