/* How the rules of the handshake, of frames and of control frames are broken. */
#include "rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void control(struct peer *peer, uint8_t type, uint32_t stream, const char *bytes, size_t length)
{
    put_frame(peer, type, 0, stream, bytes, length);
}

#define CONTROL(peer, type, stream, bytes) control(peer, type, stream, bytes, sizeof(bytes) - 1)

/* The session under test is a server, and nothing has been said, in these. */
static void wrong_preface(struct peer *peer)
{
    put_bytes(peer, "GET / HTTP/1.1\r\n", 16);
}

static void wrong_preface_at_its_end(struct peer *peer)
{
    put_bytes(peer, "\xf0PSTN\n", 6);
}

static void ping_before_hello(struct peer *peer)
{
    put_preface(peer);
    put_u64(peer, FRAME_PING, 0, 1);
}

static void data_before_hello(struct peer *peer)
{
    put_preface(peer);
    put_data(peer, 1, 5, false);
}

static void unknown_before_hello(struct peer *peer)
{
    put_preface(peer);
    put_frame(peer, 0x90, 0, 0, NULL, 0);
}

static void goaway_before_hello(struct peer *peer)
{
    put_preface(peer);
    put_goaway(peer, CONTROL_LAST_WARNING, CODE_NO_ERROR, NULL);
}

static void same_role(struct peer *peer)
{
    put_preface(peer);
    CONTROL(peer, FRAME_HELLO, 0,
            "\xa7\x01\x82\x01\x01\x02\x01\x03\x19\x40\x00\x04\x00\x05\x19\x40\x00\x06\x19\x40\x00\x07\x19\x3a"
            "\x98");
}

static void later_version(struct peer *peer)
{
    put_preface(peer);
    CONTROL(peer, FRAME_HELLO, 0,
            "\xa7\x01\x82\x02\x03\x02\x00\x03\x19\x40\x00\x04\x00\x05\x19\x40\x00\x06\x19\x40\x00\x07\x19\x3a"
            "\x98");
}

static void no_hello(struct peer *peer)
{
    put_preface(peer);
    peer_wait(peer, 10000, false);
}

static void half_a_hello(struct peer *peer)
{
    put_preface(peer);
    put_bytes(peer, "\x01\x00\x00\x2c\x00", 5);
    peer_wait(peer, 10000, false);
}

static void no_streams_value(struct peer *peer)
{
    put_preface(peer); /* max_streams is 2^31 */
    CONTROL(peer, FRAME_HELLO, 0,
            "\xa7\x01\x82\x01\x01\x02\x00\x03\x19\x40\x00\x04\x1a\x80\x00\x00\x00\x05\x19\x40\x00\x06\x19\x40"
            "\x00\x07\x19\x3a\x98");
}

static void tiny_window(struct peer *peer)
{
    put_preface(peer); /* stream_window is 1023 */
    CONTROL(peer, FRAME_HELLO, 0,
            "\xa7\x01\x82\x01\x01\x02\x00\x03\x19\x40\x00\x04\x00\x05\x19\x03\xff\x06\x19\x40\x00\x07\x19\x3a"
            "\x98");
}

static void versions_backwards(struct peer *peer)
{
    put_preface(peer);
    CONTROL(peer, FRAME_HELLO, 0,
            "\xa7\x01\x82\x02\x01\x02\x00\x03\x19\x40\x00\x04\x00\x05\x19\x40\x00\x06\x19\x40\x00\x07\x19\x3a"
            "\x98");
}

static void versions_is_number(struct peer *peer)
{
    put_preface(peer);
    CONTROL(peer, FRAME_HELLO, 0, "\xa1\x01\x01");
}

static void huge_version(struct peer *peer)
{
    put_preface(peer);
    CONTROL(peer, FRAME_HELLO, 0, "\xa1\x01\x82\x01\x1a\x00\x01\x00\x00");
}

