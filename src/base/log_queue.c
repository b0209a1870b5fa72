/* The bounded queue of lines, and the thread that writes them. */
#include "base/log_private.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

#define RING_SIZE  (1024U * 1024U)
#define BATCH_SIZE (64U * 1024U)

/* After a write the thread waits this long for more, unless a whole batch is there: a burst of lines
 * costs a few large writes, and a lone line is on its way at once. */
#define GATHER_MS 10

struct log_queue {
    pthread_mutex_t lock; /* guards all below but `fd` and `thread` */
    pthread_cond_t wake;  /* for the thread: `used` reached `wake_at`, or `closing` */
    pthread_cond_t done;  /* for log_queue_stop(): `finished` */
    pthread_t thread;
    int fd;

    char *ring;     /* lines, newlines included; the thread reads what is used without the lock, */
    size_t start;   /* since those who add touch only what is free */
    size_t used;    /* bytes */
    size_t held;    /* 1: the first byte is the newline of a torn line, and goes out with the next one */
    size_t wake_at; /* SIZE_MAX while the thread is not waiting */
    bool torn;      /* the last byte written was not a newline */
    uint64_t untold;

    bool closing;
    bool finished;
    bool abandoned; /* the thread is the owner now */
};

static void destroy(struct log_queue *queue)
{
    pthread_cond_destroy(&queue->done);
    pthread_cond_destroy(&queue->wake);
    pthread_mutex_destroy(&queue->lock);
    free(queue->ring);
    free(queue);
}

static struct timespec after_ms(unsigned ms)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += ms / 1000;
    at.tv_nsec += (long)(ms % 1000) * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    return at;
}

static bool add(struct log_queue *queue, const char *data, size_t length)
{
    size_t end = (queue->start + queue->used) % RING_SIZE;
    size_t first = length < RING_SIZE - end ? length : RING_SIZE - end;

    if (length > RING_SIZE - queue->used) {
        return false;
    }
    memcpy(queue->ring + end, data, first);
    memcpy(queue->ring, data + first, length - first);
    queue->used += length;
    return true;
}

void log_queue_push(struct log_queue *queue, const char *data, size_t length)
{
    bool added;

    pthread_mutex_lock(&queue->lock);
    added = add(queue, data, length);
    if (!added) {
        queue->untold++;
    }
    if (queue->used >= queue->wake_at) {
        queue->wake_at = SIZE_MAX;
        pthread_cond_signal(&queue->wake);
    }
    pthread_mutex_unlock(&queue->lock);
    if (!added) {
        log_count_dropped(1);
    }
}

/* In the place where the lines are missing, as soon as there is room. */
static void tell_dropped(struct log_queue *queue)
{
    struct log_line line;

    if (queue->untold == 0) {
        return;
    }
    log_begin(&line, LOG_LEVEL_WARN, "log lines dropped");
    if (!line.wanted) {
        return;
    }
    log_u64(&line, "lines", queue->untold);
    log_u64(&line, "since_start", log_dropped());
    log_line_finish(&line);
    if (add(queue, line.data, line.length)) {
        queue->untold = 0;
    }
}

/* Waits until `enough` bytes are used, `ms` have passed (0: however long it takes), or the queue closes. */
static void wait_for(struct log_queue *queue, size_t enough, unsigned ms)
{
    struct timespec until = after_ms(ms);
    int r = 0;

    queue->wake_at = enough;
    while (!queue->closing && queue->used < enough && r != ETIMEDOUT) {
        r = ms > 0 ? pthread_cond_clockwait(&queue->wake, &queue->lock, CLOCK_MONOTONIC, &until)
                   : pthread_cond_wait(&queue->wake, &queue->lock);
    }
    queue->wake_at = SIZE_MAX;
}

/* One write, of a batch at most. Whoever reads may take his time: nobody waits for this thread but
 * log_queue_stop(), and that not for long. Returns what was written, or 0 if it cannot be. */
static size_t write_batch(int fd, const struct iovec parts[2])
{
    for (;;) {
        struct pollfd ready = {.fd = fd, .events = POLLOUT};
        ssize_t n = writev(fd, parts, 2);

        if (n > 0) {
            return (size_t)n;
        }
        if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
            return 0;
        }
        if (errno == EAGAIN) {
            poll(&ready, 1, -1);
        }
    }
}

