/* Base64 as strictly as AWS takes it, and hexadecimal. */
#include "sim/bytes.h"

#include "fault.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_there_and_back(void **state)
{
    (void)state;
    static const char data[] = "\x00\xff\x10 bytes of any kind";

    for (size_t size = 0; size < sizeof data; size++) {
        char *text = sim_base64(data, size);
        struct sim_bytes bytes;
        assert_non_null(text);
        assert_int_equal(strlen(text), (size + 2) / 3 * 4);
        assert_int_equal(sim_base64_decode(text, strlen(text), &bytes), 0);
        assert_int_equal(bytes.size, size);
        assert_memory_equal(bytes.data, data, size);
        sim_bytes_release(&bytes);
        free(text);
    }
}

static void test_what_is_no_base64(void **state)
{
    (void)state;
    static const char *const texts[] = {"A",    "AA",   "AAA",  "AA A",  "AAA\n", "A===",    "====",
                                        "=AAA", "AA=A", "AA-_", "AAAA ", "AAAAA", "AA==AAAA"};
    struct sim_bytes bytes;

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_int_equal(sim_base64_decode(texts[i], strlen(texts[i]), &bytes), -EINVAL);
        assert_null(bytes.data);
    }
    assert_int_equal(sim_base64_decode("AA\0A", 4, &bytes), -EINVAL);
}

static void test_hexadecimal(void **state)
{
    (void)state;
    uint8_t data[3];
    char text[7];

    assert_true(sim_hex_decode("00aFfe", data, 3));
    assert_memory_equal(data, "\x00\xaf\xfe", 3);
    sim_hex(data, 3, text);
    assert_string_equal(text, "00affe");
    assert_false(sim_hex_decode("00aff", data, 3));
    assert_false(sim_hex_decode("00affe0", data, 3));
    assert_false(sim_hex_decode("00affg", data, 3));
    assert_false(sim_hex_decode("00a fe", data, 3));
    assert_false(sim_hex_decode("00afGe", data, 3));
}

static void run(void *arg)
{
    struct sim_bytes bytes;
    char *text = sim_base64("abc", 3);

    (void)arg;
    free(text);
    if (sim_base64_decode("QUJD", 4, &bytes) == 0) {
        sim_bytes_release(&bytes);
    }
}

static void test_out_of_memory(void **state)
{
    (void)state;
    assert_true(fault_loop("bytes", FAULT_MEMORY, run, NULL) >= 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_what_is_no_base64),
        cmocka_unit_test(test_hexadecimal),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
