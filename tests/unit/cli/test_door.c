/* Doors: how they are written, and who comes in. */
#include "cli/door.h"

#include "fault.h"
#include "net/sock.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static struct cli_loop loop;
static struct cli_timer guard;
static char folder[] = "/tmp/postern-door-XXXXXX";
static unsigned entered, failed, shed;
static int failure;
static bool close_within, hold_within;
static unsigned wanted; /* stop after so many events */

static void count_event(void)
{
    if (entered + failed >= wanted) {
        cli_loop_stop(&loop);
    }
}

static void on_entered(struct door *door, int fd)
{
    assert_ptr_equal(door->user, &loop);
    assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    close(fd);
    entered++;
    if (close_within) {
        door_close(door);
    }
    if (hold_within) {
        door_hold(door, true);
    }
    count_event();
}

static void on_failed(struct door *door, int status, unsigned cut)
{
    (void)door;
    failure = status;
    failed++;
    shed += cut;
    count_event();
}

static const struct door_ops ops = {.entered = on_entered, .failed = on_failed};

static int setup(void **state)
{
    (void)state;
    struct error err;
    entered = failed = shed = wanted = 0;
    failure = 0;
    close_within = hold_within = false;
    return cli_loop_init(&loop, &err);
}

static int teardown(void **state)
{
    (void)state;
    cli_timer_stop(&guard);
    cli_loop_release(&loop);
    return 0;
}

static void on_guard(struct cli_timer *timer)
{
    (void)timer;
    fail_msg("nothing happens");
}

static void run_until(unsigned events)
{
    wanted = events;
    cli_timer_start(&loop, &guard, cli_now_ms() + 20000, on_guard);
    assert_int_equal(cli_loop_run(&loop), 0);
    cli_timer_stop(&guard);
}

static void on_tick(struct cli_timer *timer)
{
    (void)timer;
    cli_loop_stop(&loop);
}

/* What is ready is told, and then there is nothing. */
static void run_what_is_ready(void)
{
    struct cli_timer tick = {.at = 0};
    wanted = 1000;
    for (int i = 0; i < 3; i++) {
        cli_timer_start(&loop, &tick, cli_now_ms() + 1, on_tick);
        assert_int_equal(cli_loop_run(&loop), 0);
    }
}

static const char *path(const char *name)
{
    static char buffer[100];
    snprintf(buffer, sizeof buffer, "%s/%s", folder, name);
    return buffer;
}

static int open_at(struct door *door, const char *address, struct error *err)
{
    struct addr at;
    assert_int_equal(addr_parse_listen(address, &at, err), 0);
    return door_open(door, &loop, &at, "kms", 0640, &ops, &loop, err);
}

static void open_tcp(struct door *door)
{
    struct error err = ERROR_INIT;
    if (open_at(door, "tcp://127.0.0.1:0", &err) != 0) {
        fail_msg("%s", err.text);
    }
    assert_true(door->at.port != 0);
}

static int visit(const struct door *door)
{
    struct sock_options options = {.unix_mode = 0};
    struct sockaddr_any to;
    bool pending;
    assert_int_equal(addr_to_sockaddr(&door->at, true, &to), 0);
    int fd = sock_connect(&to, &options, &pending);
    assert_true(fd >= 0);
    return fd;
}

static void test_how_it_is_written(void **state)
{
    (void)state;
    static const struct {
        const char *text, *route;
        enum addr_kind kind;
    } good[] = {
        {"tcp://127.0.0.1:443=kms", "kms", ADDR_TCP},     {"tcp://[::1]:0=kms", "kms", ADDR_TCP},
        {"unix:///run/kms.sock=kms", "kms", ADDR_UNIX},   {"unix://@kms=kms-2", "kms-2", ADDR_UNIX},
        {"unix:///run/a=b.sock=kms", "kms", ADDR_UNIX},   {"vsock://any:8000=kms", "kms", ADDR_VSOCK},
        {"hybrid:///run/vm.sock:80=k", "k", ADDR_HYBRID},
    };
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        struct error err = ERROR_INIT;
        struct addr at;
        const char *route;
        if (door_parse(good[i].text, &at, &route, &err) != 0) {
            fail_msg("%s", err.text);
        }
        assert_int_equal(at.kind, good[i].kind);
        assert_string_equal(route, good[i].route);
    }
}

