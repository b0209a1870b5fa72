/*
 * Requests as the daemon knows them: each that came over a stream to a `forward` route, once it is over, has one line in the log
 * and is counted. The stream that brought it has its own (streams.h).
 *
 *     {"event":"request forwarded","enclave":"payroll","listener":"l","route":"results","request_id":...,"method":"POST",
 *      "path":"/results","status":201,...}
 *
 * Of what a request says the method and the path are told, and nothing else: no query, no header, no byte of a body.
 */
#ifndef POSTERN_DAEMON_REQUESTS_H
#define POSTERN_DAEMON_REQUESTS_H

#include "daemon/counters.h"
#include "daemon/streams.h"
#include "forward/forward_stream.h"

/* Counts it. `counters` may be NULL: the route was of another type when its counters were made, and memory was short. */
void request_count(struct request_counters *counters, const struct forward_told *told);

/* Its line, of which the first fields, up to the route, are the stream's. */
void request_log(struct stream_record *record, const struct forward_told *told);

#endif
