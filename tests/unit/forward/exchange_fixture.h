/*
 * One exchange with its owner and its upstream, for tests that begin with a bench and end with nothing left. Included by one source
 * of a test program.
 */
#ifndef POSTERN_TESTS_EXCHANGE_FIXTURE_H
#define POSTERN_TESTS_EXCHANGE_FIXTURE_H

#include "exchange_bench.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <string.h>

#define GET "GET /r HTTP/1.1\r\nHost: postern\r\n\r\n"
#define OK  "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static struct bench bench;
static struct owner owner;
static struct far far;

static void open_fixture(void)
{
    bench_open(&bench);
    memset(&owner, 0, sizeof owner);
    memset(&far, 0, sizeof far);
    far.fd = -1;
}

static int tear_down(void **state)
{
    (void)state;
    far_release(&far);
    owner_release(&owner);
    bench_close(&bench);
    return 0;
}

#endif
