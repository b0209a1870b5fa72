/* A listening socket: see door.h. */
#include "cli/door.h"

#include "net/sock.h"
#include "session/control.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define TURN     64
#define PAUSE_MS 100

static int check_local(const struct addr *at, struct error *err)
{
    if (at->kind == ADDR_VSOCK && at->cid_by_name) {
        return error_set(err, -EINVAL,
                         "the name of an enclave is a destination: to listen, vsock://any:%u is expected",
                         at->port);
    }
    if (at->kind == ADDR_TCP && !at->literal) {
        return error_set(
            err, -EINVAL,
            "a name cannot be listened on: an IP address is expected, such as tcp://127.0.0.1:%u", at->port);
    }
    return 0;
}

int door_parse(const char *text, struct addr *ret_at, const char **ret_route, struct error *err)
{
    char local[ADDR_TEXT_MAX];
    const char *equals = strrchr(text, '=');
    if (equals == NULL || equals == text || equals[1] == '\0') {
        return error_set(err, -EINVAL, "\"%s\": LOCAL=ROUTE is expected, such as tcp://127.0.0.1:443=kms",
                         text);
    }
    if (strlen(equals + 1) > CONTROL_ROUTE_MAX || !control_printable(control_text(equals + 1))) {
        return error_set(err, -EINVAL, "\"%s\": a route's name is up to %u printable ASCII characters", text,
                         CONTROL_ROUTE_MAX);
    }
    size_t length = (size_t)(equals - text);
    if (length >= sizeof local) {
        return error_set(err, -EINVAL, "\"%s\": the address is too long", text);
    }
    memcpy(local, text, length);
    local[length] = '\0';
    int r = addr_parse_listen(local, ret_at, err);
    if (r == 0) {
        r = check_local(ret_at, err);
    }
    if (r != 0) {
        error_prefix(err, "\"%s\"", text);
        return r;
    }
    *ret_route = equals + 1;
    return 0;
}

static int open_spare(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Cuts those who wait, through the spare descriptor. accept() says EMFILE before it looks whether anybody does. */
static unsigned shed(struct door *door, int *ret_last)
{
    unsigned count = 0;
    while (door->spare_fd >= 0 && count < TURN) {
        struct sockaddr_any peer;
        close(door->spare_fd);
        int fd = sock_accept(door->fd, &peer);
        if (fd >= 0) {
            sock_set_abort(fd);
            close(fd);
            count++;
        }
        door->spare_fd = open_spare();
        if (fd < 0) {
            *ret_last = fd;
            break;
        }
    }
    return count;
}

static void on_ready(struct cli_watch *watch, uint32_t events);

/* The watch stays, and is told of nothing: it could not be added again for certain. */
static void listen_on(struct door *door)
{
    bool on = !door->held && !door->pause.listed;
    cli_loop_change(door->loop, &door->watch, on ? EPOLLIN : 0);
}

static void on_pause_over(struct cli_timer *timer)
{
    struct door *door = CONTAINER_OF(timer, struct door, pause);
    if (door->spare_fd < 0) {
        door->spare_fd = open_spare();
    }
    listen_on(door);
}

static void fail(struct door *door, int status)
{
    int last = status;
    unsigned count = status == -EMFILE || status == -ENFILE ? shed(door, &last) : 0;
    if (count == 0 && last == -EAGAIN) {
        return;
    }
    door->ops->failed(door, status, count);
    if (count == 0 && door->fd >= 0) {
        cli_timer_start(door->loop, &door->pause, cli_now_ms() + PAUSE_MS, on_pause_over);
        listen_on(door);
    }
}

/* Of the one connection that was to be taken: accept(2), "Error handling". */
static bool concerns_one(int status)
{
    return status == -ECONNABORTED || status == -EINTR || status == -EPROTO || status == -ENETDOWN ||
           status == -EHOSTUNREACH || status == -ENETUNREACH || status == -EPERM;
}

static void on_ready(struct cli_watch *watch, uint32_t events UNUSED)
{
    struct door *door = CONTAINER_OF(watch, struct door, watch);
    for (int i = 0; i < TURN && door->fd >= 0 && !door->held; i++) {
        struct sockaddr_any peer;
        int fd = sock_accept(door->fd, &peer);
        if (fd >= 0) {
            door->ops->entered(door, fd);
        } else if (fd == -EAGAIN) {
            return;
        } else if (!concerns_one(fd)) {
            fail(door, fd);
            return;
        }
    }
}

/* For port 0: the one that the kernel chose. */
static void learn_port(struct door *door)
{
    struct sockaddr_any at = {.length = sizeof at.u};
    if (door->at.kind != ADDR_TCP || door->at.port != 0 ||
        getsockname(door->fd, &at.u.base, &at.length) != 0) {
        return;
    }
    /* Both families have it at the same place. */
    struct sockaddr_in in;
    memcpy(&in, &at.u.storage, sizeof in);
    door->at.port = ntohs(in.sin_port);
}

static int cannot_listen(int status, const struct addr *at, struct error *err)
{
    char text[ADDR_TEXT_MAX];
    if (status != -EADDRINUSE) {
        return status; /* sock_listen() said it; its advice here would be for the parent */
    }
    return error_errno(err, status, "cannot listen at %s (another program has it, or another postern)",
                       addr_format(at, text));
}

/* NULL: there is none. Abstract names have no file. */
static const char *file_of(const struct door *door, struct sockaddr_any *at)
{
    if ((door->at.kind != ADDR_UNIX && door->at.kind != ADDR_HYBRID) || door->at.host[0] == '@' ||
        addr_to_sockaddr(&door->at, true, at) != 0) {
        return NULL;
    }
    return ((const struct sockaddr_un *)(const void *)&at->u.storage)->sun_path;
}

static void note_file(struct door *door)
{
    struct sockaddr_any at;
    const char *path = file_of(door, &at);
    if (path != NULL) {
        door->file = sock_file_at(path);
    }
}

/* Before the socket is closed: until then nobody else's has its number. */
static void remove_file(const struct door *door)
{
    struct sockaddr_any at;
    const char *path = file_of(door, &at);
    if (path != NULL) {
        sock_file_remove(path, &door->file);
    }
}

int door_open(struct door *door, struct cli_loop *loop, const struct addr *at, const char *route,
              unsigned unix_mode, const struct door_ops *ops, void *user, struct error *err)
{
    struct sock_options options = {.unix_mode = unix_mode};
    memset(door, 0, sizeof *door);
    door->ops = ops;
    door->loop = loop;
    door->at = *at;
    door->route = route;
    door->user = user;
    door->watch.fd = door->spare_fd = -1;
    door->fd = sock_listen(at, &options, err);
    if (door->fd < 0) {
        return cannot_listen(door->fd, at, err);
    }
    learn_port(door);
    note_file(door);
    int r = cli_loop_add(loop, &door->watch, door->fd, EPOLLIN, on_ready);
    if (r != 0) {
        char text[ADDR_TEXT_MAX];
        door_close(door);
        return error_errno(err, r, "cannot wait for connections at %s", addr_format(at, text));
    }
    door->spare_fd = open_spare();
    return 0;
}

void door_close(struct door *door)
{
    if (door->fd < 0) {
        return;
    }
    cli_timer_stop(&door->pause);
    cli_loop_remove(door->loop, &door->watch);
    remove_file(door);
    close(door->fd);
    door->fd = -1;
    if (door->spare_fd >= 0) {
        close(door->spare_fd);
        door->spare_fd = -1;
    }
}

void door_hold(struct door *door, bool held)
{
    if (door->held != held && door->fd >= 0) {
        door->held = held;
        listen_on(door);
    }
}
