/* Edge-triggered readiness: see poller.h for why, and for the rules of use. */
#include "net/poller.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define TO_READ    (EPOLLIN | EPOLLPRI)
#define EVERYTHING (TO_READ | EPOLLOUT | EPOLLRDHUP | EPOLLET)

static int control(struct poller *poller, int operation, int fd, uint32_t events, struct watcher *watcher)
{
    struct epoll_event event = {.events = events, .data.ptr = watcher};
    return epoll_ctl(poller->epoll_fd, operation, fd, &event) == 0 ? 0 : -errno;
}

static uint32_t interest(const struct watcher *watcher)
{
    uint32_t without = watcher->muted ? TO_READ : 0;
    if (watcher->on_demand && !watcher->watched) {
        without |= EPOLLOUT;
    }
    return EVERYTHING & ~without;
}

/* Changing what is already watched needs no memory, and cannot fail. What is so now is reported anew. */
static void change(struct poller *poller, struct watcher *watcher)
{
    (void)control(poller, EPOLL_CTL_MOD, watcher->fd, interest(watcher), watcher);
}

/* Room that nobody waits for is no longer asked for: whoever writes all the time waits for it again and again, and pays for no change. */
static void note_room(struct poller *poller, struct watcher *watcher)
{
    if (watcher->watched && !watcher->awaited) {
        watcher->watched = false;
        change(poller, watcher);
    }
    watcher->awaited = false;
}

static void report(struct watcher *watcher, uint32_t events)
{
    watcher->cb(watcher, events);
}

/* Watchers may be removed, and their memory freed, by any report: poller_remove() takes them out of the
 * batch, so the entry is read only when its turn comes. */
static void report_batch(struct poller *poller)
{
    while (poller->batch_next < poller->batch_count) {
        const struct epoll_event *event = &poller->batch[poller->batch_next++];
        struct watcher *watcher = event->data.ptr;
        if (watcher == NULL) {
            continue;
        }
        if ((event->events & EPOLLOUT) != 0) {
            note_room(poller, watcher);
        }
        report(watcher, event->events);
    }
    poller->batch_next = poller->batch_count = 0;
}

static void on_epoll_ready(uv_poll_t *handle, int status, int events)
{
    struct poller *poller = handle->data;
    (void)events;
    if (status < 0) {
        return;
    }
    int count = epoll_wait(poller->epoll_fd, poller->batch, POLLER_BATCH, 0);
    poller->fetched_ns = uv_hrtime();
    poller->batch_next = 0;
    poller->batch_count = count > 0 ? count : 0;
    report_batch(poller);
}

static void leave_again(struct poller *poller, struct watcher *watcher)
{
    TAILQ_REMOVE(watcher->due ? &poller->due : &poller->again, watcher, again_link);
    watcher->again = 0;
    watcher->due = false;
}

/* Two lists, so that those that ask again while this runs wait for the next turn. */
static void on_prepare(uv_prepare_t *handle)
{
    struct poller *poller = handle->data;
    struct watcher *watcher;
    TAILQ_FOREACH (watcher, &poller->again, again_link) {
        watcher->due = true;
    }
    TAILQ_CONCAT(&poller->due, &poller->again, again_link);
    while ((watcher = TAILQ_FIRST(&poller->due)) != NULL) {
        uint32_t events = watcher->again;
        leave_again(poller, watcher);
        report(watcher, events);
    }
    if (TAILQ_EMPTY(&poller->again)) {
        uv_idle_stop(&poller->idle);
        uv_prepare_stop(&poller->prepare);
    }
}

/* Only its being active matters: the loop does not sleep while it is. */
static void on_idle(uv_idle_t *handle)
{
    (void)handle;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct poller *poller = handle->data;
    if (--poller->closing > 0) {
        return;
    }
    close(poller->epoll_fd);
    if (poller->closed != NULL) {
        poller->closed(poller->closed_data);
    }
}

void poller_close(struct poller *poller, void (*cb)(void *data), void *data)
{
    poller->closed = cb;
    poller->closed_data = data;
    poller->closing = 3;
    uv_close((uv_handle_t *)&poller->poll, on_handle_closed);
    uv_close((uv_handle_t *)&poller->idle, on_handle_closed);
    uv_close((uv_handle_t *)&poller->prepare, on_handle_closed);
}

