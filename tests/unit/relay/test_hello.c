/*
 * The ClientHello reader: what each kind of first bytes is taken for, and what it costs. That names are read
 * as OpenSSL reads them is test_hello_judge.c's matter.
 */
#include "relay/hello.h"

#include "base/compiler.h"
#include "fault.h"
#include "hello_maker.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// clang-format off
#include <cmocka.h>
// clang-format on

void *__real_realloc(void *pointer, size_t size);
void *__wrap_realloc(void *pointer, size_t size);

static struct bytes wire, message;
static unsigned reallocs;
static size_t largest;

/* Linked in place of realloc(): counts what hello.c asks for. */
void *__wrap_realloc(void *pointer, size_t size)
{
    reallocs++;
    largest = size > largest ? size : largest;
    return __real_realloc(pointer, size);
}

static int forget(void **state)
{
    (void)state;
    wire.length = message.length = 0;
    reallocs = 0;
    largest = 0;
    return 0;
}

static enum hello_state read_all(const void *data, size_t length, char name[HELLO_NAME_MAX])
{
    struct hello hello;
    hello_init(&hello);
    enum hello_state state = hello_feed(&hello, data, length);
    memcpy(name, hello.name, HELLO_NAME_MAX);
    hello_release(&hello);
    return state;
}

static enum hello_state state_of(const void *data, size_t length)
{
    char name[HELLO_NAME_MAX];
    return read_all(data, length, name);
}

/* The state for a message with these extensions. */
static enum hello_state state_with(const struct extension *extensions, size_t count)
{
    struct spec spec = {.extensions = extensions, .count = count};
    wire.length = message.length = 0;
    make_message(&message, &spec);
    make_records(&wire, message.at, message.length, 16384);
    return state_of(wire.at, wire.length);
}

static void test_name(void **state)
{
    char name[HELLO_NAME_MAX];
    (void)state;
    make_hello(&wire, "KMS.us-east-1.amazonaws.com.");
    assert_int_equal(read_all(wire.at, wire.length, name), HELLO_NAME);
    assert_string_equal(name, "kms.us-east-1.amazonaws.com");
}

static void test_no_name(void **state)
{
    (void)state;
    make_hello(&wire, NULL);
    assert_int_equal(state_of(wire.at, wire.length), HELLO_NO_NAME);
    struct spec spec = {.no_extensions = true};
    wire.length = 0;
    make_message(&message, &spec);
    make_records(&wire, message.at, message.length, 7);
    assert_int_equal(state_of(wire.at, wire.length), HELLO_NO_NAME);
}

static void test_odd_names(void **state)
{
    static const char *const names[] = {"", ".", "..", "a..", "a b", "a\tb", "a\x7f", "\xc3\xbc", " "};
    char longest[257];
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        wire.length = 0;
        make_hello(&wire, names[i]);
        assert_int_equal(state_of(wire.at, wire.length), HELLO_BAD);
    }
    memset(longest, 'x', sizeof longest);
    for (size_t length = 254; length <= 256; length++) {
        longest[length] = '\0';
        wire.length = 0;
        make_hello(&wire, longest);
        assert_int_equal(state_of(wire.at, wire.length), length <= 255 ? HELLO_NAME : HELLO_BAD);
        longest[length] = 'x';
    }
}

static void test_extension_rules(void **state)
{
    struct extension twice[] = {{0x1234, 0, NULL}, {0x1234, 0, NULL}};
    struct extension srtp[] = {{14, 0, NULL}};
    struct extension psk_last[] = {{23, 0, NULL}, {41, 0, NULL}};
    struct extension psk_first[] = {{41, 0, NULL}, {23, 0, NULL}};
    struct extension short_list[] = {{0, 5, "\0\4\0\0\1"}};
    struct extension long_body[] = {{0, 7, "\0\4\0\0\1ab"}};
    struct extension empty_list[] = {{0, 2, "\0\0"}};
    struct extension other_type[] = {{0, 6, "\0\4\1\0\1a"}};
    struct extension cut_name[] = {{0, 5, "\0\3\0\0\1"}};
    struct extension two_names[] = {{0, 10, "\0\10\0\0\1a\0\0\1b"}};
    (void)state;
    assert_int_equal(state_with(twice, 2), HELLO_BAD);
    assert_int_equal(state_with(srtp, 1), HELLO_BAD);
    assert_int_equal(state_with(psk_last, 2), HELLO_NO_NAME);
    assert_int_equal(state_with(psk_first, 2), HELLO_BAD);
    assert_int_equal(state_with(short_list, 1), HELLO_BAD);
    assert_int_equal(state_with(long_body, 1), HELLO_BAD);
    assert_int_equal(state_with(empty_list, 1), HELLO_BAD);
    assert_int_equal(state_with(other_type, 1), HELLO_BAD);
    assert_int_equal(state_with(cut_name, 1), HELLO_BAD);
    assert_int_equal(state_with(two_names, 1), HELLO_BAD);
}

