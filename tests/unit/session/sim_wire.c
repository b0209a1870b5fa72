/* The connection: bytes in order, late, in pieces of any size, and no more at once than fit. */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

#define BATCH_MAX  31744u
#define PIECES_MAX 12u

static void put(struct wire *wire, const uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < length;) {
        size_t at = (wire->head + wire->length) % WIRE_CAPACITY;
        size_t piece = length - i < WIRE_CAPACITY - at ? length - i : WIRE_CAPACITY - at;
        memcpy(wire->bytes + at, bytes + i, piece);
        wire->length += piece;
        i += piece;
    }
}

/* What it has to say, from one buffer or from wherever it lies. */
static size_t say(struct sim *sim, struct session *session, uint8_t *batch, size_t size)
{
    static uint8_t buffer[BATCH_MAX];
    struct iovec pieces[PIECES_MAX];
    size_t count = 1 + rng_below(&sim->rng, PIECES_MAX), length, copied = 0;

    if (rng_chance(&sim->rng, 50)) {
        return session_send(session, sim->now, batch, size);
    }
    length = session_send_pieces(session, sim->now, buffer, size, pieces, &count);
    CHECK(sim, length <= size && count <= PIECES_MAX);
    for (size_t i = 0; i < count; i++) {
        CHECK(sim, pieces[i].iov_len > 0);
        memcpy(batch + copied, pieces[i].iov_base, pieces[i].iov_len);
        copied += pieces[i].iov_len;
    }
    CHECK(sim, copied == length);
    return length;
}

bool wire_write(struct sim *sim, unsigned from)
{
    struct wire *wire = &sim->wires[from];
    struct session *session = sim->sides[from].session;
    static uint8_t batch[BATCH_MAX];
    size_t room = WIRE_CAPACITY - wire->length;
    size_t size = SESSION_SEND_MIN + rng_below(&sim->rng, BATCH_MAX - SESSION_SEND_MIN);
    uint64_t at = sim->now + (rng_chance(&sim->rng, 30) ? rng_below(&sim->rng, 40) : 0);

    if (!session_has_output(session) || wire->count == CHUNKS_MAX) {
        return false;
    }
    if (size > room) {
        size = room;
    }
    if (size < SESSION_SEND_MIN) {
        return false;
    }
    size = say(sim, session, batch, size);
    if (size == 0) {
        return true;
    }
    if (sim->black) {
        return true;
    }
    put(wire, batch, size);
    if (at < wire->latest) {
        at = wire->latest;
    }
    wire->latest = at;
    wire->chunks[(wire->first + wire->count) % CHUNKS_MAX].at = at;
    wire->chunks[(wire->first + wire->count) % CHUNKS_MAX].length = size;
    wire->count++;
    sim->bytes += size;
    return true;
}

uint64_t wire_next(const struct wire *wire)
{
    return wire->count > 0 ? wire->chunks[wire->first].at : SESSION_NEVER;
}

/* Some of a payload goes past the session, straight to the application. */
static size_t hand_over(struct sim *sim, struct session *session, const uint8_t *bytes, size_t length)
{
    struct channel *channel;
    size_t left = session_expects(session, &channel);
    size_t past = left < length ? left : length;

    if (past == 0 || !rng_chance(&sim->rng, 30)) {
        return session_receive(session, sim->now, bytes, length);
    }
    session_skip(session, sim->now, past);
    app_events.data(channel, bytes, past);
    return past;
}

static bool deliver_piece(struct sim *sim, unsigned from)
{
    struct wire *wire = &sim->wires[from];
    struct session *session = sim->sides[1 - from].session;
    size_t length;
    uint8_t *copy;

    if (wire->count == 0 || wire->chunks[wire->first].at > sim->now) {
        return false;
    }
    length = 1 + rng_below(&sim->rng, sim->split);
    if (length > wire->chunks[wire->first].length) {
        length = wire->chunks[wire->first].length;
    }
    if (length > WIRE_CAPACITY - wire->head) {
        length = WIRE_CAPACITY - wire->head;
    }
    copy = malloc(length); /* its own memory, so that a sanitizer sees what is read past it or kept */
    CHECK(sim, copy != NULL);
    memcpy(copy, wire->bytes + wire->head, length);
    wire->head = (wire->head + length) % WIRE_CAPACITY;
    wire->length -= length;
    wire->chunks[wire->first].length -= length;
    if (wire->chunks[wire->first].length == 0) {
        wire->first = (wire->first + 1) % CHUNKS_MAX;
        wire->count--;
    }
    for (size_t taken = 0; taken < length;) { /* less than all, when an event says that this is enough */
        taken += hand_over(sim, session, copy + taken, length - taken);
    }
    free(copy);
    return true;
}

bool wire_deliver(struct sim *sim, unsigned from)
{
    unsigned pieces = 1 + rng_below(&sim->rng, sim->split < 64 ? 100 : 2);
    bool moved = false;

    while (pieces-- > 0 && deliver_piece(sim, from)) {
        moved = true;
    }
    return moved;
}
