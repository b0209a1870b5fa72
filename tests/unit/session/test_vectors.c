/* The test vectors of docs/protocol.md, made and read. */
#include "document.h"
#include "peer.h"
#include "session/control.h"
#include "session/session_private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TEXT(string)                                   \
    {                                                  \
        .data = (string), .length = sizeof(string) - 1 \
    }

static const struct control_hello hello_client = {
    .version_min = 1,
    .version_max = 1,
    .role = 0,
    .max_payload = 16384,
    .max_streams = 256,
    .stream_window = 16384,
    .session_window = 16777216,
    .ping_interval = 15000,
    .build = TEXT("postern 0.1.0"),
};

static const struct control_hello hello_server = {
    .version_min = 1,
    .version_max = 3,
    .role = 1,
    .max_payload = 65528,
    .max_streams = 0,
    .stream_window = 1024,
    .session_window = 4096,
    .ping_interval = 1000,
    .features = 5,
};

static const struct control_open open_plain = {.route = TEXT("kms")};

static const struct control_open open_http = {.route = TEXT("results"), .kind = CONTROL_KIND_HTTP};

static const struct control_open open_meta = {
    .route = TEXT("log"),
    .timeout_ms = 5000,
    .meta_count = 3,
    .meta = {{.key = TEXT("cookie"), .value = TEXT("\x00\xff"), .binary = true},
             {.key = TEXT("name"), .value = TEXT("app")},
             {.key = TEXT("pid"), .value = TEXT("17")}},
};

static const struct control_refused refused = {0x10d, TEXT("nobody listens at 10.0.0.1:443"), true};
static const struct control_refused refused_short = {0x104, {NULL, 0}, false};
static const struct control_goaway goaway_warning = {UINT32_MAX, 0, {NULL, 0}, 30000};
static const struct control_goaway goaway_final = {7, 0, {NULL, 0}, 0};
static const struct control_goaway goaway_error = {0, CODE_PROTOCOL,
                                                   TEXT("F-1: a frame of an unknown type below 0x80"), 0};

static void same_text(struct control_text a, struct control_text b)
{
    assert_int_equal(a.length, b.length);
    if (a.length > 0) {
        assert_memory_equal(a.data, b.data, a.length);
    }
}

static void same_hello(const uint8_t *bytes, size_t length, const struct control_hello *expected)
{
    struct control_hello got;
    struct breach breach;

    assert_true(control_decode_hello(bytes, length, &got, &breach));
    assert_int_equal(got.version_min, expected->version_min);
    assert_int_equal(got.version_max, expected->version_max);
    assert_int_equal(got.role, expected->role);
    assert_int_equal(got.max_payload, expected->max_payload);
    assert_int_equal(got.max_streams, expected->max_streams);
    assert_int_equal(got.stream_window, expected->stream_window);
    assert_int_equal(got.session_window, expected->session_window);
    assert_int_equal(got.ping_interval, expected->ping_interval);
    assert_int_equal(got.features, expected->features);
    same_text(got.build, expected->build);
}

static void same_open(const uint8_t *bytes, size_t length, const struct control_open *expected)
{
    struct control_open got;
    struct breach breach;

    assert_true(control_decode_open(bytes, length, &got, &breach));
    same_text(got.route, expected->route);
    assert_int_equal(got.kind, expected->kind);
    assert_int_equal(got.timeout_ms, expected->timeout_ms);
    assert_int_equal(got.meta_count, expected->meta_count);
    for (size_t i = 0; i < expected->meta_count; i++) {
        char key[16];
        snprintf(key, sizeof(key), "%.*s", (int)expected->meta[i].key.length, expected->meta[i].key.data);
        const struct control_meta_entry *entry = control_meta_find(&got, key);
        assert_non_null(entry);
        same_text(entry->value, expected->meta[i].value);
        assert_int_equal(entry->binary, expected->meta[i].binary);
    }
    assert_null(control_meta_find(&got, "nothing"));
}

