/* What happens to streams: the events of their channels, opening, expiring, ending. See postern_private.h. */
#include "client/clock.h"
#include "client/postern_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define REFER_MIN 4096u /* fewer bytes are copied: a block would be kept for little */
#define LEND_MIN  4096u /* fewer bytes are copied: a piece of a write costs about as much */
#define COPY_MIN  1024u /* room for what comes next, so that a byte a frame does not cost a piece each */

int stream_new(struct postern *postern, struct postern_stream **ret)
{
    struct postern_stream *stream = calloc(1, sizeof(*stream));

    if (!stream) {
        return -ENOMEM;
    }
    stream->postern = postern;
    postern_reference(postern);
    STAILQ_INIT(&stream->pieces);
    TAILQ_INIT(&stream->readers);
    TAILQ_INIT(&stream->writers);
    TAILQ_INIT(&stream->waiters);
    TAILQ_INSERT_TAIL(&postern->streams, stream, in_streams);
    *ret = stream;
    return 0;
}

static void forget_news(struct postern_stream *stream)
{
    if (stream->news) {
        TAILQ_REMOVE(&stream->postern->news, stream, in_news);
    }
    stream->news = 0;
}

/* Takes it out of `queued`, `asked` or `ended`. */
static void leave_opening(struct postern_stream *stream)
{
    if (stream->opening) {
        TAILQ_REMOVE(stream->opening, stream, in_opening);
    }
    stream->opening = NULL;
}

void stream_free(struct postern_stream *stream)
{
    struct postern *postern = stream->postern;

    leave_opening(stream);
    forget_news(stream);
    TAILQ_REMOVE(&postern->streams, stream, in_streams);
    stream_drop_pieces(stream);
    failure_clear(&stream->read_failure);
    failure_clear(&stream->write_failure);
    free(stream->request);
    free(stream);
    postern->references--;
}

/* Something may be worth another try. */
static void tell(struct postern_stream *stream, unsigned events)
{
    unsigned news = stream->wants & events;

    postern_wake(stream->postern, &stream->waiters, events);
    if (!news) {
        return;
    }
    if (!stream->news) {
        TAILQ_INSERT_TAIL(&stream->postern->news, stream, in_news);
    }
    stream->news |= (uint8_t)news;
    stream->wants &= (uint8_t)~news;
    stream->postern->untold |= !stream->postern->reading;
}

/* ---- Opening ---- */

void stream_enter_opening(struct postern_stream *stream, struct streams *list)
{
    leave_opening(stream);
    stream->opening = list;
    TAILQ_INSERT_TAIL(list, stream, in_opening);
}

/* What there is to send is found out when it is asked for. */
void stream_ask_to_send(struct postern_stream *stream)
{
    if (!stream->channel) {
        return;
    }
    session_set_now(channel_session(stream->channel), clock_ms());
    if (!stream->finished || !TAILQ_EMPTY(&stream->writers)) {
        channel_ready(stream->channel);
    } else {
        channel_finish(stream->channel);
        stream->end_sent = true;
    }
}

/* -EAGAIN: not now. */
static int open_stream(struct postern_stream *stream)
{
    struct control_open open;
    struct breach breach;
    int status = -EINVAL;

    if (control_decode_open(stream->request, stream->request_length, &open, &breach)) {
        status = connection_open(stream->postern->connection, &open, stream, &stream->channel);
    }
    if (status == -EAGAIN) {
        return status;
    }
    free(stream->request);
    stream->request = NULL;
    if (status != 0) {
        stream_fail(stream, &(struct failure){.status = status, .retryable = true});
        return 0;
    }
    stream_enter_opening(stream, &stream->postern->asked);
    stream_ask_to_send(stream);
    return 0;
}

void streams_open_queued(struct postern *postern)
{
    struct postern_stream *stream;

    while ((stream = TAILQ_FIRST(&postern->queued)) && open_stream(stream) == 0) {
    }
}

