/*
 * Sessions: who gets one, what becomes of the streams that it opens, of drains, and that the books balance. The
 * caller's side is the session core's own (tests/lib/framed_client.h).
 */
#include "daemon/sessions.h"

#include "fault.h"
#include "session_callers.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static void assert_turned_away(unsigned listener, const struct sockaddr_any *from, enum reason why)
{
    uint64_t refused = counter_get(&bench.rules->listeners[listener]->refused), had = sessions();
    call(listener, from, 3);
    assert_int_equal(counter_get(&bench.rules->listeners[listener]->refused), refused + 1);
    MEET(client[3].ended);
    assert_int_equal(client[3].end_code, code_of_reason(why));
    assert_true(client[3].end_by_peer);
    assert_string_equal(client[3].end_text, reason_meaning(why));
    assert_int_equal(sessions(), had);
    framed_client_close(&client[3]);
}

static void test_who_may_come_in(void **state)
{
    struct sockaddr_any stranger = from_vsock(99), outside = from_vsock(18);
    (void)state;
    assert_turned_away(SESSION, &stranger, REASON_DENIED_ENCLAVE);
    assert_turned_away(SESSION, &outside, REASON_DENIED_ROUTE);
    assert_int_equal(counter_get(&bench.rules->enclaves[OUTSIDE]->sessions_refused), 1);
    assert_int_equal(counter_get(&rules_enclave(bench.rules, CONFIG_NOBODY)->sessions_refused), 1);
    come_in(SESSION, 16, 0);
    come_in(DEV, 0, 1); /* counts as payroll */
    assert_int_equal(counter_get(&bench.rules->enclaves[PAYROLL]->sessions_active), 2);
    assert_int_equal(counter_get(&bench.rules->enclaves[PAYROLL]->sessions_opened), 2);
    assert_string_equal(client[0].build, "posternd " POSTERN_VERSION);
}

static void test_limits_of_sessions(void **state)
{
    struct sockaddr_any payroll = from_vsock(16), fraud = from_vsock(17), stranger = from_vsock(99);
    (void)state;
    come_in(SESSION, 16, 0);
    come_in(SESSION, 16, 1);
    assert_turned_away(SESSION, &payroll, REASON_LIMIT_ENCLAVE);
    come_in(SESSION, 17, 2);
    assert_turned_away(SESSION, &fraud, REASON_LIMIT_DAEMON);
    /* Who may not come in is told that, and not that it is full. */
    assert_turned_away(SESSION, &stranger, REASON_DENIED_ENCLAVE);
    framed_client_close(&client[0]);
    MEET(sessions() == 2);
    assert_int_equal(session_ends(SESSION_CODE_LOST), 1);
    come_in(SESSION, 16, 0);
}

static void test_a_door_that_drains(void **state)
{
    struct sockaddr_any payroll = from_vsock(16), stranger = from_vsock(99);
    (void)state;
    bench.door.draining = true;
    assert_turned_away(SESSION, &payroll, REASON_DRAINING);
    assert_turned_away(SESSION, &stranger, REASON_DENIED_ENCLAVE);
}

