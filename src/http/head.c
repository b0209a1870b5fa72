/* A head that we send. */
#include "http/head.h"
#include <stdlib.h>
#include <string.h>

#define BETWEEN 2u /* bytes between name and value: ": " */
#define BEHIND  2u /* and behind the value: "\r\n" */

static size_t value_at(const struct http_head_field *field)
{
    return field->name_at + field->name_size + BETWEEN;
}

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

static void put_lower(char *to, struct http_span name)
{
    for (size_t i = 0; i < name.size; i++) {
        to[i] = http_lower(name.data[i]);
    }
}

/* The next field, with its name and room for `more` behind that. NULL: out of memory. */
static struct http_head_field *begin(struct http_head *head, struct http_span name, size_t more)
{
    if (!grow(head)) {
        return NULL;
    }
    struct http_head_field *field = &head->fields[head->count];
    field->name_at = head->bytes.length;
    field->name_size = name.size;
    char *to = text_add_room(&head->bytes, name.size + BETWEEN + more);
    if (to == NULL) {
        return NULL;
    }
    put_lower(to, name);
    to[name.size] = '\0';
    to[name.size + 1] = ' ';
    return field;
}

void http_head_begin(struct http_head *head, struct http_span name)
{
    (void)begin(head, name, 0);
}

void http_head_end(struct http_head *head)
{
    text_add_bytes(&head->bytes, "\0\n", BEHIND);
    head->failed |= head->bytes.failed;
    if (!head->failed) {
        struct http_head_field *field = &head->fields[head->count++];
        field->value_size = head->bytes.length - value_at(field) - BEHIND;
    }
}

void http_head_add(struct http_head *head, struct http_span name, struct http_span value)
{
    struct http_head_field *field = begin(head, name, value.size + BEHIND);
    if (field == NULL) {
        head->failed = true;
        return;
    }
    char *to = head->bytes.data + value_at(field);
    if (value.size > 0) {
        memcpy(to, value.data, value.size);
    }
    to[value.size] = '\0';
    to[value.size + 1] = '\n';
    field->value_size = value.size;
    head->count++;
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
    return (struct http_span){.data = head->bytes.data + value_at(field), .size = field->value_size};
}

static char *put(char *to, const char *data, size_t size)
{
    memcpy(to, data, size);
    return to + size;
}

/* The characters that the strings' ends stand for. */
static void put_marks(char *to, const struct http_head *head)
{
    for (unsigned i = 0; i < head->count; i++) {
        const struct http_head_field *field = &head->fields[i];
        to[field->name_at + field->name_size] = ':';
        to[value_at(field) + field->value_size] = '\r';
    }
}

void http_head_write(const struct http_head *head, struct text *out)
{
    out->failed |= head->failed || head->line.failed;
    char *to = text_add_room(out, head->line.length + 2 + head->bytes.length + 2);
    if (to == NULL) {
        return;
    }
    to = put(to, text_string(&head->line), head->line.length);
    to = put(to, "\r\n", 2);
    char *fields = to;
    to = put(to, text_string(&head->bytes), head->bytes.length);
    put_marks(fields, head);
    put(to, "\r\n", 2);
}
