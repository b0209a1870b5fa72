/* Tests of jansson's memory: nothing is left of what was in it. */
#include "cli/json_memory.h"

#include <jansson.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define SECRET "c2VjcmV0IQ=="

static unsigned freed, residues;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void __real_free(void *memory);
void __wrap_free(void *memory);

/* Of json_memory.c, and of this file. All of a block is looked at when it is freed, what nobody wrote to, too. */
void *__wrap_malloc(size_t size)
{
    void *memory = __real_malloc(size);
    return memory ? memset(memory, '-', malloc_usable_size(memory)) : NULL;
}

void __wrap_free(void *memory)
{
    freed++;
    residues += memory && memmem(memory, malloc_usable_size(memory), SECRET, strlen(SECRET));
    __real_free(memory);
}

static int set_up(void **state)
{
    (void)state;
    json_memory_wipe_all();
    freed = residues = 0;
    return 0;
}

/* In a string that the lexer's buffer has to grow for, more than once, and that has to be put together. */
static void test_parsed_secrets_are_wiped(void **state)
{
    (void)state;
    char text[4096] = "{\"Plaintext\":\"";

    while (strlen(text) < 4000) {
        strcat(text, SECRET "\\n");
    }
    strcat(text, "\"}");
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    assert_non_null(strstr(json_string_value(json_object_get(root, "Plaintext")), SECRET));
    json_decref(root);
    assert_true(freed >= 5);
    assert_int_equal(residues, 0);
}

static void test_secrets_that_are_no_json_are_wiped(void **state)
{
    (void)state;
    assert_null(json_loads("[\"" SECRET "\", \"" SECRET, 0, NULL));
    assert_true(freed >= 3);
    assert_int_equal(residues, 0);
}

static void test_bounds(void **state)
{
    (void)state;
    json_malloc_t allocate;
    json_free_t let_go;

    json_get_alloc_funcs(&allocate, &let_go);
    assert_null(allocate(SIZE_MAX));
    let_go(NULL);
    assert_int_equal(freed, 0);
    char *aligned = allocate(1);
    assert_non_null(aligned);
    assert_int_equal((uintptr_t)aligned % _Alignof(max_align_t), 0);
    let_go(aligned);
    assert_int_equal(freed, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_parsed_secrets_are_wiped, set_up),
        cmocka_unit_test_setup(test_secrets_that_are_no_json_are_wiped, set_up),
        cmocka_unit_test_setup(test_bounds, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
