/* A session's life: handshake, liveness, drain, end, and what the caller may ask of it. */
#include "fault.h"
#include "peer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct peer peer;

static void test_handshake(void **state)
{
    (void)state;
    peer_config(&peer, SESSION_CLIENT);
    peer.config.build = "postern 0";
    peer_new(&peer);
    assert_int_equal(session_next_deadline(peer.session), peer.now + 10000);
    assert_said(&peer, "HELLO");
    assert_false(session_has_output(peer.session));
    assert_ptr_equal(session_user(peer.session), &peer);
    for (size_t i = 0; i < FRAME_PREFACE_SIZE; i++) { /* a byte at a time */
        put_bytes(&peer, &frame_preface[i], 1);
    }
    assert_events(&peer, "");
    put_hello(&peer);
    assert_events(&peer, "ready(test)");
    assert_said(&peer, "PING");
    peer.now += 7;
    put_pong(&peer);
    assert_events(&peer, "pong(7)");
    peer_stop(&peer);
}

static void test_goaway_in_the_handshake(void **state)
{
    (void)state;
    peer_config(&peer, SESSION_CLIENT);
    peer_new(&peer);
    put_preface(&peer);
    put_goaway(&peer, 0, CODE_VERSION, "H-5: no");
    assert_events(&peer, "ended(version,by peer,H-5: no)");
    assert_said(&peer, "HELLO");
    peer_stop(&peer);
}

static void test_drain_in_the_handshake(void **state)
{
    (void)state;
    peer_config(&peer, SESSION_CLIENT);
    peer_new(&peer);
    session_drain(peer.session, 1000);
    assert_false(session_is_over(peer.session));
    assert_int_equal(session_next_deadline(peer.session), peer.now);
    assert_said(&peer, "HELLO GOAWAY(0,going_away,going away)");
    assert_events(&peer, "ended(going_away,going away)");
    peer_stop(&peer);
}

/* With nobody listening, nothing is told, and nothing breaks. */
static void test_no_listeners(void **state)
{
    static struct session_events none;
    struct control_open open = {.route = control_text("kms")};
    struct channel *channel;

    (void)state;
    peer_config(&peer, SESSION_CLIENT);
    none =
        (struct session_events){.open = peer_events.open, .data = peer_events.data, .fill = peer_events.fill};
    peer.session = session_new(&peer.config, &none, &peer, 0);
    put_preface(&peer);
    put_hello(&peer);
    peer_said(&peer);
    put_pong(&peer);
    for (uint32_t id = 1; id <= 5; id += 2) {
        assert_int_equal(session_open(peer.session, &open, NULL, &channel), 0);
    }
    assert_int_equal(session_open(peer.session, &open, NULL, &channel), -EAGAIN);
    peer_said(&peer);
    put_refused(&peer, 1, CODE_CANCEL);
    put_opened(&peer, 3);
    put_data(&peer, 3, 1, false);
    put_stop(&peer, 3, CODE_CANCEL);
    put_reset(&peer, 3, CODE_CANCEL, 1);
    put_opened(&peer, 5);
    put_data(&peer, 5, 0, true);
    put_u32(&peer, FRAME_MAX_STREAMS, 0, 5);
    assert_int_equal(session_open(peer.session, &open, NULL, &channel), 0);
    peer_said(&peer);
    assert_int_equal(session_open(peer.session, &open, NULL, &channel), -EAGAIN);
    put_goaway(&peer, CONTROL_LAST_WARNING, CODE_NO_ERROR, NULL);
    put_goaway(&peer, CONTROL_LAST_WARNING, CODE_CANCEL, NULL);
    assert_true(session_is_over(peer.session));
    assert_events(&peer, "data(3,1)");
    peer_stop(&peer);
}

