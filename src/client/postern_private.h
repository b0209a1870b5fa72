/*
 * Between the parts of the library.
 *
 * Locks. A threaded connection has one mutex, over all its streams. It is held in every function and every
 * event, and let go only around system calls (connection.h) and while a function waits (reading.c, which also
 * tells who reads the socket). A pollable one has none.
 *
 * Lifetimes. A `struct postern` lives as long as its handle or any of its streams' handles: `references`.
 * Its connection dies in postern_disconnect(); streams then have no channel, and say so. A stream lives as
 * long as its handle, and one that was closed after it was finished lives on until both directions are over
 * (`lingers`): to stop the other side any sooner might keep what was written from its destination.
 *
 * A stream is in one of these lists, or in none: `queued` (no channel yet: it waits for a session that
 * takes it), `asked` (OPEN was sent, no answer yet), `ended` (it lingered, and may be freed). And all are
 * in `streams`.
 */
#ifndef POSTERN_CLIENT_POSTERN_PRIVATE_H
#define POSTERN_CLIENT_POSTERN_PRIVATE_H

#include "client/connection.h"
#include "client/owner.h"
#include "postern/postern.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>
#include <sys/types.h>

/* Received and not read yet: part of a block, or a copy of its own. */
struct piece {
    STAILQ_ENTRY(piece) entry;
    struct block *block; /* a reference; NULL: `copy` */
    const uint8_t *at;
    size_t length; /* left */
    size_t room;   /* after that, in `copy` */
    uint8_t copy[];
};

/* A function that waits: on its thread's stack, in its stream's or its connection's list, and in that of the followers
 * unless it reads itself. */
struct waiter {
    TAILQ_ENTRY(waiter) entry, in_followers;
    pthread_cond_t wake;
    unsigned events; /* that it waits for */
    bool reads;
};

TAILQ_HEAD(waiters, waiter);

/* A postern_read() that waits for bytes, which are put where it wants them. */
struct reader {
    TAILQ_ENTRY(reader) entry;
    uint8_t *at;
    size_t room, filled;
};

/* A postern_write() whose bytes are taken from where they are when it is their turn. */
struct writer {
    TAILQ_ENTRY(writer) entry;
    struct postern_stream *stream;
    struct connection_loan loan; /* of bytes before `at` */
    const uint8_t *at;
    size_t left;
    bool listed; /* in its stream's list: the bytes are still wanted */
};

/* Why a direction is over. status 0: it is not. */
struct failure {
    int status;
    uint32_t code;
    bool retryable;
    const char *message; /* owned, but in an argument; NULL: the code has to do */
};

TAILQ_HEAD(streams, postern_stream);

struct postern_stream {
    struct postern *postern; /* a reference */
    _Atomic(void *) user;    /* the program's; set and read without the lock */
    TAILQ_ENTRY(postern_stream) in_streams;
    TAILQ_ENTRY(postern_stream) in_opening; /* queued or asked */
    TAILQ_ENTRY(postern_stream) in_news;
    struct streams *opening; /* queued, asked or ended, or NULL */
    struct channel *channel; /* ours to release; NULL: not yet, or not any more */
    uint8_t *request;        /* owned; OPEN as it will be sent, while it is queued */
    size_t request_length;
    uint64_t open_by; /* ms; while it is queued or asked */
    STAILQ_HEAD(, piece) pieces;
    struct piece *last; /* of them; NULL: none */
    TAILQ_HEAD(, reader) readers;
    TAILQ_HEAD(, writer) writers;
    struct waiters waiters;
    struct failure read_failure, write_failure;
    uint8_t wants;      /* POSTERN_READABLE ...: it said -EAGAIN, and is to tell when it would not */
    uint8_t news;       /* to be told by postern_next(); not 0: it is in that list */
    bool answered : 1;  /* with OPENED */
    bool heard_end : 1; /* FIN came */
    bool finished : 1;  /* no more will be written */
    bool end_sent : 1;  /* and that was said */
    bool lingers : 1;   /* the handle is gone */
};

/* The answer to a ping is kept for the one who gave up waiting and asks again. */
enum ping_state { PING_IDLE, PING_ASKED, PING_ANSWERED };

struct postern {
    pthread_mutex_t lock;
    pthread_t keeper;
    struct owner owner;
    bool threaded;
    bool inherited; /* by fork(), and now it is being ended */
    bool reading;   /* some thread is at it; see reading.c */
    bool untold;   /* there may be news that did not come in postern_process(), after which it is asked for */
    bool drained;  /* postern_drain() was called: no more streams are opened */
    bool stopping; /* the keeper is to end, and nobody else begins to read */
    unsigned away; /* threads that let go of the lock within the connection's functions */
    size_t references;
    struct connection *connection; /* owned; NULL: postern_disconnect() was called */
    uint32_t open_timeout, max_streams;
    char build[65];
    struct streams streams, queued, asked, news;
    struct streams ended; /* lingered, and are to be freed where no event can refer to them */
    size_t count;         /* of streams with a handle */
    uint64_t expire_at;   /* ms; no stream's open_by is before it */
    struct waiters waiters, followers;
    unsigned hopeful; /* functions that wait for the connection */
    struct failure
        loss; /* how the last try or the last session ended; status 0: there is a session, or none was tried */
    enum ping_state ping;
    bool ping_lost;   /* the answer is that there was none, nor will be */
    uint32_t ping_us; /* the answer */
    unsigned pongs;   /* answers so far */
    unsigned losses;  /* of tries and sessions so far */
};

#define POSTERN_CHANGED 8u /* beside POSTERN_READABLE ...: of a connection's waiters */

/* ---- lock.c ---- */

