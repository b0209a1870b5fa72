/*
 * HTTP: requests one after another on connections that are kept open, so many at once; and one long upload. What the
 * forwarder under test answers has to be whole, with the status that is expected, or the run has failed. The latency
 * of a request is from its first byte sent to the answer's last.
 */
#include "load.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <unistd.h>

#define HEAD_MAX      16384
#define PIECE         ((size_t)256 * 1024)
#define STALL_SECONDS 10

struct slot {
    int fd;
    double started;
    bool fresh;         /* the connection has carried no answer yet */
    size_t head_got;    /* of the head, while it is read */
    uint64_t body_left; /* of the answer's body, once the head is there */
    bool in_body;
    char head[HEAD_MAX + 1];
};

struct https {
    const struct options *options;
    int epoll_fd;
    struct slot *slots;
    char *request;
    size_t request_size;
    unsigned begun, ended, reconnects;
    double *latencies; /* in seconds */
    double until;
};

static size_t write_head(char *ret, size_t size, uint64_t body)
{
    int length =
        snprintf(ret, size,
                 "POST /bench HTTP/1.1\r\nHost: bench.test\r\nContent-Type: application/octet-stream\r\n"
                 "Content-Length: %" PRIu64 "\r\n\r\n",
                 body);
    return (size_t)length;
}

/* All of it, which is little beside a socket's buffer, so that waiting here is rare. */
static bool send_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(fd, data, size, MSG_DONTWAIT);
        if (sent > 0) {
            data += sent;
            size -= (size_t)sent;
        } else if (errno == EAGAIN) {
            struct pollfd room = {.fd = fd, .events = POLLOUT};
            if (poll(&room, 1, 1000 * STALL_SECONDS) == 0) {
                die("the forwarder has taken nothing for %d seconds", STALL_SECONDS);
            }
        } else {
            return false;
        }
    }
    return true;
}

/* The value of Content-Length; a forwarder that sends another framing than the server's is not measured. */
static uint64_t content_length(const char *head)
{
    const char *field = strcasestr(head, "\r\ncontent-length:");
    if (field == NULL) {
        die("an answer without Content-Length: %.200s", head);
    }
    return strtoull(field + strlen("\r\ncontent-length:"), NULL, 10);
}

/* Looks for the end of the head in what was read. Returns whether it is there; then `in_body`. */
static bool read_head(struct slot *slot, const struct options *options)
{
    slot->head[slot->head_got] = '\0';
    const char *end = strstr(slot->head, "\r\n\r\n");
    if (end == NULL) {
        if (slot->head_got == HEAD_MAX) {
            die("an answer's head of more than %d bytes", HEAD_MAX);
        }
        return false;
    }
    size_t beyond = slot->head_got - (size_t)(end + 4 - slot->head);
    uint64_t length = content_length(slot->head);
    if (strncmp(slot->head, "HTTP/1.1 ", 9) != 0 || strtoul(slot->head + 9, NULL, 10) != options->expect ||
        beyond > length) {
        die("not the answer that was expected: %.500s", slot->head);
    }
    slot->body_left = length - beyond;
    slot->in_body = true;
    return true;
}

static void connect_slot(struct https *https, struct slot *slot)
{
    slot->fd = open_connection(&https->options->connect);
    slot->fresh = true;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = slot};
    if (epoll_ctl(https->epoll_fd, EPOLL_CTL_ADD, slot->fd, &event) != 0) {
        die("cannot watch a socket: %s", strerror(errno));
    }
}

/* On a new connection, if the forwarder closed the old one between two requests, as it may. */
static void ask(struct https *https, struct slot *slot)
{
    slot->head_got = 0;
    slot->in_body = false;
    if (send_all(slot->fd, https->request, https->request_size)) {
        return;
    }
    close(slot->fd);
    connect_slot(https, slot);
    https->reconnects++;
    if (!send_all(slot->fd, https->request, https->request_size)) {
        die("a new connection takes no request");
    }
}

static void begin(struct https *https, struct slot *slot)
{
    https->begun++;
    slot->started = now();
    ask(https, slot);
}

static void end(struct https *https, struct slot *slot)
{
    slot->fresh = false;
    https->latencies[https->ended++] = now() - slot->started;
    if (https->begun < https->options->count && now() < https->until) {
        begin(https, slot);
    }
}

