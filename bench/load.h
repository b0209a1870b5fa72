/*
 * bench_load: both ends of a relay in one process, a client that drives it and the server it leads to.
 *
 *     bench_load bulk  --connect ADDRESS --listen ADDRESS [--streams N] [--bytes N] [--seconds N] [--from-file]
 *     bench_load short --connect ADDRESS --listen ADDRESS [--count N] [--at-once N] [--seconds N]
 *     bench_load idle  --connect ADDRESS --listen ADDRESS [--count N] [--carry BYTES] [--seconds N]
 *
 * The relay under test accepts at `connect` and leads to `listen`. Every mode is bounded by its count and by
 * its time, prints one line of JSON on standard output, and exits 0 if everything arrived that was sent.
 * Addresses are literal: tcp://IP:PORT, unix:///path, vsock://CID:PORT (only ever inside a VM).
 *
 *     bench_load session-bulk|session-short|session-idle   the same, all as streams of one session, with --route NAME
 *     bench_load session-echo ... --route NAME --beside NAME --beside-listen ADDRESS [--stalled]
 *     bench_load sink|echo --listen ADDRESS [--streams N]      only the server, for a load that is not this tool's
 *
 *     bench_load http   --connect ADDRESS [--count N] [--at-once N] [--body BYTES] [--expect STATUS] [--seconds N]
 *     bench_load upload --connect ADDRESS [--bytes N]
 *     bench_load http-server --listen ADDRESS [--certificate FILE] [--header NAME] [--seconds N]
 *
 * are the two ends of a forwarder of HTTP requests, which keeps its connections to the server, in processes of their own.
 */
#ifndef POSTERN_BENCH_LOAD_H
#define POSTERN_BENCH_LOAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct address {
    socklen_t length;
    union {
        struct sockaddr base;
        struct sockaddr_storage storage;
    } u;
};

struct options {
    struct address connect, listen;
    unsigned streams, count, at_once;
    uint64_t bytes, carry;
    double seconds;
    bool from_file;
    /* Of HTTP: the request's body, the status of a good answer, what the server shows and wants to see. */
    uint64_t body;
    unsigned expect;
    const char *certificate, *header;
    /* Of sessions: the daemon's address, and the names of routes. */
    const char *connect_text, *route, *beside;
    struct address beside_listen; /* where `beside` leads */
    bool stalled;                 /* nobody accepts there */
};

/* The server that sends back what it is sent, in a thread of its own. */
struct echo {
    pthread_t thread;
    int listener, epoll_fd, stop_fd;
};

/* The server that takes what `streams` connections send, until each has ended, in a thread of its own. */
struct sink {
    pthread_t thread;
    const struct options *options;
    int listener;
    uint64_t received;
    double started, ended; /* the first byte, the last end */
};

/* Every failure here ends the program: a measurement with a hole in it is none. */
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
double now(void);

/* As many descriptors as may be had, and no signal for a peer that is gone. */
void prepare_process(void);

struct address address_parse(const char *text);
int open_listener(const struct address *address);
int open_socket(const struct address *address, int flags);
void no_delay(int fd);
int open_connection(const struct address *address); /* blocking, with a bound on each call */

void echo_start(struct echo *echo, const struct address *address);
void echo_stop(struct echo *echo);

void sink_start(struct sink *sink, const struct options *options);
void sink_join(struct sink *sink);

void sort_figures(double *figures, unsigned count);
double percentile(const double *sorted, unsigned count, double share); /* 0 of none */

void wait_for_the_end(double until); /* or of standard input */

int run_sink(const struct options *options);
int run_echo(const struct options *options);
int run_bulk(const struct options *options);
int run_short(const struct options *options);
int run_idle(const struct options *options);
int run_http(const struct options *options);
int run_upload(const struct options *options);
int run_http_server(const struct options *options);

#endif
