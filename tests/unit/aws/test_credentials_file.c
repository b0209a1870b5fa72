/* Tests of aws/credentials_file.c: what is a profile, what is none, and when the file is read again. */
#include "aws/credentials_file.h"

#include "fault.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static struct error err;

static int parse(const char *text, const char *profile, struct credentials_keys *ret)
{
    size_t size = strlen(text);
    char *data = malloc(size + 1);
    assert_non_null(data);
    memcpy(data, text, size);
    err = (struct error)ERROR_INIT;
    int rv = credentials_file_parse(data, size, profile, ret, &err);
    free(data);
    return rv;
}

static void check(const char *text, const char *profile, const char *id, const char *secret,
                  const char *token)
{
    struct credentials_keys keys;
    if (parse(text, profile, &keys) != 0) {
        fail_msg("%s", err.text);
    }
    assert_string_equal(keys.access_key_id, id);
    assert_string_equal(keys.secret_access_key, secret);
    if (token != NULL) {
        assert_string_equal(keys.session_token, token);
    } else {
        assert_null(keys.session_token);
    }
    assert_int_equal(keys.expires, 0);
    credentials_keys_release(&keys);
    assert_null(keys.access_key_id);
}

static void refuse(const char *text, const char *profile, int code, const char *word)
{
    struct credentials_keys keys;
    assert_int_equal(parse(text, profile, &keys), code);
    assert_null(keys.access_key_id);
    assert_null(strstr(err.text, "SECRET"));
    if (strstr(err.text, word) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", err.text, word);
    }
}

#define PLAIN "aws_access_key_id = ID\naws_secret_access_key = SECRET\n"

static void test_profiles(void **state)
{
    (void)state;
    check("[default]\n" PLAIN, "default", "ID", "SECRET", NULL);
    check("[default]\r\naws_access_key_id=ID\r\naws_secret_access_key=S=E/C+\r\naws_session_token=T==\r\n",
          "default", "ID", "S=E/C+", "T==");
    check("[a]\n" PLAIN "[ b ]\naws_access_key_id=B\naws_secret_access_key=C", "b", "B", "C", NULL);
    check("# [a]\n; x\n\n[a] # first\nAWS_ACCESS_KEY_ID = A # it\naws_secret_access_key = S ; it\n", "a", "A",
          "S", NULL);
    check("[a]\n" PLAIN "aws_session_token =\n", "a", "ID", "SECRET", NULL);
}

static void test_what_is_said_last_counts(void **state)
{
    (void)state;
    check("[a]\n" PLAIN "[b]\n[a]\naws_access_key_id = NEW\n", "a", "NEW", "SECRET", NULL);
    check("[a]\n" PLAIN "aws_secret_access_key = NEW\n", "a", "ID", "NEW", NULL);
}

static void test_indentation(void **state)
{
    (void)state;
    check("[a]\n  aws_access_key_id = ID\n  aws_secret_access_key = S\n", "a", "ID", "S", NULL);
    check("[a]\ns3 =\n  aws_access_key_id = other\n  [b]\n" PLAIN, "a", "ID", "SECRET", NULL);
    check("[b]\nnonsense\n[a]\n" PLAIN, "a", "ID", "SECRET", NULL);
}

static void test_refusals(void **state)
{
    char zero[] = "[a]\n\0" PLAIN;
    struct credentials_keys keys;
    (void)state;
    refuse("", "a", -ENOENT, "no profile [a]");
    refuse("[ab]\n" PLAIN, "a", -ENOENT, "no profile [a]");
    refuse("[a]\nregion = x\n", "a", -ENOENT, "aws_access_key_id");
    refuse("[a]\nrole_arn = SECRET\n", "a", -EINVAL, "role_arn, which is not followed");
    refuse("[a]\nCredential_Process = SECRET\n", "a", -EINVAL, "not followed");
    refuse("[a]\naws_access_key_id = ID\n", "a", -EINVAL, "secret access key");
    refuse("[a]\naws_secret_access_key = SECRET\n", "a", -EINVAL, "access key ID");
    refuse("[a]\naws_access_key_id = ID\naws_secret_access_key = SECRET WORD\n", "a", -EINVAL, "[a]");
    refuse("[a]\n\naws_access_key_id SECRET\n", "a", -EINVAL, "line 3");
    refuse("[a\n" PLAIN, "a", -EINVAL, "line 1");
    assert_int_equal(credentials_file_parse(zero, sizeof zero - 1, "a", &keys, &err), -EINVAL);
}

