/* The log as the rest of the house sees it: its settings, and where its lines go. */
#include "base/log_private.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* How long log_close() waits for a stuck reader, and how long a line written without the queue does. */
#define CLOSE_PATIENCE_MS  1000
#define DIRECT_PATIENCE_MS 100

/* What the descriptor is. UNSEEN: nobody has looked yet. */
enum { OUTPUT_UNSEEN, OUTPUT_PLAIN, OUTPUT_TERMINAL, OUTPUT_JOURNAL };

/* Only log_open() and log_close() change `fd`, `queue` and `patience_ms`, and they are called while nobody
 * else logs; the rest may change at any time, each by itself. */
static struct {
    _Atomic enum log_level level;
    _Atomic enum log_format format;
    _Atomic int output;
    _Atomic uint64_t dropped;
    int fd;
    int patience_ms;
    struct log_queue *queue;
} state = {
    .level = LOG_LEVEL_INFO,
    .format = LOG_FORMAT_AUTO,
    .fd = STDERR_FILENO,
    .patience_ms = DIRECT_PATIENCE_MS,
};

/* systemd names the socket it gave us by device and inode, so that a redirected descriptor is not
 * taken for it. */
static bool is_journal(int fd)
{
    const char *stream = getenv("JOURNAL_STREAM");
    char name[64];
    struct stat st;

    if (!stream || fstat(fd, &st) < 0) {
        return false;
    }
    snprintf(name, sizeof(name), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    return strcmp(stream, name) == 0;
}

static int look_at(int fd)
{
    if (isatty(fd)) {
        return OUTPUT_TERMINAL;
    }
    return is_journal(fd) ? OUTPUT_JOURNAL : OUTPUT_PLAIN;
}

struct log_look log_look(void)
{
    int output = atomic_load_explicit(&state.output, memory_order_relaxed);
    enum log_format format = atomic_load_explicit(&state.format, memory_order_relaxed);

    if (output == OUTPUT_UNSEEN) {
        int saved = errno;

        output = look_at(state.fd);
        errno = saved;
        atomic_store_explicit(&state.output, output, memory_order_relaxed);
    }
    return (struct log_look){
        .json = format == LOG_FORMAT_JSON || (format == LOG_FORMAT_AUTO && output != OUTPUT_TERMINAL),
        .journal = output == OUTPUT_JOURNAL,
    };
}

int log_open(int fd, enum log_level level, enum log_format format)
{
    struct log_queue *queue;
    int r;

    if (state.queue) {
        return -EALREADY;
    }
    /* The C library reads the time zone's file, and allocates, when first asked; not in the middle
     * of a line. */
    tzset();
    r = log_queue_start(fd, &queue);
    if (r < 0) {
        return r;
    }
    log_set(level, format);
    atomic_store_explicit(&state.output, look_at(fd), memory_order_relaxed);
    state.fd = fd;
    state.queue = queue;
    return 0;
}

void log_close(void)
{
    struct log_queue *queue = state.queue;

    if (!queue) {
        return;
    }
    state.queue = NULL;
    /* A reader that is stuck is not waited for again with each of the last lines. */
    state.patience_ms = log_queue_stop(queue, CLOSE_PATIENCE_MS) ? DIRECT_PATIENCE_MS : 0;
}

void log_set(enum log_level level, enum log_format format)
{
    atomic_store_explicit(&state.level, level, memory_order_relaxed);
    atomic_store_explicit(&state.format, format, memory_order_relaxed);
}

bool log_wanted(enum log_level level)
{
    return level <= atomic_load_explicit(&state.level, memory_order_relaxed);
}

uint64_t log_dropped(void)
{
    return atomic_load_explicit(&state.dropped, memory_order_relaxed);
}

void log_count_dropped(uint64_t lines)
{
    atomic_fetch_add_explicit(&state.dropped, lines, memory_order_relaxed);
}

/* As long as poll() says that there is room: a pipe then takes a line whole, so that this does not block.
 * False if the line, or its end, could not be written. */
static bool write_line(const char *data, size_t length)
{
    while (length > 0) {
        struct pollfd ready = {.fd = state.fd, .events = POLLOUT};
        ssize_t n = poll(&ready, 1, state.patience_ms);

        if (n > 0) {
            n = write(state.fd, data, length);
        } else if (n == 0) {
            return false;
        }
        if (n < 0 && errno != EINTR && errno != EAGAIN) {
            return false;
        }
        if (n > 0) {
            data += n;
            length -= (size_t)n;
        }
    }
    return true;
}

/* A SIGPIPE that the write raised is taken back before the caller's mask is restored; one that was pending
 * before stays. */
static bool write_line_quietly(const char *data, size_t length)
{
    const struct timespec at_once = {0};
    sigset_t sigpipe, pending, before;
    int saved = errno;
    bool written;

    sigemptyset(&sigpipe);
    sigaddset(&sigpipe, SIGPIPE);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &sigpipe, &before);
    written = write_line(data, length);
    if (!written && !sigismember(&pending, SIGPIPE)) {
        sigtimedwait(&sigpipe, NULL, &at_once);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = saved; /* of what the caller is about to report */
    return written;
}

void log_end(struct log_line *line)
{
    if (!line->wanted) {
        return;
    }
    log_line_finish(line);
    if (state.queue) {
        log_queue_push(state.queue, line->data, line->length);
    } else if (!write_line_quietly(line->data, line->length)) {
        log_count_dropped(1);
    }
}
