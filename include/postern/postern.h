/*
 * libpostern: many streams over one connection, from inside an enclave to the Postern daemon on its parent.
 *
 *     struct postern *door;
 *     struct postern_stream *stream;
 *     struct postern_error err;
 *
 *     if (postern_connect(NULL, NULL, &door, &err) < 0 || postern_open(door, "kms", NULL, &stream, &err) < 0)
 *         die(err.message);
 *     postern_write(stream, request, size, 5000, &err);
 *     postern_finish(stream, &err);
 *     while ((n = postern_read(stream, buffer, sizeof buffer, 5000, &err)) > 0)
 *         ...
 *     postern_close(stream);
 *     postern_disconnect(door, 1000);
 *
 * TWO STYLES, one set of functions. postern_connect() makes a *threaded* connection: functions wait as long
 * as they are told to, and all of them may be called from any thread. One that waits for something to come
 * reads the connection itself, for all; while none does, one thread of the library's answers the daemon,
 * whatever the program does. postern_start() makes a *pollable* one: there is no thread, nothing waits (but for a name to be looked
 * up, see postern_start()), and the program's own loop calls postern_process(); see the last part of this file.
 *
 * ROUTES are names in the daemon's configuration; where they lead is decided there.
 *
 * RESULTS. A function that can fail returns 0 (or a number of bytes), or a negative errno value:
 *
 *     -EAGAIN        it would have to wait, and was told not to
 *     -ETIMEDOUT     it waited as long as it was told to; nothing is lost, and it may be called again
 *     -ECONNREFUSED  the stream was not opened: the daemon's `code` and `message` tell why
 *     -ECONNRESET    the other side gave the stream up: what came before is not all
 *     -EPIPE         the other side takes no more bytes of this stream; reading goes on
 *     -EPROTO        what came as the answer to a request is no HTTP/1.1, or none that has one reading only
 *     -ENOTCONN      the connection to the daemon was lost, with its streams, or cannot be made
 *     -ESHUTDOWN     postern_finish(), postern_reset() or postern_disconnect() was called before
 *     -EINVAL        an argument is not what it may be
 *     -ENOMEM, -EMFILE  out of memory; out of descriptors, or `max_streams` are open
 *     -ECHILD        called in a child process that inherited the connection by fork()
 *
 * ERRORS. `err` may be NULL everywhere. When a function fails it is filled in, when it does not it is left
 * alone.
 *
 * TIMEOUTS are in milliseconds: 0 does not wait, a negative one waits for ever. The function's work is not
 * undone when its time is over.
 *
 * MEMORY. What a function puts into `*ret` is the caller's until it is given to the function that ends it.
 * Strings and buffers that are passed in may go as soon as the function returns. A NULL connection or
 * stream is let pass where one is ended.
 *
 * THREADS. On a threaded connection every function may be called by every thread at any time, with two
 * exceptions: nobody else may be in a function with the stream that is passed to postern_close(), or with
 * the connection that is passed to postern_disconnect() (its streams' functions may go on). Two threads may
 * read and write one stream at once; two that read it share out its bytes, and two that write it mix
 * theirs. A pollable connection and its streams are one thread's at a time. A thread must not be cancelled
 * (pthread_cancel()) in a function of the library's.
 *
 * PROCESSES. All descriptors are close-on-exec. After fork() the connection is the parent's: in the child
 * all functions fail with -ECHILD but those that end something, which leave the parent's connection alone.
 * What the parent ends is over for the daemon, too, though the child still has the sockets.
 *
 * SIGNALS. The library raises none (SIGPIPE neither), handles none, and blocks all of them in its thread.
 * No function may be called from a signal handler. A signal does not interrupt a wait.
 *
 * VERSIONS. A struct whose first member is `size` may get more members behind its last in a later version: fill it in after its
 * ..._init(), and a program that was built with an older header goes on as it was. One that was built with a newer header than
 * the library runs with it while it leaves the new members as ..._init() set them, and is refused with -EINVAL if not. All other structs, here
 * and in the other headers, neither grow nor change while the soname (libpostern.so.0) is the same.
 *
 * The library has no global state, and needs libc and libcbor alone.
 */
#ifndef POSTERN_POSTERN_H
#define POSTERN_POSTERN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this header, and of the library that runs: "0.1.0", a static string. */
#define POSTERN_VERSION_MAJOR 0
#define POSTERN_VERSION_MINOR 1
#define POSTERN_VERSION_PATCH 0

#ifdef __GNUC__
#define POSTERN_API __attribute__((visibility("default")))
#else
#define POSTERN_API
#endif

