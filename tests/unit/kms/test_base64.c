/* Base64: what RFC 4648 has as examples, and what is none. */
#include "kms/base64.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_examples(void **state)
{
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        char text[16];
        uint8_t bytes[16];
        size_t size;
        base64_encode((const uint8_t *)pairs[i][0], strlen(pairs[i][0]), text);
        assert_string_equal(text, pairs[i][1]);
        assert_int_equal(BASE64_LENGTH(strlen(pairs[i][0])), strlen(text));
        assert_int_equal(base64_decode(text, strlen(text), bytes, &size), 0);
        assert_int_equal(size, strlen(pairs[i][0]));
        assert_memory_equal(bytes, pairs[i][0], size);
    }
}

static void test_none(void **state)
{
    static const char *const bad[] = {"Z",          "Zg",     "Zg=",      "Zg==Zg==", "====",  "Z===",
                                      " Zg==",      "Zg==\n", "Zm 9",     "Zm-_",     "Zm9v-", "Zm9v\n",
                                      "Z\xc3\xb6v", "=Zm9",   "Zm9v====", "Zm=v"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint8_t bytes[16];
        size_t size;
        assert_int_equal(base64_decode(bad[i], strlen(bad[i]), bytes, &size), -EINVAL);
    }
}

static void test_pieces(void **state)
{
    static const size_t sizes[] = {12287, 12288, 12289, 40000};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint8_t *bytes = malloc(sizes[i]), *back;
        char *text = malloc(BASE64_LENGTH(sizes[i]) + 1);
        size_t size;
        assert_true(bytes != NULL && text != NULL);
        for (size_t k = 0; k < sizes[i]; k++) {
            bytes[k] = (uint8_t)(k * 31 + k / 256);
        }
        base64_encode(bytes, sizes[i], text);
        assert_int_equal(strlen(text), BASE64_LENGTH(sizes[i]));
        back = malloc(BASE64_ROOM(strlen(text)));
        assert_non_null(back);
        assert_int_equal(base64_decode(text, strlen(text), back, &size), 0);
        assert_int_equal(size, sizes[i]);
        assert_memory_equal(back, bytes, size);
        free(bytes);
        free(text);
        free(back);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_examples),
        cmocka_unit_test(test_none),
        cmocka_unit_test(test_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
