/*
 * The scan of a head: a state machine that takes runs of bytes of a class at once, and all others singly.
 *
 *     BEGIN -> METHOD -> TARGET -> VERSION -> LINE_END \
 *     BEGIN -> VERSION -> STATUS -> REASON -> LINE_END  > NAME_BEGIN -> NAME -> VALUE -> LINE_END -> NAME_BEGIN ...
 *                                     (trailers)       /      \-> HEAD_END -> OVER
 */
#include "http/scan.h"
#include "http/syntax.h"
#include <string.h>

void http_scan_init(struct http_scan *scan, enum http_scan_kind kind)
{
    *scan = (struct http_scan){
        .kind = kind,
        .state = HTTP_SCAN_BEGIN,
        .classes = kind == HTTP_SCAN_REQUEST ? HTTP_VALUE : HTTP_VALUE | HTTP_OPAQUE,
    };
}

void http_scan_init_trailers(struct http_scan *scan, enum http_scan_kind kind)
{
    http_scan_init(scan, kind);
    scan->state = HTTP_SCAN_NAME_BEGIN;
}

enum http_refusal http_refuse_byte(char c, enum http_refusal otherwise)
{
    if (c == '\n') {
        return HTTP_REFUSED_BARE_LF;
    }
    if (c == '\r') {
        return HTTP_REFUSED_BARE_CR;
    }
    if (((unsigned char)c < ' ' && c != '\t') || c == 0x7f) {
        return HTTP_REFUSED_CONTROL;
    }
    return http_is(c, HTTP_OPAQUE) ? HTTP_REFUSED_NON_ASCII : otherwise;
}

/* The version that nearly all have, or what is left of it. */
static size_t run_of_version(struct http_scan *scan, const char *data, size_t size)
{
    static const char usual[] = "HTTP/1.1";
    size_t left = sizeof usual - 1 - scan->at;
    if (scan->at >= sizeof "HTTP/" || size < left || memcmp(data, usual + scan->at, left) != 0) {
        return 0;
    }
    scan->at = sizeof usual - 1;
    scan->major = '1';
    scan->minor = 1;
    return left;
}

/* A header line that is there whole and has nothing wrong. Any other is left to be looked at byte by byte, and so is one too many. */
static size_t run_of_line(struct http_scan *scan, const struct http_scan_limits *limits, const char *data,
                          size_t size)
{
    size_t name = http_run(data, size, HTTP_TOKEN);
    if (name == 0 || name == size || data[name] != ':' || scan->fields >= limits->fields) {
        return 0;
    }
    size_t end = name + 1 + http_run(data + name + 1, size - name - 1, scan->classes);
    if (size - end < 2 || data[end] != '\r' || data[end + 1] != '\n') {
        return 0;
    }
    scan->fields++;
    return end + 2;
}

static size_t run_of_lines(struct http_scan *scan, const struct http_scan_limits *limits, const char *data,
                           size_t size)
{
    size_t at = 0, run;
    while ((run = run_of_line(scan, limits, data + at, size - at)) > 0) {
        at += run;
    }
    return at;
}

/* Bytes that stay in the state. */
static size_t run_of_state(struct http_scan *scan, const struct http_scan_limits *limits, const char *data,
                           size_t size)
{
    switch (scan->state) {
    case HTTP_SCAN_NAME_BEGIN:
        return run_of_lines(scan, limits, data, size);
    case HTTP_SCAN_VERSION:
        return run_of_version(scan, data, size);
    case HTTP_SCAN_METHOD:
    case HTTP_SCAN_NAME:
        return http_run(data, size, HTTP_TOKEN);
    case HTTP_SCAN_TARGET:
        return http_run(data, size, HTTP_TARGET);
    case HTTP_SCAN_VALUE:
    case HTTP_SCAN_REASON:
        return http_run(data, size, scan->classes);
    default:
        return 0;
    }
}

