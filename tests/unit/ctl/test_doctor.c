/* The doctor in front of faults of the configuration and of the daemon: each is named, with what to type
 * next. */
#include "ctl/client.h"
#include "doctor_daemon.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
/* A healthy host, and the ways in which the page is shown. */

static void a_healthy_host_passes(void **state)
{
    struct fixture *fixture = *state;
    unsigned port;
    char metadata[64];
    int fd = listen_on_loopback(&port, 8);
    snprintf(metadata, sizeof metadata, "tcp://127.0.0.1:%u", port);
    fixture->host.metadata = metadata;
    examine(fixture);
    assert_int_equal(fixture->code, CTL_DONE);
    assert_true(json_is_true(json_object_get(fixture->result, "ok")));
    expect_ok(fixture, "config", NULL, "valid: 0 enclaves, 0 listeners, 0 routes");
    expect_fault(fixture, "warn", "config", NULL, "nobody can connect", "sudoedit ");
    expect_ok(fixture, "metadata", NULL, "can be reached");
    assert_string_equal(view_text(find(fixture, "unit", NULL, "systemd"), "verdict"), "skipped");
    assert_string_equal(view_text(find(fixture, "vsock", NULL, "no vsock address"), "verdict"), "skipped");
    close(fd);
}

static void the_page_is_for_people(void **state)
{
    struct fixture *fixture = *state;
    char *out = NULL;
    size_t size;
    fixture->ctl.json = false;
    write_file(fixture->config, "version: 2\n");
    fixture->ctl.out = open_memstream(&out, &size);
    assert_int_equal(doctor_run(&fixture->ctl, &fixture->host), CTL_FAILED);
    fclose(fixture->ctl.out);
    assert_non_null(strstr(out, "FAIL  config "));
    assert_non_null(strstr(out, "WARN  metadata "));
    assert_non_null(strstr(out, "\n      next: posternd --check --config "));
    assert_non_null(strstr(out, " failed, 1 warning, "));
    free(out);
}

static void the_command_takes_no_arguments(void **state)
{
    (void)state;
    char name[] = "posternctl", command[] = "doctor", argument[] = "x";
    char *argv[] = {name, command, argument, NULL};
    char *out = NULL;
    size_t size;
    FILE *err = open_memstream(&out, &size);
    assert_int_equal(ctl_main(3, argv, err, err), CTL_USAGE);
    fclose(err);
    free(out);
}

static void tests_can_keep_it_off_the_host(void **state)
{
    (void)state;
    struct doctor_host host;
    doctor_host_init(&host);
    assert_string_equal(host.metadata, "tcp://169.254.169.254:80");
    assert_non_null(host.vsock_socket);
    setenv("POSTERN_DOCTOR_METADATA", "tcp://127.0.0.1:1", 1);
    setenv("POSTERN_DOCTOR_VSOCK", "off", 1);
    doctor_host_init(&host);
    assert_string_equal(host.metadata, "tcp://127.0.0.1:1");
    assert_null(host.vsock_socket);
    assert_null(host.vsock_bind);
    unsetenv("POSTERN_DOCTOR_METADATA");
    unsetenv("POSTERN_DOCTOR_VSOCK");
}

/* Faults of the configuration and of the daemon. */

/* Which is being asked. */
static void expect_no_advice_to_ask_the_doctor(const struct fixture *fixture)
{
    size_t i;
    json_t *check;
    json_array_foreach(json_object_get(fixture->result, "checks"), i, check)
    {
        assert_null(strstr(view_text(check, "found"), "posternctl doctor"));
    }
}

static void fault_bad_configuration(void **state)
{
    struct fixture *fixture = *state;
    configure(fixture, "limts: {}\n");
    examine(fixture);
    expect_fault(fixture, "fail", "config", NULL, "p.yaml:4:1: ", "posternd --check --config ");
    fixture->ctl.config = "/nonexistent/p.yaml";
    examine(fixture);
    expect_fault(fixture, "fail", "config", NULL, "/nonexistent/p.yaml", "posternd --check");
}

static void fault_no_daemon(void **state)
{
    struct fixture *fixture = *state;
    write_file(fixture->config,
               "version: 1\nadmin: {listen: \"unix://%s/none.sock\"}\nmetrics: {listen: none}\n",
               fixture->directory);
    examine(fixture);
    expect_fault(fixture, "fail", "daemon", "", "there is no such socket", "sudo systemctl start postern");
    expect_no_advice_to_ask_the_doctor(fixture);
}

static void fault_stale_socket(void **state)
{
    struct fixture *fixture = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/stale.sock", fixture->directory);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
    write_file(fixture->config, "version: 1\nadmin: {listen: \"unix://%s\"}\nmetrics: {listen: none}\n",
               address.sun_path);
    examine(fixture);
    expect_fault(fixture, "fail", "daemon", "", "nobody listens there", "sudo systemctl start postern");
}

