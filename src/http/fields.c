/* Header fields, and what is known of their names. */
#include "http/fields.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void http_fields_init(struct http_fields *fields, size_t limit)
{
    *fields = (struct http_fields){.list = NULL};
    fields->bytes = (struct text){.limit = limit, .wiped = true}; /* an Authorization, say */
}

void http_fields_release(struct http_fields *fields)
{
    free(fields->list);
    fields->list = NULL;
    fields->count = 0;
    text_release(&fields->bytes);
}

int http_fields_split(struct http_fields *fields, size_t at, unsigned count)
{
    if (count == 0) {
        return 0;
    }
    /* Not calloc(), which does not look at what malloc() keeps at hand. */
    fields->list = reallocarray(NULL, count, sizeof *fields->list);
    if (fields->list == NULL) {
        return -ENOMEM;
    }
    const char *line = fields->bytes.data + at;
    const char *end = fields->bytes.data + fields->bytes.length;
    for (unsigned i = 0; i < count; i++) {
        const char *colon = memchr(line, ':', (size_t)(end - line));
        const char *cr = memchr(colon, '\r', (size_t)(end - colon));
        struct http_span value = {.data = colon + 1, .size = (size_t)(cr - colon - 1)};
        fields->list[i] = (struct http_field){
            .name = {.data = line, .size = (size_t)(colon - line)},
            .value = http_span_trim(value),
        };
        line = cr + 2;
    }
    fields->count = count;
    return 0;
}

const struct http_field *http_fields_find(const struct http_fields *fields, const char *name)
{
    for (unsigned i = 0; i < fields->count; i++) {
        if (http_span_is_word(fields->list[i].name, name)) {
            return &fields->list[i];
        }
    }
    return NULL;
}

void http_fold(struct http_span name, struct http_folded *ret)
{
    bool gap = false, odd = false;
    unsigned size = 0;
    for (size_t i = 0; i < name.size && size < HTTP_FOLDED_MAX; i++) {
        char c = name.data[i];
        if (http_is(c, HTTP_ALNUM)) {
            ret->data[size++] = (char)(c | 0x20); /* which digits have anyway */
            gap = false;
        } else if (gap || size == 0) {
            odd = true;
        } else {
            odd |= c != '-';
            ret->data[size++] = '-';
            gap = true;
        }
    }
    if (gap && size < HTTP_FOLDED_MAX) {
        size--;
        odd = true;
    }
    ret->size = size;
    ret->odd = odd;
}

enum {
    PLAIN = 0,
    HOP = HTTP_TRAIT_HOP,
    FRAMING = HTTP_TRAIT_FRAMING,
    ONCE = HTTP_TRAIT_SINGLE,
    METHOD = HTTP_TRAIT_METHOD,
    TARGET = HTTP_TRAIT_TARGET,
};

static const struct {
    const char *name;
    unsigned size;
    unsigned traits;
} names[HTTP_NAME_COUNT] = {[HTTP_NAME_OTHER] = {"", 0, 0},
#define X(id, name, traits) [HTTP_NAME_##id] = {name, sizeof(name) - 1, traits},
                            HTTP_NAME_TABLE(X)
#undef X
};

/* The first of that size or more. */
static unsigned first_of_size(unsigned size)
{
    unsigned from = 1, to = HTTP_NAME_COUNT;
    while (from < to) {
        unsigned middle = (from + to) / 2;
        if (names[middle].size < size) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    return from;
}

enum http_name http_name_find(const struct http_folded *folded)
{
    for (unsigned i = first_of_size(folded->size); i < HTTP_NAME_COUNT && names[i].size == folded->size;
         i++) {
        if (memcmp(names[i].name, folded->data, folded->size) == 0) {
            return (enum http_name)i;
        }
    }
    /* "Proxy-" and anything is between neighbours, as those are that have a name of their own. */
    bool proxy = folded->size > 6 && memcmp(folded->data, "proxy-", 6) == 0;
    return proxy ? HTTP_NAME_PROXY_CONNECTION : HTTP_NAME_OTHER;
}

unsigned http_name_traits(enum http_name name)
{
    return names[name].traits;
}