/* ---- Files ---- */

static char directory[] = "/tmp/postern-credentials-XXXXXX";
static char path[64];

static void write_file(const char *text, size_t size)
{
    char other[80];
    snprintf(other, sizeof other, "%s.new", path);
    int fd = open(other, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, size), size);
    close(fd);
    assert_int_equal(rename(other, path), 0);
}

static int make_directory(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "%s/credentials", mkdtemp(directory) != NULL ? directory : "");
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    (void)unlink(path);
    return rmdir(directory);
}

static int read_keys(struct credentials_keys *keys, struct credentials_stamp *stamp)
{
    err = (struct error)ERROR_INIT;
    return credentials_file_read(path, "default", keys, stamp, &err);
}

#define FIRST  "[default]\naws_access_key_id = ONE\naws_secret_access_key = S\n"
#define SECOND "[default]\naws_access_key_id = TWO\naws_secret_access_key = S\n"

static void test_reads_a_file(void **state)
{
    struct credentials_keys keys;
    struct credentials_stamp stamp;
    (void)state;
    write_file(FIRST, sizeof FIRST - 1);
    assert_int_equal(read_keys(&keys, &stamp), 0);
    assert_string_equal(keys.access_key_id, "ONE");
    credentials_keys_release(&keys);
    /* Just written: it may change again without its times telling. */
    assert_true(credentials_file_changed(path, &stamp));
    stamp.settled = true;
    assert_false(credentials_file_changed(path, &stamp));
    write_file(SECOND, sizeof SECOND - 1);
    assert_true(credentials_file_changed(path, &stamp));
    assert_int_equal(read_keys(&keys, &stamp), 0);
    assert_string_equal(keys.access_key_id, "TWO");
    credentials_keys_release(&keys);
    stamp.settled = true;
    assert_int_equal(unlink(path), 0);
    assert_true(credentials_file_changed(path, &stamp));
}

static void test_refuses_files(void **state)
{
    struct credentials_keys keys;
    struct credentials_stamp stamp;
    static char large[CREDENTIALS_FILE_MAX + 1];
    (void)state;
    assert_int_equal(read_keys(&keys, &stamp), -ENOENT);
    assert_non_null(strstr(err.text, path));
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(read_keys(&keys, &stamp), -EINVAL);
    assert_int_equal(unlink(path), 0);
    memset(large, '#', sizeof large);
    write_file(large, sizeof large);
    assert_int_equal(read_keys(&keys, &stamp), -EFBIG);
    write_file(large, sizeof large - 1);
    assert_int_equal(read_keys(&keys, &stamp), -ENOENT);
    assert_non_null(strstr(err.text, "no profile"));
    assert_int_equal(credentials_file_read("/dev/null/x", "a", &keys, &stamp, &err), -ENOENT);
}

static void read_it(void *arg)
{
    struct credentials_keys keys = {.expires = 0};
    struct credentials_stamp stamp;
    (void)arg;
    if (credentials_file_read(path, "default", &keys, &stamp, &err) == 0) {
        assert_string_equal(keys.access_key_id, "ONE");
    }
    credentials_keys_release(&keys);
}

static void test_failing_calls(void **state)
{
    (void)state;
    write_file(FIRST, sizeof FIRST - 1);
    assert_true(fault_loop("credentials file", FAULT_MEMORY | FAULT_OPEN | FAULT_READ | FAULT_FILE, read_it,
                           NULL) >= 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_profiles),      cmocka_unit_test(test_what_is_said_last_counts),
        cmocka_unit_test(test_indentation),   cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_reads_a_file),  cmocka_unit_test(test_refuses_files),
        cmocka_unit_test(test_failing_calls),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
