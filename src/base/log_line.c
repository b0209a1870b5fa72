/* One line of the log, made in place: nothing here allocates, locks or waits. */
#include "base/escape.h"
#include "base/log_private.h"
#include "base/units.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* Room kept for the end of a line that lost fields; the longer of the two shapes. */
#define END_ROOM (sizeof(",\"truncated\":true}\n") - 1)

/* Events are a few words of ours. The bound keeps the shape even so. */
#define EVENT_MAX 256

#define STAMP_MAX 40

static const struct {
    const char *name;
    const char *column; /* in a text line: as wide for each, so that events stand below one another */
    char priority;      /* syslog's number, which journald reads */
} levels[] = {
    [LOG_LEVEL_ERROR] = {"error", "error ", '3'},
    [LOG_LEVEL_WARN] = {"warn", "warn  ", '4'},
    [LOG_LEVEL_INFO] = {"info", "info  ", '6'},
    [LOG_LEVEL_DEBUG] = {"debug", "debug ", '7'},
};

static bool put(struct log_line *line, const char *data, size_t length)
{
    if (length > LOG_LINE_MAX - END_ROOM - line->length) {
        return false;
    }
    memcpy(line->data + line->length, data, length);
    line->length += length;
    return true;
}

static bool put_string(struct log_line *line, const char *string)
{
    return put(line, string, strlen(string));
}

/* What fits, in whole characters; false if something was left out. */
static bool put_escaped(struct log_line *line, const char *data, size_t length)
{
    while (length > 0) {
        char escaped[ESCAPE_MAX];
        size_t used = escape_plain(data, length);

        if (used > 0) {
            if (!put(line, data, used)) {
                return false;
            }
        } else if (!put(line, escaped, escape_json(data, length, escaped, &used))) {
            return false;
        }
        data += used;
        length -= used;
    }
    return true;
}

/* The same, but fills the room but for `keep` to the last character that fits, and returns how many bytes went in. */
static size_t put_fitting(struct log_line *line, const char *data, size_t length, size_t keep)
{
    size_t limit = LOG_LINE_MAX - END_ROOM - keep, at = 0;

    while (at < length && line->length < limit) {
        char escaped[ESCAPE_MAX];
        size_t used = escape_plain(data + at, length - at), room = limit - line->length;

        if (used > 0) {
            used = used < room ? used : room;
            put(line, data + at, used);
        } else {
            size_t size = escape_json(data + at, length - at, escaped, &used);

            if (size > room) {
                break;
            }
            put(line, escaped, size);
        }
        at += used;
    }
    return at;
}

static bool put_quoted(struct log_line *line, const char *value)
{
    return put(line, "\"", 1) && put_escaped(line, value, strlen(value)) && put(line, "\"", 1);
}

/* Whether a value can stand in a text line without quotes. */
static bool is_word(const char *value)
{
    if (!*value) {
        return false;
    }
    for (; *value; value++) {
        if (*value <= ' ' || *value > '~' || *value == '"' || *value == '\\' || *value == '=') {
            return false;
        }
    }
    return true;
}

/* RFC 3339 in UTC with milliseconds. The calendar is worked out once a second in each thread. */
static void put_stamp(struct log_line *line)
{
    static _Thread_local time_t known = -1;
    static _Thread_local char calendar[STAMP_MAX - 8];
    char stamp[STAMP_MAX];
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (now.tv_sec != known) {
        struct tm tm;

        gmtime_r(&now.tv_sec, &tm);
        strftime(calendar, sizeof(calendar), "%Y-%m-%dT%H:%M:%S", &tm);
        known = now.tv_sec;
    }
    snprintf(stamp, sizeof(stamp), "%s.%03uZ", calendar, (unsigned)(now.tv_nsec / 1000000) % 1000);
    put_string(line, stamp);
}