int poller_init(struct poller *poller, uv_loop_t *loop)
{
    memset(poller, 0, sizeof *poller);
    TAILQ_INIT(&poller->again);
    TAILQ_INIT(&poller->due);
    poller->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (poller->epoll_fd < 0) {
        return -errno;
    }
    int rv = uv_poll_init(loop, &poller->poll, poller->epoll_fd);
    if (rv != 0) {
        close(poller->epoll_fd);
        return rv;
    }
    uv_idle_init(loop, &poller->idle);
    uv_prepare_init(loop, &poller->prepare);
    poller->poll.data = poller->idle.data = poller->prepare.data = poller;
    rv = uv_poll_start(&poller->poll, UV_READABLE, on_epoll_ready);
    if (rv != 0) {
        poller_close(poller, NULL, NULL);
    }
    return rv;
}

static void set_up(struct watcher *watcher, int fd, enum poller_room room, watcher_cb cb)
{
    watcher->cb = cb;
    watcher->fd = fd;
    watcher->again = 0;
    watcher->due = watcher->muted = watcher->awaited = watcher->watched = false;
    watcher->on_demand = room == ROOM_ON_DEMAND;
}

static int add(struct poller *poller, struct watcher *watcher, uint32_t events)
{
    int rv = control(poller, EPOLL_CTL_ADD, watcher->fd, events, watcher);
    if (rv != 0) {
        watcher->fd = -1;
    }
    return rv;
}

int poller_add(struct poller *poller, struct watcher *watcher, int fd, enum poller_room room, watcher_cb cb)
{
    set_up(watcher, fd, room, cb);
    return add(poller, watcher, interest(watcher));
}

int poller_add_listener(struct poller *poller, struct watcher *watcher, int fd, watcher_cb cb)
{
    set_up(watcher, fd, ROOM_REPORTED, cb);
    return add(poller, watcher, EPOLLIN);
}

static void forget_reports(struct poller *poller, struct watcher *watcher)
{
    for (int i = poller->batch_next; i < poller->batch_count; i++) {
        if (poller->batch[i].data.ptr == watcher) {
            poller->batch[i].data.ptr = NULL;
        }
    }
    if (watcher->again != 0) {
        leave_again(poller, watcher);
    }
}

int poller_move(struct poller *poller, struct watcher *from, struct watcher *to, enum poller_room room,
                watcher_cb cb)
{
    set_up(to, from->fd, room, cb);
    int rv = control(poller, EPOLL_CTL_MOD, to->fd, interest(to), to);
    if (rv != 0) {
        to->fd = -1;
        return rv;
    }
    forget_reports(poller, from);
    from->fd = -1;
    return 0;
}

void poller_remove(struct poller *poller, struct watcher *watcher)
{
    if (watcher->fd < 0) {
        return;
    }
    control(poller, EPOLL_CTL_DEL, watcher->fd, 0, NULL);
    forget_reports(poller, watcher);
    watcher->fd = -1;
}

void poller_drop(struct poller *poller, struct watcher *watcher)
{
    if (watcher->fd < 0) {
        return;
    }
    forget_reports(poller, watcher);
    close(watcher->fd);
    watcher->fd = -1;
}

void poller_mute(struct poller *poller, struct watcher *watcher, bool muted)
{
    watcher->muted = muted;
    change(poller, watcher);
}

/* The change is reported at once if there is room by now. */
void poller_await_room(struct poller *poller, struct watcher *watcher)
{
    if (!watcher->on_demand) {
        return;
    }
    watcher->awaited = true;
    if (!watcher->watched) {
        watcher->watched = true;
        change(poller, watcher);
    }
}

/* A full batch may have left some behind; and who is in it may have said more since. */
bool poller_is_quiet(const struct poller *poller, const struct watcher *watcher, uint64_t within_ns)
{
    if (poller->batch_next == 0 || poller->batch_count == POLLER_BATCH || watcher->again != 0 ||
        uv_hrtime() - poller->fetched_ns > within_ns) {
        return false;
    }
    for (int i = 0; i < poller->batch_count; i++) {
        if (poller->batch[i].data.ptr == watcher) {
            return false;
        }
    }
    return true;
}

void poller_again(struct poller *poller, struct watcher *watcher, uint32_t events)
{
    if (watcher->again == 0) {
        TAILQ_INSERT_TAIL(&poller->again, watcher, again_link);
        uv_idle_start(&poller->idle, on_idle);
        uv_prepare_start(&poller->prepare, on_prepare);
    }
    watcher->again |= events;
}
