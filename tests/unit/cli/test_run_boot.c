/* The steps before there is a loop: which are done, in what order, and which may fail. All of them are played. */
#include "cli/run_boot.h"

#include "init/entropy.h"
#include "init/loopback.h"
#include "init/machine.h"
#include "init/mounts.h"
#include "nsm/nsm.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define NSM ((struct nsm *)&played) /* nothing looks into it */

static struct {
    pid_t pid;
    bool machine, counted;
    unsigned mounts_failed;
    int module, nsm, heartbeat, entropy, loopback; /* what they return */
} played;

static char done[256], told[1024];
static struct settings settings;
static struct run_place place;

static void note(const char *what)
{
    snprintf(done + strlen(done), sizeof done - strlen(done), "%s ", what);
}

static int result(int code, struct error *err, const char *what)
{
    note(what);
    return code < 0 ? error_set(err, code, "%s failed", what) : code;
}

pid_t __wrap_getpid(void);
unsigned __wrap_mounts_make(const char *root, const struct tell *to);
bool __wrap_machine_is_ours(void);
int __wrap_machine_load_module(const char *path, struct error *err);
int __wrap_machine_heartbeat(uint32_t timeout_ms, struct error *err);
int __wrap_nsm_open(const char *path, struct nsm **ret, struct error *err);
int __wrap_entropy_seed(struct nsm *nsm, const char *pool, bool *ret_counted, struct error *err);
int __wrap_loopback_up(struct error *err);

pid_t __wrap_getpid(void)
{
    return played.pid;
}

unsigned __wrap_mounts_make(const char *root, const struct tell *to)
{
    assert_string_equal(root, "");
    assert_non_null(to);
    note("mounts");
    return played.mounts_failed;
}

bool __wrap_machine_is_ours(void)
{
    return played.machine;
}

int __wrap_machine_load_module(const char *path, struct error *err)
{
    return result(played.module, err, path);
}

int __wrap_machine_heartbeat(uint32_t timeout_ms, struct error *err)
{
    assert_int_equal(timeout_ms, RUN_BOOT_HEARTBEAT_MS);
    return result(played.heartbeat, err, "heartbeat");
}

int __wrap_nsm_open(const char *path, struct nsm **ret, struct error *err)
{
    *ret = played.nsm < 0 ? NULL : NSM;
    return result(played.nsm, err, path);
}

int __wrap_entropy_seed(struct nsm *nsm, const char *pool, bool *ret_counted, struct error *err)
{
    assert_ptr_equal(nsm, NSM);
    assert_string_equal(pool, "/dev/urandom");
    *ret_counted = played.counted;
    return result(played.entropy, err, "entropy");
}

int __wrap_loopback_up(struct error *err)
{
    return result(played.loopback, err, "loopback");
}

static void on_told(void *user, const char *text)
{
    (void)user;
    snprintf(told + strlen(told), sizeof told - strlen(told), "%s\n", text);
}

static const struct tell teller = {.line = on_told};

static int setup(void **state)
{
    (void)state;
    memset(&played, 0, sizeof played);
    played.pid = 1;
    played.machine = played.counted = true;
    settings_init(&settings, NULL);
    return 0;
}

static int boot(void)
{
    done[0] = told[0] = '\0';
    return run_boot(&settings, &place, &teller);
}

static void test_an_enclave(void **state)
{
    (void)state;
    settings.module = (struct settings_list){.items = {"a.ko", "b.ko"}, .count = 2};
    assert_int_equal(boot(), 0);
    assert_string_equal(done, "mounts a.ko b.ko /dev/nsm heartbeat entropy loopback ");
    assert_true(place.first && place.machine && place.nsm == NSM);
    assert_string_equal(told, "seeded /dev/urandom with 1024 bytes of the NSM's\n");
}

static void test_a_container_without_an_nsm(void **state)
{
    (void)state;
    played.machine = false;
    played.nsm = -ENOENT;
    assert_int_equal(boot(), 0);
    assert_string_equal(done, "mounts /dev/nsm loopback ");
    assert_true(place.first && !place.machine && !place.nsm);
    assert_string_equal(told, "");
}

static void test_not_process_1(void **state)
{
    (void)state;
    played.pid = 2;
    played.machine = played.counted = false;
    assert_int_equal(boot(), 0);
    assert_string_equal(done, "/dev/nsm entropy loopback ");
    assert_false(place.first);
    assert_non_null(strstr(told, ", which are not counted as entropy without CAP_SYS_ADMIN"));
}

