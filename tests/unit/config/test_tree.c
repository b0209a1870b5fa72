/* The tree: places, kinds, and bounds that hold at the last byte. */
#include "base/text.h"
#include "config/tree.h"
#include "config/utf8.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

struct read {
    struct arena arena;
    struct diags diags;
    const struct node *root;
    int result;
};

static void read_bytes(struct read *read, const char *data, size_t size)
{
    *read = (struct read){.arena = ARENA_INIT};
    diags_init(&read->diags, "t");
    read->result = tree_parse(data, size, &read->arena, &read->diags, &read->root);
    assert_int_equal(read->result == 0, read->root != NULL);
}

static void read_text(struct read *read, const struct text *text)
{
    assert_false(text->failed);
    read_bytes(read, text_string(text), text->length);
}

static void release(struct read *read)
{
    diags_release(&read->diags);
    arena_release(&read->arena);
}

static void assert_told(struct read *read, const char *line)
{
    struct text said = TEXT_INIT;
    diags_format(&read->diags, &said);
    if (strstr(text_string(&said), line) == NULL) {
        fail_msg("told \"%s\" and not \"%s\"", text_string(&said), line);
    }
    text_release(&said);
}

static void assert_place(struct place place, unsigned line, unsigned column)
{
    assert_int_equal(place.line, line);
    assert_int_equal(place.column, column);
}

static void test_places_and_kinds(void **state)
{
    static const char text[] = "# a comment\n"
                               "a: one\n"
                               "\xc3\xa9: [two, 'three', ~]\n"
                               "m:\n"
                               "  \"k k\": {x: |-\n"
                               "    block\n"
                               "  , y: }\n";
    struct read read;
    (void)state;
    read_bytes(&read, "a: one\n\xc3\xa9: [two, 'three', ~]\nm:\n  \"k k\": {x: \"q\", y: }\n",
               strlen("a: one\n\xc3\xa9: [two, 'three', ~]\nm:\n  \"k k\": {x: \"q\", y: }\n"));
    assert_int_equal(read.result, 0);
    assert_int_equal(read.root->kind, NODE_MAP);
    assert_int_equal(read.root->count, 3);
    assert_place(read.root->place, 1, 1);
    const struct node *a = tree_get(read.root, "a");
    assert_string_equal(a->text, "one");
    assert_false(a->quoted);
    assert_place(a->key_place, 1, 1);
    assert_place(a->place, 1, 4);
    const struct node *list = tree_get(read.root, "\xc3\xa9");
    assert_int_equal(list->kind, NODE_LIST);
    assert_int_equal(list->count, 3);
    assert_place(list->place, 2, 4); /* columns count characters, not bytes */
    assert_place(list->first->next->place, 2, 10);
    assert_true(list->first->next->quoted);
    assert_null(list->first->key);
    assert_int_equal(list->last->kind, NODE_NULL);
    const struct node *inner = tree_get(tree_get(read.root, "m"), "k k");
    assert_place(inner->key_place, 4, 3);
    assert_string_equal(tree_get(inner, "x")->text, "q");
    assert_int_equal(tree_get(inner, "y")->kind, NODE_NULL);
    assert_null(tree_get(inner, "z"));
    assert_null(tree_get(a, "z"));
    assert_null(tree_get(list, "z"));
    release(&read);
    read_bytes(&read, text, strlen(text)); /* a block inside braces is no YAML */
    assert_int_equal(read.result, -EINVAL);
    release(&read);
}

static void test_nulls(void **state)
{
    static const char text[] = "a:\nb: ~\nc: null\nd: Null\ne: NULL\nf: 'null'\ng: nULL\nh: \"\"\n";
    struct read read;
    (void)state;
    read_bytes(&read, text, strlen(text));
    const char *names = "abcdefgh";
    for (size_t i = 0; names[i] != '\0'; i++) {
        char name[2] = {names[i], '\0'};
        assert_int_equal(tree_get(read.root, name)->kind, i < 5 ? NODE_NULL : NODE_TEXT);
    }
    release(&read);
}

static void test_size(void **state)
{
    struct text text = TEXT_INIT;
    struct read read;
    (void)state;
    text_add(&text, "version: 1\n#");
    while (text.length < TREE_SIZE_MAX) {
        text_add_char(&text, text.length % 100 == 0 ? '\n' : '#');
    }
    read_text(&read, &text);
    assert_int_equal(read.result, 0);
    release(&read);
    text_add_char(&text, '\n');
    read_text(&read, &text);
    assert_int_equal(read.result, -EINVAL);
    assert_told(&read, "t: the file is larger than 1024 KiB: this is no configuration");
    release(&read);
    text_release(&text);
}

static void make_nested(struct text *text, unsigned depth)
{
    text_add(text, "a: ");
    for (unsigned i = 1; i < depth; i++) {
        text_add_char(text, '[');
    }
    for (unsigned i = 1; i < depth; i++) {
        text_add_char(text, ']');
    }
    text_add_char(text, '\n');
}