static void test_pings(void **state)
{
    (void)state;
    peer_start(&peer, SESSION_CLIENT);
    assert_int_equal(session_next_deadline(peer.session), peer.now + 15000);
    peer.now += 14999;
    session_tick(peer.session, peer.now);
    assert_said(&peer, "");
    peer.now++;
    session_tick(peer.session, peer.now);
    assert_said(&peer, "PING");
    session_ping(peer.session); /* one is under way */
    assert_said(&peer, "");
    peer.now += 3;
    put_pong(&peer);
    session_ping(peer.session);
    assert_said(&peer, "PING");
    put_frame(&peer, FRAME_PING, 0, 0, "abcdefgh", 8);
    assert_said(&peer, "PONG");
    assert_events(&peer, "pong(3)");
    session_set_now(peer.session, 1); /* time never goes back */
    assert_int_equal(session_next_deadline(peer.session), peer.now + 30000);
    peer_stop(&peer);
}

/* Ours: warning, barrier, final; theirs lets us go. */
static void test_drain(void **state)
{
    struct channel *channel;

    (void)state;
    peer_start(&peer, SESSION_SERVER);
    put_open(&peer, 1, "kms");
    session_drain(peer.session, 5000);
    session_drain(peer.session, 90000); /* longer: no */
    assert_said(&peer, "GOAWAY(4294967295,no_error) PING");
    put_open(&peer, 3, "kms"); /* was under way */
    assert_events(&peer, "open(1,kms) open(3,kms)");
    put_pong(&peer);
    assert_said(&peer, "GOAWAY(3,no_error)");
    peer.events[0] = '\0';
    for (uint32_t id = 1; id <= 3; id += 2) {
        channel = peer_channel(&peer, id);
        peer_place(&peer, id)->fin = true;
        channel_accept(channel);
        channel_ready(channel);
        put_data(&peer, id, 0, true);
    }
    assert_said(&peer, "OPENED(1) OPENED(3) DATA(1,0,fin) DATA(3,0,fin)");
    assert_events(&peer, "fin(1) fin(3)");
    peer_release(&peer, 1);
    peer_release(&peer, 3);
    assert_int_equal(session_next_deadline(peer.session), peer.session->now); /* to be told */
    session_tick(peer.session, peer.now);
    assert_events(&peer, "ended(no_error)");
    assert_false(session_has_output(peer.session));
    put_end(&peer);
    assert_events(&peer, "");
    peer_stop(&peer);
}

/* A PING that is under way when the warning goes out proves nothing; the next one does. */
static void test_barrier(void **state)
{
    (void)state;
    peer_start(&peer, SESSION_SERVER);
    session_ping(peer.session);
    assert_said(&peer, "PING");
    session_drain(peer.session, 0);
    assert_said(&peer, "GOAWAY(4294967295,no_error)");
    put_pong(&peer);
    assert_said(&peer, "PING");
    put_open(&peer, 1, "kms");
    assert_events(&peer, "pong(0) open(1,kms)");
    put_pong(&peer);
    assert_said(&peer, "GOAWAY(1,no_error)");
    peer_stop(&peer);
}

static void test_drain_deadline(void **state)
{
    (void)state;
    peer_start(&peer, SESSION_SERVER);
    put_open(&peer, 1, "kms");
    session_drain(peer.session, 5000);
    peer_said(&peer);
    put_pong(&peer);
    peer_said(&peer);
    peer.events[0] = '\0';
    peer_wait(&peer, 5000, true);
    assert_events(&peer, "failed(1,going_away) ended(going_away,the time to finish is over)");
    assert_said(&peer, "GOAWAY(1,going_away,the time to finish is over)");
    session_drain(peer.session, 1);
    assert_false(session_has_output(peer.session));
    peer_stop(&peer);
}

/* The deadline that is told is what is left of it. */
static void test_told_deadline(void **state)
{
    static uint8_t bytes[SESSION_SEND_MIN];
    struct control_goaway goaway;
    struct breach breach;

    (void)state;
    peer_start(&peer, SESSION_SERVER);
    session_drain(peer.session, 5000);
    peer.now += 1000;
    assert_true(session_send(peer.session, peer.now, bytes, sizeof(bytes)) > FRAME_HEADER);
    assert_true(
        control_decode_goaway(bytes + FRAME_HEADER, frame_decode_header(bytes).length, &goaway, &breach));
    assert_int_equal(goaway.deadline_ms, 4000);
    peer_stop(&peer);
    peer_start(&peer, SESSION_SERVER);
    session_drain(peer.session, 5000);
    peer.now += 6000; /* late */
    assert_true(session_send(peer.session, peer.now, bytes, sizeof(bytes)) > FRAME_HEADER);
    assert_true(
        control_decode_goaway(bytes + FRAME_HEADER, frame_decode_header(bytes).length, &goaway, &breach));
    assert_int_equal(goaway.deadline_ms, 1);
    peer_stop(&peer);
}

