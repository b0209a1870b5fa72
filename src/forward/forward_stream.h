/*
 * A connection or channel of an enclave to a `forward` route: HTTP/1.1 requests, one after the other, each judged by the route's
 * rules and handed to an exchange (exchange.h), or to the spool's intake (intake.h); the answer goes back.
 *
 *     WAITING -> RUNNING -> ANSWERED -> WAITING ...          keep-alive and pipelining
 *                                   \-> PARTING -> OVER      the last answer was written: heard out, then closed
 *
 * WAITING for a request, or for the rest of its head. RUNNING: the head was judged, body and answer stream, at the same time if
 * they like. ANSWERED: nothing is left of it but the last bytes of the answer, which the client is slow to take. PARTING: no more is
 * said, and what the client still sends is thrown away for a moment, since closing a socket with bytes unread would reset
 * it, and the answer with it.
 *
 * Of a `connect` route it is what speaks with a client that sends requests in absolute form, as http_proxy has it, and not CONNECT
 * (connect_stream.h): the route has neither rules nor an upstream of its own, and each request leads where it says, if the route's
 * `hosts` have it (proxy.h). Connections to these upstreams are not kept.
 *
 * One request at a time: the next one is not read before the answer to the last one is out. So the client's own socket, or
 * its credit, holds what it sends ahead.
 *
 * After a refusal, and after an answer that came before the request was read to its end, the connection is closed. An answer that
 * breaks in the middle ends with a reset: nobody takes it for a whole one. A client that ends its side after a whole request
 * is answered; one that is gone has its exchange cancelled.
 *
 * Memory: while nothing is under way, this struct alone. Else what was read and the upstream does not take, at most
 * FORWARD_READ bytes, and what the client does not take, at most FORWARD_HELD bytes and a head.
 *
 * Time: a head has the route's head_timeout (hello_timeout of a connect route), from its first byte on; a client that neither sends what is expected nor takes what
 * is there for it has idle_timeout, and so has one that sends no next request. How long the upstream may take is the exchange's.
 *
 * Lifetimes: as a relay's (relay/relay.h). The owner embeds it, and hears ended() exactly once, from the loop and never from
 * inside of a function of this header: the memory is then the owner's again.
 */
#ifndef POSTERN_FORWARD_FORWARD_STREAM_H
#define POSTERN_FORWARD_FORWARD_STREAM_H

#include "base/compiler.h"
#include "base/reason.h"
#include "config/config.h"
#include "forward/exchange.h"
#include "forward/ids.h"
#include "forward/intake.h"
#include "framed/channel_stream.h"
#include "http/body.h"
#include "http/request.h"
#include "http/values.h"
#include "net/loop.h"
#include "net/stream.h"
#include <stdbool.h>
#include <stdint.h>

#define FORWARD_READ      65536u /* bytes at a time from the client */
#define FORWARD_HELD      65536u /* of the answer's body, that the client does not take */
#define FORWARD_PART_MS   5000u
#define FORWARD_PART_TURN 1048576u

struct forward_stream;

/* One request, over: for the log and the metrics. Good until told() returns. */
struct forward_told {
    const char *id;
    struct http_span method, path; /* empty: the head did not come whole */
    struct http_span host;         /* of a request in absolute form to a connect route, as sent; else empty */
    unsigned status;               /* what the client was told; 0: nothing */
    enum http_refusal why;         /* HTTP_REFUSED_NONE: it was answered, by the upstream, or with 202 */
    const char *detail;            /* NULL: there is none */
    unsigned retry_after_s;        /* the client is told so; 0: it is not */
    bool cut;                      /* the answer broke in the middle */
    bool kept;                     /* by the spool, under: */
    uint64_t kept_id;
    bool reached; /* an upstream may have seen it; then: */
    const struct exchange *exchange;
    const char *code;           /* AWS's: of struct exchange_end */
    uint64_t body_in, body_out; /* bytes */
    uint64_t duration_us;       /* from the head's last byte to the answer's */
};

struct forward_stream_ops {
    void (*moved)(struct forward_stream *forward, uint64_t in, uint64_t out); /* bytes, heads and all */
    void (*told)(struct forward_stream *forward, const struct forward_told *told);
    void (*ended)(struct forward_stream *forward); /* see forward->why */
};

