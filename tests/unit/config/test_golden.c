/*
 * The corpus: every file of bad/ is refused with exactly the text that lies beside it, and every file of
 * good/ is accepted. `test_config_golden --write` writes the texts anew, for a person to read through.
 */
#include "base/text.h"
#include "config/config.h"
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool writing;

static char *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fail_msg("cannot open %s: %s", path, strerror(errno));
        abort();
    }
    char *data = calloc(1, 1 << 20);
    assert_non_null(data);
    *size = fread(data, 1, (1 << 20) - 1, file);
    assert_true(feof(file));
    fclose(file);
    return data;
}

/* Shown by the name alone, so that the texts do not depend on where the sources are. */
static int parse(const char *directory, const char *name, struct text *said)
{
    char path[4096];
    struct config *config = NULL;
    struct diags diags;
    size_t size = 0;
    snprintf(path, sizeof path, TEST_DATA "/%s/%s", directory, name);
    char *data = read_file(path, &size);
    /* As large as the text and no larger, for the sanitizer. */
    char *exact = malloc(size > 0 ? size : 1);
    assert_non_null(exact);
    memcpy(exact, data, size);
    free(data);
    diags_init(&diags, name);
    int r = config_parse(name, exact, size, &config, &diags);
    free(exact);
    diags_format(&diags, said);
    assert_int_equal(r == 0, diags.total == 0);
    assert_int_equal(r == 0, config != NULL);
    diags_release(&diags);
    config_unref(config);
    return r;
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void check_bad(const char *name)
{
    char path[4096];
    struct text said = TEXT_INIT;
    assert_int_equal(parse("bad", name, &said), -EINVAL);
    snprintf(path, sizeof path, TEST_DATA "/bad/%.*s.expected", (int)(strlen(name) - strlen(".yaml")), name);
    if (writing) {
        write_text(path, text_string(&said));
    } else {
        size_t size = 0;
        char *expected = read_file(path, &size);
        if (strcmp(text_string(&said), expected) != 0) {
            fail_msg("%s is told as\n%sbut expected was\n%s", name, text_string(&said), expected);
        }
        free(expected);
    }
    text_release(&said);
}

static void check_good(const char *name)
{
    struct text said = TEXT_INIT;
    if (parse("good", name, &said) != 0) {
        fail_msg("%s was refused:\n%s", name, text_string(&said));
    }
    text_release(&said);
}

static int is_yaml(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);
    return length > 5 && strcmp(entry->d_name + length - 5, ".yaml") == 0;
}

static void each(const char *directory, int least, void (*check)(const char *name))
{
    struct dirent **entries = NULL;
    int count = scandir(directory, &entries, is_yaml, alphasort);
    assert_true(count >= least);
    for (int i = 0; i < count; i++) {
        check(entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
}

static void test_bad(void **state)
{
    (void)state;
    each(TEST_DATA "/bad", 197, check_bad);
}

static void test_good(void **state)
{
    (void)state;
    each(TEST_DATA "/good", 9, check_good);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_good),
    };
    writing = argc > 1 && strcmp(argv[1], "--write") == 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
