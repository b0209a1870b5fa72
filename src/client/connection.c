/*
 * Links, one after another: see connection.h.
 *
 * `current` is the link that takes streams, or the one that is on its way to; it is replaced when it is
 * lost or its peer goes away, if anybody wants one. A link that has lost that place lives on in `links`
 * until it is dead, and nothing but bury() frees one.
 */
#include "client/clock.h"
#include "client/connection_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#define EVENTS_AT_ONCE 8
#define STEADY_MS      5000u /* a session that held so long is no failure */
#define DOUBLINGS_MAX  32u
#define LINKS_MAX      8u /* whose streams finish: a daemon that goes away over and over gets no more */

void connection_lock(const struct connection *connection)
{
    if (connection->config.lock) {
        connection->config.lock(connection->user);
    }
}

void connection_unlock(const struct connection *connection)
{
    if (connection->config.unlock) {
        connection->config.unlock(connection->user);
    }
}

/* ---- Losing a link, and the wait before the next ---- */

static uint32_t jitter(uint32_t whole)
{
    uint32_t random;

    if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0) {
        random = (uint32_t)clock_us();
    }
    return whole - whole / 2 + random % (whole / 2 + 1);
}

static uint32_t backoff(const struct connection *connection)
{
    uint32_t whole = connection->config.backoff_min;

    for (unsigned i = 0; i < connection->failures && whole < connection->config.backoff_max; i++) {
        whole = whole > UINT32_MAX / 2 ? UINT32_MAX : whole * 2;
    }
    return jitter(whole < connection->config.backoff_max ? whole : connection->config.backoff_max);
}

static void put_off(struct connection *connection)
{
    connection->not_before = clock_ms() + backoff(connection);
    connection->failures += connection->failures < DOUBLINGS_MAX;
}

void connection_lost(struct link *link, const struct connection_loss *loss)
{
    struct connection *connection = link->connection;

    if (connection->current != link) {
        return;
    }
    connection->current = NULL;
    connection->ping = PING_NONE;
    if (link->ready_at != 0 && clock_ms() - link->ready_at >= STEADY_MS) {
        connection->failures = 0;
    }
    put_off(connection);
    if (connection->events.down) {
        connection->events.down(connection, loss);
    }
}

/* ---- What sessions tell of themselves ---- */

static void on_ready(struct session *session, const struct control_hello *peer UNUSED)
{
    struct link *link = session_user(session);

    link->ready_at = clock_ms();
    if (link->connection->events.ready) {
        link->connection->events.ready(link->connection);
    }
}

static void on_streams(struct session *session)
{
    struct link *link = session_user(session);

    if (link->connection->current == link && link->connection->events.ready) {
        link->connection->events.ready(link->connection);
    }
}

static void lost_session(struct link *link, uint32_t code, const char *what, const char *text)
{
    char address[ADDR_TEXT_MAX];
    struct error err;
    struct connection_loss loss = {.status = -ECONNABORTED, .code = code, .message = err.text};

    error_set(&err, -ECONNABORTED, "%s %s: %s%s%s", what, addr_format(&link->connection->to, address),
              code_word(code), text[0] ? ": " : "", text);
    connection_lost(link, &loss);
}

static void on_going_away(struct session *session, const struct control_goaway *goaway UNUSED)
{
    lost_session(session_user(session), CODE_GOING_AWAY, "no more streams are taken at",
                 "the daemon stops or restarts");
}

static void on_ended(struct session *session, const struct session_end *end)
{
    struct link *link = session_user(session);
    char text[ERROR_TEXT_MAX];

    link_on_end(link);
    if (link->ready_at != 0 || end->by_peer) {
        lost_session(link, end->code, end->by_peer ? "the session was ended by" : "the session was lost with",
                     end->text);
        return;
    }
    snprintf(text, sizeof(text), "%s%s", end->text, link_greeting_advice(end->code));
    lost_session(link, end->code, "cannot begin a session with", text);
}

static void send_ping(struct connection *connection)
{
    connection->ping = session_ping(connection->current->session) ? PING_SENT : PING_WAITS;
    connection->pinged_at = clock_us();
}

