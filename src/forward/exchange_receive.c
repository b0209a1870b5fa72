/*
 * The answer of an exchange on its way in: read into the loop's scratch memory, judged, and told to the owner. When the owner
 * falls behind, what was read already is kept in memory that the loop lends, and nothing more is read.
 */
#include "aws/error_code.h"
#include "forward/exchange_private.h"

#include <errno.h>
#include <string.h>

/* Full reads in one report, for the sake of the others on the loop. */
#define READS_MAX 16

void exchange_drop_rest(struct exchange *exchange)
{
    if (exchange->rest != NULL) {
        loop_take_back(exchange->worker->loop, exchange->rest);
        exchange->rest = NULL;
    }
    exchange->rest_size = exchange->rest_piece = 0;
}

/* `size` bytes from `data` on are left, of which `piece` belong to the piece that the owner took a part of. */
static void keep_rest(struct exchange *exchange, const char *data, size_t size, size_t piece)
{
    exchange->paused = true;
    exchange->rest_piece = piece;
    exchange->rest_size = size;
    if (exchange->rest != NULL) {
        exchange->rest_at = (size_t)((const unsigned char *)data - exchange->rest);
        return;
    }
    exchange->rest = loop_lend(exchange->worker->loop);
    if (exchange->rest == NULL) {
        exchange_fail(exchange, HTTP_REFUSED_NO_MEMORY, NULL);
        return;
    }
    exchange->rest_at = 0;
    memcpy(exchange->rest, data, size);
}

static bool refuses_signed(const struct exchange *exchange)
{
    unsigned status = exchange->response.status;
    return exchange->upstream != NULL && exchange->upstream->signing != NULL && status >= 400 && status < 500;
}

static struct http_span field(const struct exchange *exchange, const char *name)
{
    const struct http_field *found = http_fields_find(&exchange->response.reader.fields, name);
    return found != NULL ? found->value : (struct http_span){.data = NULL};
}

void exchange_note_refusal(struct exchange *exchange)
{
    char code[AWS_ERROR_CODE_MAX + 1];
    if (!refuses_signed(exchange)) {
        return;
    }
    aws_error_code_read(field(exchange, "x-amzn-errortype"), text_string(&exchange->refusal),
                        exchange->refusal.length, code);
    exchange->code = code[0] != '\0' ? strdup(code) : NULL;
    signing_refused(exchange->upstream->signing, exchange->options.route->name, exchange->response.status,
                    code, field(exchange, "date"));
}

static void keep_refusal(struct exchange *exchange, const char *data, size_t size)
{
    size_t room = AWS_ERROR_BODY_MAX - exchange->refusal.length;
    text_add_bytes(&exchange->refusal, data, size < room ? size : room);
}

static void take_head(struct exchange *exchange)
{
    const struct http_response *response = &exchange->response;
    if (response->status == 100) {
        exchange_go_on(exchange);
    } else if (response->status >= 200) {
        exchange->answered = true;
        exchange->expecting = false;
        if (exchange->sent) {
            exchange_release_gathered(exchange); /* it is not sent again */
        }
        exchange->ops->head(exchange, response);
    }
}

/* Returns how much was taken. */
static size_t take_piece(struct exchange *exchange, struct http_span piece)
{
    size_t taken = exchange->ops->piece(exchange, piece.data, piece.size);
    exchange->received_bytes += taken;
    if (refuses_signed(exchange)) {
        keep_refusal(exchange, piece.data, taken);
    }
    return taken;
}

static void refuse(struct exchange *exchange)
{
    const struct http_response *response = &exchange->response;
    exchange_fail(exchange, response->why, http_refusal_meaning(response->reader.why));
}

/* A further byte would be one that nobody asked for. */
static bool is_silent(struct exchange *exchange, size_t left, bool drained)
{
    char byte;
    return left == 0 && (drained || stream_read(exchange->conn->stream, &byte, 1) == -EAGAIN);
}

static void finish(struct exchange *exchange, size_t left, bool drained)
{
    enum upstream_end end = UPSTREAM_CUT;
    if (exchange->sent && !exchange->broken) {
        bool again = exchange->response.keep_alive && is_silent(exchange, left, drained);
        end = again ? UPSTREAM_KEEP : UPSTREAM_CLOSE;
    }
    exchange_finish(exchange, end);
}