static void start(struct log_line *line, enum log_level level, const char *event)
{
    struct log_look look = log_look();
    const char priority[] = {'<', levels[level].priority, '>'};

    line->json = look.json;
    line->full = false;
    line->level = level;
    line->length = 0;
    if (look.journal) {
        put(line, priority, sizeof(priority));
    }
    put_string(line, line->json ? "{\"ts\":\"" : "");
    put_stamp(line);
    put_string(line, line->json ? "\",\"level\":\"" : " ");
    put_string(line, line->json ? levels[level].name : levels[level].column);
    put_string(line, line->json ? "\",\"event\":\"" : "");
    put_escaped(line, event, strnlen(event, EVENT_MAX));
    put_string(line, line->json ? "\"" : "");
}

void log_begin(struct log_line *line, enum log_level level, const char *event)
{
    line->wanted = log_wanted(level);
    if (line->wanted) {
        start(line, level, event);
    }
}

static bool put_name(struct log_line *line, const char *name, const char *suffix)
{
    if (line->json) {
        return put(line, ",\"", 2) && put_string(line, name) && put_string(line, suffix) &&
               put(line, "\":", 2);
    }
    return put(line, " ", 1) && put_string(line, name) && put(line, "=", 1);
}

/* A field is there whole or not at all: `fits` says whether all of it found room after `mark`. Once one
 * did not, no later one is taken, so that what is missing is always the end. */
static void settle(struct log_line *line, size_t mark, bool fits)
{
    if (fits) {
        return;
    }
    line->length = mark;
    line->full = true;
}

void log_str(struct log_line *line, const char *name, const char *value)
{
    size_t mark = line->length;

    if (!line->wanted || line->full || !value) {
        return;
    }
    settle(line, mark,
           put_name(line, name, "") &&
               (!line->json && is_word(value) ? put_string(line, value) : put_quoted(line, value)));
}

void log_u64(struct log_line *line, const char *name, uint64_t value)
{
    char digits[24];
    size_t mark = line->length;

    if (!line->wanted || line->full) {
        return;
    }
    snprintf(digits, sizeof(digits), "%" PRIu64, value);
    settle(line, mark, put_name(line, name, "") && put_string(line, digits));
}

size_t log_text(struct log_line *line, const char *name, const char *data, size_t length, bool continues)
{
    const char *flag = line->wanted && line->json ? "\",\"continues\":true" : "\" continues=true";
    size_t mark = line->length, taken;

    if (!line->wanted || line->full) {
        return length;
    }
    if (!put_name(line, name, "") || !put(line, "\"", 1) ||
        line->length + strlen(flag) > LOG_LINE_MAX - END_ROOM) {
        settle(line, mark, false);
        return length;
    }
    taken = put_fitting(line, data, length, strlen(flag));
    put_string(line, taken < length || continues ? flag : "\"");
    return taken;
}

void log_ms(struct log_line *line, const char *name, uint64_t ms)
{
    char words[UNITS_TEXT_MAX];
    size_t mark = line->length;

    if (!line->wanted || line->full) {
        return;
    }
    if (line->json) {
        snprintf(words, sizeof(words), "%" PRIu64, ms);
    } else {
        units_human_duration(ms, words);
    }
    settle(line, mark, put_name(line, name, "_ms") && put_string(line, words));
}

void log_line_finish(struct log_line *line)
{
    const char *end = line->json ? "}\n" : "\n";

    if (line->full) {
        end = line->json ? ",\"truncated\":true}\n" : " truncated=true\n";
    }
    memcpy(line->data + line->length, end, strlen(end));
    line->length += strlen(end);
}

void log_event(enum log_level level, const char *event, const char *format, ...)
{
    struct log_line line;
    char detail[LOG_LINE_MAX / 2];
    va_list args;

    log_begin(&line, level, event);
    if (!line.wanted) {
        return;
    }
    va_start(args, format);
    if (vsnprintf(detail, sizeof(detail), format, args) >= 0) {
        log_str(&line, "detail", detail);
    }
    va_end(args);
    log_end(&line);
}
