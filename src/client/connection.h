/*
 * The client's side of a framed connection: a descriptor to watch, and a function to call. Never waits, has
 * no thread, and needs libc, the session core and the sockets of src/net, but no loop.
 *
 *     descriptor readable, or timeout over ----> connection_process() ----> events
 *     connection_open(), channel_*() ----------> connection_flush()   ----> bytes to the daemon
 *
 * A connection outlives its sessions. When one is lost (its channels get `failed`, then `down` is told), or
 * the daemon is going away, the next connection_open() or connection_connect() asks for another, which is
 * made no sooner than the backoff allows. While an old session lets its streams finish, the new ones go to
 * a new session.
 *
 * Rules for the caller, beside those of session.h for channels:
 * - Events come from connection_process(), connection_read() and connection_flush() alone. An event may call anything of
 *   channel.h, and anything here but those three and connection_free().
 * - After channel_*(), connection_open(), _ping() or _drain() outside of an event, call connection_flush().
 * - A channel is released by its user, as channel.h says; after `failed` and `refused` too.
 *
 * What comes in lies in blocks. An event that cannot deal with all the bytes at once copies them, or keeps
 * the block (block.h): connection_block().
 *
 * Threads. With `lock` and `unlock` in the configuration several threads may use one connection: every
 * function is called with the lock held, events come with it held, and it is let go only around system
 * calls. One thread at a time reads: it is in connection_process() or connection_read(). For when none does
 * there is the keeper, a thread that sleeps in connection_watch(). While the guard is on it hears of what
 * comes and of what is due, and calls connection_process(); while it is off, whoever reads does.
 */
#ifndef POSTERN_CLIENT_CONNECTION_H
#define POSTERN_CLIENT_CONNECTION_H

#include "base/error.h"
#include "client/block.h"
#include "net/addr.h"
#include "session/session.h"

#include <sys/queue.h>

#define CONNECTION_NEVER UINT64_MAX

struct connection;

/* How connecting failed, or why a session is over. Valid during the event. */
struct connection_loss {
    int status;    /* a negative errno value; -ECONNABORTED: the connection was there, and `code` says more */
    uint32_t code; /* enum code, or a reason's; CODE_NO_ERROR: both sides were done */
    const char *message; /* what was tried, on what, why it failed, what to do */
};

/* Bytes that a `lend` event gave: while it is `out` a thread is writing them, so they must stay as they are. It is so only while the
 * lock is let go: where there is one thread, nobody ever sees it. */
struct connection_loan {
    TAILQ_ENTRY(connection_loan) entry;
    bool out;
};

struct connection_events {
    /* What channels are told, with session.h's meaning. `open`, `ready`, `streams`, `going_away`, `pong`,
     * `ended` are the connection's own, and NULL here. */
    struct session_events channel;

    /* connection_open() may succeed: a session is there, or takes streams again. */
    void (*ready)(struct connection *connection);

    /* No session takes streams any more, or none could be had. It is not tried again before
     * connection_open() or connection_connect() is called, from here if need be. */
    void (*down)(struct connection *connection, const struct connection_loss *loss);

    /* The answer to connection_ping(). */
    void (*pong)(struct connection *connection, uint64_t microseconds);

    /* What connection_lend() was told of is not needed any more. May be NULL if that is never called. */
    void (*returned)(struct connection_loan *loan);
};

struct connection_config {
    struct session_config
        session; /* `role` and `hash_seed` are seen to, and handshake_timeout is what is left of connect_timeout */
    uint32_t connect_timeout; /* ms, from the first packet to the daemon's HELLO; not of getaddrinfo() */

    /* ms before the second try, at most; doubled by each failure up to the maximum. What is waited is chosen
     * between half of it and the whole, so that not all clients come back at once. */
    uint32_t backoff_min, backoff_max;

    void (*lock)(void *user); /* NULL: one thread */
    void (*unlock)(void *user);
};

void connection_config_default(struct connection_config *config);

/* Makes one, that does nothing yet. `config` and `events` are copied. 0, -EINVAL (an enclave's name as the
 * CID, say), -ENOMEM, -EMFILE, ... with a text. */
int connection_new(const struct addr *to, const struct connection_config *config,
                   const struct connection_events *events, void *user, struct connection **ret,
                   struct error *err) MUST_CHECK;

/* Closes what is there, and frees it with all channels, without an event. In a child process that inherited it, too, where it
 * leaves the connection to who made it. NULL is let pass. */
void connection_free(struct connection *connection);

/* Has the other side see the end of what is there, whoever else has the sockets: for the process that made it, before
 * connection_free(). */
void connection_cut(struct connection *connection);

void *connection_user(const struct connection *connection);

/* The descriptor to watch for being readable (POLLIN, EPOLLIN level-triggered): the same from beginning to
 * end. */
int connection_fd(const struct connection *connection);

/* Milliseconds until connection_process() wants to be called though nothing is readable; -1: never. Ask
 * anew after anything was called. */
int connection_timeout(const struct connection *connection);

/* Does what there is to do, after waiting for it for at most `wait_ms` (0: not at all; -1: however long). */
void connection_process(struct connection *connection, int wait_ms);

/* The same, but leaves it to connection_process() to begin to connect, which may take until a name is resolved. */
void connection_read(struct connection *connection, int wait_ms);

/* The user's own deadline, in ms: connection_process() wants to be called then, too. CONNECTION_NEVER: none, as at first. */
void connection_set_alarm(struct connection *connection, uint64_t at);

/* Writes what sessions have to say. */
void connection_flush(struct connection *connection);

/* Sees to it that there will be a session, if there is none and none is being made. */
void connection_connect(struct connection *connection);

/* Whether there is a session that takes streams. */
bool connection_is_ready(const struct connection *connection);

/* Opens a stream, as session_open() does. -EAGAIN: not now, `ready` will tell, or `down`; -ESHUTDOWN:
 * connection_drain() was called; -EINVAL, -ENOMEM. */
int connection_open(struct connection *connection, const struct control_open *open, void *user,
                    struct channel **ret) MUST_CHECK;

/* From within a `lend` event: what was lent, until it is returned. More may be added to it meanwhile. */
void connection_lend(const struct channel *channel, struct connection_loan *loan);

/* Asks the daemon to answer; `pong` tells. False: there is no session. If one is under way, its answer
 * counts. */
bool connection_ping(struct connection *connection) MUST_CHECK;

/* Opens no more streams, lets those there are finish; after `deadline_ms` (0: never) it ends all the same.
 * connection_process() has to go on being called until connection_is_over(). */
void connection_drain(struct connection *connection, uint32_t deadline_ms);
bool connection_is_over(const struct connection *connection);

/* The block that the bytes of the present `data` event lie in, with a reference for the caller:
 * block_release() it, before connection_free(). NULL: blocks that are kept take up the whole budget
 * already, copy instead. */
struct block *connection_block(struct connection *connection);

/* ---- Of several threads ---- */

/* Has whoever waits in connection_read(), or the keeper if the guard is on, look again. */
void connection_wake(struct connection *connection);

/* It is on at first. Of no meaning for one thread. */
void connection_guard(struct connection *connection, bool on);

/* The keeper's: waits until connection_process() wants to be called while the guard is on. May come back early. */
void connection_watch(struct connection *connection);

#endif
