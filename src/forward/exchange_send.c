/*
 * The request of an exchange on its way out.
 *
 * What goes first, head and the first bytes of the body, is gathered in `out` and leaves in one write. It stays there while it
 * may have to be sent again. What follows goes from the owner's memory into the connection.
 */
#include "forward/exchange_private.h"

#include <errno.h>
#include <llhttp.h>

/* Pieces of a body in chunks that are no larger go out together: the client says how large its chunks are, and a system call for
 * each byte would keep the loop from the others. */
#define SMALL_MAX ((size_t)4 * 1024)

/* Bodies come and go with the requests that they are of. */
#define MEMORY_RETRY_S 1

/* What was read off the connection before it broke may still be an answer: a read finds out. */
void exchange_note_broken(struct exchange *exchange)
{
    exchange->broken = true;
    exchange->blocked = false;
    stream_again(exchange->conn->stream, STREAM_READABLE);
    exchange_soon(exchange);
}

static size_t write_some(struct exchange *exchange, const void *data, size_t size)
{
    ssize_t n = stream_write(exchange->conn->stream, data, size);
    if (n < 0 && n != -EAGAIN) {
        exchange_note_broken(exchange);
        return 0;
    }
    size_t done = n > 0 ? (size_t)n : 0;
    exchange->blocked = done < size;
    if (done > 0) {
        exchange->reached = true;
        exchange->progress_at = loop_now(exchange->worker->loop);
    }
    return done;
}

static void note_flushed(struct exchange *exchange)
{
    if (!exchange->keeping) {
        exchange_release_gathered(exchange);
        text_clear(&exchange->out);
        exchange->out.wiped = false; /* that was the head, and what follows is the body */
        exchange->out_at = 0;
    }
    exchange->sent = exchange->body_over;
    if (!exchange->wants) {
        exchange_no_turn(exchange); /* there is nothing left to be done in it */
    }
    if (exchange->expecting && exchange->expect_by == UINT64_MAX) {
        exchange->expect_by = loop_now(exchange->worker->loop) + EXCHANGE_EXPECT_MS;
    }
}

static void write_text(struct exchange *exchange, const struct text *text, size_t *at)
{
    size_t size = text->length - *at;
    if (size > 0 && !exchange->blocked && !exchange->broken) {
        *at += write_some(exchange, text->data + *at, size);
    }
}

void exchange_flush(struct exchange *exchange)
{
    if (exchange->broken) {
        return;
    }
    exchange->blocked = false;
    if (exchange->pipe != NULL) {
        exchange_flush_pipe(exchange);
    }
    write_text(exchange, &exchange->out, &exchange->out_at);
    write_text(exchange, &exchange->gathered, &exchange->gathered_at);
    if (!exchange->broken && !exchange->blocked) {
        note_flushed(exchange);
    }
    exchange_watch(exchange);
}

void exchange_send(struct exchange *exchange)
{
    exchange_flush(exchange);
    if (exchange->wants && !exchange->blocked) {
        exchange->wants = false;
        exchange->ops->want(exchange);
    }
}

static size_t hold(struct exchange *exchange, const char *data, size_t size)
{
    size_t room = EXCHANGE_HOLD_MAX - exchange->held;
    size_t taken = size < room ? size : room;
    char prefix[HTTP_CHUNK_PREFIX_MAX];
    if (taken == 0) {
        return 0;
    }
    text_add_bytes(&exchange->out, prefix, http_body_prefix(&exchange->body, taken, prefix));
    text_add_bytes(&exchange->out, data, taken);
    exchange->held += taken;
    return taken;
}

/* A chunk's size is said for all that was offered: what is not taken now is offered again. */
static void begin_chunk(struct exchange *exchange, size_t size)
{
    char prefix[HTTP_CHUNK_PREFIX_MAX];
    text_add_bytes(&exchange->out, prefix, http_body_prefix(&exchange->body, size, prefix));
    exchange->chunk_left = size;
    exchange_flush(exchange);
}

static size_t pass_chunked(struct exchange *exchange, const char *data, size_t size)
{
    if (exchange->chunk_left == 0) {
        begin_chunk(exchange, size);
    }
    if (exchange->blocked || exchange->broken) {
        return 0;
    }
    size_t offered = size < exchange->chunk_left ? size : (size_t)exchange->chunk_left;
    size_t taken = write_some(exchange, data, offered);
    exchange->chunk_left -= taken;
    return taken;
}

static size_t pass_plain(struct exchange *exchange, const char *data, size_t size)
{
    char prefix[HTTP_CHUNK_PREFIX_MAX];
    size_t taken = write_some(exchange, data, size);
    if (taken > 0) {
        (void)http_body_prefix(&exchange->body, taken, prefix); /* counts: there is none */
    }
    return taken;
}

/* From the owner's memory into the connection, which has taken all that came before. */
static size_t pass(struct exchange *exchange, const char *data, size_t size)
{
    size_t taken = 0;
    if (exchange->keeping) {
        exchange->keeping = false;
        note_flushed(exchange);
    }
    while (taken < size && !exchange->blocked && !exchange->broken) {
        taken += exchange->body.framing.body == HTTP_BODY_CHUNKED
                     ? pass_chunked(exchange, data + taken, size - taken)
                     : pass_plain(exchange, data + taken, size - taken);
    }
    return taken;
}

