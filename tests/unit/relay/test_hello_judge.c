/*
 * Scorecard R2: many thousand ClientHellos, honest and hostile, each read by hello.c and by OpenSSL (judge.h).
 * Allowed are the same reading, and the refusals that relay/hello.h declares, listed apart; a name other
 * than OpenSSL's, a name where it sees none, or an honest hello refused, is a difference.
 */
#include "base/compiler.h"
#include "clients.h"
#include "hello_maker.h"
#include "judge.h"
#include "relay/hello.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// clang-format off
#include <cmocka.h>
// clang-format on

/* Why a hello that OpenSSL takes may be refused: the list in relay/hello.h. */
enum stricter { NOT_STRICTER, NAME_BYTES, TYPE_TWICE, RECORD_FORM, OVER_BOUNDS, SSL2_FORMAT, STRICTER_COUNT };

static const char *const stricter_words[STRICTER_COUNT] = {
    "", "odd names", "a type twice", "odd records", "over the bounds", "SSL 2.0 format"};

static struct judge judge;
static struct verdict verdict;
static struct bytes message, wire, work;
static unsigned hellos, different, early;
static unsigned refused[STRICTER_COUNT];

static uint32_t random_state = 2463534242u;

/* xorshift: the same choices in every run; only the real clients' keys differ. */
static uint32_t random_below(uint32_t bound)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state % bound;
}

/* OpenSSL's name as it would be ours; false when it is one that we refuse. */
static bool to_ours(char *name)
{
    size_t length = strlen(name);
    if (length > 0 && name[length - 1] == '.') {
        name[--length] = '\0';
    }
    for (size_t i = 0; i < length; i++) {
        if (name[i] < 0x21 || name[i] > 0x7e) {
            return false;
        }
        name[i] = (char)tolower((unsigned char)name[i]);
    }
    return length > 0 && name[length - 1] != '.';
}

static void tell_difference(const char *what, const struct hello *ours, const unsigned char *data,
                            size_t length)
{
    if (different++ >= 10) {
        return;
    }
    print_message("read differently (%s): OpenSSL %d '%s', ours %d '%s', %zu bytes:", what, verdict.kind,
                  verdict.name, ours->state, ours->name, length);
    for (size_t i = 0; i < length && i < 400; i++) {
        print_message("%s%02x", i % 32 == 0 ? "\n  " : "", data[i]);
    }
    print_message("\n");
}

static bool is_refusal(enum hello_state state)
{
    return state == HELLO_BAD || state == HELLO_NOT_TLS;
}

/* Whether our reading is right; a refusal that is ours alone is counted under its reason. */
static bool agree(const struct hello *ours, enum stricter allowed)
{
    bool named = verdict.kind == VERDICT_NAME;
    bool usable = !named || to_ours(verdict.name);
    if (verdict.kind == VERDICT_MORE) {
        early += is_refusal(ours->state);
        return ours->state == HELLO_MORE || is_refusal(ours->state);
    }
    if (verdict.kind == VERDICT_REFUSED) {
        return is_refusal(ours->state);
    }
    if (is_refusal(ours->state)) {
        enum stricter why = usable ? allowed : NAME_BYTES;
        refused[why] += verdict.taken;
        return !verdict.taken || why != NOT_STRICTER;
    }
    return named ? ours->state == HELLO_NAME && strcmp(ours->name, verdict.name) == 0
                 : ours->state == HELLO_NO_NAME;
}

static void compare(const char *what, const unsigned char *data, size_t length, enum stricter allowed)
{
    struct hello ours;
    hello_init(&ours);
    hello_feed(&ours, data, length);
    judge_read(&judge, data, length, &verdict);
    hellos++;
    if (!agree(&ours, allowed)) {
        tell_difference(what, &ours, data, length);
    }
    hello_release(&ours);
}

/* The spec's hello in records of `size`. */
static void compare_spec(const char *what, const struct spec *spec, size_t size, enum stricter allowed)
{
    message.length = wire.length = 0;
    make_message(&message, spec);
    make_records(&wire, message.at, message.length, size);
    compare(what, wire.at, wire.length, allowed);
}

