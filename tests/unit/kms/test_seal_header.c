/* The header of a sealed file: there is one way to write it, and whatever else there is, is refused. */
#include "sealed.h"

#include "document.h"
#include "fault.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LONG_MAX_BYTES 70000

static struct error err;
static char long_text[LONG_MAX_BYTES + 1];

static int set_up(void **state)
{
    (void)state;
    memset(long_text, 'x', LONG_MAX_BYTES);
    return 0;
}

static const char *text_of(size_t length)
{
    return long_text + LONG_MAX_BYTES - length;
}

static int encode(const struct seal_header *header)
{
    uint8_t *bytes;
    size_t size;
    int r = seal_encode(header, sealed_key, &bytes, &size, &err);
    if (r == 0) {
        free(bytes);
    }
    return r;
}

/* ---- Writing ---- */

static void test_read_back(void **state)
{
    const struct vector *vector = document_vector("header");
    struct seal_header header;
    (void)state;
    assert_int_equal(seal_decode(vector->bytes, vector->length, &header, &err), 0);
    assert_string_equal(header.key_id, sealed_header.key_id);
    assert_int_equal(header.data_key_size, sealed_header.data_key_size);
    assert_memory_equal(header.data_key, sealed_header.data_key, header.data_key_size);
    assert_memory_equal(header.salt, sealed_header.salt, SEAL_SALT_SIZE);
    assert_int_equal(header.context_count, 2);
    assert_string_equal(header.context[0].key, "purpose");
    assert_string_equal(header.context[0].value, "L\xc3\xb6hne");
    assert_string_equal(header.context[1].key, "tenant");
    assert_string_equal(header.context[1].value, "payroll");
    seal_release(&header);
}

static void test_key_ids(void **state)
{
    static const char *const bad[] = {"", "with blank", "tab\t", "L\xc3\xb6hne", "\x7f"};
    struct seal_header header = sealed_header;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        header.key_id = bad[i];
        assert_int_equal(encode(&header), -EINVAL);
    }
    header.key_id = text_of(SEAL_KEY_ID_MAX + 1);
    assert_int_equal(encode(&header), -EINVAL);
    header.key_id++;
    assert_int_equal(encode(&header), 0);
}

static void test_data_keys(void **state)
{
    struct seal_header header = sealed_header;
    (void)state;
    header.data_key = (const uint8_t *)long_text;
    header.data_key_size = 0;
    assert_int_equal(encode(&header), -EINVAL);
    header.data_key_size = SEAL_DATA_KEY_MAX + 1;
    assert_int_equal(encode(&header), -EINVAL);
    header.data_key_size--;
    assert_int_equal(encode(&header), 0);
}

static int encode_pair(const char *key, const char *value)
{
    const struct postern_kms_context pair = {key, value};
    struct seal_header header = sealed_header;
    header.context = &pair;
    header.context_count = 1;
    assert_int_equal(seal_check_context(&pair, 1, &err), encode(&header));
    return encode(&header);
}

static void test_contexts(void **state)
{
    (void)state;
    assert_int_equal(encode_pair("k", ""), 0);
    assert_int_equal(encode_pair("\xe2\x82\xac", "\"\\/"), 0);
    assert_int_equal(encode_pair("", "v"), -EINVAL);
    assert_int_equal(encode_pair("a\nb", "v"), -EINVAL);
    assert_int_equal(encode_pair("k", "\x1b[2J"), -EINVAL);
    assert_int_equal(encode_pair("k", "\x7f"), -EINVAL);
    assert_int_equal(encode_pair("k", "\xff"), -EINVAL);
    assert_int_equal(encode_pair("\xc0\x80", "v"), -EINVAL);
    assert_int_equal(encode_pair("k", text_of(SEAL_CONTEXT_BYTES_MAX - 1)), 0);
    assert_int_equal(encode_pair("k", text_of(SEAL_CONTEXT_BYTES_MAX)), -E2BIG);
    assert_int_equal(encode_pair("k", text_of(LONG_MAX_BYTES)), -E2BIG);
}

static void test_context_counts(void **state)
{
    struct postern_kms_context pairs[SEAL_CONTEXT_MAX + 1];
    char keys[SEAL_CONTEXT_MAX + 1][8];
    struct seal_header header = sealed_header;
    (void)state;
    for (size_t i = 0; i < SEAL_CONTEXT_MAX + 1; i++) {
        snprintf(keys[i], sizeof keys[i], "k%zu", SEAL_CONTEXT_MAX - i);
        pairs[i] = (struct postern_kms_context){keys[i], "v"};
    }
    header.context = pairs;
    header.context_count = SEAL_CONTEXT_MAX + 1;
    assert_int_equal(encode(&header), -E2BIG);
    header.context_count--;
    assert_int_equal(encode(&header), 0);
    pairs[7] = pairs[9];
    assert_int_equal(encode(&header), -EINVAL);
    assert_non_null(strstr(err.text, "twice"));
}