/* Theirs. What was not sent yet is never sent. */
static void test_peer_drains(void **state)
{
    struct control_open open = {.route = control_text("kms")};
    struct channel *channel;

    (void)state;
    peer_start(&peer, SESSION_CLIENT);
    peer_open(&peer, "kms");
    peer_said(&peer);
    put_opened(&peer, 1);
    peer_open(&peer, "late");
    peer_open(&peer, "given up");
    peer_release(&peer, 5);
    put_goaway(&peer, CONTROL_LAST_WARNING, CODE_NO_ERROR, NULL);
    assert_events(&peer, "opened(1) failed(3,going_away,retryable) going_away(4294967295,0)");
    assert_said(&peer, "");
    assert_int_equal(session_open(peer.session, &open, NULL, &channel), -ESHUTDOWN);
    put_goaway(&peer, 1, CODE_NO_ERROR, NULL);
    assert_events(&peer, "going_away(1,0)");
    peer_release(&peer, 3);
    put_data(&peer, 1, 0, true);
    peer_place(&peer, 1)->fin = true;
    channel_ready(peer_channel(&peer, 1));
    assert_said(&peer, "DATA(1,0,fin)");
    peer_release(&peer, 1);
    session_tick(peer.session, peer.now);
    assert_said(&peer, "GOAWAY(0,no_error)");
    assert_events(&peer, "fin(1) ended(no_error)");
    peer_stop(&peer);
}

/* An end after the final GOAWAY is an end, even if we have not got round to ours. */
static void test_clean_end(void **state)
{
    (void)state;
    peer_start(&peer, SESSION_CLIENT);
    peer_open(&peer, "kms");
    peer_said(&peer);
    put_opened(&peer, 1);
    put_data(&peer, 1, 3, true);
    peer_place(&peer, 1)->fin = true;
    channel_ready(peer_channel(&peer, 1));
    peer_said(&peer);
    put_goaway(&peer, 1, CODE_NO_ERROR, NULL);
    put_end(&peer);
    assert_events(&peer, "opened(1) data(1,3) fin(1) going_away(1,0) ended(no_error)");
    channel_consumed(peer_channel(&peer, 1), 3);
    peer_release(&peer, 1);
    peer_stop(&peer);
}

static void test_peer_aborts(void **state)
{
    (void)state;
    peer_start(&peer, SESSION_CLIENT);
    peer_open(&peer, "one");
    peer_open(&peer, "two");
    peer_said(&peer);
    peer_open(&peer, "three");
    put_goaway(&peer, 1, CODE_INTERNAL, "out of memory");
    assert_true(strstr(peer.events, "failed(1,internal_error)") != NULL);
    assert_true(strstr(peer.events, "failed(3,internal_error,retryable)") != NULL);
    assert_true(strstr(peer.events, "failed(5,internal_error,retryable)") != NULL);
    assert_true(strstr(peer.events, "ended(internal_error,by peer,out of memory)") != NULL);
    assert_false(session_has_output(peer.session));
    peer_stop(&peer);
}

static void test_abort(void **state)
{
    (void)state;
    peer_start(&peer, SESSION_CLIENT);
    peer_open(&peer, "one");
    session_abort(peer.session, CODE_INTERNAL, "a\nb");
    session_abort(peer.session, CODE_PROTOCOL, "too late");
    assert_events(&peer, "");
    session_tick(peer.session, peer.now);
    assert_events(&peer, "failed(1,internal_error,retryable) ended(internal_error,a?b)");
    assert_said(&peer, "GOAWAY(0,internal_error,a?b)");
    channel_ready(peer_channel(&peer, 1));
    peer_release(&peer, 1);
    session_ping(peer.session);
    assert_said(&peer, "");
    peer_stop(&peer);
}

