/* See the header. Both fuzz targets of the session are this, in one role each. */
#include "session_script.h"

#include "session/frame.h"

#include <stdlib.h>
#include <string.h>

#define CHANNELS_MAX 64u
#define BUDGET       UINT64_C(65536)

struct script {
    const uint8_t *at, *end;
    struct session *session;
    struct channel *channels[CHANNELS_MAX];
    uint64_t held[CHANNELS_MAX];
    uint64_t now;
    bool ended, meddle;
    bool past; /* payloads go past the session where they may */
};

static void need(bool good)
{
    if (!good) {
        abort();
    }
}

static uint8_t byte(struct script *script)
{
    return script->at < script->end ? *script->at++ : 0;
}

static uint32_t number(struct script *script)
{
    static const uint32_t interesting[] = {0,     1,          2,          3,          4,
                                           5,     511,        512,        1024,       4096,
                                           65535, 0x7fffffff, 0x80000000, 0xfffffffd, 0xffffffff};
    uint8_t choice = byte(script);

    if (choice < ARRAY_SIZE(interesting)) {
        return interesting[choice];
    }
    return choice < 200 ? choice : (uint32_t)byte(script) << 8 | byte(script);
}

static struct script *script_of(struct channel *channel)
{
    return session_user(channel_session(channel));
}

static size_t place_of(struct channel *channel)
{
    return (size_t)((struct channel **)channel_user(channel) - script_of(channel)->channels);
}

static void keep(struct script *script, struct channel *channel)
{
    for (size_t i = 0; i < CHANNELS_MAX; i++) {
        if (script->channels[i]) {
            continue;
        }
        script->channels[i] = channel;
        script->held[i] = 0;
        channel_set_user(channel, &script->channels[i]);
        return;
    }
    abort(); /* more than there may be */
}

static void release(struct script *script, size_t place)
{
    struct channel *channel = script->channels[place];

    if (!channel) {
        return;
    }
    script->channels[place] = NULL;
    channel_release(channel);
}

/* What an application may do at any moment, from within events too. */
static void act(struct script *script)
{
    uint8_t what = byte(script);
    size_t place = byte(script) % CHANNELS_MAX;
    struct channel *channel = script->channels[place];
    struct control_open open = {.route = control_text("r"), .timeout_ms = what};

    switch (what % 12) {
    case 0:
        if (session_open(script->session, &open, NULL, &channel) == 0) {
            keep(script, channel);
        }
        return;
    case 1:
        session_ping(script->session);
        return;
    case 2:
        if (what == 2) {
            session_drain(script->session, number(script));
        }
        return;
    case 3:
        if (what == 3) {
            session_abort(script->session, CODE_INTERNAL, "scripted");
        } else if (what == 15) {
            session_yield(script->session);
        }
        return;
    default:
        break;
    }
    if (!channel) {
        return;
    }
    switch (what % 12) {
    case 4:
        channel_accept(channel);
        return;
    case 5:
        channel_refuse(channel, number(script), what & 16 ? "a\x01message" : NULL, what & 32);
        return;
    case 6:
        channel_reset(channel, number(script));
        return;
    case 7:
        channel_stop(channel, number(script));
        return;
    case 8:
        release(script, place);
        return;
    case 9:
        channel_consumed(channel, (size_t)script->held[place]);
        script->held[place] = 0;
        return;
    case 10:
        channel_finish(channel);
        return;
    default:
        channel_ready(channel);
    }
}

static void event(struct channel *channel)
{
    struct script *script = script_of(channel);

    need(!script->ended && script->channels[place_of(channel)] == channel);
    if (script->meddle) {
        act(script);
    }
}

static void on_open(struct channel *channel, const struct control_open *open)
{
    need(open->route.length > 0 && control_printable(open->route));
    keep(script_of(channel), channel);
    event(channel);
}

static void on_opened(struct channel *channel)
{
    event(channel);
}

static void on_refused(struct channel *channel, const struct control_refused *refused)
{
    need(control_printable(refused->message));
    event(channel);
}

