/* postern-sim: a place to try attested KMS without AWS. For tests and demonstrations: nothing that it signs is worth anything. */
#include "base/output.h"
#include "sim/simulator.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXIT_USAGE 2

static const char usage[] =
    "usage: postern-sim --config FILE\n"
    "A software NSM and a KMS with a root of trust of their own, for tests and demonstrations: "
    "docs/simulator.md.\n"
    "Prints `ready` when it listens at all its addresses, and ends at SIGTERM or SIGINT.\n";

/* Until one of the signals that end it, which all threads have blocked. */
static void wait_for_end(const sigset_t *ends)
{
    int signal;

    while (sigwait(ends, &signal) != 0) {
    }
}

static int run(const char *path, const sigset_t *ends)
{
    struct sim_simulator *simulator = calloc(1, sizeof *simulator);
    struct error err = ERROR_INIT;
    int rv =
        simulator ? sim_config_read(path, &simulator->config, &err) : error_set(&err, -1, "out of memory");

    if (rv == 0) {
        rv = sim_start(simulator, &err);
        if (rv == 0) {
            puts("ready");
            fflush(stdout);
            wait_for_end(ends);
        }
        sim_stop(simulator);
    }
    if (rv != 0) {
        fprintf(stderr, "postern-sim: %s\n", err.text);
    }
    free(simulator);
    return rv == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"help", no_argument, NULL, 'h'},
                                            {"version", no_argument, NULL, 'V'},
                                            {0}};
    const char *path = NULL;
    sigset_t ends;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'h') {
            fputs(usage, stdout);
            return output_exit("postern-sim", EXIT_SUCCESS);
        }
        if (option == 'V') {
            puts("postern-sim " POSTERN_VERSION);
            return output_exit("postern-sim", EXIT_SUCCESS);
        }
        path = option == 'c' ? optarg : NULL;
        if (option != 'c') {
            return EXIT_USAGE;
        }
    }
    if (!path || optind != argc) {
        fputs(usage, stderr);
        return EXIT_USAGE;
    }
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    signal(SIGPIPE, SIG_IGN);
    return run(path, &ends);
}