static void on_pong(struct session *session, uint64_t rtt_ms UNUSED)
{
    struct link *link = session_user(session);
    struct connection *connection = link->connection;

    if (connection->current != link) {
        return;
    }
    if (connection->ping == PING_WAITS) {
        send_ping(connection);
    } else if (connection->ping == PING_SENT) {
        connection->ping = PING_NONE;
        if (connection->events.pong) {
            connection->events.pong(connection, clock_us() - connection->pinged_at);
        }
    }
}

/* ---- Making and freeing ---- */

void connection_config_default(struct connection_config *config)
{
    *config = (struct connection_config){.connect_timeout = 10000, .backoff_min = 100, .backoff_max = 10000};
    session_config_default(&config->session, SESSION_CLIENT);
    config->session.max_streams = 0;
    config->session.max_own_streams = 1024;
    config->session.budget = UINT64_C(32) << 20;
}

static int check(const struct addr *to, const struct connection_config *config, struct error *err)
{
    char text[ADDR_TEXT_MAX];

    if (to->kind == ADDR_VSOCK && (to->cid_by_name || to->cid == ADDR_CID_ANY)) {
        return error_set(err, -EINVAL,
                         "cannot connect to %s: the CID has to be a number, `parent` or `local`",
                         addr_format(to, text));
    }
    if (config->connect_timeout == 0 || config->backoff_min == 0 ||
        config->backoff_max < config->backoff_min) {
        return error_set(
            err, -EINVAL,
            "the connect timeout and the backoff are at least 1 ms, and its least at most its most");
    }
    return session_config_check(&config->session, err);
}

static int open_descriptors(struct connection *connection)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};

    connection->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (connection->epoll < 0) {
        return -errno;
    }
    if (!connection->config.lock) {
        return 0;
    }
    connection->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    connection->guard = epoll_create1(EPOLL_CLOEXEC);
    if (connection->wake < 0 || connection->guard < 0 ||
        epoll_ctl(connection->epoll, EPOLL_CTL_ADD, connection->wake, &event) != 0 ||
        epoll_ctl(connection->guard, EPOLL_CTL_ADD, connection->epoll, &event) != 0) {
        return -errno;
    }
    connection->guarded = true;
    return 0;
}

static void set_events(struct connection *connection, const struct connection_events *events)
{
    connection->events = *events;
    connection->session_events = events->channel;
    connection->session_events.ready = on_ready;
    connection->session_events.streams = on_streams;
    connection->session_events.going_away = on_going_away;
    connection->session_events.ended = on_ended;
    connection->session_events.pong = on_pong;
}

int connection_new(const struct addr *to, const struct connection_config *config,
                   const struct connection_events *events, void *user, struct connection **ret,
                   struct error *err)
{
    struct connection *connection;
    int status = check(to, config, err);

    if (status != 0) {
        return status;
    }
    connection = calloc(1, sizeof(*connection));
    if (!connection) {
        return error_set(err, -ENOMEM, "out of memory for a connection");
    }
    connection->to = *to;
    connection->config = *config;
    connection->config.session.role = SESSION_CLIENT;
    connection->config.session.handshake_timeout = config->connect_timeout;
    connection->user = user;
    connection->epoll = connection->wake = connection->guard = -1;
    connection->alarm = CONNECTION_NEVER;
    TAILQ_INIT(&connection->links);
    set_events(connection, events);
    connection->input = block_new(&connection->blocks);
    status = connection->input ? open_descriptors(connection) : -ENOMEM;
    if (status != 0) {
        connection_free(connection);
        return error_errno(err, status, "cannot make a connection");
    }
    *ret = connection;
    return 0;
}

static void bury(struct connection *connection, bool all)
{
    struct link *link = TAILQ_FIRST(&connection->links);

    while (link) {
        struct link *next = TAILQ_NEXT(link, entry);
        if (all || link_is_done(link)) {
            TAILQ_REMOVE(&connection->links, link, entry);
            link_free(link);
        } else {
            link_shed(link);
        }
        link = next;
    }
}

