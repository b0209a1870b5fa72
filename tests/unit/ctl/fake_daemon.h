/*
 * The daemon as posternctl sees it: the real admin pages over a real socket, on a thread, in front of
 * control.h's fake. Included by one source of a test program.
 */
#ifndef FAKE_DAEMON_H
#define FAKE_DAEMON_H

#include "../daemon/fake_control.h"
#include "daemon/admin.h"
#include <assert.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct fake_daemon {
    struct server server;
    struct admin admin;
    uv_loop_t loop;
    uv_async_t stop;
    uv_thread_t thread;
    char address[64]; /* of its socket, as --socket wants it */
};

static void fake_daemon_on_stop(uv_async_t *stop)
{
    struct fake_daemon *daemon = stop->data;
    uv_close((uv_handle_t *)stop, NULL);
    admin_close(&daemon->admin, NULL, NULL);
}

static void fake_daemon_run(void *data)
{
    struct fake_daemon *daemon = data;
    uv_run(&daemon->loop, UV_RUN_DEFAULT);
}

/* A listening socket with a name that nobody else has. */
static int fake_socket(char *address, size_t size)
{
    struct sockaddr_un sockaddr = {.sun_family = AF_UNIX};
    socklen_t length = sizeof(sa_family_t);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&sockaddr, length) != 0 || listen(fd, 8) != 0) {
        abort();
    }
    length = sizeof sockaddr;
    if (getsockname(fd, (struct sockaddr *)&sockaddr, &length) != 0) {
        abort();
    }
    snprintf(address, size, "unix://@%.*s", (int)(length - sizeof(sa_family_t) - 1), sockaddr.sun_path + 1);
    return fd;
}

/* What the test wants different in `server` is set between fake_daemon_init() and fake_daemon_start(). */
static void fake_daemon_init(struct fake_daemon *daemon)
{
    memset(daemon, 0, sizeof *daemon);
    if (!fake_init(&daemon->server)) {
        abort();
    }
}

UNUSED static void fake_daemon_start(struct fake_daemon *daemon, enum admin_role role)
{
    int fd = fake_socket(daemon->address, sizeof daemon->address);
    daemon->stop.data = daemon;
    if (uv_loop_init(&daemon->loop) != 0 ||
        uv_async_init(&daemon->loop, &daemon->stop, fake_daemon_on_stop) != 0 ||
        admin_start(&daemon->admin, &daemon->loop, fd, role, &daemon->server) != 0 ||
        uv_thread_create(&daemon->thread, fake_daemon_run, daemon) != 0) {
        abort();
    }
}

/* What was done to `server` may be looked at from then on. */
UNUSED static void fake_daemon_stop(struct fake_daemon *daemon)
{
    uv_async_send(&daemon->stop);
    if (uv_thread_join(&daemon->thread) != 0 || uv_loop_close(&daemon->loop) != 0) {
        abort();
    }
    fake_release(&daemon->server);
}

#endif