static void release_all(struct peer *p, struct channel *channel UNUSED, const char *event)
{
    if (strcmp(event, "failed") != 0) {
        return;
    }
    for (size_t i = 0; i < PEER_CHANNELS; i++) {
        if (p->channels[i].channel) {
            channel_release(p->channels[i].channel);
        }
        p->channels[i].channel = NULL;
    }
}

/* All are released from within the first event of the walk over all of them. */
static void test_release_while_ending(void **state)
{
    (void)state;
    peer_start(&peer, SESSION_SERVER);
    for (uint32_t id = 1; id <= 7; id += 2) {
        put_open(&peer, id, "kms");
    }
    for (unsigned i = 0; i < 3; i++) {
        peer_open(&peer, "back");
    }
    peer.in_event = release_all;
    peer.events[0] = '\0';
    put_end(&peer);
    assert_true(session_is_over(peer.session));
    assert_int_equal(peer.session->table.count, 0);
    assert_non_null(strstr(peer.events, "failed("));
    assert_null(strstr(strstr(peer.events, "failed(") + 1, "failed(")); /* who is released hears no more */
    peer_stop(&peer);
}

static void abort_session(struct peer *p, struct channel *channel, const char *event)
{
    if (strcmp(event, "fill") == 0 || strcmp(event, "data") == 0) {
        session_abort(channel_session(channel), CODE_INTERNAL, "enough");
    }
    (void)p;
}

static void test_abort_within_events(void **state)
{
    (void)state;
    peer_start(&peer, SESSION_CLIENT);
    peer_open(&peer, "one");
    peer_open(&peer, "two");
    for (uint32_t id = 1; id <= 3; id += 2) {
        peer_place(&peer, id)->to_send = 1000;
        channel_ready(peer_channel(&peer, id));
    }
    peer.in_event = abort_session;
    assert_said(&peer, "OPEN(1,one) OPEN(3,two) DATA(1,1000) GOAWAY(0,internal_error,enough)");
    peer_stop(&peer);

    peer_start(&peer, SESSION_SERVER);
    put_open(&peer, 1, "kms");
    peer.in_event = abort_session;
    put_data(&peer, 1, 5, true);
    assert_events(&peer, "open(1,kms) data(1,5) failed(1,internal_error) ended(internal_error,enough)");
    peer_stop(&peer);
}

static void test_config(void **state)
{
    static const struct {
        const char *what;
        size_t offset;
        uint32_t value;
    } cases[] = {
        {"version_min", offsetof(struct session_config, version_min), 0},
        {"version_min", offsetof(struct session_config, version_min), 2},
        {"version_max", offsetof(struct session_config, version_max), 65536},
        {"max_payload", offsetof(struct session_config, max_payload), 1023},
        {"max_payload", offsetof(struct session_config, max_payload), 65529},
        {"max_streams", offsetof(struct session_config, max_streams), 0x80000000u},
        {"max_streams", offsetof(struct session_config, max_streams), 8192},
        {"ping_interval", offsetof(struct session_config, ping_interval), 999},
        {"ping_interval", offsetof(struct session_config, ping_interval), 3600001},
        {"handshake_timeout", offsetof(struct session_config, handshake_timeout), 0},
        {"frame_timeout", offsetof(struct session_config, frame_timeout), 0},
        {"open_timeout", offsetof(struct session_config, open_timeout), 0},
        {"stop_timeout", offsetof(struct session_config, stop_timeout), 0},
        {"pong_timeout", offsetof(struct session_config, pong_timeout), 0},
    };
    struct session_config config;
    struct error err = ERROR_INIT;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        session_config_default(&config, SESSION_CLIENT);
        assert_int_equal(session_config_check(&config, &err), 0);
        memcpy((char *)&config + cases[i].offset, &cases[i].value, sizeof(uint32_t));
        if (session_config_check(&config, &err) != -EINVAL) {
            fail_msg("%s = %u was let through", cases[i].what, cases[i].value);
        }
        assert_non_null(strstr(err.text, "session: "));
        assert_null(session_new(&config, &peer_events, NULL, 0));
    }
    session_config_default(&config, SESSION_CLIENT);
    config.budget = 4095;
    config.max_streams = config.max_own_streams = 0;
    assert_int_equal(session_config_check(&config, &err), -EINVAL);
    config.budget = UINT64_MAX;
    assert_int_equal(session_config_check(&config, &err), -EINVAL);
    config.budget = 4096;
    assert_int_equal(session_config_check(&config, &err), 0);
    config.build = "line\n";
    assert_int_equal(session_config_check(&config, &err), -EINVAL);
    config.build = "12345678901234567890123456789012345678901234567890123456789012345";
    assert_int_equal(session_config_check(&config, &err), -EINVAL);
    session_free(NULL);
}

