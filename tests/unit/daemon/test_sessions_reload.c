/* Sessions over a reload: streams go on, new ones are judged by the new rules, and who has lost its right says goodbye. */
#include "session_callers.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <string.h>

static void adopt(const char *format)
{
    struct rules *rules;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    rules = daemon_rules(&bench.counters, daemon_config(format, bench.port, bench.port));
#pragma GCC diagnostic pop
    sessions_adopt(&bench.worker, rules);
    rules_unref(rules);
}

static void test_new_streams_are_judged_by_the_new_rules(void **state)
{
    struct peer upstream, second;
    (void)state;
    come_in(SESSION, 16, 0);
    struct framed_stream *old = framed_client_open(&client[0], "out");
    serve(&upstream);
    MEET(old->opened);
    /* Everything has another place, and `out` is not for payroll any more. */
    adopt(HEAD "enclaves: {audit: {cid: 20}, payroll: {cid: 16}}\n"
               "routes:\n"
               "  late: {type: relay, to: \"tcp://127.0.0.1:%u\"}\n"
               "  logs: {type: log}\n"
               "  out: {type: relay, to: \"tcp://127.0.0.1:%u\"}\n"
               "listeners:\n"
               "  other: {listen: \"vsock://any:8000\", route: out, allow: any}\n"
               "  session: {listen: \"vsock://any:7001\", protocol: framed, allow: {audit: [out], payroll: "
               "[late]}}\n");
    assert_open_refused(0, "out", REASON_DENIED_ROUTE);
    assert_open_refused(0, "narrow", REASON_DENIED_ROUTE);
    struct framed_stream *late = framed_client_open(&client[0], "late");
    serve(&second);
    MEET(late->opened);
    assert_int_equal(client[0].goaways, 0);
    peer_say(&upstream, 5); /* what was open goes on */
    MEET(old->heard == 5);
    peer_finish(&upstream);
    framed_finish(old);
    MEET(old->ended && streams_open() == 1);
    assert_int_equal(ended_for(OUT, REASON_FINISHED), 1);
    framed_release(old);
    finish(late, &second);
    peer_close(&upstream);
    /* Rules that are older than those change nothing. */
    sessions_adopt(&bench.worker, bench.rules);
    assert_open_refused(0, "out", REASON_DENIED_ROUTE);
}

#define ROUTES                                            \
    "routes:\n"                                           \
    "  out: {type: relay, to: \"tcp://127.0.0.1:%u\"}\n"  \
    "  more: {type: relay, to: \"tcp://127.0.0.1:%u\"}\n" \
    "listeners:\n"

static const char *const farewells[] = {
    /* The listener is gone, or has another name, or is raw. */
    HEAD "enclaves: {payroll: {cid: 16}}\n" ROUTES
         "  s: {listen: \"vsock://any:7000\", protocol: framed, allow: {payroll: [out]}}\n",
    HEAD "enclaves: {payroll: {cid: 16}}\n" ROUTES
         "  session: {listen: \"vsock://any:7000\", route: out, allow: [payroll]}\n",
    /* The enclave is gone, or its CID is another's, or another has it, or it is not let in any more. */
    HEAD "enclaves: {fraud: {cid: 17}}\n" ROUTES
         "  session: {listen: \"vsock://any:7000\", protocol: framed, allow: {fraud: [out]}}\n",
    HEAD "enclaves: {payroll: {cid: 20}}\n" ROUTES
         "  session: {listen: \"vsock://any:7000\", protocol: framed, allow: {payroll: [out]}}\n",
    HEAD
    "enclaves: {fraud: {cid: 16}, payroll: {cid: 17}}\n" ROUTES
    "  session: {listen: \"vsock://any:7000\", protocol: framed, allow: {payroll: [out], fraud: [out]}}\n",
    HEAD "enclaves: {fraud: {cid: 17}, payroll: {cid: 16}}\n" ROUTES
         "  session: {listen: \"vsock://any:7000\", protocol: framed, allow: {fraud: [out]}}\n",
};

static void test_sessions_that_have_lost_their_right_say_goodbye(void **state)
{
    struct peer upstream;
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(farewells); i++) {
        come_in(SESSION, 16, 0);
        struct framed_stream *stream = framed_client_open(&client[0], "out");
        serve(&upstream);
        MEET(stream->opened);
        adopt(farewells[i]);
        MEET(client[0].goaways >= 1);
        assert_false(client[0].ended);
        peer_say(&upstream, 5);
        MEET(stream->heard == 5);
        finish(stream, &upstream);
        MEET(sessions() == 0 && client[0].ended);
        assert_int_equal(client[0].end_code, CODE_NO_ERROR);
        framed_client_close(&client[0]);
        rules_unref(bench.worker.rules);
        bench.worker.rules = NULL;
    }
}

static void test_whom_a_caller_without_a_cid_counts_as(void **state)
{
    struct peer upstream;
    (void)state;
    come_in(DEV, 0, 0);
    adopt(HEAD "enclaves: {fraud: {cid: 16}, payroll: {cid: 17}}\n" ROUTES
               "  dev: {listen: \"unix://@dev\", protocol: framed, peer: payroll, allow: {payroll: [out], "
               "fraud: [out]}}\n");
    struct framed_stream *stream = framed_client_open(&client[0], "out"); /* a CID says nothing about it */
    serve(&upstream);
    MEET(stream->opened);
    finish(stream, &upstream);
    adopt(HEAD "enclaves: {fraud: {cid: 16}, payroll: {cid: 17}}\n" ROUTES
               "  dev: {listen: \"unix://@dev\", protocol: framed, peer: fraud, allow: {payroll: [out], "
               "fraud: [out]}}\n");
    MEET(client[0].ended && sessions() == 0);
    assert_int_equal(client[0].end_code, CODE_NO_ERROR);
}

/* Its door had not heard of the reload yet, the worker that it comes to has. */
static void test_a_session_that_arrives_under_older_rules(void **state)
{
    struct peer upstream;
    (void)state;
    adopt(HEAD "enclaves: {payroll: {cid: 16}}\n" ROUTES
               "  session: {listen: \"vsock://any:7000\", protocol: framed, allow: {payroll: [more]}}\n");
    come_in(SESSION, 16, 0);
    assert_open_refused(0, "out", REASON_DENIED_ROUTE);
    struct framed_stream *stream = framed_client_open(&client[0], "more");
    serve(&upstream);
    MEET(stream->opened);
    finish(stream, &upstream);
    adopt(farewells[0]);
    MEET(client[0].ended && sessions() == 0);
    struct sockaddr_any payroll = from_vsock(16);
    call(SESSION, &payroll, 1);
    MEET(client[1].ended && sessions() == 0); /* its listener is gone */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, callers_open, callers_close)

int main(void)
{
    loopback_spare_libuv();
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        TEST(test_new_streams_are_judged_by_the_new_rules),
        TEST(test_sessions_that_have_lost_their_right_say_goodbye),
        TEST(test_whom_a_caller_without_a_cid_counts_as),
        TEST(test_a_session_that_arrives_under_older_rules),
    };
    return cmocka_run_group_tests(tests, callers_open_log, callers_close_log);
}
