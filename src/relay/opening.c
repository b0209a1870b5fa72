/* The opening of a relay: see opening.h. */
#include "relay/opening.h"

#include "config/policy.h"
#include "relay/relay.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Most hellos are smaller; a larger one doubles it. hello_feed() ends that: it takes at most HELLO_WIRE_MAX. */
#define BYTES_FIRST 2048u

struct opening *opening_new(struct relay *relay)
{
    struct opening *opening = calloc(1, sizeof *opening);
    if (opening != NULL) {
        opening->relay = relay;
        hello_init(&opening->hello);
    }
    return opening;
}

void opening_free(struct opening *opening)
{
    if (opening == NULL) {
        return;
    }
    dial_cancel(opening->dial);
    hello_release(&opening->hello);
    free(opening->bytes);
    free(opening);
}

/* Keeps what was read, before the hello sees it: all of it goes to the destination, or none. */
static int keep(struct opening *opening, const void *data, size_t size)
{
    size_t wanted = opening->length + size;
    if (wanted > opening->capacity) {
        size_t capacity = opening->capacity > 0 ? opening->capacity : BYTES_FIRST;
        while (capacity < wanted) {
            capacity *= 2;
        }
        unsigned char *bytes = realloc(opening->bytes, capacity);
        if (bytes == NULL) {
            return -ENOMEM;
        }
        opening->bytes = bytes;
        opening->capacity = capacity;
    }
    memcpy(opening->bytes + opening->length, data, size);
    opening->length = wanted;
    return 0;
}

static enum reason reason_of_hello(enum hello_state state)
{
    switch (state) {
    case HELLO_NO_NAME:
        return REASON_NO_SNI;
    case HELLO_NOT_TLS:
        return REASON_NOT_TLS;
    case HELLO_BAD:
        return REASON_BAD_HELLO;
    default:
        return REASON_NONE;
    }
}

static bool name_is_allowed(const struct opening *opening)
{
    const char *name = opening->hello.name;
    return opening->asked.kind != ADDR_NONE ? strcmp(name, opening->asked.host) == 0
                                            : policy_sni(opening->relay->route, name) != NULL;
}

static enum reason judge_name(struct opening *opening)
{
    struct relay *relay = opening->relay;
    relay->server_name = strdup(opening->hello.name);
    if (relay->server_name == NULL) {
        return REASON_NO_MEMORY;
    }
    return name_is_allowed(opening) ? REASON_NONE : REASON_DENIED_SNI;
}

/* A client that was told an address names nobody (RFC 6066, section 3). */
static enum reason judge(struct opening *opening, bool *ret_whole)
{
    enum hello_state state = opening->hello.state;
    bool nameless = state == HELLO_NO_NAME && opening->asked.kind != ADDR_NONE && opening->asked.literal;
    *ret_whole = state == HELLO_NAME || nameless;
    return state == HELLO_NAME ? judge_name(opening) : nameless ? REASON_NONE : reason_of_hello(state);
}

enum reason opening_take_hello(struct opening *opening, const void *data, size_t size, bool *ret_whole)
{
    *ret_whole = false;
    if (keep(opening, data, size) != 0) {
        return REASON_NO_MEMORY;
    }
    hello_feed(&opening->hello, data, size);
    return judge(opening, ret_whole);
}

/* Who says nothing on a connection of its own asked for nothing, as on a forward route; who opened a stream asked for
 * this route. */
static enum reason judge_end(struct opening *opening)
{
    struct relay *relay = opening->relay;
    if (opening->length > 0 || relay->framed) {
        return REASON_BAD_HELLO;
    }
    relay->out.finished = stream_finish(&relay->client.stream) == 0; /* no abort */
    return REASON_FINISHED;
}

enum reason opening_read_hello(struct opening *opening, bool *ret_whole)
{
    struct stream *client = &opening->relay->client.stream;
    unsigned char *scratch = opening->relay->worker->tools.scratch;
    *ret_whole = false;
    while (opening->hello.state == HELLO_MORE) {
        ssize_t n = stream_read(client, scratch, FLOW_CHUNK_MIN);
        if (n == -EAGAIN) {
            return REASON_NONE;
        }
        if (n <= 0) {
            return n == 0 ? judge_end(opening) : REASON_CLIENT_RESET;
        }
        enum reason why = opening_take_hello(opening, scratch, (size_t)n, ret_whole);
        if (why != REASON_NONE) {
            return why;
        }
    }
    return REASON_NONE;
}

enum {
    ALERT_ACCESS_DENIED = 49,
    ALERT_DECODE_ERROR = 50,
    ALERT_INTERNAL_ERROR = 80,
    ALERT_UNRECOGNIZED_NAME = 112
};

static unsigned char alert_for(enum reason why)
{
    switch (why) {
    case REASON_DENIED_SNI:
    case REASON_NO_SNI:
        return ALERT_UNRECOGNIZED_NAME;
    case REASON_BAD_HELLO:
        return ALERT_DECODE_ERROR;
    case REASON_DENIED_ADDRESS:
        return ALERT_ACCESS_DENIED;
    default:
        return ALERT_INTERNAL_ERROR;
    }
}

bool opening_send_alert(const struct opening *opening, enum reason why)
{
    enum hello_state state = opening->hello.state;
    bool tls = state == HELLO_NAME || state == HELLO_NO_NAME || state == HELLO_BAD;
    if (!tls || why == REASON_CLIENT_RESET) {
        return false;
    }
    /* A record of type alert, TLS 1.2's version as all versions since write it, two bytes: fatal,
     * and which. */
    const unsigned char alert[] = {21, 3, 3, 0, 2, 2, alert_for(why)};
    return stream_write(&opening->relay->client.stream, alert, sizeof alert) == (ssize_t)sizeof alert;
}

/* Where the stream is to go. The address is the caller's copy. */
static void choose(const struct opening *opening, struct addr *ret)
{
    const struct config_route *route = opening->relay->route;
    if (opening->asked.kind != ADDR_NONE) {
        *ret = opening->asked;
        return;
    }
    switch (route->to_kind) {
    case CONFIG_TO_ADDRESS:
        *ret = route->to;
        break;
    case CONFIG_TO_SNI:
        *ret = (struct addr){.kind = ADDR_TCP, .port = route->port};
        snprintf(ret->host, sizeof ret->host, "%s", opening->hello.name); /* fits: it is a host name */
        break;
    case CONFIG_TO_SNI_MAP:
        *ret = policy_sni(route, opening->hello.name)->to;
        break;
    }
}

/* Which name is looked up, that is; of a map, it chooses among those of the configuration. */
static bool client_chose_name(const struct opening *opening)
{
    return opening->asked.kind != ADDR_NONE || opening->relay->route->to_kind == CONFIG_TO_SNI;
}

enum reason opening_dial(struct opening *opening, dial_cb cb)
{
    struct relay *relay = opening->relay;
    const struct config_route *route = relay->route;
    struct addr to;
    choose(opening, &to);
    struct dial_options options = {
        .to = &to,
        .public_only = !route->allow_private,
        .family = route->family,
        .asker = client_chose_name(opening) ? relay->asker : 0,
        .timeout_ms = route->connect_timeout_ms,
        .sock = {.vsock_buffer_size = relay->config->vsock.buffer_size},
    };
    opening->dial_began_ns = uv_hrtime();
    opening->dial = dial_start(relay->worker->loop, &options, cb, relay);
    return opening->dial != NULL ? REASON_NONE : REASON_NO_MEMORY;
}
