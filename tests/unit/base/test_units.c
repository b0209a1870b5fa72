/* Numbers with units, from text and back. */
#include "base/units.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define UNTOUCHED UINT64_C(0xfeedface)
#define LARGEST   UINT64_MAX

struct number {
    const char *text;
    int result;
    uint64_t value;
};

static void check(const struct number *cases, size_t count, int (*parse)(const char *text, uint64_t *ret))
{
    for (size_t i = 0; i < count; i++) {
        uint64_t value = UNTOUCHED;

        if (parse(cases[i].text, &value) != cases[i].result) {
            fail_msg("\"%s\" was expected to give %d", cases[i].text, cases[i].result);
        }
        if (value != (cases[i].result < 0 ? UNTOUCHED : cases[i].value)) {
            fail_msg("\"%s\" gave %" PRIu64, cases[i].text, value);
        }
    }
}

static int parse_u64(const char *text, uint64_t *ret)
{
    return units_parse_u64(text, LARGEST, ret);
}

static int parse_port(const char *text, uint64_t *ret)
{
    return units_parse_u64(text, 65535, ret);
}

static void test_u64(void **state)
{
    static const struct number any[] = {
        {"0", 0, 0},
        {"8080", 0, 8080},
        {"007", 0, 7},
        {"18446744073709551615", 0, LARGEST},
        {"18446744073709551616", -ERANGE, 0},
        {"18446744073709551620", -ERANGE, 0},
        {"99999999999999999999999", -ERANGE, 0},
        {"99999999999999999999999x", -EINVAL, 0},
        {"", -EINVAL, 0},
        {"+1", -EINVAL, 0},
        {"-1", -EINVAL, 0},
        {" 1", -EINVAL, 0},
        {"1 ", -EINVAL, 0},
        {"1\n", -EINVAL, 0},
        {"1.0", -EINVAL, 0},
        {"0x10", -EINVAL, 0},
        {"1e3", -EINVAL, 0},
        {"\xd9\xa1", -EINVAL, 0}, /* a digit, but not one of ours */
    };
    static const struct number ports[] = {
        {"65535", 0, 65535},
        {"65536", -ERANGE, 0},
        {"65979", -ERANGE, 0},
    };

    (void)state;
    check(any, ARRAY_SIZE(any), parse_u64);
    check(ports, ARRAY_SIZE(ports), parse_port);
}

static void test_durations(void **state)
{
    static const struct number cases[] = {
        {"0", 0, 0},
        {"0s", 0, 0},
        {"0ms", 0, 0},
        {"1ms", 0, 1},
        {"5s", 0, 5000},
        {"90s", 0, 90000},
        {"1m", 0, 60000},
        {"1h30m", 0, 5400000},
        {"1d2h3m4s5ms", 0, 93784005},
        {"1d5ms", 0, 86400005},
        {"18446744073709551615ms", 0, LARGEST},
        {"18446744073709551616ms", -ERANGE, 0},
        {"213503982334d14h25m51s615ms", 0, LARGEST},
        {"213503982334d14h25m51s616ms", -ERANGE, 0},
        {"213503982335d", -ERANGE, 0},
        {"99999999999999999999d1x", -EINVAL, 0},
        {"", -EINVAL, 0},
        {"5", -EINVAL, 0},
        {"00", -EINVAL, 0},
        {"s", -EINVAL, 0},
        {"5S", -EINVAL, 0},
        {"5sec", -EINVAL, 0},
        {"5us", -EINVAL, 0},
        {"5 s", -EINVAL, 0},
        {" 5s", -EINVAL, 0},
        {"5s ", -EINVAL, 0},
        {"-5s", -EINVAL, 0},
        {"1.5s", -EINVAL, 0},
        {"5s5", -EINVAL, 0},
        {"5s5s", -EINVAL, 0},
        {"30m1h", -EINVAL, 0},
        {"1h0", -EINVAL, 0},
        {"1h30", -EINVAL, 0},
        {"5s@", -EINVAL, 0},
        {"5[", -EINVAL, 0},
        {"5`", -EINVAL, 0},
        {"5{", -EINVAL, 0},
    };

    (void)state;
    check(cases, ARRAY_SIZE(cases), units_parse_duration);
}

