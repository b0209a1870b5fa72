/* The lines of `key = value`. */
#include "init/settings.h"

#include "fault.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char path[] = "/tmp/postern-settings.XXXXXX";

static int make_file(void **state)
{
    int fd = mkstemp(path);

    (void)state;
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

static void write_bytes(const void *bytes, size_t length)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

static void write_text(const char *text)
{
    write_bytes(text, strlen(text));
}

static void test_defaults(void **state)
{
    struct settings settings;

    (void)state;
    settings_init(&settings, NULL);
    assert_null(settings.connect);
    assert_null(settings.log);
    assert_null(settings.time);
    assert_null(settings.chdir);
    assert_int_equal(settings.listen.count + settings.env.count + settings.module.count, 0);
    assert_int_equal(settings.log_buffer, 256 * 1024);
    assert_int_equal(settings.log_flush, 2000);
    assert_int_equal(settings.clock, SETTINGS_CLOCK_AUTO);
    assert_int_equal(settings.clock_interval, 300000);
    assert_int_equal(settings.clock_bound, 60000);
    assert_int_equal(settings.clock_wait, 5000);
    assert_string_equal(settings.ptp, "/dev/ptp0");
    assert_string_equal(settings.nsm, "/dev/nsm");
    assert_int_equal(settings.mounts, SETTINGS_AUTO);
    assert_int_equal(settings.loopback, SETTINGS_AUTO);
    assert_int_equal(settings.entropy, SETTINGS_AUTO);
    assert_int_equal(settings.heartbeat, SETTINGS_AUTO);
    assert_int_equal(settings.stop_timeout, 5000);
    assert_int_equal(settings.end, SETTINGS_END_AUTO);
    settings_release(&settings);
}

static void test_a_file(void **state)
{
    struct settings settings;
    struct diags diags;
    struct error err = ERROR_INIT;

    (void)state;
    write_text("# a comment\n"
               "\n"
               " \t\r\n"
               "  # one behind blanks\n"
               "connect = vsock://parent:7001\r\n"
               "listen=tcp://127.0.0.1:443=kms\n"
               "\tlisten\t=\ttcp://127.0.0.1:80=web  \n"
               "env = GREETING=hello = world # all of it\n"
               "env = EMPTY=\n"
               "module = /nsm.ko\n"
               "chdir = /app\n"
               "log = log\n"
               "log_buffer = 1MiB\n"
               "log_flush = 0\n"
               "time = time\n"
               "clock = watch\n"
               "end = poweroff\n"
               "mounts = no");
    settings_init(&settings, NULL);
    diags_init(&diags, path);
    assert_int_equal(settings_read(&settings, path, &diags, &err), 0);
    assert_int_equal(diags.total, 0);
    assert_string_equal(settings.connect, "vsock://parent:7001");
    assert_int_equal(settings.listen.count, 2);
    assert_string_equal(settings.listen.items[0], "tcp://127.0.0.1:443=kms");
    assert_string_equal(settings.listen.items[1], "tcp://127.0.0.1:80=web");
    assert_int_equal(settings.env.count, 2);
    assert_string_equal(settings.env.items[0], "GREETING=hello = world # all of it");
    assert_string_equal(settings.env.items[1], "EMPTY=");
    assert_string_equal(settings.module.items[0], "/nsm.ko");
    assert_string_equal(settings.chdir, "/app");
    assert_string_equal(settings.log, "log");
    assert_int_equal(settings.log_buffer, 1 << 20);
    assert_int_equal(settings.log_flush, 0);
    assert_string_equal(settings.time, "time");
    assert_int_equal(settings.clock, SETTINGS_CLOCK_WATCH);
    assert_int_equal(settings.end, SETTINGS_END_POWEROFF);
    assert_int_equal(settings.mounts, SETTINGS_NO);
    settings_release(&settings);
    diags_release(&diags);
}

/* Every mistake in one run, with its place. */
static void test_mistakes(void **state)
{
    struct settings settings;
    struct diags diags;
    struct error err = ERROR_INIT;
    struct text text = TEXT_INIT;

    (void)state;
    write_text("lisen = a=b\n"
               "quite something else = 1\n"
               "no equals\n"
               "= value\n"
               "  log =\n"
               "connect = a\n"
               "connect = b\n"
               "listen = kms\n"
               "listen = =kms\n"
               "log_buffer = much\n"
               "log_buffer = 1MiB\n"
               "log_flush = soon\n"
               "clock_interval = 1ms\n"
               "stop_timeout = 99999999999999999999s\n"
               "clock = maybe\n"
               "chdir = /\a\n"
               "ptp = a\tb\n"
               "time = \x7f\n");
    settings_init(&settings, NULL);
    diags_init(&diags, "run.conf");
    assert_int_equal(settings_read(&settings, path, &diags, &err), -EINVAL);
    diags_format(&diags, &text);
    assert_string_equal(text_string(&text),
                        "run.conf:1:1: unknown key `lisen`; did you mean `listen`?\n"
                        "run.conf:2:1: unknown key `quite something else`; postern(1) has them all\n"
                        "run.conf:3:1: expected `key = value`\n"
                        "run.conf:4:1: expected `key = value`\n"
                        "run.conf:5:8: `log` has no value\n"
                        "run.conf:7:1: `connect` came already\n"
                        "run.conf:8:10: `listen` is `kms`, expected LOCAL=ROUTE\n"
                        "run.conf:9:10: `listen` is `=kms`, expected LOCAL=ROUTE\n"
                        "run.conf:10:14: `log_buffer` is `much`, expected a size, such as 64KiB\n"
                        "run.conf:11:1: `log_buffer` came already\n"
                        "run.conf:12:13: `log_flush` is `soon`, expected a duration, such as 5s or 1m30s\n"
                        "run.conf:13:18: `clock_interval` is `1ms`, expected 1s to 1d\n"
                        "run.conf:14:16: `stop_timeout` is `99999999999999999999s`, expected 0s to 10m\n"
                        "run.conf:15:9: `clock` is `maybe`, expected one of auto, set, watch, off\n"
                        "run.conf:16:9: `chdir` has a control character in its value\n"
                        "run.conf:18:8: `time` has a control character in its value\n");
    assert_string_equal(settings.ptp, "a\tb");
    text_release(&text);
    settings_release(&settings);
    diags_release(&diags);
}

static void test_sizes_have_bounds(void **state)
{
    static const char *const wrong[] = {"log_buffer = 16383B", "log_buffer = 65MiB", "log_buffer = 16MiBs"};
    static const char *const right[] = {"log_buffer = 16KiB", "log_buffer = 64MiB"};
    struct settings settings;
    struct diags diags;
    char line[64];

    (void)state;
    settings_init(&settings, NULL);
    diags_init(&diags, "");
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        settings_again(&settings);
        strcpy(line, wrong[i]);
        settings_set(&settings, line, 1, &diags);
        assert_int_equal(diags.total, i + 1);
    }
    for (size_t i = 0; i < ARRAY_SIZE(right); i++) {
        settings_again(&settings);
        strcpy(line, right[i]);
        settings_set(&settings, line, 1, &diags);
    }
    assert_int_equal(diags.total, ARRAY_SIZE(wrong));
    assert_int_equal(settings.log_buffer, 1 << 26);
    settings_release(&settings);
    diags_release(&diags);
}

