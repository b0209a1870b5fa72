/*
 * The ClientHello reader: records are peeled off and the handshake message put together while bytes
 * arrive, then read once.
 *
 * The cost of a hostile byte is bounded: a byte is looked at once for framing and once, at most, when the
 * whole message is read; memory follows what has arrived (at most twice that), never what a length field
 * announces. Every length is checked before the bytes it announces are stored.
 */
#include "relay/hello.h"

#include "base/compiler.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_HEADER        5
#define RECORD_HANDSHAKE     22
#define RECORD_MAJOR         3
#define RECORD_MAX           16384
#define MESSAGE_HEADER       4
#define MESSAGE_CLIENT_HELLO 1
#define VERSION_AND_RANDOM   (2 + 32)
#define SESSION_ID_MAX       32
#define COMPRESSION_NONE     0
#define NAME_TYPE_HOST       0

#define EXTENSION_TYPES 65536

enum {
    EXTENSION_SERVER_NAME = 0,
    EXTENSION_USE_SRTP = 14,
    EXTENSION_PRE_SHARED_KEY = 41,
};

/* A stretch of the message that is still to be read. */
struct field {
    const unsigned char *at;
    size_t left;
};

static bool take_bytes(struct field *from, size_t length, struct field *ret)
{
    if (length > from->left) {
        return false;
    }
    *ret = (struct field){from->at, length};
    from->at += length;
    from->left -= length;
    return true;
}

static bool take_number(struct field *from, size_t width, size_t *ret)
{
    struct field bytes;
    if (!take_bytes(from, width, &bytes)) {
        return false;
    }
    *ret = 0;
    for (size_t i = 0; i < width; i++) {
        *ret = *ret << 8 | bytes.at[i];
    }
    return true;
}

/* A vector of RFC 8446 section 3.4: its length in `width` bytes, then as many bytes. */
static bool take_vector(struct field *from, size_t width, struct field *ret)
{
    size_t length;
    return take_number(from, width, &length) && take_bytes(from, length, ret);
}

/* Everything before the extensions; OpenSSL fails over each thing refused here. A hello may end without
 * extensions (before TLS 1.3), and then names no server. */
static bool read_body(struct field body, struct field *extensions)
{
    struct field fixed, session_id, ciphers, compressions;
    if (!take_bytes(&body, VERSION_AND_RANDOM, &fixed) || !take_vector(&body, 1, &session_id) ||
        !take_vector(&body, 2, &ciphers) || !take_vector(&body, 1, &compressions)) {
        return false;
    }
    if (session_id.left > SESSION_ID_MAX || ciphers.left == 0 || ciphers.left % 2 != 0 ||
        memchr(compressions.at, COMPRESSION_NONE, compressions.left) == NULL) {
        return false;
    }
    *extensions = body;
    return body.left == 0 || (take_vector(&body, 2, extensions) && body.left == 0);
}

/* Finds server_name (`ret->at` stays NULL without one). A type that comes twice is refused, since two
 * readers may choose differently, and so is anything after pre_shared_key (RFC 8446 section 4.2), and
 * use_srtp, which is DTLS's alone (RFC 5764): over both OpenSSL fails the handshake. */
static bool find_server_name(struct field extensions, struct field *ret)
{
    unsigned char seen[EXTENSION_TYPES / 8] = {0};
    while (extensions.left > 0) {
        size_t type;
        struct field body;
        if (!take_number(&extensions, 2, &type) || !take_vector(&extensions, 2, &body)) {
            return false;
        }
        unsigned char bit = (unsigned char)(1u << (type % 8));
        if ((seen[type / 8] & bit) != 0 || type == EXTENSION_USE_SRTP ||
            (type == EXTENSION_PRE_SHARED_KEY && extensions.left > 0)) {
            return false;
        }
        seen[type / 8] |= bit;
        if (type == EXTENSION_SERVER_NAME) {
            *ret = body;
        }
    }
    return true;
}

/* Lower case without asking the locale. Bytes that could confuse a log or a comparison are refused. */
static bool copy_name(struct field host, char name[HELLO_NAME_MAX])
{
    for (size_t i = 0; i < host.left; i++) {
        unsigned char byte = host.at[i];
        if (byte <= ' ' || byte >= 0x7f) {
            return false;
        }
        name[i] = (char)(byte >= 'A' && byte <= 'Z' ? byte - 'A' + 'a' : byte);
    }
    name[host.left] = '\0';
    return true;
}

/* The extension's body: a list of exactly one host_name, as in OpenSSL (RFC 6066 section 3 allows no
 * second one, and defines no other type). */
static bool read_server_name(struct field body, char name[HELLO_NAME_MAX])
{
    struct field list, host;
    size_t type;
    if (!take_vector(&body, 2, &list) || body.left > 0) {
        return false;
    }
    if (!take_number(&list, 1, &type) || type != NAME_TYPE_HOST || !take_vector(&list, 2, &host) ||
        list.left > 0 || host.left >= HELLO_NAME_MAX) {
        return false;
    }
    if (host.left > 0 && host.at[host.left - 1] == '.') {
        host.left--;
    }
    if (host.left == 0 || host.at[host.left - 1] == '.') {
        return false;
    }
    return copy_name(host, name);
}

