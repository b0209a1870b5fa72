/* What variables are worth, and that secrets are read anew when they change. */
#include "fault.h"
#include "http/fields.h"
#include "http/head.h"
#include "http/values.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

static char directory[64];
static char path[96];
static struct http_secrets secrets;
static struct http_values values = {
    .enclave = "payroll", .cid = 16, .route = "results", .request_id = "id-1", .secrets = &secrets};

static void write_file(const char *name, const char *content, size_t size)
{
    FILE *file = fopen(name, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(content, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* As though nobody had touched it for a while: its times tell of the next change. */
static void settle(struct http_secret *secret)
{
    secret->settled = true;
}

static int set_up(void **state)
{
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/postern-values-XXXXXX");
    if (mkdtemp(directory) == NULL) {
        return -1;
    }
    snprintf(path, sizeof path, "%s/token", directory);
    write_file(path, "secret\n", 7);
    http_secrets_init(&secrets, directory);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    http_secrets_release(&secrets);
    unlink(path);
    return rmdir(directory);
}

/* ---- What memory that grows, or is freed, leaves behind ---- */

static bool left_behind;

static void look_behind(void *old)
{
    left_behind |= old != NULL && memmem(old, malloc_usable_size(old), "secret", 6) != NULL;
}

void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size)
{
    look_behind(old);
    return __real_realloc(old, size);
}

void __real_free(void *old);
void __wrap_free(void *old);
void __wrap_free(void *old)
{
    look_behind(old);
    __real_free(old);
}

/* What an enclave sends may be for its upstream alone. */
static void received_headers_leave_no_secret_behind(void **state)
{
    struct http_fields fields;
    (void)state;
    left_behind = false;
    http_fields_init(&fields, 0);
    for (unsigned i = 0; i < 100; i++) {
        text_add(&fields.bytes, "authorization: secret\r\n");
    }
    assert_int_equal(http_fields_split(&fields, 0, 100), 0);
    http_fields_release(&fields);
    assert_false(left_behind);
}

/* Into a head that grows as it takes them, is written to be used again, and goes. */
static void leaves_no_secret_behind(void **state)
{
    struct http_head head;
    struct error err;
    char content[1000];
    (void)state;
    memset(content, 'x', sizeof content);
    memcpy(content, "secret", 6);
    write_file(path, content, 10);
    left_behind = false;
    http_head_init(&head, 0);
    for (unsigned i = 0; i < 100; i++) {
        http_head_begin(&head, http_span_of("authorization"));
        assert_int_equal(http_values_get(&values, HTTP_VARIABLE_CREDENTIAL, "token", &head.bytes, &err), 0);
        http_head_end(&head);
    }
    text_add(&head.line, "GET /secret HTTP/1.1");
    http_head_clear(&head);
    assert_null(memmem(head.bytes.data, head.bytes.capacity, "secret", 6));
    text_add(&head.line, "GET /secret HTTP/1.1");
    http_head_release(&head);
    write_file(path, content, sizeof content); /* it grows, and is read anew */
    struct text out = TEXT_SECRET_INIT;
    assert_int_equal(http_values_get(&values, HTTP_VARIABLE_CREDENTIAL, "token", &out, &err), 0);
    assert_int_equal(out.length, sizeof content);
    text_release(&out);
    http_secrets_release(&secrets);
    assert_false(left_behind);
}

static void check(enum http_variable kind, const char *name, const char *wanted)
{
    struct text out = TEXT_INIT;
    struct error err = ERROR_INIT;
    if (http_values_get(&values, kind, name, &out, &err) != 0) {
        fail_msg("%s: %s", name, err.text);
    }
    assert_string_equal(text_string(&out), wanted);
    text_release(&out);
}

static void check_error(enum http_variable kind, const char *name, int code, const char *why)
{
    struct text out = TEXT_INIT;
    struct error err = ERROR_INIT;
    assert_int_equal(http_values_get(&values, kind, name, &out, &err), code);
    if (strstr(err.text, why) == NULL || strstr(err.text, "secret") != NULL) {
        fail_msg("%s, expected %s", err.text, why);
    }
    assert_int_equal(out.length, 0);
    text_release(&out);
}

static void names(void **state)
{
    (void)state;
    check(HTTP_VARIABLE_ENCLAVE, "", "payroll");
    check(HTTP_VARIABLE_CID, "", "16");
    check(HTTP_VARIABLE_ROUTE, "", "results");
    check(HTTP_VARIABLE_REQUEST_ID, "", "id-1");
    values.enclave = NULL;
    check(HTTP_VARIABLE_ENCLAVE, "", "none");
    values.enclave = "payroll";
}

static void the_environment(void **state)
{
    (void)state;
    assert_int_equal(setenv("POSTERN_TEST_TOKEN", "value", 1), 0);
    check(HTTP_VARIABLE_ENV, "POSTERN_TEST_TOKEN", "value");
    assert_int_equal(unsetenv("POSTERN_TEST_TOKEN"), 0);
    check_error(HTTP_VARIABLE_ENV, "POSTERN_TEST_TOKEN", -ENOENT, "it is not set");
}

static void files_and_credentials(void **state)
{
    (void)state;
    check(HTTP_VARIABLE_FILE, path, "secret\n");
    check(HTTP_VARIABLE_CREDENTIAL, "token", "secret\n");
    assert_int_equal(secrets.count, 1);
    check_error(HTTP_VARIABLE_CREDENTIAL, "other", -ENOENT, "No such file");
    check_error(HTTP_VARIABLE_FILE, directory, -EINVAL, "is no regular file");
    secrets.directory = NULL;
    check_error(HTTP_VARIABLE_CREDENTIAL, "token", -ENOENT, "LoadCredential=token:PATH");
    char large[PATH_MAX + 1];
    memset(large, 'a', sizeof large);
    large[PATH_MAX] = '\0';
    secrets.directory = large;
    check_error(HTTP_VARIABLE_CREDENTIAL, "token", -ENAMETOOLONG, "too long");
}

static void a_file_that_changed_is_read_again(void **state)
{
    (void)state;
    check(HTTP_VARIABLE_FILE, path, "secret\n");
    /* Made a moment ago, it may change within the same tick of the clock, in nothing but its bytes. */
    write_file(path, "anothe\n", 7);
    check(HTTP_VARIABLE_FILE, path, "anothe\n");
    settle(&secrets.list[0]);
    write_file(path, "longer one\n", 11);
    check(HTTP_VARIABLE_FILE, path, "longer one\n");
    settle(&secrets.list[0]);
    assert_int_equal(unlink(path), 0);
    check_error(HTTP_VARIABLE_FILE, path, -ENOENT, "No such file");
    write_file(path, "back\n", 5);
    check(HTTP_VARIABLE_FILE, path, "back\n");
}

static void each_mark_of_a_change_counts(void **state)
{
    (void)state;
    check(HTTP_VARIABLE_FILE, path, "secret\n");
    struct http_secret *secret = &secrets.list[0];
    for (unsigned i = 0; i < 7; i++) {
        settle(secret);
        secret->value.data[0] = 'S'; /* seen as long as the file is not read */
        check(HTTP_VARIABLE_FILE, path, "Secret\n");
        secret->stat.st_dev += i == 0;
        secret->stat.st_ino += i == 1;
        secret->stat.st_size += i == 2;
        secret->stat.st_mtim.tv_sec += i == 3;
        secret->stat.st_mtim.tv_nsec += i == 4;
        secret->stat.st_ctim.tv_sec += i == 5;
        secret->stat.st_ctim.tv_nsec += i == 6;
        check(HTTP_VARIABLE_FILE, path, "secret\n");
    }
}

static void a_large_file_is_no_secret(void **state)
{
    (void)state;
    static char large[HTTP_SECRET_MAX + 1];
    memset(large, 'a', sizeof large);
    write_file(path, large, HTTP_SECRET_MAX);
    struct text out = TEXT_INIT;
    assert_int_equal(http_values_get(&values, HTTP_VARIABLE_FILE, path, &out, NULL), 0);
    assert_int_equal(out.length, HTTP_SECRET_MAX);
    text_release(&out);
    write_file(path, large, sizeof large);
    check_error(HTTP_VARIABLE_FILE, path, -EFBIG, "is larger than");
}

static void a_fifo_keeps_nobody_waiting(void **state)
{
    (void)state;
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    check_error(HTTP_VARIABLE_FILE, path, -EINVAL, "is no regular file");
}

static void run(void *arg)
{
    struct text out = TEXT_INIT;
    struct error err = ERROR_INIT;
    (void)arg;
    http_secrets_init(&secrets, directory);
    for (unsigned i = 0; i < 2; i++) {
        text_clear(&out);
        int r = http_values_get(&values, HTTP_VARIABLE_CREDENTIAL, "token", &out, &err);
        if (r == 0 && !out.failed) {
            assert_string_equal(text_string(&out), "secret\n");
        }
        assert_true(r == 0 || err.text[0] != '\0');
        if (secrets.count > 0) {
            settle(&secrets.list[0]);
            memset(&secrets.list[0].stat, 0, sizeof secrets.list[0].stat);
        }
    }
    text_release(&out);
    http_secrets_release(&secrets);
}

static void calls_fail(void **state)
{
    (void)state;
    http_secrets_release(&secrets);
    assert_true(fault_loop("http values", FAULT_MEMORY | FAULT_OPEN | FAULT_READ | FAULT_FILE, run, NULL) >=
                8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_environment, set_up, tear_down),
        cmocka_unit_test_setup_teardown(files_and_credentials, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_changed_is_read_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(each_mark_of_a_change_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_large_file_is_no_secret, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_fifo_keeps_nobody_waiting, set_up, tear_down),
        cmocka_unit_test(received_headers_leave_no_secret_behind),
        cmocka_unit_test_setup_teardown(leaves_no_secret_behind, set_up, tear_down),
        cmocka_unit_test_setup_teardown(calls_fail, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