/* Judges `size` bytes. Returns whether the exchange is there, and open, and its owner keeps up. */
static bool take(struct exchange *exchange, const char *data, size_t size, bool drained)
{
    enum http_event event;
    size_t at = 0;
    do {
        size_t used;
        struct http_span piece;
        event = http_response_read(&exchange->response, data + at, size - at, &used, &piece);
        at += used;
        if (event == HTTP_EVENT_HEAD) {
            take_head(exchange);
        } else if (event == HTTP_EVENT_BODY) {
            size_t taken = take_piece(exchange, piece);
            if (taken < piece.size && exchange->state == EXCHANGE_OPEN) {
                size_t untaken = piece.size - taken;
                keep_rest(exchange, piece.data + taken, (size_t)(data + size - piece.data) - taken, untaken);
                return false;
            }
        }
        if (exchange->state != EXCHANGE_OPEN) {
            return false;
        }
    } while (event == HTTP_EVENT_HEAD || event == HTTP_EVENT_BODY);
    if (event == HTTP_EVENT_REFUSED) {
        refuse(exchange);
    } else if (event == HTTP_EVENT_END) {
        finish(exchange, size - at, drained);
    }
    return event == HTTP_EVENT_MORE;
}

/* What was kept while the owner was behind. */
static bool take_rest(struct exchange *exchange)
{
    const char *data = (const char *)exchange->rest + exchange->rest_at;
    size_t size = exchange->rest_size;
    struct http_span piece = {.data = data, .size = exchange->rest_piece};
    if (exchange->rest == NULL) {
        return true;
    }
    size_t taken = piece.size > 0 ? take_piece(exchange, piece) : 0;
    if (exchange->state != EXCHANGE_OPEN) {
        return false;
    }
    if (taken < piece.size) {
        keep_rest(exchange, data + taken, size - taken, piece.size - taken);
        return false;
    }
    if (!take(exchange, data + taken, size - taken, false)) {
        return false;
    }
    exchange_drop_rest(exchange);
    return true;
}

static void take_end(struct exchange *exchange, ssize_t n)
{
    bool clean = n == 0 && !exchange->broken && !exchange->conn->stream->failed;
    if (!http_response_begun(&exchange->response)) {
        const char *words = upstream_conn_error(exchange->conn);
        exchange_connection_lost(exchange, HTTP_REFUSED_UPSTREAM_RESET,
                                 words == NULL && n < 0 ? error_words((int)n) : words);
    } else if (http_response_finish(&exchange->response, clean) == HTTP_EVENT_END) {
        exchange_finish(exchange, exchange->sent ? UPSTREAM_CLOSE : UPSTREAM_CUT);
    } else {
        const char *words = upstream_conn_error(exchange->conn);
        exchange_fail(exchange, exchange->response.why,
                      words != NULL ? words : http_refusal_meaning(exchange->response.reader.why));
    }
}

/* Returns whether there may be more. */
static bool read_once(struct exchange *exchange)
{
    struct loop *loop = exchange->worker->loop;
    struct stream *stream = exchange->conn->stream;
    ssize_t n = stream_read(stream, loop->scratch, LOOP_SCRATCH_SIZE);
    if (n == -EAGAIN && exchange->broken && !http_response_begun(&exchange->response)) {
        /* A peer that is gone would have been read to its end: the fault is on this side. An answer that has begun
         * may still come whole, and no other may be read as the rest of it. */
        exchange_connection_lost(exchange, HTTP_REFUSED_UPSTREAM_RESET,
                                 "the connection to the upstream cannot be written to");
        return false;
    }
    if (n == -EAGAIN) {
        return false;
    }
    if (n <= 0) {
        take_end(exchange, n);
        return false;
    }
    exchange->read_at = loop_now(loop);
    bool drained = (size_t)n < LOOP_SCRATCH_SIZE && !stream->hung_up && !stream->patchy;
    if (!take(exchange, (const char *)loop->scratch, (size_t)n, drained)) {
        return false;
    }
    exchange_watch(exchange);
    return !drained;
}

void exchange_receive(struct exchange *exchange)
{
    if (exchange->paused) {
        stream_mute(exchange->conn->stream, true);
        return;
    }
    if (!take_rest(exchange)) {
        return;
    }
    for (unsigned i = 0; i < READS_MAX; i++) {
        if (!read_once(exchange)) {
            return;
        }
    }
    stream_again(exchange->conn->stream, STREAM_READABLE);
}

void exchange_resume(struct exchange *exchange)
{
    if (exchange->paused && exchange->state == EXCHANGE_OPEN) {
        exchange->paused = false;
        exchange->read_at = loop_now(exchange->worker->loop);
        stream_mute(exchange->conn->stream, false);
        stream_again(exchange->conn->stream, STREAM_READABLE);
    }
}