void connection_free(struct connection *connection)
{
    if (!connection) {
        return;
    }
    bury(connection, true);
    block_release(connection->input);
    block_release(connection->spare);
    if (connection->epoll >= 0) {
        close(connection->epoll);
    }
    if (connection->wake >= 0) {
        close(connection->wake);
    }
    if (connection->guard >= 0) {
        close(connection->guard);
    }
    free(connection);
}

void *connection_user(const struct connection *connection)
{
    return connection->user;
}

/* ---- The turn ---- */

int connection_fd(const struct connection *connection)
{
    return connection->epoll;
}

static uint64_t next_deadline(const struct connection *connection)
{
    uint64_t next = connection->alarm;
    const struct link *link;

    if (connection->wanted && connection->not_before < next) {
        next = connection->not_before;
    }

    TAILQ_FOREACH (link, &connection->links, entry) {
        uint64_t deadline = link_next_deadline(link);
        next = deadline < next ? deadline : next;
    }
    return next;
}

static int timeout_until(uint64_t when)
{
    uint64_t now = clock_ms();

    if (when == CONNECTION_NEVER) {
        return -1;
    }
    if (when <= now) {
        return 0;
    }
    return when - now < INT32_MAX ? (int)(when - now) : INT32_MAX;
}

int connection_timeout(const struct connection *connection)
{
    return timeout_until(next_deadline(connection));
}

/* Writing fails only if the counter is full, and then it is awake. */
void connection_wake(struct connection *connection)
{
    const uint64_t one = 1;

    if (connection->waiting || connection->guarded) {
        ssize_t n = write(connection->wake, &one, sizeof(one));
        (void)n;
    }
}

/* What changed may come sooner than the thread that waits for it was told. */
static void wake_if_sooner(struct connection *connection)
{
    uint64_t waits_until = connection->waiting ? connection->waiting_until : connection->watching_until;

    if ((connection->waiting || connection->guarded) && next_deadline(connection) < waits_until) {
        connection_wake(connection);
    }
}

void connection_set_alarm(struct connection *connection, uint64_t at)
{
    connection->alarm = at;
    wake_if_sooner(connection);
}

/* Those that have a socket. */
static size_t count_links(const struct connection *connection, struct link **ret_oldest)
{
    struct link *link;
    size_t count = 0;

    TAILQ_FOREACH (link, &connection->links, entry) {
        if (link->state != LINK_DEAD && count++ == 0) {
            *ret_oldest = link;
        }
    }
    return count;
}

static void begin_link(struct connection *connection)
{
    struct link *link = NULL;

    if (count_links(connection, &link) >= LINKS_MAX) {
        link_drain(link, 1);
        connection->not_before = clock_ms() + connection->config.backoff_min;
        return;
    }
    if (link_new(connection, &link) < 0) {
        struct connection_loss loss = {-ENOMEM, CODE_NO_ERROR, "cannot connect: out of memory"};
        connection->wanted = false;
        put_off(connection);
        if (connection->events.down) {
            connection->events.down(connection, &loss);
        }
        return;
    }
    connection->wanted = false;
    connection->current = link;
    TAILQ_INSERT_TAIL(&connection->links, link, entry);
    link_begin(link);
}

static int wait_for_events(struct connection *connection, int wait_ms, struct epoll_event *events)
{
    uint64_t limit = wait_ms < 0 ? CONNECTION_NEVER : clock_ms() + (uint64_t)wait_ms;
    uint64_t next = next_deadline(connection);
    int timeout, count;

    connection->waiting_until = next < limit ? next : limit;
    connection->waiting = connection->wake >= 0;
    timeout = timeout_until(connection->waiting_until);
    connection_unlock(connection);
    count = epoll_wait(connection->epoll, events, EVENTS_AT_ONCE, timeout);
    connection_lock(connection);
    connection->waiting = false;
    return count;
}

/* Only that it was woken counts. */
static void forget_wakes(struct connection *connection)
{
    uint64_t times;
    ssize_t n = read(connection->wake, &times, sizeof(times));

    (void)n;
}

void connection_read(struct connection *connection, int wait_ms)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    int count = wait_for_events(connection, wait_ms, events);
    uint64_t now = clock_ms();
    struct link *link;

    for (int i = 0; i < count; i++) {
        if (events[i].data.ptr) {
            link_on_ready(events[i].data.ptr, events[i].events);
        } else {
            forget_wakes(connection);
        }
    }
    TAILQ_FOREACH (link, &connection->links, entry) {
        link_tick(link, now);
    }
    connection_flush(connection);
    bury(connection, false);
}

