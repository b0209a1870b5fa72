/* Connecting: see attempt.h. */
#include "net/attempt.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What the kernel may hold for us in each direction; its default, 256 KiB, is what bounds a fast stream. */
#define VSOCK_BUFFER (UINT64_C(1) << 20)

static void drop_socket(struct attempt *attempt)
{
    if (attempt->fd >= 0) {
        close(attempt->fd);
    }
    attempt->fd = -1;
    attempt->greeting_begun = false;
}

void attempt_end(struct attempt *attempt)
{
    drop_socket(attempt);
    if (attempt->found) {
        freeaddrinfo(attempt->found);
    }
    attempt->found = attempt->next = NULL;
}

static int fail(struct attempt *attempt, int code, struct error *err)
{
    char text[ADDR_TEXT_MAX];

    const char *hint =
        code == -EACCES
            ? "the permissions of the socket, or of a directory on the way to it, keep this user out"
            : attempt->hint;

    return error_set(err, code, "cannot connect to %s: %s; %s", addr_format(&attempt->to, text),
                     sock_connect_words(attempt->to.kind, code), hint);
}

/* Connected: the stream is there, unless a greeting comes first. */
static int greet(struct attempt *attempt)
{
    if (attempt->to.kind != ADDR_HYBRID) {
        return 0;
    }
    if (!attempt->greeting_begun) {
        hybrid_greeting_init(&attempt->greeting, attempt->to.port);
    }
    attempt->greeting_begun = true;
    return hybrid_greeting_step(&attempt->greeting, attempt->fd);
}

/* A full backlog of a unix socket is -EAGAIN, and cannot be waited for. */
static int dial(struct attempt *attempt, const struct sockaddr_any *to)
{
    bool pending;
    int fd = sock_connect(to, &attempt->options, &pending);

    if (fd < 0) {
        return fd == -EAGAIN ? -ECONNREFUSED : fd;
    }
    attempt->fd = fd;
    attempt->sockets++;
    return pending ? -EAGAIN : greet(attempt);
}

/* The next of the name's addresses, and the one after it if that fails at once. */
static int dial_next(struct attempt *attempt, int status)
{
    while (status != 0 && status != -EAGAIN && attempt->next) {
        struct sockaddr_any to = {.length = attempt->next->ai_addrlen};

        memcpy(&to.u, attempt->next->ai_addr, to.length);
        attempt->next = attempt->next->ai_next;
        drop_socket(attempt);
        status = dial(attempt, &to);
    }
    return status;
}

static int look_up(struct attempt *attempt, struct error *err)
{
    const struct addrinfo wanted = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    char text[ADDR_TEXT_MAX], port[16];
    int code;

    snprintf(port, sizeof port, "%u", attempt->to.port);
    code = getaddrinfo(attempt->to.host, port, &wanted, &attempt->found);
    if (code != 0) {
        return error_set(err, code == EAI_MEMORY ? -ENOMEM : -EHOSTUNREACH,
                         "cannot connect to %s: the name was not found (%s); give an address instead",
                         addr_format(&attempt->to, text), gai_strerror(code));
    }
    attempt->next = attempt->found;
    return 0;
}

static int done(struct attempt *attempt, int status, struct error *err)
{
    status = dial_next(attempt, status);
    return status == 0 || status == -EAGAIN ? status : fail(attempt, status, err);
}

int attempt_begin(struct attempt *attempt, const struct addr *to, uint32_t timeout_ms, const char *hint,
                  struct error *err)
{
    struct sockaddr_any at;
    int status;

    *attempt = (struct attempt){
        .to = *to,
        .hint = hint,
        .options = {.vsock_buffer_size = VSOCK_BUFFER, .connect_timeout_ms = timeout_ms},
        .fd = -1,
    };
    if (to->kind == ADDR_TCP && !to->literal) {
        status = look_up(attempt, err);
        return status == 0 ? done(attempt, -EHOSTUNREACH, err) : status;
    }
    status = addr_to_sockaddr(to, false, &at);
    return done(attempt, status == 0 ? dial(attempt, &at) : status, err);
}

int attempt_step(struct attempt *attempt, struct error *err)
{
    int status = attempt->greeting_begun ? 0 : sock_outcome(attempt->fd);

    return done(attempt, status == 0 ? greet(attempt) : status, err);
}

int attempt_fd(const struct attempt *attempt)
{
    return attempt->fd;
}

short attempt_wants(const struct attempt *attempt)
{
    return attempt->greeting_begun ? POLLIN : POLLOUT;
}

int attempt_take(struct attempt *attempt)
{
    int fd = attempt->fd;

    attempt->fd = -1;
    return fd;
}
