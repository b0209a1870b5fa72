/*
 * The app's standard output and error, and init's own lines, on their way to the parent's log.
 *
 * Each is a stream of the `log` route, with its name as meta. What the parent does not take, since it is not there or is slow, is
 * kept in a ring (init/lines.h), and the oldest dropped and counted when that is full. The app is never held up: its pipes
 * are read whatever becomes of the lines. While the daemon refuses the route, lines go to init's own standard output and
 * error, and at the very end so does what could not be sent.
 */
#ifndef POSTERN_CLI_RUN_LOG_H
#define POSTERN_CLI_RUN_LOG_H

#include "cli/run_wire.h"
#include "init/lines.h"

enum { RUN_LOG_OUT, RUN_LOG_ERR, RUN_LOG_OWN, RUN_LOG_SOURCES };

#define RUN_LOG_OWN_SIZE 32768u

struct run_log;

struct run_source {
    struct run_log *log;
    struct lines lines;
    struct run_stream stream;
    struct cli_watch watch;
    int read_end, write_end;      /* -1: none */
    int console;                  /* descriptor for what cannot be sent */
    bool refused;                 /* by the daemon, the last time */
    bool hung_up;                 /* by the daemon, which goes away: another stream will take the rest */
    char trouble[ERROR_TEXT_MAX]; /* what was told about it last */
};

struct run_log {
    struct cli_loop *loop;
    const struct tell *told; /* the console alone: else telling would never end */
    struct run_source sources[RUN_LOG_SOURCES];
    bool ending;
    void (*done)(struct run_log *log);
    struct cli_task tell_done;
};

/* `size` bytes are kept of each of the app's. */
int run_log_init(struct run_log *log, struct run_wire *wire, const char *route, size_t size,
                 const struct tell *told, struct error *err) MUST_CHECK;

/* Before the wire is released. What is left is written to the console, as far as it takes it at once. */
void run_log_release(struct run_log *log); /* harmless when zeroed */

/* What the app gets as its standard output and error. */
int run_log_fd(const struct run_log *log, unsigned source);

/* The app has them: end of file is no longer held off. */
void run_log_given(struct run_log *log);

/* A line of init's own. */
void run_log_own(struct run_log *log, const char *text);

/* The app is over: what it left in its pipes is the last. `done` is called, from the loop, when all was sent. */
void run_log_end(struct run_log *log, void (*done)(struct run_log *log));

#endif
