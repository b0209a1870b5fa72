/* Reads docs/protocol.md. */
#include "document.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TEXT_MAX    200000
#define VECTORS_MAX 60

const char *document_text(void)
{
    static char text[TEXT_MAX];
    FILE *file;
    size_t length;

    if (text[0]) {
        return text;
    }
    file = fopen(PROTOCOL_DOCUMENT, "rb");
    assert_non_null(file);
    length = fread(text, 1, sizeof(text) - 1, file);
    assert_true(length > 0 && length < sizeof(text) - 1);
    fclose(file);
    return text;
}

static const char *next_line(const char *line)
{
    const char *end = strchr(line, '\n');

    return end ? end + 1 : line + strlen(line);
}

static bool starts(const char *line, const char *prefix)
{
    return strncmp(line, prefix, strlen(prefix)) == 0;
}

static int nibble(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void add_line(struct vector *vector, const char *line)
{
    int high = -1;

    for (; *line != '\n' && *line != '#'; line++) {
        if (*line == ' ') {
            continue;
        }
        assert_true(nibble(*line) >= 0);
        if (high < 0) {
            high = nibble(*line);
            continue;
        }
        assert_true(vector->length < VECTOR_MAX);
        vector->bytes[vector->length++] = (uint8_t)(high * 16 + nibble(*line));
        high = -1;
    }
    assert_int_equal(high, -1);
}

static void read_vectors(struct vector *vectors, size_t *count)
{
    const char *line = document_text();

    for (; *line; line = next_line(line)) {
        if (!starts(line, "```vector ")) {
            continue;
        }
        struct vector *vector = &vectors[(*count)++];
        assert_true(*count <= VECTORS_MAX);
        assert_int_equal(sscanf(line, "```vector %39s", vector->name), 1);
        for (line = next_line(line); !starts(line, "```"); line = next_line(line)) {
            assert_true(*line);
            add_line(vector, line);
        }
    }
}

const struct vector *document_vectors(size_t *count)
{
    static struct vector vectors[VECTORS_MAX];
    static size_t known;

    if (known == 0) {
        read_vectors(vectors, &known);
    }
    *count = known;
    return vectors;
}

const struct vector *document_vector(const char *name)
{
    size_t count;
    const struct vector *vectors = document_vectors(&count);

    for (size_t i = 0; i < count; i++) {
        if (strcmp(vectors[i].name, name) == 0) {
            return &vectors[i];
        }
    }
    fail_msg("docs/protocol.md has no vector %s", name);
    return NULL;
}

const struct rule *document_rules(size_t *count)
{
    static struct rule rules[RULES_MAX];
    static size_t known;

    for (const char *line = known == 0 ? document_text() : ""; *line; line = next_line(line)) {
        if (!starts(line, "- **[")) {
            continue;
        }
        assert_true(known < RULES_MAX);
        assert_int_equal(sscanf(line, "- **[%7[^]]]** %23[A-Z_]", rules[known].id, rules[known].code), 2);
        known++;
    }
    *count = known;
    return rules;
}
