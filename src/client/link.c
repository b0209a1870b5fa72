/* One socket with a session on it: see link.h. */
#include "client/link.h"
#include "client/clock.h"
#include "client/connection_private.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

#define HINT          "is posternd running, and this its framed listener?"
#define OUT_SIZE      65536u
#define OUT_TCP       (4 * OUT_SIZE + 4096u)
#define OUT_VSOCK     31744u /* some kernels corrupt larger ones */
#define PIECES        33u    /* so many at once */
#define CLOSING_MS    2000u
#define READS_AT_ONCE 4 /* before others have their turn */
#define SENDS_AT_ONCE \
    32 /* the same; and a thread that has written its own does not go on for ever for others */

/* Bytes to be written at once. */
static size_t out_size(enum addr_kind kind)
{
    return kind == ADDR_TCP ? OUT_TCP : kind == ADDR_VSOCK ? OUT_VSOCK : OUT_SIZE;
}

int link_new(struct connection *connection, struct link **ret)
{
    struct link *link = calloc(1, sizeof(*link));
    size_t out_max = out_size(connection->to.kind);
    uint8_t *out = malloc(out_max);

    if (!link || !out) {
        free(link);
        free(out);
        return -ENOMEM;
    }
    *link = (struct link){
        .connection = connection,
        .attempt.fd = -1,
        .fd = -1,
        .watched_fd = -1,
        .deadline = LINK_NEVER,
        .out_max = out_max,
        .out = out,
    };
    TAILQ_INIT(&link->loans);
    *ret = link;
    return 0;
}

void link_free(struct link *link)
{
    attempt_end(&link->attempt);
    if (link->fd >= 0) {
        close(link->fd);
    }
    session_free(link->session);
    free(link->out);
    free(link);
}

static int watch(struct link *link, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = link};
    int command = link->watched_fd == fd ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

    if (link->watched_fd == fd && link->watched == events) {
        return 0;
    }
    if (epoll_ctl(link->connection->epoll, command, fd, &event) != 0) {
        return -errno;
    }
    link->watched_fd = fd;
    link->watched = events;
    return 0;
}

/* Before it is closed: closing takes nothing out of the set while a child process has the socket, too. */
static void unwatch(struct link *link)
{
    if (link->watched_fd >= 0) {
        (void)epoll_ctl(link->connection->epoll, EPOLL_CTL_DEL, link->watched_fd, NULL);
    }
    link->watched_fd = -1;
}

/*
 * The socket is of no more use, though users may keep the link for a while yet. To close it is not enough: a child process may have it, too,
 * for which the other side would wait; and while somebody sends, its descriptor must not become another's under the sender's hands.
 */
static void die(struct link *link)
{
    link->state = LINK_DEAD;
    link->deadline = LINK_NEVER;
    unwatch(link);
    attempt_end(&link->attempt);
    if (link->fd >= 0) {
        (void)shutdown(link->fd, SHUT_RDWR);
    }
}

void connection_cut(struct connection *connection)
{
    struct link *link;

    TAILQ_FOREACH (link, &connection->links, entry) {
        die(link);
    }
}

static void fail(struct link *link, int status, const struct error *err)
{
    struct connection_loss loss = {.status = status, .code = CODE_NO_ERROR, .message = err->text};

    die(link);
    connection_lost(link, &loss);
}

/* ---- The attempt ---- */

/* The greeting has the time that connecting has left. */
static int new_session(struct link *link)
{
    struct session_config config = link->connection->config.session;
    uint64_t now = clock_ms();

    config.handshake_timeout = link->deadline > now ? (uint32_t)(link->deadline - now) : 1;
    /* It spreads streams in a table, and is no secret where the kernel has no randomness yet. */
    if (getrandom(&config.hash_seed, sizeof(config.hash_seed), GRND_NONBLOCK) < 0) {
        config.hash_seed = (uint32_t)clock_us();
    }
    link->session = session_new(&config, &link->connection->session_events, link, now);
    return link->session ? 0 : -ENOMEM;
}

static void begin_session(struct link *link)
{
    struct error err;
    int status = new_session(link);

    link->fd = attempt_take(&link->attempt);
    attempt_end(&link->attempt);
    link->deadline = LINK_NEVER;
    link->state = LINK_SESSION;
    if (status == 0) {
        status = watch(link, link->fd, EPOLLIN);
    }
    if (status != 0) {
        fail(link, error_errno(&err, status, "cannot use the connection to the daemon"), &err);
    }
}