static void fault_no_permission(void **state)
{
    struct fixture *fixture = *state;
    char directory[96], socket_address[128];
    uid_t me = geteuid();
    snprintf(directory, sizeof directory, "%s/closed", fixture->directory);
    assert_int_equal(mkdir(directory, 0700), 0);
    snprintf(socket_address, sizeof socket_address, "unix://%s/admin.sock", directory);
    fixture->ctl.socket = socket_address;
    fixture->ctl.socket_given = true;
    if (me == 0) {
        assert_int_equal(seteuid(65534), 0);
    } else {
        assert_int_equal(chmod(directory, 0), 0);
    }
    examine(fixture);
    if (me == 0) {
        assert_int_equal(seteuid(0), 0);
    } else {
        assert_int_equal(chmod(directory, 0700), 0);
    }
    expect_fault(fixture, "fail", "daemon", "", "only root and members of the group postern",
                 "sudo usermod -aG postern");
}

static void a_daemon_that_is_well(void **state)
{
    struct fixture *fixture = *state;
    struct fake_daemon daemon;
    struct rlimit limit = {.rlim_cur = 16384, .rlim_max = 16384};
    fake_daemon_init(&daemon);
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    daemon.server.config.max_streams = 100;
    daemon.server.config.file = fixture->config;
    daemon.server.workers[1].busy_ms = 0;
    counter_set(&daemon.server.counters.reload_last_ok, 1);
    counter_set(&daemon.server.counters.reload_time_s, (uint64_t)time(NULL) + 1);
    examine_daemon(fixture, &daemon);
    assert_int_equal(fixture->code, CTL_DONE);
    expect_ok(fixture, "daemon", "", "answers, pid ");
    expect_ok(fixture, "reload", "", "as it is");
    expect_ok(fixture, "descriptors", "", "the limits need 1324");
}

static void fault_refused_reload(void **state)
{
    struct fixture *fixture = *state;
    struct fake_daemon daemon;
    fake_daemon_init(&daemon);
    daemon.server.view.last_error = "p.yaml:3:1: unknown key\nand more";
    examine_daemon(fixture, &daemon);
    expect_fault(fixture, "fail", "reload", "", "the one before is in force: p.yaml:3:1: unknown key",
                 "posternd --check --config /etc/postern/postern.yaml && posternctl reload");
}

static void fault_a_valid_file_was_refused(void **state)
{
    struct fixture *fixture = *state;
    struct fake_daemon daemon;
    fake_daemon_init(&daemon);
    daemon.server.view.last_error = "cannot listen at unix:///gone/x.sock: No such file or directory";
    daemon.server.config.file = fixture->config;
    examine_daemon(fixture, &daemon);
    expect_fault(fixture, "fail", "reload", "", "cannot listen at",
                 "posternctl reload   # once that is mended");
}

static void fault_forgotten_reload(void **state)
{
    struct fixture *fixture = *state;
    struct fake_daemon daemon;
    fake_daemon_init(&daemon);
    daemon.server.config.file = fixture->config;
    counter_set(&daemon.server.counters.reload_last_ok, 1);
    counter_set(&daemon.server.counters.reload_time_s, 1000);
    examine_daemon(fixture, &daemon);
    expect_fault(fixture, "warn", "reload", "", "was changed after the daemon read it", "posternctl reload");
}

/* A roll-back: the file that was there before, with its old time. */
static void fault_an_older_file_in_its_place(void **state)
{
    struct fixture *fixture = *state;
    struct fake_daemon daemon;
    const struct timespec old[2] = {{.tv_sec = 500}, {.tv_sec = 500}};
    fake_daemon_init(&daemon);
    daemon.server.config.file = fixture->config;
    counter_set(&daemon.server.counters.reload_last_ok, 1);
    counter_set(&daemon.server.counters.reload_time_s, 1000);
    assert_int_equal(utimensat(AT_FDCWD, fixture->config, old, 0), 0);
    examine_daemon(fixture, &daemon);
    expect_fault(fixture, "warn", "reload", "", "was changed after the daemon read it", "posternctl reload");
}

static void fault_another_file(void **state)
{
    struct fixture *fixture = *state;
    struct fake_daemon daemon;
    fake_daemon_init(&daemon);
    counter_set(&daemon.server.counters.reload_last_ok, 1);
    counter_set(&daemon.server.counters.reload_time_s, UINT32_MAX);
    daemon.server.config.file = "/etc/passwd";
    examine_daemon(fixture, &daemon);
    expect_fault(fixture, "warn", "reload", "", "the daemon reads /etc/passwd, and not ",
                 "posternctl --config /etc/passwd doctor");
    fake_daemon_init(&daemon);
    counter_set(&daemon.server.counters.reload_last_ok, 1);
    daemon.server.config.file = "/nonexistent/postern.yaml";
    examine_daemon(fixture, &daemon);
    expect_fault(fixture, "fail", "reload", "",
                 "cannot look at /nonexistent/postern.yaml, which the daemon has read: No such file",
                 "ls -l ");
}

