/* Local sockets while the session comes and goes: waiting, draining, limits, and whatever fails. */
#include "fault.h"
#include "service_bench.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void test_waits_for_the_daemon(void **state)
{
    (void)state;
    far_stop(&far);
    begin_service();
    struct program program = enter("echo");
    WAIT_FOR(&loop, service.guests == 1 && was_said("; trying on\n"));
    ASSERT_SAID("cannot connect to unix:///");
    far_start(&far, &loop, path("daemon"));
    echoes(&program, 100);
    close(program.fd);
    WAIT_FOR(&loop, service.guests == 0);
}

static void test_does_not_wait_for_ever(void **state)
{
    (void)state;
    far_stop(&far);
    options.wait_ms = 50;
    begin_service();
    struct program first = enter("echo"), second = enter("mute");
    WAIT_FOR(&loop, hear(&first) && hear(&second));
    WAIT_FOR(&loop, service.guests == 0);
    ASSERT_SAID("route echo: a connection was cut, since no stream could be had in time: there is no session "
                "with the daemon");
    assert_false(service.patience.listed);
    close(first.fd);
    close(second.fd);
    far_start(&far, &loop, path("daemon"));
}

static void test_a_program_that_gives_up_waiting(void **state)
{
    (void)state;
    far_stop(&far);
    begin_service();
    struct program program = enter("echo");
    WAIT_FOR(&loop, service.guests == 1);
    close(program.fd);
    WAIT_FOR(&loop, service.guests == 0);
    far_start(&far, &loop, path("daemon"));
    WAIT_FOR(&loop, service.up);
    assert_int_equal(far.opened, 0);
}

static void test_survives_the_daemon(void **state)
{
    (void)state;
    begin_service();
    struct program old = enter("echo");
    echoes(&old, 100);
    far_stop(&far);
    WAIT_FOR(&loop, hear(&old));
    WAIT_FOR(&loop, service.guests == 0 && !service.up);
    ASSERT_SAID("; 1 connection cut; making another session\n");
    far_start(&far, &loop, path("daemon"));
    struct program new = enter("echo");
    echoes(&new, 100);
    ASSERT_SAID("is up again\n");
    close(old.fd);
    close(new.fd);
    WAIT_FOR(&loop, service.guests == 0);
}

/* The old session finishes its streams while new ones go to another. */
static void test_a_daemon_that_drains(void **state)
{
    (void)state;
    begin_service();
    struct program old = enter("echo");
    echoes(&old, 100);
    far_drain(&far);
    WAIT_FOR(&loop, far.connections == 2 && service.up);
    struct program new = enter("echo");
    echoes(&new, 100);
    echoes(&old, 100);
    finish(&old);
    WAIT_FOR(&loop, hear(&old));
    assert_int_equal(old.error, 0);
    ASSERT_SAID("; making another session\n");
    close(old.fd);
    close(new.fd);
    WAIT_FOR(&loop, service.guests == 0 && far.live == 0);
}

/* Streams that the daemon allows at once are fewer than the guests. */
static void test_waits_for_a_place_at_the_daemon(void **state)
{
    (void)state;
    far.max_streams = 1;
    begin_service();
    struct program first = enter("echo");
    echoes(&first, 10);
    struct program second = enter("echo");
    WAIT_FOR(&loop, service.guests == 2);
    assert_int_equal(far.opened, 1);
    close(first.fd);
    echoes(&second, 10);
    close(second.fd);
    WAIT_FOR(&loop, service.guests == 0 && far.live == 0);
}

static void test_says_that_the_daemon_allows_no_more(void **state)
{
    (void)state;
    far.max_streams = 1;
    begin_service();
    struct program first = enter("echo");
    echoes(&first, 10);
    service.options.wait_ms = 50;
    struct program second = enter("echo");
    WAIT_FOR(&loop, hear(&second));
    ASSERT_SAID("in time: the daemon allows no more at once\n");
    close(first.fd);
    close(second.fd);
    WAIT_FOR(&loop, service.guests == 0);
}

