/* Local sockets on one session, with a daemon and local programs on the same loop. */
#include "cli/guest.h"

#include "far.h"
#include "fault.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB 1048576u

static char folder[] = "/tmp/postern-service-XXXXXX";
static struct cli_loop loop;
static struct notes notes;
static struct service service;
static struct far far;
static FILE *said_file;
static char *said;
static size_t said_size;
static bool is_over;

/* A local program. */
struct program {
    int fd;
    uint64_t sent, got;
    bool ended;
    int error;
};

static const char *path(const char *name)
{
    static char buffers[2][100];
    static unsigned next;
    char *buffer = buffers[next++ % 2];
    snprintf(buffer, 100, "%s/%s", folder, name);
    return buffer;
}

static struct service_options options;

static void begin_service(void)
{
    static char doors[5][120];
    static char *texts[5];
    static const char *const routes[] = {"echo", "refuse", "silent", "reset", "mute"};
    struct error err = ERROR_INIT;
    for (unsigned i = 0; i < 5; i++) {
        snprintf(doors[i], sizeof doors[i], "unix://%s=%s", path(routes[i]), routes[i]);
        texts[i] = doors[i];
    }
    if (service_init(&service, &options, &loop, &notes, &err) != 0 ||
        service_listen(&service, texts, 5, &err) != 0) {
        fail_msg("%s", err.text);
    }
    service_start(&service);
}

static int setup(void **state)
{
    (void)state;
    struct error err;
    char address[120];
    is_over = false;
    said_file = open_memstream(&said, &said_size);
    notes_init(&notes, said_file);
    service_options_default(&options);
    snprintf(address, sizeof address, "unix://%s", path("daemon"));
    assert_int_equal(addr_parse(address, &options.to, &err), 0);
    assert_int_equal(cli_loop_init(&loop, &err), 0);
    far_start(&far, &loop, path("daemon"));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    service_release(&service);
    far_stop(&far);
    cli_loop_release(&loop);
    fclose(said_file);
    free(said);
    return 0;
}

static bool was_said(const char *part)
{
    fflush(said_file);
    return strstr(said, part) != NULL;
}

#define ASSERT_SAID(part)                                    \
    do {                                                     \
        if (!was_said(part)) {                               \
            fail_msg("expected \"%s\" in:\n%s", part, said); \
        }                                                    \
    } while (0)