static void test_bad_bodies(void **state)
{
    static const struct spec specs[] = {{.session_id = 33},
                                        {.ciphers = SPEC_EMPTY},
                                        {.ciphers = 3},
                                        {.compression = SPEC_EMPTY},
                                        {.compression = 2, .no_null_compression = true}};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(specs); i++) {
        wire.length = message.length = 0;
        make_message(&message, &specs[i]);
        make_records(&wire, message.at, message.length, 16384);
        assert_int_equal(state_of(wire.at, wire.length), HELLO_BAD);
    }
}

/* The message cut anywhere, its header saying so: a field that does not fit is never read beyond the end
 * (a sanitizer watches), and the only whole one that is shorter ends where the extensions would begin. */
static void test_cut_messages(void **state)
{
    (void)state;
    make_hello(&wire, "cut.example");
    unsigned wholes = 0;
    for (size_t length = 0; length < wire.length - 9; length++) {
        unsigned char *cut = malloc(9 + length);
        assert_non_null(cut);
        memcpy(cut, wire.at, 9 + length);
        cut[3] = (unsigned char)((4 + length) >> 8);
        cut[4] = (unsigned char)(4 + length);
        cut[6] = 0;
        cut[7] = (unsigned char)(length >> 8);
        cut[8] = (unsigned char)length;
        enum hello_state got = state_of(cut, 9 + length);
        wholes += got == HELLO_NO_NAME;
        assert_true(got == HELLO_BAD || got == HELLO_NO_NAME);
        free(cut);
    }
    assert_int_equal(wholes, 1);
}

static void test_not_tls(void **state)
{
    (void)state;
    assert_int_equal(state_of("GET / HTTP/1.1\r\n", 16), HELLO_NOT_TLS);
    assert_int_equal(state_of("G", 1), HELLO_NOT_TLS);
    assert_int_equal(state_of("\x15\x03\x01", 3), HELLO_NOT_TLS);
    assert_int_equal(state_of("\x80\x2e\x01\x03\x01", 5), HELLO_NOT_TLS);
    assert_int_equal(state_of("\x16\x02", 2), HELLO_NOT_TLS);
    assert_int_equal(state_of("\x16\x03", 2), HELLO_MORE);
    assert_int_equal(state_of("", 0), HELLO_MORE);
    assert_int_equal(state_of(NULL, 0), HELLO_MORE);
}

static void test_bad_records(void **state)
{
    (void)state;
    assert_int_equal(state_of("\x16\x03\x01\x00\x00", 5), HELLO_BAD);     /* empty */
    assert_int_equal(state_of("\x16\x03\x01\x40\x01", 5), HELLO_BAD);     /* over 2^14 */
    assert_int_equal(state_of("\x16\x03\x01\x40\x00", 5), HELLO_MORE);    /* 2^14 */
    assert_int_equal(state_of("\x16\x03\x01\x00\x09\x02", 6), HELLO_BAD); /* a ServerHello */
    /* The message ends before its record. */
    assert_int_equal(state_of("\x16\x03\x01\x00\x09\x01\x00\x00\x04", 9), HELLO_BAD);
    /* The second record is another type's, of another version, longer than what is missing. */
    assert_int_equal(state_of("\x16\x03\x01\x00\x01\x01\x17", 7), HELLO_BAD);
    assert_int_equal(state_of("\x16\x03\x01\x00\x01\x01\x16\x02", 8), HELLO_BAD);
    assert_int_equal(state_of("\x16\x03\x01\x00\x04\x01\x00\x00\x01\x16\x03\x01\x00\x02", 14), HELLO_BAD);
}

static void test_state_stays(void **state)
{
    struct hello hello;
    (void)state;
    make_hello(&wire, "stays.example");
    size_t length = wire.length;
    put(&wire, "GET / HTTP/1.1\r\n", 16);
    hello_init(&hello);
    assert_int_equal(hello_feed(&hello, wire.at, wire.length), HELLO_NAME);
    assert_int_equal(hello.wire_length, length);
    assert_null(hello.message);
    assert_int_equal(hello_feed(&hello, "GET", 3), HELLO_NAME);
    assert_string_equal(hello.name, "stays.example");
    hello_release(&hello);
    hello_release(&hello);
}

/* A message of `length` bytes, header included, for that name. */
static void make_large(size_t length)
{
    struct extension extensions[2];
    unsigned char name[32];
    struct spec spec = {.extensions = extensions, .count = 2};
    extensions[0] = (struct extension){0, make_server_name(name, "large.example", 13), name};
    extensions[1] = (struct extension){0xfafa, 0, NULL};
    make_message(&message, &spec);
    size_t lacking = length - message.length;
    extensions[1].length = 60000 + lacking % 2; /* the rest is in the list of ciphers, which is even */
    spec.ciphers = 10 + (lacking - extensions[1].length);
    message.length = 0;
    make_message(&message, &spec);
    assert_int_equal(message.length, length);
}

