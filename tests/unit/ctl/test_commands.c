/* posternctl's command line; reload and drain, against a daemon. */
#include "contains.h"
#include "fake_daemon.h"
#include "run_ctl.h"
#include <errno.h>
#include <signal.h>

static struct fake_daemon daemon_;

static void start(void)
{
    fake_daemon_start(&daemon_, ADMIN_ROLE_ADMIN);
}

static void the_socket_may_be_in_the_environment(void **state)
{
    (void)state;
    struct ran ran;
    fake_daemon_init(&daemon_);
    start();
    setenv("POSTERN_ADMIN", daemon_.address, 1);
    run_ctl(&ran, "status", NULL);
    unsetenv("POSTERN_ADMIN");
    assert_int_equal(ran.code, CTL_DONE);
    ran_release(&ran);
    fake_daemon_stop(&daemon_);
}

static void reload_tells_the_verdict(void **state)
{
    (void)state;
    struct ran ran;
    fake_daemon_init(&daemon_);
    daemon_.server.verdict = "1 route added\n";
    start();
    run_ctl(&ran, "reload", "--socket", daemon_.address, NULL);
    assert_int_equal(ran.code, CTL_DONE);
    assert_string_equal(ran.out, "1 route added\n");
    ran_release(&ran);
    run_ctl(&ran, "--json", "reload", "--socket", daemon_.address, NULL);
    json_t *json = parse_json(ran.out);
    assert_int_equal(ran.code, CTL_DONE);
    assert_true(json_is_true(json_object_get(json, "accepted")));
    assert_string_equal(json_string_value(json_object_get(json, "verdict")), "1 route added");
    assert_null(json_object_get(json, "error"));
    json_decref(json);
    ran_release(&ran);
    fake_daemon_stop(&daemon_);
    assert_int_equal(daemon_.server.reloads, 2);
}

static void a_refused_reload_fails(void **state)
{
    (void)state;
    struct ran ran;
    fake_daemon_init(&daemon_);
    daemon_.server.verdict = "p.yaml:3:1: unknown key\n";
    daemon_.server.reload_result = -EINVAL;
    start();
    run_ctl(&ran, "reload", "--socket", daemon_.address, NULL);
    assert_int_equal(ran.code, CTL_FAILED);
    assert_string_equal(ran.out, "");
    assert_contains(ran.err, "goes on with the old one:\np.yaml:3:1: unknown key\n");
    ran_release(&ran);
    run_ctl(&ran, "reload", "--json", "--socket", daemon_.address, NULL);
    assert_int_equal(ran.code, CTL_FAILED);
    assert_contains(ran.out, "\"accepted\": false");
    assert_contains(ran.out, "\"error\": \"p.yaml:3:1: unknown key\"");
    ran_release(&ran);
    fake_daemon_stop(&daemon_);
}

static void drain_takes_a_deadline(void **state)
{
    (void)state;
    struct ran ran;
    fake_daemon_init(&daemon_);
    start();
    run_ctl(&ran, "drain", "--deadline", "5s", "--socket", daemon_.address, NULL);
    assert_int_equal(ran.code, CTL_DONE);
    assert_string_equal(ran.out, "draining: 0 streams with at most 5s to finish\n");
    ran_release(&ran);
    run_ctl(&ran, "drain", "--json", "--socket", daemon_.address, NULL);
    assert_int_equal(ran.code, CTL_DONE);
    assert_contains(ran.out, "\"draining\": true,");
    assert_contains(ran.out, " to finish\"");
    ran_release(&ran);
    run_ctl(&ran, "drain", "--deadline", "5", "--socket", daemon_.address, NULL);
    assert_int_equal(ran.code, CTL_USAGE);
    assert_contains(ran.err, "--deadline is \"5\", and should be a duration such as 30s or 2m");
    ran_release(&ran);
    fake_daemon_stop(&daemon_);
    assert_int_equal(daemon_.server.drains, 2);
}

/* The metrics listener has the same protocol, and carries out nothing. */
static void the_metrics_listener_carries_out_nothing(void **state)
{
    static const char *const commands[] = {"reload", "drain"};
    (void)state;
    struct ran ran;
    fake_daemon_init(&daemon_);
    fake_daemon_start(&daemon_, ADMIN_ROLE_METRICS);
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        run_ctl(&ran, commands[i], "--socket", daemon_.address, NULL);
        assert_int_equal(ran.code, CTL_FAILED);
        assert_contains(ran.err, "this is the listener for metrics");
        ran_release(&ran);
        run_ctl(&ran, commands[i], "--json", "--socket", daemon_.address, NULL);
        assert_int_equal(ran.code, CTL_FAILED);
        assert_contains(ran.out, "\"error\": \"nothing was ");
        assert_contains(ran.out, "as `admin.listen` has it\"");
        ran_release(&ran);
    }
    fake_daemon_stop(&daemon_);
}

