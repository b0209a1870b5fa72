/* The client's event loop: see loop.h. */
#include "cli/loop.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t cli_now_ms(void)
{
    return now_us() / 1000;
}

int cli_loop_init(struct cli_loop *loop, struct error *err)
{
    memset(loop, 0, sizeof *loop);
    loop->signals.fd = -1;
    loop->now = cli_now_ms();
    LIST_INIT(&loop->timers);
    TAILQ_INIT(&loop->tasks);
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    return loop->epoll_fd >= 0 ? 0 : error_errno(err, -errno, "cannot make an epoll descriptor");
}

void cli_loop_release(struct cli_loop *loop)
{
    if (loop->signals.fd >= 0) {
        close(loop->signals.fd);
        sigprocmask(SIG_SETMASK, &loop->mask_before, NULL);
    }
    if (loop->epoll_fd >= 0) {
        close(loop->epoll_fd);
    }
}

void cli_loop_stop(struct cli_loop *loop)
{
    loop->stopped = true;
}

int cli_loop_add(struct cli_loop *loop, struct cli_watch *watch, int fd, uint32_t events,
                 void (*ready)(struct cli_watch *watch, uint32_t events))
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        return -errno;
    }
    watch->fd = fd;
    watch->ready = ready;
    return 0;
}

/* It allocates nothing, and the watch is there: it does not fail. */
void cli_loop_change(struct cli_loop *loop, struct cli_watch *watch, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    (void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, watch->fd, &event);
}

void cli_loop_remove(struct cli_loop *loop, struct cli_watch *watch)
{
    if (watch->fd < 0) {
        return;
    }
    (void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
    watch->fd = -1;
    for (int i = loop->next; i < loop->count; i++) {
        if (loop->batch[i].data.ptr == watch) {
            loop->batch[i].data.ptr = NULL;
        }
    }
}

void cli_timer_start(struct cli_loop *loop, struct cli_timer *timer, uint64_t at,
                     void (*due)(struct cli_timer *timer))
{
    timer->at = at;
    timer->due = due;
    if (!timer->listed) {
        timer->listed = true;
        LIST_INSERT_HEAD(&loop->timers, timer, link);
    }
}

void cli_timer_stop(struct cli_timer *timer)
{
    if (timer->listed) {
        timer->listed = false;
        LIST_REMOVE(timer, link);
    }
}

void cli_task_queue(struct cli_loop *loop, struct cli_task *task, void (*run)(struct cli_task *task))
{
    if (!task->queued) {
        task->queued = true;
        task->run = run;
        loop->queued++;
        TAILQ_INSERT_TAIL(&loop->tasks, task, link);
    }
}

void cli_task_cancel(struct cli_loop *loop, struct cli_task *task)
{
    if (task->queued) {
        task->queued = false;
        loop->queued--;
        TAILQ_REMOVE(&loop->tasks, task, link);
    }
}

/* The first that is due, or NULL; *ret_next is when the next one will be. A call may stop any of the others, so
 * the list is begun anew after each. */
static struct cli_timer *next_due(struct cli_loop *loop, uint64_t *ret_next)
{
    struct cli_timer *timer;
    *ret_next = CLI_NEVER;
    LIST_FOREACH (timer, &loop->timers, link) {
        if (timer->at <= loop->now) {
            return timer;
        }
        *ret_next = timer->at < *ret_next ? timer->at : *ret_next;
    }
    return NULL;
}

/* Returns how long to wait for the next, -1: for ever. */
static int run_timers(struct cli_loop *loop)
{
    struct cli_timer *timer;
    uint64_t next;
    while (!loop->stopped && (timer = next_due(loop, &next)) != NULL) {
        cli_timer_stop(timer);
        timer->due(timer);
    }
    if (loop->stopped || next == CLI_NEVER) {
        return loop->stopped ? 0 : -1;
    }
    uint64_t left = next - loop->now;
    return left < INT_MAX ? (int)left : INT_MAX;
}

static void report(struct cli_loop *loop)
{
    for (loop->next = 0; loop->next < loop->count && !loop->stopped;) {
        const struct epoll_event *event = &loop->batch[loop->next++];
        struct cli_watch *watch = event->data.ptr;
        if (watch != NULL) {
            watch->ready(watch, event->events);
        }
    }
    loop->next = loop->count = 0;
}

/* As many as are queued by now: one that queues itself again has its turn after the next reports. */
static void run_tasks(struct cli_loop *loop)
{
    struct cli_task *task;
    for (unsigned left = loop->queued; left > 0 && !loop->stopped; left--) {
        if ((task = TAILQ_FIRST(&loop->tasks)) == NULL) {
            return;
        }
        cli_task_cancel(loop, task);
        task->run(task);
    }
}

int cli_loop_run(struct cli_loop *loop)
{
    loop->stopped = false;
    while (!loop->stopped) {
        loop->now = cli_now_ms();
        run_tasks(loop);
        int patience = run_timers(loop);
        if (loop->stopped) {
            break;
        }
        patience = loop->queued == 0 ? patience : 0;
        loop->count = epoll_wait(loop->epoll_fd, loop->batch, CLI_LOOP_BATCH, patience);
        if (loop->count < 0 && errno != EINTR) {
            return -errno;
        }
        loop->now = cli_now_ms();
        report(loop);
    }
    return 0;
}

static void on_signal(struct cli_watch *watch, uint32_t events UNUSED)
{
    struct cli_loop *loop = CONTAINER_OF(watch, struct cli_loop, signals);
    struct signalfd_siginfo info;
    while (!loop->stopped && read(watch->fd, &info, sizeof info) == sizeof info) {
        loop->signalled(loop, (int)info.ssi_signo);
    }
}

int cli_loop_signals(struct cli_loop *loop, void (*signalled)(struct cli_loop *loop, int signal),
                     struct error *err)
{
    sigset_t wanted;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGTERM);
    sigaddset(&wanted, SIGINT);
    loop->signalled = signalled;
    int fd = signalfd(-1, &wanted, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0) {
        return error_errno(err, -errno, "cannot make a descriptor for signals");
    }
    int r = cli_loop_add(loop, &loop->signals, fd, EPOLLIN, on_signal);
    if (r == 0 && sigprocmask(SIG_BLOCK, &wanted, &loop->mask_before) != 0) {
        r = -errno;
        cli_loop_remove(loop, &loop->signals);
    }
    if (r != 0) {
        close(fd);
        return error_errno(err, r, "cannot wait for signals");
    }
    return 0;
}
