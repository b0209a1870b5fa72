/*
 * bench_attack: a good client beside thousands of bad ones, through the same daemon.
 *
 *     bench_attack --good ADDRESS --hello ADDRESS --flood ADDRESS --blackhole ADDRESS
 *                  --beside ADDRESS --echo-at ADDRESS --flood-at ADDRESS [--peers N] [--seconds N] [--http] [--kind KIND]
 *
 * The first four are listeners of the daemon: `good` and `flood` lead to the servers that this program runs at
 * `echo-at` and `flood-at`, `hello` to a route that reads a ClientHello, `blackhole` to a destination that never
 * answers. The good client makes a short connection each millisecond: for `seconds` in quiet, then as long beside the bad
 * ones, then until two seconds after they have all gone at once. It goes through `good` and `beside` in turn: the second leads to the
 * same server through another daemon, to which no bad one comes, and tells what the attack costs whoever is on this machine.
 *
 * With --http all of them lead to routes that forward requests, and the server behind `good` is somebody else's: the good client sends
 * a request each millisecond, on a connection of its own. Then the bad ones are slow in the middle of a head, and in the middle of a body;
 * reset in the middle of a body; ask for an answer without end, and read none of it; and wait for an upstream that never answers.
 *
 * The bad ones are, in equal parts: silent; slow (a byte a second); slow in the middle of a ClientHello; resetting (connect,
 * send, abort, and again half a second later); of zero window (they ask for much and read nothing); and
 * waiting for the destination that never answers. They share the good client's listener where they can. Each begins at a moment of its
 * own, by chance, and acts when it is due: they know nothing of one another. With --kind all are of that one.
 */
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define EXCHANGE 64
#define PACE     0.001 /* seconds between the good client's connections */
#define PAUSE \
    0.25 /* seconds from one act of a resetting peer to its next, and of who was sent away till it comes again */
#define FLOOD_BYTES (256 * 1024)
#define AFTER       2.0 /* seconds of the good client after the attack */
#define WINDOW      0.1 /* seconds, for telling when it has recovered */
#define SAMPLES_MAX 200000

enum kind { SILENT, SLOW, SLOW_HELLO, RESETTING, ZERO_WINDOW, BLACKHOLED, KINDS };

static const char *const kind_words[KINDS] = {"silent",    "slow",        "slow_hello",
                                              "resetting", "zero_window", "blackholed"};

struct bad_peer {
    int fd; /* -1: to connect when due */
    enum kind kind;
    unsigned sent;
    double due;
};

struct sample {
    double at, took;
    bool beside;
};

static struct settings {
    struct address good, hello, flood, blackhole, beside, echo_at, flood_at;
    unsigned peers;
    enum kind kind; /* KINDS: of each as many */
    double seconds;
    bool http;
} settings = {.peers = 4000, .kind = KINDS, .seconds = 4};

static struct sample samples[SAMPLES_MAX];
static _Atomic unsigned sample_count, failed;
static _Atomic bool over;
static unsigned acts; /* of the bad peers while it was measured: a connection begun, some bytes, or a reset */
static unsigned made[KINDS], lost[KINDS]; /* connections begun, and those that the daemon ended */