POSTERN_API const char *postern_version(void);

struct postern;
struct postern_stream;

/* ---- Errors ---- */

/* Why something failed. Of all functions: a length above 0 without bytes (NULL) is refused with -EINVAL. */
struct postern_error {
    int status;    /* what the function returned: a negative errno value */
    uint32_t code; /* the protocol's number (docs/protocol.md, "Codes"); 0: it did not come to the protocol */
    const char *word;  /* the code's word, as in the daemon's log: "connect_refused"; a static string */
    int retryable;     /* not 0: the daemon did nothing, and the same may succeed later */
    char message[492]; /* one line: what was tried, on what, why it failed, what to do; terminated */
};

/* The word for a code; "unknown" for one that this version has no word for. A static string. */
POSTERN_API const char *postern_code_word(uint32_t code);

/* ---- Connections ---- */

/* Where postern_connect() and postern_start() lead without an address and without $POSTERN_ADDRESS. */
#define POSTERN_DEFAULT_ADDRESS "vsock://parent:7000"

/* postern_connect() does not wait for the daemon, which may come later: what fails is told by the streams. */
#define POSTERN_LAZY 1u

/* Fill it in after postern_options_init(). 0 stands for the default everywhere. */
struct postern_options {
    size_t size; /* of this struct, as the program knows it; set by postern_options_init() */
    unsigned flags;

    uint32_t connect_timeout_ms;  /* for one try, name look-up excepted, greeting included; 10000 */
    uint32_t open_timeout_ms;     /* for a stream's answer, getting connected included; 30000 */
    uint32_t progress_timeout_ms; /* a stream whose bytes nobody takes is given up; 300000 */
    uint32_t ping_interval_ms;    /* between checks that the daemon is there; 15000, from 1000 to 3600000 */
    uint32_t pong_timeout_ms;     /* within which it has to answer, or the connection is lost; 30000 */

    /* The wait before a lost connection is made again: it doubles with each failure, and has jitter. */
    uint32_t backoff_min_ms; /* 100 */
    uint32_t backoff_max_ms; /* 10000, or backoff_min_ms if that is more; not below that */

    uint32_t max_streams; /* open at once; 1024; see postern_close() */
    uint64_t memory;      /* bytes that may have come and not been read; 32 MiB, at least 2 KiB a stream */

    /* Told to the daemon for its log, at most 64 bytes of printable ASCII; "libpostern VERSION". */
    const char *build;
};

static inline void postern_options_init(struct postern_options *options)
{
    memset(options, 0, sizeof *options);
    options->size = sizeof *options;
}

/*
 * Makes a threaded connection, and waits until the daemon has greeted (unless POSTERN_LAZY is set). One
 * try: if the daemon is not there, this fails at once.
 *
 * `address` is one of these, or NULL for $POSTERN_ADDRESS or else POSTERN_DEFAULT_ADDRESS:
 *
 *     vsock://CID:PORT     what an enclave uses; CID is a number, `parent` (3) or `local` (1)
 *     unix:///path         or unix://@name
 *     tcp://HOST:PORT      a name is looked up with getaddrinfo(), by the library's thread, for as long as that takes
 *     hybrid:///path:PORT  vsock over a unix socket, as Firecracker and Cloud Hypervisor have it
 *
 * A connection that is lost (the daemon restarts, say) takes its streams with it: they report -ENOTCONN.
 * The next postern_open() makes it anew, after the time that `backoff_*` say. A daemon that drains lets the
 * streams there are finish, and new ones go to a new connection.
 *
 * Returns 0, -EINVAL, -ENOTCONN, -ENOMEM, -EMFILE, or -EAGAIN: no thread could be made.
 */
POSTERN_API int postern_connect(const char *address, const struct postern_options *options,
                                struct postern **ret, struct postern_error *err);

/* 0: the daemon is there. -EAGAIN, -ETIMEDOUT: not yet. -ENOTCONN: the last try failed, or the connection
 * was lost since; `err` says how. Starts a new try where none is under way. -ESHUTDOWN: postern_drain() has
 * come to its end. */
POSTERN_API int postern_wait_ready(struct postern *postern, int timeout_ms, struct postern_error *err);

/* Asks the daemon to answer, and says in `*ret_us` (which may be NULL) how many microseconds that took.
 * -EAGAIN, -ETIMEDOUT: no answer yet; calling again waits for the same. -ENOTCONN: nobody is there to ask.
 * */
POSTERN_API int postern_ping(struct postern *postern, int timeout_ms, uint32_t *ret_us,
                             struct postern_error *err);

