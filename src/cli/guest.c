/* A local connection: see guest.h. */
#include "cli/guest.h"

#include "cli/why.h"
#include "net/sock.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define DISCARD_READS   64
#define VSOCK_WRITE_MAX 31744u /* some kernels corrupt what is written in larger pieces */

static struct guest *of(struct tunnel *tunnel)
{
    return CONTAINER_OF(tunnel, struct guest, tunnel);
}

static ssize_t read_socket(struct tunnel *tunnel, void *buffer, size_t size)
{
    struct guest *guest = of(tunnel);
    ssize_t n;
    do {
        n = recv(guest->watch.fd, buffer, size, 0);
    } while (n < 0 && errno == EINTR);
    if (n == 0 && guest->vsock && !guest->hung_up) {
        return -EAGAIN; /* some devices let a read right after accept() return 0 */
    }
    /* vsock: one that connected and closed at once leaves ENOTCONN where an end is meant. */
    return n >= 0 ? n : errno == ENOTCONN ? 0 : -errno;
}

static ssize_t write_socket(struct tunnel *tunnel, const void *bytes, size_t size)
{
    struct guest *guest = of(tunnel);
    ssize_t n;
    size = guest->vsock && size > VSOCK_WRITE_MAX ? VSOCK_WRITE_MAX : size;
    do {
        n = send(guest->watch.fd, bytes, size, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n >= 0 ? n : -errno;
}

static void finish_socket(struct tunnel *tunnel)
{
    (void)shutdown(of(tunnel)->watch.fd, SHUT_WR); /* one that fails has nobody behind it to be told */
}

/* The service frees it at the end of the turn. */
static void leave(struct tunnel *tunnel)
{
    service_see_off(of(tunnel));
}

static void say_refused(struct tunnel *tunnel, const struct control_refused *refused)
{
    const struct guest *guest = of(tunnel);
    char said[CONTROL_MESSAGE_MAX + 1];
    char text[ERROR_TEXT_MAX];
    snprintf(said, sizeof said, "%.*s", (int)refused->message.length,
             refused->message.data != NULL ? refused->message.data : "");
    notes_say_some(guest->service->notes, "route %s: refused, %s", guest->door->route,
                   why_format(refused->code, said, text));
}

static const struct tunnel_ops ops = {
    .read = read_socket,
    .write = write_socket,
    .finish = finish_socket,
    .over = leave,
    .refused = say_refused,
};

/* It waits, and both its directions are at their end, or it was reset; and it has left nothing behind that could be
 * sent. */
static bool is_gone(const struct guest *guest, uint32_t events)
{
    char byte;
    return guest->tunnel.channel == NULL && (events & (EPOLLHUP | EPOLLERR)) != 0 &&
           recv(guest->watch.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0;
}

/* Edge-triggered: each change is told once, and what is not read or written now is asked for later by the session. */
static void on_ready(struct cli_watch *watch, uint32_t events)
{
    struct guest *guest = CONTAINER_OF(watch, struct guest, watch);
    guest->hung_up |= (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    if (is_gone(guest, events)) {
        tunnel_fail(&guest->tunnel, -ECONNRESET);
        return;
    }
    /* A vsock peer that has closed both ways is never told to be writable again: only a write finds out. */
    if ((events & EPOLLOUT) != 0 || guest->hung_up) {
        tunnel_writable(&guest->tunnel);
    }
    if ((events & EPOLLIN) != 0 || guest->hung_up) {
        tunnel_readable(&guest->tunnel);
    }
    cli_link_touch(&guest->service->link);
}

struct guest *guest_new(struct service *service, const struct door *door, int fd)
{
    struct guest *guest = calloc(1, sizeof *guest);
    if (guest == NULL) {
        sock_set_abort(fd);
        close(fd);
        return NULL;
    }
    tunnel_init(&guest->tunnel, &ops);
    guest->service = service;
    guest->door = door;
    guest->vsock = door->at.kind == ADDR_VSOCK;
    guest->wait_until = cli_now_ms() + service->options.wait_ms;
    if (cli_loop_add(service->loop, &guest->watch, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, on_ready) !=
        0) {
        sock_set_abort(fd);
        close(fd);
        free(guest);
        return NULL;
    }
    return guest;
}

/* A socket that is closed with some bytes unread is reset by the kernel, and what is still on its way to the local program is
 * lost. */
static void discard_unread(const struct guest *guest)
{
    char bytes[4096];
    for (unsigned i = 0; i < DISCARD_READS; i++) {
        if (recv(guest->watch.fd, bytes, sizeof bytes, 0) <= 0) {
            return;
        }
    }
}

void guest_free(struct guest *guest, bool abort)
{
    int fd = guest->watch.fd;
    if (abort) {
        sock_set_abort(fd);
    } else {
        discard_unread(guest);
    }
    tunnel_release(&guest->tunnel);
    cli_loop_remove(guest->service->loop, &guest->watch);
    close(fd);
    guest_move(guest, NULL);
    free(guest);
}

void guest_move(struct guest *guest, struct guest_list *list)
{
    if (guest->list != NULL) {
        TAILQ_REMOVE(guest->list, guest, link);
    }
    guest->list = list;
    if (list != NULL) {
        TAILQ_INSERT_TAIL(list, guest, link);
    }
}

int guest_serve(struct guest *guest)
{
    struct service *service = guest->service;
    struct control_open open = {.route = control_text(guest->door->route)};
    struct channel *channel;
    int r = connection_open(service->link.connection, &open, &guest->tunnel, &channel);
    cli_link_touch(&service->link);
    if (r == -EAGAIN) {
        return r;
    }
    if (r != 0) {
        tunnel_fail(&guest->tunnel, r);
        return 0;
    }
    guest_move(guest, &service->served);
    tunnel_open(&guest->tunnel, channel);
    return 0;
}

void guest_begin_anew(struct guest *guest)
{
    tunnel_release(&guest->tunnel);
    tunnel_init(&guest->tunnel, &ops);
    guest->again = true;
}