static bool is_small(const struct exchange *exchange, size_t size)
{
    return exchange->body.framing.body == HTTP_BODY_CHUNKED && exchange->chunk_left == 0 &&
           !exchange->keeping && size <= SMALL_MAX;
}

/* It goes out when there is enough of it, or at the end of the turn. */
static void gather_small(struct exchange *exchange, const char *data, size_t size)
{
    char prefix[HTTP_CHUNK_PREFIX_MAX];
    if (exchange->out_at == exchange->out.length) {
        exchange->progress_at = loop_now(exchange->worker->loop); /* the upstream is not behind yet */
    }
    text_add_bytes(&exchange->out, prefix, http_body_prefix(&exchange->body, size, prefix));
    text_add_bytes(&exchange->out, data, size);
    if (exchange->out.failed) {
        exchange_fail(exchange, HTTP_REFUSED_NO_MEMORY, NULL);
    } else if (exchange->out.length - exchange->out_at >= EXCHANGE_HOLD_MAX) {
        exchange_flush(exchange);
    } else {
        exchange_soon(exchange);
    }
}

static bool is_length_over(const struct exchange *exchange)
{
    const struct http_framing *framing = &exchange->body.framing;
    return framing->body == HTTP_BODY_LENGTH && framing->length == 0;
}

static bool holds(const struct exchange *exchange)
{
    return exchange->state != EXCHANGE_OPEN || exchange->keeping || exchange->out_at < exchange->out.length;
}

/* What every request may hold is not counted. */
static bool is_granted(struct exchange *exchange)
{
    size_t size = exchange->gathered.capacity;
    return size <= 2 * EXCHANGE_HOLD_MAX ||
           body_memory_grow(exchange->worker->bodies, &exchange->grant, exchange->options.asker, size);
}

static size_t gather(struct exchange *exchange, const char *data, size_t size)
{
    text_add_bytes(&exchange->gathered, data, size);
    if (exchange->gathered.failed) {
        bool over = size > exchange->gathered.limit - exchange->gathered.length;
        exchange_fail(exchange, over ? HTTP_REFUSED_BODY_SIZE : HTTP_REFUSED_NO_MEMORY,
                      over ? "the body is over `sign.aws.max_body`: it is gathered to be hashed" : NULL);
    } else if (!is_granted(exchange)) {
        exchange->retry_after_s = MEMORY_RETRY_S;
        exchange_fail(exchange, HTTP_REFUSED_BODY_MEMORY, NULL);
    }
    return size;
}

/* The connection is broken: what is not held is thrown away. With a hole in its body, the request cannot be sent again. */
static size_t throw_away(struct exchange *exchange, size_t held, size_t size)
{
    exchange->keeping &= held == size;
    return size;
}

/* Whether a broken connection makes the rest of the request worthless: it is not sent again on another one. */
static bool is_lost(const struct exchange *exchange)
{
    return exchange->state == EXCHANGE_ENDING || (exchange->broken && !exchange->keeping);
}

static size_t take(struct exchange *exchange, const char *data, size_t size)
{
    size_t taken = holds(exchange) ? hold(exchange, data, size) : 0;
    if (exchange->out.failed) {
        exchange_fail(exchange, HTTP_REFUSED_NO_MEMORY, NULL);
        return size;
    }
    if (exchange->state != EXCHANGE_OPEN || exchange->blocked) {
        return taken;
    }
    if (exchange->broken) {
        return throw_away(exchange, taken, size);
    }
    if (taken == size && !is_length_over(exchange)) {
        exchange_soon(exchange); /* more of it may come before */
        return taken;
    }
    if (taken == 0 && is_small(exchange, size)) {
        gather_small(exchange, data, size);
        return size;
    }
    exchange_flush(exchange);
    if (taken < size && !exchange->blocked && !exchange->broken) {
        taken += pass(exchange, data + taken, size - taken);
    }
    return exchange->broken ? throw_away(exchange, taken, size) : taken;
}

size_t exchange_body(struct exchange *exchange, const char *data, size_t size)
{
    if (is_lost(exchange)) {
        return size;
    }
    size_t taken = 0;
    if (exchange->state == EXCHANGE_GATHERING) {
        taken = gather(exchange, data, size);
    } else if (exchange->state != EXCHANGE_SIGNING) {
        taken = take(exchange, data, size);
    }
    exchange->sent_bytes += taken;
    exchange->wants = taken < size;
    exchange_watch(exchange);
    return taken;
}

void exchange_body_end(struct exchange *exchange)
{
    if (is_lost(exchange)) {
        return;
    }
    exchange->body_over = true;
    if (exchange->state == EXCHANGE_GATHERING) {
        exchange_prepare(exchange);
        return;
    }
    if (exchange->state == EXCHANGE_SIGNING) {
        return; /* the head is not there yet */
    }
    http_body_end(&exchange->body, &exchange->options.request->reader.trailers, &exchange->out);
    if (exchange->out.failed) {
        exchange_fail(exchange, HTTP_REFUSED_NO_MEMORY, NULL);
    } else if (exchange->state == EXCHANGE_OPEN && !exchange->blocked) {
        exchange_flush(exchange);
    }
}