static enum http_refusal step_begin(struct http_scan *scan, char c)
{
    if (scan->kind == HTTP_SCAN_RESPONSE) {
        scan->state = HTTP_SCAN_VERSION;
        scan->at = 1;
        return c == 'H' ? HTTP_REFUSED_NONE : http_refuse_byte(c, HTTP_REFUSED_REQUEST_LINE);
    }
    /* RFC 9112 (2.2) has servers bear an empty line here: old clients send one after a body. */
    if (c == '\r' && scan->begin == 0) {
        scan->state = HTTP_SCAN_BLANK;
        return HTTP_REFUSED_NONE;
    }
    scan->state = HTTP_SCAN_METHOD;
    return http_is(c, HTTP_TOKEN) ? HTTP_REFUSED_NONE : http_refuse_byte(c, HTTP_REFUSED_REQUEST_LINE);
}

static enum http_refusal step_blank(struct http_scan *scan, char c)
{
    scan->begin = 2;
    scan->state = HTTP_SCAN_BEGIN;
    return c == '\n' ? HTTP_REFUSED_NONE : HTTP_REFUSED_BARE_CR;
}

static enum http_refusal step_method(struct http_scan *scan, char c)
{
    scan->state = HTTP_SCAN_TARGET;
    scan->target_at = scan->size + 1;
    return c == ' ' || c == '\r' ? (c == ' ' ? HTTP_REFUSED_NONE : HTTP_REFUSED_REQUEST_LINE)
                                 : http_refuse_byte(c, HTTP_REFUSED_REQUEST_LINE);
}

static enum http_refusal step_target(struct http_scan *scan, char c)
{
    scan->target_size = scan->size - scan->target_at;
    scan->state = HTTP_SCAN_VERSION;
    scan->at = 0;
    if (c == ' ' && scan->target_size > 0) {
        return HTTP_REFUSED_NONE;
    }
    /* A request line that ends here is HTTP/0.9's. */
    return c == ' ' || c == '\r' ? HTTP_REFUSED_REQUEST_LINE : http_refuse_byte(c, HTTP_REFUSED_TARGET);
}

/* After "HTTP/1.x". */
static enum http_refusal version_over(struct http_scan *scan, char c)
{
    bool response = scan->kind == HTTP_SCAN_RESPONSE;
    if (c != (response ? ' ' : '\r')) {
        return c == '\r' ? HTTP_REFUSED_REQUEST_LINE : http_refuse_byte(c, HTTP_REFUSED_REQUEST_LINE);
    }
    if (scan->major != '1' || scan->minor > 1) {
        return HTTP_REFUSED_VERSION;
    }
    scan->state = response ? HTTP_SCAN_STATUS : HTTP_SCAN_LINE_END;
    scan->at = 0;
    return HTTP_REFUSED_NONE;
}

static enum http_refusal step_version(struct http_scan *scan, char c)
{
    static const char form[] = "HTTP/d.d";
    if (scan->at == sizeof form - 1) {
        return version_over(scan, c);
    }
    char wanted = form[scan->at++];
    if (wanted == 'd' ? !http_is(c, HTTP_DIGIT) : c != wanted) {
        return c == '\r' ? HTTP_REFUSED_REQUEST_LINE : http_refuse_byte(c, HTTP_REFUSED_REQUEST_LINE);
    }
    if (scan->at == sizeof "HTTP/d" - 1) {
        scan->major = c;
    }
    scan->minor = wanted == 'd' ? (unsigned)(c - '0') : 0;
    return HTTP_REFUSED_NONE;
}

/* Three digits, then a blank and the reason; some servers leave out both. */
static enum http_refusal step_status(struct http_scan *scan, char c)
{
    if (scan->at < 3) {
        scan->at++;
        scan->status = 10 * scan->status + (unsigned)(c - '0');
        return http_is(c, HTTP_DIGIT) ? HTTP_REFUSED_NONE : http_refuse_byte(c, HTTP_REFUSED_REQUEST_LINE);
    }
    if (scan->status < 100 || scan->status > 599) {
        return HTTP_REFUSED_REQUEST_LINE;
    }
    scan->state = c == ' ' ? HTTP_SCAN_REASON : HTTP_SCAN_LINE_END;
    return c == ' ' || c == '\r' ? HTTP_REFUSED_NONE : http_refuse_byte(c, HTTP_REFUSED_REQUEST_LINE);
}

static enum http_refusal step_line_end(struct http_scan *scan, char c)
{
    if (scan->lines_at == 0) {
        scan->lines_at = scan->size + 1;
    }
    scan->state = HTTP_SCAN_NAME_BEGIN;
    return c == '\n' ? HTTP_REFUSED_NONE : HTTP_REFUSED_BARE_CR;
}

