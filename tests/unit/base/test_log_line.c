/* One line of the log: its shape, whatever its values are. */
#include "base/log_private.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>

#include <cmocka.h>

/* Time stands still at 2026-01-02 03:04:05.678 until a test moves it. */
static struct timespec frozen = {.tv_sec = 1767323045, .tv_nsec = 678901234};

int clock_gettime(clockid_t clock, struct timespec *ret)
{
    if (clock != CLOCK_REALTIME) {
        return (int)syscall(SYS_clock_gettime, clock, ret);
    }
    *ret = frozen;
    return 0;
}

/* A finished line, terminated so that it can be compared. */
static const char *finished(struct log_line *line)
{
    static char text[LOG_LINE_MAX + 1];

    log_line_finish(line);
    assert_true(line->length <= LOG_LINE_MAX);
    memcpy(text, line->data, line->length);
    text[line->length] = '\0';
    assert_ptr_equal(strchr(text, '\n'), text + line->length - 1);
    return text;
}

static void test_text(void **state)
{
    struct log_line line;

    (void)state;
    log_set(LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT);
    log_begin(&line, LOG_LEVEL_INFO, "stream ended");
    log_str(&line, "route", "kms");
    log_u64(&line, "bytes_in", 12);
    log_ms(&line, "took", 1500);
    log_str(&line, "to", "tcp://kms.us-east-1.amazonaws.com:443");
    log_str(&line, "client", NULL);
    log_str(&line, "sni", "");
    log_str(&line, "detail", "a b");
    log_str(&line, "forged", "x route=kms");
    log_str(&line, "quoted", "say \"hi\"");
    log_str(&line, "path", "C:\\");
    log_str(&line, "pair", "a=b");
    log_str(&line, "name", "caf\xc3\xa9");
    assert_string_equal(finished(&line),
                        "2026-01-02T03:04:05.678Z info  stream ended route=kms bytes_in=12 took=1.5s "
                        "to=tcp://kms.us-east-1.amazonaws.com:443 sni=\"\" detail=\"a b\" "
                        "forged=\"x route=kms\" quoted=\"say \\\"hi\\\"\" path=\"C:\\\\\" pair=\"a=b\" "
                        "name=\"caf\xc3\xa9\"\n");
}

static void test_json(void **state)
{
    struct log_line line;

    (void)state;
    log_set(LOG_LEVEL_DEBUG, LOG_FORMAT_JSON);
    log_begin(&line, LOG_LEVEL_WARN, "stream ended");
    log_str(&line, "route", "kms");
    log_u64(&line, "bytes_in", UINT64_MAX);
    log_ms(&line, "took", 1500);
    log_str(&line, "client", NULL);
    log_str(&line, "sni", "");
    log_str(&line, "detail", "say \"hi\"\n");
    assert_string_equal(finished(&line),
                        "{\"ts\":\"2026-01-02T03:04:05.678Z\",\"level\":\"warn\",\"event\":\"stream ended\","
                        "\"route\":\"kms\",\"bytes_in\":18446744073709551615,\"took_ms\":1500,\"sni\":\"\","
                        "\"detail\":\"say \\\"hi\\\"\\n\"}\n");
}

static void test_levels(void **state)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    struct log_line line;
    char expected[64];

    (void)state;
    log_set(LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT);
    for (int level = LOG_LEVEL_ERROR; level <= LOG_LEVEL_DEBUG; level++) {
        log_begin(&line, (enum log_level)level, "event");
        snprintf(expected, sizeof(expected), "2026-01-02T03:04:05.678Z %-5s event\n", names[level]);
        assert_string_equal(finished(&line), expected);
    }
    log_set(LOG_LEVEL_DEBUG, LOG_FORMAT_JSON);
    for (int level = LOG_LEVEL_ERROR; level <= LOG_LEVEL_DEBUG; level++) {
        log_begin(&line, (enum log_level)level, "event");
        snprintf(expected, sizeof(expected), "\"level\":\"%s\",", names[level]);
        assert_non_null(strstr(finished(&line), expected));
    }
}