/* The reserve is at most 64 KiB, however rich the budget is, and windows fit into 32 bits. */
static void test_division(void **state)
{
    struct session *session;

    (void)state;
    peer_config(&peer, SESSION_CLIENT);
    peer.config.budget = UINT64_C(1) << 39;
    session = session_new(&peer.config, &peer_events, NULL, 0);
    assert_int_equal(session->reserve, 65536);
    assert_int_equal(session->shared, UINT32_MAX / 2);
    session_free(session);
    peer.config.max_streams = peer.config.max_own_streams = 0;
    session = session_new(&peer.config, &peer_events, NULL, 0);
    assert_int_equal(session->reserve, 65536);
    session_free(session);
    peer.config.max_streams = 100;
    peer.config.budget = 204800;
    session = session_new(&peer.config, &peer_events, NULL, 0);
    assert_int_equal(session->reserve, 1024);
    assert_int_equal(session->shared, 51200);
    session_free(session);
}

static void test_stats(void **state)
{
    struct session_stats stats;

    (void)state;
    peer_start(&peer, SESSION_SERVER);
    put_open(&peer, 1, "kms");
    peer_open(&peer, "x");
    peer_place(&peer, 2)->to_send = 10;
    channel_ready(peer_channel(&peer, 2));
    put_data(&peer, 1, 7, false);
    peer_said(&peer);
    session_stats(peer.session, &stats);
    assert_int_equal(stats.channels, 2);
    assert_int_equal(stats.opened, 1);
    assert_int_equal(stats.accepted, 1);
    assert_int_equal(stats.bytes_sent, 10);
    assert_int_equal(stats.bytes_received, 7);
    assert_int_equal(stats.held, 7);
    peer_stop(&peer);
}

/* The last stream there can be. Nobody waits for 2^31 of them. */
static void test_last_stream(void **state)
{
    struct control_open open = {.route = control_text("kms")};
    struct channel *channel;

    (void)state;
    peer_start(&peer, SESSION_CLIENT);
    peer.session->own_opened = peer.session->own_sent = CONTROL_STREAMS_MAX - 1;
    put_u32(&peer, FRAME_MAX_STREAMS, 0, CONTROL_STREAMS_MAX);
    channel = peer_open(&peer, "kms");
    assert_int_equal(channel_id(channel), 4294967293u);
    assert_int_equal(session_open(peer.session, &open, NULL, &channel), -ESHUTDOWN);
    assert_said(&peer, "OPEN(4294967293,kms)");
    peer_stop(&peer);

    peer_start(&peer, SESSION_SERVER);
    peer.session->peer_opened = peer.session->peer_gone = CONTROL_STREAMS_MAX - 2;
    peer.session->peer_allowed = CONTROL_STREAMS_MAX - 1;
    put_open(&peer, 4294967291u, "kms");
    assert_said(&peer, "MAX_STREAMS(2147483647)");
    put_open(&peer, 4294967293u, "kms");
    assert_events(&peer, "open(4294967291,kms) open(4294967293,kms)");
    assert_said(&peer, "");
    peer_stop(&peer);
}

