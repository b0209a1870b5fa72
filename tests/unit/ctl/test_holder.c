/* Who holds an address, read out of a /proc of the test's own making. */
#include "ctl/doctor.h"
#include "ctl/holder.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char proc[] = "/tmp/posternctl-proc-XXXXXX";

static void put_file(const char *name, const char *content)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", proc, name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(content, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void put_directory(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", proc, name);
    assert_int_equal(mkdir(path, 0755), 0);
}

static void put_process(int pid, const char *command, const char *target)
{
    char name[64], path[128];
    snprintf(name, sizeof name, "%d", pid);
    put_directory(name);
    snprintf(name, sizeof name, "%d/fd", pid);
    put_directory(name);
    snprintf(name, sizeof name, "%d/comm", pid);
    put_file(name, command);
    snprintf(path, sizeof path, "%s/%d/fd/7", proc, pid);
    assert_int_equal(symlink(target, path), 0);
}

static int setup(void **state)
{
    (void)state;
    if (mkdtemp(proc) == NULL) {
        return -1;
    }
    put_directory("net");
    /* 127.0.0.1:8080 listens as 11, 0.0.0.0:9090 as 12, 10.0.0.1:7070 is a connection */
    put_file(
        "net/tcp",
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0 "
        "100 0\n"
        "   1: 00000000:2382 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12 1 0 "
        "100 0\n"
        "   2: 0100000A:1B9E 0200000A:C350 01 00000000:00000000 00:00000000 00000000     0        0 13 1 0 "
        "100 0\n"
        "   3: nonsense\n"
        "   4: 0100:1B9E 0200000A:C350 0A 00000000:00000000 00:00000000 00000000     0        0 14 1 0 100 "
        "0\n");
    /* [::]:6060 listens as 21, [::1]:5050 as 22 */
    put_file("net/tcp6",
             "  sl  local_address                         remote_address                        st ...\n"
             "   0: 00000000000000000000000000000000:17AC 00000000000000000000000000000000:0000 0A 0:0 00:0 "
             "0 0 0 21 1\n"
             "   1: 00000000000000000000000001000000:13BA 00000000000000000000000000000000:0000 0A 0:0 00:0 "
             "0 0 0 22 1\n");
    put_file("net/unix",
             "Num       RefCount Protocol Flags    Type St Inode Path\n"
             "0000000000000000: 00000002 00000000 00010000 0001 01 31 /run/postern/dev.sock\n"
             "0000000000000000: 00000003 00000000 00000000 0001 03 32 /run/postern/connected.sock\n"
             "0000000000000000: 00000002 00000000 00010000 0001 01 33 @abstract\n"
             "0000000000000000: 00000002 00000000 00010000 0001 01 34 /run/vm/v.sock_7000\n"
             "0000000000000000: 00000002 00000000 00000000 0002 01 35\n");
    put_process(1, "systemd\n", "socket:[21]");
    put_process(40, "nginx\n", "socket:[11]");
    put_process(41, "posternd\n", "socket:[21]");
    put_process(42, "other\n", "/dev/null");
    put_directory("43"); /* has no descriptors that we may see */
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -r '%s'", proc);
    return system(command);
}

static struct holder find(const char *address, int preferred)
{
    struct addr addr;
    struct holder holder;
    struct error err = ERROR_INIT;
    assert_int_equal(addr_parse_listen(address, &addr, &err), 0);
    assert_int_equal(holder_find(proc, &addr, preferred, &holder), 0);
    return holder;
}

static void holders_of_tcp(void **state)
{
    (void)state;
    static const struct {
        const char *address;
        bool listening;
        int pid;
        const char *where;
    } samples[] = {
        {"tcp://127.0.0.1:8080", true, 40, "tcp://127.0.0.1:8080"},
        {"tcp://0.0.0.0:8080", true, 40, "tcp://127.0.0.1:8080"},
        {"tcp://127.0.0.2:8080", false, 0, ""},
        {"tcp://127.0.0.2:9090", true, 0, "tcp://0.0.0.0:9090"},
        {"tcp://10.0.0.1:7070", false, 0, ""},
        {"tcp://127.0.0.1:6060", true, 1, "tcp://[::]:6060"},
        {"tcp://[::1]:6060", true, 1, "tcp://[::]:6060"},
        {"tcp://[::1]:5050", true, 0, "tcp://[::1]:5050"},
        {"tcp://127.0.0.1:5050", false, 0, ""},
        {"tcp://[::]:8080", true, 40, "tcp://127.0.0.1:8080"},
        {"tcp://[::1]:8080", false, 0, ""},
    };
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        struct holder holder = find(samples[i].address, 0);
        if (holder.listening != samples[i].listening || holder.pid != samples[i].pid) {
            fail_msg("%s: %d by %d", samples[i].address, holder.listening, holder.pid);
        }
        assert_string_equal(holder.address, samples[i].where);
    }
    assert_string_equal(find("tcp://127.0.0.1:8080", 0).command, "nginx");
}

