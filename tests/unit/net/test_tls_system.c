/* The system's CAs, which are parsed once. */
#include "certificates.h"
#include "fault.h"
#include "net/tls_private.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static struct authority one, two;
static char file[128];
static SSL_CTX *contexts[3];
static time_t seconds; /* that the clock is ahead */

int __real_clock_gettime(clockid_t id, struct timespec *ret);
int __wrap_clock_gettime(clockid_t id, struct timespec *ret);
int __wrap_clock_gettime(clockid_t id, struct timespec *ret)
{
    int rv = __real_clock_gettime(id, ret);
    ret->tv_sec += id == CLOCK_REALTIME ? seconds : 0;
    return rv;
}

static void copy_to_file(const char *path, const char *mode)
{
    char bytes[8192];
    FILE *from = fopen(path, "r"), *to = fopen(file, mode);
    assert_true(from != NULL && to != NULL);
    size_t size = fread(bytes, 1, sizeof bytes, from);
    assert_int_equal(fwrite(bytes, 1, size, to), size);
    fclose(from);
    fclose(to);
}

static void write_to_file(const char *text)
{
    FILE *to = fopen(file, "w");
    assert_non_null(to);
    fputs(text, to);
    fclose(to);
}

static int set_up(void **state)
{
    (void)state;
    authority_open(&one);
    authority_open(&two);
    snprintf(file, sizeof file, "%s/system.pem", one.directory);
    assert_int_equal(setenv("SSL_CERT_FILE", file, 1), 0);
    assert_int_equal(setenv("SSL_CERT_DIR", one.directory, 1), 0);
    copy_to_file(one.ca_file, "w");
    seconds = 10; /* the file is old */
    for (unsigned i = 0; i < ARRAY_SIZE(contexts); i++) {
        contexts[i] = SSL_CTX_new(TLS_client_method());
        assert_non_null(contexts[i]);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(contexts); i++) {
        SSL_CTX_free(contexts[i]);
    }
    unlink(file);
    authority_close(&one);
    authority_close(&two);
    return 0;
}

static void use(unsigned i)
{
    struct error err = ERROR_INIT;
    if (tls_system_use(contexts[i], &err) != 0) {
        fail_msg("%s", err.text);
    }
}

static void leave(unsigned count)
{
    while (count-- > 0) {
        tls_system_leave();
    }
}

static X509_STORE *store(unsigned i)
{
    return SSL_CTX_get_cert_store(contexts[i]);
}

static unsigned trusted(unsigned i)
{
    return (unsigned)sk_X509_OBJECT_num(X509_STORE_get0_objects(store(i)));
}

static void test_one_for_all(void **state)
{
    (void)state;
    use(0);
    use(1);
    assert_ptr_equal(store(0), store(1));
    assert_int_equal(trusted(0), 1);
    leave(2);
    assert_int_equal(trusted(0), 1); /* the contexts have it still */
    use(2);
    assert_ptr_not_equal(store(2), store(0));
    leave(1);
}

static void test_a_file_that_changes(void **state)
{
    (void)state;
    use(0);
    copy_to_file(two.ca_file, "a");
    use(1);
    use(2);
    assert_int_equal(trusted(0), 1);
    assert_int_equal(trusted(1), 2);
    assert_ptr_equal(store(1), store(2));
    leave(3);
}

/* It may change once more within the same tick of its times. */
static void test_a_file_that_has_just_changed(void **state)
{
    (void)state;
    seconds = 0;
    use(0);
    use(1);
    assert_ptr_not_equal(store(0), store(1));
    leave(2);
}

static void test_no_file(void **state)
{
    (void)state;
    assert_int_equal(unlink(file), 0);
    use(0);
    assert_int_equal(trusted(0), 0); /* there may be some in the directory */
    write_to_file("");
    use(1);
    assert_int_equal(trusted(1), 0);
    leave(2);
}

static void test_nonsense(void **state)
{
    struct error err = ERROR_INIT;
    (void)state;
    use(0);
    write_to_file("nonsense\n");
    assert_int_equal(tls_system_use(contexts[1], &err), -EINVAL);
    assert_non_null(strstr(err.text, file));
    assert_int_equal(trusted(0), 1);
    copy_to_file(one.ca_file, "w");
    use(1);
    assert_int_equal(trusted(1), 1);
    leave(2);
}

/* A part of the file is never taken for the whole. */
static void use_and_leave(void *arg)
{
    struct error err = ERROR_INIT;
    (void)arg;
    if (tls_system_use(contexts[0], &err) == 0) {
        fault_spare(true);
        assert_int_equal(trusted(0), 2);
        fault_spare(false);
        leave(1);
    } else {
        assert_true(err.text[0] != '\0');
    }
    fault_spare(true);
    SSL_CTX_set_cert_store(contexts[0], X509_STORE_new());
    fault_spare(false);
}

static void test_faults(void **state)
{
    (void)state;
    copy_to_file(two.ca_file, "a");
    assert_true(fault_loop("system's CAs", FAULT_MEMORY | FAULT_OPEN, use_and_leave, NULL) >= 20);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_one_for_all),
        T(test_a_file_that_changes),
        T(test_a_file_that_has_just_changed),
        T(test_no_file),
        T(test_nonsense),
        T(test_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
