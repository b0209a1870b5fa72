/*
 * What the files of the session share. Nobody else includes this but tests.
 *
 * A session owns its channels. Each is in the table from its first to its last moment, and besides in at most one place
 * of each of these: the control list (it has frames other than DATA to send), the ready list (it has DATA to send
 * and may), one of the timer lists. What is to be sent is state, not a queue of frames: a bit for each kind of frame
 * a channel owes. So nothing that a peer does can make output pile up.
 *
 * A channel ends through channel_settle() alone: once it is released, both directions are over and it owes no
 * frame, it goes to the dead list, which is emptied when no caller's frame can still refer to it, at the end of
 * session_receive() and its like.
 */
#ifndef POSTERN_SESSION_SESSION_PRIVATE_H
#define POSTERN_SESSION_SESSION_PRIVATE_H

#include "session/frame.h"
#include "session/session.h"
#include "session/table.h"

#include <sys/queue.h>

#define TURN         16384u /* bytes of DATA a channel sends before the next has its turn */
#define SMALL_GRANT  512u   /* a smaller rise of a window than this is noise */
#define NOISE_EARNED 4u     /* tokens that a stream brings for the frames that may cross with its end */

enum pending {
    PENDING_OPEN = 1 << 0,
    PENDING_OPENED = 1 << 1,
    PENDING_REFUSED = 1 << 2,
    PENDING_CREDIT = 1 << 3,
    PENDING_STOP = 1 << 4,
    PENDING_RESET = 1 << 5,
};

/* What a channel is waiting for; the first that applies. */
enum timer {
    TIMER_STOP,     /* the peer was asked to stop, or refused, and has not ended its direction */
    TIMER_OPEN,     /* the answer to OPEN */
    TIMER_PROGRESS, /* credit from the peer, or the application to consume what it holds */
    TIMER_HALF,     /* one direction is over: anything from the other */
    TIMER_COUNT,
    TIMER_NONE = TIMER_COUNT,
};

struct channel {
    struct session *session;
    void *user;
    struct channel *next_in_bucket;
    TAILQ_ENTRY(channel) control_link; /* or in the dead list */
    TAILQ_ENTRY(channel) ready_link;
    TAILQ_ENTRY(channel) timer_link;
    uint64_t sent, send_max;
    uint64_t received, receive_max;
    uint64_t consumed;   /* of `received`; what was dropped counts as consumed */
    uint64_t granted_at; /* when receive_max last rose */
    uint64_t timer_since;
    uint8_t *payload; /* owned: of OPEN or REFUSED, until it was sent */
    uint16_t payload_length;
    uint8_t pending; /* enum pending */
    uint8_t timer;
    uint32_t id;
    uint32_t window; /* bytes in the peer's hands or in the application's, at most */
    uint32_t stop_code, reset_code;
    bool own : 1;       /* opened by us */
    bool answered : 1;  /* OPENED or REFUSED was decided upon, or came */
    bool send_over : 1; /* FIN was sent, or RESET or REFUSED is or will be */
    bool receive_over : 1;
    bool discard : 1; /* what comes in is dropped */
    bool stop_received : 1;
    bool wants : 1;     /* the application has something to send */
    bool ready : 1;     /* in the ready list */
    bool stalled : 1;   /* wants, and the peer gives no credit */
    bool finishing : 1; /* the end is to follow what was sent */
    bool retryable : 1; /* of REFUSED */
    bool silent : 1;    /* no event is to come any more */
    bool released : 1;
    bool dead : 1;
};

TAILQ_HEAD(channel_list, channel);

enum phase { PHASE_PREFACE, PHASE_HELLO, PHASE_RUNNING, PHASE_ENDING, PHASE_OVER };

enum goaway {
    GOAWAY_NONE,
    GOAWAY_WARN,    /* the warning is to be sent */
    GOAWAY_BARRIER, /* it was sent: a PING after it brings the certainty that no more OPEN is under way */
    GOAWAY_FINAL,   /* the final one is to be sent */
    GOAWAY_SENT,
};

enum session_pending {
    OWES_PONG = 1 << 0,
    OWES_PING = 1 << 1,
    OWES_MAX_DATA = 1 << 2,
    OWES_MAX_STREAMS = 1 << 3,
    OWES_FATAL = 1 << 4, /* the GOAWAY that ends it */
};

struct session {
    struct session_config config;
    const struct session_events *events;
    void *user;
    uint64_t now;
    bool busy;    /* within one of the functions that events come from */
    bool yielded; /* an event wants session_receive() to stop */
    enum phase phase;
    uint8_t preface_seen;
    bool hello_sent;
    struct control_hello peer;

