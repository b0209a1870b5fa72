/* postern kms-proxy: what is understood of its command line, who may call, and how it begins and ends. */
#include "cli/cli.h"

#include "fault.h"
#include "kms/attested.h"
#include "kms/proxy.h"
#include "run_cli.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- What is served with ---- */

static int opened, prepared, served; /* what the three say */
static struct kms_proxy_options seen;
static struct sockaddr_storage bound;
static const char *taken; /* by another one's file, in the meantime; NULL: it is not */
static char moved_to[64];
static unsigned times, open;
static unsigned flags; /* of the client */

int __wrap_postern_kms_open(const struct postern_kms_options *options, struct postern_kms **ret,
                            struct postern_error *err);
void __wrap_postern_kms_close(struct postern_kms *kms);
int __wrap_kms_attested_prepare(struct postern_kms *kms, struct error *err);
int __wrap_kms_proxy_serve(struct postern_kms *kms, int listener, int stop_fd,
                           const struct kms_proxy_options *options, struct error *err);

int __wrap_postern_kms_open(const struct postern_kms_options *options, struct postern_kms **ret,
                            struct postern_error *err)
{
    static char client;

    if (opened != 0) {
        *err = (struct postern_error){.status = opened, .message = "there is no region"};
        return opened;
    }
    open++;
    flags = options->flags;
    *ret = (struct postern_kms *)(void *)&client;
    return 0;
}

void __wrap_postern_kms_close(struct postern_kms *kms)
{
    open -= kms != NULL;
}

int __wrap_kms_attested_prepare(struct postern_kms *kms, struct error *err)
{
    assert_non_null(kms);
    return prepared == 0 ? 0 : error_set(err, prepared, "there is no Nitro Security Module");
}

int __wrap_kms_proxy_serve(struct postern_kms *kms UNUSED, int listener, int stop_fd,
                           const struct kms_proxy_options *options, struct error *err)
{
    socklen_t size = sizeof bound;

    times++;
    seen = *options;
    assert_true(stop_fd >= 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&bound, &size), 0);
    seen.note(seen.data, "Decrypt: a call failed");
    if (taken) {
        assert_int_equal(rename(taken, moved_to), 0);
        assert_int_equal(mknod(taken, S_IFREG | 0600, 0), 0);
    }
    return served == 0 ? 0 : error_set(err, served, "it could not begin");
}

static int setup(void **state)
{
    (void)state;
    opened = prepared = served = 0;
    times = flags = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return (int)open;
}

static void assert_said(const struct ran *ran, int code, const char *part)
{
    if (ran->code != code || strstr(ran->err, part) == NULL) {
        fail_msg("%d, and expected %d and \"%s\":\n%s", ran->code, code, part, ran->err);
    }
    assert_string_equal(ran->out, "");
}

/* ---- The command line ---- */

static void test_wrong_words(void **state)
{
    static const char *const wrong[][4] = {
        {"takes no arguments, but got \"kms\"", "kms"},
        {"--listen: ", "--listen", "nowhere"},
        {"a name cannot be listened on", "--listen", "tcp://localhost:8080"},
        {"--connections \"0\": a number from 1 to 4096", "--connections", "0"},
        {"--connections \"4097\"", "--connections", "4097"},
        {"--idle-timeout \"999ms\": a duration from 1s to 1h", "--idle-timeout", "999ms"},
        {"--request-timeout \"2h\"", "--request-timeout", "2h"},
        {"--drain-timeout \"x\": a duration from 0s to 1h", "--drain-timeout", "x"},
        {"--timeout \"1ms\"", "--timeout", "1ms"},
        {"--context is no option here", "--context", "a=b"},
        {"--connect, or $POSTERN_ADDRESS", "--connect", "nowhere"},
    };
    struct ran ran;
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        run_cli(&ran, "kms-proxy", wrong[i][1], wrong[i][2], wrong[i][3], NULL);
        assert_said(&ran, CLI_USAGE, wrong[i][0]);
    }
    run_cli(&ran, "kms-proxy", "--raw", "tcp://127.0.0.1:1", "--route", "kms", NULL);
    assert_said(&ran, CLI_USAGE, "--raw leads to KMS by itself");
    assert_int_equal(times, 0);
    run_cli(&ran, "kms-proxy", "--help", NULL);
    assert_int_equal(ran.code, CLI_DONE);
    assert_non_null(strstr(ran.out, "--any-caller"));
    assert_non_null(strstr(ran.out, "--insecure-nsm"));
    assert_null(strstr(ran.out, "--context"));
}

static void test_nobody_else_is_listened_to(void **state)
{
    static const char *const elsewhere[] = {
        "tcp://0.0.0.0:0",   "tcp://[::]:0",          "tcp://192.0.2.1:8080", "tcp://126.255.255.255:1",
        "tcp://128.0.0.1:1", "tcp://[2001:db8::1]:1", "vsock://any:8080",     "hybrid:///nowhere:8080",
    };
    struct ran ran;
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(elsewhere); i++) {
        run_cli(&ran, "kms-proxy", "--listen", elsewhere[i], NULL);
        assert_said(&ran, CLI_USAGE, "or --any-caller");
    }
    assert_int_equal(times, 0);
    run_cli(&ran, "kms-proxy", "--any-caller", "--listen", elsewhere[0], NULL);
    assert_int_equal(ran.code, CLI_DONE);
    assert_int_equal(times, 1);
}