/* Everything at its largest is within SEAL_HEADER_MAX. */
static void test_largest(void **state)
{
    struct postern_kms_context pairs[SEAL_CONTEXT_MAX];
    char keys[SEAL_CONTEXT_MAX][8];
    struct seal_header header = {.key_id = text_of(SEAL_KEY_ID_MAX),
                                 .data_key = (const uint8_t *)long_text,
                                 .data_key_size = SEAL_DATA_KEY_MAX,
                                 .context = pairs,
                                 .context_count = SEAL_CONTEXT_MAX},
                       back;
    uint8_t *bytes;
    size_t size;
    (void)state;
    for (size_t i = 0; i < SEAL_CONTEXT_MAX; i++) {
        snprintf(keys[i], sizeof keys[i], "k%02zu", i);
        pairs[i] =
            (struct postern_kms_context){keys[i], text_of(SEAL_CONTEXT_BYTES_MAX / SEAL_CONTEXT_MAX - 3)};
    }
    assert_int_equal(seal_encode(&header, sealed_key, &bytes, &size, &err), 0);
    assert_true(size <= SEAL_HEADER_MAX);
    assert_int_equal(seal_decode(bytes, size, &back, &err), 0);
    assert_int_equal(back.context_count, SEAL_CONTEXT_MAX);
    assert_string_equal(back.context[63].value, pairs[63].value);
    assert_string_equal(back.key_id, header.key_id);
    seal_release(&back);
    free(bytes);
}

/* ---- Reading ---- */

struct bytes {
    uint8_t data[SEAL_HEADER_MAX + 16];
    size_t size;
};

static void add(struct bytes *bytes, const void *data, size_t size)
{
    memcpy(bytes->data + bytes->size, data, size);
    bytes->size += size;
}

static void add_counted(struct bytes *bytes, size_t count, const void *data, size_t size)
{
    uint8_t number[2] = {(uint8_t)(count >> 8), (uint8_t)count};
    add(bytes, number, 2);
    add(bytes, data, size);
}

#define COUNTED(bytes, literal) add_counted(bytes, sizeof(literal) - 1, literal, sizeof(literal) - 1)
#define NUMBER(bytes, number)   add_counted(bytes, number, "", 0)

static void begin(struct bytes *bytes)
{
    bytes->size = 0;
    add(bytes, "\x89PSEAL\r\n\1\0\0\0", 12);
    add(bytes, sealed_header.salt, SEAL_SALT_SIZE);
}

/* With its size, and a MAC, which is not looked at. */
static int end(struct bytes *bytes)
{
    struct seal_header header;
    memset(bytes->data + bytes->size, 0, SEAL_MAC_SIZE);
    bytes->size += SEAL_MAC_SIZE;
    bytes->data[10] = (uint8_t)(bytes->size >> 8);
    bytes->data[11] = (uint8_t)bytes->size;
    int r = seal_decode(bytes->data, bytes->size, &header, &err);
    if (r == 0) {
        seal_release(&header);
    }
    return r;
}

static void begin_pairs(struct bytes *bytes, size_t count)
{
    begin(bytes);
    COUNTED(bytes, "key");
    COUNTED(bytes, "data key");
    NUMBER(bytes, count);
}

static void test_starts(void **state)
{
    struct bytes bytes;
    size_t size;
    (void)state;
    begin_pairs(&bytes, 0);
    assert_int_equal(end(&bytes), 0);
    assert_int_equal(seal_header_size(bytes.data, &size, &err), 0);
    assert_int_equal(size, bytes.size);
    struct seal_header header;
    for (size_t cut = 0; cut < bytes.size; cut++) {
        assert_int_equal(seal_decode(bytes.data, cut, &header, &err), -EBADMSG);
    }
    assert_int_equal(seal_decode(bytes.data, bytes.size + 1, &header, &err), -EBADMSG);
    bytes.data[8] = 2;
    assert_int_equal(seal_header_size(bytes.data, &size, &err), -ENOTSUP);
    assert_non_null(strstr(err.text, "version 2.0"));
    bytes.data[8] = 1;
    bytes.data[9] = 1;
    assert_int_equal(seal_header_size(bytes.data, &size, &err), -ENOTSUP);
    bytes.data[9] = 0;
    bytes.data[10] = (SEAL_HEADER_MAX + 1) >> 8;
    bytes.data[11] = (SEAL_HEADER_MAX + 1) & 0xff;
    assert_int_equal(seal_header_size(bytes.data, &size, &err), -EBADMSG);
    bytes.data[11]--;
    assert_int_equal(seal_header_size(bytes.data, &size, &err), 0);
    bytes.data[10] = 0;
    bytes.data[11] = 81;
    assert_int_equal(seal_header_size(bytes.data, &size, &err), -EBADMSG);
}

