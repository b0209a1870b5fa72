/* The functions of include/postern/postern.h that take a connection. */
#include "client/postern_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *postern_version(void)
{
    return POSTERN_VERSION;
}

const char *postern_code_word(uint32_t code)
{
    return code_word(code);
}

/* ---- What the connection tells ---- */

static void on_ready(struct connection *connection)
{
    struct postern *postern = connection_user(connection);

    failure_clear(&postern->loss);
    streams_open_queued(postern);
    postern_wake(postern, &postern->waiters, POSTERN_CHANGED);
}

static void answer_ping(struct postern *postern, uint64_t microseconds, bool lost)
{
    postern->ping = PING_ANSWERED;
    postern->ping_us = microseconds < UINT32_MAX ? (uint32_t)microseconds : UINT32_MAX;
    postern->ping_lost = lost;
    postern->pongs++;
}

/* Whoever waits is waited with: for as long as their time is not over, it is tried again. */
static void on_down(struct connection *connection, const struct connection_loss *loss)
{
    struct postern *postern = connection_user(connection);
    struct failure why = {.status = -ENOTCONN,
                          .code = loss->code,
                          .retryable = true,
                          .message = loss->message};

    failure_set(&postern->loss, &why, strlen(loss->message));
    if (postern->ping == PING_ASKED) {
        answer_ping(postern, 0, true);
    }
    if (postern->hopeful > 0 || !TAILQ_EMPTY(&postern->queued)) {
        connection_connect(connection);
    }
    postern->losses++;
    postern_wake(postern, &postern->waiters, POSTERN_CHANGED);
}

static void on_pong(struct connection *connection, uint64_t microseconds)
{
    struct postern *postern = connection_user(connection);

    answer_ping(postern, microseconds, false);
    postern_wake(postern, &postern->waiters, POSTERN_CHANGED);
}

/* ---- Making ---- */

static void init(struct postern *postern, bool threaded)
{
    postern->threaded = threaded;
    owner_init(&postern->owner);
    postern->references = 1;
    postern->expire_at = UINT64_MAX;
    TAILQ_INIT(&postern->streams);
    TAILQ_INIT(&postern->queued);
    TAILQ_INIT(&postern->asked);
    TAILQ_INIT(&postern->ended);
    TAILQ_INIT(&postern->news);
    TAILQ_INIT(&postern->waiters);
    TAILQ_INIT(&postern->followers);
    if (threaded) {
        (void)pthread_mutex_init(&postern->lock, NULL); /* cannot fail without attributes */
    }
}

static int make(struct postern *postern, const char *address, const struct postern_options *options,
                struct postern_error *err)
{
    const struct connection_events events = {.channel = stream_channel_events,
                                             .returned = stream_on_returned,
                                             .ready = on_ready,
                                             .down = on_down,
                                             .pong = on_pong};
    struct connection_config config;
    struct error why = ERROR_INIT;
    struct addr to;
    int status = postern_read_address(address, &to, err);

    if (status == 0) {
        status = postern_read_options(options, postern, &config, err);
    }
    if (status != 0) {
        return status;
    }
    if (postern->threaded) {
        config.lock = postern_lock_again;
        config.unlock = postern_unlock_meanwhile;
    }
    status = connection_new(&to, &config, &events, postern, &postern->connection, &why);
    return status == 0 ? 0 : postern_fail(err, status, why.text);
}

static struct postern *new_postern(const char *address, const struct postern_options *options, bool threaded,
                                   int *ret_status, struct postern_error *err)
{
    struct postern *postern = calloc(1, sizeof(*postern));

    if (!postern) {
        *ret_status = postern_fail(err, -ENOMEM, "cannot connect: out of memory");
        return NULL;
    }
    init(postern, threaded);
    *ret_status = make(postern, address, options, err);
    if (*ret_status == 0) {
        return postern;
    }
    postern_free(postern);
    return NULL;
}

int postern_start(const char *address, const struct postern_options *options, struct postern **ret,
                  struct postern_error *err)
{
    int status;
    struct postern *postern = new_postern(address, options, false, &status, err);

    if (!postern) {
        return status;
    }
    connection_connect(postern->connection);
    postern_turn(postern);
    *ret = postern;
    return 0;
}

