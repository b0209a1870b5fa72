/* The doctor in front of faults of the host: who holds an address, directories, vsock, the metadata
 * service. */
#include "doctor_daemon.h"
#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#define ROUTE_TO_NOWHERE "routes:\n  r: {type: relay, to: \"vsock://16:1\"}\n"

static void fault_port_held(void **state)
{
    struct fixture *fixture = *state;
    unsigned port;
    char words[96];
    int fd = listen_on_loopback(&port, 8);
    configure(fixture,
              "listeners:\n  web: {listen: \"tcp://0.0.0.0:%u\", route: r, allow: any}\n" ROUTE_TO_NOWHERE,
              port);
    examine(fixture);
    snprintf(words, sizeof words, "is held by process %d (test_ctl_doctor), which has tcp://127.0.0.1:%u",
             getpid(), port);
    expect_fault(fixture, "fail", "listener", "web", words, "ps -fp ");
    close(fd);
    examine(fixture);
    expect_ok(fixture, "listener", "web", "is free");
}

/* It is well, and cannot be asked. */
static void a_daemon_without_an_admin_socket(void **state)
{
    struct fixture *fixture = *state;
    unsigned port;
    char name[16];
    int fd = listen_on_loopback(&port, 8);
    configure(fixture,
              "listeners:\n  web: {listen: \"tcp://127.0.0.1:%u\", route: r, allow: any}\n" ROUTE_TO_NOWHERE,
              port);
    assert_int_equal(prctl(PR_GET_NAME, name), 0);
    assert_int_equal(prctl(PR_SET_NAME, "posternd"), 0);
    examine(fixture);
    assert_int_equal(prctl(PR_SET_NAME, name), 0);
    expect_ok(fixture, "listener", "web", "(posternd), most likely the daemon");
    close(fd);
}

static void fault_nobody_listens(void **state)
{
    struct fixture *fixture = *state;
    struct fake_daemon daemon;
    unsigned port;
    close(listen_on_loopback(&port, 8));
    configure(fixture,
              "listeners:\n  web: {listen: \"tcp://127.0.0.1:%u\", route: r, allow: any}\n" ROUTE_TO_NOWHERE,
              port);
    fake_daemon_init(&daemon);
    examine_daemon(fixture, &daemon);
    expect_fault(fixture, "fail", "listener", "web",
                 "the daemon runs, but nobody listens at tcp://127.0.0.1:",
                 "posternctl reload && posternctl status");
}

static void fault_nobody_listens_for_want_of_a_directory(void **state)
{
    struct fixture *fixture = *state;
    struct fake_daemon daemon;
    configure(
        fixture,
        "listeners:\n  far: {listen: \"unix://%s/gone/x.sock\", route: r, allow: any}\n" ROUTE_TO_NOWHERE,
        fixture->directory);
    fake_daemon_init(&daemon);
    examine_daemon(fixture, &daemon);
    expect_fault(fixture, "fail", "listener", "far", "the daemon runs, but nobody listens at",
                 "posternctl reload");
    expect_fault(fixture, "fail", "directory", "far", "No such file or directory", "sudo install -d");
}