static void wrong_usage_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *arguments[4];
        const char *words;
    } samples[] = {
        {{NULL}, "a command is missing, such as status"},
        {{"statsu", NULL}, "did you mean status?"},
        {{"xyzzy", NULL}, "there is no command \"xyzzy\"\n"},
        {{"status", "now", NULL}, "status takes no arguments, but got \"now\""},
        {{"top", "--interval", "1", NULL}, "--interval is \"1\""},
        {{"top", "--interval", "2h", NULL}, "--interval is \"2h\""},
        {{"top", "x", NULL}, "top takes no arguments"},
        {{"drain", "x", NULL}, "drain takes no arguments"},
        {{"status", "--frobnicate", NULL},
         "posternctl: --frobnicate is no option here\ntry `posternctl status --help`"},
        {{"--socket", NULL}, "posternctl: --socket needs a value\ntry `posternctl --help`"},
        {{"drain", "--deadline", NULL}, "--deadline needs a value"},
        {{"--config", "", "doctor", NULL}, "--config is empty, and should be the path of a configuration"},
        {{"explain", "--config=", NULL}, "--config is empty"},
        {{"status", "--socket", "foo", NULL},
         "--socket: \"foo\": the scheme is missing; expected vsock://CID:PORT, unix:///PATH"},
        {{"status", "--socket", "/run/a.sock", NULL}, "such as unix:///run/a.sock\ntry `posternctl status"},
        {{"top", "-x", NULL}, "-x is no option here"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        struct ran ran;
        run_ctl(&ran, samples[i].arguments[0], samples[i].arguments[1], samples[i].arguments[2],
                samples[i].arguments[3]);
        assert_int_equal(ran.code, CTL_USAGE);
        assert_contains(ran.err, samples[i].words);
        assert_string_equal(ran.out, "");
        ran_release(&ran);
    }
}

static void help_and_version_are_told(void **state)
{
    (void)state;
    struct ran ran;
    run_ctl(&ran, "--help", NULL);
    assert_int_equal(ran.code, CTL_DONE);
    assert_contains(ran.out, "usage: posternctl [--socket ADDRESS]");
    assert_contains(ran.out, "  explain [CODE");
    ran_release(&ran);
    run_ctl(&ran, "drain", "--help", NULL);
    assert_int_equal(ran.code, CTL_DONE);
    assert_contains(ran.out, "usage: posternctl drain [--deadline DURATION]\n");
    ran_release(&ran);
    run_ctl(&ran, "--version", NULL);
    assert_int_equal(ran.code, CTL_DONE);
    assert_string_equal(ran.out, "posternctl " POSTERN_VERSION "\n");
    ran_release(&ran);
}

/* Each command of the help is in the manual. */
static void the_manual_is_complete(void **state)
{
    (void)state;
    static char manual[65536];
    char name[32], wanted[64];
    struct ran ran;
    FILE *file = fopen(PROJECT_DIR "/docs/man/posternctl.8", "re");
    assert_non_null(file);
    assert_true(fread(manual, 1, sizeof manual - 1, file) > 0);
    fclose(file);
    run_ctl(&ran, "--help", NULL);
    unsigned commands = 0;
    for (const char *at = strstr(ran.out, "\n\n") + 1; strncmp(at, "\n\n", 2) != 0;
         at = strchr(at + 1, '\n')) {
        if (strncmp(at, "\n  ", 3) == 0 && at[3] != ' ') {
            assert_int_equal(sscanf(at, " %31s", name), 1);
            snprintf(wanted, sizeof wanted, "\n.It Cm %s", name);
            assert_contains(manual, wanted);
            commands++;
        }
    }
    assert_true(commands >= 7);
    ran_release(&ran);
}

static void a_full_disk_is_told(void **state)
{
    (void)state;
    char name[] = "posternctl", command[] = "explain";
    char *argv[] = {name, command, NULL};
    FILE *full = fopen("/dev/full", "we");
    assert_non_null(full);
    assert_int_equal(ctl_main(2, argv, full, stderr), CTL_FAILED);
    fclose(full);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_socket_may_be_in_the_environment),
        cmocka_unit_test(reload_tells_the_verdict),
        cmocka_unit_test(a_refused_reload_fails),
        cmocka_unit_test(drain_takes_a_deadline),
        cmocka_unit_test(the_metrics_listener_carries_out_nothing),
        cmocka_unit_test(wrong_usage_is_told),
        cmocka_unit_test(help_and_version_are_told),
        cmocka_unit_test(the_manual_is_complete),
        cmocka_unit_test(a_full_disk_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
