/*
 * What is said with the client of a `connect` route before it has its tunnel: see connect_stream.h.
 *
 *     READING -> DIALING -> ANSWERING -> the relay's
 *       | \----------------^               a refusal
 *       \-> the owner's                    no CONNECT
 *
 * Every way on is one call of relay.h at the end of a function: that may free the struct.
 */
#include "forward/connect_stream.h"

#include "forward/proxy.h"
#include "forward/upstream.h"
#include "http/request.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MAX 4096

static const char word[] = "CONNECT ";
#define WORD_SIZE (sizeof word - 1)

enum phase { PHASE_READING, PHASE_DIALING, PHASE_ANSWERING };

struct connecting {
    struct relay_talk talk;
    struct relay *relay;
    struct http_rules rules;
    struct http_request request;
    enum phase phase;
    size_t matched; /* bytes of `word` that came */
    struct text answer;
    size_t answered; /* bytes of it that were written */
    bool leaving;    /* all of it was: a channel's session knows of it by the next report */
    enum reason why; /* of a refusal; REASON_NONE: the tunnel begins */
    char *detail;    /* owned: the same, for the log; NULL: none */
    char *rest;      /* owned: what came behind the head; NULL: nothing */
    size_t rest_size;
};

static struct connecting *of(struct relay_talk *talk)
{
    return CONTAINER_OF(talk, struct connecting, talk);
}

/* ---- The answer ---- */

/* Everything was said. */
static void go_on(struct connecting *connecting)
{
    if (connecting->why == REASON_NONE) {
        relay_tunnel_open(connecting->relay, connecting->rest, connecting->rest_size);
    } else {
        relay_tunnel_part(connecting->relay, connecting->why, connecting->detail);
    }
}

static void write_answer(struct connecting *connecting)
{
    struct stream *client = &connecting->relay->client.stream;
    const struct text *answer = &connecting->answer;
    while (connecting->answered < answer->length) {
        ssize_t n =
            stream_write(client, answer->data + connecting->answered, answer->length - connecting->answered);
        if (n == -EAGAIN) {
            return;
        }
        if (n < 0) {
            relay_end(connecting->relay, REASON_CLIENT_RESET);
            return;
        }
        connecting->answered += (size_t)n;
    }
    if (!connecting->leaving && connecting->relay->framed) {
        void *room;
        connecting->leaving = true;
        if (stream_reserve(client, &room) == -EAGAIN) {
            return; /* it has asked for the next report */
        }
    }
    go_on(connecting);
}

static void answer(struct connecting *connecting, enum reason why, const char *detail)
{
    if (connecting->answer.failed) {
        relay_end(connecting->relay, REASON_NO_MEMORY);
        return;
    }
    connecting->phase = PHASE_ANSWERING;
    connecting->why = why;
    connecting->detail = detail != NULL ? strdup(detail) : NULL;
    write_answer(connecting);
}

/* The client is told the word and what it means; what exactly happened may tell of the parent's network, and is for the log. */
static void refuse(struct connecting *connecting, enum http_refusal refusal, enum reason why,
                   const char *detail)
{
    const struct http_refusal_note note = {
        .head_only = http_span_is(connecting->request.method_name, "HEAD"),
    };
    http_refusal_answer(refusal, &note, &connecting->answer);
    answer(connecting, why, detail);
}

/* ---- The request ---- */

static void refuse_host(struct connecting *connecting)
{
    char detail[ADDR_TEXT_MAX];
    const struct http_target *target = &connecting->request.target;
    snprintf(detail, sizeof detail, "asked for %.*s", (int)target->authority.size, target->authority.data);
    refuse(connecting, HTTP_REFUSED_DENIED_HOST, REASON_DENIED_HOST, detail);
}

static void on_connect(struct connecting *connecting)
{
    const struct http_target *target = &connecting->request.target;
    struct addr to;
    if (proxy_judge(connecting->relay->route, target, &to) != HTTP_REFUSED_NONE) {
        refuse_host(connecting);
        return;
    }
    connecting->phase = PHASE_DIALING;
    relay_tunnel_dial(connecting->relay, &to);
}

static void refuse_request(struct connecting *connecting, enum http_refusal refusal)
{
    refuse(connecting, refusal, REASON_BAD_REQUEST, http_refusal_word(refusal));
}

/* A body of CONNECT would be taken for the tunnel's first bytes by one side and not by the other. */
static void on_head(struct connecting *connecting, const char *rest, size_t size)
{
    const struct http_request *request = &connecting->request;
    if (request->framing.body != HTTP_BODY_NONE) {
        refuse_request(connecting, HTTP_REFUSED_BODY);
        return;
    }
    if (size > 0) {
        connecting->rest = malloc(size);
        if (connecting->rest == NULL) {
            relay_end(connecting->relay, REASON_NO_MEMORY);
            return;
        }
        memcpy(connecting->rest, rest, size);
        connecting->rest_size = size;
    }
    on_connect(connecting);
}

/* True: the head is not whole yet. */
static bool take(struct connecting *connecting, const char *data, size_t size)
{
    size_t used;
    struct http_span piece;
    switch (http_request_read(&connecting->request, data, size, &used, &piece)) {
    case HTTP_EVENT_MORE:
        return true;
    case HTTP_EVENT_HEAD:
        on_head(connecting, data + used, size - used);
        return false;
    default:
        refuse_request(connecting, connecting->request.reader.why);
        return false;
    }
}

