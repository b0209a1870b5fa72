/*
 * What goes back to the client.
 *
 * A small answer is written at once, head and body, when its exchange has ended. A longer one goes out as it comes: a head whose
 * body is to be long, or of unknown length, does not wait for it beyond the loop's turn.
 */
#include "forward/forward_private.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#define SMALL  16384u /* bytes that are worth gathering for one write */
#define DIRECT 16384u /* bytes that are worth a write from where they lie */

/* ---- Bytes ---- */

/* Bytes are to be added. What was written leaves room for them; and if none are waiting, it is the client's turn only from
 * now on. */
static void begin(struct forward_stream *forward)
{
    size_t left = forward_pending(forward);
    if (left == 0) {
        forward->moved_at = loop_now(forward->loop);
    }
    if (forward->out_at > 0) {
        memmove(forward->out.data, forward->out.data + forward->out_at, left);
        forward->out.length = left;
        forward->out_at = 0;
    }
}

/* Returns what the stream said. */
static ssize_t write_some(struct forward_stream *forward, const char *data, size_t size)
{
    ssize_t n = stream_write(&forward->stream, data, size);
    if (n > 0) {
        forward_note_moved(forward, 0, (uint64_t)n);
    } else if (n < 0 && n != -EAGAIN) {
        forward_lose(forward, REASON_CLIENT_RESET);
    }
    return n;
}

bool forward_flush(struct forward_stream *forward)
{
    while (forward_pending(forward) > 0) {
        if (forward->lost) {
            return false;
        }
        ssize_t n = write_some(forward, forward->out.data + forward->out_at, forward_pending(forward));
        if (n < 0) {
            return false;
        }
        forward->out_at += (size_t)n;
    }
    text_clear(&forward->out);
    forward->out_at = 0;
    return true;
}

void forward_go_on(struct forward_stream *forward)
{
    if (forward->stuck && forward->running && forward_pending(forward) <= FORWARD_HELD / 2) {
        forward->stuck = false;
        exchange_resume(&forward->exchange);
    }
}

/* Nothing of an answer is sent that is not whole up to there. */
static bool short_of_memory(struct forward_stream *forward)
{
    if (forward->out.failed) {
        forward_lose(forward, REASON_NO_MEMORY);
    }
    return forward->out.failed;
}

/* ---- Heads ---- */

/* Whether the client may send another request on this connection. */
static bool stays_open(const struct forward_stream *forward)
{
    return forward->request.keep_alive && forward->body_over && !forward->draining &&
           !(forward->heard && forward->in.size == 0);
}

/* A body that is there, or will be at once, goes out with its head. */
static void send_head(struct forward_stream *forward, struct http_framing framing)
{
    bool small = framing.body == HTTP_BODY_LENGTH && framing.length <= SMALL;
    if (!small && framing.body != HTTP_BODY_NONE) {
        stream_again(&forward->stream, STREAM_WRITABLE);
    }
}

void forward_answer_head(struct forward_stream *forward, const struct http_response *response)
{
    struct http_head head;
    struct http_framing framing;
    struct http_client client = {.chunked = forward->request.chunked_answer,
                                 .keep_alive = stays_open(forward),
                                 .id = forward->id};
    if (forward->lost) {
        return;
    }
    forward_worker_lend_head(forward->from.worker, &head);
    enum http_refusal why = http_response_rewrite(response, &client, &head, &framing);
    begin(forward);
    http_head_write(&head, &forward->out);
    forward_worker_take_head(forward->from.worker, &head);
    forward->response = response;
    forward->status = response->status;
    forward->answered = true;
    forward->last |= !client.keep_alive || framing.body == HTTP_BODY_UNTIL_END;
    http_body_init(&forward->body, framing);
    if (why == HTTP_REFUSED_NONE && !short_of_memory(forward)) {
        send_head(forward, framing);
    } else {
        forward_lose(forward, REASON_NO_MEMORY);
    }
}

void forward_answer_continue(struct forward_stream *forward)
{
    if (!forward->lost && !forward->answered && forward->body_in == 0 && forward->request.expects_continue) {
        text_add(&forward->out, "HTTP/1.1 100 Continue\r\n\r\n");
        if (!short_of_memory(forward)) {
            (void)forward_flush(forward);
        }
    }
}

/* ---- Bodies ---- */