/* Opens no more streams, lets those there are finish, and ends the connection in an orderly way, after
 * `deadline_ms` at the latest (0: none). Returns at once; postern_wait_ready() tells -ESHUTDOWN when it is
 * done. */
POSTERN_API int postern_drain(struct postern *postern, uint32_t deadline_ms, struct postern_error *err);

/*
 * Ends the connection and frees it. Streams that were not closed are given up, and report -ESHUTDOWN, also
 * to those who wait; they still want postern_close(). Of those that were closed the last bytes are sent,
 * and the daemon is told; this may take up to `timeout_ms`, after which the connection is cut (but a name that the library's
 * thread is looking up just then is waited for). 0 writes what the socket takes at once, and cuts; a pollable connection is ended so whatever `timeout_ms` is (to have all
 * of it arrive, postern_drain() it first, and go on until postern_wait_ready() says -ESHUTDOWN).
 */
POSTERN_API void postern_disconnect(struct postern *postern, int timeout_ms);

/* ---- Streams ---- */

/* A fact about a stream, for its route. */
struct postern_meta {
    const char *key;   /* at most 64 bytes of printable ASCII */
    const void *value; /* at most 1024 bytes */
    size_t length;     /* of a byte string; 0: `value` is a string, printable ASCII */
};

/* Fill it in after postern_open_options_init(). */
struct postern_open_options {
    size_t size;
    uint32_t timeout_ms; /* for this stream's answer; 0: open_timeout_ms of the connection. Not above that */
    size_t meta_count;   /* at most 16 */
    const struct postern_meta *meta;
    uint32_t kind; /* POSTERN_KIND_... */
};

#define POSTERN_KIND_BYTES 0u /* bytes both ways */
#define POSTERN_KIND_HTTP  1u /* HTTP/1.1, for routes of type `forward` and `connect`; see postern_request() */

static inline void postern_open_options_init(struct postern_open_options *options)
{
    memset(options, 0, sizeof *options);
    options->size = sizeof *options;
}

/*
 * Opens a stream to a route (1 to 255 bytes of printable ASCII). Returns at once, without the daemon's
 * answer, and even while there is no connection: it is sent when there is one. What is written meanwhile
 * goes to the route as soon as it is open, and a route that looks at the first bytes (a ClientHello)
 * answers only after it saw them: so write first, then wait.
 *
 * Returns 0, -EINVAL, -ENOMEM, -EMFILE (`max_streams`), -ESHUTDOWN. Whatever else goes wrong is told by the
 * other functions, as -ECONNREFUSED or -ENOTCONN.
 */
POSTERN_API int postern_open(struct postern *postern, const char *route,
                             const struct postern_open_options *options, struct postern_stream **ret,
                             struct postern_error *err);

/* Waits for the answer. 0: the route's other end was connected, which is told whatever came after that. Or
 * what ended the stream before: -ECONNREFUSED, -ENOTCONN, ... */
POSTERN_API int postern_wait_opened(struct postern_stream *stream, int timeout_ms, struct postern_error *err);

/* Waits until there are bytes, and reads up to `size` of them (at least 1). Returns how many; 0: the other
 * side is done and all was read. What came before a reset or a loss is read first, then the error is told,
 * each time. */
POSTERN_API ssize_t postern_read(struct postern_stream *stream, void *buffer, size_t size, int timeout_ms,
                                 struct postern_error *err);

/* Writes all of it, and waits as long as the other side takes no more. Returns how many bytes were taken,
 * which is less than `size` only if the time was over or the stream ended; if it would be none, why. Bytes
 * that were taken are on their way; only an answer of the other side's application can tell that they
 * arrived. */
POSTERN_API ssize_t postern_write(struct postern_stream *stream, const void *data, size_t size,
                                  int timeout_ms, struct postern_error *err);

/* No more will be written: the other side reads an end after all of what was. Reading goes on. Returns at
 * once. */
POSTERN_API int postern_finish(struct postern_stream *stream, struct postern_error *err);

/* Gives the stream up in both directions: the other side learns that what it got is not all. `code` is told
 * to it; 0 stands for 0x20, `cancel`. Wakes those that wait. */
POSTERN_API void postern_reset(struct postern_stream *stream, uint32_t code);

/* Frees the stream. One that was not finished is reset; of one that was finished all that was written is
 * still sent, in the background. What the other side may still say is not listened to: read to the end
 * first if it matters. Until the other side is done, too (for `progress_timeout_ms` without a byte at most), such a stream has one of
 * the connection's `max_streams` places, for which the next one that is opened waits. */