static void test_sizes(void **state)
{
    static const struct number cases[] = {
        {"0", 0, 0},
        {"0B", 0, 0},
        {"1B", 0, 1},
        {"16KiB", 0, 16384},
        {"1MiB", 0, 1048576},
        {"10GiB", 0, UINT64_C(10737418240)},
        {"1TiB", 0, UINT64_C(1) << 40},
        {"16777215TiB", 0, UINT64_C(16777215) << 40},
        {"16777216TiB", -ERANGE, 0},
        {"18446744073709551615B", 0, LARGEST},
        {"18446744073709551616B", -ERANGE, 0},
        {"", -EINVAL, 0},
        {"16", -EINVAL, 0},
        {"16K", -EINVAL, 0},
        {"16KB", -EINVAL, 0},
        {"16kib", -EINVAL, 0},
        {"16 KiB", -EINVAL, 0},
        {"1MiB1KiB", -EINVAL, 0},
        {"1MiB ", -EINVAL, 0},
        {"KiB", -EINVAL, 0},
        {"-1B", -EINVAL, 0},
    };

    (void)state;
    check(cases, ARRAY_SIZE(cases), units_parse_size);
}

struct shown {
    uint64_t value;
    const char *text;
};

static void check_shown(const struct shown *cases, size_t count,
                        const char *(*format)(uint64_t value, char buffer[UNITS_TEXT_MAX]))
{
    for (size_t i = 0; i < count; i++) {
        char buffer[UNITS_TEXT_MAX];

        assert_ptr_equal(format(cases[i].value, buffer), buffer);
        assert_string_equal(buffer, cases[i].text);
    }
}

static void test_exact(void **state)
{
    static const struct shown durations[] = {
        {0, "0s"},
        {1, "1ms"},
        {1500, "1s500ms"},
        {90000, "1m30s"},
        {3600000, "1h"},
        {86400005, "1d5ms"},
        {LARGEST, "213503982334d14h25m51s615ms"},
    };
    static const struct shown sizes[] = {
        {0, "0B"},
        {1, "1B"},
        {1024, "1KiB"},
        {1536, "1536B"},
        {1048576, "1MiB"},
        {UINT64_C(10) << 30, "10GiB"},
        {UINT64_C(1) << 40, "1TiB"},
        {UINT64_C(1) << 50, "1024TiB"},
        {LARGEST, "18446744073709551615B"},
    };

    (void)state;
    check_shown(durations, ARRAY_SIZE(durations), units_format_duration);
    check_shown(sizes, ARRAY_SIZE(sizes), units_format_size);
}

/* What is written is read as the same number, for powers of two and of ten and their neighbours. */
static void test_there_and_back(void **state)
{
    (void)state;
    for (uint64_t base = 2; base <= 10; base += 8) {
        for (uint64_t power = 1; power < LARGEST / base; power *= base) {
            for (uint64_t value = power - 1; value <= power + 1; value++) {
                char buffer[UNITS_TEXT_MAX];
                uint64_t back = UNTOUCHED;

                assert_int_equal(units_parse_duration(units_format_duration(value, buffer), &back), 0);
                assert_true(back == value);
                assert_int_equal(units_parse_size(units_format_size(value, buffer), &back), 0);
                assert_true(back == value);
            }
        }
    }
}

static void test_human_sizes(void **state)
{
    static const struct shown cases[] = {
        {0, "0 B"},
        {999, "999 B"},
        {1023, "1023 B"},
        {1024, "1 KiB"},
        {1075, "1.05 KiB"},
        {1536, "1.5 KiB"},
        {10235, "10 KiB"}, /* 9.995 KiB */
        {12345, "12.1 KiB"},
        {102390, "100 KiB"}, /* 99.99 KiB */
        {1047552, "1023 KiB"},
        {1048064, "1 MiB"}, /* 1023.5 KiB */
        {1567000000, "1.46 GiB"},
        {UINT64_C(1) << 40, "1 TiB"},
        {LARGEST, "16777216 TiB"},
    };

    (void)state;
    check_shown(cases, ARRAY_SIZE(cases), units_human_size);
}

static void test_human_durations(void **state)
{
    static const struct shown cases[] = {
        {0, "0ms"},
        {999, "999ms"},
        {1000, "1s"},
        {1005, "1.01s"},
        {1500, "1.5s"},
        {12345, "12.3s"},
        {59949, "59.9s"},
        {59950, "1m"},
        {60000, "1m"},
        {90999, "1m30s"},
        {3600000, "1h"},
        {3605000, "1h"},
        {3725000, "1h2m"},
        {UINT64_C(400) * 86400000, "400d"},
        {UINT64_C(9000000000), "104d4h"},
        {LARGEST, "213503982334d14h"},
    };

    (void)state;
    check_shown(cases, ARRAY_SIZE(cases), units_human_duration);
}

static void test_plurals(void **state)
{
    (void)state;
    assert_string_equal(units_plural(0), "s");
    assert_string_equal(units_plural(1), "");
    assert_string_equal(units_plural(2), "s");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_u64),
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_exact),
        cmocka_unit_test(test_human_sizes),
        cmocka_unit_test(test_human_durations),
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_plurals),
    };

    return cmocka_run_group_tests_name("units", tests, NULL, NULL);
}