static void test_how_it_is_not_written(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"kms", "LOCAL=ROUTE is expected"},
        {"=kms", "LOCAL=ROUTE is expected"},
        {"tcp://127.0.0.1:443=", "LOCAL=ROUTE is expected"},
        {"tcp://localhost:443=kms", "an IP address is expected, such as tcp://127.0.0.1:443"},
        {"vsock://payroll:8000=kms", "vsock://any:8000 is expected"},
        {"tcp://127.0.0.1=kms", "\"tcp://127.0.0.1=kms\": "},
        {"vsock://any:0=kms", "\"vsock://any:0=kms\": "},
        {"tcp://127.0.0.1:443=k\tms", "printable ASCII"},
    };
    char text[600];
    struct error err = ERROR_INIT;
    struct addr at;
    const char *route;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(door_parse(bad[i][0], &at, &route, &err), -EINVAL);
        if (strstr(err.text, bad[i][1]) == NULL) {
            fail_msg("%s: %s", bad[i][0], err.text);
        }
    }
    snprintf(text, sizeof text, "unix:///a=%0256d", 0);
    assert_int_equal(door_parse(text, &at, &route, &err), -EINVAL);
    assert_non_null(strstr(err.text, "up to 255 printable"));
    snprintf(text, sizeof text, "unix:///%0400d=kms", 0);
    assert_int_equal(door_parse(text, &at, &route, &err), -EINVAL);
    assert_non_null(strstr(err.text, "the address is too long"));
}

static void test_lets_in(void **state)
{
    (void)state;
    struct door door;
    open_tcp(&door);
    int first = visit(&door), second = visit(&door);
    run_until(2);
    assert_int_equal(entered, 2);
    close(first);
    close(second);
    door_close(&door);
    door_close(&door);
}

static void test_ipv6(void **state)
{
    (void)state;
    struct door door;
    struct error err = ERROR_INIT;
    assert_int_equal(open_at(&door, "tcp://[::1]:0", &err), 0);
    int one = visit(&door);
    run_until(1);
    close(one);
    door_close(&door);
}

