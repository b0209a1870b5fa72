/*
 * A relay: one stream through a `relay` route, to its end: from an accepted socket, or from a channel of a framed session.
 *
 *     [HELLO] -> DIALING -> OPEN -> HALF_CLOSED -> ENDED
 *
 *     TALKING -> DIALING -> TALKING -> HELLO -> OPEN ...     a tunnel
 *           \-> ENDED                                         or none: left()
 *
 * HELLO is there for routes that look at the ClientHello: the client's first bytes are kept until it is
 * whole, its name is judged, and they are replayed to the destination untouched. From OPEN on two flows
 * carry bytes, each direction ending by itself. Any state may go to ENDED, for one reason out of
 * base/reason.h.
 *
 * A tunnel leads where its client asks, in words of another protocol (CONNECT) that whoever starts the relay speaks with it
 * while it is TALKING. What comes after is a ClientHello that has to name the host that was asked for; not one byte of the
 * client's has gone to the destination before, and none of the destination's to the client.
 *
 * Lifetimes: the owner embeds the relay. relay_start() takes the descriptor over, whatever it returns.
 * From then on the owner hears opened() at most once, moved() whenever bytes were delivered, and ended()
 * exactly once, from the loop and never from inside relay_start() or relay_end(): the memory is then the
 * owner's again. The configuration outlives the relay. What only the opening needs (ClientHello, dial) is
 * one allocation, gone once the relay is open. The program ignores SIGPIPE: splice(2) cannot be told not
 * to raise it.
 */
#ifndef POSTERN_RELAY_RELAY_H
#define POSTERN_RELAY_RELAY_H

#include "base/compiler.h"
#include "base/reason.h"
#include "config/config.h"
#include "framed/channel_stream.h"
#include "net/loop.h"
#include "net/stream.h"
#include "relay/flow.h"
#include <netinet/in.h>
#include <stdint.h>

enum relay_state { RELAY_TALKING, RELAY_HELLO, RELAY_DIALING, RELAY_OPEN, RELAY_HALF_CLOSED, RELAY_ENDED };

struct relay;

struct relay_ops {
    void (*opened)(struct relay *relay, uint64_t connect_us);
    void (*moved)(struct relay *relay, uint64_t in, uint64_t out); /* bytes since it was last called */
    /* It has ended, and its sides are closed next: the time for the owner's books, since who is told of a free place
     * takes it. From wherever it was ended. See relay->why, ->detail and the flows. May be NULL. */
    void (*closing)(struct relay *relay);
    /* Of what was to be a tunnel, in place of closing(): its client, whose first bytes these are, does not ask for one. Takes
     * relay->client over, by sock_stream_adopt() or channel_stream_adopt(). False: there is no memory for that, and the relay
     * ends for it. NULL where there are no tunnels. */
    bool (*left)(struct relay *relay, const void *data, size_t size);
    void (*ended)(struct relay *relay); /* the memory is the owner's */
};

/* Of a tunnel: who speaks with the client while it is TALKING, over relay->client.stream. Embedded. */
struct relay_talk {
    const struct relay_talk_ops *ops;
};

struct relay_talk_ops {
    void (*ready)(struct relay_talk *talk, unsigned events); /* the client's stream, as of struct stream */
    /* What became of relay_tunnel_dial(). `detail` is for the log alone; NULL: none. */
    void (*dialed)(struct relay_talk *talk, enum reason why, const char *detail);
    void (*late)(struct relay_talk *talk); /* the client's time is up; it has as much again for an answer */
    void (*over)(struct relay_talk *talk); /* once: the tunnel is open, or the relay has ended */
};

/* What all relays of one worker share. */
struct relay_worker {
    struct loop *loop;
    struct flow_tools tools;
};

/* Whose stream it is, and what it goes by. */
struct relay_source {
    const struct config *config;
    const struct config_route *route;
    uint32_t asker; /* of struct resolve_request, for names that the client chooses */
};

struct relay {
    const struct relay_ops *ops;
    struct relay_worker *worker;
    const struct config *config;
    const struct config_route *route;
    uint32_t asker; /* of struct resolve_request, for names that the client chooses */
    enum relay_state state;
    enum reason why;   /* once ENDED, or once one side has failed */
    char *detail;      /* owned: what a failed opening tried, and what happened; NULL otherwise */
    char *server_name; /* owned: what the ClientHello named; NULL if none was read */
    char *asked;       /* owned: of a tunnel, where its client wanted to; NULL otherwise */
    struct sockaddr_in6 upstream_ip; /* or a sockaddr_in: where a tcp destination led; family 0 otherwise */
    union {
        struct stream stream; /* whichever it is */
        struct sock_stream sock;
        struct channel_stream channel;
    } client;
    bool framed;   /* the client is a channel */
    bool accepted; /* and its OPEN was answered */
    struct sock_stream upstream;
    struct flow in, out;          /* client to upstream, upstream to client */
    uint64_t moved_in, moved_out; /* of the flows' bytes, those told to moved() */
    uint64_t moved_at;            /* loop time of the last byte, or of the state's beginning */
    uint64_t started_at;
    uv_timer_t timer;
    struct opening *opening; /* until OPEN */
    struct relay_talk *talk; /* of a tunnel, until OPEN */
};

void relay_worker_init(struct relay_worker *worker, struct loop *loop);

/* Starts relaying the accepted `fd`, a socket of that kind. The source is copied. */
void relay_start(struct relay *relay, struct relay_worker *worker, const struct relay_ops *ops,
                 const struct relay_source *source, int fd, enum addr_kind kind);

/* The same for a stream that the peer of a session opened: to be called from within the session's open(), whose channel it
 * takes over. The peer's OPEN is answered when the destination is connected, or why it is not. */
void relay_start_channel(struct relay *relay, struct relay_worker *worker, const struct relay_ops *ops,
                         const struct relay_source *source, struct session_io *io, struct channel *channel);

/* The same for tunnels. The OPEN of a session's peer is answered at once. */
void relay_start_tunnel(struct relay *relay, struct relay_worker *worker, const struct relay_ops *ops,
                        const struct relay_source *source, int fd, enum addr_kind kind,
                        struct relay_talk *talk);
void relay_start_tunnel_channel(struct relay *relay, struct relay_worker *worker, const struct relay_ops *ops,
                                const struct relay_source *source, struct session_io *io,
                                struct channel *channel, struct relay_talk *talk);

/* What the talk does, in this order, from inside its calls: connects to a tcp address, which is copied; lets what the
 * client sends from `data` on be the tunnel's, having told the client so; or, at any time, ends the relay, having told the
 * client why; or, before all that, leaves the client, who said `data`, to another. After the last three, and after relay_end(), the
 * talk is over. */
void relay_tunnel_dial(struct relay *relay, const struct addr *to);
void relay_tunnel_open(struct relay *relay, const void *data, size_t size);
void relay_tunnel_part(struct relay *relay, enum reason why, const char *detail);
void relay_tunnel_leave(struct relay *relay, const void *data, size_t size);

/* Ends it from outside, for a reason of the caller's; also from inside opened() and moved(). Harmless when it
 * has ended. */
void relay_end(struct relay *relay, enum reason why);

/* Where the relay leads, for the log: the route's address, or the name that the ClientHello chose. */
const char *relay_destination(const struct relay *relay, char buffer[ADDR_TEXT_MAX]);

/* The IP address it was connected to, for the log; NULL when there is none. */
const char *relay_upstream_address(const struct relay *relay, char buffer[ADDR_TEXT_MAX]);

#endif
