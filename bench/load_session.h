/* The load that goes through one framed connection, by the client library as any program uses it. */
#ifndef POSTERN_BENCH_LOAD_SESSION_H
#define POSTERN_BENCH_LOAD_SESSION_H

#include "load.h"
#include <postern/postern.h>

/* Pollable, and greeted by the daemon. */
struct postern *load_start(const struct options *options);

/* Waits for something to happen and has it done. Nothing for ten seconds ends the program. */
void load_turn(struct postern *door);

struct postern_stream *load_open(struct postern *door, const char *route);

int run_session_bulk(const struct options *options);
int run_session_short(const struct options *options);
int run_session_idle(const struct options *options);
int run_session_echo(const struct options *options);

#endif