/* Whose requests they are, and where they go. All of it outlives the stream. */
struct forward_source {
    struct forward_worker *worker;
    struct forward_spool *spool;
    struct forward_ids *ids;
    const struct config *config;
    const struct config_route *route;
    const char *enclave; /* NULL: nobody's */
    uint32_t cid;
    uint32_t asker; /* of struct resolve_request, for names that the client chooses */
};

enum forward_state {
    FORWARD_WAITING,
    FORWARD_RUNNING,
    FORWARD_ANSWERED,
    FORWARD_PARTING,
    FORWARD_OVER,
};

struct forward_stream {
    const struct forward_stream_ops *ops;
    struct forward_source from;
    struct loop *loop;
    union {
        struct stream stream; /* whichever it is */
        struct sock_stream sock;
        struct channel_stream channel;
    };
    bool framed; /* it is a channel */
    bool open;   /* the stream is */
    enum forward_state state;
    enum reason why; /* once it is over */
    uv_timer_t timer;
    uint64_t timer_at;
    uint64_t started_at, moved_at;
    uint64_t head_by;   /* loop time; 0: nothing of a head has come */
    uint64_t parted_at; /* PARTING */
    uint64_t requests, bytes_in, bytes_out;

    /* What came. `in` is in the loop's scratch memory within a turn, and in `held` beyond it. */
    struct http_span in;
    size_t piece;  /* of `in`, the first bytes: of the body, as judged */
    char *held;    /* owned; NULL as a rule */
    bool readable; /* a read may find something */
    bool bulk;     /* reads come full: what there is of a long body is spliced, if it can be */
    bool heard;    /* the client's end */
    bool draining;

    /* The request that is under way. */
    struct http_request request;
    struct http_values values;
    union {
        struct exchange exchange;
        struct intake intake;
    };
    struct exchange_plain *plain; /* owned: where the exchange leads, on a connect route; else NULL */
    bool running;                 /* one of the two is */
    bool spooled;                 /* it is the intake */
    bool cancelled;               /* and it was told so */
    bool wants;                   /* it takes more of the body */
    bool body_over;               /* all of it was read and given */
    bool answered;                /* its head went out, or at least into `out` */
    bool last;                    /* no request follows */
    bool lost;                    /* there is nobody to answer any more */
    enum reason lost_why;
    enum http_refusal refused; /* what ends it, when the exchange has ended; NONE: nothing so far */
    const struct http_response *response;
    unsigned status;
    uint64_t begun_ns, body_in, body_out;
    char id[FORWARD_ID_SIZE];

    /* What goes back: out.data[out_at..length). */
    struct text out;
    size_t out_at;
    struct http_body_out body;
    bool stuck; /* the exchange has more, and waits to be told to go on */
};

/* Takes over an accepted socket. */
void forward_stream_start(struct forward_stream *forward, const struct forward_source *from,
                          const struct forward_stream_ops *ops, int fd, const struct sock_kind_options *kind);

/* The same for a stream that the peer of a session opened: to be called from within the session's open(), whose channel it
 * takes over. */
void forward_stream_start_channel(struct forward_stream *forward, const struct forward_source *from,
                                  const struct forward_stream_ops *ops, struct session_io *io,
                                  struct channel *channel);

/* The same for a client who was heard by another first, and said `data`: takes over the stream that it is. 0; or -ENOMEM: it was not
 * taken, and the memory is the owner's. */
struct forward_heard {
    struct sock_stream *sock;       /* of that kind; NULL: a channel */
    struct channel_stream *channel; /* accepted */
    struct sock_kind_options kind;
    const void *data;
    size_t size;
};
int forward_stream_take(struct forward_stream *forward, const struct forward_source *from,
                        const struct forward_stream_ops *ops, const struct forward_heard *heard) MUST_CHECK;

/* The daemon drains: what is under way is finished, and the client told to send no more. */
void forward_stream_drain(struct forward_stream *forward);

/* Ends it from outside, and cuts what is under way. Harmless when it is over. */
void forward_stream_end(struct forward_stream *forward, enum reason why);

#endif
