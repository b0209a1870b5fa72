/*
 * Short: connect, one small exchange, close; so many at once, a fixed number in all. The latency of a
 * connection is from the call to connect() to the reply's last byte.
 */
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EXCHANGE 64 /* bytes, each way */

struct slot {
    int fd;
    bool asked;
    size_t got;
    double started;
};

struct shorts {
    const struct options *options;
    int epoll_fd;
    struct slot *slots;
    unsigned begun, ended, failed;
    double *latencies; /* of those that did not fail, in seconds */
    double until;
};

static void begin(struct shorts *shorts, struct slot *slot)
{
    const struct address *address = &shorts->options->connect;
    *slot = (struct slot){.fd = open_socket(address, SOCK_NONBLOCK), .started = now()};
    shorts->begun++;
    /* A failure is reported as an event too, and counted there. */
    if (connect(slot->fd, &address->u.base, address->length) != 0 && errno != EINPROGRESS) {
        die("cannot connect to the relay: %s", strerror(errno));
    }
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = slot};
    if (epoll_ctl(shorts->epoll_fd, EPOLL_CTL_ADD, slot->fd, &event) != 0) {
        die("cannot watch a socket: %s", strerror(errno));
    }
}

static void end(struct shorts *shorts, struct slot *slot, bool good)
{
    if (good) {
        shorts->latencies[shorts->ended - shorts->failed] = now() - slot->started;
    } else {
        shorts->failed++;
    }
    shorts->ended++;
    close(slot->fd);
    if (shorts->begun < shorts->options->count && now() < shorts->until) {
        begin(shorts, slot);
    }
}

static void ask(struct shorts *shorts, struct slot *slot)
{
    static const char request[EXCHANGE] = "sixty-four bytes, which is what a small question comes to";
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = slot};
    if (send(slot->fd, request, EXCHANGE, MSG_DONTWAIT) != EXCHANGE) {
        end(shorts, slot, false);
        return;
    }
    slot->asked = true;
    epoll_ctl(shorts->epoll_fd, EPOLL_CTL_MOD, slot->fd, &event);
}

static void hear(struct shorts *shorts, struct slot *slot)
{
    char reply[EXCHANGE];
    ssize_t got = recv(slot->fd, reply, EXCHANGE, MSG_DONTWAIT);
    if (got > 0) {
        slot->got += (size_t)got;
        if (slot->got >= EXCHANGE) {
            end(shorts, slot, true);
        }
    } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
        end(shorts, slot, false);
    }
}

static void drive(struct shorts *shorts)
{
    struct epoll_event events[64];
    for (unsigned i = 0; i < shorts->options->at_once && shorts->begun < shorts->options->count; i++) {
        begin(shorts, &shorts->slots[i]);
    }
    while (shorts->ended < shorts->begun) {
        int count = epoll_wait(shorts->epoll_fd, events, 64, 10000);
        if (count == 0) {
            die("nothing happened for ten seconds, with %u connections ended", shorts->ended);
        }
        for (int i = 0; i < count; i++) {
            struct slot *slot = events[i].data.ptr;
            (slot->asked ? hear : ask)(shorts, slot);
        }
    }
}

int run_short(const struct options *options)
{
    struct echo echo;
    double started = now();
    struct shorts shorts = {.options = options,
                            .epoll_fd = epoll_create1(EPOLL_CLOEXEC),
                            .slots = calloc(options->at_once, sizeof *shorts.slots),
                            .latencies = calloc(options->count, sizeof *shorts.latencies),
                            .until = started + options->seconds};
    if (shorts.epoll_fd < 0 || shorts.slots == NULL || shorts.latencies == NULL) {
        die("out of memory");
    }
    echo_start(&echo, &options->listen);
    drive(&shorts);
    double seconds = now() - started;
    echo_stop(&echo);
    unsigned good = shorts.ended - shorts.failed;
    sort_figures(shorts.latencies, good);
    printf("{\"mode\": \"short\", \"at_once\": %u, \"connections\": %u, \"failed\": %u, \"seconds\": %.6f, "
           "\"per_second\": %.1f, \"p50_us\": %.0f, \"p99_us\": %.0f, \"max_us\": %.0f}\n",
           options->at_once, good, shorts.failed, seconds, good / seconds,
           1e6 * percentile(shorts.latencies, good, 0.5), 1e6 * percentile(shorts.latencies, good, 0.99),
           1e6 * percentile(shorts.latencies, good, 1));
    free(shorts.slots);
    free(shorts.latencies);
    close(shorts.epoll_fd);
    return shorts.failed == 0 && good > 0 ? 0 : 1;
}
