/* Whose connection it is: told apart after fork(), by a page or, where the kernel has none, by the process's number. */
#include "client/owner.h"

#include "fault.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

void *__real_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
int __real_madvise(void *at, size_t size, int advice);
int __wrap_madvise(void *at, size_t size, int advice);

void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    if (fault_strikes(FAULT_OWN)) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return __real_mmap(at, size, protection, flags, fd, offset);
}

/* A kernel that does not know the advice. */
int __wrap_madvise(void *at, size_t size, int advice)
{
    if (fault_strikes(FAULT_OWN)) {
        errno = EINVAL;
        return -1;
    }
    return __real_madvise(at, size, advice);
}

static bool is_callers_in_child(const struct owner *owner)
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        _exit(owner_is_caller(owner) ? 1 : 0);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status) != 0;
}

static void assert_told_apart(int call_that_fails)
{
    struct owner owner;

    if (call_that_fails > 0) {
        fault_arm(FAULT_OWN, call_that_fails);
    }
    owner_init(&owner);
    fault_disarm();
    assert_int_equal(owner.page == NULL, call_that_fails > 0);
    assert_true(owner_is_caller(&owner));
    assert_false(is_callers_in_child(&owner));
    assert_true(owner_is_caller(&owner));
    owner_release(&owner);
    owner_release(&owner); /* harmless */
}

static void test_by_a_page(void **state)
{
    (void)state;
    assert_told_apart(0);
}

static void test_by_its_number_where_no_page_can_be_had(void **state)
{
    (void)state;
    assert_told_apart(1);
}

static void test_by_its_number_where_the_kernel_wipes_none(void **state)
{
    (void)state;
    assert_told_apart(2);
}

/* Those who made the connection may be many. */
static void test_each_has_its_own(void **state)
{
    struct owner one, other;

    (void)state;
    owner_init(&one);
    owner_init(&other);
    owner_release(&one);
    assert_true(owner_is_caller(&other));
    assert_false(is_callers_in_child(&other));
    owner_release(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_a_page),
        cmocka_unit_test(test_by_its_number_where_no_page_can_be_had),
        cmocka_unit_test(test_by_its_number_where_the_kernel_wipes_none),
        cmocka_unit_test(test_each_has_its_own),
    };

    return cmocka_run_group_tests_name("owner", tests, NULL, NULL);
}