static void expire(struct postern_stream *stream)
{
    struct failure why = {.status = -ECONNREFUSED,
                          .code = CODE_OPEN_TIMEOUT,
                          .retryable = stream->channel == NULL,
                          .message = "no answer came in the time set for it"};

    /* That it could not connect says more, and so does what it waited for. */
    if (!stream->channel && stream->postern->loss.status != 0) {
        why = stream->postern->loss;
    } else if (!stream->channel && connection_is_ready(stream->postern->connection)) {
        why.message =
            "the session had no place for another stream: those that were finished and closed have theirs "
            "until the other side is done; read them to their end, reset them, or see `max_streams`";
    }
    stream_fail(stream, &why);
}

static void expire_list(struct streams *list, uint64_t now, uint64_t *next)
{
    struct postern_stream *stream = TAILQ_FIRST(list);

    while (stream) {
        struct postern_stream *after = TAILQ_NEXT(stream, in_opening);
        if (stream->open_by <= now) {
            expire(stream);
        } else if (stream->open_by < *next) {
            *next = stream->open_by;
        }
        stream = after;
    }
}

void streams_expire(struct postern *postern, uint64_t now)
{
    uint64_t next = CONNECTION_NEVER;

    if (now < postern->expire_at) {
        return;
    }
    expire_list(&postern->queued, now, &next);
    expire_list(&postern->asked, now, &next);
    postern->expire_at = next;
    connection_set_alarm(postern->connection, next);
}

void streams_expire_at(struct postern *postern, uint64_t when)
{
    if (when < postern->expire_at) {
        postern->expire_at = when;
        connection_set_alarm(postern->connection, when);
    }
}

/* ---- Ending ---- */

static void release_channel(struct postern_stream *stream)
{
    if (!stream->channel) {
        return;
    }
    session_set_now(channel_session(stream->channel), clock_ms());
    channel_release(stream->channel);
    stream->channel = NULL;
}

static void end_lingering(struct postern_stream *stream)
{
    if (stream->lingers) {
        stream_enter_opening(stream, &stream->postern->ended);
    }
}

void stream_fail(struct postern_stream *stream, const struct failure *why)
{
    size_t length = why->message ? strlen(why->message) : 0;

    leave_opening(stream);
    if (stream->channel && why->code != CODE_NO_ERROR) {
        session_set_now(channel_session(stream->channel), clock_ms());
        channel_reset(stream->channel, why->code);
        channel_stop(stream->channel, why->code);
    }
    release_channel(stream);
    if (stream->read_failure.status == 0) {
        failure_set(&stream->read_failure, why, length);
    }
    if (stream->write_failure.status == 0) {
        failure_set(&stream->write_failure, why, length);
    }
    tell(stream, POSTERN_READABLE | POSTERN_WRITABLE | POSTERN_OPENED);
    end_lingering(stream);
}

static bool reading_is_over(const struct postern_stream *stream)
{
    return stream->heard_end || stream->read_failure.status != 0;
}

static void settle_lingering(struct postern_stream *stream)
{
    if (stream->lingers && reading_is_over(stream) &&
        (stream->end_sent || stream->write_failure.status != 0)) {
        end_lingering(stream);
    }
}

void stream_linger(struct postern_stream *stream)
{
    stream->lingers = true;
    stream->wants = 0;
    forget_news(stream);
    leave_opening(stream);
    stream_drop_pieces(stream);
    settle_lingering(stream);
}

/* So that a drain does not wait for a handle that has nothing to do any more. */
void stream_settle(struct postern_stream *stream)
{
    if (stream->channel && STAILQ_EMPTY(&stream->pieces) && channel_sending_over(stream->channel) &&
        channel_receiving_over(stream->channel)) {
        release_channel(stream);
    }
}

void stream_end(struct postern_stream *stream)
{
    release_channel(stream);
    stream_free(stream);
}

void streams_free_ended(struct postern *postern)
{
    struct postern_stream *stream = TAILQ_FIRST(&postern->ended);

    while (stream) {
        struct postern_stream *next = TAILQ_NEXT(stream, in_opening);
        stream_end(stream);
        stream = next;
    }
}

/* ---- Bytes that came ---- */

static void free_piece(struct postern_stream *stream, struct piece *piece)
{
    STAILQ_REMOVE_HEAD(&stream->pieces, entry);
    if (STAILQ_EMPTY(&stream->pieces)) {
        stream->last = NULL;
    }
    block_release(piece->block);
    free(piece);
}

