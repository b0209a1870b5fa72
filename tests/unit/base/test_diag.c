/* Mistakes in a file. */
#include "base/diag.h"

#include "fault.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct place at(unsigned line, unsigned column)
{
    return (struct place){.line = line, .column = column};
}

static void assert_shown(struct diags *diags, const char *expected)
{
    struct text text = TEXT_INIT;

    diags_format(diags, &text);
    assert_false(text.failed);
    assert_string_equal(text_string(&text), expected);
    text_release(&text);
}

static void test_sorted_by_place(void **state)
{
    struct diags diags;

    (void)state;
    diags_init(&diags, "postern.yaml");
    assert_shown(&diags, "");
    diags_add(&diags, at(10, 3), "unknown key `%s`", "lsten");
    diags_add(&diags, at(9, 20), "ninth");
    diags_add(&diags, at(10, 1), "first of the tenth");
    diags_add(&diags, at(10, 3), "told later, of the same place");
    diags_add(&diags, at(0, 0), "no listeners");
    diags_add(&diags, at(12, 0), "somewhere in this line");
    assert_int_equal(diags.count, 6);
    assert_int_equal(diags.total, 6);
    assert_shown(&diags, "postern.yaml: no listeners\n"
                         "postern.yaml:9:20: ninth\n"
                         "postern.yaml:10:1: first of the tenth\n"
                         "postern.yaml:10:3: unknown key `lsten`\n"
                         "postern.yaml:10:3: told later, of the same place\n"
                         "postern.yaml:12: somewhere in this line\n");
    diags_release(&diags);
    assert_int_equal(diags.total, 0);
    assert_shown(&diags, "");
}

static void test_bounded(void **state)
{
    struct diags diags;
    struct text text = TEXT_INIT;

    (void)state;
    diags_init(&diags, "f");
    for (unsigned i = 0; i < DIAGS_MAX; i++) {
        diags_add(&diags, at(DIAGS_MAX - i, 1), "wrong");
    }
    diags_format(&diags, &text);
    assert_null(strstr(text_string(&text), "not shown"));
    diags_add(&diags, at(1, 1), "one too many");
    diags_add(&diags, at(1, 1), "two too many");
    assert_int_equal(diags.count, DIAGS_MAX);
    assert_int_equal(diags.total, DIAGS_MAX + 2);
    text_clear(&text);
    diags_format(&diags, &text);
    assert_non_null(strstr(text_string(&text), "f:100:1: wrong\nf: 2 more mistakes not shown\n"));
    text_release(&text);
    diags_release(&diags);
}

static void tell(void *arg)
{
    struct diags diags;
    struct text text = TEXT_INIT;

    (void)arg;
    diags_init(&diags, "f");
    diags_add(&diags, at(2, 1), "second of %d", 2);
    diags_add(&diags, at(1, 1), "first of %d", 2);
    assert_int_equal(diags.total, 2);
    diags_format(&diags, &text);
    /* what is missing is counted, unless there was no memory to say so */
    if (diags.count == 2 && !text.failed) {
        assert_string_equal(text_string(&text), "f:1:1: first of 2\nf:2:1: second of 2\n");
    } else if (!text.failed) {
        assert_non_null(strstr(text_string(&text), diags.count == 1 ? "1 more" : "2 more"));
    }
    text_release(&text);
    diags_release(&diags);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    assert_true(fault_loop("diag", FAULT_MEMORY, tell, NULL) >= 4);
    assert_true(fault_loop("diag, from there on", FAULT_MEMORY | FAULT_STICKY, tell, NULL) >= 4);
}

static void test_nearest(void **state)
{
    static const char *const keys[] = {"listen", "protocol", "route", "allow", "allow_private", "to", "sni"};
    static const struct {
        const char *word;
        const char *nearest;
    } cases[] = {
        {"listen", "listen"},      /* itself */
        {"lsten", "listen"},       /* one left out */
        {"lissten", "listen"},     /* one too many */
        {"lisfen", "listen"},      /* one changed */
        {"lsiten", "listen"},      /* two swapped */
        {"ilsetn", "listen"},      /* twice two swapped */
        {"listn_on", NULL},        /* three for eight letters: too far */
        {"protokoll", "protocol"}, /* two for nine letters */
        {"alow_privat", "allow_private"},
        {"rout", "route"},
        {"snl", "sni"},
        {"ot", "to"},
        {"xx", NULL},
        {"t", "to"}, /* one is always allowed */
        {"destination", NULL},
        {"", NULL},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const char *nearest = diags_nearest(cases[i].word, keys, ARRAY_SIZE(keys));

        if (nearest != cases[i].nearest &&
            (!nearest || !cases[i].nearest || strcmp(nearest, cases[i].nearest) != 0)) {
            fail_msg("%s: %s instead of %s", cases[i].word, nearest ? nearest : "none",
                     cases[i].nearest ? cases[i].nearest : "none");
        }
    }
    assert_null(diags_nearest("x", NULL, 0));
}

/* The nearer one wins wherever it stands, and of two as near the first. */
static void test_nearest_of_several(void **state)
{
    static const char *const near_last[] = {"abcdxx", "abcdex", "abcdef"};
    static const char *const near_first[] = {"abcdef", "abcdex", "abcdxx"};
    static const char *const equal[] = {"abcdey", "abcdex"};

    (void)state;
    assert_string_equal(diags_nearest("abcdef", near_last, 3), "abcdef");
    assert_string_equal(diags_nearest("abcdef", near_first, 3), "abcdef");
    assert_string_equal(diags_nearest("abcdef", equal, 2), "abcdey");
}

static void test_nearest_of_long_words(void **state)
{
    char word[66];
    char candidate[66];
    const char *const candidates[] = {candidate};

    (void)state;
    memset(word, 'a', sizeof(word));
    memset(candidate, 'a', sizeof(candidate));
    word[64] = '\0';
    candidate[64] = '\0';
    candidate[0] = 'b';
    assert_string_equal(diags_nearest(word, candidates, 1), candidate);
    candidate[64] = 'a';
    candidate[65] = '\0';
    assert_null(diags_nearest(word, candidates, 1));
    candidate[64] = '\0';
    word[64] = 'a';
    word[65] = '\0';
    assert_null(diags_nearest(word, candidates, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sorted_by_place),    cmocka_unit_test(test_bounded),
        cmocka_unit_test(test_out_of_memory),      cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_nearest_of_several), cmocka_unit_test(test_nearest_of_long_words),
    };

    return cmocka_run_group_tests_name("diag", tests, NULL, NULL);
}
