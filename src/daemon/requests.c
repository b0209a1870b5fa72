/* Requests: see requests.h. */
#include "daemon/requests.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- Counters ---- */

static counter *outcome(struct request_counters *counters, const struct forward_told *told)
{
    unsigned class = told->status / 100;
    if (told->why != HTTP_REFUSED_NONE) {
        return &counters->refused[told->why];
    }
    if (told->kept) {
        return &counters->kept;
    }
    return &counters->answered[class < REQUEST_CLASSES ? class : 0];
}

void request_count(struct request_counters *counters, const struct forward_told *told)
{
    if (counters == NULL) {
        return;
    }
    counter_add(outcome(counters, told), 1);
    counter_add(&counters->body_in, told->body_in);
    counter_add(&counters->body_out, told->body_out);
    if (told->why == HTTP_REFUSED_NONE) {
        histogram_add(&counters->duration, told->duration_us);
    }
}

/* ---- The log ---- */

/* Spans of the request are not terminated; a line takes a few hundred bytes of a path, and cuts the rest. */
#define SPAN_MAX 512

static void log_span(struct log_line *line, const char *name, struct http_span span)
{
    char text[SPAN_MAX + 4];
    if (span.size == 0) {
        return;
    }
    size_t size = span.size < SPAN_MAX ? span.size : SPAN_MAX;
    snprintf(text, sizeof text, "%.*s%s", (int)size, span.data, size < span.size ? "..." : "");
    log_str(line, name, text);
}

static void log_upstream(struct log_line *line, const struct forward_told *told)
{
    char address[ADDR_TEXT_MAX];
    const struct exchange *exchange = told->exchange;
    if (exchange == NULL || exchange->peer.length == 0) {
        return;
    }
    log_str(line, "address", sockaddr_format(&exchange->peer, address));
    log_str(line, "connection", exchange->reused ? "kept" : "new");
}

/* A refusal is a warning, whoever is to blame for it. An enclave could fill the log with either: each is within the bound that
 * streams have, too. */
static void begin_line(struct stream_record *record, const struct forward_told *told, struct log_line *line)
{
    struct worker *worker = record->worker;
    if (told->why != HTTP_REFUSED_NONE) {
        log_begin_limited(line, &worker->log_refused, LOG_LEVEL_WARN, "request refused");
        log_str(line, "reason", http_refusal_word(told->why));
    } else {
        log_begin_limited(line, &worker->log_ended, LOG_LEVEL_INFO,
                          told->kept ? "request kept" : "request forwarded");
    }
}

void request_log(struct stream_record *record, const struct forward_told *told)
{
    struct log_line line;
    begin_line(record, told, &line);
    if (!line.wanted) {
        return;
    }
    stream_log_whose(record, &line);
    log_str(&line, "request_id", told->id);
    log_span(&line, "method", told->method);
    log_span(&line, "host", told->host);
    log_span(&line, "path", told->path);
    if (told->status > 0) {
        log_u64(&line, "status", told->status);
    }
    if (told->kept) {
        log_u64(&line, "record", told->kept_id);
    }
    log_u64(&line, "body_in", told->body_in);
    log_u64(&line, "body_out", told->body_out);
    log_ms(&line, "duration", told->duration_us / 1000);
    log_upstream(&line, told);
    log_str(&line, "aws_error", told->code);
    log_str(&line, "cut", told->cut ? "the answer broke in the middle" : NULL);
    log_str(&line, "detail", told->detail);
    log_end(&line);
}
