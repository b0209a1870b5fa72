/* A listening socket on a loop: see listener.h. */
#include "net/listener.h"

#include "net/sock.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static int open_spare(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Takes waiting connections through the spare descriptor and resets them. Returns how many, and in
 * *ret_code how the last accept() ended: accept() says EMFILE before it looks whether anybody waits. */
static unsigned shed(struct listener *listener, int *ret_code)
{
    unsigned count = 0;
    while (listener->spare_fd >= 0 && count < LISTENER_TURN) {
        struct sockaddr_any peer;
        close(listener->spare_fd);
        int fd = sock_accept(listener->fd, &peer);
        if (fd >= 0) {
            sock_set_abort(fd);
            close(fd);
            count++;
        }
        listener->spare_fd = open_spare();
        if (fd < 0) {
            *ret_code = fd;
            break;
        }
    }
    return count;
}

static void on_ready(struct watcher *watcher, uint32_t events);

static void on_pause_over(uv_timer_t *timer)
{
    struct listener *listener = timer->data;
    if (listener->spare_fd < 0) {
        listener->spare_fd = open_spare();
    }
    if (poller_add_listener(&listener->loop->poller, &listener->watcher, listener->fd, on_ready) != 0) {
        uv_timer_start(&listener->pause, on_pause_over, LISTENER_PAUSE_MS, 0);
    }
}

static void pause_listening(struct listener *listener)
{
    poller_remove(&listener->loop->poller, &listener->watcher);
    uv_timer_start(&listener->pause, on_pause_over, LISTENER_PAUSE_MS, 0);
}

static void fail(struct listener *listener, int code)
{
    int last = code;
    unsigned count = code == -EMFILE || code == -ENFILE ? shed(listener, &last) : 0;
    if (count == 0 && last == -EAGAIN) {
        return;
    }
    listener->ops->failed(listener, code, count);
    if (count == 0 && !listener->closing) {
        pause_listening(listener);
    }
}

/* These are of the one connection that was to be taken, and the next may be had: accept(2), "Error
 * handling". */
static bool concerns_one(int code)
{
    return code == -ECONNABORTED || code == -EINTR || code == -EPROTO || code == -ENETDOWN ||
           code == -EHOSTUNREACH || code == -ENETUNREACH || code == -EPERM;
}

static void on_ready(struct watcher *watcher, uint32_t events)
{
    struct listener *listener = CONTAINER_OF(watcher, struct listener, watcher);
    (void)events;
    for (int i = 0; i < LISTENER_TURN && !listener->closing; i++) {
        struct sockaddr_any peer;
        int fd = sock_accept(listener->fd, &peer);
        if (fd >= 0) {
            listener->ops->accepted(listener, fd, &peer);
        } else if (fd == -EAGAIN) {
            return;
        } else if (!concerns_one(fd)) {
            fail(listener, fd);
            return;
        }
    }
}

void listener_start(struct listener *listener, struct loop *loop, int fd, const struct listener_ops *ops)
{
    memset(listener, 0, sizeof *listener);
    listener->ops = ops;
    listener->loop = loop;
    listener->fd = fd;
    listener->spare_fd = open_spare();
    uv_timer_init(&loop->uv, &listener->pause);
    listener->pause.data = listener;
    int rv = poller_add_listener(&loop->poller, &listener->watcher, fd, on_ready);
    if (rv != 0) {
        fail(listener, rv);
    }
}

static void on_pause_closed(uv_handle_t *handle)
{
    struct listener *listener = handle->data;
    listener->ops->closed(listener);
}

void listener_close(struct listener *listener)
{
    if (listener->closing) {
        return;
    }
    listener->closing = true;
    poller_remove(&listener->loop->poller, &listener->watcher);
    close(listener->fd);
    if (listener->spare_fd >= 0) {
        close(listener->spare_fd);
    }
    uv_close((uv_handle_t *)&listener->pause, on_pause_closed);
}