static void test_broken_fields(void **state)
{
    struct bytes bytes;
    (void)state;
    begin(&bytes);
    COUNTED(&bytes, "");
    COUNTED(&bytes, "data key");
    NUMBER(&bytes, 0);
    assert_int_equal(end(&bytes), -EBADMSG);
    begin(&bytes);
    COUNTED(&bytes, "key\0x");
    COUNTED(&bytes, "data key");
    NUMBER(&bytes, 0);
    assert_int_equal(end(&bytes), -EBADMSG);
    begin(&bytes);
    COUNTED(&bytes, "key");
    COUNTED(&bytes, "");
    NUMBER(&bytes, 0);
    assert_int_equal(end(&bytes), -EBADMSG);
    begin(&bytes);
    add_counted(&bytes, 60000, "key", 3);
    COUNTED(&bytes, "data key");
    NUMBER(&bytes, 0);
    assert_int_equal(end(&bytes), -EBADMSG);
    begin(&bytes);
    COUNTED(&bytes, "key");
    add_counted(&bytes, SEAL_DATA_KEY_MAX + 1, long_text, SEAL_DATA_KEY_MAX + 1);
    NUMBER(&bytes, 0);
    assert_int_equal(end(&bytes), -EBADMSG);
    begin(&bytes);
    COUNTED(&bytes, "key");
    COUNTED(&bytes, "data key and no number");
    assert_int_equal(end(&bytes), -EBADMSG);
    begin_pairs(&bytes, 0);
    add(&bytes, "?", 1);
    assert_int_equal(end(&bytes), -EBADMSG);
}

static void pair(struct bytes *bytes, const char *key, const char *value)
{
    add_counted(bytes, strlen(key), key, strlen(key));
    add_counted(bytes, strlen(value), value, strlen(value));
}

static int decode_pairs(const char *key, const char *value, const char *next_key, const char *next_value)
{
    struct bytes bytes;
    begin_pairs(&bytes, 2);
    pair(&bytes, key, value);
    pair(&bytes, next_key, next_value);
    return end(&bytes);
}

static void test_broken_pairs(void **state)
{
    struct bytes bytes;
    (void)state;
    assert_int_equal(decode_pairs("a", "1", "b", ""), 0);
    assert_int_equal(decode_pairs("b", "1", "a", "2"), -EBADMSG);
    assert_int_equal(decode_pairs("a", "1", "a", "2"), -EBADMSG);
    assert_int_equal(decode_pairs("", "1", "a", "2"), -EBADMSG);
    assert_int_equal(decode_pairs("a", "\xff", "b", "2"), -EBADMSG);
    assert_int_equal(decode_pairs("a\x01", "1", "b", "2"), -EBADMSG);
    assert_int_equal(decode_pairs("a", text_of(4096), "b", text_of(4094)), 0);
    assert_int_equal(decode_pairs("a", text_of(4096), "b", text_of(4095)), -EBADMSG);
    begin_pairs(&bytes, 2);
    pair(&bytes, "a", "1");
    assert_int_equal(end(&bytes), -EBADMSG);
    begin_pairs(&bytes, SEAL_CONTEXT_MAX + 1);
    for (unsigned i = 0; i < SEAL_CONTEXT_MAX + 1; i++) {
        char key[] = {(char)('0' + i / 10), (char)('0' + i % 10), '\0'};
        pair(&bytes, key, "");
    }
    assert_int_equal(end(&bytes), -EBADMSG);
    begin_pairs(&bytes, 1);
    COUNTED(&bytes, "a\0b");
    COUNTED(&bytes, "1");
    assert_int_equal(end(&bytes), -EBADMSG);
}

static void test_short_cipher(void **state)
{
    struct seal_cipher cipher;
    (void)state;
    assert_int_equal(seal_cipher_init(&cipher, sealed_key, (const uint8_t *)long_text, 75, &err), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read_back),      cmocka_unit_test(test_key_ids),
        cmocka_unit_test(test_data_keys),      cmocka_unit_test(test_contexts),
        cmocka_unit_test(test_context_counts), cmocka_unit_test(test_largest),
        cmocka_unit_test(test_starts),         cmocka_unit_test(test_broken_fields),
        cmocka_unit_test(test_broken_pairs),   cmocka_unit_test(test_short_cipher),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