static struct program enter(const char *route)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct program program = {.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    assert_true(program.fd >= 0);
    snprintf(at.sun_path, sizeof at.sun_path, "%s", path(route));
    assert_int_equal(connect(program.fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(fcntl(program.fd, F_SETFL, O_NONBLOCK), 0);
    return program;
}

static bool hear(struct program *program)
{
    uint8_t bytes[65536];
    ssize_t n;
    while ((n = recv(program->fd, bytes, sizeof bytes, 0)) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            assert_int_equal(bytes[i], far_pattern(program->got++));
        }
    }
    program->ended |= n == 0;
    program->error = n < 0 && errno != EAGAIN ? errno : program->error;
    return program->ended || program->error != 0;
}

/* Up to `total` bytes in all, as many as are taken now. */
static void say(struct program *program, uint64_t total)
{
    uint8_t bytes[16384];
    while (program->sent < total) {
        size_t size = total - program->sent < sizeof bytes ? (size_t)(total - program->sent) : sizeof bytes;
        for (size_t i = 0; i < size; i++) {
            bytes[i] = far_pattern(program->sent + i);
        }
        ssize_t n = send(program->fd, bytes, size, MSG_NOSIGNAL);
        if (n < 0) {
            return;
        }
        program->sent += (uint64_t)n;
    }
}

static void finish(struct program *program)
{
    assert_int_equal(shutdown(program->fd, SHUT_WR), 0);
}

static bool has_got(struct program *program, uint64_t bytes)
{
    (void)hear(program);
    return program->got >= bytes;
}

static void echoes(struct program *program, uint64_t bytes)
{
    uint64_t total = program->sent + bytes;
    WAIT_FOR(&loop, (say(program, total), has_got(program, total)));
}

static void test_half_close_and_exact_bytes(void **state)
{
    (void)state;
    begin_service();
    struct program program = enter("echo");
    echoes(&program, 3 * MIB + 17);
    assert_false(program.ended);
    finish(&program);
    WAIT_FOR(&loop, hear(&program));
    assert_int_equal(program.error, 0);
    assert_int_equal(program.got, 3 * MIB + 17);
    WAIT_FOR(&loop, service.guests == 0 && far.live == 0);
    close(program.fd);
    assert_string_equal(far.told, "");
    ASSERT_SAID("listening at unix:///tmp/postern-service-");
    ASSERT_SAID("/echo for route echo\n");
    ASSERT_SAID("/daemon is up\n");
}

static void test_many_on_one_session(void **state)
{
    (void)state;
    struct program programs[90];
    begin_service();
    for (size_t i = 0; i < ARRAY_SIZE(programs); i++) {
        programs[i] = enter("echo");
    }
    for (size_t i = 0; i < ARRAY_SIZE(programs); i++) {
        echoes(&programs[i], 1000 + i);
    }
    assert_int_equal(far.live, ARRAY_SIZE(programs));
    assert_int_equal(far.connections, 1);
    for (size_t i = 0; i < ARRAY_SIZE(programs); i++) {
        close(programs[i].fd);
    }
    WAIT_FOR(&loop, service.guests == 0 && far.live == 0);
}

/* A unix socket knows no reset: what was not read by us is what tells its other end. */
static void test_a_refusal(void **state)
{
    (void)state;
    begin_service();
    struct program program = enter("refuse");
    WAIT_FOR(&loop, hear(&program));
    assert_int_equal(program.got, 0);
    WAIT_FOR(&loop, service.guests == 0);
    ASSERT_SAID("postern: route refuse: refused, connect_refused: the destination refused the connection "
                "(tcp://10.0.0.1:443); see that something listens there, at that port\n");
    close(program.fd);
}

static int connect_tcp(const struct door *door)
{
    struct sockaddr_any to;
    assert_int_equal(addr_to_sockaddr(&door->at, false, &to), 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, &to.u.base, to.length), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static void begin_tcp_service(const char *route)
{
    static char door[64];
    char *texts[] = {door};
    struct error err = ERROR_INIT;
    snprintf(door, sizeof door, "tcp://127.0.0.1:0=%s", route);
    assert_int_equal(service_init(&service, &options, &loop, &notes, &err), 0);
    assert_int_equal(service_listen(&service, texts, 1, &err), 0);
    service_start(&service);
}

static void test_resets_reach_tcp_programs(void **state)
{
    (void)state;
    begin_tcp_service("reset");
    struct program program = {.fd = connect_tcp(&service.doors[0])};
    say(&program, 1);
    WAIT_FOR(&loop, hear(&program));
    assert_int_equal(program.error, ECONNRESET);
    WAIT_FOR(&loop, service.guests == 0 && far.live == 0);
    ASSERT_SAID("route reset: a connection was cut, upstream_reset: ");
    close(program.fd);
}

static void test_refusals_reset_tcp_programs(void **state)
{
    (void)state;
    begin_tcp_service("refuse");
    struct program program = {.fd = connect_tcp(&service.doors[0])};
    WAIT_FOR(&loop, hear(&program));
    assert_int_equal(program.error, ECONNRESET);
    close(program.fd);
}

/* The answer is heard, and nothing that is on its way is lost by closing. */
static void test_a_route_that_wants_no_more(void **state)
{
    (void)state;
    begin_tcp_service("stop");
    struct program program = {.fd = connect_tcp(&service.doors[0])};
    char answer[10];
    say(&program, 100000);
    WAIT_FOR(&loop, recv(program.fd, answer, sizeof answer, MSG_PEEK) == 6);
    assert_int_equal(recv(program.fd, answer, sizeof answer, 0), 6);
    assert_memory_equal(answer, "enough", 6);
    WAIT_FOR(&loop, service.guests == 0 && far.live == 0);
    close(program.fd);
}

static void test_a_program_that_resets(void **state)
{
    (void)state;
    begin_tcp_service("silent");
    struct program program = {.fd = connect_tcp(&service.doors[0])};
    struct linger cut = {.l_onoff = 1};
    say(&program, 10);
    WAIT_FOR(&loop, far.live == 1);
    assert_int_equal(setsockopt(program.fd, SOL_SOCKET, SO_LINGER, &cut, sizeof cut), 0);
    close(program.fd);
    WAIT_FOR(&loop, service.guests == 0 && far.live == 0);
    assert_non_null(strstr(far.told, "reset(client_reset)"));
}

/* 40 MiB for one that reads slowly: they wait at the daemon, not here. */
static void test_a_slow_reader(void **state)
{
    (void)state;
    options.streams = 100;
    options.memory = 8 * MIB;
    begin_tcp_service("40");
    struct program slow = {.fd = connect_tcp(&service.doors[0])};
    WAIT_FOR(&loop, has_got(&slow, 1));
    for (int i = 0; i < 200; i++) {
        far_turn(&loop);
    }
    struct guest *guest = TAILQ_FIRST(&service.served);
    assert_non_null(guest);
    assert_true(guest->tunnel.held_end - guest->tunnel.held_at <= options.memory / 2);
    struct session_stats stats;
    session_stats(channel_session(guest->tunnel.channel), &stats);
    assert_true(stats.bytes_received < 40 * MIB);
    WAIT_FOR(&loop, has_got(&slow, 40 * MIB));
    finish(&slow);
    WAIT_FOR(&loop, service.guests == 0);
    close(slow.fd);
}

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
    ASSERT_SAID("; 1 connections were cut; making another session\n");
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
    ASSERT_SAID("2 connections are open, and no more are allowed: others wait (--max-streams)\n");
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

static int make_folder(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
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
        TEST(test_half_close_and_exact_bytes),
        TEST(test_many_on_one_session),
        TEST(test_a_refusal),
        TEST(test_resets_reach_tcp_programs),
        TEST(test_refusals_reset_tcp_programs),
        TEST(test_a_route_that_wants_no_more),
        TEST(test_a_program_that_resets),
        TEST(test_a_slow_reader),
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
        TEST(test_a_door_that_cannot_be_opened),
        TEST(test_whatever_fails),
    };
    return cmocka_run_group_tests_name("cli/service", tests, make_folder, remove_folder);
}
