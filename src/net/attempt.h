/*
 * One try to connect, without a loop and without waiting: on `hybrid` with the greeting. A tcp name may have several
 * addresses, which are tried one after another.
 *
 *     attempt_begin() -> -EAGAIN: wait until attempt_fd() is ready for attempt_wants(), then
 *     attempt_step()  -> -EAGAIN: the same again, the descriptor may be another
 *                     -> 0: attempt_take() is the connection; or why it failed
 */
#ifndef POSTERN_NET_ATTEMPT_H
#define POSTERN_NET_ATTEMPT_H

#include "base/error.h"
#include "net/addr.h"
#include "net/hybrid.h"
#include "net/sock.h"

struct addrinfo;

struct attempt {
    struct addr to;
    const char *hint; /* what to look at if it fails */
    struct sock_options options;
    int fd;           /* owned; -1: none */
    unsigned sockets; /* so far: a new one may have its predecessor's number */
    bool greeting_begun;
    struct hybrid_greeting greeting;
    struct addrinfo *found, *next; /* owned; of a name */
};

/* Waits for nobody, but for the resolver where `to` is a name. The error's text is whole, and ends with `hint`, which outlives
 * the attempt. */
int attempt_begin(struct attempt *attempt, const struct addr *to, uint32_t timeout_ms, const char *hint,
                  struct error *err) MUST_CHECK;
int attempt_step(struct attempt *attempt, struct error *err) MUST_CHECK;

int attempt_fd(const struct attempt *attempt);
short attempt_wants(const struct attempt *attempt); /* POLLIN or POLLOUT */

/* The connected descriptor, the caller's from now on. */
int attempt_take(struct attempt *attempt);

/* Gives back what it holds. To be called in the end, however that was; twice does no harm. */
void attempt_end(struct attempt *attempt);

#endif