static void the_preferred_process_is_told(void **state)
{
    (void)state;
    assert_int_equal(find("tcp://[::]:6060", 41).pid, 41);
    assert_int_equal(find("tcp://[::]:6060", 42).pid, 1);
    assert_int_equal(find("tcp://[::]:6060", 4242).pid, 1);
}

static void holders_of_paths(void **state)
{
    (void)state;
    assert_true(find("unix:///run/postern/dev.sock", 0).listening);
    assert_false(find("unix:///run/postern/connected.sock", 0).listening);
    assert_false(find("unix:///run/postern/none.sock", 0).listening);
    assert_true(find("unix://@abstract", 0).listening);
    assert_true(find("hybrid:///run/vm/v.sock:7000", 0).listening);
    assert_false(find("hybrid:///run/vm/v.sock:7001", 0).listening);
}

static void vsock_has_no_list(void **state)
{
    (void)state;
    struct addr addr = {.kind = ADDR_VSOCK};
    struct holder holder;
    assert_int_equal(holder_find(proc, &addr, 0, &holder), -EAFNOSUPPORT);
}

static void a_proc_that_is_not_there(void **state)
{
    (void)state;
    struct addr addr = {.kind = ADDR_TCP, .port = 1, .literal = true, .host = "127.0.0.1"};
    struct holder holder;
    assert_int_equal(holder_find("/nonexistent", &addr, 0, &holder), 0);
    assert_false(holder.listening);
    addr.kind = ADDR_UNIX;
    assert_int_equal(holder_find("/nonexistent", &addr, 0, &holder), 0);
    assert_false(holder.listening);
}

/* The doctor's words for holders that are not the daemon. */
static void the_doctor_tells_them_apart(void **state)
{
    (void)state;
    char config[] = "/tmp/posternctl-holder-XXXXXX", *out = NULL;
    size_t size;
    int fd = mkstemp(config);
    FILE *file = fdopen(fd, "w");
    fputs("version: 1\nadmin: {listen: none}\nmetrics: {listen: none}\n"
          "listeners:\n  a: {listen: \"tcp://0.0.0.0:9090\", route: r, allow: any}\n"
          "  b: {listen: \"tcp://[::]:6060\", route: r, allow: any}\n"
          "routes:\n  r: {type: relay, to: \"vsock://16:1\"}\n",
          file);
    fclose(file);
    struct doctor_host host = {.proc = proc,
                               .systemd = "/nonexistent",
                               .systemctl = "false",
                               .user = "nobody",
                               .vsock_device = "/dev/null",
                               .metadata = "tcp://127.0.0.1:1",
                               .patience_ms = 100};
    struct ctl ctl = {.config = config, .socket = CTL_SOCKET, .err = stderr};
    ctl.out = open_memstream(&out, &size);
    assert_int_equal(doctor_run(&ctl, &host), CTL_FAILED);
    fclose(ctl.out);
    assert_non_null(strstr(out, "FAIL  listener a: tcp://0.0.0.0:9090 is held by a process of another user\n"
                                "      next: sudo posternctl --config /tmp/posternctl-holder-"));
    assert_non_null(strstr(out, "ok    listener b: tcp://[::]:6060 is held by systemd for the daemon\n"));
    free(out);
    unlink(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holders_of_tcp),           cmocka_unit_test(the_preferred_process_is_told),
        cmocka_unit_test(holders_of_paths),         cmocka_unit_test(vsock_has_no_list),
        cmocka_unit_test(a_proc_that_is_not_there), cmocka_unit_test(the_doctor_tells_them_apart),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