/* A whole life, with each allocation failing once. */
static void life(void *arg UNUSED)
{
    struct control_open open = {.route = control_text("kms")};
    struct channel *channel;
    static struct peer p;

    peer_config(&p, SESSION_SERVER);
    p.config.max_streams = 40;
    p.config.budget = 1 << 20;
    p.session = session_new(&p.config, &peer_events, &p, 0);
    if (!p.session) {
        return;
    }
    session_receive(p.session, 0, frame_preface, FRAME_PREFACE_SIZE);
    static uint8_t bytes[SESSION_SEND_MIN];
    struct control_hello hello = {1, 1, 0, 16384, 10, 10000, 25000, 15000, 0, {NULL, 0}};
    size_t length = control_encode_hello(&hello, bytes + FRAME_HEADER, 200);
    frame_encode_header(bytes, (struct frame_header){FRAME_HELLO, 0, (uint16_t)length, 0});
    session_receive(p.session, 0, bytes, FRAME_HEADER + length);
    for (uint32_t id = 1; id <= 41 && !session_is_over(p.session); id += 2) {
        length = control_encode_open(&open, bytes + FRAME_HEADER, 200);
        frame_encode_header(bytes, (struct frame_header){FRAME_OPEN, 0, (uint16_t)length, id});
        session_receive(p.session, 0, bytes, FRAME_HEADER + length);
    }
    for (size_t i = 0; i < 21; i++) {
        if (p.channels[i].channel) {
            channel_refuse(p.channels[i].channel, CODE_CANCEL, "a message", false);
        }
    }
    if (session_open(p.session, &open, NULL, &channel) == 0) {
        channel_release(channel);
    }
    while (session_has_output(p.session) && session_send(p.session, 0, bytes, sizeof(bytes)) > 0) {
        ;
    }
    session_free(p.session);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    assert_true(fault_loop("session", FAULT_MEMORY, life, NULL) >= 40);
    assert_true(fault_loop("session, for good", FAULT_MEMORY | FAULT_STICKY, life, NULL) >= 40);
}

/* One stream is refused for want of memory, the next one too if it has not come back, and then the session gives up. */
static void test_refused_for_memory(void **state)
{
    (void)state;
    peer_start(&peer, SESSION_SERVER);
    uint8_t frame[] = "\x10\x00\x00\x06\x00\x00\x00\x01\xa1\x01\x63kms";
    fault_arm(FAULT_MEMORY | FAULT_STICKY, 1);
    session_receive(peer.session, peer.now, frame, 14);
    frame[7] = 3;
    fault_disarm();
    assert_said(&peer, "REFUSED(1,no_memory,retryable)");
    assert_events(&peer, "");
    session_receive(peer.session, peer.now, frame, 14); /* the spare is back only after this */
    assert_true(peer.session->spare != NULL);
    fault_arm(FAULT_MEMORY | FAULT_STICKY, 1);
    frame[7] = 5;
    session_receive(peer.session, peer.now, frame, 14);
    frame[7] = 7;
    session_receive(peer.session, peer.now, frame, 14);
    fault_disarm();
    assert_true(session_is_over(peer.session));
    assert_non_null(strstr(peer.events, "ended(internal_error,out of memory)"));
    peer_stop(&peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handshake),
        cmocka_unit_test(test_goaway_in_the_handshake),
        cmocka_unit_test(test_drain_in_the_handshake),
        cmocka_unit_test(test_no_listeners),
        cmocka_unit_test(test_pings),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_barrier),
        cmocka_unit_test(test_drain_deadline),
        cmocka_unit_test(test_told_deadline),
        cmocka_unit_test(test_peer_drains),
        cmocka_unit_test(test_clean_end),
        cmocka_unit_test(test_peer_aborts),
        cmocka_unit_test(test_abort),
        cmocka_unit_test(test_release_while_ending),
        cmocka_unit_test(test_abort_within_events),
        cmocka_unit_test(test_config),
        cmocka_unit_test(test_division),
        cmocka_unit_test(test_stats),
        cmocka_unit_test(test_last_stream),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_refused_for_memory),
    };

    return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
