/*
 * `postern run` as a whole: what its files share.
 *
 *     boot -> [CLOCK] -> APP -> [OTHERS] -> [LOG] -> [BYE] -> end
 *
 * CLOCK: the app waits until the time is known, for a while. OTHERS: it has ended, and process 1 sees to it that all
 * others do. LOG: what they said is being sent. BYE: and the session ended. Each has its time limit, and a phase that has nothing to
 * do is passed over.
 */
#ifndef POSTERN_CLI_RUN_H
#define POSTERN_CLI_RUN_H

#include "cli/cli.h"
#include "cli/notes.h"
#include "cli/run_boot.h"
#include "cli/run_clock.h"
#include "cli/run_log.h"
#include "cli/run_wire.h"
#include "cli/service.h"
#include "init/child.h"
#include "init/settings.h"

enum run_phase { RUN_CLOCK, RUN_APP, RUN_OTHERS, RUN_LOG, RUN_BYE };

struct run {
    struct settings settings;
    struct addr to;
    char *const *argv; /* of the app */
    struct run_place place;
    struct tell console, told; /* standard error; and the log, too */

    struct cli_loop loop;
    FILE *notes_out; /* to `told`; owned */
    struct notes notes;
    struct service service;
    struct run_wire wire;
    struct run_log log;
    struct run_clock clock;
    bool serves, has_wire, has_log;

    struct child child;
    sigset_t mask_before;
    struct cli_watch signals; /* a signalfd */
    struct cli_timer patience;
    struct cli_task start;
    enum run_phase phase;
    bool asked_to_end; /* all others were, and next are made to */
};

/* Before anything else: signals that come while there is no loop wait for it. */
void run_keep_signals(struct run *run);

/* Blocks the signals that the app is to get, and SIGCHLD, and watches for them. */
int run_watch_signals(struct run *run, struct error *err) MUST_CHECK;
void run_unwatch_signals(struct run *run);

/* Starts the app, at once or when the time is known. From then on everything comes from the loop, which is stopped at the
 * end: run->child has the status. */
void run_begin(struct run *run);

#endif
