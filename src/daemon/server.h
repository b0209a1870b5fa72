/*
 * The daemon: the main thread's loop, which owns the configuration, the listening sockets, the workers, the
 * signals and the admin listeners. What it may be asked at run time is in control.h.
 */
#ifndef POSTERN_DAEMON_SERVER_H
#define POSTERN_DAEMON_SERVER_H

#include "base/compiler.h"
#include "config/config.h"

struct server_options {
    struct config *config;   /* one reference, taken over */
    const char *config_file; /* NULL: cannot be reloaded */
    /* NULL: the log says it. For vsock-proxy, whose words are those of AWS's tool. */
    void (*started)(void);
    void (*start_failed)(const char *text);
};

/* Runs until told to stop. Returns the exit code: 0 after a drain, 1 when it could not start. */
int server_run(const struct server_options *options) MUST_CHECK;

#endif