POSTERN_API void postern_close(struct postern_stream *stream);

/* A pointer of the program's, NULL at first, which the library never looks behind. Every thread may set and read it at any time while
 * the stream is there, of a pollable connection, too, and whoever reads it sees what was written behind it before it was set. Of two
 * that are set at once one stays. */
POSTERN_API void postern_set_user(struct postern_stream *stream, void *user);
POSTERN_API void *postern_user(const struct postern_stream *stream);

/*
 * ---- Requests ----
 *
 * HTTP/1.1 requests to routes of type `forward`, each on a stream of its own. Where they go, and what is
 * added to them, is decided by the daemon.
 *
 *     struct postern_request_options options;
 *     struct postern_request *request;
 *
 *     postern_request_options_init(&options);
 *     options.path = "/2026/7";
 *     options.body_length = size;
 *     if (postern_request(door, "reports", &options, &request, &err) < 0)
 *         die(err.message);
 *     postern_request_write(request, report, size, 5000, &err);
 *     postern_request_finish(request, &err);
 *     if ((status = postern_request_status(request, 60000, &err)) < 0)
 *         die(err.message);
 *     while ((n = postern_request_read(request, buffer, sizeof buffer, 5000, &err)) > 0)
 *         ...
 *     postern_request_close(request);
 *
 * Bodies of any size stream in both directions, in constant memory: about 6 KiB a request, 16 KiB more while
 * one is sent whose length was not announced, and a head of the answer of at most 32 KiB.
 *
 * AN ANSWER IS NOT YET SUCCESS: 201 and 503 are both told by postern_request_status(). What the daemon itself
 * has to say (the route's service cannot be reached, the spool is full) it says by a status from 400 on and a
 * body of the type application/problem+json. Nothing is sent twice: whether a request may be repeated is the
 * program's to know.
 *
 * A request is one thread's at a time, on a threaded connection too; postern_reset() of its stream may be
 * called by another thread, and ends all waiting. On a pollable connection POSTERN_READABLE and
 * POSTERN_WRITABLE of its stream both mean: call again what gave -EAGAIN.
 */
struct postern_request;

/* Both are strings. In what is passed in, names are tokens and values printable ASCII, blanks and tabs. */
struct postern_header {
    const char *name;
    const char *value;
};

#define POSTERN_BODY_UNKNOWN UINT64_MAX

/* Fill it in after postern_request_options_init(). */
struct postern_request_options {
    size_t size;
    uint32_t
        timeout_ms; /* for the stream's answer, as in struct postern_open_options; not for the request's */
    const char *method; /* NULL: "POST" with a body, "GET" without one */
    const char *path;   /* with the query, %-encoded; begins with a slash; NULL: "/" */
    /* Host, Content-Length, Transfer-Encoding, Connection, Expect and what else belongs to the connection are
     * the library's to write, and refused here. */
    size_t header_count;
    const struct postern_header *headers;
    /* Bytes of the body that will be written. 0: there is none. POSTERN_BODY_UNKNOWN: it goes out in chunks,
     * and is over with postern_request_finish(). */
    uint64_t body_length;
};

static inline void postern_request_options_init(struct postern_request_options *options)
{
    memset(options, 0, sizeof *options);
    options->size = sizeof *options;
}

/* Begins a request, as postern_open() opens a stream: returns at once, and what goes wrong later is told by
 * the other functions. `options` may be NULL. Returns what postern_open() does. */
POSTERN_API int postern_request(struct postern *postern, const char *route,
                                const struct postern_request_options *options, struct postern_request **ret,
                                struct postern_error *err);

/*
 * Writes a part of the body, and waits as long as no more is taken. Returns how many bytes were taken; these
 * are less than `size` if the time was over, or if something came in between that the next call tells:
 *
 *     -EPIPE   the answer came early and is no success (300 and up), or the daemon takes no more of the body:
 *              send no more, and read the answer
 *     -EAGAIN  also when it may wait: an answer of success has begun, and wants to be read on before more is
 *              taken; postern_request_read() something, then come again
 *     -EINVAL  this would be more than `body_length`
 */
POSTERN_API ssize_t postern_request_write(struct postern_request *request, const void *data, size_t size,
                                          int timeout_ms, struct postern_error *err);

/* The body is whole. Returns at once: what is left is sent by the functions that wait for the answer. -EINVAL:
 * it is shorter than `body_length`; -EPIPE, as above. A request without a body needs none. */
