/*
 * Callers of a worker's framed listeners: up to CALLERS of them, whose side is the session core's own
 * (tests/lib/framed_client.h). The tests' configuration has two listeners, three routes, and three enclaves.
 */
#ifndef POSTERN_TESTS_SESSION_CALLERS_H
#define POSTERN_TESTS_SESSION_CALLERS_H

#include "daemon/sessions.h"
#include "framed_client.h"
#include "one_worker.h"

#define CALLERS 4

/* What each configuration of these tests begins with. */
#define HEAD "version: 1\nadmin: {listen: none}\nmetrics: {listen: none}\n"

enum { SESSION, DEV };
enum { OUT, NARROW, LOGS };
enum { PAYROLL, FRAUD, OUTSIDE };

extern struct framed_client client[CALLERS];

/* Of a test. */
int callers_open(void **state);
int callers_close(void **state);

/* Of a group of tests. */
int callers_open_log(void **state);
int callers_close_log(void **state);

/* Turns the clients once. Returns `condition`. */
bool turned(bool condition);

/* Turns the clients, too. */
#define MEET(condition) AWAIT(turned(false) || (condition))

/* A caller, whose session may be turned away; and one whose session begins (`cid` 0: by a unix socket). */
void call(unsigned listener, const struct sockaddr_any *from, unsigned which);
void come_in(unsigned listener, uint32_t cid, unsigned which);

uint64_t sessions(void);
uint64_t session_ends(enum session_code code);
uint64_t opens_refused(unsigned why);

/* Plays the destination's side of the next stream: takes it. */
void serve(struct peer *upstream);

/* Ends the stream on both sides, and lets go of both. */
void finish(struct framed_stream *stream, struct peer *upstream);

void assert_open_refused(unsigned which, const char *name, enum reason why);

#endif
