/* The header of a sealed file, written and read: see seal.h, and docs/sealed.md for the bytes. */
#include "kms/seal.h"

#include "kms/seal_private.h"
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define VERSION      1u
#define LENGTH_BYTES 2u
#define FIXED_BYTES  (SEAL_SALT_AT + SEAL_SALT_SIZE + 3 * LENGTH_BYTES + SEAL_MAC_SIZE)

/* A byte that is no ASCII, and both kinds of line ends, so that whoever takes the file for text shows at once. */
static const uint8_t magic[8] = {0x89, 'P', 'S', 'E', 'A', 'L', '\r', '\n'};

/* ---- What may be in it ---- */

static bool is_key_id(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (text[i] <= ' ' || text[i] > '~') {
            return false;
        }
    }
    return size > 0 && size <= SEAL_KEY_ID_MAX;
}

/* It becomes a string of JSON, where KMS and its log see it. */
static bool is_text(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f) {
            return false;
        }
    }
    json_t *string = json_stringn(text, size);
    bool good = string != NULL;
    json_decref(string);
    return good;
}

static int compare_pairs(const void *a, const void *b)
{
    return strcmp(((const struct postern_kms_context *)a)->key, ((const struct postern_kms_context *)b)->key);
}

/* ---- Writing ---- */

struct writer {
    uint8_t *at;
};

static void put_number(struct writer *writer, size_t number)
{
    *writer->at++ = (uint8_t)(number >> 8);
    *writer->at++ = (uint8_t)number;
}

static void put(struct writer *writer, const void *bytes, size_t size)
{
    memcpy(writer->at, bytes, size);
    writer->at += size;
}

static void put_counted(struct writer *writer, const void *bytes, size_t size)
{
    put_number(writer, size);
    put(writer, bytes, size);
}

/* 0, with the bytes that keys and values take. The pairs are in order. */
static int judge_pairs(const struct postern_kms_context *pairs, size_t count, size_t *ret_size,
                       struct error *err)
{
    *ret_size = 0;
    for (size_t i = 0; i < count; i++) {
        size_t key = strlen(pairs[i].key), value = strlen(pairs[i].value);
        if (key == 0 || !is_text(pairs[i].key, key) || !is_text(pairs[i].value, value)) {
            return error_set(
                err, -EINVAL,
                "the encryption context: a key that is not empty, and a value, are expected, in UTF-8 "
                "without control characters");
        }
        if (i > 0 && strcmp(pairs[i - 1].key, pairs[i].key) == 0) {
            return error_set(err, -EINVAL, "the encryption context has the key %s twice", pairs[i].key);
        }
        *ret_size += key + value;
        if (*ret_size > SEAL_CONTEXT_BYTES_MAX) {
            return error_set(err, -E2BIG, "the encryption context has more than %u bytes",
                             SEAL_CONTEXT_BYTES_MAX);
        }
    }
    return 0;
}

static int sort_context(const struct postern_kms_context *context, size_t count,
                        struct postern_kms_context ret[SEAL_CONTEXT_MAX], size_t *ret_size, struct error *err)
{
    if (count > SEAL_CONTEXT_MAX) {
        error_set(err, -E2BIG, "the encryption context has more than %u pairs", SEAL_CONTEXT_MAX);
        return -E2BIG;
    }
    bool whole = true;
    for (size_t i = 0; i < count; i++) {
        ret[i] = context != NULL ? context[i] : (struct postern_kms_context){.key = NULL};
        whole = whole && ret[i].key != NULL && ret[i].value != NULL;
    }
    if (!whole) {
        error_set(err, -EINVAL, "the encryption context lacks a key or a value");
        return -EINVAL;
    }
    qsort(ret, count, sizeof ret[0], compare_pairs);
    return judge_pairs(ret, count, ret_size, err);
}

int seal_check_context(const struct postern_kms_context *context, size_t count, struct error *err)
{
    struct postern_kms_context pairs[SEAL_CONTEXT_MAX];
    size_t size;
    return sort_context(context, count, pairs, &size, err);
}

