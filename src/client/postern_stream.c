/* The functions of include/postern/postern.h that take a stream. */
#include "client/clock.h"
#include "client/postern_private.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

/* ---- Opening and closing ---- */

static int may_open(const struct postern *postern, struct postern_error *err)
{
    if (postern->drained) {
        return postern_fail(err, -ESHUTDOWN,
                            "cannot open a stream: postern_drain() was called; make another connection");
    }
    if (postern->count >= postern->max_streams) {
        return postern_fail(err, -EMFILE,
                            "cannot open a stream: `max_streams` are open; close some, or raise it");
    }
    return 0;
}

static int begin(struct postern *postern, const char *route, const struct postern_open_options *options,
                 struct postern_stream **ret, struct postern_error *err)
{
    uint32_t timeout = postern->open_timeout;
    struct postern_stream *stream;
    uint8_t *request;
    size_t length;
    int status = postern_read_request(route, options, &timeout, &request, &length, err);

    if (status != 0) {
        return status;
    }
    if (stream_new(postern, &stream) < 0) {
        free(request);
        return postern_fail(err, -ENOMEM, "cannot open a stream: out of memory");
    }
    stream->request = request;
    stream->request_length = length;
    stream->open_by = clock_ms() + timeout;
    stream_enter_opening(stream, &postern->queued);
    postern->count++;
    *ret = stream;
    return 0;
}

int postern_open(struct postern *postern, const char *route, const struct postern_open_options *options,
                 struct postern_stream **ret, struct postern_error *err)
{
    int status = postern_enter(postern, err);

    if (status != 0) {
        return status;
    }
    status = may_open(postern, err);
    if (status == 0) {
        status = begin(postern, route, options, ret, err);
    }
    if (status == 0) {
        streams_open_queued(postern);
        streams_expire_at(postern, (*ret)->open_by);
    }
    postern_leave_unwritten(postern);
    return status;
}

void postern_close(struct postern_stream *stream)
{
    struct postern *postern = stream ? stream->postern : NULL;

    if (!stream) {
        return;
    }
    if (!postern_enter_to_end(postern)) {
        return;
    }
    postern->count--;
    postern_reference(postern); /* for this function's sake: the stream's may be the last */
    if (stream->finished && stream->channel) {
        stream_linger(stream);
    } else {
        stream_end(stream);
    }
    postern_unreference(postern);
}

void postern_reset(struct postern_stream *stream, uint32_t code)
{
    struct failure why = {.status = -ESHUTDOWN, .code = code != CODE_NO_ERROR ? code : CODE_CANCEL};

    if (postern_enter(stream->postern, NULL) != 0) {
        return;
    }
    stream_drop_pieces(stream);
    stream->heard_end = false;
    stream_fail(stream, &why);
    postern_leave(stream->postern);
}

void postern_set_user(struct postern_stream *stream, void *user)
{
    atomic_store_explicit(&stream->user, user, memory_order_release);
}

void *postern_user(const struct postern_stream *stream)
{
    return atomic_load_explicit(&stream->user, memory_order_acquire);
}

/* ---- Waiting ---- */

static int wait_for(struct postern_stream *stream, unsigned event, const struct deadline *until)
{
    int status = postern_wait(stream->postern, &stream->waiters, event, until);

    if (status == -EAGAIN) {
        stream->wants |= (uint8_t)event;
    }
    return status;
}

int postern_wait_opened(struct postern_stream *stream, int timeout_ms, struct postern_error *err)
{
    struct deadline until;
    int status = postern_enter(stream->postern, err);

    if (status != 0) {
        return status;
    }
    until = postern_deadline(stream->postern, timeout_ms);
    while (!stream->answered && stream->read_failure.status == 0 && status == 0) {
        status = wait_for(stream, POSTERN_OPENED, &until);
    }
    if (stream->answered) {
        status = 0;
    } else if (stream->read_failure.status != 0) {
        status = postern_fail_with(err, &stream->read_failure);
    } else {
        status = postern_fail_wait(err, status, "waiting for the stream to be opened");
    }
    postern_leave(stream->postern);
    return status;
}

/* ---- Reading ---- */

static bool reading_is_over(const struct postern_stream *stream)
{
    return stream->heard_end || stream->read_failure.status != 0;
}

static size_t clamp(size_t size)
{
    return size < SSIZE_MAX ? size : SSIZE_MAX;
}

/* Bytes that come while it waits are put into its buffer. */
static int wait_for_bytes(struct postern_stream *stream, struct reader *reader, const struct deadline *until)
{
    int status = 0;

    TAILQ_INSERT_TAIL(&stream->readers, reader, entry);
    while (reader->filled == 0 && STAILQ_EMPTY(&stream->pieces) && !reading_is_over(stream) && status == 0) {
        status = wait_for(stream, POSTERN_READABLE, until);
    }
    TAILQ_REMOVE(&stream->readers, reader, entry);
    return status;
}

static ssize_t read_bytes(struct postern_stream *stream, void *buffer, size_t size, int timeout_ms,
                          struct postern_error *err)
{
    struct reader reader = {.at = buffer, .room = size};
    struct deadline until = postern_deadline(stream->postern, timeout_ms);
    size_t taken = stream_take(stream, buffer, size);
    int status = 0;

