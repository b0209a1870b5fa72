/*
 * Exchanges over TLS with an upstream of the test's own authority. Included by one source of a test program.
 */
#ifndef POSTERN_TESTS_EXCHANGE_TLS_FIXTURE_H
#define POSTERN_TESTS_EXCHANGE_TLS_FIXTURE_H

#include "certificates.h"
#include "exchange_fixture.h"

static struct authority authority;
static struct certified certified;

static int set_up_all(void **state)
{
    (void)state;
    authority_open(&authority);
    authority_certify(&authority, "server", "DNS:results.test, DNS:other.test, IP:127.0.0.1", 86400,
                      &certified);
    return 0;
}

static int tear_down_all(void **state)
{
    (void)state;
    authority_close(&authority);
    return 0;
}

static int set_up_tls(void **state)
{
    (void)state;
    open_fixture();
    bench.tls = certified_server(&certified);
    bench.forward->tls = true;
    bench.forward->ca_file = authority.ca_file;
    return 0;
}

static void start(const char *head)
{
    owner_release(&owner);
    owner_init(&owner, &bench, head);
    owner_start(&owner);
}

static void wait_end(void)
{
    WAIT_FOR(&bench.net, (far_hear(&far), owner.ends > 0));
    assert_int_equal(owner.ends, 1);
}

static void assert_whole(const char *answer)
{
    wait_end();
    assert_string_equal(owner.detail, "");
    assert_int_equal(owner.why, HTTP_REFUSED_NONE);
    assert_string_equal(text_string(&owner.answer), answer);
}

static void connect_and_hear(void)
{
    start(GET);
    far_accept(&bench, &far);
    WAIT_FOR(&bench.net, far_heard(&far, "\r\n\r\n"));
}

static void use_once(void)
{
    connect_and_hear();
    far_say(&bench, &far, OK);
    assert_whole("ok");
    text_clear(&far.heard);
}

static void assert_refused(enum http_refusal why, const char *words)
{
    wait_end();
    if (strstr(owner.detail, words) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", words, owner.detail);
    }
    assert_int_equal(owner.why, why);
    assert_false(owner.reached);
    assert_int_equal(bench.worker.stats.open, 0);
}

#endif
