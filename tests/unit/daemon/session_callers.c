/* The callers of framed listeners, in tests: see session_callers.h. */
#include "session_callers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <sys/socket.h>

static const char yaml[] =
    HEAD "limits: {max_sessions: 3}\n"
         "enclaves:\n"
         "  payroll: {cid: 16, max_streams: 3, max_sessions: 2}\n"
         "  fraud: {cid: 17}\n"
         "  outside: {cid: 18}\n"
         "listeners:\n"
         "  session: {listen: \"vsock://any:7000\", protocol: framed,"
         " allow: {payroll: [out, narrow, logs], fraud: [out]}}\n"
         "  dev: {listen: \"unix://@dev\", protocol: framed, peer: payroll, allow: {payroll: [narrow]}}\n"
         "routes:\n"
         "  out: {type: relay, to: \"tcp://127.0.0.1:%u\"}\n"
         "  narrow: {type: relay, to: \"tcp://127.0.0.1:%u\", max_streams: 1}\n"
         "  logs: {type: log}\n";

struct framed_client client[CALLERS];

int callers_open(void **state)
{
    (void)state;
    one_worker_open(yaml);
    for (size_t i = 0; i < ARRAY_SIZE(client); i++) {
        client[i].fd = -1;
        client[i].session = NULL;
    }
    return 0;
}

int callers_close(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(client); i++) {
        framed_client_close(&client[i]);
    }
    one_worker_close();
    return 0;
}

bool turned(bool condition)
{
    for (size_t i = 0; i < ARRAY_SIZE(client); i++) {
        (void)framed_client_turn(&client[i]);
    }
    return condition;
}

void call(unsigned listener, const struct sockaddr_any *from, unsigned which)
{
    framed_client_init(&client[which], call_at(listener, from), NULL);
}

void come_in(unsigned listener, uint32_t cid, unsigned which)
{
    struct sockaddr_any from = cid != 0 ? from_vsock(cid) : from_unix();
    call(listener, &from, which);
    MEET(client[which].ready);
}

uint64_t sessions(void)
{
    return counter_get(&bench.counters.sessions);
}

uint64_t session_ends(enum session_code code)
{
    return counter_get(&bench.counters.sessions_ended[code]);
}

uint64_t opens_refused(unsigned why)
{
    return counter_get(&bench.counters.opens_refused[why]);
}

void serve(struct peer *upstream)
{
    int fd = -1;
    MEET((fd = accept(bench.listener, NULL, NULL)) >= 0);
    peer_init(upstream, fd);
}

void finish(struct framed_stream *stream, struct peer *upstream)
{
    peer_finish(upstream);
    framed_finish(stream);
    MEET(stream->ended && streams_open() == 0);
    framed_release(stream);
    peer_close(upstream);
}

void assert_open_refused(unsigned which, const char *name, enum reason why)
{
    uint64_t before = opens_refused(why), refused = counter_get(&bench.rules->enclaves[PAYROLL]->refused);
    uint64_t active = counter_get(&bench.counters.active);
    struct framed_stream *stream = framed_client_open(&client[which], name);
    MEET(stream->refused);
    assert_int_equal(stream->code, code_of_reason(why));
    assert_string_equal(stream->message, reason_meaning(why));
    assert_int_equal(stream->retryable, reason_retryable(why));
    assert_int_equal(opens_refused(why), before + 1);
    assert_int_equal(counter_get(&bench.rules->enclaves[PAYROLL]->refused), refused + 1);
    assert_int_equal(counter_get(&bench.counters.active), active);
    framed_release(stream);
}

int callers_open_log(void **state)
{
    (void)state;
    daemon_log_open();
    return 0;
}

int callers_close_log(void **state)
{
    (void)state;
    daemon_log_close();
    return 0;
}
