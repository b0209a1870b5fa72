/* What the files of an exchange tell each other. */
#ifndef POSTERN_FORWARD_EXCHANGE_PRIVATE_H
#define POSTERN_FORWARD_EXCHANGE_PRIVATE_H

#include "forward/exchange.h"
#include "forward/upstream.h"

/* worker.c: exchange_turn() is called in the loop's next turn. */
void exchange_soon(struct exchange *exchange);
void exchange_no_turn(struct exchange *exchange);

/* exchange_start.c: makes the head, has it signed, and asks for a connection; with the whole body if it was gathered. */
void exchange_prepare(struct exchange *exchange);
void exchange_release_head(struct exchange *exchange);
void exchange_release_gathered(struct exchange *exchange);

/* exchange.c */

/* A connection that is new, or was kept; the latter is open at once. */
enum http_refusal exchange_lease(struct exchange *exchange, bool fresh, struct error *err) MUST_CHECK;
void exchange_turn(struct exchange *exchange);

/* It ends, in the loop's next turn: from wherever it is. Harmless when it is ending. `detail` may be NULL. */
void exchange_fail(struct exchange *exchange, enum http_refusal why, const char *detail);

/* The answer is whole; from the loop only. The exchange is the owner's again when it returns. */
void exchange_finish(struct exchange *exchange, enum upstream_end how);

/* The connection failed before a byte of an answer came: sends the request again on another if it may, else fails. */
void exchange_connection_lost(struct exchange *exchange, enum http_refusal why, const char *detail);

/* Has the connection's timer go off no later than the exchange waits for. */
void exchange_watch(struct exchange *exchange);

/* Tells the client that waits for it to send its body; from the loop only. */
void exchange_go_on(struct exchange *exchange);

/* exchange_send.c */

/* Writes what is in `out`. */
void exchange_flush(struct exchange *exchange);
/* The connection takes nothing more, and may have an answer to read. */
void exchange_note_broken(struct exchange *exchange);
/* The connection is open, or takes more. May call want(). */
void exchange_send(struct exchange *exchange);

/* exchange_splice.c */

/* Moves on what is in the pipe. */
void exchange_flush_pipe(struct exchange *exchange);
/* Gives it back, and up what is in it. */
void exchange_drop_pipe(struct exchange *exchange);

/* exchange_receive.c: reads on, as far as the owner keeps up. May end the exchange. */
void exchange_receive(struct exchange *exchange);
/* The answer is whole: looks at what it says of a signature. */
void exchange_note_refusal(struct exchange *exchange);
void exchange_drop_rest(struct exchange *exchange);

#endif
