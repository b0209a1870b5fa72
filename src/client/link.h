/*
 * One socket with a session on it, from the first packet to the last. A connection has one that takes
 * streams, and perhaps older ones whose streams finish.
 *
 *     ATTEMPT -> SESSION -> CLOSING -> DEAD
 *
 * CLOSING: the session is over, what it still said is written, and the socket is read to its end, for a
 * while, since closing one that has unread bytes may take back what was written. A dead link is freed by
 * connection_process() alone, when its channels are released and nobody is sending on it: while the lock is
 * let go for a system call, `sending` and the one thread of connection_process() keep a link, its descriptor
 * and its buffer where they are. What was lent for that call goes back before the lock is let go again.
 */
#ifndef POSTERN_CLIENT_LINK_H
#define POSTERN_CLIENT_LINK_H

#include "client/connection.h"
#include "net/attempt.h"

#include <sys/queue.h>

#define LINK_NEVER CONNECTION_NEVER

TAILQ_HEAD(loans, connection_loan);

enum link_state { LINK_ATTEMPT, LINK_SESSION, LINK_CLOSING, LINK_DEAD };

struct link {
    struct connection *connection;
    TAILQ_ENTRY(link) entry;
    enum link_state state;
    struct attempt attempt;
    int fd;                  /* owned; -1 during the attempt, and once a dead link was shed */
    int watched_fd;          /* in the connection's epoll set; -1: none */
    uint32_t watched;        /* for these events */
    uint64_t deadline;       /* of the attempt, or of closing; LINK_NEVER */
    uint64_t ready_at;       /* when the session began to take streams; 0: not yet */
    struct session *session; /* owned; NULL during the attempt */
    bool sending;            /* a thread is at it, and goes on until there is nothing left */
    bool abandoned;          /* the attempt is for nothing */
    bool blocked;            /* the socket takes no more for now */
    bool mute;               /* nor will it ever */
    size_t out_at, out_end;  /* what is still to be written of `out` */
    size_t out_max;          /* bytes at once */
    uint8_t *out;            /* owned; NULL once a dead link was shed */
    struct loans loans;      /* whose bytes are being written */
};

/* -ENOMEM. It does nothing until link_begin(). */
int link_new(struct connection *connection, struct link **ret) MUST_CHECK;
void link_free(struct link *link);

/* It is dead, and nobody has anything of it any more: not a sender, nor a user who has not released a
 * channel yet. */
bool link_is_done(const struct link *link);

/* Users may keep a dead one for as long as they like: it gives back what they do not need of it. */
void link_shed(struct link *link);

/* Sets out. May let the lock go, and wait for the resolver. */
void link_begin(struct link *link);

void link_on_ready(struct link *link, uint32_t events); /* of epoll */
void link_tick(struct link *link, uint64_t now);
void link_flush(struct link *link);
uint64_t link_next_deadline(const struct link *link);

/* Its session is over: from now on it has a little time to say so. */
void link_on_end(struct link *link);

/* What to do about an other end that never said HELLO, by the code of the session's end. */
const char *link_greeting_advice(uint32_t code);

/* Streams finish, no new ones come. */
void link_drain(struct link *link, uint32_t deadline_ms);

#endif