/* Nothing at all happens to a line below the level. */
static void test_unwanted(void **state)
{
    struct log_line line;

    (void)state;
    log_set(LOG_LEVEL_WARN, LOG_FORMAT_TEXT);
    memset(&line, 'x', sizeof(line));
    log_begin(&line, LOG_LEVEL_INFO, "event");
    assert_false(line.wanted);
    log_str(&line, "a", "b");
    log_u64(&line, "a", 1);
    log_ms(&line, "a", 1);
    log_end(&line);
    log_event(LOG_LEVEL_DEBUG, "event", "detail");
    assert_int_equal(line.data[0], 'x');
    assert_int_equal(line.data[LOG_LINE_MAX - 1], 'x');
}

/* The stamp of a second is worked out once, and the next second is another. */
static void test_time_passes(void **state)
{
    struct log_line line;

    (void)state;
    log_set(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    frozen.tv_nsec = 999999999;
    log_begin(&line, LOG_LEVEL_INFO, "event");
    assert_string_equal(finished(&line), "2026-01-02T03:04:05.999Z info  event\n");
    frozen.tv_sec += 86400 - (3 * 3600 + 4 * 60 + 5);
    frozen.tv_nsec = 0;
    log_begin(&line, LOG_LEVEL_INFO, "event");
    assert_string_equal(finished(&line), "2026-01-03T00:00:00.000Z info  event\n");
    frozen = (struct timespec){.tv_sec = 1767323045, .tv_nsec = 678901234};
    log_begin(&line, LOG_LEVEL_INFO, "event");
    assert_string_equal(finished(&line), "2026-01-02T03:04:05.678Z info  event\n");
}

/* Reads a JSON line, and fails on anything that RFC 8259 does not allow. */
static json_t *parsed(const char *text)
{
    json_error_t error;
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);

    if (!object) {
        fail_msg("%s: %s", error.text, text);
    }
    return object;
}

static void assert_harmless(const char *text)
{
    size_t length = strlen(text);

    for (size_t i = 0; i + 1 < length; i++) {
        assert_true((unsigned char)text[i] >= 0x20 && text[i] != 0x7f);
    }
    assert_null(strstr(text, "\xe2\x80\xa8"));
    assert_null(strstr(text, "\xe2\x80\xa9"));
}

/* Values of random bytes, most of them of the kind that does harm, never leave their quotes. */
static void test_nothing_forges_a_line(void **state)
{
    static const char nasty[] =
        "\n\r\"\\ =\x1b\x7f\x9b\xe2\x80\xa8\xc2{}:,<>\x01\xf0\x9f\x9a\xaa\xff\xed\xa0\x80";
    uint32_t random = 1;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        struct log_line line;
        char value[32];
        const char *text;
        size_t length;

        random = random * 1664525 + 1013904223;
        length = (random >> 20) % sizeof(value);
        for (size_t j = 0; j < length; j++) {
            random = random * 1664525 + 1013904223;
            value[j] =
                random >> 31 ? (char)(1 + (random >> 16) % 255) : nasty[(random >> 16) % (sizeof(nasty) - 1)];
        }
        value[length] = '\0';

        log_set(LOG_LEVEL_INFO, i % 2 ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT);
        log_begin(&line, LOG_LEVEL_INFO, "stream ended");
        log_str(&line, "sni", value);
        log_str(&line, "reason", "finished");
        text = finished(&line);
        assert_harmless(text);
        if (i % 2) {
            json_decref(parsed(text));
        } else {
            assert_string_equal(text + strlen(text) - strlen(" reason=finished\n"), " reason=finished\n");
        }
    }
}

