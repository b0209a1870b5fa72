/*
 * A small HTTP/1.1 server on a libuv loop, for people and scrapers that look at the daemon: the admin and
 * metrics listeners. One request a connection, answered at once by a handler, or later, then closed.
 *
 * It can be neither filled up nor held on to. The connections are a fixed array; when all are taken, the
 * oldest gives way to the newcomer, so that a few silent clients never lock a health check out. A request
 * has bounds in bytes (see message.h) and, with its answer, in time; answers under way have a bound in
 * bytes together. A connection that has said nothing holds no buffer.
 *
 * Lifetimes. Happy path: http_server_start(), requests, http_server_close(), and from the loop `cb`, once:
 * the memory is the caller's again. Failure modes: when http_server_start() fails, http_server_close()
 * must follow all the same. http_server_close() may be called from inside the handler, and twice.
 * Closing ends the listener, unfinished requests and those to be answered later at once; an answer under way has
 * linger_ms more.
 * SIGPIPE is ignored by the program: libuv writes to clients that have gone.
 */
#ifndef POSTERN_HTTP_SERVER_H
#define POSTERN_HTTP_SERVER_H

#include "base/compiler.h"
#include "base/text.h"
#include "http/message.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uv.h>

#define HTTP_SERVER_CONNECTIONS 32
#define HTTP_SERVER_HEAD_MAX    (8 * 1024)
#define HTTP_SERVER_BODY_MAX    (64 * 1024)
#define HTTP_SERVER_ANSWERS_MAX (32 * 1024 * 1024) /* bytes of bodies being sent, all connections together */
#define HTTP_SERVER_TIME_MS     10000 /* from accept to the answer's last byte in the kernel's hands */
#define HTTP_SERVER_LINGER_MS   1000  /* from there to the client's close */

struct http_connection;

/* What the handler fills in; it starts as an empty "200 OK" in text/plain. */
struct http_answer {
    int status;
    const char *content_type; /* not owned */
    const char *allow;        /* not owned; the Allow header of a 405, or NULL */
    struct text body;         /* taken over by the server */

    struct http_connection *connection; /* for http_answer_later(); NULL: the answer has to be made at once */
};

/*
 * An answer that is not at hand yet, or does not fit into memory. From inside the handler, which then fills in nothing:
 *
 *     http_answer_later() -> http_later_answer()                                       all of it, and that is that
 *                         -> http_later_begin(), sent(), http_later_piece(), sent()... until `length` bytes are out
 *                         -> http_later_cut(): what was begun cannot be finished
 *
 * gone() may come in the place of each: the client has left, was too slow, or the server closes. After it, after
 * http_later_answer(), _cut(), and the sent() of the last piece, no call may follow.
 */
struct http_later_ops {
    void (*sent)(void *arg);
    void (*gone)(void *arg);
};

/* `time_ms`: until the answer, and for each piece. */
void http_answer_later(struct http_answer *response, const struct http_later_ops *ops, void *arg,
                       uint64_t time_ms);

/* Takes over the body of `response`. */
void http_later_answer(struct http_connection *connection, struct http_answer *response);

/* A 200 with a body of `length` > 0 bytes. */
void http_later_begin(struct http_connection *connection, const char *content_type, uint64_t length);

/* `data` stays until sent(). */
void http_later_piece(struct http_connection *connection, const void *data, size_t size);
void http_later_cut(struct http_connection *connection);

/* Called for each whole and well-formed request. For HEAD the body is made all the same, and its
 * length told. */
typedef void (*http_handler)(void *data, const struct http_message *request, struct http_answer *response);

enum http_connection_state {
    HTTP_CONNECTION_FREE,
    HTTP_CONNECTION_READING,
    HTTP_CONNECTION_ANSWERING,
    HTTP_CONNECTION_LINGERING, /* answered; waits for the client's close, so that no reset eats the answer */
    HTTP_CONNECTION_CLOSING,
};

struct http_server;

struct http_connection { /* private */
    struct http_server *server;
    enum http_connection_state state;
    unsigned open_handles;
    uv_pipe_t stream;
    uv_timer_t timer;
    uv_write_t write;
    uv_shutdown_t shutdown;
    struct http_message request;
    size_t ignored;                     /* bytes that came after the request */
    const struct http_later_ops *later; /* an answer that is to come, or is under way in pieces; else NULL */
    void *later_arg;
    uint64_t later_ms;
    uint64_t left;    /* bytes of pieces that are to come */
    struct text body; /* of the answer; lives until the write's callback */
    char head[512];   /* the same */
    TAILQ_ENTRY(http_connection) link;
};

struct http_server {
    uint64_t time_ms; /* may be changed after http_server_start() */
    uint64_t linger_ms;
    uint64_t evicted; /* connections that gave way to newer ones */

    /* Private. */
    uv_loop_t *loop;
    http_handler handler;
    void *data;
    uv_pipe_t listener; /* libuv's pipe takes a stream socket of any family: unix, TCP, vsock */
    bool held;          /* a newcomer waits in the listener for a place */
    bool closing;
    bool listening; /* the listener's handle is open */
    size_t answers; /* bytes of bodies under way */
    void (*closed)(void *data);
    void *closed_data;
    TAILQ_HEAD(http_connection_list, http_connection) taken; /* oldest first */
    struct http_connection connections[HTTP_SERVER_CONNECTIONS];
    char input[16 * 1024];
};

/* Listens on `fd`, a bound stream socket, which is the server's from here on, whatever is returned: 0 or a
 * negative errno value. */
int http_server_start(struct http_server *server, uv_loop_t *loop, int fd, http_handler handler,
                      void *data) MUST_CHECK;

void http_server_close(struct http_server *server, void (*cb)(void *data), void *data);

/* The value of `name` in a query such as "deadline=30s", copied into `buffer`. Returns 1 when it is there,
 * 0 when the query is empty, -EINVAL when there is anything else in it or the value does not fit. No
 * %-escape is decoded. */
int http_query_value(const char *query, const char *name, char *buffer, size_t size) MUST_CHECK;

#endif
