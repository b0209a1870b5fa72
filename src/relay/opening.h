/*
 * The opening of a relay: what it needs until it has a connected destination, and no longer. Private to src/relay.
 *
 * The relay owns it, and frees it once it is open or has ended. If the route looks at a ClientHello, opening_read_hello() takes
 * it in as it comes, and keeps every byte; opening_dial() chooses the destination, and tells of it by its callback, once and later,
 * unless opening_free() comes first.
 */
#ifndef POSTERN_RELAY_OPENING_H
#define POSTERN_RELAY_OPENING_H

#include "base/compiler.h"
#include "base/reason.h"
#include "config/config.h"
#include "net/dial.h"
#include "relay/hello.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct relay;

struct opening {
    struct relay *relay;
    struct dial *dial;
    struct addr asked; /* of a tunnel: where it leads; kind ADDR_NONE otherwise */
    uint64_t dial_began_ns, connect_us;
    struct hello hello;
    unsigned char *bytes; /* owned: what was read of the client's, to be replayed */
    size_t length, capacity;
};

/* NULL: out of memory. */
struct opening *opening_new(struct relay *relay) MUST_CHECK;

/* Frees it, with what is under way. NULL is harmless. */
void opening_free(struct opening *opening);

/* Reads what the client has sent. Returns REASON_NONE and *ret_whole once the hello is whole and its name
 * allowed, REASON_NONE and not *ret_whole while more is needed, or why the stream is refused. */
enum reason opening_read_hello(struct opening *opening, bool *ret_whole) MUST_CHECK;

/* The same with bytes that were read already, the first there are. */
enum reason opening_take_hello(struct opening *opening, const void *data, size_t size,
                               bool *ret_whole) MUST_CHECK;

/*
 * Tells a TLS client why it is turned away, as a TLS server would: a fatal alert (RFC 8446 section 6, RFC
 * 6066 section 3), so that it shows more than a closed connection. Only when a ClientHello was seen; true
 * if it was sent, and the close that follows must then not cut it off.
 */
bool opening_send_alert(const struct opening *opening, enum reason why);

/* Dials where the route, or the name in the hello, leads. REASON_NONE, or why it cannot begin. */
enum reason opening_dial(struct opening *opening, dial_cb cb) MUST_CHECK;

#endif
