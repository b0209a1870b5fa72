/* The hand-driven side of a session. */
#include "peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void PRINTF_LIKE(2, 3) add(char text[PEER_TEXT_MAX], const char *format, ...)
{
    size_t length = strlen(text);
    va_list args;

    va_start(args, format);
    vsnprintf(text + length, PEER_TEXT_MAX - length, format, args);
    va_end(args);
}

static struct peer *peer_of(struct session *session)
{
    return session_user(session);
}

static void PRINTF_LIKE(4, 5)
    event(struct peer *peer, struct channel *channel, const char *name, const char *format, ...)
{
    char text[400];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    peer->events_count++;
    add(peer->events, "%s%s%s", peer->events[0] ? " " : "", name, text);
    if (peer->in_event) {
        peer->in_event(peer, channel, name);
    }
}

static void on_ready(struct session *session, const struct control_hello *hello)
{
    event(peer_of(session), NULL, "ready", "(%.*s)", (int)hello->build.length,
          hello->build.data ? hello->build.data : "");
}

static struct peer *owner(struct channel *channel)
{
    return peer_of(channel_session(channel));
}

static struct peer_channel *free_place(struct peer *peer)
{
    for (size_t i = 0; i < PEER_CHANNELS; i++) {
        if (!peer->channels[i].channel) {
            return &peer->channels[i];
        }
    }
    fail_msg("no place for another channel");
    return NULL;
}

static void on_open(struct channel *channel, const struct control_open *open)
{
    struct peer *peer = owner(channel);

    *free_place(peer) = (struct peer_channel){.channel = channel};
    event(peer, channel, "open", "(%u,%.*s)", channel_id(channel), (int)open->route.length, open->route.data);
}

static void on_opened(struct channel *channel)
{
    event(owner(channel), channel, "opened", "(%u)", channel_id(channel));
}

static void on_refused(struct channel *channel, const struct control_refused *refused)
{
    event(owner(channel), channel, "refused", "(%u,%s,%.*s%s)", channel_id(channel), code_word(refused->code),
          (int)refused->message.length, refused->message.data ? refused->message.data : "",
          refused->retryable ? ",retryable" : "");
}

static void on_data(struct channel *channel, const uint8_t *bytes, size_t length)
{
    struct peer *peer = owner(channel);

    for (size_t i = 0; i < length; i++) { /* so that a sanitizer sees what is not there */
        assert_int_equal(bytes[i], 'd');
    }
    if (peer->consume) {
        channel_consumed(channel, length);
    }
    event(peer, channel, "data", "(%u,%zu)", channel_id(channel), length);
}

static void on_fin(struct channel *channel)
{
    event(owner(channel), channel, "fin", "(%u)", channel_id(channel));
}

static void on_reset(struct channel *channel, uint32_t code)
{
    event(owner(channel), channel, "reset", "(%u,%s)", channel_id(channel), code_word(code));
}

static void on_stopped(struct channel *channel, uint32_t code)
{
    event(owner(channel), channel, "stopped", "(%u,%s)", channel_id(channel), code_word(code));
}

static void on_failed(struct channel *channel, uint32_t code, bool retryable)
{
    event(owner(channel), channel, "failed", "(%u,%s%s)", channel_id(channel), code_word(code),
          retryable ? ",retryable" : "");
}

static enum channel_more what_follows(const struct peer_channel *place)
{
    return place->to_send > 0 || place->more ? CHANNEL_MORE : place->fin ? CHANNEL_FIN : CHANNEL_PAUSE;
}

static size_t on_fill(struct channel *channel, uint8_t *buffer, size_t size, enum channel_more *more)
{
    struct peer *peer = owner(channel);
    struct peer_channel *place = peer_place(peer, channel_id(channel));
    size_t length = place->to_send < size ? (size_t)place->to_send : size;

    if (peer->in_event) {
        peer->in_event(peer, channel, "fill");
    }
    memset(buffer, 'd', length);
    place->to_send -= length;
    *more = what_follows(place);
    return length;
}

const uint8_t peer_lent[65536];

static size_t on_lend(struct channel *channel, const void **bytes, size_t size, enum channel_more *more)
{
    struct peer *peer = owner(channel);
    struct peer_channel *place = peer_place(peer, channel_id(channel));
    size_t length = place->to_send < size ? (size_t)place->to_send : size;

    assert_in_range(size, 1, sizeof(peer_lent));
    if (!place->lends) {
        return 0;
    }
    *bytes = peer_lent;
    place->to_send -= length;
    *more = what_follows(place);
    return length;
}

