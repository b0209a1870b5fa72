/* The app's life, and what follows from its end: the phases of run.h. */
#include "cli/run.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define BYE_MS 500 /* for GOAWAY to be sent and answered */

static void enter(struct run *run, enum run_phase phase);

static void wait_at_most(struct run *run, uint64_t ms, void (*due)(struct cli_timer *timer))
{
    cli_timer_start(&run->loop, &run->patience, cli_now_ms() + ms, due);
}

/* ---- BYE and LOG ---- */

static void on_all_told(struct cli_task *task)
{
    cli_loop_stop(&CONTAINER_OF(task, struct run, start)->loop);
}

/* Streams that ended with the session have yet to say why. */
static void on_bye(struct cli_link *link)
{
    struct run *run = CONTAINER_OF(link, struct run, wire.link);

    cli_task_queue(&run->loop, &run->start, on_all_told);
}

static void say_bye(struct run *run)
{
    cli_timer_stop(&run->patience);
    if (run->has_wire) {
        run_wire_drain(&run->wire, BYE_MS, on_bye);
    } else {
        cli_loop_stop(&run->loop);
    }
}

static void on_sent(struct run_log *log)
{
    enter(CONTAINER_OF(log, struct run, log), RUN_BYE);
}

static void on_not_sent(struct cli_timer *timer)
{
    struct run *run = CONTAINER_OF(timer, struct run, patience);

    tell(&run->console, "what the app said last could not be sent within log_flush");
    enter(run, RUN_BYE);
}

static void send_the_rest(struct run *run)
{
    if (!run->has_log) {
        enter(run, RUN_BYE);
        return;
    }
    wait_at_most(run, run->settings.log_flush, on_not_sent);
    run_log_end(&run->log, on_sent);
}

/* ---- OTHERS ---- */

/* First they are asked, then they are made to; one that the kernel holds in a device is left to it. */
static void on_stop_timeout(struct cli_timer *timer)
{
    struct run *run = CONTAINER_OF(timer, struct run, patience);

    if (run->asked_to_end) {
        enter(run, RUN_LOG);
        return;
    }
    run->asked_to_end = true;
    child_end_others(true);
    wait_at_most(run, run->settings.stop_timeout + 1000, on_stop_timeout);
}

static void end_others(struct run *run)
{
    if (!run->place.first || child_none_left()) {
        enter(run, RUN_LOG);
        return;
    }
    child_end_others(false);
    wait_at_most(run, run->settings.stop_timeout, on_stop_timeout);
}

/* ---- APP ---- */

static void start_app(struct run *run)
{
    struct child_options options = {
        .argv = run->argv, .chdir = run->settings.chdir, .out = -1, .err = -1, .signals = &run->mask_before};
    struct error err = ERROR_INIT;

    if (run->has_log) {
        options.out = run_log_fd(&run->log, RUN_LOG_OUT);
        options.err = run_log_fd(&run->log, RUN_LOG_ERR);
    }
    if (child_start(&run->child, &options, &err) < 0) {
        tell(&run->told, "%s", err.text);
        enter(run, RUN_OTHERS);
        return;
    }
    tell(&run->told, "started %s as process %d", run->argv[0], (int)run->child.pid);
    if (run->has_log) {
        run_log_given(&run->log);
    }
}

static void on_children(struct run *run)
{
    uint64_t orphans = 0;
    char words[64];

    if (child_reap(&run->child, &orphans)) {
        tell(&run->told, "the app %s", child_words(&run->child, words));
        enter(run, RUN_OTHERS);
    }
    if (run->phase == RUN_OTHERS && run->place.first && child_none_left()) {
        enter(run, RUN_LOG);
    }
}

/* Before there is an app, who asks for the end is heard; afterwards that is the app's to decide. */
static void on_passed_on(struct run *run, int signal)
{
    if (run->child.pid > 0) {
        kill(run->child.pid, signal);
    } else if (run->phase == RUN_CLOCK && (signal == SIGTERM || signal == SIGINT || signal == SIGQUIT)) {
        run->child.status = 128 + signal;
        enter(run, RUN_OTHERS);
    }
}

static void on_signal(struct cli_watch *watch, uint32_t events UNUSED)
{
    struct run *run = CONTAINER_OF(watch, struct run, signals);
    struct signalfd_siginfo info;

    while (read(watch->fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD) {
            on_children(run);
        } else {
            on_passed_on(run, (int)info.ssi_signo);
        }
    }
}

static void watched_signals(sigset_t *set)
{
    child_signals(set);
    sigaddset(set, SIGCHLD);
}

/* Only process 1 needs it: the kernel throws away what would end it. Any other may be ended while it is not ready yet. */
void run_keep_signals(struct run *run)
{
    sigset_t set;

    sigemptyset(&set);
    if (getpid() == 1) {
        watched_signals(&set);
    }
    sigprocmask(SIG_BLOCK, &set, &run->mask_before);
}

int run_watch_signals(struct run *run, struct error *err)
{
    sigset_t set;
    int fd, code;

    watched_signals(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
    fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0) {
        return error_errno(err, -errno, "cannot make a descriptor for signals");
    }
    code = cli_loop_add(&run->loop, &run->signals, fd, EPOLLIN, on_signal);
    if (code < 0) {
        close(fd);
        return error_errno(err, code, "cannot watch for signals");
    }
    return 0;
}

void run_unwatch_signals(struct run *run)
{
    int fd = run->signals.fd;

    if (fd >= 0) {
        cli_loop_remove(&run->loop, &run->signals);
        close(fd);
    }
    sigprocmask(SIG_SETMASK, &run->mask_before, NULL);
}

/* ---- CLOCK ---- */

static void on_time_known(struct run_clock *clock)
{
    struct run *run = CONTAINER_OF(clock, struct run, clock);

    if (run->phase == RUN_CLOCK) {
        enter(run, RUN_APP);
    }
}

static void on_time_not_known(struct cli_timer *timer)
{
    struct run *run = CONTAINER_OF(timer, struct run, patience);

    tell(&run->told, "the time is not known yet, and clock_wait is over: the app is started all the same");
    enter(run, RUN_APP);
}

static void wait_for_time(struct run *run)
{
    bool asks = run->settings.clock != SETTINGS_CLOCK_OFF && run->settings.time;

    run->clock.first = on_time_known;
    wait_at_most(run, run->settings.clock_wait, on_time_not_known);
    run_clock_start(&run->clock, &run->loop, run->settings.time ? &run->wire : NULL);
    if (run->phase == RUN_CLOCK && (run->clock.known || !asks || run->settings.clock_wait == 0)) {
        enter(run, RUN_APP);
    }
}

/* ---- The phases ---- */

static void enter(struct run *run, enum run_phase phase)
{
    run->phase = phase;
    cli_timer_stop(&run->patience);
    switch (phase) {
    case RUN_CLOCK:
        wait_for_time(run);
        break;
    case RUN_APP:
        start_app(run);
        break;
    case RUN_OTHERS:
        end_others(run);
        break;
    case RUN_LOG:
        send_the_rest(run);
        break;
    case RUN_BYE:
        say_bye(run);
        break;
    }
}

static void on_start(struct cli_task *task)
{
    enter(CONTAINER_OF(task, struct run, start), RUN_CLOCK);
}

/* From the loop, so that it can be stopped by whatever follows. */
void run_begin(struct run *run)
{
    cli_task_queue(&run->loop, &run->start, on_start);
}