static enum http_refusal step_name_begin(struct http_scan *scan, const struct http_scan_limits *limits,
                                         char c)
{
    if (c == '\r') {
        scan->state = HTTP_SCAN_HEAD_END;
        return HTTP_REFUSED_NONE;
    }
    if (c == ' ' || c == '\t') {
        return HTTP_REFUSED_FOLDED;
    }
    scan->state = HTTP_SCAN_NAME;
    if (!http_is(c, HTTP_TOKEN)) {
        return http_refuse_byte(c, HTTP_REFUSED_HEADER_NAME);
    }
    return ++scan->fields > limits->fields ? HTTP_REFUSED_FIELDS : HTTP_REFUSED_NONE;
}

static enum http_refusal step_name(struct http_scan *scan, char c)
{
    scan->state = HTTP_SCAN_VALUE;
    return c == ':'    ? HTTP_REFUSED_NONE
           : c == '\r' ? HTTP_REFUSED_HEADER_NAME
                       : http_refuse_byte(c, HTTP_REFUSED_HEADER_NAME);
}

static enum http_refusal step_value(struct http_scan *scan, char c)
{
    scan->state = HTTP_SCAN_LINE_END;
    return c == '\r' ? HTTP_REFUSED_NONE : http_refuse_byte(c, HTTP_REFUSED_CONTROL);
}

static enum http_refusal step_head_end(struct http_scan *scan, char c)
{
    scan->state = HTTP_SCAN_OVER;
    return c == '\n' ? HTTP_REFUSED_NONE : HTTP_REFUSED_BARE_CR;
}

static enum http_refusal step(struct http_scan *scan, const struct http_scan_limits *limits, char c)
{
    switch (scan->state) {
    case HTTP_SCAN_BEGIN:
        return step_begin(scan, c);
    case HTTP_SCAN_BLANK:
        return step_blank(scan, c);
    case HTTP_SCAN_METHOD:
        return step_method(scan, c);
    case HTTP_SCAN_TARGET:
        return step_target(scan, c);
    case HTTP_SCAN_VERSION:
        return step_version(scan, c);
    case HTTP_SCAN_STATUS:
        return step_status(scan, c);
    case HTTP_SCAN_NAME_BEGIN:
        return step_name_begin(scan, limits, c);
    case HTTP_SCAN_NAME:
        return step_name(scan, c);
    case HTTP_SCAN_REASON:
    case HTTP_SCAN_VALUE:
        return step_value(scan, c);
    case HTTP_SCAN_LINE_END:
        return step_line_end(scan, c);
    default:
        return step_head_end(scan, c);
    }
}

/* How many of `size` bytes may be looked at at once: to the bound, and of a target one past its own. */
static size_t stretch(const struct http_scan *scan, const struct http_scan_limits *limits, size_t size)
{
    size_t room = limits->bytes - scan->size;
    if (scan->state == HTTP_SCAN_TARGET) {
        size_t target_room = limits->target - (scan->size - scan->target_at) + 1;
        room = target_room < room ? target_room : room;
    }
    return size < room ? size : room;
}

enum http_refusal http_scan_read(struct http_scan *scan, const struct http_scan_limits *limits,
                                 const char *data, size_t size, size_t *ret_used)
{
    enum http_refusal refusal = HTTP_REFUSED_NONE;
    size_t at = 0;
    while (at < size && scan->state != HTTP_SCAN_OVER && refusal == HTTP_REFUSED_NONE) {
        size_t left = stretch(scan, limits, size - at);
        size_t run = run_of_state(scan, limits, data + at, left);
        at += run;
        scan->size += run;
        if (scan->state == HTTP_SCAN_TARGET && scan->size - scan->target_at > limits->target) {
            refusal = HTTP_REFUSED_TARGET_SIZE;
        } else if (run < left) {
            refusal = step(scan, limits, data[at++]);
            scan->size++;
        } else if (scan->size == limits->bytes && at < size) {
            refusal = HTTP_REFUSED_HEAD_SIZE;
        }
    }
    *ret_used = at;
    return refusal;
}