static void test_no_more_guests_than_allowed(void **state)
{
    (void)state;
    options.streams = 2;
    begin_service();
    struct program one = enter("echo"), two = enter("echo"), three = enter("echo");
    echoes(&one, 10);
    echoes(&two, 10);
    say(&three, 10);
    for (int i = 0; i < 20; i++) {
        far_turn(&loop);
    }
    assert_int_equal(service.guests, 2);
    assert_false(has_got(&three, 1));
    ASSERT_SAID("2 connections open, and no more allowed: others wait (--max-streams)\n");
    close(one.fd);
    WAIT_FOR(&loop, has_got(&three, 10));
    close(two.fd);
    close(three.fd);
    WAIT_FOR(&loop, service.guests == 0);
}

/* An OPEN that a session took with it before the daemon looked at it. */
static void test_a_second_chance(void **state)
{
    (void)state;
    begin_service();
    WAIT_FOR(&loop, service.up);
    struct program program = enter("echo");
    WAIT_FOR(&loop, far.opened == 1);
    struct guest *guest = TAILQ_FIRST(&service.served);
    assert_non_null(guest);
    tunnel_events.failed(guest->tunnel.channel, CODE_GOING_AWAY, true);
    WAIT_FOR(&loop, far.opened == 2);
    assert_true(guest->again);
    echoes(&program, 10);
    tunnel_events.failed(guest->tunnel.channel, CODE_GOING_AWAY, true);
    WAIT_FOR(&loop, hear(&program)); /* once is enough, and bytes were sent */
    close(program.fd);
    WAIT_FOR(&loop, service.guests == 0);
}

static void on_over(struct service *of)
{
    assert_ptr_equal(of, &service);
    is_over = true;
}

static void test_drains(void **state)
{
    (void)state;
    begin_service();
    struct program program = enter("echo");
    echoes(&program, 100);
    service_drain(&service, 60000, on_over);
    assert_int_equal(access(path("echo"), F_OK), -1); /* nobody finds the way in any more */
    echoes(&program, 100);
    assert_false(is_over);
    finish(&program);
    WAIT_FOR(&loop, hear(&program));
    assert_int_equal(program.error, 0);
    close(program.fd);
    WAIT_FOR(&loop, is_over);
    assert_string_equal(far.told, "");
}

static void test_drains_no_longer_than_told(void **state)
{
    (void)state;
    begin_service();
    struct program program = enter("echo");
    echoes(&program, 100);
    service_drain(&service, 10, on_over);
    WAIT_FOR(&loop, is_over);
    service_release(&service);
    WAIT_FOR(&loop, hear(&program));
    close(program.fd);
}

static void test_drains_without_a_session(void **state)
{
    (void)state;
    far_stop(&far);
    begin_service();
    struct program program = enter("echo");
    WAIT_FOR(&loop, service.guests == 1 && was_said("; trying on"));
    service_drain(&service, 60000, on_over);
    WAIT_FOR(&loop, is_over);
    WAIT_FOR(&loop, hear(&program));
    assert_int_equal(service.guests, 0);
    close(program.fd);
    far_start(&far, &loop, path("daemon"));
}

/* A daemon that hangs up each time is told of once. */
static void test_the_same_trouble_is_said_once(void **state)
{
    (void)state;
    far.hang_up = true;
    begin_service();
    WAIT_FOR(&loop, far.connections >= 4);
    fflush(said_file);
    const char *first = strstr(said, "; trying on\n");
    assert_non_null(first);
    assert_null(strstr(first + 1, "; trying on\n"));
}