static int judge(const struct seal_header *header, struct error *err)
{
    if (!is_key_id(header->key_id, strlen(header->key_id))) {
        return error_set(err, -EINVAL,
                         "the KMS key's ID is not one: 1 to %u printable characters are expected",
                         SEAL_KEY_ID_MAX);
    }
    if (header->data_key_size == 0 || header->data_key_size > SEAL_DATA_KEY_MAX) {
        return error_set(err, -EINVAL, "an encrypted data key of %zu bytes: 1 to %u are expected",
                         header->data_key_size, SEAL_DATA_KEY_MAX);
    }
    return 0;
}

static void write_header(struct writer *writer, const struct seal_header *header,
                         const struct postern_kms_context *pairs, size_t size)
{
    put(writer, magic, sizeof magic);
    put_number(writer, VERSION << 8);
    put_number(writer, size);
    put(writer, header->salt, SEAL_SALT_SIZE);
    put_counted(writer, header->key_id, strlen(header->key_id));
    put_counted(writer, header->data_key, header->data_key_size);
    put_number(writer, header->context_count);
    for (size_t i = 0; i < header->context_count; i++) {
        put_counted(writer, pairs[i].key, strlen(pairs[i].key));
        put_counted(writer, pairs[i].value, strlen(pairs[i].value));
    }
}

static int add_mac(const uint8_t key[SEAL_KEY_SIZE], uint8_t *bytes, size_t size, struct error *err)
{
    struct seal_keys keys;
    size_t covered = size - SEAL_MAC_SIZE;
    int r = seal_derive(key, bytes + SEAL_SALT_AT, &keys);
    if (r == 0) {
        r = seal_mac(&keys, bytes, covered, bytes + covered);
    }
    seal_keys_wipe(&keys);
    return r == 0 ? 0 : error_set(err, r, "the cryptographic library failed");
}

int seal_encode(const struct seal_header *header, const uint8_t key[SEAL_KEY_SIZE], uint8_t **ret,
                size_t *ret_size, struct error *err)
{
    struct postern_kms_context pairs[SEAL_CONTEXT_MAX];
    size_t context_size = 0;
    int r = judge(header, err);
    if (r != 0) {
        return r;
    }
    r = sort_context(header->context, header->context_count, pairs, &context_size, err);
    if (r != 0) {
        return r;
    }
    size_t size = FIXED_BYTES + strlen(header->key_id) + header->data_key_size + context_size +
                  2 * LENGTH_BYTES * header->context_count;
    uint8_t *bytes = malloc(size);
    if (bytes == NULL) {
        return error_set(err, -ENOMEM, "cannot make a header: out of memory");
    }
    write_header(&(struct writer){.at = bytes}, header, pairs, size);
    r = add_mac(key, bytes, size, err);
    if (r != 0) {
        free(bytes);
        return r;
    }
    *ret = bytes;
    *ret_size = size;
    return 0;
}

/* ---- Reading ---- */

static size_t number_at(const uint8_t *at)
{
    return (size_t)at[0] << 8 | at[1];
}

int seal_header_size(const uint8_t start[SEAL_START_SIZE], size_t *ret, struct error *err)
{
    size_t size = number_at(start + 10);
    if (memcmp(start, magic, sizeof magic) != 0) {
        return error_set(err, -EBADMSG, "this is no sealed file");
    }
    if (start[8] != VERSION || start[9] != 0) {
        return error_set(err, -ENOTSUP,
                         "a sealed file of version %u.%u, which this release does not know: use a newer one",
                         start[8], start[9]);
    }
    if (size < FIXED_BYTES || size > SEAL_HEADER_MAX) {
        return error_set(err, -EBADMSG, "the sealed file's header is broken: it cannot have %zu bytes", size);
    }
    *ret = size;
    return 0;
}

/* What is left of the header, and of the memory that its strings are copied to. */
struct reader {
    const uint8_t *at, *end;
    char *text;
    bool broken;
};