static void fault_hung_worker(void **state)
{
    struct fixture *fixture = *state;
    struct fake_daemon daemon;
    fake_daemon_init(&daemon);
    daemon.server.workers[0].busy_ms = 60000;
    examine_daemon(fixture, &daemon);
    expect_fault(fixture, "fail", "worker", "", "worker 0 has not returned to its event loop for 1m",
                 "sudo systemctl restart postern");
}

static void fault_draining(void **state)
{
    struct fixture *fixture = *state;
    struct fake_daemon daemon;
    fake_daemon_init(&daemon);
    server_drain(&daemon.server, 1000);
    examine_daemon(fixture, &daemon);
    expect_fault(fixture, "warn", "state", "", "draining: it opens no new streams",
                 "systemctl status postern");
}

static void fault_few_descriptors(void **state)
{
    struct fixture *fixture = *state;
    struct fake_daemon daemon;
    fake_daemon_init(&daemon);
    daemon.server.config.max_streams = 1 << 30;
    examine_daemon(fixture, &daemon);
    expect_fault(fixture, "fail", "descriptors", "",
                 "limits of 1073741824 streams and 100 sessions need 2147484772", "LimitNOFILE=2147484772");
}

static void expect_none(const struct fixture *fixture, const char *check, const char *subject)
{
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(fixture->result, "checks"), i, entry)
    {
        assert_false(strcmp(view_text(entry, "check"), check) == 0 &&
                     strcmp(view_text(entry, "subject"), subject) == 0);
    }
}

static void fault_limits_nearly_met(void **state)
{
    struct fixture *fixture = *state;
    struct fake_daemon daemon;
    fake_daemon_init(&daemon);
    counter_set(&daemon.server.counters.routes->active, 1000);
    counter_set(&daemon.server.counters.sessions, 99);
    daemon.server.enclaves[1].max_sessions = 1;
    counter_set(&daemon.server.counters.enclaves->next->next->sessions_active, 1);
    counter_set(&daemon.server.counters.enclaves->next->sessions_active, 8);
    examine_daemon(fixture, &daemon);
    expect_fault(fixture, "warn", "limit", "kms", "1000 of the route's 1024 streams are open",
                 "posternctl top");
    expect_fault(fixture, "warn", "limit", "payroll", "8 of the enclave's 8 sessions are open",
                 "then raise max_sessions in ");
    expect_fault(fixture, "warn", "limit", "limits.max_sessions", "99 of the daemon's 100 sessions are open",
                 "then raise max_sessions in ");
    expect_none(fixture, "limit", "fraud");
}

static void fault_hung_daemon(void **state)
{
    struct fixture *fixture = *state;
    char address[64];
    unsigned patience = client_time_ms;
    int fd = fake_socket(address, sizeof address);
    client_time_ms = 50;
    fixture->ctl.socket = address;
    fixture->ctl.socket_given = true;
    examine(fixture);
    client_time_ms = patience;
    close(fd);
    expect_fault(fixture, "fail", "daemon", "", "it hangs", "journalctl -u postern");
    expect_no_advice_to_ask_the_doctor(fixture);
}

static void fault_unit_not_active(void **state)
{
    struct fixture *fixture = *state;
    fixture->host.systemd = "/";
    write_file(fixture->systemctl, "#!/bin/sh\necho inactive\nexit 3\n");
    chmod(fixture->systemctl, 0755);
    examine(fixture);
    expect_fault(fixture, "fail", "unit", CTL_UNIT, "inactive", "sudo systemctl enable --now postern");
    write_file(fixture->systemctl, "#!/bin/sh\necho failed\nexit 3\n");
    examine(fixture);
    expect_fault(fixture, "fail", "unit", CTL_UNIT, "failed", "journalctl -u postern");
    write_file(fixture->systemctl, "#!/bin/sh\necho active\n");
    examine(fixture);
    expect_ok(fixture, "unit", CTL_UNIT, "active");
    unlink(fixture->systemctl);
    examine(fixture);
    expect_fault(fixture, "fail", "unit", CTL_UNIT, "systemctl does not answer", "systemctl");
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        WITH_HOST(a_healthy_host_passes),
        WITH_HOST(the_page_is_for_people),
        WITH_HOST(the_command_takes_no_arguments),
        WITH_HOST(tests_can_keep_it_off_the_host),
        WITH_HOST(fault_bad_configuration),
        WITH_HOST(fault_no_daemon),
        WITH_HOST(fault_stale_socket),
        WITH_HOST(fault_no_permission),
        WITH_HOST(a_daemon_that_is_well),
        WITH_HOST(fault_refused_reload),
        WITH_HOST(fault_forgotten_reload),
        WITH_HOST(fault_a_valid_file_was_refused),
        WITH_HOST(fault_an_older_file_in_its_place),
        WITH_HOST(fault_another_file),
        WITH_HOST(fault_hung_worker),
        WITH_HOST(fault_draining),
        WITH_HOST(fault_few_descriptors),
        WITH_HOST(fault_limits_nearly_met),
        WITH_HOST(fault_hung_daemon),
        WITH_HOST(fault_unit_not_active),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