static void on_streams(struct session *session)
{
    event(peer_of(session), NULL, "streams", "%s", "");
}

static void on_going_away(struct session *session, const struct control_goaway *goaway)
{
    event(peer_of(session), NULL, "going_away", "(%u,%u)", goaway->last_stream, goaway->deadline_ms);
}

static void on_pong(struct session *session, uint64_t rtt_ms)
{
    event(peer_of(session), NULL, "pong", "(%u)", (unsigned)rtt_ms);
}

static void on_ended(struct session *session, const struct session_end *end)
{
    event(peer_of(session), NULL, "ended", "(%s%s%s%s)", code_word(end->code), end->by_peer ? ",by peer" : "",
          end->text[0] ? "," : "", end->text);
}

const struct session_events peer_events = {
    .ready = on_ready,
    .open = on_open,
    .opened = on_opened,
    .refused = on_refused,
    .data = on_data,
    .fin = on_fin,
    .reset = on_reset,
    .stopped = on_stopped,
    .failed = on_failed,
    .fill = on_fill,
    .lend = on_lend,
    .streams = on_streams,
    .going_away = on_going_away,
    .pong = on_pong,
    .ended = on_ended,
};

void peer_config(struct peer *peer, enum session_role role)
{
    memset(peer, 0, sizeof(*peer));
    session_config_default(&peer->config, role);
    peer->config.max_streams = 4;
    peer->config.max_own_streams = 4;
    peer->config.budget = 65536; /* each stream's reserve is 4096 bytes, 16384 are shared */
    peer->config.max_payload = 8192;
    peer->now = 1000;
    peer->send_size = 65536;
}

void peer_new(struct peer *peer)
{
    peer->session = session_new(&peer->config, &peer_events, peer, peer->now);
    assert_non_null(peer->session);
}

void peer_start(struct peer *peer, enum session_role role)
{
    peer_config(peer, role);
    peer_new(peer);
    put_preface(peer);
    put_hello(peer);
    peer_said(peer);
    put_pong(peer);
    peer->events[0] = '\0';
}

void peer_stop(struct peer *peer)
{
    session_free(peer->session);
    peer->session = NULL;
}

struct peer_channel *peer_place(struct peer *peer, uint32_t id)
{
    for (size_t i = 0; i < PEER_CHANNELS; i++) {
        if (peer->channels[i].channel && channel_id(peer->channels[i].channel) == id) {
            return &peer->channels[i];
        }
    }
    fail_msg("no channel %u", id);
    return NULL;
}

struct channel *peer_channel(struct peer *peer, uint32_t id)
{
    return peer_place(peer, id)->channel;
}

void peer_send(struct peer *peer, uint32_t id, uint64_t bytes, bool fin)
{
    struct peer_channel *place = peer_place(peer, id);

    place->to_send = bytes;
    place->fin = fin;
    channel_ready(place->channel);
}

void peer_release(struct peer *peer, uint32_t id)
{
    struct peer_channel *place = peer_place(peer, id);
    struct channel *channel = place->channel;

    place->channel = NULL;
    channel_release(channel);
}

struct channel *peer_open(struct peer *peer, const char *route)
{
    struct control_open open = {.route = control_text(route)};
    struct channel *channel;

    assert_int_equal(session_open(peer->session, &open, NULL, &channel), 0);
    *free_place(peer) = (struct peer_channel){.channel = channel};
    return channel;
}

/* In memory of its own, so that a sanitizer sees what is read past it or kept. */
void put_bytes(struct peer *peer, const void *bytes, size_t length)
{
    uint8_t *copy = malloc(length > 0 ? length : 1);

    assert_non_null(copy);
    memcpy(copy, bytes, length);
    session_receive(peer->session, peer->now, copy, length);
    free(copy);
}

void put_frame(struct peer *peer, uint8_t type, uint8_t flags, uint32_t stream, const void *payload,
               size_t length)
{
    static uint8_t bytes[FRAME_HEADER + FRAME_PAYLOAD_MAX];

    frame_encode_header(bytes, (struct frame_header){type, flags, (uint16_t)length, stream});
    if (length > 0) {
        memcpy(bytes + FRAME_HEADER, payload, length);
    }
    put_bytes(peer, bytes, FRAME_HEADER + length);
}

