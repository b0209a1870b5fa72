/* A head that we send. */
#include "http/head.h"
#include <stdlib.h>
#include <string.h>

void http_head_init(struct http_head *head, size_t limit)
{
    *head = (struct http_head){.count = 0};
    head->line = (struct text){.limit = limit, .wiped = true};
    head->bytes = (struct text){.limit = limit, .wiped = true};
}

void http_head_release(struct http_head *head)
{
    text_release(&head->line);
    text_release(&head->bytes);
    free(head->fields);
    head->fields = NULL;
    head->count = head->capacity = 0;
}

void http_head_clear(struct http_head *head)
{
    text_clear(&head->line);
    text_clear(&head->bytes);
    head->count = 0;
    head->failed = false;
}

static bool grow(struct http_head *head)
{
    if (head->count < head->capacity) {
        return true;
    }
    unsigned capacity = head->capacity > 0 ? 2 * head->capacity : 16;
    struct http_head_field *fields = reallocarray(head->fields, capacity, sizeof *fields);
    if (fields == NULL) {
        head->failed = true;
        return false;
    }
    head->fields = fields;
    head->capacity = capacity;
    return true;
}

/* In small letters, and terminated. */
static void add_name(struct text *out, struct http_span name)
{
    char *to = text_add_room(out, name.size + 1);
    if (to == NULL) {
        return;
    }
    for (size_t i = 0; i < name.size; i++) {
        to[i] = http_lower(name.data[i]);
    }
    to[name.size] = '\0';
}

void http_head_begin(struct http_head *head, struct http_span name)
{
    if (!grow(head)) {
        return;
    }
    struct http_head_field *field = &head->fields[head->count];
    field->name_at = head->bytes.length;
    add_name(&head->bytes, name);
    field->name_size = name.size;
    field->value_at = head->bytes.length;
}

void http_head_end(struct http_head *head)
{
    if (head->failed) {
        return;
    }
    struct http_head_field *field = &head->fields[head->count];
    field->value_size = head->bytes.length - field->value_at;
    text_add_char(&head->bytes, '\0');
    head->count++;
    head->failed = head->bytes.failed;
}

void http_head_add(struct http_head *head, struct http_span name, struct http_span value)
{
    http_head_begin(head, name);
    text_add_bytes(&head->bytes, value.data, value.size);
    http_head_end(head);
}

static void add_digits(struct text *out, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    text_add_bytes(out, digits + at, sizeof digits - at);
}

void http_head_add_number(struct http_head *head, const char *name, uint64_t value)
{
    http_head_begin(head, http_span_of(name));
    add_digits(&head->bytes, value);
    http_head_end(head);
}

struct http_span http_head_name(const struct http_head *head, unsigned index)
{
    const struct http_head_field *field = &head->fields[index];
    return (struct http_span){.data = head->bytes.data + field->name_at, .size = field->name_size};
}

struct http_span http_head_value(const struct http_head *head, unsigned index)
{
    const struct http_head_field *field = &head->fields[index];
    return (struct http_span){.data = head->bytes.data + field->value_at, .size = field->value_size};
}

static char *put(char *to, const char *data, size_t size)
{
    memcpy(to, data, size);
    return to + size;
}

static char *put_field(char *to, const struct http_head *head, unsigned index)
{
    struct http_span name = http_head_name(head, index);
    struct http_span value = http_head_value(head, index);
    to = put(to, name.data, name.size);
    to = put(to, ": ", 2);
    to = put(to, value.data, value.size);
    return put(to, "\r\n", 2);
}

static size_t written_size(const struct http_head *head)
{
    size_t size = head->line.length + 4;
    for (unsigned i = 0; i < head->count; i++) {
        size += head->fields[i].name_size + head->fields[i].value_size + 4;
    }
    return size;
}

void http_head_write(const struct http_head *head, struct text *out)
{
    out->failed |= head->failed || head->line.failed;
    char *to = text_add_room(out, written_size(head));
    if (to == NULL) {
        return;
    }
    to = put(to, text_string(&head->line), head->line.length);
    to = put(to, "\r\n", 2);
    for (unsigned i = 0; i < head->count; i++) {
        to = put_field(to, head, i);
    }
    put(to, "\r\n", 2);
}
