/* Errors as a person reads them. */
#include "base/error.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <wchar.h>

#include <cmocka.h>

static void test_set(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    assert_string_equal(err.text, "");
    assert_int_equal(error_set(&err, -EINVAL, "port %d is out of range", 70000), -EINVAL);
    assert_string_equal(err.text, "port 70000 is out of range");
    assert_int_equal(error_set(&err, -1, "%s", ""), -1);
    assert_string_equal(err.text, "");
}

static void test_errno(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    assert_int_equal(error_errno(&err, -EACCES, "cannot open %s", "/etc/postern"), -EACCES);
    assert_string_equal(err.text, "cannot open /etc/postern: Permission denied");
}

static void test_prefix(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    error_prefix(&err, "listener %s", "kms");
    assert_string_equal(err.text, "listener kms");
    error_set(&err, -1, "cannot bind");
    error_prefix(&err, "listener %s", "kms");
    error_prefix(&err, "postern.yaml");
    assert_string_equal(err.text, "postern.yaml: listener kms: cannot bind");
}

static void test_nobody_listens(void **state)
{
    (void)state;
    assert_int_equal(error_set(NULL, -EINVAL, "x"), -EINVAL);
    assert_int_equal(error_errno(NULL, -EACCES, "x"), -EACCES);
    error_prefix(NULL, "x");
}

/* An error that is made of the one before must not read what it is writing. */
static void test_own_text_as_argument(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    error_set(&err, -1, "refused");
    error_set(&err, -1, "tried twice: %s, %s", err.text, err.text);
    assert_string_equal(err.text, "tried twice: refused, refused");
    error_prefix(&err, "%s", err.text);
    assert_string_equal(err.text, "tried twice: refused, refused: tried twice: refused, refused");
    error_errno(&err, -EPIPE, "%.5s", err.text);
    assert_string_equal(err.text, "tried: Broken pipe");
}

/* Around the end of the buffer, each text is what it would have been, cut. */
static void test_cuts(void **state)
{
    char letters[ERROR_TEXT_MAX + 16];
    char expected[2 * ERROR_TEXT_MAX + 64];

    (void)state;
    for (size_t length = ERROR_TEXT_MAX - 40; length < sizeof(letters); length++) {
        struct error err = ERROR_INIT;

        memset(letters, 'a', length);
        letters[length] = '\0';
        error_set(&err, -1, "%s", letters);
        memcpy(expected, letters, length + 1);
        expected[ERROR_TEXT_MAX - 1] = '\0';
        assert_string_equal(err.text, expected);

        error_errno(&err, -EACCES, "%s", letters);
        memcpy(expected, letters, length);
        strcpy(expected + length, ": Permission denied");
        expected[ERROR_TEXT_MAX - 1] = '\0';
        assert_string_equal(err.text, expected);

        error_set(&err, -1, "was here");
        error_prefix(&err, "%s", letters);
        memcpy(expected, letters, length);
        strcpy(expected + length, ": was here");
        expected[ERROR_TEXT_MAX - 1] = '\0';
        assert_string_equal(err.text, expected);
    }
}

/* There is no such character, and vsnprintf() says so. */
static void test_bad_format(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    assert_int_equal(error_set(&err, -EINVAL, "%lc", (wint_t)0xd800), -EINVAL);
    assert_string_equal(err.text, "");
    error_errno(&err, -ENOENT, "%lc", (wint_t)0xd800);
    assert_string_equal(err.text, ": No such file or directory");
}

static void test_words(void **state)
{
    (void)state;
    assert_string_equal(error_words(-ECONNREFUSED), "Connection refused");
    assert_string_equal(error_words(0), "Success");
    assert_string_equal(error_words(-4095), "unknown error -4095");
    assert_string_equal(error_words(ENOENT), "unknown error 2");
    assert_string_equal(error_words(INT_MIN), "unknown error -2147483648");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set),    cmocka_unit_test(test_errno),
        cmocka_unit_test(test_prefix), cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_cuts),   cmocka_unit_test(test_own_text_as_argument),
        cmocka_unit_test(test_words),  cmocka_unit_test(test_bad_format),
    };

    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