void connection_process(struct connection *connection, int wait_ms)
{
    connection_read(connection, wait_ms);
    if (connection->wanted && clock_ms() >= connection->not_before) {
        begin_link(connection);
        connection_flush(connection);
        bury(connection, false);
    }
}

/*
 * Changing what is watched of a descriptor that is in the set needs no memory, and cannot fail. A wake that the keeper had not come
 * to hear of when the guard went off is the reader's; so the deadlines are looked at anew when it goes on.
 */
void connection_guard(struct connection *connection, bool on)
{
    struct epoll_event event = {.events = on ? EPOLLIN : 0, .data.ptr = NULL};

    if (connection->guard < 0 || connection->guarded == on) {
        return;
    }
    connection->guarded = epoll_ctl(connection->guard, EPOLL_CTL_MOD, connection->epoll, &event) == 0 && on;
    wake_if_sooner(connection);
}

/* What is due while the guard is off is the reader's business, and not to be asked for again and again. */
void connection_watch(struct connection *connection)
{
    struct epoll_event event;
    uint64_t next = next_deadline(connection);
    int timeout = timeout_until(next);

    if (!connection->guarded && timeout == 0) {
        next = CONNECTION_NEVER;
        timeout = -1;
    }
    connection->watching_until = next;
    connection_unlock(connection);
    (void)epoll_wait(connection->guard, &event, 1, timeout);
    connection_lock(connection);
    connection->watching_until = 0;
}

void connection_flush(struct connection *connection)
{
    struct link *link;

    TAILQ_FOREACH (link, &connection->links, entry) {
        link_flush(link);
    }
    wake_if_sooner(connection);
}

/* ---- What the user asks for ---- */

void connection_connect(struct connection *connection)
{
    if (connection->current || connection->draining) {
        return;
    }
    connection->wanted = true;
    wake_if_sooner(connection);
}

bool connection_is_ready(const struct connection *connection)
{
    return connection->current && connection->current->ready_at != 0;
}

int connection_open(struct connection *connection, const struct control_open *open, void *user,
                    struct channel **ret)
{
    int status;

    if (connection->draining) {
        return -ESHUTDOWN;
    }
    if (!connection_is_ready(connection)) {
        connection_connect(connection);
        return -EAGAIN;
    }
    session_set_now(connection->current->session, clock_ms());
    status = session_open(connection->current->session, open, user, ret);
    if (status != -ESHUTDOWN) {
        return status;
    }
    /* All its numbers are used up, or it ended and has not told so yet. */
    link_drain(connection->current, 0);
    connection->current = NULL;
    connection_connect(connection);
    return -EAGAIN;
}

bool connection_ping(struct connection *connection)
{
    if (!connection_is_ready(connection)) {
        return false;
    }
    session_set_now(connection->current->session, clock_ms());
    send_ping(connection);
    return true;
}

void connection_drain(struct connection *connection, uint32_t deadline_ms)
{
    struct link *link;

    connection->draining = true;
    connection->wanted = false;
    connection->current = NULL;
    TAILQ_FOREACH (link, &connection->links, entry) {
        link_drain(link, deadline_ms);
    }
    wake_if_sooner(connection);
}

bool connection_is_over(const struct connection *connection)
{
    return connection->draining && TAILQ_EMPTY(&connection->links);
}

/* ---- Input ---- */

struct block *connection_input(struct connection *connection)
{
    if (connection->input->references > 1) {
        block_release(connection->input);
        connection->input = connection->spare;
        connection->spare = NULL;
    }
    return connection->input;
}

/* One to read into next must be there before this one is given away. */
struct block *connection_block(struct connection *connection)
{
    if (!connection->delivering || connection->blocks * BLOCK_SIZE > connection->config.session.budget) {
        return NULL;
    }
    if (!connection->spare) {
        connection->spare = block_new(&connection->blocks);
    }
    return connection->spare ? block_hold(connection->input) : NULL;
}