static void on_client_end(struct connecting *connecting)
{
    if (http_request_finish(&connecting->request) == HTTP_EVENT_MORE) {
        relay_tunnel_part(connecting->relay, REASON_FINISHED, NULL); /* it asked for nothing */
    } else {
        refuse_request(connecting, HTTP_REFUSED_REQUEST_CUT);
    }
}

static bool is_connect(struct connecting *connecting, const char *data, size_t size)
{
    size_t left = WORD_SIZE - connecting->matched;
    size_t compared = size < left ? size : left;
    if (memcmp(data, word + connecting->matched, compared) != 0) {
        return false;
    }
    connecting->matched += compared;
    return true;
}

/* True: go on reading. What came of the word goes before `data`, where there is room for it. */
static bool take_or_leave(struct connecting *connecting, char *data, size_t size)
{
    size_t before = connecting->matched;
    if (is_connect(connecting, data, size)) {
        return take(connecting, data, size);
    }
    memcpy(data - before, word, before);
    relay_tunnel_leave(connecting->relay, data - before, before + size);
    return false;
}

static void read_head(struct connecting *connecting)
{
    char *scratch = (char *)connecting->relay->worker->tools.scratch + WORD_SIZE;
    ssize_t n;
    do {
        n = stream_read(&connecting->relay->client.stream, scratch, FLOW_CHUNK_MIN);
    } while (n > 0 && take_or_leave(connecting, scratch, (size_t)n));
    if (n == 0) {
        on_client_end(connecting);
    } else if (n < 0 && n != -EAGAIN) {
        relay_end(connecting->relay, REASON_CLIENT_RESET);
    }
}

/* ---- The relay's calls ---- */

static void on_ready(struct relay_talk *talk, unsigned events UNUSED)
{
    struct connecting *connecting = of(talk);
    if (connecting->phase == PHASE_READING) {
        read_head(connecting);
    } else if (connecting->phase == PHASE_ANSWERING) {
        write_answer(connecting);
    }
}

static void on_dialed(struct relay_talk *talk, enum reason why, const char *detail)
{
    struct connecting *connecting = of(talk);
    if (why != REASON_NONE) {
        refuse(connecting, upstream_refusal_of(why), why, detail);
        return;
    }
    text_add(&connecting->answer, "HTTP/1.1 200 Connection established\r\n\r\n");
    answer(connecting, REASON_NONE, NULL);
}

/* Who has said nothing is told nothing. */
static void on_late(struct relay_talk *talk)
{
    struct connecting *connecting = of(talk);
    if (connecting->phase == PHASE_READING && connecting->matched > 0) {
        refuse(connecting, HTTP_REFUSED_HEAD_TIMEOUT, REASON_HELLO_TIMEOUT, NULL);
    } else {
        relay_end(connecting->relay, REASON_HELLO_TIMEOUT);
    }
}

static void on_over(struct relay_talk *talk)
{
    struct connecting *connecting = of(talk);
    http_request_release(&connecting->request);
    http_rules_release(&connecting->rules);
    text_release(&connecting->answer);
    free(connecting->detail);
    free(connecting->rest);
    free(connecting);
}

static const struct relay_talk_ops talk_ops = {.ready = on_ready,
                                               .dialed = on_dialed,
                                               .late = on_late,
                                               .over = on_over};

/* ---- The beginning ---- */

/* Where there is no memory for one, a relay that ends at once. */
static void on_nobody_ready(struct relay_talk *talk UNUSED, unsigned events UNUSED)
{
}

static void on_nobody_dialed(struct relay_talk *talk UNUSED, enum reason why UNUSED,
                             const char *detail UNUSED)
{
}

static void on_nobody_over(struct relay_talk *talk UNUSED)
{
}

static const struct relay_talk_ops nobody_ops = {.ready = on_nobody_ready,
                                                 .dialed = on_nobody_dialed,
                                                 .late = on_nobody_over,
                                                 .over = on_nobody_over};
static struct relay_talk nobody = {.ops = &nobody_ops};

static struct relay_talk *talk_new(struct relay *relay)
{
    struct connecting *connecting = calloc(1, sizeof *connecting);
    if (connecting == NULL) {
        return &nobody;
    }
    connecting->talk.ops = &talk_ops;
    connecting->relay = relay;
    http_rules_init(&connecting->rules);
    connecting->rules.forms = HTTP_FORM_AUTHORITY;
    http_request_init(&connecting->request, &connecting->rules);
    text_init(&connecting->answer, ANSWER_MAX);
    return &connecting->talk;
}

void connect_stream_start(struct relay *relay, struct relay_worker *worker, const struct relay_ops *ops,
                          const struct relay_source *source, int fd, enum addr_kind kind)
{
    struct relay_talk *talk = talk_new(relay);
    relay_start_tunnel(relay, worker, ops, source, fd, kind, talk);
    if (talk == &nobody) {
        relay_end(relay, REASON_NO_MEMORY);
    }
}

void connect_stream_start_channel(struct relay *relay, struct relay_worker *worker,
                                  const struct relay_ops *ops, const struct relay_source *source,
                                  struct session_io *io, struct channel *channel)
{
    struct relay_talk *talk = talk_new(relay);
    relay_start_tunnel_channel(relay, worker, ops, source, io, channel, talk);
    if (talk == &nobody) {
        relay_end(relay, REASON_NO_MEMORY);
    }
}