static void attempt_result(struct link *link, int status, struct error *err)
{
    if (link->abandoned) {
        die(link);
        return;
    }
    if (status == -EAGAIN) {
        status = watch(link, attempt_fd(&link->attempt),
                       attempt_wants(&link->attempt) == POLLIN ? EPOLLIN : EPOLLOUT);
        if (status == 0) {
            return;
        }
        error_errno(err, status, "cannot wait for the connection to the daemon");
    }
    if (status == 0) {
        begin_session(link);
    } else {
        fail(link, status, err);
    }
}

void link_begin(struct link *link)
{
    struct connection *connection = link->connection;
    struct error err = ERROR_INIT;
    int status;

    connection_unlock(connection);
    status = attempt_begin(&link->attempt, &connection->to, connection->config.connect_timeout, HINT, &err);
    connection_lock(connection);
    link->deadline = clock_ms() + connection->config.connect_timeout;
    attempt_result(link, status, &err);
}

static void step(struct link *link)
{
    struct connection *connection = link->connection;
    struct error err = ERROR_INIT;
    int status;

    unwatch(link); /* the next address has another socket */
    connection_unlock(connection);
    status = attempt_step(&link->attempt, &err);
    connection_lock(connection);
    attempt_result(link, status, &err);
}

static void give_up(struct link *link)
{
    char text[ADDR_TEXT_MAX];
    struct error err;

    error_set(&err, -ETIMEDOUT, "cannot connect to %s: no answer within %u ms; see that posternd runs there",
              addr_format(&link->connection->to, text), link->connection->config.connect_timeout);
    fail(link, -ETIMEDOUT, &err);
}

/* ---- The session ---- */

static bool has_output(const struct link *link)
{
    return link->state == LINK_SESSION && !link->mute &&
           (link->out_at < link->out_end || session_has_output(link->session));
}

/* The socket takes nothing more, ever. What it still has to say is read, and then its end, if that comes. */
static void go_mute(struct link *link)
{
    link->mute = true;
    link->deadline = clock_ms() + CLOSING_MS;
    (void)shutdown(link->fd, SHUT_RDWR);
}

/* One system call. Returns what the socket took. */
static size_t transmit(struct link *link, struct iovec *pieces, size_t count, size_t length)
{
    struct connection *connection = link->connection;
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = count};
    ssize_t n;
    int error;

    connection_unlock(connection);
    n = sendmsg(link->fd, &message, MSG_NOSIGNAL);
    error = errno;
    connection_lock(connection);
    if (n >= 0) {
        link->blocked = (size_t)n < length;
        return (size_t)n;
    }
    if (error == EAGAIN) {
        link->blocked = true;
    } else if (error != EINTR) {
        go_mute(link);
    }
    return 0;
}

/* The last `rest` bytes of the pieces go to the end of the buffer. From the last one on: so those that are in the buffer already only move
 * up, to where nothing lies any more. */
static void keep_rest(struct link *link, const struct iovec *pieces, size_t count, size_t rest)
{
    link->out_at = link->out_end = link->out_max;
    while (rest > 0) {
        const struct iovec *last = &pieces[--count];
        size_t n = last->iov_len < rest ? last->iov_len : rest;

        link->out_at -= n;
        memmove(link->out + link->out_at, (const uint8_t *)last->iov_base + last->iov_len - n, n);
        rest -= n;
    }
}

static void give_back_loans(struct link *link)
{
    struct connection_loan *loan;

    while ((loan = TAILQ_FIRST(&link->loans))) {
        TAILQ_REMOVE(&link->loans, loan, entry);
        loan->out = false;
        link->connection->events.returned(loan);
    }
}

static void send_new(struct link *link)
{
    struct iovec pieces[PIECES];
    size_t count = PIECES;
    size_t length = session_send_pieces(link->session, clock_ms(), link->out, link->out_max, pieces, &count);
    size_t sent = length > 0 ? transmit(link, pieces, count, length) : 0;

    keep_rest(link, pieces, count, length - sent);
    give_back_loans(link);
}

static void send_kept(struct link *link)
{
    struct iovec piece = {link->out + link->out_at, link->out_end - link->out_at};

    link->out_at += transmit(link, &piece, 1, piece.iov_len);
}

static void begin_closing(struct link *link)
{
    link->state = LINK_CLOSING;
    if (!link->mute) {
        (void)shutdown(link->fd, SHUT_WR);
    }
}

