/* The doctor in front of one injected fault after the other: each is to be named, with what to type next. */
#include "ctl/client.h"
#include "ctl/doctor.h"
#include "ctl/view.h"
#include "dns_fake.h"
#include "fake_daemon.h"
#include "tls_peer.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include <cmocka.h>

struct fixture {
    char directory[64];
    char config[96];
    char systemctl[96];
    struct ctl ctl;
    struct doctor_host host;
    json_t *result;
    int code;
};

static int vsock_result, vsock_bind_result;

static int fake_vsock_socket(void)
{
    return vsock_result;
}

static int fake_vsock_bind(uint32_t cid, uint32_t port)
{
    (void)cid;
    (void)port;
    return vsock_bind_result;
}

static void write_file(const char *path, const char *format, ...) PRINTF_LIKE(2, 3);

static void write_file(const char *path, const char *format, ...)
{
    va_list args;
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    va_start(args, format);
    assert_true(vfprintf(file, format, args) >= 0);
    va_end(args);
    assert_int_equal(fclose(file), 0);
}

/* A host where all is well: nothing configured, a metadata service that answers, no systemd. */
static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    snprintf(fixture->directory, sizeof fixture->directory, "/tmp/posternctl-doctor-XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    chmod(fixture->directory, 0755);
    snprintf(fixture->config, sizeof fixture->config, "%s/p.yaml", fixture->directory);
    snprintf(fixture->systemctl, sizeof fixture->systemctl, "%s/systemctl", fixture->directory);
    fixture->ctl = (struct ctl){.json = true, .config = fixture->config, .socket = CTL_SOCKET};
    fixture->host = (struct doctor_host){
        .proc = "/proc",
        .systemd = "/nonexistent",
        .systemctl = fixture->systemctl,
        .user = "nobody",
        .vsock_device = "/dev/null",
        .metadata = "tcp://127.0.0.1:1",
        .patience_ms = 300,
        .vsock_socket = fake_vsock_socket,
        .vsock_bind = fake_vsock_bind,
    };
    vsock_result = vsock_bind_result = 0;
    write_file(fixture->config, "version: 1\nadmin: {listen: none}\nmetrics: {listen: none}\n");
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    char command[128];
    json_decref(fixture->result);
    snprintf(command, sizeof command, "rm -r '%s'", fixture->directory);
    assert_int_equal(system(command), 0);
    free(fixture);
    return 0;
}

static void configure(struct fixture *fixture, const char *format, ...) PRINTF_LIKE(2, 3);

static void configure(struct fixture *fixture, const char *format, ...)
{
    char text[4096];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    write_file(fixture->config, "version: 1\nadmin: {listen: none}\nmetrics: {listen: none}\n%s", text);
}

static void examine(struct fixture *fixture)
{
    char *out = NULL;
    size_t size;
    json_error_t error;
    fixture->ctl.out = open_memstream(&out, &size);
    fixture->ctl.err = stderr;
    assert_non_null(fixture->ctl.out);
    fixture->code = doctor_run(&fixture->ctl, &fixture->host);
    fclose(fixture->ctl.out);
    json_decref(fixture->result);
    fixture->result = json_loads(out, 0, &error);
    if (fixture->result == NULL) {
        fail_msg("%s in:\n%s", error.text, out);
    }
    free(out);
}

static const json_t *find(const struct fixture *fixture, const char *check, const char *subject,
                          const char *words)
{
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(fixture->result, "checks"), i, entry)
    {
        if (strcmp(view_text(entry, "check"), check) == 0 &&
            (subject == NULL || strcmp(view_text(entry, "subject"), subject) == 0) &&
            strstr(view_text(entry, "found"), words) != NULL) {
            return entry;
        }
    }
    char *all = json_dumps(fixture->result, JSON_INDENT(1));
    fail_msg("no %s %s with \"%s\" in:\n%s", check, subject != NULL ? subject : "", words, all);
    free(all);
    return NULL;
}

static void expect_ok(const struct fixture *fixture, const char *check, const char *subject,
                      const char *words)
{
    assert_string_equal(view_text(find(fixture, check, subject, words), "verdict"), "ok");
}

/* The fault is named, and `next` is part of the command that comes next. */
static void expect_fault(const struct fixture *fixture, const char *verdict, const char *check,
                         const char *subject, const char *words, const char *next)
{
    const json_t *entry = find(fixture, check, subject, words);
    assert_string_equal(view_text(entry, "verdict"), verdict);
    if (strstr(view_text(entry, "next"), next) == NULL) {
        fail_msg("next is \"%s\", not \"%s\"", view_text(entry, "next"), next);
    }
    if (strcmp(verdict, "fail") == 0) {
        assert_int_equal(fixture->code, CTL_FAILED);
        assert_true(json_is_false(json_object_get(fixture->result, "ok")));
    }
}

static int listen_on_loopback(unsigned *port, int backlog)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(fd, backlog), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    *port = ntohs(address.sin_port);
    return fd;
}

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
    assert_non_null(strstr(out, " failed, 1 warnings, "));
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

