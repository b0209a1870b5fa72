/*
 * A session on a loop, with a client of the protocol at the other end of its socket, and streams whose owners do as the test
 * says.
 */
#ifndef POSTERN_TESTS_IO_BENCH_H
#define POSTERN_TESTS_IO_BENCH_H

#include "framed/channel_stream.h"
#include "framed_client.h"
#include "loopback.h"

#define IO_APPS FRAMED_STREAMS

/* One stream's owner. */
struct io_app {
    struct channel_stream stream;
    unsigned reports, readable, writable;
    bool closed;
    /* What it does when it is told: */
    bool take;      /* takes all that is there, up to `most` bytes a report (0: all) */
    bool say;       /* puts `to_say` bytes where it is told to */
    bool splices;   /* what goes past the session may be put into a pipe for it */
    bool stay_mute; /* mutes itself at the first report */
    bool close_when_failed;
    size_t most, to_say;
    void (*on_report)(struct io_app *app, unsigned events); /* instead of all that */
    /* What it got, and gave; both count up byte by byte. */
    unsigned char next, wanted;
    size_t piped;                /* of `taken` */
    size_t taken, said, largest; /* `largest`: bytes that lay in one piece */
    ssize_t end;                 /* what borrow said last: 0, or -errno; 1 at first */
};

struct io_bench {
    struct loopback loopback;
    struct session_io io;
    struct session_config config; /* the session's */
    struct sock_kind_options kind;
    struct framed_client client;
    unsigned ready, pongs, ended;
    struct session_end end;
    char end_text[256];
    struct io_app apps[IO_APPS]; /* as they will be when their streams are opened */
    unsigned count;
    bool refuse;                          /* streams are turned away */
    bool accept;                          /* at once */
    unsigned opened_in_turn, opened_most; /* per turn of the loop */
};

void io_bench_open(struct io_bench *bench);
void io_bench_close(struct io_bench *bench);

/* 0, or what session_io_start() said. `client` NULL: the defaults. */
int io_bench_start(struct io_bench *bench, void (*pair)(int fds[2]), const struct session_config *client);

/* Both say that they are ready. */
void io_bench_establish(struct io_bench *bench, const struct session_config *client);

void io_bench_turn(struct io_bench *bench);

/* A stream that the session has seen. */
struct framed_stream *io_bench_stream(struct io_bench *bench);

void io_app_init(struct io_app *app); /* for the next stream: takes and says all it can */
void io_app_close(struct io_app *app, bool abort);

/* Closes what is open, ends the session in order if it is not over, and waits for ended(). The next may start. */
void io_bench_end(struct io_bench *bench);

#define TURN_UNTIL(bench, condition) \
    WAIT_FOR(&(bench)->loopback,     \
             ((bench)->opened_in_turn = 0, framed_client_turn(&(bench)->client), (condition)))

#endif