/* The same, read back: a value that is UTF-8 comes out as it went in, and nothing comes beside it. */
static void test_values_survive(void **state)
{
    static const char *const values[] = {
        "plain",
        "",
        "\"",
        "\\",
        "\\\"",
        "\",\"level\":\"error",
        "a\nb\r\tc\b\f",
        "\x01\x1f\x7f",
        "caf\xc3\xa9 \xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xae \xf0\x9f\x9a\xaa",
        "\\u0041",
        "}",
        "{\"a\":1}",
    };

    (void)state;
    log_set(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        struct log_line line;
        json_t *object;

        log_begin(&line, LOG_LEVEL_INFO, "stream ended");
        log_str(&line, "sni", values[i]);
        log_str(&line, "reason", "finished");
        object = parsed(finished(&line));
        assert_int_equal(json_object_size(object), 5);
        assert_string_equal(json_string_value(json_object_get(object, "sni")), values[i]);
        assert_string_equal(json_string_value(json_object_get(object, "level")), "info");
        json_decref(object);
    }
}

/* A value of every length around the bound: the line is whole, and what is there is the beginning. */
static void test_long_lines(void **state)
{
    char value[LOG_LINE_MAX * 2];

    (void)state;
    for (int format = LOG_FORMAT_TEXT; format <= LOG_FORMAT_JSON; format++) {
        log_set(LOG_LEVEL_INFO, (enum log_format)format);
        for (size_t length = LOG_LINE_MAX - 300; length < LOG_LINE_MAX + 10; length++) {
            struct log_line line;
            const char *text;
            bool truncated;

            memset(value, 'v', length);
            value[length] = '\0';
            log_begin(&line, LOG_LEVEL_INFO, "stream ended");
            log_str(&line, "route", "kms");
            log_str(&line, "sni", value);
            log_u64(&line, "bytes_in", 12345);
            log_str(&line, "reason", "finished");
            log_ms(&line, "took", 1234567890123);
            text = finished(&line);
            truncated = strstr(text, "truncated") != NULL;
            assert_non_null(strstr(text, "kms"));
            assert_true(truncated == !(strstr(text, "sni") && strstr(text, "bytes_in") &&
                                       strstr(text, "reason") && strstr(text, "took")));
            /* what comes later is not there unless all before it is */
            assert_true(!strstr(text, "took") || strstr(text, "reason"));
            assert_true(!strstr(text, "reason") || strstr(text, "bytes_in"));
            assert_true(!strstr(text, "bytes_in") || strstr(text, "sni"));
            if (format == LOG_FORMAT_JSON) {
                json_decref(parsed(text));
            } else if (truncated) {
                assert_non_null(strstr(text, " truncated=true\n"));
            }
        }
    }
}

