/* Exchanges over TCP, and what they have said when they are whole. Included by one source of a test program. */
#ifndef POSTERN_TESTS_EXCHANGE_PLAIN_H
#define POSTERN_TESTS_EXCHANGE_PLAIN_H

#include "exchange_fixture.h"

#define POST_HEAD(framing) "POST /r?a=1 HTTP/1.1\r\nHost: postern\r\n" framing "\r\n"

static int set_up(void **state)
{
    (void)state;
    open_fixture();
    return 0;
}

static void wait_end(void)
{
    WAIT_FOR(&bench.net, owner.ends > 0);
    assert_int_equal(owner.ends, 1);
}

static void assert_whole(unsigned status, const char *answer)
{
    wait_end();
    assert_string_equal(owner.detail, "");
    assert_int_equal(owner.why, HTTP_REFUSED_NONE);
    assert_int_equal(owner.status, status);
    assert_string_equal(text_string(&owner.answer), answer);
    assert_true(owner.answered && owner.reached);
}

static void start_get(void)
{
    owner_init(&owner, &bench, GET);
    owner_start(&owner);
    far_accept(&bench, &far);
    WAIT_FOR(&bench.net, far_heard(&far, "\r\n\r\n"));
}

#endif
