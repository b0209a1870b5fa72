/*
 * Streams as the daemon knows them: a raw connection, or a stream of a session, to a route of any type. From
 * admission to the books at the end, the same for all: counters, and one line in the log.
 */
#ifndef POSTERN_DAEMON_STREAMS_H
#define POSTERN_DAEMON_STREAMS_H

#include "daemon/caller.h"
#include "daemon/log_stream.h"
#include "daemon/time_stream.h"
#include "daemon/worker.h"
#include "forward/forward_stream.h"
#include "framed/session_io.h"
#include "relay/relay.h"
#include "session/control.h"

/* One allocation, from admission to the end, as large as its type needs. */
struct stream_record {
    struct job job; /* the way to another worker */
    struct worker *worker;
    struct rules *rules; /* one reference */
    unsigned listener;   /* ids in those rules */
    unsigned route;
    enum config_type
        type; /* the route's; of a connect route with requests instead of a tunnel CONFIG_FORWARD */
    struct caller caller;
    uint64_t session; /* its number; 0: a raw connection */
    int fd;           /* of a raw connection, until it begins */
    bool opened;      /* of a session: the peer was told OPENED */
    LIST_ENTRY(stream_record) link;
    union { /* to the end of the one that it is */
        struct relay relay;
        struct log_stream log;
        struct time_stream time;
        struct forward_stream forward;
    };
};

/* Where a stream comes from, and where it is to go. */
struct stream_request {
    struct rules *rules;
    unsigned listener;
    int route; /* id; CONFIG_NO_ROUTE: what the caller named is none, or not for it */
    const struct caller *caller;
    uint64_t session;
};

/* Takes a place for it on a worker: REASON_NONE and the record, or why not. Counts nothing when it fails. */
enum reason stream_admit(struct worker *worker, const struct stream_request *request,
                         struct stream_record **ret) MUST_CHECK;

/* Begins with the accepted socket, on its worker: at once if that is `here`. */
void stream_begin_socket(struct stream_record *record, struct worker *here, int fd);

/* Begins with the channel, from within the session's open(). The record is on the session's worker. */
void stream_begin_channel(struct stream_record *record, struct session_io *io, struct channel *channel,
                          const struct control_open *open);

/* Counts and logs a stream that was not admitted. `peer` and `asked`, the route that the caller named, may be NULL. */
void stream_refused(struct worker *worker, const struct stream_request *request, enum reason why,
                    const char *peer, const struct control_text *asked);

/* The same of one to a route that does not take its kind of stream, which no reason is for. */
void stream_refused_for_kind(struct worker *worker, const struct stream_request *request);

/* The fields that every line about it has: whose it is, and its way. */
void stream_log_whose(const struct stream_record *record, struct log_line *line);

/* Worker's thread, all of its streams. They end later, from the loop. */
void streams_end(struct worker *worker);

/* Tells those that would go on forever that the daemon drains. */
void streams_drain(struct worker *worker);

#endif