static void test_what_is_served(void **state)
{
    struct ran ran;
    (void)state;

    run_cli(&ran, "kms-proxy", "--listen", "tcp://127.9.9.9:0", "--connections", "7", "--idle-timeout", "2s",
            "--request-timeout", "3s", "--drain-timeout", "0", "--key-per-call", "--raw", "tcp://127.0.0.1:1",
            NULL);
    assert_said(&ran, CLI_DONE, "postern: serving KMS at http://127.9.9.9:");
    assert_said(&ran, CLI_DONE, "postern: Decrypt: a call failed\n");
    assert_int_equal(bound.ss_family, AF_INET);
    assert_int_equal(seen.connections, 7);
    assert_int_equal(seen.idle_ms, 2000);
    assert_int_equal(seen.request_ms, 3000);
    assert_int_equal(seen.drain_ms, 0);
    assert_int_equal(flags, POSTERN_KMS_KEY_PER_CALL);
    run_cli(&ran, "kms-proxy", "--listen", "tcp://[::1]:0", NULL);
    assert_said(&ran, CLI_DONE, "serving KMS at http://[::1]:");
    assert_int_equal(seen.connections, KMS_PROXY_CONNECTIONS);
}

/* Its file is the owner's alone, and goes with it. */
static void test_a_unix_socket(void **state)
{
    char path[] = "/tmp/postern-XXXXXX", address[64];
    struct ran ran;
    struct stat info;
    (void)state;

    assert_non_null(mkdtemp(path));
    snprintf(address, sizeof address, "unix://%s/kms.sock", path);
    run_cli(&ran, "kms-proxy", "--listen", address, NULL);
    assert_said(&ran, CLI_DONE, address);
    assert_int_equal(bound.ss_family, AF_UNIX);
    assert_int_equal(stat(address + 7, &info), -1);
    assert_int_equal(rmdir(path), 0);
    snprintf(address, sizeof address, "unix://@postern-test-%d", (int)getpid());
    run_cli(&ran, "kms-proxy", "--listen", address, NULL);
    assert_int_equal(ran.code, CLI_DONE);
}

static void test_another_ones_file_is_left(void **state)
{
    char path[] = "/tmp/postern-XXXXXX", address[64];
    struct ran ran;
    (void)state;

    assert_non_null(mkdtemp(path));
    snprintf(address, sizeof address, "unix://%s/kms.sock", path);
    snprintf(moved_to, sizeof moved_to, "%s/moved", path);
    taken = address + 7;
    run_cli(&ran, "kms-proxy", "--listen", address, NULL);
    taken = NULL;
    assert_int_equal(ran.code, CLI_DONE);
    assert_int_equal(unlink(address + 7), 0);
    assert_int_equal(unlink(moved_to), 0);
    assert_int_equal(rmdir(path), 0);
}

static void test_it_cannot_begin(void **state)
{
    struct ran ran;
    (void)state;

    prepared = -ENODEV;
    run_cli(&ran, "kms-proxy", "--listen", "tcp://127.0.0.1:0", NULL);
    assert_said(&ran, CLI_FAILED, "there is no Nitro Security Module");
    prepared = 0;
    served = -ENOMEM;
    run_cli(&ran, "kms-proxy", "--listen", "tcp://127.0.0.1:0", NULL);
    assert_said(&ran, CLI_FAILED, "it could not begin");
    run_cli(&ran, "kms-proxy", "--listen", "unix:///nowhere/kms.sock", NULL);
    assert_said(&ran, CLI_FAILED, "cannot listen at unix:///nowhere/kms.sock");
    opened = -EINVAL;
    run_cli(&ran, "kms-proxy", "--listen", "tcp://127.0.0.1:0", NULL);
    assert_said(&ran, CLI_USAGE, "there is no region");
}

static void begin(void *data)
{
    struct ran *ran = data;

    run_cli(ran, "kms-proxy", "--listen", "tcp://127.0.0.1:0", "--raw", "tcp://127.0.0.1:1", NULL);
    assert_true(ran->code == CLI_DONE || ran->err[0] != '\0');
}

static void test_failing_calls(void **state)
{
    struct ran ran;
    (void)state;

    assert_true(fault_loop("postern kms-proxy", FAULT_MEMORY | FAULT_SOCKET | FAULT_BIND, begin, &ran) >= 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_wrong_words, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nobody_else_is_listened_to, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_served, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_unix_socket, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another_ones_file_is_left, setup, teardown),
        cmocka_unit_test_setup_teardown(test_it_cannot_begin, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failing_calls, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
