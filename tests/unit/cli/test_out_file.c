/* Files that appear whole or not at all. */
#include "cli/out_file.h"

#include "fault.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/out_file.XXXXXX";
static char path[64];
static struct error err;

static int set_up(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/out", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    (void)unlink(path);
    return rmdir(folder);
}

static unsigned files(void)
{
    unsigned count = 0;
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        count += entry->d_name[0] != '.';
    }
    closedir(dir);
    return count;
}

static void assert_content(const char *expected)
{
    char text[64] = "";
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    assert_string_equal(text, expected);
}

static int write_file(const char *text)
{
    struct out_file file;
    int r = out_file_open(&file, path, -1, 0600, &err);
    if (r != 0) {
        return r;
    }
    r = out_file_write(&file, text, strlen(text));
    if (r != 0) {
        out_file_abandon(&file);
        return r;
    }
    return out_file_commit(&file, &err);
}

static void test_appears_at_the_end(void **state)
{
    struct out_file file;
    struct stat st;
    (void)state;
    assert_int_equal(out_file_open(&file, path, -1, 0600, &err), 0);
    assert_int_equal(out_file_write(&file, "new", 3), 0);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(out_file_commit(&file, &err), 0);
    assert_content("new");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    unlink(path);
}

static void test_takes_the_place(void **state)
{
    struct out_file file;
    (void)state;
    assert_int_equal(write_file("old"), 0);
    assert_int_equal(out_file_open(&file, path, -1, 0600, &err), 0);
    assert_int_equal(out_file_write(&file, "new", 3), 0);
    assert_content("old");
    assert_int_equal(out_file_commit(&file, &err), 0);
    assert_content("new");
    assert_int_equal(files(), 1);
    unlink(path);
}

static void test_abandoned(void **state)
{
    struct out_file file;
    (void)state;
    assert_int_equal(out_file_open(&file, path, -1, 0600, &err), 0);
    assert_int_equal(out_file_write(&file, "new", 3), 0);
    out_file_abandon(&file);
    assert_int_equal(files(), 0);
}

static void test_standard_output(void **state)
{
    struct out_file file;
    int ends[2];
    char text[8] = "";
    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(out_file_open(&file, NULL, ends[1], 0600, &err), 0);
    assert_int_equal(out_file_write(&file, "new", 3), 0);
    assert_int_equal(out_file_commit(&file, &err), 0);
    assert_int_equal(write(ends[1], "!", 1), 1); /* it stays open */
    close(ends[1]);
    assert_int_equal(read(ends[0], text, sizeof text), 4);
    assert_string_equal(text, "new!");
    close(ends[0]);
}

static void test_devices(void **state)
{
    struct out_file file;
    (void)state;
    assert_int_equal(out_file_open(&file, "/dev/null", -1, 0600, &err), 0);
    assert_int_equal(out_file_write(&file, "new", 3), 0);
    assert_int_equal(out_file_commit(&file, &err), 0);
    assert_int_equal(out_file_open(&file, "/dev/full", -1, 0600, &err), 0);
    assert_int_equal(out_file_write(&file, "new", 3), -ENOSPC);
    out_file_abandon(&file);
}

static void test_cannot(void **state)
{
    struct out_file file;
    (void)state;
    assert_int_equal(out_file_open(&file, "/nowhere/out", -1, 0600, &err), -ENOENT);
    assert_string_equal(err.text, "cannot write /nowhere/out: No such file or directory");
    assert_int_equal(out_file_open(&file, folder, -1, 0600, &err), -EISDIR);
}

/* Where a file system knows no files without a name, one beside is used: here opening without a name fails once. */
static void test_with_another_name(void **state)
{
    struct out_file file;
    (void)state;
    assert_int_equal(write_file("old"), 0);
    fault_arm(FAULT_OPEN, 1);
    assert_int_equal(out_file_open(&file, path, -1, 0600, &err), 0);
    assert_int_equal(fault_disarm(), 1);
    assert_int_equal(out_file_write(&file, "new", 3), 0);
    assert_int_equal(files(), 2);
    assert_int_equal(out_file_commit(&file, &err), 0);
    assert_content("new");
    assert_int_equal(files(), 1);
    fault_arm(FAULT_OPEN, 1);
    assert_int_equal(out_file_open(&file, path, -1, 0600, &err), 0);
    fault_disarm();
    out_file_abandon(&file);
    assert_int_equal(files(), 1);
    unlink(path);
}

static void write_twice(void *arg)
{
    (void)arg;
    for (int i = 0; i < 2; i++) {
        int r = write_file("text");
        assert_true(r == 0 || r == -ENOMEM || r == -EMFILE || r == -EIO || r == -EEXIST);
    }
    fault_spare(true);
    (void)unlink(path);
    assert_int_equal(files(), 0);
    fault_spare(false);
}

static void test_failures(void **state)
{
    (void)state;
    assert_true(
        fault_loop("out_file", FAULT_MEMORY | FAULT_OPEN | FAULT_WRITE | FAULT_FILE, write_twice, NULL) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_appears_at_the_end),
        cmocka_unit_test(test_takes_the_place),
        cmocka_unit_test(test_abandoned),
        cmocka_unit_test(test_standard_output),
        cmocka_unit_test(test_devices),
        cmocka_unit_test(test_cannot),
        cmocka_unit_test(test_with_another_name),
        cmocka_unit_test(test_failures),
    };
    return cmocka_run_group_tests_name("cli/out_file", tests, set_up, tear_down);
}