static void a_listener_that_the_daemon_holds(void **state)
{
    struct fixture *fixture = *state;
    struct fake_daemon daemon;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    unsigned port;
    int tcp = listen_on_loopback(&port, 8);
    int path = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s/dev.sock", fixture->directory);
    assert_int_equal(bind(path, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(path, 8), 0);
    configure(fixture,
              "listeners:\n  web: {listen: \"tcp://127.0.0.1:%u\", route: r, allow: any}\n"
              "  dev: {listen: \"unix://%s\", route: r, allow: any}\n"
              "  any: {listen: \"tcp://127.0.0.1:0\", route: r, allow: any}\n"
              "  kms-raw: {listen: \"vsock://any:8000\", route: r, allow: any}\n" ROUTE_TO_NOWHERE,
              port, address.sun_path);
    fake_daemon_init(&daemon); /* in this process, so it does hold them */
    examine_daemon(fixture, &daemon);
    expect_ok(fixture, "listener", "web", "is held by the daemon");
    expect_ok(fixture, "listener", "dev", "is held by the daemon");
    expect_ok(fixture, "listener", "kms-raw", "the daemon has it");
    find(fixture, "listener", "any", "any free port");
    close(tcp);
    close(path);
}

static void fault_directories(void **state)
{
    struct fixture *fixture = *state;
    char closed[96];
    snprintf(closed, sizeof closed, "%s/closed", fixture->directory);
    assert_int_equal(mkdir(closed, 0700), 0);
    configure(fixture,
              "listeners:\n  gone: {listen: \"unix://%s/gone/dev.sock\", route: r, allow: any}\n"
              "  shut: {listen: \"hybrid://%s/v.sock:7\", route: r, allow: any}\n" ROUTE_TO_NOWHERE,
              fixture->directory, closed);
    examine(fixture);
    expect_fault(fixture, "fail", "directory", "gone", "No such file or directory",
                 "sudo install -d -o nobody -g nobody -m 0750 ");
    expect_fault(fixture, "fail", "directory", "shut", "the user nobody may not make a socket in ",
                 "sudo chown nobody:nobody ");
    assert_int_equal(chmod(closed, 0777), 0);
    examine(fixture);
    expect_ok(fixture, "directory", "shut", "nobody may write to it");
    fixture->host.user = "there-is-no-such-user";
    examine(fixture);
    find(fixture, "directory", "shut", "there is no user");
}

static void fault_a_file_in_the_way(void **state)
{
    struct fixture *fixture = *state;
    char path[96];
    snprintf(path, sizeof path, "%s/plain", fixture->directory);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
    configure(fixture, "listeners:\n  dev: {listen: \"unix://%s\", route: r, allow: any}\n" ROUTE_TO_NOWHERE,
              path);
    examine(fixture);
    expect_fault(fixture, "fail", "listener", "dev", "a file that is no socket is in its place", "ls -l ");
    unlink(path);
    examine(fixture);
    expect_ok(fixture, "listener", "dev", "is free");
}

static void faults_of_vsock(void **state)
{
    struct fixture *fixture = *state;
    configure(
        fixture,
        "listeners:\n  kms-raw: {listen: \"vsock://any:8000\", route: r, allow: any}\n" ROUTE_TO_NOWHERE);
    examine(fixture);
    expect_ok(fixture, "vsock", "/dev/null", "is there");
    expect_ok(fixture, "vsock", "AF_VSOCK", "can be made");
    expect_ok(fixture, "listener", "kms-raw", "is free");
    find(fixture, "connect", "r", "enclaves are not disturbed");

    fixture->host.vsock_device = "/nonexistent/vsock";
    examine(fixture);
    expect_fault(fixture, "fail", "vsock", "/nonexistent/vsock", "the kernel has no vsock",
                 "sudo modprobe vsock");

    vsock_result = -EPERM; /* as a seccomp profile has it */
    examine(fixture);
    expect_fault(fixture, "fail", "vsock", "AF_VSOCK", "a seccomp profile", "grep Seccomp /proc/self/status");

    vsock_result = -EAFNOSUPPORT;
    examine(fixture);
    expect_fault(fixture, "fail", "vsock", "AF_VSOCK", "RestrictAddressFamilies", "sudo modprobe vsock");

    vsock_result = -ENOMEM;
    vsock_bind_result = -EADDRINUSE;
    examine(fixture);
    expect_fault(fixture, "fail", "vsock", "AF_VSOCK", "making a socket", "dmesg");
    expect_fault(fixture, "fail", "listener", "kms-raw", "is held by another process", "sudo ss --vsock -lp");

    vsock_bind_result = -EPERM;
    examine(fixture);
    expect_fault(fixture, "fail", "listener", "kms-raw", "vsock://any:8000: ", "lsmod | grep vsock");

    fixture->host.vsock_bind = NULL;
    fixture->host.vsock_socket = NULL;
    examine(fixture);
    find(fixture, "vsock", "AF_VSOCK", "not tried here");
    find(fixture, "listener", "kms-raw", "no vsock here");
}

static void vsock_is_found_in_every_place(void **state)
{
    struct fixture *fixture = *state;
    static const char *const routes[] = {
        "  r: {type: relay, to: \"vsock://16:1\"}\n",
        "  r: {type: relay, to: {sni: {a.example.com: \"vsock://16:1\"}}}\n",
    };
    for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
        configure(fixture, "routes:\n%s", routes[i]);
        examine(fixture);
        expect_ok(fixture, "vsock", "AF_VSOCK", "can be made");
    }
}

static void fault_metadata_blocked(void **state)
{
    struct fixture *fixture = *state;
    examine(fixture);
    expect_fault(fixture, "warn", "metadata", "tcp://127.0.0.1:1", "cannot be reached (Connection refused",
                 "ip route get 169.254.169.254");
    fixture->host.metadata = "169.254.169.254";
    examine(fixture);
    expect_fault(fixture, "fail", "metadata", "169.254.169.254", "", "unset POSTERN_DOCTOR_METADATA");
}

static void fault_a_clock_that_nobody_keeps(void **state)
{
    struct fixture *fixture = *state;
    static const char *const routes[] = {
        "  r: {type: time}\n",
        "  r: {type: forward, to: \"http://127.0.0.1:1\", sign: {aws: {service: s3, region: eu-west-1}}}\n",
    };
    for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
        configure(fixture, "routes:\n%s", routes[i]);
        fake_clock_result = TIME_OK;
        fake_clock.status = 0;
        examine(fixture);
        expect_ok(fixture, "clock", "", "it is kept, to 2ms at most");
        fake_clock.status = STA_UNSYNC;
        examine(fixture);
        expect_fault(fixture, "warn", "clock", "", "nothing keeps it right", "chronyc tracking");
        fake_clock.status = 0;
        fake_clock_result = TIME_ERROR;
        examine(fixture);
        expect_fault(fixture, "warn", "clock", "", "nothing keeps it right", "timedatectl");
        fake_clock_result = -1;
        examine(fixture);
        assert_string_equal(view_text(find(fixture, "clock", "", "not to be seen"), "verdict"), "skipped");
    }
}

/* Relays do without. */
static void a_clock_that_nobody_needs(void **state)
{
    struct fixture *fixture = *state;
    size_t i;
    json_t *check;
    fake_clock_result = TIME_ERROR;
    configure(fixture, "routes:\n  r: {type: relay, to: \"vsock://16:1\"}\n");
    examine(fixture);
    json_array_foreach(view_at(fixture->result, "checks"), i, check)
    {
        assert_string_not_equal(view_text(check, "check"), "clock");
    }
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        WITH_HOST(fault_port_held),
        WITH_HOST(a_daemon_without_an_admin_socket),
        WITH_HOST(fault_nobody_listens),
        WITH_HOST(a_listener_that_the_daemon_holds),
        WITH_HOST(fault_nobody_listens_for_want_of_a_directory),
        WITH_HOST(fault_directories),
        WITH_HOST(fault_a_file_in_the_way),
        WITH_HOST(faults_of_vsock),
        WITH_HOST(vsock_is_found_in_every_place),
        WITH_HOST(fault_metadata_blocked),
        WITH_HOST(fault_a_clock_that_nobody_keeps),
        WITH_HOST(a_clock_that_nobody_needs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
