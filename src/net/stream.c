/* Streams over connected sockets: see stream.h. */
#include "net/stream.h"

#include "net/sock.h"
#include <errno.h>
#include <sys/socket.h>

/* A round trip within a region: what a peer said this long ago may still be on its way as well. */
#define SILENT_WITHIN_NS 500000u

static struct sock_stream *of(struct stream *stream)
{
    return CONTAINER_OF(stream, struct sock_stream, stream);
}

static ssize_t sock_read(struct stream *stream, void *data, size_t size)
{
    ssize_t n;
    do {
        n = recv(of(stream)->watcher.fd, data, size, 0);
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        return n;
    }
    if (n == 0) {
        /* Some vsock devices let a read right after accept() return 0: the end is believed once it
         * is reported. */
        return of(stream)->vsock && !stream->hung_up ? -EAGAIN : 0;
    }
    /* vsock: a peer that opened and closed at once leaves ENOTCONN where an end is meant. */
    return errno == ENOTCONN ? 0 : -errno;
}

static ssize_t write_once(int fd, const void *data, size_t size)
{
    ssize_t n;
    do {
        n = send(fd, data, size, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n >= 0 ? n : -errno;
}

static ssize_t write_pieces(const struct sock_stream *sock, const void *data, size_t size)
{
    size_t done = 0;
    if (sock->write_max == 0) {
        return write_once(sock->watcher.fd, data, size);
    }
    while (done < size) {
        size_t piece = size - done < sock->write_max ? size - done : sock->write_max;
        ssize_t n = write_once(sock->watcher.fd, (const char *)data + done, piece);
        if (n < 0) {
            return done > 0 ? (ssize_t)done : n;
        }
        done += (size_t)n;
        if ((size_t)n < piece) {
            break;
        }
    }
    return (ssize_t)done;
}

static void sock_await_room(struct stream *stream)
{
    poller_await_room(of(stream)->poller, &of(stream)->watcher);
}

static ssize_t sock_write(struct stream *stream, const void *data, size_t size)
{
    ssize_t n = write_pieces(of(stream), data, size);
    if (n == -EAGAIN || (n >= 0 && (size_t)n < size)) {
        sock_await_room(stream);
    }
    return n;
}

static int sock_finish(struct stream *stream)
{
    return shutdown(of(stream)->watcher.fd, SHUT_WR) == 0 ? 0 : -errno;
}

static void sock_again(struct stream *stream, unsigned events)
{
    struct sock_stream *sock = of(stream);
    uint32_t poll_events =
        ((events & STREAM_READABLE) != 0 ? EPOLLIN : 0) | ((events & STREAM_WRITABLE) != 0 ? EPOLLOUT : 0);
    poller_again(sock->poller, &sock->watcher, poll_events);
}

static void sock_mute(struct stream *stream, bool muted)
{
    poller_mute(of(stream)->poller, &of(stream)->watcher, muted);
}

bool sock_stream_silent(const struct sock_stream *sock)
{
    char byte;
    return poller_is_quiet(sock->poller, &sock->watcher, SILENT_WITHIN_NS) ||
           (recv(sock->watcher.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN);
}

void sock_stream_close(struct sock_stream *sock, bool abort)
{
    if (abort && sock->watcher.fd >= 0) {
        sock_set_abort(sock->watcher.fd);
    }
    poller_drop(sock->poller, &sock->watcher);
}

static void sock_close(struct stream *stream, bool abort)
{
    sock_stream_close(of(stream), abort);
}

static const struct stream_ops sock_ops = {
    .read = sock_read,
    .write = sock_write,
    .finish = sock_finish,
    .again = sock_again,
    .mute = sock_mute,
    .await_room = sock_await_room,
    .close = sock_close,
};

static void on_ready(struct watcher *watcher, uint32_t poll_events)
{
    struct sock_stream *sock = CONTAINER_OF(watcher, struct sock_stream, watcher);
    unsigned events = 0;
    if ((poll_events & (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
        events |= STREAM_READABLE;
    }
    if ((poll_events & EPOLLOUT) != 0) {
        events |= STREAM_WRITABLE;
    }
    sock->stream.urgent |= (poll_events & EPOLLPRI) != 0;
    sock->stream.patchy |= sock->stream.urgent; /* a read stops at it */
    sock->stream.hung_up |= (poll_events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    sock->stream.gone |= (poll_events & (EPOLLHUP | EPOLLERR)) != 0;
    sock->stream.failed |= (poll_events & EPOLLERR) != 0;
    sock->stream.cb(&sock->stream, events);
}

static enum poller_room room_of(const struct sock_kind_options *kind)
{
    return kind->kind == ADDR_TCP ? ROOM_REPORTED : ROOM_ON_DEMAND;
}

static void init(struct sock_stream *sock, struct poller *poller, int fd,
                 const struct sock_kind_options *kind, stream_cb cb)
{
    bool vsock = kind->kind == ADDR_VSOCK;
    sock->stream.ops = &sock_ops;
    sock->stream.cb = cb;
    sock->stream.hung_up = sock->stream.gone = sock->stream.failed = false;
    sock->stream.cut = sock->stream.muted = sock->stream.urgent = false;
    sock->stream.patchy = kind->kind == ADDR_UNIX; /* a read stops where a descriptor was passed */
    /* splice from or to vsock copies in the kernel, page by page: a plain read and write is faster. */
    sock->stream.splice_fd = vsock ? -1 : fd;
    sock->poller = poller;
    sock->vsock = vsock;
    sock->write_max = vsock ? kind->vsock_write_max : 0;
}

int sock_stream_open(struct sock_stream *sock, struct poller *poller, int fd,
                     const struct sock_kind_options *kind, stream_cb cb)
{
    init(sock, poller, fd, kind, cb);
    return poller_add(poller, &sock->watcher, fd, room_of(kind), on_ready);
}

int sock_stream_adopt(struct sock_stream *sock, struct poller *poller, struct watcher *watcher,
                      const struct sock_kind_options *kind, stream_cb cb)
{
    init(sock, poller, watcher->fd, kind, cb);
    return poller_move(poller, watcher, &sock->watcher, room_of(kind), on_ready);
}