size_t stream_take(struct postern_stream *stream, uint8_t *buffer, size_t size)
{
    size_t taken = 0;
    struct piece *piece;

    while (taken < size && (piece = STAILQ_FIRST(&stream->pieces))) {
        size_t n = piece->length < size - taken ? piece->length : size - taken;
        memcpy(buffer + taken, piece->at, n);
        taken += n;
        piece->at += n;
        piece->length -= n;
        if (piece->length == 0) {
            free_piece(stream, piece);
        }
    }
    if (taken > 0 && stream->channel) {
        session_set_now(channel_session(stream->channel), clock_ms());
        channel_consumed(stream->channel, taken);
    }
    return taken;
}

void stream_drop_pieces(struct postern_stream *stream)
{
    struct piece *piece;

    while ((piece = STAILQ_FIRST(&stream->pieces))) {
        if (stream->channel) {
            channel_consumed(stream->channel, piece->length);
        }
        free_piece(stream, piece);
    }
}

/* Straight to those who wait for it. */
static size_t give_to_readers(struct postern_stream *stream, const uint8_t *bytes, size_t length)
{
    size_t given = 0;
    struct reader *reader;

    TAILQ_FOREACH (reader, &stream->readers, entry) {
        size_t n = length - given < reader->room ? length - given : reader->room;
        memcpy(reader->at, bytes + given, n);
        reader->at += n;
        reader->room -= n;
        reader->filled += n;
        given += n;
    }
    return given;
}

static void add_piece(struct postern_stream *stream, struct piece *piece)
{
    STAILQ_INSERT_TAIL(&stream->pieces, piece, entry);
    stream->last = piece;
}

static struct piece *new_piece(size_t room)
{
    struct piece *piece = malloc(sizeof(*piece) + room);

    if (piece) {
        *piece = (struct piece){.room = room};
    }
    return piece;
}

/* Behind what is there, if that is a copy with room. */
static size_t append(struct postern_stream *stream, const uint8_t *bytes, size_t length)
{
    struct piece *last = stream->last;
    size_t n;

    if (!last) {
        return 0;
    }
    n = length < last->room ? length : last->room;
    memcpy((uint8_t *)last->at + last->length, bytes, n);
    last->length += n;
    last->room -= n;
    return n;
}

static bool copy(struct postern_stream *stream, const uint8_t *bytes, size_t length)
{
    size_t n = append(stream, bytes, length);
    struct piece *piece;

    if (n == length) {
        return true;
    }
    piece = new_piece(length - n > COPY_MIN ? length - n : COPY_MIN);
    if (!piece) {
        return false;
    }
    piece->at = piece->copy;
    add_piece(stream, piece);
    return append(stream, bytes + n, length - n) > 0;
}

static bool refer(struct postern_stream *stream, const uint8_t *bytes, size_t length)
{
    struct block *block = connection_block(stream->postern->connection);
    struct piece *piece = block ? new_piece(0) : NULL;

    if (!piece) {
        block_release(block);
        return false;
    }
    piece->block = block;
    piece->at = bytes;
    piece->length = length;
    add_piece(stream, piece);
    return true;
}

static void on_data(struct channel *channel, const uint8_t *bytes, size_t length)
{
    struct postern_stream *stream = channel_user(channel);
    size_t given = stream->lingers ? length : give_to_readers(stream, bytes, length);

    channel_consumed(channel, given);
    bytes += given;
    length -= given;
    if (length > 0 && !(length >= REFER_MIN && refer(stream, bytes, length)) &&
        !copy(stream, bytes, length)) {
        stream_fail(stream,
                    &(struct failure){.status = -ENOMEM, .code = CODE_INTERNAL, .message = "out of memory"});
        return;
    }
    tell(stream, POSTERN_READABLE);
}

/* ---- The other events ---- */

static void on_opened(struct channel *channel)
{
    struct postern_stream *stream = channel_user(channel);

    stream->answered = true;
    leave_opening(stream);
    tell(stream, POSTERN_OPENED);
}

static void on_refused(struct channel *channel, const struct control_refused *refused)
{
    char message[CONTROL_MESSAGE_MAX + 1] = "";
    struct failure why = {.status = -ECONNREFUSED, .code = refused->code, .retryable = refused->retryable};

    if (refused->message.length > 0) {
        memcpy(message, refused->message.data, refused->message.length);
        message[refused->message.length] = '\0';
        why.message = message;
    }
    stream_fail(channel_user(channel), &why);
}