/* The usual hello with one extension more, before the others or after. */
static void compare_extension(const char *what, unsigned type, const void *body, size_t length)
{
    struct extension extensions[6];
    unsigned char name[32];
    size_t usual = usual_extensions(extensions + 1);
    extensions[usual + 1] = (struct extension){0, make_server_name(name, "inside.example", 14), name};
    extensions[0] = (struct extension){type, length, body};
    struct spec first = {.extensions = extensions, .count = usual + 2 - (type == 0)};
    compare_spec(what, &first, 16384, NOT_STRICTER);
    extensions[usual + 2 - (type == 0)] = extensions[0];
    struct spec last = {.extensions = extensions + 1, .count = usual + 2 - (type == 0)};
    compare_spec(what, &last, 16384, NOT_STRICTER);
}

/* Honest hellos: read as they are, split into records, and cut short. */
static void test_real_clients(void **state)
{
    static const char *const names[] = {NULL,
                                        "a",
                                        "kms.us-east-1.amazonaws.com",
                                        "MiXed.Example.COM",
                                        "xn--bcher-kva.example",
                                        "under_score.example",
                                        "dot.example.",
                                        "192.0.2.1",
                                        "[2001:db8::1]",
                                        "*.example.com"};
    (void)state;
    for (size_t i = 0; i < client_count; i++) {
        SSL_CTX *ctx = client_context(&clients[i]);
        SSL_SESSION *session = clients[i].resume ? client_session(ctx) : NULL;
        for (size_t n = 0; n < ARRAY_SIZE(names); n++) {
            client_hello(ctx, session, names[n], &work);
            compare("real", work.at, work.length, NOT_STRICTER);
            assert_int_equal(verdict.kind, names[n] != NULL ? VERDICT_NAME : VERDICT_NO_NAME);
            for (unsigned times = 0; times < 40; times++) {
                wire.length = 0;
                make_records(&wire, work.at + 5, work.length - 5, 1 + random_below(600));
                compare("real, split", wire.at, wire.length, NOT_STRICTER);
                compare("real, cut", work.at, random_below((uint32_t)work.length), NOT_STRICTER);
            }
        }
        SSL_SESSION_free(session);
        SSL_CTX_free(ctx);
    }
}

/* Every record size, and with each every size of the pieces that arrive. */
static void test_every_split(void **state)
{
    (void)state;
    wire.length = 0;
    make_hello(&wire, "split.example");
    for (size_t size = 1; size < wire.length; size++) {
        work.length = 0;
        make_records(&work, wire.at + 5, wire.length - 5, size);
        compare("split", work.at, work.length, NOT_STRICTER);
        for (size_t piece = 1; piece < work.length; piece++) {
            struct hello ours;
            hello_init(&ours);
            for (size_t at = 0; at < work.length; at += piece) {
                assert_int_equal(ours.state, HELLO_MORE);
                hello_feed(&ours, work.at + at, work.length - at < piece ? work.length - at : piece);
            }
            assert_int_equal(ours.state, HELLO_NAME);
            assert_string_equal(ours.name, "split.example");
            hello_release(&ours);
        }
    }
}

static bool has_type(const struct extension *extensions, size_t count, unsigned type)
{
    while (count > 0 && extensions[count - 1].type != type) {
        count--;
    }
    return count > 0;
}

/* GREASE, ECH, post-quantum shares, padding, of every size that matters, in shuffled orders. */
static void test_modern_shapes(void **state)
{
    static const struct extension extras[] = {
        {0x0a0a, 0, NULL},   {0xfafa, 1, NULL},     {0xfe0d, 186, NULL},    {0xfe0d, 282, NULL},
        {0xfe0d, 1, "\x01"}, {0xfd00, 0, NULL},     {17513, 5, "\0\3\2h2"}, {21, 400, NULL},
        {21, 16000, NULL},   {0xff01, 1, NULL},     {27, 3, "\2\0\2"},      {35, 0, NULL},
        {35, 4096, NULL},    {5, 5, "\1\0\0\0\0"},  {18, 0, NULL},          {23, 0, NULL},
        {28, 2, "\x40\x01"}, {0x7550, 0, NULL},     {45, 2, "\1\1"},        {16, 5, "\0\3\2h2"},
        {50, 4, "\0\2\4\3"}, {0x2a2a, 20000, NULL}, {65000, 0, NULL},       {22, 0, NULL}};
    /* X25519 beside X25519MLKEM768 (1,216 bytes), the same with shares of up to 20 KB. */
    static const unsigned char groups[] = {0, 4, 0x11, 0xec, 0x00, 0x1d};
    static const unsigned shares[] = {0, 1216, 1568, 16384, 20000};
    unsigned char name[300];
    struct extension extensions[16];
    (void)state;
    for (unsigned round = 0; round < 4000; round++) {
        static struct bytes share;
        size_t count = usual_extensions(extensions);
        unsigned post_quantum = shares[random_below(ARRAY_SIZE(shares))];
        if (post_quantum != 0) {
            share.length = 0;
            put_number(&share, 4 + post_quantum + 36, 2);
            put_number(&share, 0x11ec, 2);
            put_number(&share, post_quantum, 2);
            put(&share, NULL, post_quantum);
            put(&share, (const unsigned char *)extensions[3].body + 2, 36);
            extensions[3] = (struct extension){51, share.length, share.at};
            extensions[1] = (struct extension){10, sizeof groups, groups};
        }
        for (unsigned left = random_below(9); left > 0; left--) {
            const struct extension *extra = &extras[random_below(ARRAY_SIZE(extras))];
            if (!has_type(extensions, count, extra->type)) {
                extensions[count++] = *extra;
            }
        }
        if (random_below(8) != 0) {
            size_t length = make_server_name(name, "public-name.example.net", 23);
            extensions[count++] = (struct extension){0, length, name};
        }
        for (size_t i = count - 1; i > 0; i--) {
            size_t other = random_below((uint32_t)i + 1);
            struct extension moved = extensions[i];
            extensions[i] = extensions[other];
            extensions[other] = moved;
        }
        struct spec spec = {.session_id = random_below(2) * 32, .extensions = extensions, .count = count};
        compare_spec("modern", &spec, random_below(2) ? 16384 : 200 + random_below(8000), NOT_STRICTER);
        assert_true(verdict.taken);
    }
}

