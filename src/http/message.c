/*
 * One HTTP/1.1 message: llhttp, and the checks around it that make its reading the only possible one.
 */
#include "http/message.h"
#include <errno.h>
#include <string.h>
#include <strings.h>

static const char bad_version[] = "a version other than HTTP/1.0 and HTTP/1.1";

static int refuse(struct http_message *message, int code, int status, const char *why)
{
    message->refused = status;
    message->why = why;
    message->code = code;
    return code;
}

static int bad(struct http_message *message, const char *why)
{
    return refuse(message, -EBADMSG, 400, why);
}

static int no_memory(struct http_message *message)
{
    return refuse(message, -ENOMEM, 503, "out of memory");
}

/* llhttp's callbacks. What they return tells llhttp to stop; why, refuse() has noted. */

static struct http_message *message_of(llhttp_t *parser)
{
    return CONTAINER_OF(parser, struct http_message, parser);
}

static int keep(struct http_message *message, const char *data, size_t size)
{
    text_add_bytes(&message->head, data, size);
    if (message->head.failed) {
        no_memory(message);
        return HPE_USER;
    }
    return 0;
}

static int on_part(llhttp_t *parser, const char *data, size_t size)
{
    struct http_message *message = message_of(parser);
    return message->head_done ? 0 : keep(message, data, size); /* trailers are not kept */
}

static int on_part_end(llhttp_t *parser)
{
    return on_part(parser, "", 1);
}

static int on_url_end(llhttp_t *parser)
{
    struct http_message *message = message_of(parser);
    int r = keep(message, "", 1);
    message->headers_at = message->head.length;
    return r;
}

static int on_header_end(llhttp_t *parser)
{
    struct http_message *message = message_of(parser);
    if (++message->header_count > HTTP_HEADERS_MAX) {
        refuse(message, -EMSGSIZE, 431, "too many headers");
        return HPE_USER;
    }
    return on_part_end(parser);
}

static int check_framing(struct http_message *message)
{
    unsigned codings = http_message_header_count(message, "Transfer-Encoding");
    if (codings == 0) {
        return 0;
    }
    if (message->parser.http_minor == 0) {
        return bad(message, "Transfer-Encoding in an HTTP/1.0 message");
    }
    if (http_message_header(message, "Content-Length") != NULL) {
        /* llhttp sees to it first, unless it was built lenient. */
        return bad(message, "both Content-Length and Transfer-Encoding"); /* GCOVR_EXCL_LINE */
    }
    if (codings > 1 || strcasecmp(http_message_header(message, "Transfer-Encoding"), "chunked") != 0) {
        return bad(message, "a Transfer-Encoding other than chunked");
    }
    return 0;
}

static int check_host(struct http_message *message)
{
    unsigned hosts = http_message_header_count(message, "Host");
    if (hosts > 1) {
        return bad(message, "more than one Host header");
    }
    if (hosts == 0 && message->parser.http_minor == 1) {
        return bad(message, "no Host header");
    }
    return 0;
}

/* Splits the target, in place, into path and query. Of a URL, which RFC 9112 (3.2.2) asks servers to take,
 * the authority is cut off: there is one site here. */
static int split_target(struct http_message *message)
{
    static const char scheme[] = "http://";
    char *target = message->head.data;
    for (const char *c = target; *c != '\0'; c++) {
        if (*c <= ' ' || *c > '~' || *c == '#') {
            return bad(message, "a character in the request target that has no place there");
        }
    }
    char *query = strchr(target, '?');
    if (query != NULL) {
        *query = '\0';
        message->query = query + 1;
    }
    message->path = target;
    if (strncasecmp(target, scheme, strlen(scheme)) == 0) {
        const char *path = strchr(target + strlen(scheme), '/');
        message->path = path != NULL ? path : "/";
    }
    if (message->path[0] != '/') {
        return bad(message, "a request target that is no path");
    }
    return 0;
}

static int check_request(struct http_message *message)
{
    message->method = llhttp_method_name((llhttp_method_t)message->parser.method);
    int r = split_target(message);
    return r != 0 ? r : check_host(message);
}

static int on_headers_complete(llhttp_t *parser)
{
    struct http_message *message = message_of(parser);
    message->head_done = true;
    message->status = parser->status_code;
    if (parser->http_major != 1 || parser->http_minor > 1) {
        refuse(message, -EBADMSG, 505, bad_version);
        return HPE_USER;
    }
    if (check_framing(message) != 0) {
        return HPE_USER;
    }
    if (message->kind == HTTP_MESSAGE_REQUEST && check_request(message) != 0) {
        return HPE_USER;
    }
    if ((parser->flags & F_CONTENT_LENGTH) != 0 && parser->content_length > message->body.limit) {
        refuse(message, -EMSGSIZE, 413, "a body that is too large");
        return HPE_USER;
    }
    return 0;
}

static int on_body(llhttp_t *parser, const char *data, size_t size)
{
    struct http_message *message = message_of(parser);
    if (size > message->body.limit - message->body.length) {
        refuse(message, -EMSGSIZE, 413, "a body that is too large");
        return HPE_USER;
    }
    text_add_bytes(&message->body, data, size);
    if (message->body.failed) {
        no_memory(message);
        return HPE_USER;
    }
    return 0;
}

