/*
 * What a hostile byte costs (scorecard R9): each frame there is, sent over and over until the session has had enough, by a peer that
 * never reads. Counted are the bytes that would be answered, the events, and the memory.
 */
#include "peer.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ROUNDS 20000u

static struct peer peer;
static uint64_t fed;

static void feed(uint8_t type, uint8_t flags, uint32_t stream, const void *payload, size_t length)
{
    fed += FRAME_HEADER + length;
    put_frame(&peer, type, flags, stream, payload, length);
}

static void opens(unsigned i)
{
    feed(FRAME_OPEN, 0, 2 * i + 1, "\xa1\x01\x61k", 4);
}

static void opens_of_unknown_kind(unsigned i)
{
    feed(FRAME_OPEN, 0, 2 * i + 1, "\xa2\x01\x61k\x02\x01", 6);
    feed(FRAME_DATA, FRAME_FIN, 2 * i + 1, NULL, 0);
}

static void rapid_resets(unsigned i)
{
    opens(i);
    feed(FRAME_RESET, 0, 2 * i + 1, "\0\0\0\x20\0\0\0\0\0\0\0\0", 12);
    feed(FRAME_STOP, 0, 2 * i + 1, "\0\0\0\x20", 4);
}

static void pings(unsigned i UNUSED)
{
    feed(FRAME_PING, 0, 0, "12345678", 8);
}

static void empties(unsigned i)
{
    if (i == 0) {
        opens(0);
    }
    feed(FRAME_DATA, 0, 1, NULL, 0);
}

static void single_bytes(unsigned i)
{
    if (i == 0) {
        opens(0);
    }
    feed(FRAME_DATA, 0, 1, "d", 1);
}

static void unknown(unsigned i UNUSED)
{
    feed(0xee, 0, 0, NULL, 0);
}

static void small_grants(unsigned i)
{
    uint8_t bytes[8];

    frame_put_u64(bytes, 25001 + i);
    feed(FRAME_MAX_DATA, 0, 0, bytes, 8);
}

static void large_grants(unsigned i)
{
    uint8_t bytes[8];

    frame_put_u64(bytes, 25000 + (uint64_t)(i + 1) * 512);
    feed(FRAME_MAX_DATA, 0, 0, bytes, 8);
}

static void streams_grants(unsigned i)
{
    uint8_t bytes[4];

    frame_put_u32(bytes, 4 + i);
    feed(FRAME_MAX_STREAMS, 0, 0, bytes, 4);
}

static void warnings(unsigned i UNUSED)
{
    feed(FRAME_GOAWAY, 0, 0, "\xa2\x01\x1a\xff\xff\xff\xff\x02\x00", 9);
}

/* Every level and entry that is allowed, for nothing. */
static void deep_controls(unsigned i)
{
    static uint8_t payload[FRAME_CONTROL_MAX];
    size_t length = 0;

    memcpy(payload, "\xa2\x01\x61k\x18\x40\x98\x20", 8);
    length = 8;
    for (unsigned j = 0; j < 32; j++) {
        memcpy(payload + length, "\x98\x20", 2);
        length += 2;
        memset(payload + length, 0x80, 32);
        length += 32;
    }
    feed(FRAME_OPEN, 0, 2 * i + 1, payload, length);
}

static const struct attack {
    const char *name;
    void (*round)(unsigned i);
    bool reads; /* it lets its answers out */
} attacks[] = {
    {"opens", opens, false},
    {"opens of an unknown kind", opens_of_unknown_kind, false},
    {"opens of an unknown kind, read", opens_of_unknown_kind, true},
    {"rapid resets", rapid_resets, false},
    {"rapid resets, read", rapid_resets, true},
    {"pings", pings, false},
    {"pings, read", pings, true},
    {"empty frames", empties, false},
    {"single bytes", single_bytes, false},
    {"single bytes, read", single_bytes, true},
    {"unknown frames", unknown, false},
    {"small grants", small_grants, false},
    {"large grants", large_grants, false},
    {"grants of streams", streams_grants, false},
    {"warnings", warnings, false},
    {"deep control frames", deep_controls, true},
};

static size_t allocated(void)
{
    return mallinfo2().uordblks;
}

static void check(const struct attack *attack)
{
    size_t before, most = 0, limit;
    unsigned rounds = 0;

    peer_start(&peer, SESSION_SERVER);
    peer.consume = true;
    peer.events_count = peer.out_bytes = 0;
    fed = 0;
    before = allocated();
    for (; rounds < ROUNDS && !session_is_over(peer.session); rounds++) {
        attack->round(rounds);
        peer.events[0] = '\0';
        if (attack->reads) {
            peer_said(&peer);
        }
        if (allocated() > before && allocated() - before > most) {
            most = allocated() - before;
        }
    }
    peer_said(&peer);
    /* Besides what the four streams that it may open cost anyway. */
    limit = 10 * fed + (size_t)peer.config.max_streams * 256 + 1024;
    print_message("%-32s %8llu bytes, %u rounds: %6zu bytes answered, %6zu events, %6zu bytes of memory\n",
                  attack->name, (unsigned long long)fed, rounds, peer.out_bytes, peer.events_count, most);
    assert_true(peer.out_bytes <= 10 * fed + 200);
    assert_true(peer.events_count <= fed / 8 + 10);
    if (before > 0) { /* 0: a sanitizer's allocator does not tell */
        assert_true(most <= limit && most <= 8192);
    }
    peer_stop(&peer);
}

static void test_attacks(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(attacks); i++) {
        check(&attacks[i]);
    }
}

/* What an idle stream costs, and a session. */
static void test_sizes(void **state)
{
    (void)state;
    print_message("channel: %zu bytes, session: %zu bytes\n", sizeof(struct channel), sizeof(struct session));
    assert_true(sizeof(struct channel) <= 192);
    assert_true(sizeof(struct session) <= 6144);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attacks),
        cmocka_unit_test(test_sizes),
    };

    return cmocka_run_group_tests_name("hostile", tests, NULL, NULL);
}