static void compare_name(const char *what, const void *name, size_t length)
{
    unsigned char body[1100];
    compare_extension(what, 0, body, make_server_name(body, name, length));
}

/* Every byte at the ends and in the middle of a name, every length, and every way to get the list wrong. */
static void test_names(void **state)
{
    static const char *const names[] = {".",   "..",
                                        "a..", ".a",
                                        "A.",  "UPPER.EXAMPLE",
                                        "a b", "\xc3\xa9.example"};
    char name[1024];
    unsigned char body[64];
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        compare_name("name", names[i], strlen(names[i]));
    }
    memset(name, 'n', sizeof name);
    for (size_t length = 0; length < 300; length++) {
        compare_name("length", name, length);
        name[length] = '.';
        compare_name("length and dot", name, length + 1);
        name[length] = 'n';
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        for (size_t at = 0; at < 5; at += 2) {
            memcpy(name, "ab.cd", 5);
            name[at] = (char)byte;
            compare_name("byte", name, 5);
        }
    }
    /* Two entries, an unknown type, an unknown type before a name, and each body cut and changed. */
    static const unsigned char lists[][16] = {{0, 8, 0, 0, 1, 'a', 0, 0, 1, 'b'},
                                              {0, 4, 1, 0, 1, 'a', 0, 0, 0, 0},
                                              {0, 8, 1, 0, 1, 'a', 0, 0, 1, 'b'},
                                              {0, 7, 0, 0, 4, 'g', 'o', 'o', 'd', 0}};
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
        for (size_t length = 0; length <= 10; length++) {
            for (size_t at = 0; at < 10; at++) {
                for (int change = -2; change <= 2; change++) {
                    memcpy(body, lists[i], 16);
                    body[at] = (unsigned char)(body[at] + change);
                    compare_extension("list", 0, body, length);
                }
            }
        }
    }
}

/* Each of the 65,536 extension types beside a name, and each twice. */
static void test_types(void **state)
{
    unsigned char name[32];
    struct extension extensions[7];
    size_t count = usual_extensions(extensions);
    extensions[count++] = (struct extension){0, make_server_name(name, "types.example", 13), name};
    (void)state;
    for (unsigned type = 0; type < 65536; type++) {
        /* Last as pre_shared_key must be, first of two for the types whose order does not matter. */
        extensions[count] = extensions[count + 1] = (struct extension){type, 0, NULL};
        struct spec once = {.extensions = extensions, .count = count + 1};
        compare_spec("type", &once, 16384, NOT_STRICTER);
        if (type < 100 || type % 16 == 10) {
            struct spec twice = {.extensions = extensions, .count = count + 2};
            compare_spec("type twice", &twice, 16384, TYPE_TWICE);
            extensions[count + 1] = extensions[0];
            struct spec after = {.extensions = extensions + 1, .count = count + 1};
            compare_spec("type not last", &after, 16384, NOT_STRICTER);
        }
    }
    struct extension two[] = {extensions[4], extensions[0], extensions[4]};
    struct spec names = {.extensions = two, .count = 3};
    compare_spec("server_name twice", &names, 16384, NOT_STRICTER);
}