static void forget_written(struct log_queue *queue, size_t written)
{
    queue->torn = queue->ring[(queue->start + written - 1) % RING_SIZE] != '\n';
    queue->held = 0;
    queue->used -= written;
    /* Beginning again at the front when empty keeps a quiet log from touching the whole ring. */
    queue->start = queue->used > 0 ? (queue->start + written) % RING_SIZE : 0;
}

static uint64_t count_lines(const struct log_queue *queue)
{
    uint64_t lines = 0;

    for (size_t i = queue->held; i < queue->used; i++) {
        lines += queue->ring[(queue->start + i) % RING_SIZE] == '\n';
    }
    return lines;
}

/* Nobody can be told now: what is queued is lost. The newline of a line that went out in part is kept,
 * so that, should writing work again, the next line begins as one. */
static void discard(struct log_queue *queue)
{
    uint64_t lines = count_lines(queue);

    queue->untold += lines;
    log_count_dropped(lines);
    queue->start = 0;
    queue->held = queue->torn ? 1 : 0;
    queue->used = queue->held;
    queue->ring[0] = '\n';
}

static void write_some(struct log_queue *queue)
{
    size_t size = queue->used < BATCH_SIZE ? queue->used : BATCH_SIZE;
    size_t first = size < RING_SIZE - queue->start ? size : RING_SIZE - queue->start;
    struct iovec parts[2] = {
        {.iov_base = queue->ring + queue->start, .iov_len = first},
        {.iov_base = queue->ring, .iov_len = size - first},
    };
    size_t written;

    pthread_mutex_unlock(&queue->lock);
    written = write_batch(queue->fd, parts);
    pthread_mutex_lock(&queue->lock);
    if (written > 0) {
        forget_written(queue, written);
        tell_dropped(queue);
    } else {
        discard(queue);
    }
}

static void *run(void *arg)
{
    struct log_queue *queue = arg;
    bool abandoned;

    pthread_mutex_lock(&queue->lock);
    for (;;) {
        wait_for(queue, queue->held + 1, 0);
        if (queue->used <= queue->held) {
            break;
        }
        write_some(queue);
        wait_for(queue, BATCH_SIZE, GATHER_MS);
    }
    queue->finished = true;
    abandoned = queue->abandoned;
    pthread_cond_signal(&queue->done);
    pthread_mutex_unlock(&queue->lock);
    if (abandoned) {
        destroy(queue);
    }
    return NULL;
}

/* With every signal blocked: they are the main thread's to handle, and SIGPIPE nobody's. */
static int start_thread(struct log_queue *queue)
{
    sigset_t all, before;
    int r;

    sigfillset(&all);
    r = pthread_sigmask(SIG_SETMASK, &all, &before);
    if (r != 0) {
        return -r;
    }
    r = pthread_create(&queue->thread, NULL, run, queue);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -r;
}

int log_queue_start(int fd, struct log_queue **ret)
{
    struct log_queue *queue = malloc(sizeof(*queue));
    char *ring = malloc(RING_SIZE);
    int r;

    if (!queue || !ring) {
        free(ring);
        free(queue);
        return -ENOMEM;
    }
    *queue = (struct log_queue){
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .wake = PTHREAD_COND_INITIALIZER,
        .done = PTHREAD_COND_INITIALIZER,
        .fd = fd,
        .ring = ring,
        .wake_at = SIZE_MAX,
    };
    r = start_thread(queue);
    if (r < 0) {
        destroy(queue);
        return r;
    }
    *ret = queue;
    return 0;
}

bool log_queue_stop(struct log_queue *queue, unsigned patience_ms)
{
    struct timespec until = after_ms(patience_ms);
    uint64_t lines = 0;
    bool finished;
    int r = 0;

    pthread_mutex_lock(&queue->lock);
    queue->closing = true;
    pthread_cond_signal(&queue->wake);
    while (!queue->finished && r != ETIMEDOUT) {
        r = pthread_cond_clockwait(&queue->done, &queue->lock, CLOCK_MONOTONIC, &until);
    }
    finished = queue->finished;
    if (!finished) {
        queue->abandoned = true;
        lines = count_lines(queue);
        pthread_detach(queue->thread);
    }
    pthread_mutex_unlock(&queue->lock);
    if (!finished) {
        log_count_dropped(lines);
        return false;
    }
    pthread_join(queue->thread, NULL);
    destroy(queue);
    return true;
}