/* -ECHILD in another process than that which made it. */
int postern_check_process(const struct postern *postern, struct postern_error *err) MUST_CHECK;

/* The same, and takes the lock. */
int postern_enter(struct postern *postern, struct postern_error *err) MUST_CHECK;

/* The same for functions that end something, which work in a child process, too: false if even the lock is
 * out of reach there, since a thread that is not in this process had it at the time of fork(). */
bool postern_enter_to_end(struct postern *postern) MUST_CHECK;

/* Writes what there is to write, frees what is over, lets go of the lock. */
void postern_leave(struct postern *postern);

/* The same, but a pollable connection writes later: in whatever function comes next and does not leave so, at the latest in
 * postern_process(), for which postern_timeout() asks at once. So the end of a stream, the next one's beginning and its first bytes are one system call. */
void postern_leave_unwritten(struct postern *postern);

/* Writes what there is to write. May let go of the lock meanwhile. */
void postern_flush(struct postern *postern);

void postern_reference(struct postern *postern);
void postern_unreference(struct postern *postern); /* with the lock held, which it lets go */
void postern_free(struct postern *postern);

/* ---- reading.c ---- */

/* A point in time from now, for postern_wait(). */
struct deadline {
    int timeout_ms;
    uint64_t at; /* us, if timeout_ms is more than 0 */
};
struct deadline postern_deadline(const struct postern *postern, int timeout_ms);

/* Waits for one of the events in `list`. 0: look again, it may have come back early; -EAGAIN, -ETIMEDOUT.
 * Flush before looking: the lock is let go in between. */
int postern_wait(struct postern *postern, struct waiters *list, unsigned events,
                 const struct deadline *until) MUST_CHECK;
void postern_wake(struct postern *postern, struct waiters *list, unsigned events);

/* To be called whenever the lock is let go for good. */
void postern_appoint_reader(struct postern *postern);

/* Does what there is to do, without waiting. For who has no other threads. */
void postern_turn(struct postern *postern);

int postern_start_keeper(struct postern *postern, struct postern_error *err) MUST_CHECK;

/* Lets go of the lock meanwhile. After that nobody is in the connection's functions. All who wait have been woken for good. */
void postern_stop_keeper(struct postern *postern);

/* For struct connection_config. */
void postern_lock_again(void *user);
void postern_unlock_meanwhile(void *user);

/* ---- errors.c ---- */

/* Each fills in `err`, which may be NULL, and returns `status`. */
int postern_fail(struct postern_error *err, int status, const char *message);
int postern_fail_with(struct postern_error *err, const struct failure *failure);

/* The time was over. */
int postern_fail_wait(struct postern_error *err, int status, const char *what);

/* Copies `why`, whose message need not be terminated: it has `length` bytes. */
void failure_set(struct failure *failure, const struct failure *why, size_t length);
void failure_clear(struct failure *failure);

/* ---- options.c ---- */

/* Copies a struct of the program's, which may be of another size than ours. */
int postern_read_struct(void *ret, size_t known, const void *given, size_t size,
                        struct postern_error *err) MUST_CHECK;
/* -EINVAL where there is a length and no bytes: what was meant to be given, or to be filled in, must not be passed over. */
int postern_check_bytes(const void *bytes, size_t length, struct postern_error *err) MUST_CHECK;
int postern_read_options(const struct postern_options *given, struct postern *postern,
                         struct connection_config *ret, struct postern_error *err) MUST_CHECK;
int postern_read_address(const char *address, struct addr *ret, struct postern_error *err) MUST_CHECK;

/* An OPEN as it will be sent; owned by the caller. */
int postern_read_request(const char *route, const struct postern_open_options *given, uint32_t *ret_timeout,
                         uint8_t **ret, size_t *ret_length, struct postern_error *err) MUST_CHECK;

/* ---- postern_stream.c ---- */

/* As postern_write(), but it also comes back as soon as there is something to be read: then with as many bytes as were taken, or
 * -EAGAIN. */
ssize_t postern_write_or_hear(struct postern_stream *stream, const void *data, size_t size, int timeout_ms,
                              struct postern_error *err);

/* ---- streams.c: what happens to streams ---- */

extern const struct session_events stream_channel_events;
void stream_on_returned(struct connection_loan *loan);

int stream_new(struct postern *postern, struct postern_stream **ret) MUST_CHECK;
void stream_free(struct postern_stream *stream); /* with its reference, which is not the last */

/* Opens those that wait, as far as the session lets it. */
void streams_open_queued(struct postern *postern);

/* Ends those that waited too long for an answer. */
void streams_expire(struct postern *postern, uint64_t now);
void streams_expire_at(struct postern *postern, uint64_t when); /* some stream wants to be looked at then */

void streams_free_ended(struct postern *postern);

/* Puts it into `queued`, `asked` or `ended`, and out of where it was. */
void stream_enter_opening(struct postern_stream *stream, struct streams *list);

/* Both directions are over, for the same reason; its channel is released, all that wait are told. */
void stream_fail(struct postern_stream *stream, const struct failure *why);

/* Something is to be written, or the end of it. */
void stream_ask_to_send(struct postern_stream *stream);

/* Moves what was received to `buffer`, and returns how much. */
size_t stream_take(struct postern_stream *stream, uint8_t *buffer, size_t size);
void stream_drop_pieces(struct postern_stream *stream);

/* Releases its channel if both directions are over, and all was read. Not from within an event. */
void stream_settle(struct postern_stream *stream);

/* Its handle is gone, and the stream with it. */
void stream_end(struct postern_stream *stream);

/* Its handle is gone, but it was finished. */
void stream_linger(struct postern_stream *stream);

#endif
