/* What is told of two configurations. */
#include "config/changes.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define FRAME "version: 1\nenclaves: {a: {cid: 16}}\n"

static struct config *parse(const char *text)
{
    struct config *config;
    struct diags diags;
    diags_init(&diags, "p.yaml");
    assert_int_equal(config_parse("p.yaml", text, strlen(text), &config, &diags), 0);
    diags_release(&diags);
    return config;
}

static void assert_told(const char *before, const char *after, const char *words)
{
    struct config *old = parse(before), *new = parse(after);
    struct text out = TEXT_INIT;
    changes_tell(old, new, &out);
    assert_string_equal(text_string(&out), words);
    text_release(&out);
    config_unref(old);
    config_unref(new);
}

static void the_same(void **state)
{
    (void)state;
    assert_told(FRAME, FRAME, "; the file says the same");
    assert_told(FRAME, "version: 1 # a comment\nenclaves:\n  a:\n    cid: 16\n", "; the file says the same");
}

static void names(void **state)
{
    (void)state;
    assert_told(FRAME, "version: 1\nenclaves: {a: {cid: 17}}\n", "; changed: enclave a");
    assert_told(FRAME, "version: 1\nenclaves: {b: {cid: 16}}\n", "; added: enclave b; removed: enclave a");
    assert_told(FRAME "workers: 1\nlimits: {max_streams: 10}\n",
                FRAME "limits: {max_sessions: 10}\ndrain_timeout: 1s\n",
                "; added: `drain_timeout`; removed: `workers`; changed: `limits`");
    assert_told(FRAME, FRAME "routes: {r: {type: log}, s: {type: time}}\n", "; added: route r, route s");
}

static void many(void **state)
{
    (void)state;
    assert_told(
        FRAME,
        FRAME "routes: {a: {type: time}, b: {type: time}, c: {type: time}, d: {type: time}, e: {type: time}, "
              "f: {type: time}, g: {type: time}, h: {type: time}, i: {type: time}, j: {type: time}}\n",
        "; added: route a, route b, route c, route d, route e, route f, route g, route h and 2 more");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same),
        cmocka_unit_test(names),
        cmocka_unit_test(many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
