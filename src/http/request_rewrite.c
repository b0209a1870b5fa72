/* The head of a request as the upstream gets it. */
#include "http/request.h"
#include <llhttp.h>
#include <string.h>

static void add_line(const struct http_request *request, const struct http_upstream *upstream,
                     struct text *line)
{
    const struct http_target *target = &request->target;
    text_add_bytes(line, request->method_name.data, request->method_name.size);
    text_add_char(line, ' ');
    text_add(line, upstream->base_path);
    text_add(line, text_string(&target->path));
    if (target->query.data != NULL) {
        text_add_char(line, '?');
        text_add_bytes(line, target->query.data, target->query.size);
    }
    text_add(line, " HTTP/1.1");
}

static enum http_refusal add_rules(const struct http_header_rules *rules,
                                   const struct http_provider *provider, struct http_head *head,
                                   struct error *err)
{
    for (unsigned i = 0; i < rules->count && !head->failed; i++) {
        const struct http_header_rule *rule = &rules->list[i];
        struct http_span name = {.data = rule->name.data, .size = rule->name.size};
        if (rule->action == HTTP_HEADER_REMOVE) {
            continue;
        }
        http_head_begin(head, name);
        int r = head->failed ? 0 : http_template_expand(&rule->value, provider, &head->bytes, err);
        if (head->bytes.failed) {
            break;
        }
        if (r != 0) {
            error_prefix(err, "header %.*s", (int)name.size, name.data);
            return HTTP_REFUSED_HEADER_VALUE;
        }
        http_head_end(head);
    }
    return HTTP_REFUSED_NONE;
}

/* The names are tokens, and judged; they are written anew, one list for all the headers. */
static void add_trailer(const struct http_request *request, struct http_head *head)
{
    const struct http_fields *fields = &request->reader.fields;
    const char *between = "";
    for (unsigned i = 0; i < fields->count; i++) {
        struct http_span list = fields->list[i].value;
        struct http_span name;
        while (fields->list[i].known == HTTP_NAME_TRAILER && http_list_next(&list, &name)) {
            if (between[0] == '\0') {
                http_head_begin(head, HTTP_SPAN("trailer"));
            }
            text_add(&head->bytes, between);
            text_add_bytes(&head->bytes, name.data, name.size);
            between = ", ";
        }
    }
    if (between[0] != '\0') {
        http_head_end(head);
    }
}

/* RFC 9110 (8.6): methods that give a meaning to a body say that there is none. */
static bool tells_empty(unsigned method)
{
    return method == HTTP_POST || method == HTTP_PUT || method == HTTP_PATCH;
}

static void add_framing(const struct http_request *request, bool expect, struct http_head *head)
{
    struct http_framing framing = request->framing;
    if (framing.body == HTTP_BODY_CHUNKED) {
        http_head_add(head, HTTP_SPAN("transfer-encoding"), HTTP_SPAN("chunked"));
        add_trailer(request, head);
    } else if (framing.body == HTTP_BODY_LENGTH || tells_empty(request->method)) {
        http_head_add_number(head, "content-length", framing.length);
    }
    if (expect && request->expects_continue) {
        http_head_add(head, HTTP_SPAN("expect"), HTTP_SPAN("100-continue"));
    }
}

enum http_refusal http_request_rewrite(const struct http_request *request,
                                       const struct http_upstream *upstream, struct http_head *head,
                                       struct error *err)
{
    const struct http_fields *fields = &request->reader.fields;
    add_line(request, upstream, &head->line);
    http_head_add(head, HTTP_SPAN("host"), http_span_of(upstream->authority));
    for (unsigned i = 0; i < fields->count; i++) {
        if (fields->list[i].crosses) {
            http_head_add(head, fields->list[i].name, fields->list[i].value);
        }
    }
    enum http_refusal why = add_rules(&request->rules->headers, upstream->provider, head, err);
    if (why != HTTP_REFUSED_NONE) {
        return why;
    }
    add_framing(request, upstream->expect, head);
    head->failed |= head->line.failed || head->bytes.failed;
    return head->failed ? HTTP_REFUSED_NO_MEMORY : HTTP_REFUSED_NONE;
}
