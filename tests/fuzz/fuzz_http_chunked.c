/*
 * A chunked body: splits do not matter, what is forwarded reads the same, and where llhttp takes the body as it came, it
 * finds in it what we do.
 */
#include "forward.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HEAD "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"

static bool same(const struct text *a, const struct text *b)
{
    return a->length == b->length && memcmp(text_string(a), text_string(b), a->length) == 0;
}

/* From the end of the head on. */
static struct http_span body_of(const struct text *meaning)
{
    const char *body = strstr(text_string(meaning), "\n\n");
    if (body == NULL) {
        abort();
    }
    return (struct http_span){.data = body, .size = (size_t)(meaning->data + meaning->length - body)};
}

/* What llhttp reads in the bytes that we took for one request, beside what we read; it may refuse them. Compared is the
 * body's first line: names of trailers are written in another case. */
static void check_original(const struct text *input, const struct forwarded *whole)
{
    struct text meaning = TEXT_INIT;
    struct text taken = {.data = input->data, .length = whole->used};
    if (forward_reread(false, false, &taken, &meaning)) {
        struct http_span theirs = body_of(&meaning), ours = body_of(&whole->meaning);
        size_t line = 2 + strcspn(theirs.data + 2, "\n");
        if (ours.size < line || memcmp(theirs.data, ours.data, line) != 0) {
            abort();
        }
    }
    text_release(&meaning);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_rules rules;
    struct forwarded whole, split;
    struct text input = TEXT_INIT, meaning = TEXT_INIT;
    if (size < 1) {
        return 0;
    }
    http_rules_init(&rules);
    rules.limits.head.bytes = 512;
    rules.limits.body = 65536;
    text_add(&input, HEAD);
    text_add_bytes(&input, data + 1, size - 1);
    forward_requests(&whole, &rules, input.data, input.length, input.length);
    forward_requests(&split, &rules, input.data, input.length, (size_t)data[0] + 1);
    if (split.why != whole.why || split.whole != whole.whole || split.used != whole.used ||
        !same(&split.meaning, &whole.meaning)) {
        abort();
    }
    if (whole.whole == 1) {
        if (!forward_reread(false, false, &whole.wire, &meaning) || !same(&meaning, &whole.meaning)) {
            abort();
        }
        text_clear(&meaning);
        if (!forward_reread(false, false, &split.wire, &meaning) || !same(&meaning, &whole.meaning)) {
            abort();
        }
        check_original(&input, &whole);
    }
    text_release(&input);
    text_release(&meaning);
    forwarded_release(&whole);
    forwarded_release(&split);
    http_rules_release(&rules);
    return 0;
}