static void sleep_until(double at)
{
    struct timespec time = {.tv_sec = (time_t)at, .tv_nsec = (long)((at - (double)(time_t)at) * 1e9)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
}

/* ---- The good client ---- */

static bool exchange(int fd)
{
    static const char request[EXCHANGE] = "sixty-four bytes, which is what a small question comes to";
    char reply[EXCHANGE];
    if (send(fd, request, EXCHANGE, 0) != EXCHANGE) {
        return false;
    }
    return recv(fd, reply, EXCHANGE, MSG_WAITALL) == EXCHANGE;
}

/* One request, and its answer to the end: as many bytes come back. */
static bool request(int fd)
{
    static const char head[] = "POST /results HTTP/1.1\r\nHost: a\r\nContent-Length: 64\r\n\r\n";
    char bytes[sizeof head - 1 + EXCHANGE] = "", answer[4096];
    size_t length = 0;
    memcpy(bytes, head, sizeof head - 1);
    if (send(fd, bytes, sizeof bytes, 0) != sizeof bytes) {
        return false;
    }
    for (;;) {
        ssize_t n = recv(fd, answer + length, sizeof answer - 1 - length, 0);
        if (n <= 0) {
            return false;
        }
        length += (size_t)n;
        answer[length] = '\0';
        const char *end = strstr(answer, "\r\n\r\n");
        if (end != NULL && length - (size_t)(end + 4 - answer) == EXCHANGE) {
            return strncmp(answer, "HTTP/1.1 200 ", 13) == 0;
        }
    }
}

static void *run_good(void *data)
{
    double next = now();
    (void)data;
    while (!over && sample_count < SAMPLES_MAX) {
        bool beside = sample_count % 2 == 1;
        double began = now();
        int fd = open_connection(beside ? &settings.beside : &settings.good);
        if (!(settings.http ? request(fd) : exchange(fd))) {
            failed++;
        }
        close(fd);
        samples[sample_count] = (struct sample){.at = began, .took = now() - began, .beside = beside};
        sample_count++;
        next = next + PACE > now() ? next + PACE : now();
        sleep_until(next);
    }
    return NULL;
}

/* An enclave has processors of its own, and the bad peers have none: what such a thread does must not keep the daemon from a processor.
 * So where all the others were started as real-time ones, these are not. */
static void give_way(void)
{
    const struct sched_param none = {.sched_priority = 0};
    if (sched_setscheduler(0, SCHED_OTHER, &none) != 0) {
        die("cannot give way: %s", strerror(errno));
    }
}

/* ---- The server that sends more than anybody reads ---- */

static void *run_flood(void *data)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
    static char bytes[65536];
    int listener = *(const int *)data;
    int small = 65536;
    give_way();
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) {
            return NULL;
        }
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
        if (settings.http &&
            (recv(fd, bytes, sizeof bytes, 0) <= 0 || send(fd, head, sizeof head - 1, 0) <= 0)) {
            close(fd); /* who asked has gone */
            continue;
        }
        for (unsigned sent = 0; sent < FLOOD_BYTES; sent += sizeof bytes) {
            if (send(fd, bytes, sizeof bytes, MSG_DONTWAIT) <= 0) {
                break;
            }
        }
        /* It stays open: the descriptor is the process's, which ends soon. */
    }
}

/* ---- The bad peers ---- */

static const struct address *target_of(enum kind kind)
{
    switch (kind) {
    case SLOW_HELLO:
        return settings.http ? &settings.good : &settings.hello;
    case ZERO_WINDOW:
        return &settings.flood;
    case BLACKHOLED:
        return &settings.blackhole;
    default:
        return &settings.good;
    }
}

static void leave(struct bad_peer *peer, bool abort)
{
    struct linger cut = {.l_onoff = 1, .l_linger = 0};
    if (abort) {
        setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &cut, sizeof cut);
    }
    close(peer->fd);
    peer->fd = -1;
}

static void come(struct bad_peer *peer, int epoll_fd, double at)
{
    const struct address *target = target_of(peer->kind);
    int small = 2048;
    peer->fd = open_socket(target, SOCK_NONBLOCK);
    if (peer->kind == ZERO_WINDOW) {
        setsockopt(peer->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    }
    if (connect(peer->fd, &target->u.base, target->length) != 0 && errno != EINPROGRESS) {
        die("cannot connect to the daemon: %s", strerror(errno));
    }
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLET, .data.ptr = peer};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, peer->fd, &event) != 0) {
        die("cannot watch a socket: %s", strerror(errno));
    }
    made[peer->kind]++;
    peer->sent = 0;
    peer->due = at + PAUSE;
}

/* A TLS record and a ClientHello that goes on for longer than anybody waits. */
static char hello_byte(unsigned at)
{
    static const char begin[] = {22, 3, 1, 2, 0, 1, 0, 1, (char)0xfc, 3, 3};
    return at < sizeof begin ? begin[at] : 'x';
}

/* What each begins with where it speaks HTTP. */
static const char *const openings[KINDS] = {
    [SILENT] = "",
    [SLOW] = "POST / HTTP/1.1\r\nHost: a\r\nX-Slow: ",
    [SLOW_HELLO] = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n",
    [RESETTING] = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nand away",
    [ZERO_WINDOW] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    [BLACKHOLED] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
};

static void act_http(struct bad_peer *peer, double at)
{
    const char *words = peer->sent == 0 ? openings[peer->kind] : "x";
    bool goes_on = peer->kind == SLOW || peer->kind == SLOW_HELLO;
    if (peer->sent == 0 || goes_on) {
        (void)send(peer->fd, words, strlen(words), MSG_DONTWAIT | MSG_NOSIGNAL);
        peer->sent++;
    }
    if (peer->kind == RESETTING) {
        leave(peer, true);
        peer->due = at + PAUSE;
    }
}