    struct table table;
    struct channel *spare; /* so that a stream can be refused when memory ran out */
    uint32_t own_opened, own_sent, own_allowed, own_live; /* sent: the OPEN is out */
    uint32_t peer_opened, peer_allowed, peer_gone;        /* gone: released and over */
    bool told_no_streams;                                 /* session_open() said -EAGAIN: `streams` is owed */

    uint64_t sent, send_max;
    uint64_t received, receive_max, consumed;
    uint32_t reserve;              /* bytes that each stream may always have */
    uint64_t shared, shared_given; /* bytes that windows may grow by, of all streams, and that they have */
    uint32_t holders;              /* channels with a share in that */
    uint64_t blocked_since;        /* sending waits for session credit; SESSION_NEVER: it does not */

    struct channel_list control, ready, dead;
    struct channel_list timers[TIMER_COUNT];
    uint32_t turn; /* bytes left of the turn of the first in `ready` */

    uint8_t owes; /* enum session_pending */
    uint8_t pong[8];
    uint64_t ping_number; /* of the next PING, or of the one under way */
    bool ping_under_way;
    uint64_t ping_at, pong_by, ping_sent_at, rtt;
    uint64_t rtt_least; /* SESSION_NEVER: there was none yet */

    enum goaway goaway;
    bool peer_warned, peer_final;
    uint32_t peer_last;
    uint64_t barrier; /* the first PING after the warning */
    uint64_t drain_by;
    uint64_t started_at;
    uint64_t frame_since, frame_watched; /* when the frame that is not whole began, and its number */

    struct limit opens, resets, pings, noise;

    struct session_stats stats;
    struct session_end end;
    char end_text[CONTROL_MESSAGE_MAX + 1];

    struct frame_reader reader;
};

/* session.c */
void session_fail(struct session *session, struct breach breach);
void session_finish(struct session *session, uint32_t code, bool by_peer, struct control_text text);
void session_enter(struct session *session, uint64_t now);
void session_leave(struct session *session);
void session_bury(struct session *session); /* frees the dead list */

/* Whether nothing is left to do, and no stream can come any more: our GOAWAY was sent, or the peer's final one came and
 * ours needs no barrier. */
bool session_is_done(const struct session *session);

/* Owes a MAX_STREAMS if there is more to allow and the peer may soon need it. */
void session_offer_streams(struct session *session);

/* Streams that the peer was not told of yet, and now must not be. */
void session_fail_unsent(struct session *session);

/* Whether session_open() refused for want of credit, and would no more. */
bool session_owes_streams(const struct session *session);

static inline bool session_running(const struct session *session)
{
    return session->phase == PHASE_RUNNING;
}

/* The highest id the peer has used; 0: none. */
uint32_t session_last_peer_id(const struct session *session);
static inline bool session_is_own_id(const struct session *session, uint32_t id)
{
    return (id & 1) == (session->config.role == SESSION_CLIENT);
}

/* channel.c */
struct channel *channel_new(struct session *session, uint32_t id, bool own);
void channel_owe(struct channel *channel, unsigned frames);
void channel_schedule(struct channel *channel);
void channel_unschedule(struct channel *channel);
void channel_fail(struct channel *channel, uint32_t code, bool retryable);
void channel_settle(struct channel *channel);
void channel_cut(struct channel *channel);                /* without a frame: the session is over */
void channel_drop(struct channel *channel, size_t bytes); /* came in, and nobody wants it */

/* window.c */
void window_open(struct channel *channel);
void window_consumed(struct channel *channel, uint64_t bytes);
void window_close(struct channel *channel); /* no more credit will be given */
void window_release(struct channel *channel);

/* Whether a grant is worth a frame that something else goes along with. */
bool window_is_due(const struct channel *channel);

/* Sets receive_max for the MAX_STREAM_DATA that is sent now; false: none is due, since the window shrank. */
bool window_grant(struct channel *channel) MUST_CHECK;

/* timer.c */
void timer_update(struct channel *channel, bool progress);
void timer_stop(struct channel *channel);
void timer_run(struct session *session);

/* receive.c, receive_stream.c */
void receive_stream_frame(struct session *session, const struct frame *frame);
void receive_data(struct session *session, const struct frame *frame);
struct channel *
receive_expects(const struct session *session); /* of the frame that has begun; NULL: nobody */
void receive_skip(struct channel *channel, size_t length);
void receive_breach(struct session *session, enum code code, const char *text);
void receive_noise(struct session *session);

#endif
