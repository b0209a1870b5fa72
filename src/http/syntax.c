/* The characters of HTTP. */
#include "http/syntax.h"
#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

/* Bits of enum http_class for each byte; test_syntax.c makes the table anew from the grammar and compares. */
// clang-format off
const uint16_t http_classes[256] = {
    0x000, 0x000, 0x000, 0x000, 0x000, 0x000, 0x000, 0x000, 0x000, 0x002, 0x000, 0x000, 0x000, 0x000, 0x000, 0x000, /* 00 */
    0x000, 0x000, 0x000, 0x000, 0x000, 0x000, 0x000, 0x000, 0x000, 0x000, 0x000, 0x000, 0x000, 0x000, 0x000, 0x000, /* 10 */
    0x002, 0x11b, 0x002, 0x003, 0x11b, 0x11b, 0x11b, 0x11b, 0x11a, 0x11a, 0x11b, 0x11b, 0x11a, 0x13b, 0x13b, 0x11a, /* 20 */
    0x3fb, 0x3fb, 0x3fb, 0x3fb, 0x3fb, 0x3fb, 0x3fb, 0x3fb, 0x3fb, 0x3fb, 0x11a, 0x11a, 0x002, 0x11a, 0x002, 0x112, /* 30 */
    0x11a, 0x3bb, 0x3bb, 0x3bb, 0x3bb, 0x3bb, 0x3bb, 0x33b, 0x33b, 0x33b, 0x33b, 0x33b, 0x33b, 0x33b, 0x33b, 0x33b, /* 40 */
    0x33b, 0x33b, 0x33b, 0x33b, 0x33b, 0x33b, 0x33b, 0x33b, 0x33b, 0x33b, 0x33b, 0x102, 0x002, 0x102, 0x003, 0x13b, /* 50 */
    0x003, 0x3bb, 0x3bb, 0x3bb, 0x3bb, 0x3bb, 0x3bb, 0x33b, 0x33b, 0x33b, 0x33b, 0x33b, 0x33b, 0x33b, 0x33b, 0x33b, /* 60 */
    0x33b, 0x33b, 0x33b, 0x33b, 0x33b, 0x33b, 0x33b, 0x33b, 0x33b, 0x33b, 0x33b, 0x002, 0x003, 0x002, 0x13b, 0x000, /* 70 */
    [128] = 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4,
    4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4,
    4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4,
    4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4,
};
// clang-format on

size_t http_run(const char *data, size_t size, unsigned classes)
{
    size_t at = 0;
    while (at < size && http_is(data[at], classes)) {
        at++;
    }
    return at;
}

struct http_span http_span_of(const char *string)
{
    return (struct http_span){.data = string, .size = strlen(string)};
}

bool http_span_is(struct http_span span, const char *word)
{
    return strlen(word) == span.size && memcmp(span.data, word, span.size) == 0;
}

bool http_span_is_word(struct http_span span, const char *word)
{
    return strlen(word) == span.size && strncasecmp(span.data, word, span.size) == 0;
}

bool http_span_equal(struct http_span a, struct http_span b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

bool http_span_same_word(struct http_span a, struct http_span b)
{
    return a.size == b.size && (a.size == 0 || strncasecmp(a.data, b.data, a.size) == 0);
}

bool http_span_all(struct http_span span, unsigned classes)
{
    return span.size > 0 && http_run(span.data, span.size, classes) == span.size;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct http_span http_span_trim(struct http_span span)
{
    while (span.size > 0 && is_blank(span.data[0])) {
        span.data++;
        span.size--;
    }
    while (span.size > 0 && is_blank(span.data[span.size - 1])) {
        span.size--;
    }
    return span;
}

bool http_span_number(struct http_span span, uint64_t *ret)
{
    uint64_t number = 0;
    if (!http_span_all(span, HTTP_DIGIT) || (span.data[0] == '0' && span.size > 1)) {
        return false;
    }
    for (size_t i = 0; i < span.size; i++) {
        unsigned digit = (unsigned)(span.data[i] - '0');
        if (number > (UINT64_MAX - digit) / 10) {
            return false;
        }
        number = 10 * number + digit;
    }
    *ret = number;
    return true;
}

bool http_list_next(struct http_span *list, struct http_span *ret_element)
{
    if (list->data == NULL) {
        return false;
    }
    const char *comma = memchr(list->data, ',', list->size);
    size_t size = comma != NULL ? (size_t)(comma - list->data) : list->size;
    *ret_element = http_span_trim((struct http_span){.data = list->data, .size = size});
    list->data = comma != NULL ? comma + 1 : NULL;
    list->size = comma != NULL ? list->size - size - 1 : 0;
    return true;
}

/* Of an IPv6 address in brackets. 0: it is none. */
static size_t bracketed_size(struct http_span text)
{
    char address[INET6_ADDRSTRLEN];
    struct in6_addr binary;
    const char *end = memchr(text.data, ']', text.size);
    size_t size = end != NULL ? (size_t)(end - text.data) - 1 : 0;
    if (size == 0 || size >= sizeof address) {
        return 0;
    }
    memcpy(address, text.data + 1, size);
    address[size] = '\0';
    return inet_pton(AF_INET6, address, &binary) == 1 ? size + 2 : 0;
}

/* RFC 3986's reg-name, without escapes and commas: the first are read in many ways, the second make lists. */
static bool is_name_byte(char c)
{
    return http_is(c, HTTP_PATH) && c != '%' && c != ',' && c != ':' && c != '@' && c != '/' && c != '~';
}

static size_t name_size(struct http_span text)
{
    size_t size = 0;
    while (size < text.size && is_name_byte(text.data[size])) {
        size++;
    }
    return size <= 255 && size > 0 && text.data[0] != '.' ? size : 0;
}

bool http_authority(struct http_span text, struct http_span *ret_host, uint16_t *ret_port)
{
    uint64_t port = 0;
    bool bracket = text.size > 0 && text.data[0] == '[';
    size_t size = bracket ? bracketed_size(text) : name_size(text);
    if (size == 0) {
        return false;
    }
    if (size < text.size) {
        struct http_span digits = {.data = text.data + size + 1, .size = text.size - size - 1};
        if (text.data[size] != ':' || !http_span_number(digits, &port) || port == 0 || port > UINT16_MAX) {
            return false;
        }
    }
    *ret_host = (struct http_span){.data = text.data + bracket, .size = size - 2 * (size_t)bracket};
    *ret_port = (uint16_t)port;
    return true;
}
