/* The service manager, played: what it is told, and the sockets it hands over. */
#include "daemon/notify.h"

#include "fault.h"
#include "loopback.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int manager = -1;

static int open_manager(void **state)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    char name[64];
    (void)state;
    int size = snprintf(at.sun_path + 1, sizeof at.sun_path - 1, "postern-notify-%d", (int)getpid());
    manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (bind(manager, (struct sockaddr *)&at, (socklen_t)(sizeof at.sun_family + 1 + (size_t)size)) != 0) {
        return -1;
    }
    snprintf(name, sizeof name, "@%s", at.sun_path + 1);
    return setenv("NOTIFY_SOCKET", name, 1);
}

static int close_manager(void **state)
{
    (void)state;
    unsetenv("NOTIFY_SOCKET");
    return close(manager);
}

static const char *told(void)
{
    static char message[512];
    ssize_t n = recv(manager, message, sizeof message - 1, 0);
    message[n > 0 ? n : 0] = '\0';
    return message;
}

static void test_what_it_is_told(void **state)
{
    (void)state;
    notify_ready("ready: 1 listener");
    assert_string_equal(told(), "READY=1\nSTATUS=ready: 1 listener");
    notify_reloading();
    const char *reloading = told();
    assert_int_equal(strncmp(reloading, "RELOADING=1\nMONOTONIC_USEC=", 27), 0);
    unsigned long long usec = strtoull(reloading + 27, NULL, 10);
    assert_in_range(usec, uv_hrtime() / 1000 - 60000000, uv_hrtime() / 1000);
    notify_stopping("draining");
    assert_string_equal(told(), "STOPPING=1\nSTATUS=draining");
    notify_status("fine");
    assert_string_equal(told(), "STATUS=fine");
    notify_watchdog();
    assert_string_equal(told(), "WATCHDOG=1");
}

static void test_the_watchdogs_interval(void **state)
{
    char pid[32];
    (void)state;
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    assert_int_equal(notify_watchdog_interval(), 0);
    setenv("WATCHDOG_USEC", "4000000", 1);
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    setenv("WATCHDOG_PID", pid, 1);
    assert_int_equal(notify_watchdog_interval(), 4000);
    setenv("WATCHDOG_PID", "1", 1); /* meant for another process */
    assert_int_equal(notify_watchdog_interval(), 0);
    setenv("WATCHDOG_USEC", "soon", 1);
    unsetenv("WATCHDOG_PID");
    assert_int_equal(notify_watchdog_interval(), 0);
    unsetenv("WATCHDOG_USEC");
}

/* Descriptors 3 and 4 are where systemd puts them; what the test has there is put aside. */
static int aside[2];

static void hand_over(const char *names)
{
    char pid[32];
    uint16_t port;
    for (int i = 0; i < 2; i++) {
        aside[i] = fcntl(3 + i, F_DUPFD_CLOEXEC, 10);
        int fd = tcp_listener(5, &port);
        if (fd != 3 + i) {
            assert_int_equal(dup2(fd, 3 + i), 3 + i);
            close(fd);
        }
        assert_int_equal(fcntl(3 + i, F_SETFL, fcntl(3 + i, F_GETFL) & ~O_NONBLOCK), 0);
    }
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", "2", 1);
    if (names != NULL) {
        setenv("LISTEN_FDNAMES", names, 1);
    }
}

static void take_back(void)
{
    for (int i = 0; i < 2; i++) {
        close(3 + i);
        if (aside[i] >= 0) {
            assert_int_equal(dup2(aside[i], 3 + i), 3 + i);
            close(aside[i]);
        }
    }
}

static void test_sockets_by_name(void **state)
{
    struct activation activation;
    (void)state;
    hand_over("kms-raw:payroll-in");
    assert_int_equal(activation_take_over(&activation), 0);
    assert_int_equal(activation.count, 2);
    assert_null(getenv("LISTEN_FDS")); /* a child would take them for its own */
    assert_string_equal(activation_unclaimed(&activation), "kms-raw");
    assert_int_equal(activation_claim(&activation, "dev"), -1);
    int fd = activation_claim(&activation, "payroll-in");
    assert_true(fd >= 0);
    assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    close(fd);
    fd = activation_claim(&activation, "payroll-in"); /* a reload brings it back */
    assert_true(fd >= 0);
    close(fd);
    assert_string_equal(activation_unclaimed(&activation), "kms-raw");
    close(activation_claim(&activation, "kms-raw"));
    assert_null(activation_unclaimed(&activation));
    take_back();
}

static void test_nothing_is_handed_over(void **state)
{
    struct activation activation;
    (void)state;
    assert_int_equal(activation_take_over(&activation), 0);
    assert_int_equal(activation.count, 0);
    assert_int_equal(activation_claim(&activation, "kms-raw"), -1);
    assert_null(activation_unclaimed(&activation));
}

static void test_nonsense_is_an_error(void **state)
{
    struct activation activation;
    char pid[32];
    (void)state;
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", "many", 1);
    assert_true(activation_take_over(&activation) < 0);
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
}

static void take_over(void *arg)
{
    struct activation activation = {.count = 0};
    (void)arg;
    fault_spare(true);
    hand_over("a:b");
    fault_spare(false);
    if (activation_take_over(&activation) == 0) {
        int fd = activation_claim(&activation, "a");
        if (fd >= 0) {
            close(fd);
        }
    }
    fault_spare(true);
    take_back();
    fault_spare(false);
    notify_ready("ready");
    fault_spare(true);
    (void)told();
    fault_spare(false);
}

static void test_faults(void **state)
{
    (void)state;
    assert_true(
        fault_loop("notify", FAULT_MEMORY | FAULT_FCNTL | FAULT_SOCKET | FAULT_WRITE, take_over, NULL) >= 5);
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_it_is_told),      cmocka_unit_test(test_the_watchdogs_interval),
        cmocka_unit_test(test_sockets_by_name),      cmocka_unit_test(test_nothing_is_handed_over),
        cmocka_unit_test(test_nonsense_is_an_error), cmocka_unit_test(test_faults),
    };
    return cmocka_run_group_tests(tests, open_manager, close_manager);
}