void put_preface(struct peer *peer)
{
    put_bytes(peer, frame_preface, FRAME_PREFACE_SIZE);
}

void put_hello(struct peer *peer)
{
    struct control_hello hello = {
        .version_min = 1,
        .version_max = 1,
        .role = peer->config.role == SESSION_CLIENT ? 1 : 0,
        .max_payload = 16384,
        .max_streams = 3,
        .stream_window = 10000,
        .session_window = 25000,
        .ping_interval = 15000,
        .build = control_text("test"),
    };
    uint8_t bytes[100];

    put_frame(peer, FRAME_HELLO, 0, 0, bytes, control_encode_hello(&hello, bytes, sizeof(bytes)));
}

void put_open(struct peer *peer, uint32_t id, const char *route)
{
    struct control_open open = {.route = control_text(route)};
    uint8_t bytes[300];

    put_frame(peer, FRAME_OPEN, 0, id, bytes, control_encode_open(&open, bytes, sizeof(bytes)));
}

void put_opened(struct peer *peer, uint32_t id)
{
    put_frame(peer, FRAME_OPENED, 0, id, "\xa0", 1);
}

void put_refused(struct peer *peer, uint32_t id, uint32_t code)
{
    struct control_refused refused = {.code = code, .message = control_text("no"), .retryable = true};
    uint8_t bytes[300];

    put_frame(peer, FRAME_REFUSED, 0, id, bytes, control_encode_refused(&refused, bytes, sizeof(bytes)));
}

void put_data(struct peer *peer, uint32_t id, size_t length, bool fin)
{
    static uint8_t bytes[FRAME_PAYLOAD_MAX];

    memset(bytes, 'd', length);
    put_frame(peer, FRAME_DATA, fin ? FRAME_FIN : 0, id, bytes, length);
}

void put_reset(struct peer *peer, uint32_t id, uint32_t code, uint64_t size)
{
    uint8_t bytes[12];

    frame_put_u32(bytes, code);
    frame_put_u64(bytes + 4, size);
    put_frame(peer, FRAME_RESET, 0, id, bytes, sizeof(bytes));
}

void put_stop(struct peer *peer, uint32_t id, uint32_t code)
{
    put_u32(peer, FRAME_STOP, id, code);
}

void put_u32(struct peer *peer, uint8_t type, uint32_t stream, uint32_t value)
{
    uint8_t bytes[4];

    frame_put_u32(bytes, value);
    put_frame(peer, type, 0, stream, bytes, sizeof(bytes));
}

void put_u64(struct peer *peer, uint8_t type, uint32_t stream, uint64_t value)
{
    uint8_t bytes[8];

    frame_put_u64(bytes, value);
    put_frame(peer, type, 0, stream, bytes, sizeof(bytes));
}

void put_goaway(struct peer *peer, uint32_t last, uint32_t code, const char *message)
{
    struct control_goaway goaway = {last, code, control_text(message), 0};
    uint8_t bytes[300];

    put_frame(peer, FRAME_GOAWAY, 0, 0, bytes, control_encode_goaway(&goaway, bytes, sizeof(bytes)));
}

void put_pong(struct peer *peer)
{
    put_u64(peer, FRAME_PONG, 0, peer->session->ping_number);
}

void put_end(struct peer *peer)
{
    session_receive_end(peer->session, peer->now);
}

void peer_wait(struct peer *peer, uint64_t ms, bool alive)
{
    uint64_t until = peer->now + ms, next;

    while ((next = session_next_deadline(peer->session)) <= until) {
        if (next > peer->now) {
            peer->now = next;
        }
        session_tick(peer->session, peer->now);
        if (!alive || session_is_over(peer->session)) {
            continue;
        }
        if (peer->session->owes & OWES_PING) {
            peer_said(peer);
        }
        if (peer->session->ping_under_way) {
            put_pong(peer);
        }
    }
    peer->now = until;
    session_set_now(peer->session, until);
}