static void act(struct bad_peer *peer, int epoll_fd, double at)
{
    char byte = 'x';
    if (peer->fd < 0) {
        come(peer, epoll_fd, at);
        return;
    }
    peer->due = at + 1;
    if (settings.http) {
        act_http(peer, at);
        return;
    }
    switch (peer->kind) {
    case SLOW_HELLO:
        byte = hello_byte(peer->sent);
        break;
    case RESETTING:
        (void)send(peer->fd, "and away", 8, MSG_DONTWAIT | MSG_NOSIGNAL);
        leave(peer, true);
        peer->due = at + PAUSE;
        return;
    case SILENT:
        return;
    default:
        break;
    }
    if (send(peer->fd, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1) {
        peer->sent++;
    }
}

static void hear(int epoll_fd, double at, double until)
{
    struct epoll_event events[256];
    double rest = until > at ? until - at : 0; /* less than a second: each peer is due that often */
    struct timespec wait = {.tv_sec = (time_t)rest, .tv_nsec = (long)((rest - (double)(time_t)rest) * 1e9)};
    int count = epoll_pwait2(epoll_fd, events, 256, &wait, NULL);
    for (int i = 0; i < count; i++) {
        struct bad_peer *peer = events[i].data.ptr;
        if ((events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0 && peer->fd >= 0) {
            lost[peer->kind]++;
            leave(peer, false);
            peer->due = at + PAUSE;
        }
    }
}

static struct bad_peer *attack(double *ret_began, double *ret_ended)
{
    struct bad_peer *peers = calloc(settings.peers, sizeof *peers);
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (peers == NULL || epoll_fd < 0) {
        die("out of memory");
    }
    double begin = now();
    for (unsigned i = 0; i < settings.peers; i++) {
        /* They come within a second, not in one instant: the kernel's backlog is not what is looked at. */
        enum kind kind = settings.kind == KINDS ? i % KINDS : settings.kind;
        peers[i] = (struct bad_peer){.fd = -1, .kind = kind, .due = begin + drand48()};
    }
    *ret_began = begin + 1.5;
    *ret_ended = *ret_began + settings.seconds;
    while (now() < *ret_ended) {
        double at = now(), next = *ret_ended;
        for (unsigned i = 0; i < settings.peers; i++) {
            if (peers[i].due <= at) {
                act(&peers[i], epoll_fd, at);
                acts += at >= *ret_began && peers[i].kind != SILENT ? 1 : 0;
            }
            next = peers[i].due < next ? peers[i].due : next;
        }
        hear(epoll_fd, now(), next);
    }
    for (unsigned i = 0; i < settings.peers; i++) {
        if (peers[i].fd >= 0) {
            leave(&peers[i], i % 2 == 0);
        }
    }
    *ret_ended = now();
    close(epoll_fd);
    return peers;
}

/* ---- What came of it ---- */

/* Of the good client's connections begun in that time, through the one daemon or the other; in microseconds. */
static double latency(double share, double from, double to, bool beside)
{
    static double took[SAMPLES_MAX];
    unsigned count = 0;
    for (unsigned i = 0; i < sample_count; i++) {
        if (samples[i].at >= from && samples[i].at < to && samples[i].beside == beside) {
            took[count++] = samples[i].took;
        }
    }
    sort_figures(took, count);
    return 1e6 * percentile(took, count, share);
}

/* Seconds after `ended` from which on two windows in a row are as in quiet. */
static double recovery(double ended, double quiet_p99_us)
{
    unsigned good = 0;
    for (unsigned window = 0; window < (unsigned)(AFTER / WINDOW); window++) {
        double from = ended + window * WINDOW;
        double p98 = latency(0.98, from, from + WINDOW, false);
        good = p98 > 0 && p98 <= 2 * quiet_p99_us ? good + 1 : 0; /* 0: no connection came about at all */
        if (good == 2) {
            return (window - 1) * WINDOW;
        }
    }
    return AFTER;
}

static void report(double quiet_from, double quiet_to, double began, double ended, double last)
{
    double quiet = latency(0.99, quiet_from, quiet_to, false), attacked = latency(0.99, began, ended, false);
    double beside = latency(0.99, began, ended, true);
    printf("{\"peers\": %u, \"quiet_p50_us\": %.0f, \"quiet_p99_us\": %.0f, \"attacked_p50_us\": %.0f, "
           "\"attacked_p99_us\": %.0f, \"p99_ratio\": %.3f, \"recovery_s\": %.1f, \"connections\": %u, "
           "\"failed\": %u, \"after_p99_us\": %.0f, \"acts_per_s\": %.0f",
           settings.peers, latency(0.5, quiet_from, quiet_to, false), quiet,
           latency(0.5, began, ended, false), attacked, quiet > 0 ? attacked / quiet : 0,
           recovery(ended, quiet), sample_count, failed, latency(0.99, ended + 1, last, false),
           acts / (ended - began));
    printf(", \"beside_quiet_p99_us\": %.0f, \"beside_p50_us\": %.0f, \"beside_p99_us\": %.0f, "
           "\"to_beside\": %.3f",
           latency(0.99, quiet_from, quiet_to, true), latency(0.5, began, ended, true), beside,
           beside > 0 ? attacked / beside : 0);
    for (unsigned kind = 0; kind < KINDS; kind++) {
        printf(", \"%s\": {\"begun\": %u, \"ended_by_the_daemon\": %u}", kind_words[kind], made[kind],
               lost[kind]);
    }
    printf("}\n");
}

static enum kind kind_of(const char *word)
{
    for (unsigned kind = 0; kind < KINDS; kind++) {
        if (strcmp(word, kind_words[kind]) == 0) {
            return kind;
        }
    }
    die("--kind is none of those there are");
}

static void read_options(int argc, char **argv)
{
    enum { GOOD = 1, HELLO, FLOOD, BLACKHOLE, BESIDE, ECHO_AT, FLOOD_AT, PEERS, SECONDS, HTTP, KIND };
    static const struct option options[] = {
        {"good", required_argument, NULL, GOOD},         {"hello", required_argument, NULL, HELLO},
        {"flood", required_argument, NULL, FLOOD},       {"blackhole", required_argument, NULL, BLACKHOLE},
        {"beside", required_argument, NULL, BESIDE},     {"echo-at", required_argument, NULL, ECHO_AT},
        {"flood-at", required_argument, NULL, FLOOD_AT}, {"peers", required_argument, NULL, PEERS},
        {"seconds", required_argument, NULL, SECONDS},   {"http", no_argument, NULL, HTTP},
        {"kind", required_argument, NULL, KIND},         {NULL, 0, NULL, 0}};
    struct address *const places[] = {NULL,
                                      &settings.good,
                                      &settings.hello,
                                      &settings.flood,
                                      &settings.blackhole,
                                      &settings.beside,
                                      &settings.echo_at,
                                      &settings.flood_at};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option >= GOOD && option <= FLOOD_AT) {
            *places[option] = address_parse(optarg);
        } else if (option == PEERS) {
            settings.peers = (unsigned)strtoul(optarg, NULL, 10);
        } else if (option == SECONDS) {
            settings.seconds = strtod(optarg, NULL);
        } else if (option == HTTP) {
            settings.http = true;
        } else if (option == KIND) {
            settings.kind = kind_of(optarg);
        } else {
            exit(2);
        }
    }
    for (int i = GOOD; i <= FLOOD_AT; i++) {
        if (places[i]->length == 0) {
            die("--%s is missing", options[i - 1].name);
        }
    }
    if (settings.peers > 8000 || !(settings.seconds > 0 && settings.seconds <= 60)) {
        die("at most 8000 peers, and 60 seconds");
    }
}

int main(int argc, char **argv)
{
    struct echo echo;
    pthread_t good, flood;
    double began, ended;
    read_options(argc, argv);
    prepare_process();
    if (!settings.http) {
        echo_start(&echo, &settings.echo_at);
    }
    int flood_listener = open_listener(&settings.flood_at);
    if (fcntl(flood_listener, F_SETFL, 0) != 0 /* its thread may wait */ ||
        pthread_create(&flood, NULL, run_flood, &flood_listener) != 0 ||
        pthread_create(&good, NULL, run_good, NULL) != 0) {
        die("cannot start: %s", strerror(errno));
    }
    give_way();
    sleep_until(now() + 0.5); /* caches, and the daemon's first allocations */
    double quiet_from = now(), quiet_to = quiet_from + settings.seconds;
    sleep_until(quiet_to);
    struct bad_peer *peers = attack(&began, &ended);
    sleep_until(ended + AFTER);
    over = true;
    pthread_join(good, NULL);
    report(quiet_from, quiet_to, began, ended, ended + AFTER);
    free(peers);
    return failed == 0 ? 0 : 1;
}