/* The fields before the extensions: every length, right and wrong. */
static void test_bodies(void **state)
{
    static const unsigned versions[] = {0x0002, 0x0200, 0x0300, 0x0301, 0x0302,
                                        0x0303, 0x0304, 0x0305, 0x7f1c, 0xfefd};
    unsigned char name[32];
    struct extension extensions[5];
    size_t usual = usual_extensions(extensions);
    extensions[usual] = (struct extension){0, make_server_name(name, "body.example", 12), name};
    (void)state;
    for (unsigned round = 0; round < 6000; round++) {
        struct spec spec = {.version = versions[random_below(ARRAY_SIZE(versions))],
                            .session_id = random_below(3) ? 32 : random_below(40),
                            .ciphers = random_below(4) ? random_below(12) : SPEC_EMPTY,
                            .compression = random_below(4) ? random_below(4) : SPEC_EMPTY,
                            .no_null_compression = random_below(8) == 0,
                            .no_extensions = random_below(4) == 0,
                            .extensions = extensions,
                            .count = random_below((uint32_t)usual + 2)};
        compare_spec("body", &spec, 16384, NOT_STRICTER);
    }
}

/* The message cut at each byte with its own length told right, and told wrong. */
static void test_cut_messages(void **state)
{
    (void)state;
    work.length = 0;
    make_hello(&work, "cut.example");
    size_t whole = work.length - 9;
    for (size_t length = 0; length <= whole + 3; length++) {
        for (int off = -1; off <= 1; off++) {
            size_t told = length + (size_t)off > whole + 8 ? 0 : length + (size_t)off;
            message.length = wire.length = 0;
            put_number(&message, 1, 1);
            put_number(&message, told, 3);
            put(&message, work.at + 9, length < whole ? length : whole);
            put(&message, NULL, length < whole ? 0 : length - whole);
            make_records(&wire, message.at, message.length, 16384);
            compare("cut", wire.at, wire.length, RECORD_FORM);
            make_records(&wire, message.at, message.length, 50);
            compare("cut and followed", wire.at, wire.length, RECORD_FORM);
        }
    }
}

/* What the record layer may be fed: sizes, versions, types, empty records, and what is not TLS at all. */
static void test_records(void **state)
{
    static const char *const others[] = {"GET / HTTP/1.1\r\n\r\n", "CONNECT a:443 HTTP/1.1\r\n\r\n",
                                         "SSH-2.0-x\r\n",          "\x15\x03\x01\x00\x02\x01\x5a",
                                         "\x16\x03\x01",           "\x16",
                                         "\x16\x02\x01zz",         ""};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        compare("not TLS", (const unsigned char *)others[i], strlen(others[i]), NOT_STRICTER);
    }
    message.length = 0;
    make_hello(&message, "records.example");
    for (unsigned at = 0; at < 5; at++) { /* each byte of the second record's header, then of the first's */
        for (unsigned byte = 0; byte < 256; byte++) {
            work.length = 0;
            make_records(&work, message.at + 5, message.length - 5, 80);
            work.at[85 + at] = (unsigned char)byte;
            compare("second record", work.at, work.length, RECORD_FORM);
            work.length = 0;
            make_records(&work, message.at + 5, message.length - 5, 80);
            work.at[at] = (unsigned char)byte;
            compare("first record", work.at, work.length, RECORD_FORM);
        }
    }
    for (size_t cut = 0; cut <= message.length - 5;
         cut++) { /* an empty record, an alert, a CCS, at each place */
        static const struct {
            unsigned type;
            const char *body;
            size_t length;
        } between[] = {{22, "", 0}, {21, "\1\x5a", 2}, {20, "\1", 1}, {23, "", 0}, {23, "x", 1}};
        for (size_t i = 0; i < ARRAY_SIZE(between); i++) {
            work.length = 0;
            make_records(&work, message.at + 5, cut, 16384);
            put_number(&work, between[i].type, 1);
            put_number(&work, 0x0303, 2);
            put_number(&work, between[i].length, 2);
            put(&work, between[i].body, between[i].length);
            make_records(&work, message.at + 5 + cut, message.length - 5 - cut, 16384);
            compare("between", work.at, work.length, RECORD_FORM);
        }
    }
}

