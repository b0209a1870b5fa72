/*
 * The daemon whole, in this process: server_run() with everything real but the service manager. What is to be done to it
 * is done from inside of started(), on its main thread, while the workers run on theirs.
 *
 * Of the calls that fail on purpose, FAULT_OWN stands for those of libuv that a start makes.
 */
#ifndef POSTERN_TESTS_SERVER_BENCH_H
#define POSTERN_TESTS_SERVER_BENCH_H

#include "daemon/server_private.h"
#include "daemon_bench.h"
#include <stdbool.h>
#include <stdint.h>

struct server_bench {
    struct server *server; /* while it runs */
    char folder[32];
    char file[64];        /* of the configuration */
    char admin_line[128]; /* of a configuration: the admin socket is `admin` in the folder */
    uint16_t ports[3];    /* for listeners; free when they were looked for */
    struct upstream upstream;
    int null_fd, stderr_fd;
    unsigned started, failed;
    char failure[ERROR_TEXT_MAX]; /* why it did not start */
    void (*inside)(void);
};

extern struct server_bench bench;

/* Of a group of tests. */
int server_bench_open(void **state);
int server_bench_close(void **state);

/* Writes the file. Listeners "abc" are at ports[0..2], 'u' at a unix socket, 'x' nowhere; `more` is what else it says. */
void write_config(const char *names, const char *more);

struct config *load_config(void);

/* Runs the daemon, and `then` once it is ready. Takes the reference over. Returns the exit code. */
int run_config(struct config *config, void (*then)(void), const char *config_file);

/* The same, with what is in the file. */
int run_server(void (*then)(void));

/* Reloads, and fails the test if the verdict does not say `words`. */
int reload(const char *words);

/* Drains without a deadline of its own. */
void drain(void);

/* Whether the folder has such a file. */
bool exists(const char *name);

/* Removes what a daemon left there that could not remove it. */
void remove_sockets(void);

void sleep_ms(unsigned ms);

#endif