/* The connection is gone: nothing wrong with that before the first byte of an answer, if it carried others before. */
static void lost(struct https *https, struct slot *slot)
{
    if (slot->fresh || slot->head_got > 0) {
        die("the forwarder closed a connection %s",
            slot->head_got > 0 ? "in the middle of an answer" : "without an answer");
    }
    close(slot->fd);
    connect_slot(https, slot);
    https->reconnects++;
    ask(https, slot);
}

static void hear(struct https *https, struct slot *slot)
{
    static char body[PIECE];
    char *to = slot->in_body ? body : slot->head + slot->head_got;
    size_t room = slot->in_body ? sizeof body : HEAD_MAX - slot->head_got;
    ssize_t got = recv(slot->fd, to, room, MSG_DONTWAIT);
    if (got <= 0) {
        if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
            lost(https, slot);
        }
        return;
    }
    if (!slot->in_body) {
        slot->head_got += (size_t)got;
        if (!read_head(slot, https->options)) {
            return;
        }
    } else if ((uint64_t)got > slot->body_left) {
        die("more than the answer");
    } else {
        slot->body_left -= (uint64_t)got;
    }
    if (slot->body_left == 0) {
        end(https, slot);
    }
}

static void drive(struct https *https)
{
    struct epoll_event events[64];
    for (unsigned i = 0; i < https->options->at_once && https->begun < https->options->count; i++) {
        connect_slot(https, &https->slots[i]);
        begin(https, &https->slots[i]);
    }
    while (https->ended < https->begun) {
        int count = epoll_wait(https->epoll_fd, events, 64, 1000 * STALL_SECONDS);
        if (count == 0) {
            die("nothing happened for %d seconds, with %u requests ended", STALL_SECONDS, https->ended);
        }
        for (int i = 0; i < count; i++) {
            hear(https, events[i].data.ptr);
        }
    }
}

static void report(struct https *https, double seconds)
{
    unsigned count = https->ended;
    sort_figures(https->latencies, count);
    printf("{\"mode\": \"http\", \"at_once\": %u, \"body\": %" PRIu64
           ", \"requests\": %u, \"reconnects\": %u, "
           "\"seconds\": %.6f, \"per_second\": %.1f, \"p50_us\": %.0f, \"p99_us\": %.0f, \"max_us\": %.0f}\n",
           https->options->at_once, https->options->body, count, https->reconnects, seconds, count / seconds,
           1e6 * percentile(https->latencies, count, 0.5), 1e6 * percentile(https->latencies, count, 0.99),
           1e6 * percentile(https->latencies, count, 1));
}

int run_http(const struct options *options)
{
    struct https https = {.options = options,
                          .epoll_fd = epoll_create1(EPOLL_CLOEXEC),
                          .slots = calloc(options->at_once, sizeof *https.slots),
                          .request = calloc(1, HEAD_MAX + (size_t)options->body),
                          .latencies = calloc(options->count, sizeof *https.latencies)};
    if (https.epoll_fd < 0 || https.slots == NULL || https.request == NULL || https.latencies == NULL) {
        die("out of memory");
    }
    https.request_size = write_head(https.request, HEAD_MAX, options->body) + (size_t)options->body;
    double started = now();
    https.until = started + options->seconds;
    drive(&https);
    report(&https, now() - started);
    free(https.slots);
    free(https.request);
    free(https.latencies);
    close(https.epoll_fd);
    return 0;
}

int run_upload(const struct options *options)
{
    struct slot slot = {.fd = open_connection(&options->connect)};
    char *piece = calloc(1, PIECE), head[HEAD_MAX];
    bool good = piece != NULL;
    double started = now();
    good = good && send_all(slot.fd, head, write_head(head, sizeof head, options->bytes));
    for (uint64_t left = options->bytes; good && left > 0;) {
        size_t size = left < PIECE ? (size_t)left : PIECE;
        good = send_all(slot.fd, piece, size);
        left -= size;
    }
    while (good && !slot.in_body) {
        ssize_t got = recv(slot.fd, slot.head + slot.head_got, HEAD_MAX - slot.head_got, 0);
        good = got > 0;
        slot.head_got += good ? (size_t)got : 0;
        (void)read_head(&slot, options);
    }
    double seconds = now() - started;
    close(slot.fd);
    free(piece);
    if (!good) {
        die("the upload was cut off");
    }
    printf("{\"mode\": \"upload\", \"sent\": %" PRIu64 ", \"seconds\": %.6f, \"bytes_per_second\": %.0f}\n",
           options->bytes, seconds, (double)options->bytes / seconds);
    return 0;
}
