/*
 * An exchange: one judged request on its way to a route's upstream, and its answer on the way back. Both stream, in constant
 * memory, and the slower side sets the pace.
 *
 *     exchange_start() -> [gather and sign] -> connection, kept or new -> head and body out -> answer in -> end()
 *
 * The owner gives the body as it comes (exchange_body(), exchange_body_end()) and hears of the answer: head(), piece()s,
 * end(). The answer may come before the request is whole: the owner may then go on giving, or stop; the connection is used
 * again only if all of both is through. A connection that was kept and turns out to be dead is replaced by a new one, and
 * the request sent again, if no byte of an answer has come, what was sent is still at hand, and the upstream cannot
 * have acted on it: the method is idempotent, or nothing went out.
 *
 * Lifetimes: the owner embeds the exchange. After exchange_start() the callbacks come, from the loop and never from inside a
 * function of this header, until end(), which comes exactly once: the memory is then the owner's again, and may be used for
 * the next exchange at once. All functions may be called from inside the callbacks but end(); none of them uses the
 * loop's scratch memory: what is given may lie there.
 */
#ifndef POSTERN_FORWARD_EXCHANGE_H
#define POSTERN_FORWARD_EXCHANGE_H

#include "base/text.h"
#include "config/config.h"
#include "forward/signing.h"
#include "forward/worker.h"
#include "http/body.h"
#include "http/head.h"
#include "http/refusal.h"
#include "http/request.h"
#include "http/response.h"
#include "http/values.h"
#include "net/addr.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Bytes of a body that are kept at hand, to go out with the head, and to be sent again. */
#define EXCHANGE_HOLD_MAX ((size_t)16 * 1024)

/* How long a client waits for the upstream's 100 before it is told to send its body all the same. */
#define EXCHANGE_EXPECT_MS 1000

struct exchange;
struct pipe;
struct upstream;
struct upstream_conn;

struct exchange_end {
    enum http_refusal why;  /* HTTP_REFUSED_NONE: the answer is whole */
    const char *detail;     /* what was tried and what happened, without secrets; NULL: the word says all */
    bool answered;          /* head() was told: the client has half an answer, unless it is whole */
    bool reached;           /* false: nothing of the request can have reached the upstream */
    bool sent;              /* all of the request was written; else an answer is to what it had until then */
    unsigned retry_after_s; /* for a Retry-After; 0: none */
    const char
        *code; /* AWS's, of a whole answer that refuses what was signed (aws/error_code.h); NULL: none */
};

struct exchange_ops {
    /* Takes more of the body: exchange_body() again. Comes only after one that took less than it was given. */
    void (*want)(struct exchange *exchange);
    /* The client that waits for `100 Continue` may send its body. At most once, and only if request->expects_continue. */
    void (*go_on)(struct exchange *exchange);
    /* The final answer's head; `response` lives until end(), its trailers are complete at end(). */
    void (*head)(struct exchange *exchange, const struct http_response *response);
    /* Of its body. Returns how much was taken: if less, nothing more is read until exchange_resume(). The bytes may lie in
     * the loop's scratch memory, which is not to be used meanwhile. */
    size_t (*piece)(struct exchange *exchange, const char *data, size_t size);
    /* It is over, see above. */
    void (*end)(struct exchange *exchange, const struct exchange_end *end);
};

/* Where a request in absolute form goes, of a `connect` route: over TCP as it is, and the connection is not kept. */
struct exchange_plain {
    struct addr to;
    const char *authority; /* for the Host header */
};

/* All of it is the owner's, and outlives the exchange. */
struct exchange_options {
    const struct config *config;
    const struct config_route *route;
    const struct http_request *request; /* judged, at HEAD; not moved on (http_request_next()) before end() */
    const struct http_values *values;   /* for the templates */
    const struct exchange_plain *plain; /* CONFIG_CONNECT; else NULL */
    uint32_t asker; /* whose it is: of struct resolve_request, and of body_memory_grow() */
};

