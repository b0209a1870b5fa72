/* What the server does with streams: see server.h. */
#include "server_private.h"

#include <string.h>

enum act { ACT_ECHO, ACT_SINK, ACT_SOURCE, ACT_STALL, ACT_SAY, ACT_HTTP };

struct task {
    LIST_ENTRY(task) entry;
    struct channel *channel;
    enum act act;
    bool peek; /* not answered yet */
    bool heard_end;
    bool reset_after;
    uint64_t count; /* bytes taken, or still to be sent */
    uint64_t made;  /* sent so far */
    char *say;
    uint8_t *held; /* to be echoed */
    size_t begin, end, size;
};

static struct server_peer *peer_of(const struct channel *channel)
{
    return session_user(channel_session(channel));
}

static struct server *server_of(const struct channel *channel)
{
    return peer_of(channel)->server;
}

static void free_task(struct channel *channel)
{
    struct task *task = channel_user(channel);

    LIST_REMOVE(task, entry);
    channel_release(channel);
    free(task->say);
    free(task->held);
    free(task);
}

void server_free_tasks(struct server_peer *peer, bool all)
{
    struct task *task = LIST_FIRST(&peer->tasks);

    while (task) {
        struct task *next = LIST_NEXT(task, entry);
        if (all || (channel_sending_over(task->channel) && channel_receiving_over(task->channel))) {
            free_task(task->channel);
        }
        task = next;
    }
}

static void say(struct task *task, const char *text)
{
    task->act = ACT_SAY;
    task->say = strdup(text);
    MUST(task->say);
    task->count = strlen(text);
    task->made = 0;
}

static void say_meta(struct task *task, const struct control_open *open)
{
    char text[2048] = "";
    size_t n = 0;

    for (size_t i = 0; i < open->meta_count; i++) {
        const struct control_meta_entry *meta = &open->meta[i];
        n += (size_t)snprintf(text + n, sizeof text - n, "%.*s=%.*s%s\n", (int)meta->key.length,
                              meta->key.data, (int)meta->value.length, meta->value.data,
                              meta->binary ? "!" : "");
    }
    n += (size_t)snprintf(text + n, sizeof text - n, "timeout=%u\n", open->timeout_ms);
    say(task, text);
}

static bool is(const struct control_open *open, const char *route)
{
    return open->route.length == strlen(route) && memcmp(open->route.data, route, open->route.length) == 0;
}

static void refuse(struct channel *channel, uint32_t code, const char *message, bool retryable)
{
    channel_refuse(channel, code, message, retryable);
    free_task(channel);
}

/* Says what is due by now. */
static void answer_http(struct channel *channel, struct task *task)
{
    struct server_http *http = &server_of(channel)->http;

    if (task->say || !http->answer || http->count < http->after ||
        (http->until && !strstr(http->heard, http->until))) {
        return;
    }
    say(task, http->answer);
    task->act = ACT_HTTP;
    if (http->then == SERVER_STOP || http->then == SERVER_STOP_AND_FIN) {
        channel_stop(channel, CODE_CANCEL);
    }
    channel_ready(channel);
}

static void hear_http(struct channel *channel, struct task *task, const uint8_t *bytes, size_t length)
{
    struct server_http *http = &server_of(channel)->http;
    size_t room = sizeof http->heard - 1 - http->heard_size;
    size_t n = length < room ? length : room;

    memcpy(http->heard + http->heard_size, bytes, n);
    http->heard_size += n;
    http->heard[http->heard_size] = '\0';
    http->count += length;
    answer_http(channel, task);
    if (!task->say || !http->stall) {
        channel_consumed(channel, length);
    }
}

static void begin(struct channel *channel, struct task *task, const struct control_open *open)
{
    char route[64];

    snprintf(route, sizeof route, "%.*s", (int)open->route.length, open->route.data);
    if (strcmp(route, "sink") == 0) {
        task->act = ACT_SINK;
    } else if (strncmp(route, "source:", 7) == 0) {
        task->act = ACT_SOURCE;
        task->count = strtoull(route + 7, NULL, 10);
    } else if (strcmp(route, "stall") == 0) {
        task->act = ACT_STALL;
    } else if (strcmp(route, "reset") == 0) {
        say(task, "abc");
        task->reset_after = true;
    } else if (strncmp(route, "http", 4) == 0) {
        task->act = ACT_HTTP;
        server_of(channel)->http.kind = open->kind;
    } else if (strcmp(route, "meta") == 0) {
        say_meta(task, open);
    } else {
        MUST(strcmp(route, "echo") == 0 || strcmp(route, "stop") == 0);
    }
    channel_accept(channel);
    channel_ready(channel);
    if (strcmp(route, "stop") == 0) {
        channel_stop(channel, CODE_CANCEL);
    }
    if (task->act == ACT_HTTP) {
        answer_http(channel, task);
    }
}

static void on_open(struct channel *channel, const struct control_open *open)
{
    struct task *task = calloc(1, sizeof *task);

    MUST(task);
    channel_set_user(channel, task);
    task->channel = channel;
    LIST_INSERT_HEAD(&peer_of(channel)->tasks, task, entry);
    server_of(channel)->opens++;
    if (is(open, "refuse")) {
        refuse(channel, code_of_reason(REASON_CONNECT_REFUSED), "nobody listens", true);
    } else if (is(open, "refuse-mute")) {
        refuse(channel, code_of_reason(REASON_DENIED_ROUTE), NULL, false);
    } else if (is(open, "peek")) {
        task->peek = true;
    } else if (is(open, "silent")) {
        task->act = ACT_STALL;
    } else {
        begin(channel, task, open);
    }
}

