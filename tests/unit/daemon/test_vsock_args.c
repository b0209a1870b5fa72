/* The command line of vsock-proxy: everything its parser takes, and how it refuses the rest. */
#include "daemon/vsock_args.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#define WORDS_MAX 12

/* Takes apart `line`, whose words are separated by single blanks; `buffer` keeps them. */
static int parse(const char *line, struct vsock_args *args, struct text *out, char buffer[256])
{
    static char program[] = "vsock-proxy";
    char *argv[WORDS_MAX + 2] = {program};
    int argc = 1;
    char *rest = buffer;
    assert_true(strlen(line) < 256);
    strcpy(buffer, line);
    while (rest != NULL && *line != '\0') {
        assert_true(argc < WORDS_MAX);
        argv[argc++] = strsep(&rest, " ");
    }
    return vsock_args_parse(argc, argv, args, out);
}

static struct vsock_args parsed(const char *line, char buffer[256])
{
    struct vsock_args args;
    struct text out = TEXT_INIT;
    if (parse(line, &args, &out, buffer) != VSOCK_ARGS_RUN) {
        fail_msg("%s: %s", line, text_string(&out));
    }
    assert_string_equal(text_string(&out), "");
    text_release(&out);
    return args;
}

static void test_positional_arguments_and_defaults(void **state)
{
    char buffer[256];
    struct vsock_args args = parsed("8000 kms.us-east-1.amazonaws.com 443", buffer);
    (void)state;
    assert_string_equal(args.local_port_text, "8000");
    assert_string_equal(args.remote_addr, "kms.us-east-1.amazonaws.com");
    assert_string_equal(args.remote_port_text, "443");
    assert_string_equal(args.workers_text, "4");
    assert_string_equal(args.config_file, "/etc/nitro_enclaves/vsock-proxy.yaml");
    assert_null(args.listen);
    assert_int_equal(args.family, 0);
}

static void test_options_stand_anywhere(void **state)
{
    static const char *const lines[] = {
        "-4 -w 8 --config f --listen unix:///l 1 h 2",
        "1 h 2 -4 -w 8 --config f --listen unix:///l",
        "1 --ipv4 h --num_workers=8 2 --config=f --listen=unix:///l",
        "1 -4w8 h 2 --config f --listen unix:///l",
        "1 h -4w=8 2 --config f --listen unix:///l",
        "--num_workers 8 --ipv4 --config f --listen unix:///l -- 1 h 2",
        "1 h --config f --listen unix:///l -4w 8 -- 2",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        char buffer[256];
        struct vsock_args args = parsed(lines[i], buffer);
        assert_string_equal(args.local_port_text, "1");
        assert_string_equal(args.remote_addr, "h");
        assert_string_equal(args.remote_port_text, "2");
        assert_string_equal(args.workers_text, "8");
        assert_string_equal(args.config_file, "f");
        assert_string_equal(args.listen, "unix:///l");
        assert_int_equal(args.family, AF_INET);
    }
}

static void test_odd_but_valid(void **state)
{
    char buffer[256];
    struct vsock_args args = parsed("-6 --config= - -- --h -2", buffer);
    (void)state;
    assert_int_equal(args.family, AF_INET6);
    assert_string_equal(args.config_file, "");
    assert_string_equal(args.local_port_text, "-");
    assert_string_equal(args.remote_addr, "--h");
    assert_string_equal(args.remote_port_text, "-2");
    args = parsed("-w - 1 h 2", buffer);
    assert_string_equal(args.workers_text, "-");
}

static void assert_usage(const char *line, const char *message)
{
    char buffer[256];
    char whole[512];
    struct vsock_args args;
    struct text out = TEXT_INIT;
    assert_int_equal(parse(line, &args, &out, buffer), 2);
    snprintf(whole, sizeof(whole),
             "error: %s\n\nUsage: vsock-proxy [OPTIONS] <local_port> <remote_addr> <remote_port>\n\n"
             "For more information, try '--help'.\n",
             message);
    assert_string_equal(text_string(&out), whole);
    text_release(&out);
}

static void test_usage_errors(void **state)
{
    (void)state;
    assert_usage("", "the following required arguments were not provided:\n  <local_port>\n  <remote_addr>\n "
                     " <remote_port>");
    assert_usage("8000 h", "the following required arguments were not provided:\n  <remote_port>");
    assert_usage("8000 h 443 extra", "unexpected argument 'extra' found");
    assert_usage("8000 h 443 -- extra", "unexpected argument 'extra' found");
    assert_usage("8000 h 443 --bogus", "unexpected argument '--bogus' found");
    assert_usage("8000 h 443 --conf f", "unexpected argument '--conf' found");
    assert_usage("8000 h 443 --configs f", "unexpected argument '--configs' found");
    assert_usage("8000 h 443 -x", "unexpected argument '-x' found");
    assert_usage("8000 h -1", "unexpected argument '-1' found");
    assert_usage("8000 h 443 -4x", "unexpected argument '-x' found");
    assert_usage("8000 h 443 --ipv4=yes", "unexpected value 'yes' for '--ipv4' found; no more were expected");
    assert_usage("8000 h 443 --config",
                 "a value is required for '--config <config_file>' but none was supplied");
    assert_usage("--config --ipv4 8000 h 443",
                 "a value is required for '--config <config_file>' but none was supplied");
    assert_usage("8000 h 443 -w", "a value is required for '--num_workers <workers>' but none was supplied");
    assert_usage("8000 h 443 --listen", "a value is required for '--listen <address>' but none was supplied");
    assert_usage("-4 -6 8000 h 443", "the argument '--ipv6' cannot be used with '--ipv4'");
    assert_usage("-64 8000 h", "the argument '--ipv6' cannot be used with '--ipv4'");
    assert_usage("-4 -4 8000 h 443", "the argument '--ipv4' cannot be used multiple times");
    assert_usage("-w 1 --num_workers=2 8000 h 443",
                 "the argument '--num_workers' cannot be used multiple times");
}

