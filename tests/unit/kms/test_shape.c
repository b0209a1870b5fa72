/* How much memory a text of JSON may become, at and past each bound. */
#include "kms/shape.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool is_modest(const char *text)
{
    return json_is_modest(text, strlen(text));
}

static void test_depth(void **state)
{
    (void)state;
    assert_true(is_modest("[{[{[{[{[{[{[{[{}]}]}]}]}]}]}]}]"));
    assert_false(is_modest("[{[{[{[{[{[{[{[{[]}]}]}]}]}]}]}]}]"));
    assert_true(is_modest("[[]][[]][[]][[]][[]][[]][[]][[]][[]]"));
    assert_true(is_modest("]]]]}}}}"));
    assert_true(is_modest("\"[[[[[[[[[[[[[[[[[[[[\\\"[[\\\\\""));
    assert_true(is_modest("\"not ended\\"));
    assert_true(is_modest(""));
}

/* So many commas, in so many bytes. */
static bool values(size_t count, size_t size)
{
    char *text = malloc(size + 1);

    assert_non_null(text);
    memset(text, ' ', size);
    memset(text, ',', count - 1);
    bool modest = json_is_modest(text, size);
    size_t told = json_values(text, size);
    free(text);
    assert_true(modest ? told == count : told < count + 2);
    return modest;
}

static void test_values(void **state)
{
    (void)state;
    assert_true(values(JSON_VALUES_FREE, JSON_VALUES_FREE));
    assert_true(values(JSON_VALUES_FREE + 100, 100 * JSON_BYTES_A_VALUE));
    assert_false(values(JSON_VALUES_FREE + 101, 100 * JSON_BYTES_A_VALUE));
    assert_true(values(JSON_VALUES_MAX, 1 << 20));
    assert_false(values(JSON_VALUES_MAX + 1, 1 << 20));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
