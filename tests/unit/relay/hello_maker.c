/* The writing of ClientHellos. Nothing here checks anything: wrong ones are wanted as much as right ones. */
#include "hello_maker.h"

#include <stdlib.h>
#include <string.h>

void put(struct bytes *out, const void *data, size_t length)
{
    if (length > BYTES_MAX - out->length) {
        abort();
    }
    if (data != NULL) {
        memcpy(out->at + out->length, data, length);
    } else {
        memset(out->at + out->length, 0, length);
    }
    out->length += length;
}

void put_number(struct bytes *out, unsigned long value, unsigned width)
{
    while (width-- > 0) {
        unsigned char byte = (unsigned char)(value >> (8 * width));
        put(out, &byte, 1);
    }
}

size_t vector_open(struct bytes *out, unsigned width)
{
    size_t mark = out->length;
    put(out, NULL, width);
    return mark;
}

void vector_close(struct bytes *out, size_t mark, unsigned width)
{
    size_t end = out->length;
    out->length = mark;
    put_number(out, end - mark - width, width);
    out->length = end;
}

static void put_ciphers(struct bytes *out, size_t length)
{
    static const unsigned char usual[] = {0x5a, 0x5a, 0x13, 0x01, 0x13, 0x02, 0xc0, 0x2f, 0xc0, 0x2b};
    if (length == 0) {
        put(out, usual, sizeof usual);
    } else if (length != SPEC_EMPTY) {
        put(out, usual, length < sizeof usual ? length : sizeof usual);
        put(out, NULL, length < sizeof usual ? 0 : length - sizeof usual);
    }
}

static void put_compression(struct bytes *out, const struct spec *spec)
{
    size_t count = spec->compression == 0 ? 1 : spec->compression == SPEC_EMPTY ? 0 : spec->compression;
    for (size_t i = 0; i < count; i++) {
        put_number(out, i + 1 < count || spec->no_null_compression ? 1 : 0, 1);
    }
}

static void put_extensions(struct bytes *out, const struct spec *spec)
{
    size_t mark = vector_open(out, 2);
    for (size_t i = 0; i < spec->count; i++) {
        put_number(out, spec->extensions[i].type, 2);
        put_number(out, spec->extensions[i].length, 2);
        put(out, spec->extensions[i].body, spec->extensions[i].length);
    }
    vector_close(out, mark, 2);
}

void make_message(struct bytes *out, const struct spec *spec)
{
    put_number(out, 1, 1);
    size_t message = vector_open(out, 3);
    put_number(out, spec->version != 0 ? spec->version : 0x0303, 2);
    put(out, "one may not guess these 32 bytes", 32);
    put_number(out, spec->session_id, 1);
    put(out, NULL, spec->session_id);
    size_t mark = vector_open(out, 2);
    put_ciphers(out, spec->ciphers);
    vector_close(out, mark, 2);
    mark = vector_open(out, 1);
    put_compression(out, spec);
    vector_close(out, mark, 1);
    if (!spec->no_extensions) {
        put_extensions(out, spec);
    }
    vector_close(out, message, 3);
}

void make_records(struct bytes *out, const void *message, size_t length, size_t size)
{
    const unsigned char *at = message;
    while (length > 0) {
        size_t piece = length < size ? length : size;
        put_number(out, 22, 1);
        put_number(out, 0x0301, 2);
        put_number(out, piece, 2);
        put(out, at, piece);
        at += piece;
        length -= piece;
    }
}

size_t make_server_name(unsigned char *body, const void *name, size_t length)
{
    body[0] = (unsigned char)((length + 3) >> 8);
    body[1] = (unsigned char)(length + 3);
    body[2] = 0;
    body[3] = (unsigned char)(length >> 8);
    body[4] = (unsigned char)length;
    memcpy(body + 5, name, length);
    return length + 5;
}

size_t usual_extensions(struct extension *extensions)
{
    static const unsigned char versions[] = {4, 0x03, 0x04, 0x03, 0x03};
    static const unsigned char groups[] = {0, 2, 0x00, 0x1d};
    static const unsigned char signatures[] = {0, 6, 0x04, 0x03, 0x08, 0x04, 0x04, 0x01};
    /* The base point of X25519: a public key nobody has to make up. */
    static const unsigned char share[38] = {0, 36, 0x00, 0x1d, 0, 32, 9};
    extensions[0] = (struct extension){43, sizeof versions, versions};
    extensions[1] = (struct extension){10, sizeof groups, groups};
    extensions[2] = (struct extension){13, sizeof signatures, signatures};
    extensions[3] = (struct extension){51, sizeof share, share};
    return 4;
}

void make_hello(struct bytes *out, const char *name)
{
    static struct bytes message; /* too large for the stack; tests have one thread */
    unsigned char body[5 + 4096];
    struct extension extensions[5];
    struct spec spec = {.extensions = extensions, .count = usual_extensions(extensions)};
    if (name != NULL) {
        size_t length = make_server_name(body, name, strlen(name));
        extensions[spec.count++] = (struct extension){0, length, body};
    }
    message.length = 0;
    make_message(&message, &spec);
    make_records(out, message.at, message.length, 16384);
}
