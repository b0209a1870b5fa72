/* Between the parts of the log: log.c knows where lines go and how they look, log_line.c makes one,
 * log_queue.c carries them to the writer thread. */
#ifndef POSTERN_BASE_LOG_PRIVATE_H
#define POSTERN_BASE_LOG_PRIVATE_H

#include "base/log.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How lines look now, as log_open(), log_set() and the descriptor have it. */
struct log_look {
    bool json;
    bool journal;
};

struct log_look log_look(void);
void log_count_dropped(uint64_t lines);

/* Ends the line, newline included. After this only `data` and `length` are of use. */
void log_line_finish(struct log_line *line);

/*
 * The queue and its thread. A queue belongs to whoever started it until log_queue_stop(), which takes it
 * back even when the thread is stuck in a write: then the thread frees the queue if it ever gets loose.
 */
struct log_queue;

int log_queue_start(int fd, struct log_queue **ret) MUST_CHECK;

/* Never waits for the reader; a line that does not fit is counted as dropped. */
void log_queue_push(struct log_queue *queue, const char *data, size_t length);

/* False if the reader did not take what was queued within `patience_ms`: it is counted as dropped. */
bool log_queue_stop(struct log_queue *queue, unsigned patience_ms);

#endif
