/* The target of a request. */
#include "http/target.h"
#include <string.h>
#include <strings.h>

/* Of "%41": the byte. The digits are looked at by the caller. */
static char escaped_byte(const char *digits)
{
    return (char)(http_hex_value(digits[0]) << 4 | http_hex_value(digits[1]));
}

static bool is_escape(struct http_span text, size_t at)
{
    return text.size - at > 2 && http_is(text.data[at + 1], HTTP_HEX) && http_is(text.data[at + 2], HTTP_HEX);
}

/* Characters of a path or a query, and whole escapes. */
static bool is_plain(struct http_span text, unsigned classes)
{
    for (size_t i = 0; i < text.size; i++) {
        if (!http_is(text.data[i], classes) || (text.data[i] == '%' && !is_escape(text, i))) {
            return false;
        }
    }
    return true;
}

static enum http_refusal add_escape(struct http_span path, size_t at, struct text *out)
{
    static const char digits[] = "0123456789ABCDEF";
    char c = escaped_byte(path.data + at + 1);
    if (http_is(c, HTTP_UNRESERVED)) {
        text_add_char(out, c);
        return HTTP_REFUSED_NONE;
    }
    if ((unsigned char)c < ' ' || c == 0x7f || c == '/' || c == '\\') {
        return HTTP_REFUSED_PATH;
    }
    char escape[3] = {'%', digits[(unsigned char)c >> 4], digits[(unsigned char)c & 15]};
    text_add_bytes(out, escape, sizeof escape);
    return HTTP_REFUSED_NONE;
}

/* Whether one who decodes twice would find something else. */
static bool is_doubled(const char *path, size_t size)
{
    for (size_t i = 0; i + 4 < size; i++) {
        if (memcmp(path + i, "%25", 3) == 0 && http_is(path[i + 3], HTTP_HEX) &&
            http_is(path[i + 4], HTTP_HEX)) {
            return true;
        }
    }
    return false;
}

/* Whether a segment may end there: before its parameters, or what one who decodes first would take for them, for a query or for a
 * fragment. */
static bool is_end(const char *at, size_t size)
{
    static const char *const escapes[] = {"%3B", "%3F", "%23"};
    if (size == 0 || at[0] == ';') {
        return true;
    }
    for (size_t i = 0; i < ARRAY_SIZE(escapes); i++) {
        if (size >= 3 && memcmp(at, escapes[i], 3) == 0) {
            return true;
        }
    }
    return false;
}

/* One or two dots, alone or with parameters, which some servers cut off first. */
static bool is_dots(const char *segment, size_t size)
{
    size_t dots = 0;
    while (dots < size && segment[dots] == '.') {
        dots++;
    }
    return (dots == 1 || dots == 2) && is_end(segment + dots, size - dots);
}

/* Of a path whose escapes were written anew. */
static enum http_refusal judge_decoded(const char *path, size_t size)
{
    const char *end = path + size;
    if (is_doubled(path, size)) {
        return HTTP_REFUSED_PATH;
    }
    for (const char *segment = path + 1; segment < end;) {
        const char *slash = memchr(segment, '/', (size_t)(end - segment));
        size_t length = (size_t)((slash != NULL ? slash : end) - segment);
        if (length == 0 || is_dots(segment, length)) {
            return HTTP_REFUSED_PATH;
        }
        segment += length + 1;
    }
    return HTTP_REFUSED_NONE;
}

enum http_refusal http_path_judge(struct http_span path, struct text *out)
{
    size_t begin = out->length;
    size_t at = 0;
    if (!is_plain(path, HTTP_PATH)) {
        return HTTP_REFUSED_TARGET;
    }
    while (at < path.size) {
        size_t run = 0;
        while (at + run < path.size && path.data[at + run] != '%') {
            run++;
        }
        text_add_bytes(out, path.data + at, run);
        at += run;
        if (at < path.size) {
            enum http_refusal why = add_escape(path, at, out);
            if (why != HTTP_REFUSED_NONE) {
                return why;
            }
            at += 3;
        }
    }
    return out->failed ? HTTP_REFUSED_NO_MEMORY : judge_decoded(out->data + begin, out->length - begin);
}

/* A path with or without a query. */
static enum http_refusal read_path(struct http_target *target, struct http_span text)
{
    const char *mark = memchr(text.data, '?', text.size);
    struct http_span path = {.data = text.data,
                             .size = mark != NULL ? (size_t)(mark - text.data) : text.size};
    if (mark != NULL) {
        target->query = (struct http_span){.data = mark + 1, .size = text.size - path.size - 1};
    }
    return is_plain(target->query, HTTP_QUERY) ? http_path_judge(path, &target->path) : HTTP_REFUSED_TARGET;
}

static enum http_refusal read_authority(struct http_target *target, struct http_span text)
{
    target->authority = text;
    return http_authority(text, &target->host, &target->port) ? HTTP_REFUSED_NONE : HTTP_REFUSED_TARGET;
}

/* After the scheme. RFC 9110 (4.2.4) lets user names in URLs be refused. */
static enum http_refusal read_absolute(struct http_target *target, struct http_span text)
{
    size_t size = 0;
    while (size < text.size && text.data[size] != '/' && text.data[size] != '?') {
        size++;
    }
    enum http_refusal why = read_authority(target, (struct http_span){.data = text.data, .size = size});
    if (why != HTTP_REFUSED_NONE) {
        return why;
    }
    struct http_span rest = {.data = text.data + size, .size = text.size - size};
    if (rest.size > 0 && rest.data[0] == '/') {
        return read_path(target, rest);
    }
    text_add_char(&target->path, '/');
    if (rest.size > 0) {
        target->query = (struct http_span){.data = rest.data + 1, .size = rest.size - 1};
    }
    if (target->path.failed) {
        return HTTP_REFUSED_NO_MEMORY;
    }
    return is_plain(target->query, HTTP_QUERY) ? HTTP_REFUSED_NONE : HTTP_REFUSED_TARGET;
}

static enum http_form form_of(struct http_span text, bool connect)
{
    if (connect) {
        return HTTP_FORM_AUTHORITY;
    }
    return text.data[0] == '/' ? HTTP_FORM_ORIGIN : HTTP_FORM_ABSOLUTE;
}

/* The size of "http://" or "https://" at the beginning; 0: neither. */
static size_t scheme_size(struct http_span text)
{
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < ARRAY_SIZE(schemes); i++) {
        size_t size = strlen(schemes[i]);
        if (text.size >= size && strncasecmp(text.data, schemes[i], size) == 0) {
            return size;
        }
    }
    return 0;
}

enum http_refusal http_target_read(struct http_target *target, struct http_span text, bool connect,
                                   unsigned forms)
{
    *target = (struct http_target){.form = form_of(text, connect)};
    text_init(&target->path, text.size + 1);
    if ((target->form & forms) == 0) {
        return connect ? HTTP_REFUSED_METHOD : HTTP_REFUSED_TARGET_FORM;
    }
    if (target->form == HTTP_FORM_ORIGIN) {
        return read_path(target, text);
    }
    if (target->form == HTTP_FORM_AUTHORITY) {
        enum http_refusal why = read_authority(target, text);
        return why == HTTP_REFUSED_NONE && target->port == 0 ? HTTP_REFUSED_TARGET : why;
    }
    size_t size = scheme_size(text);
    if (size == 0) {
        return HTTP_REFUSED_TARGET_FORM;
    }
    target->secure = size == strlen("https://");
    return read_absolute(target, (struct http_span){.data = text.data + size, .size = text.size - size});
}

void http_target_release(struct http_target *target)
{
    text_release(&target->path);
}
