/* posternctl spool: its command line, and what it does without a daemon. What it does with one: tests/system/test_spool.py. */
#include "run_ctl.h"
#include "spool/spool.h"
#include <fcntl.h>
#include <setjmp.h>
#include <unistd.h>

#include <cmocka.h>

#define NOBODY "unix:///nonexistent/postern/admin.sock"

static void expect(const struct ran *ran, int code, const char *part)
{
    if (ran->code != code || (strstr(ran->out, part) == NULL && strstr(ran->err, part) == NULL)) {
        fail_msg("expected %d and %s, got %d: %s%s", code, part, ran->code, ran->out, ran->err);
    }
}

static void command_lines_are_checked(void **state)
{
    static const struct {
        const char *words[4];
        const char *part;
    } cases[] = {
        {{NULL}, "say what of the spool"},
        {{"nonsense"}, "no command \"nonsense\""},
        {{"show"}, "needs an id"},
        {{"show", "x"}, "no record's id"},
        {{"show", "0"}, "no record's id"},
        {{"show", "1", "2"}, "does not take \"2\""},
        {{"show", "--all"}, "needs an id"},
        {{"list", "--all"}, "--all is for retry and drop"},
        {{"stats", "--route", "a"}, "--route and --state are for list, retry and drop"},
        {{"verify", "--state", "dead"}, "--route and --state are for list, retry and drop"},
        {{"export", "1"}, "needs an id and a file"},
        {{"drop"}, "say which record by its id, or --all"},
        {{"retry"}, "say which record by its id, or --all"},
        {{"drop", "1", "--route", "a"}, "an id names one record"},
        {{"drop", "1", "--state=dead"}, "an id names one record"},
        {{"list", "--route", "A/B"}, "no route's name"},
        {{"list", "--state", ""}, "should be ready, waiting, dead or damaged"},
        {{"drop", "--all", "--state=deaf"},
         "--state is \"deaf\", and should be ready, waiting, dead or damaged"},
        {{"list", "--limit", "0"}, "should be a number"},
        {{"list", "--limit", "many"}, "should be a number"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct ran ran;
        const char *const *words = cases[i].words;
        run_ctl(&ran, "spool", words[0], words[1], words[2], words[3], NULL);
        expect(&ran, CTL_USAGE, cases[i].part);
        ran_release(&ran);
    }
}

static void without_a_daemon(void **state)
{
    static const char *const lines[][3] = {{"list"},           {"stats"},           {"verify"},
                                           {"show", "1"},      {"retry", "1"},      {"drop", "--all"},
                                           {"retry", "--all"}, {"export", "1", "-"}};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        struct ran ran;
        run_ctl(&ran, "--socket", NOBODY, "spool", lines[i][0], lines[i][1], lines[i][2], NULL);
        expect(&ran, CTL_FAILED, "cannot reach the daemon");
        ran_release(&ran);
    }
}

static void a_file_that_is_there_is_not_overwritten(void **state)
{
    struct ran ran;
    (void)state;
    run_ctl(&ran, "--socket", NOBODY, "spool", "export", "1", "/dev/null", NULL);
    expect(&ran, CTL_FAILED, "cannot make the file /dev/null");
    ran_release(&ran);
}

static void only_what_is_in_the_way_is_set_aside(void **state)
{
    char folder[] = "/tmp/postern-test-XXXXXX", path[64], file[80], command[96];
    const struct spool_options options = {.path = path, .manual = true};
    struct error err = ERROR_INIT;
    struct spool *spool;
    struct ran ran;
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/spool", folder);
    run_ctl(&ran, "spool", "set-aside", "--path", path, NULL);
    expect(&ran, CTL_FAILED, "there is no spool at");
    ran_release(&ran);
    assert_int_equal(spool_open(&options, &spool, &err), 0);
    run_ctl(&ran, "spool", "set-aside", "--path", path, NULL);
    expect(&ran, CTL_FAILED, "another process has it open");
    ran_release(&ran);
    spool_close(spool);
    run_ctl(&ran, "spool", "set-aside", "--path", path, NULL);
    expect(&ran, CTL_FAILED, "nothing to set aside");
    ran_release(&ran);
    snprintf(file, sizeof file, "%s/spool.db", path);
    int fd = open(file, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_true(fd >= 0);
    for (unsigned i = 0; i < 1000; i++) {
        assert_int_equal(write(fd, "no database ", 12), 12);
    }
    close(fd);
    snprintf(command, sizeof command, "%s-wal", file);
    (void)unlink(command); /* what is in there would mend it */
    run_ctl(&ran, "--json", "spool", "set-aside", "--path", path, NULL);
    expect(&ran, CTL_DONE, "\"aside\"");
    ran_release(&ran);
    assert_int_equal(access(file, F_OK), -1);
    assert_int_equal(spool_open(&options, &spool, &err), 0);
    spool_close(spool);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(command_lines_are_checked),
        cmocka_unit_test(without_a_daemon),
        cmocka_unit_test(a_file_that_is_there_is_not_overwritten),
        cmocka_unit_test(only_what_is_in_the_way_is_set_aside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