static void test_what_is_not_wanted(void **state)
{
    (void)state;
    settings.mounts = settings.heartbeat = settings.entropy = settings.loopback = SETTINGS_NO;
    settings.nsm = "none";
    assert_int_equal(boot(), 0);
    assert_string_equal(done, "");
    assert_null(place.nsm);
}

static void test_what_is_wanted_in_any_case(void **state)
{
    (void)state;
    played.pid = 2;
    played.machine = false;
    settings.mounts = settings.heartbeat = settings.entropy = settings.loopback = SETTINGS_YES;
    assert_int_equal(boot(), 0);
    assert_string_equal(done, "mounts /dev/nsm heartbeat entropy loopback ");
}

static void test_what_fails_is_told_and_the_rest_is_done(void **state)
{
    (void)state;
    played.mounts_failed = 2;
    played.heartbeat = played.entropy = played.loopback = -EIO;
    assert_int_equal(boot(), 0);
    assert_string_equal(done, "mounts /dev/nsm heartbeat entropy loopback ");
    assert_string_equal(told, "heartbeat failed\nentropy failed\nloopback failed\n");
    played.nsm = -EACCES;
    assert_int_equal(boot(), 0);
    assert_string_equal(done, "mounts /dev/nsm loopback ");
    assert_string_equal(told, "/dev/nsm failed\nloopback failed\n");
}

static void test_what_must_not_fail(void **state)
{
    static const struct {
        uint32_t *choice;
        int *code;
        const char *done;
    } cases[] = {
        {&settings.loopback, &played.loopback, "mounts /dev/nsm heartbeat entropy loopback "},
        {&settings.entropy, &played.entropy, "mounts /dev/nsm heartbeat entropy "},
        {&settings.heartbeat, &played.heartbeat, "mounts /dev/nsm heartbeat "},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        *cases[i].choice = SETTINGS_YES;
        *cases[i].code = -EIO;
        assert_int_equal(boot(), -EIO);
        assert_string_equal(done, cases[i].done);
    }
    settings.mounts = SETTINGS_YES;
    played.mounts_failed = 1;
    assert_int_equal(boot(), -EIO);
    assert_string_equal(done, "mounts ");
}

static void test_entropy_needs_an_nsm(void **state)
{
    (void)state;
    settings.entropy = SETTINGS_YES;
    played.nsm = -ENOENT;
    assert_int_equal(boot(), -ENOENT);
    assert_string_equal(told, "/dev/nsm failed\n");
    settings.nsm = "none";
    assert_int_equal(boot(), -ENOENT);
    assert_string_equal(told, "entropy = yes, but nsm = none\n");
}

static void test_a_module_must_not_fail(void **state)
{
    (void)state;
    settings.module = (struct settings_list){.items = {"a.ko", "b.ko"}, .count = 2};
    played.module = -ENOEXEC;
    assert_int_equal(boot(), -ENOEXEC);
    assert_string_equal(done, "mounts a.ko ");
    assert_string_equal(told, "a.ko failed\n");
}

/* Process 1 may be started without them. */
static void test_standard_descriptors_are_opened(void **state)
{
    int kept = dup(STDIN_FILENO);

    (void)state;
    close(STDIN_FILENO);
    assert_int_equal(boot(), 0);
    assert_true(lseek(STDIN_FILENO, 0, SEEK_CUR) >= 0 || isatty(STDIN_FILENO));
    if (kept >= 0) {
        dup2(kept, STDIN_FILENO);
        close(kept);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_an_enclave, setup),
        cmocka_unit_test_setup(test_a_container_without_an_nsm, setup),
        cmocka_unit_test_setup(test_not_process_1, setup),
        cmocka_unit_test_setup(test_what_is_not_wanted, setup),
        cmocka_unit_test_setup(test_what_is_wanted_in_any_case, setup),
        cmocka_unit_test_setup(test_what_fails_is_told_and_the_rest_is_done, setup),
        cmocka_unit_test_setup(test_what_must_not_fail, setup),
        cmocka_unit_test_setup(test_entropy_needs_an_nsm, setup),
        cmocka_unit_test_setup(test_a_module_must_not_fail, setup),
        cmocka_unit_test_setup(test_standard_descriptors_are_opened, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