static void same_refused(const uint8_t *bytes, size_t length, const struct control_refused *expected)
{
    struct control_refused got;
    struct breach breach;

    assert_true(control_decode_refused(bytes, length, &got, &breach));
    assert_int_equal(got.code, expected->code);
    assert_int_equal(got.retryable, expected->retryable);
    same_text(got.message, expected->message);
}

static void same_goaway(const uint8_t *bytes, size_t length, const struct control_goaway *expected)
{
    struct control_goaway got;
    struct breach breach;

    assert_true(control_decode_goaway(bytes, length, &got, &breach));
    assert_int_equal(got.last_stream, expected->last_stream);
    assert_int_equal(got.code, expected->code);
    assert_int_equal(got.deadline_ms, expected->deadline_ms);
    same_text(got.message, expected->message);
}

/* What each vector says. Control frames by their struct, others by their payload. */
static const struct expected {
    const char *name;
    uint8_t type, flags;
    uint32_t stream;
    const void *control;
    const char *payload; /* of the others, in `size` bytes */
    size_t size;
    bool decode_only;
} table[] = {
    {"hello-client", FRAME_HELLO, 0, 0, &hello_client, NULL, 0, false},
    {"hello-server", FRAME_HELLO, 0, 0, &hello_server, NULL, 0, true},
    {"open", FRAME_OPEN, 0, 1, &open_plain, NULL, 0, false},
    {"open-meta", FRAME_OPEN, 0, 2, &open_meta, NULL, 0, true},
    {"open-meta-short", FRAME_OPEN, 0, 2, &open_meta, NULL, 0, false},
    {"open-http", FRAME_OPEN, 0, 5, &open_http, NULL, 0, false},
    {"opened", FRAME_OPENED, 0, 1, "", NULL, 0, false},
    {"refused", FRAME_REFUSED, 0, 1, &refused, NULL, 0, false},
    {"refused-short", FRAME_REFUSED, 0, 4294967293, &refused_short, NULL, 0, false},
    {"goaway-warning", FRAME_GOAWAY, 0, 0, &goaway_warning, NULL, 0, false},
    {"goaway-final", FRAME_GOAWAY, 0, 0, &goaway_final, NULL, 0, false},
    {"goaway-error", FRAME_GOAWAY, 0, 0, &goaway_error, NULL, 0, false},
    {"ping", FRAME_PING, 0, 0, NULL, "\0\1\2\3\4\5\6\7", 8, false},
    {"pong", FRAME_PONG, 0, 0, NULL, "\0\1\2\3\4\5\6\7", 8, false},
    {"max-data", FRAME_MAX_DATA, 0, 0, NULL, "\0\0\0\0\1\x40\0\0", 8, false},
    {"max-streams", FRAME_MAX_STREAMS, 0, 0, NULL, "\0\0\1\x2c", 4, false},
    {"data", FRAME_DATA, 0, 1, NULL, "hello", 5, false},
    {"data-fin", FRAME_DATA, FRAME_FIN, 1, NULL, "bye", 3, false},
    {"data-fin-empty", FRAME_DATA, FRAME_FIN, 4, NULL, "", 0, false},
    {"max-stream-data", FRAME_MAX_STREAM_DATA, 0, 1, NULL, "\0\0\1\0\0\0\0\0", 8, false},
    {"reset", FRAME_RESET, 0, 1, NULL, "\0\0\0\x20\0\0\0\0\0\0\0\x08", 12, false},
    {"stop", FRAME_STOP, 0, 3, NULL, "\0\0\0\x22", 4, false},
    {"ignored", 0xc0, 0x81, 5, NULL, "what", 4, false},
};

static void decode_control(uint8_t type, const uint8_t *bytes, size_t length, const void *control)
{
    struct breach breach;

    if (type == FRAME_HELLO) {
        same_hello(bytes, length, control);
    } else if (type == FRAME_OPEN) {
        same_open(bytes, length, control);
    } else if (type == FRAME_REFUSED) {
        same_refused(bytes, length, control);
    } else if (type == FRAME_GOAWAY) {
        same_goaway(bytes, length, control);
    } else {
        assert_true(control_decode_opened(bytes, length, &breach));
    }
}