static int wait_for_first(struct postern *postern, struct postern_error *err)
{
    const struct deadline forever = {.timeout_ms = -1}; /* the try has a deadline of its own */
    int status = 0;

    while (!connection_is_ready(postern->connection) && postern->losses == 0 && status == 0) {
        status = postern_wait(postern, &postern->waiters, POSTERN_CHANGED, &forever);
    }
    if (!connection_is_ready(postern->connection)) {
        status = postern_fail_with(err, &postern->loss);
    }
    return status;
}

int postern_connect(const char *address, const struct postern_options *options, struct postern **ret,
                    struct postern_error *err)
{
    bool lazy = options && options->flags & POSTERN_LAZY;
    int status;
    struct postern *postern = new_postern(address, options, true, &status, err);

    if (!postern) {
        return status;
    }
    connection_connect(postern->connection);
    status = postern_start_keeper(postern, err);
    if (status != 0) {
        connection_free(postern->connection);
        postern_free(postern);
        return status;
    }
    if (!lazy) {
        pthread_mutex_lock(&postern->lock);
        status = wait_for_first(postern, err);
        postern_leave(postern);
    }
    if (status == 0) {
        *ret = postern;
    } else {
        postern_disconnect(postern, 0);
    }
    return status;
}

/* ---- Asking ---- */

static int ready_status(struct postern *postern, int waited, struct postern_error *err)
{
    if (connection_is_ready(postern->connection)) {
        return 0;
    }
    if (connection_is_over(postern->connection)) {
        return postern_fail(err, -ESHUTDOWN, "the connection was drained, and is over");
    }
    if (postern->loss.status != 0) {
        return postern_fail_with(err, &postern->loss);
    }
    return postern_fail_wait(err, waited, "waiting for the daemon");
}

int postern_wait_ready(struct postern *postern, int timeout_ms, struct postern_error *err)
{
    struct deadline until;
    int status = postern_enter(postern, err);

    if (status != 0) {
        return status;
    }
    until = postern_deadline(postern, timeout_ms);
    postern->hopeful++;
    connection_connect(postern->connection);
    while (!connection_is_ready(postern->connection) && !connection_is_over(postern->connection) &&
           status == 0) {
        status = postern_wait(postern, &postern->waiters, POSTERN_CHANGED, &until);
    }
    postern->hopeful--;
    status = ready_status(postern, status, err);
    postern_leave(postern);
    return status;
}

/* The answer to a ping that somebody gave up waiting for is the next one's who asks. */
static int take_answer(struct postern *postern, uint32_t *ret_us, struct postern_error *err)
{
    const struct failure lost = {.status = -ENOTCONN, .code = CODE_LOST, .retryable = true};

    if (postern->ping == PING_ANSWERED) {
        postern->ping = PING_IDLE;
    }
    if (postern->ping_lost) {
        return postern_fail_with(err, &lost);
    }
    if (ret_us) {
        *ret_us = postern->ping_us;
    }
    return 0;
}

static int ask(struct postern *postern, struct postern_error *err)
{
    const struct failure nobody = {.status = -ENOTCONN,
                                   .retryable = true,
                                   .message = "there is no connection to the daemon"};

    if (!connection_ping(postern->connection)) {
        return postern_fail_with(err, postern->loss.status != 0 ? &postern->loss : &nobody);
    }
    postern->ping = PING_ASKED;
    postern_flush(postern);
    return 0;
}

static int ping(struct postern *postern, int timeout_ms, uint32_t *ret_us, struct postern_error *err)
{
    struct deadline until = postern_deadline(postern, timeout_ms);
    unsigned before = postern->pongs;
    int status = postern->ping == PING_IDLE ? ask(postern, err) : 0;

    if (status != 0) {
        return status;
    }
    while (postern->ping == PING_ASKED && postern->pongs == before && status == 0) {
        status = postern_wait(postern, &postern->waiters, POSTERN_CHANGED, &until);
    }
    if (postern->ping == PING_ASKED && postern->pongs == before) {
        return postern_fail_wait(err, status, "waiting for the answer to a ping");
    }
    return take_answer(postern, ret_us, err);
}

