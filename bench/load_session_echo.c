/*
 * Echo: how long 100 bytes take there and back on one stream, first alone and then beside a neighbour in the same session: one that
 * sends as fast as it can, or one whose far end never reads. A round of each in turns, so that what else the machine does
 * falls on both alike. The neighbour has a thread of its own, as in a program that does two things at once.
 */
#include "load_session.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define QUESTION 100
#define ROUNDS   5
#define PIECE    (64 * 1024)

struct neighbour {
    struct postern_stream *stream;
    pthread_t thread;
    _Atomic bool stop;
    uint64_t sent;
};

static struct postern *connect_threaded(const struct options *options)
{
    struct postern *door;
    struct postern_error err;
    if (postern_connect(options->connect_text, NULL, &door, &err) < 0) {
        die("%s", err.message);
    }
    return door;
}

static void *send_on(void *data)
{
    static char piece[PIECE];
    struct neighbour *neighbour = data;
    struct postern_error err;
    while (!atomic_load(&neighbour->stop)) {
        ssize_t n = postern_write(neighbour->stream, piece, PIECE, 100, &err);
        if (n < 0 && n != -ETIMEDOUT) {
            die("the neighbour's stream: %s", err.message);
        }
        neighbour->sent += n > 0 ? (uint64_t)n : 0;
    }
    return NULL;
}

static void neighbour_start(struct neighbour *neighbour, struct postern *door, const char *route)
{
    memset(neighbour, 0, sizeof *neighbour);
    neighbour->stream = load_open(door, route);
    if (pthread_create(&neighbour->thread, NULL, send_on, neighbour) != 0) {
        die("cannot start a thread");
    }
}

static void neighbour_stop(struct neighbour *neighbour)
{
    atomic_store(&neighbour->stop, true);
    pthread_join(neighbour->thread, NULL);
    postern_reset(neighbour->stream, 0);
    postern_close(neighbour->stream);
}

static double ask(struct postern_stream *stream)
{
    char data[QUESTION] = "a question";
    struct postern_error err;
    double started = now();
    if (postern_write(stream, data, QUESTION, 10000, &err) != QUESTION) {
        die("the question: %s", err.message);
    }
    for (size_t got = 0; got < QUESTION;) {
        ssize_t n = postern_read(stream, data, QUESTION - got, 10000, &err);
        if (n <= 0) {
            die("the answer: %s", n == 0 ? "end of stream" : err.message);
        }
        got += (size_t)n;
    }
    return now() - started;
}

static void ask_often(struct postern_stream *stream, unsigned count, double *latencies)
{
    for (unsigned i = 0; i < count; i++) {
        latencies[i] = ask(stream);
    }
}

static void run_rounds(const struct options *options, double *quiet, double *beside, unsigned each,
                       uint64_t *sent)
{
    struct postern *door = connect_threaded(options);
    struct postern_stream *stream = load_open(door, options->route);
    ask_often(stream, 100, quiet); /* overwritten: the first ones pay for what is made once */
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct neighbour neighbour;
        ask_often(stream, each, quiet + round * each);
        neighbour_start(&neighbour, door, options->beside);
        ask_often(stream, each, beside + round * each);
        neighbour_stop(&neighbour);
        *sent += neighbour.sent;
    }
    postern_reset(stream, 0);
    postern_close(stream);
    postern_disconnect(door, 1000);
}

/* Somewhere that accepts, in the kernel alone, and never reads; or a sink. */
struct far_end {
    struct options options;
    struct sink sink;
    int stalled_listener;
};

static void far_end_start(struct far_end *far_end, const struct options *options)
{
    far_end->options = *options;
    far_end->options.listen = options->beside_listen;
    far_end->options.streams = ROUNDS;
    far_end->options.seconds = 600;
    if (options->stalled) {
        far_end->stalled_listener = open_listener(&options->beside_listen);
    } else {
        sink_start(&far_end->sink, &far_end->options);
    }
}

static void far_end_stop(struct far_end *far_end)
{
    if (far_end->options.stalled) {
        close(far_end->stalled_listener);
    } else {
        sink_join(&far_end->sink);
    }
}

int run_session_echo(const struct options *options)
{
    struct echo echo;
    struct far_end far_end;
    unsigned each = options->count / ROUNDS > 100 ? options->count / ROUNDS : 100;
    double *quiet = calloc((size_t)each * ROUNDS, sizeof *quiet);
    double *beside = calloc((size_t)each * ROUNDS, sizeof *beside);
    uint64_t sent = 0;
    if (quiet == NULL || beside == NULL) {
        die("out of memory");
    }
    echo_start(&echo, &options->listen);
    far_end_start(&far_end, options);
    run_rounds(options, quiet, beside, each, &sent);
    far_end_stop(&far_end);
    echo_stop(&echo);
    sort_figures(quiet, each * ROUNDS);
    sort_figures(beside, each * ROUNDS);
    double quiet_p99 = percentile(quiet, each * ROUNDS, 0.99),
           beside_p99 = percentile(beside, each * ROUNDS, 0.99);
    printf("{\"mode\": \"session-echo\", \"count\": %u, \"neighbour_bytes\": %llu, \"quiet_p50_us\": %.0f, "
           "\"quiet_p99_us\": %.0f, \"beside_p50_us\": %.0f, \"beside_p99_us\": %.0f, \"p99_ratio\": %.3f}\n",
           each * ROUNDS, (unsigned long long)sent, 1e6 * percentile(quiet, each * ROUNDS, 0.5),
           1e6 * quiet_p99, 1e6 * percentile(beside, each * ROUNDS, 0.5), 1e6 * beside_p99,
           beside_p99 / quiet_p99);
    free(quiet);
    free(beside);
    return 0;
}