static void three_versions(struct peer *peer)
{
    put_preface(peer);
    CONTROL(peer, FRAME_HELLO, 0,
            "\xa7\x01\x83\x01\x01\x02\x02\x00\x03\x19\x40\x00\x04\x00\x05\x19\x40\x00\x06\x19\x40\x00\x07\x19"
            "\x3a\x98");
}

/* From here on HELLO was exchanged. */
static void second_hello(struct peer *peer)
{
    put_hello(peer);
}

static void type_zero(struct peer *peer)
{
    put_frame(peer, 0, 0, 0, NULL, 0);
}

static void unknown_type(struct peer *peer)
{
    put_frame(peer, 0x7f, 0, 1, NULL, 0);
}

static void long_data(struct peer *peer)
{
    put_open(peer, 1, "kms");
    put_bytes(peer, "\x13\x00\x20\x01\x00\x00\x00\x01", 8);
}

static void long_unknown(struct peer *peer)
{
    put_bytes(peer, "\xff\x00\xff\xff\x00\x00\x00\x01", 8);
}

static void short_ping(struct peer *peer)
{
    put_frame(peer, FRAME_PING, 0, 0, "1234567", 7);
}

static void empty_open(struct peer *peer)
{
    put_frame(peer, FRAME_OPEN, 0, 1, NULL, 0);
}

static void long_control(struct peer *peer)
{
    put_bytes(peer, "\x10\x00\x10\x01\x00\x00\x00\x01", 8);
}

static void flag_on_ping(struct peer *peer)
{
    put_frame(peer, FRAME_PING, 1, 0, "12345678", 8);
}

static void unknown_flag_on_data(struct peer *peer)
{
    put_open(peer, 1, "kms");
    put_frame(peer, FRAME_DATA, 2, 1, "d", 1);
}

static void ping_on_a_stream(struct peer *peer)
{
    put_frame(peer, FRAME_PING, 0, 1, "12345678", 8);
}

static void data_on_the_session(struct peer *peer)
{
    put_frame(peer, FRAME_DATA, 0, 0, "d", 1);
}

static void half_a_frame(struct peer *peer)
{
    put_open(peer, 1, "kms");
    put_bytes(peer,
              "\x13\x00\x10\x00\x00\x00\x00\x01"
              "d",
              9);
    for (unsigned i = 0; i < 6; i++) { /* a byte now and then does not help */
        peer_wait(peer, 5000, false);
        put_bytes(peer, "d", 1);
    }
}

static void no_map(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\x01");
}

static void cut_map(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa1\x01\x63km");
}

static void cut_meta(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa2\x01\x63kms\x03\xa1\x61z");
}

static void after_the_map(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa1\x01\x63kms\x00");
}

static void long_integer(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa1\x18\x01\x63kms");
}

static void long_length(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa1\x01\x78\x03kms");
}

static void long_count(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xb8\x01\x01\x63kms");
}

static void key_twice(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa2\x01\x63kms\x01\x63kms");
}

static void keys_unordered(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa2\x02\x00\x01\x63kms");
}

static void key_is_text(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa1\x61r\x63kms");
}

static void huge_key(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa1\x1b\x00\x00\x00\x01\x00\x00\x00\x00\x00");
}

static void meta_unordered(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1,
            "\xa2\x01\x63kms\x03\xa2\x62"
            "aa\x60\x61z\x60");
}

static void meta_twice(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa2\x01\x63kms\x03\xa2\x61z\x60\x61z\x60");
}

static void indefinite_map(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xbf\x01\x63kms\xff");
}

static void indefinite_text(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa1\x01\x7f\x63kms\xff");
}

static void negative(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa2\x01\x63kms\x18\x40\x20");
}

static void tag(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa1\x01\xc1\x63kms");
}

static void floating(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa2\x01\x63kms\x18\x40\xf9\x00\x00");
}

static void null(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa2\x01\x63kms\x03\xf6");
}

static void deep(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa2\x01\x63kms\x18\x40\x81\x81\x81\x81\x00");
}

static void crowded(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa2\x01\x63kms\x18\x40\x98\x21");
}

static void line_break(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa1\x01\x64kms\n");
}

static void not_ascii(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa2\x01\x63kms\x18\x40\x61\x7f");
}