static void test_help_and_version(void **state)
{
    static const char *const helps[] = {"-h", "--help", "8000 -h", "-4 -6 --help", "-4h", "-h --bogus"};
    char buffer[256];
    struct vsock_args args;
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(helps); i++) {
        struct text out = TEXT_INIT;
        assert_int_equal(parse(helps[i], &args, &out, buffer), 0);
        assert_non_null(strstr(text_string(&out),
                               "Usage: vsock-proxy [OPTIONS] <local_port> <remote_addr> <remote_port>\n"));
        assert_non_null(strstr(text_string(&out), "  -6, --ipv6  "));
        assert_non_null(strstr(text_string(&out), "--config <config_file>"));
        text_release(&out);
    }
    struct text out = TEXT_INIT;
    assert_int_equal(parse("--version", &args, &out, buffer), 0);
    assert_string_equal(text_string(&out), "vsock-proxy (postern) " POSTERN_VERSION "\n");
    text_clear(&out);
    assert_int_equal(parse("-V", &args, &out, buffer), 0);
    text_clear(&out);
    assert_int_equal(parse("--bogus --help", &args, &out, buffer), 2);
    text_release(&out);
}

static void test_no_argv_at_all(void **state)
{
    char *argv[] = {NULL};
    struct vsock_args args;
    struct text out = TEXT_INIT;
    (void)state;
    assert_int_equal(vsock_args_parse(0, argv, &args, &out), 2);
    text_release(&out);
}

/* ---- Numbers ---- */

static void test_numbers(void **state)
{
    char buffer[256];
    struct error err = ERROR_INIT;
    struct vsock_args args = parsed("4294967294 h 65535 -w 100", buffer);
    (void)state;
    assert_int_equal(vsock_args_check(&args, &err), 0);
    assert_int_equal(args.local_port, 4294967294u);
    assert_int_equal(args.remote_port, 65535);
    assert_int_equal(args.workers, 100);
    args = parsed("+8000 h +443 -w +1", buffer);
    assert_int_equal(vsock_args_check(&args, &err), 0);
    assert_int_equal(args.local_port, 8000);
    assert_int_equal(args.remote_port, 443);
    assert_int_equal(args.workers, 1);
    args = parsed("8000 h 443 -w 18446744073709551615", buffer);
    assert_int_equal(vsock_args_check(&args, &err), 0);
}

static void assert_invalid(const char *line, const char *message)
{
    char buffer[256];
    struct error err = ERROR_INIT;
    struct vsock_args args = parsed(line, buffer);
    assert_int_equal(vsock_args_check(&args, &err), -EINVAL);
    assert_string_equal(err.text, message);
}

/* Checked in the original's order: local port, remote port, workers. */
static void test_bad_numbers(void **state)
{
    (void)state;
    assert_invalid("x h y -w z", "Local port is not valid: x: expected a vsock port from 1 to 4294967294");
    assert_invalid("0 h 443", "Local port is not valid: 0: expected a vsock port from 1 to 4294967294");
    assert_invalid("4294967295 h 443",
                   "Local port is not valid: 4294967295: expected a vsock port from 1 to 4294967294");
    assert_invalid("++1 h 443", "Local port is not valid: ++1: expected a vsock port from 1 to 4294967294");
    assert_invalid("8000 h y -w z", "Remote port is not valid: y: expected a TCP port from 1 to 65535");
    assert_invalid("8000 h 0", "Remote port is not valid: 0: expected a TCP port from 1 to 65535");
    assert_invalid("8000 h 65979", "Remote port is not valid: 65979: expected a TCP port from 1 to 65535");
    assert_invalid("8000 h 443 -w z", "Number of workers is not valid: z: expected a whole number");
    assert_invalid("8000 h 443 -w 18446744073709551616",
                   "Number of workers is not valid: 18446744073709551616: expected a whole number");
    assert_invalid("8000 h 443 -w 0", "Number of workers must not be 0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_positional_arguments_and_defaults),
        cmocka_unit_test(test_options_stand_anywhere),
        cmocka_unit_test(test_odd_but_valid),
        cmocka_unit_test(test_usage_errors),
        cmocka_unit_test(test_help_and_version),
        cmocka_unit_test(test_no_argv_at_all),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_bad_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
