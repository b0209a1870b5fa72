/* Tests of kms/secret.c: secrets have pages of their own, and leave none behind. */
#include "kms/secret.h"

#include "fault.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

void *__real_mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset);
int __real_munmap(void *at, size_t length);
int __wrap_munmap(void *at, size_t length);
int __real_madvise(void *at, size_t length, int advice);
int __wrap_madvise(void *at, size_t length, int advice);

static unsigned mapped, kept_back;
static bool was_clear;

void *__wrap_mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset)
{
    if (fault_strikes(FAULT_OWN)) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    mapped++;
    return __real_mmap(at, length, protection, flags, fd, offset);
}

/* The bytes as they are given back. */
int __wrap_munmap(void *at, size_t length)
{
    const uint8_t *bytes = at;

    was_clear = true;
    for (size_t i = 64; i < length; i++) {
        was_clear = was_clear && bytes[i] == 0;
    }
    mapped--;
    return __real_munmap(at, length);
}

int __wrap_madvise(void *at, size_t length, int advice)
{
    kept_back += advice == MADV_DONTDUMP || advice == MADV_WIPEONFORK;
    return __real_madvise(at, length, advice);
}

static void test_wiped(void **state)
{
    static const size_t lengths[] = {1, 32, 4096 - 64, 4096, 70000};
    struct postern_secret secret;
    (void)state;

    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        kept_back = 0;
        assert_int_equal(secret_new(lengths[i], &secret), 0);
        assert_int_equal(secret.length, lengths[i]);
        assert_int_equal(kept_back, 2);
        assert_int_equal(((uint8_t *)secret.data)[lengths[i] - 1], 0);
        memset(secret.data, 0x5a, lengths[i]);
        secret.length = 1; /* made shorter: all of it is wiped */
        postern_secret_wipe(&secret);
        assert_null(secret.data);
        assert_int_equal(secret.length, 0);
        assert_true(was_clear);
        assert_int_equal(mapped, 0);
    }
}

static void test_nothing(void **state)
{
    struct postern_secret secret = {.data = NULL};
    (void)state;

    postern_secret_wipe(NULL);
    postern_secret_wipe(&secret);
    assert_int_equal(secret_new(0, &secret), -ENOMEM);
    assert_int_equal(secret_new(SIZE_MAX, &secret), -ENOMEM);
}

static void test_child(void **state)
{
    struct postern_secret secret;
    int status;
    (void)state;

    assert_int_equal(secret_new(32, &secret), 0);
    memset(secret.data, 0x5a, 32);
    pid_t child = fork();
    if (child == 0) {
        uint8_t first = *(uint8_t *)secret.data;
        postern_secret_wipe(&secret);
        _exit(first == 0 && secret.data == NULL ? 0 : 1);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(*(uint8_t *)secret.data, 0x5a);
    postern_secret_wipe(&secret);
}

static void scenario(void *arg)
{
    struct postern_secret secret = {.data = NULL};
    (void)arg;

    if (secret_new(100, &secret) == 0) {
        postern_secret_wipe(&secret);
    }
    assert_null(secret.data);
}

static void test_faults(void **state)
{
    (void)state;
    assert_true(fault_loop("secret", FAULT_OWN, scenario, NULL) >= 1);
    assert_int_equal(mapped, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wiped),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_child),
        cmocka_unit_test(test_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
