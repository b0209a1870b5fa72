/* The head of a request, checked and written: see request_private.h. */
#include "client/request_private.h"

#include "http/fields.h"
#include "http/head.h"
#include "http/syntax.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

static int refuse(struct postern_error *err, const char *what, const char *which)
{
    char message[256];

    snprintf(message, sizeof(message), "%s: \"%.100s\"", what, which);
    return postern_fail(err, -EINVAL, message);
}

static int check_method(const char *method, struct postern_error *err)
{
    if (!http_span_all(http_span_of(method), HTTP_TOKEN)) {
        return refuse(err, "a method is a word such as GET or POST", method);
    }
    if (strcmp(method, "CONNECT") == 0) {
        return refuse(err, "a tunnel is no request: use postern_open()", method);
    }
    return 0;
}

static int check_path(const char *path, struct postern_error *err)
{
    if (path[0] == '/' && http_span_all(http_span_of(path), HTTP_TARGET)) {
        return 0;
    }
    return refuse(err, "a path begins with a slash, and what has no place in a URL is %-encoded", path);
}

/* What the daemon would have to refuse, or what would have one message taken for two, is not sent. */
static int check_header(const struct postern_header *header, struct postern_error *err)
{
    struct http_folded folded;
    unsigned traits;

    if (!header->name || !header->value) {
        return postern_fail(err, -EINVAL, "a header has no name or no value");
    }
    if (!http_span_all(http_span_of(header->name), HTTP_TOKEN)) {
        return refuse(err, "a header's name is a word without blanks and colons", header->name);
    }
    if (http_run(header->value, strlen(header->value), HTTP_VALUE) != strlen(header->value)) {
        return refuse(err, "a header's value is printable ASCII, in one line", header->name);
    }
    http_fold(http_span_of(header->name), &folded);
    traits = http_name_traits(http_name_find(&folded));
    if (traits & (HTTP_TRAIT_HOP | HTTP_TRAIT_FRAMING)) {
        return refuse(err, "this header belongs to the connection, and is the library's to write",
                      header->name);
    }
    return 0;
}

static void add_length(struct http_head *head, const struct request_plan *plan)
{
    bool expected = strcmp(plan->method, "POST") == 0 || strcmp(plan->method, "PUT") == 0 ||
                    strcmp(plan->method, "PATCH") == 0;

    if (plan->framing.body == HTTP_BODY_CHUNKED) {
        http_head_add(head, HTTP_SPAN("transfer-encoding"), HTTP_SPAN("chunked"));
    } else if (plan->framing.body == HTTP_BODY_LENGTH || expected) {
        http_head_add_number(head, "content-length", plan->framing.length);
    }
}

/* The daemon writes its own Host; ours only has to be one. */
static void add_host(struct http_head *head, const char *route)
{
    struct http_span host;
    uint16_t port;

    if (http_authority(http_span_of(route), &host, &port)) {
        http_head_add(head, HTTP_SPAN("host"), http_span_of(route));
    } else {
        http_head_add(head, HTTP_SPAN("host"), HTTP_SPAN("postern"));
    }
}

static int write_head(const char *route, const struct postern_request_options *options,
                      const struct request_plan *plan, struct text *out)
{
    struct http_head head;

    http_head_init(&head, 0);
    text_addf(&head.line, "%s %s HTTP/1.1", plan->method, options->path ? options->path : "/");
    add_host(&head, route);
    for (size_t i = 0; i < options->header_count; i++) {
        http_head_add(&head, http_span_of(options->headers[i].name),
                      http_span_trim(http_span_of(options->headers[i].value)));
    }
    add_length(&head, plan);
    http_head_add(&head, HTTP_SPAN("connection"), HTTP_SPAN("close"));
    http_head_write(&head, out);
    http_head_release(&head);
    return out->failed ? -ENOMEM : 0;
}

static void plan_body(const struct postern_request_options *options, struct request_plan *ret)
{
    ret->method = options->method;
    if (!ret->method) {
        ret->method = options->body_length > 0 ? "POST" : "GET";
    }
    if (options->body_length == POSTERN_BODY_UNKNOWN) {
        ret->framing = (struct http_framing){.body = HTTP_BODY_CHUNKED};
    } else if (options->body_length > 0) {
        ret->framing = (struct http_framing){.body = HTTP_BODY_LENGTH, .length = options->body_length};
    } else {
        ret->framing = (struct http_framing){.body = HTTP_BODY_NONE};
    }
}

int request_write_head(const char *route, const struct postern_request_options *options,
                       struct request_plan *ret, struct text *out, struct postern_error *err)
{
    int status;

    if (options->header_count > 0 && !options->headers) {
        return postern_fail(err, -EINVAL, "there are headers, but `headers` is NULL");
    }
    plan_body(options, ret);
    status = check_method(ret->method, err);
    if (status == 0 && options->path) {
        status = check_path(options->path, err);
    }
    for (size_t i = 0; status == 0 && i < options->header_count; i++) {
        status = check_header(&options->headers[i], err);
    }
    if (status != 0) {
        return status;
    }
    status = write_head(route, options, ret, out);
    return status == 0 ? 0 : postern_fail(err, status, "cannot make a request: out of memory");
}