static int check(const char *key, const char *value, struct error *err)
{
    return strstr(value, "bad") ? error_set(err, -EINVAL, "%s is bad for %s", value, key) : 0;
}

static void test_texts_are_judged_by_the_caller(void **state)
{
    char wrong[] = "listen = bad=kms", right[] = "listen = good=kms", text[] = "log = bad";
    struct settings settings;
    struct diags diags;
    struct text all = TEXT_INIT;

    (void)state;
    settings_init(&settings, check);
    diags_init(&diags, "--set");
    settings_set(&settings, wrong, 1, &diags);
    settings_set(&settings, right, 2, &diags);
    settings_set(&settings, text, 3, &diags);
    diags_format(&diags, &all);
    assert_string_equal(text_string(&all), "--set:1:10: `listen`: bad=kms is bad for listen\n"
                                           "--set:3:7: `log`: bad is bad for log\n");
    assert_int_equal(settings.listen.count, 1);
    assert_null(settings.log);
    text_release(&all);
    settings_release(&settings);
    diags_release(&diags);
}

static void test_options_come_after_the_file(void **state)
{
    char connect[] = "connect=c", again[] = "connect = d", listen[] = "listen=l=m";
    struct settings settings;
    struct diags diags;
    struct error err = ERROR_INIT;

    (void)state;
    write_text("connect = a\nlisten = a=b\n");
    settings_init(&settings, NULL);
    diags_init(&diags, path);
    assert_int_equal(settings_read(&settings, path, &diags, &err), 0);
    settings_again(&settings);
    settings_set(&settings, connect, 1, &diags);
    settings_set(&settings, listen, 2, &diags);
    assert_int_equal(diags.total, 0);
    assert_string_equal(settings.connect, "c");
    assert_int_equal(settings.listen.count, 2);
    settings_set(&settings, again, 3, &diags);
    assert_int_equal(diags.total, 1);
    settings_release(&settings);
    diags_release(&diags);
}