static void say_control(char *text, const struct frame *frame)
{
    struct control_refused refused;
    struct control_goaway goaway;
    struct control_open open;
    struct breach breach;
    uint32_t id = frame->header.stream;

    switch (frame->header.type) {
    case FRAME_HELLO:
        add(text, "HELLO");
        return;
    case FRAME_GOAWAY:
        assert_true(control_decode_goaway(frame->bytes, frame->length, &goaway, &breach));
        add(text, "GOAWAY(%u,%s%s%.*s)", goaway.last_stream, code_word(goaway.code),
            goaway.message.length > 0 ? "," : "", (int)goaway.message.length,
            goaway.message.data ? goaway.message.data : "");
        return;
    case FRAME_OPEN:
        assert_true(control_decode_open(frame->bytes, frame->length, &open, &breach));
        add(text, "OPEN(%u,%.*s)", id, (int)open.route.length, open.route.data);
        return;
    case FRAME_OPENED:
        add(text, "OPENED(%u)", id);
        return;
    default:
        assert_true(control_decode_refused(frame->bytes, frame->length, &refused, &breach));
        add(text, "REFUSED(%u,%s%s%.*s%s)", id, code_word(refused.code),
            refused.message.length > 0 ? "," : "", (int)refused.message.length,
            refused.message.data ? refused.message.data : "", refused.retryable ? ",retryable" : "");
    }
}

static void say(char *text, const struct frame *frame)
{
    uint32_t id = frame->header.stream;

    add(text, "%s", text[0] ? " " : "");
    switch (frame->header.type) {
    case FRAME_PING:
        add(text, "PING");
        return;
    case FRAME_PONG:
        add(text, "PONG");
        return;
    case FRAME_MAX_DATA:
        add(text, "MAX_DATA(%llu)", (unsigned long long)frame_get_u64(frame->bytes));
        return;
    case FRAME_MAX_STREAMS:
        add(text, "MAX_STREAMS(%u)", frame_get_u32(frame->bytes));
        return;
    case FRAME_DATA:
        add(text, "DATA(%u,%zu%s)", id, frame->length, frame->header.flags & FRAME_FIN ? ",fin" : "");
        return;
    case FRAME_MAX_STREAM_DATA:
        add(text, "MAX_STREAM_DATA(%u,%llu)", id, (unsigned long long)frame_get_u64(frame->bytes));
        return;
    case FRAME_RESET:
        add(text, "RESET(%u,%s,%llu)", id, code_word(frame_get_u32(frame->bytes)),
            (unsigned long long)frame_get_u64(frame->bytes + 4));
        return;
    case FRAME_STOP:
        add(text, "STOP(%u,%s)", id, code_word(frame_get_u32(frame->bytes)));
        return;
    default:
        say_control(text, frame);
    }
}

/* Once the preface is off, whole frames are all that a call of session_send() gives. */
static void say_all(struct peer *peer, const uint8_t *bytes, size_t length)
{
    struct frame_reader reader;
    struct frame frame;
    enum frame_event what;

    if (length >= FRAME_PREFACE_SIZE && memcmp(bytes, frame_preface, FRAME_PREFACE_SIZE) == 0) {
        bytes += FRAME_PREFACE_SIZE;
        length -= FRAME_PREFACE_SIZE;
    }
    frame_reader_init(&reader, FRAME_PAYLOAD_MAX);
    while ((what = frame_read(&reader, &bytes, &length, &frame)) != FRAME_NOTHING) {
        assert_true(what == FRAME_WHOLE || what == FRAME_PIECE);
        say(peer->said, &frame);
    }
    assert_false(frame_reader_midway(&reader));
}

const char *peer_said(struct peer *peer)
{
    uint8_t *buffer = malloc(peer->send_size);

    assert_non_null(buffer);
    peer->said[0] = '\0';
    for (unsigned i = 0; i < 200 && session_has_output(peer->session); i++) {
        size_t length = session_send(peer->session, peer->now, buffer, peer->send_size);
        peer->out_bytes += length;
        say_all(peer, buffer, length);
    }
    free(buffer);
    if (strstr(peer->said, "GOAWAY(")) {
        snprintf(peer->goaway, sizeof(peer->goaway), "%s", strstr(peer->said, "GOAWAY("));
    }
    return peer->said;
}

void assert_said_at(struct peer *peer, const char *expected, const char *file, int line)
{
    const char *said = peer_said(peer);

    if (strcmp(said, expected) != 0) {
        print_error("said:     %s\nexpected: %s\n", said, expected);
        _fail(file, line);
    }
}

void assert_events_at(struct peer *peer, const char *expected, const char *file, int line)
{
    if (strcmp(peer->events, expected) != 0) {
        print_error("events:   %s\nexpected: %s\n", peer->events, expected);
        _fail(file, line);
    }
    peer->events[0] = '\0';
}