static void examine_daemon(struct fixture *fixture, struct fake_daemon *daemon)
{
    fake_daemon_start(daemon, ADMIN_ROLE_ADMIN);
    fixture->ctl.socket = daemon->address;
    fixture->ctl.socket_given = true;
    examine(fixture);
    fake_daemon_stop(daemon);
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
    expect_ok(fixture, "descriptors", "", "limits.max_streams needs 1224");
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
    expect_fault(fixture, "fail", "descriptors", "", "limits.max_streams (1073741824) needs 2147484672",
                 "LimitNOFILE=2147484672");
}

static void fault_limits_nearly_met(void **state)
{
    struct fixture *fixture = *state;
    struct fake_daemon daemon;
    fake_daemon_init(&daemon);
    counter_set(&daemon.server.counters.routes->active, 1000);
    examine_daemon(fixture, &daemon);
    expect_fault(fixture, "warn", "limit", "kms", "1000 of the route's 1024 streams are open",
                 "posternctl top");
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

/* Faults of the listeners. */

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

/* Faults of the routes. */

struct dns_thread {
    struct dns_fake fake;
    uv_loop_t loop;
    uv_async_t stop;
    uv_thread_t thread;
};

static void on_dns_stop(uv_async_t *stop)
{
    uv_close((uv_handle_t *)stop, NULL);
}

static void dns_run(void *data)
{
    struct dns_thread *dns = data;
    uv_run(&dns->loop, UV_RUN_DEFAULT);
    dns_fake_close(&dns->fake);
}

static struct dns_thread *dns_init(void)
{
    struct dns_thread *dns = calloc(1, sizeof *dns);
    assert_non_null(dns);
    assert_int_equal(uv_loop_init(&dns->loop), 0);
    assert_int_equal(uv_async_init(&dns->loop, &dns->stop, on_dns_stop), 0);
    dns_fake_open(&dns->fake, &dns->loop);
    return dns;
}

static void dns_stop(struct dns_thread *dns)
{
    uv_async_send(&dns->stop);
    assert_int_equal(uv_thread_join(&dns->thread), 0);
    assert_int_equal(uv_loop_close(&dns->loop), 0);
    free(dns);
}

static void faults_of_names(void **state)
{
    struct fixture *fixture = *state;
    struct dns_thread *dns = dns_init();
    dns_fake_rule(&dns->fake, "private.example.com")->a = 2;
    dns_fake_rule(&dns->fake, "broken.example.com")->rcode = DNS_SERVFAIL;
    dns_fake_rule(&dns->fake, "silent.example.com")->drop = true;
    configure(
        fixture,
        "dns: {servers: [\"%s\"], timeout: 200ms}\n"
        "routes:\n"
        "  typo: {type: relay, to: \"tcp://kmss.example.com:443\"}\n"
        "  private: {type: relay, to: \"tcp://private.example.com:443\"}\n"
        "  broken: {type: relay, to: \"tcp://broken.example.com:443\"}\n"
        "  silent: {type: relay, to: \"tcp://silent.example.com:443\"}\n"
        "  family: {type: relay, to: \"tcp://private.example.com:443\", family: ipv6, allow_private: true}\n",
        dns->fake.servers);
    assert_int_equal(uv_thread_create(&dns->thread, dns_run, dns), 0);
    examine(fixture);
    dns_stop(dns);
    expect_fault(fixture, "fail", "dns", "typo", "has no address (dns_not_found)",
                 "getent ahosts kmss.example.com");
    expect_fault(fixture, "fail", "dns", "private", "(denied_address)", "line 7: allow_private: true");
    expect_fault(fixture, "fail", "dns", "broken", "(dns_failed)", "dig @127.0.0.1 broken.example.com");
    expect_fault(fixture, "fail", "dns", "silent", "(dns_timeout)", "dig @127.0.0.1 silent.example.com");
    expect_fault(fixture, "fail", "dns", "family", "unwanted (see `family`)", "");
}

static void fault_connection_refused(void **state)
{
    struct fixture *fixture = *state;
    unsigned port;
    close(listen_on_loopback(&port, 8));
    configure(fixture,
              "routes:\n  tcp: {type: relay, to: \"tcp://127.0.0.1:%u\"}\n"
              "  path: {type: relay, to: \"unix://%s/none.sock\"}\n",
              port, fixture->directory);
    examine(fixture);
    expect_fault(fixture, "fail", "connect", "tcp", "Connection refused", "nc -vz 127.0.0.1 ");
    expect_fault(fixture, "fail", "connect", "path", "No such file or directory", "ls -l ");
}

/* A listener whose queue is full drops what comes: what a security group looks like from here. */
static void fault_connection_dropped(void **state)
{
    struct fixture *fixture = *state;
    unsigned port;
    int fillers[8];
    int fd = listen_on_loopback(&port, 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (size_t i = 0; i < ARRAY_SIZE(fillers); i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(fillers[i], (struct sockaddr *)&address, sizeof address);
    }
    configure(fixture, "routes:\n  r: {type: relay, to: \"tcp://127.0.0.1:%u\", connect_timeout: 100ms}\n",
              port);
    examine(fixture);
    expect_fault(fixture, "fail", "connect", "r", "timed out", "traceroute -T -p ");
    for (size_t i = 0; i < ARRAY_SIZE(fillers); i++) {
        close(fillers[i]);
    }
    close(fd);
}

static void a_path_that_answers(void **state)
{
    struct fixture *fixture = *state;
    char address[64];
    int fd = fake_socket(address, sizeof address);
    configure(fixture, "routes:\n  r: {type: relay, to: \"%s\"}\n", address);
    examine(fixture);
    expect_ok(fixture, "connect", "r", "answers");
    close(fd);
}

static void faults_of_certificates(void **state)
{
    struct fixture *fixture = *state;
    struct tls_peer peer = {.port = 0};
    tls_peer_start(&peer, "DNS:kms.test, IP:127.0.0.1, DNS:a.test, DNS:b.test, DNS:c.test, DNS:d.test");
    configure(fixture,
              "routes:\n"
              "  good: {type: relay, to: \"tcp://127.0.0.1:%u\", sni: [kms.test, \"*.kms.test\"]}\n"
              "  wrong: {type: relay, to: \"tcp://127.0.0.1:%u\", sni: [sts.test]}\n"
              "  map: {type: relay, to: {sni: {kms.test: \"tcp://127.0.0.1:%u\", \"*.x.test\": "
              "\"tcp://127.0.0.1:%u\"}}}\n"
              "  plain: {type: relay, to: \"tcp://127.0.0.1:%u\", sni: [\"*.kms.test\"]}\n"
              "  wild: {type: relay, to: sni, sni: [\"*.kms.test\"], port: %u}\n",
              peer.port, peer.port, peer.port, peer.port, peer.port, peer.port);
    setenv("SSL_CERT_FILE", peer.trust, 1);
    examine(fixture);
    expect_ok(fixture, "tls", "good", "kms.test: certificate and name are right (TLSv1.3)");
    expect_fault(fixture, "fail", "tls", "wrong",
                 "(the certificate is for kms.test, a.test, b.test, c.test and others)",
                 "openssl s_client -connect 127.0.0.1:");
    expect_ok(fixture, "tls", "map", "kms.test: ");
    expect_ok(fixture, "connect", "plain", "answers");
    find(fixture, "connect", "wild", "only wildcards");
    setenv("SSL_CERT_FILE", "/dev/null", 1);
    examine(fixture);
    expect_fault(fixture, "warn", "tls", "good", "this host does not trust the certificate",
                 "openssl s_client");
    unsetenv("SSL_CERT_FILE");
    tls_peer_stop(&peer);
}

static void a_certificate_without_names(void **state)
{
    struct fixture *fixture = *state;
    struct tls_peer peer = {.port = 0};
    tls_peer_start(&peer, "IP:127.0.0.1");
    configure(fixture, "routes:\n  r: {type: relay, to: \"tcp://127.0.0.1:%u\", sni: [kms.test]}\n",
              peer.port);
    examine(fixture);
    expect_fault(fixture, "fail", "tls", "r", "the certificate is for no host name", "openssl s_client");
    tls_peer_stop(&peer);
}

static void answer_and_close(void *data)
{
    int fd = accept(*(int *)data, NULL, NULL);
    static const char words[] = "220 mail.example.com ESMTP\r\n";
    send(fd, words, sizeof words - 1, MSG_NOSIGNAL);
    close(fd);
}

static void fault_not_tls(void **state)
{
    struct fixture *fixture = *state;
    unsigned port;
    uv_thread_t thread;
    int fd = listen_on_loopback(&port, 8);
    configure(fixture, "routes:\n  r: {type: relay, to: \"tcp://127.0.0.1:%u\", sni: [kms.test]}\n", port);
    assert_int_equal(uv_thread_create(&thread, answer_and_close, &fd), 0);
    examine(fixture);
    assert_int_equal(uv_thread_join(&thread), 0);
    expect_fault(fixture, "fail", "tls", "r", "no TLS handshake (", "openssl s_client");
    examine(fixture); /* now nobody accepts: silence */
    expect_fault(fixture, "fail", "tls", "r", "no answer to the ClientHello in time", "openssl s_client");
    close(fd);
}

#define WITH_HOST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

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
        WITH_HOST(fault_hung_worker),
        WITH_HOST(fault_draining),
        WITH_HOST(fault_few_descriptors),
        WITH_HOST(fault_limits_nearly_met),
        WITH_HOST(fault_hung_daemon),
        WITH_HOST(fault_unit_not_active),
        WITH_HOST(fault_port_held),
        WITH_HOST(fault_nobody_listens),
        WITH_HOST(a_listener_that_the_daemon_holds),
        WITH_HOST(fault_directories),
        WITH_HOST(faults_of_vsock),
        WITH_HOST(vsock_is_found_in_every_place),
        WITH_HOST(fault_metadata_blocked),
        WITH_HOST(faults_of_names),
        WITH_HOST(fault_connection_refused),
        WITH_HOST(fault_connection_dropped),
        WITH_HOST(a_path_that_answers),
        WITH_HOST(faults_of_certificates),
        WITH_HOST(a_certificate_without_names),
        WITH_HOST(fault_not_tls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
