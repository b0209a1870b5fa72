/* Runs `postern` within the test, and keeps what it said. */
#ifndef POSTERN_TESTS_RUN_CLI_H
#define POSTERN_TESTS_RUN_CLI_H

struct ran {
    int code;
    char out[8192];
    char err[8192];
};

/* Arguments end with NULL. */
void run_cli(struct ran *ran, ...);

#endif