/* Around the bounds of a record, of the message, and of the wire. */
static void test_bounds(void **state)
{
    static const size_t sizes[] = {1, 5, 20, 1000, 16383, 16384, 16385, 16640, 17000};
    static const size_t lengths[] = {15000, 16100, 16200, 16300, 30000, 65300, 65500};
    unsigned char name[32];
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
        for (size_t size = 0; size < ARRAY_SIZE(sizes); size++) {
            struct extension extensions[7];
            size_t count = usual_extensions(extensions);
            extensions[count++] = (struct extension){0, make_server_name(name, "bounds.example", 14), name};
            extensions[count++] = (struct extension){0x3a3a, lengths[i] - 200, NULL};
            struct spec spec = {.extensions = extensions, .count = count, .ciphers = 2 + 4 * i};
            compare_spec("bounds", &spec, sizes[size], OVER_BOUNDS);
            spec.ciphers = 65000; /* the largest message OpenSSL reads is 128 KiB */
            compare_spec("bounds", &spec, sizes[size], OVER_BOUNDS);
        }
    }
}

/* A hello as SSL 2.0 wrapped it, which OpenSSL still takes, and finds no name in. */
static void test_ssl2(void **state)
{
    (void)state;
    work.length = 0;
    put_number(&work, 0x8000 + 9 + 6 + 16, 2);
    put_number(&work, 1, 1);
    put_number(&work, 0x0303, 2);
    put_number(&work, 6, 2);
    put_number(&work, 0, 2);
    put_number(&work, 16, 2);
    put(&work, "\0\xc0\x2b\0\xc0\x2f", 6);
    put(&work, NULL, 16);
    compare("SSL 2.0", work.at, work.length, SSL2_FORMAT);
    assert_int_equal(verdict.kind, VERDICT_NO_NAME);
}

/* Each byte of three hellos set to a dozen values, then several at once. */
static void test_mutations(void **state)
{
    static const int changes[] = {0x00, 0x01, 0x02, 0x7f, 0x80, 0xff, -1, -2, -3, -4, -5, -6, -7};
    static const char *const names[] = {"mutate.example", NULL, "kms.us-east-1.amazonaws.com"};
    (void)state;
    for (size_t n = 0; n < ARRAY_SIZE(names); n++) {
        SSL_CTX *ctx = client_context(&clients[n]);
        client_hello(ctx, NULL, names[n], &work);
        SSL_CTX_free(ctx);
        for (size_t at = 0; at < work.length; at++) {
            for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
                static const unsigned char flips[] = {0x01, 0x20, 0x80};
                unsigned char kept = work.at[at];
                int change = changes[i];
                work.at[at] = (unsigned char)(change >= 0    ? change
                                              : change >= -4 ? kept + change + (change < -2 ? 5 : 0)
                                                             : kept ^ flips[-change - 5]);
                compare("mutated", work.at, work.length, RECORD_FORM);
                work.at[at] = kept;
            }
        }
        for (unsigned round = 0; round < 8000; round++) {
            wire.length = 0;
            put(&wire, work.at, work.length);
            for (unsigned i = 0; i < 2 + round % 4; i++) {
                wire.at[random_below((uint32_t)wire.length)] = (unsigned char)random_below(256);
            }
            compare("mutated", wire.at, wire.length, RECORD_FORM);
        }
    }
}

static int summing_up(void **state)
{
    unsigned refusals = 0;
    (void)state;
    for (int i = 0; i < STRICTER_COUNT; i++) {
        refusals += refused[i];
    }
    printf("R2: %u hellos, %u read differently (%u refused that OpenSSL would take:", hellos, different,
           refusals);
    for (int i = 1; i < STRICTER_COUNT; i++) {
        printf("%s %u %s", i > 1 ? "," : "", refused[i], stricter_words[i]);
    }
    printf("; %u refused before OpenSSL was sure)\n", early);
    judge_release(&judge);
    return different == 0 && refused[NOT_STRICTER] == 0 && hellos > 10000 ? 0 : 1;
}

static int begin(void **state)
{
    (void)state;
    judge_init(&judge);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_real_clients),  cmocka_unit_test(test_every_split),
        cmocka_unit_test(test_modern_shapes), cmocka_unit_test(test_names),
        cmocka_unit_test(test_types),         cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_cut_messages),  cmocka_unit_test(test_records),
        cmocka_unit_test(test_bounds),        cmocka_unit_test(test_ssl2),
        cmocka_unit_test(test_mutations)};
    return cmocka_run_group_tests(tests, begin, summing_up);
}