/* As much of it as there is room for, with what the framing needs before it. */
static size_t keep(struct forward_stream *forward, const char *data, size_t size)
{
    char prefix[HTTP_CHUNK_PREFIX_MAX];
    size_t pending = forward_pending(forward);
    size_t room = pending < FORWARD_HELD ? FORWARD_HELD - pending : 0;
    size_t fit = size < room ? size : room;
    if (fit == 0) {
        return 0;
    }
    begin(forward);
    text_add_bytes(&forward->out, prefix, http_body_prefix(&forward->body, fit, prefix));
    text_add_bytes(&forward->out, data, fit);
    return short_of_memory(forward) ? 0 : fit;
}

/* From where it lies, without a copy: for bytes that stand by themselves. */
static size_t pass(struct forward_stream *forward, const char *data, size_t size)
{
    char prefix[HTTP_CHUNK_PREFIX_MAX];
    forward->moved_at = loop_now(forward->loop);
    ssize_t n = write_some(forward, data, size);
    if (n <= 0) {
        return 0;
    }
    (void)http_body_prefix(&forward->body, (size_t)n, prefix);
    return (size_t)n;
}

static bool is_direct(struct forward_stream *forward, size_t size)
{
    return !forward->framed && forward->body.framing.body != HTTP_BODY_CHUNKED && size >= DIRECT &&
           forward_flush(forward) && !forward->lost;
}

/* What is gathered goes out when it is enough, or when the body is whole but for its end, which will be told next. Else
 * at the end of the turn. */
static void send_piece(struct forward_stream *forward)
{
    const struct http_framing *framing = &forward->body.framing;
    if (forward_pending(forward) >= SMALL) {
        (void)forward_flush(forward);
    } else if (framing->body != HTTP_BODY_LENGTH || framing->length > 0) {
        stream_again(&forward->stream, STREAM_WRITABLE);
    }
}

size_t forward_answer_piece(struct forward_stream *forward, const char *data, size_t size)
{
    size_t taken = 0;
    if (forward->lost) {
        return size; /* into nothing, until the exchange has ended */
    }
    if (is_direct(forward, size)) {
        taken = pass(forward, data, size);
    } else {
        taken = keep(forward, data, size);
        send_piece(forward);
    }
    forward->body_out += taken;
    forward->stuck = taken < size;
    return forward->lost ? size : taken;
}

void forward_answer_end(struct forward_stream *forward)
{
    http_body_end(&forward->body, &forward->response->reader.trailers, &forward->out);
    (void)short_of_memory(forward);
}

/* ---- Answers of our own ---- */

/* Written once a second. */
static const char *date_of(struct forward_worker *worker, time_t now)
{
    struct tm tm;
    if (worker->dated != now) {
        worker->dated = now;
        if (gmtime_r(&now, &tm) == NULL ||
            strftime(worker->date, sizeof worker->date, "%a, %d %b %Y %H:%M:%S GMT", &tm) == 0) {
            worker->date[0] = '\0';
        }
    }
    return worker->date[0] != '\0' ? worker->date : NULL;
}

static struct http_refusal_note note_for(const struct forward_stream *forward)
{
    return (struct http_refusal_note){
        .request_id = forward->id,
        .date = date_of(forward->from.worker, time(NULL)),
        .head_only = http_span_is(forward->request.method_name, "HEAD"),
    };
}

void forward_answer_refusal(struct forward_stream *forward, enum http_refusal why, unsigned retry_after_s)
{
    struct text allow = TEXT_INIT;
    struct http_refusal_note note = note_for(forward);
    http_policy_tell_methods(&forward->request.rules->policy, &allow);
    note.allow = text_string(&allow);
    note.retry_after_s = retry_after_s;
    begin(forward);
    http_refusal_answer(why, &note, &forward->out);
    text_release(&allow);
    forward->status = http_refusal_status(why);
    forward->answered = forward->last = true;
    (void)short_of_memory(forward);
}

void forward_answer_kept(struct forward_stream *forward, const struct intake_end *end)
{
    struct http_refusal_note note = note_for(forward);
    bool keep_alive = stays_open(forward) && end->why == HTTP_REFUSED_NONE;
    begin(forward);
    intake_answer(end, &note, keep_alive, &forward->out);
    forward->status = end->why == HTTP_REFUSED_NONE ? 202 : http_refusal_status(end->why);
    forward->answered = true;
    forward->last |= !keep_alive;
    (void)short_of_memory(forward);
}