/* Once a hello. Inlined, its stack frame would be set up for every byte. */
NOINLINE static enum hello_state read_message(const struct hello *hello, char name[HELLO_NAME_MAX])
{
    struct field body = {hello->message + MESSAGE_HEADER, hello->message_length - MESSAGE_HEADER};
    struct field extensions;
    struct field server_name = {NULL, 0};
    if (!read_body(body, &extensions) || !find_server_name(extensions, &server_name)) {
        return HELLO_BAD;
    }
    if (server_name.at == NULL) {
        return HELLO_NO_NAME;
    }
    return read_server_name(server_name, name) ? HELLO_NAME : HELLO_BAD;
}

/* Of the whole message, as its header announces it; the header must be there. */
static size_t message_total(const struct hello *hello)
{
    const unsigned char *header = hello->message;
    return MESSAGE_HEADER + ((size_t)header[1] << 16 | (size_t)header[2] << 8 | header[3]);
}

/* The state after a record header or a piece of the message: a message of another type, one too large,
 * and a record that goes on after the ClientHello (RFC 8446 section 5.1) are refused at once. */
static enum hello_state judge(struct hello *hello)
{
    if (hello->message_length == 0) {
        return HELLO_MORE;
    }
    if (hello->message[0] != MESSAGE_CLIENT_HELLO) {
        return HELLO_BAD;
    }
    if (hello->message_length < MESSAGE_HEADER) {
        return HELLO_MORE;
    }
    size_t total = message_total(hello);
    if (total > HELLO_MESSAGE_MAX || hello->record_left > total - hello->message_length) {
        return HELLO_BAD;
    }
    return hello->message_length == total ? read_message(hello, hello->name) : HELLO_MORE;
}

/* One byte of a record header. No record may be empty (RFC 8446 section 5.1): it would be work for
 * nothing. */
static enum hello_state feed_header(struct hello *hello, unsigned char byte)
{
    hello->header[hello->header_length++] = byte;
    if ((hello->header_length == 1 && byte != RECORD_HANDSHAKE) ||
        (hello->header_length == 2 && byte != RECORD_MAJOR)) {
        return hello->message_length == 0 ? HELLO_NOT_TLS : HELLO_BAD;
    }
    if (hello->header_length < RECORD_HEADER) {
        return HELLO_MORE;
    }
    hello->header_length = 0;
    hello->record_left = (size_t)hello->header[3] << 8 | hello->header[4];
    if (hello->record_left == 0 || hello->record_left > RECORD_MAX) {
        return HELLO_BAD;
    }
    return judge(hello);
}

/* Room for `wanted` more bytes, all of which have arrived; judge() has seen to it that the message stays
 * within its bound. Doubling keeps the copying linear when they come one at a time. */
static bool reserve(struct hello *hello, size_t wanted)
{
    size_t needed = hello->message_length + wanted;
    if (needed <= hello->message_capacity) {
        return true;
    }
    size_t capacity = 2 * hello->message_capacity > needed ? 2 * hello->message_capacity : needed;
    if (capacity > HELLO_MESSAGE_MAX) {
        capacity = HELLO_MESSAGE_MAX;
    }
    unsigned char *message = realloc(hello->message, capacity);
    if (message == NULL) {
        return false;
    }
    hello->message = message;
    hello->message_capacity = capacity;
    return true;
}

/* Takes what is there of the record's payload, but not beyond the message's header until that is judged.
 * Returns the number of bytes taken. */
static size_t feed_payload(struct hello *hello, const unsigned char *at, size_t length)
{
    size_t here = length < hello->record_left ? length : hello->record_left;
    if (!reserve(hello, here)) {
        hello->state = HELLO_BAD;
        return 0;
    }
    size_t taken = here;
    if (hello->message_length < MESSAGE_HEADER && taken > MESSAGE_HEADER - hello->message_length) {
        taken = MESSAGE_HEADER - hello->message_length;
    }
    memcpy(hello->message + hello->message_length, at, taken);
    hello->message_length += taken;
    hello->record_left -= taken;
    hello->state = judge(hello);
    return taken;
}

void hello_init(struct hello *hello)
{
    *hello = (struct hello){.state = HELLO_MORE};
}

void hello_release(struct hello *hello)
{
    free(hello->message);
    hello->message = NULL;
    hello->message_length = hello->message_capacity = 0;
}

enum hello_state hello_feed(struct hello *hello, const void *data, size_t length)
{
    const unsigned char *at = data;
    while (hello->state == HELLO_MORE && length > 0) {
        size_t taken = 1;
        size_t room = HELLO_WIRE_MAX - hello->wire_length;
        if (room == 0) {
            hello->state = HELLO_BAD;
        } else if (hello->record_left == 0) {
            hello->state = feed_header(hello, *at);
        } else {
            taken = feed_payload(hello, at, length < room ? length : room);
        }
        hello->wire_length += taken;
        at += taken;
        length -= taken;
    }
    if (hello->state != HELLO_MORE) {
        hello_release(hello); /* the answer is known: an open stream need not carry the question */
    }
    return hello->state;
}