static void on_fin(struct channel *channel)
{
    struct postern_stream *stream = channel_user(channel);

    stream->heard_end = true;
    tell(stream, POSTERN_READABLE);
    settle_lingering(stream);
}

static void on_reset(struct channel *channel, uint32_t code)
{
    struct postern_stream *stream = channel_user(channel);

    failure_set(&stream->read_failure, &(struct failure){.status = -ECONNRESET, .code = code}, 0);
    tell(stream, POSTERN_READABLE);
    settle_lingering(stream);
}

static void on_stopped(struct channel *channel, uint32_t code)
{
    struct postern_stream *stream = channel_user(channel);

    failure_set(&stream->write_failure, &(struct failure){.status = -EPIPE, .code = code}, 0);
    tell(stream, POSTERN_WRITABLE);
    settle_lingering(stream);
}

/* A timer of this stream's, or the end of its session. */
static void on_failed(struct channel *channel, uint32_t code, bool retryable)
{
    struct failure why = {.status = -ENOTCONN, .code = code, .retryable = retryable};

    if (code == CODE_OPEN_TIMEOUT) {
        why.status = -ECONNREFUSED;
    } else if (code == CODE_NO_PROGRESS || code == code_of_reason(REASON_HALF_CLOSED_TIMEOUT)) {
        why.status = -ECONNRESET;
    }
    stream_fail(channel_user(channel), &why);
}

/* A writer whose bytes are all taken leaves the list, since nothing but a loan holds it on its thread's stack any
 * longer. */
static void take_from_writer(struct writer *writer, size_t n)
{
    writer->at += n;
    writer->left -= n;
    if (writer->left == 0) {
        TAILQ_REMOVE(&writer->stream->writers, writer, entry);
        writer->listed = false;
    }
}

static size_t take_from_writers(struct postern_stream *stream, uint8_t *buffer, size_t size)
{
    size_t taken = 0;
    struct writer *writer;

    while (taken < size && (writer = TAILQ_FIRST(&stream->writers))) {
        size_t n = writer->left < size - taken ? writer->left : size - taken;
        memcpy(buffer + taken, writer->at, n);
        taken += n;
        take_from_writer(writer, n);
        if (!writer->listed) {
            postern_wake(stream->postern, &stream->waiters, POSTERN_WRITABLE);
        }
    }
    return taken;
}

static enum channel_more what_follows(struct postern_stream *stream)
{
    if (!TAILQ_EMPTY(&stream->writers)) {
        return CHANNEL_MORE;
    }
    stream->end_sent = stream->finished;
    return stream->finished ? CHANNEL_FIN : CHANNEL_PAUSE;
}

static size_t on_fill(struct channel *channel, uint8_t *buffer, size_t size, enum channel_more *more)
{
    struct postern_stream *stream = channel_user(channel);
    size_t taken = take_from_writers(stream, buffer, size);

    *more = what_follows(stream);
    if (*more != CHANNEL_MORE) {
        tell(stream, POSTERN_WRITABLE);
    }
    return taken;
}

static size_t on_lend(struct channel *channel, const void **bytes, size_t size, enum channel_more *more)
{
    struct postern_stream *stream = channel_user(channel);
    struct writer *writer = TAILQ_FIRST(&stream->writers);
    size_t n = writer && writer->left < size ? writer->left : size;

    if (!writer || n < LEND_MIN) {
        return 0;
    }
    *bytes = writer->at;
    connection_lend(channel, &writer->loan);
    take_from_writer(writer, n);
    *more = what_follows(stream);
    return n;
}

void stream_on_returned(struct connection_loan *loan)
{
    struct writer *writer = CONTAINER_OF(loan, struct writer, loan);

    if (!writer->listed) {
        tell(writer->stream, POSTERN_WRITABLE);
    }
}

const struct session_events stream_channel_events = {
    .opened = on_opened,
    .refused = on_refused,
    .data = on_data,
    .fin = on_fin,
    .reset = on_reset,
    .stopped = on_stopped,
    .failed = on_failed,
    .fill = on_fill,
    .lend = on_lend,
};
