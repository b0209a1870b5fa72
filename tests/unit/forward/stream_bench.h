/*
 * One forward stream under test: a client's socket on one side, the exchange_bench's upstream on the other, and what the owner was
 * told.
 */
#ifndef POSTERN_TESTS_STREAM_BENCH_H
#define POSTERN_TESTS_STREAM_BENCH_H

#include "exchange_bench.h"
#include "forward/forward_stream.h"

#define TOLD_MAX 16

struct told_one {
    enum http_refusal why;
    unsigned status;
    bool cut, kept, reached;
    uint64_t body_in, body_out;
    char method[16], host[64], path[64], id[FORWARD_ID_SIZE];
};

struct stream_bench {
    struct bench far_side;
    struct far far;
    struct forward_spool spool; /* of a daemon without one */
    struct forward_ids ids;
    struct forward_stream stream;
    int client; /* -1: closed */
    struct text got;
    bool got_end, got_reset;
    unsigned told_count, ended;
    struct told_one told[TOLD_MAX];
    uint64_t moved_in, moved_out;
};

extern struct stream_bench sb;

/* Of a test: a stream that waits for its first request. */
int stream_setup(void **state);
int stream_teardown(void **state); /* ends what there is, and looks that ended() comes once */

/* Anew, over the pair of sockets; the one before has ended. */
void stream_restart(void (*pair)(int fds[2]), enum addr_kind kind);

/* The same for one whom another heard first, who said `data`. Returns what forward_stream_take() does. */
int stream_take(const char *data);

void client_say(const char *text);
void client_say_bytes(const char *data, size_t size);
bool client_heard(const char *text); /* hears, and tells whether it is among it */
void client_hear(void);
void client_reset(void);

/* The upstream takes the connection, hears `request` in it, and says `answer`. */
void far_serve(const char *request, const char *answer);

/* Until the stream has ended; for that reason. */
void await_end(enum reason why);

#define AWAIT(condition) WAIT_FOR(&sb.far_side.net, condition)

#endif
