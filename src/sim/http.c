/* HTTP/1.1 for the simulator: see http.h. */
#include "sim/http.h"
#include "http/status.h"

#include <errno.h>
#include <string.h>

#define CONTINUE "HTTP/1.1 100 Continue\r\n\r\n"

/* A connection's bytes: those that came with a request and belong to the next one are kept. */
struct talk {
    struct sim_wire *wire;
    char data[16 * 1024];
    size_t at, size;
};

bool sim_http_is(const struct sim_http_exchange *exchange, const char *method, const char *path)
{
    return http_span_is(exchange->request->method_name, method) &&
           strcmp(text_string(&exchange->request->target.path), path) == 0;
}

const char *sim_http_header(const struct sim_http_exchange *exchange, const char *name, char *buffer,
                            size_t size)
{
    const struct http_field *field = http_fields_find(&exchange->request->reader.fields, name);

    if (!field || field->value.size >= size) {
        return NULL;
    }
    memcpy(buffer, field->value.data, field->value.size);
    buffer[field->value.size] = '\0';
    return buffer;
}

/* More bytes. 0 or a negative errno value; -EPIPE: the other side has ended. */
static int refill(struct talk *talk)
{
    int n = sim_wire_read(talk->wire, talk->data, sizeof talk->data);

    talk->at = 0;
    talk->size = n > 0 ? (size_t)n : 0;
    return n > 0 ? 0 : n == 0 ? -EPIPE : n;
}

/* What follows from one event. 1: the request is whole; 0: go on; -EBADMSG: it was refused. */
static int follow(struct talk *talk, struct http_request *request, enum http_event event,
                  struct http_span piece, struct text *body)
{
    switch (event) {
    case HTTP_EVENT_HEAD:
        return request->expects_continue ? sim_wire_write(talk->wire, CONTINUE, strlen(CONTINUE)) : 0;
    case HTTP_EVENT_BODY:
        text_add_bytes(body, piece.data, piece.size);
        return body->failed ? -ENOMEM : 0;
    case HTTP_EVENT_END:
        return 1;
    case HTTP_EVENT_REFUSED:
        return -EBADMSG;
    default:
        return refill(talk);
    }
}

static int read_request(struct talk *talk, struct http_request *request, struct text *body)
{
    int rv = 0;

    while (rv == 0) {
        struct http_span piece;
        size_t used = 0;
        enum http_event event =
            http_request_read(request, talk->data + talk->at, talk->size - talk->at, &used, &piece);
        talk->at += used;
        rv = follow(talk, request, event, piece, body);
    }
    return rv;
}

static int send_answer(struct talk *talk, struct sim_http_answer *answer, bool head_only, bool keep_alive)
{
    struct text out = TEXT_INIT;

    text_addf(&out, "HTTP/1.1 %u %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s", answer->status,
              http_status_words(answer->status), answer->type, answer->body.length,
              text_string(&answer->headers));
    text_add(&out, keep_alive ? "\r\n" : "Connection: close\r\n\r\n");
    if (!head_only) {
        text_add_bytes(&out, text_string(&answer->body), answer->body.length);
    }
    int rv = out.failed || answer->body.failed || answer->headers.failed ? -ENOMEM : 0;
    if (rv == 0) {
        rv = sim_wire_write(talk->wire, out.data, answer->end == SIM_HTTP_HALF ? out.length - 1 : out.length);
    }
    text_release(&out);
    return rv;
}

/* Whether the connection goes on. */
static bool answer_request(struct talk *talk, struct http_request *request, struct text *body,
                           sim_http_handler handler, void *arg)
{
    struct sim_http_answer answer = {.status = 200, .type = "application/json"};
    struct sim_http_exchange exchange = {.request = request, .body = *body};

    handler(arg, &exchange, &answer);
    if (answer.delay_ms > 0) {
        sim_wire_wait(talk->wire, answer.delay_ms);
    }
    bool good =
        answer.end != SIM_HTTP_CLOSE &&
        send_answer(talk, &answer, http_span_is(request->method_name, "HEAD"), request->keep_alive) == 0 &&
        answer.end == SIM_HTTP_WHOLE;
    if (answer.end != SIM_HTTP_WHOLE) {
        sim_wire_cut(talk->wire);
    }
    text_release(&answer.headers);
    text_release(&answer.body);
    return good && request->keep_alive;
}

static void refuse(struct talk *talk, const struct http_request *request)
{
    struct text out = TEXT_INIT;

    http_refusal_answer(request->reader.why, &(struct http_refusal_note){.detail = NULL}, &out);
    if (!out.failed) {
        /* Whether it arrives is of no interest: the connection is over. */
        (void)!sim_wire_write(talk->wire, out.data, out.length);
    }
    text_release(&out);
}

static bool exchange_one(struct talk *talk, struct http_request *request, sim_http_handler handler, void *arg)
{
    struct text body;

    text_init(&body, SIM_HTTP_BODY);
    int rv = read_request(talk, request, &body);
    bool more = rv == 1 && answer_request(talk, request, &body, handler, arg);
    if (rv == -EBADMSG) {
        refuse(talk, request);
    }
    text_release(&body);
    return more;
}

void sim_http_serve(struct sim_wire *wire, sim_http_handler handler, void *arg)
{
    struct talk talk = {.wire = wire};
    struct http_rules rules;
    struct http_request request;

    http_rules_init(&rules);
    rules.limits.head =
        (struct http_scan_limits){.bytes = SIM_HTTP_HEAD, .target = SIM_HTTP_HEAD, .fields = SIM_HTTP_FIELDS};
    rules.limits.body = SIM_HTTP_BODY;
    http_request_init(&request, &rules);
    while (exchange_one(&talk, &request, handler, arg)) {
        http_request_next(&request);
    }
    http_request_release(&request);
    http_rules_release(&rules);
}