static void test_depth(void **state)
{
    struct text text = TEXT_INIT;
    struct read read;
    (void)state;
    make_nested(&text, TREE_DEPTH_MAX);
    read_text(&read, &text);
    assert_int_equal(read.result, 0);
    release(&read);
    text_clear(&text);
    make_nested(&text, TREE_DEPTH_MAX + 1);
    read_text(&read, &text);
    assert_int_equal(read.result, -EINVAL);
    assert_told(&read, "t:1:19: nested deeper than 16 levels");
    release(&read);
    text_release(&text);
}

/* The list, its key and the map itself are three of them. */
static void test_nodes(void **state)
{
    struct text text = TEXT_INIT;
    struct read read;
    (void)state;
    text_add(&text, "a:\n");
    for (unsigned i = 0; i < TREE_NODES_MAX - 3; i++) {
        text_add(&text, "- x\n");
    }
    read_text(&read, &text);
    assert_int_equal(read.result, 0);
    assert_int_equal(tree_get(read.root, "a")->count, TREE_NODES_MAX - 3);
    release(&read);
    text_add(&text, "- x\n");
    read_text(&read, &text);
    assert_int_equal(read.result, -EINVAL);
    assert_told(&read, "t:49999:3: more than 50000 keys and values: split the configuration");
    release(&read);
    text_release(&text);
}

static void test_text_length(void **state)
{
    struct text text = TEXT_INIT;
    struct read read;
    (void)state;
    text_add(&text, "a: ");
    for (unsigned i = 0; i < TREE_TEXT_MAX; i++) {
        text_add_char(&text, 'x');
    }
    read_text(&read, &text);
    assert_int_equal(strlen(tree_get(read.root, "a")->text), TREE_TEXT_MAX);
    release(&read);
    text_add_char(&text, 'x');
    read_text(&read, &text);
    assert_int_equal(read.result, 0); /* the rest of the tree stands */
    assert_int_equal(tree_get(read.root, "a")->kind, NODE_BAD);
    assert_string_equal(tree_get(read.root, "a")->text, "");
    assert_told(&read, "t:1:4: a text of 4097 bytes: expected at most 4096");
    release(&read);
    text_clear(&text);
    for (unsigned i = 0; i < 900; i++) {
        text_add(&text, "\\x41");
    }
    struct text key = TEXT_INIT;
    text_addf(&key, "? \"%s%s%s%s%s\"\n: 1\n", text_string(&text), text_string(&text), text_string(&text),
              text_string(&text), text_string(&text));
    read_text(&read, &key);
    assert_int_equal(read.result, -EINVAL);
    assert_told(&read, "t:1:3: a text of 4500 bytes");
    release(&read);
    text_release(&key);
    text_release(&text);
}

/* Many keys in one map are sorted, not compared each with each; the same key thousands of times is told. */
static void test_many_keys(void **state)
{
    struct text text = TEXT_INIT;
    struct read read;
    (void)state;
    for (unsigned i = 0; i < 24000; i++) {
        text_addf(&text, "k%u: 1\n", i);
    }
    read_text(&read, &text);
    assert_int_equal(read.result, 0);
    assert_int_equal(read.root->count, 24000);
    assert_int_equal(read.diags.total, 0);
    release(&read);
    text_clear(&text);
    for (unsigned i = 0; i < 20000; i++) {
        text_add(&text, "k: 1\n");
    }
    read_text(&read, &text);
    assert_int_equal(read.root->count, 1);
    assert_ptr_equal(read.root->first, read.root->last);
    assert_int_equal(read.diags.total, 19999);
    release(&read);
    text_release(&text);
}

/* What makes other readers take time or memory out of proportion. The bound on processor time has much to
 * spare: each takes milliseconds. */
static void test_hostile_shapes(void **state)
{
    static const struct {
        const char *what;
        const char *piece;
    } shapes[] = {
        {"open brackets", "["},
        {"open braces", "{"},
        {"block lists", "- "},
        {"explicit keys", "? "},
        {"colons", ": "},
        {"key after key", "a: "},
        {"quotes", "'"},
        {"double quotes", "\""},
        {"escapes", "\"\\"},
        {"anchors", "&a "},
        {"aliases", "*a "},
        {"tags", "!a "},
        {"percent", "%a "},
        {"document marks", "---\n"},
        {"comments", "#\n"},
        {"one long word", "x"},
        {"blanks", " "},
        {"tabs", "\t"},
        {"newlines", "\n"},
        {"block text", "|\n "},
        {"folded", ">\n\n "},
        {"pairs", "{a: b}, "},
        {"flow pairs", "a: {"},
        {"two-byte letters", "\xc3\xa9"},
        {"carriage returns", "\r"},
        {"commas", "[,"},
        {"merge", "<<: "},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
        struct text text = TEXT_INIT;
        struct read read;
        while (text.length + strlen(shapes[i].piece) <= TREE_SIZE_MAX) {
            text_add(&text, shapes[i].piece);
        }
        clock_t start = clock();
        read_text(&read, &text);
        double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
        if (seconds > 5) {
            fail_msg("1 MiB of %s took %.1f s", shapes[i].what, seconds);
        }
        assert_true(read.result != 0 || read.root != NULL);
        release(&read);
        text_release(&text);
    }
}