static void on_data(struct channel *channel, const uint8_t *bytes, size_t length)
{
    struct script *script = script_of(channel);
    volatile uint8_t sum = 0;
    uint64_t all = 0;

    for (size_t i = 0; i < length; i++) {
        sum = (uint8_t)(sum + bytes[i]);
    }
    script->held[place_of(channel)] += length;
    for (size_t i = 0; i < CHANNELS_MAX; i++) {
        all += script->channels[i] ? script->held[i] : 0;
    }
    need(all <= BUDGET);
    event(channel);
}

static void on_code(struct channel *channel, uint32_t code)
{
    (void)code_word(code);
    event(channel);
}

static void on_failed(struct channel *channel, uint32_t code, bool retryable)
{
    (void)retryable;
    on_code(channel, code);
}

static size_t on_fill(struct channel *channel, uint8_t *buffer, size_t size, enum channel_more *more)
{
    struct script *script = script_of(channel);
    uint8_t choice = byte(script);
    size_t length = choice & 1 ? size : number(script) % (size + 1);

    need(size > 0);
    memset(buffer, choice, length);
    *more = choice & 2 ? CHANNEL_PAUSE : choice & 4 ? CHANNEL_FIN : CHANNEL_MORE;
    if (choice == 0 && length == size) {
        *more = CHANNEL_PAUSE;
    }
    event(channel);
    return length;
}

static void on_ended(struct session *session, const struct session_end *end)
{
    struct script *script = session_user(session);

    need(!script->ended && control_printable(control_text(end->text)));
    script->ended = true;
}

static const struct session_events events = {
    .open = on_open,
    .opened = on_opened,
    .refused = on_refused,
    .data = on_data,
    .fin = on_opened,
    .reset = on_code,
    .stopped = on_code,
    .failed = on_failed,
    .fill = on_fill,
    .ended = on_ended,
};

/* Past the session, or header by header to it. */
static size_t receive_past(struct script *script, const uint8_t *bytes, size_t length)
{
    struct channel *channel;
    size_t left = session_expects(script->session, &channel);
    size_t taken = left < length ? left : length;

    if (taken == 0) {
        return session_receive(script->session, script->now, bytes,
                               length < FRAME_HEADER ? length : FRAME_HEADER);
    }
    session_skip(script->session, script->now, taken);
    on_data(channel, bytes, taken);
    return taken;
}

static void receive(struct script *script, const uint8_t *bytes, size_t length)
{
    uint8_t *copy = malloc(length > 0 ? length : 1);
    size_t taken = 0;

    need(copy != NULL);
    memcpy(copy, bytes, length);
    do {
        taken += script->past ? receive_past(script, copy + taken, length - taken)
                              : session_receive(script->session, script->now, copy + taken, length - taken);
    } while (taken < length);
    free(copy);
}

/* A frame whose form is right more often than not. */
static void put_frame(struct script *script, uint8_t type)
{
    static const uint8_t lengths[] = {[FRAME_PING] = 8,
                                      [FRAME_PONG] = 8,
                                      [FRAME_MAX_DATA] = 8,
                                      [FRAME_MAX_STREAMS] = 4,
                                      [FRAME_MAX_STREAM_DATA] = 8,
                                      [FRAME_RESET] = 12,
                                      [FRAME_STOP] = 4};
    uint8_t frame[FRAME_HEADER + 8192] = {0};
    uint8_t *payload = frame + FRAME_HEADER;
    uint32_t stream = type >= FRAME_OPEN ? byte(script) : 0;
    size_t length = type < ARRAY_SIZE(lengths) ? lengths[type] : 0;
    uint8_t flags = 0;
    struct control_open open = {.route = control_text("route")};
    struct control_refused refused = {.code = CODE_CANCEL, .message = control_text("no")};
    struct control_goaway goaway = {.last_stream = CONTROL_LAST_WARNING};

    if (type == FRAME_OPEN) {
        open.kind = byte(script) == 7;
        length = control_encode_open(&open, payload, 100);
    } else if (type == FRAME_OPENED) {
        length = control_encode_opened(payload, 1);
    } else if (type == FRAME_REFUSED) {
        length = control_encode_refused(&refused, payload, 100);
    } else if (type == FRAME_GOAWAY) {
        goaway.last_stream = number(script);
        goaway.code = byte(script) < 200 ? 0 : 1;
        length = control_encode_goaway(&goaway, payload, 100);
    } else if (type == FRAME_DATA) {
        length = number(script) % 8192;
        flags = byte(script) & FRAME_FIN;
    } else if (length > 0) {
        frame_put_u32(payload + length - 4, number(script));
        if (type == FRAME_RESET) {
            frame_put_u32(payload, number(script));
        }
    }
    frame_encode_header(frame, (struct frame_header){type, flags, (uint16_t)length, stream});
    receive(script, frame, FRAME_HEADER + length);
}

