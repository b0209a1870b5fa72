/* What the tests read out of docs/protocol.md: its vectors, and the ids of its rules. */
#ifndef POSTERN_TESTS_DOCUMENT_H
#define POSTERN_TESTS_DOCUMENT_H

#include <stddef.h>
#include <stdint.h>

#define VECTOR_MAX 4096

struct vector {
    char name[40];
    uint8_t bytes[VECTOR_MAX];
    size_t length;
};

/* All in the order of the document; the test fails if it cannot be read. `count` is how many there are. */
const struct vector *document_vectors(size_t *count);
const struct vector *document_vector(const char *name);

#define RULES_MAX     100
#define RULE_ID_MAX   8
#define RULE_CODE_MAX 24

/* A line that begins with "- **[X-1]** CODE". */
struct rule {
    char id[RULE_ID_MAX];
    char code[RULE_CODE_MAX];
};

const struct rule *document_rules(size_t *count);

/* The whole text. */
const char *document_text(void);

#endif