void link_flush(struct link *link)
{
    if (link->state != LINK_SESSION || link->sending || link->blocked) {
        return;
    }
    link->sending = true;
    for (int sends = 0; has_output(link) && !link->blocked && sends < SENDS_AT_ONCE; sends++) {
        if (link->out_at < link->out_end) {
            send_kept(link);
        } else {
            send_new(link);
        }
    }
    link->sending = false;
    if (link->state == LINK_SESSION && session_is_over(link->session) && !has_output(link)) {
        begin_closing(link);
    }
    if (link->state != LINK_DEAD && watch(link, link->fd, EPOLLIN | (link->blocked ? EPOLLOUT : 0)) != 0) {
        go_mute(link); /* nobody would tell when it may go on */
    }
}

static ssize_t receive(struct link *link, struct block *block)
{
    ssize_t n;

    connection_unlock(link->connection);
    n = recv(link->fd, block->bytes, sizeof block->bytes, 0);
    if (n < 0) {
        n = -errno;
    }
    connection_lock(link->connection);
    return n;
}

static void take(struct link *link, const struct block *block, ssize_t n)
{
    struct connection *connection = link->connection;

    if (n <= 0) {
        session_receive_end(link->session, clock_ms());
        return;
    }
    connection->delivering = true;
    session_receive(link->session, clock_ms(), block->bytes, (size_t)n);
    connection->delivering = false;
}

static void read_some(struct link *link)
{
    for (int i = 0; i < READS_AT_ONCE && link->state != LINK_DEAD; i++) {
        struct block *block = connection_input(link->connection);
        ssize_t n = receive(link, block);

        if (n == -EAGAIN || n == -EINTR) {
            return;
        }
        if (!session_is_over(link->session)) {
            take(link, block, n);
        }
        if (n <= 0) {
            die(link);
        }
        if (n < (ssize_t)sizeof block->bytes) {
            return;
        }
    }
}

void link_on_ready(struct link *link, uint32_t events)
{
    if (link->state == LINK_ATTEMPT) {
        step(link);
        return;
    }
    if (events & EPOLLOUT) {
        link->blocked = false;
    }
    if (link->state != LINK_DEAD && events & ~(uint32_t)EPOLLOUT) {
        read_some(link);
    }
}

void link_tick(struct link *link, uint64_t now)
{
    if (link->state == LINK_SESSION && now >= session_next_deadline(link->session)) {
        session_tick(link->session, now);
    }
    if (now < link->deadline) {
        return;
    }
    if (link->state == LINK_ATTEMPT && !link->abandoned) {
        give_up(link);
        return;
    }
    if (link->state == LINK_SESSION && !session_is_over(link->session)) {
        session_receive_end(link->session, now);
    }
    die(link);
}

void link_on_end(struct link *link)
{
    link->deadline = clock_ms() + CLOSING_MS;
}

const char *link_greeting_advice(uint32_t code)
{
    switch (code) {
    case CODE_PROTOCOL:
        return "; the other end does not speak the framed protocol: see that a listener with "
               "`protocol: framed` is there";
    case CODE_LOST:
        return "; see that a listener with `protocol: framed` is there, whose `allow` has this enclave, "
               "and look at the daemon's log";
    case CODE_TIMEOUT:
        return "; see that posternd runs there, and a listener with `protocol: framed`";
    default:
        return "";
    }
}

void link_shed(struct link *link)
{
    if (link->state == LINK_DEAD && !link->sending && link->fd >= 0) {
        close(link->fd);
        link->fd = -1;
        free(link->out);
        link->out = NULL;
    }
}

bool link_is_done(const struct link *link)
{
    struct session_stats stats = {.channels = 0};

    if (link->state != LINK_DEAD || link->sending) {
        return false;
    }
    if (link->session) {
        session_stats(link->session, &stats);
    }
    return stats.channels == 0;
}

uint64_t link_next_deadline(const struct link *link)
{
    uint64_t next = link->state == LINK_SESSION ? session_next_deadline(link->session) : SESSION_NEVER;

    if (link_is_done(link) || (has_output(link) && !link->sending && !link->blocked)) {
        return 0;
    }
    return next < link->deadline ? next : link->deadline;
}

void link_drain(struct link *link, uint32_t deadline_ms)
{
    if (link->state == LINK_ATTEMPT) { /* it may be under way in another thread */
        link->abandoned = true;
        link->deadline = 0;
    } else if (link->state == LINK_SESSION) {
        session_set_now(link->session, clock_ms());
        session_drain(link->session, deadline_ms);
    }
}

void connection_lend(const struct channel *channel, struct connection_loan *loan)
{
    struct link *link = session_user(channel_session(channel));

    if (!loan->out) {
        TAILQ_INSERT_TAIL(&link->loans, loan, entry);
    }
    loan->out = true;
}
