/* What the session modes share, and the simpler of them; see load_session.h. */
#include "load_session.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIECE     (256 * 1024)
#define EXCHANGE  64
#define BUDGET_AT 2048 /* bytes of credit that the library wants for a stream at least */

static void set_options(const struct options *options, struct postern_options *ret)
{
    postern_options_init(ret);
    ret->max_streams = options->count > options->streams ? options->count : options->streams;
    if ((uint64_t)ret->max_streams * BUDGET_AT > 32u << 20) {
        ret->memory = (uint64_t)ret->max_streams * BUDGET_AT;
    }
}

struct postern *load_start(const struct options *options)
{
    struct postern_options how;
    struct postern_error err;
    struct postern *door;
    set_options(options, &how);
    if (postern_start(options->connect_text, &how, &door, &err) < 0) {
        die("%s", err.message);
    }
    int rv;
    while ((rv = postern_wait_ready(door, 0, &err)) == -EAGAIN) {
        load_turn(door);
    }
    if (rv < 0) {
        die("%s", err.message);
    }
    return door;
}

void load_turn(struct postern *door)
{
    int own = postern_timeout(door);
    struct pollfd one = {.fd = postern_fd(door), .events = POLLIN};
    double started = now();
    if (poll(&one, 1, own >= 0 && own < 10000 ? own : 10000) == 0 && now() - started > 9.9) {
        die("nothing happened for ten seconds");
    }
    postern_process(door);
}

struct postern_stream *load_open(struct postern *door, const char *route)
{
    struct postern_stream *stream;
    struct postern_error err;
    if (postern_open(door, route, NULL, &stream, &err) < 0) {
        die("%s", err.message);
    }
    return stream;
}

/* ---- Bulk ---- */

struct sender {
    struct postern_stream *stream;
    uint64_t left;
    bool done; /* sending */
};

/* Writes until the stream takes no more: only then there will be news of it. Finishes it when all was written, or the time is over. */
static void send_some(struct sender *sender, double until)
{
    static char piece[PIECE];
    struct postern_error err;
    while (sender->left > 0 && now() < until) {
        size_t size = sender->left < PIECE ? (size_t)sender->left : PIECE;
        ssize_t n = postern_write(sender->stream, piece, size, 0, &err);
        if (n == -EAGAIN) {
            return;
        }
        if (n < 0) {
            die("%s", err.message);
        }
        sender->left -= (uint64_t)n;
    }
    if (postern_finish(sender->stream, &err) < 0) {
        die("%s", err.message);
    }
    sender->done = true;
}

/* True: the far end has said that it is done, too. */
static bool has_ended(const struct sender *sender)
{
    struct postern_error err;
    char end;
    ssize_t n = postern_read(sender->stream, &end, 1, 0, &err);
    if (n != -EAGAIN && (n != 0 || !sender->done)) {
        die("a stream that was to end well: %s",
            n < 0 ? err.message : "it said something, or ended too soon");
    }
    return n == 0;
}

/* Returns what was sent, once the far end of each stream has said that it is done, too. */
static uint64_t send_all(struct postern *door, const struct options *options, double until)
{
    uint64_t share = options->bytes / options->streams, total = 0;
    unsigned open = options->streams;
    struct sender *senders = calloc(options->streams, sizeof *senders);
    if (senders == NULL) {
        die("out of memory");
    }
    for (unsigned i = 0; i < options->streams; i++) {
        senders[i] = (struct sender){.stream = load_open(door, options->route), .left = share};
        postern_set_user(senders[i].stream, &senders[i]);
        send_some(&senders[i], until);
        (void)has_ended(&senders[i]); /* asks for news of it */
    }
    while (open > 0) {
        unsigned events;
        struct postern_stream *stream;
        load_turn(door);
        while ((stream = postern_next(door, &events)) != NULL) {
            struct sender *sender = postern_user(stream);
            if (!sender->done) {
                send_some(sender, until);
            }
            if ((events & POSTERN_READABLE) != 0 && has_ended(sender)) {
                total += share - sender->left;
                open--;
                postern_close(stream);
            }
        }
    }
    free(senders);
    return total;
}

int run_session_bulk(const struct options *options)
{
    struct sink sink;
    struct postern *door = load_start(options);
    sink_start(&sink, options);
    double started = now();
    uint64_t sent = send_all(door, options, started + options->seconds);
    sink_join(&sink);
    double seconds = sink.ended - started;
    printf("{\"mode\": \"session-bulk\", \"streams\": %u, \"sent\": %" PRIu64 ", \"received\": %" PRIu64
           ", \"seconds\": %.6f, \"bytes_per_second\": %.0f}\n",
           options->streams, sent, sink.received, seconds, (double)sink.received / seconds);
    postern_disconnect(door, 0);
    return sent == sink.received ? 0 : 1;
}

/* ---- Short ---- */

struct slot {
    size_t got;
    double started;
};

struct shorts {
    const struct options *options;
    struct postern *door;
    struct slot *slots;
    unsigned begun, ended, failed;
    double *latencies;
    double until;
};

static void begin(struct shorts *shorts, struct slot *slot)
{
    static const char request[EXCHANGE] = "sixty-four bytes, which is what a small question comes to";
    struct postern_error err;
    *slot = (struct slot){.started = now()};
    struct postern_stream *stream = load_open(shorts->door, shorts->options->route);
    postern_set_user(stream, slot);
    shorts->begun++;
    if (postern_write(stream, request, EXCHANGE, 0, &err) != EXCHANGE) {
        die("a stream that was just opened takes no %d bytes", EXCHANGE);
    }
    if (postern_read(stream, &(char){0}, 1, 0, &err) != -EAGAIN) { /* asks for news of it */
        die("a reply was there before the question: %s", err.message);
    }
}