static void test_message_bound(void **state)
{
    (void)state;
    make_large(HELLO_MESSAGE_MAX);
    make_records(&wire, message.at, message.length, 16384);
    assert_int_equal(state_of(wire.at, wire.length), HELLO_NAME);
    assert_true(largest <= HELLO_MESSAGE_MAX);
    /* One byte more is refused as soon as the header says so, before anything else is stored. */
    reallocs = 0;
    largest = 0;
    assert_int_equal(state_of("\x16\x03\x01\x40\x00\x01\x00\xff\xfc", 9), HELLO_MORE);
    assert_int_equal(state_of("\x16\x03\x01\x40\x00\x01\x00\xff\xfd", 9), HELLO_BAD);
    assert_true(largest <= 4);
}

static void test_wire_bound(void **state)
{
    struct hello hello;
    (void)state;
    make_large(HELLO_MESSAGE_MAX);
    make_records(&wire, message.at, message.length, 1);
    hello_init(&hello);
    assert_int_equal(hello_feed(&hello, wire.at, HELLO_WIRE_MAX), HELLO_MORE);
    assert_int_equal(hello_feed(&hello, wire.at + HELLO_WIRE_MAX, 1), HELLO_BAD);
    hello_release(&hello);
    /* The same in one piece; and the most that fits, to the byte. */
    assert_int_equal(state_of(wire.at, wire.length), HELLO_BAD);
    wire.length = 0;
    make_records(&wire, message.at, message.length, 20);
    assert_true(wire.length > HELLO_WIRE_MAX - 25 && wire.length <= HELLO_WIRE_MAX + 25);
    assert_int_equal(state_of(wire.at, wire.length), wire.length <= HELLO_WIRE_MAX ? HELLO_NAME : HELLO_BAD);
}

/*
 * R9. Fed a byte at a time, the largest message costs a copy a byte, at most as much again for doublings
 * (so at most 18 of them), and one reading: the state changes with the last byte, not before, and nothing
 * is looked at again. Memory never goes beyond twice what has arrived, whatever is announced.
 */
static void test_cost_of_single_bytes(void **state)
{
    struct hello hello;
    (void)state;
    make_large(HELLO_MESSAGE_MAX);
    make_records(&wire, message.at, message.length, 16384);
    hello_init(&hello);
    for (size_t i = 0; i < wire.length; i++) {
        assert_int_equal(hello.state, HELLO_MORE);
        hello_feed(&hello, wire.at + i, 1);
        assert_true(hello.message_capacity <= 2 * (i + 1));
    }
    assert_int_equal(hello.state, HELLO_NAME);
    assert_true(reallocs <= 18);
    assert_true(largest <= HELLO_MESSAGE_MAX);
    hello_release(&hello);
}

/* A byte at a time, for as many allocations as there can be. */
static void feed_bytes(void *arg)
{
    struct hello hello;
    bool *failed = arg;
    enum hello_state got = HELLO_MORE;
    hello_init(&hello);
    for (size_t i = 0; i < wire.length && got == HELLO_MORE; i++) {
        got = hello_feed(&hello, wire.at + i, 1);
    }
    hello_release(&hello);
    assert_true(got == HELLO_NAME || got == HELLO_BAD);
    *failed = got == HELLO_BAD;
}

static void test_out_of_memory(void **state)
{
    bool failed;
    (void)state;
    make_hello(&wire, "memory.example");
    assert_true(fault_loop("hello", FAULT_MEMORY, feed_bytes, &failed) > 5);
    assert_false(failed); /* the last run is the one in which nothing failed */
    fault_arm(FAULT_MEMORY, 3);
    feed_bytes(&failed);
    assert_int_equal(fault_disarm(), 1);
    assert_true(failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup(test_name, forget),
                                       cmocka_unit_test_setup(test_no_name, forget),
                                       cmocka_unit_test_setup(test_odd_names, forget),
                                       cmocka_unit_test_setup(test_extension_rules, forget),
                                       cmocka_unit_test_setup(test_bad_bodies, forget),
                                       cmocka_unit_test_setup(test_cut_messages, forget),
                                       cmocka_unit_test_setup(test_not_tls, forget),
                                       cmocka_unit_test_setup(test_bad_records, forget),
                                       cmocka_unit_test_setup(test_state_stays, forget),
                                       cmocka_unit_test_setup(test_message_bound, forget),
                                       cmocka_unit_test_setup(test_wire_bound, forget),
                                       cmocka_unit_test_setup(test_cost_of_single_bytes, forget),
                                       cmocka_unit_test_setup(test_out_of_memory, forget)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
