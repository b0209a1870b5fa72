/*
 * One stream to the log, on a loop that is turned by hand. The log's lines are read back from a file.
 */
#ifndef POSTERN_TESTS_LOG_STREAM_BENCH_H
#define POSTERN_TESTS_LOG_STREAM_BENCH_H

#include "daemon/log_stream.h"
#include "loopback.h"
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define LINES_MAX 4000

extern struct loopback loopback;
extern struct config_route route;
extern struct enclave_counters counters;
extern struct log_stream stream;
extern const struct log_stream_ops ops;
extern unsigned ended;
extern uint64_t moved;

/* Of a test. */
int set_up(void **state);
int tear_down(void **state);

/* Where a stream of that enclave (NULL: nobody's) comes from. */
struct log_stream_source source(const char *enclave);

/* Starts the stream on a socket, of which it returns the other end. */
int start(void);

/* Sends, and turns the loop meanwhile. */
void send_all(int fd, const char *data, size_t length);
void send_text(int fd, const char *text);

/* Ends it, and waits for the stream to have seen that. */
void finish(int fd);

/* Ends the log. Every line of it is one object, whatever was sent: `lines`, of which there are `count`. */
void read_back(void);
extern json_t *lines[LINES_MAX];
extern unsigned count;
const char *field(unsigned line, const char *name);
long long number(unsigned line, const char *name);
bool continues(unsigned line);

#endif