static void end(struct shorts *shorts, struct slot *slot, struct postern_stream *stream, bool good)
{
    if (good) {
        shorts->latencies[shorts->ended - shorts->failed] = now() - slot->started;
        (void)postern_finish(stream, NULL);
    } else {
        shorts->failed++;
    }
    shorts->ended++;
    postern_close(stream);
    if (shorts->begun < shorts->options->count && now() < shorts->until) {
        begin(shorts, slot);
    }
}

static void hear(struct shorts *shorts, struct postern_stream *stream)
{
    char reply[EXCHANGE];
    struct slot *slot = postern_user(stream);
    ssize_t got = postern_read(stream, reply, EXCHANGE, 0, NULL);
    if (got == -EAGAIN) {
        return;
    }
    slot->got += got > 0 ? (size_t)got : 0;
    if (got <= 0 || slot->got >= EXCHANGE) {
        end(shorts, slot, stream, got > 0);
    }
}

static void drive(struct shorts *shorts)
{
    for (unsigned i = 0; i < shorts->options->at_once && shorts->begun < shorts->options->count; i++) {
        begin(shorts, &shorts->slots[i]);
    }
    while (shorts->ended < shorts->begun) {
        struct postern_stream *stream;
        unsigned events;
        load_turn(shorts->door);
        while ((stream = postern_next(shorts->door, &events)) != NULL) {
            hear(shorts, stream);
        }
    }
}

int run_session_short(const struct options *options)
{
    struct echo echo;
    double started = now();
    struct shorts shorts = {.options = options,
                            .slots = calloc(options->at_once, sizeof *shorts.slots),
                            .latencies = calloc(options->count, sizeof *shorts.latencies),
                            .until = started + options->seconds};
    if (shorts.slots == NULL || shorts.latencies == NULL) {
        die("out of memory");
    }
    shorts.door = load_start(options);
    echo_start(&echo, &options->listen);
    drive(&shorts);
    double seconds = now() - started;
    postern_disconnect(shorts.door, 0);
    echo_stop(&echo);
    unsigned good = shorts.ended - shorts.failed;
    sort_figures(shorts.latencies, good);
    printf("{\"mode\": \"session-short\", \"at_once\": %u, \"connections\": %u, \"failed\": %u, \"seconds\": "
           "%.6f, "
           "\"per_second\": %.1f, \"p50_us\": %.0f, \"p99_us\": %.0f, \"max_us\": %.0f}\n",
           options->at_once, good, shorts.failed, seconds, good / seconds,
           1e6 * percentile(shorts.latencies, good, 0.5), 1e6 * percentile(shorts.latencies, good, 0.99),
           1e6 * percentile(shorts.latencies, good, 1));
    free(shorts.slots);
    free(shorts.latencies);
    return shorts.failed == 0 && good > 0 ? 0 : 1;
}

/* ---- Idle ---- */

static void read_all(struct postern *door, struct postern_stream *stream, char *data, size_t size)
{
    struct postern_error err;
    for (size_t got = 0; got < size;) {
        ssize_t n = postern_read(stream, data, size - got, 0, &err);
        if (n == -EAGAIN) {
            load_turn(door);
        } else if (n <= 0) {
            die("the reply did not come: %s", n == 0 ? "end of stream" : err.message);
        } else {
            got += (size_t)n;
        }
    }
}

static void write_all(struct postern *door, struct postern_stream *stream, const char *data, size_t size)
{
    struct postern_error err;
    for (size_t put = 0; put < size;) {
        ssize_t n = postern_write(stream, data + put, size - put, 0, &err);
        if (n == -EAGAIN) {
            load_turn(door);
        } else if (n < 0) {
            die("sending failed: %s", err.message);
        } else {
            put += (size_t)n;
        }
    }
}

static void carry(struct postern *door, struct postern_stream *stream, uint64_t bytes)
{
    static char data[1024]; /* less than any window, so that neither end waits for the other */
    for (uint64_t left = bytes; left > 0;) {
        size_t piece = left < sizeof data ? (size_t)left : sizeof data;
        write_all(door, stream, data, piece);
        read_all(door, stream, data, piece);
        left -= piece;
    }
}

/* The daemon is told of every end, so that its log has a thousand good ones and none that was cut. */
static void part(struct postern *door, struct postern_stream **streams, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        (void)postern_finish(streams[i], NULL);
        postern_close(streams[i]);
    }
    (void)postern_drain(door, 5000, NULL);
    while (postern_wait_ready(door, 0, NULL) != -ESHUTDOWN) {
        load_turn(door);
    }
    postern_disconnect(door, 0);
}

int run_session_idle(const struct options *options)
{
    struct echo echo;
    double until = now() + options->seconds;
    struct postern_stream **streams = calloc(options->count, sizeof(struct postern_stream *));
    if (streams == NULL) {
        die("out of memory");
    }
    struct postern *door = load_start(options);
    echo_start(&echo, &options->listen);
    for (unsigned i = 0; i < options->count; i++) {
        streams[i] = load_open(door, options->route);
        carry(door, streams[i], options->carry);
    }
    printf("{\"mode\": \"session-idle\", \"ready\": true, \"connections\": %u, \"carried\": %" PRIu64 "}\n",
           options->count, options->carry);
    fflush(stdout);
    wait_for_the_end(until);
    part(door, streams, options->count);
    echo_stop(&echo);
    free(streams);
    return 0;
}
