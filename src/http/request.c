/* Requests, read and judged. */
#include "http/request.h"
#include "http/opinion.h"
#include <llhttp.h>

void http_rules_init(struct http_rules *rules)
{
    *rules = (struct http_rules){.limits = HTTP_LIMITS_INIT, .forms = HTTP_FORM_ORIGIN | HTTP_FORM_ABSOLUTE};
    http_policy_init(&rules->policy);
    http_header_rules_init(&rules->headers);
}

void http_rules_release(struct http_rules *rules)
{
    http_policy_release(&rules->policy);
    http_header_rules_release(&rules->headers);
}

void http_request_init(struct http_request *request, const struct http_rules *rules)
{
    *request = (struct http_request){.rules = rules};
    http_reader_init(&request->reader, HTTP_SCAN_REQUEST, &rules->limits);
}

void http_request_release(struct http_request *request)
{
    http_target_release(&request->target);
    http_reader_release(&request->reader);
}

void http_request_next(struct http_request *request)
{
    http_request_release(request);
    http_request_init(request, request->rules);
}

/* The fields that say how a request is to be read: at most one of each. */
struct heard {
    const struct http_field *of[HTTP_NAME_COUNT];
    unsigned traits; /* of those that cross */
};

static enum http_refusal hear(const struct http_fields *fields, struct heard *heard)
{
    *heard = (struct heard){.traits = 0};
    for (unsigned i = 0; i < fields->count; i++) {
        const struct http_field *field = &fields->list[i];
        if ((http_name_traits(field->known) & HTTP_TRAIT_SINGLE) != 0 && heard->of[field->known] != NULL) {
            return field->known == HTTP_NAME_HOST ? HTTP_REFUSED_HOST : HTTP_REFUSED_DOUBLED;
        }
        heard->of[field->known] = field;
        heard->traits |= field->crosses ? http_name_traits(field->known) : 0;
    }
    return HTTP_REFUSED_NONE;
}

static enum http_refusal judge_host(struct http_request *request, const struct http_field *host)
{
    struct http_span name;
    uint16_t port;
    if (host == NULL) {
        return request->reader.scan.minor == 1 ? HTTP_REFUSED_HOST : HTTP_REFUSED_NONE;
    }
    request->host = host->value;
    return http_authority(host->value, &name, &port) ? HTTP_REFUSED_NONE : HTTP_REFUSED_HOST;
}

static struct http_span method_of(const struct http_reader *reader)
{
    return (struct http_span){.data = reader->fields.bytes.data + reader->scan.begin,
                              .size = reader->scan.target_at - 1 - reader->scan.begin};
}

/* A URL has to name the host that Host does. CONNECT's Host goes nowhere and means nothing, and clients that are honest put
 * the proxy's own name there, or leave the port out. */
static enum http_refusal judge_target(struct http_request *request)
{
    const struct http_reader *reader = &request->reader;
    const char *line = reader->fields.bytes.data;
    struct http_span text = {.data = line + reader->scan.target_at, .size = reader->scan.target_size};
    bool connect = http_span_is(request->method_name, "CONNECT");
    enum http_refusal why = http_target_read(&request->target, text, connect, request->rules->forms);
    if (why != HTTP_REFUSED_NONE || request->target.form != HTTP_FORM_ABSOLUTE ||
        request->host.data == NULL) {
        return why;
    }
    return http_span_same_word(request->target.authority, request->host) ? HTTP_REFUSED_NONE
                                                                         : HTTP_REFUSED_HOST;
}

static enum http_refusal judge_expect(struct http_request *request, const struct http_field *expect)
{
    if (expect == NULL || request->reader.scan.minor == 0) {
        return HTTP_REFUSED_NONE; /* RFC 9110 (10.1.1): an HTTP/1.0 client's is ignored */
    }
    request->expects_continue = request->framing.body != HTTP_BODY_NONE;
    return http_span_is_word(expect->value, "100-continue") ? HTTP_REFUSED_NONE : HTTP_REFUSED_EXPECT;
}