static size_t encode_control(uint8_t type, const void *control, uint8_t *out, size_t size)
{
    if (type == FRAME_HELLO) {
        return control_encode_hello(control, out, size);
    }
    if (type == FRAME_OPEN) {
        return control_encode_open(control, out, size);
    }
    if (type == FRAME_REFUSED) {
        return control_encode_refused(control, out, size);
    }
    if (type == FRAME_GOAWAY) {
        return control_encode_goaway(control, out, size);
    }
    return control_encode_opened(out, size);
}

static void check_decoding(const struct expected *expected, const struct vector *vector)
{
    struct frame_reader reader;
    const uint8_t *at = vector->bytes;
    size_t length = vector->length;
    struct frame frame;
    enum frame_event event;

    frame_reader_init(&reader, FRAME_PAYLOAD_MAX);
    event = frame_read(&reader, &at, &length, &frame);
    assert_int_equal(event, expected->type >= FRAME_IGNORABLE ? FRAME_IGNORED
                            : expected->type == FRAME_DATA    ? FRAME_PIECE
                                                              : FRAME_WHOLE);
    assert_int_equal(length, 0);
    assert_int_equal(frame.header.type, expected->type);
    assert_int_equal(frame.header.flags, expected->flags);
    assert_int_equal(frame.header.stream, expected->stream);
    if (expected->control) {
        decode_control(expected->type, frame.bytes, frame.length, expected->control);
        return;
    }
    assert_int_equal(frame.length, expected->size);
    assert_memory_equal(frame.bytes, expected->payload, expected->size);
}

static void check_encoding(const struct expected *expected, const struct vector *vector)
{
    uint8_t bytes[VECTOR_MAX];
    size_t size = expected->size;

    for (size_t less = 0; expected->control && less + FRAME_HEADER < vector->length; less++) {
        assert_int_equal(encode_control(expected->type, expected->control, bytes, less), 0);
    }
    if (expected->control) {
        size = encode_control(expected->type, expected->control, bytes + FRAME_HEADER,
                              sizeof(bytes) - FRAME_HEADER);
    } else {
        memcpy(bytes + FRAME_HEADER, expected->payload, size);
    }
    frame_encode_header(bytes, (struct frame_header){expected->type, expected->flags, (uint16_t)size,
                                                     expected->stream});
    assert_int_equal(FRAME_HEADER + size, vector->length);
    assert_memory_equal(bytes, vector->bytes, vector->length);
}

static void test_frames(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        const struct vector *vector = document_vector(table[i].name);
        check_decoding(&table[i], vector);
        if (!table[i].decode_only) {
            check_encoding(&table[i], vector);
        }
    }
}

/* A vector that nobody checks proves nothing. */
static void test_each_is_checked(void **state)
{
    size_t count;
    const struct vector *vectors = document_vectors(&count);

    (void)state;
    assert_int_equal(count, ARRAY_SIZE(table) + 2);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(document_vector(vectors[i].name) - vectors, i);
    }
}

/* The whole life of a session, as the document has it, comes out of the core byte for byte. */
static void test_transcript(void **state)
{
    const struct vector *client = document_vector("session-client");
    const struct vector *server = document_vector("session-server");
    struct transcript transcript;

    (void)state;
    transcript_make(&transcript);
    if (transcript.length[0] != client->length || transcript.length[1] != server->length) {
        transcript_print(&transcript);
    }
    assert_int_equal(transcript.length[0], client->length);
    assert_memory_equal(transcript.bytes[0], client->bytes, client->length);
    assert_int_equal(transcript.length[1], server->length);
    assert_memory_equal(transcript.bytes[1], server->bytes, server->length);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames),
        cmocka_unit_test(test_each_is_checked),
        cmocka_unit_test(test_transcript),
    };

    return cmocka_run_group_tests_name("vectors", tests, NULL, NULL);
}