static void test_a_stream_and_its_books(void **state)
{
    struct peer upstream;
    (void)state;
    come_in(SESSION, 16, 0);
    struct framed_stream *stream = framed_client_open(&client[0], "out");
    framed_say(stream, 100);
    serve(&upstream);
    MEET(stream->opened && peer_hear(&upstream)->heard == 100);
    assert_string_equal(bench.worker.route, "out");
    peer_say(&upstream, 300);
    MEET(stream->heard == 300);
    finish(stream, &upstream);
    struct route_counters *route = bench.rules->routes[OUT];
    assert_int_equal(counter_get(&route->accepted), 1);
    assert_int_equal(counter_get(&route->ended[REASON_FINISHED]), 1);
    assert_int_equal(counter_get(&route->bytes_in), 100);
    assert_int_equal(counter_get(&route->bytes_out), 300);
    assert_int_equal(counter_get(&route->connect.count), 1);
    assert_int_equal(counter_get(&bench.rules->enclaves[PAYROLL]->bytes_in), 100);
    assert_int_equal(counter_get(&bench.rules->enclaves[PAYROLL]->accepted), 1);
    MEET(counter_get(&bench.counters.round_trip.count) >= 1);
    session_drain(client[0].session, 0);
    MEET(sessions() == 0 && client[0].ended);
    assert_int_equal(session_ends(SESSION_CODE_NO_ERROR), 1);
    assert_int_equal(client[0].end_code, CODE_NO_ERROR);
    assert_int_equal(bench.emptied, 0); /* nobody asked */
    for (unsigned i = 0; i < OPEN_REFUSALS; i++) {
        assert_int_equal(opens_refused(i), 0);
    }
}

static void test_opens_that_are_refused(void **state)
{
    struct peer upstream[3];
    struct framed_stream *held[3];
    (void)state;
    come_in(SESSION, 16, 0);
    come_in(DEV, 0, 1);
    assert_open_refused(0, "nothing", REASON_DENIED_ROUTE);
    assert_open_refused(1, "out", REASON_DENIED_ROUTE); /* not on that listener */
    held[0] = framed_client_open(&client[1], "narrow");
    serve(&upstream[0]);
    MEET(held[0]->opened);
    assert_open_refused(0, "narrow", REASON_LIMIT_ROUTE);
    assert_int_equal(ended_for(NARROW, REASON_LIMIT_ROUTE), 1);
    held[1] = framed_client_open(&client[0], "out");
    serve(&upstream[1]);
    held[2] = framed_client_open(&client[0], "out");
    serve(&upstream[2]);
    MEET(held[1]->opened && held[2]->opened);
    assert_open_refused(1, "narrow", REASON_LIMIT_ENCLAVE);
    for (int i = 0; i < 3; i++) {
        peer_finish(&upstream[i]);
        framed_finish(held[i]);
    }
    MEET(streams_open() == 0 && held[0]->ended && held[1]->ended && held[2]->ended);
    for (int i = 0; i < 3; i++) {
        peer_close(&upstream[i]);
        framed_release(held[i]);
    }
}

/* A destination that cannot be reached is told in the answer, and counted as an open that was refused. */
static void test_a_destination_that_refuses(void **state)
{
    (void)state;
    close(bench.listener);
    bench.listener = -1;
    come_in(SESSION, 16, 0);
    struct framed_stream *stream = framed_client_open(&client[0], "out");
    MEET(stream->refused && streams_open() == 0);
    assert_int_equal(stream->code, code_of_reason(REASON_CONNECT_REFUSED));
    assert_int_equal(opens_refused(REASON_CONNECT_REFUSED), 1);
    assert_int_equal(ended_for(OUT, REASON_CONNECT_REFUSED), 1);
    framed_release(stream);
}

static void test_stalls_and_unknown_kinds_are_counted(void **state)
{
    struct peer upstream;
    struct control_open odd = {.route = control_text("out"), .kind = 5};
    struct channel *channel;
    (void)state;
    come_in(SESSION, 16, 0);
    struct framed_stream *stream = framed_client_open(&client[0], "out");
    stream->deaf = true;
    serve(&upstream);
    MEET(stream->opened);
    AWAIT(turned(false) || (peer_fill(&upstream), stream->held >= 16384));
    client[0].deaf = false;
    assert_int_equal(session_open(client[0].session, &odd, &client[0].streams[299], &channel), 0);
    MEET(client[0].streams[299].refused);
    channel_release(channel);
    framed_reset(stream, CODE_CANCEL);
    framed_stop(stream, CODE_CANCEL);
    MEET(streams_open() == 0);
    framed_release(stream);
    session_drain(client[0].session, 0);
    MEET(sessions() == 0);
    assert_true(counter_get(&bench.rules->enclaves[PAYROLL]->stream_stalls) >= 1);
    assert_int_equal(opens_refused(OPEN_UNSUPPORTED), 1);
    peer_close(&upstream);
}