int postern_ping(struct postern *postern, int timeout_ms, uint32_t *ret_us, struct postern_error *err)
{
    int status = postern_enter(postern, err);

    if (status != 0) {
        return status;
    }
    status = ping(postern, timeout_ms, ret_us, err);
    postern_leave(postern);
    return status;
}

/* ---- Ending ---- */

int postern_drain(struct postern *postern, uint32_t deadline_ms, struct postern_error *err)
{
    const struct failure why = {.status = -ESHUTDOWN, .message = "the connection is drained"};
    struct postern_stream *stream;
    int status = postern_enter(postern, err);

    if (status != 0) {
        return status;
    }
    postern->drained = true;
    while ((stream = TAILQ_FIRST(&postern->queued))) {
        stream_fail(stream, &why);
    }
    postern_flush(postern); /* a stream that was opened is one that may finish */
    connection_drain(postern->connection, deadline_ms);
    if (postern->ping == PING_ASKED) { /* of a session that tells nothing more but its end */
        answer_ping(postern, 0, true);
    }
    postern_wake(postern, &postern->waiters, POSTERN_CHANGED);
    postern_leave(postern);
    return 0;
}

/* Those that have a handle report -ESHUTDOWN; the lingering ones may still end as they should. */
static void give_up_streams(struct postern *postern)
{
    const struct failure why = {.status = -ESHUTDOWN, .code = CODE_CANCEL};
    struct postern_stream *stream;

    TAILQ_FOREACH (stream, &postern->streams, in_streams) {
        if (stream->lingers) {
            continue;
        }
        stream_drop_pieces(stream);
        stream_fail(stream, &why);
    }
}

static void drain_and_wait(struct postern *postern, int timeout_ms)
{
    struct deadline until = postern_deadline(postern, timeout_ms);
    int status = 0;

    connection_drain(postern->connection, timeout_ms > 0 ? (uint32_t)timeout_ms : 0);
    postern_flush(postern);
    while (!connection_is_over(postern->connection) && status == 0) {
        status = postern_wait(postern, &postern->waiters, POSTERN_CHANGED, &until);
    }
}

/* Lingering streams have nothing left that could end them. */
static void free_lingering(struct postern *postern)
{
    struct postern_stream *stream = TAILQ_FIRST(&postern->streams);

    while (stream) {
        struct postern_stream *next = TAILQ_NEXT(stream, in_streams);
        if (stream->lingers) {
            stream_free(stream);
        }
        stream = next;
    }
}

void postern_disconnect(struct postern *postern, int timeout_ms)
{
    if (!postern || !postern_enter_to_end(postern)) {
        return;
    }
    give_up_streams(postern);
    postern_flush(postern); /* the ends of streams that were closed may not have been written yet */
    if (postern->threaded && !postern->inherited) {
        if (timeout_ms != 0) {
            drain_and_wait(postern, timeout_ms);
        }
        postern_stop_keeper(postern);
    }
    free_lingering(postern);
    if (!postern->inherited) {
        connection_cut(postern->connection);
    }
    connection_free(postern->connection);
    postern->connection = NULL;
    postern_unreference(postern);
}

/* ---- Pollable connections ---- */

int postern_fd(const struct postern *postern)
{
    return connection_fd(postern->connection);
}

int postern_timeout(struct postern *postern)
{
    int timeout;

    if (postern_enter(postern, NULL) != 0) {
        return -1;
    }
    timeout = postern->untold ? 0 : connection_timeout(postern->connection);
    postern_leave(postern);
    return timeout;
}

void postern_process(struct postern *postern)
{
    if (postern->threaded || postern_enter(postern, NULL) != 0) {
        return;
    }
    postern_turn(postern);
    postern->untold = false;
    postern_leave(postern);
}

struct postern_stream *postern_next(struct postern *postern, unsigned *ret_events)
{
    struct postern_stream *stream;

    if (postern_enter(postern, NULL) != 0) {
        return NULL;
    }
    postern_flush(postern); /* what it makes room for is news, too, and is not waited for after NULL */
    stream = TAILQ_FIRST(&postern->news);
    if (stream) {
        TAILQ_REMOVE(&postern->news, stream, in_news);
        *ret_events = stream->news;
        stream->news = 0;
    }
    postern->untold &= !TAILQ_EMPTY(&postern->news);
    postern_leave(postern);
    return stream;
}
