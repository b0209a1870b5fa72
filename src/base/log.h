/*
 * The log: one event a line, on standard error, as text, as JSON, or with journald's priorities.
 *
 * A line is a level, an event (a few fixed words, the same for every occurrence) and fields. Names of
 * fields are design words: enclave, listener, route, stream, destination, reason. Values are escaped, so
 * that nothing a peer sends can forge a line; payload bytes and secrets are never values.
 *
 *     struct log_line line;
 *     log_begin(&line, LOG_LEVEL_INFO, "stream ended");
 *     log_str(&line, "route", route->name);
 *     log_u64(&line, "bytes_in", bytes);
 *     log_end(&line);
 *
 * Lines are handed to one writer thread through a bounded queue: a reader of standard error that stalls
 * never stalls a relay. What does not fit is dropped and counted, and the count is told in a line of its
 * own as soon as there is room. Thread-safe throughout, but for log_open() and log_close(), during which no
 * other thread may log.
 */
#ifndef POSTERN_BASE_LOG_H
#define POSTERN_BASE_LOG_H

#include "base/compiler.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* AUTO: text when the descriptor is a terminal, JSON otherwise. In every format, when the descriptor is the
 * journal's own socket ($JOURNAL_STREAM), each line begins with its priority, "<N>", which the journal
 * takes off and keeps. */
enum log_format { LOG_FORMAT_AUTO, LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

#define LOG_LINE_MAX 2048

struct log_line {
    bool wanted; /* false: below the level, and every call on the line does nothing */
    bool json;
    bool full; /* a field did not fit: later ones are left out, and the line ends with `truncated` */
    enum log_level level;
    size_t length;
    char data[LOG_LINE_MAX]; /* a longer line loses its last fields, never its shape */
};

/* Starts the writer thread on descriptor `fd` (2 in the daemon). Returns 0 or a negative errno value;
 * until then, and after log_close(), lines are written to `fd` directly. */
int log_open(int fd, enum log_level level, enum log_format format) MUST_CHECK;

/* Writes what is queued (waiting at most a second for a stuck reader) and stops the thread. */
void log_close(void);

/* May be called at any time; a reload does. */
void log_set(enum log_level level, enum log_format format);

/* Whether lines of that level are written: guards the cost of making up what they say. */
bool log_wanted(enum log_level level);

/* Lines lost since the start: the reader did not keep up, or the descriptor failed. */
uint64_t log_dropped(void);

void log_begin(struct log_line *line, enum log_level level, const char *event);
void log_str(struct log_line *line, const char *name, const char *value); /* NULL: the field is left out */
void log_u64(struct log_line *line, const char *name, uint64_t value);
void log_ms(struct log_line *line, const char *name,
            uint64_t ms); /* text: "1.5s"; JSON: name_ms as a number */
void log_end(struct log_line *line);

/* Text from outside that may be of any length and hold anything: as much of it as fits, escaped. Returns how many bytes
 * that is; the rest belongs into another line. If there is a rest, or `continues` says so, the field `continues`
 * follows. To be the last field but fixed ones. A line that is not wanted takes all. */
size_t log_text(struct log_line *line, const char *name, const char *data, size_t length, bool continues);

/* A line with one field, `detail`, for the many that need no more. */
void log_event(enum log_level level, const char *event, const char *format, ...) PRINTF_LIKE(3, 4);

/*
 * A bound on how often one kind of line is written: `burst` at once, then `per_second`. What it held back
 * is told by the next line that passes (field `suppressed`). One limit per kind of line, static or in a
 * worker; safe to share between threads.
 */
struct log_limit {
    uint32_t per_second;
    uint32_t burst;
    _Atomic uint64_t state;      /* private: when all tokens are back */
    _Atomic uint64_t suppressed; /* private */
};

#define LOG_LIMIT_INIT(rate, most)            \
    {                                         \
        .per_second = (rate), .burst = (most) \
    }

/* Takes one of the tokens of such a bound, whose state, at first 0, the caller keeps; false: there is none. `now` is in
 * nanoseconds of a clock that never goes back. */
bool log_take_token(_Atomic uint64_t *state, uint32_t per_second, uint32_t burst, uint64_t now) MUST_CHECK;

/* Like log_begin(), but the line is not wanted when the limit is met. */
void log_begin_limited(struct log_line *line, struct log_limit *limit, enum log_level level,
                       const char *event);

#endif