/* ---- Drain and stop ---- */

static void test_a_drain_lets_streams_finish(void **state)
{
    struct peer upstream;
    (void)state;
    come_in(SESSION, 16, 0);
    come_in(SESSION, 17, 1);
    struct framed_stream *stream = framed_client_open(&client[0], "out");
    serve(&upstream);
    MEET(stream->opened);
    atomic_store(&bench.set.draining, true);
    bench.worker.draining = true;
    sessions_drain(&bench.worker, 100000);
    MEET(client[1].ended && client[0].goaways > 0 && sessions() == 1);
    assert_int_equal(client[1].end_code, CODE_NO_ERROR);
    assert_int_equal(bench.emptied, 0);
    peer_say(&upstream, 10);
    MEET(stream->heard == 10);
    peer_finish(&upstream);
    framed_finish(stream);
    MEET(stream->ended && streams_open() == 0);
    framed_release(stream);
    MEET(sessions() == 0 && client[0].ended);
    assert_int_equal(client[0].end_code, CODE_NO_ERROR);
    assert_int_equal(bench.emptied, 2); /* of streams, and of sessions */
    assert_int_equal(session_ends(SESSION_CODE_NO_ERROR), 2);
    peer_close(&upstream);
}

/* Opened before the client could know: it may be asked for again elsewhere. */
static void test_what_is_opened_meanwhile_may_be_asked_for_again(void **state)
{
    (void)state;
    come_in(SESSION, 16, 0);
    sessions_drain(&bench.worker, 100000);
    struct framed_stream *stream = framed_client_open(&client[0], "out");
    MEET(stream->refused || stream->failed);
    assert_int_equal(stream->code, code_of_reason(REASON_DRAINING));
    assert_true(stream->retryable);
    framed_release(stream);
    MEET(client[0].ended);
}

static void test_the_deadline_of_a_drain(void **state)
{
    struct peer upstream;
    (void)state;
    come_in(SESSION, 16, 0);
    struct framed_stream *stream = framed_client_open(&client[0], "out");
    serve(&upstream);
    MEET(stream->opened);
    sessions_drain(&bench.worker, 1);
    MEET(client[0].ended && sessions() == 0 && streams_open() == 0);
    assert_int_equal(client[0].end_code, CODE_GOING_AWAY);
    assert_int_equal(ended_for(OUT, REASON_SHUTDOWN), 1);
    assert_int_equal(session_ends(SESSION_CODE_GOING_AWAY), 1);
    framed_release(stream);
    peer_close(&upstream);
}

static void test_a_worker_that_drains_or_stops_tells_what_arrives(void **state)
{
    struct sockaddr_any payroll = from_vsock(16);
    (void)state;
    bench.worker.draining = true;
    bench.worker.drain_by = loop_now(&bench.worker.loop);
    call(SESSION, &payroll, 0);
    MEET(client[0].ended && sessions() == 0);
    assert_int_equal(client[0].end_code, CODE_GOING_AWAY);
    bench.worker.stopping = true;
    call(SESSION, &payroll, 1);
    MEET(client[1].ended && sessions() == 0);
    assert_int_equal(client[1].end_code, CODE_GOING_AWAY);
}

/* A caller that says nothing, reads nothing and goes nowhere is waited for no longer than a moment. */
static void test_the_end_does_not_wait_for_callers(void **state)
{
    (void)state;
    come_in(SESSION, 16, 0);
    sessions_end(&bench.worker);
    AWAIT(sessions() == 0);
    assert_int_equal(session_ends(SESSION_CODE_GOING_AWAY), 1);
}

/* ---- The configuration and the core agree ---- */

