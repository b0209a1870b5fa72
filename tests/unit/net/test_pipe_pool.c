/* The pool of pipes: bounded, clean, and content with nothing. */
#include "net/pipe_pool.h"

#include "fault.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);

static int capacity; /* what the kernel gives; 0: the real answer */

/* Past the user's limit of pipe pages, growing is refused and pipes are of a page or two. */
int __wrap_fcntl(int fd, int command, ...)
{
    va_list more;
    va_start(more, command);
    int argument = va_arg(more, int);
    va_end(more);
    if (capacity == 0) {
        return __real_fcntl(fd, command, argument);
    }
    errno = EPERM;
    return command == F_GETPIPE_SZ ? capacity : -1;
}

static void test_a_pipe_is_kept_and_lent_again(void **state)
{
    struct pipe_pool pool;
    (void)state;
    pipe_pool_init(&pool);
    struct pipe *pipe = pipe_pool_get(&pool);
    assert_non_null(pipe);
    assert_in_range(pipe->size, PIPE_LEAST, PIPE_SIZE);
    assert_int_equal(pipe->held, 0);
    assert_true((fcntl(pipe->read_fd, F_GETFL) & O_NONBLOCK) != 0);
    pipe_pool_put(&pool, pipe);
    assert_int_equal(pool.kept_count, 1);
    assert_ptr_equal(pipe_pool_get(&pool), pipe);
    assert_int_equal(pool.kept_count, 0);
    assert_int_equal(pool.count, 1);
    pipe_pool_put(&pool, pipe);
    pipe_pool_put(&pool, NULL);
    pipe_pool_release(&pool);
    assert_int_equal(pool.count, 0);
}

static void test_one_with_bytes_inside_is_never_lent_again(void **state)
{
    struct pipe_pool pool;
    (void)state;
    pipe_pool_init(&pool);
    struct pipe *pipe = pipe_pool_get(&pool);
    assert_non_null(pipe);
    pipe->held = 1;
    pipe_pool_put(&pool, pipe);
    assert_int_equal(pool.count, 0);
    assert_int_equal(pool.kept_count, 0);
    pipe_pool_release(&pool);
}

static void test_the_pool_is_bounded(void **state)
{
    struct pipe *pipes[PIPES_MAX];
    struct pipe_pool pool;
    (void)state;
    pipe_pool_init(&pool);
    for (unsigned i = 0; i < PIPES_MAX; i++) {
        pipes[i] = pipe_pool_get(&pool);
        if (pipes[i] == NULL) { /* the user's limit of pipe pages, on this machine */
            assert_true(i > 0);
            pool.count = PIPES_MAX;
            assert_null(pipe_pool_get(&pool));
            pool.count = i;
            break;
        }
    }
    unsigned got = pool.count;
    if (got == PIPES_MAX) {
        assert_null(pipe_pool_get(&pool));
    }
    for (unsigned i = 0; i < got; i++) {
        pipe_pool_put(&pool, pipes[i]);
    }
    assert_int_equal(pool.kept_count, got < PIPES_KEPT ? got : PIPES_KEPT);
    assert_int_equal(pool.count, pool.kept_count);
    pipe_pool_release(&pool);
    assert_int_equal(pool.count, 0);
}

static void test_a_small_pipe_is_not_worth_it(void **state)
{
    struct pipe_pool pool;
    (void)state;
    pipe_pool_init(&pool);
    capacity = 8192;
    assert_null(pipe_pool_get(&pool));
    assert_int_equal(pool.count, 0);
    capacity = -1; /* not even that can be told */
    assert_null(pipe_pool_get(&pool));
    capacity = PIPE_LEAST;
    struct pipe *pipe = pipe_pool_get(&pool);
    assert_non_null(pipe);
    assert_int_equal(pipe->size, PIPE_LEAST);
    capacity = 0;
    pipe_pool_put(&pool, pipe);
    pipe_pool_release(&pool);
}

static void get_and_put(void *arg)
{
    struct pipe_pool pool;
    (void)arg;
    pipe_pool_init(&pool);
    struct pipe *one = pipe_pool_get(&pool), *two = pipe_pool_get(&pool);
    pipe_pool_put(&pool, one);
    pipe_pool_put(&pool, two);
    pipe_pool_release(&pool);
    assert_int_equal(pool.count, 0);
}

static void test_faults(void **state)
{
    (void)state;
    assert_true(fault_loop("pipe pool", FAULT_MEMORY | FAULT_PIPE | FAULT_FCNTL, get_and_put, NULL) >= 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_pipe_is_kept_and_lent_again),
        cmocka_unit_test(test_one_with_bytes_inside_is_never_lent_again),
        cmocka_unit_test(test_the_pool_is_bounded),
        cmocka_unit_test(test_a_small_pipe_is_not_worth_it),
        cmocka_unit_test(test_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