    if (taken == 0) {
        status = wait_for_bytes(stream, &reader, &until);
        taken = reader.filled + stream_take(stream, reader.at, reader.room);
    }
    if (taken > 0) {
        return (ssize_t)taken;
    }
    if (stream->read_failure.status != 0) {
        return postern_fail_with(err, &stream->read_failure);
    }
    return stream->heard_end ? 0 : postern_fail_wait(err, status, "reading");
}

ssize_t postern_read(struct postern_stream *stream, void *buffer, size_t size, int timeout_ms,
                     struct postern_error *err)
{
    ssize_t result = postern_enter(stream->postern, err);

    if (result != 0) {
        return result;
    }
    result =
        size > 0 ? postern_check_bytes(buffer, size, err) : postern_fail(err, -EINVAL, "cannot read 0 bytes");
    if (result == 0) {
        result = read_bytes(stream, buffer, clamp(size), timeout_ms, err);
    }
    stream_settle(stream);
    postern_leave(stream->postern);
    return result;
}

/* ---- Writing ---- */

/* 0, or why nothing can be written. */
static int may_write(const struct postern_stream *stream, struct postern_error *err)
{
    if (stream->write_failure.status != 0) {
        return postern_fail_with(err, &stream->write_failure);
    }
    if (stream->finished) {
        return postern_fail(err, -ESHUTDOWN, "cannot write: postern_finish() was called");
    }
    return 0;
}

/* Another thread may be in the system call that reads the bytes: it does not wait there, so neither does the time count. */
static void wait_for_loan(struct postern_stream *stream, const struct connection_loan *loan)
{
    const struct deadline for_ever = {.timeout_ms = -1};

    while (loan->out && postern_wait(stream->postern, &stream->waiters, POSTERN_WRITABLE, &for_ever) == 0) {
    }
}

/* `hear`: or until there is something to be read. */
static int wait_until_taken(struct postern_stream *stream, struct writer *writer,
                            const struct deadline *until, bool hear)
{
    unsigned events = POSTERN_WRITABLE | (hear ? POSTERN_READABLE : 0);
    int status = 0;

    TAILQ_INSERT_TAIL(&stream->writers, writer, entry);
    writer->listed = true;
    stream_ask_to_send(stream);
    postern_flush(stream->postern);
    while (writer->listed && stream->write_failure.status == 0 && status == 0) {
        if (!hear || (STAILQ_EMPTY(&stream->pieces) && !reading_is_over(stream))) {
            status = wait_for(stream, events, until);
        } else {
            stream->wants |= POSTERN_WRITABLE;
            status = -EAGAIN;
        }
    }
    if (writer->listed) {
        TAILQ_REMOVE(&stream->writers, writer, entry);
        writer->listed = false;
    }
    wait_for_loan(stream, &writer->loan);
    if (stream->finished) { /* it may be the end's turn */
        stream_ask_to_send(stream);
    }
    return status;
}

static ssize_t write_bytes(struct postern_stream *stream, const void *data, size_t size, int timeout_ms,
                           bool hear, struct postern_error *err)
{
    struct writer writer = {.stream = stream, .at = data, .left = size};
    struct deadline until = postern_deadline(stream->postern, timeout_ms);
    int status = wait_until_taken(stream, &writer, &until, hear);

    if (writer.left < size) {
        return (ssize_t)(size - writer.left);
    }
    if (stream->write_failure.status != 0) {
        return postern_fail_with(err, &stream->write_failure);
    }
    return postern_fail_wait(err, status, "writing");
}

static ssize_t enter_and_write(struct postern_stream *stream, const void *data, size_t size, int timeout_ms,
                               bool hear, struct postern_error *err)
{
    ssize_t result = postern_enter(stream->postern, err);

    if (result != 0) {
        return result;
    }
    result = may_write(stream, err);
    result = result == 0 ? postern_check_bytes(data, size, err) : result;
    if (result == 0 && size > 0) {
        result = write_bytes(stream, data, clamp(size), timeout_ms, hear, err);
    }
    postern_leave(stream->postern);
    return result;
}

ssize_t postern_write(struct postern_stream *stream, const void *data, size_t size, int timeout_ms,
                      struct postern_error *err)
{
    return enter_and_write(stream, data, size, timeout_ms, false, err);
}

ssize_t postern_write_or_hear(struct postern_stream *stream, const void *data, size_t size, int timeout_ms,
                              struct postern_error *err)
{
    return enter_and_write(stream, data, size, timeout_ms, true, err);
}

int postern_finish(struct postern_stream *stream, struct postern_error *err)
{
    int status = postern_enter(stream->postern, err);

    if (status != 0) {
        return status;
    }
    status = may_write(stream, err);
    if (status == 0) {
        stream->finished = true;
        stream_ask_to_send(stream);
        if (reading_is_over(stream)) { /* then this was all, and its channel may go */
            postern_flush(stream->postern);
            stream_settle(stream);
        }
    }
    postern_leave_unwritten(stream->postern);
    return status;
}
