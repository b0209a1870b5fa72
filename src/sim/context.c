/* Encryption contexts: see context.h. */
#include "sim/context.h"

#include <stdlib.h>
#include <string.h>

struct pair {
    const char *name, *value;
};

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct pair *)a)->name, ((const struct pair *)b)->name);
}

int sim_context_read(const json_t *object, struct sim_context *ret, struct sim_kms_error *error)
{
    struct pair pairs[SIM_CONTEXT_MAX];
    const char *name;
    json_t *value;
    size_t count = 0;

    ret->count = 0;
    if (!object || json_is_null(object)) {
        return 0;
    }
    if (!json_is_object(object) || json_object_size(object) > SIM_CONTEXT_MAX) {
        return sim_kms_refuse(error, "ValidationException",
                              "EncryptionContext has to be an object of at most %d texts", SIM_CONTEXT_MAX);
    }
    json_object_foreach((json_t *)object, name, value)
    {
        if (!json_is_string(value)) {
            return sim_kms_refuse(error, "SerializationException", "EncryptionContext is of texts alone");
        }
        pairs[count++] = (struct pair){name, json_string_value(value)};
    }
    qsort(pairs, count, sizeof *pairs, compare);
    for (size_t i = 0; i < count; i++) {
        ret->names[i] = pairs[i].name;
        ret->values[i] = pairs[i].value;
    }
    ret->count = count;
    return 0;
}

static void add(struct text *out, const char *text)
{
    size_t size = strlen(text);
    unsigned char head[4] = {(unsigned char)(size >> 24), (unsigned char)(size >> 16),
                             (unsigned char)(size >> 8), (unsigned char)size};

    text_add_bytes(out, head, sizeof head);
    text_add(out, text);
}

void sim_context_add(const struct sim_context *context, struct text *out)
{
    for (size_t i = 0; i < context->count; i++) {
        add(out, context->names[i]);
        add(out, context->values[i]);
    }
}