static int on_message_complete(llhttp_t *parser)
{
    message_of(parser)->complete = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_url = on_part,
    .on_url_complete = on_url_end,
    .on_header_field = on_part,
    .on_header_field_complete = on_part_end,
    .on_header_value = on_part,
    .on_header_value_complete = on_header_end,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

/* The reading of lines that llhttp leaves lenient. Returns 0, or what refuse() gave. */

static int check_line_end(struct http_message *message)
{
    if (message->last != '\r') {
        return bad(message, "a line that ends without CR");
    }
    if (message->line_size == 1) {
        message->head_over = true;
        return message->lines > 0 ? 0 : bad(message, "an empty line where the message should begin");
    }
    if (message->lines > 0 && !message->in_value) {
        return bad(message, "a header without a colon");
    }
    message->lines++;
    message->line_size = 0;
    message->in_value = false;
    return 0;
}

/* RFC 9110 (5.6.2): the characters of a token. */
static bool is_token(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static int check_first_line(struct http_message *message, char c)
{
    if (message->line_size == 1 && !is_token(c)) {
        return bad(message, "not HTTP/1.1");
    }
    if (message->kind == HTTP_MESSAGE_REQUEST && (c == '\t' || (c == ' ' && ++message->blanks > 2))) {
        return bad(message, "blanks in the request line that have no place there");
    }
    return 0;
}

static int check_name(struct http_message *message, char c)
{
    if (c == ':' && message->line_size > 1) {
        message->in_value = true;
        return 0;
    }
    if (message->line_size == 1 && (c == ' ' || c == '\t')) {
        return bad(message, "a folded header line");
    }
    return is_token(c) ? 0 : bad(message, "a header name with a character that has no place there");
}

static int check_byte(struct http_message *message, char c)
{
    if (c == '\n') {
        return check_line_end(message);
    }
    if (message->last == '\r') {
        return bad(message, "a CR that ends no line");
    }
    message->line_size++;
    if (c == '\r') {
        return 0;
    }
    if (((unsigned char)c < ' ' && c != '\t') || c == '\x7f') {
        return bad(message, "a control character");
    }
    if (message->lines == 0) {
        return check_first_line(message, c);
    }
    return message->in_value ? 0 : check_name(message, c);
}

/* Looks at bytes of the head; *ret_used is how many of `size` belong to it. */
static int check_head(struct http_message *message, const char *data, size_t size, size_t *ret_used)
{
    size_t i = 0;
    while (i < size && !message->head_over) {
        if (++message->head_size > message->head_max) {
            return refuse(message, -EMSGSIZE, 431, "a head that is too large");
        }
        int r = check_byte(message, data[i]);
        if (r != 0) {
            return r;
        }
        message->last = data[i++];
    }
    *ret_used = i;
    return 0;
}

static int refused_by_parser(struct http_message *message, llhttp_errno_t code)
{
    if (message->refused != 0) {
        return message->code;
    }
    switch (code) {
    case HPE_INVALID_METHOD:
        return refuse(message, -EBADMSG, 405, "an unknown method");
    case HPE_INVALID_VERSION:
        return refuse(message, -EBADMSG, 505, bad_version);
    default:
        return bad(message, "not HTTP/1.1");
    }
}

/* Returns 1 when the message is complete, 0 when it is not, or a negative errno value. */
static int parse(struct http_message *message, const char *data, size_t size)
{
    llhttp_errno_t code = llhttp_execute(&message->parser, data, size);
    if (message->complete) {
        return 1; /* HPE_PAUSED, or HPE_PAUSED_UPGRADE: an upgrade that nobody here will make */
    }
    return code == HPE_OK ? 0 : refused_by_parser(message, code);
}

void http_message_init(struct http_message *message, enum http_message_kind kind, size_t head_max,
                       size_t body_max)
{
    *message = (struct http_message){
        .method = "",
        .path = "",
        .query = "",
        .why = "",
        .kind = kind,
        .head_max = head_max,
    };
    /* Besides the bytes of the head, a '\0' for each part of it takes the place of ": " or CR LF. */
    text_init(&message->head, head_max + 1);
    text_init(&message->body, body_max);
    llhttp_init(&message->parser, kind == HTTP_MESSAGE_REQUEST ? HTTP_REQUEST : HTTP_RESPONSE, &settings);
}

void http_message_release(struct http_message *message)
{
    text_release(&message->head);
    text_release(&message->body);
}

int http_message_feed(struct http_message *message, const char *data, size_t size)
{
    size_t used = 0;
    if (!message->head_over) {
        int r = check_head(message, data, size, &used);
        if (r == 0) {
            r = parse(message, data, used);
        }
        if (r != 0) {
            return r;
        }
        if (message->head_over != message->head_done) {
            return bad(message, "not HTTP/1.1"); /* llhttp sees another end: one of us is being fooled */
        }
    }
    return used < size ? parse(message, data + used, size - used) : 0;
}

int http_message_finish(struct http_message *message)
{
    llhttp_finish(&message->parser); /* its verdict is in `complete` */
    return message->complete ? 1 : bad(message, "the message was cut off");
}

/* The first header at or after `at` that bears `name`; NULL, or its value. *ret_next: where to go on. */
static const char *find_header(const struct http_message *message, const char *name, size_t at,
                               size_t *ret_next)
{
    while (at < message->head.length) {
        const char *this_name = message->head.data + at;
        const char *value = this_name + strlen(this_name) + 1;
        at = (size_t)(value - message->head.data) + strlen(value) + 1;
        if (strcasecmp(this_name, name) == 0) {
            *ret_next = at;
            return value;
        }
    }
    return NULL;
}

const char *http_message_header(const struct http_message *message, const char *name)
{
    size_t next;
    return find_header(message, name, message->headers_at, &next);
}

unsigned http_message_header_count(const struct http_message *message, const char *name)
{
    unsigned count = 0;
    size_t at = message->headers_at;
    while (find_header(message, name, at, &at) != NULL) {
        count++;
    }
    return count;
}
