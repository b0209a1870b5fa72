/*
 * A server on the test's own loop that plays an endpoint for credentials: it takes one request a connection, asks the test for
 * the answer, gives it and closes.
 *
 * In a program that fails calls on purpose (fault.h), its own calls do not fail.
 */
#ifndef POSTERN_TESTS_ENDPOINT_H
#define POSTERN_TESTS_ENDPOINT_H

#include "loopback.h"
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct endpoint;

/* The whole answer, head and body; NULL: none ever comes, the connection stays open. */
typedef const char *(*endpoint_cb)(struct endpoint *endpoint, const char *request);

struct endpoint_line;

struct endpoint {
    struct loopback *bench;
    endpoint_cb answer;
    void *data;
    uint16_t port;
    unsigned requests;
    char last[16384]; /* the request that came last */

    /* Private. */
    uv_tcp_t server;
    struct endpoint_line *lines;
    bool closed;
};

void endpoint_open(struct endpoint *endpoint, struct loopback *bench, endpoint_cb answer, void *data);
void endpoint_close(struct endpoint *endpoint);

/* "http://127.0.0.1:PORT" and `path`, in `buffer`. */
const char *endpoint_url(const struct endpoint *endpoint, const char *path, char buffer[128]);

#endif