/* Escapes are not cut in two. */
static void test_long_escaped_lines(void **state)
{
    char value[LOG_LINE_MAX];

    (void)state;
    log_set(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    for (size_t length = 300; length < 340; length++) {
        struct log_line line;
        json_t *object;

        memset(value, 1, length);
        value[length] = '\0';
        log_begin(&line, LOG_LEVEL_INFO, "stream ended");
        log_str(&line, "sni", value);
        object = parsed(finished(&line));
        assert_true(json_is_true(json_object_get(object, "truncated")) == !json_object_get(object, "sni"));
        json_decref(object);
    }
}

/* As much as fits, in whole characters; the rest belongs into another line. */
static void test_text_of_any_length(void **state)
{
    char value[LOG_LINE_MAX * 2];

    (void)state;
    for (int format = LOG_FORMAT_TEXT; format <= LOG_FORMAT_JSON; format++) {
        log_set(LOG_LEVEL_INFO, (enum log_format)format);
        for (size_t length = 0; length < sizeof(value); length += length < LOG_LINE_MAX - 300 ? 97 : 1) {
            char last = (char)(length % 2 ? 'x' : '\1');
            struct log_line line;
            const char *text;
            size_t taken;

            memset(value, last, sizeof(value));
            log_begin(&line, LOG_LEVEL_INFO, "enclave log");
            log_str(&line, "enclave", "payroll");
            taken = log_text(&line, "line", value, length, false);
            text = finished(&line);
            assert_true(taken <= length && (taken > 100 || taken == length));
            assert_int_equal(!!strstr(text, "continues"), taken < length);
            assert_null(strstr(text, "truncated"));
            if (format == LOG_FORMAT_JSON) {
                json_t *object = parsed(text);

                assert_int_equal(json_string_length(json_object_get(object, "line")), taken);
                assert_int_equal(json_is_true(json_object_get(object, "continues")), taken < length);
                json_decref(object);
            }
            /* one more would not have fitted */
            assert_true(taken == length || line.length + (last == 'x' ? 1 : 6) > LOG_LINE_MAX - 25);
        }
    }
}

static void test_text_that_continues(void **state)
{
    struct log_line line;
    json_t *object;

    (void)state;
    log_set(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    log_begin(&line, LOG_LEVEL_INFO, "enclave log");
    assert_int_equal(log_text(&line, "line", "a\0b\"", 4, true), 4);
    object = parsed(finished(&line));
    assert_true(json_is_true(json_object_get(object, "continues")));
    json_decref(object);
    log_set(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_begin(&line, LOG_LEVEL_INFO, "enclave log");
    assert_int_equal(log_text(&line, "line", "word", 4, true), 4);
    assert_non_null(strstr(finished(&line), " line=\"word\" continues=true\n"));
    log_begin(&line, LOG_LEVEL_DEBUG, "enclave log"); /* below the level */
    assert_int_equal(log_text(&line, "line", "word", 4, true), 4);
}

/* No room for a field at all: the line says that it lost one. */
static void test_text_without_room(void **state)
{
    struct log_line line;

    (void)state;
    log_set(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    log_begin(&line, LOG_LEVEL_INFO, "enclave log");
    line.length = LOG_LINE_MAX - 40;
    memset(line.data, 'x', line.length);
    assert_int_equal(log_text(&line, "line", "word", 4, false), 4);
    assert_true(line.full);
    assert_int_equal(line.length, LOG_LINE_MAX - 40);
    assert_int_equal(log_text(&line, "line", "word", 4, false), 4);
}

static void test_long_event(void **state)
{
    char event[LOG_LINE_MAX * 2];
    struct log_line line;
    json_t *object;

    (void)state;
    log_set(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    memset(event, 1, sizeof(event) - 1);
    event[sizeof(event) - 1] = '\0';
    log_begin(&line, LOG_LEVEL_INFO, event);
    log_str(&line, "route", "kms");
    object = parsed(finished(&line));
    assert_string_equal(json_string_value(json_object_get(object, "route")), "kms");
    json_decref(object);
}

static void test_event_with_detail(void **state)
{
    int fd = memfd_create("log", MFD_CLOEXEC);
    char text[256] = "";

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(log_open(fd, LOG_LEVEL_INFO, LOG_FORMAT_TEXT), 0);
    log_event(LOG_LEVEL_ERROR, "reload refused", "%s:%d: unknown key", "postern.yaml", 3);
    log_event(LOG_LEVEL_ERROR, "strange", "%lc", (wint_t)0xd800);
    log_close();
    assert_true(pread(fd, text, sizeof(text) - 1, 0) > 0);
    assert_string_equal(text, "2026-01-02T03:04:05.678Z error reload refused detail=\"postern.yaml:3: "
                              "unknown key\"\n2026-01-02T03:04:05.678Z error strange\n");
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_unwanted),
        cmocka_unit_test(test_time_passes),
        cmocka_unit_test(test_nothing_forges_a_line),
        cmocka_unit_test(test_values_survive),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_long_escaped_lines),
        cmocka_unit_test(test_long_event),
        cmocka_unit_test(test_text_of_any_length),
        cmocka_unit_test(test_text_that_continues),
        cmocka_unit_test(test_text_without_room),
        cmocka_unit_test(test_event_with_detail),
    };

    return cmocka_run_group_tests_name("log_line", tests, NULL, NULL);
}
