/*
 * The service manager: what systemd is told (sd_notify), and the sockets it hands over (LISTEN_FDS). Without
 * libsystemd, or outside of a service, there is nobody to tell and nothing handed over.
 */
#ifndef POSTERN_DAEMON_NOTIFY_H
#define POSTERN_DAEMON_NOTIFY_H

#include "base/compiler.h"
#include <stdbool.h>
#include <stdint.h>

void notify_ready(const char *status);
void notify_reloading(void); /* notify_ready() follows, however the reload ends */
void notify_stopping(const char *status);
void notify_status(const char *status);
void notify_watchdog(void);

/* How often the watchdog wants to hear, in milliseconds; 0: there is none. */
uint64_t notify_watchdog_interval(void);

#define ACTIVATION_MAX 64

/* Sockets that systemd handed over, by FileDescriptorName=. They stay open as long as the daemon lives:
 * systemd holds them too, so that a listener which a reload takes away, and another brings back, could not
 * bind its address itself. */
struct activation {
    unsigned count;
    struct {
        int fd;
        char name[64];
        bool taken; /* at some time */
    } sockets[ACTIVATION_MAX];
};

/* Once, at the start: the environment is cleared of it. Returns 0 or a negative errno value. */
int activation_take_over(struct activation *activation) MUST_CHECK;

/* A duplicate, the caller's, of the socket with that name, made non-blocking. -1: there is none. */
int activation_claim(struct activation *activation, const char *name);

/* The name of a socket that nobody claimed; NULL: none is left. */
const char *activation_unclaimed(const struct activation *activation);

#endif
