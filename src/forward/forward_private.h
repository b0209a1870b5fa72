/* What the parts of a forward stream share: its life (forward_stream.c), what comes (forward_request.c), what goes back
 * (forward_answer.c). */
#ifndef POSTERN_FORWARD_PRIVATE_H
#define POSTERN_FORWARD_PRIVATE_H

#include "forward/forward_stream.h"

/* It serves a connect route. */
static inline bool forward_is_proxy(const struct forward_stream *forward)
{
    return forward->from.route->type == CONFIG_CONNECT;
}

/* ---- forward_stream.c */

/* There is nobody to answer. Safe within any callback: what follows from it is done by the next report. */
void forward_lose(struct forward_stream *forward, enum reason why);

/* What follows from it, where nothing runs that would come to an end by itself. */
void forward_settle(struct forward_stream *forward);

/* The request is refused, now or as soon as its exchange has ended. */
void forward_refuse(struct forward_stream *forward, enum http_refusal why, const char *detail);

/* The answer is whole, or there will be none: tells of the request, and goes on as soon as all is written. */
void forward_finish(struct forward_stream *forward, const struct forward_told *end);

/* Ends the stream. `cut`: so that the other side sees that something is missing. */
void forward_end(struct forward_stream *forward, enum reason why, bool cut);

/* The timer's time may have come nearer. */
void forward_arm(struct forward_stream *forward);

void forward_note_moved(struct forward_stream *forward, uint64_t in, uint64_t out);

/* ---- forward_request.c */

/* Takes what there is, as far as it is wanted. */
void forward_pump(struct forward_stream *forward);

/* Throws away what comes. False: nothing more will. */
bool forward_discard(struct forward_stream *forward);

void forward_let_go(struct forward_stream *forward);

/* Whether a request, or a part of one, is there. */
bool forward_begun(const struct forward_stream *forward);

/* Tells the one that runs that its client is gone. */
void forward_cancel(struct forward_stream *forward);

/* ---- forward_answer.c */

static inline size_t forward_pending(const struct forward_stream *forward)
{
    return forward->out.length - forward->out_at;
}

/* Writes what there is to be written. False: the client took less, or is lost. */
bool forward_flush(struct forward_stream *forward);

/* The client takes more: goes on where the exchange had to stop. */
void forward_go_on(struct forward_stream *forward);

/* For exchange_ops and intake_ops. */
void forward_answer_head(struct forward_stream *forward, const struct http_response *response);
size_t forward_answer_piece(struct forward_stream *forward, const char *data, size_t size);
void forward_answer_continue(struct forward_stream *forward);

/* The end of the answer's body. */
void forward_answer_end(struct forward_stream *forward);

/* `retry_after_s`: when it may be worth asking again; 0: not said. */
void forward_answer_refusal(struct forward_stream *forward, enum http_refusal why, unsigned retry_after_s);
void forward_answer_kept(struct forward_stream *forward, const struct intake_end *end);

#endif