static void test_a_unix_sockets_file(void **state)
{
    (void)state;
    struct door door, other;
    struct error err = ERROR_INIT;
    struct stat st;
    char address[120];
    snprintf(address, sizeof address, "unix://%s", path("a.sock"));
    assert_int_equal(open_at(&door, address, &err), 0);
    assert_int_equal(stat(path("a.sock"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_int_equal(open_at(&other, address, &err), -EADDRINUSE);
    assert_non_null(strstr(err.text, "another program has it, or another postern"));
    int one = visit(&door);
    run_until(1);
    close(one);
    door_close(&door);
    assert_int_equal(stat(path("a.sock"), &st), -1);

    snprintf(address, sizeof address, "hybrid://%s:7", path("vm"));
    assert_int_equal(open_at(&door, address, &err), 0);
    assert_int_equal(stat(path("vm_7"), &st), 0);
    door_close(&door);
    assert_int_equal(stat(path("vm_7"), &st), -1);

    snprintf(address, sizeof address, "unix://@postern-door-%d", (int)getpid());
    assert_int_equal(open_at(&door, address, &err), 0);
    door_close(&door);

    snprintf(address, sizeof address, "unix://%s", path("missing/a.sock"));
    assert_int_equal(open_at(&door, address, &err), -ENOENT);
    assert_non_null(strstr(err.text, "create the directory first"));
}

/* The next one has taken the place, while this one lets its connections finish. */
static void test_another_ones_file_is_left(void **state)
{
    (void)state;
    struct door door, next;
    struct error err = ERROR_INIT;
    struct stat st;
    char address[120];
    snprintf(address, sizeof address, "unix://%s", path("a.sock"));
    assert_int_equal(open_at(&door, address, &err), 0);
    assert_int_equal(unlink(path("a.sock")), 0);
    assert_int_equal(open_at(&next, address, &err), 0);
    door_close(&door);
    assert_int_equal(stat(path("a.sock"), &st), 0);
    door_close(&next);
    assert_int_equal(stat(path("a.sock"), &st), -1);
}

static void test_may_be_closed_or_held_from_inside(void **state)
{
    (void)state;
    struct door door;
    open_tcp(&door);
    int first = visit(&door), second = visit(&door);
    hold_within = true;
    run_until(1);
    run_what_is_ready();
    assert_int_equal(entered, 1);
    hold_within = false;
    close_within = true;
    door_hold(&door, false);
    door_hold(&door, false);
    run_until(2);
    assert_int_equal(door.fd, -1);
    door_hold(&door, true); /* harmless */
    close(first);
    close(second);
}

/* Leaves `left` descriptors. */
static struct rlimit limit_descriptors(unsigned left)
{
    struct rlimit before, limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    limit = before;
    int next = dup(0);
    assert_true(next >= 0);
    close(next);
    limit.rlim_cur = (rlim_t)next + left;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    return before;
}

static void test_out_of_descriptors(void **state)
{
    (void)state;
    struct door door;
    char byte;
    open_tcp(&door);
    int client = visit(&door);
    struct rlimit before = limit_descriptors(0);
    run_until(1);
    assert_int_equal(failure, -EMFILE);
    assert_int_equal(shed, 1);
    assert_int_equal(entered, 0);
    assert_true(recv(client, &byte, 1, 0) <= 0); /* told now */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    close(client);
    client = visit(&door);
    run_until(2);
    assert_int_equal(entered, 1);
    close(client);
    door_close(&door);
}

/* accept() says EMFILE though nobody waits: no failure. Without the spare one it pauses, and has it again after. */
static void test_out_of_descriptors_with_nobody_or_nothing(void **state)
{
    (void)state;
    struct door door;
    open_tcp(&door);
    int client = visit(&door);
    close(door.spare_fd);
    door.spare_fd = -1;
    struct rlimit before = limit_descriptors(0);
    run_until(1);
    assert_int_equal(shed, 0);
    assert_int_equal(failure, -EMFILE);
    assert_true(door.pause.listed);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    run_until(2);
    assert_int_equal(entered, 1);
    assert_true(door.spare_fd >= 0);
    close(client);
    door_close(&door);
}

static void open_and_visit(void *arg)
{
    (void)arg;
    struct door door;
    struct error err = ERROR_INIT;
    fault_spare(true);
    assert_int_equal(setup(NULL), 0);
    fault_spare(false);
    int r = open_at(&door, "tcp://127.0.0.1:0", &err);
    if (r == 0 && door.at.port != 0) {
        fault_spare(true);
        int client = visit(&door);
        fault_spare(false);
        run_until(1);
        if (entered == 0) {
            run_until(2); /* that failed, and the next one does not */
            assert_int_equal(failed, 1);
        }
        close(client);
    }
    if (r == 0) {
        door_close(&door);
    } else {
        assert_true(err.text[0] != '\0');
    }
    fault_spare(true);
    teardown(NULL);
    fault_spare(false);
}

static void test_failures(void **state)
{
    (void)state;
    teardown(NULL);
    assert_true(
        fault_loop("door", FAULT_SOCKET | FAULT_BIND | FAULT_EPOLL | FAULT_OPEN, open_and_visit, NULL) >= 4);
    setup(NULL);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_how_it_is_written),
        TEST(test_how_it_is_not_written),
        TEST(test_lets_in),
        TEST(test_ipv6),
        TEST(test_a_unix_sockets_file),
        TEST(test_another_ones_file_is_left),
        TEST(test_may_be_closed_or_held_from_inside),
        TEST(test_out_of_descriptors),
        TEST(test_out_of_descriptors_with_nobody_or_nothing),
        TEST(test_failures),
    };
    return cmocka_run_group_tests_name("cli/door", tests, make_folder, remove_folder);
}