enum exchange_state {
    EXCHANGE_GATHERING, /* the body, because it is hashed for the signature */
    EXCHANGE_SIGNING,   /* waits for credentials */
    EXCHANGE_OPENING,   /* waits for a connection */
    EXCHANGE_OPEN,
    EXCHANGE_ENDING, /* only end() is to come */
};

struct exchange {
    /* For the log, readable in end(). */
    struct sockaddr_any peer; /* the upstream's address; length 0: never connected */
    bool reused;              /* the connection was a kept one */
    uint64_t sent_bytes;      /* of the request's body that were taken from the owner */
    uint64_t received_bytes;  /* of the answer's body that were taken by it */

    /* Private. */
    const struct exchange_ops *ops;
    struct forward_worker *worker;
    struct exchange_options options;
    enum exchange_state state;
    enum http_refusal why; /* ENDING */
    char *detail, *code;   /* owned */
    bool answered, reached;
    struct exchange_list *due_on; /* one of the worker's, or NULL */
    TAILQ_ENTRY(exchange) due_link;
    unsigned retry_after_s;
    struct upstream *upstream;  /* NULL: plain */
    struct upstream_conn *conn; /* from OPENING to the end; NULL: none yet */
    struct http_head head;      /* until it is signed */
    struct signing_job signing;
    bool gathers;
    struct text gathered; /* the body, to be hashed; a long one stays here and goes out behind `out` */
    size_t gathered_at;   /* so much of it is written */
    struct body_grant grant;

    /* The request. Framed bytes are in `out`, those before `out_at` are written; beyond EXCHANGE_HOLD_MAX the body goes from
     * the owner's memory into the connection. */
    struct text out;
    size_t out_at;
    struct http_body_out body;
    uint64_t chunk_left; /* of a chunk whose size is out */
    size_t head_size;    /* the head is in front in `out`, or was */
    size_t held;         /* bytes of the body in `out` */
    struct pipe *pipe;   /* lent; holds bytes of a long body on their way */
    bool keeping;        /* `out` has all that was given so far: it can be sent again */
    bool body_over;
    bool sent;            /* all of it is written */
    bool blocked;         /* the connection takes no more for now */
    bool broken;          /* nor ever */
    bool wants;           /* the owner is owed a want() */
    bool expecting;       /* the client is owed a go_on() */
    uint64_t expect_by;   /* loop time; 0: not before the head is out */
    uint64_t progress_at; /* loop time of the last byte that was written */

    /* The answer. */
    struct http_response response;
    struct http_limits limits;
    unsigned char *
        rest; /* lent by the loop while the owner is behind: the rest of a piece, and what was read after it */
    size_t rest_at, rest_size, rest_piece;
    bool paused;         /* until exchange_resume() */
    struct text refusal; /* the beginning of the body of an answer that refuses what was signed */
    uint64_t read_at;    /* loop time of the last byte that was read */
};

void exchange_start(struct exchange *exchange, struct forward_worker *worker, const struct exchange_ops *ops,
                    const struct exchange_options *options);

/* Takes up to `size` bytes of the body and returns how many; if less, want() follows. When the upstream takes no more of the
 * request, for whatever reason, all is taken and thrown away. */
size_t exchange_body(struct exchange *exchange, const char *data, size_t size) MUST_CHECK;

/* The same for up to `most` bytes that are to be had from the socket `fd`, for a body so long that `most` does not end it.
 * Returns how many were taken; 0 if it takes none for now (want() follows); -EAGAIN if there are none at the socket; -ENOTSUP if
 * they have to be read, and given to exchange_body(); or another negative errno value of the socket's. */
ssize_t exchange_body_splice(struct exchange *exchange, int fd, size_t most) MUST_CHECK;

/* All of it was given; trailers are request->reader.trailers. To be called for a request without a body, too. */
void exchange_body_end(struct exchange *exchange);

/* After a piece() that took less than all. */
void exchange_resume(struct exchange *exchange);

/* The owner has lost its client: cuts the upstream off. end() comes all the same, with HTTP_REFUSED_REQUEST_CUT. */
void exchange_cancel(struct exchange *exchange);

#endif