static size_t take_number(struct reader *reader)
{
    if (reader->end - reader->at < (ptrdiff_t)LENGTH_BYTES) {
        reader->broken = true;
        return 0;
    }
    reader->at += LENGTH_BYTES;
    return number_at(reader->at - LENGTH_BYTES);
}

static const uint8_t *take_counted(struct reader *reader, size_t *ret_size)
{
    const uint8_t *bytes;
    *ret_size = take_number(reader);
    if (reader->broken || (size_t)(reader->end - reader->at) < *ret_size) {
        reader->broken = true;
        *ret_size = 0;
    }
    bytes = reader->at;
    reader->at += *ret_size;
    return bytes;
}

/* A copy with a terminator, which has room: the length that stood before it has not been copied. */
static const char *take_string(struct reader *reader, size_t *ret_size)
{
    const uint8_t *bytes = take_counted(reader, ret_size);
    char *string = reader->text;
    memcpy(string, bytes, *ret_size);
    string[*ret_size] = '\0';
    reader->text += *ret_size + 1;
    return string;
}

static void take_pairs(struct reader *reader, struct postern_kms_context *pairs, size_t count)
{
    size_t key, value, total = 0;
    for (size_t i = 0; i < count && !reader->broken; i++) {
        pairs[i].key = take_string(reader, &key);
        pairs[i].value = take_string(reader, &value);
        total += key + value;
        if (key == 0 || !is_text(pairs[i].key, key) || !is_text(pairs[i].value, value) ||
            total > SEAL_CONTEXT_BYTES_MAX || (i > 0 && strcmp(pairs[i - 1].key, pairs[i].key) >= 0)) {
            reader->broken = true;
        }
    }
}

static void take_all(struct reader *reader, struct seal_header *header, struct postern_kms_context *pairs)
{
    size_t size;
    memcpy(header->salt, reader->at, SEAL_SALT_SIZE);
    reader->at += SEAL_SALT_SIZE;
    header->key_id = take_string(reader, &size);
    reader->broken = reader->broken || !is_key_id(header->key_id, size);
    header->data_key = take_counted(reader, &header->data_key_size);
    reader->broken =
        reader->broken || header->data_key_size == 0 || header->data_key_size > SEAL_DATA_KEY_MAX;
    header->context_count = take_number(reader);
    reader->broken = reader->broken || header->context_count > SEAL_CONTEXT_MAX;
    if (!reader->broken) {
        take_pairs(reader, pairs, header->context_count);
    }
    reader->broken = reader->broken || reader->at != reader->end;
}

/*
 * One piece of memory holds the pairs, the header's bytes (the data key is used where it lies), and its strings. Those need one byte more each
 * than they have there, but they leave two behind: their lengths.
 */
int seal_decode(const uint8_t *bytes, size_t size, struct seal_header *ret, struct error *err)
{
    size_t expected = 0;
    int r = size < SEAL_START_SIZE ? error_set(err, -EBADMSG, "this is no sealed file")
                                   : seal_header_size(bytes, &expected, err);
    if (r != 0) {
        return r;
    }
    if (size != expected) {
        return error_set(err, -EBADMSG, "the sealed file's header is cut off");
    }
    struct postern_kms_context *pairs = malloc(SEAL_CONTEXT_MAX * sizeof *pairs + 2 * size);
    if (pairs == NULL) {
        return error_set(err, -ENOMEM, "cannot read the sealed file's header: out of memory");
    }
    uint8_t *copy = (uint8_t *)(pairs + SEAL_CONTEXT_MAX);
    memcpy(copy, bytes, size);
    struct reader reader = {.at = copy + SEAL_SALT_AT,
                            .end = copy + size - SEAL_MAC_SIZE,
                            .text = (char *)copy + size};
    *ret = (struct seal_header){.context = pairs, .memory = pairs};
    take_all(&reader, ret, pairs);
    if (reader.broken) {
        seal_release(ret);
        return error_set(err, -EBADMSG, "the sealed file's header is broken");
    }
    return 0;
}

void seal_release(struct seal_header *header)
{
    free(header->memory);
    *header = (struct seal_header){.memory = NULL};
}