static void test_the_budget_of_a_stream(void **state)
{
    struct session_config config;
    (void)state;
    session_config_default(&config, SESSION_SERVER);
    config.max_own_streams = 0;
    config.max_streams = 5000;
    config.budget = 5000 * CONFIG_BUDGET_A_STREAM;
    assert_int_equal(session_config_check(&config, NULL), 0);
    config.budget--;
    assert_int_not_equal(session_config_check(&config, NULL), 0);
}

/* ---- Faults ---- */

static void one_session(void *arg)
{
    struct sockaddr_any payroll = from_vsock(16);
    struct framed_stream *stream = NULL, *line = NULL;
    uint64_t limit = loopback_limit();
    struct peer upstream = {.fd = -1};
    (void)arg;
    call(SESSION, &payroll, 0);
    while (!client[0].ended || sessions() > 0) {
        fault_spare(true);
        if (client[0].ready && stream == NULL && !client[0].ended) {
            stream = framed_client_open(&client[0], "out");
            line = framed_client_open(&client[0], "logs");
            framed_say(stream, 20000);
            framed_say(line, 3000);
            framed_finish(line);
        }
        int fd = upstream.fd < 0 ? accept(bench.listener, NULL, NULL) : -1;
        if (fd >= 0) {
            peer_init(&upstream, fd);
        }
        if (upstream.fd >= 0 && peer_hear(&upstream)->heard == 20000 && upstream.sent == 0) {
            peer_say(&upstream, 300);
            peer_finish(&upstream);
            framed_finish(stream);
        }
        bool over = stream != NULL && (stream->ended || stream->refused || stream->failed || stream->reset) &&
                    (line->refused || line->failed || line->reset || streams_open() == 0);
        if (over && stream->channel != NULL) {
            framed_release(stream);
            framed_release(line);
            session_drain(client[0].session, 0);
        }
        fault_spare(false);
        (void)turned(false);
        one_worker_turn();
        loopback_check(limit, "the session's end", __FILE__, __LINE__);
    }
    framed_client_close(&client[0]);
    one_worker_turn(); /* what closes, closes */
    one_worker_turn();
    peer_close(&upstream);
    fault_spare(true);
    for (int fd; (fd = accept(bench.listener, NULL, NULL)) >= 0;) {
        close(fd);
    }
    fault_spare(false);
    assert_no_streams(&bench.counters);
}

static void test_faults(void **state)
{
    const unsigned calls =
        FAULT_MEMORY | FAULT_SOCKET | FAULT_CONNECT | FAULT_SOCKOPT | FAULT_READ | FAULT_WRITE | FAULT_EPOLL;
    (void)state;
    assert_true(fault_loop("sessions", calls, one_session, NULL) >= 20);
    assert_true(fault_loop("sessions, sticky", FAULT_MEMORY | FAULT_STICKY, one_session, NULL) >= 5);
    uint64_t ended = 0;
    for (unsigned i = 0; i < SESSION_CODE_COUNT; i++) {
        ended += session_ends((enum session_code)i);
    }
    assert_int_equal(ended, counter_get(&bench.rules->enclaves[PAYROLL]->sessions_opened));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, callers_open, callers_close)

int main(void)
{
    loopback_spare_libuv();
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        TEST(test_who_may_come_in),
        TEST(test_limits_of_sessions),
        TEST(test_a_door_that_drains),
        TEST(test_a_stream_and_its_books),
        TEST(test_opens_that_are_refused),
        TEST(test_a_destination_that_refuses),
        TEST(test_stalls_and_unknown_kinds_are_counted),
        TEST(test_a_drain_lets_streams_finish),
        TEST(test_what_is_opened_meanwhile_may_be_asked_for_again),
        TEST(test_the_deadline_of_a_drain),
        TEST(test_a_worker_that_drains_or_stops_tells_what_arrives),
        TEST(test_the_end_does_not_wait_for_callers),
        TEST(test_the_budget_of_a_stream),
        TEST(test_faults),
    };
    return cmocka_run_group_tests(tests, callers_open_log, callers_close_log);
}
