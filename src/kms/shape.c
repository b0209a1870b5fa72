/* The shape of a text of JSON: see shape.h. */
#include "kms/shape.h"

struct shape {
    unsigned values, depth; /* the deepest */
};

static unsigned most_values(size_t size)
{
    size_t most = JSON_VALUES_FREE + size / JSON_BYTES_A_VALUE;

    return most < JSON_VALUES_MAX ? (unsigned)most : JSON_VALUES_MAX;
}

/* Goes on until either is more than it may be. */
static struct shape measure(const char *text, size_t size)
{
    struct shape shape = {.values = 1};
    unsigned depth = 0, most = most_values(size);
    bool string = false;

    for (size_t i = 0; i < size && shape.depth <= JSON_DEPTH_MAX && shape.values <= most; i++) {
        char c = text[i];
        if (string) {
            i += c == '\\';
            string = c != '"';
            continue;
        }
        string = c == '"';
        shape.values += c == ',' || c == '[' || c == '{';
        depth += c == '[' || c == '{';
        shape.depth = depth > shape.depth ? depth : shape.depth;
        if ((c == ']' || c == '}') && depth > 0) {
            depth--;
        }
    }
    return shape;
}

bool json_is_modest(const char *text, size_t size)
{
    struct shape shape = measure(text, size);

    return shape.depth <= JSON_DEPTH_MAX && shape.values <= most_values(size);
}

size_t json_values(const char *text, size_t size)
{
    return measure(text, size).values;
}
