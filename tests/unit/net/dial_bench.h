/*
 * Dialing in a world that is played: names and connections go where the test says.
 *
 * resolve_start() is wrapped, and so is connect(), which takes each address to a port of 127.0.0.1 or to an errno
 * value. So any address can be dialed, and nothing leaves the machine. FAULT_OWN stands for epoll_ctl() and
 * resolve_start().
 */
#ifndef POSTERN_TESTS_DIAL_BENCH_H
#define POSTERN_TESTS_DIAL_BENCH_H

#include "loopback.h"
#include "net/dial.h"

/* What is to take a part of DIAL_ATTEMPT_DELAY_MS takes longer when the machine is busy: it is tried so often. */
#define TRIES 100

/* Where the nth connect() to an IP address leads. */
struct lead {
    uint16_t port; /* of 127.0.0.1 */
    int code;      /* or this errno value at once */
};

struct world {
    struct lead leads[RESOLVE_ADDRS_MAX];
    unsigned connects;
    char connected[RESOLVE_ADDRS_MAX][64]; /* the addresses, in their order */
    uint64_t at_ms[RESOLVE_ADDRS_MAX];
    /* The resolver: */
    struct resolved answer;
    enum reason why;
    int result; /* of resolve_start(): 1 at once, 0 later, or an error */
    struct resolve_request *asked;
    resolve_cb cb;
    unsigned cancelled;
};
extern struct world world;

/* The name that was asked for, and is not answered yet, is answered now. */
void answer_now(void);

/* Adds one to the answer. */
void add_address(const char *text);

enum then { THEN_NOTHING, THEN_CANCEL, THEN_REMOVE };

struct bench {
    struct loopback loopback;
    struct dial *dial;
    unsigned calls;
    enum reason why;
    char text[ERROR_TEXT_MAX];
    char peer[ADDR_TEXT_MAX];
    enum addr_kind kind;
    bool stale;
    struct watcher watcher; /* the connected socket, once it is ours */
    int fd;
    enum then then;
    struct blackhole hole;
    int listener;
    uint16_t port;
};

void open_bench(struct bench *bench);

/* The same, with a name that is known and has three addresses, of both families. */
void three_addresses(struct bench *bench);

void close_bench(struct bench *bench);

/* Closes what was dialed, if it was. */
void drop_connection(struct bench *bench);

void parse(const char *text, struct addr *ret);

/* With a timeout that is not to come. */
struct dial_options options_of(const struct addr *to);

/* Starts to dial. */
void begin(struct bench *bench, const char *to);
void begin_with(struct bench *bench, const struct dial_options *options);

/* Starts, and returns NULL where that fails. */
struct dial *start_dial(struct bench *bench, const struct dial_options *options);

/* A few turns of the loop. */
void settle(struct bench *bench);

/* Waits for the end, and then for nothing more to come. */
void finish(struct bench *bench, enum reason why);

void assert_says(const struct bench *bench, const char *words);

/* Cancels, and sees that nothing comes any more and nothing is left. */
void cancel(struct bench *bench);

/* ---- hybrid: a unix socket in a folder of the test's ---- */

int hybrid_folder(void **state); /* of a group of tests */
int hybrid_folder_remove(void **state);

int hybrid_listen(void);
void hybrid_unlink(void);
void parse_hybrid(struct addr *ret);

#endif