static void hold(struct task *task, const uint8_t *bytes, size_t length)
{
    if (task->begin > 0) {
        memmove(task->held, task->held + task->begin, task->end - task->begin);
        task->end -= task->begin;
        task->begin = 0;
    }
    if (task->end + length > task->size) {
        task->size = task->end + length;
        task->held = realloc(task->held, task->size);
        MUST(task->held);
    }
    memcpy(task->held + task->end, bytes, length);
    task->end += length;
}

static void on_data(struct channel *channel, const uint8_t *bytes, size_t length)
{
    struct task *task = channel_user(channel);

    if (task->peek) {
        channel_accept(channel);
    }
    task->peek = false;
    if (task->act == ACT_STALL) {
        return;
    }
    if (task->act == ACT_HTTP) {
        hear_http(channel, task, bytes, length);
        return;
    }
    if (task->act != ACT_ECHO) {
        task->count += task->act == ACT_SINK ? length : 0;
        channel_consumed(channel, length);
        return;
    }
    hold(task, bytes, length);
    channel_ready(channel);
}

static void on_fin(struct channel *channel)
{
    struct task *task = channel_user(channel);
    char text[32];

    server_of(channel)->finished++;
    task->heard_end = true;
    if (task->act == ACT_SINK) {
        snprintf(text, sizeof text, "%llu", (unsigned long long)task->count);
        say(task, text);
    }
    channel_ready(channel);
}

static void on_reset(struct channel *channel, uint32_t code)
{
    server_of(channel)->reset++;
    channel_reset(channel, code);
}

static void on_failed(struct channel *channel, uint32_t code, bool retryable)
{
    (void)code;
    (void)retryable;
    free_task(channel);
}

static size_t fill_echo(struct channel *channel, struct task *task, uint8_t *buffer, size_t size,
                        enum channel_more *more)
{
    size_t n = task->end - task->begin < size ? task->end - task->begin : size;

    memcpy(buffer, task->held + task->begin, n);
    task->begin += n;
    channel_consumed(channel, n);
    if (task->begin == task->end) {
        *more = task->heard_end ? CHANNEL_FIN : CHANNEL_PAUSE;
    } else {
        *more = CHANNEL_MORE;
    }
    return n;
}

static size_t fill_made(struct task *task, uint8_t *buffer, size_t size, enum channel_more *more)
{
    size_t n = task->count < size ? (size_t)task->count : size;

    for (size_t i = 0; i < n; i++) {
        buffer[i] = task->act == ACT_SAY ? (uint8_t)task->say[task->made + i] : (uint8_t)(task->made + i);
    }
    task->made += n;
    task->count -= n;
    *more = task->count > 0 ? CHANNEL_MORE : CHANNEL_FIN;
    return n;
}

/* The answer, the bytes behind it, and the end that was asked for. */
static size_t fill_http(struct channel *channel, struct task *task, uint8_t *buffer, size_t size,
                        enum channel_more *more)
{
    const struct server_http *http = &server_of(channel)->http;
    size_t length = strlen(task->say);
    size_t n = 0;

    for (; n < size && task->made < length + http->body; n++, task->made++) {
        buffer[n] = task->made < length ? (uint8_t)task->say[task->made] : (uint8_t)(task->made - length);
    }
    if (task->made < length + http->body) {
        *more = CHANNEL_MORE;
    } else if (http->then == SERVER_FIN || http->then == SERVER_STOP_AND_FIN || task->heard_end) {
        *more = CHANNEL_FIN;
    } else if (http->then == SERVER_RESET && n > 0) {
        *more = CHANNEL_MORE;
    } else if (http->then == SERVER_RESET) {
        channel_reset(channel, code_of_reason(REASON_UPSTREAM_RESET));
    }
    return n;
}

static size_t on_fill(struct channel *channel, uint8_t *buffer, size_t size, enum channel_more *more)
{
    struct task *task = channel_user(channel);
    size_t n = 0;

    *more = CHANNEL_PAUSE;
    if (task->act == ACT_ECHO && (task->held || task->heard_end)) {
        n = fill_echo(channel, task, buffer, size, more);
    } else if (task->act == ACT_HTTP && task->say) {
        n = fill_http(channel, task, buffer, size, more);
    } else if (task->act == ACT_SOURCE || task->act == ACT_SAY) {
        n = fill_made(task, buffer, size, more);
    }
    if (*more == CHANNEL_FIN && task->reset_after) {
        *more = CHANNEL_PAUSE;
        if (n == 0) {
            channel_reset(channel, code_of_reason(REASON_UPSTREAM_RESET));
        } else {
            *more = CHANNEL_MORE;
        }
    }
    return n;
}

static void on_ready(struct session *session, const struct control_hello *hello)
{
    struct server_peer *peer = session_user(session);

    snprintf(peer->server->build, sizeof peer->server->build, "%.*s", (int)hello->build.length,
             hello->build.data ? hello->build.data : "");
}

static void on_pong(struct session *session, uint64_t rtt_ms)
{
    struct server_peer *peer = session_user(session);

    (void)rtt_ms;
    peer->server->pongs++;
}

static void on_ended(struct session *session, const struct session_end *end)
{
    struct server_peer *peer = session_user(session);

    peer->server->lost += end->code != CODE_NO_ERROR;
    if (end->code != CODE_NO_ERROR) {
        peer->server->last_code = end->code;
    }
}

const struct session_events server_events = {
    .ready = on_ready,
    .open = on_open,
    .data = on_data,
    .fin = on_fin,
    .reset = on_reset,
    .failed = on_failed,
    .fill = on_fill,
    .pong = on_pong,
    .ended = on_ended,
};
