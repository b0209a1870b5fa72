/* The doctor in front of faults of the spool: its directory, the room for it, who has it open, and what is in it. */
#include "doctor_daemon.h"
#include "spool/spool.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

struct spot {
    char path[96], database[112];
};

/* A route that spools, with the test's own user as the daemon's. */
static void configure_spool(struct fixture *fixture, struct spot *spot, const char *max_size)
{
    static const char *const user = "root";
    snprintf(spot->path, sizeof spot->path, "%s/spool", fixture->directory);
    snprintf(spot->database, sizeof spot->database, "%s/spool.db", spot->path);
    fixture->host.user = geteuid() == 0 ? user : "no-such-user";
    configure(fixture,
              "spool: {path: \"%s\", max_size: %s}\n"
              "routes:\n  r: {type: forward, methods: [GET], paths: [/], to: \"http://127.0.0.1:1\", "
              "delivery: spool}\n",
              spot->path, max_size);
}

static struct spool *open_spool(const struct spot *spot)
{
    const struct spool_options options = {.path = spot->path, .manual = true};
    struct spool *spool;
    struct error err = ERROR_INIT;
    if (spool_open(&options, &spool, &err) != 0) {
        fail_msg("%s", err.text);
    }
    return spool;
}

static void make_spool(const struct spot *spot)
{
    spool_close(open_spool(spot));
}

static void a_spool_that_is_well(void **state)
{
    struct fixture *fixture = *state;
    struct spot spot;
    configure_spool(fixture, &spot, "1MiB");
    examine(fixture);
    expect_ok(fixture, "spool", spot.path, "will be made when the daemon starts");
    assert_int_equal(mkdir(spot.path, 0700), 0);
    examine(fixture);
    expect_ok(fixture, "spool", spot.path, "there is no database yet");
    make_spool(&spot);
    examine(fixture);
    expect_ok(fixture, "spool", spot.path, "the database can be read, and nobody has it open");
    expect_ok(fixture, "spool", spot.path, "may grow to 1");
}

static void nothing_is_said_of_a_spool_that_nobody_wants(void **state)
{
    struct fixture *fixture = *state;
    size_t i;
    json_t *entry;
    configure(fixture,
              "spool: {path: /nonexistent/spool}\n"
              "routes:\n  r: {type: forward, methods: [GET], paths: [/], to: \"http://127.0.0.1:1\"}\n");
    examine(fixture);
    json_array_foreach(json_object_get(fixture->result, "checks"), i, entry)
    {
        assert_string_not_equal(view_text(entry, "check"), "spool");
    }
}

