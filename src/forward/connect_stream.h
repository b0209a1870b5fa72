/*
 * A connection or channel of an enclave to a `connect` route, what HTTPS_PROXY there points to: its CONNECT is read and judged,
 * the host that it asks for held against the route's `hosts`, and reached; then it is told 200, and is a relay's tunnel
 * (relay/relay.h), whose ClientHello has to name that host. Else it is told why not (http/refusal.h), and closed. A tunnel
 * has the log line, the figures and the times of a relay.
 *
 * The first word decides: what does not begin with CONNECT is left to the owner (left() of relay_ops), to be read by a forward stream, as
 * requests of http_proxy are (forward_stream.h).
 *
 * No header of it, credentials for the proxy among them, goes anywhere.
 *
 * Lifetimes: the relay's. What only the beginning needs is one allocation, gone once the tunnel is open.
 */
#ifndef POSTERN_FORWARD_CONNECT_STREAM_H
#define POSTERN_FORWARD_CONNECT_STREAM_H

#include "config/config.h"
#include "framed/channel_stream.h"
#include "relay/relay.h"

/* As relay_start(). */
void connect_stream_start(struct relay *relay, struct relay_worker *worker, const struct relay_ops *ops,
                          const struct relay_source *source, int fd, enum addr_kind kind);

/* As relay_start_channel(), but that the peer's OPEN is answered at once. */
void connect_stream_start_channel(struct relay *relay, struct relay_worker *worker,
                                  const struct relay_ops *ops, const struct relay_source *source,
                                  struct session_io *io, struct channel *channel);

#endif