/* Ends with the script at the latest, since without it `fill` says MORE for ever. */
static void write_out(struct script *script)
{
    static uint8_t buffer[16384];
    size_t length;

    do {
        if (!session_has_output(script->session)) {
            return;
        }
        length = session_send(script->session, script->now, buffer, sizeof(buffer));
        need(length <= sizeof(buffer));
    } while (length > 0 && script->at < script->end);
}

static void step(struct script *script)
{
    static const uint8_t types[] = {
        FRAME_GOAWAY, FRAME_PING,    FRAME_PONG, FRAME_MAX_DATA,        FRAME_MAX_STREAMS, FRAME_OPEN,
        FRAME_OPENED, FRAME_REFUSED, FRAME_DATA, FRAME_MAX_STREAM_DATA, FRAME_RESET,       FRAME_STOP,
        FRAME_OPEN,   FRAME_DATA,    FRAME_DATA, FRAME_OPENED};
    uint8_t what = byte(script);
    size_t length;

    if (what < 128) {
        put_frame(script, types[what % ARRAY_SIZE(types)]);
    } else if (what < 190) {
        act(script);
    } else if (what < 220) {
        write_out(script);
    } else if (what < 240) {
        script->now += what < 235 ? number(script) % 2000 : number(script);
        if (session_next_deadline(script->session) <= script->now) {
            session_tick(script->session, script->now);
        }
    } else if (what < 253) { /* bytes without sense */
        length = byte(script) % 64;
        if (length > (size_t)(script->end - script->at)) {
            length = (size_t)(script->end - script->at);
        }
        receive(script, script->at, length);
        script->at += length;
    } else if (what == 253) {
        script->past = !script->past;
    } else if (what == 254) {
        script->meddle = !script->meddle;
    } else {
        session_receive_end(script->session, script->now);
    }
}

static void handshake(struct script *script, enum session_role role)
{
    struct control_hello hello = {.version_min = 1,
                                  .version_max = 1,
                                  .role = role == SESSION_CLIENT,
                                  .max_payload = 8192,
                                  .max_streams = 20,
                                  .stream_window = 5000,
                                  .session_window = 20000,
                                  .ping_interval = 15000};
    uint8_t bytes[FRAME_HEADER + 100];
    size_t length = control_encode_hello(&hello, bytes + FRAME_HEADER, 100);

    frame_encode_header(bytes, (struct frame_header){FRAME_HELLO, 0, (uint16_t)length, 0});
    receive(script, frame_preface, FRAME_PREFACE_SIZE);
    receive(script, bytes, FRAME_HEADER + length);
}

void session_script(enum session_role role, const uint8_t *data, size_t size)
{
    struct session_config config;
    struct script script = {.at = data, .end = data + size};

    session_config_default(&config, role);
    config.max_streams = 8;
    config.max_own_streams = 8;
    config.max_payload = 8192;
    config.budget = BUDGET;
    script.session = session_new(&config, &events, &script, 0);
    need(script.session != NULL);
    if (byte(&script) != 0xff) {
        handshake(&script, role);
    }
    while (script.at < script.end) {
        step(&script);
    }
    script.meddle = false;
    /* Whatever happened, it can be brought to an end. */
    session_abort(script.session, CODE_CANCEL, "the script is over");
    session_tick(script.session, script.now);
    need(session_is_over(script.session) && script.ended);
    for (unsigned i = 0; i < 100 && session_has_output(script.session); i++) {
        write_out(&script);
    }
    need(!session_has_output(script.session));
    for (size_t i = 0; i < CHANNELS_MAX; i += 2) {
        release(&script, i);
    }
    session_free(script.session);
}