/* Though the address alone is longer than what some would compare. */
static void test_another_trouble_is_said(void **state)
{
    (void)state;
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct error err;
    char address[140];
    snprintf(at.sun_path, sizeof at.sun_path, "%s-%070d", path("daemon"), 0);
    snprintf(address, sizeof address, "unix://%s", at.sun_path);
    assert_int_equal(addr_parse(address, &options.to, &err), 0);
    begin_service();
    WAIT_FOR(&loop, was_said("; trying on\n"));
    int nobody = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(nobody, (const struct sockaddr *)&at, sizeof at), 0);
    WAIT_FOR(&loop, was_said(": Connection refused; "));
    close(nobody);
    unlink(at.sun_path);
}

static void test_a_door_that_cannot_be_opened(void **state)
{
    (void)state;
    char good[120], bad[] = "unix:///nowhere/at/all=echo";
    char *texts[] = {good, bad};
    struct error err = ERROR_INIT;
    snprintf(good, sizeof good, "unix://%s=echo", path("echo"));
    assert_int_equal(service_init(&service, &options, &loop, &notes, &err), 0);
    assert_int_equal(service_listen(&service, texts, 2, &err), -ENOENT);
    assert_non_null(strstr(err.text, "/nowhere/at/all"));
    service_release(&service);
    assert_int_equal(access(good + strlen("unix://"), F_OK), -1);
    assert_int_equal(service_init(&service, &options, &loop, &notes, &err), 0);
}

/* One program through it, whatever fails. It is told the truth: all of its bytes, or an error, or nothing yet. */
static void serve_one(void *arg)
{
    (void)arg;
    static char door[120];
    char *texts[] = {door};
    struct error err = ERROR_INIT;
    fault_spare(true);
    setup(NULL);
    options.wait_ms = 20;
    snprintf(door, sizeof door, "unix://%s=echo", path("echo"));
    fault_spare(false);
    int r = service_init(&service, &options, &loop, &notes, &err);
    if (r == 0) {
        r = service_listen(&service, texts, 1, &err);
    }
    fault_spare(true);
    assert_true((r == 0) == (err.text[0] == '\0'));
    fault_spare(false);
    if (r == 0) {
        service_start(&service);
        fault_spare(true);
        struct program program = enter("echo");
        fault_spare(false);
        for (int i = 0; i < 2000 && !program.ended && program.error == 0; i++) {
            far_turn(&loop);
            fault_spare(true);
            say(&program, 50000);
            if (program.sent == 50000 && program.got == 50000) {
                (void)shutdown(program.fd, SHUT_WR);
            }
            (void)hear(&program);
            fault_spare(false);
        }
        fault_spare(true);
        assert_true(program.ended || program.error != 0);
        close(program.fd);
        fault_spare(false);
        service_drain(&service, 100, on_over);
        for (int i = 0; i < 2000 && !is_over; i++) {
            far_turn(&loop);
        }
        assert_true(is_over);
    }
    fault_spare(true);
    teardown(NULL);
    memset(&service, 0, sizeof service);
    fault_spare(false);
}

static void test_whatever_fails(void **state)
{
    (void)state;
    teardown(NULL);
    memset(&service, 0, sizeof service);
    assert_true(
        fault_loop("service",
                   FAULT_MEMORY | FAULT_SOCKET | FAULT_ACCEPT | FAULT_EPOLL | FAULT_BIND | FAULT_CONNECT,
                   serve_one, NULL) >= 20);
    setup(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_waits_for_the_daemon),
        TEST(test_does_not_wait_for_ever),
        TEST(test_a_program_that_gives_up_waiting),
        TEST(test_survives_the_daemon),
        TEST(test_a_daemon_that_drains),
        TEST(test_waits_for_a_place_at_the_daemon),
        TEST(test_says_that_the_daemon_allows_no_more),
        TEST(test_no_more_guests_than_allowed),
        TEST(test_a_second_chance),
        TEST(test_drains),
        TEST(test_drains_no_longer_than_told),
        TEST(test_drains_without_a_session),
        TEST(test_the_same_trouble_is_said_once),
        TEST(test_another_trouble_is_said),
        TEST(test_a_door_that_cannot_be_opened),
        TEST(test_whatever_fails),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
