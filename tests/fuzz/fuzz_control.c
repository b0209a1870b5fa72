/*
 * The control frames' CBOR: the first byte chooses the frame. What is let through must be in its ranges, and encoded again must
 * be the same bytes, unless keys that are passed over, or a value that is a default, were there.
 */
#include "session/control.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool good)
{
    if (!good) {
        abort();
    }
}

static void check_text(struct control_text text, size_t max)
{
    need(text.length <= max && control_printable(text));
}

static size_t fuzz_hello(const uint8_t *data, size_t size, uint8_t *out, struct breach *breach)
{
    struct control_hello hello;

    if (!control_decode_hello(data, size, &hello, breach)) {
        return 0;
    }
    need(hello.version_min >= 1 && hello.version_min <= hello.version_max && hello.version_max <= 65535);
    need(hello.role <= 1 && hello.max_payload >= 1024 && hello.max_payload <= 65528);
    need(hello.max_streams <= CONTROL_STREAMS_MAX && hello.stream_window >= 1024 &&
         hello.session_window >= 4096);
    check_text(hello.build, CONTROL_BUILD_MAX);
    return control_encode_hello(&hello, out, FRAME_CONTROL_MAX);
}

static size_t fuzz_open(const uint8_t *data, size_t size, uint8_t *out, struct breach *breach)
{
    struct control_open open;

    if (!control_decode_open(data, size, &open, breach)) {
        return 0;
    }
    need(open.route.length >= 1 && open.meta_count <= CONTROL_META_MAX);
    check_text(open.route, CONTROL_ROUTE_MAX);
    for (size_t i = 0; i < open.meta_count; i++) {
        check_text(open.meta[i].key, CONTROL_META_KEY_MAX);
        need(open.meta[i].value.length <= CONTROL_META_VALUE_MAX);
        need(open.meta[i].binary || control_printable(open.meta[i].value));
    }
    (void)control_meta_find(&open, "peer");
    return control_encode_open(&open, out, FRAME_CONTROL_MAX);
}

static size_t fuzz_refused(const uint8_t *data, size_t size, uint8_t *out, struct breach *breach)
{
    struct control_refused refused;

    if (!control_decode_refused(data, size, &refused, breach)) {
        return 0;
    }
    check_text(refused.message, CONTROL_MESSAGE_MAX);
    return control_encode_refused(&refused, out, FRAME_CONTROL_MAX);
}

static size_t fuzz_goaway(const uint8_t *data, size_t size, uint8_t *out, struct breach *breach)
{
    struct control_goaway goaway;

    if (!control_decode_goaway(data, size, &goaway, breach)) {
        return 0;
    }
    check_text(goaway.message, CONTROL_MESSAGE_MAX);
    return control_encode_goaway(&goaway, out, FRAME_CONTROL_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static size_t (*const targets[])(const uint8_t *data, size_t size, uint8_t *out,
                                     struct breach *breach) = {fuzz_hello, fuzz_open, fuzz_refused,
                                                               fuzz_goaway};
    uint8_t out[FRAME_CONTROL_MAX], again[FRAME_CONTROL_MAX];
    struct breach breach = {CODE_NO_ERROR, NULL};
    size_t length, length_again;

    if (size < 1 || size > FRAME_CONTROL_MAX) {
        return 0;
    }
    if (data[0] % 5 == 4) {
        need(control_decode_opened(data + 1, size - 1, &breach) || breach.code == CODE_CONTROL);
        return 0;
    }
    length = targets[data[0] % 5](data + 1, size - 1, out, &breach);
    need(length > 0 || breach.code == CODE_CONTROL);
    if (length == 0) {
        return 0;
    }
    length_again = targets[data[0] % 5](out, length, again, &breach);
    need(length_again == length && memcmp(out, again, length) == 0);
    need(length <= size - 1);
    need(length < size - 1 || memcmp(out, data + 1, length) == 0);
    return 0;
}
