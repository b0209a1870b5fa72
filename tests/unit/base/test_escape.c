/* What messages repeat of addresses: see base/escape.h. The escapes are tested with the lines of the log. */
#include "base/escape.h"

// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

static void test_no_password_is_repeated(void **state)
{
    (void)state;
    assert_string_equal(escape_user("htps://user:secret@host/"), "@host/");
    assert_string_equal(escape_user("user:sec@ret@host"), "@host");
    assert_string_equal(escape_user("https://host/"), "https://host/");
    assert_string_equal(escape_user(""), "");
    assert_string_equal(escape_user("unix://@name"), "unix://@name");
    assert_string_equal(escape_user("hybrid:///a@b:52"), "hybrid:///a@b:52");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_password_is_repeated),
    };
    return cmocka_run_group_tests_name("escape", tests, NULL, NULL);
}
