/* The service manager: see notify.h. */
#include "daemon/notify.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef HAVE_SYSTEMD

#include <systemd/sd-daemon.h>

/* Since 253 systemd wants to know when a reload began, so that it can tell this one's end from another's. */
void notify_reloading(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    (void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu",
                     (unsigned long long)now.tv_sec * 1000000u + (unsigned long long)now.tv_nsec / 1000u);
}

void notify_ready(const char *status)
{
    (void)sd_notifyf(0, "READY=1\nSTATUS=%s", status);
}

void notify_stopping(const char *status)
{
    (void)sd_notifyf(0, "STOPPING=1\nSTATUS=%s", status);
}

void notify_status(const char *status)
{
    (void)sd_notifyf(0, "STATUS=%s", status);
}

void notify_watchdog(void)
{
    (void)sd_notify(0, "WATCHDOG=1");
}

uint64_t notify_watchdog_interval(void)
{
    uint64_t usec = 0;
    return sd_watchdog_enabled(0, &usec) > 0 ? usec / 1000 : 0;
}

static void take_name(struct activation *activation, unsigned i, char **names)
{
    const char *name = names != NULL && names[i] != NULL ? names[i] : "";
    snprintf(activation->sockets[i].name, sizeof activation->sockets[i].name, "%s", name);
    activation->sockets[i].fd = SD_LISTEN_FDS_START + (int)i;
    activation->sockets[i].taken = false;
}

int activation_take_over(struct activation *activation)
{
    char **names = NULL;
    int count = sd_listen_fds_with_names(1, &names);
    if (count < 0) {
        return count;
    }
    activation->count = count < ACTIVATION_MAX ? (unsigned)count : ACTIVATION_MAX;
    for (unsigned i = 0; i < activation->count; i++) {
        take_name(activation, i, names);
    }
    for (int i = 0; names != NULL && names[i] != NULL; i++) {
        free(names[i]);
    }
    free(names);
    return 0;
}

#else

void notify_reloading(void)
{
}

void notify_ready(const char *status)
{
    (void)status;
}

void notify_stopping(const char *status)
{
    (void)status;
}

void notify_status(const char *status)
{
    (void)status;
}

void notify_watchdog(void)
{
}

uint64_t notify_watchdog_interval(void)
{
    return 0;
}

int activation_take_over(struct activation *activation)
{
    activation->count = 0;
    return 0;
}

#endif

int activation_claim(struct activation *activation, const char *name)
{
    for (unsigned i = 0; i < activation->count; i++) {
        if (strcmp(activation->sockets[i].name, name) == 0) {
            int fd = activation->sockets[i].fd;
            activation->sockets[i].taken = true;
            (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
            return fcntl(fd, F_DUPFD_CLOEXEC, 0);
        }
    }
    return -1;
}

const char *activation_unclaimed(const struct activation *activation)
{
    for (unsigned i = 0; i < activation->count; i++) {
        if (!activation->sockets[i].taken) {
            return activation->sockets[i].name;
        }
    }
    return NULL;
}
