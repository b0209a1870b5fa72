/*
 * A connection's requests: how they are split does not matter, and what is forwarded means the same to llhttp in its strict
 * mode as it does to us.
 */
#include "forward.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct http_rules rules;

static void add_rule(enum http_header_action action, const char *name, const char *value)
{
    if (http_header_rules_add(&rules.headers, action, name, value, NULL) != 0) {
        abort();
    }
}

static void set_up(void)
{
    http_rules_init(&rules);
    rules.limits.head = (struct http_scan_limits){.bytes = 1024, .target = 256, .fields = 16};
    rules.limits.body = 4096;
    rules.forms = HTTP_FORM_ORIGIN | HTTP_FORM_ABSOLUTE;
    add_rule(HTTP_HEADER_SET, "authorization", "Bearer ${credential:token}");
    add_rule(HTTP_HEADER_SET, "x-enclave", "${enclave}");
    add_rule(HTTP_HEADER_ADD, "via", "1.1 postern");
    add_rule(HTTP_HEADER_REMOVE, "x-internal", NULL);
}

/* Bodies may hold anything, a NUL too. */
static bool same(const struct text *a, const struct text *b)
{
    return a->length == b->length && memcmp(text_string(a), text_string(b), a->length) == 0;
}

static void check_split(const struct forwarded *whole, const char *bytes, size_t size, size_t step)
{
    struct forwarded split;
    forward_requests(&split, &rules, bytes, size, step);
    if (split.why != whole->why || split.whole != whole->whole || split.used != whole->used ||
        !same(&split.meaning, &whole->meaning)) {
        abort();
    }
    forwarded_release(&split);
}

/* One `x-enclave` to a request, and it is the route's. A body may say what it likes. */
static void check_owned(const struct forwarded *whole)
{
    unsigned count = 0;
    for (const char *at = text_string(&whole->fields); (at = strstr(at, "\nx-enclave: ")) != NULL; at++) {
        if (strncmp(at, "\nx-enclave: enclave\n", 20) != 0) {
            abort();
        }
        count++;
    }
    if (count < whole->whole) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct forwarded whole;
    struct text meaning = TEXT_INIT;
    if (size < 2) {
        return 0;
    }
    if (rules.headers.count == 0) {
        set_up();
    }
    const char *bytes = (const char *)data + 1;
    forward_requests(&whole, &rules, bytes, size - 1, size);
    check_split(&whole, bytes, size - 1, 1);
    check_split(&whole, bytes, size - 1, (size_t)data[0] + 2);
    check_owned(&whole);
    if (!whole.cut &&
        (!forward_reread(false, false, &whole.wire, &meaning) || !same(&meaning, &whole.meaning))) {
        abort();
    }
    text_release(&meaning);
    forwarded_release(&whole);
    return 0;
}
