/*
 * A channel of a session as a stream (net/stream.h), so that a relay uses it as it uses a socket.
 *
 * What comes in is lent as it lies in the session's input, without a copy (`borrow`, `consumed`). What is not taken before the
 * session's turn is over is copied and kept; only what was taken gives the peer new credit, so the peer's credit bounds
 * what is kept. What goes out is put into the session's output without a copy (`reserve`, `commit`), while the stream reports
 * that it is writable; a frame's worth a report.
 *
 * Past the session: large payloads, for an owner that sets `splices`, go from the session's socket into a pipe (`piped`), and not through this
 * process. The pipe is a place to keep them, too, within the same credit, and its bytes come first: nothing is put into it while anything
 * else is kept.
 *
 * Differences from a socket: when `failed` is set, by a report, neither direction carries
 * anything any more, bytes that came before are dropped, and `why` and `code` say what happened; all that is left to do is to
 * close it. When `gone` is set without it, the peer wants nothing more, and may still send: `code` is what it gave.
 *
 * Lifetimes: the owner embeds it. From channel_stream_open() until stream_close() the channel is its own. After the
 * close no report comes and the memory is the owner's, also from inside a report. The session_io outlives it.
 */
#ifndef POSTERN_FRAMED_CHANNEL_STREAM_H
#define POSTERN_FRAMED_CHANNEL_STREAM_H

#include "base/reason.h"
#include "framed/session_io.h"
#include "net/stream.h"

struct kept;

struct channel_stream {
    struct stream stream;
    struct channel *channel; /* NULL: closed */
    struct pipe *pipe; /* lent by the loop: what went past the session, before what is kept; NULL as a rule */
    struct kept *kept; /* owned: what was not taken; NULL as a rule */
    const uint8_t *piece; /* in the session's input, to be told of before the turn is over */
    uint32_t piece_length;
    uint32_t code;     /* what the peer gave, or the session's */
    uint8_t close_why; /* enum reason: what the peer is told if this is closed before its end */
    uint8_t why;       /* enum reason: once failed, or gone */
    bool ended : 1;    /* the peer sent its end */
    bool listed : 1;   /* in `due` or `again` of the session_io */
    bool listed_again : 1;
    bool splices : 1; /* set by the owner: what goes on from here may be spliced */
    bool asked : 1;   /* to be told, muted or not */
    TAILQ_ENTRY(channel_stream) link;
};

/* To be called from within the session's open(). Reports come from the loop. */
void channel_stream_open(struct channel_stream *stream, struct session_io *io, struct channel *channel,
                         stream_cb cb);

/* Takes the channel of `from` over, with all that has come and is not taken, also from inside a report of `from`; whose memory
 * is the owner's afterwards. A report follows. */
void channel_stream_adopt(struct channel_stream *stream, struct channel_stream *from, stream_cb cb);

/* The peer's OPEN is answered, once. `message` is for people, and is cut to what a frame takes; NULL: the reason's own words. */
void channel_stream_accept(struct channel_stream *stream);
void channel_stream_refuse(struct channel_stream *stream, enum reason why, const char *message);

/* What the peer is to be told by the stream_close() that follows, for each direction that has not come to its end. */
void channel_stream_give_up(struct channel_stream *stream, enum reason why);

#endif