static void unknown_key(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa2\x01\x63kms\x18\x3f\x00");
}

static void unknown_key_in_opened(struct peer *peer)
{
    peer_open(peer, "kms");
    peer_said(peer);
    CONTROL(peer, FRAME_OPENED, 2, "\xa1\x01\x00");
}

static void key_missing(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa1\x02\x00");
}

static void refused_without_retryable(struct peer *peer)
{
    peer_open(peer, "kms");
    peer_said(peer);
    CONTROL(peer, FRAME_REFUSED, 2, "\xa1\x01\x01");
}

static void goaway_without_code(struct peer *peer)
{
    CONTROL(peer, FRAME_GOAWAY, 0, "\xa1\x01\x01");
}

static void empty_route(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa1\x01\x60");
}

static void route_is_bytes(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa1\x01\x43kms");
}

static void timeout_is_large(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa2\x01\x63kms\x04\x1b\x00\x00\x00\x01\x00\x00\x00\x00");
}

static void meta_value_is_number(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa2\x01\x63kms\x03\xa1\x61z\x00");
}

static void meta_is_text(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa2\x01\x63kms\x03\x61z");
}

static void meta_key_is_number(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa2\x01\x63kms\x03\xa1\x01\x61z");
}

static void meta_too_many(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa2\x01\x63kms\x03\xb1");
}

const struct rule_row rules_of_frames[] = {
    {"H-1", wrong_preface, true},
    {"H-1", wrong_preface_at_its_end, true},
    {"H-2", ping_before_hello, true},
    {"H-2", data_before_hello, true},
    {"H-2", unknown_before_hello, true},
    {"H-2", goaway_before_hello, true},
    {"H-3", second_hello, false},
    {"H-4", same_role, true},
    {"H-5", later_version, true},
    {"H-6", no_hello, true},
    {"H-6", half_a_hello, true},
    {"F-1", type_zero, false},
    {"F-1", unknown_type, false},
    {"F-2", long_data, false},
    {"F-2", long_unknown, false},
    {"F-3", short_ping, false},
    {"F-3", empty_open, false},
    {"F-3", long_control, false},
    {"F-4", flag_on_ping, false},
    {"F-4", unknown_flag_on_data, false},
    {"F-5", ping_on_a_stream, false},
    {"F-5", data_on_the_session, false},
    {"F-6", half_a_frame, false},
    {"C-1", no_map, false},
    {"C-1", cut_map, false},
    {"C-1", cut_meta, false},
    {"C-1", after_the_map, false},
    {"C-2", long_integer, false},
    {"C-2", long_length, false},
    {"C-2", long_count, false},
    {"C-3", key_twice, false},
    {"C-3", keys_unordered, false},
    {"C-3", key_is_text, false},
    {"C-3", huge_key, false},
    {"C-3", meta_unordered, false},
    {"C-3", meta_twice, false},
    {"C-4", indefinite_map, false},
    {"C-4", indefinite_text, false},
    {"C-4", negative, false},
    {"C-4", tag, false},
    {"C-4", floating, false},
    {"C-4", null, false},
    {"C-5", deep, false},
    {"C-5", crowded, false},
    {"C-6", line_break, false},
    {"C-6", not_ascii, false},
    {"C-7", unknown_key, false},
    {"C-7", unknown_key_in_opened, false},
    {"C-8", key_missing, false},
    {"C-8", refused_without_retryable, false},
    {"C-8", goaway_without_code, false},
    {"C-9", empty_route, false},
    {"C-9", route_is_bytes, false},
    {"C-9", timeout_is_large, false},
    {"C-9", meta_value_is_number, false},
    {"C-9", meta_is_text, false},
    {"C-9", meta_key_is_number, false},
    {"C-9", meta_too_many, false},
    {"C-9", no_streams_value, true},
    {"C-9", tiny_window, true},
    {"C-9", versions_backwards, true},
    {"C-9", three_versions, true},
    {"C-9", versions_is_number, true},
    {"C-9", huge_version, true},
    {NULL, NULL, false},
};