static void test_byte_order_mark(void **state)
{
    struct read read;
    (void)state;
    read_bytes(&read,
               "\xef\xbb\xbf"
               "a: 1\n",
               8);
    assert_int_equal(read.result, 0);
    assert_place(tree_get(read.root, "a")->key_place, 1, 1);
    release(&read);
    read_bytes(&read, "\xef\xbb\xbf", 3);
    assert_int_equal(read.result, -EINVAL);
    assert_told(&read, "the file is empty");
    release(&read);
    read_bytes(&read, "a: \xef\xbb\xbf\n", 7);
    assert_int_equal(read.result, -EINVAL);
    assert_told(&read, "t:1:4: the character U+FEFF is not allowed");
    release(&read);
    read_bytes(&read, "", 0);
    assert_int_equal(read.result, -EINVAL);
    release(&read);
}

static void test_utf8(void **state)
{
    static const struct {
        const char *text;
        bool good;
    } cases[] = {
        {"plain\r\n\ttext", true},
        {"\x7f", false},
        {"\x1f", false},
        {"a\rb", false}, /* what ends a line to some readers, and not to others */
        {"a\r", false},
        {"\xc2\x85", false},
        {"\xe2\x80\xa7", true},
        {"\xe2\x80\xa8", false},
        {"\xe2\x80\xa9", false},
        {"\xe2\x80\xaa", true},
        {"\xc2\x80", false}, /* C1 controls */
        {"\xc2\x9f", false},
        {"\xc2\xa0", true},
        {"\xc1\xbf", false}, /* one byte in two */
        {"\xdf\xbf", true},
        {"\xe0\x9f\xbf", false}, /* two bytes in three */
        {"\xe0\xa0\x80", true},
        {"\xed\x9f\xbf", true},
        {"\xed\xa0\x80", false}, /* surrogates */
        {"\xed\xbf\xbf", false},
        {"\xee\x80\x80", true},
        {"\xef\xbf\xbd", true},
        {"\xef\xbf\xbe", false},
        {"\xef\xbf\xbf", false},
        {"\xf0\x8f\xbf\xbf", false}, /* three bytes in four */
        {"\xf0\x90\x80\x80", true},
        {"\xf4\x8f\xbf\xbf", true},
        {"\xf4\x90\x80\x80", false}, /* beyond Unicode */
        {"\xf8\x88\x80\x80\x80", false},
        {"\x80", false},
        {"\xc3", false},
        {"\xe2\x82", false},
        {"\xf0\x9f\x98", false},
        {"\xc3\x28", false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct diags diags;
        diags_init(&diags, "t");
        if (utf8_check(cases[i].text, strlen(cases[i].text), &diags) != cases[i].good) {
            fail_msg("case %zu is not %s", i, cases[i].good ? "good" : "bad");
        }
        assert_int_equal(diags.total, cases[i].good ? 0 : 1);
        diags_release(&diags);
    }
}

static void test_plain(void **state)
{
    static const char *const bad[] = {"\n",           "\t",           "\x7f",         "\xc2\x85",
                                      "\xe2\x80\xa8", "\xe2\x80\xa9", "\xe2\x80\xae", "\xe2\x80\xaa",
                                      "\xe2\x81\xa6", "\xe2\x81\xa9", "\xe2\x80\x8e", "\xe2\x80\x8f",
                                      "a\x01",        "\xff"};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_false(utf8_is_plain(bad[i], strlen(bad[i])));
    }
    assert_false(utf8_is_plain("a\0b", 3));
    assert_true(utf8_is_plain("", 0));
    assert_true(utf8_is_plain("plain \xc3\xa9 \xe2\x82\xac", 12));
}

static void test_clip(void **state)
{
    char text[UTF8_CLIP + 8];
    (void)state;
    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = '\0';
    assert_int_equal(utf8_clip(text), UTF8_CLIP);
    memcpy(text + UTF8_CLIP - 1, "\xe2\x82\xac", 3);
    assert_int_equal(utf8_clip(text), UTF8_CLIP - 1);
    text[UTF8_CLIP] = '\0';
    assert_int_equal(utf8_clip(text), UTF8_CLIP);
    assert_int_equal(utf8_clip(""), 0);
}

static void test_arena(void **state)
{
    struct arena arena = ARENA_INIT;
    (void)state;
    assert_null(arena_alloc(&arena, SIZE_MAX / 2, 4));
    assert_null(arena_alloc(&arena, SIZE_MAX, 1));
    assert_non_null(arena_alloc(&arena, 0, 8));
    assert_non_null(arena_alloc(&arena, 8, 0));
    assert_string_equal(arena_string(&arena, "hello", 4), "hell");
    assert_string_equal(arena_string(&arena, "", 0), "");
    arena_release(&arena);
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places_and_kinds),
        cmocka_unit_test(test_nulls),
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_nodes),
        cmocka_unit_test(test_text_length),
        cmocka_unit_test(test_many_keys),
        cmocka_unit_test(test_hostile_shapes),
        cmocka_unit_test(test_byte_order_mark),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_clip),
        cmocka_unit_test(test_arena),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
