/* Local sockets on one session: bytes, ends and resets, each way. */
#include "service_bench.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_half_close_and_exact_bytes),
        TEST(test_many_on_one_session),
        TEST(test_a_refusal),
        TEST(test_resets_reach_tcp_programs),
        TEST(test_refusals_reset_tcp_programs),
        TEST(test_a_route_that_wants_no_more),
        TEST(test_a_program_that_resets),
        TEST(test_a_slow_reader),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
