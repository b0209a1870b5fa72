/*
 * Bulk: streams that carry bytes one way as fast as they go. One thread sends, one receives; the time is
 * from the first byte sent to the last end of stream received, and all that was sent must arrive.
 *
 * What is sent from memory travels in fragments of up to 32 KiB, which only the loopback has; sent from a
 * file (--from-file) it travels in fragments of a page, as from a network card. A relay that splices feels
 * it: a pipe holds so many fragments, whatever their size.
 */
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>

#define PIECE (256 * 1024)

static char sent_piece[PIECE];
static int source = -1; /* the file to send from; -1: send from memory */

static void open_source(void)
{
    source = memfd_create("source", MFD_CLOEXEC);
    if (source < 0 || write(source, sent_piece, PIECE) != PIECE) {
        die("cannot make a file in memory: %s", strerror(errno));
    }
}

/* One send on a stream that has room; false when the stream has sent its share or the time is over. */
static bool send_piece(int fd, uint64_t *left, double until)
{
    if (*left == 0 || now() > until) {
        return false;
    }
    size_t piece = *left < PIECE ? (size_t)*left : PIECE;
    off_t start = 0;
    ssize_t sent = source >= 0 ? sendfile(fd, source, &start, piece) : send(fd, sent_piece, piece, 0);
    if (sent >= 0) {
        *left -= (uint64_t)sent;
    } else if (errno != EAGAIN && errno != EINTR) {
        die("sending failed: %s", strerror(errno));
    }
    return true;
}

/* Sends on every stream what it takes, in turns, until all had their share. Returns what was sent. */
static uint64_t send_all(struct pollfd *streams, const struct options *options, double until)
{
    uint64_t share = options->bytes / options->streams, total = 0;
    uint64_t *left = calloc(options->streams, sizeof *left);
    unsigned open = options->streams;
    if (left == NULL) {
        die("out of memory");
    }
    for (unsigned i = 0; i < options->streams; i++) {
        left[i] = share;
    }
    while (open > 0) {
        if (poll(streams, options->streams, 10000) == 0) {
            die("the relay has taken nothing for ten seconds");
        }
        for (unsigned i = 0; i < options->streams; i++) {
            if (streams[i].revents != 0 && !send_piece(streams[i].fd, &left[i], until)) {
                shutdown(streams[i].fd, SHUT_WR);
                streams[i].fd = -1 - streams[i].fd; /* poll() passes over it; closed by the caller */
                total += share - left[i];
                open--;
            }
        }
    }
    free(left);
    return total;
}

int run_bulk(const struct options *options)
{
    struct sink sink;
    struct pollfd *streams = calloc(options->streams, sizeof *streams);
    if (streams == NULL) {
        die("out of memory");
    }
    sink_start(&sink, options);
    if (options->from_file) {
        open_source();
    }
    for (unsigned i = 0; i < options->streams; i++) {
        streams[i] = (struct pollfd){.fd = open_connection(&options->connect), .events = POLLOUT};
        fcntl(streams[i].fd, F_SETFL, O_NONBLOCK);
    }
    double started = now();
    uint64_t sent = send_all(streams, options, started + options->seconds);
    sink_join(&sink);
    for (unsigned i = 0; i < options->streams; i++) {
        close(-1 - streams[i].fd);
    }
    double seconds = sink.ended - started;
    printf("{\"mode\": \"bulk\", \"streams\": %u, \"sent\": %" PRIu64 ", \"received\": %" PRIu64
           ", \"seconds\": %.6f, \"bytes_per_second\": %.0f}\n",
           options->streams, sent, sink.received, seconds, (double)sink.received / seconds);
    free(streams);
    return sent == sink.received ? 0 : 1;
}