POSTERN_API int postern_request_finish(struct postern_request *request, struct postern_error *err);

/* Waits for the head of the answer (interim ones are passed over), also while the body is not whole. Returns
 * its status, from 200 to 599. -ECONNREFUSED: there was no request at all, `code` says why; -ECONNRESET,
 * -ENOTCONN: whether it was carried out is not known; -EPROTO. */
POSTERN_API int postern_request_status(struct postern_request *request, int timeout_ms,
                                       struct postern_error *err);

/* A header of the answer, by its number from 0 on. Names are in lower case; those that frame the message or
 * belong to the connection are left out. Returns 1, or 0: there are no more, or the answer is not there yet.
 * The strings live as long as the request. */
POSTERN_API int postern_request_header_at(const struct postern_request *request, size_t index,
                                          struct postern_header *ret);

/* The value of the first one with that name, without regard to case; NULL: there is none. */
POSTERN_API const char *postern_request_header(const struct postern_request *request, const char *name);

/* How long the answer's body is, if that was announced; for HEAD: would be. Else POSTERN_BODY_UNKNOWN. */
POSTERN_API uint64_t postern_request_length(const struct postern_request *request);

/* Waits for the answer, and then for bytes of its body. Returns how many; 0: it is whole. -ECONNRESET: it was
 * cut off, what came is not all. Bytes behind its end are not looked at. The buffer is used up to `size`,
 * whatever is returned. */
POSTERN_API ssize_t postern_request_read(struct postern_request *request, void *buffer, size_t size,
                                         int timeout_ms, struct postern_error *err);

/* Frees the request, and closes its stream. One whose answer was not read to its end is given up: the daemon
 * breaks it off where it still can. NULL is let pass. */
POSTERN_API void postern_request_close(struct postern_request *request);

/* Its stream, to know it by when postern_next() returns it, for postern_set_user(), postern_wait_opened() and
 * postern_reset(). It ends with the request. */
POSTERN_API struct postern_stream *postern_request_stream(const struct postern_request *request);

/*
 * ---- Pollable connections ----
 *
 *     postern_start(address, NULL, &door, &err);
 *     for (;;) {
 *         struct pollfd one = {postern_fd(door), POLLIN, 0};
 *         poll(&one, 1, postern_timeout(door));
 *         postern_process(door);
 *         while ((stream = postern_next(door, &events)))
 *             ...read, write until -EAGAIN
 *     }
 *
 * All functions above work, as if their timeout was 0. Reading and writing touch the socket at once, so
 * nothing need be called after them.
 */

/* Like postern_connect(), pollable: begins to connect and returns 0, -EINVAL, -ENOMEM or -EMFILE.
 * postern_wait_ready() tells how it goes. The name of a tcp:// address is looked up with getaddrinfo(), which waits for as long as
 * the resolver does, each time that a connection is made: in postern_start(), and in postern_process() when one that was lost is
 * made anew. A loop that must not wait gives a numeric address. */
POSTERN_API int postern_start(const char *address, const struct postern_options *options,
                              struct postern **ret, struct postern_error *err);

/* The descriptor to watch for POLLIN. The same through the connection's life, whatever it is connected to.
 * It is the library's: only watch it. */
POSTERN_API int postern_fd(const struct postern *postern);

/* Milliseconds until postern_process() wants to be called though the descriptor is not ready; -1: never.
 * Ask again after each call of any other function: postern_open(), postern_finish() and postern_close() write
 * nothing themselves, so that the end of a stream, the beginning of the next and its first bytes go out
 * together. What they have to say is written by the next call of any other function for the connection or one
 * of its streams, postern_write() or postern_next() as well as postern_process(), which is wanted at once then. */
POSTERN_API int postern_timeout(struct postern *postern);

/* Does what is to be done, and never waits but for a name to be looked up (see postern_start()). Call it when the descriptor
 * is ready or the time is over; at other times it does no harm. Does nothing to a threaded connection. */
POSTERN_API void postern_process(struct postern *postern);

#define POSTERN_READABLE 1u /* postern_read() has something to tell: bytes, the end, an error */
#define POSTERN_WRITABLE 2u /* postern_write() */
#define POSTERN_OPENED   4u /* postern_wait_opened(): it was answered */

/* The next stream with news, each once: one of whose functions gave -EAGAIN and would not any more.
 * `*ret_events` says which. NULL: no more for now. Any stream may be closed between calls. */
POSTERN_API struct postern_stream *postern_next(struct postern *postern, unsigned *ret_events);

#ifdef __cplusplus
}
#endif

#endif