static void test_a_list_is_bounded(void **state)
{
    static char lines[SETTINGS_LIST_MAX + 1][16];
    struct settings settings;
    struct diags diags;

    (void)state;
    settings_init(&settings, NULL);
    diags_init(&diags, "");
    for (unsigned i = 0; i <= SETTINGS_LIST_MAX; i++) {
        snprintf(lines[i], sizeof lines[i], "env=A%u=b", i);
        assert_int_equal(diags.total, 0);
        settings_set(&settings, lines[i], i, &diags);
    }
    assert_int_equal(diags.total, 1);
    assert_string_equal(diags.list[0].message, "more than 64 lines of `env`");
    settings_release(&settings);
    diags_release(&diags);
}

static void test_files_that_are_none(void **state)
{
    static char large[SETTINGS_FILE_MAX + 1];
    struct settings settings;
    struct diags diags;
    struct error err = ERROR_INIT;

    (void)state;
    settings_init(&settings, NULL);
    diags_init(&diags, path);
    assert_int_equal(settings_read(&settings, "/nowhere/run.conf", &diags, &err), -ENOENT);
    assert_non_null(strstr(err.text, "cannot open /nowhere/run.conf: "));
    assert_int_equal(settings_read(&settings, "/", &diags, &err), -EISDIR);
    assert_non_null(strstr(err.text, "cannot read it"));
    memset(large, '\n', sizeof large);
    write_bytes(large, sizeof large);
    assert_int_equal(settings_read(&settings, path, &diags, &err), -EFBIG);
    write_bytes("log = a\0b\n", 10);
    assert_int_equal(settings_read(&settings, path, &diags, &err), -EINVAL);
    assert_string_equal(diags.list[0].message, "it holds a NUL byte: this is no text");
    settings_release(&settings);
    write_bytes(large, sizeof large - 1);
    settings_init(&settings, NULL);
    assert_int_equal(settings_read(&settings, path, &diags, &err), 0);
    settings_release(&settings);
    diags_release(&diags);
}

/* docs/client.md has every key with its default, as `| key | default |` begins a row of its table. */
static void test_the_documentation_has_every_key(void **state)
{
    static char document[1 << 18];
    FILE *file = fopen(CLIENT_DOCUMENT, "r");
    const char *initial, *key;
    size_t length;

    (void)state;
    assert_non_null(file);
    length = fread(document, 1, sizeof document - 1, file);
    assert_true(length < sizeof document - 1);
    fclose(file);
    for (size_t i = 0; (key = settings_key(i, &initial)); i++) {
        char row[128];

        snprintf(row, sizeof row, "\n| `%s` | %s%s%s |", key, initial ? "`" : "", initial ? initial : "",
                 initial ? "`" : "");
        if (!strstr(document, row)) {
            fail_msg("docs/client.md has no row that begins with %s", row + 1);
        }
    }
}

static void read_once(void *unused)
{
    struct settings settings;
    struct diags diags;

    (void)unused;
    settings_init(&settings, NULL);
    diags_init(&diags, path);
    if (settings_read(&settings, path, &diags, NULL) == -EINVAL) {
        assert_int_equal(diags.total, 2);
    }
    settings_release(&settings);
    diags_release(&diags);
}

static void test_faults(void **state)
{
    (void)state;
    write_text("clock = maybe\nlisen = a=b\n");
    assert_true(fault_loop("settings", FAULT_MEMORY | FAULT_OPEN | FAULT_READ, read_once, NULL) >= 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_a_file),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_sizes_have_bounds),
        cmocka_unit_test(test_texts_are_judged_by_the_caller),
        cmocka_unit_test(test_options_come_after_the_file),
        cmocka_unit_test(test_a_list_is_bounded),
        cmocka_unit_test(test_files_that_are_none),
        cmocka_unit_test(test_the_documentation_has_every_key),
        cmocka_unit_test(test_faults),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
