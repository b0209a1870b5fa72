/*
 * The opening of a relay: from the accepted socket to a connected destination. Private to src/relay.
 *
 * opening_start() reads the ClientHello if the route looks at one, chooses the destination, and dials it.
 * It ends in exactly one call of `done`, unless opening_cancel() comes first; after either it is gone.
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