/* Each name that Trailer announces may be one. */
static enum http_refusal judge_trailer(const struct http_request *request)
{
    const struct http_fields *fields = &request->reader.fields;
    for (unsigned i = 0; i < fields->count; i++) {
        struct http_span list = fields->list[i].value;
        struct http_span name;
        while (fields->list[i].known == HTTP_NAME_TRAILER && http_list_next(&list, &name)) {
            if (!http_span_all(name, HTTP_TOKEN)) {
                return HTTP_REFUSED_TRAILER;
            }
            enum http_refusal why = http_trailer_name_judge(name, &request->rules->headers);
            if (why != HTTP_REFUSED_NONE) {
                return why;
            }
        }
    }
    return HTTP_REFUSED_NONE;
}

static bool has_no_body(unsigned method)
{
    return method == HTTP_GET || method == HTTP_HEAD || method == HTTP_OPTIONS;
}

static enum http_refusal judge_asked(const struct http_request *request, const struct heard *heard)
{
    static const struct http_span no_type;
    const struct http_field *type = heard->of[HTTP_NAME_CONTENT_TYPE];
    bool body = request->framing.body != HTTP_BODY_NONE;
    struct http_asked asked = {.method = request->method,
                               .target = &request->target,
                               .traits = heard->traits};
    if (request->method == HTTP_TRACE || request->method == HTTP_PRI) {
        return HTTP_REFUSED_METHOD;
    }
    if (body && has_no_body(request->method)) {
        return HTTP_REFUSED_BODY;
    }
    if (body || (type != NULL && !has_no_body(request->method))) { /* what it stores may be empty */
        asked.type = type != NULL ? &type->value : &no_type;
    }
    return http_policy_judge(&request->rules->policy, &asked);
}

#define RETURN_IF_REFUSED(judgement)          \
    do {                                      \
        enum http_refusal why_ = (judgement); \
        if (why_ != HTTP_REFUSED_NONE) {      \
            return why_;                      \
        }                                     \
    } while (0)

static enum http_refusal judge_head(struct http_request *request)
{
    struct http_reader *reader = &request->reader;
    struct http_hop hop;
    struct heard heard;
    request->method_name = method_of(reader);
    RETURN_IF_REFUSED(http_hop_judge(&reader->fields, &request->rules->headers, &hop));
    RETURN_IF_REFUSED(hear(&reader->fields, &heard));
    RETURN_IF_REFUSED(http_framing_judge(heard.of[HTTP_NAME_CONTENT_LENGTH],
                                         heard.of[HTTP_NAME_TRANSFER_ENCODING], reader->scan.minor,
                                         &request->framing));
    RETURN_IF_REFUSED(judge_host(request, heard.of[HTTP_NAME_HOST]));
    RETURN_IF_REFUSED(hop.upgrade ? HTTP_REFUSED_UPGRADE : HTTP_REFUSED_NONE);
    RETURN_IF_REFUSED(judge_target(request));
    RETURN_IF_REFUSED(judge_expect(request, heard.of[HTTP_NAME_EXPECT]));
    RETURN_IF_REFUSED(judge_trailer(request));
    RETURN_IF_REFUSED(http_second_opinion(reader, request->framing, &request->method));
    RETURN_IF_REFUSED(judge_asked(request, &heard));
    request->chunked_answer = reader->scan.minor == 1;
    request->keep_alive = reader->scan.minor == 1 && !hop.close;
    return http_reader_frame(reader, request->framing);
}

enum http_event http_request_read(struct http_request *request, const char *data, size_t size,
                                  size_t *ret_used, struct http_span *ret_piece)
{
    struct http_reader *reader = &request->reader;
    enum http_refusal why = HTTP_REFUSED_NONE;
    enum http_event event = http_reader_read(reader, data, size, ret_used, ret_piece);
    if (event == HTTP_EVENT_HEAD) {
        why = judge_head(request);
    } else if (event == HTTP_EVENT_END) {
        why = http_trailers_judge(&reader->trailers, &request->rules->headers);
    }
    return why == HTTP_REFUSED_NONE ? event : http_reader_refuse(reader, why);
}

enum http_event http_request_finish(struct http_request *request)
{
    return http_reader_finish(&request->reader);
}