/* Looking leaves everything as it was. */
static void nothing_is_changed(void **state)
{
    struct fixture *fixture = *state;
    struct spot spot;
    struct stat before, after;
    char command[192];
    configure_spool(fixture, &spot, "1MiB");
    make_spool(&spot);
    assert_int_equal(stat(spot.database, &before), 0);
    examine(fixture);
    assert_int_equal(stat(spot.database, &after), 0);
    assert_int_equal(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
    assert_int_equal(before.st_ctim.tv_nsec, after.st_ctim.tv_nsec);
    snprintf(command, sizeof command, "test ! -e '%s-shm'", spot.database);
    assert_int_equal(system(command), 0);
    make_spool(&spot); /* it can still be opened */
}

static void faults_of_the_directory(void **state)
{
    struct fixture *fixture = *state;
    struct spot spot;
    configure_spool(fixture, &spot, "1MiB");
    write_file(spot.path, "no directory");
    examine(fixture);
    expect_fault(fixture, "fail", "spool", spot.path, "is no directory", "ls -ld ");
    assert_int_equal(unlink(spot.path), 0);
    assert_int_equal(mkdir(spot.path, 0700), 0);
    assert_int_equal(chmod(spot.path, 0750), 0);
    examine(fixture);
    expect_fault(fixture, "fail", "spool", spot.path, "others can get at it (mode 0750)",
                 "sudo chmod -R go= ");
    configure(fixture, "spool: {path: /nonexistent/postern/spool}\n"
                       "routes:\n  r: {type: forward, methods: [GET], paths: [/], to: "
                       "\"http://127.0.0.1:1\", delivery: spool}\n");
    examine(fixture);
    expect_fault(fixture, "fail", "spool", "/nonexistent/postern/spool", "nor is the directory",
                 "sudo install -d -o ");
}

static void fault_the_directory_is_anothers(void **state)
{
    struct fixture *fixture = *state;
    struct spot spot;
    configure_spool(fixture, &spot, "1MiB");
    make_spool(&spot);
    fixture->host.user = "nobody";
    examine(fixture);
    expect_fault(fixture, "fail", "spool", spot.path, "belongs to user ", "sudo chown -R ");
}

static void fault_no_room(void **state)
{
    struct fixture *fixture = *state;
    struct spot spot;
    configure_spool(fixture, &spot, "64TiB");
    make_spool(&spot);
    examine(fixture);
    expect_fault(fixture, "warn", "spool", spot.path, "are free", "df -h ");
}

static void fault_the_database_is_damaged(void **state)
{
    struct fixture *fixture = *state;
    struct spot spot;
    configure_spool(fixture, &spot, "1MiB");
    make_spool(&spot);
    write_file(spot.database, "%08000d", 0);
    examine(fixture);
    expect_fault(fixture, "fail", "spool", spot.path, "the database is damaged: file is not a database",
                 "posternctl spool set-aside --path ");
}

/* Things that are not what they should be, in its places. */
static void fault_the_database_cannot_be_read(void **state)
{
    struct fixture *fixture = *state;
    struct spot spot;
    configure_spool(fixture, &spot, "1MiB");
    assert_int_equal(mkdir(spot.path, 0700), 0);
    assert_int_equal(mkdir(spot.database, 0700), 0);
    examine(fixture);
    expect_fault(fixture, "fail", "spool", spot.path, "the database cannot be read", "ls -l ");
    assert_int_equal(rmdir(spot.database), 0);
    assert_int_equal(symlink("elsewhere", spot.database), 0);
    examine(fixture);
    expect_fault(fixture, "fail", "spool", spot.path, "spool.db: Too many levels of symbolic links",
                 "namei -l ");
}

static void fault_the_way_leads_through_a_file(void **state)
{
    struct fixture *fixture = *state;
    char path[128];
    snprintf(path, sizeof path, "%s/spool", fixture->config);
    configure(fixture,
              "spool: {path: \"%s\"}\n"
              "routes:\n  r: {type: forward, methods: [GET], paths: [/], to: \"http://127.0.0.1:1\", "
              "delivery: spool}\n",
              path);
    examine(fixture);
    expect_fault(fixture, "fail", "spool", path, "the directory: Not a directory", "namei -l ");
}

/* Holds it open in a process of its own, until the pipe is closed. */
static pid_t hold(const struct spot *spot, int pipes[2])
{
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(pipes[1]);
        struct spool *spool = open_spool(spot);
        if (write(ready[1], "r", 1) == 1) {
            (void)!read(pipes[0], &byte, 1);
        }
        spool_close(spool);
        _exit(0);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(pipes[0]);
    return child;
}

static void fault_another_process_has_it_open(void **state)
{
    struct fixture *fixture = *state;
    struct spot spot;
    int pipes[2], status;
    configure_spool(fixture, &spot, "1MiB");
    pid_t child = hold(&spot, pipes);
    examine(fixture);
    const json_t *entry = find(fixture, "spool", spot.path, "most likely the daemon");
    assert_string_equal(view_text(entry, "verdict"), "skipped");
    fixture->ctl.socket = "unix:///nonexistent/admin.sock";
    fixture->ctl.socket_given = true;
    examine(fixture);
    expect_fault(fixture, "fail", "spool", spot.path, "has it open, and no daemon answers", "ps -fp ");
    close(pipes[1]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* ---- With a daemon ---- */

static void on_wake(void *arg)
{
    (void)arg;
}

static void on_done(void *arg, int result, uint64_t id, const struct error *err)
{
    (void)id;
    (void)err;
    assert_int_equal(result, 0);
    *(bool *)arg = true;
}

static void put(struct spool *spool, struct spool_port *port)
{
    static const struct spool_put_ops ops = {.done = on_done};
    const struct spool_request request = {.route = "r", .enclave = "e", .head = "h", .head_size = 1};
    struct error err = ERROR_INIT;
    struct spool_put *one;
    bool done = false;
    assert_int_equal(spool_put_begin(port, &request, &ops, &done, &one, &err), 0);
    spool_put_commit(one);
    while (!done) {
        spool_turn(spool);
        spool_port_run(port);
    }
}

static void on_ready(void *arg, int result, const struct error *err)
{
    (void)err;
    assert_int_equal(result, 0);
    *(bool *)arg = true;
}

static void bury(struct spool *spool, struct spool_port *port)
{
    static const struct spool_take_ops ops = {.ready = on_ready};
    const struct spool_outcome outcome = {.verdict = SPOOL_BURY, .cause = "no"};
    struct spool_take *take;
    bool ready = false;
    assert_int_equal(spool_take(port, "r", &ops, &ready, &take), 0);
    while (!ready) {
        spool_turn(spool);
        spool_port_run(port);
    }
    spool_take_end(take, &outcome);
    while (spool_turn(spool)) {
    }
}

/* The spool is in the test's process, as the daemon is. */
static void what_the_daemon_says(void **state)
{
    struct fixture *fixture = *state;
    struct spot spot;
    struct fake_daemon daemon;
    struct spool_port *port;
    configure_spool(fixture, &spot, "1MiB");
    fake_daemon_init(&daemon);
    struct spool *spool = open_spool(&spot);
    daemon.server.spool.spool = spool;
    daemon.server.view.spool = &daemon.server.spool;
    daemon.server.config.spool = (struct config_spool){.path = spot.path, .max_bytes = 550};
    assert_int_equal(spool_port_open(spool, on_wake, NULL, &port), 0);
    put(spool, port);
    bury(spool, port);
    examine_daemon(fixture, &daemon);
    expect_ok(fixture, "spool", spot.path, "the daemon keeps requests in it");
    expect_fault(fixture, "warn", "spool", spot.path, "1 record given up", "--state dead");
    expect_fault(fixture, "warn", "spool", spot.path, " of at most 550 B", "posternctl spool stats");
    spool_port_close(port);
    spool_close(spool);
}

static void fault_the_daemon_cannot_use_it(void **state)
{
    struct fixture *fixture = *state;
    struct spot spot;
    struct fake_daemon daemon;
    configure_spool(fixture, &spot, "1MiB");
    fake_daemon_init(&daemon);
    daemon.server.config.spool = (struct config_spool){.path = spot.path};
    daemon.server.view.spool = &daemon.server.spool;
    error_set(&daemon.server.spool.why, -EROFS, "spool %s: read-only", spot.path);
    examine_daemon(fixture, &daemon);
    expect_fault(fixture, "fail", "spool", spot.path, "is not there, though the daemon runs",
                 "posternctl reload");
    expect_fault(fixture, "fail", "spool", spot.path, "the daemon cannot use it: spool /",
                 "posternctl reload");
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        WITH_HOST(a_spool_that_is_well),
        WITH_HOST(nothing_is_said_of_a_spool_that_nobody_wants),
        WITH_HOST(nothing_is_changed),
        WITH_HOST(faults_of_the_directory),
        WITH_HOST(fault_the_directory_is_anothers),
        WITH_HOST(fault_no_room),
        WITH_HOST(fault_the_database_is_damaged),
        WITH_HOST(fault_the_database_cannot_be_read),
        WITH_HOST(fault_the_way_leads_through_a_file),
        WITH_HOST(fault_another_process_has_it_open),
        WITH_HOST(what_the_daemon_says),
        WITH_HOST(fault_the_daemon_cannot_use_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
